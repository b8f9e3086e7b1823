"""Sources of rows: layouts, types, nulls, groups, streams, errors and interrupts."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import csv, ipc, parquet

import fastloss as fl
from fastloss import _sources
from fastloss._sources import ScanError

ROWS = 1000
LOSSES = ["squared_error", "huber"]


def columns(rows: int = ROWS, dtype: str = "float32") -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        "y": random.normal(size=rows).astype(dtype),
        "z": random.normal(size=rows).astype(dtype),
        "w": random.random(rows),
        "shop": np.array(["north", "south", "east"])[random.integers(0, 3, rows)],
    }


def plain(table: dict[str, Any], by: bool = False) -> dict[str, Any]:
    a = fl.Accumulator(LOSSES, groups=by)
    a.update(table["y"], table["z"], table["w"], by=table["shop"] if by else None)
    return a.to_dict() | {"groups": sorted(a.to_dict()["groups"], key=repr)}


def scanned(source: Any, by: bool = False, **options: Any) -> dict[str, Any]:
    a = fl.scan(
        source, LOSSES, y_true="y", y_pred="z", weight="w", by="shop" if by else None, **options
    )
    return a.to_dict() | {"groups": sorted(a.to_dict()["groups"], key=repr)}


# ---- every kind of source gives what the plain call gives ----


def chunks(table: pa.Table) -> pa.Table:
    """Columns whose chunks do not begin at the same rows, with offsets in their buffers."""
    cut = {"y": [0, 100, 1000], "z": [0, 333, 334, 1000], "w": [0, 1000], "shop": [0, 7, 1000]}
    made = {}
    for name, ends in cut.items():
        column = table[name].combine_chunks()
        made[name] = pa.chunked_array([column[i:j] for i, j in itertools.pairwise(ends)])
    return pa.table(made)


def in_pieces(table: pa.Table, kind: Callable[[pa.Table], Any]) -> Any:
    return (kind(table.slice(i, 170)) for i in range(0, ROWS, 170))


SOURCES: dict[str, Callable[[pa.Table], Any]] = {
    "table": lambda t: t,
    "chunks": chunks,
    "record batch": lambda t: t.to_batches()[0],
    "reader": lambda t: t.to_reader(100),
    "pandas": lambda t: t.to_pandas(),
    "polars": lambda t: pl.from_arrow(t),
    "dict": lambda t: (
        {name: t[name].to_pylist() for name in ("w", "shop")}
        | {name: t[name].to_numpy() for name in ("y", "z")}
    ),
    "tables": lambda t: in_pieces(t, lambda piece: piece),
    "batches": lambda t: t.to_batches(70),
    "data frames": lambda t: in_pieces(t, lambda piece: piece.to_pandas()),
    "dicts": lambda t: in_pieces(t, lambda piece: dict(zip(t.column_names, piece, strict=True))),
    "dictionary": lambda t: t.set_column(3, "shop", t["shop"].dictionary_encode()),
    "with empty batches": lambda t: [t.slice(0, 0), t, t.slice(0, 0)],
}


@pytest.mark.parametrize("by", [False, True])
@pytest.mark.parametrize("kind", SOURCES)
def test_tables_and_streams(kind: str, by: bool) -> None:
    table = columns()
    assert scanned(SOURCES[kind](pa.table(table)), by) == plain(table, by)


@pytest.mark.parametrize("by", [False, True])
def test_duckdb(by: bool) -> None:
    duckdb = pytest.importorskip("duckdb")
    table = columns()
    connection = duckdb.connect()
    connection.register("t", pa.table(table))
    assert scanned(connection.sql("select * from t"), by) == plain(table, by)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("by", [False, True])
def test_parquet(tmp_path: Path, by: bool, threads: int) -> None:
    table = columns()
    path = tmp_path / "t.parquet"
    for size in (7, 333, ROWS):
        parquet.write_table(pa.table(table), path, row_group_size=size, compression="zstd")
        assert scanned(path, by, num_threads=threads) == plain(table, by)


@pytest.mark.parametrize("memory", [1 << 20, 1 << 28])
def test_budgets_of_memory(tmp_path: Path, memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sources, "BATCH_ROWS", 1 << 20)
    table = columns(300_000)
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table(table), path, row_group_size=1 << 20, use_dictionary=False)
    assert scanned(path, memory=memory) == plain(table)
    batches = list(_sources.open_source(path, _sources.Needed(("y",)), memory)[0].batches(False))
    largest = max(batch.nbytes for batch in batches)
    assert largest <= memory if memory == 1 << 28 else largest <= memory // 2
    assert (len(batches) == 1) is (memory == 1 << 28)


def test_globs_directories_and_lists(tmp_path: Path) -> None:
    table = columns()
    for i in range(4):
        part = {name: x[250 * i : 250 * i + 250] for name, x in table.items()}
        parquet.write_table(pa.table(part), tmp_path / f"part{i}.parquet")
    (tmp_path / "_metadata").write_bytes(b"not data")
    wanted = plain(table)
    assert scanned(tmp_path) == wanted
    assert scanned(str(tmp_path / "part*.parquet")) == wanted
    assert scanned([tmp_path / f"part{i}.parquet" for i in (3, 0, 1, 2)]) == wanted
    with pytest.raises(ScanError, match="no file matches"):
        scanned(str(tmp_path / "none*.parquet"))


def test_hive_partitions(tmp_path: Path) -> None:
    table = columns()
    frame = pa.table(table)
    for shop in ("north", "south", "east"):
        for year in (2023, 2024):
            rows = (table["shop"] == shop) & (np.arange(ROWS) % 2 == year % 2)
            folder = tmp_path / f"year={year}" / f"shop={shop}"
            folder.mkdir(parents=True)
            part = frame.filter(pa.array(rows)).drop_columns(["shop"])
            parquet.write_table(part, folder / "0.parquet")
    assert scanned(tmp_path, by=True) == plain(table, by=True)
    a = fl.scan(tmp_path, "mse", y_true="y", y_pred="z", by=["year", "shop"])
    assert set(a.result()) == {(y, s) for y in (2023, 2024) for s in ("north", "south", "east")}


def test_other_files(tmp_path: Path) -> None:
    table = columns(dtype="float64")
    arrow = pa.table(table)
    with ipc.new_file(tmp_path / "t.arrow", arrow.schema) as writer:
        writer.write_table(arrow, 100)
    with ipc.new_stream(tmp_path / "t.arrows", arrow.schema) as writer:
        writer.write_table(arrow, 100)
    csv.write_csv(arrow, tmp_path / "t.csv")
    for name in ("t.arrow", "t.arrows", "t.csv"):
        assert scanned(tmp_path / name, by=True) == plain(table, by=True)


def test_csv_in_blocks(tmp_path: Path) -> None:
    """Whole numbers in the first block do not make later blocks whole numbers."""
    rows = 60_000
    z = np.arange(rows) + np.where(np.arange(rows) > 50_000, 0.5, 0)
    path = tmp_path / "t.csv"
    pd.DataFrame({"y": np.zeros(rows, int), "z": z.astype(str)}).to_csv(path, index=False)
    text = path.read_text().replace(".0\n", "\n")
    path.write_text(text)
    a = fl.scan(path, "mae", y_true="y", y_pred="z", memory=1 << 20)
    assert a.sums() == {"absolute_error": math.fsum(z)}
    path.write_text(text.replace("59000.5\n", "many\n"))
    with pytest.raises(ScanError, match=r"column 'z', row 59000 .*got 'many'; expected a number"):
        fl.scan(path, "mae", y_true="y", y_pred="z", memory=1 << 20)


# ---- types ----


@pytest.mark.parametrize(
    "z",
    [
        pa.array([Decimal("0.5"), Decimal("2")]),
        pa.array([0.5, 2.0], pa.float64()).dictionary_encode(),
        pa.array(np.array([0.5, 2.0], np.float16)),
    ],
    ids=lambda z: str(z.type),
)
def test_types_of_numbers(tmp_path: Path, z: pa.Array) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"y": [0, 0], "z": z}), path)
    assert fl.scan(path, "mae", y_true="y", y_pred="z").sums() == {"absolute_error": 2.5}


@pytest.mark.parametrize("kind", ["list", "large_list", "fixed"])
@pytest.mark.parametrize("stored", [False, True])
def test_columns_of_lists(tmp_path: Path, kind: str, stored: bool) -> None:
    random = np.random.default_rng(0)
    scores, labels = random.normal(size=(50, 4)), random.integers(0, 4, 50)
    types = {
        "list": pa.list_(pa.float64()),
        "large_list": pa.large_list(pa.float64()),
        "fixed": pa.list_(pa.float64(), 4),
    }
    rows: list[Any] = scores.tolist()
    rows[7] = None
    lists = pa.array([[9.0] * 4, *rows], types[kind])[1:]
    table = pa.table({"y": labels, "z": lists} | {f"z{k}": scores[:, k] for k in range(4)})
    source: Any = table
    if stored:
        source = tmp_path / "t.parquet"
        parquet.write_table(table, source, row_group_size=13)
    name = "sparse_softmax_cross_entropy"
    kept = np.arange(50) != 7
    wanted = fl.Accumulator(name)
    wanted.update(labels[kept], scores[kept])
    a = fl.scan(source, name, y_true="y", y_pred="z", nulls="skip")
    assert (a.sums(), a.skipped) == (wanted.sums(), 1)
    with pytest.raises(ScanError, match="column 'z' has 1 null, the first in row"):
        fl.scan(source, name, y_true="y", y_pred="z")
    spread = fl.scan(source, name, y_true="y", y_pred=[f"z{k}" for k in range(4)])
    whole = fl.Accumulator(name)
    whole.update(labels, scores)
    assert spread.sums() == whole.sums()


def test_lists_of_different_lengths() -> None:
    table = {"y": [0, 1, 0], "z": [[0.5, 1.0], [1.0, 2.0], [1.0]]}
    with pytest.raises(ScanError, match=r"column 'z', row 2 .*got 1 classes; expected 2"):
        fl.scan(table, "sparse_softmax_cross_entropy", y_true="y", y_pred="z")
    with pytest.raises(ScanError, match="holds lists; squared_error takes one number a row"):
        fl.scan(table | {"z": [[1.0]] * 3}, "mse", y_true="y", y_pred="z")


# ---- nulls ----


@pytest.fixture
def with_nulls() -> pa.Table:
    return pa.table(
        {
            "y": pa.array([0.0, 0, 0, 0, math.nan]),
            "z": pa.array([1.0, None, 2, None, 3]),
            "k": pa.array(["a", "a", None, "b", "b"]),
        }
    )


def test_nulls_raise(with_nulls: pa.Table) -> None:
    with pytest.raises(
        ScanError,
        match=r"column 'z' has 2 nulls, the first in row 1 .*; column 'k' has 1 null, .* row 2",
    ):
        fl.scan(with_nulls, "mae", y_true="y", y_pred="z", by="k")


def test_nulls_are_skipped(with_nulls: pa.Table) -> None:
    a = fl.scan(with_nulls, "mae", y_true="y", y_pred="z", by="k", nulls="skip")
    assert a.skipped == 3
    np.testing.assert_equal(
        a.result(), {"a": {"absolute_error": 1.0}, "b": {"absolute_error": math.nan}}
    )


def test_nulls_become_nan(with_nulls: pa.Table) -> None:
    a = fl.scan(with_nulls, "mae", y_true="y", y_pred="z", by="k", nulls="propagate")
    assert a.skipped == 0
    assert a.counts()[None] == {"absolute_error": 1}
    assert a.nans() == {
        "a": {"absolute_error": 1}, "b": {"absolute_error": 2}, None: {"absolute_error": 0}
    }  # fmt: skip


def test_first_null_of_many_row_groups(tmp_path: Path) -> None:
    z = np.zeros(ROWS)
    path = tmp_path / "t.parquet"
    table = pa.table({"y": z, "z": pa.array(z, mask=np.arange(ROWS) >= 707)})
    parquet.write_table(table, path, row_group_size=10)
    with pytest.raises(ScanError, match=r"column 'z' has 293 nulls, the first in row 707 "):
        fl.scan(path, "mae", y_true="y", y_pred="z", num_threads=3)


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="nulls: got 'drop'"):
        fl.scan({"y": [1]}, "mae", y_true="y", y_pred="y", nulls="drop")
    with pytest.raises(ValueError, match="memory: got 5; expected bytes"):
        fl.scan({"y": [1]}, "mae", y_true="y", y_pred="y", memory=5)
    with pytest.raises(TypeError, match="source: got int"):
        fl.scan(3, "mae", y_true="y", y_pred="y")
    with pytest.raises(TypeError, match="source: got a batch of type int"):
        fl.scan([3], "mae", y_true="y", y_pred="y")


# ---- damage ----


def test_no_row_groups(tmp_path: Path) -> None:
    table = pa.table({name: x[:0] for name, x in columns().items()})
    writer = parquet.ParquetWriter(tmp_path / "t.parquet", table.schema)
    writer.close()
    assert parquet.ParquetFile(tmp_path / "t.parquet").num_row_groups == 0
    a = fl.scan(tmp_path / "t.parquet", LOSSES, y_true="y", y_pred="z", by="shop")
    assert (a.count, a.result()) == (0, {})


def test_a_file_that_disappears(tmp_path: Path) -> None:
    for i in range(2):
        parquet.write_table(pa.table(columns()), tmp_path / f"{i}.parquet")
    needed = _sources.Needed(("y", "z"))
    parts = _sources.open_source(tmp_path, needed, 1 << 28)
    (tmp_path / "1.parquet").unlink()
    with pytest.raises(ScanError, match=r"1\.parquet: cannot be read: .*No such file"):
        list(parts[1].batches(False))


def test_error_of_a_stream_is_raised() -> None:
    def batches() -> Any:
        yield {"y": [0.0], "z": [1.0]}
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        fl.scan(batches(), "mae", y_true="y", y_pred="z")


def test_first_of_several_errors(tmp_path: Path) -> None:
    y = np.zeros(ROWS)
    y[[512, 733, 940]] = 2
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"y": y, "z": np.full(ROWS, 0.5)}), path, row_group_size=10)
    for _ in range(5):
        with pytest.raises(ScanError, match=r"column 'y', row 512 \(the first is 0\): got 2"):
            fl.scan(path, "bce", y_true="y", y_pred="z", num_threads=4)


def test_interrupt_in_the_middle(tmp_path: Path) -> None:
    """A process that reads an endless stream and writes a file: both are gone at once."""
    out = tmp_path / "out.parquet"
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "fastloss", "score", "-", "--y-true", "y", "--y-pred", "z"),
            *("--loss", "mae", "--per-row", str(out)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"y,z\n")
        limit = time.monotonic() + 60
        while not any(tmp_path.iterdir()) and time.monotonic() < limit:
            process.stdin.write(b"0.25,0.5\n" * 100_000)
        assert any(tmp_path.iterdir())
        process.send_signal(signal.SIGINT)
        limit = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < limit:
            try:
                process.stdin.write(b"0.25,0.5\n" * 1000)
                process.stdin.flush()
            except BrokenPipeError:
                break
        code = process.wait(60)
        error = process.stderr.read() if process.stderr else b""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    assert (code, error) == (130, b"fastloss: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_interrupt_in_the_middle_of_files(tmp_path: Path) -> None:
    """The same while Parquet files are read, by threads of pyarrow's."""
    source, folder = tmp_path / "t.parquet", tmp_path / "out"
    folder.mkdir()
    parquet.write_table(pa.table({"y": np.zeros(300_000), "z": np.ones(300_000)}), source)
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "fastloss", "score", *[str(source)] * 1000, "--y-true", "y"),
            *("--y-pred", "z", "--loss", "mae", "--per-row", str(folder / "out.parquet")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        limit = time.monotonic() + 60
        while not any(folder.iterdir()) and time.monotonic() < limit:
            time.sleep(0.01)
        assert any(folder.iterdir())
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=60)
    assert (process.returncode, output, error) == (130, b"", b"fastloss: interrupted\n")
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="no pipes")
def test_pandas_is_not_imported(python: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"y": [0.0], "z": [1.0]}), path)
    code = f"""
import sys, fastloss as fl
fl.scan({str(path)!r}, "mae", y_true="y", y_pred="z")
print("pandas" in sys.modules, "pyarrow.dataset" in sys.modules)
"""
    assert python(code) == "False False"
