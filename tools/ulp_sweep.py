"""Measure the errors of exp, log and their kin, in ULPs, for each instruction set.

    python tools/ulp_sweep.py                 float over every input, double over samples
    python tools/ulp_sweep.py --stride 4096   float over every 4096th input
    python tools/ulp_sweep.py --only exp      one function

float results are compared with NumPy's in double, whose own error of about 2^-29 float ULPs
does not count; mpmath confirms the largest error. double results are compared with mpmath where
NumPy's long double says that they are among the worst, and with long double elsewhere. The floats
are shared among all processors.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PROBE = Path(__file__).with_name("vecmath_probe.c")
FLAGS = [
    *("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
    *("-fopenmp-simd", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"),
]
TARGETS = {
    "baseline": (1, []),
    "v3": (3, ["-mavx2", "-mfma"]),
    "v4": (
        4,
        [
            *("-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq"),
            *("-mavx512vl", "-mprefer-vector-width=512"),
        ],
    ),
}
PIECE = 1 << 18
SEED = 7
COUNT = 300_000
# Between NumPy's double and mpmath, in float ULPs.
DOUBT = 1e-6


class Worst(NamedTuple):
    """The largest error, in ULPs, and its argument."""

    error: float
    at: float


Errors = dict[str, Worst]


@dataclass(frozen=True)
class Function:
    """A function, the part of the line on which it is defined, and what it should give."""

    name: str
    low: float
    high: float
    wide: Callable[[Array], Array]
    exact: Callable[[Any], Any]


FUNCTIONS = [
    Function("exp", -np.inf, np.inf, np.exp, mp.exp),
    Function("exp_nonpositive", -np.inf, 0.0, np.exp, mp.exp),
    Function("exp_by_table", -np.inf, 0.0, np.exp, mp.exp),
    Function("expm1_nonpositive", -np.inf, 0.0, np.expm1, mp.expm1),
    Function("log", -np.inf, np.inf, np.log, mp.log),
    Function("log1p", -np.inf, np.inf, np.log1p, mp.log1p),
    Function("log1p_unit", 0.0, 1.0, np.log1p, mp.log1p),
]


class Probe:
    """The functions compiled for one instruction set."""

    def __init__(self, target: str, folder: str) -> None:
        path = os.path.join(folder, f"probe_{target}.so")
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [compiler, *FLAGS, *TARGETS[target][1], str(PROBE), "-o", path, "-lm"], check=True
        )
        self.library = ctypes.CDLL(path)
        self.library.worst_f32.restype = ctypes.c_double

    def runs(self, level: int) -> bool:
        """Whether this processor has the instructions."""
        return bool(self.library.probe_runs(level))

    def has(self, function: Function) -> bool:
        """Whether the instruction set has this function."""
        return hasattr(self.library, f"{function.name}_f32_array")

    def __call__(self, function: str, *x: Array) -> Array:
        """Return a function of arrays, a function of vecmath.h without its dtype."""
        y = np.empty_like(x[0])
        call = getattr(self.library, f"{function}_{dtype_name(y)}_array")
        call(ctypes.c_size_t(y.size), *map(pointer, (*x, y)))
        return y

    def worst(self, got: Array, want: Array) -> tuple[float, int]:
        """Return the largest error of float results in ULPs, and where it is."""
        where = ctypes.c_size_t()
        size = ctypes.c_size_t(got.size)
        error = self.library.worst_f32(size, pointer(got), pointer(want), ctypes.byref(where))
        return float(error), where.value


def dtype_name(x: Array) -> str:
    """Return the suffix of the functions of this dtype."""
    return "f32" if x.dtype == np.float32 else "f64"


def pointer(x: Array) -> ctypes.c_void_p:
    """Return the address of an array's data."""
    return ctypes.c_void_p(x.ctypes.data)


def probes(folder: str) -> dict[str, Probe]:
    """Return the functions for every instruction set of this processor."""
    names = (
        TARGETS if platform.machine() in {"x86_64", "AMD64"} else {"baseline": TARGETS["baseline"]}
    )
    built = {name: Probe(name, folder) for name in names}
    return {name: probe for name, probe in built.items() if probe.runs(TARGETS[name][0])}


def having(function: Function, probes: Mapping[str, Probe]) -> dict[str, Probe]:
    """Return those of the instruction sets that have the function."""
    return {name: probe for name, probe in probes.items() if probe.has(function)}


def float_inputs(function: Function, stride: int, start: int) -> Iterator[Array]:
    """Yield every `stride`-th float of the domain, NaNs included."""
    for first in range(start, 1 << 32, PIECE * stride):
        bits = np.arange(first, min(first + PIECE * stride, 1 << 32), stride, dtype=np.uint64)
        yield inside(function, bits.astype(np.uint32).view(np.float32))


def inside(function: Function, x: Array) -> Array:
    """Return the part of x in the function's domain, NaNs included."""
    outside = (x < function.low) | (x > function.high)
    return np.ascontiguousarray(x[~outside]) if outside.any() else x


def boundary_inputs(function: Function) -> Array:
    """Return the floats of the domain next to every power of two, of both signs."""
    powers = np.arange(0, 1 << 31, 1 << 23, dtype=np.int64)
    near = (powers[:, None] + np.arange(-40, 41)).ravel()
    near = near[(near >= 0) & (near < 1 << 31)].astype(np.uint32)
    both = np.concatenate([near, near | np.uint32(1 << 31)]).astype(np.uint32)
    return inside(function, both.view(np.float32))


def sweep_float(function: Function, probes: Mapping[str, Probe], inputs: Iterable[Array]) -> Errors:
    """Return the largest error of each instruction set, as NumPy's double sees it."""
    worst = dict.fromkeys(probes, Worst(0.0, 0.0))
    for x in inputs:
        if x.size == 0:
            continue
        with np.errstate(all="ignore"):
            want = function.wide(x.astype(np.float64))
        for name, probe in probes.items():
            error, where = probe.worst(probe(function.name, x), want)
            if error > worst[name].error:
                worst[name] = Worst(error, float(x[where]))
    return worst


def sweep_every_float(function: Function, probes: Mapping[str, Probe], stride: int = 1) -> Errors:
    """Return the largest error over every `stride`-th float, confirmed by mpmath."""
    parts = os.cpu_count() or 1

    def part(k: int) -> Errors:
        return sweep_float(function, probes, float_inputs(function, parts * stride, k * stride))

    with ThreadPoolExecutor(parts) as pool:
        found = list(pool.map(part, range(parts)))
    return {
        name: confirmed(function, probe, max(errors[name] for errors in found))
        for name, probe in probes.items()
    }


def confirmed(function: Function, probe: Probe, worst: Worst) -> Worst:
    """Return the error that mpmath finds there; fail if NumPy's double was far from it."""
    if not np.isfinite(worst.error):
        return worst
    x = np.array([worst.at], dtype=np.float32)
    exact = exact_error(function, worst.at, float(probe(function.name, x)[0]), np.float32)
    if abs(exact - worst.error) > DOUBT:
        raise ArithmeticError(
            f"{function.name} at {worst.at.hex()}: off by {worst.error} ULP in double, "
            f"by {exact} in mpmath"
        )
    return Worst(exact, worst.at)


def double_inputs(function: Function, count: int) -> Array:
    """Return doubles: dense where reductions switch, all magnitudes, all bit patterns."""
    random = np.random.default_rng(SEED)
    magnitudes = np.exp2(random.uniform(-1074, 1024, count))
    parts = [
        random.uniform(-1, 1, count),
        random.uniform(-0.5, 0, count),
        random.uniform(0.2, 0.8, count),
        random.uniform(0.6, 1.6, count),
        1 + random.uniform(-1, 1, count) * np.exp2(random.uniform(-52, 0, count)),
        random.uniform(-40, 40, count),
        random.uniform(-750, 712, count),
        np.exp2(random.uniform(-60, 0, count)) * random.choice([-1, 1], count),
        magnitudes,
        -magnitudes,
        random.integers(0, 2**64, count, dtype=np.uint64).view(np.float64),
        np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 5e-324, -5e-324]),
    ]
    return inside(function, np.concatenate(parts))


def double_errors(got: Array, want: Array) -> Array:
    """Return the errors of doubles against long doubles, in ULPs."""
    nearest = want.astype(np.float64)
    exponent = np.frexp(np.where(np.isfinite(want) & (want != 0), want, 1e-4000))[1]
    spacing = np.ldexp(np.longdouble(1), np.maximum(exponent, -1021) - 53)
    errors = np.abs(got.astype(np.longdouble) - want) / spacing
    same = (got == nearest) | (np.isnan(got) & np.isnan(nearest))
    wrong = ~(np.isfinite(got) & np.isfinite(nearest)) & ~same
    errors[same & ~np.isfinite(errors)] = 0
    errors[wrong] = np.inf
    narrow: Array = errors.astype(np.float64)
    return narrow


def exact_error(function: Function, x: float, got: float, dtype: type = np.float64) -> float:
    """Return the error of one result against mpmath, in ULPs of the dtype."""
    info = np.finfo(dtype)
    with mp.workprec(200):
        value = function.exact(mp.mpf(x))
        if not mp.isfinite(value) or value == 0:
            return 0.0 if float(value) == got else np.inf
        exponent = max(int(mp.frexp(value)[1]) - 1, int(info.minexp))
        return float(abs(mp.mpf(got) - value) / mp.ldexp(1, exponent - int(info.nmant)))


def sweep_double(function: Function, probe: Probe, count: int) -> Worst:
    """Return the largest error over samples, `count` of each kind."""
    x = double_inputs(function, count)
    got = probe(function.name, x)
    with np.errstate(all="ignore"):
        errors = double_errors(got, function.wide(x.astype(np.longdouble)))
    if np.isinf(errors).any():
        return Worst(np.inf, float(x[np.argmax(errors)]))
    candidates = np.argsort(errors)[-200:]
    return max(
        Worst(exact_error(function, float(x[i]), float(got[i])), float(x[i])) for i in candidates
    )


def sweep(
    function: Function, probes: Mapping[str, Probe], stride: int = 1, count: int = COUNT
) -> dict[str, Errors]:
    """Return the largest errors of both dtypes, for the instruction sets that have the function."""
    able = having(function, probes)
    return {
        "float32": sweep_every_float(function, able, stride),
        "float64": {isa: sweep_double(function, probe, count) for isa, probe in able.items()},
    }


def main() -> int:
    """Print the errors; return 1 if one of them is above 1 ULP."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stride", type=int, default=1, help="of the float inputs (1: all)")
    parser.add_argument("--count", type=int, default=COUNT, help="doubles of each kind")
    parser.add_argument(
        "--only", metavar="NAME", choices=[f.name for f in FUNCTIONS], help="one function"
    )
    arguments = parser.parse_args()
    largest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        built = probes(folder)
        for function in FUNCTIONS:
            if arguments.only not in {None, function.name}:
                continue
            errors = sweep(function, built, arguments.stride, arguments.count)
            for dtype, worst in errors.items():
                for isa, (error, at) in worst.items():
                    print(f"{function.name:18} {dtype} {isa:9} {error:.3f}  {at.hex()}", flush=True)
                    largest = max(largest, error)
    return int(largest > 1)


if __name__ == "__main__":
    sys.exit(main())
