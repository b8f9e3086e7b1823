"""The guard of the instruction counts finds what it is there for."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[1] / "tools/instruction_counts.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("instruction_counts", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("now", "worse", "stale"),
    [(10.0, 0, 0), (10.29, 0, 0), (9.71, 0, 0), (10.31, 1, 0), (9.69, 0, 1)],
)
def test_differences(tool: ModuleType, now: float, worse: int, stale: int) -> None:
    cell = tool.Cell("huber", 0, "float32", "mean", "v3")
    found = tool.differences({cell: now}, {cell: 10.0})
    assert tuple(map(len, found)) == (worse, stale)


def test_differences_of_kernels(tool: ModuleType) -> None:
    old = tool.Cell("huber", 0, "float32", "mean", "v3")
    new = tool.Cell("hubris", 0, "float32", "mean", "v3")
    worse, stale = tool.differences({new: 1.0}, {old: 1.0})
    assert not worse
    assert len(stale) == 2


def test_another_instruction_set_is_no_difference(tool: ModuleType) -> None:
    """A processor without AVX-512 counts fewer columns than the table has."""
    here, elsewhere = (tool.Cell("huber", 0, "float32", "mean", isa) for isa in ("v3", "v4"))
    assert tool.differences({here: 1.0}, {here: 1.0, elsewhere: 1.0}) == ([], [])


def test_table_round_trip(tool: ModuleType) -> None:
    compiler, counts = tool.committed()
    assert compiler.startswith("gcc ")
    assert all(value > 0 for value in counts.values())
    lines = list(tool.lines(counts))[1:]
    assert lines == tool.TABLE.read_text().splitlines()[1:]
