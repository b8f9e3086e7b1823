"""exp, log and their kin: within 1 ULP on every instruction set.

Samples only; `make accuracy` tries every float32 number.
"""

from __future__ import annotations

import importlib.util
import math
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import ulps
from reference import Exact, mp

SWEEP = Path(__file__).parents[1] / "tools/ulp_sweep.py"
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ulp_sweep", SWEEP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sweep = load()
NAMES = [f.name for f in sweep.FUNCTIONS]


@pytest.fixture(scope="session")
def probes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    built: dict[str, Any] = sweep.probes(str(tmp_path_factory.mktemp("probes")))
    assert "baseline" in built
    return built


def find(name: str, probes: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a function, and the instruction sets that have it."""
    if name == "exp_by_table" and "v4" not in probes:
        pytest.skip("needs AVX-512")
    function = next(f for f in sweep.FUNCTIONS if f.name == name)
    able: dict[str, Any] = sweep.having(function, probes)
    assert able
    return function, able


@pytest.mark.parametrize("name", NAMES)
def test_float(name: str, probes: dict[str, Any]) -> None:
    function, able = find(name, probes)
    inputs = [*sweep.float_inputs(function, 2039, 1), sweep.boundary_inputs(function)]
    for isa, (error, x) in sweep.sweep_float(function, able, inputs).items():
        assert error <= 1, f"{name} on {isa} at {x!r}"


@pytest.mark.parametrize("name", NAMES)
def test_double(name: str, probes: dict[str, Any]) -> None:
    function, able = find(name, probes)
    for isa, probe in able.items():
        error, x = sweep.sweep_double(function, probe, 20_000)
        assert error <= 1, f"{name} on {isa} at {x!r}"


@pytest.mark.parametrize(
    "name", ["exp", "log", "log1p", "exp_nonpositive", "exp_by_table", "expm1_nonpositive"]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(name: str, dtype: str, probes: dict[str, Any]) -> None:
    inf, nan = math.inf, math.nan
    pairs = {
        "exp": [(0.0, 1.0), (-0.0, 1.0), (inf, inf), (-inf, 0.0)],
        "exp_nonpositive": [(0.0, 1.0), (-0.0, 1.0), (-inf, 0.0)],
        "exp_by_table": [(0.0, 1.0), (-0.0, 1.0), (-inf, 0.0)],
        "expm1_nonpositive": [(0.0, 0.0), (-0.0, 0.0), (-inf, -1.0)],
        "log": [(0.0, -inf), (-0.0, -inf), (1.0, 0.0), (inf, inf), (-1.0, nan), (-inf, nan)],
        "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -inf), (inf, inf), (-2.0, nan), (-inf, nan)],
    }[name]
    x, want = np.array([*pairs, (nan, nan)], dtype=dtype).T.copy()
    for probe in find(name, probes)[1].values():
        got = probe(name, x)
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log1p_ratio(dtype: str, probes: dict[str, Any]) -> None:
    """The quotient may overflow where the logarithm does not; three roundings, two ULPs."""
    info = np.finfo(dtype)
    random = np.random.default_rng(8)
    span = float(info.maxexp) - 1
    a = np.exp2(random.uniform(-span, span, 3000)).astype(dtype)
    b = np.exp2(random.uniform(-span, span, 3000)).astype(dtype)
    exact = []
    with mp.workprec(3000):
        for p, q in zip(a, b, strict=True):
            exact.append(mp.log(1 + mp.mpf(float(p)) / mp.mpf(float(q))))
    for isa, probe in probes.items():
        for got, value, p, q in zip(probe("log1p_ratio", a, b), exact, a, b, strict=True):
            assert ulps.error(got, Exact(value, value), dtype) <= 2, (
                f"log1p_ratio on {isa} at {p!r}, {q!r}: {got!r}"
            )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_cosh(dtype: str, probes: dict[str, Any]) -> None:
    """Given exp(-2 a), rounded: where the two polynomials meet, and far from there."""
    info = np.finfo(dtype)
    random = np.random.default_rng(10)
    a = np.concatenate(
        [
            random.uniform(0, 3, 1500),
            0.75 + random.uniform(-1, 1, 300) * 16 * float(info.eps),
            np.exp2(random.uniform(float(info.minexp) / 2, float(info.maxexp) - 1, 300)),
            [0.0, 0.75, np.nextafter(0.75, 0), float(info.max)],
        ]
    ).astype(dtype)
    with mp.workprec(2500):  # beyond 100, exp(-2 a) is below the last bit
        points = [mp.mpf(float(x)) for x in a]
        exact = [mp.log(mp.cosh(x)) if x < 100 else x - mp.log(2) for x in points]
        square = [float(mp.exp(-2 * min(x, 400))) for x in points]
    x = np.array(square).astype(dtype)
    for isa, probe in probes.items():
        for got, value, at in zip(probe("log_cosh", a, x), exact, a, strict=True):
            assert ulps.error(got, Exact(value, value), dtype) <= 2, (
                f"log_cosh on {isa} at {at!r}: {got!r}"
            )
        ends = probe("log_cosh", np.array([math.inf, math.nan], dtype), np.array([0, 1], dtype))
        assert ends[0] == math.inf
        assert math.isnan(ends[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_arguments(dtype: str, probes: dict[str, Any]) -> None:
    """Where arguments are ordinary a shorter way gives the same bits."""
    info = np.finfo(dtype)
    random = np.random.default_rng(9)
    size = 100_000
    x = np.exp2(random.uniform(float(info.minexp), 0, size))
    x[::2] = random.random(x[::2].size)
    edges = [float(info.tiny), float(info.eps), 0.75, np.nextafter(0.75, 0), 1.0, math.nan]
    x = np.clip(np.concatenate([x, edges]), float(info.tiny), 1).astype(dtype)
    zero, one = np.zeros_like(x), np.ones_like(x)
    most = np.exp2(random.uniform(0, float(info.maxexp) - 2, x.size)).astype(dtype)
    low = random.permutation(x)
    for probe in probes.values():
        for name, arguments in (
            ("log", (x,)),
            ("log_unit", (x, zero)),
            ("log_unit", (-x, one)),
            ("log1p_ratio", (one - low, low)),
            ("log1p_ratio", (x, one)),
            ("log1p_ratio", (most, one)),
        ):
            got = probe(f"{name}_normal", *arguments)
            np.testing.assert_array_equal(got, probe(name, *arguments), err_msg=name)
