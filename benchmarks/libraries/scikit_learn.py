"""scikit-learn's private kernels, which scale no gradient and sum no losses: NumPy does it here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cases import Array, Call, Case
from sklearn._loss import _loss as cython

LOSSES: dict[str, Callable[[], Any]] = {
    "squared_error": cython.CyHalfSquaredError,
    "absolute_error": cython.CyAbsoluteError,
    "quantile": lambda: cython.CyPinballLoss(0.5),
    "huber": lambda: cython.CyHuberLoss(1.0),
    "sigmoid_cross_entropy": cython.CyHalfBinomialLoss,
    "sparse_softmax_cross_entropy": cython.CyHalfMultinomialLoss,
}


def prepare(case: Case, y: Array, z: Array, threads: int) -> Call | None:
    if case.loss not in LOSSES:
        return None
    loss, target = LOSSES[case.loss](), y.astype(case.dtype)
    losses = np.empty(case.rows, case.dtype)
    gradient = np.empty_like(z) if case.into_out else None
    factor = 2 if case.loss == "squared_error" else 1

    def value() -> float:
        loss.loss(target, z, None, losses, threads)
        return factor * float(losses.mean())

    def both() -> Any:
        into = np.empty_like(z) if gradient is None else gradient
        loss.loss_gradient(target, z, None, losses, into, threads)
        np.multiply(into, z.dtype.type(factor / case.rows), out=into)
        return factor * float(losses.mean()), into

    return both if case.gradient else value
