"""Relations between calls that hold whatever the values: found by Hypothesis where they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import DTYPES, REDUCED, Sample, same_bits, sample

import fastloss as fl
from fastloss import _core
from fastloss._losses import Record

EVERY_LOSS = pytest.mark.parametrize("record", REDUCED, ids=lambda r: r.name)
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.one_of(st.integers(1, 40), st.integers(1, 5000))
DTYPE = st.sampled_from(DTYPES)
# A pass adds in another order, in double.
CLOSE = {"rtol": 1e-12, "atol": 1e-9}


def drawn(record: Record, data: st.DataObject) -> Sample:
    size, classes = data.draw(SIZES, "size"), data.draw(st.integers(2, 40), "classes")
    if record.kind != "pointwise":
        size = min(size, 300)
    return sample(record, data.draw(DTYPE, "dtype"), (size,), classes, data.draw(SEEDS, "seed"))


def total(loss: fl.Loss, s: Sample) -> float:
    return loss(s.y, s.z, sample_weight=s.w, reduction="sum")


def rates(loss: fl.Loss, s: Sample) -> tuple[Any, ...]:
    kwargs: Any = {"sample_weight": s.w, "reduction": "none"}
    if loss.has_hessian:
        return (*loss.value_and_grad(s.y, s.z, **kwargs), loss.grad_and_hess(s.y, s.z, **kwargs)[1])
    return loss.value_and_grad(s.y, s.z, **kwargs)


@EVERY_LOSS
@given(data=st.data())
def test_permutation(record: Record, data: st.DataObject) -> None:
    """Rows in another order: their own results, bit for bit, in that order; the same sum."""
    loss, s = fl.get(record.name), drawn(record, data)
    order = np.random.default_rng(data.draw(SEEDS)).permutation(len(s.z))
    other = Sample(s.y[order], s.z[order], s.w[order])
    for got, wanted in zip(rates(loss, other), rates(loss, s), strict=True):
        same_bits(got, wanted[order])
    np.testing.assert_allclose(total(loss, other), total(loss, s), **CLOSE)


@EVERY_LOSS
@given(data=st.data())
def test_splitting(record: Record, data: st.DataObject) -> None:
    """Two parts: their own results, bit for bit; sums that add up to that of the whole."""
    loss, s = fl.get(record.name), drawn(record, data)
    cut = data.draw(st.integers(0, len(s.z)), "cut")
    parts = [Sample(*(a[:cut] for a in s)), Sample(*(a[cut:] for a in s))]
    results = [rates(loss, part) for part in parts]
    for first, second, whole in zip(*results, rates(loss, s), strict=True):
        same_bits(np.concatenate([first, second]), whole)
    np.testing.assert_allclose(sum(total(loss, part) for part in parts), total(loss, s), **CLOSE)


@EVERY_LOSS
@given(data=st.data())
def test_weight_two_is_a_row_twice(record: Record, data: st.DataObject) -> None:
    loss, s = fl.get(record.name), drawn(record, data)
    twice = np.random.default_rng(data.draw(SEEDS)).integers(1, 3, len(s.z))
    repeated = [np.repeat(a, twice, axis=0) for a in s[:2]]
    weighted = {"sample_weight": twice.astype(s.w.dtype)}
    for reduction in ("mean", "sum"):
        np.testing.assert_allclose(
            loss(s.y, s.z, reduction=reduction, **weighted),  # type: ignore[arg-type]
            loss(*repeated, reduction=reduction),  # type: ignore[arg-type]
            **CLOSE,
        )


@given(data=st.data())
def test_softmax_does_not_see_a_shift(data: st.DataObject) -> None:
    record = next(r for r in REDUCED if r.name == "sparse_softmax_cross_entropy")
    s = drawn(record, data)
    # Scores on a grid: the shift itself is exact.
    z = np.round(s.z * 64) / 64
    shift = data.draw(st.integers(-1000, 1000), "shift")
    loss = fl.sparse_softmax_cross_entropy
    for got, wanted in zip(
        rates(loss, Sample(s.y, z + shift, s.w)), rates(loss, Sample(s.y, z, s.w)), strict=True
    ):
        same_bits(got, wanted)


@given(data=st.data())
def test_two_classes_are_binary(data: st.DataObject) -> None:
    record = next(r for r in REDUCED if r.name == "sigmoid_cross_entropy")
    s = drawn(record, data)
    y, z = np.round(s.y).astype(int), s.z
    rows = np.stack([np.zeros_like(z), z], axis=-1)
    binary = rates(fl.sigmoid_cross_entropy, Sample(y, z, s.w))
    two = rates(fl.sparse_softmax_cross_entropy, Sample(y, rows, s.w))
    tolerance = 16 * float(np.finfo(z.dtype).eps)
    np.testing.assert_allclose(two[0], binary[0], rtol=tolerance)
    np.testing.assert_allclose(two[1][:, 1], binary[1], rtol=tolerance)
    np.testing.assert_allclose(two[1][:, 0], -binary[1], rtol=tolerance)


@EVERY_LOSS
@given(data=st.data())
def test_instruction_sets_agree_on_any_bits(record: Record, data: st.DataObject) -> None:
    """Predictions of any pattern of bits: NaN, infinity and numbers where the others have them."""
    s = drawn(record, data)
    patterns = np.random.default_rng(data.draw(SEEDS)).bytes(s.z.nbytes)
    z = np.frombuffer(patterns, s.z.dtype).reshape(s.z.shape)
    loss = fl.get(record.name)
    results = {}
    before = _core.isa()
    try:
        for isa in _core.isa_available():
            _core._set_isa(isa)
            try:
                results[isa] = loss.value_and_grad(s.y, z, reduction="none")
            except ValueError as error:
                results[isa] = str(error)
    finally:
        _core._set_isa(before)
    first = results.pop("baseline")
    for other in results.values():
        if isinstance(first, str) or isinstance(other, str):
            assert other == first
            continue
        for got, wanted in zip(other, first, strict=True):
            # Both are within 8 ULP of the exact value, or of what it is the difference of.
            with np.errstate(all="ignore"):
                rounding = 16 * np.finfo(z.dtype).eps
            np.testing.assert_allclose(got, wanted, rtol=rounding, atol=rounding)
