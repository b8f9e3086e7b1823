"""Make the Parquet files of the scan benchmark.

    python benchmarks/scan_data.py FOLDER [ROWS]

Logits (float32) and labels (int8) of a calibrated classifier, in 20 groups, as integers and as
strings; once uncompressed and once with zstd.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

ROWS = 100_000_000
ROW_GROUP = 1 << 20
REGIONS = [f"region {k:02d}" for k in range(20)]
SCHEMA = pa.schema(
    {"label": pa.int8(), "logit": pa.float32(), "bucket": pa.int8(), "region": pa.string()}
)


def batch(random: np.random.Generator, rows: int) -> pa.RecordBatch:
    """Return rows as they would be scored."""
    logit = random.normal(scale=2, size=rows).astype(np.float32)
    label = (random.random(rows, np.float32) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    bucket = random.integers(0, len(REGIONS), rows, np.int8)
    region = pa.DictionaryArray.from_arrays(pa.array(bucket), REGIONS).dictionary_decode()
    return pa.record_batch([label, logit, bucket, region], schema=SCHEMA)


def write(folder: Path, rows: int = ROWS) -> list[Path]:
    """Write both files, unless they are there, and return their paths."""
    paths = [folder / f"scan_{rows}_{name}.parquet" for name in ("plain", "zstd")]
    if all(path.exists() for path in paths):
        return paths
    random = np.random.default_rng(0)
    parts = [path.with_suffix(".part") for path in paths]
    writers = [
        parquet.ParquetWriter(
            part, SCHEMA, compression=codec, use_dictionary=["label", "bucket", "region"]
        )
        for part, codec in zip(parts, ("none", "zstd"), strict=True)
    ]
    for start in range(0, rows, ROW_GROUP):
        table = batch(random, min(ROW_GROUP, rows - start))
        for writer in writers:
            writer.write_batch(table, ROW_GROUP)
    for writer, part, path in zip(writers, parts, paths, strict=True):
        writer.close()
        part.rename(path)
    return paths


if __name__ == "__main__":
    for path in write(Path(sys.argv[1]), *map(int, sys.argv[2:3])):
        print(path, path.stat().st_size)
