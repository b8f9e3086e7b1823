"""`Accumulator`: losses over batches of rows, in exact sums that can be merged.

A sum is an integer of 2240 bits in units of 2^-1074 (`kernels/superaccumulator.h`), so it is the
same for every order and partition of its terms, and the mean is a quotient of integers that is
rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from fastloss import _core
from fastloss._api import Loss, binding_of, get
from fastloss._arrays import Array, as_array, broadcast_shape, check_weight
from fastloss._groups import Columns, Key, columns_of, from_json, groups_of, sorted_keys, to_json
from fastloss._losses import BY_NAME, MARGIN_LABELS

Losses: TypeAlias = "str | Loss | Iterable[str | Loss] | Mapping[str, str | Loss]"

# Rows whose groups are numbered at a time.
_PIECE = 1 << 20
FORMAT = "fastloss.Accumulator"
VERSION = 1
# Sums are in units of 2 to this power.
_UNIT = -1074
# How many terms were no finite numbers, in the order in which `_core` has them.
Special: TypeAlias = tuple[int, int, int]
_SPECIAL = ("nan", "inf", "-inf")
# What `_core` calls the labels of margin losses that it has seen.
_ZERO, _MINUS = 4, 8


class Accumulator(_core.Sums):
    """Losses over rows that come in batches, with sums that have no rounding errors.

    The result has the same bits however the rows are cut into batches, in whatever order they
    come, and however accumulators are merged: the loss of each row is rounded as by the loss
    itself (for float32 predictions in float32, with its weight as a double), and the sum of these
    is exact. NaN and infinities go through to the result.

    Parameters
    ----------
    losses : str, Loss, iterable of them, or dict
        The losses, all pointwise or all row-wise; a dict gives them labels. Else the label is the
        name with the parameters that are not the default, as in ``"huber:delta=2"``.
    groups : bool
        Whether rows are told apart by the argument `by` of `update`.

    Attributes
    ----------
    losses : dict
        The losses by their labels.
    count : int
        Rows folded in.
    weight : float
        Sum of their weights.
    skipped : int
        Rows that were left out because of nulls, where `fastloss.scan` was told to.

    Examples
    --------
    >>> import fastloss as fl
    >>> one, two = fl.Accumulator(["mse", "mae"]), fl.Accumulator(["mse", "mae"])
    >>> one.update([0.0, 1.0], [0.5, 3.0])
    >>> two.update([2.0], [2.5])
    >>> (one + two).result()
    {'squared_error': 1.5, 'absolute_error': 1.0}
    """

    def __init__(self, losses: Losses, groups: bool = False) -> None:
        self.losses: dict[str, Loss] = labelled(losses)
        self.skipped = 0
        self._grouped = bool(groups)
        self._own: list[tuple[int, int]] = []
        cells, counts = 1 + len(self.losses), 1
        for loss in self.losses.values():
            ignores = loss.params.get("ignore_index") is not None
            self._own.append((cells, counts) if ignores else (0, 0))
            cells, counts = cells + ignores, counts + ignores
        self._width = cells, counts
        self._set_width(cells, counts)
        kinds = {_shape_of(loss): label for label, loss in self.losses.items()}
        if len(kinds) > 1:
            (one, first), (two, second) = list(kinds.items())[:2]
            raise ValueError(
                f"losses: got {first!r}, which takes {one}, and {second!r}, which takes {two}; "
                "expected losses of the same arguments"
            )
        # With the classes last, where `_update` puts them.
        self._calls = [
            get(loss.name, **{**loss.params, "axis": -1}) if "axis" in loss.params else loss
            for loss in self.losses.values()
        ]
        self._slots: dict[Key, int] = {}
        if not groups:
            self._slots[()] = 0
            self._resize(1)

    # ---- folding in ----

    def _update(self, y_true: Any, y_pred: Any, sample_weight: Any, by: Any) -> None:
        if (by is None) is self._grouped:
            given, made = ("None", "with") if self._grouped else ("an argument", "without")
            raise ValueError(f"by: got {given}, but the accumulator was made {made} groups=True")
        y, z = as_array("y_true", y_true), as_array("y_pred", y_pred)
        w = None if sample_weight is None else as_array("sample_weight", sample_weight)
        rows, y, z, w = self._rows(y, z, w)
        if self._fold is None or not self._fold.fits_arrays(y, z, w):
            for loss in self._calls:
                loss(y[:1], z[:1])
            self._fold = _core.Fold(
                [binding_of(loss, y, z) for loss in self._calls], y, z, w, self._own, *self._width
            )
        if by is None:
            good = len(z) == 0 or self._fold_in(y, z, w)
        else:
            good = self._fold_groups(y, z, w, columns_of(by, rows))
        if not good:
            self._raise_domain_error(y_true, y_pred)

    def _fold_groups(self, y: Array, z: Array, w: Array | None, columns: Columns) -> bool:
        """Fold in rows with the columns of their key, or nothing; return whether all are good."""
        if len(z) > _PIECE:
            # Integers of the groups that stay in cache; and all pieces are good, or none counts.
            part = Accumulator(self.losses, groups=True)
            part._labels, part._fold, part._threads = self._labels, self._fold, self._threads
            for start in range(0, len(z), _PIECE):
                cut = slice(start, start + _PIECE)
                of_piece = columns.cut(cut)
                if not part._fold_groups(y[cut], z[cut], None if w is None else w[cut], of_piece):
                    return False
            self.merge(part)
            return True
        if len(z) == 0:
            return True
        groups = groups_of(columns)
        before, good = self._size, False
        try:
            good = self._fold_in(
                y,
                z,
                w,
                groups.codes,
                groups.lowest,
                groups.span,
                lambda i: self._slot(groups.key_of(i)),
            )
        finally:
            if not good:
                self._slots = {key: slot for key, slot in self._slots.items() if slot < before}
                self._resize(before)
        return good

    def _rows(
        self, y: Array, z: Array, w: Array | None
    ) -> tuple[tuple[int, ...], Array, Array, Array | None]:
        """Return the shape of the rows, and the arrays with one axis for them."""
        record = BY_NAME[next(iter(self.losses.values())).name] if self.losses else None
        if record is None or record.kind == "pointwise":
            what = "element"
            shape = y.shape if y.shape == z.shape else broadcast_shape(y, z)
            y, z = (x if x.shape == shape else np.broadcast_to(x, shape) for x in (y, z))
            y, z = y.reshape(-1), z.reshape(-1)
        else:
            axis, what = next(iter(self.losses.values())).params["axis"], "row"
            if not -z.ndim <= axis < z.ndim:
                raise ValueError(f"y_pred: got shape {z.shape}; expected one with an axis {axis}")
            dense = record.kind == "dense"
            shape = z.shape[: axis % z.ndim] + z.shape[axis % z.ndim + 1 :]
            if y.shape != (z.shape if dense else shape):
                raise ValueError(
                    f"y_true: got shape {y.shape}; expected {z.shape if dense else shape}, "
                    + ("that of y_pred" if dense else "y_pred's without the class axis")
                )
            classes = z.shape[axis]
            z = np.moveaxis(z, axis, -1).reshape(math.prod(shape), classes)
            y = np.moveaxis(y, axis, -1).reshape(len(z), classes) if dense else y.reshape(-1)
        if w is not None:
            check_weight(w, shape, what)
            w = np.broadcast_to(w, shape).reshape(-1)
        return shape, y, z, w

    def _slot(self, key: Key) -> int:
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = len(self._slots)
            self._resize(slot + 1)
        return slot

    def _raise_domain_error(self, y_true: Any, y_pred: Any) -> None:
        for loss in self.losses.values():
            if loss.name != "root_mean_squared_error":
                loss(y_true, y_pred, reduction="sum")
        seen = 0 if self._labels == _ZERO else -1
        index = int(np.argmax(as_array("y_true", y_true).reshape(-1) == -1 - seen))
        raise ValueError(
            f"y_true: got {-1 - seen} at index ({index},); expected labels all in "
            f"{MARGIN_LABELS}, and {seen} came before"
        )

    def merge(self, other: Accumulator) -> None:
        """Add the rows of another accumulator of the same losses.

        Raises
        ------
        ValueError
            If it has other losses or labels, or only one of the two has groups.
        """
        if not isinstance(other, Accumulator):
            raise TypeError(f"other: got {type(other).__name__}; expected an Accumulator")
        if list(self.losses.items()) != list(other.losses.items()):
            raise ValueError(
                f"other: got the losses {', '.join(other.losses)}; expected the same as here, "
                f"{', '.join(self.losses)}"
            )
        if self._grouped != other._grouped:
            raise ValueError("other: got one with groups and one without; expected the same")
        labels = self._labels | other._labels
        if labels == _ZERO | _MINUS:
            raise ValueError(
                f"other: got labels -1 in one and 0 in the other; expected all in {MARGIN_LABELS}"
            )
        self._labels = labels
        self.skipped += other.skipped
        for key, slot in list(other._slots.items()):
            self._add_group(self._slot(key), other, slot)

    def __add__(self, other: Accumulator) -> Accumulator:
        if not isinstance(other, Accumulator):
            return NotImplemented
        both = self.copy()
        both.merge(other)
        return both

    def copy(self) -> Accumulator:
        """Return an independent accumulator with the same rows."""
        empty = Accumulator(self.losses, self._grouped)
        empty.merge(self)
        return empty

    def total(self) -> Accumulator:
        """Return an accumulator without groups, of the rows of all groups."""
        whole = Accumulator(self.losses)
        whole._labels, whole.skipped = self._labels, self.skipped
        for slot in self._slots.values():
            whole._add_group(0, self, slot)
        return whole

    # ---- results ----

    @property
    def count(self) -> int:
        """Rows folded in."""
        return sum(self._count(slot, 0) for slot in self._slots.values())

    @property
    def weight(self) -> float:
        """Sum of their weights."""
        return _as_float(*self.total()._sum(0, 0)) if self._grouped else self._weight(0, 0)

    def result(self) -> dict[Any, Any]:
        """Return the mean of each loss, ``{label: mean}``; with groups, that of each group.

        A mean is the sum of the weighted losses over the sum of the weights of the rows that
        count, rounded once; nan if that sum is zero.
        """
        return self._of_groups(self._mean)

    def sums(self) -> dict[Any, Any]:
        """Return the sum of each loss times its weights, rounded once; as `result`.

        Of the root mean squared error it is the sum of squares.
        """
        return self._of_groups(lambda slot, i: _as_float(*self._sum(slot, 1 + i)))

    def counts(self) -> dict[Any, Any]:
        """Return the number of rows that count for each loss; as `result`."""
        return self._of_groups(lambda slot, i: self._count(slot, self._own[i][1]))

    def weights(self) -> dict[Any, Any]:
        """Return the sum of the weights of the rows that count for each loss; as `result`."""
        return self._of_groups(lambda slot, i: self._weight(slot, self._own[i][0]))

    def nans(self) -> dict[Any, Any]:
        """Return how many rows have a loss that is nan, for each loss; as `result`."""
        return self._of_groups(lambda slot, i: self._sum(slot, 1 + i)[1][0])

    def _of_groups(self, of_loss: Any) -> dict[Any, Any]:
        def of_group(slot: int) -> dict[str, Any]:
            return {label: of_loss(slot, i) for i, label in enumerate(self.losses)}

        if not self._grouped:
            return of_group(0)
        return {key: of_group(self._slots[key]) for key in sorted_keys(self._slots)}

    def _weight(self, slot: int, cell: int) -> float:
        return _as_float(*self._sum(slot, cell))

    def _mean(self, slot: int, i: int) -> float:
        mean = _quotient(self._sum(slot, 1 + i), self._sum(slot, self._own[i][0]))
        if self._calls[i].name == "root_mean_squared_error":
            return math.sqrt(mean) if mean >= 0 else math.nan
        return mean

    def __repr__(self) -> str:
        groups = f", {len(self._slots):,} groups" if self._grouped else ""
        return f"<fastloss.Accumulator of {', '.join(self.losses)}: {self.count:,} rows{groups}>"

    # ---- keeping and sending ----

    def to_dict(self) -> dict[str, Any]:
        """Return everything as numbers, strings, lists and dicts, for `json.dumps` and `from_dict`.

        Sums are exact, as hexadecimal integers times powers of two (``"0x3p-2"`` is 0.75), followed
        by the number of terms that were not finite (``"0x0p0 2*nan 1*inf"``).
        """
        losses = {
            label: {"name": loss.name, "params": _plain(loss.params)}
            for label, loss in self.losses.items()
        }
        cells, counts = self._width
        groups = [
            {
                "key": to_json(key),
                "counts": [self._count(slot, i) for i in range(counts)],
                "sums": [_to_text(*self._sum(slot, i)) for i in range(cells)],
            }
            for key, slot in self._slots.items()
        ]
        return {
            "format": FORMAT,
            "version": VERSION,
            "losses": losses,
            "grouped": self._grouped,
            "skipped": self.skipped,
            "labels": {_ZERO: 0, _MINUS: -1}.get(self._labels),
            "groups": groups,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Accumulator:
        """Return the accumulator that `to_dict` was called on.

        Raises
        ------
        ValueError
            If it is not such a dict, or one of a later version.
        """
        if not isinstance(state, Mapping) or state.get("format") != FORMAT:
            raise ValueError(f"state: expected a dict made by to_dict, with format {FORMAT!r}")
        if state["version"] != VERSION:
            raise ValueError(f"state: got version {state['version']!r}; expected {VERSION}")
        try:
            made = cls(
                {label: get(x["name"], **x["params"]) for label, x in state["losses"].items()},
                state["grouped"],
            )
            made.skipped = state["skipped"]
            made._labels = {None: 0, 0: _ZERO, -1: _MINUS}[state["labels"]]
            cells, counts = made._width
            for group in state["groups"]:
                slot = made._slot(from_json(group["key"]))
                if len(group["counts"]) != counts or len(group["sums"]) != cells:
                    raise ValueError(f"group {group['key']!r} has sums of other losses")
                for i in range(counts):
                    made._set_count(slot, i, group["counts"][i])
                for i in range(cells):
                    made._set_sum(slot, i, *_from_text(group["sums"][i]))
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"state: not made by to_dict ({error!r})") from error
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.to_dict())


def _restore(cls: type[Accumulator], state: dict[str, Any]) -> Accumulator:
    return cls.from_dict(state)


# ---- losses ----


def labelled(losses: Losses) -> dict[str, Loss]:
    """Return losses by their labels."""
    if isinstance(losses, Mapping):
        for label in losses:
            if not isinstance(label, str):
                raise TypeError(f"losses: got the label {label!r}; expected a string")
        return {label: _as_loss(loss) for label, loss in losses.items()}
    found: dict[str, Loss] = {}
    for loss in map(_as_loss, [losses] if isinstance(losses, (str, Loss)) else losses):
        label = label_of(loss)
        if label in found:
            raise ValueError(f"losses: got {label!r} twice; expected each once, or a dict")
        found[label] = loss
    return found


def _as_loss(loss: Any) -> Loss:
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        return get(loss)
    raise TypeError(f"losses: got {type(loss).__name__}; expected the name of a loss, or a Loss")


def label_of(loss: Loss) -> str:
    """Return the loss as the command line takes it, defaults left out."""
    defaults = {p.name: p.default for p in BY_NAME[loss.name].parameters}
    changed = [
        f"{name}={value_text(value)}"
        for name, value in loss.params.items()
        if value != defaults[name]
    ]
    return f"{loss.name}:{','.join(changed)}" if changed else loss.name


def value_text(value: Any) -> str:
    """Return the value of a parameter as the command line takes it."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ":".join(map(value_text, value))
    return repr(value).removesuffix(".0")


def _shape_of(loss: Loss) -> str:
    kind = BY_NAME[loss.name].kind
    if kind == "pointwise":
        return "one prediction a row"
    targets = "class indices" if kind == "sparse" else "dense targets"
    return f"{targets} and the classes along axis {loss.params['axis']}"


# ---- exact sums ----


def _as_float(total: int, special: Special) -> float:
    """Return the sum, rounded once."""
    nans, infinities, minus_infinities = special
    if nans or (infinities and minus_infinities):
        return math.nan
    if infinities or minus_infinities:
        return math.inf if infinities else -math.inf
    return _ratio(total, 1 << -_UNIT)


def _ratio(numerator: int, denominator: int) -> float:
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf if (numerator < 0) == (denominator < 0) else -math.inf


def _quotient(total: tuple[int, Special], weight: tuple[int, Special]) -> float:
    if any(total[1]) or any(weight[1]):
        divisor = _as_float(*weight)
        return _as_float(*total) / divisor if divisor else math.nan
    return _ratio(total[0], weight[0]) if weight[0] else math.nan


def _to_text(total: int, special: Special) -> str:
    zeros = (total & -total).bit_length() - 1 if total else -_UNIT
    terms = [f"{count}*{name}" for count, name in zip(special, _SPECIAL, strict=True) if count]
    return " ".join([f"{total >> zeros:#x}p{zeros + _UNIT}", *terms])


def _from_text(text: str) -> tuple[int, Special]:
    number, *terms = text.split(" ")
    significand, _, exponent = number.partition("p")
    counts = {name: int(count) for count, name in (term.split("*") for term in terms)}
    nans, infinities, minus_infinities = (counts.get(name, 0) for name in _SPECIAL)
    total = int(significand, 16) << (int(exponent) - _UNIT)
    return total, (nans, infinities, minus_infinities)


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in params.items()}
