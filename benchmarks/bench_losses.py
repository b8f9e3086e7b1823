"""Every loss of the registry against plain NumPy: `make bench`."""

from __future__ import annotations

from typing import Any

import pytest
from cases import Case, arguments, cases, check, with_numpy

import fastloss as fl

# Sizes of the working sets: in the first-level cache, and in the last one.
CASES = list(
    cases(("float32", "float64"), (1_000, 100_000), ((100, 10), (10_000, 10), (1_000, 100)))
)


@pytest.mark.parametrize("library", ["fastloss", "numpy"])
@pytest.mark.parametrize("case", CASES, ids=str)
def bench(benchmark: Any, case: Case, library: str) -> None:
    y, z = arguments(case)
    loss = fl.get(case.loss)
    operation = loss.value_and_grad if case.gradient else loss
    plain = with_numpy(case, y, z)
    check(case, operation(y, z), plain(), "numpy")
    benchmark.group = str(case)
    if library == "fastloss":
        benchmark(operation, y, z)
    else:
        benchmark(plain)
