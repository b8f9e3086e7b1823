"""What an update of 64 rows costs, and whether a million of them agree with one call.

python benchmarks/updates.py [--updates N]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import fastloss as fl

ROWS = 64
LOSSES = ["sigmoid_cross_entropy", "hinge", "squared_error"]


def main() -> None:
    """Print microseconds for an update, with one loss and with three."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--updates", type=int, default=1_000_000)
    updates = parser.parse_args().updates
    random = np.random.default_rng(0)
    z = random.normal(size=updates * ROWS).astype(np.float32)
    y = random.integers(0, 2, updates * ROWS).astype(np.float32)
    print("| losses | microseconds for an update | the same bits as one call |")
    print("|---|---|---|")
    for losses in (LOSSES[:1], LOSSES):
        small, whole = fl.Accumulator(losses), fl.Accumulator(losses)
        whole.update(y, z)
        best = float("inf")
        pieces = [(y[i : i + ROWS], z[i : i + ROWS]) for i in range(0, len(z), ROWS)]
        # The first makes the plans; the best thousand tells the cost without other work.
        for start in range(0, updates, 1000):
            batch = pieces[start : start + 1000]
            begin = time.perf_counter()
            for targets, predictions in batch:
                small.update(targets, predictions)
            best = min(best, (time.perf_counter() - begin) / len(batch))
        same = small.to_dict() == whole.to_dict()
        print(f"| {len(losses)} | {best * 1e6:.2f} | {'yes' if same else 'no'} |", flush=True)


if __name__ == "__main__":
    main()
