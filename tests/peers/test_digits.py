"""Where peers lose digits: each point against the exact value, and fastloss at the same point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
import pytest
import ulps
from keras import losses as keras
from reference import exact_elements, exact_rows
from sklearn._loss import _loss as sklearn

import fastloss as fl
from fastloss._losses import BY_NAME

f32 = np.float32
RESULTS = ("loss", "grad", "hess")


@dataclass(frozen=True)
class Point:
    """A peer, and by how much its result at (y, z) is off at least, relative to the exact value.

    Of a row's derivatives the first counts.
    """

    peer: str
    theirs: Callable[[Any, Any], Any]
    loss: str
    y: Any
    z: Any
    error: float
    result: str = "loss"
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.peer}, {self.result} at y={self.y}, z={self.z}"


def cython(loss: Any, result: str) -> Callable[[Any, Any], Any]:
    """Return a result of scikit-learn's Cython losses, as a function of y and z."""

    def call(y: Any, z: Any) -> Any:
        y = y.astype(z.dtype)
        if result == "loss":
            loss.loss(y, z, None, out := np.empty_like(y))
            return out
        grad, hess = np.empty_like(z), np.empty_like(z)
        loss.gradient_hessian(y, z, None, grad, hess)
        return grad if result == "grad" else hess

    return call


def one_hot(y: Any, z: Any) -> Any:
    return np.eye(z.shape[1], dtype=z.dtype)[y]


binomial = cython(sklearn.CyHalfBinomialLoss(), "loss")
multinomial = {r: cython(sklearn.CyHalfMultinomialLoss(), r) for r in RESULTS}


def optax_integer(y: Any, z: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(z, y)


def optax_gradient(y: Any, z: Any) -> Any:
    return jax.grad(lambda scores: optax_integer(y, scores).sum())(z)


def optax_dense(y: Any, z: Any) -> Any:
    return optax.softmax_cross_entropy(z, one_hot(y, z))


def optax_sigmoid(y: Any, z: Any) -> Any:
    return optax.sigmoid_binary_cross_entropy(z, y)


def optax_log_cosh(y: Any, z: Any) -> Any:
    return optax.log_cosh(z, y)


def optax_kl(y: Any, z: Any) -> Any:
    return optax.kl_divergence(np.log(z), y)


def keras_integer(y: Any, z: Any) -> Any:
    return keras.sparse_categorical_crossentropy(y, z, from_logits=True)


def each(loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a loss of Keras without the mean over the last axis."""
    return lambda y, z: loss(y[:, None], z[:, None])


SIGMOID = "sigmoid_cross_entropy"
SOFTMAX = "sparse_softmax_cross_entropy"
NEAR = [0.9001, 0.0999], [0.9, 0.1]

POINTS = [
    # log(1 + exp(z)) - z, each term rounded to the digits of z
    Point("HalfBinomialLoss", binomial, SIGMOID, 1, 20, 1e-7, dtype="float64"),
    Point("HalfBinomialLoss", binomial, SIGMOID, 1, 30, 1e-2, dtype="float64"),
    Point("HalfBinomialLoss", binomial, SIGMOID, 1, 36, 1, dtype="float64"),
    # log(sum) + max - z_y; p - 1; p (1 - p)
    *(
        Point("HalfMultinomialLoss", multinomial[r], SOFTMAX, 0, [z, 0, 0], e, r, "float64")
        for r, z, e in [
            ("loss", 20, 1e-7),
            ("loss", 36, 1),
            ("grad", 20, 1e-8),
            ("grad", 38, 1),
            ("hess", 20, 1e-8),
            ("hess", 38, 1),
        ]
    ),
    Point("softmax..._with_integer_labels", optax_integer, SOFTMAX, 0, [10, 0, 0], 1e-4),
    Point("softmax..._with_integer_labels", optax_integer, SOFTMAX, 0, [20, 0, 0], 1),
    Point("softmax..._with_integer_labels", optax_gradient, SOFTMAX, 0, [20, 0, 0], 1, "grad"),
    Point("softmax_cross_entropy", optax_dense, SOFTMAX, 0, [10, 0, 0], 1e-4),
    Point("softmax_cross_entropy", optax_dense, SOFTMAX, 0, [20, 0, 0], 1),
    # a subnormal result, which XLA sets to zero
    Point("sigmoid_binary_cross_entropy", optax_sigmoid, SIGMOID, 1, 100, 1),
    # log(exp(r) + exp(-r)) - log(2)
    Point("optax.log_cosh", optax_log_cosh, "log_cosh", 0, 1e-2, 1e-4),
    Point("optax.log_cosh", optax_log_cosh, "log_cosh", 0, 1e-4, 1),
    Point("optax.kl_divergence", optax_kl, "kl_divergence", *NEAR, 1e-2),
    Point("sparse_categorical_crossentropy", keras_integer, SOFTMAX, 0, [10, 0, 0], 1e-4),
    Point("sparse_categorical_crossentropy", keras_integer, SOFTMAX, 0, [20, 0, 0], 1),
    Point("keras log_cosh", each(keras.log_cosh), "log_cosh", 0, 1e-2, 1e-4),
    Point("keras log_cosh", each(keras.log_cosh), "log_cosh", 0, 1e-4, 1),
    # log(1 + z) instead of log1p(z)
    Point(
        "mean_squared_logarithmic_error", each(keras.mean_squared_logarithmic_error),
        "squared_log_error", 0, 1e-5, 1e-2,
    ),
    # clipped to [1e-7, 1 - 1e-7]; log(1 - p) instead of log1p(-p)
    *(
        Point(
            "binary_crossentropy", each(keras.binary_crossentropy), "binary_cross_entropy", y, p, e
        )
        for y, p, e in [(1, 1e-10, 0.2), (0, 1e-9, 100), (0, 1e-3, 1e-5)]
    ),
    Point("keras kl_divergence", keras.kl_divergence, "kl_divergence", *NEAR, 1e-2),
]  # fmt: skip


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_digits(point: Point) -> None:
    record, which = BY_NAME[point.loss], RESULTS.index(point.result)
    z = np.array([point.z], point.dtype)
    y = np.array([point.y], None if record.kind == "sparse" else point.dtype)
    if record.kind == "pointwise":
        exact = exact_elements(point.loss, point.dtype, y, z)[which][0]
    else:
        exact = exact_rows(point.loss, point.dtype, y, z)[which][0][0]

    loss = fl.get(point.loss)
    ours = loss(y, z, reduction="none") if which == 0 else loss.grad_and_hess(y, z)[which - 1]
    assert ulps.error(ours.flat[0], exact, point.dtype) <= record.max_ulp

    theirs = float(np.ravel(point.theirs(y, z))[0])
    assert float(abs(theirs - exact.value) / abs(exact.value)) >= point.error
