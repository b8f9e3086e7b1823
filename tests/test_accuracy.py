"""Every loss, gradient and Hessian against exact values, on every instruction set.

The bound of each loss stands in the registry. Points are ordinary and hostile ones (`points`);
exact values are formed with 60 and more digits (`reference`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import points
import pytest
import reference
import ulps
from reference import Exact
from samples import on_every_isa

import fastloss as fl
from fastloss import _core
from fastloss._losses import BY_NAME, RECORDS, Record

OUTPUTS = ("loss", "grad", "hess")
POINTWISE = [r for r in RECORDS if r.kind == "pointwise" and r.has_hessian]
ROWWISE = [r for r in RECORDS if r.kind != "pointwise"]


def check(
    record: Record, dtype: str, got: Any, exact: list[list[list[Exact]]], y: Any, z: Any
) -> None:
    """Compare results (loss, gradient, Hessian) of rows of values with exact ones."""
    for output, values, wanted in zip(OUTPUTS, got, exact, strict=True):
        worst = max(
            (ulps.error(v, e, dtype), i, v, e)
            for i, (v_row, e_row) in enumerate(zip(values, wanted, strict=True))
            for v, e in zip(v_row, e_row, strict=True)
        )
        error, i, v, e = worst
        assert error <= record.max_ulp, (
            f"{output} on {_core.isa()} off by {error:.2f} ULP at y={y[i]!r} z={z[i]!r}: "
            f"{v!r}, not {reference.mp.nstr(e.value, 20)}"
        )


def results(loss: fl.Loss, y: Any, z: Any) -> tuple[Any, ...]:
    return loss(y, z, reduction="none"), *loss.grad_and_hess(y, z, reduction="none")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("record", "params"),
    [
        pytest.param(r, params, id=f"{r.name}-{params}")
        for r in POINTWISE
        for params in points.parameters(r.name)
    ],
)
def test_pointwise(record: Record, params: dict[str, Any], dtype: str) -> None:
    y, z = points.elements(record.name, dtype, params)
    exact = reference.exact_elements(record.name, dtype, y, z, **params)
    rows = [[[e] for e in output] for output in exact]
    for _ in on_every_isa():
        got = [values[:, None] for values in results(fl.get(record.name, **params), y, z)]
        check(record, dtype, got, rows, y, z)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("record", "classes", "params"),
    [
        pytest.param(r, classes, params, id=f"{r.name}-{classes}-{params}")
        for r in ROWWISE
        for classes, params in points.classes_and_parameters(r.name)
    ],
)
def test_rowwise(record: Record, classes: int, params: dict[str, Any], dtype: str) -> None:
    y, z = points.rows(record.name, dtype, classes)
    exact = reference.exact_rows(record.name, dtype, y, z, **params)
    for _ in on_every_isa():
        loss, grad, hess = results(fl.get(record.name, **params), y, z)
        check(record, dtype, (loss[:, None], grad, hess), exact, y, z)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("isa")
def test_root_mean_squared_error(dtype: str) -> None:
    bound = BY_NAME["root_mean_squared_error"].max_ulp
    for y, z, w in points.whole_inputs(dtype):
        (value,), gradients = reference.exact_root(y, z, w)
        got, grad = fl.rmse.value_and_grad(y, z, sample_weight=w)
        assert ulps.error(np.dtype(dtype).type(got), value, dtype) <= bound
        for g, e in zip(grad, gradients, strict=True):
            assert ulps.error(g, e, dtype) <= bound


SIZES = (*range(18), 31, 32, 33, 63, 64, 65, 97, 1023, 1024, 1025, 2049)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
@pytest.mark.usefixtures("isa")
def test_edge_sizes(record: Record, dtype: str) -> None:
    """An element's results do not depend on how many there are, nor on its neighbours."""
    if record.reductions == ("mean",):
        pytest.skip("a property of the whole input")
    if record.kind == "pointwise":
        y, z = points.elements(record.name, dtype, {})
    else:
        y, z = points.rows(record.name, dtype)
    repeats = -(-SIZES[-1] // len(z))
    y, z = np.concatenate([y] * repeats), np.concatenate([z] * repeats)
    loss = fl.get(record.name)
    whole = (*results(loss, y, z), loss.value_and_grad(y, z, reduction="sum")[1])
    for n in SIZES:
        value, grad = loss.value_and_grad(y[:n], z[:n], reduction="sum")
        for got, wanted in zip((*results(loss, y[:n], z[:n]), grad), whole, strict=True):
            np.testing.assert_array_equal(got, wanted[:n], strict=True)
        with np.errstate(all="ignore"):
            total = np.sum(whole[0][:n], dtype=np.float64)
        np.testing.assert_allclose(value, total, rtol=1e-6 if dtype == "float32" else 1e-12)


def test_catalogue_value() -> None:
    value = fl.sigmoid_cross_entropy(np.float64([1.0]), np.float64([20.0]))
    assert value == pytest.approx(2.06115362031438e-09, rel=1e-14)
