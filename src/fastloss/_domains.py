"""Values outside a domain: the kernels say that there are some; here they are found and named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fastloss._arrays import Array
from fastloss._losses import CLASS_INDEX, MARGIN_LABELS, REAL, Interval, Labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PIECE = 1 << 16


def _outside(domain: Interval, x: Array) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        below = x < domain.low if domain.low_closed else x <= domain.low
        above = x > domain.high if domain.high_closed else x >= domain.high
    return np.asarray(below | above)


def _bad_labels(x: Array, classes: int, ignored: int | None) -> NDArray[np.bool_]:
    bad = np.asarray((x < 0) | (x >= classes) | (x != np.floor(x)) | (x != x))
    return bad if ignored is None else bad & (x != ignored)


class Argument:
    """An argument as the kernels saw it: broadcast to `shape`, class axis (if any) last."""

    def __init__(
        self, name: str, array: Array, domain: Interval | Labels, axis: int | None = None
    ) -> None:
        self.name = name
        self.array = array
        self.domain = domain
        self.axis = axis

    def seen(self, shape: tuple[int, ...]) -> Array:
        """Return the array as a view of that shape."""
        moved = self.array if self.axis is None else np.moveaxis(self.array, self.axis, -1)
        return np.broadcast_to(moved, shape)

    def own_index(self, index: tuple[int, ...]) -> tuple[int, ...]:
        """Return where the element at `index` of the seen array lies in the argument itself."""
        if self.axis is not None:
            front = list(index[:-1])
            front.insert(self.axis % self.array.ndim, index[-1])
            index = tuple(front)
        own = index[len(index) - self.array.ndim :]
        return tuple(i if n > 1 else 0 for i, n in zip(own, self.array.shape, strict=True))

    def fail(self, shape: tuple[int, ...], flat: int, expected: str) -> NoReturn:
        """Raise the error for the element at this flat position."""
        index = self.own_index(tuple(int(i) for i in np.unravel_index(flat, shape)))
        value = self.array[index]
        shown = value.item() if hasattr(value, "item") else value
        raise ValueError(f"{self.name}: got {shown!r} at index {index}; expected {expected}")


def raise_domain_error(
    arguments: list[Argument],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    bad: tuple[int, int],
    classes: int = 0,
    ignored: int | None = None,
) -> NoReturn:
    """Raise ``ValueError`` for the first value outside its domain.

    `shape` is that of elements or rows, and `bad` the range of them in which it lies; an empty
    range says that the labels -1 and 0 are mixed.
    """
    if bad[0] == bad[1]:
        _raise_mixed_labels(arguments[0], shape)
    for argument in arguments:
        if argument.domain == REAL:
            continue
        has_classes = argument.axis is not None
        seen_shape = (*shape, classes) if has_classes else shape
        width = classes if has_classes else 1
        view = argument.seen(seen_shape).flat
        for start in range(bad[0] * width, bad[1] * width, _PIECE):
            piece = view[start : min(start + _PIECE, bad[1] * width)]
            if isinstance(argument.domain, Interval):
                with np.errstate(over="ignore"):
                    wrong = _outside(argument.domain, piece.astype(dtype))
                expected = f"values in {argument.domain}"
            elif argument.domain == CLASS_INDEX:
                wrong = _bad_labels(piece, classes, ignored)
                expected = f"integers in [0, {classes})"
                if ignored is not None:
                    expected += f" or ignore_index {ignored}"
            else:
                with np.errstate(over="ignore"):
                    labels = piece.astype(dtype)
                wrong = ~np.isin(labels, (-1, 0, 1)) & (labels == labels)
                expected = f"labels in {argument.domain}"
            if wrong.any():
                argument.fail(seen_shape, start + int(np.argmax(wrong)), expected)
    raise ValueError("y_true, y_pred: got values outside their domain, changed during the call")


def _raise_mixed_labels(y_true: Argument, shape: tuple[int, ...]) -> NoReturn:
    view = y_true.seen(shape).flat
    first: Any = None
    for start in range(0, len(view), _PIECE):
        piece = np.asarray(view[start : start + _PIECE])
        ambiguous = (piece == 0) | (piece == -1)
        if not ambiguous.any():
            continue
        first = piece[np.argmax(ambiguous)] if first is None else first
        other = ambiguous & (piece != first)
        if other.any():
            came = f"labels all in {MARGIN_LABELS}, and {first:g} came before"
            y_true.fail(shape, start + int(np.argmax(other)), came)
    raise ValueError(f"y_true: got labels -1 and 0; expected labels all in {MARGIN_LABELS}")
