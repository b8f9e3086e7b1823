"""Arguments as arrays: what is accepted, without a copy where the producer allows it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastloss import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]
else:  # numpy.typing takes a twentieth of the time of the import
    Array = np.ndarray

# More work than this to prove that two arrays do not overlap counts as overlap.
_OVERLAP_WORK = 10_000


def as_array(name: str, x: Any) -> Array:
    """Return `x` as an ndarray of a real, integer or bool dtype.

    Raises
    ------
    TypeError
        If it is masked, or of another dtype.
    ValueError
        If it cannot be made an array.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name}: got a masked array; expected an array without a mask")
    array = _convert(name, x)
    if array.dtype.kind == "O":
        array = _with_nan_for_null(x, array)
    if not _core.readable(array):
        raise TypeError(f"{name}: got dtype {array.dtype}; expected a real, integer or bool dtype")
    return array


def _with_nan_for_null(x: Any, array: Array) -> Array:
    """Return columns that become object arrays unless told what stands for a null; else `array`.

    These are pandas' nullable numbers and booleans, and the booleans of Polars and Arrow.
    """
    dtypes = [x.dtype] if hasattr(x, "dtype") else list(getattr(x, "dtypes", ()))
    with contextlib.suppress(AttributeError, TypeError, ValueError):  # of some other library
        if dtypes and all(getattr(dtype, "kind", "O") in "biuf" for dtype in dtypes):
            return np.asarray(x.to_numpy(dtype=np.float64, na_value=np.nan))
        if dtypes and all(str(dtype) == "Boolean" for dtype in dtypes):
            return np.asarray(x.cast(float))
        if str(getattr(x, "type", "")) in {"bool", "null"}:
            return np.asarray(x.cast("double"))
    return array


def _convert(name: str, x: Any) -> Array:
    try:
        if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
            return np.from_dlpack(x)
        return np.asarray(x)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: got {type(x).__name__}; expected an array-like ({error})") from error


def computation_dtype(y_pred: Array) -> np.dtype[Any]:
    """Dtype of the computation: float32 for predictions of at most 32 bits, else float64."""
    narrow = y_pred.dtype.kind == "f" and y_pred.dtype.itemsize <= 4
    return np.dtype(np.float32 if narrow or y_pred.dtype.name == "bfloat16" else np.float64)


def broadcast_shape(y_true: Array, y_pred: Array) -> tuple[int, ...]:
    """Return the shape of the elements of a pointwise loss.

    Raises
    ------
    ValueError
        If the shapes do not broadcast, or are ``(n,)`` and ``(n, 1)``, which NumPy would make an
        n x n array.
    """
    a, b = y_true.shape, y_pred.shape
    for one, two in ((a, b), (b, a)):
        if len(one) == 1 and len(two) == 2 and two == (one[0], 1) and one[0] > 1:
            column = "y_pred" if two is b else "y_true"
            raise ValueError(
                f"y_true, y_pred: got shapes {a} and {b}, which would broadcast to "
                f"{(one[0], one[0])}; expected equal shapes: use {column}.ravel() or "
                f"{column}[:, 0]"
            )
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ValueError(
            f"y_true, y_pred: got shapes {a} and {b}; expected shapes that broadcast"
        ) from None


def check_weight(weight: Array, shape: tuple[int, ...], what: str) -> None:
    """Check that weights broadcast to `shape`, the shape of the result."""
    try:
        fits = np.broadcast_shapes(weight.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"sample_weight: got shape {weight.shape}; expected a shape that broadcasts to "
            f"{shape}, one weight for each {what}"
        )


def same_memory(a: Array, b: Array) -> bool:
    """Whether both are the same elements in the same order."""
    same_layout = a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype
    return same_layout and a.__array_interface__["data"] == b.__array_interface__["data"]


def overlap(a: Array, b: Array) -> bool:
    """Whether two arrays share memory."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return bool(np.shares_memory(a, b, max_work=_OVERLAP_WORK))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def overlaps_itself(a: Array) -> bool:
    """Whether two elements of an array share memory, as in a broadcast view."""
    reach = a.itemsize
    axes = sorted((abs(s), n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1)
    for stride, length in axes:
        if stride < reach:
            return a.size > 0
        reach += stride * (length - 1)
    return False


def check_out(
    out: Any,
    shapes: list[tuple[int, ...]],
    dtype: np.dtype[Any],
    inputs: dict[str, Array],
    like: Array | None = None,
) -> list[Array]:
    """Return the arrays that results go to: those given, or new ones.

    A new array of the shape of `like` has its memory layout, too. `inputs` are the arrays that
    must not be overwritten before they are read: an output may be one of them, element by element,
    but may not overlap it in any other way.
    """
    if out is None:
        return _core.new_results(shapes, dtype, like) if shapes else []
    if len(shapes) == 1:
        given, names = [out], ["out"]
    else:
        if not isinstance(out, tuple) or len(out) != len(shapes):
            got = f"{len(out)} arrays" if isinstance(out, tuple) else type(out).__name__
            raise TypeError(f"out: got {got}; expected a tuple of {len(shapes)} arrays")
        given, names = list(out), [f"out[{i}]" for i in range(len(out))]
    for array, name, shape in zip(given, names, shapes, strict=True):
        if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
            raise TypeError(f"{name}: got {type(array).__name__}; expected an ndarray")
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(
                f"{name}: got shape {array.shape} and dtype {array.dtype}; expected shape {shape} "
                f"and dtype {dtype}"
            )
        if not array.flags.writeable:
            raise ValueError(f"{name}: got a read-only array; expected a writeable one")
        if overlaps_itself(array):
            raise ValueError(f"{name}: got an array whose elements overlap; expected distinct ones")
        for other, source in inputs.items():
            if overlap(array, source) and not same_memory(array, source):
                raise ValueError(
                    f"{name}: got an array that partly overlaps {other}; expected {other} itself "
                    "or separate memory"
                )
    if len(given) == 2 and overlap(given[0], given[1]):
        raise ValueError("out: got two arrays that overlap; expected separate memory")
    return given
