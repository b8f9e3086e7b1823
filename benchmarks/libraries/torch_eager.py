"""Eager PyTorch: its own function where it has one, else the formula; forward and backward."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from cases import Array, Call, Case
from torch.nn import functional

LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "squared_error": functional.mse_loss,
    "root_mean_squared_error": lambda z, y: functional.mse_loss(z, y).sqrt(),
    "absolute_error": functional.l1_loss,
    "squared_log_error": lambda z, y: functional.mse_loss(z.log1p(), y.log1p()),
    "huber": functional.huber_loss,
    "pseudo_huber": lambda z, y: ((1 + (z - y).square()).sqrt() - 1).mean(),
    "log_cosh": lambda z, y: ((z - y) + functional.softplus(-2 * (z - y)) - math.log(2)).mean(),
    "quantile": lambda z, y: torch.maximum(0.5 * (y - z), 0.5 * (z - y)).mean(),
    "binary_cross_entropy": functional.binary_cross_entropy,
    "sigmoid_cross_entropy": functional.binary_cross_entropy_with_logits,
    "logistic": lambda z, y: functional.softplus(-y * z).mean(),
    "hinge": lambda z, y: (1 - y * z).relu().mean(),
    "squared_hinge": lambda z, y: (1 - y * z).relu().square().mean(),
    "categorical_cross_entropy": lambda p, y: -(y * p.log()).sum(1).mean(),
    "sparse_categorical_cross_entropy": lambda p, y: -p.gather(1, y[:, None]).log().mean(),
    "softmax_cross_entropy": functional.cross_entropy,
    "sparse_softmax_cross_entropy": functional.cross_entropy,
    "kl_divergence": lambda p, y: functional.kl_div(p.log(), y, reduction="batchmean"),
}


def prepare(case: Case, y: Array, z: Array, threads: int) -> Call | None:
    if case.loss not in LOSSES or case.into_out:
        return None
    torch.set_num_threads(threads)
    loss, target, scores = LOSSES[case.loss], torch.from_numpy(y), torch.from_numpy(z)

    def value() -> float:
        with torch.no_grad():
            return float(loss(scores, target))

    def both() -> Any:
        leaf = scores.detach().requires_grad_()
        result = loss(leaf, target)
        result.backward()
        return float(result.detach()), leaf.grad.numpy()

    return both if case.gradient else value
