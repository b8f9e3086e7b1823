"""More elements, and more rows times classes, than an int counts: over files that are mostly holes.

Left out by default; `make large` runs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastloss as fl

pytestmark = [pytest.mark.large, pytest.mark.timeout(1800)]
N = 2**31 + 2**20 + 3
# Elements that are not zero: at the ends, and on both sides of what 31 and 32 bits count.
MARKED = {0: 1.0, 2**31 - 1: 2.0, 2**31: 3.0, 2**31 + 1: 4.0, N - 1: 5.0}


def sparse(path: Path, dtype: str, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    return np.memmap(path, dtype, "w+", shape=shape)


def test_elements(tmp_path: Path) -> None:
    z, y = sparse(tmp_path / "z", "f4", (N,)), sparse(tmp_path / "y", "i1", (N,))
    for index, value in MARKED.items():
        z[index] = value
    squares = sum(value**2 for value in MARKED.values())
    assert fl.squared_error(y, z, reduction="sum") == squares
    assert fl.squared_error(y[::-1], z[::-1], reduction="sum") == squares
    sums = fl.Accumulator("squared_error")
    sums.update(y, z)
    assert (sums.sums(), sums.count) == ({"squared_error": squares}, N)
    y[N - 1] = 5
    assert fl.squared_error(y, z, reduction="sum") == squares - 25
    with pytest.raises(ValueError, match=rf"index \({N - 1},\)"):
        fl.bce_with_logits(y, z)


def test_gradient(tmp_path: Path) -> None:
    z = sparse(tmp_path / "z", "f4", (N,))
    for index, value in MARKED.items():
        z[index] = value
    fl.squared_error.grad(np.broadcast_to(np.float32(0), N), z, reduction="sum", out=z)
    assert {index: float(z[index]) for index in MARKED} == {i: 2 * v for i, v in MARKED.items()}
    assert np.count_nonzero(z[2**31 - 1000 : 2**31 + 1000]) == 3


def test_rows_times_classes(tmp_path: Path) -> None:
    classes, rows = 1000, 2**31 // 1000 + 2
    z = sparse(tmp_path / "z", "f4", (rows, classes))
    z[-1, -1] = 100
    labels = np.zeros(rows, np.int16)
    wanted = (rows - 1) * np.log(classes) + 100
    got = fl.sparse_softmax_cross_entropy(labels, z, reduction="sum")
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    labels[-1] = classes - 1
    got = fl.sparse_softmax_cross_entropy(labels, z, reduction="sum")
    np.testing.assert_allclose(got, wanted - 100, rtol=1e-6)
    fl.sparse_softmax_cross_entropy.grad(labels, z, reduction="sum", out=z)
    np.testing.assert_allclose(z[[0, -2], 0], 1 / classes - 1, rtol=1e-6)
    np.testing.assert_allclose(z[[0, -2], -1], 1 / classes, rtol=1e-6)
    assert z[-1, 0] == np.exp(np.float32(-100))
    assert abs(z[-1, -1]) < 1e-40
    labels[-1] = classes
    with pytest.raises(ValueError, match=rf"index \({rows - 1},\)"):
        fl.sparse_softmax_cross_entropy(labels, z)
