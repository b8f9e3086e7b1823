"""Loops compiled by Numba: one pass, no temporary arrays, sums in float64, all threads.

Constants have the dtype of the arguments: a plain 0.5 would make everything float64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from cases import Array, Call, Case
from numba import njit, prange

# Waking the threads costs more than the loop below this many elements.
PARALLEL = 20_000
# Sums may be reordered, or none would be vectorised; NaN and infinity keep their meaning.
FASTMATH = {"reassoc", "contract", "nsz"}

Kernels = tuple[Callable[..., Any], Callable[..., Any]]


def _elements(T: Any) -> dict[str, Callable[[Any, Any], tuple[Any, Any]]]:  # noqa: N803
    """Return loss and gradient of an element, by the loss's name."""
    zero, half, one, two, ln2 = T(0), T(0.5), T(1), T(2), T(math.log(2))

    def squared_error(y: Any, z: Any) -> tuple[Any, Any]:
        r = z - y
        return r * r, two * r

    def absolute_error(y: Any, z: Any) -> tuple[Any, Any]:
        r = z - y
        return abs(r), one if r > zero else (-one if r < zero else zero)

    def squared_log_error(y: Any, z: Any) -> tuple[Any, Any]:
        d = math.log1p(z) - math.log1p(y)
        return d * d, two * d / (one + z)

    def huber(y: Any, z: Any) -> tuple[Any, Any]:
        r = z - y
        a = abs(r)
        m = min(a, one)
        return m * (a - half * m), max(min(r, one), -one)

    def pseudo_huber(y: Any, z: Any) -> tuple[Any, Any]:
        r = z - y
        root = math.sqrt(one + r * r)
        return root - one, r / root

    def log_cosh(y: Any, z: Any) -> tuple[Any, Any]:
        r = z - y
        a = abs(r)
        e = math.expm1(-two * a)
        return a + math.log1p(one + e) - ln2, math.copysign(e / (two + e), r)

    def quantile(y: Any, z: Any) -> tuple[Any, Any]:
        r = z - y
        return max(-half * r, half * r), half if r > zero else (-half if r < zero else zero)

    def binary_cross_entropy(y: Any, p: Any) -> tuple[Any, Any]:
        return -(y * math.log(p) + (one - y) * math.log1p(-p)), (p - y) / (p * (one - p))

    def sigmoid_cross_entropy(y: Any, z: Any) -> tuple[Any, Any]:
        e = math.exp(-abs(z))
        loss = max(z, zero) - y * z + math.log1p(e)
        return loss, (one if z >= zero else e) / (one + e) - y

    def logistic(y: Any, z: Any) -> tuple[Any, Any]:
        m = y * z
        e = math.exp(-abs(m))
        return max(-m, zero) + math.log1p(e), -y * (e if m >= zero else one) / (one + e)

    def hinge(y: Any, z: Any) -> tuple[Any, Any]:
        d = one - y * z
        return max(d, zero), -y if d > zero else zero

    def squared_hinge(y: Any, z: Any) -> tuple[Any, Any]:
        d = max(one - y * z, zero)
        return d * d, -two * y * d

    functions = (
        squared_error,
        absolute_error,
        squared_log_error,
        huber,
        pseudo_huber,
        log_cosh,
        quantile,
        binary_cross_entropy,
        sigmoid_cross_entropy,
        logistic,
        hinge,
        squared_hinge,
    )
    return {f.__name__: f for f in functions}


def _pointwise(element: Any, T: Any, options: dict[str, Any]) -> Kernels:  # noqa: N803
    formula = njit(inline="always")(element)

    @njit(**options)
    def value(y: Array, z: Array) -> float:
        total = 0.0
        for i in prange(len(z)):
            loss, _ = formula(y[i], z[i])
            total += loss
        return total / len(z)

    @njit(**options)
    def both(y: Array, z: Array, out: Array) -> float:
        total, scale = 0.0, T(1 / len(z))
        for i in prange(len(z)):
            loss, grad = formula(y[i], z[i])
            total += loss
            out[i] = scale * grad
        return total / len(z)

    return value, both


def _root(T: Any, options: dict[str, Any]) -> Kernels:  # noqa: N803
    @njit(**options)
    def value(y: Array, z: Array) -> float:
        total = 0.0
        for i in prange(len(z)):
            r = z[i] - y[i]
            total += r * r
        return math.sqrt(total / len(z))

    @njit(**options)
    def both(y: Array, z: Array, out: Array) -> float:
        root = value(y, z)
        scale = T(1 / (len(z) * root))
        for i in prange(len(z)):
            out[i] = scale * (z[i] - y[i])
        return root

    return value, both


def _sparse_softmax(T: Any, options: dict[str, Any]) -> Kernels:  # noqa: N803
    low = T(-np.inf)

    @njit(**options)
    def value(y: Array, z: Array) -> float:
        total = 0.0
        for i in prange(len(z)):
            top, mass = low, T(0)
            for k in range(z.shape[1]):
                top = max(top, z[i, k])
            for k in range(z.shape[1]):
                mass += math.exp(z[i, k] - top)
            total += math.log(mass) + top - z[i, y[i]]
        return total / len(z)

    @njit(**options)
    def both(y: Array, z: Array, out: Array) -> float:
        total, scale = 0.0, T(1 / len(z))
        for i in prange(len(z)):
            top, mass = low, T(0)
            for k in range(z.shape[1]):
                top = max(top, z[i, k])
            for k in range(z.shape[1]):
                e = math.exp(z[i, k] - top)
                out[i, k] = e
                mass += e
            factor = scale / mass
            for k in range(z.shape[1]):
                out[i, k] *= factor
            out[i, y[i]] -= scale
            total += math.log(mass) + top - z[i, y[i]]
        return total / len(z)

    return value, both


def _dense_softmax(T: Any, options: dict[str, Any]) -> Kernels:  # noqa: N803
    low = T(-np.inf)

    @njit(**options)
    def value(y: Array, z: Array) -> float:
        total = 0.0
        for i in prange(len(z)):
            top, mass, weight, dot = low, T(0), T(0), T(0)
            for k in range(z.shape[1]):
                top = max(top, z[i, k])
            for k in range(z.shape[1]):
                mass += math.exp(z[i, k] - top)
                weight += y[i, k]
                dot += y[i, k] * (z[i, k] - top)
            total += weight * math.log(mass) - dot
        return total / len(z)

    @njit(**options)
    def both(y: Array, z: Array, out: Array) -> float:
        total, scale = 0.0, T(1 / len(z))
        for i in prange(len(z)):
            top, mass, weight, dot = low, T(0), T(0), T(0)
            for k in range(z.shape[1]):
                top = max(top, z[i, k])
            for k in range(z.shape[1]):
                e = math.exp(z[i, k] - top)
                out[i, k] = e
                mass += e
                weight += y[i, k]
                dot += y[i, k] * (z[i, k] - top)
            factor = weight / mass
            for k in range(z.shape[1]):
                out[i, k] = scale * (factor * out[i, k] - y[i, k])
            total += weight * math.log(mass) - dot
        return total / len(z)

    return value, both


def _sparse_entropy(T: Any, options: dict[str, Any]) -> Kernels:  # noqa: N803
    @njit(**options)
    def value(y: Array, p: Array) -> float:
        total = 0.0
        for i in prange(len(p)):
            total -= math.log(p[i, y[i]])
        return total / len(p)

    @njit(**options)
    def both(y: Array, p: Array, out: Array) -> float:
        total, scale = 0.0, T(1 / len(p))
        for i in prange(len(p)):
            for k in range(p.shape[1]):
                out[i, k] = T(0)
            own = p[i, y[i]]
            out[i, y[i]] = -scale / own
            total -= math.log(own)
        return total / len(p)

    return value, both


def _terms(term: Any, T: Any, options: dict[str, Any]) -> Kernels:  # noqa: N803
    """Return kernels of a sum over the classes whose gradient is -y / p."""
    formula = njit(inline="always")(term)

    @njit(**options)
    def value(y: Array, p: Array) -> float:
        total = 0.0
        for i in prange(len(p)):
            row = T(0)
            for k in range(p.shape[1]):
                row += formula(y[i, k], p[i, k])
            total += row
        return total / len(p)

    @njit(**options)
    def both(y: Array, p: Array, out: Array) -> float:
        total, scale = 0.0, T(1 / len(p))
        for i in prange(len(p)):
            row = T(0)
            for k in range(p.shape[1]):
                row += formula(y[i, k], p[i, k])
                out[i, k] = -scale * y[i, k] / p[i, k]
            total += row
        return total / len(p)

    return value, both


def _entropy_term(y: Any, p: Any) -> Any:
    return -y * math.log(p)


def _divergence_term(y: Any, p: Any) -> Any:
    return y * (math.log(y) - math.log(p))


@functools.cache
def kernels(loss: str, dtype: str, parallel: bool) -> Kernels | None:
    """Return the functions for the mean and for mean and gradient; they compile when called."""
    T = np.dtype(dtype).type  # noqa: N806
    options = {"parallel": parallel, "fastmath": FASTMATH}
    element = _elements(T).get(loss)
    if element is not None:
        return _pointwise(element, T, options)
    match loss:
        case "root_mean_squared_error":
            return _root(T, options)
        case "sparse_softmax_cross_entropy":
            return _sparse_softmax(T, options)
        case "softmax_cross_entropy":
            return _dense_softmax(T, options)
        case "sparse_categorical_cross_entropy":
            return _sparse_entropy(T, options)
        case "categorical_cross_entropy":
            return _terms(_entropy_term, T, options)
        case "kl_divergence":
            return _terms(_divergence_term, T, options)
    return None


def prepare(case: Case, y: Array, z: Array, threads: int) -> Call | None:
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    pair = kernels(case.loss, case.dtype, case.elements >= PARALLEL and threads > 1)
    if pair is None:
        return None
    value, both = pair
    if not case.gradient:
        return lambda: value(y, z)
    if case.into_out:
        gradient = np.empty_like(z)
        return lambda: (both(y, z, gradient), gradient)

    def call() -> Any:
        out = np.empty_like(z)
        return both(y, z, out), out

    return call
