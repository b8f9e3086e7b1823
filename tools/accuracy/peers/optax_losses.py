"""Optax: `optax.losses` under jax.jit."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from optax import losses

from . import Array, Loss, distribution
from .jax_derivatives import results

__all__ = ["LOSSES", "results"]


def _positive(y: Array, p: Array) -> Array:
    return np.asarray(((y > 0) & (p > 0)).all(axis=1))


LOSSES = {
    "squared_error": Loss(lambda y, z: losses.squared_error(z, y)),
    "huber": Loss(
        lambda y, z, delta=1.0: losses.huber_loss(z, y, delta=delta), frozenset({"delta"})
    ),
    "log_cosh": Loss(lambda y, z: losses.log_cosh(z, y)),
    "sigmoid_cross_entropy": Loss(lambda y, z: losses.sigmoid_binary_cross_entropy(z, y)),
    "hinge": Loss(lambda y, z: losses.hinge_loss(z, y)),
    "softmax_cross_entropy": Loss(
        lambda y, z: losses.softmax_cross_entropy(z, y), inside=distribution
    ),
    "sparse_softmax_cross_entropy": Loss(
        lambda y, z: losses.softmax_cross_entropy_with_integer_labels(z, y)
    ),
    "kl_divergence": Loss(lambda y, p: losses.kl_divergence(jnp.log(p), y), inside=_positive),
}
