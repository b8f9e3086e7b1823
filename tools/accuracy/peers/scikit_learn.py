"""scikit-learn: the Cython losses of its estimators, with the derivatives that they return."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn._loss import _loss as cython

from . import Array, Loss, Params

LOSSES = {
    "squared_error": Loss(cython.CyHalfSquaredError, factor=0.5),
    "absolute_error": Loss(cython.CyAbsoluteError),
    "huber": Loss(lambda delta=1.0: cython.CyHuberLoss(delta), frozenset({"delta"})),
    "quantile": Loss(lambda q=0.5: cython.CyPinballLoss(q), frozenset({"q"})),
    "sigmoid_cross_entropy": Loss(cython.CyHalfBinomialLoss),
    "sparse_softmax_cross_entropy": Loss(cython.CyHalfMultinomialLoss),
}
CONVENTIONAL_HESSIAN = (cython.CyAbsoluteError, cython.CyPinballLoss)


def results(loss: Loss, params: Params, y: Array, z: Array) -> tuple[Array, Array, Array | None]:
    """Return loss, gradient and diagonal of the Hessian."""
    kernel: Any = loss.call(**params)
    target = np.ascontiguousarray(y, dtype=z.dtype)
    losses, grads, hessian = np.empty(len(z), z.dtype), np.empty_like(z), np.empty_like(z)
    kernel.loss(target, z, None, losses, 1)
    kernel.gradient_hessian(target, z, None, grads, hessian, 1)
    return losses, grads, None if isinstance(kernel, CONVENTIONAL_HESSIAN) else hessian
