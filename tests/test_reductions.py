"""mean, sum and none, with and without weights, against plain NumPy; what a gradient is of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import terms
from samples import DTYPES, OTHER, POINTWISE, REDUCED, ROWWISE, Sample, expected, same_bits, sample

import fastloss as fl
from fastloss._losses import RECORDS, Record

ALL = pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
MANY = pytest.mark.parametrize("record", REDUCED, ids=lambda r: r.name)
TOLERANCE = {"float32": {"rtol": 1e-5, "atol": 1e-6}, "float64": {"rtol": 1e-12, "atol": 1e-15}}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("other", [False, True])
@ALL
def test_against_numpy(record: Record, dtype: str, weighted: bool, other: bool) -> None:
    params = OTHER.get(record.name, {}) if other else {}
    s = sample(record, dtype, (4, 300))
    w = s.w if weighted else None
    loss = fl.get(record.name, **params)
    close: Any = TOLERANCE[dtype]
    for reduction in record.reductions:
        if record.name == "root_mean_squared_error":
            r = s.z.astype(float) - s.y
            weights = np.ones(r.shape) if w is None else w.astype(float)
            value = math.sqrt(np.sum(weights * r**2) / weights.sum())
            grad = weights * r / weights.sum() / value
        else:
            value, grad, *hess = expected(record, s, reduction, w, **params)
        kwargs: Any = {"sample_weight": w, "reduction": reduction}
        np.testing.assert_allclose(loss(s.y, s.z, **kwargs), value, **close)
        np.testing.assert_allclose(loss.grad(s.y, s.z, **kwargs), grad, **close)
        both = loss.value_and_grad(s.y, s.z, **kwargs)
        np.testing.assert_allclose(both[0], value, **close)
        np.testing.assert_allclose(both[1], grad, **close)
        if record.has_hessian:
            two = loss.grad_and_hess(s.y, s.z, **kwargs)
            np.testing.assert_allclose(two[0], grad, **close)
            np.testing.assert_allclose(two[1], hess[0], **close)
        for array in (both[1], loss.grad(s.y, s.z, **kwargs)):
            assert array.dtype == dtype
            assert array.shape == s.z.shape


@pytest.mark.parametrize("dtype", DTYPES)
@MANY
def test_class_weight(record: Record, dtype: str) -> None:
    if not any(p.name == "class_weight" for p in record.parameters):
        pytest.skip("has no class weights")
    s = sample(record, dtype, (200,), classes=4)
    params: Any = {"class_weight": [0.5, 2.0, 0.0, 1.5]}
    close: Any = TOLERANCE[dtype]
    for reduction in record.reductions:
        value, grad, hess = expected(record, s, reduction, s.w, **params)
        kwargs: Any = {"sample_weight": s.w, "reduction": reduction, **params}
        got = getattr(fl, record.name).value_and_grad(s.y, s.z, **kwargs)
        np.testing.assert_allclose(got[0], value, **close)
        np.testing.assert_allclose(got[1], grad, **close)
        two = getattr(fl, record.name).grad_and_hess(s.y, s.z, **kwargs)
        np.testing.assert_allclose(two[1], hess, **close)


@pytest.mark.parametrize("dtype", DTYPES)
@MANY
def test_gradient_is_that_of_the_cost(record: Record, dtype: str) -> None:
    """Central differences of the returned cost itself."""
    s = sample(record, "float64", (5,), seed=3)
    y, z, w = s.y, s.z, s.w
    loss = fl.get(record.name)
    for reduction in ("mean", "sum"):
        kwargs: Any = {"sample_weight": w, "reduction": reduction}
        grad = loss.grad(y, z.astype(dtype), **kwargs)
        for index in np.ndindex(*z.shape):
            step = 1e-6 * max(abs(z[index]), 1e-2)
            up, down = z.copy(), z.copy()
            up[index] += step
            down[index] -= step
            slope = (loss(y, up, **kwargs) - loss(y, down, **kwargs)) / (2 * step)
            np.testing.assert_allclose(grad[index], slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@MANY
def test_fused_and_separate_results(record: Record, dtype: str) -> None:
    """Results do not depend on what else a call returns, but for the last rounding."""
    s = sample(record, dtype, (1000,))
    loss = fl.get(record.name)
    for reduction in record.reductions:
        kwargs: Any = {"sample_weight": s.w, "reduction": reduction}
        value, grad = loss.value_and_grad(s.y, s.z, **kwargs)
        close: Any = {"rtol": 8 * np.finfo(dtype).eps}
        np.testing.assert_allclose(value, loss(s.y, s.z, **kwargs), **close)
        np.testing.assert_allclose(grad, loss.grad(s.y, s.z, **kwargs), **close)
        first, _ = loss.grad_and_hess(s.y, s.z, **kwargs)
        np.testing.assert_allclose(first, grad, **close)


@MANY
def test_weights_multiply(record: Record) -> None:
    s = sample(record, "float64", (100,))
    loss = fl.get(record.name)
    plain = loss(s.y, s.z, reduction="none")
    weighted = loss(s.y, s.z, sample_weight=s.w, reduction="none")
    np.testing.assert_allclose(weighted, s.w * plain, rtol=1e-15)
    ones = loss(s.y, s.z, sample_weight=np.ones(100), reduction="sum")
    np.testing.assert_allclose(ones, loss(s.y, s.z, reduction="sum"), rtol=1e-15)
    twice = loss(s.y, s.z, sample_weight=2.0)
    np.testing.assert_allclose(twice, loss(s.y, s.z), rtol=1e-15)
    doubled = Sample(*(np.concatenate([a, a[:10]]) for a in s))
    w = np.where(np.arange(100) < 10, 2.0, 1.0)
    np.testing.assert_allclose(loss(s.y, s.z, sample_weight=w), loss(doubled.y, doubled.z), 1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
@ALL
def test_empty(record: Record, dtype: str, shape: tuple[int, ...]) -> None:
    s = sample(record, dtype, shape)
    loss = fl.get(record.name)
    for weight in (None, s.w):
        assert math.isnan(loss(s.y, s.z, sample_weight=weight))
        value, grad = loss.value_and_grad(s.y, s.z, sample_weight=weight)
        assert math.isnan(value)
        assert grad.shape == s.z.shape
        assert grad.dtype == dtype
        if "none" in record.reductions:
            assert loss(s.y, s.z, sample_weight=weight, reduction="sum") == 0.0
            none = loss(s.y, s.z, sample_weight=weight, reduction="none")
            assert none.shape == shape
            assert none.dtype == dtype
            assert loss.value_and_grad(s.y, s.z, reduction="sum")[0] == 0.0
        if record.has_hessian:
            assert [a.shape for a in loss.grad_and_hess(s.y, s.z)] == [s.z.shape] * 2


def test_empty_broadcast_prediction() -> None:
    """A prediction that no element uses has gradient 0."""
    assert fl.mse.grad(np.empty((0, 3)), np.ones(3)).tolist() == [0.0, 0.0, 0.0]
    same_bits(fl.mse.grad_and_hess(np.empty((0, 3)), 1.0)[1], np.zeros(()))


@ALL
def test_weights_that_sum_to_zero(record: Record) -> None:
    s = sample(record, "float64", (6,))
    for w in (np.zeros(6), np.array([1.0, -1, 2, -2, 3, -3])):
        value, grad = fl.get(record.name).value_and_grad(s.y, s.z, sample_weight=w)
        assert math.isnan(value)
        assert math.isnan(fl.get(record.name)(s.y, s.z, sample_weight=w))
        same_bits(grad, np.zeros_like(s.z))
        same_bits(fl.get(record.name).grad(s.y, s.z, sample_weight=w), np.zeros_like(s.z))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sparse_softmax_cross_entropy", "nll"])
def test_ignored_rows(name: str, dtype: str) -> None:
    loss = fl.get(name, ignore_index=-1)
    record = next(r for r in ROWWISE if r.name == loss.name)
    s = sample(record, dtype, (7,), classes=4)
    kept = np.array([True, False, True, True, False, True, True])
    y = np.where(kept, s.y, -1)
    for w in (None, s.w):
        part = None if w is None else w[kept]
        np.testing.assert_allclose(
            loss(y, s.z, sample_weight=w), loss(y[kept], s.z[kept], sample_weight=part), rtol=1e-6
        )
        none = loss(y, s.z, sample_weight=w, reduction="none")
        same_bits(none[~kept], np.zeros(2, dtype))
        value, grad = loss.value_and_grad(y, s.z, sample_weight=w)
        same_bits(grad[~kept], np.zeros((2, 4), dtype))
        part_grad = loss.grad(y[kept], s.z[kept], sample_weight=part)
        np.testing.assert_allclose(grad[kept], part_grad, rtol=1e-5)
        assert math.isfinite(value)


@pytest.mark.parametrize("name", ["sparse_softmax_cross_entropy", "nll"])
def test_everything_ignored(name: str) -> None:
    loss = fl.get(name, ignore_index=2)
    y, z = np.full(5, 2), np.full((5, 3), 0.5)
    assert math.isnan(loss(y, z))
    assert loss(y, z, reduction="sum") == 0.0
    same_bits(loss(y, z, reduction="none"), np.zeros(5))
    value, grad = loss.value_and_grad(y, z)
    assert math.isnan(value)
    same_bits(grad, np.zeros((5, 3)))
    for array in loss.grad_and_hess(y, z):
        same_bits(array, np.zeros((5, 3)))


def test_ignored_rows_may_hold_anything() -> None:
    z = np.array([[1.0, 2.0], [np.nan, np.inf], [7.0, -5.0]])
    loss = fl.get("sparse_softmax_cross_entropy", ignore_index=255)
    value, grad = loss.value_and_grad(np.array([0, 255, 1], np.uint8), z)
    assert math.isfinite(value)
    same_bits(grad[1], np.zeros(2))
    p = np.array([[0.5, 0.5], [7.0, -3.0]])
    assert fl.nll(np.array([1, -1]), p, ignore_index=-1) == pytest.approx(math.log(2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("where", ["y", "z", "w"])
@MANY
def test_nan_stays_where_it_is(record: Record, dtype: str, where: str) -> None:
    s = sample(record, dtype, (40,))
    clean = fl.get(record.name).value_and_grad(s.y, s.z, sample_weight=s.w, reduction="none")
    if where == "y" and record.kind == "sparse":
        pytest.skip("class indices are no NaN")
    spoiled = s._replace(**{where: getattr(s, where).copy()})
    array = getattr(spoiled, where)
    array[17] = np.nan
    loss = fl.get(record.name)
    losses, grads = loss.value_and_grad(
        spoiled.y, spoiled.z, sample_weight=spoiled.w, reduction="none"
    )
    others = np.arange(40) != 17
    assert np.isnan(losses[17])
    # Where only the target's probability is read, only its derivative shows the NaN.
    shows = np.any if record.name == "sparse_categorical_cross_entropy" else np.all
    assert shows(np.isnan(grads[17]))
    same_bits(losses[others], clean[0][others])
    same_bits(grads[others], clean[1][others])
    for reduction in ("mean", "sum"):
        value = loss(spoiled.y, spoiled.z, sample_weight=spoiled.w, reduction=reduction)
        assert math.isnan(value)
    if where != "w":
        _, hess = loss.grad_and_hess(spoiled.y, spoiled.z, reduction="none")
        assert shows(np.isnan(hess[17]))
        assert not np.isnan(hess[others]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_of_huge_losses(dtype: str) -> None:
    """A sum that overflows where the mean does not, and weights at the ends of the range."""
    largest = float(np.finfo(dtype).max)
    y = np.zeros(1000, dtype)
    z = np.full(1000, largest / 2, dtype)
    assert fl.mae(y, z) == pytest.approx(largest / 2, rel=1e-6)
    value, grad = fl.mae.value_and_grad(y, z)
    assert value == pytest.approx(largest / 2, rel=1e-6)
    np.testing.assert_allclose(grad, 1e-3, rtol=1e-6)
    for w in (1.0, np.ones(1000), np.full(1000, 2.0, dtype)):
        assert fl.mae(y, z, sample_weight=w) == pytest.approx(largest / 2, rel=1e-6)
        value, grad = fl.mae.value_and_grad(y, z, sample_weight=w)
        assert value == pytest.approx(largest / 2, rel=1e-6)
        np.testing.assert_allclose(grad, 1e-3, rtol=1e-6)
    for scale in (largest / 4, float(np.finfo(dtype).tiny)):
        w = np.full(1000, scale, dtype)
        assert fl.mse(y, y + 3, sample_weight=w) == pytest.approx(9.0, rel=1e-6)
        value, grad = fl.mse.value_and_grad(y, y + 3, sample_weight=w)
        assert value == pytest.approx(9.0, rel=1e-6)
        np.testing.assert_allclose(grad, 6e-3, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", [fl.get("huber", delta=0.5), fl.get("quantile", q=0.5)])
@pytest.mark.usefixtures("isa")
def test_residuals_that_overflow(loss: fl.Loss, dtype: str) -> None:
    """Where a residual is out of range its loss need not be; sums find that out by themselves."""
    largest = float(np.finfo(dtype).max)
    y, z = (np.linspace(start, 1, 3000).astype(dtype) for start in (0, -1))
    y[1500], z[1500] = -0.9 * largest, 0.9 * largest
    losses = loss(y, z, reduction="none")
    assert losses[1500] == pytest.approx(0.9 * largest, rel=1e-6)
    want = math.fsum(losses.astype(float)) / 3000
    grad = loss.grad(y, z)
    assert loss(y, z) == pytest.approx(want, rel=1e-12)
    assert loss(y, z, sample_weight=np.ones(3000)) == pytest.approx(want, rel=1e-12)
    value, got = loss.value_and_grad(y, z)
    assert value == pytest.approx(want, rel=1e-12)
    np.testing.assert_array_equal(got, grad)
    value, got = loss.value_and_grad(y, z, out=z)
    assert value == pytest.approx(want, rel=1e-12)
    np.testing.assert_array_equal(z, grad)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_is_exact(dtype: str) -> None:
    """A million terms over twelve orders of magnitude, against the correctly rounded sum."""
    random = np.random.default_rng(9)
    z = np.exp(random.uniform(-14, 14, 1_000_000)).astype(dtype)
    losses = fl.mae(np.zeros_like(z), z, reduction="none")
    total = math.fsum(losses.astype(float))
    assert fl.mae(np.zeros_like(z), z, reduction="sum") == pytest.approx(total, rel=4e-16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kept", [1, 3, 255, 256, 257, 3000])
@pytest.mark.usefixtures("isa")
def test_sums_of_broadcast_derivatives_are_exact(kept: int, dtype: str) -> None:
    """Over ten orders of magnitude, most of which cancels, against correctly rounded sums."""
    random = np.random.default_rng(27)
    rows = 100_000 // kept
    y = (random.normal(size=(rows, kept)) * np.exp(random.uniform(-12, 12, (rows, 1)))).astype(
        dtype
    )
    y = np.concatenate([y, -y, y[:1]])
    z = np.zeros(kept, dtype)
    got = fl.pseudo_huber.grad_and_hess(y, z, delta=1e4, reduction="sum")
    each = fl.pseudo_huber.grad_and_hess(y, np.zeros_like(y), delta=1e4, reduction="none")
    for totals, parts in zip(got, each, strict=True):
        exact = [math.fsum(column) for column in parts.T.astype(float)]
        np.testing.assert_allclose(totals, np.array(exact, dtype), rtol=np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "special", [0.0, 1e-45, 1e-38, 1e30, 3e38, math.inf, math.nan, math.copysign(math.nan, -1)]
)
@pytest.mark.parametrize("record", POINTWISE, ids=lambda r: r.name)
@pytest.mark.usefixtures("isa")
def test_sum_of_any_losses(record: Record, special: float, dtype: str) -> None:
    """The sum is that of the losses, which are not negative and not -0, as it takes for granted."""
    loss, s = fl.get(record.name), sample(record, dtype, (2100,))
    if record.name == "binary_cross_entropy":
        special = min(special, 1.0)
    for count in (1, 15, 2100):
        y = s.y[:count]
        # Sums of several float32 losses reach infinity's place where none of them is infinite.
        for place in (slice(1), slice(count // 2, None, 7), slice(count - 1, None)):
            z = s.z[:count].copy()
            z[place] = special
            losses = loss(y, z, reduction="none").astype(np.float64)
            assert not np.signbit(losses[~np.isnan(losses)]).any()
            total = math.fsum(losses) if np.isfinite(losses).all() else losses.sum()
            alone = loss(y, z, reduction="sum")
            both, grad = loss.value_and_grad(y, z, reduction="sum")
            in_place, got = loss.value_and_grad(y, z, reduction="sum", out=z)
            for value in (alone, both, in_place):
                np.testing.assert_allclose(value, total, rtol=1e-14)
            same_bits(got, grad)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [terms.uniform, terms.wide_weights, terms.cancelling])
@pytest.mark.parametrize("count", [1000, 300_000])
@pytest.mark.usefixtures("isa")
def test_sum_of_hard_terms(make: Any, dtype: str, count: int) -> None:
    """Weights over 30 orders of magnitude, and sums in which all but ten terms cancel out."""
    z, w = make(count, dtype)
    y, exact, scale = np.zeros(count, dtype), terms.exact_sum(z, w), terms.magnitude(z, w)
    unit = 2.0**-53 * scale
    total = fl.mae(y, z, sample_weight=w, reduction="sum")
    assert abs(total - exact) <= 4 * unit
    total, _ = fl.mae.value_and_grad(y, z, sample_weight=w, reduction="sum")
    assert abs(total - exact) <= 4 * unit
    accumulator = fl.Accumulator(["mae"])
    accumulator.update(y, z, sample_weight=w)
    (kept,) = accumulator.sums().values()
    if dtype == "float32" or w is None:
        assert kept == exact
    else:
        assert abs(kept - exact) <= unit


@ALL
def test_gradient_is_zero_at_the_minimum(record: Record) -> None:
    y = np.array([0.25, 0.5, 0.75])
    if record.family == "regression":
        same_bits(fl.get(record.name).grad(y, y), np.zeros(3))
    elif record.name == "binary_cross_entropy":
        same_bits(fl.bce.grad(y, y), np.zeros(3))
    elif record.name == "softmax_cross_entropy":
        p = np.array([[0.2, 0.3, 0.5]])
        np.testing.assert_allclose(fl.cross_entropy.grad(p, np.log(p)), 0, atol=1e-16)
    elif record.name == "sigmoid_cross_entropy":
        np.testing.assert_allclose(fl.bce_with_logits.grad(y, np.log(y / (1 - y))), 0, atol=1e-16)


def test_binomial_is_two_class_multinomial() -> None:
    random = np.random.default_rng(10)
    y, z = random.integers(0, 2, 100), random.normal(size=100) * 5
    two = np.stack([np.zeros(100), z], axis=1)
    binary, multi = (
        fl.sigmoid_cross_entropy(y, z, reduction="none"),
        fl.sparse_softmax_cross_entropy(y, two, reduction="none"),
    )
    np.testing.assert_allclose(binary, multi, rtol=1e-14)
    np.testing.assert_allclose(fl.logistic(y, z, reduction="none"), binary, rtol=1e-14)
    p = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(fl.bce(y, p, reduction="none"), binary, rtol=1e-9)


def test_peers_clipping() -> None:
    """eps of the dtype gives scikit-learn's log loss, 1e-7 Keras's."""
    y, p = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert fl.bce(y, p) == math.inf
    eps = float(np.finfo(np.float64).eps)
    assert fl.bce(y, p, eps=eps) == pytest.approx(-math.log(eps))
    assert fl.bce(y, p, eps=1e-7) == pytest.approx(-math.log(1e-7))
    assert fl.bce(y, 1 - p) == 0.0


def test_class_and_positive_weights_stay_out_of_the_divisor() -> None:
    """The mean is the sum over the weights of the samples, whatever classes weigh."""
    random = np.random.default_rng(14)
    y, w = random.integers(0, 3, 50), random.uniform(0.5, 2, 50)
    z = random.normal(size=(50, 3))
    for loss, labels, scores in (
        (fl.get("sparse_softmax_cross_entropy", class_weight=[3.0, 0.5, 7.0]), y, z),
        (fl.get("bce_with_logits", pos_weight=7.0), y > 1, z[:, 0]),
    ):
        for weight, divisor in ((None, 50.0), (w, math.fsum(w))):
            total = loss(labels, scores, sample_weight=weight, reduction="sum")
            mean = loss(labels, scores, sample_weight=weight)
            assert mean == pytest.approx(total / divisor, rel=1e-14)


@pytest.mark.parametrize("name", ["bce", "nll"])
def test_weight_of_zero_times_an_infinite_loss(name: str) -> None:
    """IEEE arithmetic: 0 * inf is nan, and nothing hides it."""
    loss = fl.get(name)
    p = np.array([0.0, 0.5])
    y, z = (np.ones(2), p) if name == "bce" else (np.zeros(2, int), np.stack([p, 1 - p], 1))
    w = np.array([0.0, 1.0])
    none = loss(y, z, sample_weight=w, reduction="none")
    assert np.isnan(none).tolist() == [True, False]
    for reduction in ("mean", "sum"):
        assert math.isnan(loss(y, z, sample_weight=w, reduction=reduction))


@pytest.mark.parametrize("weighted", [False, True])
@MANY
def test_methods_agree_on_each_element(record: Record, weighted: bool) -> None:
    """What a call returns beside a result changes at most its last bits."""
    for dtype in DTYPES:
        s = sample(record, dtype, (3000,))
        loss = fl.get(record.name)
        kwargs: Any = {"sample_weight": s.w if weighted else None, "reduction": "none"}
        alone = loss(s.y, s.z, **kwargs)
        both, grad = loss.value_and_grad(s.y, s.z, **kwargs)
        np.testing.assert_array_almost_equal_nulp(both, alone, 1)
        summed = loss.grad(s.y, s.z, **{**kwargs, "reduction": "sum"})
        same_bits(summed, loss.grad(s.y, s.z, **kwargs))
        np.testing.assert_allclose(grad, summed, rtol=8 * np.finfo(dtype).eps)
