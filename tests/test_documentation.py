"""Examples in the documentation do what they say."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import fastloss as fl
import fastloss._accumulator
import fastloss._api
import fastloss._scan

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("module", [fl, fastloss._api, fastloss._accumulator, fastloss._scan])
def test_doctests(module: ModuleType) -> None:
    if module is fastloss._scan:
        pytest.importorskip("pyarrow")
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


def test_readme_example() -> None:
    block = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    names: dict[str, object] = {}
    exec(block[1], names)
    y_true, y_pred = names["y_true"], names["y_pred"]
    assert fl.huber(y_true, y_pred) == pytest.approx(0.5416666666666666, rel=1e-15)
    losses = fl.huber(y_true, y_pred, reduction="none")
    np.testing.assert_array_equal(losses, [0.125, 1.5, 0.0])
    assert names["loss"] == fl.get("huber", delta=2.0)


def test_readme_names_every_loss() -> None:
    text = README.read_text()
    for name in fl.losses():
        assert f"`{name}`" in text
