"""How much faster two processes of Dask score what is in their memory than one.

    python benchmarks/dask_scaling.py [--rows N] [--passes K]

The rows are in the memory of the workers before the clock starts; the best of K passes counts.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import dask.array as da
import distributed
import numpy as np

import fastloss.dask as fd

LOSSES = ["sigmoid_cross_entropy", "hinge", "squared_error"]
CHUNK = 20_000_000


def seconds(processes: int, rows: int, passes: int) -> tuple[float, dict[str, Any]]:
    """Return the best time of the passes, and the state."""
    options = {"n_workers": processes, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        random = da.random.default_rng(0)
        z = random.standard_normal(rows, chunks=CHUNK, dtype=np.float32)
        y = (random.random(rows, chunks=CHUNK, dtype=np.float32) < 0.5).astype(np.float32)
        y, z = client.persist([y, z])
        distributed.wait([y, z])
        best = float("inf")
        for i in range(passes):
            # A label of its own, so that no pass is answered from what is kept.
            named = {f"{i} {name}": name for name in LOSSES}
            start = time.perf_counter()
            state = fd.score(y, z, named)
            best = min(best, time.perf_counter() - start)
        return best, state.to_dict()["groups"]


def main() -> None:
    """Print the times of one process and of two."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000_000)
    parser.add_argument("--passes", type=int, default=7)
    arguments = parser.parse_args()
    (one, first), (two, second) = (
        seconds(n, arguments.rows, arguments.passes) for n in (1, 2)
    )  # fmt: skip
    assert first == second, "the same bits"
    print("| rows | seconds, one process | seconds, two | times as fast |")
    print("|---|---|---|---|")
    print(f"| {arguments.rows:,} | {one:.3f} | {two:.3f} | {one / two:.2f} |")


if __name__ == "__main__":
    main()
