"""`Loss`: what a call means. Arguments are checked and described here, and computed in `_core`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from fastloss import _core
from fastloss._arrays import (
    Array,
    as_array,
    broadcast_shape,
    check_out,
    check_weight,
    computation_dtype,
    same_memory,
)
from fastloss._domains import Argument, raise_domain_error
from fastloss._losses import BY_NAME, REAL, RECORDS, Parameter, Record
from fastloss._threads import check_threads

_POINTWISE, _ROWWISE = (
    {name: index for index, name in enumerate(names)} for names in _core.kernels()
)
_OPTIONS = {"sample_weight": None, "reduction": "mean", "out": None, "num_threads": None}
_METHODS = {
    "value": "__call__",
    "grad": "grad",
    "value_and_grad": "value_and_grad",
    "grad_and_hess": "grad_and_hess",
}
# How many parameter values of direct calls such as huber(y, z, delta=2) are kept ready.
_KEPT = 16
_KEYS = (int, float, type(None), list, tuple, np.ndarray)
# Weights whose sum is beyond 2 to this power, up or down, are rescaled by a power of two, so that
# neither the sum nor its inverse leaves the range of a float32.
_LARGEST_EXPONENT = 60
_LARGEST_FLOAT32 = 2.0**128 - 2.0**104
# What brings a sum that overflowed, or the squares of residuals, back into range.
_RESCUE = {"float32": 100, "float64": 600}
# Elements of the prediction whose gradients are summed at a time over broadcast axes.
_REDUCED_TILE = 2048


class Options(NamedTuple):
    """The keywords of every call."""

    sample_weight: Array | None
    reduction: str
    out: Any
    threads: int


class _OfLoss:
    """An attribute of a loss that is made when it is asked for; the class may have it too."""

    def __init__(self, make: Callable[[Loss], Any], of_class: Any = None) -> None:
        self._make = make
        self._of_class = of_class

    def __get__(self, loss: Loss | None, owner: type | None = None) -> Any:
        return self._of_class if loss is None else self._make(loss)


def _documentation(loss: Loss) -> str:
    from fastloss._docs import docstring  # not at the top: it would slow every import

    return docstring(loss._record)


class Loss(_core.ShortPath):
    """A loss function with its derivatives; made by `fastloss.get`.

    Calling it gives the cost or the losses, `grad` the gradient with respect to `y_pred`,
    `value_and_grad` and `grad_and_hess` two results of one pass.

    Attributes
    ----------
    name : str
        The name under which `fastloss.get` finds it.
    params : dict
        Its own parameters, with the values of this object.
    family : str
        ``"regression"``, ``"binary"`` or ``"multiclass"``.
    formula : str
        The loss of one element or row, in LaTeX.
    has_hessian : bool
        Whether `grad_and_hess` is defined.
    """

    def __init__(self, record: Record, params: Mapping[str, Any] | None = None) -> None:
        self._record = record
        self._values = _bind(record, {p.name: p.default for p in record.parameters}, params or {})
        self._rowwise = record.kind != "pointwise"
        index = (_ROWWISE if self._rowwise else _POINTWISE)[record.kernel]
        self._index = index
        self._describe()
        self.__name__ = self.__qualname__ = record.name

    __doc__ = _OfLoss(_documentation, __doc__)
    __signature__ = _OfLoss(lambda loss: _signature(loss._record, loss._values))

    @property
    def name(self) -> str:
        """Name of the loss."""
        return self._record.name

    @property
    def params(self) -> dict[str, Any]:
        """The loss's own parameters and their values."""
        return dict(self._values)

    @property
    def family(self) -> str:
        """Family of the loss."""
        return self._record.family

    @property
    def formula(self) -> str:
        """The loss of one element or row, in LaTeX."""
        return self._record.formula

    @property
    def has_hessian(self) -> bool:
        """Whether `grad_and_hess` is defined."""
        return self._record.has_hessian

    def _describe(self) -> None:
        """Tell the short path what it computes."""
        record, values = self._record, self._values
        reals = _real_values(record, values)
        ignored = values.get("ignore_index")
        weights = values.get("class_weight")
        short = (
            _holds_in_float32(record, reals)
            and (weights is None or weights.array.max(initial=0) <= _LARGEST_FLOAT32)
            and (ignored is None or -(2**63) <= ignored < 2**63)
        )
        self._set_kernel(
            _POINTWISE[record.root_of] if record.root_of else self._index,
            record.cost,
            short,
            record.has_hessian,
            record.root_of is not None,
            record.y_pred == REAL,
            tuple(reals),
        )
        if self._rowwise:
            self._set_rows(
                _target(record, values),
                values["axis"],
                values.get("label_smoothing", 0.0),
                values.get("eps", 0.0),
                ignored if short else None,
                _in_both_dtypes(weights) if short and weights is not None else (),
            )

    def __repr__(self) -> str:
        changed = [
            f"{p.name}={self._values[p.name]!r}"
            for p in self._record.parameters
            if self._values[p.name] != p.default
        ]
        if not changed:
            return f"fastloss.{self.name}"
        return f"fastloss.get({', '.join([repr(self.name), *changed])})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Loss):
            return NotImplemented
        return self.name == other.name and self._values == other._values

    def __hash__(self) -> int:
        return hash((self.name, tuple(self._values.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.name, self._values)

    def _general(self, call: str, y_true: Any, y_pred: Any, keywords: dict[str, Any]) -> Any:
        record, values = self._record, self._values
        given = {k: v for k, v in keywords.items() if k not in _OPTIONS}
        if given:
            rest = {k: v for k, v in keywords.items() if k in _OPTIONS}
            return getattr(self._with(given), _METHODS[call])(y_true, y_pred, **rest)
        if call == "grad_and_hess" and not record.has_hessian:
            raise TypeError(f"{record.name} has no Hessian")
        options = _options(record, keywords)
        given_weight = keywords.get("sample_weight")
        y, z = as_array("y_true", y_true), as_array("y_pred", y_pred)
        if y is not y_true or z is not y_pred or options.sample_weight is not given_weight:
            result = self._short(
                call, y, z, options.sample_weight, options.reduction, options.out, options.threads
            )
            if result is not None:
                return result
        kind = _RowwiseCall if self._rowwise else _PointwiseCall
        if record.root_of:
            kind = _RootCall
        return kind(record, self._index, values, call, options, y, z).result()

    def _with(self, given: dict[str, Any]) -> Loss:
        """Return this loss with other parameters; the last few are kept for calls in a loop."""
        plain = all(isinstance(value, _KEYS) for value in given.values())
        try:
            key = _core.key_of(given) if plain else None
            kept = self._kept.get(key) if key else None
        except TypeError:  # too long, or not hashable
            key = kept = None
        if kept is not None:
            return kept  # type: ignore[no-any-return]
        bound = Loss(self._record, _bind(self._record, self._values, given))
        if key is not None:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = bound
        return bound


def _rebuild(name: str, params: dict[str, Any]) -> Loss:
    return Loss(BY_NAME[name], params)


# ---- parameters and options ----


def _bind(record: Record, values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with those given in their place, each checked."""
    parameters = {p.name: p for p in record.parameters}
    for name in given:
        if name not in parameters:
            own = ", ".join(parameters) or "none"
            raise TypeError(
                f"{record.name} got an unexpected keyword argument {name!r}; its parameters: {own}"
            )
    return {
        name: _check(parameters[name], given[name]) if name in given else value
        for name, value in values.items()
    }


def _check(parameter: Parameter, value: Any) -> Any:
    name = parameter.name
    if parameter.kind in {"axis", "ignore_index"}:
        if value is None and parameter.kind == "ignore_index":
            return None
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{name}: got {value!r}; expected an integer")
        return int(value.__index__())
    if parameter.kind == "class_weight":
        return None if value is None else _check_class_weight(value)
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(
            f"{name}: got an integer beyond the range of a float; expected a number in "
            f"{parameter.domain}"
        ) from None
    except (TypeError, ValueError):
        raise TypeError(f"{name}: got {value!r}; expected a real number") from None
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{name}: got {value!r}; expected a real number")
    if number not in parameter.domain:
        raise ValueError(f"{name}: got {value!r}; expected a number in {parameter.domain}")
    return number


class _ClassWeights(tuple[float, ...]):
    """Checked weights, one a class; and the same as an array, which calls take."""

    array: Array

    def __new__(cls, weights: Iterable[float]) -> Self:
        array = np.array(weights, np.float64)
        array.setflags(write=False)
        self = super().__new__(cls, array.tolist())
        self.array = array
        return self


def _in_both_dtypes(weights: _ClassWeights) -> tuple[Array, Array]:
    return weights.array.astype(np.float32), weights.array


def _check_class_weight(value: Any) -> _ClassWeights:
    if isinstance(value, _ClassWeights):
        return value
    weights = as_array("class_weight", value)
    if weights.ndim != 1:
        raise ValueError(
            f"class_weight: got shape {weights.shape}; expected one dimension, a weight a class"
        )
    checked = _ClassWeights(weights)
    good = (checked.array >= 0) & (checked.array < math.inf)
    if not good.all():
        index = int(good.argmin())
        raise ValueError(
            f"class_weight: got {weights.tolist()[index]!r} at index ({index},); expected values "
            "in [0, inf)"
        )
    return checked


def _real_values(record: Record, values: Mapping[str, Any]) -> list[float]:
    return [values[p.name] for p in record.parameters if p.kind == "real"]


def _holds_in_float32(record: Record, reals: list[float]) -> bool:
    """Whether the parameters are still in their domains when rounded to float32."""
    real_parameters = [p for p in record.parameters if p.kind == "real"]
    return all(map(_holds_in_float32_one, real_parameters, reals))


def _target(record: Record, values: Mapping[str, Any]) -> str:
    """How the targets of a row-wise loss are given."""
    if record.kind == "dense":
        return "dense"
    return "smoothed" if values.get("label_smoothing") else "sparse"


def _check_float32(record: Record, values: Mapping[str, Any]) -> None:
    for p in record.parameters:
        if p.kind == "real" and not _holds_in_float32_one(p, values[p.name]):
            raise ValueError(
                f"{p.name}: got {values[p.name]!r}, which rounded to float32, the dtype of the "
                f"computation, is not in {p.domain}"
            )


def _holds_in_float32_one(parameter: Parameter, value: float) -> bool:
    if abs(value) > _LARGEST_FLOAT32:
        return False
    return float(np.float32(value)) in parameter.domain


def _options(record: Record, keywords: Mapping[str, Any]) -> Options:
    weight, reduction, out, threads = (
        keywords.get(name, default) for name, default in _OPTIONS.items()
    )
    if reduction not in record.reductions:
        expected = " or ".join(repr(r) for r in record.reductions)
        raise ValueError(f"reduction: got {reduction!r}; expected {expected}")
    return Options(
        None if weight is None else as_array("sample_weight", weight),
        reduction,
        out,
        _core.current_threads() if threads is None else check_threads(threads),
    )


def _signature(record: Record, values: Mapping[str, Any]) -> inspect.Signature:
    either, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            inspect.Parameter("y_true", either),
            inspect.Parameter("y_pred", either),
            *(
                inspect.Parameter(p.name, keyword, default=values[p.name])
                for p in record.parameters
            ),
            *(inspect.Parameter(name, keyword, default=value) for name, value in _OPTIONS.items()),
        ]
    )


# ---- calls ----


class _Call:
    """One call of a loss, its arguments checked: subclasses say how passes are made."""

    def __init__(
        self,
        record: Record,
        index: int,
        values: Mapping[str, Any],
        call: str,
        options: Options,
        y: Array,
        z: Array,
    ) -> None:
        self.record, self.index, self.values = record, index, values
        self.call, self.options = call, options
        self.y, self.z, self.w = y, z, options.sample_weight
        self.dtype = computation_dtype(z)
        self.averages = options.reduction == "mean"
        if self.dtype == np.float32:
            _check_float32(record, values)
        self.prepare()
        self.outputs = self.check_outputs()

    # Set by `prepare`: the shape of elements or rows, and that of the derivatives.
    shape: tuple[int, ...]
    grad_shape: tuple[int, ...]

    def prepare(self) -> None:
        raise NotImplementedError

    def run(self, mode: str, out: list[Array], scale: float = 1, w_scale: float = 1) -> Any:
        """Make a pass; `out` holds the arrays that the mode fills."""
        raise NotImplementedError

    def weight_pass(self, w_scale: float) -> float:
        """Sum of the weights of what counts."""
        raise NotImplementedError

    def arguments(self) -> list[Argument]:
        """The arguments as the kernels see them, to find values outside their domains."""
        raise NotImplementedError

    def layout(self) -> Array | None:
        """An array whose memory layout new arrays of its shape get; None for C order."""
        return None

    def domain_error(self, bad: tuple[int, int]) -> None:
        raise_domain_error(self.arguments(), self.shape, self.dtype, bad)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def check_outputs(self) -> list[Array]:
        """Check `out`, and return the arrays that the call fills."""
        out, none = self.options.out, self.options.reduction == "none"
        if self.call == "value" and not none:
            if out is not None:
                raise ValueError(
                    f"out: got an array; expected None: with reduction="
                    f"{self.options.reduction!r} the result is a float"
                )
            return []
        shapes = {
            "value": [self.shape],
            "grad": [self.grad_shape],
            "value_and_grad": [self.shape, self.grad_shape] if none else [self.grad_shape],
            "grad_and_hess": [self.grad_shape, self.grad_shape],
        }[self.call]
        inputs = {"y_true": self.y, "y_pred": self.z}
        if self.w is not None:
            inputs["sample_weight"] = self.w
        outputs = check_out(out, shapes, self.dtype, inputs, self.layout())
        self.in_place = [
            name for name, x in inputs.items() if any(same_memory(x, o) for o in outputs)
        ]
        return outputs

    def result(self) -> Any:
        if self.size == 0:
            return self.empty_result()
        if self.outputs and self.overwrites_checked_values():
            # A value outside its domain must be found, and told, before it is overwritten.
            self.checked("sum", [])
        none = self.options.reduction == "none"
        if self.call == "value":
            if none:
                self.checked("loss", self.outputs)
                return self.outputs[0]
            return self.value()
        if self.call == "value_and_grad" and none:
            self.both("loss_grad")
            return self.outputs[0], self.outputs[1]
        if self.call == "value_and_grad":
            value = self.both("sum_grad")
            return value, self.outputs[0]
        if self.call == "grad":
            self.derivatives("grad")
            return self.outputs[0]
        self.derivatives("grad_hess")
        return self.outputs[0], self.outputs[1]

    def overwrites_checked_values(self) -> bool:
        domains = {"y_true": self.record.y_true, "y_pred": self.record.y_pred}
        return any(domains.get(name, REAL) != REAL for name in self.in_place)

    def empty_result(self) -> Any:
        for array in self.outputs:
            array[...] = 0
        value = math.nan if self.averages else 0.0
        if not self.outputs:
            return value
        if self.call == "value_and_grad" and len(self.outputs) == 1:
            return value, self.outputs[0]
        return self.outputs[0] if len(self.outputs) == 1 else tuple(self.outputs)

    def checked(self, mode: str, out: list[Array], scale: float = 1, w_scale: float = 1) -> Any:
        result = self.run(mode, out, scale, w_scale)
        if result.bad is not None:
            self.domain_error(result.bad)
        return result

    def counts_all(self) -> bool:
        """Whether every element (row) counts 1 in the mean."""
        return self.w is None

    def value(self) -> float:
        result = self.checked("sum", [])
        if not self.averages:
            return float(result.loss)
        weight = self.size if self.counts_all() else result.weight
        if not math.isinf(result.loss) and _is_moderate(weight):
            return _quotient(result.loss, weight)
        return self.rescued_value()

    def rescued_value(self) -> float:
        """The mean where the sum, or the sum of weights, is too large or too small."""
        weight, w_scale = self.normalised_weight()
        return _quotient(self.checked("sum", [], w_scale=w_scale).loss, weight)

    def normalised_weight(self) -> tuple[float, float]:
        """As `total_weight`, with a scale such that a sum is no larger than its largest term."""
        weight, w_scale = self.total_weight()
        if self.w is None:
            self.w = np.ones((), self.dtype)
        if weight == 0 or not math.isfinite(weight):
            return weight, w_scale
        down = math.ldexp(1, -math.frexp(weight)[1] - 1)
        return weight * down, w_scale * down

    def total_weight(self) -> tuple[float, float]:
        """Sum of the weights, and the power of two by which they are multiplied in it."""
        if self.counts_all():
            return float(self.size), 1
        w_scale = 1.0
        weight = self.weight_pass(w_scale)
        if math.isinf(weight):
            w_scale = math.ldexp(1, -_RESCUE[self.dtype.name])
            weight = self.weight_pass(w_scale)
        if weight != 0 and math.isfinite(weight) and not _is_moderate(weight):
            w_scale = math.ldexp(w_scale, -math.frexp(weight)[1])
            weight = self.weight_pass(w_scale)
        return weight, w_scale

    def both(self, mode: str) -> float:
        """Fill value and gradient; return the value."""
        weight, w_scale = 1.0, 1.0
        if self.averages and self.in_place and self.dtype == np.float64:
            # A sum that overflowed could not be formed again: the prediction may be gone.
            weight, w_scale = self.normalised_weight()
        elif self.averages:
            weight, w_scale = self.total_weight()
        if weight == 0:
            return self.weightless()
        result = self.checked(mode, self.outputs, 1 / weight, w_scale)
        if not self.averages:
            return float(result.loss)
        if math.isinf(result.loss):
            # The losses only: the gradient is there, and may have taken the prediction's place.
            return math.inf if self.in_place else self.rescued_value()
        return _quotient(result.loss, weight)

    def derivatives(self, mode: str) -> None:
        weight, w_scale = self.total_weight() if self.averages else (1.0, 1.0)
        if weight == 0:
            self.weightless()
        else:
            self.checked(mode, self.outputs, 1 / weight, w_scale)

    def weightless(self) -> float:
        """Nothing counts: gradients are zeros and the mean is nan, once the domains are checked."""
        self.checked("sum", [])
        for array in self.outputs:
            array[...] = 0
        return math.nan


def _is_moderate(weight: float) -> bool:
    return abs(math.frexp(weight)[1]) <= _LARGEST_EXPONENT if weight else False


def _quotient(loss: float, weight: float) -> float:
    return loss / weight if weight else math.nan


class _PointwiseCall(_Call):
    def prepare(self) -> None:
        self.shape = broadcast_shape(self.y, self.z)
        self.grad_shape = self.z.shape
        if self.w is not None:
            check_weight(self.w, self.shape, "element")
        self.parameters = tuple(_real_values(self.record, self.values))

    def arguments(self) -> list[Argument]:
        return [
            Argument("y_true", self.y, self.record.y_true),
            Argument("y_pred", self.z, self.record.y_pred),
        ]

    def pass_over(self, mode: str, out: list[Array], scale: float, w_scale: float, w: bool) -> Any:
        return _core.pointwise(
            self.index, self.record.cost, self.dtype.name, mode, self.shape, self.y, self.z, self.w,
            tuple(out), self.parameters, scale, w_scale, self.options.threads, w,
        )  # fmt: skip

    def run(self, mode: str, out: list[Array], scale: float = 1, w_scale: float = 1) -> Any:
        if self.grad_shape == self.shape or mode in {"sum", "loss"}:
            return self.pass_over(mode, out, scale, w_scale, False)
        # The prediction was broadcast: its losses first, then its derivatives, summed.
        losses = out[:1] if mode == "loss_grad" else []
        result = self.pass_over("loss" if losses else "sum", losses, 1, w_scale, False)
        if result.bad is None:
            derivatives = "grad_hess" if mode == "grad_hess" else "grad"
            self.reduce(derivatives, out[len(losses) :], scale * w_scale)
        return result

    def weight_pass(self, w_scale: float) -> float:
        return float(self.pass_over("sum", [], 1, w_scale, True).weight)

    def reduce(self, mode: str, out: list[Array], scale: float) -> None:
        """Fill `out` with derivatives summed over the axes along which `z` was broadcast."""
        ndim = len(self.shape)
        lead = ndim - self.z.ndim
        kept = [i for i in range(lead, ndim) if self.z.shape[i - lead] > 1]
        summed = [i for i in range(ndim) if i not in kept]
        order = summed + kept
        y, z = (np.broadcast_to(x, self.shape).transpose(order) for x in (self.y, self.z))
        w = None if self.w is None else np.broadcast_to(self.w, self.shape).transpose(order)
        results = [np.squeeze(o) for o in out]  # a view, whatever the strides
        for tile in _tiles([self.shape[i] for i in kept]):
            cut = (slice(None),) * len(summed) + tile
            yt, zt = y[cut], z[cut]
            _, sums = _core.reduced(
                self.index, self.dtype.name, mode, yt.shape, len(kept), yt, zt,
                None if w is None else w[cut], self.parameters,
            )  # fmt: skip
            for target, total in zip(results, sums, strict=True):
                target[tile] = (total * scale).reshape(target[tile].shape)


def _tiles(shape: list[int]) -> list[tuple[slice, ...]]:
    """Boxes of at most `_REDUCED_TILE` elements that fill an array of this shape."""
    whole, size = len(shape), 1
    while whole > 0 and size * shape[whole - 1] <= _REDUCED_TILE:
        whole -= 1
        size *= shape[whole]
    inner = (slice(None),) * (len(shape) - whole)
    if whole == 0:
        return [inner]
    step = max(1, _REDUCED_TILE // size)
    return [
        (*(slice(i, i + 1) for i in index), slice(start, start + step), *inner)
        for index in np.ndindex(*shape[: whole - 1])
        for start in range(0, shape[whole - 1], step)
    ]


class _RootCall(_PointwiseCall):
    """The root of the mean of the squares: one number for the whole input.

    The kernel gives squares and residuals, both multiplied by powers of two where squares would
    overflow or underflow; the root and the divisor of the gradient are formed here.
    """

    # What the residuals and the squares are multiplied by.
    PARAMETERS = (1.0, 1.0)

    def prepare(self) -> None:
        super().prepare()
        self.parameters = self.PARAMETERS

    def result(self) -> Any:
        if self.size == 0:
            return self.empty_result()
        weight, w_scale = self.total_weight()
        if weight == 0:
            value = self.weightless()
        else:
            value, scaled = self.root(weight, w_scale)
            if self.outputs:
                scale = 0.0 if scaled == 0 else 1 / (weight * scaled)
                self.run("grad", self.outputs, scale, w_scale)
        if self.call == "value":
            return value
        return (value, self.outputs[0]) if self.call == "value_and_grad" else self.outputs[0]

    def root(self, weight: float, w_scale: float) -> tuple[float, float]:
        """Return the root, and the root in the scale of the kernel's residuals."""
        total = self.run("sum", [], 1, w_scale).loss
        factor = 1.0
        mean = total / weight
        power = _RESCUE[self.dtype.name]
        limits = np.finfo(self.dtype)
        if math.isinf(mean):
            factor = math.ldexp(1, -power)
            self.parameters = (factor, 1.0)
        elif abs(mean) < limits.smallest_normal / limits.eps:
            factor = math.ldexp(1, power)
            self.parameters = (1.0, factor)
        if factor != 1:
            mean = self.run("sum", [], 1, w_scale).loss / weight
        scaled = math.sqrt(mean) if mean >= 0 else math.nan
        return scaled / factor, scaled


class _RowwiseCall(_Call):
    def prepare(self) -> None:
        y, z, record = self.y, self.z, self.record
        if z.ndim == 0:
            raise ValueError(
                "y_pred: got shape (); expected at least one axis, that of the classes"
            )
        axis = self.values["axis"]
        if not -z.ndim <= axis < z.ndim:
            raise ValueError(
                f"axis: got {axis}; expected an integer in [{-z.ndim}, {z.ndim}), y_pred has shape "
                f"{z.shape}"
            )
        self.axis = axis % z.ndim
        self.classes = z.shape[self.axis]
        self.shape = z.shape[: self.axis] + z.shape[self.axis + 1 :]
        self.grad_shape = z.shape
        self.sparse = record.kind == "sparse"
        expected = self.shape if self.sparse else z.shape
        if y.shape != expected:
            what = "y_pred's without the class axis" if self.sparse else "that of y_pred"
            raise ValueError(f"y_true: got shape {y.shape}; expected {expected}, {what}")
        if self.classes == 0 and self.size > 0:
            raise ValueError(f"y_pred: got shape {z.shape}, no classes; expected at least one")
        if self.w is not None:
            check_weight(self.w, self.shape, "row")
        self.ignored = self.values.get("ignore_index")
        self.smoothing = self.values.get("label_smoothing", 0.0)
        self.target = _target(record, self.values)
        weights = self.values.get("class_weight")
        self.class_weight = None if weights is None else self.checked_weights(weights)

    def checked_weights(self, weights: _ClassWeights) -> Array:
        if len(weights) != self.classes:
            raise ValueError(
                f"class_weight: got {len(weights)} weights; expected {self.classes}, one for each "
                "class"
            )
        if weights.array.max(initial=0) > float(np.finfo(self.dtype).max):
            index = int(weights.array.argmax())
            raise ValueError(
                f"class_weight: got {weights[index]!r} at index ({index},), which is infinite in "
                f"{self.dtype}, the dtype of the computation; expected values in [0, inf)"
            )
        return weights.array.astype(self.dtype)

    def arguments(self) -> list[Argument]:
        return [
            Argument("y_true", self.y, self.record.y_true, None if self.sparse else self.axis),
            Argument("y_pred", self.z, self.record.y_pred, self.axis),
        ]

    def domain_error(self, bad: tuple[int, int]) -> None:
        raise_domain_error(
            self.arguments(), self.shape, self.dtype, bad, self.classes, self.ignored
        )

    def counts_all(self) -> bool:
        return self.w is None and self.ignored is None

    def ignored_label(self) -> int | None:
        """The label to be ignored as the kernels see it; None if no label can be that."""
        ignored = self.ignored
        if ignored is not None and self.y.dtype.name == "uint64":
            # Kernels see labels of 64 bits as signed.
            ignored = ignored - 2**64 if ignored >= 2**63 else None if ignored < 0 else ignored
        # Of real labels the lowest stands for those that are no integer.
        lowest = -(2**63) + (self.y.dtype.kind not in "iu")
        if ignored is not None and not lowest <= ignored < 2**63:
            return None
        return ignored

    def pass_over(self, mode: str, out: list[Array], scale: float, w_scale: float, w: bool) -> Any:
        return _core.rowwise(
            self.index, self.record.cost, self.dtype.name, mode, self.shape, self.axis, self.y,
            self.z, self.w, tuple(out), self.target, self.class_weight, self.smoothing,
            self.values.get("eps", 0.0), self.ignored_label(), scale, w_scale,
            self.options.threads, w,
        )  # fmt: skip

    def layout(self) -> Array | None:
        """Derivatives lie like the scores: kernels take planes of class-major ones as they are."""
        return self.z

    def run(self, mode: str, out: list[Array], scale: float = 1, w_scale: float = 1) -> Any:
        return self.pass_over(mode, out, scale, w_scale, False)

    def weight_pass(self, w_scale: float) -> float:
        return float(self.pass_over("sum", [], 1, w_scale, True).weight)


def binding_of(loss: Loss, y: Array, z: Array) -> _core.Binding:
    """Return how the core runs a loss over batches of these dtypes, classes last.

    A loss that has only a mean, a root, is run as its squares, in float64, where those of float32
    residuals neither overflow nor underflow.
    """
    record, values = loss._record, loss.params
    dtype = computation_dtype(z)
    if record.kind == "pointwise":
        parameters = tuple(_real_values(record, values))
        if record.root_of:
            parameters, dtype = _RootCall.PARAMETERS, np.dtype(np.float64)
        return _core.Binding(
            False, loss._index, record.cost, dtype.name, parameters, "", None, 0.0, 0.0, None
        )
    call = _RowwiseCall(
        record, loss._index, values, "value", _options(record, {"reduction": "none"}), y[:1], z[:1]
    )
    return _core.Binding(
        True, loss._index, record.cost, dtype.name, (), call.target, call.class_weight,
        call.smoothing, values.get("eps", 0.0), call.ignored_label(),
    )  # fmt: skip


# ---- the public functions ----


def losses() -> list[str]:
    """Return the names of all losses, in the order of the documentation."""
    return [record.name for record in RECORDS]


def get(name: str, /, **params: Any) -> Loss:
    """Return a loss by its name or alias, with some or all of its parameters bound.

    Parameters
    ----------
    name : str
        A name of `fastloss.losses`, or an alias.
    **params
        The loss's own parameters; the others keep their defaults.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        If there is no such loss (the message has the nearest names), or a parameter is outside
        its domain.
    TypeError
        If the loss has no such parameter.

    Examples
    --------
    >>> import fastloss as fl
    >>> loss = fl.get("huber", delta=2.0)
    >>> loss([0.0, 0.0], [1.0, 3.0])
    2.25
    """
    record = BY_NAME.get(name) if isinstance(name, str) else None
    if record is None:
        import difflib  # for mistakes alone: it would slow every import

        near = difflib.get_close_matches(str(name), BY_NAME, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "fastloss.losses() lists the names"
        raise ValueError(f"name: got {name!r}, which is no loss; {hint}")
    return Loss(record, params)
