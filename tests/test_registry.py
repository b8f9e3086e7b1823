"""The lists of losses agree: registry, kernels, oracle, public names, stub, documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import reference

import fastloss as fl
from fastloss import _core
from fastloss._losses import BY_NAME, RECORDS, Record

STUB = Path(fl.__file__).with_name("__init__.pyi")


def test_names_are_unique() -> None:
    names = [name for r in RECORDS for name in (r.name, *r.aliases)]
    assert len(names) == len(set(names)) == len(BY_NAME)


def test_kernels() -> None:
    pointwise, rowwise = _core.kernels()
    assert {r.kernel for r in RECORDS if r.kind == "pointwise"} == set(pointwise)
    assert {r.kernel for r in RECORDS if r.kind != "pointwise"} == set(rowwise)


def test_oracle() -> None:
    assert set(reference.REFERENCES) == {r.name for r in RECORDS}
    for r in RECORDS:
        assert (reference.REFERENCES[r.name].hess is not None) == r.has_hessian


def test_public_names() -> None:
    assert fl.losses() == [r.name for r in RECORDS]
    assert set(BY_NAME) <= set(fl.__all__)
    assert len(fl.__all__) == len(set(fl.__all__))
    assert set(fl.__all__) <= set(dir(fl))


def test_stub() -> None:
    declared = set(re.findall(r"^(\w+): _\w+$", STUB.read_text(), re.MULTILINE))
    assert declared == set(BY_NAME)
    for name in fl.__all__:
        assert re.search(rf"\b{name}\b", STUB.read_text())


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
def test_record(record: Record) -> None:
    assert record.formula
    assert record.gradient
    assert record.reference
    assert record.summary.endswith(".")
    assert len({p.name for p in record.parameters}) == len(record.parameters)
    assert len([p for p in record.parameters if p.kind == "real"]) <= 4
    for p in record.parameters:
        assert p.doc.endswith(".")
        assert p.default is None or p.default in p.domain


def test_core_knows_no_loss() -> None:
    """Only the registry and the formulas name losses."""
    package = Path(fl.__file__).parent
    root = Path(__file__).parents[1] / "src/fastloss"
    source = root if root.exists() else package
    for name in ("_core.pyx", "_api.py", "_arrays.py", "_threads.py", "kernels/pipeline.c"):
        text = (source / name).read_text()
        code = re.sub(r'""".*?"""|/\*.*?\*/|#[^\n]*', "", text, flags=re.DOTALL)
        for r in RECORDS:
            assert r.name not in code, (name, r.name)
