"""Calls that Hypothesis makes up, on every instruction set, against the two oracles.

Any shapes, memory layouts, dtypes, parameters and options against the plain NumPy twin; any pattern
of bits that is in the domain against exact values, with the bound that the registry promises.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import points
import pytest
import reference
import ulps
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from samples import DTYPES, MARGIN, REDUCED, Array, on_every_isa

import fastloss as fl
from fastloss._losses import RECORDS, Interval, Labels, Parameter, Record

SEEDS = st.integers(0, 2**32 - 1)
FLOATS = ["f2", "f4", "f8"]
ANY = [*FLOATS, "i1", "u1", "i4", "i8", "?"]
# The twin forms in float64, the kernels in the dtype of the computation: in units of its epsilon.
ERROR = 64


# ---- any call, against the NumPy twin ----


def part_of(data: st.DataObject, shape: tuple[int, ...], label: str) -> tuple[int, ...]:
    """Draw a shape that broadcasts to the given one."""
    kept = [n if data.draw(st.booleans(), label) else 1 for n in shape]
    return tuple(kept[data.draw(st.integers(0, len(shape)), label) :])


def laid_out(data: st.DataObject, x: Array, label: str) -> Array:
    """Return the same values with strides of either sign, any order of axes and bytes, anywhere."""
    order = data.draw(st.permutations(range(x.ndim)), label)
    steps = [data.draw(st.sampled_from([1, 1, 2, -1, -3]), label) for _ in x.shape]
    dtype = data.draw(st.sampled_from([x.dtype, x.dtype.newbyteorder()]), label)
    lengths = [x.shape[i] * abs(steps[i]) for i in order]
    shift = data.draw(st.sampled_from([0, 0, 1, x.itemsize]), label)
    memory = np.zeros(math.prod(lengths) * x.itemsize + shift, np.uint8)
    whole = memory[shift:].view(dtype).reshape(lengths).transpose(np.argsort(order))
    result = whole[(..., *(slice(None, None, step) for step in steps))]
    result[...] = x
    return result


def targets(record: Record, data: st.DataObject, shape: tuple[int, ...], classes: int) -> Array:
    random = np.random.default_rng(data.draw(SEEDS, "targets"))
    if record.kind == "sparse":
        kind = data.draw(st.sampled_from(["i1", "u1", "i4", "i8", "f4"]), "dtype of y_true")
        return random.integers(0, classes, shape).astype(kind)
    if record.kind == "dense":
        y = random.uniform(size=(*shape, classes))
        y /= np.sum(y, axis=-1, keepdims=True)
        return y.astype(data.draw(st.sampled_from(FLOATS), "dtype of y_true"))
    kind = data.draw(st.sampled_from(ANY), "dtype of y_true")
    y = random.uniform(size=shape) if record.family == "binary" else 3 * random.normal(size=shape)
    if record.name in MARGIN:
        y = np.where(y < 0.5, 0 if kind in {"u1", "?"} else -1, 1)
    elif record.family == "binary":
        y = y if kind in FLOATS else np.round(y)
    elif record.name == "squared_log_error" or kind == "u1":
        y = np.abs(y)
    return np.asarray(y).astype(kind)


def predictions(record: Record, data: st.DataObject, shape: tuple[int, ...]) -> Array:
    random = np.random.default_rng(data.draw(SEEDS, "predictions"))
    if record.y_pred == Interval(0, 1):
        kind = data.draw(st.sampled_from(FLOATS), "dtype of y_pred")
        return np.asarray(random.uniform(0.01, 0.99, shape)).astype(kind)
    kind = data.draw(st.sampled_from([*FLOATS, "f4", "f8", "i2"]), "dtype of y_pred")
    z = 3 * random.normal(size=shape)
    return np.asarray(np.abs(z) if record.name == "squared_log_error" else z).astype(kind)


def parameter(p: Parameter, data: st.DataObject, ndim: int, classes: int) -> Any:
    if p.kind == "axis":
        return data.draw(st.integers(-ndim, ndim - 1), p.name)
    if p.kind == "ignore_index":
        return data.draw(st.sampled_from([None, -100, 0, classes - 1]), p.name)
    if p.kind == "class_weight":
        weights = st.lists(
            st.sampled_from([0.0, 0.5, 1.0, 3.7]), min_size=classes, max_size=classes
        )
        return data.draw(st.none() | weights, p.name)
    low, high = max(p.domain.low, 0), min(p.domain.high, 4)
    inside = st.floats(low + 0.05 * (high - low), low + 0.95 * (high - low))
    return data.draw(st.just(p.default) | inside, p.name)


def rounded(params: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """Return the parameters as numbers of the dtype of the computation."""
    return {
        key: np.asarray(v, dtype).astype(float).tolist() if isinstance(v, (float, list)) else v
        for key, v in params.items()
    }


def unbroadcast(full: Array, shape: tuple[int, ...]) -> Array:
    full = full.sum(axis=tuple(range(full.ndim - len(shape))))
    axes = tuple(i for i, n in enumerate(shape) if n == 1)
    return full.sum(axis=axes, keepdims=True)


def close(got: Any, wanted: Any, size: Any, dtype: Any) -> None:
    """Compare within the rounding of terms of that size."""
    error = np.abs(np.asarray(got, float) - wanted)
    same = (np.isnan(got) & np.isnan(wanted)) | (error <= ERROR * np.finfo(dtype).eps * size)
    assert np.all(same), (got, wanted)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
@settings(max_examples=60)
@given(data=st.data())
def test_any_call(record: Record, data: st.DataObject) -> None:
    lengths = st.lists(st.integers(0, 7) | st.integers(1, 40), max_size=3)
    shape, classes = tuple(data.draw(lengths, "shape")), data.draw(st.integers(1, 40), "classes")
    pointwise = record.kind == "pointwise"
    if pointwise:
        y = targets(record, data, part_of(data, shape, "y_true"), classes)
        z = predictions(record, data, part_of(data, shape, "y_pred"))
        shape = np.broadcast_shapes(y.shape, z.shape)
        # A column against a row is refused.
        assume({y.ndim, z.ndim} != {1, 2} or y.ndim == z.ndim or y.size != z.size or y.size == 1)
    else:
        y = targets(record, data, shape, classes)
        z = predictions(record, data, (*shape, classes))
    params = {p.name: parameter(p, data, len(shape) + 1, classes) for p in record.parameters}
    if not pointwise:
        z = np.moveaxis(z, -1, params["axis"])
        y = y if record.kind == "sparse" else np.moveaxis(y, -1, params["axis"])
    dtype = np.float32 if z.dtype in (np.float16, np.float32) else np.float64
    w = None
    if data.draw(st.booleans(), "weighted"):
        kinds = st.sampled_from([*FLOATS, "i4"])
        random = np.random.default_rng(data.draw(SEEDS, "weights"))
        w = random.uniform(1, 4, part_of(data, shape, "weights"))
        w = np.asarray(w).astype(data.draw(kinds, "dtype of weights"))
    reduction = data.draw(st.sampled_from(record.reductions), "reduction")

    # What is wanted, of all elements; of a broadcast prediction the sums.
    full_z = np.broadcast_to(z, shape) if pointwise else z
    full_y = np.broadcast_to(y, shape) if pointwise else y
    arguments = [a if a.dtype.kind in "iub" else a.astype(dtype) for a in (full_y, full_z)]
    own = rounded(params, dtype)
    weight = None if w is None else w.astype(dtype).astype(float)
    full_w = np.broadcast_to(1.0 if weight is None else weight, shape)
    rates_w = full_w if pointwise else np.expand_dims(full_w, params["axis"])
    if record.reductions == ("mean",):
        loss, grad = reference.numpy_loss(
            record.name, *arguments, outputs=("loss", "grad"), sample_weight=weight
        )
        wanted: tuple[Any, ...] = (float(loss), grad)
        size = wanted[0]
    else:
        outputs = ("loss", "grad", "hess")
        every = reference.numpy_loss(record.name, *arguments, outputs=outputs, **own)
        wanted = reference.reduce(
            record.name, every, reduction, y_true=y, sample_weight=weight, **own
        )
        size = np.abs(wanted[0])
    divisor = max(1.0, full_w.sum() / max(full_w.max(initial=0), 1)) if reduction == "mean" else 1
    rates = []
    for rate in wanted[1:]:
        # What cancels in a derivative is of the size of 1, the weights and the parameters.
        terms = np.abs(rate) + 4 * np.broadcast_to(rates_w, rate.shape) / divisor
        if pointwise:
            rate, terms = unbroadcast(rate, z.shape), unbroadcast(terms, z.shape)
        rates.append((rate, terms))

    y, z = laid_out(data, y, "y_true"), laid_out(data, z, "y_pred")
    w = None if w is None else laid_out(data, w, "weights")
    kwargs: Any = {"sample_weight": w, "reduction": reduction}
    bound = fl.get(record.name, **params)
    out = None
    if data.draw(st.booleans(), "out"):
        out = laid_out(data, np.empty(z.shape, dtype), "out")
        assume(out.dtype.isnative)
    for _ in on_every_isa():
        close(bound(y, z, **kwargs), wanted[0], size + 4 * full_w.max(initial=1), dtype)
        if reduction == "none":
            _, grad = bound.value_and_grad(y, z, **kwargs)
        else:
            value, grad = bound.value_and_grad(y, z, out=out, **kwargs)
            close(value, wanted[0], size + 4 * full_w.max(initial=1), dtype)
            assert out is None or grad is out
        close(grad, *rates[0], dtype)
        if record.has_hessian:
            for got, rate in zip(bound.grad_and_hess(y, z, **kwargs), rates, strict=True):
                assert (got.dtype, got.shape) == (dtype, z.shape)
                close(got, *rate, dtype)


# ---- any bits, against exact values ----


def numbers(
    domain: Interval | Labels, dtype: str, subnormal: bool = True
) -> st.SearchStrategy[float]:
    if isinstance(domain, Labels):
        return st.sampled_from([-1.0, 1.0, math.nan])
    low = None if domain.low == -math.inf else domain.low
    high = None if domain.high == math.inf else domain.high
    inside = st.floats(
        low,
        high,
        exclude_min=not domain.low_closed and low is not None,
        allow_subnormal=None if subnormal else False,
        width=32 if dtype == "float32" else 64,
    )
    return inside | st.just(math.nan)


@pytest.mark.parametrize("record", REDUCED, ids=lambda r: r.name)
@settings(max_examples=60)
@given(data=st.data())
def test_any_bits(record: Record, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES), "dtype")
    params = data.draw(st.sampled_from(points.parameters(record.name)), "parameters")
    # The product of a target and its weight is rounded, which costs subnormal ones their digits.
    plain = not {"pos_weight", "class_weight"} & params.keys()
    of_y, of_z = numbers(record.y_true, dtype, plain), numbers(record.y_pred, dtype)
    if record.kind == "pointwise":
        pairs = data.draw(st.lists(st.tuples(of_y, of_z), min_size=1, max_size=6), "elements")
        y, z = np.array(pairs, dtype=dtype).T.copy()
        if record.name == "huber":
            kept = ~points.rounds_to_jump(y, z, params)
            y, z = y[kept], z[kept]
        exact: Any = reference.exact_elements(record.name, dtype, y, z, **params)
        exact = [[[e] for e in results] for results in exact]
    else:
        row = st.lists(of_z, min_size=points.CLASSES, max_size=points.CLASSES)
        z = np.array(data.draw(st.lists(row, min_size=1, max_size=2), "y_pred"), dtype=dtype)
        if record.kind == "sparse":
            labels = st.integers(0, points.CLASSES - 1)
            y = np.array([data.draw(labels, "y_true") for _ in z])
        else:
            unit = numbers(Interval(0, 1), dtype, plain)
            y = np.array([[data.draw(unit, "y_true") for _ in r] for r in z], dtype=dtype)
        exact = reference.exact_rows(record.name, dtype, y, z, **params)
    loss = fl.get(record.name, **params)
    for isa in on_every_isa():
        got = loss(y, z, reduction="none"), *loss.grad_and_hess(y, z, reduction="none")
        for results, wanted in zip(got, exact, strict=True):
            for values, of_row in zip(results.reshape(len(z), -1), wanted, strict=True):
                for value, e in zip(values, of_row, strict=True):
                    off = ulps.error(value, e, dtype)
                    assert off <= record.max_ulp, (isa, off, value, reference.mp.nstr(e.value, 20))
