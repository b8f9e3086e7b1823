"""Compiled JAX on arrays of its own. It has no setting for its threads: see `timing.pin`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cases import Array, Call, Case

jax.config.update("jax_enable_x64", True)
softplus = jax.nn.softplus


def _own(x: Any, y: Any) -> Any:
    return jnp.take_along_axis(x, y[:, None], axis=1)[:, 0]


def _huber(z: Any, y: Any) -> Any:
    a = jnp.abs(z - y)
    return jnp.mean(jnp.where(a <= 1, 0.5 * a * a, a - 0.5))


LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "squared_error": lambda z, y: jnp.mean((z - y) ** 2),
    "root_mean_squared_error": lambda z, y: jnp.sqrt(jnp.mean((z - y) ** 2)),
    "absolute_error": lambda z, y: jnp.mean(jnp.abs(z - y)),
    "squared_log_error": lambda z, y: jnp.mean((jnp.log1p(z) - jnp.log1p(y)) ** 2),
    "huber": _huber,
    "pseudo_huber": lambda z, y: jnp.mean(jnp.sqrt(1 + (z - y) ** 2) - 1),
    "log_cosh": lambda z, y: jnp.mean(z - y + softplus(-2 * (z - y)) - math.log(2)),
    "quantile": lambda z, y: jnp.mean(jnp.maximum(0.5 * (y - z), 0.5 * (z - y))),
    "binary_cross_entropy": lambda p, y: -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log1p(-p)),
    "sigmoid_cross_entropy": lambda z, y: jnp.mean(softplus(z) - y * z),
    "logistic": lambda z, y: jnp.mean(softplus(-y * z)),
    "hinge": lambda z, y: jnp.mean(jax.nn.relu(1 - y * z)),
    "squared_hinge": lambda z, y: jnp.mean(jax.nn.relu(1 - y * z) ** 2),
    "categorical_cross_entropy": lambda p, y: -jnp.mean(jnp.sum(y * jnp.log(p), axis=1)),
    "sparse_categorical_cross_entropy": lambda p, y: -jnp.mean(jnp.log(_own(p, y))),
    "softmax_cross_entropy": lambda z, y: (
        -jnp.mean(jnp.sum(y * jax.nn.log_softmax(z, axis=1), axis=1))
    ),
    "sparse_softmax_cross_entropy": lambda z, y: jnp.mean(jax.nn.logsumexp(z, axis=1) - _own(z, y)),
    "kl_divergence": lambda p, y: jnp.mean(jnp.sum(y * (jnp.log(y) - jnp.log(p)), axis=1)),
}


def prepare(case: Case, y: Array, z: Array, _: int) -> Call | None:
    if case.loss not in LOSSES or case.into_out:
        return None
    loss, target, scores = LOSSES[case.loss], jnp.asarray(y), jnp.asarray(z)
    compiled: Any = jax.jit(jax.value_and_grad(loss) if case.gradient else loss)

    def call() -> Any:
        result = jax.block_until_ready(compiled(scores, target))
        return (float(result[0]), np.asarray(result[1])) if case.gradient else float(result)

    return call
