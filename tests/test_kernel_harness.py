"""The kernels' own tests in C, which sanitizers and other processors run, fit the kernels."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HARNESS = ROOT / "tests" / "kernels" / "harness.c"
KERNELS = ROOT / "src" / "fastloss" / "kernels"
COMPILER = shutil.which(os.environ.get("CC", "cc"))


@pytest.mark.skipif(
    os.name != "posix" or not COMPILER or not KERNELS.exists(), reason="no compiler or no sources"
)
@pytest.mark.parametrize("options", [[], ["-DFUZZ"]])
def test_harness_compiles(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "table.h").write_text("{0}\n")  # instead of the exact values
    done = subprocess.run(
        [
            *(
                str(COMPILER),
                "-std=gnu11",
                "-fsyntax-only",
                "-Wall",
                "-Wextra",
                "-Werror",
                *options,
            ),
            *(f"-I{KERNELS}", f"-I{tmp_path}", str(HARNESS)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
