"""The errors of every loss, gradient and Hessian at the tests' hostile points: ours and the peers'.

Errors are those that the tests bound (`tests/ulps.py`): in ULPs of the dtype, against exact values,
relative to the larger term where the value is itself a difference.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import PEERS, Peer

import fastloss as fl
from fastloss import _core
from fastloss._losses import BY_NAME, RECORDS, Record

# The tests know the points, and the exact values there.
sys.path.append(str(Path(__file__).parents[2] / "tests"))
import points
import reference
import ulps
from samples import on_every_isa

Array = NDArray[Any]
Params = dict[str, Any]
Triple = tuple[float | None, float | None, float | None]
DTYPES = ("float32", "float64")
OUTPUTS = ("loss", "gradient", "Hessian")


@dataclass(frozen=True)
class Own:
    """Our largest errors of a loss over all parameters, for each instruction set."""

    record: Record
    dtype: str
    points: int
    errors: dict[str, Triple]


@dataclass(frozen=True)
class Beside:
    """The largest errors with these parameters at points that others allow, by library."""

    record: Record
    dtype: str
    params: Params
    points: int
    own: Triple
    others: dict[str, Triple]


def ours(name: str, params: Params, y: Array, z: Array) -> tuple[Array, Array, Array]:
    """Return loss, gradient and Hessian."""
    loss = fl.get(name, **params)
    return (
        loss(y, z, reduction="none"),
        *loss.grad_and_hess(y, z, reduction="none"),
    )


def points_and_values(
    record: Record, dtype: str, params: Params, classes: int
) -> tuple[Array, Array, list[Any]]:
    """Return targets, predictions, and the exact values: outputs by points by numbers."""
    if record.kind == "pointwise":
        y, z = points.elements(record.name, dtype, params)
        values = reference.exact_elements(record.name, dtype, y, z, **params)
        return y, z, [[[value] for value in output] for output in values]
    y, z = points.rows(record.name, dtype, classes)
    return y, z, reference.exact_rows(record.name, dtype, y, z, **params)


def worst(
    results: Sequence[Array | None],
    exact: Sequence[Any],
    dtype: str,
    factor: float = 1,
    keep: Callable[[Any], bool] = lambda _: True,
) -> Triple:
    """Return the largest error of each output over the values to be kept."""
    errors: list[float | None] = []
    for result, wanted in zip(results, exact, strict=True):
        if result is None:
            errors.append(None)
            continue
        rows = np.asarray(result).reshape(len(wanted), -1)
        each = (
            error(got, scaled(value, factor), dtype)
            for row, values in zip(rows, wanted, strict=True)
            for got, value in zip(row, values, strict=True)
            if keep(value)
        )
        errors.append(max(each, default=None))
    return errors[0], errors[1], errors[2]


def error(got: Any, value: Any, dtype: str) -> float:
    """Return the error in ULPs, infinite where an infinity is not next to the exact value."""
    found = ulps.error(got, value, dtype)
    return found if np.isfinite(got) or found <= 1 else math.inf


def scaled(value: Any, factor: float) -> Any:
    """Return a multiple of an exact value."""
    return value if factor == 1 else reference.Exact(*(factor * number for number in value))


def largest(*triples: Triple) -> Triple:
    """Return the largest of each of the three."""
    each = [
        max((error for error in errors if error is not None), default=None)
        for errors in zip(*triples, strict=True)
    ]
    return each[0], each[1], each[2]


def is_normal(dtype: str) -> Callable[[Any], bool]:
    """Return a function that tells whether an exact value is no subnormal number."""
    tiny = float(np.finfo(dtype).tiny)
    return lambda value: bool(value.value == 0 or abs(value.value) >= tiny)


def has_kink(name: str, params: Params, y: Array, z: Array) -> Array:
    """Return at which points a derivative jumps, so that libraries may choose its value there."""
    none: Array = np.zeros(len(z), dtype=bool)
    if name in {"absolute_error", "quantile"}:
        return np.asarray(y == z)
    if name == "huber":
        return np.asarray(abs(z - y) == z.dtype.type(params.get("delta", 1.0)))
    if name in {"hinge", "squared_hinge"}:
        return np.asarray(y * z == z.dtype.type(params.get("margin", 1.0)))
    return none


def ordinary(y: Array, z: Array) -> Array:
    """Return at which points all arguments are finite, and none is subnormal."""
    ok = np.ones(len(z), dtype=bool)
    for x in (y, z):
        size = abs(x.reshape(len(x), -1).astype(np.float64))
        tiny = np.finfo(x.dtype).tiny if x.dtype.kind == "f" else 0
        ok &= (np.isfinite(size) & ((size == 0) | (size >= tiny))).all(axis=1)
    return ok


def everyday(y: Array, z: Array) -> Array:
    """Return at which points all arguments are 0, or of a magnitude between 1e-4 and 1e3."""
    sizes = [abs(x.reshape(len(x), -1).astype(np.float64)) for x in (y, z)]
    ok = [((x == 0) | ((x >= 1e-4) & (x <= 1e3))).all(axis=1) for x in sizes]
    return np.asarray(ok[0] & ok[1])


def measure(
    record: Record, dtype: str, available: Sequence[Peer]
) -> tuple[Own, list[Beside], list[Beside]]:
    """Return our errors of a loss, and those beside others, at everyday and hostile points."""
    own: dict[str, list[Triple]] = {name: [] for name in _core.isa_available()}
    count = 0
    rows: list[list[Beside]] = [[], []]
    pointwise = record.kind == "pointwise"
    pairs = (
        [(1, params) for params in points.parameters(record.name)]
        if pointwise
        else points.classes_and_parameters(record.name)
    )
    for classes, params in pairs:
        y, z, exact = points_and_values(record, dtype, params, classes)
        count += len(z)
        results = {}
        for isa in on_every_isa():
            results[isa] = ours(record.name, params, y, z)
            own[isa].append(worst(results[isa], exact, dtype))
        if not pointwise and classes != points.CLASSES:
            continue
        able = [peer for peer in available if peer.loss(record.name, params, dtype)]
        for chosen, found in zip((everyday(y, z), ordinary(y, z)), rows, strict=True):
            if able:
                every = (record, dtype, params, y, z, exact, chosen)
                found.append(beside(*every, list(results.values()), able))
    errors = {isa: largest(*triples) for isa, triples in own.items()}
    return Own(record, dtype, count, errors), rows[0], rows[1]


def beside(
    record: Record,
    dtype: str,
    params: Params,
    y: Array,
    z: Array,
    exact: list[Any],
    chosen: Array,
    results: Sequence[tuple[Array, Array, Array]],
    able: Sequence[Peer],
) -> Beside:
    """Return our errors at the chosen points, and those of peers where they allow them."""
    keep = is_normal(dtype)
    with np.errstate(all="ignore"):
        chosen = chosen & ~has_kink(record.name, params, y, z)

    def at(where: Array, arrays: Sequence[Array | None]) -> list[Array | None]:
        return [None if a is None else a[where] for a in arrays]

    def values(where: Array) -> list[Any]:
        return [[v for v, w in zip(output, where, strict=True) if w] for output in exact]

    own = [worst(at(chosen, r), values(chosen), dtype, keep=keep) for r in results]
    others = {}
    for peer in able:
        loss = peer.loss(record.name, params, dtype)
        assert loss is not None
        where = chosen & loss.inside(y, z)
        found = peer.results(record.name, params, y[where], z[where])
        for array in found[:2]:
            assert array is not None
            assert array.dtype == dtype, f"{peer.name} computes {record.name} in {array.dtype}"
        others[peer.name] = worst(found, values(where), dtype, loss.factor, keep)
    return Beside(record, dtype, params, int(chosen.sum()), largest(*own), others)


def root(dtype: str) -> Own:
    """Return our errors of the root mean squared error, whose every value is of a whole input."""
    record, count = BY_NAME["root_mean_squared_error"], 0
    own: dict[str, list[Triple]] = {name: [] for name in _core.isa_available()}
    for y, z, w in points.whole_inputs(dtype):
        exact = reference.exact_root(y, z, w)
        count += len(z)
        for isa in on_every_isa():
            value, grad = fl.rmse.value_and_grad(y, z, sample_weight=w)
            loss = ulps.error(np.dtype(dtype).type(value), exact[0][0], dtype)
            rates = [ulps.error(g, e, dtype) for g, e in zip(grad, exact[1], strict=True)]
            own[isa].append((loss, max(rates), None))
    return Own(record, dtype, count, {isa: largest(*triples) for isa, triples in own.items()})


def measure_one(name: str, dtype: str) -> tuple[Own, list[Beside], list[Beside]]:
    """Return the errors of any loss, as `measure` does."""
    record = BY_NAME[name]
    return measure(record, dtype, installed()) if record.has_hessian else (root(dtype), [], [])


def measure_all() -> tuple[list[Own], list[Beside], list[Beside]]:
    """Return the errors of every loss, measured on all processors."""
    cells = [(record.name, dtype) for record in RECORDS for dtype in DTYPES]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        owns, moderate, hostile = zip(
            *pool.map(measure_one, *zip(*cells, strict=True)), strict=True
        )
    return list(owns), list(chain(*moderate)), list(chain(*hostile))


def installed() -> list[Peer]:
    """Return the peers that are installed."""
    return [peer for peer in PEERS if peer.installed]
