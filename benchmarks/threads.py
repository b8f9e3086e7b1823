"""Draw how many times as fast a number of threads is as one.

    python benchmarks/threads.py           measure, write docs/speed/threads.json and threads.svg
    python benchmarks/threads.py --draw    draw from the figures that are there

A panel for each size. Of the largest, which no cache holds, also what the memory delivers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cases import Array, Case, arguments
from libraries import PEERS
from limits import with_c
from plots import FOLDER, INK, draw_figures, save, set_style, tidy
from tables import LIMIT, machine
from timing import best_times, pin

import fastloss as fl

FILE = FOLDER / "threads.json"
# Losses with their number of classes, and colours that colour-blind readers tell apart.
LOSSES = {
    ("squared_error", 0): "#0072B2",
    ("log_cosh", 0): "#009E73",
    ("sigmoid_cross_entropy", 0): "#D55E00",
    ("sparse_softmax_cross_entropy", 10): "#CC79A7",
    ("sparse_softmax_cross_entropy", 1000): "#B8860B",
}
OPERATIONS = {"mean": "mean", "value_and_grad_out": "mean and gradient"}
# No cache holds two arrays of so many elements.
IN_MEMORY = 100_000_000
SIZES = (100_000, 1_000_000, IN_MEMORY)
DTYPE = "float32"
TURNS = 6

# Seconds of a call, by the number of threads.
Seconds = dict[str, float]


def counts(most: int) -> list[int]:
    """Return the numbers of threads to measure: 1, 2, 3, 4, 6, 8, 12, 16 ..."""
    steps = {power * factor for power in (2**i for i in range(10)) for factor in (1, 3)}
    return sorted({n for n in steps if n < most} | {most})


def of_loss(case: Case, y: Array, z: Array, most: int) -> Seconds:
    """Measure a case with each number of threads, in turn."""
    loss = fl.get(case.loss)
    call = partial(loss.value_and_grad, out=np.empty_like(z)) if case.gradient else loss
    return best_times({str(n): partial(call, y, z, num_threads=n) for n in counts(most)}, TURNS)


def of_memory(case: Case, y: Array, z: Array, most: int) -> Seconds:
    """Measure what the memory needs for the data of two streams, where there is a C compiler."""
    out = np.empty_like(z) if case.gradient else None
    ways = {n: with_c(y, z, out, n) for n in counts(most)}
    times = best_times(
        {f"{n} {way}": call for n, calls in ways.items() for way, call in enumerate(calls)}, TURNS
    )
    return {
        str(n): min(times[f"{n} {way}"] for way in range(len(calls)))
        for n, calls in ways.items()
        if calls
    }


def measure(most: int, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Return everything that the picture shows."""
    lines = []
    for size in sizes:
        for loss, classes in LOSSES:
            for operation in OPERATIONS:
                case = Case(loss, operation, DTYPE, size // max(classes, 1), classes)
                y, z = arguments(case)
                measured = {loss: of_loss(case, y, z, most)}
                if size == IN_MEMORY and loss == "squared_error":
                    measured[LIMIT] = of_memory(case, y, z, most)
                for name, seconds in measured.items():
                    lines.append(
                        {
                            "name": name,
                            "classes": classes,
                            "operation": operation,
                            "elements": size,
                            "seconds": seconds,
                        }
                    )
                    print(text_of(lines[-1]), flush=True)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(most, [peer for peer in PEERS if peer.name == "numpy"]),
        "dtype": DTYPE,
        "lines": lines,
    }


def text_of(line: dict[str, Any]) -> str:
    """Return a line of figures: the time of one thread, and how many times as fast others are."""
    classes = f" {line['classes']}" if line["classes"] else ""
    name = f"{line['name']}{classes} {line['operation']} {line['elements']:,}"
    one = line["seconds"].get("1", 0)
    faster = "".join(f"{n:>4} {one / s:5.2f}" for n, s in line["seconds"].items())
    return f"{name:60}{one * 1e6:10.1f} us{faster}"


def draw(data: dict[str, Any], file: Path) -> None:
    """Draw a panel for each size and operation."""
    set_style("threads")
    from matplotlib import pyplot as plt

    sizes = sorted({line["elements"] for line in data["lines"]})
    shape = (len(OPERATIONS), len(sizes))
    figure, grid = plt.subplots(*shape, figsize=(9, 6.4), sharex=True, sharey=True, squeeze=False)
    handles: dict[str, Any] = {}
    most = max(int(n) for line in data["lines"] for n in line["seconds"])
    for row, (operation, what) in zip(grid, OPERATIONS.items(), strict=True):
        for axes, size in zip(row, sizes, strict=True):
            axes.plot([1, most], [1, most], color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
            for line in data["lines"]:
                if (line["operation"], line["elements"]) == (operation, size) and line["seconds"]:
                    classes = f", {line['classes']:,} classes" if line["classes"] else ""
                    name = "memory limit" if line["name"] == LIMIT else line["name"] + classes
                    handles[name] = _curve(axes, line)
            axes.set_title(f"{size:,} elements\n{what}", fontsize=9.5, loc="left")
            axes.set_xticks(
                counts(most), [str(n) if n in (1, 2) or n % 4 == 0 else "" for n in counts(most)]
            )
            tidy(axes)
        row[0].set(ylabel="times as fast as one thread", ylim=(0, None))
    for axes in grid[-1]:
        axes.set_xlabel("threads")
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="upper center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    figure.tight_layout(rect=(0, 0, 1, 0.92))
    save(figure, file)
    plt.close(figure)


def _curve(axes: Any, line: dict[str, Any]) -> Any:
    one = line["seconds"]["1"]
    threads = [int(n) for n in line["seconds"]]
    faster = [one / seconds for seconds in line["seconds"].values()]
    if line["name"] == LIMIT:
        return axes.plot(threads, faster, color=INK, linestyle=(0, (4, 3)), linewidth=1.3)[0]
    colour = LOSSES[line["name"], line["classes"]]
    return axes.plot(threads, faster, color=colour, marker="o", markersize=4, linewidth=1.6)[0]


def main() -> int:
    """Measure, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="draw the figures that are there")
    parser.add_argument("--threads", type=int, default=fl.get_num_threads(), metavar="N")
    parser.add_argument("--size", type=int, action="append", metavar="N", help="all by default")
    parser.add_argument("--png", action="store_true", help="PNG beside SVG")
    given = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not given.draw:
        pin(given.threads)
        fl.set_num_threads(given.threads)
        data = measure(given.threads, tuple(given.size or SIZES))
        FILE.write_text(json.dumps(data, indent=1) + "\n")
    return 0 if draw_figures(FILE, draw, given.png) else 2


if __name__ == "__main__":
    sys.exit(main())
