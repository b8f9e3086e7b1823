"""Print exact values of the pointwise losses as a C header, for harness.c.

    python tests/kernels/table.py > build/table.h

They come from the same oracle as those of tests/test_accuracy.py, rounded to double.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / folder) for folder in ("tests", "src")]

import points  # noqa: E402
import reference  # noqa: E402

from fastloss._losses import RECORDS  # noqa: E402

EVERY = 7  # of the points of a loss


def number(x: object) -> str:
    """Return a real number as a C constant."""
    value = float(x)  # type: ignore[arg-type]
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return value.hex()


def main() -> None:
    """Print a row for each point."""
    for r in RECORDS:
        if r.kind != "pointwise" or not r.has_hessian:
            continue
        params = {p.name: p.default for p in r.parameters}
        reals = [params[p.name] for p in r.parameters if p.kind == "real"]
        for index, dtype in enumerate(("float32", "float64")):
            y, z = points.elements(r.name, dtype, params)
            y, z = y[::EVERY], z[::EVERY]
            exact = reference.exact_elements(r.name, dtype, y, z, **params)
            for row in zip(y.tolist(), z.tolist(), *exact, strict=True):
                values = [f"{{{number(e.value)}, {number(e.scale)}}}" for e in row[2:]]
                print(
                    f'{{"{r.kernel}", {index}, {r.max_ulp}, {number(row[0])}, {number(row[1])}, '
                    f"{{{', '.join(map(number, reals)) or 0}}}, {{{', '.join(values)}}}}},"
                )


if __name__ == "__main__":
    main()
