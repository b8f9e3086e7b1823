"""Plain NumPy, as a careful user writes it: `cases.py` has the formulas."""

from __future__ import annotations

import cases as baseline
from cases import Array, Call, Case


def prepare(case: Case, y: Array, z: Array, _: int) -> Call | None:
    return None if case.into_out else baseline.with_numpy(case, y, z)
