"""Tables of figures, as text or Markdown, and the machine that they were measured on."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cases import Case
from libraries import Library

import fastloss as fl

OURS = "fastloss"
LIMIT = "limit"
# Smaller cells count for the goals of small calls alone.
LARGE = 100_000

# Nanoseconds per element, by library; the limit of the memory is one of the names.
Times = dict[str, float]
Rows = dict[Case, Times]
Table = list[list[str]]


@dataclass(frozen=True)
class Goal:
    """A line of what is promised beside what was measured."""

    number: int
    text: str
    measured: float
    least: float | None = None
    most: float | None = None
    note: str = ""
    cells: Mapping[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the figure, as it is printed, is on the right side."""
        value = round(self.measured, 2)
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


def geometric_mean(ratios: Iterable[float]) -> float:
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def ratio(times: Times, peer: str) -> float:
    """Return how many times as long a peer takes."""
    return times[peer] / times[OURS]


def best_peer(times: Times) -> str | None:
    """Return the name of the fastest peer."""
    peers = {name: time for name, time in times.items() if name not in {OURS, LIMIT}}
    return min(peers, key=peers.__getitem__) if peers else None


def matrix(rows: Rows, peers: Sequence[str]) -> Table:
    """Return the lines of the main table, as cells."""
    head = ["case", OURS, "limit", "of limit", "best peer", "ratio"]
    lines = [head + list(peers)]
    for case, times in rows.items():
        limit, best = times.get(LIMIT), best_peer(times)
        line = [str(case), f"{times[OURS]:.3f}"]
        line += ["", ""] if limit is None else [f"{limit:.3f}", f"{limit / times[OURS]:.2f}"]
        line += ["", ""] if best is None else [best, f"{ratio(times, best):.2f}"]
        line += [f"{times[name]:.3f}" if name in times else "" for name in peers]
        lines.append(line)
    return lines


def means(rows: Rows, peers: Sequence[str]) -> Table:
    """Return the geometric means against each peer alone and against the best of each cell."""
    lines = [["cells of 100,000 elements and more", "cells", "geometric mean", "least", "where"]]
    large = {case: times for case, times in rows.items() if case.elements >= LARGE}
    for name in ("best peer", *peers):
        ratios = {}
        for case, times in large.items():
            peer = best_peer(times) if name == "best peer" else name
            if peer in times:
                ratios[case] = ratio(times, peer)
        if ratios:
            least = min(ratios, key=ratios.__getitem__)
            mean = f"{geometric_mean(ratios.values()):.2f}"
            lines.append([name, str(len(ratios)), mean, f"{ratios[least]:.2f}", str(least)])
    return lines


def goal_table(goals: Iterable[Goal]) -> Table:
    lines = [["goal", "required", "measured", "met", "where"]]
    for goal in sorted(goals, key=lambda goal: goal.number):
        required = f"≥ {goal.least:g}" if goal.least is not None else f"≤ {goal.most:g}"
        met = "yes" if goal.met else "**no**"
        text = f"{goal.number}. {goal.text}"
        lines.append([text, required, f"{goal.measured:.2f}", met, goal.note])
    return lines


def detail_table(goals: Iterable[Goal]) -> Table:
    """Return every cell behind the goals that speak of the worst one, the worst first."""
    lines = [["goal", "where", "measured"]]
    for goal in sorted(goals, key=lambda goal: goal.number):
        worst_first = sorted(
            goal.cells.items(), key=lambda cell: cell[1], reverse=goal.least is None
        )
        lines += [[f"{goal.number}. {goal.text}", k, f"{v:.2f}"] for k, v in worst_first]
    return lines


def rendered(lines: Table, markdown: bool) -> str:
    """Return a table whose first column is text."""
    if markdown:
        lines = [lines[0], ["---", *["---:"] * (len(lines[0]) - 1)], *lines[1:]]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        " ".join(
            [line[0].ljust(widths[0])]
            + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
        )
        + "\n"
        for line in lines
    )


def machine(threads: int, peers: Sequence[Library]) -> str:
    """Describe what the figures were measured on."""
    config = fl.show_config(as_dict=True)
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = re.findall(r"model name\s*: (.*)", information.read_text())
        processor = names[0] if names else processor
    caches = _caches()
    libraries = ", ".join(dict.fromkeys(peer.version for peer in peers))
    return (
        f"{processor}, {os.cpu_count()} processors{f' ({caches})' if caches else ''}; "
        f"{threads} threads, kernels {config['isa']}, {config['compiler']}; "
        f"Python {platform.python_version()}, {libraries}"
    )


def _caches() -> str:
    """Return the sizes of the first processor's caches, where Linux tells them."""
    found = {}
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (
                (cache / name).read_text().strip() for name in ("level", "type", "size")
            )
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = size.replace("K", " KiB")
    return ", ".join(f"{name} {size}" for name, size in found.items())


def write_between(file: Path, text: str) -> None:
    """Replace what stands between the two markers of a file."""
    begin, end = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
    before, _, rest = file.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{file}: got no lines {begin.strip()!r} and {end.strip()!r}")
    file.write_text(f"{before}{begin}\n{text}\n{end}{after}")
