"""What the benchmarks time: this package, and every library that people would use instead.

A library is one module with a function that takes a case, its arguments and a number of threads,
and returns a call without arguments: everything that is not part of a user's call (compiling,
making tensors of arrays) is done before it is returned.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

from cases import Array, Call, Case

Prepare = Callable[[Case, Array, Array, int], Call | None]


class CompileError(Exception):
    """A library has the loss in principle, but its compiler fails on it."""


@dataclass(frozen=True)
class Library:
    """A peer: its column, its module here, and what must be installed."""

    name: str
    module: str
    imported: str
    distribution: str

    @property
    def installed(self) -> bool:
        """Whether it can be imported."""
        return importlib.util.find_spec(self.imported) is not None

    @property
    def version(self) -> str:
        """Distribution and version."""
        return f"{self.distribution} {version(self.distribution)}"

    def prepare(self, case: Case, y: Array, z: Array, threads: int) -> Call | None:
        """Return the case's call, or None where the library has no such loss or operation."""
        function: Prepare = import_module(f"libraries.{self.module}").prepare
        return function(case, y, z, threads)


PEERS = (
    Library("numpy", "plain_numpy", "numpy", "numpy"),
    Library("sklearn", "scikit_learn", "sklearn", "scikit-learn"),
    Library("torch", "torch_eager", "torch", "torch"),
    Library("compile", "torch_compile", "torch", "torch"),
    Library("jax", "jax_jit", "jax", "jax"),
    Library("numba", "numba_loops", "numba", "numba"),
)
