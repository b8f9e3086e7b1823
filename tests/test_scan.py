"""Scans of files against plain NumPy: all losses, layouts of files, nulls, NaN, messages."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import csv, parquet
from reference import numpy_loss, reduce

import fastloss as fl
from fastloss import _sources
from fastloss._accumulator import label_of
from fastloss._losses import RECORDS
from fastloss._report import Report
from fastloss._scanner import MEMORY, Columns, Job
from fastloss._sources import ScanError

Array = NDArray[Any]

ROWS = 1000
CLASSES = ("0", "1", "2")


@dataclass(frozen=True)
class Case:
    """A loss and the prefix of its columns in the table of `columns`."""

    y: str
    z: str
    params: dict[str, Any]

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(self.y + c for c in CLASSES) if self.y == "dense" else (self.y,)

    @property
    def predictions(self) -> tuple[str, ...]:
        return tuple(self.z + c for c in CLASSES) if self.z in {"logit", "share"} else (self.z,)


CASES = {
    "squared_error": Case("real", "guess", {}),
    "root_mean_squared_error": Case("real", "guess", {}),
    "absolute_error": Case("real", "guess", {}),
    "squared_log_error": Case("count", "positive", {}),
    "huber": Case("real", "guess", {"delta": 0.75}),
    "pseudo_huber": Case("real", "guess", {"delta": 0.75}),
    "log_cosh": Case("real", "guess", {}),
    "quantile": Case("real", "guess", {"q": 0.9}),
    "binary_cross_entropy": Case("label", "probability", {"eps": 0.01, "label_smoothing": 0.1}),
    "sigmoid_cross_entropy": Case("label", "guess", {"pos_weight": 3.0}),
    "logistic": Case("margin_label", "guess", {}),
    "hinge": Case("label", "guess", {"margin": 0.5}),
    "squared_hinge": Case("margin_label", "guess", {}),
    "categorical_cross_entropy": Case("dense", "share", {"class_weight": (1.0, 2.0, 0.5)}),
    "sparse_categorical_cross_entropy": Case("index", "share", {"ignore_index": 1}),
    "softmax_cross_entropy": Case("dense", "logit", {"label_smoothing": 0.2}),
    "sparse_softmax_cross_entropy": Case(
        "index", "logit", {"ignore_index": 1, "class_weight": (1.0, 2.0, 0.5)}
    ),
    "kl_divergence": Case("dense", "share", {}),
}


def columns(rows: int = ROWS) -> dict[str, Array]:
    random = np.random.default_rng(7)
    label = random.integers(0, 2, rows)
    table: dict[str, Array] = {
        "real": random.normal(size=rows),
        "guess": random.normal(size=rows),
        "count": random.poisson(3, rows),
        "positive": random.gamma(2.0, size=rows),
        "label": label,
        "margin_label": 2 * label - 1,
        "probability": random.random(rows),
        "index": random.integers(0, 3, rows),
        "weight": random.random(rows),
    }
    wide = {
        "dense": random.dirichlet(np.ones(3), rows),
        "share": random.dirichlet(np.ones(3), rows),
        "logit": random.normal(size=(rows, 3)),
    }
    return table | {name + c: a[:, int(c)] for name, a in wide.items() for c in CLASSES}


def expected(
    name: str, y: Array, z: Array, w: Array | None, params: dict[str, Any]
) -> tuple[float, float | None, int, float]:
    """Return mean, sum, count and weight in plain NumPy."""
    ignored = params.get("ignore_index")
    counts = np.ones(len(z), bool) if ignored is None else y != ignored
    weight = float(np.sum(np.ones(len(z))[counts] if w is None else w[counts]))
    losses = numpy_loss(name, y, z, outputs=("loss",), sample_weight=w, **params)
    if name == "root_mean_squared_error":
        return float(losses[0]), None, len(z), weight
    mean, total = (
        reduce(name, losses, reduction, y_true=y, sample_weight=w, **params)[0]
        for reduction in ("mean", "sum")
    )
    return mean, total, int(counts.sum()), weight


def stacked(table: dict[str, Array], names: tuple[str, ...]) -> Array:
    arrays = [table[name] for name in names]
    return arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=-1)


class Result(NamedTuple):
    loss: str
    params: dict[str, Any]
    mean: float
    sum: float | None
    count: int
    weight: float


class Scores(NamedTuple):
    rows: int
    nulls: int
    null_columns: dict[str, int]
    results: list[Result]


def assert_result(
    result: Result,
    wanted: tuple[float, float | None, int, float],
    rtol: float = 1e-12,
) -> None:
    mean, total, count, weight = wanted
    np.testing.assert_allclose(result.mean, mean, rtol=rtol)
    if total is None:
        assert result.sum is None
    else:
        assert result.sum is not None
        np.testing.assert_allclose(result.sum, total, rtol=rtol)
    assert result.count == count
    np.testing.assert_allclose(result.weight, weight, rtol=1e-13)


def score_table(
    folder: Path,
    table: Any,
    y: str | tuple[str, ...] = "y",
    z: str | tuple[str, ...] = "z",
    *losses: fl.Loss,
    weight: str | None = None,
) -> Scores:
    """Write a table as Parquet and score it."""
    path = folder / "table.parquet"
    parquet.write_table(table if isinstance(table, pa.Table) else pa.table(table), path)
    return score_file(path, y, z, *losses, weight=weight)


def score_file(
    path: Path,
    y: str | tuple[str, ...] = "y",
    z: str | tuple[str, ...] = "z",
    *losses: fl.Loss,
    weight: str | None = None,
    num_threads: int | None = None,
) -> Scores:
    names = [(n,) if isinstance(n, str) else n for n in (y, z)]
    asked = losses or (fl.get("squared_error"),)
    losses_by_label = {label_of(loss): loss for loss in asked}
    job = Job(str(path), losses_by_label, Columns(*names, weight), "skip", MEMORY, num_threads)
    scanned = job.run()
    report = Report(scanned.accumulator, (), scanned.rows, scanned.nulls, weight is not None)
    results = [Result(*(r[name] for name in Result._fields)) for r in report.results()]
    return Scores(scanned.rows, scanned.accumulator.skipped, scanned.nulls, results)


def write_parquet(table: dict[str, Array], path: Path) -> None:
    parquet.write_table(pa.table(table), path, row_group_size=170)


def write_csv(table: dict[str, Array], path: Path) -> None:
    csv.write_csv(pa.table(table), path)


# ---- results ----


def test_every_loss_has_a_case() -> None:
    assert set(CASES) == {record.name for record in RECORDS}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("write", "name"), [(write_parquet, "t.parquet"), (write_csv, "t.csv")], ids=["parquet", "csv"]
)
@pytest.mark.parametrize("loss", CASES)
def test_loss(
    tmp_path: Path,
    loss: str,
    write: Callable[[dict[str, Array], Path], None],
    name: str,
    weighted: bool,
) -> None:
    case, table, path = CASES[loss], columns(), tmp_path / name
    write(table, path)
    weight = "weight" if weighted else None
    report = score_file(
        path, case.targets, case.predictions, fl.get(loss, **case.params), weight=weight
    )
    assert (report.rows, report.nulls, report.null_columns) == (ROWS, 0, {})
    (result,) = report.results
    assert result.loss == loss
    assert case.params.items() <= result.params.items()
    assert "axis" not in result.params
    y, z = stacked(table, case.targets), stacked(table, case.predictions)
    wanted = expected(loss, y, z, table["weight"] if weighted else None, case.params)
    assert_result(result, wanted)


def test_several_losses_in_the_order_given(tmp_path: Path) -> None:
    table = columns()
    names = ["huber", "squared_error", "absolute_error", "root_mean_squared_error"]
    report = score_table(tmp_path, table, "real", "guess", *(fl.get(name) for name in names))
    assert [result.loss for result in report.results] == names
    for name, result in zip(names, report.results, strict=True):
        assert_result(result, expected(name, table["real"], table["guess"], None, {}))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_narrow_predictions(tmp_path: Path, dtype: str) -> None:
    table = {"y": columns()["real"].astype(dtype), "z": columns()["guess"].astype(dtype)}
    report = score_table(tmp_path, table)
    assert_result(report.results[0], expected("squared_error", *table.values(), None, {}), 1e-6)


def test_weights_are_not_rounded_to_narrow_predictions(tmp_path: Path) -> None:
    table = {"y": np.zeros(1, "f4"), "z": np.ones(1, "f4"), "w": [0.1]}
    result = score_table(tmp_path, table, weight="w").results[0]
    assert (result.sum, result.weight, result.mean) == (0.1, 0.1, 1.0)


def test_root_mean_squared_error_beyond_the_square_of_float32(tmp_path: Path) -> None:
    table = {"y": np.zeros(2, "f4"), "z": np.full(2, 1e30, "f4")}
    result = score_table(tmp_path, table, "y", "z", fl.get("rmse")).results[0]
    np.testing.assert_allclose(result.mean, float(np.float32(1e30)), rtol=1e-15)


@pytest.mark.parametrize(
    "y",
    [
        pa.array([1, 2, 5], pa.int8()),
        pa.array([1, 2, 5], pa.uint64()),
        pa.array([Decimal("1.0"), Decimal("2.0"), Decimal("5.0")]),
        pa.array(np.array([1.0, 2.0, 5.0], np.float16)),
        pa.array([1.0, 2.0, 5.0]).dictionary_encode(),
    ],
    ids=lambda y: str(y.type),
)
def test_types_of_numbers(tmp_path: Path, y: pa.Array) -> None:
    result = score_table(tmp_path, {"y": y, "z": [2.0, 2.0, 2.0]}).results[0]
    assert (result.mean, result.sum, result.count) == (10 / 3, 10.0, 3)


def test_booleans_as_labels(tmp_path: Path) -> None:
    table = {"y": [True, False, True], "z": [2.0, -3.0, 0.25]}
    result = score_table(tmp_path, table, "y", "z", fl.get("hinge")).results[0]
    assert result.sum == 0.75


def test_class_indices_as_floats(tmp_path: Path) -> None:
    """What pandas makes of a column of indices with gaps."""
    frame = pd.DataFrame({"y": [0, None, 1], "a": [0.5, 0.5, 0.5], "b": [0.25, 0.25, 0.25]})
    path = tmp_path / "t.parquet"
    frame.to_parquet(path)
    report = score_file(path, "y", ("a", "b"), fl.get("nll"))
    assert (report.rows, report.nulls, report.results[0].count) == (3, 1, 2)
    np.testing.assert_allclose(report.results[0].sum, math.log(8), rtol=1e-15)


# ---- layouts ----


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(_sources, "BATCH_ROWS", 64)
    return 64


@pytest.mark.parametrize("loss", CASES)
def test_results_over_several_batches(tmp_path: Path, loss: str, small_batches: int) -> None:
    assert 10 * small_batches < ROWS
    case, table = CASES[loss], columns()
    (result,) = score_table(
        tmp_path, table, case.targets, case.predictions, fl.get(loss, **case.params)
    ).results
    y, z = stacked(table, case.targets), stacked(table, case.predictions)
    assert_result(result, expected(loss, y, z, None, case.params))


def cancelling() -> dict[str, Array]:
    """Return rows whose losses cancel, so that a sum with rounding errors would not be zero."""
    half = {name: columns(ROWS // 2)[name] for name in ("real", "guess", "weight")}
    table = {name: np.concatenate([array, array]) for name, array in half.items()}
    table["weight"][ROWS // 2 :] *= -1
    return table


@pytest.mark.usefixtures("small_batches")
def test_same_bits_for_every_layout(tmp_path: Path) -> None:
    reports = []
    for size in (ROWS, 640, 100, 33, 7):
        path = tmp_path / f"{size}.parquet"
        parquet.write_table(pa.table(cancelling()), path, row_group_size=size)
        assert parquet.ParquetFile(path).num_row_groups == -(-ROWS // size)
        for threads in (1, 2):
            loss = fl.get("log_cosh")
            reports.append(
                score_file(path, "real", "guess", loss, weight="weight", num_threads=threads)
            )
    assert {report.results[0].sum for report in reports} == {0.0}
    assert len({report.results[0].weight for report in reports}) == 1


@pytest.mark.usefixtures("small_batches")
def test_csv_and_parquet_give_the_same_bits(tmp_path: Path) -> None:
    table = cancelling()
    write_parquet(table, tmp_path / "t.parquet")
    write_csv(table, tmp_path / "t.csv")
    reports = [
        score_file(tmp_path / name, "real", "guess", fl.get("log_cosh"), weight="weight")
        for name in ("t.parquet", "t.csv")
    ]
    assert reports[0].results[0].sum == reports[1].results[0].sum


def test_batches_of_the_real_size(tmp_path: Path) -> None:
    rows = 2 * _sources.BATCH_ROWS + 3
    y, z = np.arange(rows) % 7, np.arange(rows) % 5 + 0.0
    report = score_table(tmp_path, {"y": y, "z": z})
    assert report.rows == rows
    assert report.results[0].sum == int(np.sum((z.astype(int) - y) ** 2))


@pytest.mark.parametrize(("name", "delimiter"), [("t.csv", ","), ("t.tsv", "\t"), ("T.CSV", ",")])
@pytest.mark.parametrize("compressed", [False, True])
def test_text_files(tmp_path: Path, name: str, delimiter: str, compressed: bool) -> None:
    path = tmp_path / (name + ".gz" * compressed)
    frame = pd.DataFrame({"other": ["a", "b"], "y": [1, 2], "z": [1.5, 4.0]})
    frame.to_csv(path, sep=delimiter, index=False)
    assert score_file(path).results[0].sum == 4.25


# ---- nulls and NaN ----


@pytest.mark.usefixtures("small_batches")
def test_rows_with_nulls_count_nowhere(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    table = {name: columns()[name] for name in ("real", "guess", "weight")}
    missing = {name: random.random(ROWS) < 0.1 for name in table}
    arrow = pa.table({name: pa.array(a, mask=missing[name]) for name, a in table.items()})
    report = score_table(tmp_path, arrow, "real", "guess", fl.get("huber"), weight="weight")
    kept = ~np.logical_or.reduce([*missing.values()])
    assert 0 < kept.sum() < ROWS
    assert report.rows == ROWS
    assert report.nulls == ROWS - kept.sum()
    assert report.null_columns == {name: int(gone.sum()) for name, gone in missing.items()}
    y, z, w = (array[kept] for array in table.values())
    assert_result(report.results[0], expected("huber", y, z, w, {"delta": 1.0}))


def test_nulls_of_unused_columns_do_not_matter(tmp_path: Path) -> None:
    table = {"y": [1.0, 2.0], "z": [1.0, 3.0], "unused": pa.nulls(2)}
    report = score_table(tmp_path, table)
    assert (report.nulls, report.results[0].count) == (0, 2)


@pytest.mark.parametrize("word", ["", "NA", "null", "#N/A", "None"])
def test_nulls_of_text_files(tmp_path: Path, word: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"y,z\n1,2\n{word},3\n5,{word}\n3,5\n")
    report = score_file(path)
    assert (report.rows, report.nulls, report.null_columns) == (4, 2, {"y": 1, "z": 1})
    assert report.results[0].sum == 5.0


@pytest.mark.parametrize("column", ["y", "z", "w"])
def test_nan_is_a_value(tmp_path: Path, column: str) -> None:
    table = {name: np.array([1.0, 2.0, 3.0]) for name in "yzw"}
    table[column][1] = np.nan
    report = score_table(tmp_path, table, weight="w")
    (result,) = report.results
    assert report.nulls == 0
    assert result.count == 3
    assert math.isnan(result.mean)
    assert result.sum is not None
    assert math.isnan(result.sum)


@pytest.mark.parametrize("table", [{"y": [], "z": []}, {"y": [None, 1.0], "z": [1.0, None]}])
def test_no_row_counts(tmp_path: Path, table: dict[str, list[float]]) -> None:
    arrays = {name: pa.array(values, pa.float64()) for name, values in table.items()}
    report = score_table(tmp_path, arrays, "y", "z", fl.get("mse"), fl.get("rmse"))
    squared, root = report.results
    assert (squared.sum, squared.count, squared.weight) == (0.0, 0, 0.0)
    assert math.isnan(squared.mean)
    assert math.isnan(root.mean)


def test_infinite_losses(tmp_path: Path) -> None:
    table = {"y": [1, 0], "z": [0.0, 0.5]}
    (result,) = score_table(tmp_path, table, "y", "z", fl.get("bce")).results
    assert (result.mean, result.sum) == (math.inf, math.inf)


# ---- mistakes ----


@pytest.mark.parametrize("batch_rows", [64, 1 << 17])
def test_row_of_a_value_outside_its_domain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    monkeypatch.setattr(_sources, "BATCH_ROWS", batch_rows)
    y = columns()["label"].astype(float)
    y[701] = 1.5
    table = {"y": pa.array(y, mask=np.arange(ROWS) % 3 == 0), "z": columns()["probability"]}
    with pytest.raises(
        ScanError,
        match=re.escape("column 'y', row 701 (the first is 0): got 1.5; expected values in [0, 1]"),
    ):
        score_table(tmp_path, table, "y", "z", fl.get("bce"))


def test_column_of_a_value_outside_its_domain(tmp_path: Path) -> None:
    table = columns()
    table["share1"][5] = -0.25
    case = CASES["kl_divergence"]
    with pytest.raises(ScanError, match=r"column 'share1', row 5 .*got -0\.25; expected"):
        score_table(tmp_path, table, case.targets, case.predictions, fl.get("kl"))


def test_class_index_out_of_range(tmp_path: Path) -> None:
    table = {"y": [0, 1, 2], "a": [0.0] * 3, "b": [0.0] * 3}
    loss = fl.get("sparse_softmax_cross_entropy")
    with pytest.raises(ScanError, match=r"'y', row 2 .*got 2; .*integers in \[0, 2\)"):
        score_table(tmp_path, table, "y", ("a", "b"), loss)


@pytest.mark.parametrize("batch_rows", [64, 1 << 17])
@pytest.mark.parametrize(("first", "second"), [(-1, 0), (0, -1)])
def test_labels_of_two_conventions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_rows: int, first: int, second: int
) -> None:
    monkeypatch.setattr(_sources, "BATCH_ROWS", batch_rows)
    y = np.ones(ROWS, np.int64)
    y[3], y[800] = first, second
    with pytest.raises(ScanError, match=rf"'y', row 800 .*got {second}; .*{first} came be"):
        score_table(tmp_path, {"y": y, "z": columns()["guess"]}, "y", "z", fl.get("hinge"))
