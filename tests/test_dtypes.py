"""Which dtypes and array-likes are taken, what they are computed in, and which are refused."""

from __future__ import annotations

import array
import datetime
import mmap
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from samples import REDUCED, ROWWISE, Array, same_bits, sample

import fastloss as fl
from fastloss._arrays import as_array
from fastloss._losses import Record

EVERY = pytest.mark.parametrize("record", REDUCED, ids=lambda r: r.name)
REALS = ["float16", "float32", "float64", "longdouble", ml_dtypes.bfloat16]
INTEGERS = ["bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))]


def narrow(dtype: Any) -> bool:
    return np.dtype(dtype) in {np.dtype(t) for t in ("float16", "float32", ml_dtypes.bfloat16)}


def computed(dtype: Any) -> Any:
    return np.float32 if narrow(dtype) else np.float64


@pytest.mark.parametrize("order", ["native", "swapped"])
@pytest.mark.parametrize("dtype", [*REALS, *INTEGERS], ids=str)
@pytest.mark.parametrize("size", [1, 20, 3000])
def test_every_dtype(dtype: Any, order: str, size: int) -> None:
    """Each operand in turn, against the same values converted as a whole beforehand."""
    random = np.random.default_rng(5)
    x = random.integers(0, 2 if dtype == "bool" else 100, size).astype(dtype)
    if order == "swapped":
        if x.dtype.itemsize == 1 or x.dtype == ml_dtypes.bfloat16:
            pytest.skip("has no byte order")
        x = x.astype(x.dtype.newbyteorder())
    for other in ("float32", "float64"):
        z = random.normal(size=size).astype(other)
        plain = x.astype(other)
        same_bits(fl.huber(x, z), fl.huber(plain, z))
        same_bits(fl.mse(z, z + 1, sample_weight=x + 1), fl.mse(z, z + 1, sample_weight=plain + 1))
        same_bits(fl.mse.grad(x, z, reduction="none"), fl.mse.grad(plain, z, reduction="none"))
    kind = computed(dtype)
    y = random.normal(size=size)
    value, grad = fl.huber.value_and_grad(y, x)
    assert grad.dtype == kind
    wanted = fl.huber.value_and_grad(y, x.astype(kind))
    same_bits(value, wanted[0])
    same_bits(grad, wanted[1])
    assert fl.huber(y, x, reduction="none").dtype == kind


@pytest.mark.parametrize("dtype", REALS, ids=str)
@EVERY
def test_result_dtype(record: Record, dtype: Any) -> None:
    s = sample(record, "float64", (10,))
    loss = fl.get(record.name)
    z = s.z.astype(dtype)
    for array_ in (loss(s.y, z, reduction="none"), loss.grad(s.y, z), *loss.grad_and_hess(s.y, z)):
        assert array_.dtype == computed(dtype)
        assert array_.dtype.isnative


def test_half_covers_its_range() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    for dtype in (np.float16, ml_dtypes.bfloat16):
        x = bits.view(dtype)
        with np.errstate(invalid="ignore"):
            wanted = x.astype(np.float32)
        got = fl.mae.value_and_grad(np.float32(0), x, reduction="none")[0]
        same_bits(got, abs(wanted))


@pytest.mark.parametrize("dtype", [*INTEGERS, "float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("record", [r for r in ROWWISE if r.kind == "sparse"], ids=lambda r: r.name)
def test_class_indices_of_every_dtype(record: Record, dtype: str) -> None:
    s = sample(record, "float32", (100,), classes=2)
    loss = fl.get(record.name)
    wanted = loss.value_and_grad(s.y, s.z)
    for y in (s.y.astype(dtype), s.y.astype(np.dtype(dtype).newbyteorder())):
        got = loss.value_and_grad(y, s.z)
        same_bits(got[0], wanted[0])
        same_bits(got[1], wanted[1])


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ["logistic", "hinge", "squared_hinge", "bce", "bce_with_logits"])
def test_labels_of_every_dtype(name: str, dtype: str) -> None:
    y = (np.arange(3000) % 3 == 0).astype(dtype)
    z = np.random.default_rng(1).uniform(0, 1, 3000)
    same_bits(fl.get(name)(y, z), fl.get(name)(y.astype(float), z))


WRONG: list[Any] = [
    np.array([1j, 2]),
    np.array(["a", "b"]),
    np.array([b"a", b"b"]),
    np.array([None, 1.0]),
    np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]"),
    np.array([1, 2], dtype="m8[s]"),
    np.zeros(2, dtype=[("x", float)]),
    np.ma.masked_array([1.0, 2.0], mask=[True, False]),
    np.ma.masked_array([1.0, 2.0]),
    "text",
    datetime.date(2020, 1, 1),
    None,
    {1.0, 2.0},
]


@pytest.mark.parametrize(
    "wrong", WRONG, ids=lambda x: f"{type(x).__name__}-{getattr(x, 'dtype', '')}"
)
@pytest.mark.parametrize("argument", ["y_true", "y_pred", "sample_weight"])
def test_refused(wrong: Any, argument: str) -> None:
    if argument == "sample_weight" and wrong is None:
        pytest.skip("means no weights")
    arguments = {"y_true": np.zeros(2), "y_pred": np.zeros(2), argument: wrong}
    for loss in (fl.mse, fl.get("huber", delta=2)):
        with pytest.raises(TypeError, match=rf"{argument}: got"):
            loss(**arguments)
        with pytest.raises(TypeError, match=rf"{argument}: got"):
            loss.grad(**arguments)


TEXT: dict[str, Any] = {
    "object": pd.Series(["1", "2"], dtype=object),
    "object numbers": pd.Series([1.0, None], dtype=object),
    "str": pd.Series(["1", "2"], dtype="str"),
    "string": pd.Series(["1", "2"], dtype="string"),
    "arrow string": pd.Series(["1", "2"], dtype="string[pyarrow]"),
    "category": pd.Series(["1", "2"], dtype="category"),
    "frame": pd.DataFrame({"x": ["1", "2"]}),
    "time zone": pd.Series(pd.to_datetime(["2020-01-01", "2020-01-02"]).tz_localize("UTC")),
    "time": pd.Series(pd.to_datetime(["2020-01-01", "2020-01-02"])),
    "polars": pl.Series(["1", "2"]),
    "polars date": pl.Series([datetime.date(2020, 1, 1)] * 2),
    "arrow": pa.array(["1", "2"]),
    "arrow time": pa.array([1, 2], pa.timestamp("s")),
}


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize("argument", ["y_true", "y_pred", "sample_weight"])
def test_columns_of_text_and_dates_are_refused(kind: str, argument: str) -> None:
    """Even where the library that owns the column could read numbers out of it."""
    shape = (2, 1) if kind == "frame" else (2,)
    arguments = {"y_true": np.zeros(shape), "y_pred": np.zeros(shape), argument: TEXT[kind]}
    with pytest.raises(TypeError, match=rf"{argument}: got"):
        fl.mse(**arguments)


@pytest.mark.parametrize("name", ["float8_e5m2", "float8_e4m3fn", "int4"])
@pytest.mark.parametrize("argument", ["y_true", "y_pred", "sample_weight"])
def test_other_small_dtypes_are_refused(name: str, argument: str) -> None:
    small = np.ones(2).astype(getattr(ml_dtypes, name))
    arguments = {"y_true": np.zeros(2), "y_pred": np.zeros(2), argument: small}
    with pytest.raises(TypeError, match=rf"{argument}: got dtype {name}"):
        fl.mse(**arguments)


def test_ragged_list() -> None:
    with pytest.raises(ValueError, match="y_pred: got list; expected an array-like"):
        fl.mse([1.0], [[1.0], [1.0, 2.0]])


class ByArray:
    """What has only ``__array__``."""

    def __init__(self, x: Array) -> None:
        self.x = x

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.x if dtype is None else self.x.astype(dtype)


class ByDlpack:
    """What has only DLPack."""

    def __init__(self, x: Array) -> None:
        self.x = x

    def __dlpack__(self, **keywords: Any) -> Any:
        return self.x.__dlpack__(**keywords)

    def __dlpack_device__(self) -> Any:
        return self.x.__dlpack_device__()


class OnAnotherDevice(ByDlpack):
    """What cannot hand out its memory, as a tensor on an accelerator."""

    def __dlpack__(self, **keywords: Any) -> Any:
        raise BufferError("cannot be exported to the CPU")


VALUES = np.array([0.5, 0.25, 1.5, 3.0])
LIKES: dict[str, Any] = {
    "list": VALUES.tolist(),
    "tuple": tuple(VALUES.tolist()),
    "list of scalars": list(VALUES),
    "array.array": array.array("d", VALUES),
    "memoryview": memoryview(VALUES),
    "pandas": pd.Series(VALUES, index=[3, 1, 2, 0]),
    "pandas nullable": pd.Series(VALUES, dtype="Float64"),
    "pandas arrow": pd.Series(VALUES, dtype="float64[pyarrow]"),
    "pandas index": pd.Index(VALUES),
    "polars": pl.Series(VALUES),
    "arrow": pa.array(VALUES),
    "arrow chunked": pa.chunked_array([VALUES[:1], VALUES[1:]]),
    "__array__": ByArray(VALUES),
    "dlpack": ByDlpack(VALUES),
}


@pytest.mark.parametrize("kind", LIKES)
def test_array_likes(kind: str) -> None:
    x, y = LIKES[kind], np.ones(4)
    same_bits(fl.huber(y, x), fl.huber(y, VALUES))
    same_bits(fl.huber(x, y), fl.huber(VALUES, y))
    same_bits(
        fl.huber.grad(x, x, sample_weight=x), fl.huber.grad(VALUES, VALUES, sample_weight=VALUES)
    )


@pytest.mark.parametrize(
    "kind", ["array.array", "memoryview", "pandas", "polars", "arrow", "dlpack"]
)
def test_array_likes_are_not_copied(kind: str) -> None:
    first, second = as_array("x", LIKES[kind]), as_array("x", LIKES[kind])
    assert np.shares_memory(first, second)


SHARES_READ_ONLY = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.1.0",
    reason="this NumPy exports no read-only array by DLPack",
)


@pytest.mark.parametrize("like", [ByArray, pytest.param(ByDlpack, marks=SHARES_READ_ONLY)])
def test_read_only_producers(like: Any) -> None:
    x = VALUES.copy()
    x.setflags(write=False)
    assert np.shares_memory(as_array("x", like(x)), x)
    same_bits(fl.huber.grad(np.ones(4), like(x)), fl.huber.grad(np.ones(4), VALUES))


@pytest.mark.parametrize("argument", ["y_true", "y_pred", "sample_weight"])
def test_memory_that_cannot_be_exported(argument: str) -> None:
    arguments: dict[str, Any] = {"y_true": VALUES, "y_pred": VALUES}
    arguments[argument] = OnAnotherDevice(VALUES)
    with pytest.raises((TypeError, ValueError), match=rf"{argument}: got OnAnotherDevice"):
        fl.mse(**arguments)


NULLS: dict[str, Any] = {
    "pandas": pd.Series([1, None], dtype="Int64"),
    "pandas arrow": pd.Series([1, None], dtype="int64[pyarrow]"),
    "pandas boolean": pd.Series([True, None], dtype="boolean"),
    "polars": pl.Series([1, None]),
    "polars boolean": pl.Series([True, None]),
    "polars float": pl.Series([1.0, None]),
    "arrow": pa.array([1, None]),
    "arrow boolean": pa.array([True, None]),
    "arrow chunks": pa.chunked_array([[True], [None]]),
    "arrow float": pa.array([1.0, None]),
}


@pytest.mark.parametrize("kind", NULLS)
def test_nulls_are_nan(kind: str) -> None:
    losses = fl.mse(NULLS[kind], np.zeros(2), reduction="none")
    assert losses[0] == 1
    assert np.isnan(losses[1])
    with pytest.raises(ValueError, match=r"y_true: got nan at index \(1,\)"):
        fl.nll(NULLS[kind], np.full((2, 2), 0.5))


def test_frames() -> None:
    random = np.random.default_rng(2)
    z, y = random.normal(size=(6, 3)), random.integers(0, 3, 6)
    wanted = fl.sparse_softmax_cross_entropy.value_and_grad(y, z)
    for frame, labels in (
        (pd.DataFrame(z), pd.Series(y)),
        (pl.DataFrame(z), pl.Series(y)),
        (z.tolist(), y.tolist()),
    ):
        got = fl.sparse_softmax_cross_entropy.value_and_grad(labels, frame)
        same_bits(got[0], wanted[0])
        same_bits(got[1], wanted[1])


def test_nullable_nulls_are_nan() -> None:
    x = pd.Series([1.0, None, 2.0], dtype="Float64")
    losses = fl.mse(np.zeros(3), x, reduction="none")
    assert np.isnan(losses).tolist() == [False, True, False]


def test_nullable_frames() -> None:
    frame = pd.DataFrame({"a": [1, None], "b": [2, 3]}, dtype="Int64")
    losses = fl.mae(frame, np.zeros((2, 2)), reduction="none")
    np.testing.assert_array_equal(losses, [[1, 2], [np.nan, 3]])
    booleans = pl.DataFrame({"a": [True, None], "b": [True, False]})
    losses = fl.mae(booleans, np.zeros((2, 2)), reduction="none")
    np.testing.assert_array_equal(losses, [[1, 1], [np.nan, 0]])


@pytest.mark.parametrize("nothing", [pl.Series([None, None]), pa.nulls(2)])
def test_columns_of_nulls_are_nan(nothing: Any) -> None:
    assert np.isnan(fl.mse(nothing, np.zeros(2), reduction="none")).all()


def test_memory_maps(tmp_path: Path) -> None:
    path = tmp_path / "z.bin"
    z = np.random.default_rng(3).normal(size=5000).astype(np.float32)
    z.tofile(path)
    y = np.zeros(5000, np.float32)
    mapped = np.memmap(path, dtype=np.float32, mode="r")
    same_bits(fl.huber(y, mapped), fl.huber(y, z))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        same_bits(fl.huber(y, np.frombuffer(view, np.float32).copy()), fl.huber(y, z))


@EVERY
def test_read_only(record: Record) -> None:
    s = sample(record, "float32", (30,))
    for a in s:
        a.setflags(write=False)
    before = [a.copy() for a in s]
    fl.get(record.name).value_and_grad(s.y, s.z, sample_weight=s.w)
    fl.get(record.name).grad_and_hess(s.y, s.z, sample_weight=s.w)
    for a, b in zip(s, before, strict=True):
        same_bits(a, b)


def test_subclasses_of_arrays() -> None:
    class Tagged(np.ndarray[Any, Any]):
        pass

    x = np.ones(3).view(Tagged)
    grad = fl.mse.grad(np.zeros(3), x)
    assert type(grad) is np.ndarray
    same_bits(grad, fl.mse.grad(np.zeros(3), np.ones(3)))
