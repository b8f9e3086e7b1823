"""Measure the figures of docs/accuracy.md and put them there.

    python tools/accuracy/table.py                  all of it
    python tools/accuracy/table.py vecmath          exp, log and their kin over all float32 numbers
    python tools/accuracy/table.py losses           every loss, beside other libraries
    python tools/accuracy/table.py sums             sums of 10^8 terms; needs 4 GB of memory

Each part takes minutes and replaces what stands between its two markers. A library that is not
installed is left out, and the page says so.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import losses
import numpy as np
import sums
from examples import EXAMPLES, lines
from losses import Beside, Own, Triple
from peers import PEERS, Peer

import fastloss as fl

sys.path.append(str(Path(__file__).parents[1]))
import ulp_sweep

PAGE = Path(__file__).parents[2] / "docs/accuracy.md"
NONE = "-"
# What is promised of exp and its kin in ULPs, and of sums relative to their magnitudes.
ELEMENTARY = 1.0
SUM = 2.0**-51


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is text."""
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ruler, *rows)) + "\n"


def number(error: float | None) -> str:
    """Return an error as people read it."""
    if error is None:
        return NONE
    if np.isinf(error):
        return "wrong"
    if error >= 1000:
        mantissa, exponent = f"{error:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{error:.1f}" if error else "0"


def three(errors: Triple | None) -> str:
    """Return the errors of loss, gradient and Hessian."""
    return "" if errors is None else " / ".join(map(number, errors))


def machine(distributions: Iterable[str]) -> str:
    """Say when and on what the figures were measured."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = re.findall(r"model name\s*: (.*)", information.read_text())
        processor = names[0] if names else processor
    versions = ", ".join(f"{name} {version(name)}" for name in distributions)
    return (
        f"Measured on {time.strftime('%Y-%m-%d')}: {processor}, {os.cpu_count()} processors, "
        f"{fl.show_config(as_dict=True)['compiler']}; Python {platform.python_version()}, "
        f"{versions}.\n"
    )


def vecmath() -> tuple[str, list[str]]:
    """Return the part on the elementary functions, and what is worse than promised."""
    rows, broken = [], []
    with tempfile.TemporaryDirectory() as folder:
        probes = ulp_sweep.probes(folder)
        for function in ulp_sweep.FUNCTIONS:
            errors = ulp_sweep.sweep(function, probes)
            domain = f"[{function.low:g}, {function.high:g}]"
            found = [errors[dtype].get(isa) for dtype in losses.DTYPES for isa in probes]
            texts = ("" if worst is None else f"{worst.error:.3f}" for worst in found)
            rows.append([f"`{function.name}`", domain, *texts])
            broken += [
                f"{function.name} at {worst.at}: {worst.error} ULP"
                for worst in found
                if worst is not None and worst.error > ELEMENTARY
            ]
    head = ["function", "domain", *(f"{d}, {isa}" for d in losses.DTYPES for isa in probes)]
    return "\n".join([machine(["numpy", "mpmath"]), table(head, rows)]), broken


def named(loss: str, params: dict[str, object]) -> str:
    """Return a loss with its parameters."""
    return f"`{loss}`" + "".join(f", {k} {v}".replace("_", " ") for k, v in params.items())


def own_table(owns: Sequence[Own]) -> str:
    """Return our errors over all points and parameters."""
    isas = list(owns[0].errors)
    rows = [
        [
            f"`{own.record.name}`",
            own.dtype,
            f"{own.points:,}",
            str(own.record.max_ulp),
            *map(three, own.errors.values()),
        ]
        for own in owns
    ]
    return table(["loss", "dtype", "points", "promised", *isas], rows)


def peer_table(rows: Sequence[Beside], available: Sequence[Peer]) -> str:
    """Return the errors beside those of other libraries."""
    lines = [
        [
            named(row.record.name, row.params),
            row.dtype,
            f"{row.points:,}",
            three(row.own),
            *(three(row.others.get(peer.name)) for peer in available),
        ]
        for row in rows
    ]
    return table(["loss", "dtype", "points", "fastloss", *(p.name for p in available)], lines)


def every_loss() -> tuple[str, list[str]]:
    """Return the part on losses, ours and beside others, and what is worse than promised."""
    available = losses.installed()
    missing = [peer.name for peer in PEERS if not peer.installed]
    owns, everyday, hostile = losses.measure_all()
    names = [name for peer in available for name in peer.distributions]
    head = ["point", *("exact", "fastloss"), *(peer.name for peer in available)]
    parts = [machine(["numpy", "mpmath", *dict.fromkeys(names)])]
    if missing:
        parts.append(f"Not installed, left out: {', '.join(missing)}.\n")
    parts += [
        "### Ours\n",
        own_table(owns),
        "### Beside others, at everyday points\n",
        peer_table(everyday, available),
        "### Beside others, at hostile points\n",
        peer_table(hostile, available),
        "### Single points\n",
        table(head, (lines(example, available) for example in EXAMPLES)),
        "### What was done with each library\n",
        "".join(f"- **{peer.name}**: {peer.remarks}\n" for peer in PEERS),
    ]
    broken = [
        f"{own.record.name}, {own.dtype}, {isa}: {three(errors)} ULP"
        for own in owns
        for isa, errors in own.errors.items()
        if max(error for error in errors if error is not None) > own.record.max_ulp
    ]
    return "\n".join(parts), broken


def every_sum() -> tuple[str, list[str]]:
    """Return the part on sums, and what is worse than promised."""
    rows, broken, who = [], [], [""]
    for data in sums.DATA:
        for dtype in sums.DTYPES:
            measured = sums.measure(data, dtype)
            who = list(measured.errors)
            condition = f"{measured.condition:.0e}" if measured.condition > 1.5 else "1"
            cells = [f"{error:.1e}" if error else "0" for error in measured.errors.values()]
            rows.append([data.name, dtype, f"{data.count:,}", condition, *cells])
            if measured.errors["fastloss"] > SUM:
                broken.append(f"sum of {dtype}, {data.name}: {measured.errors['fastloss']}")
    installed = ["torch"] if "torch" in who else []
    head = ["terms", "dtype", "number", "condition", *who]
    return "\n".join([machine(["numpy", *installed]), table(head, rows)]), broken


PARTS: dict[str, Callable[[], tuple[str, list[str]]]] = {
    "vecmath": vecmath,
    "losses": every_loss,
    "sums": every_sum,
}


def write(part: str, text: str) -> None:
    """Replace what stands between the markers of a part."""
    begin, end = f"<!-- {part}: begin -->\n", f"<!-- {part}: end -->\n"
    before, _, rest = PAGE.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{PAGE}: got no lines {begin.strip()!r} and {end.strip()!r}")
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def main() -> int:
    """Measure and write; return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="?", choices=PARTS, help="one part")
    only = parser.parse_args().part
    worse: list[str] = []
    for part, measure in PARTS.items():
        if only not in {None, part}:
            continue
        begun = time.monotonic()
        text, broken = measure()
        write(part, text)
        worse += broken
        print(f"{part}: {time.monotonic() - begun:.0f} s", flush=True)
    for line in worse:
        print(f"worse than promised: {line}", file=sys.stderr)
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
