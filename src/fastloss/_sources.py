"""Where rows come from: files, directories, streams and tables, as batches of the needed columns.

A source is a list of parts, each of which can be read on its own: the row groups of Parquet files,
or a whole stream. The only module that opens files; it needs pyarrow, and imports neither
pyarrow.dataset nor, with it, pandas.
"""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

import difflib
import glob
import io
import os
import re
import sys
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

BATCH_ROWS = 1 << 18
# "nan" is not among them: NaN is a value and goes through the losses.
_CSV_NULLS = ["", "NA", "N/A", "n/a", "#N/A", "NULL", "Null", "null", "None"]
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_COMPRESSIONS = {".gz", ".bz2", ".zst", ".lz4"}
_PARQUET_MAGIC, _ARROW_FILE_MAGIC, _ARROW_STREAM_MAGIC = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_CSV_ERROR = re.compile(
    r"In CSV column #(?P<column>\d+): (?:Row #(?P<row>\d+): )?"
    r"CSV conversion error to (?P<type>\w+): invalid value '(?P<value>.*)'"
)
# Column chunks of a row group that are larger than this part of the budget are read bit by bit.
_BUFFER = 1 << 20


class ScanError(ValueError):
    """What is wrong with a source or its columns, in one line."""


class FitError(ScanError):
    """The columns that were asked for are not what a loss takes."""


@dataclass(frozen=True)
class Needed:
    """Names of the columns: those that hold numbers (or lists of them), and those of the keys."""

    values: tuple[str, ...]
    keys: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """All of them, each once."""
        return list(dict.fromkeys((*self.values, *self.keys)))


@dataclass(frozen=True)
class Batch:
    """Rows of a source: the columns by name, and where they are from."""

    columns: dict[str, pa.Array]
    rows: int
    first: int
    origin: str = ""

    @property
    def nbytes(self) -> int:
        """Memory of the columns."""
        return sum(column.nbytes for column in self.columns.values())


class Part:
    """What one thread reads from begin to end."""

    rows: int | None = None

    def batches(self, threads: bool) -> Iterator[Batch]:
        """Yield the rows in their order; `threads` says whether to decode columns in parallel."""
        raise NotImplementedError


# ---- Parquet ----


@dataclass
class _ParquetFile:
    path: str
    needed: Needed
    constants: dict[str, Any]
    metadata: Any = None
    dictionaries: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Read the footer, and check that the columns are there."""
        with _reading(self.path), parquet.ParquetFile(self.path) as file:
            schema = file.schema_arrow
            self.metadata = file.metadata
        here = [*schema.names, *(name for name in self.constants if name not in schema.names)]
        check_names(self.needed.names, here, self.path)
        self.present = [name for name in self.needed.names if name in schema.names]
        for name in self.present:
            kind = schema.field(name).type
            if name in self.needed.values:
                check_type(name, kind, self.path)
            elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
                self.dictionaries.append(name)

    def parts(self, budget: int) -> list[Part]:
        """Return a part for each row group."""
        parts: list[Part] = []
        first = 0
        for group in range(self.metadata.num_row_groups):
            rows = self.metadata.row_group(group).num_rows
            parts.append(_RowGroup(self, group, first, rows, budget))
            first += rows
        return parts


class _RowGroup(Part):
    def __init__(self, file: _ParquetFile, group: int, first: int, rows: int, budget: int) -> None:
        self.file, self.group, self.first, self.rows = file, group, first, rows
        columns = file.metadata.row_group(group)
        roots = set(file.present)
        sizes = [
            (columns.column(i).total_compressed_size, columns.column(i).total_uncompressed_size)
            for i in range(columns.num_columns)
            if columns.column(i).path_in_schema.split(".")[0] in roots
        ]
        self.buffered = sum(stored for stored, _ in sizes) > budget // 2
        row_bytes = max(1, sum(size for _, size in sizes) // max(1, rows))
        self.batch_rows = max(1024, min(BATCH_ROWS, budget // 4 // row_bytes))

    def batches(self, threads: bool) -> Iterator[Batch]:
        """Yield the rows of the row group."""
        file = self.file
        first = self.first
        with (
            _reading(file.path),
            parquet.ParquetFile(
                file.path,
                metadata=file.metadata,
                read_dictionary=file.dictionaries,
                buffer_size=_BUFFER if self.buffered else 0,
                pre_buffer=False,
            ) as reader,
        ):
            for batch in reader.iter_batches(
                self.batch_rows, row_groups=[self.group], columns=file.present, use_threads=threads
            ):
                yield _as_batch(batch, file, first)
                first += batch.num_rows


def _as_batch(batch: pa.RecordBatch, file: _ParquetFile, first: int) -> Batch:
    columns = {name: batch.column(name) for name in file.present}
    for name, value in file.constants.items():
        if name in file.needed.names and name not in columns:
            columns[name] = _repeated(value, batch.num_rows)
    return Batch(columns, batch.num_rows, first, file.path)


def _repeated(value: Any, rows: int) -> pa.Array:
    kind = pa.int64() if isinstance(value, int) else pa.string()
    if value is None:
        return pa.nulls(rows, kind)
    indices = pa.repeat(pa.scalar(0, pa.int32()), rows)
    return pa.DictionaryArray.from_arrays(indices, pa.array([value], kind))


# ---- streams of batches ----


class Stream(Part):
    """Anything that gives batches one after the other, once."""

    def __init__(self, batches: Iterable[Any], needed: Needed, origin: str = "") -> None:
        self.source, self.needed, self.origin = batches, needed, origin

    def batches(self, threads: bool) -> Iterator[Batch]:  # noqa: ARG002
        """Yield the rows as they come."""
        first = 0
        with _reading(self.origin):
            for item in self.source:
                for batch in _record_batches(item):
                    check_schema(batch.schema, self.needed, self.origin)
                    for start in range(0, batch.num_rows, BATCH_ROWS):
                        piece = batch.slice(start, BATCH_ROWS)
                        columns = {name: piece.column(name) for name in self.needed.names}
                        yield Batch(columns, piece.num_rows, first, self.origin)
                        first += piece.num_rows


def _record_batches(item: Any) -> Any:
    if isinstance(item, pa.RecordBatch):
        return [item]
    if isinstance(item, pa.Table):
        return item.to_batches()
    if isinstance(item, Mapping):
        return pa.table(dict(item)).to_batches()
    if hasattr(item, "__arrow_c_stream__"):
        return pa.table(item).to_batches()
    if hasattr(item, "__arrow_c_array__"):
        return [pa.record_batch(item)]
    raise TypeError(
        f"source: got a batch of type {type(item).__name__}; expected record batches, tables, "
        "data frames or dicts of columns"
    )


class _Csv(Part):
    def __init__(
        self, file: str | _StandardInput, delimiter: str, needed: Needed, origin: str, block: int
    ) -> None:
        self.file, self.delimiter, self.needed, self.origin = file, delimiter, needed, origin
        self.block = block

    def batches(self, threads: bool) -> Iterator[Batch]:  # noqa: ARG002
        """Yield the rows, of which the first block says which columns are numbers."""
        options = csv.ParseOptions(delimiter=self.delimiter)
        reads = csv.ReadOptions(block_size=self.block, use_threads=False)
        schema, source = self._head(options, reads)
        names = schema.names
        check_names(self.needed.names, names, self.origin)
        types = {
            name: pa.bool_() if pa.types.is_boolean(schema.field(name).type) else pa.float64()
            for name in self.needed.values
        }
        converts = csv.ConvertOptions(
            include_columns=self.needed.names,
            column_types=types,
            null_values=_CSV_NULLS,
            strings_can_be_null=True,
        )
        first = 0
        try:
            with _reading(self.origin), csv.open_csv(source, reads, options, converts) as reader:
                for batch in reader:
                    columns = {name: batch.column(name) for name in self.needed.names}
                    yield Batch(columns, batch.num_rows, first, self.origin)
                    first += batch.num_rows
        except ScanError as error:
            self._fail(error, names)

    def _head(self, options: Any, reads: Any) -> tuple[pa.Schema, Any]:
        """Return the columns of the first block, and what to read all rows from."""
        with _reading(self.origin):
            if isinstance(self.file, str):
                with csv.open_csv(self.file, parse_options=options) as head:
                    return head.schema, self.file
            lines = self.file.head[: self.file.head.rfind(b"\n") + 1] or self.file.head
            with csv.open_csv(io.BytesIO(lines), reads, options) as head:
                return head.schema, self.file

    def _fail(self, error: ScanError, names: list[str]) -> None:
        found = _CSV_ERROR.search(str(error))
        if found is None:
            raise error
        # Rows are counted from 1, and the names are the first.
        row = f", {row_text(int(found['row']) - 2)}" if found["row"] else ""
        expected = "a number" if found["type"] == "double" else found["type"]
        raise ScanError(
            f"{self.origin}: column {names[int(found['column'])]!r}{row}: got {found['value']!r}; "
            f"expected {expected}"
        ) from None


# ---- opening ----


def open_source(source: Any, needed: Needed, budget: int) -> list[Part]:
    """Return the parts of a source.

    Raises
    ------
    ScanError
        If there is no such file, it cannot be read, or a column is missing or of a wrong type.
    TypeError
        If it is nothing that has rows.
    """
    if isinstance(source, (str, os.PathLike)):
        return _open_paths([os.fspath(source)], needed, budget)
    if isinstance(source, (list, tuple)) and source and isinstance(source[0], (str, os.PathLike)):
        return _open_paths([os.fspath(path) for path in source], needed, budget)
    if isinstance(source, pa.RecordBatchReader):
        check_schema(source.schema, needed, "")
        return [Stream(source, needed)]
    if isinstance(source, (pa.Table, pa.RecordBatch, Mapping)):
        return [Stream([source], needed)]
    if hasattr(source, "__arrow_c_stream__"):
        reader = pa.RecordBatchReader.from_stream(source)
        check_schema(reader.schema, needed, "")
        return [Stream(reader, needed)]
    if isinstance(source, Iterable):
        return [Stream(source, needed)]
    raise TypeError(
        f"source: got {type(source).__name__}; expected the path of a file, an Arrow table or "
        "stream, or an iterable of batches"
    )


def _open_paths(paths: Sequence[str], needed: Needed, budget: int) -> list[Part]:
    files = [file for path in paths for file in _files(path)]
    constants = _partitions([file for file, _ in files], [root for _, root in files])
    parts: list[Part] = []
    for (path, _), values in zip(files, constants, strict=True):
        parts += _open_file(path, values, needed, budget)
    return parts


def _files(path: str) -> list[tuple[str, str]]:
    """Return the files that a path, glob or directory names, each with the directory given."""
    if path == "-":
        return [(path, "")]
    if os.path.isdir(path):
        found = sorted(
            str(file)
            for file in Path(path).rglob("*.parquet")
            if not any(part[0] in "._" for part in file.relative_to(path).parts)
        )
        if not found:
            raise ScanError(f"{path}: the directory has no .parquet files")
        return [(file, path) for file in found]
    if not os.path.exists(path) and glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise ScanError(f"{path}: no file matches")
        return [pair for match in matches for pair in _files(match)]
    return [(path, "")]


def _partitions(files: list[str], roots: list[str]) -> list[dict[str, Any]]:
    """Return the values that hive-partitioned paths (``year=2024/...``) hold for each file."""
    texts = [
        dict(
            part.split("=", 1)
            for part in Path(file).relative_to(root).parts[:-1]
            if root and "=" in part
        )
        if root
        else {}
        for file, root in zip(files, roots, strict=True)
    ]
    integral = {
        name
        for name in {name for values in texts for name in values}
        if all(
            re.fullmatch(r"-?\d{1,18}", values[name]) or values[name] == _HIVE_NULL
            for values in texts
            if name in values
        )
    }

    def value(name: str, text: str) -> Any:
        if text == _HIVE_NULL:
            return None
        return int(text) if name in integral else urllib.parse.unquote(text)

    return [{name: value(name, text) for name, text in values.items()} for values in texts]


def _open_file(path: str, values: dict[str, Any], needed: Needed, budget: int) -> list[Part]:
    if path == "-":
        return [_open_stdin(needed, budget)]
    with _reading(path):
        if not os.path.exists(path):
            raise ScanError(f"{path}: no such file")
        if not os.path.isfile(path):
            raise ScanError(f"{path}: is not a regular file")
        with open(path, "rb") as stream:
            magic = stream.read(6)
    if not magic:
        raise ScanError(f"{path}: the file is empty")
    if magic.startswith(_PARQUET_MAGIC):
        file = _ParquetFile(path, needed, values)
        file.check()
        return file.parts(budget)
    if magic == _ARROW_FILE_MAGIC:
        return [Stream(_arrow_file(path), needed, path)]
    if magic.startswith(_ARROW_STREAM_MAGIC):
        return [Stream(_arrow_stream(path), needed, path)]
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
    delimiter = _DELIMITERS.get(suffixes[-1] if suffixes else "")
    if delimiter is None:
        raise ScanError(
            f"{path}: is neither a Parquet nor an Arrow file (these begin with PAR1 and ARROW1); a "
            "text file must be named .csv or .tsv, .gz may follow"
        )
    return [_Csv(path, delimiter, needed, path, _block(budget))]


def _block(budget: int) -> int:
    return max(1 << 16, min(1 << 23, budget // 16))


def _arrow_file(path: str) -> Iterator[pa.RecordBatch]:
    with pa.ipc.open_file(path) as reader:
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)


def _arrow_stream(path: str) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(path) as file, pa.ipc.open_stream(file) as reader:
        yield from reader


class _StandardInput(io.RawIOBase):
    """Standard input, of which `head` shows the beginning.

    Unlike those of io, it has no lock, so that a thread that waits for input does not stop the
    interpreter from ending.
    """

    def __init__(self, file: int, size: int) -> None:
        self.file = file
        self.head = self.rest = b""
        self.head = self.rest = self.read(size)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as many bytes as asked for, unless there are fewer."""
        wanted = sys.maxsize if size is None or size < 0 else size
        pieces = [self.rest[:wanted]]
        self.rest = self.rest[wanted:]
        wanted -= len(pieces[0])
        while wanted and (piece := os.read(self.file, min(wanted, 1 << 20))):
            pieces.append(piece)
            wanted -= len(piece)
        return b"".join(pieces)


def _open_stdin(needed: Needed, budget: int) -> Part:
    """Return an Arrow IPC stream or CSV from standard input, told apart by the first bytes."""
    block = _block(budget)
    stdin = _StandardInput(sys.stdin.fileno(), block)
    head = stdin.head
    if not head:
        raise ScanError("standard input is empty")
    if head.startswith(_ARROW_STREAM_MAGIC):
        with _reading("standard input"):
            return Stream(pa.ipc.open_stream(stdin), needed, "standard input")
    for magic in (_PARQUET_MAGIC, _ARROW_FILE_MAGIC):
        if head.startswith(magic):
            raise ScanError(
                "standard input: is a file that is read from its end; expected an Arrow IPC "
                "stream or CSV"
            )
    names = head.partition(b"\n")[0]
    delimiter = "\t" if names.count(b"\t") > names.count(b",") else ","
    return _Csv(stdin, delimiter, needed, "standard input", block)


class _reading:  # noqa: N801
    """Tell errors of reading in one line that names the file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (pa.ArrowMemoryError, ScanError)) or error is None:
            return
        if isinstance(error, (pa.ArrowException, OSError, UnicodeError)):
            known = isinstance(error, OSError) and error.strerror
            reason = known or " ".join(str(error).split())
            origin = f"{self.path}: " if self.path else "source: "
            raise ScanError(f"{origin}cannot be read: {reason}") from error


# ---- checks ----


def check_schema(schema: pa.Schema, needed: Needed, origin: str) -> None:
    """Check that the columns are there, and of types that are numbers."""
    check_names(needed.names, schema.names, origin)
    for name in needed.values:
        check_type(name, schema.field(name).type, origin)


def check_names(names: Sequence[str], present: Sequence[str], origin: str) -> None:
    """Check that each column is there once."""
    prefix = f"{origin}: " if origin else ""
    counts = Counter(present)
    for name in names:
        if counts[name] > 1:
            raise ScanError(
                f"{prefix}column {name!r} is there {counts[name]} times; expected it once"
            )
        if counts[name] == 0:
            near = difflib.get_close_matches(name, present, n=3, cutoff=0.5)
            shown = list(present[:10]) + (["..."] if len(present) > 10 else [])
            hint = (
                f"did you mean {' or '.join(map(repr, near))}?"
                if near
                else f"the columns are {', '.join(shown)}"
            )
            raise ScanError(f"{prefix}no column {name!r}; {hint}")


def check_type(name: str, kind: pa.DataType, origin: str) -> None:
    """Check that a column holds numbers, or lists of them."""
    if not is_number_type(kind):
        prefix = f"{origin}: " if origin else ""
        raise ScanError(f"{prefix}column {name!r} has type {kind}; expected numbers")


def is_number_type(kind: pa.DataType) -> bool:
    """Whether a column holds numbers, or lists of them."""
    if pa.types.is_dictionary(kind) or is_list_type(kind):
        return is_number_type(kind.value_type)
    tests = (
        pa.types.is_floating,
        pa.types.is_integer,
        pa.types.is_boolean,
        pa.types.is_decimal,
        pa.types.is_null,
    )
    return any(test(kind) for test in tests)


def is_list_type(kind: pa.DataType) -> bool:
    """Whether a column holds lists."""
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)


def row_text(position: int) -> str:
    """Say which row it is."""
    return f"row {position} (the first is 0)"
