"""Every loss of the registry against its plain NumPy twin: `make bench`.

Both are checked to give the same result before they are timed. The twin computes in float64, and
as a formula does: with a temporary array for each operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
from samples import sample

import fastloss as fl
from fastloss._losses import RECORDS, Record

CLASSES = 10
SIZES = (1_000, 100_000)


def with_numpy(record: Record, y: Any, z: Any, operation: str) -> Callable[[], Any]:
    outputs = ("loss",) if operation == "mean" else ("loss", "grad")

    def call() -> Any:
        results = reference.numpy_loss(record.name, y, z, outputs=outputs)
        if len(record.reductions) == 1:  # the loss of the whole input
            return results[0] if operation == "mean" else results
        mean = results[0].mean()
        return mean if operation == "mean" else (mean, results[1] / results[0].size)

    return call


def with_fastloss(record: Record, y: Any, z: Any, operation: str) -> Callable[[], Any]:
    loss = fl.get(record.name)
    if operation == "mean":
        return lambda: loss(y, z)
    return lambda: loss.value_and_grad(y, z)


@pytest.mark.parametrize("library", ["fastloss", "numpy"])
@pytest.mark.parametrize("operation", ["mean", "value_and_grad"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
def bench(
    benchmark: Any, record: Record, dtype: str, size: int, operation: str, library: str
) -> None:
    rows = size if record.kind == "pointwise" else size // CLASSES
    y, z, _ = sample(record, dtype, (rows,), classes=CLASSES)
    ours, plain = (make(record, y, z, operation) for make in (with_fastloss, with_numpy))
    got, wanted = (ours(), plain()) if operation == "value_and_grad" else ((ours(),), (plain(),))
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4 if dtype == "float32" else 1e-9, atol=1e-9)
    benchmark.group = f"{record.name} {operation} {dtype} {size}"
    benchmark(ours if library == "fastloss" else plain)
