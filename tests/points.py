"""Points at which accuracy is tested: ordinary ones, and those where formulas break.

For each loss a grid of targets and predictions within its domain, and sets of parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Params = dict[str, Any]


def _limits(dtype: str) -> tuple[float, float, float, float]:
    info = np.finfo(dtype)
    return float(info.max), float(info.tiny), float(info.smallest_subnormal), float(info.eps)


def _real(dtype: str) -> list[float]:
    largest, tiny, subnormal, eps = _limits(dtype)
    large = largest**0.5
    positive = [subnormal, tiny, tiny**0.5, eps, 1e-4, 0.1, 0.5, 0.999, 1.0, 1 + eps, 1.5]
    positive += [3.3, 20.0, 1e3, 0.9 * large, 1.1 * large, 0.4 * largest, largest, np.inf]
    return [0.0, *positive, *(-x for x in positive), np.nan]


def _logits(dtype: str) -> list[float]:
    largest, tiny, subnormal, eps = _limits(dtype)
    positive = [subnormal, tiny, eps, 1e-3, 0.3, 1.0, 5.1, 15.0, 16.64, 20.0, 36.9, 88.0, 89.0]
    positive += [100.0, 104.5, 110.0, 700.0, 709.5, 745.0, 750.0, 1e4, largest, np.inf]
    return [0.0, -0.0, *positive, *(-x for x in positive), np.nan]


def _probabilities(dtype: str) -> list[float]:
    _, tiny, subnormal, eps = _limits(dtype)
    small = [subnormal, 8 * subnormal, tiny, tiny**0.5, eps, 1e-3, 0.1, 0.3]
    return [0.0, *small, 0.5 - eps, 0.5, 0.5 + eps, *(1 - x for x in small[4:]), 1 - eps / 2, 1.0]


def _above_minus_one(dtype: str) -> list[float]:
    largest, tiny, subnormal, eps = _limits(dtype)
    small = [-1 + eps, -1 + 1e-3, -0.7, -0.1, -eps, -tiny, -subnormal, 0.0, subnormal, tiny, eps]
    return [
        *small,
        0.2,
        1.0,
        1 + eps,
        1.01,
        7.0,
        1e5,
        largest**0.5,
        largest / 3,
        largest,
        np.inf,
        np.nan,
    ]


# Parameters beyond the defaults; each set of a loss is tried in turn.
PARAMS: dict[str, list[Params]] = {
    "huber": [{"delta": 0.3}, {"delta": 1e4}, {"delta": 1e-20}, {"delta": 1e20}],
    "pseudo_huber": [{"delta": 0.3}, {"delta": 1e4}, {"delta": 1e-20}, {"delta": 1e20}],
    "quantile": [{"q": 0.1}, {"q": 0.95}, {"q": 1e-6}],
    "binary_cross_entropy": [
        {"eps": 1e-3},
        {"label_smoothing": 0.1},
        {"eps": 1e-6},
        {"label_smoothing": 1.0},
        {"eps": 1e-6, "label_smoothing": 1e-3},
    ],
    "sigmoid_cross_entropy": [
        {"pos_weight": 3.7},
        {"pos_weight": 0.0},
        {"label_smoothing": 0.2},
        {"label_smoothing": 1.0},
        {"pos_weight": 0.3, "label_smoothing": 0.1},
        {"pos_weight": 1e-6, "label_smoothing": 1e-3},
    ],
    "hinge": [{"margin": 0.0}, {"margin": 2.5}, {"margin": 1e10}],
    "squared_hinge": [{"margin": 0.0}, {"margin": 2.5}, {"margin": 1e10}],
    "categorical_cross_entropy": [
        {"eps": 1e-3},
        {"label_smoothing": 0.1},
        {"class_weight": [0.5, 2.0, 0.0, 1.0, 3.7]},
        {"eps": 1e-6, "label_smoothing": 1e-3, "class_weight": [0.5, 2.0, 0.0, 1e10, 3.7]},
    ],
    "sparse_categorical_cross_entropy": [
        {"eps": 1e-3},
        {"label_smoothing": 0.1},
        {"class_weight": [0.5, 2.0, 0.0, 1.0, 3.7], "ignore_index": 3},
    ],
    "softmax_cross_entropy": [
        {"label_smoothing": 0.1},
        {"label_smoothing": 1.0},
        {"class_weight": [0.5, 2.0, 0.0, 1.0, 3.7]},
        {"label_smoothing": 1e-3, "class_weight": [0.5, 2.0, 0.0, 1e-10, 3.7]},
    ],
    "sparse_softmax_cross_entropy": [
        {"label_smoothing": 0.1},
        {"label_smoothing": 0.1, "class_weight": [0.5, 2.0, 0.0, 1.0, 3.7]},
        {"class_weight": [0.5, 2.0, 0.0, 1.0, 3.7], "ignore_index": 3},
    ],
    "kl_divergence": [{"eps": 1e-3}, {"eps": 1e-6}],
}


def parameters(name: str) -> list[Params]:
    """Return the sets of parameters to try, the defaults first."""
    return [{}, *PARAMS.get(name, [])]


def classes_and_parameters(name: str) -> list[tuple[int, Params]]:
    """Return numbers of classes of a row-wise loss, and the sets of parameters to try with them."""
    pairs = [(CLASSES, params) for params in parameters(name)]
    smoothed: list[Params] = [{"label_smoothing": 0.1}] if name != "kl_divergence" else []
    return pairs + [(classes, params) for classes in WIDTHS for params in [{}, *smoothed]]


def _targets(name: str, dtype: str) -> list[float]:
    if name in {"binary_cross_entropy", "sigmoid_cross_entropy"}:
        _, tiny, _, eps = _limits(dtype)
        return [0.0, 1.0, 0.5, 0.3, 1e-3, eps, tiny, 1 - eps, np.nan]
    if name in {"logistic", "hinge", "squared_hinge"}:
        return [1.0, -1.0, np.nan]
    return _above_minus_one(dtype) if name == "squared_log_error" else _real(dtype)


def _predictions(name: str, dtype: str) -> list[float]:
    if name == "binary_cross_entropy":
        return [*_probabilities(dtype), np.nan]
    if name in {"sigmoid_cross_entropy", "logistic"}:
        return _logits(dtype)
    return _above_minus_one(dtype) if name == "squared_log_error" else _real(dtype)


def rounds_to_jump(y: Array, z: Array, params: Params) -> Array:
    """Return where z - y only rounds to the residual at which Huber's Hessian jumps.

    There either side is right.
    """
    delta = y.dtype.type(params.get("delta", 1.0))
    with np.errstate(all="ignore"):
        r = z - y
    return np.array(
        [
            abs(d) == delta and Fraction(float(b)) - Fraction(float(a)) != Fraction(float(d))
            for a, b, d in zip(y, z, r, strict=True)
        ],
        dtype=bool,
    )


def elements(name: str, dtype: str, params: Params) -> tuple[Array, Array]:
    """Return targets and predictions of a pointwise loss, without those at a rounded jump."""
    pairs = list(itertools.product(_targets(name, dtype), _predictions(name, dtype)))
    random = np.random.default_rng(20)
    if name == "log_cosh":
        pairs += [(0.0, r) for r in random.uniform(-3, 3, 300)]
        pairs += [(0.0, r) for r in np.exp2(random.uniform(-60, 10, 100))]
    elif name in {"pseudo_huber", "huber", "squared_error", "absolute_error", "quantile"}:
        pairs += [(y, y + r) for y, r in random.normal(size=(200, 2))]
    elif name == "squared_log_error":
        pairs += [(y, y * (1 + 1e-3 * r)) for y, r in random.uniform(0, 10, (200, 2))]
        pairs += list(random.uniform(-0.99, 10, (200, 2)))
    elif name == "binary_cross_entropy":
        pairs += list(random.uniform(0, 1, (300, 2)))
        pairs += [(p, min(1.0, p * (1 + 1e-5 * r))) for p, r in random.uniform(0, 1, (100, 2))]
    elif name == "sigmoid_cross_entropy":
        pairs += [(y, 30 * z - 15) for y, z in random.uniform(0, 1, (300, 2))]
        pairs += [(1 / (1 + np.exp(-z)), z) for z in random.uniform(-5, 5, 50)]
    elif name == "logistic":
        pairs += [(1.0, z) for z in random.uniform(-30, 30, 300)]
    else:
        pairs += [(1.0, z) for z in random.uniform(-3, 3, 100)]
    with np.errstate(over="ignore"):
        y, z = np.array(pairs, dtype=dtype).T
    if name == "binary_cross_entropy":
        z = np.clip(z, 0, 1)
    if name == "huber":
        kept = ~rounds_to_jump(y, z, params)
        y, z = y[kept], z[kept]
    return y.copy(), z.copy()


CLASSES = 5
# Other numbers of classes: fewer than a vector has lanes, one more, and more than a fold takes.
WIDTHS = (1, 2, 33, 300)


def _rows_of_logits(dtype: str) -> list[list[float]]:
    largest, tiny, _, eps = _limits(dtype)
    inf = np.inf
    rows = [
        [0, 0, 0, 0, 0],
        [20, 0, 0, 0, 0],
        [40, 0, -3, 1, 2],
        [100, 0, -3, 1, 2],
        [800, 0, -3, 1, 2],
        [1, 1 + eps, 1 - eps, 1, 1],
        [-inf, 0, 1, -inf, 2],
        [-inf, -inf, -inf, -inf, 3],
        [-inf, -inf, -inf, -inf, -inf],
        [inf, 0, 1, -inf, 2],
        [inf, 0, inf, 1, 2],
        [largest, 0, -largest, 1, 2],
        [-largest, -largest, -largest, -largest, -largest],
        [1e-3, 2e-3, tiny, 0, -1e-3],
        [-700, -710, -720, -730, -745],
        [88, 0, -15.5, -16, 1],
        [np.nan, 0, 1, 2, 3],
    ]
    random = np.random.default_rng(21)
    rows += [list(r) for r in random.normal(size=(30, CLASSES)) * 3]
    rows += [list(r) for r in random.uniform(-40, 40, (30, CLASSES))]
    return rows


def _rows_of_probabilities(dtype: str) -> list[list[float]]:
    _, tiny, subnormal, eps = _limits(dtype)
    rows = [
        [1, 0, 0, 0, 0],
        [0.2, 0.2, 0.2, 0.2, 0.2],
        [1 - eps, eps, 0, 0, 0],
        [subnormal, tiny, eps, 0.5, 0.5],
        [0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1],
        [0.1, np.nan, 0.2, 0.3, 0.4],
    ]
    random = np.random.default_rng(22)
    e = np.exp(random.normal(size=(40, CLASSES)) * 4)
    rows += [list(r) for r in np.minimum(1.0, e / e.sum(axis=1, keepdims=True))]
    return rows


def _wide_rows(softmax: bool, classes: int) -> Array:
    random = np.random.default_rng(25)
    z = random.normal(size=(6, classes)) * 3
    z[1] = random.uniform(-40, 40, classes)
    z[2] = random.uniform(-800, 800, classes)
    z[3, 0] += 20
    z[4] = 0
    z[5, 1::2] = -np.inf
    if softmax:
        return z
    z[2] /= 10
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def rows(name: str, dtype: str, classes: int = CLASSES) -> tuple[Array, Array]:
    """Return targets and scores (or probabilities) of a row-wise loss."""
    softmax = "softmax" in name
    if classes == CLASSES:
        z = np.array(
            _rows_of_logits(dtype) if softmax else _rows_of_probabilities(dtype), dtype=dtype
        )
    else:
        z = _wide_rows(softmax, classes).astype(dtype)
    z = np.repeat(z, min(classes, CLASSES), axis=0)
    hard = np.arange(len(z)) % classes
    if name.startswith("sparse_"):
        return hard, z
    random = np.random.default_rng(23)
    soft = np.exp(random.normal(size=z.shape) * 2)
    soft /= soft.sum(axis=1, keepdims=True)
    y = np.where((np.arange(len(z)) % 3 == 0)[:, None], np.eye(classes)[hard], soft)
    if softmax:
        y[::7] *= 2.5
    y[::11, 1:2] = 0
    if name == "kl_divergence":
        y[5::9] = np.clip(np.nan_to_num(z[5::9]) * (1 + 1e-3), 0, 1)
    return y.astype(dtype), z


def whole_inputs(dtype: str) -> Iterator[tuple[Array, Array, Array | None]]:
    """Yield targets, predictions and weights of the root mean squared error, of all magnitudes."""
    info = np.finfo(dtype)
    for scale in (1.0, 1e-30, 1e30, float(info.smallest_subnormal) * 64, float(info.max) / 8):
        for weighted in (False, True):
            random = np.random.default_rng(24)
            y = (random.uniform(-1, 1, 37) * scale).astype(dtype)
            z = (random.uniform(-1, 1, 37) * scale).astype(dtype)
            yield y, z, random.uniform(0.1, 3, 37).astype(dtype) if weighted else None
