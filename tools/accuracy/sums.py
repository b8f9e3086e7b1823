"""The errors of sums against exact ones (`tests/terms.py`): ours, and those of other libraries.

Errors are relative to the sum of the magnitudes: of terms of one sign, to the sum itself.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastloss as fl

# The tests know the terms, and their exact sums.
sys.path.append(str(Path(__file__).parents[2] / "tests"))
import terms

Array = NDArray[Any]
DTYPES = ("float32", "float64")
BATCH = 1 << 20


@dataclass(frozen=True)
class Data:
    """A kind of losses and weights, and how many of them."""

    name: str
    count: int
    make: Callable[[int, str], tuple[Array, Array | None]]


@dataclass(frozen=True)
class Errors:
    """Relative errors by who formed the sum, and the condition of it."""

    condition: float
    errors: dict[str, float]


DATA = (
    Data("no weights", 10**8, terms.uniform),
    Data("weights over 30 orders of magnitude", 10**8, terms.wide_weights),
    Data("weights of both signs, which cancel out", 10**8, terms.cancelling),
)


def accumulated(z: Array, w: Array | None) -> float:
    """Return the sum that an Accumulator holds, batch by batch."""
    accumulator = fl.Accumulator(["absolute_error"])
    for first in range(0, len(z), BATCH):
        part = slice(first, first + BATCH)
        weight = None if w is None else w[part]
        accumulator.update(np.zeros_like(z[part]), z[part], sample_weight=weight)
    return float(accumulator.sums()["absolute_error"])


def with_torch(z: Array, w: Array | None) -> float:
    """Return the sum of torch."""
    import torch

    product = torch.from_numpy(z) if w is None else torch.from_numpy(z) * torch.from_numpy(w)
    return float(product.sum())


def sums(z: Array, w: Array | None) -> dict[str, float]:
    """Return the sum by who formed it; z is positive."""
    found = {
        "fastloss": fl.mae(np.zeros(1, z.dtype), z, sample_weight=w, reduction="sum"),
        "Accumulator": accumulated(z, w),
        "NumPy": float(np.sum(z if w is None else w * z)),
    }
    if importlib.util.find_spec("torch") is not None:
        found["torch"] = with_torch(z, w)
    return found


def measure(data: Data, dtype: str) -> Errors:
    """Return the errors for one kind of data."""
    z, w = data.make(data.count, dtype)
    exact, scale = terms.exact_sum(z, w), terms.magnitude(z, w)
    errors = {name: abs(value - exact) / scale for name, value in sums(z, w).items()}
    return Errors(scale / abs(exact), errors)
