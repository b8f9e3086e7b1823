"""Scoring the columns of a file: reader, batches of rows, accumulators, report.

The reader yields batches of at most `BATCH_ROWS` rows that begin at multiples of it, whatever the
row groups or blocks of the file; each batch goes through all losses while it is in cache. So a
result does not depend on how the file is laid out. Batch sums are added without rounding errors.

The only module that needs pyarrow.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from fastloss import Loss, get
from fastloss._losses import BY_NAME, MARGIN_LABELS

Array: TypeAlias = NDArray[Any]

BATCH_ROWS = 1 << 17
# "nan" is not among them: NaN is a value and goes through the losses.
_CSV_NULLS = ["", "NA", "N/A", "n/a", "#N/A", "NULL", "Null", "null", "None"]
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_COMPRESSIONS = {".gz", ".bz2", ".zst", ".lz4"}
_PARQUET_MAGIC = b"PAR1"
# How `fastloss` says where a value is that is outside its domain.
_DOMAIN_ERROR = re.compile(
    r"(?P<argument>y_true|y_pred): got (?P<value>.+) at index \((?P<index>[\d, ]+)\); "
    r"expected (?P<expected>.+)"
)


class ScoreError(ValueError):
    """What is wrong with the file or the columns, in one line."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns: one or, for row-wise losses, one for each class."""

    y_true: tuple[str, ...]
    y_pred: tuple[str, ...]
    weight: str | None = None

    @property
    def names(self) -> list[str]:
        """All of them, each once."""
        weight = () if self.weight is None else (self.weight,)
        return list(dict.fromkeys((*self.y_true, *self.y_pred, *weight)))


@dataclass(frozen=True)
class Result:
    """One loss over all rows that count; `sum` is None where a loss has only a mean."""

    loss: str
    params: dict[str, Any]
    mean: float
    sum: float | None
    count: int
    weight: float


@dataclass(frozen=True)
class Report:
    """What was read, and the results in the order of the losses.

    `rows` counts all rows of the file, `nulls` those left out because a used column is null in
    them, and `null_columns` the nulls of each column.
    """

    rows: int
    nulls: int
    null_columns: dict[str, int]
    results: list[Result]


def score(
    path: str, columns: Columns, losses: Sequence[Loss], num_threads: int | None = None
) -> Report:
    """Return all losses of the columns of a file, from one pass over its rows.

    Raises
    ------
    ScoreError
        If the file cannot be read, a column is missing or of a wrong type, the columns are not
        what a loss takes, or a value is outside its domain.
    """
    scorer = Scorer(columns, losses, num_threads)
    try:
        for batch in _read(path, columns.names):
            scorer.update(batch)
    except ScoreError as error:
        raise ScoreError(f"{path}: {error}") from None
    return scorer.report()


# ---- losses ----


@dataclass(frozen=True)
class Rows:
    """Values of the columns in rows without nulls, and the positions of these rows in the file."""

    values: dict[str, Array]
    position: Callable[[int], int]

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))


class _Accumulator:
    """Sums of one loss over the batches seen so far."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self.root = loss.name == "root_mean_squared_error"
        self.ignored = loss.params.get("ignore_index")
        self.count = 0
        self._losses: list[float] = []
        self._weights: list[float] = []
        # What is called for each batch; the classes are along the first axis.
        if self.root:
            self._call: Loss = get("squared_error")
        elif BY_NAME[loss.name].kind == "pointwise":
            self._call = loss
        else:
            self._call = get(loss.name, **{**loss.params, "axis": 0})

    def update(self, y: Array, z: Array, w: Array | None, num_threads: int | None) -> None:
        if self.root and z.dtype.kind == "f":
            # Squares of float32 residuals may leave its range where their root would not.
            z = z.astype(np.float64, copy=False)
        total = self._call(y, z, sample_weight=w, reduction="sum", num_threads=num_threads)
        counts = None if self.ignored is None else y != self.ignored
        count = z.shape[-1] if counts is None else int(np.count_nonzero(counts))
        self.count += count
        self._losses.append(total)
        if w is None:
            self._weights.append(float(count))
        else:
            counted = w if counts is None else w[counts]
            with np.errstate(all="ignore"):
                self._weights.append(float(counted.sum(dtype=np.float64)))

    def result(self) -> Result:
        total, weight = _exact_sum(self._losses), _exact_sum(self._weights)
        mean = total / weight if weight else math.nan
        params = {name: value for name, value in self.loss.params.items() if name != "axis"}
        if self.root:
            mean = math.sqrt(mean) if mean >= 0 else math.nan
            return Result(self.loss.name, params, mean, None, self.count, weight)
        return Result(self.loss.name, params, mean, total, self.count, weight)


class Scorer:
    """Folds batches of rows into the sums of several losses."""

    def __init__(
        self, columns: Columns, losses: Sequence[Loss], num_threads: int | None = None
    ) -> None:
        for loss in losses:
            _check_fit(loss, columns)
        self.columns = columns
        self.num_threads = num_threads
        self.accumulators = [_Accumulator(loss) for loss in losses]
        self.rows = 0
        self.nulls = 0
        self.null_columns = dict.fromkeys(columns.names, 0)
        self.ambiguous_label: int | None = None
        self.has_margins = any(BY_NAME[loss.name].y_true == MARGIN_LABELS for loss in losses)

    def update(self, batch: pa.RecordBatch) -> None:
        """Fold in the next rows of the file."""
        rows = self._without_nulls(batch)
        if len(rows) == 0:
            return
        if self.has_margins:
            self._check_labels(rows)
        y, z = self._stacked(rows, self.columns.y_true), self._stacked(rows, self.columns.y_pred)
        w = None if self.columns.weight is None else rows.values[self.columns.weight]
        if w is not None and z.dtype.kind == "f":
            # Weights count as they are, not rounded to a narrower dtype of the predictions.
            z = z.astype(np.result_type(z.dtype, w.dtype), copy=False)
        for accumulator in self.accumulators:
            try:
                accumulator.update(y, z, w, self.num_threads)
            except (TypeError, ValueError) as error:
                self._fail(str(error), rows, accumulator.loss)

    def report(self) -> Report:
        """Return the results over all rows folded in."""
        nulls = {name: count for name, count in self.null_columns.items() if count}
        results = [accumulator.result() for accumulator in self.accumulators]
        return Report(self.rows, self.nulls, nulls, results)

    def _without_nulls(self, batch: pa.RecordBatch) -> Rows:
        start = self.rows
        self.rows += batch.num_rows
        columns = {name: _plain(batch.column(name)) for name in self.columns.names}
        valid = None
        for name, column in columns.items():
            if column.null_count:
                self.null_columns[name] += column.null_count
                valid = column.is_valid() if valid is None else pc.and_(valid, column.is_valid())
        if valid is None:
            return Rows({name: _numbers(column) for name, column in columns.items()}, start.__add__)
        kept = np.flatnonzero(valid.to_numpy(zero_copy_only=False)) + start
        self.nulls += batch.num_rows - len(kept)
        values = {name: _numbers(column.filter(valid)) for name, column in columns.items()}
        return Rows(values, lambda index: int(kept[index]))

    def _stacked(self, rows: Rows, names: tuple[str, ...]) -> Array:
        """Return one column as it is, several as an array with a row for each."""
        if len(names) == 1:
            return rows.values[names[0]]
        return np.stack([rows.values[name] for name in names])

    def _check_labels(self, rows: Rows) -> None:
        """Check that the labels -1 and 0 are not mixed, in this batch or with an earlier one."""
        name = self.columns.y_true[0]
        found = {label: rows.values[name] == label for label in (-1, 0)}
        first = {label: int(np.argmax(at)) for label, at in found.items() if at.any()}
        if self.ambiguous_label is None and first:
            self.ambiguous_label = min(first, key=first.__getitem__)
        for label, index in first.items():
            if label != self.ambiguous_label:
                raise ScoreError(
                    f"column {name!r}, {_row(rows.position(index))}: got {label}; expected labels "
                    f"all in {MARGIN_LABELS}, and {self.ambiguous_label} came before"
                )

    def _fail(self, message: str, rows: Rows, loss: Loss) -> NoReturn:
        """Raise with the column and row of the file in the place of argument and index."""
        found = _DOMAIN_ERROR.fullmatch(message)
        if found is None:
            raise ScoreError(f"{loss.name}: {message}") from None
        names = getattr(self.columns, found["argument"])
        index = [int(i) for i in found["index"].rstrip(",").split(",")]
        # With several columns the first index is that of the class.
        name = names[index[0]] if len(index) > 1 else names[0]
        raise ScoreError(
            f"column {name!r}, {_row(rows.position(index[-1]))}: got {found['value']}; "
            f"{loss.name} expects {found['expected']}"
        ) from None


def _row(position: int) -> str:
    return f"row {position} (the first is 0)"


def _check_fit(loss: Loss, columns: Columns) -> None:
    """Check that a loss takes as many columns as there are."""
    kind = BY_NAME[loss.name].kind
    targets, classes = len(columns.y_true), len(columns.y_pred)
    if kind == "pointwise":
        if classes > 1:
            raise ScoreError(f"{loss.name} takes one column of predictions: got {classes} --y-pred")
        if targets > 1:
            raise ScoreError(f"{loss.name} takes one column of targets: got {targets} --y-true")
        return
    if classes < 2:
        raise ScoreError(
            f"{loss.name} takes one --y-pred for each class: got 1, expected 2 or more"
        )
    if kind == "sparse" and targets > 1:
        raise ScoreError(f"{loss.name} takes one column of class indices: got {targets} --y-true")
    if kind == "dense" and targets != classes:
        sparse = f"sparse_{loss.name}"
        hint = f"; for one column of class indices use {sparse}" if sparse in BY_NAME else ""
        raise ScoreError(
            f"{loss.name} takes dense targets, one --y-true for each of the {classes} --y-pred: "
            f"got {targets}{hint}"
        )
    weights = loss.params.get("class_weight")
    if weights is not None and len(weights) != classes:
        raise ScoreError(
            f"{loss.name}: class_weight has {len(weights)} weights; expected {classes}, one for "
            "each --y-pred"
        )


def _exact_sum(values: list[float]) -> float:
    """Return the sum, rounded once."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # beyond the range of a double; inf - inf
        return sum(values)


# ---- reading ----


def _read(path: str, names: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield batches of the named columns of a file."""
    file = Path(path)
    try:
        if file.is_dir():
            raise ScoreError("is a directory; expected a Parquet or CSV file")
        if not file.exists():
            raise ScoreError("no such file")
        if not file.is_file():
            raise ScoreError("is not a regular file")
        with file.open("rb") as stream:
            magic = stream.read(len(_PARQUET_MAGIC))
    except OSError as error:
        raise ScoreError(f"cannot be read: {error.strerror}") from None
    if not magic:
        raise ScoreError("the file is empty")
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    try:
        if magic == _PARQUET_MAGIC:
            yield from _read_parquet(path, names)
        elif suffix in _DELIMITERS:
            yield from _read_csv(path, names, _DELIMITERS[suffix])
        else:
            raise ScoreError(
                "is not a Parquet file (these begin with PAR1); a text file must be named .csv or "
                ".tsv, .gz may follow"
            )
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError, UnicodeError) as error:
        reason = " ".join(str(error).split())
        raise ScoreError(f"cannot be read: {reason}") from None


def _read_parquet(path: str, names: list[str]) -> Iterator[pa.RecordBatch]:
    with parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        _check_names(names, schema.names)
        for name in names:
            if not _is_numeric(schema.field(name).type):
                raise ScoreError(
                    f"column {name!r} has type {schema.field(name).type}; expected numbers"
                )
        yield from file.iter_batches(BATCH_ROWS, columns=names)


def _read_csv(path: str, names: list[str], delimiter: str) -> Iterator[pa.RecordBatch]:
    parse = csv.ParseOptions(delimiter=delimiter)
    with csv.open_csv(path, parse_options=parse) as head:
        _check_names(names, head.schema.names)
    convert = csv.ConvertOptions(include_columns=names, null_values=_CSV_NULLS)
    table = csv.read_csv(path, parse_options=parse, convert_options=convert)
    for name in names:
        _check_csv_type(name, table.column(name))
    yield from table.combine_chunks().to_batches(BATCH_ROWS)


def _check_csv_type(name: str, column: pa.ChunkedArray) -> None:
    if _is_numeric(column.type):
        return
    if not pa.types.is_string(column.type):
        raise ScoreError(f"column {name!r} has type {column.type}; expected numbers")
    # One word in a column of numbers makes all of it text: the first such word is told.
    row = 0
    for chunk in column.chunks:
        for text in chunk.to_pylist():
            if text not in _CSV_NULLS and not _is_number(text):
                raise ScoreError(f"column {name!r}, {_row(row)}: got {text!r}; expected a number")
            row += 1
    raise ScoreError(f"column {name!r} is text; expected numbers")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_names(names: list[str], present: list[str]) -> None:
    counts = Counter(present)
    for name in names:
        if counts[name] > 1:
            raise ScoreError(f"column {name!r} is there {counts[name]} times; expected it once")
        if counts[name] == 0:
            near = difflib.get_close_matches(name, present, n=3, cutoff=0.5)
            shown = present[:10] + (["..."] if len(present) > 10 else [])
            hint = (
                f"did you mean {' or '.join(map(repr, near))}?"
                if near
                else f"the columns are {', '.join(shown)}"
            )
            raise ScoreError(f"no column {name!r}; {hint}")


def _is_numeric(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (
        pa.types.is_floating,
        pa.types.is_integer,
        pa.types.is_boolean,
        pa.types.is_decimal,
        pa.types.is_null,
    )
    return any(test(kind) for test in tests)


def _plain(column: pa.Array) -> pa.Array:
    """Return a column of a type that NumPy has too; itself if it is of one."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.float64())
    return column


def _numbers(column: pa.Array) -> Array:
    """Return a column without nulls as an array, without a copy unless it holds bits."""
    values: Array = column.to_numpy(zero_copy_only=not pa.types.is_boolean(column.type))
    return values
