"""What is measured: every loss of the registry, on which arrays, and its plain NumPy baseline.

A loss that is new in the registry is measured without a change here. Until `PLAIN` has it, its
baseline is the tests' twin, which computes in float64 and builds one-hot targets.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastloss._losses import BY_NAME, RECORDS, UNIT, Record

# The tests know valid arguments of every loss, and write each in NumPy.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
import reference
from samples import sample

Array = NDArray[Any]
Call = Callable[[], Any]

# The last one writes the gradient into an array that is already there.
OPERATIONS = ("mean", "value_and_grad", "value_and_grad_out")


@dataclass(frozen=True)
class Case:
    """An operation of a loss on `rows` elements, or on `rows` rows of `classes` classes."""

    loss: str
    operation: str
    dtype: str
    rows: int
    classes: int = 0

    @property
    def record(self) -> Record:
        """What the registry says of the loss."""
        return BY_NAME[self.loss]

    @property
    def elements(self) -> int:
        """Number of predictions."""
        return self.rows * max(self.classes, 1)

    @property
    def gradient(self) -> bool:
        """Whether the operation gives the gradient too."""
        return self.operation != "mean"

    @property
    def into_out(self) -> bool:
        """Whether the gradient goes into an array that is already there."""
        return self.operation == "value_and_grad_out"

    def __str__(self) -> str:
        size = f"{self.rows:,} x {self.classes:,}" if self.classes else f"{self.rows:,}"
        return f"{self.loss} {self.operation} {self.dtype} {size}"


def cases(
    dtypes: tuple[str, ...],
    elements: tuple[int, ...],
    rows: tuple[tuple[int, int], ...],
    operations: tuple[str, ...] = OPERATIONS[:2],
) -> Iterator[Case]:
    """Yield the cases of every loss; those with the same arguments follow one another."""
    for record in RECORDS:
        shapes = [(n, 0) for n in elements] if record.kind == "pointwise" else rows
        for dtype in dtypes:
            for n, classes in shapes:
                for operation in operations:
                    yield Case(record.name, operation, dtype, n, classes)


def arguments(case: Case) -> tuple[Array, Array]:
    """Return y_true and y_pred; the last ones are kept, for the case's other operation."""
    return _arguments(case.record, case.dtype, case.rows, case.classes)


@functools.lru_cache(maxsize=1)
def _arguments(record: Record, dtype: str, rows: int, classes: int) -> tuple[Array, Array]:
    y, z, _ = sample(record, dtype, (rows,), classes=classes)
    if record.kind == "pointwise" and record.y_pred == UNIT:
        # Libraries differ in what a probability of exactly 0 or 1 costs.
        z = np.clip(z, z.dtype.type(1e-3), z.dtype.type(1 - 1e-3))
    return y, z


# ---- plain NumPy, as a careful user writes it: stable, and in the dtype of the arguments ----


@dataclass(frozen=True)
class Formula:
    """Losses and gradients of elements or rows, from what `shared` makes of the arguments."""

    shared: Callable[[Array, Array], tuple[Any, ...]]
    loss: Callable[..., Array]
    grad: Callable[..., Array]


def _residual(y: Array, z: Array) -> tuple[Array]:
    return (z - y,)


def _margin(y: Array, z: Array) -> tuple[Array, Array]:
    return y, y * z


def _own(y: Array, z: Array) -> tuple[Array, Array, tuple[Array, Array]]:
    return y, z, (np.arange(len(y)), y)


def _softmax(y: Array, z: Array) -> tuple[Array, ...]:
    shifted = z - z.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    return y, shifted, e, e.sum(axis=1, keepdims=True)


def _sparse_loss(y: Array, shifted: Array, _: Array, total: Array) -> Array:
    result: Array = np.log(total[:, 0]) - shifted[np.arange(len(y)), y]
    return result


def _sparse_grad(y: Array, _: Array, e: Array, total: Array) -> Array:
    e /= total
    e[np.arange(len(y)), y] -= 1
    return e


def _dense_loss(y: Array, shifted: Array, _: Array, total: Array) -> Array:
    result: Array = y.sum(axis=1) * np.log(total[:, 0]) - np.einsum("ij,ij->i", y, shifted)
    return result


def _dense_grad(y: Array, _: Array, e: Array, total: Array) -> Array:
    e *= y.sum(axis=1, keepdims=True) / total
    e -= y
    return e


def _sparse_entropy_grad(_: Array, p: Array, own: tuple[Array, Array]) -> Array:
    result = np.zeros_like(p)
    result[own] = -1 / p[own]
    return result


PLAIN: dict[str, Formula] = {
    "squared_error": Formula(_residual, lambda r: r * r, lambda r: 2 * r),
    "absolute_error": Formula(_residual, np.abs, np.sign),
    "squared_log_error": Formula(
        lambda y, z: (z, np.log1p(z) - np.log1p(y)),
        lambda _, d: d * d,
        lambda z, d: 2 * d / (1 + z),
    ),
    "huber": Formula(
        lambda y, z: (z - y, np.minimum(np.abs(z - y), 1)),
        lambda r, m: m * (np.abs(r) - m / 2),
        lambda r, _: np.clip(r, -1, 1),
    ),
    "pseudo_huber": Formula(
        lambda y, z: (z - y, np.sqrt(1 + (z - y) ** 2)),
        lambda _, root: root - 1,
        lambda r, root: r / root,
    ),
    "log_cosh": Formula(
        _residual, lambda r: np.abs(r) + np.log1p(np.exp(-2 * np.abs(r))) - np.log(2), np.tanh
    ),
    "quantile": Formula(
        _residual, lambda r: np.maximum(-0.5 * r, 0.5 * r), lambda r: 0.5 * np.sign(r)
    ),
    "binary_cross_entropy": Formula(
        lambda y, p: (y, p),
        lambda y, p: -(y * np.log(p) + (1 - y) * np.log1p(-p)),
        lambda y, p: (p - y) / (p * (1 - p)),
    ),
    "sigmoid_cross_entropy": Formula(
        lambda y, z: (y, z),
        lambda y, z: np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z))),
        lambda y, z: 1 / (1 + np.exp(-z)) - y,
    ),
    "logistic": Formula(
        _margin,
        lambda _, m: np.maximum(-m, 0) + np.log1p(np.exp(-np.abs(m))),
        lambda y, m: -y / (1 + np.exp(m)),
    ),
    "hinge": Formula(
        _margin, lambda _, m: np.maximum(1 - m, 0), lambda y, m: np.where(m < 1, -y, 0)
    ),
    "squared_hinge": Formula(
        _margin,
        lambda _, m: np.maximum(1 - m, 0) ** 2,
        lambda y, m: -2 * y * np.maximum(1 - m, 0),
    ),
    "categorical_cross_entropy": Formula(
        lambda y, p: (y, p), lambda y, p: -(y * np.log(p)).sum(axis=1), lambda y, p: -y / p
    ),
    "sparse_categorical_cross_entropy": Formula(
        _own, lambda _, p, own: -np.log(p[own]), _sparse_entropy_grad
    ),
    "softmax_cross_entropy": Formula(_softmax, _dense_loss, _dense_grad),
    "sparse_softmax_cross_entropy": Formula(_softmax, _sparse_loss, _sparse_grad),
    "kl_divergence": Formula(
        lambda y, p: (y, p),
        lambda y, p: (y * (np.log(y) - np.log(p))).sum(axis=1),
        lambda y, p: -y / p,
    ),
}


def with_numpy(case: Case, y: Array, z: Array) -> Call:
    """Return the baseline's call."""
    if len(case.record.reductions) == 1:

        def root() -> Any:
            r = z - y
            value = np.sqrt(np.mean(r * r))
            return (value, r / (len(r) * value)) if case.gradient else value

        return root if case.loss == "root_mean_squared_error" else _twin(case, y, z)
    formula = PLAIN.get(case.loss)
    if formula is None:
        return _twin(case, y, z)

    def plain() -> Any:
        shared = formula.shared(y, z)
        value = formula.loss(*shared).mean()
        if not case.gradient:
            return value
        gradient = formula.grad(*shared)
        return value, np.divide(gradient, case.rows, out=gradient)

    return plain


def _twin(case: Case, y: Array, z: Array) -> Call:
    outputs = ("loss", "grad") if case.gradient else ("loss",)

    def call() -> Any:
        results = reference.numpy_loss(case.loss, y, z, outputs=outputs)
        if len(case.record.reductions) == 1:  # the loss of the whole input
            return results if case.gradient else results[0]
        mean = results[0].mean()
        return (mean, results[1] / results[0].size) if case.gradient else mean

    return call


def check(case: Case, ours: Any, theirs: Any, name: str) -> None:
    """Fail if a library computes something else."""
    rtol, atol = (5e-4, 1e-7) if case.dtype == "float32" else (1e-8, 1e-12)
    pairs = zip(ours, theirs, strict=True) if case.gradient else [(ours, theirs)]
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=f"{name}: {case}")
