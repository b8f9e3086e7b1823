"""Keras on JAX: the functions of `keras.losses`, whose mean over the last axis is over one element.

Only points that its clipping to `keras.config.epsilon()` leaves as they are.
"""

from __future__ import annotations

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from keras import losses

from . import Array, Inside, Loss
from .jax_derivatives import results

__all__ = ["LOSSES", "results"]

EPSILON = keras.config.epsilon()


def _of_elements(function: Any, **fixed: Any) -> Any:
    def call(y: Any, z: Any, **params: Any) -> Any:
        return function(y[:, None], z[:, None], **fixed, **params)

    return call


def _of_rows(function: Any) -> Any:
    def call(y: Any, z: Any, **params: Any) -> Any:
        return function(y, z, from_logits=True, **params)

    return call


def _unclipped(*, targets: bool, below_one: bool) -> Inside:
    def inside(y: Array, z: Array) -> Array:
        low, high = z.dtype.type(EPSILON), z.dtype.type(1 - EPSILON)
        arguments = [z, y] if targets else [z]
        ok = [((x > low) & ((x < high) | (not below_one))).reshape(len(z), -1) for x in arguments]
        return np.asarray(np.concatenate(ok, axis=1).all(axis=1))

    return inside


SMOOTHING = frozenset({"label_smoothing"})
LOSSES = {
    "squared_error": Loss(_of_elements(losses.mean_squared_error)),
    "absolute_error": Loss(_of_elements(losses.mean_absolute_error)),
    "squared_log_error": Loss(
        _of_elements(losses.mean_squared_logarithmic_error),
        inside=_unclipped(targets=True, below_one=False),
    ),
    "huber": Loss(_of_elements(losses.huber), frozenset({"delta"})),
    "log_cosh": Loss(_of_elements(losses.log_cosh)),
    "binary_cross_entropy": Loss(
        _of_elements(losses.binary_crossentropy),
        SMOOTHING,
        _unclipped(targets=False, below_one=True),
    ),
    "sigmoid_cross_entropy": Loss(
        _of_elements(losses.binary_crossentropy, from_logits=True), SMOOTHING
    ),
    "hinge": Loss(_of_elements(losses.hinge)),
    "squared_hinge": Loss(_of_elements(losses.squared_hinge)),
    "softmax_cross_entropy": Loss(_of_rows(losses.categorical_crossentropy), SMOOTHING),
    "sparse_softmax_cross_entropy": Loss(_of_rows(losses.sparse_categorical_crossentropy)),
    "kl_divergence": Loss(losses.kl_divergence, inside=_unclipped(targets=True, below_one=True)),
}
