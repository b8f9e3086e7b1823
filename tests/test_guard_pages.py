"""Memory faults: every array lies flush against pages that can be neither read nor written.

What lies beyond an array's first or last element is no business of a kernel, not even to read:
here that ends the process. Results are those of ordinary arrays, bit for bit.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from samples import DTYPES, Sample, sample

import fastloss as fl
from fastloss._losses import RECORDS, Record

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect"),
    pytest.mark.usefixtures("isa"),
]
PAGE = mmap.PAGESIZE
LENGTHS = range(131)
ENDS = ("start", "end")


class Guarded:
    """A few pages between two that cannot be touched."""

    def __init__(self, pages: int) -> None:
        self.size = pages * PAGE
        self.memory = mmap.mmap(-1, self.size + 2 * PAGE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        for guard in (self.address, self.address + PAGE + self.size):
            assert libc.mprotect(guard, PAGE, 0) == 0, ctypes.get_errno()

    def place(self, like: np.ndarray[Any, Any], end: str, shift: int = 0) -> np.ndarray[Any, Any]:
        """Return an array like this one, `shift` bytes from the unreadable page at one end."""
        start = PAGE + (shift if end == "start" else self.size - like.nbytes - shift)
        own = (ctypes.c_char * max(like.nbytes, 1)).from_address(self.address + start)
        array = np.frombuffer(own, like.dtype, like.size).reshape(like.shape)
        array[...] = like
        return array


@pytest.fixture(scope="module")
def regions() -> list[Guarded]:
    return [Guarded(3) for _ in range(5)]


def samples(record: Record, dtype: str) -> list[Sample]:
    """Every length: of elements, of rows and of classes."""
    if record.kind == "pointwise":
        whole = sample(record, dtype, (LENGTHS[-1],))
        return [Sample(whole.y[:n], whole.z[:n], whole.w[:n]) for n in LENGTHS]
    rows = [sample(record, dtype, (n,), 3) for n in LENGTHS]
    return rows + [sample(record, dtype, (2,), n) for n in LENGTHS[1:]]


def calls(record: Record, s: Sample, out: list[Any]) -> Iterator[Any]:
    """Results of every kind of pass, in arrays that are given."""
    loss = fl.get(record.name)
    of_losses, of_rates, hess = out
    yield loss(s.y, s.z)
    yield loss(s.y, s.z, sample_weight=s.w)
    yield loss.value_and_grad(s.y, s.z, sample_weight=s.w, out=of_rates)
    yield loss.grad(s.y, s.z, out=of_rates)
    if "none" in record.reductions:
        yield loss(s.y, s.z, sample_weight=s.w, reduction="none", out=of_losses)
        yield loss.value_and_grad(s.y, s.z, reduction="none", out=(of_losses, of_rates))
    if record.has_hessian:
        yield loss.grad_and_hess(s.y, s.z, sample_weight=s.w, out=(of_rates, hess))


def folded(record: Record, s: Sample, by: np.ndarray[Any, Any] | None) -> dict[str, Any]:
    """What an accumulator has of a batch."""
    a = fl.Accumulator([record.name], groups=by is not None)
    a.update(s.y, s.z, s.w, by=by)
    return a.to_dict()


def bits(result: Any) -> list[bytes]:
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(part).tobytes() for part in parts]


def check(record: Record, s: Sample, regions: list[Guarded], shifts: Iterable[int]) -> None:
    out = [np.empty_like(s.w), np.empty_like(s.z), np.empty_like(s.z)]
    wanted = [bits(result) for result in calls(record, s, out)]
    for shift in shifts:
        for end in ENDS:
            y, z, w = (r.place(a, end, shift) for r, a in zip(regions, s, strict=False))
            # Losses and Hessians are never results of one call.
            losses, hess = (regions[3].place(a, end, shift) for a in (out[0], out[2]))
            rates = regions[4].place(out[1], end, shift)
            got = calls(record, Sample(y, z, w), [losses, rates, hess])
            assert [bits(result) for result in got] == wanted, (s.z.shape, end, shift)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
def test_every_length(record: Record, dtype: str, regions: list[Guarded]) -> None:
    for s in samples(record, dtype):
        check(record, s, regions, [0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
def test_sums(record: Record, dtype: str, regions: list[Guarded]) -> None:
    for s in samples(record, dtype)[::5]:
        by = np.arange(len(s.w)) % 3
        wanted = folded(record, s, None), folded(record, s, by)
        for end in ENDS:
            own = Sample(*(r.place(a, end) for r, a in zip(regions, s, strict=False)))
            own_by = regions[3].place(by, end)
            assert (folded(record, own, None), folded(record, own, own_by)) == wanted


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
def test_every_offset(record: Record, dtype: str, regions: list[Guarded]) -> None:
    """Every address modulo 64, those that are no multiple of an element's size too."""
    s = sample(record, dtype, (37,), 5)
    check(record, s, regions, range(1, 64))


SOURCES = ("?", "i1", "u1", ">i2", "u2", ">i4", "u4", "i8", ">u8", "f2", ">f4", "f4", ">f8", "g")


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_other_layouts(dtype: str, regions: list[Guarded]) -> None:
    """What is converted: strides of either sign, byte order, other dtypes, broadcasting."""
    for n in LENGTHS[1:]:
        for end in ENDS:
            for source in SOURCES:
                plain = (np.arange(2 * n) % 5).astype(source)
                y = regions[0].place(plain, end)
                z = regions[1].place(plain.astype(dtype), end)
                for step in (slice(0, 2 * n, 2), slice(1, 2 * n, 2), slice(None, None, -2)):
                    got = fl.huber.value_and_grad(y[step], z[::-1][step])
                    wanted = fl.huber.value_and_grad(plain[step], plain[::-1][step].astype(dtype))
                    assert bits(got) == bits(wanted)
                assert bits(fl.huber.grad(y[:n, None], z[None, :1])) == bits(
                    fl.huber.grad(plain[:n, None], plain[None, :1].astype(dtype))
                )


def test_rows_in_other_layouts(regions: list[Guarded]) -> None:
    """Classes along any axis, at any stride, and labels of every dtype."""
    for rows, classes in [(1, 1), (3, 40), (17, 3), (40, 17), (5, 130), (130, 2)]:
        z = np.random.default_rng(0).normal(size=(rows, classes))
        labels = np.arange(rows) % classes
        wanted = fl.sparse_softmax_cross_entropy.value_and_grad(labels, z)
        for end in ENDS:
            for source in ("i1", "u2", ">i4", "i8", "f8"):
                own = regions[0].place(labels.astype(source), end)
                own_z = regions[1].place(z, end)
                value, grad = fl.sparse_softmax_cross_entropy.value_and_grad(own, own_z)
                assert bits((value, grad)) == bits(wanted)
                turned = regions[2].place(np.ascontiguousarray(z.T), end)
                out = regions[3].place(np.empty_like(z.T), end)
                value, grad = fl.sparse_softmax_cross_entropy.value_and_grad(
                    own[::-1], turned[:, ::-1], axis=0, out=out
                )
                np.testing.assert_allclose(value, wanted[0], rtol=1e-14)
                np.testing.assert_array_equal(grad[:, ::-1].T, wanted[1])
