"""The type stub: up to date, and right about a user's script that calls every loss."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastloss as fl
from fastloss._losses import RECORDS, Parameter

ROOT = Path(__file__).parents[1]
VALUES = {"class_weight": "[1.0, 2.0]", "ignore_index": "-1", "axis": "-1"}


def value(parameter: Parameter) -> str:
    return VALUES.get(parameter.kind, repr(parameter.default))


def script() -> str:
    lines = [
        "from typing import Any",
        "import numpy as np",
        "from numpy.typing import NDArray",
        "import fastloss as fl",
        "y = np.zeros(3)",
        "number: float",
        "array: NDArray[Any]",
        "other: NDArray[Any]",
    ]
    for r in RECORDS:
        own = "".join(f", {p.name}={value(p)}" for p in r.parameters)
        bound = ", ".join([repr(r.name), *(f"{p.name}={value(p)}" for p in r.parameters)])
        for f in (f"fl.{r.name}", *(f"fl.{alias}" for alias in r.aliases), f"fl.get({bound})"):
            lines += [
                f"number = {f}(y, y{own}, sample_weight=y, num_threads=2)",
                f"array = {f}.grad(y_true=y, y_pred=y{own}, out=y)",
                f"number, array = {f}.value_and_grad([1.0], [0.5]{own})",
            ]
            if "none" in r.reductions:
                lines += [
                    f"number = {f}(y, y{own}, reduction='sum')",
                    f"array = {f}(y, y{own}, reduction='none')",
                    f"array, other = {f}.value_and_grad(y, y{own}, reduction='none')",
                ]
            if r.has_hessian:
                lines.append(f"array, other = {f}.grad_and_hess(y, y{own}, reduction='sum')")
    lines += [
        "loss: fl.Loss = fl.get('huber', delta=2.0)",
        "number = loss(y, y)",
        "name: str = loss.name + loss.family + loss.formula",
        "names: list[str] = fl.losses()",
        "with fl.threads(2):",
        "    fl.set_num_threads(fl.get_num_threads())",
        "config: dict[str, Any] = fl.show_config(as_dict=True)",
        "version: str = fl.__version__",
    ]
    return "\n".join(lines) + "\n"


WRONG = """\
import fastloss as fl
number: float = fl.huber([0.0], [0.0], reduction="none")
fl.huber([0.0], [0.0], dleta=1.0)
fl.huber([0.0], [0.0], reduction="avg")
fl.squared_error([0.0], [0.0], delta=1.0)
fl.rmse([0.0], [0.0], reduction="sum")
fl.nosuch([0.0], [0.0])
"""


def mypy(path: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("mypy")
    package = Path(fl.__file__).parents[1]
    installed = package.name == "site-packages"
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(path.parent / "cache")]
    return subprocess.run(
        [*command, "--config-file", "/dev/null", str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=path.parent,
        env={"PATH": os.environ["PATH"], **({} if installed else {"MYPYPATH": str(package)})},
    )


def test_strict_script(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(script())
    done = mypy(path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mistakes_are_found(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    done = mypy(path)
    found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    assert found == set(range(2, 8)), done.stdout + done.stderr


def test_up_to_date() -> None:
    tool = ROOT / "tools/make_stub.py"
    done = subprocess.run(
        [sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
