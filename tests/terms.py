"""Terms w |z| of sums that are hard to form, and their exact sums.

The losses are absolute errors of the target 0, which are exact. An exact product of two doubles is
a pair of doubles (Dekker); math.fsum rounds the sum of all of them once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PIECE = 1 << 20


def uniform(count: int, dtype: str) -> tuple[Array, Array | None]:
    """Return losses of one magnitude, without weights."""
    return np.random.default_rng(1).random(count, dtype), None  # type: ignore[call-overload]


def wide_weights(count: int, dtype: str) -> tuple[Array, Array | None]:
    """Return weights over 30 orders of magnitude."""
    random = np.random.default_rng(2)
    return _uniform(random, 0, 1, count, dtype), 10 ** _uniform(random, -15, 15, count, dtype)


def cancelling(count: int, dtype: str) -> tuple[Array, Array | None]:
    """Return terms over 12 orders of magnitude, all but ten of which cancel out in pairs."""
    random = np.random.default_rng(3)
    z = 10 ** _uniform(random, -6, 6, count // 2 - 5, dtype)
    w = _uniform(random, 0.5, 1.5, len(z), dtype)
    left = np.full(10, 1e-3, dtype)
    order = random.permutation(count)
    return np.concatenate([z, z, left])[order], np.concatenate([w, -w, left])[order]


def _uniform(random: np.random.Generator, low: float, high: float, count: int, dtype: str) -> Array:
    x: Array = random.random(count, dtype)  # type: ignore[call-overload]
    x *= high - low
    x += low
    return x


def _split(x: Array) -> tuple[Array, Array]:
    """Return the upper and the lower half of doubles (Veltkamp)."""
    scaled = (2.0**27 + 1) * x
    high = scaled - (scaled - x)
    return high, x - high


def exact_terms(z: Array, w: Array | None) -> Iterator[float]:
    """Yield doubles whose exact sum is that of w |z|."""
    for first in range(0, len(z), PIECE):
        a = abs(z[first : first + PIECE].astype(np.float64))
        if w is None:
            yield from a.tolist()
            continue
        b = w[first : first + PIECE].astype(np.float64)
        product = a * b
        yield from product.tolist()
        if z.dtype == np.float64:
            (ah, al), (bh, bl) = _split(a), _split(b)
            yield from (al * bl - (((product - ah * bh) - al * bh) - ah * bl)).tolist()


def exact_sum(z: Array, w: Array | None) -> float:
    """Return the sum of w |z|, rounded once."""
    return math.fsum(exact_terms(z, w))


def magnitude(z: Array, w: Array | None) -> float:
    """Return the sum of |w z|."""
    return float(np.sum(abs(z if w is None else w.astype(np.float64) * z), dtype=np.float64))
