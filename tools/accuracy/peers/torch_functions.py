"""PyTorch: its own functions, eager, derivatives by autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from . import Array, Loss, Params, distribution


def _weights(z: Any, params: Any) -> Any:
    weights = params.get("class_weight")
    return None if weights is None else torch.tensor(weights, dtype=z.dtype)


def _binary_logits(y: Any, z: Any, pos_weight: float = 1.0) -> Any:
    weight = None if pos_weight == 1 else torch.tensor(pos_weight, dtype=z.dtype)
    return functional.binary_cross_entropy_with_logits(z, y, pos_weight=weight, reduction="none")


def _cross_entropy(y: Any, z: Any, **params: Any) -> Any:
    return functional.cross_entropy(
        z,
        y,
        weight=_weights(z, params),
        label_smoothing=params.get("label_smoothing", 0.0),
        ignore_index=params.get("ignore_index", -100),
        reduction="none",
    )


def _nll(y: Any, p: Any, **params: Any) -> Any:
    return functional.nll_loss(
        p.log(),
        y,
        weight=_weights(p, params),
        ignore_index=params.get("ignore_index", -100),
        reduction="none",
    )


def _not_clamped(_: Array, p: Array) -> Array:
    inside: Array = (p > np.exp(-100.0)) & (p < 1)
    return inside


def _positive(_: Array, p: Array) -> Array:
    return np.asarray((p > 0).all(axis=1))


LOSSES = {
    "squared_error": Loss(lambda y, z: functional.mse_loss(z, y, reduction="none")),
    "absolute_error": Loss(lambda y, z: functional.l1_loss(z, y, reduction="none")),
    "huber": Loss(
        lambda y, z, delta=1.0: functional.huber_loss(z, y, delta=delta, reduction="none"),
        frozenset({"delta"}),
    ),
    "binary_cross_entropy": Loss(
        lambda y, p: functional.binary_cross_entropy(p, y, reduction="none"), inside=_not_clamped
    ),
    "sigmoid_cross_entropy": Loss(_binary_logits, frozenset({"pos_weight"})),
    "logistic": Loss(lambda y, z: functional.soft_margin_loss(z, y, reduction="none")),
    "softmax_cross_entropy": Loss(
        _cross_entropy, frozenset({"label_smoothing", "class_weight"}), distribution
    ),
    "sparse_softmax_cross_entropy": Loss(
        _cross_entropy, frozenset({"label_smoothing", "class_weight", "ignore_index"})
    ),
    "sparse_categorical_cross_entropy": Loss(
        _nll, frozenset({"class_weight", "ignore_index"}), _positive
    ),
    "kl_divergence": Loss(
        lambda y, p: functional.kl_div(p.log(), y, reduction="none").sum(1), inside=_positive
    ),
}


def results(loss: Loss, params: Params, y: Array, z: Array) -> tuple[Array, Array, Array]:
    """Return loss, gradient and diagonal of the Hessian, by autograd."""
    leaf = torch.tensor(z, requires_grad=True)
    losses = loss.call(torch.tensor(y), leaf, **params)
    (grads,) = torch.autograd.grad(losses.sum(), leaf, create_graph=True)
    columns = grads.reshape(len(z), -1)
    hessian = torch.zeros_like(columns)
    for k in range(columns.shape[1] if columns.requires_grad else 0):
        (row,) = torch.autograd.grad(
            columns[:, k].sum(), leaf, retain_graph=True, materialize_grads=True
        )
        hessian[:, k] = row.reshape(columns.shape)[:, k]
    return (
        losses.detach().numpy(),
        grads.detach().numpy(),
        hessian.detach().numpy().reshape(z.shape),
    )
