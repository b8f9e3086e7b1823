"""Draw throughput against size, for fastloss, its peers and the limit of the memory.

    python benchmarks/plots.py           measure, write docs/speed/*.json, draw docs/speed/*.svg
    python benchmarks/plots.py --draw    draw from the files that are there

One picture for each family: two losses beside one another, the mean above, mean and gradient below.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cases import OPERATIONS, Array, Case, arguments
from libraries import PEERS, CompileError, ours
from limits import movers
from tables import LIMIT, OURS, machine
from timing import best_times, pin

import fastloss as fl

FOLDER = Path(__file__).parents[1] / "docs/speed"
# The losses of a picture, and the number of classes.
FAMILIES: dict[str, tuple[tuple[str, int], ...]] = {
    "regression": (("squared_error", 0), ("huber", 0)),
    "binary": (("sigmoid_cross_entropy", 0), ("hinge", 0)),
    "multiclass": (("sparse_softmax_cross_entropy", 10), ("sparse_softmax_cross_entropy", 1000)),
}
SMALLEST, LARGEST = 1, 8
DTYPE = "float32"
# What takes longer than this on one size is not tried on the next, ten times as large.
PATIENCE = 1.0
TURNS = 4
# What is slower is off the picture, in 10^9 elements a second.
LOWEST = 1e-3

# Okabe and Ito's colours, which colour-blind readers tell apart, by brightness too.
STYLES: dict[str, tuple[str, str]] = {
    OURS: ("#D55E00", "o"),
    "numba": ("#009E73", "s"),
    "jax": ("#CC79A7", "^"),
    "compile": ("#0072B2", "D"),
    "torch": ("#56B4E9", "v"),
    "sklearn": ("#B8860B", "P"),
    "numpy": ("#808080", "X"),
}
NAMES = {
    "compile": "torch.compile",
    "sklearn": "scikit-learn",
    "numpy": "NumPy",
    "torch": "PyTorch",
}
NAMES |= {"jax": "JAX", "numba": "Numba", LIMIT: "memory limit"}
# Readable on a white page and on a dark one.
INK = "#7A7A7A"

# Elements a second, by library and then by size.
Curves = dict[str, dict[str, float]]


# ---- measuring ----


def curves(loss: str, classes: int, operation: str, threads: int, largest: int) -> Curves:
    """Measure a panel; peers that become too slow drop out."""
    found: Curves = {}
    out_of_patience: set[str] = set()
    for power in range(SMALLEST, largest + 1):
        rows = 10**power // max(classes, 1)
        if rows == 0:
            continue
        case = Case(loss, operation, DTYPE, rows, classes)
        y, z = arguments(case)
        calls = {OURS: ours.prepare(case, y, z)}
        for peer in PEERS:
            if peer.installed and peer.name not in out_of_patience:
                try:
                    call = peer.prepare(case, y, z, threads)
                except CompileError:
                    continue
                if call is not None:
                    calls[peer.name] = call
        seconds = best_times(calls, TURNS)
        if power == largest:
            seconds[LIMIT] = limit(case, y, z, threads)
        for name, taken in seconds.items():
            found.setdefault(name, {})[str(case.elements)] = case.elements / taken
            if taken > PATIENCE:
                out_of_patience.add(name)
    return found


def limit(case: Case, y: Array, z: Array, threads: int) -> float:
    """Return the seconds in which the memory delivers, and takes, the data of the case."""
    scores = z.ravel()
    out = np.empty_like(scores) if case.gradient else None
    if y.shape == z.shape:
        first, second = y.ravel(), scores
    elif out is not None:  # targets that are classes are a small part of what is read
        first, second = scores, scores
    else:
        second, first = np.array_split(scores, 2)
    with ThreadPoolExecutor(threads) as pool:
        ways = movers(first, second[: first.size], out, threads, pool)
        times = best_times({str(way): call for way, call in enumerate(ways)}, TURNS)
    return min(times.values())


def measure(family: str, threads: int, largest: int) -> dict[str, Any]:
    """Return everything that the picture of a family shows."""
    panels = [
        {
            "loss": loss,
            "classes": classes,
            "operation": operation,
            "elements_per_second": curves(loss, classes, operation, threads, largest),
        }
        for operation in OPERATIONS[:2]
        for loss, classes in FAMILIES[family]
    ]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(threads, [peer for peer in PEERS if peer.installed]),
        "dtype": DTYPE,
        "panels": panels,
    }


# ---- drawing ----


def set_style(salt: str) -> None:
    """Make pictures that are the same at every drawing, and readable on any page."""
    mpl.use("Agg")
    mpl.rcParams.update(
        {
            "svg.hashsalt": salt,
            "svg.fonttype": "path",
            "font.size": 10,
            "text.color": INK,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    )


def tidy(axes: Any) -> None:
    """Leave a panel a grid, and two sides of its frame."""
    axes.grid(color=INK, alpha=0.2, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.patch.set_alpha(0)


def save(figure: Any, file: Path) -> None:
    """Write a picture whose bytes depend on the figures alone."""
    figure.savefig(file, transparent=True, metadata={"Date": None} if file.suffix == ".svg" else {})


def draw_figures(file: Path, draw: Callable[[dict[str, Any], Path], None], png: bool) -> bool:
    """Draw the figures of a file beside it, unless there is none."""
    if not file.exists():
        print(f"--draw: got no {os.path.relpath(file)}", file=sys.stderr)
        return False
    data = json.loads(file.read_text())
    draw(data, file.with_suffix(".svg"))
    if png:
        draw(data, file.with_suffix(".png"))
    return True


def draw(family: str, data: dict[str, Any], file: Path) -> None:
    """Draw a picture as wide as the text of a README."""
    set_style(family)
    from matplotlib import pyplot as plt

    figure, grid = plt.subplots(2, 2, figsize=(9, 6.6), sharex=True, sharey=True)
    handles: dict[str, Any] = {}
    for panel, axes in zip(data["panels"], grid.flat, strict=True):
        found = panel["elements_per_second"]
        for name in (LIMIT, *reversed(STYLES)):
            if name not in found:
                continue
            sizes = [int(size) for size in found[name]]
            speeds = [speed / 1e9 for speed in found[name].values()]
            handles[name] = _line(axes, name, sizes, speeds)
        classes = f", {panel['classes']:,} classes" if panel["classes"] else ""
        what = "mean" if panel["operation"] == "mean" else "mean and gradient"
        axes.set_title(f"{panel['loss']}{classes}\n{what}", fontsize=9.5, loc="left")
        axes.set(xscale="log", yscale="log")
        tidy(axes)
    for axes in grid[1]:
        axes.set_xlabel("elements")
    for axes in grid[:, 0]:
        axes.set_ylabel(f"10⁹ {data['dtype']} elements a second")
    speeds = [
        speed / 1e9
        for panel in data["panels"]
        for curve in panel["elements_per_second"].values()
        for speed in curve.values()
    ]
    grid[0, 0].set_ylim(max(min(speeds), LOWEST) / 1.5, max(speeds) * 1.6)
    order = [name for name in (*STYLES, LIMIT) if name in handles]
    figure.legend(
        [handles[name] for name in order],
        [NAMES.get(name, name) for name in order],
        loc="upper center",
        ncols=len(order),
        frameon=False,
        fontsize=9,
        handlelength=1.6,
        columnspacing=1.2,
    )
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    save(figure, file)
    plt.close(figure)


def _line(axes: Any, name: str, sizes: list[int], speeds: list[float]) -> Any:
    if name == LIMIT:
        return axes.axhline(speeds[-1], color=INK, linestyle=(0, (4, 3)), linewidth=1.3)
    colour, marker = STYLES[name]
    strong = name == OURS
    return axes.plot(
        sizes,
        speeds,
        color=colour,
        marker=marker,
        markersize=6 if strong else 4,
        linewidth=2.6 if strong else 1.2,
        zorder=3 if strong else 2,
    )[0]


def main() -> int:
    """Measure, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="draw the figures that are there")
    parser.add_argument("--family", choices=FAMILIES, action="append", help="all by default")
    parser.add_argument("--threads", type=int, default=fl.get_num_threads(), metavar="N")
    parser.add_argument(
        "--largest", type=int, default=LARGEST, metavar="N", help="sizes up to 10 to the power N"
    )
    parser.add_argument("--png", action="store_true", help="PNG beside SVG")
    given = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not given.draw:
        pin(given.threads)
        fl.set_num_threads(given.threads)
    for family in given.family or FAMILIES:
        file = FOLDER / f"{family}.json"
        if not given.draw:
            data = measure(family, given.threads, given.largest)
            file.write_text(json.dumps(data, indent=1) + "\n")
        if not draw_figures(file, partial(draw, family), given.png):
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
