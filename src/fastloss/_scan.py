"""`scan`: losses over the columns of files, tables and streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastloss._accumulator import Accumulator, Losses, labelled


def scan(
    source: Any,
    losses: Losses,
    *,
    y_true: str | Sequence[str],
    y_pred: str | Sequence[str],
    weight: str | None = None,
    by: str | Sequence[str] | None = None,
    nulls: str = "raise",
    memory: int = 256 << 20,
    num_threads: int | None = None,
) -> Accumulator:
    """Return the losses of the columns of a source, from one pass over its rows.

    Needs pyarrow (``pip install "fastloss[score]"``). The result has the same bits whatever the
    layout of the source and the number of threads.

    Parameters
    ----------
    source : path, list of paths, Arrow table or stream, or iterable
        Parquet, Arrow and CSV files, globs, directories (with hive partitions) of Parquet files;
        anything with ``__arrow_c_stream__``, such as tables, record batch readers and data frames;
        or an iterable of record batches, data frames or dicts of columns.
    losses : str, Loss, iterable of them, or dict
        As for `Accumulator`.
    y_true, y_pred : str or sequence of str
        The columns of targets and predictions. Losses over classes take a column for each class,
        or one column of lists.
    weight : str, optional
        The column of weights.
    by : str or sequence of str, optional
        The column, or columns, whose values tell groups apart.
    nulls : {"raise", "skip", "propagate"}
        What to do with rows that have a null in one of these columns: raise an error that counts
        them, leave them out (`Accumulator.skipped` says how many), or take them as NaN, which
        makes the results NaN. A NaN is a value, not a null.
    memory : int
        Bytes that batches may take at a time, about.
    num_threads : int, optional
        Threads that read and compute.

    Returns
    -------
    Accumulator
        With groups if `by` is given.

    Raises
    ------
    ValueError
        If the source cannot be read, a column is missing or of a wrong type, there are nulls, or a
        value is outside its domain; with the column and row.

    Examples
    --------
    >>> import fastloss as fl
    >>> table = {"y": [1.0, 2.0, 4.0], "z": [1.5, 2.0, 3.0], "shop": ["a", "b", "a"]}
    >>> fl.scan(table, "mae", y_true="y", y_pred="z", by="shop").result()
    {'a': {'absolute_error': 0.75}, 'b': {'absolute_error': 0.0}}
    """
    from fastloss._scanner import Columns, Job

    columns = Columns(_names(y_true), _names(y_pred), weight, _names(by), isinstance(by, str))
    job = Job(source, labelled(losses), columns, nulls, memory, num_threads)
    return job.run().accumulator


def _names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)
