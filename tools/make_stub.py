"""Make the type stub of the package from the registry.

    python tools/make_stub.py            write src/fastloss/__init__.pyi
    python tools/make_stub.py --check    fail if the file differs

Reads the registry alone, so it works without the compiled module.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = Path(__file__).parents[1] / "src/fastloss"
OUTPUT = PACKAGE / "__init__.pyi"

HEADER = """\
# Made by tools/make_stub.py.
# Each loss narrows the parameters of Loss to its own.
# mypy: disable-error-code="override"
from typing import Any, Literal, overload

from numpy.typing import ArrayLike, NDArray

from fastloss._accumulator import Accumulator as Accumulator
from fastloss._api import Loss as Loss
from fastloss._api import losses as losses
from fastloss._config import show_config as show_config
from fastloss._scan import scan as scan
from fastloss._threads import get_num_threads as get_num_threads
from fastloss._threads import set_num_threads as set_num_threads
from fastloss._threads import threads as threads
from fastloss._version import __version__ as __version__

_Array = NDArray[Any]
_Weight = ArrayLike | None
_Pair = tuple[_Array, _Array]
_Threads = int | None
"""
TYPES = {
    "real": "float",
    "axis": "int",
    "class_weight": "ArrayLike | None",
    "ignore_index": "int | None",
}


def registry() -> ModuleType:
    """Return the registry as a module of its own."""
    spec = importlib.util.spec_from_file_location("fastloss_losses", PACKAGE / "_losses.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up the module of their annotations
    spec.loader.exec_module(module)
    return module


def class_name(record: Any) -> str:
    """Return the name of the loss's class in the stub."""
    return "_" + "".join(word.capitalize() for word in record.name.split("_"))


def keywords(record: Any) -> str:
    """Return the loss's own parameters."""
    return "".join(f"{p.name}: {TYPES[p.kind]} = {p.default!r}, " for p in record.parameters)


def method(record: Any, name: str, reduction: str, out: str, result: str) -> str:
    """Return the signature of a method."""
    return (
        f"    def {name}(self, y_true: ArrayLike, y_pred: ArrayLike, *, {keywords(record)}"
        f"sample_weight: _Weight = None, reduction: {reduction}, out: {out} = None, "
        f"num_threads: _Threads = None) -> {result}: ..."
    )


def loss_class(record: Any) -> str:
    """Return the class of a loss."""
    none = "none" in record.reductions
    numbers = ", ".join(repr(r) for r in record.reductions if r != "none")
    every = ", ".join(map(repr, record.reductions))
    number, anything = f"Literal[{numbers}] = 'mean'", f"Literal[{every}] = 'mean'"
    one, two = "_Array | None", "_Pair | None"
    lines = [f"class {class_name(record)}(Loss):"]
    for name, out_of_number, value, arrays, out_of_none in (
        ("__call__", "None", "float", "_Array", one),
        ("value_and_grad", one, "tuple[float, _Array]", "_Pair", two),
    ):
        if none:
            lines.append("    @overload")
            lines.append(method(record, name, "Literal['none']", out_of_none, arrays))
            lines.append("    @overload")
        lines.append(method(record, name, number, out_of_number, value))
    lines.append(method(record, "grad", anything, one, "_Array"))
    if record.has_hessian:
        lines.append(method(record, "grad_and_hess", anything, two, "_Pair"))
    return "\n".join(lines).replace("'", '"')


def getter(record: Any) -> str:
    """Return the overload of `get` for a loss."""
    names = ", ".join(f'"{name}"' for name in (record.name, *record.aliases))
    own = keywords(record).rstrip(", ")
    star = f", *, {own}" if own else ""
    return (
        f"@overload\ndef get(name: Literal[{names}], /{star}) -> {class_name(record)}: ...".replace(
            "'", '"'
        )
    )


def stub() -> str:
    """Return the text of the stub."""
    records = registry().RECORDS
    parts = [HEADER, *map(loss_class, records)]
    parts.append("\n".join(map(getter, records)))
    parts.append("@overload\ndef get(name: str, /, **params: Any) -> Loss: ...")
    parts.append(
        "\n".join(
            f"{name}: {class_name(record)}"
            for record in records
            for name in (record.name, *record.aliases)
        )
    )
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Write or check the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    text = stub()
    if not parser.parse_args().check:
        OUTPUT.write_text(text)
        return 0
    if OUTPUT.exists() and OUTPUT.read_text() == text:
        return 0
    print(f"{OUTPUT} is not what tools/make_stub.py makes", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
