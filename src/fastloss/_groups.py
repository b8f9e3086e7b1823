"""Groups of rows: keys of any kind to numbers, and keys as JSON."""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

import datetime
import functools
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from fastloss import _core
from fastloss._arrays import Array

# A value of one column, or a tuple with one of each.
Key: TypeAlias = Any

# Integers within a range no larger than this are numbered by a table.
_TABLE = 1 << 20


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


def number_rows(columns: Columns) -> tuple[Array, list[Key]]:
    """Return the number of each row's group as int32, and the keys in the order of their numbers.

    Raises
    ------
    TypeError
        If keys are of a type that cannot tell groups apart.
    """
    numbers, keys = _number(columns[0])
    if columns.single:
        return numbers, keys
    keys = [(key,) for key in keys]
    for column in columns[1:]:
        more, values = _number(column)
        pairs = numbers.astype(np.int64) * max(len(values), 1) + more
        numbers, codes = number_integers(pairs)
        keys = [(*keys[code // len(values)], values[code % len(values)]) for code in codes]
    return numbers, keys


def _number(x: Any) -> tuple[Array, list[Any]]:
    return _number_arrow(x) if _is_arrow(x) else _number_array(x)


def _is_arrow(x: Any) -> bool:
    if not (hasattr(x, "__arrow_c_stream__") or hasattr(x, "__arrow_c_array__")):
        return False
    import importlib.util

    return importlib.util.find_spec("pyarrow") is not None


def _number_arrow(x: Any) -> tuple[Array, list[Any]]:
    import pyarrow as pa

    from fastloss._arrow import numbers as plain_numbers

    if pa.types.is_integer(x.type) and x.null_count == 0 and isinstance(x, pa.Array):
        return number_integers(plain_numbers(x))
    if not pa.types.is_dictionary(x.type):
        x = x.dictionary_encode(null_encoding="encode")
    if isinstance(x, pa.ChunkedArray):
        x = x.unify_dictionaries().combine_chunks()
        if isinstance(x, pa.ChunkedArray):
            x = x.chunk(0) if x.num_chunks else pa.array([], x.type)
    values = [_key(value) for value in x.dictionary.to_pylist()]
    indices = x.indices
    if indices.null_count:
        indices = indices.fill_null(len(values))
        values.append(None)
    numbers, codes = number_integers(plain_numbers(indices))
    return _merge_equal(numbers, [values[code] for code in codes])


def _number_array(x: Any) -> tuple[Array, list[Any]]:
    array: Array = x
    if array.dtype.kind in "iu" and array.dtype.isnative:
        return number_integers(array)
    if array.dtype.kind == "b":
        numbers, codes = number_integers(array.view(np.uint8))
        return numbers, [bool(code) for code in codes]
    if array.dtype.kind in "iufUMSm":
        found, numbers = np.unique(array, return_inverse=True)
        return _merge_equal(numbers.astype(np.int32), [_key(value) for value in found.tolist()])
    keys: dict[Any, int] = {}
    numbers = np.fromiter(
        (keys.setdefault(_key(value), len(keys)) for value in array.tolist()),
        np.int32,
        len(array),
    )
    return numbers, list(keys)


def number_integers(x: Array) -> tuple[Array, list[int]]:
    """Number the distinct values of an array of integers."""
    if len(x) == 0:
        return np.empty(0, np.int32), []
    low, high = (
        (int(np.iinfo(x.dtype).min), int(np.iinfo(x.dtype).max))
        if x.dtype.itemsize == 1
        else (int(x.min()), int(x.max()))
    )
    if high - low < _TABLE:
        return _core.number_values(x, low, high - low + 1)
    found, numbers = np.unique(x, return_inverse=True)
    return numbers.astype(np.int32), found.tolist()


def _merge_equal(numbers: Array, keys: list[Any]) -> tuple[Array, list[Any]]:
    """Give equal keys, as a dictionary of Arrow may have, the same number."""
    first: dict[Any, int] = {}
    new = [first.setdefault(key, len(first)) for key in keys]
    if len(first) == len(keys):
        return numbers, keys
    return np.array(new, np.int32)[numbers], list(first)


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
