"""Fixtures that several files of tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from fastloss import _core

# The same examples in every run, for as long as they take.
settings.register_profile(
    "fastloss",
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fastloss")


@pytest.fixture
def python() -> Callable[..., str]:
    """Run code in a new interpreter, with these environment variables; return what it prints.

    Those that are empty are not set.
    """

    def run(code: str, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={name: value for name, value in {**os.environ, **env}.items() if value},
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture(params=_core.isa_available())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Set each instruction set in turn."""
    before = _core.isa()
    _core._set_isa(request.param)
    yield request.param
    _core._set_isa(before)
