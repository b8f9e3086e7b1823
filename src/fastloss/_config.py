"""What this installation is made of, and which instruction set it uses."""

from __future__ import annotations

import os
from typing import Any, Literal, overload

from fastloss import _core
from fastloss._threads import get_num_threads
from fastloss._version import __version__

_LEVELS = ("baseline", "v3", "v4")


def _lower_isa() -> None:
    """Obey ``FASTLOSS_ISA``, which may lower the instruction set but not raise it."""
    wanted = os.environ.get("FASTLOSS_ISA", "")
    if not wanted:
        return
    if wanted not in _LEVELS:
        raise ValueError(
            f"environment variable FASTLOSS_ISA: got {wanted!r}; expected one of "
            + ", ".join(_LEVELS)
        )
    allowed = _LEVELS[: _LEVELS.index(wanted) + 1]
    _core._set_isa([name for name in _core.isa_available() if name in allowed][-1])


@overload
def show_config(as_dict: Literal[False] = False) -> None: ...
@overload
def show_config(as_dict: Literal[True]) -> dict[str, Any]: ...
def show_config(as_dict: bool = False) -> dict[str, Any] | None:
    """Print version, instruction sets, threads and compiler.

    Parameters
    ----------
    as_dict : bool
        Return them as a dictionary instead.

    Returns
    -------
    dict or None
        Keys: ``version``, ``isa`` (in use), ``isa_available`` (compiled in, and run by this
        processor), ``isa_compiled``, ``openmp`` (version, or None if built without), ``threads``,
        ``compiler``, ``numpy``.
    """
    import numpy as np

    openmp = _core.openmp()
    config: dict[str, Any] = {
        "version": __version__,
        "isa": _core.isa(),
        "isa_available": _core.isa_available(),
        "isa_compiled": _core.isa_compiled(),
        "openmp": str(openmp) if openmp else None,
        "threads": get_num_threads(),
        "compiler": _core.compiler(),
        "numpy": np.__version__,
    }
    if as_dict:
        return config
    for key, value in config.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        print(f"{key + ':':<15}{shown}")
    return None


_lower_isa()
