"""Count the instructions that each kernel takes for an element: a measure of speed without a clock.

    python tools/instruction_counts.py            print the counts
    python tools/instruction_counts.py --write    write them to instruction_counts.tsv
    python tools/instruction_counts.py --check    fail where a count differs from it by over 3 %

Counted is what the built module executes in one thread, from the difference of two sizes, so that
what a call costs once cancels out. The counts belong to one compiler, which the table names; with
another one nothing is checked. Needs Linux on x86-64 and a C compiler.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import fastloss as fl
from fastloss import _core
from fastloss._losses import BY_NAME, REAL, RECORDS, Record

# The tests know valid arguments of every loss.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
from samples import sample

COUNTER = Path(__file__).with_suffix(".c")
TABLE = Path(__file__).with_suffix(".tsv")
TOLERANCE = 0.03
TRIES = 3
DTYPES = ("float32", "float64")
OUTPUTS = ("mean", "value_and_grad")
ISAS = ("baseline", "v3", "v4")
# Whole vectors of every instruction set, several times over, within one block.
ELEMENTS = (64, 128)
# Few classes are taken across the rows, many along them.
ROWS = ((8, (16, 32)), (128, (2, 4)))
COLUMNS = ("loss", "classes", "dtype", "output")

Counts = dict["Cell", float]


@dataclass(frozen=True)
class Cell:
    """What is called, and the instruction set of its kernel."""

    loss: str
    classes: int
    dtype: str
    output: str
    isa: str

    def __str__(self) -> str:
        classes = f" of {self.classes} classes" if self.classes else ""
        return f"{self.loss}{classes}, {self.output}, {self.dtype}, {self.isa}"


def class_counts(record: Record) -> list[int]:
    """Return the numbers of classes; a loss that reads one class a row does no work along it."""
    if record.kind == "pointwise":
        return [0]
    return [
        k for k, _ in ROWS if k == ROWS[0][0] or record.kind == "dense" or record.y_pred == REAL
    ]


def cells() -> list[Cell]:
    """Return every cell that this processor can run."""
    return [
        Cell(record.name, classes, dtype, output, isa)
        for record in RECORDS
        for classes in class_counts(record)
        for dtype in DTYPES
        for output in OUTPUTS
        for isa in _core.isa_available()
    ]


def compiler() -> str:
    """Return name and major version of the compiler of the module."""
    return re.sub(r"(\d+)\..*", r"\1", _core.compiler())


# ---- counting ----


def code() -> tuple[int, int]:
    """Return the addresses between which the module's code lies."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, mode, *_, path = line.split(maxsplit=5)
        if "x" in mode and path.endswith(os.path.basename(_core.__file__)):
            start, stop = addresses.split("-")
            return int(start, 16), int(stop, 16)
    raise RuntimeError(f"/proc/self/maps: got no executable pages of {_core.__file__}")


def build(folder: str) -> str:
    """Compile the counter, and return the path of the library."""
    path = os.path.join(folder, "counter.so")
    flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    subprocess.run([os.environ.get("CC", "cc"), *flags, str(COUNTER), "-o", path], check=True)
    return path


def instructions(counter: ctypes.CDLL, cell: Cell, rows: int, tries: int) -> int:
    """Return the fewest instructions of a call: now and then a few are the interpreter's own."""
    y, z, _ = sample(BY_NAME[cell.loss], cell.dtype, (rows,), classes=cell.classes)
    loss = fl.get(cell.loss)
    call = partial(loss.value_and_grad if cell.output == "value_and_grad" else loss, y, z)
    call()
    start, stop = map(ctypes.c_size_t, code())
    fewest = sys.maxsize
    for _ in range(tries):
        if counter.count_start(start, stop):
            raise RuntimeError("mprotect: the module's pages cannot be protected here")
        call()
        fewest = min(fewest, counter.count_stop())
    return fewest


def count(library: str, tries: int, cell: Cell) -> float:
    """Return the instructions for an element."""
    counter = ctypes.CDLL(library)
    counter.count_stop.restype = ctypes.c_uint64
    gc.disable()
    fl.set_num_threads(1)
    _core._set_isa(cell.isa)
    few, many = dict(ROWS)[cell.classes] if cell.classes else ELEMENTS
    more = instructions(counter, cell, many, tries) - instructions(counter, cell, few, tries)
    return more / ((many - few) * max(cell.classes, 1))


def measured(chosen: list[Cell], tries: int) -> Counts:
    """Count cells, on all processors."""
    with tempfile.TemporaryDirectory() as folder:
        one = partial(count, build(folder), tries)
        with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
            return dict(zip(chosen, pool.map(one, chosen, 4), strict=True))


# ---- the table ----


def lines(counts: Counts) -> Iterator[str]:
    """Yield the lines of the table: a column for each instruction set."""
    yield f"# instructions for an element, {compiler()}"
    yield "\t".join([*COLUMNS, *ISAS])
    for key in dict.fromkeys((c.loss, c.classes, c.dtype, c.output) for c in counts):
        values = [counts.get(Cell(*key, isa)) for isa in ISAS]
        yield "\t".join([*map(str, key), *("" if v is None else f"{v:.3f}" for v in values)])


def committed() -> tuple[str, Counts]:
    """Return the compiler and the counts of the table."""
    first, _, *rest = TABLE.read_text().splitlines()
    counts = {}
    for line in rest:
        loss, classes, dtype, output, *values = line.split("\t")
        for isa, value in zip(ISAS, values, strict=True):
            if value:
                counts[Cell(loss, int(classes), dtype, output, isa)] = float(value)
    return first.rpartition(", ")[2], counts


def differs(now: float, before: float) -> bool:
    """Whether a count is not what the table says."""
    return abs(now / before - 1) > TOLERANCE


def differences(new: Counts, old: Counts) -> tuple[list[str], list[str]]:
    """Return what is worse than the table says, and in what else it is out of date."""
    worse: list[str] = []
    stale: list[str] = []
    for cell, now in new.items():
        before = old.get(cell)
        if before is None:
            stale.append(f"{cell}: {now:.3f}, not in the table")
        elif differs(now, before):
            text = f"{cell}: {before:.3f} -> {now:.3f} ({now / before - 1:+.1%})"
            (worse if now > before else stale).append(text)
    known = {(cell.loss, cell.classes, cell.dtype, cell.output) for cell in new}
    stale += [
        f"{cell}: in the table, but no kernel"
        for cell in old
        if (cell.loss, cell.classes, cell.dtype, cell.output) not in known
    ]
    return worse, stale


def check() -> int:
    """Compare with the table, and say what differs."""
    theirs, old = committed()
    if compiler() != theirs:
        print(f"SKIPPED: the module was compiled by {compiler()}, the table holds for {theirs}.")
        return 0
    new = measured(cells(), tries=1)
    doubtful = [cell for cell in new if cell in old and differs(new[cell], old[cell])]
    if doubtful:
        new |= measured(doubtful, tries=TRIES)
    left_out = [isa for isa in ISAS if isa not in _core.isa_available()]
    if left_out:
        print(f"Left out, this processor does not run it: {', '.join(left_out)}.")
    worse, stale = differences(new, old)
    for title, found in (
        ("More instructions than in the table", worse),
        ("Fewer, or other kernels: refresh the table", stale),
    ):
        if found:
            print(f"{title}:", *found, sep="\n  ")
    if worse or stale:
        print("\nIf so it is meant: python tools/instruction_counts.py --write")
        return 1
    print(f"{len(new)} instruction counts are within {TOLERANCE:.0%} of the table ({theirs}).")
    return 0


def main() -> int:
    """Print, write or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", action="store_true", help="write the table")
    action.add_argument("--check", action="store_true", help="fail if a count differs")
    given = parser.parse_args()
    if sys.platform != "linux" or platform.machine() != "x86_64":
        print("SKIPPED: instructions are counted on Linux on x86-64 alone.")
        return 0
    if given.check:
        return check()
    if given.write and _core.isa_available() != list(ISAS):
        print(f"This processor runs {_core.isa_available()} alone; the table holds {list(ISAS)}.")
        return 1
    text = "\n".join(lines(measured(cells(), TRIES))) + "\n"
    if given.write:
        TABLE.write_text(text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
