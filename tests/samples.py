"""Valid arguments for every loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import reference
from numpy.typing import NDArray

from fastloss import _core
from fastloss._losses import RECORDS, Record

Array = NDArray[Any]
DTYPES = ("float32", "float64")
REDUCED = [r for r in RECORDS if len(r.reductions) > 1]
POINTWISE = [r for r in REDUCED if r.kind == "pointwise"]
ROWWISE = [r for r in REDUCED if r.kind != "pointwise"]
MARGIN = ("logistic", "hinge", "squared_hinge")
# Parameters other than the defaults.
OTHER: dict[str, dict[str, Any]] = {
    "huber": {"delta": 0.25},
    "pseudo_huber": {"delta": 0.5},
    "quantile": {"q": 0.25},
    "binary_cross_entropy": {"eps": 0.125, "label_smoothing": 0.25},
    "sigmoid_cross_entropy": {"pos_weight": 2.5, "label_smoothing": 0.25},
    "hinge": {"margin": 0.5},
    "squared_hinge": {"margin": 1.5},
    "categorical_cross_entropy": {"eps": 0.125, "label_smoothing": 0.25},
    "sparse_categorical_cross_entropy": {"ignore_index": 1, "label_smoothing": 0.25},
    "softmax_cross_entropy": {"label_smoothing": 0.25},
    "sparse_softmax_cross_entropy": {"ignore_index": 1, "label_smoothing": 0.25},
    "kl_divergence": {"eps": 0.125},
}


class Sample(NamedTuple):
    """Arguments of a call: `w` has the shape of the losses."""

    y: Array
    z: Array
    w: Array


def sample(
    record: Record, dtype: str, shape: tuple[int, ...], classes: int = 3, seed: int = 0
) -> Sample:
    """Return arguments for `shape` elements or rows, the classes as the last axis."""
    random = np.random.default_rng(seed)
    w = random.uniform(0.5, 2, shape).astype(dtype)
    if record.kind != "pointwise":
        rows = (*shape, classes)
        z = random.normal(size=rows) * 3
        if "softmax" not in record.name:
            z = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
        if record.kind == "sparse":
            return Sample(random.integers(0, classes, shape), z.astype(dtype), w)
        y = random.uniform(size=rows)
        y /= y.sum(axis=-1, keepdims=True)
        return Sample(y.astype(dtype), z.astype(dtype), w)
    y, z = random.normal(size=(2, *shape))
    if record.name in MARGIN:
        y = np.where(y > 0, 1, -1)
    elif record.name == "sigmoid_cross_entropy":
        y = random.uniform(size=shape)
    elif record.name == "binary_cross_entropy":
        y, z = random.uniform(size=(2, *shape))
    elif record.name == "squared_log_error":
        y, z = abs(y), abs(z)
    return Sample(np.asarray(y, dtype=dtype), np.asarray(z, dtype=dtype), w)


def expected(
    record: Record, s: Sample, reduction: str, weight: Any = None, **params: Any
) -> tuple[Any, ...]:
    """Return value, gradient (and Hessian) from the plain NumPy twin."""
    outputs = ("loss", "grad", "hess") if record.has_hessian else ("loss", "grad")
    results = reference.numpy_loss(record.name, s.y, s.z, outputs=outputs, **params)
    return reference.reduce(
        record.name, results, reduction, y_true=s.y, sample_weight=weight, **params
    )


def same_bits(a: Any, b: Any) -> None:
    """Assert that two results are the same, bit for bit (any NaN is any other)."""
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b), strict=True)


def on_every_isa() -> Iterator[str]:
    """Switch to each instruction set in turn; the one before comes back."""
    before = _core.isa()
    try:
        for name in _core.isa_available():
            _core._set_isa(name)
            yield name
    finally:
        _core._set_isa(before)
