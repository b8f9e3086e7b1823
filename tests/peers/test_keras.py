"""The examples of Keras's documentation."""

from __future__ import annotations

import numpy as np
import pytest
from examples import Example, check
from keras import losses

import fastloss as fl

f32 = np.float32
CLIPPED = 1e-7  # keras.config.epsilon()

MSE = np.array([1.0, 0.0, 1.0], f32), np.array([0.9, 0.1, 0.8], f32)
MAE = np.array([1.0, 0.3, 1.0], f32), np.array([1.9, 0.3, 1.8], f32)
BITS = np.array([[0, 1], [0, 0]], f32)
LOGITS = np.array([[-18.6, 0.51], [2.94, -12.8]], f32)
CHANCES = np.array([[0.6, 0.4], [0.4, 0.6]], f32)
ONE_HOT = np.array([[0, 1, 0], [0, 0, 1]], f32)
LABELS = np.array([1, 2])
CLASSES = np.array([[0.05, 0.95, 0], [0.1, 0.8, 0.1]], f32)
ZEROS = np.array([[0, 1], [0, 0]], f32), np.array([[1, 1], [0, 0]], f32)


def rows(losses_of_elements: np.ndarray) -> np.ndarray:
    """Return the means of the rows: Keras's functions average over the last axis."""
    return losses_of_elements.mean(axis=-1)


PRINTED = [
    Example(
        "MeanSquaredError",
        lambda: fl.squared_error(*MSE),
        lambda: losses.MeanSquaredError()(*MSE),
        printed=0.02,
        digits=6,
    ),
    Example(
        "MeanAbsoluteError",
        lambda: fl.absolute_error(*MAE),
        lambda: losses.MeanAbsoluteError()(*MAE),
        printed=0.5666667,
        digits=6,
    ),
    Example(
        "huber",
        lambda: fl.huber(BITS, CHANCES),
        lambda: losses.Huber()(BITS, CHANCES),
        printed=0.155,
        digits=6,
    ),
    Example(
        "log_cosh",
        lambda: fl.log_cosh(*ZEROS),
        lambda: losses.LogCosh()(*ZEROS),
        printed=0.108,
        digits=3,
    ),
    Example(
        "BinaryCrossentropy, one row",
        lambda: fl.sigmoid_cross_entropy(BITS.ravel(), LOGITS.ravel()),
        lambda: losses.BinaryCrossentropy(from_logits=True)(BITS.ravel(), LOGITS.ravel()),
        printed=0.8654,
    ),
    Example(
        "BinaryCrossentropy, two rows",
        lambda: fl.sigmoid_cross_entropy(BITS, LOGITS),
        lambda: losses.BinaryCrossentropy(from_logits=True)(BITS, LOGITS),
        printed=0.8654,
    ),
    # Weights: Keras divides by the number of rows, fastloss by the sum of the weights.
    Example(
        "BinaryCrossentropy, sample_weight",
        lambda: (
            fl.sigmoid_cross_entropy(BITS, LOGITS, sample_weight=[[0.8], [0.2]], reduction="sum")
            / BITS.size
        ),
        lambda: losses.BinaryCrossentropy(from_logits=True)(
            BITS, LOGITS, sample_weight=np.array([0.8, 0.2])
        ),
        printed=0.243,
        digits=3,
    ),
    # Keras's sum is one over the rows, and a row's loss is a mean.
    Example(
        "BinaryCrossentropy, sum",
        lambda: fl.sigmoid_cross_entropy(BITS, LOGITS, reduction="sum") / BITS.shape[1],
        lambda: losses.BinaryCrossentropy(from_logits=True, reduction="sum")(BITS, LOGITS),
        printed=1.730,
        digits=3,
    ),
    Example(
        "BinaryCrossentropy, none",
        lambda: rows(fl.sigmoid_cross_entropy(BITS, LOGITS, reduction="none")),
        lambda: losses.BinaryCrossentropy(from_logits=True, reduction=None)(BITS, LOGITS),
        printed=[0.235, 1.496],
        digits=3,
    ),
    Example(
        "binary_crossentropy",
        lambda: rows(fl.binary_cross_entropy(BITS, CHANCES, reduction="none")),
        lambda: losses.binary_crossentropy(BITS, CHANCES),
        printed=[0.916, 0.714],
        digits=3,
    ),
    Example(
        "CategoricalCrossentropy",
        lambda: fl.categorical_cross_entropy(ONE_HOT, CLASSES),
        lambda: losses.CategoricalCrossentropy()(ONE_HOT, CLASSES),
        printed=1.177,
        digits=3,
    ),
    Example(
        "CategoricalCrossentropy, sample_weight",
        lambda: (
            fl.categorical_cross_entropy(
                ONE_HOT, CLASSES, sample_weight=[0.3, 0.7], reduction="sum"
            )
            / 2
        ),
        lambda: losses.CategoricalCrossentropy()(
            ONE_HOT, CLASSES, sample_weight=np.array([0.3, 0.7])
        ),
        printed=0.814,
        digits=3,
    ),
    Example(
        "CategoricalCrossentropy, sum",
        lambda: fl.categorical_cross_entropy(ONE_HOT, CLASSES, reduction="sum"),
        lambda: losses.CategoricalCrossentropy(reduction="sum")(ONE_HOT, CLASSES),
        printed=2.354,
        digits=3,
    ),
    Example(
        "CategoricalCrossentropy, none",
        lambda: fl.categorical_cross_entropy(ONE_HOT, CLASSES, reduction="none"),
        lambda: losses.CategoricalCrossentropy(reduction=None)(ONE_HOT, CLASSES),
        printed=[0.0513, 2.303],
        digits=3,
    ),
    Example(
        "SparseCategoricalCrossentropy",
        lambda: fl.sparse_categorical_cross_entropy(LABELS, CLASSES),
        lambda: losses.SparseCategoricalCrossentropy()(LABELS, CLASSES),
        printed=1.177,
        digits=3,
    ),
    Example(
        "SparseCategoricalCrossentropy, sample_weight",
        lambda: (
            fl.sparse_categorical_cross_entropy(
                LABELS, CLASSES, sample_weight=[0.3, 0.7], reduction="sum"
            )
            / 2
        ),
        lambda: losses.SparseCategoricalCrossentropy()(
            LABELS, CLASSES, sample_weight=np.array([0.3, 0.7])
        ),
        printed=0.814,
        digits=3,
    ),
    Example(
        "SparseCategoricalCrossentropy, sum",
        lambda: fl.sparse_categorical_cross_entropy(LABELS, CLASSES, reduction="sum"),
        lambda: losses.SparseCategoricalCrossentropy(reduction="sum")(LABELS, CLASSES),
        printed=2.354,
        digits=3,
    ),
    Example(
        "SparseCategoricalCrossentropy, none",
        lambda: fl.sparse_categorical_cross_entropy(LABELS, CLASSES, reduction="none"),
        lambda: losses.SparseCategoricalCrossentropy(reduction=None)(LABELS, CLASSES),
        printed=[0.0513, 2.303],
        digits=3,
    ),
]

# Examples with random inputs, for which the documentation prints nothing.
rng = np.random.default_rng(0)
DRAWN = rng.integers(0, 2, (2, 3)).astype(f32), rng.random((2, 3), dtype=f32)
SIGNED = 2 * DRAWN[0] - 1, DRAWN[1]
WITHIN = np.clip(DRAWN[0], f32(CLIPPED), 1), np.clip(DRAWN[1], f32(CLIPPED), 1)

UNPRINTED = [
    Example(
        "mean_squared_error",
        lambda: rows(fl.squared_error(*DRAWN, reduction="none")),
        lambda: losses.mean_squared_error(*DRAWN),
    ),
    Example(
        "mean_absolute_error",
        lambda: rows(fl.absolute_error(*DRAWN, reduction="none")),
        lambda: losses.mean_absolute_error(*DRAWN),
    ),
    Example(
        "mean_squared_logarithmic_error",
        lambda: rows(fl.squared_log_error(*DRAWN, reduction="none")),
        lambda: losses.mean_squared_logarithmic_error(*DRAWN),
    ),
    Example(
        "hinge",
        lambda: rows(fl.hinge(*SIGNED, reduction="none")),
        lambda: losses.hinge(*SIGNED),
    ),
    Example(
        "squared_hinge",
        lambda: rows(fl.squared_hinge(*SIGNED, reduction="none")),
        lambda: losses.squared_hinge(*SIGNED),
    ),
    # The documentation gives the formula: with both clipped.
    Example(
        "kl_divergence",
        lambda: fl.kl_divergence(*WITHIN, reduction="none"),
        lambda: losses.kl_divergence(*DRAWN),
    ),
]


@pytest.mark.parametrize("example", PRINTED + UNPRINTED, ids=lambda e: e.name)
def test_documentation(example: Example) -> None:
    check(example)


# ---- what differs ----


def test_weighted_mean() -> None:
    """Keras's default divides by the number of rows; one of its reductions by the weights."""
    weight = np.array([0.3, 0.7], f32)
    ours = fl.categorical_cross_entropy(ONE_HOT, CLASSES, sample_weight=weight)
    by_weights = losses.CategoricalCrossentropy(reduction="mean_with_sample_weight")
    by_rows = losses.CategoricalCrossentropy()
    assert ours == pytest.approx(float(by_weights(ONE_HOT, CLASSES, weight)), rel=1e-6)
    assert ours == pytest.approx(2 * float(by_rows(ONE_HOT, CLASSES, weight)), rel=1e-6)


def test_probabilities_are_not_normalised() -> None:
    """Keras divides categorical probabilities by their sum; fastloss takes them as they are."""
    y, p = np.array([[1, 0]], f32), np.array([[0.2, 0.2]], f32)
    assert losses.categorical_crossentropy(y, p)[0] == pytest.approx(np.log(2), rel=1e-6)
    assert fl.categorical_cross_entropy(y, p) == pytest.approx(np.log(5), rel=1e-6)


def test_probabilities_are_not_clipped() -> None:
    """Keras's certain and wrong prediction costs -log(1e-7), unless `eps` asks for that."""
    y, p = np.array([1], f32), np.array([0], f32)
    theirs = float(losses.binary_crossentropy(y, p))
    assert theirs == pytest.approx(-np.log(CLIPPED), rel=1e-6)
    assert fl.binary_cross_entropy(y, p) == np.inf
    assert fl.binary_cross_entropy(y, p, eps=CLIPPED) == pytest.approx(theirs, rel=1e-6)
