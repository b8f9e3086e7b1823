"""Three losses of 10^8 rows of Parquet in one pass, beside pyarrow alone, Polars and DuckDB.

    python benchmarks/scan.py FOLDER [--rows N] [--passes K]

FOLDER gets the files (about a gigabyte) if they are not there. Every system runs in a process of
its own, of which only the passes are timed: the best of K. Prints the tables of README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import scan_data

LOSSES = ["sigmoid_cross_entropy", "hinge", "squared_error"]


def pyarrow_alone(path: str, by: str | None) -> Callable[[], None]:
    """Read and decode the columns, and drop them."""
    from pyarrow import parquet

    columns = ["label", "logit", *([by] if by else [])]

    def run() -> None:
        with parquet.ParquetFile(path) as file:
            for _ in file.iter_batches(1 << 17, columns=columns):
                pass

    return run


def fastloss(path: str, by: str | None) -> Callable[[], Any]:
    """Scan it."""
    import fastloss as fl
    import fastloss._scanner

    return lambda: fl.scan(path, LOSSES, y_true="label", y_pred="logit", by=by).total().result()


def polars(path: str, by: str | None) -> Callable[[], Any]:
    """Compute the losses in expressions, on the streaming engine."""
    import polars as pl

    z, y = pl.col("logit"), pl.col("label").cast(pl.Float32)
    means = {
        LOSSES[0]: pl.max_horizontal(z, 0 * z) - z * y + (-z.abs()).exp().log1p(),
        LOSSES[1]: pl.max_horizontal(1 - (2 * y - 1) * z, 0 * z),
        LOSSES[2]: (z - y) ** 2,
    }
    wanted = [losses.cast(pl.Float64).mean().alias(name) for name, losses in means.items()]
    query = pl.scan_parquet(path)
    plan = query.group_by(by).agg(wanted) if by else query.select(wanted)

    def run() -> Any:
        return plan.collect(engine="streaming").select(LOSSES).mean().to_dicts()[0]

    return run


def duckdb(path: str, by: str | None) -> Callable[[], Any]:
    """Compute the losses in SQL."""
    import duckdb

    query = f"""
        select avg(greatest(logit, 0) - logit * label + ln(1 + exp(-abs(logit)))),
            avg(greatest(1 - (2 * label - 1) * logit, 0)), avg((logit - label) * (logit - label))
        from '{path}'""" + (f" group by {by}" if by else "")
    connection = duckdb.connect()

    def run() -> Any:
        rows = connection.execute(query).fetchall()
        return {name: sum(row[i] for row in rows) / len(rows) for i, name in enumerate(LOSSES)}

    return run


SYSTEMS: dict[str, Callable[[str, str | None], Callable[[], Any]]] = {
    "pyarrow alone": pyarrow_alone,
    "fastloss": fastloss,
    "Polars, streaming": polars,
    "DuckDB": duckdb,
}


def measure(system: str, path: str, by: str | None, passes: int) -> dict[str, Any]:
    """Return the best wall and processor time of the passes, the peak of memory, the result."""
    run = SYSTEMS[system](path, by)
    wall = processor = math.inf
    result: Any = None
    for _ in range(passes):
        start, busy = time.perf_counter(), time.process_time()
        result = run()
        wall = min(wall, time.perf_counter() - start)
        processor = min(processor, time.process_time() - busy)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall": wall, "processor": processor, "peak": peak, "result": result}


def measure_apart(system: str, path: Path, by: str | None, passes: int) -> dict[str, Any]:
    """Measure in a process of its own."""
    argv = [sys.executable, __file__, "--one", system, str(path), by or "", str(passes)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure all systems on both files."""
    if sys.argv[1:2] == ["--one"]:
        system, path, by, passes = sys.argv[2:]
        print(json.dumps(measure(system, path, by or None, int(passes))))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=scan_data.ROWS)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--system", action="append", choices=SYSTEMS, help="only this one")
    parser.add_argument("--by", action="append", choices=["none", "bucket", "region"])
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print("| file | groups | system | seconds | processor seconds | ns a row | peak MB |")
    print("|---|---|---|---|---|---|---|")
    means: dict[str, float] = {}
    for path in scan_data.write(arguments.folder, arguments.rows):
        for by in arguments.by or ("none", "bucket", "region"):
            for system in arguments.system or SYSTEMS:
                found = measure_apart(system, path, None if by == "none" else by, arguments.passes)
                cells = (
                    path.stem.rpartition("_")[2], by, system, f"{found['wall']:.2f}",
                    f"{found['processor']:.2f}", f"{found['wall'] / arguments.rows * 1e9:.1f}",
                    f"{found['peak']:.0f}",
                )  # fmt: skip
                print("|", " | ".join(cells), "|", flush=True)
                if by == "none" and found["result"]:
                    means = means or found["result"]
                    for name, mean in found["result"].items():
                        assert math.isclose(mean, means[name], rel_tol=1e-5), (system, name)


if __name__ == "__main__":
    main()
