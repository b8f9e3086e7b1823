"""The time this machine needs to move a case's data, by something other than fastloss.

For a mean the data are read once: a dot product of target and prediction. For a value with its
gradient they are added into an array that is already there. The fastest way counts: NumPy on Python
threads, each with its part (it releases the interpreter's lock); PyTorch and loops of Numba, where
they are installed; and where there is a C compiler `movers.c`, which asks for data before it needs
them and writes past the caches.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from cases import Array, Call, Case

from fastloss._losses import UNIT

# Arrays of a case that together have as many bytes are in no cache.
IN_MEMORY = 50_000_000
# Bytes that the compiled loops ask for ahead: what is best depends on the processor.
AHEAD = (512, 4096)


def limits(case: Case, y: Array, z: Array, threads: int, pool: ThreadPoolExecutor) -> list[Call]:
    """Return calls that move the data of the case and do hardly anything else."""
    reads_all = case.record.kind != "sparse" or case.record.y_pred != UNIT
    if y.nbytes + z.nbytes < IN_MEMORY or not reads_all:
        return []
    out = np.empty(z.size, z.dtype) if case.gradient else None
    return movers(y.ravel(), z.ravel(), out, threads, pool)


def movers(
    y: Array, z: Array, out: Array | None, threads: int, pool: ThreadPoolExecutor
) -> list[Call]:
    """Return the calls that read two flat arrays, and write one if it is given."""

    def parts(x: Array | None) -> list[Any]:
        return [None] * threads if x is None else np.array_split(x, threads)

    jobs = [parts(x) for x in (y, z, out)]
    calls: list[Call] = [lambda: list(pool.map(_move, *jobs))]
    if y.dtype == z.dtype and importlib.util.find_spec("torch"):
        calls.append(_with_torch(y, z, out, threads))
    if y.dtype == z.dtype and importlib.util.find_spec("numba"):
        calls.append(_with_numba(y, z, out))
    if y.dtype == z.dtype:
        calls += with_c(y, z, out, threads)
    return calls


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


def _with_torch(y: Array, z: Array, out: Array | None, threads: int) -> Call:
    import torch

    torch.set_num_threads(threads)
    a, b = torch.from_numpy(y), torch.from_numpy(z)
    if out is None:
        return lambda: torch.dot(a, b)
    c = torch.from_numpy(out)
    return lambda: torch.add(a, b, out=c)


@functools.cache
def _numba_loops() -> tuple[Any, Any]:
    from numba import njit, prange

    @njit(parallel=True, fastmath=True)
    def dot(y: Array, z: Array) -> Any:
        total = y[0] * 0
        for i in prange(len(y)):
            total += y[i] * z[i]
        return total

    @njit(parallel=True, fastmath=True)
    def add(y: Array, z: Array, out: Array) -> None:
        for i in prange(len(y)):
            out[i] = y[i] + z[i]

    return dot, add


def _with_numba(y: Array, z: Array, out: Array | None) -> Call:
    dot, add = _numba_loops()
    if out is None:
        dot(y, z)
        return lambda: dot(y, z)
    add(y, z, out)
    return lambda: add(y, z, out)


@functools.cache
def _compiled_movers() -> ctypes.CDLL | None:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    source = Path(__file__).with_name("movers.c")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "movers.so")
        options = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"]
        command = [compiler, *options, str(source), "-o", str(library)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode != 0:
            print(f"limits are without {source.name}:\n{built.stderr}", file=sys.stderr)
            return None
        return ctypes.CDLL(str(library))


def with_c(y: Array, z: Array, out: Array | None, threads: int) -> list[Call]:
    """Return the calls of the compiled loops; none if there is no compiler."""
    library = _compiled_movers()
    if library is None:
        return []
    type_ = "float" if y.dtype == np.float32 else "double"
    arrays = [y, z] if out is None else [y, z, out]
    ways = ["dot"] if out is None else ["copy", "stream"]
    # The arrays are held by the call.
    arguments = [ctypes.c_void_p(x.ctypes.data) for x in arrays]
    size = ctypes.c_ssize_t(z.size)

    def call(way: str, ahead: ctypes.c_size_t) -> Call:
        function = getattr(library, f"{way}_{type_}")
        function.restype = ctypes.c_double if out is None else None
        return lambda: (function(*arguments, size, threads, ahead), arrays)

    return [call(way, ctypes.c_size_t(ahead)) for way in ways for ahead in AHEAD]
