"""`out=`: where results go, in place or not, and what is refused before anything is written."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from samples import DTYPES, POINTWISE, REDUCED, Array, same_bits, sample

import fastloss as fl
from fastloss._losses import BY_NAME, Record

EVERY = pytest.mark.parametrize("record", REDUCED, ids=lambda r: r.name)
BOTH = pytest.mark.parametrize("dtype", DTYPES)


def layouts(shape: tuple[int, ...], dtype: str) -> list[Array]:
    wide = np.full([3 * n for n in shape], 7, dtype)
    odd = np.empty(int(np.prod(shape)) * np.dtype(dtype).itemsize + 1, np.uint8)
    return [
        np.empty(shape, dtype),
        np.asfortranarray(np.empty(shape, dtype)),
        wide[(slice(1, None, 3),) * len(shape)],
        np.empty(shape, dtype)[(slice(None, None, -1),) * len(shape)],
        odd[1:].view(dtype).reshape(shape),
    ]


@BOTH
@EVERY
def test_results_go_to_out(record: Record, dtype: str) -> None:
    s = sample(record, dtype, (40, 50))
    loss = fl.get(record.name)
    for out in layouts(s.z.shape, dtype):
        assert loss.grad(s.y, s.z, out=out) is out
        same_bits(out, loss.grad(s.y, s.z))
        value, grad = loss.value_and_grad(s.y, s.z, sample_weight=s.w, out=out)
        assert grad is out
        same_bits(value, loss.value_and_grad(s.y, s.z, sample_weight=s.w)[0])
        same_bits(out, loss.value_and_grad(s.y, s.z, sample_weight=s.w)[1])
    for out in layouts(s.w.shape, dtype):
        assert loss(s.y, s.z, reduction="none", out=out) is out
        same_bits(out, loss(s.y, s.z, reduction="none"))
    for first, second in zip(layouts(s.z.shape, dtype), layouts(s.z.shape, dtype), strict=True):
        got = loss.grad_and_hess(s.y, s.z, out=(first, second))
        assert got[0] is first
        assert got[1] is second
        for a, b in zip(got, loss.grad_and_hess(s.y, s.z), strict=True):
            same_bits(a, b)
    for first, second in zip(layouts(s.w.shape, dtype), layouts(s.z.shape, dtype), strict=True):
        got = loss.value_and_grad(s.y, s.z, reduction="none", out=(first, second))
        assert got[0] is first
        assert got[1] is second
        for a, b in zip(got, loss.value_and_grad(s.y, s.z, reduction="none"), strict=True):
            same_bits(a, b)


def test_strides_between_are_untouched() -> None:
    wide = np.full((6, 9), 7.0)
    fl.mse.grad(np.zeros((2, 3)), np.ones((2, 3)), out=wide[::3, ::3])
    kept = np.ones((6, 9), bool)
    kept[::3, ::3] = False
    assert (wide[kept] == 7).all()


@BOTH
@EVERY
@pytest.mark.usefixtures("isa")
def test_in_place(record: Record, dtype: str) -> None:
    for shape in ((40,), (3000,), (2, 9, 30)):
        for classes in (3, 100):
            s = sample(record, dtype, shape, classes=classes)
            loss = fl.get(record.name)
            wanted = loss.value_and_grad(s.y, s.z, sample_weight=s.w)
            z = s.z.copy()
            value, grad = loss.value_and_grad(s.y, z, sample_weight=s.w, out=z)
            assert grad is z
            same_bits(value, wanted[0])
            same_bits(z, wanted[1])
            wide = np.zeros([*s.z.shape[:-1], 2 * s.z.shape[-1]], dtype)
            view = wide[..., ::2]
            view[...] = s.z
            same_bits(loss.grad(s.y, view, out=view), loss.grad(s.y, s.z))


@BOTH
@EVERY
def test_in_place_with_a_second_output(record: Record, dtype: str) -> None:
    """Both results of a call, each in turn in the prediction's place."""
    for shape, classes in (((40,), 3), ((3000,), 3), ((30,), 100)):
        s = sample(record, dtype, shape, classes=classes)
        loss = fl.get(record.name)
        calls = [loss.grad_and_hess]
        if record.kind == "pointwise":
            calls.append(partial(loss.value_and_grad, reduction="none"))
        for call in calls:
            wanted = call(s.y, s.z, sample_weight=s.w)
            for place in (0, 1):
                z = s.z.copy()
                other = np.empty_like(z)
                got = call(s.y, z, sample_weight=s.w, out=(other, z) if place else (z, other))
                same_bits(got[0], wanted[0])
                same_bits(got[1], wanted[1])


@BOTH
def test_in_place_root(dtype: str) -> None:
    for scale in (1.0, float(np.finfo(dtype).max) / 4, float(np.finfo(dtype).tiny)):
        y, z = (np.random.default_rng(6).uniform(-1, 1, (2, 3000)) * scale).astype(dtype)
        value, grad = fl.rmse.value_and_grad(y, z)
        got = fl.rmse.value_and_grad(y, z, out=z)
        assert got[0] == value
        same_bits(z, grad)


@pytest.mark.parametrize("weighted", [False, True])
def test_in_place_mean_of_huge_losses(weighted: bool) -> None:
    """Where the sum overflows but the mean does not, in place as elsewhere."""
    largest = float(np.finfo(np.float64).max)
    y, w = np.zeros(1000), np.ones(1000) if weighted else None
    z = np.full(1000, largest / 2)
    wanted = fl.mae.grad(y, z, sample_weight=w)
    value, grad = fl.mae.value_and_grad(y, z, sample_weight=w, out=z)
    assert grad is z
    same_bits(z, wanted)
    assert value == pytest.approx(largest / 2)


@pytest.mark.parametrize("record", POINTWISE, ids=lambda r: r.name)
@pytest.mark.usefixtures("isa")
def test_in_place_over_the_targets_and_weights(record: Record) -> None:
    s = sample(record, "float64", (2000,))
    loss = fl.get(record.name)
    wanted = loss.grad(s.y, s.z, sample_weight=s.w)
    for name in ("y", "w"):
        t = s._replace(y=s.y.copy(), w=s.w.copy())
        same_bits(loss.grad(t.y, t.z, sample_weight=t.w, out=getattr(t, name)), wanted)
    value, wanted = loss.value_and_grad(s.y, s.z, sample_weight=s.w)
    for name in ("y", "w"):
        t = s._replace(y=s.y.copy(), w=s.w.copy())
        out = getattr(t, name)
        got = loss.value_and_grad(t.y, t.z, sample_weight=t.w, out=out)
        same_bits(got[0], value)
        same_bits(got[1], wanted)


@pytest.mark.parametrize("name", ["hinge", "squared_hinge", "logistic"])
@pytest.mark.parametrize("argument", ["y", "z", "w"])
@pytest.mark.parametrize("labels", [[1.0, 0.0], [1.0, -1.0], [0.0, 1.0], [-1.0, 1.0]])
def test_in_place_with_labels_of_both_conventions(
    labels: list[float], argument: str, name: str
) -> None:
    """A block of which the first label misleads is formed twice, from arguments that are whole."""
    loss, rows = fl.get(name), 3000
    arrays = {
        "y": np.resize(labels, rows),
        "z": np.linspace(-2, 2, rows),
        "w": np.linspace(0.5, 2, rows),
    }
    wanted = loss.grad(arrays["y"], arrays["z"], sample_weight=arrays["w"], reduction="sum")
    own = {key: array.copy() for key, array in arrays.items()}
    out = own[argument]
    got = loss.grad(own["y"], own["z"], sample_weight=own["w"], reduction="sum", out=out)
    same_bits(got, wanted)


@EVERY
def test_partial_overlap_is_refused(record: Record) -> None:
    shape = sample(record, "float64", (10,)).z.shape
    buffer = np.full((12, *shape[1:]), 0.5)
    s = sample(record, "float64", (10,))
    z, out = buffer[:10], buffer[1:11]
    z[...] = s.z
    before = buffer.copy()
    with pytest.raises(ValueError, match="out: got an array that partly overlaps y_pred"):
        fl.get(record.name).grad(s.y, z, out=out)
    same_bits(buffer, before)


def test_other_overlaps_are_refused() -> None:
    buffer = np.full(11, 0.5)
    y, z, w = np.zeros(10), np.ones(10), np.ones(10)
    cases: dict[str, tuple[Any, Any]] = {
        "y_true": ({"y_true": buffer[:10]}, buffer[1:]),
        "y_pred": ({"y_pred": buffer[:10]}, buffer[9::-1]),
        "sample_weight": ({"sample_weight": buffer[1:]}, buffer[:10]),
    }
    for name, (arguments, out) in cases.items():
        with pytest.raises(ValueError, match=f"out: got an array that partly overlaps {name}"):
            fl.mse.grad(**{"y_true": y, "y_pred": z, "sample_weight": w, **arguments}, out=out)
        same_bits(buffer, np.full(11, 0.5))


def test_two_outputs_that_overlap() -> None:
    y, z, out = np.zeros(5), np.ones(5), np.full(5, 9.0)
    with pytest.raises(ValueError, match="out: got two arrays that overlap"):
        fl.mse.grad_and_hess(y, z, out=(out, out))
    same_bits(out, np.full(5, 9.0))


@EVERY
def test_wrong_out(record: Record) -> None:
    s = sample(record, "float64", (10,))
    loss = fl.get(record.name)
    shape = s.z.shape
    read_only = np.full(shape, 9.0)
    read_only.setflags(write=False)
    wrong: list[tuple[Any, type[Exception], str]] = [
        (np.full((11, *shape[1:]), 9.0), ValueError, "out: got shape"),
        (np.full(shape, 9.0, np.float32), ValueError, "dtype float32"),
        (np.full(shape, 9), ValueError, "dtype int64"),
        (np.full(shape, 9.0).astype(">f8"), ValueError, "dtype >f8"),
        (read_only, ValueError, "read-only"),
        (np.broadcast_to(9.0, shape), ValueError, "read-only|overlap"),
        ([9.0] * 10, TypeError, "out: got list"),
        (np.ma.masked_array(np.full(shape, 9.0)), TypeError, "out: got MaskedArray"),
        ((np.full(shape, 9.0),), TypeError, "out: got tuple"),
    ]
    for out, kind, message in wrong:
        with pytest.raises(kind, match=message):
            loss.grad(s.y, s.z, out=out)
        assert (np.asarray(out) == 9).all()

    def both(*arguments: Any, **keywords: Any) -> Any:
        return loss.value_and_grad(*arguments, reduction="none", **keywords)

    for call in (loss.grad_and_hess, both):
        for out in (np.full(shape, 9.0), (np.full(shape, 9.0),), [np.empty(shape)] * 2):
            with pytest.raises(TypeError, match="out: got"):
                call(s.y, s.z, out=out)
        with pytest.raises(ValueError, match=r"out\[[01]\]: got shape"):
            call(s.y, s.z, out=(np.full(shape, 9.0)[:10], np.empty(3)))


@EVERY
def test_a_number_has_no_out(record: Record) -> None:
    s = sample(record, "float64", (4,))
    for reduction in ("mean", "sum"):
        with pytest.raises(ValueError, match="out: got an array; expected None"):
            fl.get(record.name)(s.y, s.z, reduction=reduction, out=np.empty(4))


@EVERY
def test_nothing_is_written_when_arguments_are_wrong(record: Record) -> None:
    s = sample(record, "float64", (10,))
    loss = fl.get(record.name)
    out = np.full(s.z.shape, 9.0)
    calls: list[dict[str, Any]] = [
        {"sample_weight": np.ones(3)},
        {"sample_weight": np.array(["a"])},
        {"num_threads": 0},
        {"reduction": "avg"},
        {"nonsense": 1},
    ]
    for kwargs in calls:
        with pytest.raises((TypeError, ValueError)):
            loss.grad(s.y, s.z, out=out, **kwargs)
    with pytest.raises((TypeError, ValueError)):
        loss.grad(s.y[:3], s.z, out=out)
    assert (out == 9).all()


def test_broadcast_prediction() -> None:
    y = np.arange(12.0).reshape(4, 3)
    out = np.empty((4, 1))
    assert fl.mse.grad(y, np.ones((4, 1)), out=out) is out
    same_bits(out, fl.mse.grad(y, np.ones((4, 1))))
    with pytest.raises(ValueError, match=r"out: got shape \(4, 3\)"):
        fl.mse.grad(y, np.ones((4, 1)), out=np.empty((4, 3)))


@pytest.mark.parametrize("offset", [0, 1, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_output_that_is_there(dtype: str, offset: int) -> None:
    """Outputs beyond the caches are written by other instructions, in whole lines."""
    n = (32 << 20) // np.dtype(dtype).itemsize + 1029
    random = np.random.default_rng(6)
    y, z = random.normal(size=(2, n)).astype(dtype)
    value, grad = fl.huber.value_and_grad(y, z)
    around = np.full(n + offset + 3, 7, dtype)
    out = around[offset : offset + n]
    got, same = fl.huber.value_and_grad(y, z, out=out)
    assert got == value
    assert same is out
    np.testing.assert_array_equal(out, grad)
    np.testing.assert_array_equal(around[:offset], 7)
    np.testing.assert_array_equal(around[offset + n :], 7)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["huber", "hinge", "sigmoid_cross_entropy"])
def test_large_outputs_are_those_of_their_parts(
    isa: str,  # noqa: ARG001
    name: str,
    dtype: str,
    offset: int,
) -> None:
    """Cheap losses write lines past the caches, others blocks, and parts what a cache keeps."""
    loss = fl.get(name)
    n = (32 << 20) // np.dtype(dtype).itemsize + 1029
    y, z, w = sample(BY_NAME[name], dtype, (n,))
    grad, both, hess = (np.full(n + offset, 7, dtype)[offset:] for _ in range(3))
    loss.grad(y, z, out=grad, reduction="sum")
    value, _ = loss.value_and_grad(y, z, out=both, reduction="sum")
    assert value == loss(y, z, reduction="sum")
    np.testing.assert_array_equal(both, grad)
    loss.grad_and_hess(y, z, out=(both, hess), reduction="sum")
    np.testing.assert_array_equal(both, grad)
    losses = loss(y, z, reduction="none")
    part = slice(n - 70_001, n)
    few = loss.grad_and_hess(y[part], z[part], reduction="sum")
    np.testing.assert_array_equal(few[0], grad[part])
    np.testing.assert_array_equal(few[1], hess[part])
    np.testing.assert_array_equal(loss(y[part], z[part], reduction="none"), losses[part])
    np.testing.assert_array_equal(loss.value_and_grad(y, z, reduction="none"), [losses, grad])
    value, _ = loss.value_and_grad(y, z, sample_weight=w, out=both, reduction="sum")
    assert value == loss(y, z, sample_weight=w, reduction="sum")
    loss.grad(y, z, sample_weight=w, out=grad, reduction="sum")
    loss(y, z, sample_weight=w, out=losses, reduction="none")
    few = loss.value_and_grad(y[part], z[part], sample_weight=w[part], reduction="none")
    np.testing.assert_array_equal(few, [losses[part], grad[part]])
    np.testing.assert_array_equal(both, grad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name",
    ["softmax_cross_entropy", "sparse_softmax_cross_entropy", "sparse_categorical_cross_entropy"],
)
def test_large_output_of_long_rows(name: str, dtype: str) -> None:
    """As above, with rows that begin anywhere in a line, and one that is ignored."""
    classes, sparse = 1061, name.startswith("sparse")
    loss = fl.get(name, ignore_index=-100) if sparse else fl.get(name)
    rows = (32 << 20) // np.dtype(dtype).itemsize // classes + 3
    random = np.random.default_rng(7)
    z = random.uniform(size=(rows, classes)).astype(dtype)
    y = random.integers(0, classes, rows) if sparse else abs(z[::-1])
    y[5] = -100 if sparse else 0
    out = np.full((rows + 2, classes), 7, dtype)
    pieces = [slice(i, i + 500) for i in range(0, rows, 500)]
    for sent in (out[1:-1], None):
        grad = loss.grad(y, z, reduction="sum", out=sent)
        for at in pieces:
            same_bits(grad[at], loss.grad(y[at], z[at], reduction="sum"))
    assert (out[[0, -1]] == 7).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["softmax_cross_entropy", "sparse_softmax_cross_entropy"])
@pytest.mark.parametrize("offset", [0, 1, 4])
def test_large_output_of_planes(isa: str, name: str, dtype: str, offset: int) -> None:  # noqa: ARG001
    """As above, class-major: planes that begin with a line, with 16 bytes of one, and elsewhere."""
    rows, loss = 4096, fl.get(name)
    classes = (32 << 20) // np.dtype(dtype).itemsize // rows + 2
    random = np.random.default_rng(8)
    z = random.normal(size=(classes, rows)).astype(dtype)
    y = random.integers(0, classes, rows) if name.startswith("sparse") else abs(z[::-1])
    around = np.full((2, z.size + 64), 7, dtype)
    first = -around.ctypes.data // z.itemsize % (64 // z.itemsize) + offset
    outs = tuple(x[first : first + z.size].reshape(z.shape) for x in around)
    loss.grad_and_hess(y, z, axis=0, reduction="sum", out=outs)
    for at in (slice(0, 16), slice(2000, 2100), slice(rows - 33, rows)):
        few = y[at] if y.ndim == 1 else y[:, at].T
        wanted = loss.grad_and_hess(few, np.ascontiguousarray(z[:, at].T), reduction="sum")
        for got, derivative in zip(outs, wanted, strict=True):
            same_bits(got[:, at].T, derivative)
    assert (around[:, :first] == 7).all()
    assert (around[:, first + z.size :] == 7).all()


@pytest.mark.parametrize("targets", ["alike", "integers", "one"])
@BOTH
@pytest.mark.parametrize("record", POINTWISE, ids=lambda r: r.name)
def test_two_outputs_wherever_they_begin(record: Record, dtype: str, targets: str) -> None:
    """Their first elements are a block of their own where they lie before a line of the cache."""
    n, loss = 2500, fl.get(record.name)
    s = sample(record, dtype, (n,))
    y: Any = {"alike": s.y, "integers": np.ones(n, np.int8), "one": 1}[targets]
    pieces = [slice(i, min(i + 100, n)) for i in range(0, n, 100)]
    for call in (
        partial(loss.grad_and_hess, reduction="sum"),
        partial(loss.value_and_grad, reduction="none"),
    ):
        results = [call(y if targets == "one" else y[at], s.z[at]) for at in pieces]
        expected = [np.concatenate(parts) for parts in zip(*results, strict=True)]
        for first, second in ((0, 0), (1, 1), (4, 4), (15, 15), (0, 3), (4, 5)):
            out = (line_start(n + 32, dtype)[first:], line_start(n + 32, dtype)[second:])
            for array in out:
                array[:] = 7
            call(y, s.z, out=(out[0][:n], out[1][:n]))
            for array, result in zip(out, expected, strict=True):
                same_bits(array[:n], result)
                assert (array[n:] == 7).all()


def line_start(n: int, dtype: str) -> Array:
    """Return an array that begins with a line of the cache."""
    memory = np.empty(n * np.dtype(dtype).itemsize + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + n * np.dtype(dtype).itemsize].view(dtype)
