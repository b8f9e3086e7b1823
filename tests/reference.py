"""The oracle: every loss, its gradient and its Hessian as the literature writes them.

One entry for each loss, evaluated by two arithmetics:

- `exact_elements`, `exact_rows` and `exact_root` use mpmath with as many digits (at least 60) as
  the inputs need, so that no formula has to be rearranged for stability;
- `numpy_loss` and `reduce` use plain NumPy in float64: what a user would write. They serve for
  shapes, layouts and reductions, and as the benchmarks' baseline.

The formulas share nothing with the kernels. `test_reference.py` proves the derivatives by
differentiating the losses numerically.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from mpmath.ctx_mp import MPContext
from numpy.typing import NDArray

Array = NDArray[Any]
Params = dict[str, Any]

mp = MPContext()
mpf = mp.mpf


class Exact(NamedTuple):
    """An exact value, and what its error is measured against.

    `scale` is the larger term where the value is itself a difference, else the value's magnitude.
    `slack` is an absolute error that the rounding of an intermediate of the formula brings on.
    """

    value: Any
    scale: Any
    slack: Any = 0


# ---- the words of the formulas: on mpmath numbers, arrays of them, and float64 arrays ----


def _word(exact: Callable[[Any], Any], plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.lru_cache(maxsize=20_000)
    def at_precision(x: Any, _precision: int) -> Any:
        return exact(x)

    def each(x: Any) -> Any:
        return at_precision(x, mp.prec)

    over_array = np.frompyfunc(each, 1, 1)

    def word(x: Any) -> Any:
        if isinstance(x, mpf):
            return each(x)
        x = np.asarray(x)
        return over_array(x) if x.dtype == object else plain(x)

    return word


def _word_of_two(
    exact: Callable[[Any, Any], Any], plain: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], Any]:
    over_array = np.frompyfunc(exact, 2, 1)

    def word(a: Any, b: Any) -> Any:
        if isinstance(a, mpf) and isinstance(b, mpf):
            return exact(a, b)
        if np.asarray(a).dtype == object or np.asarray(b).dtype == object:
            return over_array(a, b)
        return plain(a, b)

    return word


def _exact_ratio(a: Any, b: Any) -> Any:
    if mp.isnan(a):
        return a
    if b == 0:
        return mpf(0) if a == 0 else mp.inf * mp.sign(a)
    return mpf(0) if a == 0 and not mp.isnan(b) else a / b


def _exact_times(a: Any, b: Any) -> Any:
    return mpf(0) if a == 0 and not mp.isnan(b) else a * b


exp = _word(mp.exp, np.exp)
log = _word(mp.log, np.log)
sqrt = _word(mp.sqrt, np.sqrt)
cosh = _word(mp.cosh, np.cosh)
tanh = _word(mp.tanh, np.tanh)
sign = _word(mp.sign, np.sign)
softplus = _word(lambda x: mp.log(1 + mp.exp(x)), lambda x: np.logaddexp(0, x))
sigmoid = _word(lambda x: 1 / (1 + mp.exp(-x)), lambda x: 1 / (1 + np.exp(-x)))
# a * b and a / b where 0 takes precedence: 0 log 0 = 0, and a term of weight 0 is skipped.
times = _word_of_two(_exact_times, lambda a, b: np.where((a == 0) & (b == b), 0, a * b))
ratio = _word_of_two(_exact_ratio, lambda a, b: np.where((a == 0) & (b == b), 0, a / b))


def where(condition: Any, a: Any, b: Any) -> Any:
    if isinstance(condition, (bool, np.bool_)):
        return a if condition else b
    return np.where(condition, a, b)


def total(x: Any) -> Any:
    return np.sum(x, axis=-1, keepdims=True)


def logsumexp(z: Any) -> Any:
    if z.dtype == object:
        return log(total(exp(z)))
    top = np.max(z, axis=-1, keepdims=True)
    return top + np.log(total(np.exp(z - top)))


def softmax(z: Any) -> Any:
    top = 0 if z.dtype == object else np.max(z, axis=-1, keepdims=True)
    e = exp(z - top)
    return e / total(e)


class Difference(NamedTuple):
    """a - b, measured against the larger of the two."""

    a: Any
    b: Any


class Terms(NamedTuple):
    """The sum of terms of both signs, measured against the sum of their magnitudes."""

    terms: Any


# ---- the losses ----


@dataclass(frozen=True)
class Reference:
    """Formulas, each a function of those of these names that it asks for.

    Of all losses: y, z and the parameters. Regression: the residual r. Binary: the smoothed target
    t and its complement u, the clipped probability p, the label's sign s. Row-wise: the weighted
    and smoothed targets t and the clipped probabilities p of the classes of a row.

    `domain` says what an infinite argument is the limit of: "algebraic" formulas need a number so
    large that even its logarithm overflows, "exponential" ones a number that can still be an
    exponent.
    """

    loss: Callable[..., Any]
    grad: Callable[..., Any]
    hess: Callable[..., Any] | None
    domain: str = "algebraic"


CROSS_ENTROPY = Reference(
    lambda t, p: total(-times(t, log(p))), lambda t, p: -ratio(t, p), lambda t, p: ratio(t, p**2)
)
SOFTMAX = Reference(
    lambda t, z: total(t) * logsumexp(z) - total(times(t, z)),
    lambda t, z: Difference(total(t) * softmax(z), t),
    lambda t, z: total(t) * softmax(z) * (1 - softmax(z)),
    "exponential",
)

# fmt: off
POINTWISE: dict[str, Reference] = {
    "squared_error": Reference(lambda r: r**2, lambda r: 2 * r, lambda r: 2 + 0 * r),
    "absolute_error": Reference(lambda r: abs(r), lambda r: sign(r), lambda r: 0 * sign(r)),
    "squared_log_error": Reference(
        lambda y, z: (log(1 + z) - log(1 + y)) ** 2,
        lambda y, z: 2 * (log(1 + z) - log(1 + y)) / (1 + z),
        lambda y, z: Difference(2 / (1 + z) ** 2, 2 * (log(1 + z) - log(1 + y)) / (1 + z) ** 2)),
    "huber": Reference(
        lambda r, delta: where(abs(r) <= delta, r**2 / 2, delta * (abs(r) - delta / 2)),
        lambda r, delta: where(abs(r) <= delta, r, delta * sign(r)),
        lambda r, delta: where(abs(r) <= delta, 1 + 0 * r, 0 * sign(r))),
    "pseudo_huber": Reference(
        lambda r, delta: delta**2 * (sqrt(1 + (r / delta) ** 2) - 1),
        lambda r, delta: r / sqrt(1 + (r / delta) ** 2),
        lambda r, delta: 1 / sqrt(1 + (r / delta) ** 2) ** 3),
    "log_cosh": Reference(
        lambda r: log(cosh(r)), lambda r: tanh(r), lambda r: 1 / cosh(r) ** 2, "exponential"),
    "quantile": Reference(
        lambda r, q: where(r < 0, -q * r, (1 - q) * r),
        lambda r, q: where(r < 0, -q, (1 - q) * sign(r)),
        lambda r: 0 * sign(r)),
    "binary_cross_entropy": Reference(
        lambda t, u, p: -times(t, log(p)) - times(u, log(1 - p)),
        lambda t, u, p: Difference(ratio(u, 1 - p), ratio(t, p)),
        lambda t, u, p: ratio(t, p**2) + ratio(u, (1 - p) ** 2)),
    "sigmoid_cross_entropy": Reference(
        lambda t, u, z, pos_weight: (u + pos_weight * t) * softplus(z) - pos_weight * t * z,
        lambda t, u, z, pos_weight: Difference(u * sigmoid(z), pos_weight * t * sigmoid(-z)),
        lambda t, u, z, pos_weight: (u + pos_weight * t) * sigmoid(z) * sigmoid(-z),
        "exponential"),
    "logistic": Reference(
        lambda s, z: softplus(-s * z), lambda s, z: -s * sigmoid(-s * z),
        lambda z: sigmoid(z) * sigmoid(-z), "exponential"),
    "hinge": Reference(
        lambda s, z, margin: where(margin - s * z > 0, margin - s * z, 0 * sign(z)),
        lambda s, z, margin: where(margin - s * z > 0, -s, 0 * sign(z)),
        lambda z: 0 * sign(z)),
    "squared_hinge": Reference(
        lambda s, z, margin: where(margin - s * z > 0, (margin - s * z) ** 2, 0 * sign(z)),
        lambda s, z, margin: where(margin - s * z > 0, -2 * s * (margin - s * z), 0 * sign(z)),
        lambda z, s, margin: where(margin - s * z > 0, 2 + 0 * sign(z), 0 * sign(z))),
}
ROWWISE: dict[str, Reference] = {
    "categorical_cross_entropy": CROSS_ENTROPY,
    "sparse_categorical_cross_entropy": CROSS_ENTROPY,
    "softmax_cross_entropy": SOFTMAX,
    "sparse_softmax_cross_entropy": SOFTMAX,
    "kl_divergence": Reference(
        lambda t, p: Terms(times(t, where(t == 0, p - p, log(t) - log(p)))),
        CROSS_ENTROPY.grad, CROSS_ENTROPY.hess),
}
# The root mean squared error of a whole input and its weights.
ROOT = Reference(
    lambda r, w: sqrt(total(w * r**2) / total(w)),
    lambda r, w: ratio(w * r, total(w) * sqrt(total(w * r**2) / total(w))),
    None)
# fmt: on
REFERENCES = {**POINTWISE, **ROWWISE, "root_mean_squared_error": ROOT}
SPARSE = frozenset(name for name in ROWWISE if name.startswith("sparse_"))
DEFAULTS: Params = {
    "delta": 1.0, "q": 0.5, "eps": 0.0, "label_smoothing": 0.0, "pos_weight": 1.0, "margin": 1.0,
    "axis": -1, "class_weight": None, "ignore_index": None,
}  # fmt: skip


@functools.cache
def _names(formula: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(formula).parameters)


def _apply(formula: Callable[..., Any], known: dict[str, Any]) -> Any:
    return formula(*(known[name] for name in _names(formula)))


def _formulas(name: str) -> list[Callable[..., Any]]:
    reference = REFERENCES[name]
    return [f for f in (reference.loss, reference.grad, reference.hess) if f is not None]


def _measured(result: Any) -> Exact:
    if isinstance(result, Difference):
        a, b = result
        return Exact(a - b, np.maximum(abs(a), abs(b)))
    if isinstance(result, Terms):
        return Exact(total(result.terms), total(abs(result.terms)))
    return Exact(result, abs(result))


def _plain(result: Any) -> Any:
    if isinstance(result, Difference):
        return result.a - result.b
    return total(result.terms) if isinstance(result, Terms) else result


def _names_known(name: str, y: Any, z: Any, params: Params) -> dict[str, Any]:
    """Return what the formulas of a pointwise loss may ask for, in the arithmetic of y and z."""
    smoothing, eps = params["label_smoothing"], params["eps"]
    known = {"y": y, "z": z, **params}
    if name in {"binary_cross_entropy", "sigmoid_cross_entropy"}:
        known["t"] = y * (1 - smoothing) + smoothing / 2
        known["u"] = 1 - known["t"]
        high = params.get("one_less_eps", 1 - eps)
        known["p"] = where(z < eps, eps + 0 * z, where(z > high, high + 0 * z, z))
    elif name in {"logistic", "hinge", "squared_hinge"}:
        known["s"] = sign(2 * y - 1)
    else:
        known["r"] = z - y
    return known


# ---- exact values ----

_RANGE = {"float32": 150, "float64": 1075}  # the smallest number is 2 to minus this, or more


def _exponent(x: float) -> int:
    return abs(math.frexp(x)[1]) if x and math.isfinite(x) else 0


def _set_precision(bits: float) -> None:
    """Keep the formulas' own error far below an ULP; steps let values be shared."""
    mp.prec = 256 + 256 * math.ceil(bits / 256)


def _exponential_bits(dtype: str, z: float) -> float:
    """Bits that exp(-|z|) lies below 1, where the dtype can still hold it."""
    return min(1.5 * abs(z), _RANGE[dtype] + 50) if math.isfinite(z) else 0


def _beyond(dtype: str, domain: str) -> Any:
    """Return a number that stands for infinity: the formulas give the limits there."""
    return mp.ldexp(1, 2**4000 if domain == "algebraic" else 2 * _RANGE[dtype] + 50)


def _exact_number(x: float, beyond: Any) -> Any:
    return mpf(x) if math.isfinite(x) else beyond * (1 if x > 0 else -1)


def _exact_params(dtype: str, params: Params) -> Params:
    """Return parameters as they are in the computation: rounded to its dtype, then exact.

    The upper end of the clipped range is a number of that dtype too.
    """
    kind = np.dtype(dtype).type
    values = {**DEFAULTS, **params}
    for key in ("delta", "q", "eps", "label_smoothing", "pos_weight", "margin"):
        values[key] = mpf(float(kind(values[key])))
    values["one_less_eps"] = mpf(float(kind(1) - kind(float(values["eps"]))))
    if values["class_weight"] is not None:
        values["class_weight"] = [mpf(float(kind(w))) for w in values["class_weight"]]
    return values


def exact_elements(
    name: str, dtype: str, y: Sequence[float], z: Sequence[float], **params: Any
) -> list[list[Exact]]:
    """Return for each of loss, gradient and Hessian the exact values of the elements."""
    domain, formulas = REFERENCES[name].domain, _formulas(name)
    beyond = _beyond(dtype, domain)
    values = _exact_params(dtype, params)
    own = sum(_exponent(float(values[k])) for k in params if k != "axis")
    results: list[list[Exact]] = [[] for _ in formulas]
    for yi, zi in zip(map(float, y), map(float, z), strict=True):
        undefined = math.isnan(yi) or math.isnan(zi) or (math.isinf(yi) and yi == zi)
        bits = 2.0 * (own + _exponent(yi) + _exponent(zi))
        if domain == "exponential":
            bits += max(_exponential_bits(dtype, zi), _exponential_bits(dtype, zi - yi))
            bits += 0 if math.isfinite(zi) and math.isfinite(yi) else 5 * _RANGE[dtype]
        _set_precision(bits)
        known = {}
        if not undefined:
            numbers = (_exact_number(yi, beyond), _exact_number(zi, beyond))
            known = _names_known(name, *numbers, values)
        for formula, result in zip(formulas, results, strict=True):
            value = Exact(mp.nan, mp.nan) if undefined else _measured(_apply(formula, known))
            result.append(value)
    return results


def _exact_targets(
    name: str, y: Any, classes: int, values: Params, masked: Sequence[bool]
) -> Array:
    """Return the targets of a row: one-hot, smoothed over the classes without mask, weighted."""
    smoothing, weights = values["label_smoothing"], values["class_weight"] or [1] * classes
    plain = [int(k == y) for k in range(classes)] if name in SPARSE else [float(v) for v in y]
    share = smoothing / max(1, classes - sum(masked))
    return np.array(
        [
            w * (mpf(h) * (1 - smoothing) + (0 if m else share))
            for w, h, m in zip(weights, plain, masked, strict=True)
        ]
    )


def _rounded_gaps(dtype: str, t: Array, z: list[float], s: Array) -> list[Any]:
    """Return the errors that rounding the differences of scores to the dtype brings on.

    An exponential of a gap with the absolute error d has the relative error d: to first order
    that is all there is, and only where the difference is no number of the dtype.
    """
    top = max(z)
    kind = np.dtype(dtype).type
    gaps = [mpf(top) - mpf(v) if math.isfinite(v) else None for v in z]
    with np.errstate(over="ignore"):
        errors = np.array(
            [
                0 if g is None else abs(mpf(float(kind(top) - kind(v))) - g)
                for g, v in zip(gaps, z, strict=True)
            ]
        )
    errors = np.where(s == 0, 0, errors)
    mean = total(s * errors)
    return [
        total(t) * mean,
        total(t) * s * (errors + mean),
        total(t) * s * abs(1 - 2 * s) * (errors + mean),
    ]


def exact_rows(name: str, dtype: str, y: Array, z: Array, **params: Any) -> list[list[list[Exact]]]:
    """Return for each of loss, gradient and Hessian, for each row, the exact values.

    `z` has the shape (rows, classes), `y` the same or (rows,); a row has one loss.
    """
    values = _exact_params(dtype, params)
    results: list[list[list[Exact]]] = [[], [], []]
    for yi, zi in zip(y, z, strict=True):
        row = _exact_row(name, dtype, yi, [float(v) for v in zi], values)
        for result, outputs in zip(results, row, strict=True):
            result.append(outputs)
    return results


def _exact_row(name: str, dtype: str, y: Any, z: list[float], values: Params) -> list[list[Exact]]:
    classes, formulas = len(z), _formulas(name)
    softmax_like = REFERENCES[name] is SOFTMAX
    sparse = name in SPARSE
    if sparse and values["ignore_index"] is not None and y == values["ignore_index"]:
        zero = Exact(mpf(0), mpf(0))
        return [[zero], [zero] * classes, [zero] * classes]
    masked = [softmax_like and v == -math.inf for v in z]
    undefined = [math.isnan(v) for v in z]
    if sparse:
        bits = 0.0
    else:
        undefined = [a or math.isnan(float(b)) for a, b in zip(undefined, y, strict=True)]
        bits = 2.0 * max((_exponent(float(v)) for v in y), default=0)
    if softmax_like and (any(undefined) or all(masked)):
        nothing = Exact(mp.nan, mp.nan)
        return [[nothing], [nothing] * classes, [nothing] * classes]
    if sparse and not softmax_like and values["label_smoothing"] == 0:
        # Only the probability of the target is read.
        undefined = [u and k == y for k, u in enumerate(undefined)]
    bits += 2.0 * max(map(_exponent, z))
    if softmax_like:
        bits += 2 * max(_exponential_bits(dtype, v) for v in z)
        # What is exactly 0 in these cases is to be 0 to the digits of the smallest number.
        bits += 5 * _RANGE[dtype] if math.inf in z or any(masked) else 0
    _set_precision(bits)
    known = {"t": _exact_targets(name, y, classes, values, masked)}
    if softmax_like:
        beyond = _beyond(dtype, "exponential")
        known["z"] = np.array([beyond if v == math.inf else mpf(v) for v in z])
    else:
        low, high = values["eps"], values["one_less_eps"]
        known["p"] = np.array(
            [
                mpf(v) if u else min(max(mpf(v), low), high)
                for v, u in zip(z, undefined, strict=True)
            ]
        )
        if sparse and values["label_smoothing"] == 0:
            known["p"] = np.where([k == y for k in range(classes)], known["p"], mpf(1))
        known["t"] = np.where(undefined, mp.nan, known["t"])
    results = [_measured(_apply(formula, known)) for formula in formulas]
    slacks: list[Any] = [mpf(0)] * 3
    if softmax_like and math.inf not in z:
        slacks = _rounded_gaps(dtype, known["t"], z, softmax(known["z"]))
    if softmax_like and np.count_nonzero(known["t"]) == 1:
        # A hard target leaves one of the gradient's two terms: nothing cancels.
        results[1] = Exact(results[1].value, abs(results[1].value))
    return [
        [Exact(*numbers) for numbers in zip(*np.broadcast_arrays(*result[:2], slack), strict=True)]
        for result, slack in zip(results, slacks, strict=True)
    ]


def exact_root(y: Array, z: Array, w: Array | None = None) -> list[list[Exact]]:
    """Return the exact root mean squared error of a whole input, and its gradient."""
    every = [*map(float, y), *map(float, z), *map(float, np.ones(1) if w is None else w)]
    _set_precision(4.0 * max(map(_exponent, every)))
    exact_w = np.array([mpf(float(v)) for v in (np.ones(len(z)) if w is None else w)])
    r = np.array([mpf(float(b)) - mpf(float(a)) for a, b in zip(y, z, strict=True)])
    loss, grad = (_apply(f, {"r": r, "w": exact_w}) for f in _formulas("root_mean_squared_error"))
    return [[Exact(v, abs(v)) for v in result] for result in (loss, grad)]


# ---- the plain NumPy twin ----


def numpy_loss(
    name: str,
    y_true: Any,
    y_pred: Any,
    *,
    outputs: Sequence[str] = ("loss", "grad", "hess"),
    sample_weight: Any = None,
    **params: Any,
) -> tuple[Array, ...]:
    """Return loss, gradient and Hessian of each element or row, in float64 and without weights.

    `outputs` says which of them; a loss without Hessian gives nan. Of the root mean squared error,
    a property of the whole input, the loss is a number and `sample_weight` enters.
    """
    values = {**DEFAULTS, **params}
    z = np.asarray(y_pred, dtype=np.float64)
    reference = REFERENCES[name]
    with np.errstate(all="ignore"):
        if name in ROWWISE:
            return _numpy_rows(name, np.asarray(y_true), z, outputs, values)
        y = np.asarray(y_true, dtype=np.float64)
        if reference is ROOT:
            r = np.ravel(z - y)
            w = np.broadcast_to(1.0 if sample_weight is None else sample_weight, z.shape)
            known: dict[str, Any] = {"r": r, "w": np.ravel(w)}
            shapes = {"loss": (), "grad": z.shape}
        else:
            known = _names_known(name, y, z, values)
            shape = np.broadcast_shapes(y.shape, z.shape)
            shapes = dict.fromkeys(("loss", "grad", "hess"), shape)
        results = []
        for output in outputs:
            formula = getattr(reference, output)
            if formula is None:
                results.append(np.full(z.shape, np.nan))
                continue
            result = np.asarray(_plain(_apply(formula, known)), dtype=np.float64)
            shape = shapes[output]
            results.append(
                result.reshape(shape)
                if result.size == math.prod(shape)
                else np.broadcast_to(result, shape)
            )
    return tuple(results)


def _numpy_rows(
    name: str, y: Array, z: Array, outputs: Sequence[str], values: Params
) -> tuple[Array, ...]:
    axis, smoothing = values["axis"], values["label_smoothing"]
    z = np.moveaxis(z, axis, -1)
    classes = z.shape[-1]
    softmax_like = REFERENCES[name] is SOFTMAX
    if name in SPARSE:
        t = np.asarray(y[..., None] == np.arange(classes), dtype=np.float64)
        counts = np.asarray(y != values["ignore_index"])[..., None]
    else:
        t = np.moveaxis(np.asarray(y, dtype=np.float64), axis, -1)
        counts = np.ones((*z.shape[:-1], 1), dtype=bool)
    unmasked = (z != -np.inf) if softmax_like else np.ones(z.shape, dtype=bool)
    t = t * (1 - smoothing) + smoothing * unmasked / total(unmasked)
    if values["class_weight"] is not None:
        t = t * np.asarray(values["class_weight"], dtype=np.float64)
    known = {"t": t, "z": z, "p": np.clip(z, values["eps"], 1 - values["eps"])}
    results = []
    for output in outputs:
        result = np.where(counts, _plain(_apply(getattr(REFERENCES[name], output), known)), 0.0)
        results.append(result[..., 0] if output == "loss" else np.moveaxis(result, -1, axis))
    return tuple(results)


def reduce(
    name: str,
    results: Sequence[Array],
    reduction: str,
    *,
    y_true: Any = None,
    sample_weight: Any = None,
    **params: Any,
) -> tuple[Any, ...]:
    """Return the losses reduced, and the derivatives of what they are reduced to.

    `results` are those of `numpy_loss`. The mean is over the weights of the rows that are not
    ignored; without any it is nan, and the derivatives are zeros.
    """
    loss, *derivatives = results
    w = np.broadcast_to(np.float64(1 if sample_weight is None else sample_weight), loss.shape)
    counts = np.ones(loss.shape, dtype=bool)
    if params.get("ignore_index") is not None:
        counts = np.asarray(y_true) != params["ignore_index"]
    spread = np.expand_dims(w, params.get("axis", -1)) if name in ROWWISE else w
    losses = np.where(counts, w * loss, 0.0)
    rates = [spread * d for d in derivatives]
    if reduction == "none":
        return losses, *rates
    value = math.fsum(losses.ravel()) if np.isfinite(losses).all() else float(losses.sum())
    if reduction == "sum":
        return value, *rates
    divisor = math.fsum(w[counts].ravel())
    if divisor == 0:
        return math.nan, *(np.zeros_like(rate) for rate in rates)
    return value / divisor, *(rate / divisor for rate in rates)
