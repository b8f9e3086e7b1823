"""The examples of Optax's documentation, and the values that its own tests expect."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from examples import Example, check

import fastloss as fl

f32 = np.float32
inf = np.inf

LOGITS = np.array([[1.2, -0.8, -0.5], [0.9, -1.2, 1.1]], f32)
ONE_HOT = np.array([[1, 0, 0], [0, 1, 0]], f32)
LABELS = np.array([0, 1])
COUNTING = np.arange(24, dtype=f32).reshape(1, 2, 3, 4)
POSITION = np.array([[1, 2]]), np.array([[1, 3]])

DOCUMENTED = [
    Example(
        "softmax_cross_entropy",
        lambda: fl.softmax_cross_entropy(ONE_HOT, LOGITS, reduction="none"),
        lambda: optax.softmax_cross_entropy(LOGITS, ONE_HOT),
        printed=[0.2761, 2.9518],
    ),
    Example(
        "softmax_cross_entropy_with_integer_labels",
        lambda: fl.sparse_softmax_cross_entropy(LABELS, LOGITS, reduction="none"),
        lambda: optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS),
        printed=[0.2761, 2.9518],
    ),
    # fastloss has one axis of classes; several of them are one after a reshape.
    Example(
        "softmax_cross_entropy_with_integer_labels, two axes",
        lambda: fl.sparse_softmax_cross_entropy(
            np.ravel_multi_index(POSITION, (3, 4)), COUNTING.reshape(1, 2, 12), reduction="none"
        ),
        lambda: optax.softmax_cross_entropy_with_integer_labels(
            jnp.asarray(COUNTING), jnp.ravel_multi_index(POSITION, (3, 4), mode="wrap"), axis=(2, 3)
        ),
        printed=[[6.4587, 0.4587]],
    ),
]

# What the prose of the documentation says of the other losses.
Y = np.array([-1.5, 0, -1, 1, 0.3], f32)
Z = np.array([-2, -1, 0.5, 1, 132], f32)
BITS = np.array([1, 0, 1, 0, 1], f32)
SIGNS = 2 * BITS - 1
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], f32)
TARGETS = np.array([[0.5, 0.5, 0], [0.2, 0.3, 0.5]], f32)

DESCRIBED = [
    Example(
        "squared_error: MSE is squared_error(a, b).mean()",
        lambda: fl.squared_error(Y, Z),
        lambda: optax.squared_error(Z, Y).mean(),
    ),
    Example(
        "l2_loss = 0.5 * squared_error",
        lambda: 0.5 * fl.squared_error(Y, Z, reduction="none"),
        lambda: optax.l2_loss(Z, Y),
    ),
    Example(
        "huber_loss",
        lambda: fl.huber(Y, Z, delta=0.5, reduction="none"),
        lambda: optax.huber_loss(Z, Y, delta=0.5),
    ),
    Example(
        "huber_loss: its gradient is l2_loss's, clipped to [-delta, delta]",
        lambda: fl.huber.grad(Y, Z, delta=0.5, reduction="sum"),
        lambda: np.clip(jax.grad(lambda z: optax.l2_loss(z, Y).sum())(Z), -0.5, 0.5),
    ),
    Example(
        "log_cosh",
        lambda: fl.log_cosh(Y, Z, reduction="none"),
        lambda: optax.log_cosh(Z, Y),
    ),
    Example(
        "sigmoid_binary_cross_entropy",
        lambda: fl.sigmoid_cross_entropy(BITS, Z, reduction="none"),
        lambda: optax.sigmoid_binary_cross_entropy(Z, BITS),
    ),
    Example(
        "hinge_loss: targets in {-1, 1}",
        lambda: fl.hinge(SIGNS, Z, reduction="none"),
        lambda: optax.hinge_loss(Z, SIGNS),
    ),
    Example(
        "kl_divergence: predictions in log-space",
        lambda: fl.kl_divergence(TARGETS, PROBABILITIES, reduction="none"),
        lambda: optax.kl_divergence(np.log(PROBABILITIES), TARGETS),
    ),
    Example(
        "smooth_labels",
        lambda: fl.softmax_cross_entropy(ONE_HOT, LOGITS, label_smoothing=0.1, reduction="none"),
        lambda: optax.softmax_cross_entropy(LOGITS, optax.smooth_labels(ONE_HOT, 0.1)),
    ),
]


@pytest.mark.parametrize("example", DOCUMENTED + DESCRIBED, ids=lambda e: e.name)
def test_documentation(example: Example) -> None:
    check(example)


# Optax's tests, which take the values from TensorFlow, or from a pencil.
EXPECTED: list[tuple[str, Any, Any, Any]] = [
    (
        "huber",
        [0.0, -0.5, 0.0, 1.0, 1.0, 2.0, 0.3],
        [-2.0, 0.5, 0.0, 0.5, 2.0, 4.0, 132.0],
        [1.5, 0.5, 0.0, 0.125, 0.5, 1.5, 131.2],
    ),
    (
        "log_cosh",
        [-200, -1.5, 0.0, -1, 1.0],
        [500, -2.0, -1.0, 0.5, 1.0],
        [699.3068, 0.12011445, 0.4337809, 0.85544014, 0.0],
    ),
    # Of safe_softmax_cross_entropy: what is masked by -inf costs nothing unless it is a target.
    (
        "softmax_cross_entropy",
        [[0, 1, 0], [1, 0, 0], [0, 0.5, 0.5], [0.4, 0.3, 0.3], [0, 1, 0]],
        [[10, 1, -2], [1, 4, 0.2], [-inf, 0, 0], [-inf, 0, 0], [-inf, 0, -inf]],
        [9.00013, 3.0696733, 0.693147, inf, 0.0],
    ),
]


@pytest.mark.parametrize(("name", "y", "z", "expected"), EXPECTED, ids=lambda x: str(x)[:24])
def test_values_of_their_tests(name: str, y: Any, z: Any, expected: Any) -> None:
    losses = fl.get(name)(np.array(y, f32), np.array(z, f32), reduction="none")
    np.testing.assert_allclose(losses, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("z", [[-1e9, -1e-9], [-1e9, 1e-9], [1e9, -1e-9], [1e9, 1e-9]])
@pytest.mark.parametrize("y", [[1.0, 0.0], [0.0, 1.0]])
def test_sigmoid_of_their_tests(y: Any, z: Any) -> None:
    wrong = (z[0] > 0) != (y[0] > 0)
    expected = 5e8 if wrong else 0.3465736
    assert fl.sigmoid_cross_entropy(y, z) == pytest.approx(expected, rel=1e-6)


# ---- what differs ----


def test_infinite_logits_that_are_right() -> None:
    """0 * -inf: Optax gives nan for a certain and right prediction, and for a mask."""
    assert np.isnan(optax.sigmoid_binary_cross_entropy(f32(inf), f32(1)))
    assert fl.sigmoid_cross_entropy(f32(1), f32(inf)) == 0
    masked = np.array([[-inf, 0]], f32), np.array([[0, 1]], f32)
    assert np.isnan(optax.softmax_cross_entropy(*masked))
    assert fl.softmax_cross_entropy(masked[1], masked[0]) == 0
