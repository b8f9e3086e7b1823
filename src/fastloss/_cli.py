"""The command `fastloss`: arguments, and mistakes told in one line.

Exit codes: 0 fine, 1 a mean is above --fail-above, 2 a mistake in the arguments, 3 a mistake in
the data, 130 interrupted, 141 the reader of the output is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from fastloss._version import __version__

if TYPE_CHECKING:
    from fastloss import Loss
    from fastloss._losses import Parameter
    from fastloss._report import Report
    from fastloss._scanner import Job

_EPILOG = """\
sources
  Parquet, Arrow and CSV files, globs, directories of Parquet files (hive partitions are columns
  too), and - for an Arrow IPC stream or CSV on standard input.

columns
  A pointwise loss takes one --y-true and one --y-pred. A row-wise loss takes one --y-pred for
  each class, in the order of the classes, or one column of lists; and as --y-true one column of
  class indices (the sparse_... losses) or one column for each class (the others).

parameters
  --loss huber:delta=2
  --loss sparse_softmax_cross_entropy:class_weight=1:2.5:1,ignore_index=-1
  "fastloss list" shows all losses with their parameters.

nulls
  By default a null in a used column is an error. --nulls skip leaves such rows out and says how
  many, --nulls propagate takes nulls as NaN. NaN is not null: it makes the results NaN. In JSON,
  which has no such numbers, results that are not finite are the strings "NaN", "Infinity" and
  "-Infinity".

exit codes
  0 fine, 1 a mean is above --fail-above, 2 a mistake in the arguments, 3 in the data,
  130 interrupted
"""
_INTERRUPTED = 130
_MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?([kKMGT]?)i?B?")
_SCORE_EXTRA = "needs pyarrow and rich: pip install 'fastloss[score]'"


class _MistakeError(Exception):
    """What the user should know, in one line."""

    code = 2


class _DataError(_MistakeError):
    code = 3


class _GateError(_MistakeError):
    code = 1


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
        with contextlib.suppress(OSError):
            print(end="", flush=True)
        return _fail(str(mistake), mistake.code)
    except MemoryError:
        return _fail("out of memory", 3)
    except UnicodeEncodeError as error:
        return _fail(f"the output cannot be written in {error.encoding}: {error.object!a}", 3)
    except OSError as error:
        # Nothing more can be written: the interpreter's last flush must not complain as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141
        return _fail(f"the output cannot be written: {error.strerror}", 3)
    except KeyboardInterrupt:
        print("fastloss: interrupted", file=sys.stderr, flush=True)
        return _INTERRUPTED
    return 0


def program(prog: str = "fastloss") -> NoReturn:
    """Run the command as a process of its own."""
    code = main(prog=prog)
    if code == _INTERRUPTED:
        # A thread of Arrow may wait for input that never comes: it must not be waited for.
        os._exit(code)
    sys.exit(code)


def _fail(message: str, code: int) -> int:
    kind = "gate" if code == _GateError.code else "error"
    print(f"fastloss: {kind}:", " ".join(message.split()), file=sys.stderr)
    return code


# ---- arguments ----


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=prog, description="Losses of predictions in files.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"fastloss {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    _add_score(commands)

    merge = commands.add_parser(
        "merge",
        help="one answer of what was scored in shards",
        description="Add up states that `fastloss score --state-out` has written.",
        allow_abbrev=False,
    )
    merge.set_defaults(run=_merge)
    merge.add_argument("state", metavar="FILE", nargs="+", help="a state")
    _add_output(merge)

    commands.add_parser(
        "list", help="the losses by family, with formulas and parameters"
    ).set_defaults(run=_list)
    show = commands.add_parser("show", help="formula, parameters, domains and reference of a loss")
    show.set_defaults(run=_show)
    show.add_argument("name", metavar="NAME", help="a loss")

    plot = commands.add_parser("plot", help="curves of losses and gradients", allow_abbrev=False)
    plot.set_defaults(run=_plot)
    plot.add_argument("loss", metavar="NAME[:param=value,...]", nargs="+", help="a pointwise loss")
    plot.add_argument("-o", "--output", metavar="FILE", required=True, help="a .png, .svg or .pdf")

    commands.add_parser("info", help="version, instruction set and threads").set_defaults(run=_info)
    return parser


def _add_score(commands: Any) -> None:
    score = commands.add_parser(
        "score",
        help="losses of the columns of files of any size",
        description="Print the losses of the columns of files of any size, all from one pass over "
        "their rows.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    score.set_defaults(run=_score)
    add = score.add_argument
    add("source", metavar="SOURCE", nargs="+", help="a file, glob or directory, or -")
    add(
        "--y-true",
        metavar="COL",
        action="append",
        required=True,
        help="the column of targets; once for each class for losses with dense targets",
    )
    add(
        "--y-pred",
        metavar="COL",
        action="append",
        required=True,
        help="the column of predictions; once for each class for row-wise losses",
    )
    add("--weight", metavar="COL", help="the column of weights")
    add(
        "--loss",
        metavar="NAME[:param=value,...]",
        action="append",
        required=True,
        help="a loss; may be repeated",
    )
    add("--eps", metavar="X", help="clip probabilities to [X, 1 - X], for all losses of them")
    add(
        "--by",
        metavar="COL",
        action="append",
        default=[],
        help="also for each value of this column; may be repeated",
    )
    add(
        "--nulls",
        choices=("raise", "skip", "propagate"),
        default="raise",
        help="what to do with rows that have a null in a used column",
    )
    add("--per-row", metavar="OUT", help="write the losses of each row to this Parquet file")
    add(
        "--keep",
        metavar="COL",
        action="append",
        default=[],
        help="a column that goes into that file too; may be repeated",
    )
    add(
        "--threads",
        "--num-threads",
        metavar="N",
        type=_threads,
        help="the result is the same for every number",
    )
    add("--memory", metavar="SIZE", type=_memory, default="256MB", help="for batches (256MB)")
    add("--quiet", action="store_true", help="no progress bar and no notes on stderr")
    _add_output(score)


def _add_output(parser: Any) -> None:
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.add_argument("--state-out", metavar="FILE", help='write the state, for "fastloss merge"')
    parser.add_argument(
        "--fail-above",
        metavar="LOSS=VALUE",
        action="append",
        default=[],
        help="exit with 1 if the mean of this loss is above the value, or NaN; may be repeated",
    )


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected an integer >= 1")
    return int(text)


def _memory(text: str) -> int:
    found = _MEMORY.fullmatch(text)
    size = (
        float(found[1]) * 1000 ** " kMGT".index(found[2].replace("K", "k") or " ") if found else 0
    )
    if size < 1 << 20:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected 2MB or more, as in 512MB or 2GB")
    return int(size)


def _parse_loss(text: str, option: str = "--loss ") -> Loss:
    """Return the loss that ``NAME[:param=value,...]`` describes."""
    from fastloss import get
    from fastloss._losses import BY_NAME

    name, colon, rest = text.partition(":")
    record = BY_NAME.get(name)
    if record is None:
        near = difflib.get_close_matches(name, BY_NAME, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else '"fastloss list" shows them'
        raise _MistakeError(f"{option}{text}: there is no loss {name!r}; {hint}")
    parameters = {p.name: p for p in record.parameters if p.kind != "axis"}
    params: dict[str, Any] = {}
    for part in rest.split(",") if colon else []:
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise _MistakeError(f"{option}{text}: got {part!r}; expected param=value")
        if key not in parameters:
            own = ", ".join(parameters) or "none"
            raise _MistakeError(
                f"{option}{text}: {name} has no parameter {key!r}; its parameters: {own}"
            )
        if key in params:
            raise _MistakeError(f"{option}{text}: {key} is given twice")
        try:
            params[key] = _parse_value(parameters[key], value)
        except ValueError as error:
            raise _MistakeError(f"{option}{text}: {key}: {error}") from None
    try:
        return get(name, **params)
    except (TypeError, ValueError) as error:
        raise _MistakeError(f"{option}{text}: {error}") from None


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


def _parse_losses(texts: list[str], eps: str | None) -> dict[str, Loss]:
    """Return the losses by their labels."""
    from fastloss import get
    from fastloss._accumulator import label_of

    losses: dict[str, Loss] = {}
    clips = False
    for text in texts:
        loss = _parse_loss(text)
        if eps is not None and "eps" in loss.params:
            clips = True
            if "eps=" not in text:
                try:
                    number = _converted(float, eps, "a number")
                    loss = get(loss.name, **{**loss.params, "eps": number})
                except ValueError as error:
                    raise _MistakeError(f"--eps {eps}: {error}") from None
        if label_of(loss) in losses:
            raise _MistakeError(f"--loss {text}: the same loss is given twice")
        losses[label_of(loss)] = loss
    if eps is not None and not clips:
        raise _MistakeError(f"--eps {eps}: none of the losses takes probabilities of one column")
    return losses


def _once(option: str, names: list[str]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise _MistakeError(f"{option} {name}: given twice")
    return tuple(names)


def _gates(texts: list[str], labels: Sequence[str]) -> dict[str, float]:
    """Return the largest means by label."""
    gates = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not equals:
            raise _MistakeError(f"--fail-above {text}: expected LOSS=VALUE")
        found = [label for label in labels if label == name]
        if not found:
            from fastloss._losses import BY_NAME

            record = BY_NAME.get(name)
            found = [
                label
                for label in labels
                if record is not None and label.partition(":")[0] == record.name
            ]
        if len(found) != 1:
            raise _MistakeError(
                f"--fail-above {text}: {name!r} is not one of the losses, {', '.join(labels)}"
            )
        try:
            gates[found[0]] = _converted(float, value, "a number")
        except ValueError as error:
            raise _MistakeError(f"--fail-above {text}: {error}") from None
    return gates


# ---- fastloss score, fastloss merge ----


def _score(arguments: argparse.Namespace) -> None:
    losses = _parse_losses(arguments.loss, arguments.eps)
    y_true, y_pred = _once("--y-true", arguments.y_true), _once("--y-pred", arguments.y_pred)
    by, keep = _once("--by", arguments.by), _once("--keep", arguments.keep)
    gates = _gates(arguments.fail_above, list(losses))
    if keep and arguments.per_row is None:
        raise _MistakeError("--keep: needs --per-row")
    if arguments.source.count("-") > 1:
        raise _MistakeError("SOURCE -: given twice")
    if arguments.per_row is not None:
        for label, loss in losses.items():
            if loss.name == "root_mean_squared_error":
                raise _MistakeError(f"--per-row: {label} is of all rows, not of one")
            if label in keep:
                raise _MistakeError(f"--keep {label}: is the column of the loss")
    with _score_extra():
        from fastloss._report import Report
        from fastloss._scanner import Columns, Job
        from fastloss._sources import FitError, ScanError

    columns = Columns(y_true, y_pred, arguments.weight, by)
    try:
        job = Job(
            arguments.source, losses, columns, arguments.nulls, arguments.memory,
            arguments.threads, keep,
        )  # fmt: skip
        with _progress(job, arguments.quiet):
            scanned = (
                job.run() if arguments.per_row is None else job.run_per_row(arguments.per_row, keep)
            )
    except FitError as error:
        raise _MistakeError(str(error)) from None
    except ScanError as error:
        raise _DataError(str(error).replace('nulls="skip"', "--nulls skip")) from None
    _finish(
        Report(scanned.accumulator, by, scanned.rows, scanned.nulls, arguments.weight is not None),
        arguments,
        gates,
        arguments.quiet,
    )


def _merge(arguments: argparse.Namespace) -> None:
    with _score_extra():
        from fastloss._report import Report

    whole: Report | None = None
    for path in arguments.state:
        try:
            with open(path, encoding="utf-8") as file:
                report = Report.from_dict(json.load(file))
            whole = report if whole is None else whole.merged(report)
        except OSError as error:
            raise _DataError(f"{path}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise _DataError(f"{path}: {error}") from None
    assert whole is not None
    gates = _gates(arguments.fail_above, list(whole.accumulator.losses))
    _finish(whole, arguments, gates, quiet=False)


def _finish(
    report: Report, arguments: argparse.Namespace, gates: dict[str, float], quiet: bool
) -> None:
    """Write the state and the results, and check the gates."""
    if arguments.state_out is not None:
        _write(arguments.state_out, json.dumps(report.to_dict()) + "\n")
    if arguments.format == "json":
        print(report.json())
    elif arguments.format == "csv":
        print(report.csv(), end="")
    else:
        report.print_table()
    if report.accumulator.skipped and arguments.format != "table" and not quiet:
        print("fastloss: note:", report.rows_text(), file=sys.stderr)
    means = report.accumulator.total().result()
    failed = [
        f"mean {label} is {means[label]:.6g}, above {most:g}"
        for label, most in gates.items()
        if not means[label] <= most
    ]
    if failed:
        raise _GateError("; ".join(failed))


def _write(path: str, text: str) -> None:
    """Write a file that has another name until it is whole."""
    folder, name = os.path.split(path)
    part = os.path.join(folder, f".{name}.{os.getpid()}.part")
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, path)
    except OSError as error:
        raise _DataError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part)


@contextlib.contextmanager
def _score_extra() -> Iterator[None]:
    """Tell which extra is missing."""
    try:
        yield
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in {"pyarrow", "rich"}:
            raise
        if isinstance(error, ModuleNotFoundError):
            raise _MistakeError(f"this command {_SCORE_EXTRA}") from None
        raise _MistakeError(f"{error.name} cannot be imported: {error}") from None


@contextlib.contextmanager
def _progress(job: Job, quiet: bool) -> Iterator[None]:
    """Show how far the job is, on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from fastloss._progress import Bar

    with Bar(job):
        yield


# ---- fastloss list, show, plot, info ----


def _list(_: argparse.Namespace) -> None:
    from fastloss._catalogue import listing

    print(listing(), end="")


def _show(arguments: argparse.Namespace) -> None:
    from fastloss._catalogue import page

    print(page(_parse_loss(arguments.name, "").name), end="")


def _plot(arguments: argparse.Namespace) -> None:
    losses = [_parse_loss(text, "") for text in arguments.loss]
    try:
        from fastloss._plot import plot
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        raise _MistakeError("plot needs matplotlib: pip install 'fastloss[plot]'") from None
    try:
        plot(losses, arguments.output)
    except ValueError as error:
        raise _MistakeError(str(error)) from None
    except OSError as error:
        raise _DataError(f"{arguments.output}: cannot be written: {error.strerror}") from None


def _info(_: argparse.Namespace) -> None:
    import fastloss

    fastloss.show_config()
