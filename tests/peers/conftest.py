"""Keras computes with JAX here, as Optax does."""

import os

os.environ["KERAS_BACKEND"] = "jax"
