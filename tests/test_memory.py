"""Memory beyond the outputs: a fixed amount for each thread, whatever the input."""

from __future__ import annotations

import platform
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

import fastloss as fl

MEGABYTE = 1 << 20


def extra(call: Callable[[], Any]) -> int:
    """Return the peak of what Python and NumPy allocate in a call."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


N = 4_000_000
FLAT = np.zeros(N, np.float32)
TEN = FLAT.reshape(-1, 10)
LABELS = np.zeros(N // 10, np.int8)
OUT = np.empty_like(FLAT)
SERIES = pl.Series(FLAT)
SWAPPED = FLAT.dtype.newbyteorder()
CASES: dict[str, Callable[[], Any]] = {
    "contiguous": lambda: fl.huber(FLAT, FLAT),
    "integer labels": lambda: fl.bce_with_logits(np.broadcast_to(np.int8(1), (N,)), FLAT),
    "strided": lambda: fl.huber(FLAT[::2], FLAT[::-2], sample_weight=FLAT[1::2]),
    "broadcast": lambda: fl.huber(FLAT[:2000, None], FLAT[None, :2000]),
    "transposed": lambda: fl.huber.value_and_grad(
        FLAT.reshape(2000, -1), FLAT.reshape(2000, -1).T, out=OUT.reshape(2000, -1).T
    ),
    "in place": lambda: fl.huber.grad(FLAT, FLAT, out=FLAT),
    "reduced gradient": lambda: fl.huber.grad(FLAT.reshape(2000, -1), FLAT[:2000]),
    "byte-swapped": lambda: fl.huber(FLAT.view(SWAPPED), FLAT, sample_weight=FLAT.view(SWAPPED)),
    "half": lambda: fl.huber(FLAT.view(np.float16), FLAT.view(np.float16)[::-1]),
    "doubled": lambda: fl.huber(FLAT, FLAT.view(np.int32)),
    "losses": lambda: fl.huber(FLAT[::-1], FLAT, reduction="none", out=OUT),
    "root": lambda: fl.rmse.grad(FLAT[::-1], FLAT, out=OUT),
    "read-only series": lambda: fl.huber(SERIES, SERIES),
    "rows": lambda: fl.sparse_softmax_cross_entropy(LABELS, TEN),
    "long rows": lambda: fl.sparse_softmax_cross_entropy(np.zeros(4), FLAT.reshape(4, -1)),
    "other axis": lambda: fl.cross_entropy(
        FLAT.reshape(10, -1), FLAT.reshape(10, -1), axis=0, sample_weight=np.float32(2)
    ),
    "rows in place": lambda: fl.cross_entropy.grad(np.broadcast_to(0.1, TEN.shape), TEN, out=TEN),
}


@pytest.mark.parametrize("name", CASES)
def test_no_copies(name: str) -> None:
    assert extra(CASES[name]) < MEGABYTE // 4


def test_peak_of_the_process(python: Callable[..., str]) -> None:
    """What C allocates too: the peak of the whole process, two threads, 400 MB of input."""
    code = """
import re, numpy as np, fastloss as fl
def peak():  # not ru_maxrss, which a process inherits from the one that starts it
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
y = np.ones(40_000_000, np.int8)
z = np.full(40_000_000, 0.5)
rows = z.reshape(-1, 10)
small = slice(0, 100_000)
fl.set_num_threads(2)
for _ in range(3):
    fl.huber(y[small], z[small]), fl.huber(y[small].astype(float), z[small])
    fl.sparse_softmax_cross_entropy(y[small], rows[small])
before = peak()
fl.huber(y, z)
fl.huber(y[::2], z[::2], sample_weight=y[1::2])
fl.huber.grad(y, z, out=z)
fl.sparse_softmax_cross_entropy(y[:4_000_000], rows)
print(peak() - before)
"""
    assert int(python(code)) < 2 * MEGABYTE


def test_no_leak(python: Callable[..., str]) -> None:
    code = """
import resource, numpy as np, fastloss as fl
def now(): return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
y, z = np.zeros(50), np.full(50, 0.5)
labels, rows = np.zeros(5, int), np.full((5, 10), 0.5)
bad = np.full(50, 2.0)
out = np.empty_like(z)
table = fl.Accumulator(["huber", "rmse"], groups=True)
def calls(n):
    for i in range(n):
        fl.huber(y, z); fl.huber.value_and_grad(y, z); fl.huber.grad_and_hess(y, z)
        fl.huber(y, z, delta=1.0 + i % 50)
        fl.nll.value_and_grad(labels, rows, sample_weight=2.0)
        fl.mse.grad(y, 0.5)
        fl.rmse.grad(y[::2], z[::-2], sample_weight=y[1::2] + 1)
        fl.mse.value_and_grad(y, z.tolist(), out=out)
        fl.get("huber", delta=2.0).grad(y.astype(">f4"), z)
        if i % 10 == 0: table.update(y, z, z, by=labels.repeat(10)); table.result()
        try: fl.bce(y, bad)
        except ValueError: pass
        try: fl.mse.grad(y, z, out=rows)
        except ValueError: pass
calls(2000)
before = now()
calls(20_000)
print(now() - before)
"""
    assert int(python(code)) < MEGABYTE


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs settings of glibc's malloc")
@pytest.mark.parametrize(
    "call",
    [
        "fl.sparse_softmax_cross_entropy(labels, rows, num_threads=1)",
        "fl.sparse_softmax_cross_entropy(labels, rows)",
        "fl.huber(half, half)",
        "table.update(half, half)",
    ],
)
def test_scratch_space_is_kept(call: str, python: Callable[..., str]) -> None:
    """Where malloc returns memory at once, a call that took it anew would have new pages."""
    code = f"""
import resource, numpy as np, fastloss as fl
rows, labels = np.zeros((100, 1000), np.float32), np.zeros(100, np.int8)
half = np.zeros(100_000, np.float16)
table = fl.Accumulator("huber")
fl.set_num_threads(2)
def calls(n):
    for _ in range(n): {call}
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
calls(100)
before = faults()
calls(100)
print(faults() - before)
"""
    assert int(python(code, MALLOC_MMAP_THRESHOLD_="8192", MALLOC_TOP_PAD_="0")) < 100


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
@pytest.mark.parametrize(
    "call",
    [
        "fl.huber.grad(z, z)",
        "fl.huber.grad(z[::-1], z, num_threads=4)",
        "fl.huber(z, z, reduction='none')",
        "fl.softmax_cross_entropy.grad(z.reshape(-1, 10), z.reshape(-1, 10))",
    ],
)
def test_limit_of_memory(call: str, python: Callable[..., str]) -> None:
    """No room for the result is a MemoryError; no room for threads is work without them."""
    python(f"""
import resource, numpy as np, fastloss as fl
z = np.full(8_000_000, 0.1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), resource.RLIM_INFINITY))
try:
    {call}
except MemoryError:
    pass
else:
    raise SystemExit("no MemoryError")
assert fl.huber(z, z, num_threads=4) == 0
""")


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
def test_no_memory_at_all(python: Callable[..., str]) -> None:
    """Where not even the space for a few blocks is left."""
    python("""
import resource, numpy as np, fastloss as fl
z = np.full(100_000, 0.1)
small = z[:9000].astype(">f4")
wide, tall = z[:90_112].reshape(44, 2048), z[:90_112].reshape(2048, 44)
rows = z.reshape(-1, 1000)
sums = fl.Accumulator(["huber", "mae"])
many = {str(i): fl.get("huber", delta=1.0 + i) for i in range(100)}
# Scratch space is kept, so these can do without new memory; the others need more of it.
before = [
    lambda: fl.huber(small, z[:9000]),
    lambda: fl.huber(z[::2], z[::-2], num_threads=4),
    lambda: fl.softmax_cross_entropy(rows[:, :10].astype("f"), rows[:, :10]),
    lambda: fl.mse.grad(z[:, None], np.float64(0.5)),
    lambda: sums.update(z, z),
]
new = [
    lambda: fl.huber(tall.T, wide),
    lambda: fl.softmax_cross_entropy(rows, rows),
    lambda: fl.mse.grad(np.float64(0.5), z),
    lambda: fl.Accumulator(many).update(z, z),
]
def outcome(call):
    try: call()
    except MemoryError as error: return error
assert [outcome(call) for call in before] == [None] * len(before)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), resource.RLIM_INFINITY))
room, taken, size = bytearray(1 << 16), [], 1 << 20  # the interpreter needs some
while size >= 1 << 13:
    try: taken.append(np.empty(size, np.uint8))
    except MemoryError: size //= 2
del room
errors = [outcome(call) for call in new]
again = [outcome(call) for call in before]
del taken
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert all(isinstance(error, MemoryError) for error in errors), errors
assert all(error is None or isinstance(error, MemoryError) for error in again), again
updates = 1 + (again[-1] is None)
assert sums.count == updates * len(z)
assert [outcome(call) for call in before + new] == [None] * len(before + new)
assert sums.count == (updates + 1) * len(z) and fl.huber(z, z, num_threads=4) == 0
""")
