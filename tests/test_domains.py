"""Values outside a domain raise, and the message names argument, value, place and domain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from samples import DTYPES, MARGIN, ROWWISE, sample

import fastloss as fl
from fastloss._losses import RECORDS, Interval, Record


def outside(domain: Any) -> list[float]:
    if not isinstance(domain, Interval):
        return []
    values = []
    for end, closed, away in (
        (domain.low, domain.low_closed, -1.0),
        (domain.high, domain.high_closed, 1.0),
    ):
        if math.isfinite(end):
            values += [end + away * 0.25, away * math.inf]
        if not closed:
            values.append(end)
    return values


CASES = [
    pytest.param(r, argument, value, id=f"{r.name}-{argument}-{value}")
    for r in RECORDS
    for argument in ("y_true", "y_pred")
    for value in outside(getattr(r, argument))
]


def calls(loss: fl.Loss, y: Any, z: Any, **kwargs: Any) -> list[Any]:
    every = [
        lambda: loss(y, z, **kwargs),
        lambda: loss.grad(y, z, **kwargs),
        lambda: loss.value_and_grad(y, z, **kwargs),
        lambda: loss(y, z, sample_weight=2.0, reduction="sum", **kwargs),
        lambda: loss(y, z, reduction="none", **kwargs),
        lambda: loss.value_and_grad(y, z, reduction="none", **kwargs),
    ]
    if loss.has_hessian:
        every.append(lambda: loss.grad_and_hess(y, z, **kwargs))
    return every


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("record", "argument", "value"), CASES)
def test_intervals(record: Record, argument: str, value: float, dtype: str) -> None:
    loss = fl.get(record.name)
    domain = str(getattr(record, argument))
    for size in (5, 6000):
        s = sample(record, dtype, (size,))
        y, z = s.y.copy(), s.z.copy()
        if record.kind == "sparse":
            y[:] = 1  # only the target's probability is read
        array = y if argument == "y_true" else z
        index = (size // 2, 1) if array.ndim == 2 else (size // 2,)
        array[index] = value
        later = (size - 1, 1) if array.ndim == 2 else (size - 1,)
        array[later] = value
        for call in calls(loss, y, z):
            with pytest.raises(ValueError, match=argument) as caught:
                call()
            message = str(caught.value)
            assert f"{argument}: got {float(value)!r} at index {index}" in message
            assert domain in message


ENDS = [
    pytest.param(r, argument, id=f"{r.name}-{argument}")
    for r in RECORDS
    for argument in ("y_true", "y_pred")
    if r.kind == "pointwise" and outside(getattr(r, argument))
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("record", "argument"), ENDS)
def test_ends_of_intervals(record: Record, argument: str, dtype: str) -> None:
    """The last number inside and the first one outside, subnormal ones among them."""
    number = np.dtype(dtype).type
    domain = getattr(record, argument)
    s = sample(record, dtype, (5,))
    array = s.y if argument == "y_true" else s.z
    for end, closed, away in (
        (domain.low, domain.low_closed, -math.inf),
        (domain.high, domain.high_closed, math.inf),
    ):
        if math.isinf(end):
            continue
        last = number(end) if closed else np.nextafter(number(end), number(-away))
        array[2] = last
        fl.get(record.name)(s.y, s.z)
        array[2] = -last if last == 0 else last
        fl.get(record.name)(s.y, s.z)
        array[2] = np.nextafter(last, number(away))
        with pytest.raises(ValueError, match=rf"{argument}: got .* at index \(2,\)"):
            fl.get(record.name)(s.y, s.z)
        array[2] = 0.5


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("record", ROWWISE, ids=lambda r: r.name)
def test_the_first_of_several_rows(record: Record, threads: int) -> None:
    s = sample(record, "float32", (60_000,))
    wrong, value = (s.y, 7) if record.kind == "sparse" else (s.y, -0.5)
    for row in (59_999, 30_001, 30_000):
        wrong[(row, 2)[: wrong.ndim]] = value
    index = r"\(30000, 2\)" if wrong.ndim == 2 else r"\(30000,\)"
    for call in calls(fl.get(record.name), s.y, s.z, num_threads=threads):
        with pytest.raises(ValueError, match=rf"y_true: got {value} at index {index}"):
            call()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_first_of_several(threads: int) -> None:
    p = np.full(500_000, 0.5)
    p[[70_001, 70_000, 499_999]] = 2, 3, 4
    with pytest.raises(ValueError, match=r"y_pred: got 3.0 at index \(70000,\); expected"):
        fl.bce(np.zeros(500_000), p, num_threads=threads)
    y = np.zeros(500_000)
    y[70_000] = -1
    with pytest.raises(ValueError, match=r"y_true: got -1.0 at index \(70000,\)"):
        fl.bce(y, p, num_threads=threads)


def test_broadcast_operands() -> None:
    y = np.array([[0.0], [1.0], [1.5]])
    with pytest.raises(ValueError, match=r"y_true: got 1.5 at index \(2, 0\)"):
        fl.bce(y, np.full((3, 4), 0.5))
    with pytest.raises(ValueError, match=r"y_pred: got 7.0 at index \(\)"):
        fl.bce(np.zeros(3), 7.0)
    with pytest.raises(ValueError, match=r"y_pred: got 7.0 at index \(1,\)"):
        fl.bce.grad(np.zeros((5, 2)), np.array([0.5, 7.0]))


def test_layouts() -> None:
    p = np.full((40, 50), 0.5)
    p[3, 7] = -0.5
    for view in (np.asfortranarray(p), p.astype(">f8"), p.astype(np.float16), p[:, :]):
        with pytest.raises(ValueError, match=r"y_pred: got -0.5 at index \(3, 7\)"):
            fl.bce(np.zeros((40, 50)), view)
    with pytest.raises(ValueError, match=r"y_pred: got -0.5 at index \(7, 36\)"):
        fl.bce(np.zeros((50, 40)), p[::-1].T)


@pytest.mark.parametrize("name", ["categorical_cross_entropy", "kl_divergence"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_class_axis(name: str, axis: int) -> None:
    p = np.full((4, 5, 6), 0.25)
    p[1, 2, 3] = 1.25
    with pytest.raises(ValueError, match=r"y_pred: got 1.25 at index \(1, 2, 3\)"):
        fl.get(name, axis=axis)(np.full((4, 5, 6), 0.25), p)


def test_values_are_judged_in_the_dtype_of_the_computation() -> None:
    """What rounds into the domain is in it."""
    p = np.array([0.5], np.float32)
    assert fl.bce(np.array([1 + 1e-12]), p) == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match="y_true"):
        fl.bce(np.array([1 + 1e-12]), p.astype(float))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
def test_nan_is_no_violation(record: Record, dtype: str) -> None:
    s = sample(record, dtype, (6,))
    z = np.full_like(s.z, np.nan)
    loss = fl.get(record.name)
    assert math.isnan(loss(s.y, z))
    if record.kind != "sparse":
        assert math.isnan(loss(np.full_like(s.y, np.nan), s.z))


@pytest.mark.parametrize("name", MARGIN)
class TestMarginLabels:
    def test_equivalent(self, name: str) -> None:
        z = np.array([0.3, -2.0, 5.0, 0.0])
        signs, bits = np.array([1, -1, -1, 1]), np.array([1, 0, 0, 1])
        loss = fl.get(name)
        for y in (bits, bits.astype(bool), bits.astype(float), signs.astype(np.float16)):
            assert loss(y, z) == loss(signs, z)
            assert (loss.grad(y, z) == loss.grad(signs, z)).all()

    @pytest.mark.parametrize("label", [2, -2, 0.5, math.inf, -math.inf])
    def test_other_labels(self, name: str, label: float) -> None:
        y = np.ones(4000)
        y[1500] = label
        for call in calls(fl.get(name), y, np.zeros(4000)):
            with pytest.raises(ValueError, match=r"y_true: got .* at index \(1500,\)") as caught:
                call()
            assert "{-1, +1} or {0, 1}" in str(caught.value)

    @pytest.mark.parametrize("first", [0, -1])
    def test_mixed(self, name: str, first: int) -> None:
        y = np.ones(100_000, np.int8)
        y[5], y[90_000] = first, -1 - first
        for call in calls(fl.get(name), y, np.zeros(100_000)):
            with pytest.raises(ValueError, match=r"y_true: got .* at index \(90000,\)") as caught:
                call()
            assert f"{first} came before" in str(caught.value)

    def test_only_ones(self, name: str) -> None:
        assert math.isfinite(fl.get(name)([1, 1], [0.0, 3.0]))


@pytest.mark.parametrize("record", [r for r in ROWWISE if r.kind == "sparse"], ids=lambda r: r.name)
class TestClassIndices:
    @pytest.mark.parametrize(
        "label", [3, -1, 1.5, math.nan, math.inf, -(2**63), 2**63 - 1, np.uint64(2**64 - 1)]
    )
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_outside(self, record: Record, label: Any, dtype: str) -> None:
        s = sample(record, dtype, (700,))
        kind = np.result_type(label) if isinstance(label, np.uint64) else np.array(label).dtype
        y = s.y.astype(kind)
        y[600:602] = label
        for call in calls(fl.get(record.name), y, s.z):
            with pytest.raises(ValueError, match=r"y_true: got .* at index \(600,\)") as caught:
                call()
            assert "integers in [0, 3)" in str(caught.value)

    def test_ignore_index(self, record: Record) -> None:
        loss = fl.get(record.name, ignore_index=-100)
        s = sample(record, "float64", (9,))
        y = s.y.copy()
        y[2] = -100
        assert math.isfinite(loss(y, s.z))
        y[4] = -1
        with pytest.raises(ValueError, match="or ignore_index -100"):
            loss(y, s.z)

    def test_ignore_index_may_be_a_class(self, record: Record) -> None:
        s = sample(record, "float64", (50,))
        kept = s.y != 2
        got = fl.get(record.name, ignore_index=2)(s.y, s.z)
        assert got == pytest.approx(fl.get(record.name)(s.y[kept], s.z[kept]), rel=1e-14)

    def test_ignore_index_beyond_the_label_dtype(self, record: Record) -> None:
        s = sample(record, "float64", (5,))
        for ignored in (2**70, -(2**70), 2**63):
            loss = fl.get(record.name, ignore_index=ignored)
            assert loss(s.y, s.z) == fl.get(record.name)(s.y, s.z)

    @pytest.mark.parametrize("ignored", [2**63 - 1, 2**63, 2**64 - 1])
    def test_ignore_index_of_unsigned_labels(self, record: Record, ignored: int) -> None:
        s = sample(record, "float64", (5,))
        y = s.y.astype(np.uint64)
        y[2] = ignored
        kept = np.arange(5) != 2
        got = fl.get(record.name, ignore_index=ignored)(y, s.z)
        assert got == pytest.approx(fl.get(record.name)(s.y[kept], s.z[kept]), rel=1e-14)

    def test_integral_floats(self, record: Record) -> None:
        s = sample(record, "float32", (50,))
        loss = fl.get(record.name)
        assert loss(s.y.astype(np.float32), s.z) == loss(s.y, s.z)


def test_in_place_is_checked_before_it_is_overwritten() -> None:
    p = np.full(5000, 0.5)
    p[4000] = 1.5
    before = p.copy()
    with pytest.raises(ValueError, match=r"y_pred: got 1.5 at index \(4000,\)"):
        fl.bce.grad(np.zeros(5000), p, out=p)
    assert (p == before).all()


def test_weights_may_be_anything_real() -> None:
    y, z, w = np.zeros(3), np.ones(3), np.array([-1.0, 0.0, 3.0])
    assert fl.mse(y, z, sample_weight=w) == 1.0
    assert math.isinf(fl.mse(y, z, sample_weight=[1.0, math.inf, 1.0], reduction="sum"))


def next_to(x: float, towards: float, dtype: str) -> float:
    return float(np.nextafter(np.dtype(dtype).type(x), np.dtype(dtype).type(towards)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hard", [False, True])
def test_values_next_to_a_domain(hard: bool, dtype: str) -> None:
    """The kernels judge by signs first: neither a rounding nor a zero's sign may mislead them."""
    n = 3000
    z = np.full(n, 0.25, dtype)
    base = np.resize([0.0, 1.0] if hard else [0.0, 1.0, 0.5], n).astype(dtype)
    for loss in (fl.binary_cross_entropy, fl.sigmoid_cross_entropy):
        for value in (-0.0, math.nan, 0.0, 1.0):
            y = base.copy()
            y[2000] = value
            losses = loss(y, z, reduction="none")
            assert math.isnan(losses[2000]) == math.isnan(value)
        for value in (next_to(0, -1, dtype), next_to(1, 2, dtype), 2.0, -1.0, math.inf):
            y = base.copy()
            y[2000] = value
            with pytest.raises(ValueError, match=r"y_true.*2000"):
                loss(y, z)
    for value in (next_to(0, -1, dtype), next_to(1, 2, dtype)):
        z[1500] = value
        with pytest.raises(ValueError, match=r"y_pred.*1500"):
            fl.binary_cross_entropy(base, z)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("labels", [(-1.0, 1.0), (0.0, 1.0), (1.0,), (-0.0, 1.0)])
@pytest.mark.parametrize("name", MARGIN)
def test_labels_next_to_a_label(name: str, labels: tuple[float, ...], dtype: str) -> None:
    loss = fl.get(name)
    n = 3000
    z = np.linspace(-3, 3, n).astype(dtype)
    good = np.resize(labels, n).astype(dtype)
    signs = np.where(good > 0, 1, -1).astype(dtype)
    np.testing.assert_array_equal(loss(good, z, reduction="none"), loss(signs, z, reduction="none"))
    with_nan = good.copy()
    with_nan[2000] = math.nan
    losses = loss(with_nan, z, reduction="none")
    assert np.flatnonzero(np.isnan(losses)).tolist() == [2000]
    np.testing.assert_array_equal(
        np.delete(losses, 2000), np.delete(loss(signs, z, reduction="none"), 2000)
    )
    tiny = float(np.finfo(dtype).smallest_subnormal)
    near = [tiny, -tiny, 0.5, 2.0, next_to(1, 0, dtype), next_to(-1, 0, dtype), -math.inf]
    for value in near:
        y = good.copy()
        y[2000] = value
        with pytest.raises(ValueError, match=r"y_true.*2000"):
            loss(y, z)
    for other in (-1.0, 0.0):
        if other in good or not {0.0, -1.0} & set(labels):
            continue
        y = good.copy()
        y[2500] = other
        with pytest.raises(ValueError, match="2500"):
            loss(y, z)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_labels_among_soft_ones(dtype: str) -> None:
    """A block of hard labels takes a shorter way, which gives the same bits."""
    n = 1024
    random = np.random.default_rng(9)
    info = np.finfo(dtype)
    p = random.uniform(0, 1, n).astype(dtype)
    p[:8] = [1, info.tiny, 2 * info.tiny, info.eps, info.epsneg, 1 - info.epsneg, 0.5, 0.75]
    p[8:16] = p[:8]
    y = random.integers(0, 2, n).astype(dtype)
    y[:8], y[8:16] = 0, 1
    mixed = y.copy()
    mixed[-1] = 0.5
    loss = fl.binary_cross_entropy
    for call in (
        lambda y: loss(y, p, reduction="none"),
        lambda y: loss.grad(y, p, reduction="none"),
        lambda y: loss.grad_and_hess(y, p, reduction="none")[1],
    ):
        np.testing.assert_array_equal(call(y)[:-1], call(mixed)[:-1])


def all_results(loss: Any, y: Any, z: Any) -> list[Any]:
    """Return what each mode gives for every element, or row."""
    results = [
        loss(y, z, reduction="none"),
        *loss.value_and_grad(y, z, reduction="none"),
        *loss.grad_and_hess(y, z, reduction="none"),
    ]
    return [*results, loss.value_and_grad(y, z, reduction="sum")[1]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("loss", "low", "high"),
    [
        (fl.binary_cross_entropy, 0.0, 1.0),
        (fl.get("binary_cross_entropy", eps=1e-6), 0.0, 1.0),
        (fl.get("binary_cross_entropy", label_smoothing=0.125), 0.0, 1.0),
        (fl.squared_log_error, -0.875, 1e6),
        (fl.categorical_cross_entropy, 0.0, 1.0),
        (fl.kl_divergence, 0.0, 1.0),
    ],
)
@pytest.mark.parametrize("n", [48, 1024])
@pytest.mark.usefixtures("isa")
def test_ordinary_elements_among_unusual_ones(
    loss: Any, low: float, high: float, n: int, dtype: str
) -> None:
    """Ordinary blocks, and rows, take a shorter way, which gives the same bits."""
    info = np.finfo(dtype)
    shape = (n, 20) if loss in (fl.categorical_cross_entropy, fl.kl_divergence) else (n,)
    random = np.random.default_rng(10)
    y = random.uniform(low, high, shape).astype(dtype)
    z = random.uniform(low, high, shape).astype(dtype)
    y[:10] = np.reshape([low, high, 0, 1, 0.5] * 2, (10, *[1] * (y.ndim - 1)))
    z[10:20] = y[5:15]
    z[z == 0] = info.tiny
    want = all_results(loss, y, z)
    values = [0.0, float(info.smallest_subnormal), *([float(info.max)] if high > 1 else [])]
    for value in values:
        unusual = z.copy()
        unusual[-1] = value
        for got, wanted in zip(all_results(loss, y, unusual), want, strict=True):
            np.testing.assert_array_equal(got[:-1], wanted[:-1], strict=True)
    in_place = z.copy()
    loss.grad(y, in_place, reduction="none", out=in_place)
    np.testing.assert_array_equal(in_place, want[3], strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("isa")
def test_probabilities_at_the_ends(dtype: str) -> None:
    """A block of hard labels and normal probabilities takes a shorter way; all others do not."""
    info = np.finfo(dtype)
    labels = np.resize([0, 1], 3000).astype(dtype)
    clean = np.linspace(0.1, 0.9, 3000).astype(dtype)
    others = np.arange(3000) != 2000
    want = fl.binary_cross_entropy(labels, clean, reduction="none")
    for label in (0, 1):
        for p in (0.0, info.smallest_subnormal, info.tiny, 1 - info.epsneg, 1.0, math.nan):
            y, z = labels.copy(), clean.copy()
            y[2000], z[2000] = label, p
            with np.errstate(divide="ignore"):
                exact = -np.log(np.float64(z[2000])) if label else -np.log1p(-np.float64(z[2000]))
            losses = fl.binary_cross_entropy(y, z, reduction="none")
            np.testing.assert_array_equal(losses[others], want[others])
            np.testing.assert_allclose(losses[2000], exact, rtol=4 * info.eps)
            value, grad = fl.binary_cross_entropy.value_and_grad(y, z, reduction="sum")
            np.testing.assert_allclose(value, losses.sum(dtype=float), rtol=1e-12)
            with np.errstate(divide="ignore", over="ignore"):
                rate = np.dtype(dtype).type(-1 / abs(z[2000]) if label else 1 / (1 - z[2000]))
            np.testing.assert_allclose(grad[2000], rate, rtol=4 * info.eps)
