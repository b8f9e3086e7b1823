"""Loss, gradient and diagonal of the Hessian of a function of JAX arrays, compiled.

64-bit types are enabled where they are needed, and only there, as float32 is used without them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import Array, Loss, Params


def results(loss: Loss, params: Params, y: Array, z: Array) -> tuple[Array, Array, Array]:
    """Return the three at the points."""
    jax.config.update("jax_enable_x64", z.dtype == np.float64)
    target, at = jnp.asarray(y), jnp.asarray(z)

    def losses(x: Any) -> Any:
        return loss.call(target, x, **params)

    gradient = jax.grad(lambda x: losses(x).sum())

    def diagonal(x: Any) -> Any:
        if x.ndim == 1:
            return jax.jvp(gradient, (x,), (jnp.ones_like(x),))[1]
        units = jnp.eye(x.shape[1], dtype=x.dtype)
        columns = [
            jax.jvp(gradient, (x,), (jnp.broadcast_to(unit, x.shape),))[1][:, k]
            for k, unit in enumerate(units)
        ]
        return jnp.stack(columns, axis=1)

    three = [np.asarray(jax.jit(f)(at)) for f in (losses, gradient, diagonal)]
    return three[0], three[1], three[2]
