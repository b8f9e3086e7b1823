"""Arrays of new results: large ones lie in memory of results that are gone."""

from __future__ import annotations

import copy
import pickle
import platform
import sys
import threading
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from samples import Array, same_bits

import fastloss as fl

LARGE = 6_000_000
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="memory is kept on Linux only")


def values(n: int = LARGE, seed: int = 0) -> tuple[Array, Array]:
    y, z = np.random.default_rng(seed).normal(size=(2, n)).astype(np.float32)
    return y, z


def address(a: Array) -> int:
    return int(a.__array_interface__["data"][0])


@LINUX
def test_memory_of_gone_results_is_used_again() -> None:
    y, z = values()
    grad = fl.huber.grad(y, z)
    expected = grad.copy()
    first = address(grad)
    del grad
    grad = fl.huber.grad(y[: LARGE - 5], z[: LARGE - 5], reduction="sum")
    assert address(grad) == first
    same_bits(grad, fl.huber.grad(y, z, reduction="sum")[: LARGE - 5])
    del grad
    grad = fl.huber.grad(y, z)
    assert address(grad) == first
    same_bits(grad, expected)


@pytest.mark.parametrize("n", [LARGE, 400_000, 40_000, 5_000, 100, 1])
def test_results_share_no_memory(n: int) -> None:
    y, z = values(n)
    expected = [fl.huber.grad(y, z * i) for i in range(6)]
    for turn in range(3):
        results = [fl.huber.grad_and_hess(y, z * i) for i in range(6)]
        flat = [array for pair in results for array in pair]
        ends = sorted((address(a), address(a) + a.nbytes) for a in flat)
        assert all(end <= start for (_, end), (start, _) in pairwise(ends))
        for result, grad in zip(results, expected, strict=True):
            same_bits(result[0], grad)
        del results[turn % 2 :: 2], flat


def test_two_results_begin_with_a_line() -> None:
    """Stores to both in turn take three times as long where they lie across lines."""
    for n in (5_000, 40_000, 400_000):
        y, z = values(n)
        for pair in (fl.mse.grad_and_hess(y, z), fl.mse.grad_and_hess(y.tolist(), z)):
            assert [address(array) % 64 for array in pair] == [0, 0]


@LINUX
def test_pairs_of_any_size_are_used_again() -> None:
    """The C library would give them back, and the system would clear them, every time."""
    y, z = values(250_000)
    first = {address(array) for array in fl.mse.grad_and_hess(y, z)}
    for _ in range(5):
        assert {address(array) for array in fl.mse.grad_and_hess(y, z)} == first


def test_results_are_arrays_like_any_other() -> None:
    y, z = values()
    grad = fl.mse.grad(y, z, reduction="sum")
    expected = 2 * (z - y)
    assert grad.flags.owndata
    assert grad.flags.writeable
    assert grad.base is None
    for same in (grad.copy(), copy.deepcopy(grad), pickle.loads(pickle.dumps(grad))):
        assert not np.shares_memory(same, grad)
        same_bits(same, expected)
    for n in (LARGE - 7, LARGE, 10, 2 * LARGE, 5):
        grad.resize(n, refcheck=False)
        known = min(n, 10) if n == 2 * LARGE else 5 if n == 5 else min(n, LARGE - 7)
        same_bits(grad[:known], expected[:known])
        assert not grad[known:].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_paths_make_the_same_array(dtype: str) -> None:
    """The short path and that of everything else, in C order and not."""
    rows = np.random.default_rng(1).normal(size=(500_000, 3)).astype(dtype)
    labels = np.zeros(len(rows), int)
    for z in (rows, np.asfortranarray(rows), rows[:10], np.asfortranarray(rows[:10])):
        y = labels[: len(z)]
        short = fl.sparse_softmax_cross_entropy.grad(y, z)
        general = fl.sparse_softmax_cross_entropy.grad(y.tolist(), z)
        assert short.flags.f_contiguous == general.flags.f_contiguous == z.flags.f_contiguous
        same_bits(short, general)


def test_threads_that_make_results() -> None:
    right: list[bool] = []

    def work(seed: int) -> None:
        y, z = values(700_000 + 100_000 * seed, seed)
        expected = 2 * (z - y)
        grads = (fl.mse.grad(y, z, reduction="sum") for _ in range(20))
        right.append(all(np.array_equal(grad, expected) for grad in grads))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 4


MEMORY = """
import re, numpy as np, fastloss as fl
def kilobytes(name):
    return int(re.search(name + r":\\s*(\\d+) kB", open("/proc/self/smaps_rollup").read())[1])
def results(count, n):
    z = np.broadcast_to(np.float32(0.5), (n,))
    return [fl.mse.grad(z[:1], z, num_threads=2) for _ in range(count)]
results(1, 10_000_000)
before = kilobytes("Rss") - kilobytes("LazyFree")
"""


@LINUX
@pytest.mark.skipif(platform.machine() != "x86_64", reason="pages may be larger than results")
def test_the_system_may_take_what_is_kept(python: Callable[..., str]) -> None:
    """What is kept is at most 256 MB, and the system counts it as memory that it can have."""
    python(
        MEMORY
        + """
gone = results(5, 25_000_000)
held = kilobytes("Rss") - kilobytes("LazyFree") - before
assert held > 480_000, held
del gone
kept = kilobytes("LazyFree")
assert 100_000 < kept <= 256 << 10, kept
rest = kilobytes("Rss") - kept - before
assert rest < 12_000, rest
results(1, 100_000_000)
rest = kilobytes("Rss") - kilobytes("LazyFree") - before
assert rest < 12_000, rest
"""
    )


@LINUX
def test_little_is_kept_of_small_results(python: Callable[..., str]) -> None:
    python(
        MEMORY
        + """
gone = results(50, 3_000_000)
del gone
rest = kilobytes("Rss") - kilobytes("LazyFree") - before
assert rest < 64 << 10, rest
"""
    )


@LINUX
@pytest.mark.skipif(platform.machine() != "x86_64", reason="pages may be larger than results")
def test_the_oldest_small_results_are_lent(python: Callable[..., str]) -> None:
    """Those of sizes that are asked for no more do not stand in the way of newer ones."""
    python(
        MEMORY
        + """
lent = kilobytes("LazyFree")
gone = [results(1, n)[0] for n in (5_000_000, 6_000_000, 7_000_000)]
while gone:
    gone.pop(0)
lent = kilobytes("LazyFree") - lent
assert 17_000 < lent < 21_000, lent
"""
    )


@LINUX
def test_what_is_kept_gives_way_to_new_results(python: Callable[..., str]) -> None:
    python("""
import resource, numpy as np, fastloss as fl
z = np.broadcast_to(0.5, (20_000_000,))
del_me = [fl.mse.grad(z[:1], z[:6_000_000], num_threads=1) for _ in range(4)]
del del_me
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), resource.RLIM_INFINITY))
assert fl.mse.grad(z[:1], z, num_threads=1).nbytes == 160_000_000
""")


@LINUX
def test_after_a_fork(python: Callable[..., str]) -> None:
    python("""
import os, numpy as np, fastloss as fl
y, z = np.zeros(6_000_000, np.float32), np.ones(6_000_000, np.float32)
held = fl.mse.grad(y, z, reduction="sum")
fl.mse.grad(y, z)
child = os.fork()
grads = [fl.mse.grad(y, z * i, reduction="sum") for i in (1, 2, 3)]
right = all((g == 2 * i).all() for g, i in zip(grads, (1, 2, 3))) and (held == 2).all()
if child == 0:
    os._exit(0 if right else 1)
assert os.waitpid(child, 0)[1] == 0 and right
""")
