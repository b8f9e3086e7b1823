"""The command `fastloss`: arguments, output, and mistakes told in one line.

Exit codes: 0 fine, 2 a mistake in the arguments or the data, 130 interrupted, 141 the reader of
the output is gone.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import io
import json
import math
import os
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import fastloss
from fastloss._losses import BY_NAME, RECORDS, Parameter, Record

if TYPE_CHECKING:
    from fastloss._score import Report, Result

_EPILOG = """\
columns
  A pointwise loss takes one --y-true and one --y-pred. A row-wise loss takes one --y-pred for
  each class, in the order of the classes, and as --y-true one column of class indices (the
  sparse_... losses) or one column for each class (the others).

parameters
  --loss huber:delta=2
  --loss sparse_softmax_cross_entropy:class_weight=1:2.5:1,ignore_index=-1
  "fastloss losses" lists all losses with their parameters.

nulls
  A row with a null in a used column counts nowhere; their number is reported, for JSON and CSV
  on stderr. NaN is not null: it makes the results NaN. In JSON, which has no such numbers,
  results that are not finite are the strings "NaN", "Infinity" and "-Infinity".
"""

_TAKES = {
    ("regression", "pointwise"): "one --y-true, one --y-pred",
    ("binary", "pointwise"): "one --y-true, one --y-pred",
    ("multiclass", "sparse"): "one --y-true of class indices, one --y-pred for each class",
    ("multiclass", "dense"): "one --y-true and one --y-pred for each class",
}
_WIDTH = 80


class _MistakeError(Exception):
    """What the user should know, in one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _MistakeError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None, prog: str = "fastloss") -> int:
    """Run the command and return its exit code."""
    try:
        arguments = _parser(prog).parse_args(argv)
        arguments.run(arguments)
        print(end="", flush=True)
    except _MistakeError as mistake:
        return _fail(str(mistake))
    except MemoryError:
        return _fail("out of memory")
    except UnicodeEncodeError as error:
        return _fail(f"the output cannot be written in {error.encoding}: {error.object!a}")
    except OSError as error:
        # Nothing more can be written: the interpreter's last flush must not complain as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141
        return _fail(f"the output cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        print("fastloss: interrupted", file=sys.stderr)
        return 130
    return 0


def _fail(message: str) -> int:
    print("fastloss: error:", " ".join(message.split()), file=sys.stderr)
    return 2


# ---- arguments ----


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        description="Losses of predictions in files.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fastloss {fastloss.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    score = commands.add_parser(
        "score",
        help="losses of the columns of a Parquet or CSV file",
        description="Print the losses of the columns of a Parquet or CSV file, all from one pass "
        "over its rows.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    score.set_defaults(run=_score)
    score.add_argument("file", metavar="FILE", help="a Parquet, .csv or .tsv file (also .csv.gz)")
    score.add_argument(
        "--y-true",
        metavar="COL",
        action="append",
        required=True,
        help="the column of targets; once for each class for losses with dense targets",
    )
    score.add_argument(
        "--y-pred",
        metavar="COL",
        action="append",
        required=True,
        help="the column of predictions; once for each class for row-wise losses",
    )
    score.add_argument("--weight", metavar="COL", help="the column of weights")
    score.add_argument(
        "--loss",
        metavar="NAME[:param=value,...]",
        action="append",
        required=True,
        help="a loss; may be repeated",
    )
    score.add_argument("--format", choices=("table", "json", "csv"), default="table")
    score.add_argument(
        "--num-threads",
        metavar="N",
        type=_threads,
        help="the result is the same for every number",
    )

    losses = commands.add_parser("losses", help="list the losses and their parameters")
    losses.set_defaults(run=_list_losses)
    config = commands.add_parser("config", help="print version, instruction set and threads")
    config.set_defaults(run=lambda _: fastloss.show_config())
    return parser


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected an integer >= 1")
    return int(text)


def _parse_loss(text: str) -> fastloss.Loss:
    """Return the loss that ``NAME[:param=value,...]`` describes."""
    name, colon, rest = text.partition(":")
    record = BY_NAME.get(name)
    if record is None:
        near = difflib.get_close_matches(name, BY_NAME, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else '"fastloss losses" lists them'
        raise _MistakeError(f"--loss {text}: there is no loss {name!r}; {hint}")
    parameters = {p.name: p for p in record.parameters if p.kind != "axis"}
    params: dict[str, Any] = {}
    for part in rest.split(",") if colon else []:
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise _MistakeError(f"--loss {text}: got {part!r}; expected param=value")
        if key not in parameters:
            own = ", ".join(parameters) or "none"
            raise _MistakeError(
                f"--loss {text}: {name} has no parameter {key!r}; its parameters: {own}"
            )
        if key in params:
            raise _MistakeError(f"--loss {text}: {key} is given twice")
        try:
            params[key] = _parse_value(parameters[key], value)
        except ValueError as error:
            raise _MistakeError(f"--loss {text}: {key}: {error}") from None
    try:
        return fastloss.get(name, **params)
    except (TypeError, ValueError) as error:
        raise _MistakeError(f"--loss {text}: {error}") from None


def _parse_value(parameter: Parameter, text: str) -> Any:
    if parameter.kind == "ignore_index":
        return _converted(int, text, "an integer")
    if parameter.kind == "class_weight":
        expected = "numbers separated by colons"
        return [_converted(float, weight, expected) for weight in text.split(":")]
    return _converted(float, text, "a number")


def _converted(kind: type[int] | type[float], text: str, expected: str) -> float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"got {text!r}; expected {expected}") from None


def _once(option: str, names: list[str]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise _MistakeError(f"{option} {name}: given twice")
    return tuple(names)


# ---- fastloss score ----


def _score(arguments: argparse.Namespace) -> None:
    losses: list[fastloss.Loss] = []
    for text in arguments.loss:
        loss = _parse_loss(text)
        if loss in losses:
            raise _MistakeError(f"--loss {text}: the same loss is given twice")
        losses.append(loss)
    y_true, y_pred = _once("--y-true", arguments.y_true), _once("--y-pred", arguments.y_pred)
    try:
        from fastloss import _score as scoring
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        if isinstance(error, ModuleNotFoundError):
            raise _MistakeError("score needs pyarrow: pip install 'fastloss[score]'") from None
        raise _MistakeError(f"pyarrow cannot be imported: {error}") from None
    columns = scoring.Columns(y_true, y_pred, arguments.weight)
    try:
        report = scoring.score(arguments.file, columns, losses, arguments.num_threads)
    except scoring.ScoreError as error:
        raise _MistakeError(str(error)) from None
    if arguments.format == "json":
        print(_json(report))
    elif arguments.format == "csv":
        print(_csv(report), end="")
    else:
        print(_rows(report), end="\n\n")
        print(_table(report, weighted=arguments.weight is not None))
    if report.nulls and arguments.format != "table":
        print("fastloss: note:", _rows(report), file=sys.stderr)


def _json(report: Report) -> str:
    results = [
        {
            "loss": result.loss,
            "params": result.params,
            "mean": _finite(result.mean),
            "sum": _finite(result.sum),
            "count": result.count,
            "weight": _finite(result.weight),
        }
        for result in report.results
    ]
    return json.dumps({"rows": report.rows, "results": results}, indent=2, allow_nan=False)


def _finite(x: float | None) -> float | str | None:
    """Return `x`, or its name if JSON has no such number."""
    if x is None or math.isfinite(x):
        return x
    return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"


def _csv(report: Report) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["loss", "params", "mean", "sum", "count", "weight"])
    for r in report.results:
        params = ",".join(f"{key}={_shown(value)}" for key, value in r.params.items())
        total = "" if r.sum is None else repr(r.sum)
        writer.writerow([r.loss, params, repr(r.mean), total, r.count, repr(r.weight)])
    return text.getvalue()


def _rows(report: Report) -> str:
    """Say how many rows there are, and how many are left out."""
    rows = f"{report.rows:,} row{'s' * (report.rows != 1)}"
    if not report.nulls:
        return f"{rows}, no nulls"
    columns = ", ".join(f"{name}: {count:,}" for name, count in report.null_columns.items())
    return f"{rows}, {report.nulls:,} of them left out because of nulls ({columns})"


def _table(report: Report, weighted: bool) -> str:
    header = ["loss", "mean", "sum", "count", *(["weight"] if weighted else [])]
    lines = [header]
    for r in report.results:
        total = "-" if r.sum is None else _number(r.sum)
        weight = [_number(r.weight)] if weighted else []
        lines.append([_label(r), _number(r.mean), total, f"{r.count:,}", *weight])
    return _aligned(lines)


def _aligned(lines: list[list[str]]) -> str:
    """Set columns apart: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _label(result: Result) -> str:
    """Return the loss as it would be given on the command line, defaults left out."""
    defaults = {p.name: p.default for p in BY_NAME[result.loss].parameters}
    changed = [
        f"{name}={_shown(value)}"
        for name, value in result.params.items()
        if value != defaults[name]
    ]
    return f"{result.loss}:{','.join(changed)}" if changed else result.loss


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ":".join(map(_shown, value))
    return repr(value).removesuffix(".0")


def _number(x: float) -> str:
    """Return `x` with six digits or, where it is larger, as a whole number."""
    if not math.isfinite(x):
        return str(x)
    if x != 0 and not 1e-4 <= abs(x) < 1e15:
        return f"{x:.5e}"
    magnitude = math.floor(math.log10(abs(x))) if x else 0
    return f"{x:,.{max(0, 5 - magnitude)}f}"


# ---- fastloss losses ----


def _list_losses(_: argparse.Namespace) -> None:
    names = {record.name: _with_aliases(record) for record in RECORDS}
    width = max(map(len, names.values()))
    for (family, kind), takes in _TAKES.items():
        print(f"{family}: {takes}")
        for record in RECORDS:
            if (record.family, record.kind) != (family, kind):
                continue
            params = ", ".join(
                p.name if p.default is None else f"{p.name}={p.default:g}"
                for p in record.parameters
                if p.kind != "axis"
            )
            lines = textwrap.wrap(params, _WIDTH - width - 4) or [""]
            print(f"  {names[record.name]:{width}}  {lines[0]}".rstrip())
            for line in lines[1:]:
                print(" " * (width + 4) + line)
        print()


def _with_aliases(record: Record) -> str:
    return f"{record.name} ({', '.join(record.aliases)})" if record.aliases else record.name
