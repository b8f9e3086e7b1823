"""What a `Loss` is, and how losses are got, bound, shown and stored."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from samples import DTYPES, OTHER, same_bits, sample

import fastloss as fl
from fastloss._losses import BY_NAME, RECORDS, Parameter, Record

ALL = pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
POINTWISE = pytest.mark.parametrize(
    "record", [r for r in RECORDS if r.kind == "pointwise"], ids=lambda r: r.name
)
OPTIONS = ["sample_weight", "reduction", "out", "num_threads"]
REALS = [
    pytest.param(r, p, id=f"{r.name}-{p.name}")
    for r in RECORDS
    for p in r.parameters
    if p.kind == "real"
]


@ALL
def test_attributes(record: Record) -> None:
    loss = getattr(fl, record.name)
    assert isinstance(loss, fl.Loss)
    assert loss.name == record.name
    assert loss.family == record.family
    assert loss.formula == record.formula
    assert loss.has_hessian is (record.hessian is not None)
    assert loss.params == {p.name: p.default for p in record.parameters}
    assert callable(loss)


@ALL
def test_aliases(record: Record) -> None:
    for alias in record.aliases:
        assert getattr(fl, alias) is getattr(fl, record.name)
        assert fl.get(alias) == fl.get(record.name)
        assert fl.get(alias).name == record.name


@ALL
def test_signature(record: Record) -> None:
    parameters = inspect.signature(getattr(fl, record.name)).parameters
    own = [p.name for p in record.parameters]
    assert list(parameters) == ["y_true", "y_pred", *own, *OPTIONS]
    for p in record.parameters:
        assert parameters[p.name].default == p.default
    assert parameters["reduction"].default == "mean"


@pytest.mark.parametrize("call", ["grad", "value_and_grad", "grad_and_hess"])
def test_signature_of_derivatives(call: str) -> None:
    method = getattr(fl.huber, call)
    parameters = inspect.signature(method).parameters
    assert list(parameters) == ["y_true", "y_pred", *OPTIONS, "params"]
    assert {name: parameters[name].default for name in OPTIONS} == {
        name: inspect.signature(fl.huber).parameters[name].default for name in OPTIONS
    }
    assert "radient" in method.__doc__
    assert "$self" not in method.__doc__


@ALL
def test_documentation(record: Record) -> None:
    text = inspect.getdoc(getattr(fl, record.name)) or ""
    words = " ".join(text.split())
    for part in (record.summary, record.formula, record.gradient, record.reference, "Raises"):
        assert " ".join(part.split()) in words
    for p in record.parameters:
        assert f"\n{p.name} : " in text


def test_help_shows_the_loss(python: Callable[..., str]) -> None:
    text = python("import fastloss as fl; help(fl.huber)")
    assert BY_NAME["huber"].summary in text
    assert "delta" in text


@ALL
def test_bound_parameters(record: Record) -> None:
    params = OTHER.get(record.name, {})
    y, z, _ = sample(record, "float64", (50,))
    bound, plain = fl.get(record.name, **params), getattr(fl, record.name)
    assert bound.params == {**plain.params, **params}
    same_bits(bound(y, z), plain(y, z, **params))
    same_bits(bound.grad(y, z), plain.grad(y, z, **params))
    for a, b in zip(bound.value_and_grad(y, z), plain.value_and_grad(y, z, **params), strict=True):
        same_bits(a, b)
    if record.has_hessian:
        a, b = bound.grad_and_hess(y, z), plain.grad_and_hess(y, z, **params)
        same_bits(a[0], b[0])
        same_bits(a[1], b[1])


@ALL
def test_bound_parameters_may_be_overridden(record: Record) -> None:
    params = OTHER.get(record.name, {})
    y, z, _ = sample(record, "float64", (20,))
    defaults = {p.name: p.default for p in record.parameters}
    same_bits(fl.get(record.name, **params)(y, z, **defaults), getattr(fl, record.name)(y, z))


@ALL
def test_copies(record: Record) -> None:
    loss = fl.get(record.name, **OTHER.get(record.name, {}))
    y, z, _ = sample(record, "float32", (20,))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        other = pickle.loads(pickle.dumps(loss, protocol))
        assert other == loss
        assert hash(other) == hash(loss)
        same_bits(other(y, z), loss(y, z))
    assert copy.copy(loss) == copy.deepcopy(loss) == loss


@ALL
def test_repr(record: Record) -> None:
    loss = fl.get(record.name, **OTHER.get(record.name, {}))
    assert eval(repr(loss), {"fastloss": fl}) == loss
    assert repr(getattr(fl, record.name)) == f"fastloss.{record.name}"


def test_equality() -> None:
    assert fl.get("huber", delta=2) == fl.get("huber", delta=2.0)
    assert hash(fl.get("huber", delta=2)) == hash(fl.get("huber", delta=2.0))
    assert fl.get("huber", delta=2) != fl.huber
    assert fl.huber != "huber"
    weighted = fl.get("cross_entropy", class_weight=[1, 2])
    assert weighted == fl.get("cross_entropy", class_weight=np.array([1.0, 2.0]))
    assert len({weighted, fl.get("cross_entropy", class_weight=(1.0, 2.0))}) == 1


def test_params_is_a_copy() -> None:
    fl.huber.params["delta"] = 5.0
    assert fl.huber.params == {"delta": 1.0}


def test_keywords_for_both() -> None:
    assert fl.mse(y_true=[0.0], y_pred=[2.0]) == 4.0
    assert fl.mse.grad(y_pred=[2.0], y_true=[0.0])[0] == 4.0
    assert fl.quantile([0.0], [1.0], q=0.25) == fl.quantile(y_true=[0.0], y_pred=[1.0], q=0.25)


def test_positional_parameters_are_refused() -> None:
    loss: Any = fl.huber
    for call in (loss, loss.grad, loss.value_and_grad, loss.grad_and_hess):
        with pytest.raises(TypeError, match="positional"):
            call([0.0], [1.0], 1.0)


@pytest.mark.parametrize("name", ["hubber", "mean_squared_error", "x", "", 5, None])
def test_unknown_name(name: Any) -> None:
    with pytest.raises(ValueError, match="name: got"):
        fl.get(name)


def test_nearest_names() -> None:
    with pytest.raises(ValueError, match="did you mean huber"):
        fl.get("hubber")


@ALL
def test_unknown_parameter(record: Record) -> None:
    for call in (
        lambda: fl.get(record.name, nonsense=1),
        lambda: getattr(fl, record.name)([0.5], [0.5], nonsense=1),
        lambda: getattr(fl, record.name).grad([0.5], [0.5], nonsense=1),
    ):
        with pytest.raises(TypeError, match="nonsense"):
            call()


@pytest.mark.parametrize(("record", "parameter"), REALS)
def test_parameter_domain(record: Record, parameter: Parameter) -> None:
    domain, name = parameter.domain, parameter.name
    for end, closed in ((domain.low, domain.low_closed), (domain.high, domain.high_closed)):
        if closed and np.isfinite(end):
            assert fl.get(record.name, **{name: end}).params[name] == end
        else:
            with pytest.raises(ValueError, match=f"{name}: got .*; expected"):
                fl.get(record.name, **{name: end})
    outside = [np.nextafter(domain.low, -np.inf), np.nextafter(domain.high, np.inf), np.nan]
    for value in outside:
        with pytest.raises(ValueError, match=f"{name}: got .*; expected"):
            getattr(fl, record.name)([0.5], [0.5], **{name: value})
    for wrong in ("1", None, [1.0, 2.0], 1j):
        with pytest.raises(TypeError, match=f"{name}: got"):
            fl.get(record.name, **{name: wrong})


@pytest.mark.parametrize(("record", "parameter"), REALS)
def test_parameter_beyond_the_floats(record: Record, parameter: Parameter) -> None:
    """An integer that no float can hold is out of the domain like any other number."""
    for value in (10**400, -(10**400)):
        with pytest.raises(ValueError, match=f"{parameter.name}: got"):
            fl.get(record.name, **{parameter.name: value})


def test_wrong_types_are_refused_whatever_was_called_before() -> None:
    """Values that equal a good one, and hash alike, but are of a type that is refused."""
    y, p = [0, 1], [[0.5, 0.5], [0.25, 0.75]]
    cases: list[tuple[fl.Loss, dict[str, Any], dict[str, Any]]] = [
        (fl.get("huber"), {"delta": 2.0}, {"delta": 2 + 0j}),
        (fl.get("nll"), {"axis": 1}, {"axis": 1.0}),
        (fl.get("nll"), {"axis": 1}, {"axis": True}),
        (fl.get("nll"), {"ignore_index": 1}, {"ignore_index": 1.0}),
    ]
    for loss, good, wrong in cases:
        truth = y if loss.family == "multiclass" else p
        with pytest.raises(TypeError):
            loss(truth, p, **wrong)
        loss(truth, p, **good)
        with pytest.raises(TypeError):
            loss(truth, p, **wrong)


def test_parameter_must_survive_float32() -> None:
    """A parameter that leaves its domain when rounded to the computation's dtype is refused."""
    y64, y32 = np.zeros(3), np.zeros(3, np.float32)
    for name, params in (("huber", {"delta": 1e-60}), ("quantile", {"q": 1 - 1e-12})):
        loss = fl.get(name, **params)
        loss(y64, y64)
        with pytest.raises(ValueError, match="float32"):
            loss(y32, y32)


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, np.nan], [1.0, np.inf]])
def test_class_weight_domain(weights: list[float]) -> None:
    with pytest.raises(ValueError, match=r"class_weight: got .* at index \(1,\)"):
        fl.get("cross_entropy", class_weight=weights)


def test_class_weight_length() -> None:
    loss = fl.get("sparse_softmax_cross_entropy", class_weight=[1.0, 2.0])
    with pytest.raises(ValueError, match="class_weight: got 2 weights; expected 3"):
        loss([0], [[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="class_weight"):
        fl.get("cross_entropy", class_weight=[[1.0]])


def test_class_weight_must_survive_float32() -> None:
    y, z = np.array([0, 1]), np.zeros((2, 2))
    loss = fl.get("sparse_softmax_cross_entropy", class_weight=[1e300, 1.0])
    loss(y, z)
    with pytest.raises(ValueError, match="class_weight: got 1e\\+300"):
        loss(y, z.astype(np.float32))


def test_class_weights_of_calls_are_those_given_now() -> None:
    """Losses with weights of a call before are kept; they are found by what is in an array."""
    loss, z = fl.sparse_softmax_cross_entropy, np.arange(12.0).reshape(4, 3) % 5
    y, weights = np.array([0, 2, 1, 2]), np.array([1.0, 2.0, 3.0])

    def expected(*values: float) -> float:
        each = loss(y, z, reduction="none") * np.array(values)[y]
        return float(each.mean())

    np.testing.assert_allclose(loss(y, z, class_weight=weights), expected(1, 2, 3))
    weights[0] = 5
    np.testing.assert_allclose(loss(y, z, class_weight=weights), expected(5, 2, 3))
    for same in ([5, 2, 3], (5, 2, 3), weights.astype("float32"), weights.astype(">f8")):
        for _ in range(2):
            np.testing.assert_allclose(loss(y, z, class_weight=same), expected(5, 2, 3))
    swapped = weights.view(weights.dtype.newbyteorder())  # the same bytes, other numbers
    assert loss(y, z, class_weight=swapped) != expected(5, 2, 3)
    for few in ([5, 2], weights[:2]):
        for _ in range(2):
            with pytest.raises(ValueError, match="class_weight: got 2 weights; expected 3"):
                loss(y, z, class_weight=few)
    with pytest.raises(ValueError, match="class_weight: got 0 weights; expected 3"):
        loss(y, z, class_weight=[])


def test_no_hessian() -> None:
    with pytest.raises(TypeError, match="no Hessian"):
        fl.rmse.grad_and_hess([0.0], [1.0])


@pytest.mark.parametrize("reduction", ["avg", None, 1, "MEAN"])
def test_unknown_reduction(reduction: Any) -> None:
    with pytest.raises(ValueError, match="reduction: got"):
        fl.huber([0.0], [1.0], reduction=reduction)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_root_has_only_a_mean(reduction: Any) -> None:
    with pytest.raises(ValueError, match=r"reduction: got .*; expected 'mean'"):
        fl.rmse([0.0], [1.0], reduction=reduction)


def test_values_are_python_floats() -> None:
    y = np.zeros(3, np.float32)
    for value in (fl.mse(y, y), fl.rmse(y, y), fl.mse(y, y, reduction="sum")):
        assert type(value) is float
    assert type(fl.mse.value_and_grad(y, y)[0]) is float


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    config = fl.show_config(as_dict=True)
    assert {"version", "isa", "isa_compiled", "openmp", "threads", "compiler"} <= set(config)
    assert config["isa"] in config["isa_available"]
    assert set(config["isa_available"]) <= set(config["isa_compiled"])
    assert config["version"] == fl.__version__
    assert capsys.readouterr().out == ""
    fl.show_config()
    shown = capsys.readouterr().out
    assert config["isa"] in shown
    assert fl.__version__ in shown


@pytest.mark.parametrize("isa", ["baseline", "v3", "v4"])
def test_isa_may_be_lowered(isa: str, python: Callable[..., str]) -> None:
    levels = ["baseline", "v3", "v4"]
    available = fl.show_config(as_dict=True)["isa_available"]
    code = "import fastloss as fl; print(fl.show_config(as_dict=True)['isa'])"
    expected = [x for x in available if x in levels[: levels.index(isa) + 1]][-1]
    assert python(code, FASTLOSS_ISA=isa) == expected


def test_wrong_isa(python: Callable[..., str]) -> None:
    code = (
        "try:\n import fastloss\n"
        "except ValueError as error:\n assert 'FASTLOSS_ISA' in str(error)\n"
        "else:\n raise SystemExit('no error')"
    )
    python(code, FASTLOSS_ISA="avx9")


def test_import_has_no_side_effects(python: Callable[..., str]) -> None:
    code = """
import os, sys, warnings
import numpy as np
before = dict(os.environ), list(warnings.filters), np.geterr(), sys.getswitchinterval()
import fastloss
after = dict(os.environ), list(warnings.filters), np.geterr(), sys.getswitchinterval()
assert before == after, (before, after)
heavy = {"pyarrow", "pandas", "scipy", "torch", "argparse", "multiprocessing"} & set(sys.modules)
print(sorted(heavy))
"""
    assert python(code) == "[]"


def test_floating_point_mode_is_left_alone(python: Callable[..., str]) -> None:
    code = """
import numpy as np, fastloss as fl
y, z = np.zeros(100000, np.float32), np.full(100000, 1e30, np.float32)
fl.mse.value_and_grad(y, z)
tiny = np.float32(1e-45)
assert tiny * np.float32(1) == tiny
assert np.float32(1e-38) / np.float32(16) > 0
"""
    python(code)


def test_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fastloss", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"fastloss {fl.__version__}\n"


class _Plain(np.ndarray[Any, Any]):
    """Arrays that are none of the short path's."""


def _items(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _calls(record: Record, weight: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    methods = ["__call__", "grad", "value_and_grad"]
    methods += ["grad_and_hess"] if record.has_hessian else []
    for method in methods:
        for reduction in record.reductions:
            yield method, {"reduction": reduction}
            yield method, {"reduction": reduction, "sample_weight": weight, "num_threads": 1}


@pytest.mark.parametrize("dtype", DTYPES)
@ALL
def test_short_and_general_path_agree(
    record: Record, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = sample(record, dtype, (40, 30))
    weights = [s.w, s.w[:, ::-1].astype(np.float64)[:, ::-1], s.w[:1]]
    targets = [s.y, s.y.copy(order="F"), s.y.astype(np.float16)]
    predictions = [s.z, s.z.copy(order="F"), s.z[::-1].copy()[::-1]]
    general: list[str] = []
    whole = fl.Loss._general

    def counted(self: fl.Loss, call: str, *args: Any) -> Any:
        general.append(call)
        return whole(self, call, *args)

    monkeypatch.setattr(fl.Loss, "_general", counted)
    loss = fl.get(record.name)
    for i, z in enumerate(predictions):
        y, w = targets[i], weights[i]
        for method, kwargs in _calls(record, w):
            call = getattr(loss, method)
            short = call(y, z, **kwargs)
            assert not general, (method, kwargs)
            with monkeypatch.context() as patch:
                patch.setattr(fl.Loss, "_short", lambda *_: None)
                wanted = call(y.view(_Plain), z, **kwargs)
            assert general
            general.clear()
            for one, other in zip(_items(short), _items(wanted), strict=True):
                same_bits(one, other)


@pytest.mark.parametrize("dtype", DTYPES)
@POINTWISE
def test_short_path_takes_a_prediction_of_several_targets(
    record: Record, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = sample(record, dtype, (40, 30))
    loss = fl.get(record.name)
    predictions = [s.z[3, 4], float(s.z[3, 4]), s.z[5], s.z[5:6], s.z[:, 6:7]]
    # Targets of other strides, and weights of the targets' shape that broadcast themselves.
    targets = [s.y, s.y, s.y, s.y.astype("f4", order="F"), s.y[::-1]]
    weights = [None, s.w, s.w[0], s.w[:, :1], s.w[:1]]
    cases = [
        (y, z, {"reduction": reduction, "sample_weight": w})
        for y, z, w in zip(targets, predictions, weights, strict=True)
        for reduction in record.reductions
    ]
    whole = [np.broadcast_to(np.asarray(z), y.shape).copy() for y, z, _ in cases]
    wanted = [loss(y, z, **kwargs) for (y, _, kwargs), z in zip(cases, whole, strict=True)]
    monkeypatch.delattr(fl.Loss, "_general")
    for (y, z, kwargs), value in zip(cases, wanted, strict=True):
        same_bits(loss(y, z, **kwargs), value)


@pytest.mark.parametrize("name", ["huber", "sparse_softmax_cross_entropy"])
def test_general_path_hands_converted_arguments_on(name: str) -> None:
    s = sample(BY_NAME[name], "float64", (20,))
    loss = fl.get(name)
    same_bits(loss(s.y.tolist(), s.z.tolist()), loss(s.y, s.z))
    same_bits(
        loss.grad(s.y.view(_Plain), s.z, sample_weight=s.w.tolist()),
        loss.grad(s.y, s.z, sample_weight=s.w),
    )


def test_kept_parameters_with_options() -> None:
    """A loss with parameters given in the call is made once, with options or without."""
    y, z, w = np.random.default_rng(5).normal(size=(3, 50)) ** 2
    loss = fl.get("huber")
    first = loss(y, z, delta=0.5, sample_weight=w)
    (kept,) = loss._kept.values()
    assert loss(y, z, delta=0.5, sample_weight=w.tolist()) == first
    assert loss(y, z, delta=0.5, sample_weight=w, reduction="sum", num_threads=2) > 0
    assert list(loss._kept.values()) == [kept]
    assert kept(y, z, sample_weight=w) == first


def test_in_place_and_overlapping_outputs() -> None:
    random = np.random.default_rng(6)
    y, z = random.normal(size=(2, 60))
    wanted = fl.log_cosh.grad(y, z)
    same = z.copy()
    assert fl.log_cosh.grad(y, same, out=same) is same
    same_bits(same, wanted)
    over_target = y.copy()
    same_bits(fl.log_cosh.grad(over_target, z, out=over_target), wanted)
    both = random.normal(size=61)
    with pytest.raises(ValueError, match="out: got an array that partly overlaps y_pred"):
        fl.log_cosh.grad(y, both[:60], out=both[1:])
    pair = np.empty(60), np.empty(60)
    assert fl.log_cosh.grad_and_hess(y, z, out=pair)[1] is pair[1]
    with pytest.raises(ValueError, match="out: got two arrays that overlap"):
        fl.log_cosh.grad_and_hess(y, z, out=(pair[0], pair[0]))
