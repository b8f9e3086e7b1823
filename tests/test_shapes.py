"""Broadcasting, axes and memory layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from samples import DTYPES, POINTWISE, REDUCED, ROWWISE, Array, expected, same_bits, sample

import fastloss as fl
from fastloss._losses import BY_NAME, Record

ELEMENTWISE = pytest.mark.parametrize("record", POINTWISE, ids=lambda r: r.name)
BY_ROW = pytest.mark.parametrize("record", ROWWISE, ids=lambda r: r.name)
EVERY = pytest.mark.parametrize("record", REDUCED, ids=lambda r: r.name)


def unaligned(a: Array) -> Array:
    """Return the array at an odd address."""
    buffer = np.empty(a.nbytes + 1, np.uint8)
    view = buffer[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def strided(a: Array) -> Array:
    """Return the array as every second element along each axis."""
    wide = np.zeros([2 * n for n in a.shape], a.dtype)
    view = wide[(slice(None, None, 2),) * a.ndim]
    view[...] = a
    return view


def backwards(a: Array) -> Array:
    """Return the array with negative strides."""
    turn = (slice(None, None, -1),) * a.ndim
    return a[turn].copy()[turn]


def swapped(a: Array) -> Array:
    """Return the array in the other byte order."""
    return a.astype(a.dtype.newbyteorder())


def read_only(a: Array) -> Array:
    b = a.copy()
    b.setflags(write=False)
    return b


def last_two_swapped(a: Array) -> Array:
    """Return the array with its last axis before the one before it in memory."""
    return np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2)


LAYOUTS: list[Callable[[Array], Array]] = [
    np.asfortranarray,
    strided,
    backwards,
    unaligned,
    swapped,
    read_only,
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [(37,), (50, 70), (3, 5, 200)])
@EVERY
def test_layouts_give_the_same_bits(
    record: Record, layout: Callable[[Array], Array], shape: tuple[int, ...], dtype: str
) -> None:
    s = sample(record, dtype, shape)
    loss = fl.get(record.name)

    def results(y: Array, z: Array, w: Array) -> list[Any]:
        kwargs: Any = {"sample_weight": w}
        return [
            loss(y, z),
            loss(y, z, **kwargs),
            loss(y, z, reduction="none", **kwargs),
            *loss.value_and_grad(y, z, **kwargs),
            *loss.grad_and_hess(y, z, **kwargs),
        ]

    plain = results(*s)
    for other in (
        results(*map(layout, s)),
        results(layout(s.y), s.z, s.w),
        results(s.y, layout(s.z), s.w),
        results(s.y, s.z, layout(s.w)),
    ):
        for got, wanted in zip(other, plain, strict=True):
            same_bits(got, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(40, 1000), (7, 3000), (3, 5000), (2100, 5), (5, 9, 700)])
def test_transposed_operands_of_many_blocks(shape: tuple[int, ...], dtype: str) -> None:
    """Lines of these hold elements of many rows, which are loaded and stored together."""
    loss = fl.squared_error
    s = sample(BY_NAME["squared_error"], dtype, shape)
    labels = (s.z > 0).astype("int8")
    for y in (s.y, labels, swapped(s.y)):
        plain = [loss(y, s.z), *loss.value_and_grad(y, s.z, sample_weight=s.w)]
        for turn in (np.asfortranarray, last_two_swapped):
            y_turned, z, w = map(turn, (y, s.z, s.w))
            for result in (None, turn(np.empty(shape, dtype)), strided(np.empty(shape, dtype))):
                value, grad = loss.value_and_grad(y_turned, z, sample_weight=w, out=result)
                same_bits(loss(y_turned, z), plain[0])
                same_bits(value, plain[1])
                same_bits(grad, plain[2])
            same_bits(loss.value_and_grad(y, z, sample_weight=s.w)[1], plain[2])


@pytest.mark.parametrize(
    ("y_shape", "z_shape"),
    [
        ((), (5,)),
        ((5,), ()),
        ((), ()),
        ((1,), (4,)),
        ((3, 1), (1, 4)),
        ((1, 4), (3, 1)),
        ((4,), (3, 4)),
        ((3, 4), (4,)),
        ((3, 1, 5), (2, 1)),
        ((2, 1), (3, 1, 5)),
        ((), (5000,)),
        ((5000,), ()),
        ((40, 1, 300), (7, 1)),
        ((1, 300), (600, 1)),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
@ELEMENTWISE
def test_broadcasting(
    record: Record, y_shape: tuple[int, ...], z_shape: tuple[int, ...], dtype: str
) -> None:
    y, z = sample(record, dtype, y_shape).y, sample(record, dtype, z_shape, seed=1).z
    loss = fl.get(record.name)
    shape = np.broadcast_shapes(y_shape, z_shape)
    full_y, full_z = (np.ascontiguousarray(np.broadcast_to(a, shape)) for a in (y, z))
    w = sample(record, dtype, shape, seed=2).w
    for weight in (None, w):
        kwargs: Any = {"sample_weight": weight, "reduction": "none"}
        same_bits(
            np.reshape(loss(y, z, **kwargs), shape),
            np.reshape(loss(full_y, full_z, **kwargs), shape),
        )
        for reduction in ("mean", "sum"):
            kwargs["reduction"] = reduction
            same_bits(loss(y, z, **kwargs), loss(full_y, full_z, **kwargs))
            value, grad = loss.value_and_grad(y, z, **kwargs)
            same_bits(value, loss(full_y, full_z, **kwargs))
            for got, full in zip(
                (grad, *loss.grad_and_hess(y, z, **kwargs)),
                (
                    loss.grad(full_y, full_z, **kwargs),
                    *loss.grad_and_hess(full_y, full_z, **kwargs),
                ),
                strict=True,
            ):
                assert got.shape == z_shape
                assert got.dtype == dtype
                scale = np.abs(full).astype(float)
                np.testing.assert_allclose(
                    got, unbroadcast(full, z_shape), rtol=0,
                    atol=8 * np.finfo(dtype).eps * unbroadcast(scale, z_shape).max(initial=1e-30),
                )  # fmt: skip


def unbroadcast(full: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the axes along which `shape` was broadcast."""
    full = np.asarray(full, dtype=float)
    lead = full.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        lead + i for i, n in enumerate(shape) if n == 1 and full.shape[lead + i] != 1
    )
    return np.sum(full, axis=axes).reshape(shape)


# Rows of a few elements, of about a vector, of about a line, and of about a block.
WIDTHS = pytest.mark.parametrize("width", [2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 1000, 1024, 1025])

PRECISION = {"float32": 5e-7, "float64": 1e-13}


def results_of(y: Array, z: Array, w: Array, out: Array | None = None) -> list[Any]:
    """Return a weighted cost with its gradient, and the cost, of a cheap loss and a dear one."""
    dear = fl.log_cosh.value_and_grad(y, z, sample_weight=w, out=out)
    dear = (dear[0], dear[1].copy())
    return [
        *dear,
        fl.log_cosh(y, z, sample_weight=w),
        *fl.squared_error.value_and_grad(y, z, sample_weight=w, num_threads=3, out=out),
        fl.squared_error(y, z),
    ]


@WIDTHS
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_and_columns_of_several_blocks(isa: str, width: int, dtype: str) -> None:  # noqa: ARG001
    """Whatever repeats along an axis is read like what does not."""
    shape = (40_000 // width, width)
    s = sample(BY_NAME["squared_error"], dtype, shape)
    for other in (dtype, "float16"):
        y, w = s.y.astype(other), s.w.astype(other)
        for part in (np.s_[:1], np.s_[:, :1], np.s_[:1, :1]):
            y_part, w_part = y[part], w[part]
            full = [np.ascontiguousarray(np.broadcast_to(a, shape)) for a in (y_part, w_part)]
            plain = results_of(full[0], s.z, full[1])
            for got, wanted in zip(results_of(y_part, s.z, w_part), plain, strict=True):
                same_bits(got, wanted)
            exact = (full[0].astype("f8") - s.z) ** 2
            np.testing.assert_allclose(plain[-1], exact.mean(), rtol=PRECISION[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_repeat_and_are_scaled(dtype: str) -> None:
    """Sums of such weights would overflow."""
    s = sample(BY_NAME["squared_error"], dtype, (900, 7))
    huge = np.float64(np.finfo(dtype).max / 4)
    for part in (np.s_[:1], np.s_[:, :1], np.s_[:1, :1]):
        w = (s.w[part] / 4 * huge).astype(dtype)
        full = np.ascontiguousarray(np.broadcast_to(w, s.z.shape))
        got = fl.squared_error.value_and_grad(s.y, s.z, sample_weight=w)
        wanted = fl.squared_error.value_and_grad(s.y, s.z, sample_weight=full)
        same_bits(got[0], wanted[0])
        same_bits(got[1], wanted[1])
        share = np.float64(1) * s.w[part] / np.broadcast_to(s.w[part], s.z.shape).sum()
        exact = ((np.float64(1) * s.y - s.z) ** 2 * share).sum()
        np.testing.assert_allclose(got[0], exact, rtol=PRECISION[dtype])


@WIDTHS
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_with_gaps(isa: str, width: int, dtype: str) -> None:  # noqa: ARG001
    """Rows of operands and results that are parts of wider arrays, or every second one."""
    rows = 20_000 // width
    s = sample(BY_NAME["squared_error"], dtype, (rows, width))
    plain = results_of(*s)

    def between(a: Array) -> Array:
        wide = np.full((rows, width + 3), 9, a.dtype)
        wide[:, 1:-2] = a
        return wide[:, 1:-2]

    def every_second(a: Array) -> Array:
        return np.repeat(a, 2, axis=0)[::2]

    def upside_down(a: Array) -> Array:
        return a[::-1].copy()[::-1]

    for gaps in (between, every_second, upside_down):
        y, z, w = map(gaps, s)
        for out in (None, gaps(np.zeros_like(s.z)), np.empty_like(s.z)):
            for got, wanted in zip(results_of(y, z, w, out), plain, strict=True):
                same_bits(got, wanted)
            if gaps is between and out is not None and out.base is not None:
                assert np.all(np.asarray(out.base)[:, [0, -2, -1]] == 9)
        same_bits(fl.squared_error.grad(y, z, out=z), fl.squared_error.grad(s.y, s.z))


@pytest.mark.parametrize("record", [*POINTWISE, BY_NAME["rmse"]], ids=lambda r: r.name)
def test_column_against_row(record: Record) -> None:
    flat, column = np.full(3, 0.5), np.full((3, 1), 0.5)
    loss = fl.get(record.name)
    for y, z, name in ((flat, column, "y_pred"), (column, flat, "y_true")):
        with pytest.raises(ValueError, match=r"\(3,\).*\(3, 1\)|\(3, 1\).*\(3,\)") as caught:
            loss(y, z)
        assert f"{name}.ravel()" in str(caught.value)
        with pytest.raises(ValueError, match="would broadcast"):
            loss.grad(y, z)


def test_column_of_one() -> None:
    assert fl.mse(np.zeros(1), np.ones((1, 1))) == 1.0


@ELEMENTWISE
def test_shapes_that_do_not_broadcast(record: Record) -> None:
    s, other = sample(record, "float64", (3,)), sample(record, "float64", (4,))
    with pytest.raises(ValueError, match=r"y_true, y_pred: got shapes \(3,\) and \(4,\)"):
        fl.get(record.name)(s.y, other.z)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 50)])
@BY_ROW
def test_any_axis(record: Record, shape: tuple[int, ...], dtype: str) -> None:
    for classes in (1, 2, 5, 70):
        s = sample(record, dtype, shape, classes=classes)
        loss = fl.get(record.name)
        plain = [loss(s.y, s.z), *loss.value_and_grad(s.y, s.z, sample_weight=s.w)]
        none = loss(s.y, s.z, reduction="none")
        for axis in range(-len(shape) - 1, len(shape) + 1):
            for copy in (lambda a: a, np.ascontiguousarray):
                z = copy(np.moveaxis(s.z, -1, axis))
                y = copy(np.moveaxis(s.y, -1, axis)) if record.kind == "dense" else s.y
                value, grad = loss.value_and_grad(y, z, axis=axis, sample_weight=s.w)
                same_bits(loss(y, z, axis=axis), plain[0])
                same_bits(value, plain[1])
                same_bits(np.moveaxis(grad, axis, -1), plain[2])
                same_bits(loss(y, z, axis=axis, reduction="none"), none)


@pytest.mark.parametrize("classes", [10, 100, 300])
@BY_ROW
def test_class_major_scores_of_many_rows(record: Record, classes: int) -> None:
    """Groups of rows and what a thread takes at once depend on the layout, results do not."""
    s = sample(record, "float32", (1000,), classes=classes)
    loss = fl.get(record.name)
    y = np.asfortranarray(s.y)
    plain = [*loss.value_and_grad(s.y, s.z, sample_weight=s.w), loss(s.y, s.z)]
    for threads in (1, 2, 7):
        with fl.threads(threads):
            value, grad = loss.value_and_grad(y, np.asfortranarray(s.z), sample_weight=s.w)
            same_bits(value, plain[0])
            same_bits(grad, plain[1])
            same_bits(loss(y, np.asfortranarray(s.z)), plain[2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2049, 2100, 2500])
def test_class_major_scores_of_many_classes(isa: str, classes: int, dtype: str) -> None:  # noqa: ARG001
    """Planes whose exponentials are formed anew for the derivatives."""
    rows = 300
    s = sample(BY_NAME["softmax_cross_entropy"], dtype, (rows,), classes=classes)
    z = s.z.copy()
    z[1, ::3] = -np.inf
    z[2, 7] = z[3, [5, classes - 1]] = np.inf
    z[4, 9] = np.nan
    z[5] = 1
    labels = np.random.default_rng(1).integers(0, classes, rows)
    labels[1], labels[6] = 0, -1
    weight = np.linspace(0.5, 2, classes)
    for loss, y in (
        (fl.softmax_cross_entropy, s.y),
        (fl.get("softmax_cross_entropy", class_weight=weight, label_smoothing=0.1), s.y),
        (fl.get("sparse_softmax_cross_entropy", ignore_index=-1), labels),
        (fl.get("sparse_softmax_cross_entropy", ignore_index=-1, class_weight=weight), labels),
        (fl.get("sparse_softmax_cross_entropy", ignore_index=-1, label_smoothing=0.1), labels),
    ):
        planes = np.asfortranarray(y), np.asfortranarray(z)
        for got, wanted in zip(
            (*loss.value_and_grad(*planes, sample_weight=s.w), *loss.grad_and_hess(*planes)),
            (*loss.value_and_grad(y, z, sample_weight=s.w), *loss.grad_and_hess(y, z)),
            strict=True,
        ):
            same_bits(got, wanted)
        same_bits(loss(*planes, reduction="none"), loss(y, z, reduction="none"))
        same_bits(loss.grad(*planes, out=planes[1]), loss.grad(y, z))


@pytest.mark.parametrize("rows", [4200, 13000])
def test_class_major_scores_from_memory(rows: int) -> None:
    """More than caches hold, so that exponentials which there is room for are formed anew."""
    s = sample(BY_NAME["sparse_softmax_cross_entropy"], "float32", (rows,), classes=1000)
    for got, wanted in zip(
        fl.sparse_softmax_cross_entropy.value_and_grad(s.y, np.asfortranarray(s.z)),
        fl.sparse_softmax_cross_entropy.value_and_grad(s.y, s.z),
        strict=True,
    ):
        same_bits(got, wanted)


@BY_ROW
def test_derivatives_lie_like_the_scores(record: Record) -> None:
    loss = fl.get(record.name)
    for shape in ((40,), (4, 10)):
        s = sample(record, "float64", shape, classes=6)
        layouts = [s.z, np.asfortranarray(s.z), last_two_swapped(s.z), s.z[::2]]
        for z in (*layouts, np.asfortranarray(s.z.astype("float16"))):
            y = s.y[::2] if z.shape != s.z.shape else s.y
            for weight in (None, 2.0):
                like = np.empty_like(z)
                grad, hess = loss.grad_and_hess(y, z, sample_weight=weight)
                wanted = [stride // z.itemsize for stride in like.strides]
                assert [stride // grad.itemsize for stride in grad.strides] == wanted
                assert hess.strides == grad.strides
                assert loss.grad(y, z, sample_weight=weight).strides == grad.strides


def test_bad_values_of_class_major_rows_are_found() -> None:
    s = sample(BY_NAME["categorical_cross_entropy"], "float32", (1000,), classes=300)
    for row in (0, 31, 32, 470, 959):
        z = np.asfortranarray(s.z)
        z[row, 150] = 2
        z[row + 40, 3] = -1
        with pytest.raises(ValueError, match=rf"y_pred: got 2.* at index \({row}, 150\)"):
            fl.categorical_cross_entropy(np.asfortranarray(s.y), z)


@BY_ROW
def test_row_shapes(record: Record) -> None:
    s = sample(record, "float64", (4,))
    loss = fl.get(record.name)
    with pytest.raises(ValueError, match=r"y_true: got shape"):
        loss(s.y[:3], s.z)
    with pytest.raises(ValueError, match=r"axis: got 2"):
        loss(s.y, s.z, axis=2)
    with pytest.raises(ValueError, match=r"y_pred: got shape \(\)"):
        loss(s.y, 0.5)
    with pytest.raises(ValueError, match=r"no classes"):
        loss(s.y if record.kind == "sparse" else s.y[:, :0], s.z[:, :0])


@BY_ROW
def test_one_row(record: Record) -> None:
    s = sample(record, "float64", ())
    value = fl.get(record.name)(s.y, s.z)
    assert value == fl.get(record.name)(s.y[None], s.z[None])
    assert fl.get(record.name)(s.y, s.z, reduction="none").shape == ()


@pytest.mark.parametrize("classes", [33, 1000, 5000])
@pytest.mark.parametrize("dtype", DTYPES)
@BY_ROW
def test_a_row_has_the_bits_that_it_has_among_others(
    record: Record, classes: int, dtype: str
) -> None:
    """A single row, and one that is repeated, in any layout."""
    s = sample(record, dtype, (3,), classes=classes)
    loss = fl.get(record.name)
    losses, grads = loss.value_and_grad(s.y, s.z, reduction="none")
    for layout in (np.ascontiguousarray, strided, backwards, swapped):
        for rows in (1, 20):
            z = np.broadcast_to(layout(s.z[1]), (rows, classes))
            got, grad = loss.value_and_grad(s.y[[1] * rows], z, reduction="none")
            same_bits(got, losses[[1] * rows])
            same_bits(grad, grads[[1] * rows])


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 128, 129, 1000])
@pytest.mark.parametrize("dtype", DTYPES)
@BY_ROW
def test_numbers_of_classes(record: Record, classes: int, dtype: str) -> None:
    """Against plain NumPy, where rows take one tile and where they take several."""
    close: Any = {"rtol": 2e-4, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-10}
    for rows in (1, 3, 33, 300):
        s = sample(record, dtype, (rows,), classes=classes)
        value, grad, hess = expected(record, s, "mean", s.w)
        loss = fl.get(record.name)
        got = loss.value_and_grad(s.y, s.z, sample_weight=s.w)
        np.testing.assert_allclose(got[0], value, **close)
        np.testing.assert_allclose(got[1], grad, **{"atol": 1e-13, **close})
        both = loss.grad_and_hess(s.y, s.z, sample_weight=s.w)
        np.testing.assert_allclose(both[1], hess, **{"atol": 1e-13, **close})


@EVERY
def test_shapes_of_weights(record: Record) -> None:
    s = sample(record, "float64", (3, 4))
    loss = fl.get(record.name)
    for shape in ((), (1,), (4,), (1, 4), (3, 1), (3, 4), (1, 1)):
        w = np.random.default_rng(4).uniform(0.5, 2, shape)
        full = np.ascontiguousarray(np.broadcast_to(w, (3, 4)))
        same_bits(loss(s.y, s.z, sample_weight=w), loss(s.y, s.z, sample_weight=full))
        a = loss.value_and_grad(s.y, s.z, sample_weight=w, reduction="none")
        b = loss.value_and_grad(s.y, s.z, sample_weight=full, reduction="none")
        same_bits(a[0], b[0])
        same_bits(a[1], b[1])
    for wrong in ((3,), (5,), (2, 3, 4), (1, 3, 4), (4, 3)):
        with pytest.raises(ValueError, match="sample_weight: got shape"):
            loss(s.y, s.z, sample_weight=np.ones(wrong))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("z_shape", [(3, 1, 200), (5, 1), (1, 1, 1)])
def test_layouts_of_broadcast_predictions(
    layout: Callable[[Array], Array], z_shape: tuple[int, ...]
) -> None:
    """The gradient of a broadcast prediction is summed in the same order for every layout."""
    random = np.random.default_rng(15)
    y, w = random.normal(size=(2, 3, 5, 200))
    z = random.normal(size=z_shape)
    wanted = fl.pseudo_huber.grad_and_hess(y, z, sample_weight=w)
    got = fl.pseudo_huber.grad_and_hess(layout(y), layout(z), sample_weight=layout(w))
    same_bits(got[0], wanted[0])
    same_bits(got[1], wanted[1])


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_layouts_of_the_root(layout: Callable[[Array], Array]) -> None:
    y, z, w = np.random.default_rng(16).uniform(0.5, 2, size=(3, 50, 70))
    wanted = fl.rmse.value_and_grad(y, z, sample_weight=w)
    got = fl.rmse.value_and_grad(layout(y), layout(z), sample_weight=layout(w))
    assert got[0] == wanted[0]
    same_bits(got[1], wanted[1])


def test_results_of_scalars_are_arrays() -> None:
    for result in (
        fl.mse(0.0, 1.0, reduction="none"),
        fl.mse.grad(0.0, 1.0),
        *fl.mse.grad_and_hess(0.0, 1.0),
        fl.nll(0, [0.5, 0.5], reduction="none"),
    ):
        assert isinstance(result, np.ndarray)
        assert result.shape == ()


@pytest.mark.parametrize(
    "name",
    [
        "sparse_softmax_cross_entropy",
        "sparse_categorical_cross_entropy",
        "softmax_cross_entropy",
        "kl_divergence",
    ],
)
def test_rows_that_come_from_memory_have_the_bits_of_those_in_cache(name: str) -> None:
    """Of 16 MB and more, rows and labels are asked for ahead, and taken in smaller parts."""
    random = np.random.default_rng(3)
    rows, classes, part = 350_003, 4, 50_000
    z = random.random((3, rows, classes), np.float32) + np.float32(0.1)
    if "sparse" in name:
        y: Array = random.integers(0, classes, (3, rows))
    else:
        y = random.random((3, rows, classes), np.float32)
    if "softmax" not in name:
        z /= z.sum(-1, keepdims=True)
    loss = fl.get(name)
    values = loss(y, z, reduction="none")
    gradient = loss.grad(y, z, reduction="none")
    for i in range(3):
        for start in range(0, rows, part):
            cut = slice(start, start + part)
            here = loss(y[i, cut], z[i, cut], reduction="none")
            np.testing.assert_array_equal(values[i, cut], here)
            np.testing.assert_array_equal(
                gradient[i, cut], loss.grad(y[i, cut], z[i, cut], reduction="none")
            )
