"""Speed beside NumPy, scikit-learn, PyTorch and JAX, and beside the limit of the memory.

    python benchmarks/peers.py [--only REGEX] [--dtype DTYPE] [--markdown] [--json FILE]

One run times all libraries on the same arrays, taking turns, and keeps the best time of each, so
ratios hold on a noisy machine too. Every library's result is checked against ours before it is
timed. A library that is not installed is left out.

The limit is the time that this machine needs to move the same data, measured in the same run, with
as many threads, by something other than fastloss: the fastest of NumPy on Python threads, each with
its part (both release the lock of the interpreter), and of PyTorch where it is installed. For a
mean they take a dot product, which reads every stream once and is bound by memory; for a value with
its gradient they add the streams into an array that is already there. The limit is given only where
the arrays are larger than caches are.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cases as baseline
import numpy as np
from cases import Array, Call, Case, arguments, cases, check

import fastloss as fl
from fastloss._losses import UNIT

Times = dict[str, float]

# A measurement runs for at least this long, in seconds.
LEAST = 2e-3
# Rest before a measurement: threads of the library before it may still be spinning.
REST = 2e-3
# Arrays of a case that together have as many bytes are in no cache.
IN_MEMORY = 50_000_000
ELEMENTS = (100_000, 10_000_000)
SMALL = 1_000_000

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


# ---- the libraries: each returns a call, or None where it has no such loss ----


def with_fastloss(case: Case, y: Array, z: Array) -> Call:
    loss = fl.get(case.loss)
    if case.gradient:
        return lambda: loss.value_and_grad(y, z)
    return lambda: loss(y, z)


def with_numpy(case: Case, y: Array, z: Array, _: int) -> Call:
    return baseline.with_numpy(case, y, z)


def with_sklearn(case: Case, y: Array, z: Array, threads: int) -> Call | None:
    """Use scikit-learn's own kernels, on arrays for the results that are already there."""
    from sklearn._loss import _loss as cython

    make: Callable[[], Any] | None = {
        "squared_error": cython.CyHalfSquaredError,
        "absolute_error": cython.CyAbsoluteError,
        "quantile": lambda: cython.CyPinballLoss(0.5),
        "huber": lambda: cython.CyHuberLoss(1.0),
        "sigmoid_cross_entropy": cython.CyHalfBinomialLoss,
        "sparse_softmax_cross_entropy": cython.CyHalfMultinomialLoss,
    }.get(case.loss)
    if make is None:
        return None
    loss, target = make(), y.astype(case.dtype)
    losses, gradient = np.empty(case.rows, case.dtype), np.empty_like(z)
    factor = 2 if case.loss == "squared_error" else 1

    def value() -> float:
        loss.loss(target, z, None, losses, threads)
        return factor * float(losses.mean())

    def both() -> Any:
        loss.loss_gradient(target, z, None, losses, gradient, threads)
        np.multiply(gradient, z.dtype.type(factor / case.rows), out=gradient)
        return factor * float(losses.mean()), gradient

    return both if case.gradient else value


def with_torch(case: Case, y: Array, z: Array, threads: int) -> Call | None:
    """Use eager PyTorch: its own function where it has one, else the formula."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    losses: dict[str, Callable[[Any, Any], Any]] = {
        "squared_error": functional.mse_loss,
        "root_mean_squared_error": lambda z, y: functional.mse_loss(z, y).sqrt(),
        "absolute_error": functional.l1_loss,
        "squared_log_error": lambda z, y: functional.mse_loss(z.log1p(), y.log1p()),
        "huber": functional.huber_loss,
        "pseudo_huber": lambda z, y: ((1 + (z - y).square()).sqrt() - 1).mean(),
        "log_cosh": lambda z, y: ((z - y) + functional.softplus(-2 * (z - y)) - math.log(2)).mean(),
        "quantile": lambda z, y: torch.maximum(0.5 * (y - z), 0.5 * (z - y)).mean(),
        "binary_cross_entropy": functional.binary_cross_entropy,
        "sigmoid_cross_entropy": functional.binary_cross_entropy_with_logits,
        "logistic": lambda z, y: functional.softplus(-y * z).mean(),
        "hinge": lambda z, y: (1 - y * z).relu().mean(),
        "squared_hinge": lambda z, y: (1 - y * z).relu().square().mean(),
        "categorical_cross_entropy": lambda p, y: -(y * p.log()).sum(1).mean(),
        "sparse_categorical_cross_entropy": lambda p, y: -p.gather(1, y[:, None]).log().mean(),
        "softmax_cross_entropy": functional.cross_entropy,
        "sparse_softmax_cross_entropy": functional.cross_entropy,
        "kl_divergence": lambda p, y: functional.kl_div(p.log(), y, reduction="batchmean"),
    }
    loss = losses.get(case.loss)
    if loss is None:
        return None
    target, scores = torch.from_numpy(y), torch.from_numpy(z)

    def value() -> float:
        with torch.no_grad():
            return float(loss(scores, target))

    def both() -> Any:
        leaf = scores.detach().requires_grad_()
        result = loss(leaf, target)
        result.backward()
        return float(result.detach()), leaf.grad.numpy()

    return both if case.gradient else value


def with_jax(case: Case, y: Array, z: Array, _: int) -> Call | None:
    """Use compiled JAX, which has no setting for its threads: see `pin`."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def own(x: Any, y: Any) -> Any:
        return jnp.take_along_axis(x, y[:, None], axis=1)[:, 0]

    def huber(z: Any, y: Any) -> Any:
        a = jnp.abs(z - y)
        return jnp.mean(jnp.where(a <= 1, 0.5 * a * a, a - 0.5))

    def dense(z: Any, y: Any) -> Any:
        return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(z, axis=1), axis=1))

    softplus = jax.nn.softplus
    losses: dict[str, Callable[[Any, Any], Any]] = {
        "squared_error": lambda z, y: jnp.mean((z - y) ** 2),
        "root_mean_squared_error": lambda z, y: jnp.sqrt(jnp.mean((z - y) ** 2)),
        "absolute_error": lambda z, y: jnp.mean(jnp.abs(z - y)),
        "squared_log_error": lambda z, y: jnp.mean((jnp.log1p(z) - jnp.log1p(y)) ** 2),
        "huber": huber,
        "pseudo_huber": lambda z, y: jnp.mean(jnp.sqrt(1 + (z - y) ** 2) - 1),
        "log_cosh": lambda z, y: jnp.mean(z - y + softplus(-2 * (z - y)) - math.log(2)),
        "quantile": lambda z, y: jnp.mean(jnp.maximum(0.5 * (y - z), 0.5 * (z - y))),
        "binary_cross_entropy": lambda p, y: -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log1p(-p)),
        "sigmoid_cross_entropy": lambda z, y: jnp.mean(softplus(z) - y * z),
        "logistic": lambda z, y: jnp.mean(softplus(-y * z)),
        "hinge": lambda z, y: jnp.mean(jax.nn.relu(1 - y * z)),
        "squared_hinge": lambda z, y: jnp.mean(jax.nn.relu(1 - y * z) ** 2),
        "categorical_cross_entropy": lambda p, y: -jnp.mean(jnp.sum(y * jnp.log(p), axis=1)),
        "sparse_categorical_cross_entropy": lambda p, y: -jnp.mean(jnp.log(own(p, y))),
        "softmax_cross_entropy": dense,
        "sparse_softmax_cross_entropy": lambda z, y: jnp.mean(
            jax.nn.logsumexp(z, axis=1) - own(z, y)
        ),
        "kl_divergence": lambda p, y: jnp.mean(jnp.sum(y * (jnp.log(y) - jnp.log(p)), axis=1)),
    }
    loss = losses.get(case.loss)
    if loss is None:
        return None
    target, scores = jnp.asarray(y), jnp.asarray(z)
    compiled: Any = jax.jit(jax.value_and_grad(loss) if case.gradient else loss)

    def call() -> Any:
        result = jax.block_until_ready(compiled(scores, target))
        return (float(result[0]), np.asarray(result[1])) if case.gradient else float(result)

    return call


PEERS: dict[str, Callable[[Case, Array, Array, int], Call | None]] = {
    "numpy": with_numpy,
    "sklearn": with_sklearn,
    "torch": with_torch,
    "jax": with_jax,
}


# ---- the limit ----


def _move(y: Array, z: Array, out: Array | None) -> None:
    if y.dtype != z.dtype:  # labels
        np.add.reduce(y)
    if out is not None:
        np.negative(z, out=out) if y.dtype != z.dtype else np.add(y, z, out=out)
    elif y.dtype == z.dtype:
        np.dot(y, z)
    else:
        half = z.size // 2
        np.dot(z[:half], z[half : 2 * half])


def limits(case: Case, y: Array, z: Array, threads: int, pool: ThreadPoolExecutor) -> list[Call]:
    """Return calls that move the data of the case and do hardly anything else."""
    reads_all = case.record.kind != "sparse" or case.record.y_pred != UNIT
    if y.nbytes + z.nbytes < IN_MEMORY or not reads_all:
        return []
    y, z = y.ravel(), z.ravel()
    out = np.empty_like(z) if case.gradient else None

    def parts(x: Array | None) -> list[Any]:
        return [None] * threads if x is None else np.array_split(x, threads)

    jobs = [parts(x) for x in (y, z, out)]
    calls: list[Call] = [lambda: list(pool.map(_move, *jobs))]
    if importlib.util.find_spec("torch") and y.dtype == z.dtype:
        import torch

        a, b = torch.from_numpy(y), torch.from_numpy(z)
        if out is None:
            calls.append(lambda: torch.dot(a, b))
        else:
            c = torch.from_numpy(out)
            calls.append(lambda: torch.add(a, b, out=c))
    return calls


# ---- measuring ----


def repetitions(call: Call) -> int:
    """Return how often a call must be made for its time to be measurable."""
    count = 1
    while True:
        start = time.perf_counter()
        for _ in range(count):
            call()
        if time.perf_counter() - start > LEAST:
            return count
        count *= 2


def best_times(calls: dict[str, Call], repeats: int) -> Times:
    """Return the best time of each call, in seconds; the calls take turns."""
    counts = {name: repetitions(call) for name, call in calls.items()}
    best = dict.fromkeys(calls, math.inf)
    for _ in range(repeats):
        for name, call in calls.items():
            time.sleep(REST)
            call()
            start = time.perf_counter()
            for _ in range(counts[name]):
                call()
            best[name] = min(best[name], (time.perf_counter() - start) / counts[name])
    return best


def measure(case: Case, peers: list[str], threads: int, repeats: int) -> Times:
    """Return nanoseconds per element of every library that has the loss, and the limit."""
    y, z = arguments(case)
    calls = {"fastloss": with_fastloss(case, y, z)}
    ours = calls["fastloss"]()
    for name in peers:
        call = PEERS[name](case, y, z, threads)
        if call is not None:
            check(case, ours, call(), name)
            calls[name] = call
    with ThreadPoolExecutor(threads) as pool:
        ways = limits(case, y, z, threads, pool)
        calls |= {f"limit {way}": call for way, call in enumerate(ways)}
        # What takes microseconds is cheap to repeat, and needs it: it hangs on the threads' start.
        best = best_times(calls, 3 * repeats if case.elements < SMALL else repeats)
    times = {name: seconds / case.elements * 1e9 for name, seconds in best.items()}
    moved = [times.pop(f"limit {way}") for way in range(len(ways))]
    return times | ({"limit": min(moved)} if moved else {})


def small_calls(repeats: int) -> Times:
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
        "fl.huber(y, z, delta=2.0)": lambda: fl.huber(y, z, delta=2.0),
    }
    times = best_times(calls, repeats)
    empty = times.pop("")
    return {name: (seconds - empty) * 1e9 for name, seconds in times.items()}


def extra_memory(threads: int) -> float | None:
    """Return by how many KiB a thread the peak of a process grows on 180 MB of input."""
    if not Path("/proc/self/status").exists():
        return None
    code = MEMORY_PROBE.replace("THREADS", str(threads))
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return float(answer.stdout)


def pin(threads: int) -> None:
    """Keep the process on as many processors as threads, which binds all libraries alike."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


class OthersWork:
    """What share of the processors other processes took: figures of a busy machine are worthless.

    `share` is None where the system does not tell.
    """

    def __init__(self) -> None:
        self._start = self._seconds()

    @staticmethod
    def _seconds() -> tuple[float, float, float] | None:
        """Return time on the clock, of all processes, and of this one."""
        file = Path("/proc/stat")
        if not file.exists():
            return None
        user, nice, system, _idle, _wait, *interrupts = map(
            int, file.read_text().splitlines()[0].split()[1:9]
        )
        busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), busy, time.process_time()

    @property
    def share(self) -> float | None:
        """Share of the processors' time since this object was made."""
        if self._start is None:
            return None
        clock, busy, own = (
            b - a for a, b in zip(self._start, self._seconds() or self._start, strict=True)
        )
        return max(0.0, busy - own) / (clock * (os.cpu_count() or 1))


# ---- telling ----


def machine(threads: int, peers: list[str]) -> str:
    """Describe what the figures were measured on."""
    config = fl.show_config(as_dict=True)
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = re.findall(r"model name\s*: (.*)", information.read_text())
        processor = names[0] if names else processor
    caches = _caches()
    names = {"numpy": "numpy", "sklearn": "scikit-learn", "torch": "torch", "jax": "jax"}
    libraries = ", ".join(f"{names[name]} {version(names[name])}" for name in peers)
    return (
        f"{processor}, {os.cpu_count()} processors{f' ({caches})' if caches else ''}; "
        f"{threads} threads, kernels {config['isa']}, {config['compiler']}; "
        f"Python {platform.python_version()}, {libraries}"
    )


def _caches() -> str:
    """Return the sizes of the first processor's caches, where Linux tells them."""
    found = {}
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (
                (cache / name).read_text().strip() for name in ("level", "type", "size")
            )
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = size.replace("K", " KiB")
    return ", ".join(f"{name} {size}" for name, size in found.items())


def geometric_mean(rows: dict[Case, Times], peer: str) -> float:
    ratios = [times[peer] / times["fastloss"] for times in rows.values() if peer in times]
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan


def table(rows: dict[Case, Times], peers: list[str]) -> list[list[str]]:
    """Return the lines of the main table, as cells."""
    head = ["case", "fastloss", "limit", "of limit"]
    lines = [head + [cell for name in peers for cell in (name, "ratio")]]
    for case, times in rows.items():
        ours, limit = times["fastloss"], times.get("limit")
        line = [str(case), f"{ours:.3f}"]
        line += ["", ""] if limit is None else [f"{limit:.3f}", f"{limit / ours:.2f}"]
        for name in peers:
            theirs = times.get(name)
            line += ["", ""] if theirs is None else [f"{theirs:.2f}", f"{theirs / ours:.1f}"]
        lines.append(line)
    means = [f"{mean:.1f}" for mean in (geometric_mean(rows, name) for name in peers)]
    lines.append(["geometric mean", "", "", "", *(cell for mean in means for cell in ("", mean))])
    return lines


def goals(rows: dict[Case, Times], small: Times, memory: float | None) -> list[list[str]]:
    """Return the lines of what is promised beside what was measured."""
    lines = [["goal", "at least", "measured"]]
    wanted = [
        ("mean of", "squared_error", "mean", 10_000_000, 0, "limit", 0.8),
        ("mean of", "sigmoid_cross_entropy", "mean", 100_000, 0, "torch", 3),
        (
            "value and gradient of",
            "sigmoid_cross_entropy",
            "value_and_grad",
            100_000,
            0,
            "torch",
            3,
        ),
        ("mean of", "sparse_softmax_cross_entropy", "mean", 200_000, 10, "jax", 1),
        (
            "value and gradient of",
            "sparse_softmax_cross_entropy",
            "value_and_grad",
            200_000,
            10,
            "jax",
            1,
        ),
    ]
    for words, loss, operation, n, classes, peer, least in wanted:
        times = rows.get(Case(loss, operation, "float32", n, classes), {})
        if peer in times:
            size = f"{n:,} x {classes}" if classes else f"{n:,}"
            what = "share of the read limit" if peer == "limit" else f"times as fast as {peer}"
            ratio = f"{times[peer] / times['fastloss']:.2f}"
            lines.append([f"{words} `{loss}`, {size} float32: {what}", f"{least}", ratio])
    lines += [
        [f"`{name}` on 8 elements", "at most 1000 ns", f"{small[name]:.0f} ns"]
        for name in ("fl.squared_error(y, z)", "fl.squared_error.value_and_grad(y, z)")
    ]
    if memory is not None:
        lines.append(["memory beyond the outputs, per thread", "at most 1 MB", f"{memory:.0f} KiB"])
    return lines


def show(lines: list[list[str]], markdown: bool) -> None:
    """Print a table whose first column is text."""
    if markdown:
        lines = [lines[0], ["---", *["---:"] * (len(lines[0]) - 1)], *lines[1:]]
        print("\n".join(f"| {' | '.join(line)} |" for line in lines), end="\n\n")
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
        print(line[0].ljust(widths[0]), *cells)
    print()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=fl.get_num_threads(), metavar="N")
    parser.add_argument("--repeats", type=int, default=10, metavar="N", help="turns of each call")
    parser.add_argument("--only", default="", metavar="REGEX", help="only cases that match")
    parser.add_argument(
        "--dtype", action="append", choices=("float32", "float64"), help="float32 by default"
    )
    parser.add_argument("--markdown", action="store_true", help="tables for benchmarks/README.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    given = parser.parse_args()
    pin(given.threads)
    fl.set_num_threads(given.threads)
    peers = [name for name in PEERS if importlib.util.find_spec(name)]
    missing = [name for name in PEERS if name not in peers]
    if missing:
        print(f"Not installed, left out: {', '.join(missing)}", file=sys.stderr)
    chosen = [
        case
        for case in cases(tuple(given.dtype or ["float32"]), ELEMENTS)
        if re.search(given.only, str(case))
    ]
    if not chosen:
        print(f"--only: got {given.only!r}, which matches no case", file=sys.stderr)
        return 2
    memory, small = extra_memory(given.threads), small_calls(given.repeats)
    rows, others = {}, OthersWork()
    for case in chosen:
        if sys.stderr.isatty():
            print(f"{case!s:75}", end="\r", file=sys.stderr, flush=True)
        rows[case] = measure(case, peers, given.threads, given.repeats)
    described, share = machine(given.threads, peers), others.share
    print(f"Measured on: {described}.")
    if share is not None:
        print(f"Other processes took {share:.0%} of the processors meanwhile.")
    print()
    show(goals(rows, small, memory), given.markdown)
    calls = [["call on 8 float32", "ns"], *([f"`{k}`", f"{v:.0f}"] for k, v in small.items())]
    show(calls, given.markdown)
    print("Nanoseconds per element; a ratio says how many times as long the peer takes.\n")
    show(table(rows, peers), given.markdown)
    if given.json:
        figures = {
            "machine": described,
            "share_of_others": share,
            "extra_kib_per_thread": memory,
            "ns_per_call_on_8": small,
            "ns_per_element": {str(case): times for case, times in rows.items()},
            "geometric_mean": {
                name: None if math.isnan(mean) else mean
                for name, mean in ((name, geometric_mean(rows, name)) for name in peers)
            },
        }
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
