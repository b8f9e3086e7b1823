"""Errors in units of the spacing of floating-point numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from reference import Exact, mp, mpf


def error(got: Any, exact: Exact, dtype: str) -> float:
    """Return |got - exact| beyond the slack, in ULPs of the dtype at the scale of the value.

    NaN for NaN is no error, nor infinity for what rounds to it; one without the other is infinite.
    """
    info = np.finfo(dtype)
    value, scale, slack = exact
    found = float(got)
    if mp.isnan(value) or np.isnan(found):
        return 0.0 if mp.isnan(value) and np.isnan(found) else np.inf
    spacing_of_largest = mp.ldexp(1, int(info.maxexp) - 1 - int(info.nmant))
    limit = mpf(float(info.max)) + spacing_of_largest
    if abs(value) >= limit:  # beyond the range: infinity, or the largest number
        right = found * (1 if value > 0 else -1)
        return 0.0 if right >= float(info.max) else np.inf
    target = mpf(found)
    if np.isinf(found):  # one rounding beyond the largest number
        target = limit * (1 if found > 0 else -1)
    scale = min(max(abs(scale), mpf(float(info.tiny))), limit)
    exponent = mp.frexp(scale)[1] - 1
    spacing = mp.ldexp(1, exponent - int(info.nmant))
    return float(max(mpf(0), abs(target - value) - slack) / spacing)
