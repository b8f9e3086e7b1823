"""What differs from scikit-learn's losses, beyond the digits; its own tests see none of this."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn._loss import _loss

import fastloss as fl

inf, nan = np.inf, np.nan

LOSSES = {
    "absolute_error": (_loss.CyAbsoluteError(), {}),
    "quantile": (_loss.CyPinballLoss(quantile=0.25), {"q": 0.25}),
    "huber": (_loss.CyHuberLoss(delta=0.5), {"delta": 0.5}),
    "sigmoid_cross_entropy": (_loss.CyHalfBinomialLoss(), {}),
    "sparse_softmax_cross_entropy": (_loss.CyHalfMultinomialLoss(), {}),
}


def theirs(name: str, y: float, z: Any) -> tuple[float, Any, Any]:
    """Return loss, gradient and Hessian of one element or row by scikit-learn's Cython code."""
    cython, _ = LOSSES[name]
    y_true, raw = np.array([y], float), np.array([z], float)
    loss, grad, hess = np.empty(1), np.empty_like(raw), np.empty_like(raw)
    cython.loss(y_true, raw, None, loss)
    cython.gradient_hessian(y_true, raw, None, grad, hess)
    return loss[0], grad[0], hess[0]


def ours(name: str, y: float, z: Any) -> tuple[float, Any, Any]:
    loss = fl.get(name, **LOSSES[name][1])
    (grad,), (hess,) = loss.grad_and_hess([y], [z])
    return loss([y], [z]), grad, hess


@pytest.mark.parametrize(("name", "gradient"), [("absolute_error", -1.0), ("quantile", -0.25)])
def test_derivatives_of_absolute_values(name: str, gradient: float) -> None:
    """At the minimum their gradient is the one from the left; their Hessian is 1 for the trees."""
    assert theirs(name, 3, 3) == (0, gradient, 1)
    assert ours(name, 3, 3) == (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "gradient"), [("absolute_error", -1.0), ("quantile", 0.75), ("huber", -0.5)]
)
def test_nan_in_the_prediction(name: str, gradient: float) -> None:
    """A comparison with NaN is false: their gradient hides it."""
    assert theirs(name, 3, nan)[1] == gradient
    assert np.isnan(ours(name, 3, nan)).all()


def test_infinite_logits_that_are_right() -> None:
    """A certain and right prediction costs them inf - inf."""
    assert np.isnan(theirs("sigmoid_cross_entropy", 1, inf)[0])
    assert ours("sigmoid_cross_entropy", 1, inf) == (0, 0, 0)
    assert np.isnan(theirs("sparse_softmax_cross_entropy", 0, [inf, 0])[0])
    loss, gradient, hessian = ours("sparse_softmax_cross_entropy", 0, [inf, 0])
    assert loss == 0
    assert not gradient.any()
    assert not hessian.any()


def test_target_outside_its_domain() -> None:
    """The estimators check targets before; the loss itself is below zero without bound."""
    assert theirs("sigmoid_cross_entropy", 2, 100)[0] == -100
    with pytest.raises(ValueError, match="y_true"):
        ours("sigmoid_cross_entropy", 2, 100)


def test_results_of_float32() -> None:
    """They compute in float64 whatever comes in; fastloss in the prediction's dtype."""
    y, z = np.array([0.1], np.float32), np.array([0.3], np.float32)
    loss = np.empty(1)
    _loss.CyHalfSquaredError().loss(y, z, None, loss)
    exact = (z.astype(float) - y.astype(float)) ** 2 / 2
    assert loss == exact
    assert fl.squared_error(y, z, reduction="none").dtype == np.float32
    assert fl.squared_error(y, z.astype(float), reduction="none") / 2 == exact
