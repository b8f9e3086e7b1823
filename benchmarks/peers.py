"""Speed beside NumPy, scikit-learn, PyTorch and JAX, and beside the limit of the memory.

    python benchmarks/peers.py [--only REGEX] [--markdown]

One run times all libraries on the same arrays, in turn, several times over, and takes the best of
each: ratios then hold on a noisy machine as well. A library that is not installed is left out.

The limit is what this machine needs to move the data at all, measured in the same run with as many
threads: for a mean, a dot product that reads the same bytes (NumPy's BLAS, each thread on its
part); for a value with its gradient, an addition of the same streams that writes as many bytes.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastloss as fl

Array = NDArray[Any]
Call = Callable[[], Any]

# A measurement runs for at least this long, in seconds.
LEAST = 2e-3


@dataclass(frozen=True)
class Case:
    """A loss of n elements, or of n rows of some classes; of a mean or of value and gradient."""

    loss: str
    dtype: str
    n: int
    classes: int = 0
    gradient: bool = False

    @property
    def elements(self) -> int:
        """Number of predictions."""
        return self.n * max(self.classes, 1)

    def __str__(self) -> str:
        size = f"{self.n:,} x {self.classes:,}" if self.classes else f"{self.n:,}"
        return f"{self.loss} {'value+grad' if self.gradient else 'mean'} {self.dtype} {size}"


@dataclass
class Data:
    """The arguments of a case."""

    y: Array
    z: Array


def cases() -> Iterable[Case]:
    """Yield what is measured."""
    for loss in ("squared_error", "absolute_error", "huber", "binary_cross_entropy"):
        for dtype in ("float32", "float64"):
            yield Case(loss, dtype, 10_000_000)
    for gradient in (False, True):
        for dtype in ("float32", "float64"):
            for n in (100_000, 10_000_000):
                yield Case("sigmoid_cross_entropy", dtype, n, gradient=gradient)
        yield (
            Case("squared_error", "float32", 10_000_000, gradient=True)
            if gradient
            else Case("squared_error", "float32", 100_000)
        )
        for n, classes in ((200_000, 10), (20_000, 100), (512, 32_000)):
            yield Case("sparse_softmax_cross_entropy", "float32", n, classes, gradient)


def data(case: Case) -> Data:
    """Return the arguments of a case."""
    random = np.random.default_rng(1)
    if case.classes:
        z = random.normal(size=(case.n, case.classes)).astype(case.dtype)
        return Data(random.integers(0, case.classes, case.n), z)
    z = random.normal(size=case.n).astype(case.dtype)
    if case.loss in {"binary_cross_entropy", "sigmoid_cross_entropy"}:
        y = (random.uniform(size=case.n) < 0.5).astype(case.dtype)
        z = 1 / (1 + np.exp(-z)) if case.loss == "binary_cross_entropy" else z
        return Data(y, z)
    return Data(random.normal(size=case.n).astype(case.dtype), z)


# ---- the libraries: each returns a call, or None where it has no such loss ----


def with_fastloss(case: Case, d: Data, threads: int) -> Call:
    loss = fl.get(case.loss)
    if case.gradient:
        return lambda: loss.value_and_grad(d.y, d.z, num_threads=threads)
    return lambda: loss(d.y, d.z, num_threads=threads)


def with_numpy(case: Case, d: Data, _: int) -> Call | None:
    y, z = d.y, d.z

    def sparse_softmax() -> Any:
        rows = np.arange(len(y))
        top = z.max(axis=1, keepdims=True)
        e = np.exp(z - top)
        total = e.sum(axis=1, keepdims=True)
        value = float(np.mean(np.log(total[:, 0]) + top[:, 0] - z[rows, y]))
        if not case.gradient:
            return value
        e /= total
        e[rows, y] -= 1
        e /= len(y)
        return value, e

    def sigmoid() -> Any:
        value = float(np.mean(np.logaddexp(0, z) - y * z))
        return (value, (1 / (1 + np.exp(-z)) - y) / len(z)) if case.gradient else value

    def squared() -> Any:
        r = z - y
        value = float(np.mean(r * r))
        return (value, 2 / len(z) * r) if case.gradient else value

    def huber() -> float:
        a = np.abs(z - y)
        return float(np.mean(np.where(a <= 1, 0.5 * a * a, a - 0.5)))

    return {
        "squared_error": squared,
        "absolute_error": lambda: float(np.mean(np.abs(z - y))),
        "huber": huber,
        "binary_cross_entropy": lambda: float(-np.mean(y * np.log(z) + (1 - y) * np.log1p(-z))),
        "sigmoid_cross_entropy": sigmoid,
        "sparse_softmax_cross_entropy": sparse_softmax,
    }.get(case.loss)


def with_torch(case: Case, d: Data, threads: int) -> Call | None:
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    y, z = torch.from_numpy(d.y), torch.from_numpy(d.z)
    loss: Any = {
        "squared_error": functional.mse_loss,
        "absolute_error": functional.l1_loss,
        "huber": functional.huber_loss,
        "binary_cross_entropy": functional.binary_cross_entropy,
        "sigmoid_cross_entropy": functional.binary_cross_entropy_with_logits,
        "sparse_softmax_cross_entropy": functional.cross_entropy,
    }.get(case.loss)

    def value() -> float:
        with torch.no_grad():
            return float(loss(z, y))

    def both() -> Any:
        leaf = z.detach().requires_grad_()
        result = loss(leaf, y)
        result.backward()
        return float(result.detach()), leaf.grad.numpy()

    return both if case.gradient else value


def with_jax(case: Case, d: Data, _: int) -> Call | None:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    y, z = jnp.asarray(d.y), jnp.asarray(d.z)

    def entropy(z: Any, y: Any) -> Any:
        return jnp.mean(jax.nn.softplus(z) - y * z)

    def softmax(z: Any, y: Any) -> Any:
        own = jnp.take_along_axis(z, y[:, None], axis=1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - own)

    def huber(z: Any, y: Any) -> Any:
        a = jnp.abs(z - y)
        return jnp.mean(jnp.where(a <= 1, 0.5 * a * a, a - 0.5))

    loss: Any = {
        "squared_error": lambda z, y: jnp.mean((z - y) ** 2),
        "absolute_error": lambda z, y: jnp.mean(jnp.abs(z - y)),
        "huber": huber,
        "binary_cross_entropy": lambda p, y: -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log1p(-p)),
        "sigmoid_cross_entropy": entropy,
        "sparse_softmax_cross_entropy": softmax,
    }.get(case.loss)
    compiled = jax.jit(jax.value_and_grad(loss) if case.gradient else loss)

    def call() -> Any:
        result = jax.block_until_ready(compiled(z, y))
        return (float(result[0]), np.asarray(result[1])) if case.gradient else float(result)

    return call


def with_sklearn(case: Case, d: Data, threads: int) -> Call | None:
    from sklearn._loss import _loss as cython

    loss: Any = {
        "squared_error": lambda: cython.CyHalfSquaredError(),
        "absolute_error": lambda: cython.CyAbsoluteError(),
        "huber": lambda: cython.CyHuberLoss(1.0),
        "sigmoid_cross_entropy": lambda: cython.CyHalfBinomialLoss(),
        "sparse_softmax_cross_entropy": lambda: cython.CyHalfMultinomialLoss(),
    }.get(case.loss)
    if loss is None:
        return None
    loss = loss()
    y, z = d.y.astype(case.dtype), d.z
    losses, gradient = np.empty(case.n, case.dtype), np.empty_like(z)
    factor = 2.0 if case.loss == "squared_error" else 1.0

    def value() -> float:
        loss.loss(y, z, None, losses, threads)
        return factor * float(losses.mean())

    def both() -> Any:
        loss.loss_gradient(y, z, None, losses, gradient, threads)
        return factor * float(losses.mean()), factor / case.n * gradient

    return both if case.gradient else value


PEERS: dict[str, Callable[[Case, Data, int], Call | None]] = {
    "numpy": with_numpy,
    "sklearn": with_sklearn,
    "torch": with_torch,
    "jax": with_jax,
}


def limit(case: Case, d: Data, threads: int, pool: ThreadPoolExecutor) -> Call:
    """Return a call that moves the bytes of the case and does hardly anything else."""
    streams = [d.z.ravel()] if case.classes else [d.y, d.z]
    if case.classes:  # one stream: the two halves of the scores
        half = streams[0].size // 2
        streams = [streams[0][:half], streams[0][half : 2 * half]]
    cuts = [slice(i * len(streams[0]) // threads, (i + 1) * len(streams[0]) // threads)
            for i in range(threads)]  # fmt: skip
    parts = [[s[cut] for s in streams] for cut in cuts]
    if not case.gradient:
        return lambda: list(pool.map(lambda p: np.dot(*p), parts))
    if case.classes:
        flat, out = d.z.ravel(), np.empty(d.z.size, d.z.dtype)
        ends = [slice(i * flat.size // threads, (i + 1) * flat.size // threads)
                for i in range(threads)]  # fmt: skip
        return lambda: list(pool.map(lambda cut: np.negative(flat[cut], out=out[cut]), ends))
    out = np.empty_like(d.z)
    return lambda: list(pool.map(lambda i: np.add(*parts[i], out=out[cuts[i]]), range(threads)))


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


def best_times(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Return the best time of each call, in seconds; the calls take turns."""
    counts = {name: repetitions(call) for name, call in calls.items()}
    best = dict.fromkeys(calls, math.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                call()
            best[name] = min(best[name], (time.perf_counter() - start) / counts[name])
    return best


def check(case: Case, ours: Any, theirs: Any, name: str) -> None:
    """Fail if a peer computes something else."""
    tolerance = 2e-4 if case.dtype == "float32" else 1e-8
    pairs = zip(ours, theirs, strict=True) if case.gradient else [(ours, theirs)]
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=1e-7, err_msg=f"{name}: {case}")


def measure(case: Case, peers: list[str], threads: int, rounds: int) -> dict[str, float]:
    """Return nanoseconds per element of every library that has the loss."""
    d = data(case)
    calls = {"fastloss": with_fastloss(case, d, threads)}
    wanted = calls["fastloss"]()
    for name in peers:
        call = PEERS[name](case, d, threads)
        if call is not None:
            check(case, wanted, call(), name)
            calls[name] = call
    with ThreadPoolExecutor(threads) as pool:
        calls["limit"] = limit(case, d, threads, pool)
        best = best_times(calls, rounds)
    return {name: seconds / case.elements * 1e9 for name, seconds in best.items()}


def small_calls(rounds: int) -> dict[str, float]:
    """Return nanoseconds of calls on eight elements."""
    y, z = np.zeros(8, np.float32), np.ones(8, np.float32)
    loss = fl.get("huber", delta=2.0)
    calls: dict[str, Call] = {
        "np.subtract(y, z)": lambda: np.subtract(y, z),
        "fl.squared_error(y, z)": lambda: fl.squared_error(y, z),
        "fl.squared_error.value_and_grad(y, z)": lambda: fl.squared_error.value_and_grad(y, z),
        'loss = fl.get("huber", delta=2.0); loss(y, z)': lambda: loss(y, z),
        "fl.huber(y, z, delta=2.0)": lambda: fl.huber(y, z, delta=2.0),
    }
    empty = best_times({"": lambda: None}, rounds)[""]
    times = best_times(calls, rounds)
    return {name: (seconds - empty) * 1e9 for name, seconds in times.items()}


def machine(threads: int, peers: list[str]) -> str:
    """Describe what the figures were measured on."""
    config = fl.show_config(as_dict=True)
    processor = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            names = re.findall(r"model name\s*: (.*)", file.read())
        processor = names[0] if names else processor
    versions = {"numpy": np.__version__}
    for name in peers:
        if name != "numpy":
            versions[name] = importlib.import_module(name).__version__
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{processor}, {os.cpu_count()} processors, {threads} threads, kernels {config['isa']}, "
        f"{config['compiler']}, Python {platform.python_version()}, {libraries}"
    )


def show(
    rows: dict[Case, dict[str, float]], peers: list[str], small: dict[str, float], markdown: bool
) -> None:
    """Print the tables."""
    head = ["case", "fastloss", "limit", "of limit", *(p for n in peers for p in (n, "ratio"))]
    lines = [head]
    for case, times in rows.items():
        ours = times["fastloss"]
        line = [str(case), f"{ours:.3f}", f"{times['limit']:.3f}", f"{times['limit'] / ours:.2f}"]
        for name in peers:
            theirs = times.get(name)
            line += ["", ""] if theirs is None else [f"{theirs:.2f}", f"{theirs / ours:.1f}"]
        lines.append(line)
    means = ["geometric mean", "", "", ""]
    for name in peers:
        ratios = [t[name] / t["fastloss"] for t in rows.values() if name in t]
        means += ["", f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.1f}" if ratios else ""]
    lines.append(means)
    if markdown:
        lines.insert(1, ["---", *["---:"] * (len(head) - 1)])
        print("\n".join("| " + " | ".join(line) + " |" for line in lines))
        print("\n| call on 8 float32 | ns |\n|---|---:|")
        print("\n".join(f"| `{name}` | {ns:.0f} |" for name, ns in small.items()))
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print(
            line[0].ljust(widths[0]),
            *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
        )
    print()
    for name, ns in small.items():
        print(f"{ns:6.0f} ns  {name}")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=fl.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each call")
    parser.add_argument("--only", default="", metavar="REGEX", help="only cases that match")
    parser.add_argument("--markdown", action="store_true", help="tables for benchmarks/README.md")
    arguments = parser.parse_args()
    peers = [name for name in PEERS if importlib.util.find_spec(name)]
    missing = [name for name in PEERS if name not in peers]
    if missing:
        print(f"Not installed, left out: {', '.join(missing)}", file=sys.stderr)
    print(machine(arguments.threads, peers), end="\n\n")
    print("Nanoseconds per element; a ratio says how many times as long the peer takes.\n")
    rows = {}
    for case in cases():
        if re.search(arguments.only, str(case)):
            if sys.stderr.isatty():
                print(f"{case!s:70}", end="\r", file=sys.stderr, flush=True)
            rows[case] = measure(case, peers, arguments.threads, arguments.rounds)
    show(rows, peers, small_calls(arguments.rounds), arguments.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
