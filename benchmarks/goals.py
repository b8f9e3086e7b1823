"""What is promised of the speed, and what was measured: the rows of the table of goals.

Goals 1 and 2 come from the matrix of cases; every other goal is an experiment of its own, a ratio
of calls that take turns.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cases import Array, Call, Case, arguments
from limits import movers
from tables import LARGE, LIMIT, OURS, Goal, Rows, best_peer, geometric_mean, ratio
from timing import best_times, least_times

import fastloss as fl
from fastloss import _core
from fastloss._losses import RECORDS

# Hardly any arithmetic: these losses can run as fast as the memory delivers.
STREAMING = ("squared_error", "absolute_error", "huber", "quantile", "hinge", "squared_hinge")
# Far more arithmetic than memory traffic.
HEAVY = ("sigmoid_cross_entropy", "logistic", "binary_cross_entropy", "log_cosh")
SOFTMAX = ("softmax_cross_entropy", "sparse_softmax_cross_entropy")
AHEAD = ("sigmoid_cross_entropy", "logistic", *SOFTMAX)
ROWS = ((200_000, 10), (20_000, 100), (512, 32_000))
IN_CACHE = 4_096
IN_MEMORY = 10_000_000

# What a call takes beyond its outputs, its threads' start included, told by the peak of a process
# of its own. Not by `ru_maxrss`, which a process inherits from the one that starts it.
MEMORY_PROBE = """
import re, numpy as np, fastloss as fl
y, z = np.ones(20_000_000, np.int8), np.full(20_000_000, 0.5)
rows, few = z.reshape(-1, 10), slice(0, 8)
def peak(): return int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
def calls(y, z, rows):
    fl.squared_error(y, z, num_threads=THREADS)
    fl.sigmoid_cross_entropy.grad(y, z, out=z, num_threads=THREADS)
    fl.sparse_softmax_cross_entropy(y[:len(rows)], rows, num_threads=THREADS)
calls(y[few], z[few], rows[few])
before = peak()
calls(y, z, rows)
print((peak() - before) / THREADS)
"""

# The best time of a call in a process with and without another library's threads, which have just
# worked and may be spinning still.
BESIDE_PROBE = """
import time, numpy as np, fastloss as fl
OTHER
fl.set_num_threads(THREADS)
y, z = np.random.default_rng(0).random((2, 100_000), np.float32)
best = 9.0
for _ in range(300):
    other()
    time.sleep(1e-3)
    start = time.perf_counter()
    fl.sigmoid_cross_entropy(y, z)
    best = min(best, time.perf_counter() - start)
print(best)
"""
OTHER_TORCH = "import torch; t = torch.ones(1_000_000); other = lambda: t.exp().sum()"
OTHER_SKLEARN = (
    "from sklearn._loss._loss import CyHalfBinomialLoss as Other\n"
    "y, z, o = np.ones((3, 100_000)); other = lambda: Other().loss(y, z, None, o, THREADS)"
)
OTHER_NONE = "other = lambda: None"

Ratios = dict[str, float]


def _goal(number: int, text: str, ratios: Ratios, *, least: Any = None, most: Any = None) -> Goal:
    """Return the goal of the worst ratio."""
    worst = (max if least is None else min)(ratios, key=ratios.__getitem__)
    return Goal(number, text, ratios[worst], least, most, worst, ratios)


# ---- 1 and 2: the matrix ----


def of_matrix(rows: Rows, peers: Sequence[str]) -> Iterator[Goal]:
    """Yield the goals that the matrix answers; those without a cell are left out."""
    large = {case: times for case, times in rows.items() if case.elements >= LARGE}
    best = {case: ratio(times, peer) for case, times in large.items() if (peer := best_peer(times))}
    if best:
        cells = {str(case): value for case, value in best.items()}
        yield _goal(1, "best peer of any cell, times as long as fastloss", cells, least=1)
        mean = geometric_mean(best.values())
        yield Goal(1, f"geometric mean over the best peers of {len(best)} cells", mean, 2.5)
        ahead = {str(case): value for case, value in best.items() if case.loss in AHEAD}
        if ahead:
            yield _goal(1, "sigmoid, logistic and softmax: best peer of any cell", ahead, least=3)
    for peer in peers:
        ratios = [ratio(times, peer) for times in large.values() if peer in times]
        if ratios:
            yield Goal(1, f"geometric mean over {peer} alone", geometric_mean(ratios), 5)
    for dtype in ("float32", "float64"):
        for operation, text, least in (
            ("mean", "share of the read limit, mean of streaming losses", 0.9),
            ("value_and_grad_out", "share of the read and write limit, gradient into `out`", 0.85),
        ):
            shares = {
                str(case): times[LIMIT] / times[OURS]
                for case, times in rows.items()
                if (case.operation, case.dtype) == (operation, dtype)
                and case.loss in STREAMING
                and LIMIT in times
            }
            if shares:
                yield _goal(2, f"{text}, {dtype}, 10,000,000", shares, least=least)
    times = rows.get(Case("sigmoid_cross_entropy", "mean", "float32", IN_MEMORY), {})
    if LIMIT in times:
        text = "share of the read limit, mean of sigmoid_cross_entropy, float32, 10,000,000"
        yield Goal(2, text, times[LIMIT] / times[OURS], 0.6)
    small = {
        f"{case} over {peer}": ratio(times, peer)
        for case, times in rows.items()
        for peer in ("numpy", "numba")
        if case.elements == 1_000 and peer in times
    }
    if small:
        yield _goal(6, "1,000 elements: NumPy or Numba, times as long", small, least=1)


# ---- experiments ----


class Bench:
    """What the experiments share: the number of threads, the turns, the times of earlier passes."""

    def __init__(self, threads: int, repeats: int) -> None:
        self.threads = threads
        self.repeats = repeats
        # Of each experiment what it asked for, in that order.
        self._best: dict[tuple[str, int], dict[str, float]] = {}
        self._next = ("", 0)

    def begin(self, experiment: str) -> None:
        """Begin an experiment, for the first time or again."""
        self._next = (experiment, 0)

    def times(self, calls: dict[str, Call], but: str = "") -> dict[str, float]:
        """Return the best time of each call; all take every turn, but for one."""
        times = best_times(calls, self.repeats, tuple(name for name in calls if name != but))
        times = self._best[self._next] = least_times(times, self._best.get(self._next, {}))
        experiment, place = self._next
        self._next = (experiment, place + 1)
        return times

    def relative(self, first: Call, second: Call) -> float:
        """Return the time of the first call by that of the second."""
        times = self.times({"first": first, "second": second})
        return times["first"] / times["second"]


def sample(loss: str, dtype: str, rows: int, classes: int = 0) -> tuple[Array, Array]:
    return arguments(Case(loss, "mean", dtype, rows, classes))


def _operations(name: str) -> dict[str, Any]:
    loss = fl.get(name)
    return {"mean": loss, "value_and_grad": loss.value_and_grad}


def instruction_sets(bench: Bench) -> Iterator[Goal]:
    """Time the kernels of AVX2 beside those of AVX-512, one thread, arrays in cache."""
    if _core.isa() != "v4":
        return
    ratios = {}

    def under(isa: str, call: Call) -> Call:
        def switched() -> None:
            _core._set_isa(isa)
            for _ in range(20):
                call()

        return switched

    try:
        for record in RECORDS:
            shape = (IN_CACHE, 0) if record.kind == "pointwise" else (IN_CACHE // 16, 16)
            for dtype in ("float32", "float64"):
                y, z = sample(record.name, dtype, *shape)
                for operation, loss in _operations(record.name).items():
                    call = partial(loss, y, z)
                    ratios[f"{record.name} {operation} {dtype}"] = bench.relative(
                        under("v3", call), under("v4", call)
                    )
    finally:
        _core._set_isa("v4")
    yield _goal(3, "AVX2 by AVX-512, 4,096 elements, one thread", ratios, most=1.6)


def class_axes(bench: Bench) -> Iterator[Goal]:
    """Time classes on the first axis, and class-major scores, beside row-major ones."""
    first, major = {}, {}
    for name in SOFTMAX:
        for rows, classes in ROWS:
            y, z = sample(name, "float32", rows, classes)
            y0 = y if y.ndim == 1 else np.ascontiguousarray(y.T)
            yf = y if y.ndim == 1 else np.asfortranarray(y)
            z0, zf = np.ascontiguousarray(z.T), np.asfortranarray(z)
            for operation, loss in _operations(name).items():
                times = bench.times(
                    {
                        "last": partial(loss, y, z),
                        "axis0": partial(loss, y0, z0, axis=0),
                        "fortran": partial(loss, yf, zf),
                    }
                )
                where = f"{name} {operation} float32 {rows:,} x {classes:,}"
                first[where] = times["last"] / times["axis0"]
                major[where] = times["last"] / times["fortran"]
    yield _goal(4, "classes on the first axis, speed by that on the last", first, least=0.7)
    yield _goal(4, "class-major (F-ordered) scores, speed by row-major", major, least=0.8)


def labels(bench: Bench) -> Iterator[Goal]:
    """Time labels of other dtypes per byte, and strided and broadcast operands."""
    per_byte = {}
    for name in ("squared_error", "hinge", "sigmoid_cross_entropy"):
        for dtype in ("float32", "float64"):
            _, z = sample(name, dtype, IN_MEMORY)
            same = (z > 0).astype(dtype)
            for operation, loss in _operations(name).items():
                calls: dict[str, Call] = {"same": partial(loss, same, z)}
                size = {"same": 2 * z.nbytes}
                for label in ("bool", "int8", "int64", "float32"):
                    if label != dtype:
                        y = same.astype(label)
                        calls[label] = partial(loss, y, z)
                        size[label] = y.nbytes + z.nbytes
                written = z.nbytes if operation != "mean" else 0
                times = bench.times(calls)
                rate = {label: times[label] / (size[label] + written) for label in calls}
                for label in calls:
                    if label != "same":
                        where = f"{name} {operation} {dtype}, {label} labels"
                        per_byte[where] = rate[label] / rate["same"]
    yield _goal(
        5, "labels of another dtype, time per byte by that of the same", per_byte, most=1.15
    )
    ratios: Ratios = {}
    for name in ("squared_error", "sigmoid_cross_entropy"):
        y, z = sample(name, "float32", 100_000)
        column = np.repeat(z, 4).reshape(-1, 4)[:, 1]
        square_y, square_z = y.reshape(100, 1000), z.reshape(100, 1000)
        row = np.ascontiguousarray(square_y[0])
        side = np.ascontiguousarray(square_y[:, :1])
        for operation, loss in _operations(name).items():
            times = bench.times(
                {
                    "contiguous": partial(loss, y, z),
                    "column": partial(loss, y, column),
                    "row": partial(loss, row, square_z),
                    "side": partial(loss, side, square_z),
                    "scalar": partial(loss, 0.5, z),
                }
            )
            contiguous = times.pop("contiguous")
            ratios |= {f"{name} {operation}, {k}": t / contiguous for k, t in times.items()}
    yield _goal(5, "strided or broadcast operand by contiguous, 100,000", ratios, most=1.5)


def small_calls(repeats: int) -> dict[str, float]:
    """Return nanoseconds of calls on eight elements."""
    y, z = np.zeros(8, np.float32), np.ones(8, np.float32)
    loss = fl.get("huber", delta=2.0)
    calls: dict[str, Call] = {
        "": lambda: None,
        "np.subtract(y, z)": lambda: np.subtract(y, z),
        "np.mean((z - y) ** 2)": lambda: np.mean((z - y) ** 2),
        "fl.squared_error(y, z)": lambda: fl.squared_error(y, z),
        "fl.squared_error.value_and_grad(y, z)": lambda: fl.squared_error.value_and_grad(y, z),
        'loss = fl.get("huber", delta=2.0); loss(y, z)': lambda: loss(y, z),
        "loss.value_and_grad(y, z)": lambda: loss.value_and_grad(y, z),
        "fl.huber(y, z, delta=2.0)": lambda: fl.huber(y, z, delta=2.0),
    }
    times = best_times(calls, repeats, tuple(calls))
    empty = times.pop("")
    return {name: (seconds - empty) * 1e9 for name, seconds in times.items()}


def of_small_calls(small: dict[str, float]) -> Iterator[Goal]:
    """Yield the goals of calls on eight elements."""
    base = small["np.subtract(y, z)"]
    for words, most in (("fl.squared_error(y, z)", 2.0), ("loss(y, z)", 2.0)):
        value = next(time for name, time in small.items() if name.endswith(words))
        yield Goal(6, f"`{words}` on 8 elements by `np.subtract`", value / base, None, most)
    for words in ("fl.squared_error.value_and_grad(y, z)", "loss.value_and_grad(y, z)"):
        yield Goal(6, f"`{words}` on 8 elements by `np.subtract`", small[words] / base, None, 3)


def threads(bench: Bench) -> Iterator[Goal]:
    """Time two threads beside one, more threads than processors, and other OpenMP programs."""
    if bench.threads < 2:
        return

    def with_threads(loss: Any, y: Array, z: Array, count: int) -> Call:
        return partial(loss, y, z, num_threads=count)

    faster = {}
    for name in (*HEAVY, "sparse_softmax_cross_entropy"):
        shape = (10_000, 10) if "softmax" in name else (100_000, 0)
        for dtype in ("float32", "float64"):
            y, z = sample(name, dtype, *shape)
            for operation, loss in _operations(name).items():
                faster[f"{name} {operation} {dtype}"] = bench.relative(
                    with_threads(loss, y, z, 1), with_threads(loss, y, z, 2)
                )
    yield _goal(7, "one thread by two, 100,000 elements", faster, least=1.85)
    never = {}
    for name in ("squared_error", "log_cosh", "sigmoid_cross_entropy"):
        for n in (1_000, 3_000, 10_000, 20_000, 30_000, 50_000, 100_000, 1_000_000):
            y, z = sample(name, "float32", n)
            for operation, loss in _operations(name).items():
                never[f"{name} {operation} float32 {n:,}"] = bench.relative(
                    with_threads(loss, y, z, 1), with_threads(loss, y, z, 2)
                )
    yield _goal(7, "one thread by two, at any size", never, least=0.95)
    y, z = sample("sigmoid_cross_entropy", "float32", 1_000_000)
    loss = fl.sigmoid_cross_entropy
    crowded = bench.relative(
        with_threads(loss, y, z, 4 * bench.threads), with_threads(loss, y, z, bench.threads)
    )
    text = "four times as many threads as processors, sigmoid_cross_entropy 1,000,000, time"
    yield Goal(7, text, crowded, None, 1.1)
    beside = {"torch": OTHER_TORCH, "sklearn": OTHER_SKLEARN}
    best = {name: float("inf") for name in ("nothing", *beside)}
    for _ in range(3):
        for name, other in {"nothing": OTHER_NONE, **beside}.items():
            code = BESIDE_PROBE.replace("OTHER", other).replace("THREADS", str(bench.threads))
            answer = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=False
            )
            if answer.returncode == 0:
                best[name] = min(best[name], float(answer.stdout))
    ratios = {
        f"beside {name}": best[name] / best["nothing"]
        for name in beside
        if best[name] < float("inf")
    }
    if ratios:
        text = "sigmoid_cross_entropy 100,000 beside another OpenMP program by alone"
        yield _goal(7, text, ratios, most=1.1)


def weights(bench: Bench) -> Iterator[Goal]:
    """Time a weighted mean per stream, and the other results at the limit of the memory."""
    per_stream, shares = {}, {}
    w = np.random.default_rng(1).uniform(0.5, 2, IN_MEMORY)
    for dtype in ("float32", "float64"):
        weight = w.astype(dtype)
        for name in ("squared_error", "huber", "sigmoid_cross_entropy"):
            y, z = sample(name, dtype, IN_MEMORY)
            loss, out, other = fl.get(name), np.empty_like(z), np.empty_like(z)
            with ThreadPoolExecutor(bench.threads) as pool:
                calls: dict[str, Call] = {
                    "mean": partial(loss, y, z),
                    "weighted": partial(loss, y, z, sample_weight=weight),
                    "both": partial(loss.value_and_grad, y, z, out=out),
                    "both weighted": partial(
                        loss.value_and_grad, y, z, sample_weight=weight, out=out
                    ),
                    "none": partial(loss, y, z, reduction="none", out=out),
                    "grad_and_hess": partial(
                        loss.grad_and_hess, y, z, reduction="sum", out=(out, other)
                    ),
                }
                ways = movers(y, z, out, bench.threads, pool)
                calls |= {f"limit {way}": call for way, call in enumerate(ways)}
                times = bench.times(calls)
            limit = min(times[f"limit {way}"] for way in range(len(ways)))
            per_stream[f"{name} mean {dtype}"] = times["weighted"] / times["mean"] * 2 / 3
            both = times["both weighted"] / times["both"] * 3 / 5
            per_stream[f"{name} value_and_grad {dtype}"] = both
            if name in STREAMING:
                shares[f"{name} none {dtype}"] = limit / times["none"]
                # A stream more than the limit has.
                shares[f"{name} grad_and_hess {dtype}"] = limit * 4 / 3 / times["grad_and_hess"]
    yield _goal(8, "weighted by unweighted, time per stream, 10,000,000", per_stream, most=1.1)
    yield _goal(8, '"none" and grad_and_hess, share of the limit, 10,000,000', shares, least=0.85)


def log_loss(bench: Bench) -> Iterator[Goal]:
    """Time scikit-learn's metric on integer labels and probabilities."""
    try:
        from sklearn.metrics import log_loss as metric
    except ImportError:
        return
    random = np.random.default_rng(0)
    p = random.uniform(0.01, 0.99, IN_MEMORY)
    y = (random.uniform(size=IN_MEMORY) < p).astype(np.int64)
    np.testing.assert_allclose(fl.binary_cross_entropy(y, p), metric(y, p), rtol=1e-10)
    calls: dict[str, Call] = {
        "ours": lambda: fl.binary_cross_entropy(y, p),
        "theirs": lambda: metric(y, p),
    }
    times = bench.times(calls, but="theirs")
    text = "`sklearn.metrics.log_loss`, int64 labels and float64, 10,000,000, times as long"
    yield Goal(9, text, times["theirs"] / times["ours"], 200)


def memory(bench: Bench) -> Iterator[Goal]:
    """Yield by how many MiB a thread the peak of a process grows on 180 MB of input."""
    if not Path("/proc/self/status").exists():
        return
    code = MEMORY_PROBE.replace("THREADS", str(bench.threads))
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    yield Goal(
        0, "MB of memory beyond the outputs, per thread", float(answer.stdout) / 1024, None, 1
    )


EXPERIMENTS: dict[str, Callable[[Bench], Iterator[Goal]]] = {
    "goal 0 memory": memory,
    "goal 3 instruction sets": instruction_sets,
    "goal 4 class axes": class_axes,
    "goal 5 labels and layouts": labels,
    "goal 7 threads": threads,
    "goal 8 weights": weights,
    "goal 9 log_loss": log_loss,
}


def chosen(only: str) -> list[str]:
    """Return the names of the experiments that match."""
    return [name for name in EXPERIMENTS if re.search(only, name)]
