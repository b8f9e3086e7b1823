"""Accumulators against exact sums in Python: any partition, order and tree of merges."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from samples import sample

import fastloss as fl
from fastloss import _core
from fastloss._losses import RECORDS, Record

Array = NDArray[Any]
REGRESSION = ["squared_error", "absolute_error", "huber", "log_cosh", "root_mean_squared_error"]
finite = st.floats(allow_nan=False, allow_infinity=False)


def arrays(rows: int = 3000, dtype: str = "float64", seed: int = 0) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(seed)
    y, z = (random.normal(size=rows).astype(dtype) for _ in range(2))
    return y, z, random.random(rows)


def state(a: fl.Accumulator) -> Any:
    """What was folded in, without the order in which groups came."""
    found = a.to_dict()
    found["groups"] = sorted(found["groups"], key=repr)
    return found


def folded(losses: Any, *batch: Any, **options: Any) -> fl.Accumulator:
    a = fl.Accumulator(losses, groups="by" in options)
    a.update(*batch, **options)
    return a


def terms(loss: fl.Loss, y: Array, z: Array, w: Array | None) -> list[float]:
    """Weighted losses of the rows, from the plain call."""
    values = loss(y, z, reduction="none").astype(np.float64)
    return (values if w is None else values * w).tolist()


def total(values: list[float]) -> Fraction:
    return sum(map(Fraction, values), Fraction(0))


def rounded(x: Fraction) -> float:
    return x.numerator / x.denominator


# ---- exactness ----


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [r.name for r in RECORDS if len(r.reductions) > 1])
def test_every_loss_is_summed_without_errors(name: str, dtype: str, weighted: bool) -> None:
    record: Record = next(r for r in RECORDS if r.name == name)
    y, z = sample(record, dtype, (2500,))[:2]
    w = arrays(2500)[2] if weighted else None
    loss = fl.get(name)
    a = folded(loss, y, z, w)
    losses = terms(loss, y, z, w)
    weight = total([1.0] * 2500 if w is None else w.tolist())
    assert a.count == 2500
    assert a.weight == rounded(weight)
    assert a.sums() == {name: rounded(total(losses))}
    assert a.result() == {name: rounded(total(losses) / weight)}


@given(st.lists(finite, max_size=60), st.integers(0, 2000))
def test_any_finite_numbers(values: list[float], zeros: int) -> None:
    z = np.array(values + [0.0] * zeros)
    a = folded("absolute_error", np.zeros_like(z), z)
    exact = total(np.abs(z).tolist())
    try:
        wanted = rounded(exact)
    except OverflowError:
        wanted = math.inf
    assert a.sums() == {"absolute_error": wanted}
    if len(z):
        assert a.result() == {"absolute_error": rounded(exact / len(z))}


@given(st.lists(st.tuples(st.floats(-1e150, 1e150), st.floats(0, 1e150)), min_size=1, max_size=99))
def test_weights_of_both_signs(pairs: list[tuple[float, float]]) -> None:
    w, z = np.array(pairs).T
    a = folded("absolute_error", np.zeros_like(z), z, w)
    assert a.sums() == {"absolute_error": rounded(total((w * z).tolist()))}
    assert a.weight == rounded(total(w.tolist()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 7, 11, 12, 13, 64, 1023, 1024, 1025, 5000, 40000])
def test_numbers_of_all_magnitudes(rows: int, dtype: str) -> None:
    random = np.random.default_rng(rows)
    limits = np.finfo(np.dtype(dtype))
    exponents = random.uniform(limits.minexp - limits.nmant, limits.maxexp - 20, rows)
    z = (random.choice([-1, 1], rows) * 2**exponents).astype(dtype)
    a = folded("absolute_error", np.zeros_like(z), z)
    assert a.sums() == {"absolute_error": rounded(total(np.abs(z).tolist()))}


def test_sums_beyond_the_range_of_a_double() -> None:
    z = np.full(4, np.finfo(np.float64).max)
    a = folded("absolute_error", np.zeros(4), z)
    assert a.sums() == {"absolute_error": math.inf}
    assert a.result() == {"absolute_error": z[0]}


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([math.inf, 1.0], math.inf),
        ([math.nan, 1.0], math.nan),
        ([math.inf, math.nan], math.nan),
        ([], math.nan),
    ],
)
@pytest.mark.parametrize("rows", [0, 2000])
def test_special_values(values: list[float], wanted: float, rows: int) -> None:
    z = np.array(values + [1.0] * (rows if values else 0))
    a = folded("absolute_error", np.zeros_like(z), z)
    np.testing.assert_equal(a.result()["absolute_error"], wanted)
    assert a.nans() == {"absolute_error": sum(map(math.isnan, values))}


def test_infinities_of_both_signs_are_nan() -> None:
    a = folded("absolute_error", np.zeros(2), [math.inf, math.inf], [1.0, -1.0])
    assert math.isnan(a.result()["absolute_error"])


def test_weights_that_sum_to_zero() -> None:
    assert math.isnan(folded("mse", [0.0, 0.0], [1.0, 2.0], [1.0, -1.0]).result()["squared_error"])


def test_root_mean_squared_error_beyond_the_square_of_float32() -> None:
    z = np.full(2, 1e30, np.float32)
    assert folded("rmse", np.zeros_like(z), z).result() == {"root_mean_squared_error": float(z[0])}


# ---- any partition ----


def merged_in_a_random_tree(parts: list[fl.Accumulator], random: Any) -> fl.Accumulator:
    while len(parts) > 1:
        one = parts.pop(random.randrange(len(parts)))
        two = parts.pop(random.randrange(len(parts)))
        parts.append(one + two)
    return parts[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_partition_gives_the_same_bits(dtype: str, data: st.DataObject) -> None:
    rows = data.draw(st.sampled_from([0, 1, 100, 5000]))
    y, z, w = arrays(rows, dtype)
    by = np.arange(rows) * 7919 % 13
    cuts = sorted(data.draw(st.lists(st.integers(0, rows), max_size=12)))
    pieces = [slice(i, j) for i, j in zip([0, *cuts], [*cuts, rows], strict=True)]
    random = data.draw(st.randoms(use_true_random=False))
    random.shuffle(pieces)
    weighted, grouped = data.draw(st.booleans()), data.draw(st.booleans())

    def fold(a: fl.Accumulator, piece: slice) -> None:
        weights = w[piece] if weighted else None
        a.update(y[piece], z[piece], weights, by=by[piece] if grouped else None)

    whole = fl.Accumulator(REGRESSION, groups=grouped)
    fold(whole, slice(0, rows))
    in_turn = fl.Accumulator(REGRESSION, groups=grouped)
    parts = []
    for piece in pieces:
        fold(in_turn, piece)
        parts.append(fl.Accumulator(REGRESSION, groups=grouped))
        fold(parts[-1], piece)
    assert state(in_turn) == state(whole)
    assert state(merged_in_a_random_tree(parts, random)) == state(whole)


@pytest.mark.parametrize("name", [r.name for r in RECORDS])
def test_losses_of_rows_do_not_depend_on_where_they_lie(name: str) -> None:
    record = next(r for r in RECORDS if r.name == name)
    y, z = sample(record, "float32", (700,))[:2]
    whole = folded(name, y, z)
    parts = fl.Accumulator(name)
    start = 0
    for length in (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 232):
        parts.update(y[start : start + length], z[start : start + length])
        start += length
    assert start == 700
    assert state(parts) == state(whole)


def test_many_small_updates() -> None:
    y, z, _ = arrays(64 * 10_000, "float32")
    small = fl.Accumulator(["mse", "huber"])
    for start in range(0, len(y), 64):
        small.update(y[start : start + 64], z[start : start + 64])
    assert state(small) == state(folded(["mse", "huber"], y, z))


@pytest.mark.parametrize("by", [None, np.arange(200_000) % 37])
def test_same_bits_for_every_number_of_threads(by: Array | None) -> None:
    y, z, w = arrays(200_000, "float32")
    states = []
    for threads in (1, 2, 3, 5):
        with fl.threads(threads):
            a = fl.Accumulator(["mse", "log_cosh"], groups=by is not None)
            a.update(y, z, w, by=by)
            states.append(state(a))
    assert all(s == states[0] for s in states)


def test_same_bits_for_every_instruction_set(python: Callable[..., str]) -> None:
    code = """
import numpy as np, fastloss as fl
random = np.random.default_rng(1)
out = []
for dtype in ("float32", "float64"):
    z = (random.normal(size=5003) * 2.0 ** random.integers(-60, 60, 5003)).astype(dtype)
    w, y, by = random.normal(size=5003), np.zeros_like(z), np.arange(5003) % 7
    for groups in (False, True):
        for weights in (None, w):
            a = fl.Accumulator("absolute_error", groups=groups)
            a.update(y, z, weights, by=by if groups else None)
            out.append(a.to_dict()["groups"])
print(out)
"""
    runs = {python(code, FASTLOSS_ISA=isa) for isa in _core.isa_available()}
    assert len(runs) == 1


# ---- arguments ----


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.tolist(),
        lambda x: pd.Series(x),
        lambda x: pl.Series(x),
        lambda x: pa.array(x),
        lambda x: pa.chunked_array([x[:700], x[700:]]),
        lambda x: pa.array(np.append(0.0, x))[1:],
        lambda x: x.astype(">f8"),
        lambda x: np.repeat(x, 3)[::3],
        lambda x: x[::-1].copy()[::-1],
        lambda x: np.frombuffer(b"\0" + x.tobytes(), np.float64, offset=1),
        lambda x: x.reshape(30, 100),
    ],
)
def test_array_likes(change: Callable[[Array], Any]) -> None:
    y, z, w = arrays()
    assert state(folded(REGRESSION, change(y), change(z), change(w))) == state(
        folded(REGRESSION, y, z, w)
    )


def test_broadcasting() -> None:
    z = arrays()[1]
    assert state(folded("mse", 0.5, z, 2.0)) == state(
        folded("mse", np.full_like(z, 0.5), z, np.full_like(z, 2.0))
    )
    with pytest.raises(ValueError, match=r"y_true, y_pred: got shapes \(3,\) and \(3, 1\)"):
        folded("mse", np.zeros(3), np.zeros((3, 1)))


def test_narrow_weights_and_integer_targets() -> None:
    y, z, w = np.arange(100) % 2, arrays(100, "float32")[1], np.arange(100, dtype=np.int8)
    a = folded("hinge", y, z, w)
    values = terms(fl.hinge, y.astype(np.float32), z, w.astype(np.float64))
    assert a.sums() == {"hinge": rounded(total(values))}


def test_dtypes_may_change_between_batches() -> None:
    y, z, w = arrays(100)
    a = fl.Accumulator("mse")
    values = []
    for dtype in ("float32", "float64", "float32"):
        a.update(y.astype(dtype), z.astype(dtype), w)
        values += terms(fl.squared_error, y.astype(dtype), z.astype(dtype), w)
    assert a.sums() == {"squared_error": rounded(total(values))}


def test_labels_of_losses() -> None:
    losses = [fl.get("huber", delta=2), "huber", fl.get("nll", class_weight=[1, 2.5]), "mae"]
    with pytest.raises(ValueError, match=r"absolute_error.*one prediction.*class indices"):
        fl.Accumulator(losses)
    assert list(fl.Accumulator(losses[:2]).losses) == ["huber:delta=2", "huber"]
    assert list(fl.Accumulator({"a": "mae", "b": fl.mae}).losses) == ["a", "b"]
    with pytest.raises(ValueError, match="got 'huber' twice"):
        fl.Accumulator(["huber", fl.huber])
    with pytest.raises(ValueError, match="did you mean"):
        fl.Accumulator("hubr")
    with pytest.raises(TypeError, match="expected the name of a loss"):
        fl.Accumulator([1])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("batch", "by", "match"),
    [
        (([0.0], [0.0]), [1], "made without groups=True"),
        (([0.0, 1.0], [0.0, 1.0], [1.0, 2.0, 3.0]), None, "sample_weight"),
        (([0.0, 1.0], [0.0, 1.0, 2.0]), None, "expected shapes that broadcast"),
    ],
)
def test_wrong_arguments(batch: Any, by: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        fl.Accumulator("mse").update(*batch, by=by)


def test_groups_need_keys() -> None:
    a = fl.Accumulator("mse", groups=True)
    with pytest.raises(ValueError, match="made with groups=True"):
        a.update([0.0], [0.0])
    with pytest.raises(ValueError, match="got 2 keys; expected 1"):
        a.update([0.0], [0.0], by=[1, 2])
    with pytest.raises(TypeError, match="expected integers, strings"):
        a.update([0.0], [0.0], by=np.array([{}], object))


# ---- values outside a domain ----


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("rows", [10, 200_000])
def test_nothing_of_a_bad_batch_is_folded_in(rows: int, grouped: bool) -> None:
    y, p = np.zeros(rows), np.full(rows, 0.5)
    by = np.zeros(rows, np.int64) if grouped else None
    a = fl.Accumulator(["bce", "mse"], groups=grouped)
    a.update(y, p, by=by)
    before = state(a)
    p[rows - 2] = 1.5
    with pytest.raises(ValueError, match=rf"y_pred: got 1.5 at index \({rows - 2},\)"):
        a.update(y, p, by=None if by is None else by + np.arange(rows) % 5)
    assert state(a) == before


def test_labels_of_two_conventions() -> None:
    a = folded("hinge", [1.0, 0.0], [0.5, 0.5])
    with pytest.raises(ValueError, match=r"got -1 at index \(1,\);.*and 0 came before"):
        a.update([1.0, -1.0], [0.5, 0.5])
    b = folded("hinge", [1.0, -1.0], [0.5, 0.5])
    with pytest.raises(ValueError, match="labels -1 in one and 0 in the other"):
        a.merge(b)
    with pytest.raises(ValueError, match="labels -1 in one and 0 in the other"):
        pickle.loads(pickle.dumps(a)).merge(b)
    assert a.count == b.count == 2


# ---- row-wise losses ----


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("name", ["sparse_softmax_cross_entropy", "softmax_cross_entropy"])
def test_class_axis(name: str, axis: int) -> None:
    record = next(r for r in RECORDS if r.name == name)
    y, z = sample(record, "float64", (50,))[:2]
    wanted = folded(name, y, z).sums()[name]
    moved = [np.moveaxis(x, -1, axis) if x.ndim == 2 else x for x in (y, z)]
    assert list(folded(fl.get(name, axis=axis), *moved).sums().values()) == [wanted]


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float64"])
def test_ignored_rows_count_nowhere(dtype: str) -> None:
    random = np.random.default_rng(3)
    z, w = random.normal(size=(3000, 4)), random.random(3000)
    y = random.integers(0, 4, 3000).astype(dtype)
    z[y == 2, 0] = np.inf
    z[y == 2, 1] = np.inf
    losses = {
        "all": fl.get("sparse_softmax_cross_entropy", class_weight=[1, 2, 3, 4]),
        "some": fl.get("sparse_softmax_cross_entropy", ignore_index=2),
        "none": fl.get("sparse_softmax_cross_entropy", ignore_index=77),
    }
    kept = y != 2
    by = y.astype(np.int64) % 2
    a = folded({k: losses[k] for k in ("some", "none")}, y[kept], z[kept], w[kept])
    b = folded({k: losses[k] for k in ("some", "none")}, y, z, w)
    assert b.sums()["some"] == a.sums()["some"]
    assert b.counts() == {"some": kept.sum(), "none": 3000}
    assert b.weights()["some"] == a.weight
    assert b.result()["some"] == a.result()["some"]
    grouped = folded({"some": losses["some"]}, y, z, w, by=by)
    assert grouped.total().sums()["some"] == a.sums()["some"]
    assert grouped.counts()[0]["some"] == (kept & (by == 0)).sum()
    unweighted = folded({"some": losses["some"]}, y, z)
    assert unweighted.weights() == {"some": float(kept.sum())}


# ---- groups ----


def keys_of_every_kind(codes: Array) -> dict[str, Any]:
    words = np.array([f"key {code}" for code in range(codes.max() + 1)])[codes]
    missing = codes == 0
    return {
        "int8": (codes % 100).astype(np.int8),
        "int64": codes.astype(np.int64) - 5,
        "uint64 far apart": codes.astype(np.uint64) * np.uint64(2**53),
        "bool": codes % 2 == 0,
        "float": np.where(missing, np.nan, codes / 2),
        "list": words.tolist(),
        "numpy strings": words,
        "objects": words.astype(object),
        "pandas": pd.Series(words),
        "categories": pd.Series(words).astype("category"),
        "polars": pl.Series(words.tolist()),
        "arrow": pa.array(words.tolist(), mask=missing),
        "arrow integers": pa.array(codes, mask=missing),
        "dictionary": pa.array(words.tolist()).dictionary_encode(),
        "chunks": pa.chunked_array(
            [pa.array(part.tolist()).dictionary_encode() for part in np.array_split(words, 3)]
        ),
        "dates": pa.array(codes.astype("datetime64[D]")),
        "decimals": pa.array([Decimal(int(code)) / 4 for code in codes]),
        "two": [words.tolist(), (codes % 3)],
    }


KINDS = list(keys_of_every_kind(np.arange(3)))


def plain_keys(by: Any) -> list[Any]:
    if isinstance(by, list) and not isinstance(by[0], str):
        return list(zip(*map(plain_keys, by), strict=True))
    if isinstance(by, pl.Series):
        return by.to_list()
    if hasattr(by, "to_pylist"):
        return by.to_pylist()
    return [math.nan if x != x else x for x in (by if isinstance(by, list) else by.tolist())]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [5, 1500])
def test_groups(kind: str, groups: int) -> None:
    y, z, w = arrays(20_000, "float32")
    codes = np.random.default_rng(2).integers(0, groups, 20_000)
    by = keys_of_every_kind(codes)[kind]
    a = folded(["mse", "mae"], y, z, w, by=by)
    keys = plain_keys(by)
    rows: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        rows.setdefault(key, []).append(i)
    sums, counts, means = a.sums(), a.counts(), a.result()
    assert sums.keys() == rows.keys()
    for key, own in list(rows.items())[:20]:
        alone = folded(["mse", "mae"], y[own], z[own], w[own])
        assert sums[key] == alone.sums()
        assert counts[key] == alone.counts()
        assert means[key] == alone.result()
    assert state(a.total()) == state(folded(["mse", "mae"], y, z, w))
    again = fl.Accumulator.from_dict(json.loads(json.dumps(a.to_dict())))
    assert state(again) == state(a)
    assert again.sums() == sums


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("targets", ["int8", "float64", "column"])
@pytest.mark.parametrize("groups", [3, 400, 2000])
@pytest.mark.parametrize("losses", [["mae"], ["mae", "mse", "huber"], ["rmse", "mae", "rmse"]])
def test_losses_do_not_depend_on_others(
    losses: list[str], groups: int, targets: str, weighted: bool
) -> None:
    """Losses of one list share their operands, whatever these are and however rows are ordered."""
    y, z, w = arrays(20_000, "float32")
    y = np.rint(4 * y).astype(np.int8) if targets == "int8" else y.astype(np.float64)
    y = np.stack([y, y + 1], axis=1)[:, 0] if targets == "column" else y
    by = np.random.default_rng(3).integers(0, groups, 20_000)
    labelled = {f"{i} {name}": name for i, name in enumerate(losses)}
    together = folded(labelled, y, z, w if weighted else None, by=by)
    sums, whole = together.sums(), folded(labelled, y, z, w if weighted else None)
    for label, name in labelled.items():
        assert together.total().sums()[label] == whole.sums()[label]
        for group in range(min(groups, 20)):
            rows = by == group
            alone = folded({label: name}, y[rows], z[rows], w[rows] if weighted else None)
            assert sums[group][label] == alone.sums()[label]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("spread", [0, 8, 30, 120])
@pytest.mark.parametrize("groups", [1, 20, 1000, 5000])
def test_sums_of_groups_have_no_errors(
    groups: int, spread: int, dtype: str, weighted: bool
) -> None:
    """Numbers of all magnitudes, that grow and shrink from block to block."""
    rows = 40_000
    random = np.random.default_rng(spread)
    drift = spread * np.sin(np.arange(rows) / 3000) / 4
    z = (2 ** np.minimum(random.uniform(-spread, spread, rows) + drift, 127)).astype(dtype)
    z[random.random(rows) < 0.1] = 0
    w = random.normal(size=rows) if weighted else None
    by = np.sort(random.integers(0, groups, rows)) if spread == 30 else np.arange(rows) % groups
    a = folded("absolute_error", np.zeros_like(z), z, w, by=by)
    values = np.array(terms(fl.absolute_error, np.zeros_like(z), z, w))
    sums, counts = a.sums(), a.counts()
    for group in range(0, groups, max(1, groups // 40)):
        assert sums[group] == {"absolute_error": rounded(total(values[by == group].tolist()))}
        assert counts[group] == {"absolute_error": np.count_nonzero(by == group)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_stay_in_their_groups(dtype: str) -> None:
    rows = 5000
    z = np.ones(rows, dtype)
    z[[1500, 1501, 1502]] = math.nan, math.inf, np.finfo(dtype).max
    by = np.arange(rows) % 5
    a = folded("absolute_error", np.zeros_like(z), z, by=by)
    assert math.isnan(a.sums()[0]["absolute_error"])
    assert a.sums()[1] == {"absolute_error": math.inf}
    assert a.sums()[2] == {"absolute_error": rounded(total([float(z[1502]), 999.0]))}
    assert a.sums()[3] == a.sums()[4] == {"absolute_error": 1000.0}
    assert a.nans()[0] == {"absolute_error": 1}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("others", [1e-30, 1.0])
def test_one_number_that_dwarfs_the_others(dtype: str, others: float) -> None:
    """The others keep all their digits, wherever it is."""
    rows = 10_000
    by = np.arange(rows) % 5
    for place in (0, 1500, rows - 1):
        z = np.random.default_rng(7).uniform(others, 2 * others, rows).astype(dtype)
        z[place] = 1e38 if dtype == "float32" else 1e270
        a = folded("absolute_error", np.zeros_like(z), z, by=by)
        for group in range(5):
            wanted = rounded(total(z[by == group].tolist()))
            assert a.sums()[group] == {"absolute_error": wanted}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sign", [1, -1])
def test_many_rows_of_one_group(sign: int, dtype: str) -> None:
    """Integers of a group go to its sum before they overflow."""
    rows = 400_000
    z = np.full(rows, 1.99999, dtype)
    with fl.threads(1):
        a = folded("mae", np.zeros_like(z), z, np.full(rows, sign), by=np.full(rows, 3, np.int8))
    assert a.sums() == {3: {"absolute_error": float(sign * rows * Fraction(float(z[0])))}}


@pytest.mark.parametrize("rows", [8, 4000, 40_000])
@pytest.mark.parametrize("code", [-1, 5])
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_keys_that_changed_since_they_were_looked_at(dtype: str, code: int, rows: int) -> None:
    """Another thread may write to them; nothing is written outside the sums then."""
    z = np.ones(rows)
    a = folded("mae", z, z, by=np.zeros(rows, np.int32))
    before = state(a)
    codes = np.zeros(rows, dtype)
    codes[-1] = code
    with pytest.raises(ValueError, match=r"^by: got keys that another thread changed"):
        a._fold_in(z, z, None, codes, 0, 5, lambda _: 0)
    assert state(a) == before


def test_groups_are_sorted() -> None:
    a = folded("mae", np.zeros(6), np.zeros(6), by=[3, None, 1, 2, 1, 3])
    assert list(a.result()) == [1, 2, 3, None]


def test_groups_without_weights() -> None:
    y, z, _ = arrays(5000)
    a = folded("mae", y, z, by=np.arange(5000) % 2)
    assert a.weights() == {0: {"absolute_error": 2500.0}, 1: {"absolute_error": 2500.0}}


# ---- keeping and sending ----


def test_merging_does_not_change_the_other() -> None:
    y, z, w = arrays(100)
    a, b = folded("mse", y, z, w), folded("mse", z, y)
    before = state(b)
    c = copy.deepcopy(a)
    c.merge(b)
    assert state(b) == before
    assert state(c) == state(a + b) == state(b + a)
    a.merge(a)
    assert a.count == 200


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))]
)
def test_copies_are_independent(copied: Callable[[Any], Any]) -> None:
    y, z, w = arrays(100)
    a = folded(["mse", fl.get("huber", delta=0.1)], y, z, w)
    b = copied(a)
    assert state(b) == state(a)
    b.update(y, z)
    assert (a.count, b.count) == (100, 200)


def test_json_of_special_sums() -> None:
    z = np.array([math.inf, math.nan, 1e-310, 3.0])
    a = folded({"x": "mae"}, np.zeros(4), z)
    a.skipped = 7
    b = fl.Accumulator.from_dict(json.loads(json.dumps(a.to_dict())))
    assert state(b) == state(a)
    assert b.skipped == 7


def test_state_is_small() -> None:
    y, z, w = arrays(50_000)
    for a in (folded("mse", y, z, w), folded("mse", y * 1e150, z, w * 1e-300)):
        assert len(json.dumps(a.to_dict()["groups"])) < 600


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"format": "other"},
        {"format": "fastloss.Accumulator", "version": 2},
        {"format": "fastloss.Accumulator", "version": 1},
        {"format": "fastloss.Accumulator", "version": 1, "losses": {"a": {"name": "x"}}},
    ],
)
def test_states_that_are_none(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="state"):
        fl.Accumulator.from_dict(broken)


def test_other_losses_are_not_merged() -> None:
    a = fl.Accumulator("mse")
    with pytest.raises(ValueError, match="got the losses absolute_error; expected"):
        a.merge(fl.Accumulator("mae"))
    with pytest.raises(ValueError, match="got the losses squared_error; expected"):
        fl.Accumulator({"squared_error": "mae"}).merge(a)
    with pytest.raises(ValueError, match="one with groups and one without"):
        a.merge(fl.Accumulator("mse", groups=True))
    with pytest.raises(TypeError, match="expected an Accumulator"):
        a.merge(1)  # type: ignore[arg-type]


def test_representation() -> None:
    assert repr(folded("mse", [0.0], [0.0], by=["a"])) == (
        "<fastloss.Accumulator of squared_error: 1 rows, 1 groups>"
    )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int64", "uint64"])
def test_groups_that_appear_late(dtype: str) -> None:
    """Keys are numbered piece by piece; most pieces have none that is new."""
    by = np.ones(10_000, dtype)
    for at, key in ((4095, 7), (4096, 5), (8191, 7), (8192, 9), (9999, 3)):
        by[at] = key
    z = np.arange(10_000.0)
    a = folded("mae", np.zeros(10_000), z, by=by)
    assert a.result() == {
        key: {"absolute_error": z[by == key].mean()} for key in np.unique(by).tolist()
    }


@pytest.mark.parametrize("dtype", [f"{sign}int{bits}" for sign in "u " for bits in (8, 16, 32, 64)])
@pytest.mark.parametrize("end", ["min", "max"])
@pytest.mark.parametrize("rows", [40, 20_000])
def test_groups_at_the_ends_of_integers(dtype: str, end: str, rows: int) -> None:
    """Few rows are numbered; of many the integers are used as they are."""
    dtype = dtype.strip()
    last = int(getattr(np.iinfo(dtype), end))
    keys = [last + (9 - i if end == "min" else i - 9) for i in range(10)]
    places = np.random.default_rng(6).integers(0, 10, rows)
    by = np.zeros(2 * rows, dtype)[::2]
    by[:] = np.array(keys, dtype)[places]
    z = np.arange(float(rows))
    a = folded("mae", np.zeros(rows), z, by=by)
    sums = {key: {"absolute_error": z[places == i].sum()} for i, key in enumerate(keys)}
    assert a.sums() == sums
    pairs = folded("mae", np.zeros(rows), z, by=[by, np.ones(rows, bool)])
    assert pairs.sums() == {(key, True): of_key for key, of_key in sums.items()}


@pytest.mark.parametrize("rows", [6, 6000])
def test_equal_keys_of_a_dictionary_are_one_group(rows: int) -> None:
    indices = pa.array(np.arange(rows, dtype=np.int32) % 3)
    by = pa.DictionaryArray.from_arrays(indices, ["a", "b", "a"])
    a = folded("mae", np.zeros(rows), np.ones(rows), by=by)
    assert a.counts() == {
        "a": {"absolute_error": rows // 3 * 2},
        "b": {"absolute_error": rows // 3},
    }


@pytest.mark.parametrize("index", [-1, 3])
def test_no_such_key_in_a_dictionary(index: int) -> None:
    indices = pa.array(np.array([0, 1, index], np.int32))
    by = pa.DictionaryArray.from_arrays(indices, ["a", "b", "c"], safe=False)
    a = folded("mae", [0.0], [1.0], by=["a"])
    before = state(a)
    with pytest.raises(ValueError, match=r"^by: got an index of a dictionary outside \[0, 3\)$"):
        a.update([0.0] * 3, [1.0] * 3, by=by)
    assert state(a) == before


@pytest.mark.parametrize("rows", [40, 20_000])
def test_true_may_be_any_byte_but_zero(rows: int) -> None:
    places = np.arange(rows) % 4
    by = np.array([0, 1, 2, 255], np.uint8)[places].view(bool)
    a = folded("mae", np.zeros(rows), np.arange(float(rows)), by=by)
    assert a.sums() == {
        False: {"absolute_error": float(np.arange(rows)[places == 0].sum())},
        True: {"absolute_error": float(np.arange(rows)[places > 0].sum())},
    }
