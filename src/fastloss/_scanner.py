"""Losses over the columns of a source of any size, in bounded memory.

Threads take the parts of the source one after the other, decode them and fold them into
accumulators of their own while they are in cache. Sums are exact, so nothing depends on which
thread took what.
"""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

import contextlib
import os
import queue
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from fastloss._accumulator import Accumulator
from fastloss._api import Loss, get
from fastloss._arrays import Array
from fastloss._arrow import is_null, numbers
from fastloss._losses import BY_NAME
from fastloss._sources import (
    Batch,
    FitError,
    Needed,
    Part,
    ScanError,
    is_list_type,
    open_source,
    row_text,
)
from fastloss._threads import check_threads, get_num_threads

MEMORY = 256 << 20
NULLS = ("raise", "skip", "propagate")
# How `fastloss` says where a value is that is outside its domain.
_DOMAIN_ERROR = re.compile(
    r"(?P<argument>y_true|y_pred): got (?P<value>.+) at index \((?P<index>[\d, ]+)\); "
    r"expected (?P<expected>.+)"
)


@dataclass(frozen=True)
class Columns:
    """Names of the columns; several of targets or predictions are one for each class."""

    y_true: tuple[str, ...]
    y_pred: tuple[str, ...]
    weight: str | None = None
    by: tuple[str, ...] = ()
    single_by: bool = False  # keys are values, not tuples

    @property
    def values(self) -> tuple[str, ...]:
        """Those that hold numbers."""
        return (*self.y_true, *self.y_pred, *(() if self.weight is None else (self.weight,)))


@dataclass
class Tally:
    """What was read so far; its numbers only grow, so another thread may look at them."""

    rows: int = 0
    nbytes: int = 0
    nulls: Counter[str] = field(default_factory=Counter)
    first_null: dict[str, tuple[int, Batch, int]] = field(default_factory=dict)

    def merge(self, other: Tally) -> None:
        """Add what another thread has read."""
        self.rows += other.rows
        self.nbytes += other.nbytes
        self.nulls.update(other.nulls)
        for name, place in other.first_null.items():
            if name not in self.first_null or place[0] < self.first_null[name][0]:
                self.first_null[name] = place


@dataclass(frozen=True)
class Scanned:
    """The losses, all rows read, and the nulls of each column."""

    accumulator: Accumulator
    rows: int
    nulls: dict[str, int]


class Job:
    """A source, what to compute of it, and how far that is."""

    def __init__(
        self,
        source: Any,
        losses: dict[str, Loss],
        columns: Columns,
        nulls: str = "raise",
        memory: int = MEMORY,
        num_threads: int | None = None,
        keep: tuple[str, ...] = (),
    ) -> None:
        if nulls not in NULLS:
            raise ValueError(f"nulls: got {nulls!r}; expected {', '.join(map(repr, NULLS))}")
        if isinstance(memory, bool) or not isinstance(memory, int) or memory < 1 << 20:
            raise ValueError(f"memory: got {memory!r}; expected bytes, an integer >= {1 << 20}")
        self.losses = {label: _classes_last(loss) for label, loss in losses.items()}
        self.columns, self.nulls, self.memory = columns, nulls, memory
        self.threads = get_num_threads() if num_threads is None else check_threads(num_threads)
        for loss in losses.values():
            _check_fit(loss, columns)
        self.pointwise = all(BY_NAME[loss.name].kind == "pointwise" for loss in losses.values())
        # Of columns of lists; set by the first row.
        self.classes: int | None = None
        needed = Needed(columns.values, (*columns.by, *keep))
        self.parts = open_source(source, needed, max(1 << 20, memory // self.threads))
        self.tallies: list[Tally] = []
        self.stopped = False

    @property
    def total_rows(self) -> int | None:
        """Rows of the source, if that is known before it is read."""
        rows = [part.rows for part in self.parts]
        return None if None in rows else sum(n for n in rows if n is not None)

    @property
    def progress(self) -> tuple[int, int]:
        """Rows and bytes read so far."""
        tallies = list(self.tallies)
        return sum(t.rows for t in tallies), sum(t.nbytes for t in tallies)

    def run(self) -> Scanned:
        """Read all rows."""
        workers = [_Worker(self) for _ in range(min(self.threads, max(1, len(self.parts))))]
        self.tallies = [worker.tally for worker in workers]
        if len(self.parts) > 1 and len(workers) > 1:
            self._run_parts(workers)
        else:
            # One reader, ahead of the kernels, which share the rows of a batch among threads.
            workers[0].accumulator._threads = self.threads
            for order, batch in enumerate(self.ordered()):
                workers[0].fold(order, batch)
        return self._scanned(workers)

    def run_per_row(self, path: str, keep: Sequence[str]) -> Scanned:
        """As `run`, and write a Parquet file with the columns `keep` and the losses of each row.

        The losses are without weights, and null where a row was left out. The file has another
        name until it is whole.
        """
        worker = _Worker(self)
        worker.accumulator._threads = self.threads
        self.tallies = [worker.tally]
        with _new_file(path) as part, _Writer(part) as writer:
            for order, batch in enumerate(self.ordered()):
                rows = worker.fold(order, batch)
                columns = {name: batch.columns[name] for name in keep}
                for label, loss in self.losses.items():
                    values = loss(rows.y, rows.z, reduction="none", num_threads=self.threads)
                    columns[label] = _spread(values, rows.kept, batch.rows)
                writer.write(pa.table(columns))
            writer.finish(keep, self.losses)
            return self._scanned([worker])

    def ordered(self) -> Iterator[Batch]:
        """Yield all batches in their order, read ahead by a thread within the budget of memory."""
        yield from _read_ahead(self.parts, self.memory // 2, self.threads > 1)

    def _run_parts(self, workers: list[_Worker]) -> None:
        """Share the parts among threads; of several errors, raise the first in the source."""
        todo = iter(enumerate(self.parts))
        lock = threading.Lock()
        errors: list[tuple[int, BaseException]] = []

        def work(worker: _Worker) -> None:
            while True:
                with lock:
                    order, part = next(todo, (-1, None))
                if part is None or errors or self.stopped:
                    return
                try:
                    for batch in part.batches(threads=False):
                        worker.fold(order, batch)
                        if self.stopped:
                            return
                except BaseException as error:
                    errors.append((order, error))
                    return

        # This thread only waits, so that an interrupt reaches it.
        threads = [threading.Thread(target=work, args=(w,), daemon=True) for w in workers]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except BaseException:
            self.stopped = True
            for thread in threads:
                thread.join()
            raise
        if errors:
            raise min(errors, key=lambda pair: pair[0])[1]

    def _scanned(self, workers: list[_Worker]) -> Scanned:
        tally, first = Tally(), workers[0].accumulator
        for worker in workers:
            tally.merge(worker.tally)
            if worker.accumulator is first:
                continue
            try:
                first.merge(worker.accumulator)
            except ValueError as error:
                found = str(error).partition("; ")[2]
                raise ScanError(
                    f"column {self.columns.y_true[0]!r}: got labels -1 and 0; {found}"
                ) from None
        if self.nulls == "raise" and tally.nulls:
            self.raise_nulls(tally)
        first._threads = None
        return Scanned(first, tally.rows, dict(tally.nulls))

    def raise_nulls(self, tally: Tally) -> NoReturn:
        """Raise with the counts of nulls, and the first of each column."""
        told = []
        for name in dict.fromkeys((*self.columns.values, *self.columns.by)):
            if name in tally.nulls:
                _, batch, index = tally.first_null[name]
                count = tally.nulls[name]
                told.append(
                    f"column {name!r} has {count:,} null{'s' * (count != 1)}, the first in "
                    f"{row_text(batch.first + index)}"
                    + (f" of {batch.origin}" if batch.origin else "")
                )
        raise ScanError("; ".join(told) + '; nulls="skip" leaves such rows out')


def _read_ahead(parts: Sequence[Part], budget: int, threads: bool) -> Iterator[Batch]:
    """Yield the batches of all parts, read by a thread that is ahead by at most `budget` bytes."""
    ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
    room = threading.Condition()
    waiting = 0
    stopped = False

    def put(item: Any, nbytes: int) -> bool:
        nonlocal waiting
        with room:
            room.wait_for(lambda: stopped or waiting == 0 or waiting + nbytes <= budget)
            waiting += nbytes
        ready.put((item, nbytes))
        return not stopped

    def read() -> None:
        try:
            for part in parts:
                for batch in part.batches(threads):
                    if not put(batch, batch.nbytes):
                        return
            put(None, 0)
        except BaseException as error:
            put(error, 0)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            item, nbytes = _next(ready)
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
            with room:
                waiting -= nbytes
                room.notify()
    finally:
        with room:
            stopped = True
            room.notify()


def _next(ready: queue.SimpleQueue[Any]) -> Any:
    while True:  # so that an interrupt is seen
        try:
            return ready.get(timeout=0.2)
        except queue.Empty:
            continue


# ---- losses of rows ----


@contextlib.contextmanager
def _new_file(path: str) -> Iterator[str]:
    """Give a temporary name beside `path`, to which the file is renamed if all went well."""
    folder, name = os.path.split(path)
    part = os.path.join(folder, f".{name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    except (OSError, pa.ArrowException) as error:
        known = isinstance(error, OSError) and error.strerror
        reason = known or " ".join(str(error).split())
        raise ScanError(f"{path}: cannot be written: {reason}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


class _Writer:
    """A Parquet file that begins with the first table."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.writer: parquet.ParquetWriter | None = None

    def __enter__(self) -> _Writer:
        return self

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        if self.writer is None:
            self.writer = parquet.ParquetWriter(self.path, table.schema)
        self.writer.write_table(table)

    def finish(self, keep: Sequence[str], losses: Iterable[str]) -> None:
        """Write a file without rows if there were none."""
        if self.writer is None:
            kept = {name: pa.nulls(0) for name in keep}
            self.write(pa.table(kept | {label: pa.array([], pa.float64()) for label in losses}))

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self.writer is None:
            return
        if error is None:
            self.writer.close()
        else:
            with contextlib.suppress(Exception):  # the file is thrown away
                self.writer.close()


def _spread(values: Array, kept: Array | None, rows: int) -> pa.Array:
    """Put values at the rows that were kept, nulls at the others."""
    if kept is None:
        return pa.array(values)
    spread, missing = np.zeros(rows, values.dtype), np.ones(rows, bool)
    spread[kept], missing[kept] = values, False
    return pa.array(spread, mask=missing)


# ---- from columns to arrays ----


class _Worker:
    """An accumulator, and what it takes to fold a batch into it."""

    def __init__(self, job: Job) -> None:
        self.job, self.columns, self.nulls = job, job.columns, job.nulls
        self.accumulator = Accumulator(job.losses, groups=bool(job.columns.by))
        self.accumulator._threads = 1
        self.tally = Tally()

    def fold(self, order: int, batch: Batch) -> Rows:
        """Fold in the rows of a batch, and return them."""
        rows = self.rows(order, batch)
        if rows.count:
            try:
                self.accumulator.update(rows.y, rows.z, rows.w, rows.by)
            except ScanError:
                raise
            except (TypeError, ValueError) as error:
                self.fail(str(error), batch, rows)
        self.tally.rows += batch.rows
        self.tally.nbytes += batch.nbytes
        return rows

    def rows(self, order: int, batch: Batch) -> Rows:
        """Return the rows that count as arrays."""
        columns = self.columns
        names = dict.fromkeys((*columns.values, *columns.by))
        arrays = {name: _plain(batch.columns[name], name in columns.values) for name in names}
        valid = None
        for name, array in arrays.items():
            nulls = _null_rows(array)
            if nulls is None:
                continue
            self.tally.nulls[name] += int(np.count_nonzero(nulls))
            if name not in self.tally.first_null:
                self.tally.first_null[name] = (order, batch, int(np.argmax(nulls)))
            valid = ~nulls if valid is None else valid & ~nulls
        kept = None
        if valid is not None and self.nulls != "propagate":
            kept = np.flatnonzero(valid)
            self.accumulator.skipped += batch.rows - len(kept)
            mask = pa.array(valid)
            arrays = {name: array.filter(mask) for name, array in arrays.items()}
        count = batch.rows if kept is None else len(kept)
        made = {name: self.as_numbers(name, arrays[name], batch) for name in columns.values}
        by: Any = None
        if columns.by:
            keys = [arrays[name] for name in columns.by]
            by = keys[0] if columns.single_by else tuple(keys)
        y, z = _stacked(made, columns.y_true), _stacked(made, columns.y_pred)
        self.check_dimensions(y, z)
        return Rows(
            count,
            y,
            z,
            None if columns.weight is None else made[columns.weight],
            by,
            kept,
        )

    def check_dimensions(self, y: Array, z: Array) -> None:
        """Check what the types of the columns tell, not their number."""
        name = next(iter(self.job.losses.values())).name if self.job.losses else ""
        if self.job.pointwise and (y.ndim > 1 or z.ndim > 1):
            column = self.columns.y_pred[0] if z.ndim > 1 else self.columns.y_true[0]
            raise FitError(f"column {column!r} holds lists; {name} takes one number a row")
        if not self.job.pointwise and z.ndim == 1:
            raise FitError(
                f"{name} takes one y_pred for each class: got 1, expected 2 or more, or a column "
                "of lists"
            )

    def as_numbers(self, name: str, array: pa.Array, batch: Batch) -> Array:
        """Return a column as an array, of two dimensions if it holds lists."""
        if not is_list_type(array.type):
            return numbers(array)
        lengths = pc.list_value_length(array)
        if self.job.classes is None and len(array) > array.null_count:
            self.job.classes = lengths.drop_null()[0].as_py()
        wanted = self.job.classes or 0
        wrong = numbers(pc.fill_null(pc.not_equal(lengths, wanted), False))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ScanError(
                f"{_prefix(batch)}column {name!r}, {row_text(batch.first + row)}: got "
                f"{lengths[row].as_py()} classes; expected {wanted}, as in the rows before"
            )
        if array.null_count == 0:
            return numbers(array.flatten()).reshape(len(array), wanted)
        made = np.full((len(array), wanted), np.nan)
        made[~is_null(array)] = numbers(array.flatten()).reshape(-1, wanted)
        return made

    def fail(self, message: str, batch: Batch, rows: Rows) -> NoReturn:
        """Raise with the column and row of the source in the place of argument and index."""
        found = _DOMAIN_ERROR.fullmatch(message)
        if found is None:
            raise ScanError(f"{_prefix(batch)}{message}") from None
        names = getattr(self.columns, found["argument"])
        index = [int(i) for i in found["index"].rstrip(",").split(",")]
        name = names[index[1]] if len(index) > 1 and len(names) > 1 else names[0]
        row = index[0] if rows.kept is None else int(rows.kept[index[0]])
        raise ScanError(
            f"{_prefix(batch)}column {name!r}, {row_text(batch.first + row)}: got "
            f"{found['value']}; expected {found['expected']}"
        ) from None


@dataclass(frozen=True)
class Rows:
    """Arrays for `Accumulator.update`; `kept` are the positions in the batch, None for all."""

    count: int
    y: Array
    z: Array
    w: Array | None
    by: Any
    kept: Array | None


def _prefix(batch: Batch) -> str:
    return f"{batch.origin}: " if batch.origin else ""


def _plain(column: pa.Array, is_value: bool) -> pa.Array:
    """Return a column of numbers in a type that NumPy has too; keys as they are."""
    if not is_value:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.float64())
    if is_list_type(column.type) and pa.types.is_decimal(column.type.value_type):
        column = column.cast(pa.list_(pa.float64()))
    return column


def _null_rows(array: pa.Array) -> Array | None:
    """Which rows are null, or are lists with a null in them; None if there are none."""
    nulls = None
    if array.null_count:
        nulls = is_null(array)
    if is_list_type(array.type) and array.flatten().null_count:
        inside = np.zeros(len(array), bool)
        parents = numbers(pc.list_parent_indices(array))
        inside[parents[is_null(array.flatten())]] = True
        nulls = inside if nulls is None else nulls | inside
    return nulls


def _stacked(arrays: dict[str, Array], names: tuple[str, ...]) -> Array:
    """Return one column as it is, several as an array with the classes along its second axis."""
    if len(names) == 1:
        return arrays[names[0]]
    return np.stack([arrays[name] for name in names]).T


def _classes_last(loss: Loss) -> Loss:
    return get(loss.name, **{**loss.params, "axis": -1}) if "axis" in loss.params else loss


def _check_fit(loss: Loss, columns: Columns) -> None:
    """Check that a loss takes as many columns as there are."""
    kind = BY_NAME[loss.name].kind
    targets, classes = len(columns.y_true), len(columns.y_pred)
    if targets == 0 or classes == 0:
        raise FitError("y_true, y_pred: got no column; expected at least one of each")
    if kind == "pointwise":
        if classes > 1:
            raise FitError(f"{loss.name} takes one column of predictions: got {classes} y_pred")
        if targets > 1:
            raise FitError(f"{loss.name} takes one column of targets: got {targets} y_true")
        return
    if kind == "sparse" and targets > 1:
        raise FitError(f"{loss.name} takes one column of class indices: got {targets} y_true")
    if kind == "dense" and targets != classes:
        sparse = f"sparse_{loss.name}"
        hint = f"; for one column of class indices use {sparse}" if sparse in BY_NAME else ""
        raise FitError(
            f"{loss.name} takes dense targets, one y_true for each of the {classes} y_pred: "
            f"got {targets}{hint}"
        )
    weights = loss.params.get("class_weight")
    if classes > 1 and weights is not None and len(weights) != classes:
        raise FitError(
            f"{loss.name}: class_weight has {len(weights)} weights; expected {classes}, one for "
            "each y_pred"
        )
