"""Arrow arrays as NumPy arrays, from their buffers.

Their own conversions import pandas where it is installed, which takes longer than most scans.
"""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastloss._arrays import Array


def is_null(array: pa.Array) -> NDArray[np.bool_]:
    """Which elements are null."""
    if array.null_count == 0:
        return np.zeros(len(array), bool)
    if pa.types.is_null(array.type):
        return np.ones(len(array), bool)
    return ~_bits(array.buffers()[0], array.offset, len(array))


def numbers(array: pa.Array) -> Array:
    """Return numbers or booleans, without a copy unless they are bits; nulls are NaN."""
    if pa.types.is_boolean(array.type):
        values: Array = _bits(array.buffers()[1], array.offset, len(array))
    else:
        dtype = np.dtype(array.type.to_pandas_dtype())
        buffer = array.buffers()[1]
        if len(array) == 0 or buffer is None:
            return np.empty(len(array), dtype)
        values = np.frombuffer(buffer, dtype, len(array), array.offset * dtype.itemsize)
    if array.null_count == 0:
        return values
    filled = values.astype(values.dtype if values.dtype.kind == "f" else np.float64)
    filled[is_null(array)] = np.nan
    return filled


def _bits(buffer: pa.Buffer | None, offset: int, length: int) -> NDArray[np.bool_]:
    if buffer is None:
        return np.zeros(length, bool)
    first = offset // 8
    packed = np.frombuffer(buffer, np.uint8)[first : first + (offset % 8 + length + 7) // 8]
    bits = np.unpackbits(packed, bitorder="little")[offset % 8 : offset % 8 + length]
    return bits.view(np.bool_)
