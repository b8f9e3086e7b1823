"""Groups of rows: keys of any kind to numbers, and keys as JSON."""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

import datetime
import functools
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from fastloss import _core
from fastloss._arrays import Array

# A value of one column, or a tuple with one of each.
Key: TypeAlias = Any

# Integers within a range no larger than this are numbered by a table.
_TABLE = 1 << 20
# Rows for each possible group; with less, sums of groups without rows take longer than numbering.
_FEW_ROWS = 16


@functools.cache
def _tagged() -> dict[str, tuple[type, Callable[[str], Any]]]:
    """Types of keys that JSON does not have, and how they are read."""
    import decimal  # not at the top: it would slow every import

    return {
        "datetime": (datetime.datetime, datetime.datetime.fromisoformat),
        "date": (datetime.date, datetime.date.fromisoformat),
        "decimal": (decimal.Decimal, decimal.Decimal),
    }


class Columns(list[Any]):
    """The columns of a key, one array for each; `single` if keys are its values themselves."""

    single = False

    def cut(self, rows: slice) -> Columns:
        """Return some of the rows."""
        piece = Columns(column[rows] for column in self)
        piece.single = self.single
        return piece


def columns_of(by: Any, shape: tuple[int, ...]) -> Columns:
    """Return the columns of the keys of as many rows.

    Raises
    ------
    ValueError
        If there is not one key for each row.
    """
    several = isinstance(by, (Mapping, tuple)) or (
        isinstance(by, list) and bool(by) and _is_column(by[0])
    )
    given = list(by.values()) if isinstance(by, Mapping) else list(by) if several else [by]
    if not given:
        raise ValueError("by: got no columns; expected at least one")
    columns = Columns(_as_column(column) for column in given)
    columns.single = not several
    for column in columns:
        if len(column) != math.prod(shape):
            raise ValueError(f"by: got {len(column)} keys; expected {math.prod(shape)}, one a row")
    return columns


def _is_column(x: Any) -> bool:
    return hasattr(x, "__len__") and not isinstance(x, (str, bytes))


def _as_column(x: Any) -> Any:
    """Return what slices without a copy: an array of Arrow or NumPy."""
    if not _is_arrow(x):
        return np.asarray(x).reshape(-1)
    import pyarrow as pa

    if isinstance(x, (pa.Array, pa.ChunkedArray)):
        return x
    return pa.chunked_array(x) if hasattr(x, "__arrow_c_stream__") else pa.array(x)


@dataclass(frozen=True)
class Groups:
    """The group of each row, as an integer.

    `codes` are integers from `lowest` on, of which there are `span` at most; `key_of` gives the key
    of the i-th of these.
    """

    codes: Array
    lowest: int
    span: int
    key_of: Callable[[int], Key]


def groups_of(columns: Columns) -> Groups:
    """Return the group of each row, as `Sums._fold_in` takes them.

    Raises
    ------
    TypeError
        If keys are of a type that cannot tell groups apart.
    """
    groups = _of_column(columns[0])
    if not columns.single:
        groups = functools.reduce(_paired, map(_of_column, columns[1:]), _as_tuples(groups))
    if not _are_few(groups) or len(groups.codes) // groups.span < _FEW_ROWS:
        return _numbered(groups)
    return replace(groups, codes=np.require(groups.codes, requirements=["C", "A"]))


def _are_few(groups: Groups) -> bool:
    """Whether their integers serve as they are: few, and signed ones of 64 bits."""
    return groups.span <= _core.FEW_GROUPS and groups.lowest + groups.span <= 1 << 63


def _as_tuples(groups: Groups) -> Groups:
    return replace(groups, key_of=lambda i: (groups.key_of(i),))


def _paired(groups: Groups, column: Groups) -> Groups:
    """Return groups whose keys have one more value."""
    one, two = (x if _are_few(x) else _numbered(x) for x in (groups, column))
    pairs = (one.codes.astype(np.int64) - one.lowest) * two.span
    pairs += two.codes.astype(np.int64) - two.lowest
    return Groups(
        pairs,
        0,
        one.span * two.span,
        lambda i: (*one.key_of(i // two.span), two.key_of(i % two.span)),
    )


def _numbered(groups: Groups) -> Groups:
    """Number the groups that have rows."""
    codes, lowest = groups.codes, groups.lowest
    if groups.span <= _TABLE:
        numbers, found = _core.number_values(codes, lowest, groups.span)
    else:
        values, numbers = np.unique(codes, return_inverse=True)
        numbers, found = numbers.astype(np.int32), values.tolist()
    return Groups(numbers, 0, len(found), lambda i: groups.key_of(found[i] - lowest))


def _of_column(x: Any) -> Groups:
    return _of_arrow(x) if _is_arrow(x) else _of_array(x)


def _is_arrow(x: Any) -> bool:
    if not (hasattr(x, "__arrow_c_stream__") or hasattr(x, "__arrow_c_array__")):
        return False
    import importlib.util

    return importlib.util.find_spec("pyarrow") is not None


def _of_arrow(x: Any) -> Groups:
    import pyarrow as pa

    from fastloss._arrow import numbers

    if pa.types.is_integer(x.type) and x.null_count == 0 and isinstance(x, pa.Array):
        return _of_integers(numbers(x))
    if not pa.types.is_dictionary(x.type):
        x = x.dictionary_encode(null_encoding="encode")
    if isinstance(x, pa.ChunkedArray):
        x = x.unify_dictionaries().combine_chunks()
        if isinstance(x, pa.ChunkedArray):
            x = x.chunk(0) if x.num_chunks else pa.array([], x.type)
    keys = [_key(value) for value in x.dictionary.to_pylist()]
    indices = x.indices
    if indices.null_count:
        indices = indices.fill_null(len(keys))
        keys.append(None)
    return _of_indices(numbers(indices), keys)


def _of_array(x: Array) -> Groups:
    if x.dtype.kind in "iu" and x.dtype.isnative:
        return _of_integers(x)
    if x.dtype.kind == "b":
        return Groups(x.view(np.uint8), 0, 256, bool)  # any byte but 0 is True
    if x.dtype.kind in "iufUMSm":
        found, indices = np.unique(x, return_inverse=True)
        return _of_indices(indices, [_key(value) for value in found.tolist()])
    keys: dict[Any, int] = {}
    indices = np.fromiter(
        (keys.setdefault(_key(value), len(keys)) for value in x.tolist()), np.int32, len(x)
    )
    return _of_indices(indices, list(keys))


def _of_integers(x: Array) -> Groups:
    low, high = int(x.min()), int(x.max())
    return Groups(x, low, high - low + 1, lambda i: low + i)


def _of_indices(indices: Array, keys: list[Key]) -> Groups:
    """Return groups of indices into `keys`, some of which may be equal."""
    if indices.min() < 0 or indices.max() >= len(keys):
        raise ValueError(f"by: got an index of a dictionary outside [0, {len(keys)})")
    return Groups(indices, 0, len(keys), keys.__getitem__)


def _key(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, bytes)):
        return value
    if isinstance(value, float):
        return math.nan if value != value else value  # the one NaN that is itself
    if any(isinstance(value, kind) for kind, _ in _tagged().values()):
        return value
    raise TypeError(f"by: got {value!r}; expected integers, strings, booleans, numbers or dates")


def sorted_keys(keys: Iterable[Key]) -> list[Key]:
    """Return keys in order, those of a kind together and nulls last."""

    def place(key: Key) -> Any:
        if isinstance(key, tuple):
            return tuple(map(place, key))
        if key is None or key != key:
            return (2 if key is None else 1, "", "")
        kind = "number" if isinstance(key, numbers.Number) else type(key).__name__
        return (0, kind, key)

    return sorted(keys, key=place)


def to_json(key: Key) -> Any:
    """Return a key as JSON has it: tuples as lists, dates, decimals and bytes as objects."""
    if isinstance(key, tuple):
        return [to_json(part) for part in key]
    if isinstance(key, bytes):
        return {"bytes": key.hex()}
    if isinstance(key, float) and not math.isfinite(key):
        return {"float": repr(key)}
    for tag, (kind, _) in _tagged().items():
        if isinstance(key, kind):
            return {tag: key.isoformat() if hasattr(key, "isoformat") else str(key)}
    return key


def from_json(key: Any) -> Key:
    """Return the key of which `to_json` made this."""
    if isinstance(key, list):
        return tuple(from_json(part) for part in key)
    if not isinstance(key, dict):
        return key
    ((tag, text),) = key.items()
    if tag == "bytes":
        return bytes.fromhex(text)
    return _key(float(text)) if tag == "float" else _tagged()[tag][1](text)
