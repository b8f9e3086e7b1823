"""Examples in the documentation do what they say."""

from __future__ import annotations

import doctest
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastloss as fl
import fastloss._accumulator
import fastloss._api
import fastloss._scan

README = Path(__file__).parents[1] / "README.md"
DISTRIBUTED = README.parent / "docs" / "distributed.md"


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


# ---- recipes, with a stand-in for the framework: as many partitions, as many calls ----


def recipe(heading: str) -> str:
    """Return the code under a heading of the page on scoring on many machines."""
    section = DISTRIBUTED.read_text().split(f"## {heading}\n")[1]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return block[1]


def partitions() -> Iterator[tuple[Any, Any]]:
    """Yield targets and predictions, of one partition without rows too."""
    random = np.random.default_rng(0)
    for rows in (100, 0, 2300):
        yield random.integers(0, 2, rows), random.random(rows).astype(np.float32)


def whole() -> fl.Accumulator:
    accumulator = fl.Accumulator(["log_loss", "mse"])
    for y, z in partitions():
        accumulator.update(y, z)
    return accumulator


def test_recipe_for_spark() -> None:
    pa = pytest.importorskip("pyarrow")

    class Frame:
        def select(self, *names: str) -> Frame:
            assert names == ("y", "z")
            return self

        def mapInArrow(self, states: Callable[..., Any], schema: str) -> Frame:  # noqa: N802
            assert schema == "state string"
            self.rows = []
            for y, z in partitions():
                batches = pa.table({"y": y, "z": z}).to_batches(700)
                for batch in states(iter(batches)):
                    assert batch.schema == pa.schema({"state": pa.string()})
                    self.rows += [SimpleNamespace(**row) for row in batch.to_pylist()]
            return self

        def collect(self) -> list[SimpleNamespace]:
            return self.rows

    names: dict[str, Any] = {"frame": Frame()}
    exec(recipe("Spark"), names)
    assert names["total"].to_dict() == whole().to_dict()


def test_recipe_for_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    ray: Any = ModuleType("ray")
    ray.remote = lambda function: SimpleNamespace(remote=function)
    ray.get = list
    monkeypatch.setitem(sys.modules, "ray", ray)
    paths = []
    for i, (y, z) in enumerate(partitions()):
        paths.append(str(tmp_path / f"{i}.parquet"))
        parquet.write_table(pa.table({"y": y, "z": z}), paths[-1])
    names: dict[str, Any] = {"paths": paths}
    exec(recipe("Ray"), names)
    assert names["total"].to_dict() == whole().to_dict()
