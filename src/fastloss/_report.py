"""What the command prints: results as a table, JSON or CSV, and as a state to be merged.

Needs rich.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastloss._accumulator import Accumulator, value_text
from fastloss._groups import sorted_keys
from fastloss._version import __version__

_WIDTH = 80
_FORMAT, _VERSION = "fastloss.state", 1


@dataclass(frozen=True)
class Report:
    """Losses of what was read.

    `by` are the columns of the groups, `rows` counts all rows, and `nulls` the nulls of each
    column.
    """

    accumulator: Accumulator
    by: tuple[str, ...]
    rows: int
    nulls: dict[str, int]
    weighted: bool

    # ---- states ----

    def to_dict(self) -> dict[str, Any]:
        """Return it as numbers, strings, lists and dicts."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "by": list(self.by),
            "rows": self.rows,
            "nulls": self.nulls,
            "weighted": self.weighted,
            "accumulator": self.accumulator.to_dict(),
        }

    @classmethod
    def from_dict(cls, state: Any) -> Report:
        """Return the report that `to_dict` was called on."""
        if not isinstance(state, Mapping) or state.get("format") != _FORMAT:
            raise ValueError('is no state that "fastloss score --state-out" has written')
        if state.get("version") != _VERSION:
            raise ValueError(f"is a state of version {state.get('version')}; expected {_VERSION}")
        try:
            return cls(
                Accumulator.from_dict(state["accumulator"]),
                tuple(state["by"]),
                state["rows"],
                state["nulls"],
                state["weighted"],
            )
        except KeyError as error:
            raise ValueError(f"is a state without {error}") from None

    def merged(self, other: Report) -> Report:
        """Return one report of both."""
        if self.by != other.by:
            raise ValueError(
                f"is grouped by {', '.join(other.by) or 'nothing'}; expected "
                f"{', '.join(self.by) or 'nothing'}, as in the states before"
            )
        return Report(
            self.accumulator + other.accumulator,
            self.by,
            self.rows + other.rows,
            dict(Counter(self.nulls) + Counter(other.nulls)),
            self.weighted or other.weighted,
        )

    # ---- results ----

    def results(self) -> list[dict[str, Any]]:
        """Return the results of all rows, and then those of the groups."""
        whole = self.accumulator.total()
        results = self._of_group(whole, None)
        if self.by:
            tables = {
                name: getattr(self.accumulator, name)()
                for name in ("result", "sums", "counts", "weights", "nans")
            }
            for key in sorted_keys(tables["result"]):
                results += self._rows(key, {name: table[key] for name, table in tables.items()})
        return results

    def _of_group(self, accumulator: Accumulator, key: Any) -> list[dict[str, Any]]:
        names = ("result", "sums", "counts", "weights", "nans")
        return self._rows(key, {name: getattr(accumulator, name)() for name in names})

    def _rows(self, key: Any, table: dict[str, Any]) -> list[dict[str, Any]]:
        rows = []
        for label, loss in self.accumulator.losses.items():
            root = loss.name == "root_mean_squared_error"
            rows.append(
                {
                    "group": key,
                    "label": label,
                    "loss": loss.name,
                    "params": {k: v for k, v in loss.params.items() if k != "axis"},
                    "mean": table["result"][label],
                    "sum": None if root else table["sums"][label],
                    "count": table["counts"][label],
                    "weight": table["weights"][label],
                    "nan": table["nans"][label],
                }
            )
        return rows

    def json(self) -> str:
        """Return everything as JSON, with full digits."""
        results = []
        for result in self.results():
            shown = {key: value for key, value in result.items() if key != "label"}
            for key in ("mean", "sum", "weight"):
                shown[key] = _finite(shown[key])
            key = shown.pop("group")
            if self.by:
                values = None if key is None else map(_plain, key)
                group = None if values is None else dict(zip(self.by, values, strict=True))
                shown = {"group": group, **shown}
            results.append(shown)
        report = {
            "version": __version__,
            "rows": self.rows,
            "skipped": self.accumulator.skipped,
            "nulls": self.nulls,
            "results": results,
        }
        return json.dumps(report, indent=2, allow_nan=False)

    def csv(self) -> str:
        """Return the results as CSV, with full digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*self.by, "loss", "params", "mean", "sum", "count", "weight", "nan"])
        for r in self.results():
            params = ",".join(f"{key}={value_text(value)}" for key, value in r["params"].items())
            total = "" if r["sum"] is None else repr(r["sum"])
            group = [""] * len(self.by) if r["group"] is None else r["group"]
            writer.writerow(
                [*group, r["loss"], params, repr(r["mean"]), total, r["count"], repr(r["weight"]),
                 r["nan"]]
            )  # fmt: skip
        return text.getvalue()

    def rows_text(self) -> str:
        """Say how many rows there are, and how many were left out."""
        rows = f"{self.rows:,} row{'s' * (self.rows != 1)}"
        if not self.nulls:
            return f"{rows}, no nulls"
        columns = ", ".join(f"{name}: {count:,}" for name, count in self.nulls.items())
        if not self.accumulator.skipped:
            return f"{rows}, nulls taken as NaN ({columns})"
        return f"{rows}, {self.accumulator.skipped:,} of them left out because of nulls ({columns})"

    # ---- tables ----

    def print_table(self) -> None:
        """Print the results on standard output."""
        console = Console(
            file=sys.stdout,
            width=max(_WIDTH, _longest(self.table_cells())) + _WIDTH,
            highlight=False,
            markup=False,
            emoji=False,
            no_color="NO_COLOR" in os.environ or None,
        )
        header, *lines = self.table_cells()
        left = len(self.by) or 1
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
        for i, name in enumerate(header):
            table.add_column(
                Text(name),
                justify="left" if i < left else "right",
                no_wrap=True,
                header_style="bold",
            )
        for line in lines:
            style = "bold" if self.by and line[0] == "all" else ""
            table.add_row(*map(Text, line), style=style)
        # Written by print, since rich makes an error of its own of a closed pipe.
        with console.capture() as capture:
            console.print(Text(self.rows_text()), soft_wrap=True)
            console.print()
            console.print(table)
        print(capture.get(), end="")

    def table_cells(self) -> list[list[str]]:
        """Return header and lines: with groups a line each and the means, where that fits."""
        if not self.by:
            return self._long()
        wide = self._wide()
        return wide if _longest(wide) <= _WIDTH else self._long()

    def _wide(self) -> list[list[str]]:
        labels = list(self.accumulator.losses)
        lines = [[*self.by, "rows", *labels]]
        results = self.results()
        for start in (*range(len(labels), len(results), len(labels)), 0):
            of_group = results[start : start + len(labels)]
            if not of_group:
                continue
            rows = max(result["count"] for result in of_group)
            means = [number_text(result["mean"]) for result in of_group]
            lines.append([*self._group(of_group[0]["group"]), f"{rows:,}", *means])
        return lines

    def _long(self) -> list[list[str]]:
        header = ["loss", "mean", "sum", "count", *(["weight"] if self.weighted else [])]
        lines = [[*self.by, *header]]
        results = self.results()
        count = len(self.accumulator.losses)
        for r in [*results[count:], *results[:count]]:
            total = "-" if r["sum"] is None else number_text(r["sum"])
            weight = [number_text(r["weight"])] if self.weighted else []
            mean = number_text(r["mean"])
            group = self._group(r["group"]) if self.by else []
            lines.append([*group, r["label"], mean, total, f"{r['count']:,}", *weight])
        return lines

    def _group(self, key: Any) -> list[str]:
        if key is None:
            return ["all", *[""] * (len(self.by) - 1)]
        return ["null" if value is None else str(value) for value in key]


def _longest(lines: list[list[str]]) -> int:
    return sum(max(map(len, column)) + 2 for column in zip(*lines, strict=True)) - 2


def _plain(x: Any) -> Any:
    """Return a value of a key as a number, a boolean, null, or a string."""
    if isinstance(x, float):
        return _finite(x)
    if x is None or isinstance(x, (bool, int, str)):
        return x
    return x.hex() if isinstance(x, bytes) else x.isoformat() if hasattr(x, "isoformat") else str(x)


def _finite(x: float | None) -> float | str | None:
    """Return `x`, or its name if JSON has no such number."""
    if x is None or math.isfinite(x):
        return x
    return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"


def number_text(x: float) -> str:
    """Return `x` with six digits or, where it is larger, as a whole number."""
    if not math.isfinite(x):
        return str(x)
    if x != 0 and not 1e-4 <= abs(x) < 1e15:
        return f"{x:.5e}"
    magnitude = math.floor(math.log10(abs(x))) if x else 0
    return f"{x:,.{max(0, 5 - magnitude)}f}"
