"""The command: arguments, output, exit codes, and one clear line for every mistake."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from reference import numpy_loss, reduce

import fastloss
from fastloss import _cli, _sources
from fastloss._losses import RECORDS
from fastloss._report import number_text

Y = np.array([1.0, -2.0, 0.5, 4.0])
Z = np.array([0.25, -1.0, 3.5, 4.0])
WEIGHT = np.array([1.0, 0.5, 2.0, 0.25])
INDEX = np.array([2, 0, 1, 2])
LOGITS = np.array([[0.5, 1.0, -1.0], [2.0, 0.0, 0.25], [-0.5, 0.75, 1.5], [0.0, 0.0, 3.0]])
# The first two rows of `gaps` are null.
TABLE = {
    "y": Y,
    "z": Z,
    "w": WEIGHT,
    "index": INDEX,
    **{f"class{k}": LOGITS[:, k] for k in range(3)},
    "gaps": pa.array(Z, mask=np.arange(4) < 2),
    "words": ["a", "b", "c", "d"],
    "days": pa.array([0, 1, 2, 3], pa.date32()),
    "lists": [[1.0]] * 4,
}
PLAIN = ["--y-true", "y", "--y-pred", "z", "--loss", "mse"]
CLASSES = ["--y-pred", "class0", "--y-pred", "class1", "--y-pred", "class2"]


class Run(NamedTuple):
    code: int
    out: str
    err: str


class Command:
    """The command, run in this process on a table of its own."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capture = capture
        self.table = str(folder / "table.parquet")
        parquet.write_table(pa.table(TABLE), self.table, row_group_size=3)

    def __call__(self, *argv: str) -> Run:
        code = _cli.main(argv)
        return Run(code, *self.capture.readouterr())

    def score(self, *options: str) -> Run:
        return self("score", self.table, *options)

    def json(self, *options: str) -> Any:
        run = self.score(*options, "--format", "json")
        assert (run.code, run.err) == (0, "")
        return json.loads(run.out)

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, capsys)


def assert_mistake(run: Run, *parts: str, code: int = 2) -> None:
    assert run.code == code
    assert run.out == ""
    assert run.err.startswith("fastloss: error: ")
    assert run.err.count("\n") == 1
    assert run.err.endswith("\n")
    for part in parts:
        assert part in run.err


def process(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, check=False, timeout=60, **options
    )


# ---- fastloss score: formats ----


def test_json(command: Command) -> None:
    report = command.json(
        *("--y-true", "y", "--y-pred", "z", "--weight", "w"),
        *("--loss", "huber:delta=0.5", "--loss", "l1", "--loss", "rmse"),
    )
    assert report.keys() == {"version", "rows", "skipped", "nulls", "results"}
    assert report["rows"] == 4
    keys = ["loss", "params", "mean", "sum", "count", "weight", "nan"]
    assert [list(result) for result in report["results"]] == [keys] * 3
    huber, absolute, root = report["results"]
    assert [huber["loss"], absolute["loss"], root["loss"]] == [
        "huber",
        "absolute_error",
        "root_mean_squared_error",
    ]
    assert [huber["params"], absolute["params"], root["params"]] == [{"delta": 0.5}, {}, {}]
    for result, params in ((huber, {"delta": 0.5}), (absolute, {})):
        losses = numpy_loss(result["loss"], Y, Z, outputs=("loss",), **params)
        for reduction in ("mean", "sum"):
            wanted = reduce(result["loss"], losses, reduction, sample_weight=WEIGHT)[0]
            np.testing.assert_allclose(result[reduction], wanted, rtol=1e-14)
    np.testing.assert_allclose(
        root["mean"],
        numpy_loss(root["loss"], Y, Z, outputs=("loss",), sample_weight=WEIGHT)[0],
        rtol=1e-14,
    )
    assert root["sum"] is None
    for result in (huber, absolute, root):
        assert result["count"] == 4
        assert result["weight"] == 3.75


def test_json_of_a_row_wise_loss(command: Command) -> None:
    name, params = "sparse_softmax_cross_entropy", {"class_weight": [1, 2.5, 1], "ignore_index": 1}
    report = command.json(
        *("--y-true", "index", *CLASSES, "--loss", f"{name}:class_weight=1:2.5:1,ignore_index=1")
    )
    (result,) = report["results"]
    losses = numpy_loss(name, INDEX, LOGITS, outputs=("loss",), **params)
    for reduction in ("mean", "sum"):
        wanted = reduce(name, losses, reduction, y_true=INDEX, **params)[0]
        np.testing.assert_allclose(result[reduction], wanted, rtol=1e-14)
    assert (result["count"], result["weight"]) == (3, 3.0)
    assert result["params"] == {**params, "label_smoothing": 0.0}


def test_json_of_dense_targets(command: Command) -> None:
    targets = ["--y-true", "z", "--y-true", "w", "--y-true", "gaps"]
    shares = {"z": [0.5, 0.25], "w": [0.5, 0.25], "gaps": [0.0, 0.5]}
    logits = {f"class{k}": LOGITS[:2, k] for k in range(3)}
    parquet.write_table(pa.table({**shares, **logits}), command.table)
    report = command.json(*targets, *CLASSES, "--loss", "softmax_cross_entropy")
    y = np.transpose([shares["z"], shares["w"], shares["gaps"]])
    losses = numpy_loss("softmax_cross_entropy", y, LOGITS[:2], outputs=("loss",))[0]
    np.testing.assert_allclose(report["results"][0]["sum"], losses.sum(), rtol=1e-14)


@pytest.mark.parametrize(
    ("z", "mean"),
    [([math.inf, 0.0], "Infinity"), ([math.nan, 0.0], "NaN")],
)
def test_json_has_no_numbers_that_json_lacks(command: Command, z: list[float], mean: str) -> None:
    parquet.write_table(pa.table({"y": [0.0, 0.0], "z": z}), command.table)
    run = command.score(*PLAIN, "--format", "json")

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    (result,) = json.loads(run.out, parse_constant=refuse)["results"]
    assert (result["mean"], result["sum"], result["count"]) == (mean, mean, 2)


def test_csv(command: Command) -> None:
    run = command.score(
        *PLAIN, "--loss", "rmse", "--loss", "huber:delta=0.5", "--weight", "w", "--format", "csv"
    )
    assert (run.code, run.err) == (0, "")
    header, squared, root, huber = csv.reader(io.StringIO(run.out))
    assert header == ["loss", "params", "mean", "sum", "count", "weight", "nan"]
    total = float(np.sum(WEIGHT * (Z - Y) ** 2))
    assert squared[:2] == ["squared_error", ""]
    np.testing.assert_allclose(float(squared[2]), total / 3.75, rtol=1e-14)
    np.testing.assert_allclose(float(squared[3]), total, rtol=1e-14)
    assert squared[4:] == ["4", "3.75", "0"]
    assert root[0] == "root_mean_squared_error"
    np.testing.assert_allclose(float(root[2]), math.sqrt(total / 3.75), rtol=1e-14)
    assert root[3] == ""
    assert huber[:2] == ["huber", "delta=0.5"]


def test_table(command: Command) -> None:
    run = command.score(*PLAIN, "--loss", "rmse", "--loss", "huber:delta=0.5", "--weight", "w")
    assert (run.code, run.err) == (0, "")
    total = float(np.sum(WEIGHT * (Z - Y) ** 2))
    lines = run.out.splitlines()
    assert lines[:2] == ["4 rows, no nulls", ""]
    assert lines[2].split() == ["loss", "mean", "sum", "count", "weight"]
    assert lines[3].split() == [
        "squared_error",
        f"{total / 3.75:.5f}",
        f"{total:.4f}",
        "4",
        "3.75000",
    ]
    assert lines[4].split()[::2] == ["root_mean_squared_error", "-", "3.75000"]
    assert lines[5].split()[0] == "huber:delta=0.5"
    assert len({len(line) for line in lines[2:]}) == 1


def test_table_is_the_default_and_has_no_column_of_weights_without_them(command: Command) -> None:
    run = command.score(*PLAIN)
    assert run == command.score(*PLAIN, "--format", "table")
    assert run.out.splitlines()[2].split() == ["loss", "mean", "sum", "count"]


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_nulls_are_reported(command: Command, form: str) -> None:
    options = ["--y-true", "y", "--y-pred", "gaps", "--loss", "mse", "--nulls", "skip"]
    run = command.score(*options, "--format", form)
    told = "4 rows, 2 of them left out because of nulls (gaps: 2)"
    assert run.code == 0
    if form == "table":
        assert run.out.splitlines()[0] == told
        assert run.err == ""
    else:
        assert run.err == f"fastloss: note: {told}\n"
    total = 9.0  # of the rows 0.5, 3.5 and 4, 4
    if form == "json":
        report = json.loads(run.out)
        assert report["rows"] == 4
        assert (report["results"][0]["sum"], report["results"][0]["count"]) == (total, 2)
    elif form == "csv":
        assert run.out.splitlines()[1] == "squared_error,,4.5,9.0,2,2.0,0"
    else:
        assert run.out.splitlines()[3].split() == ["squared_error", "4.50000", "9.00000", "2"]


@pytest.mark.parametrize(
    ("x", "shown"),
    [
        (0.0, "0.00000"),
        (1.0, "1.00000"),
        (-12.345678, "-12.3457"),
        (123456.7, "123,457"),
        (12345678.9, "12,345,679"),
        (1e20, "1.00000e+20"),
        (1.5e-7, "1.50000e-07"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers_of_the_table(x: float, shown: str) -> None:
    assert number_text(x) == shown


def test_number_of_threads(command: Command) -> None:
    runs = [command.score(*PLAIN, "--num-threads", n) for n in ("1", "2")]
    assert runs[0] == runs[1]
    assert runs[0].code == 0


def test_csv_file(command: Command) -> None:
    path = command.file("t.csv", b"y,z,unused\n1,2,a\n3,5,b\n")
    run = command("score", path, *PLAIN, "--format", "json")
    assert run.code == 0
    assert json.loads(run.out)["results"][0]["sum"] == 5.0


# ---- fastloss score: mistakes in the arguments ----


@pytest.mark.parametrize(
    ("loss", "parts"),
    [
        ("hubr", ["--loss hubr: there is no loss 'hubr'; did you mean huber or pseudo_huber?"]),
        ("xyzzy", ["there is no loss 'xyzzy'", '"fastloss list" shows them']),
        ("", ["there is no loss ''"]),
        ("huber:", ["--loss huber:: got ''; expected param=value"]),
        ("huber:2", ["got '2'; expected param=value"]),
        ("huber:=2", ["got '=2'; expected param=value"]),
        ("huber:delta=2,", ["got ''; expected param=value"]),
        ("huber:width=2", ["huber has no parameter 'width'; its parameters: delta"]),
        ("mse:delta=2", ["mse has no parameter 'delta'; its parameters: none"]),
        ("nll:axis=0", ["nll has no parameter 'axis'"]),
        ("huber:delta=2,delta=3", ["delta is given twice"]),
        ("huber:delta=two", ["delta: got 'two'; expected a number"]),
        ("huber:delta=", ["delta: got ''; expected a number"]),
        ("huber:delta=-1", ["delta", "got -1", "(0, inf)"]),
        ("huber:delta=nan", ["delta", "got nan", "(0, inf)"]),
        ("quantile:q=1", ["q", "got 1", "(0, 1)"]),
        ("nll:ignore_index=1.5", ["ignore_index: got '1.5'; expected an integer"]),
        ("nll:class_weight=1:a", ["class_weight: got 'a'; expected numbers separated by colons"]),
        ("nll:class_weight=1:-2:1", ["class_weight", "got -2"]),
    ],
)
def test_wrong_loss(command: Command, loss: str, parts: list[str]) -> None:
    run = command.score("--y-true", "y", "--y-pred", "z", "--loss", loss)
    assert_mistake(run, f"--loss {loss}", *parts)


@pytest.mark.parametrize("again", ["mse", "squared_error"])
def test_same_loss_twice(command: Command, again: str) -> None:
    assert_mistake(command.score(*PLAIN, "--loss", again), f"--loss {again}", "given twice")


def test_same_loss_with_other_parameters(command: Command) -> None:
    losses = ["--loss", "huber", "--loss", "huber:delta=2"]
    results = command.json("--y-true", "y", "--y-pred", "z", *losses)["results"]
    assert [result["params"]["delta"] for result in results] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        ([], ["COMMAND"]),
        (["scores"], ["'scores'", "score"]),
        (["score"], ["SOURCE", "--y-true", "--y-pred", "--loss"]),
        (["score", "f", "--y-true", "y", "--y-pred", "z"], ["required", "--loss"]),
        (["score", "f", "--loss", "mse", "--y-pred", "z"], ["required", "--y-true"]),
        (["score", "f", *PLAIN, "--format", "xml"], ["--format", "'xml'", "table"]),
        (["score", "f", *PLAIN, "--num-threads", "0"], ["--num-threads", "got '0'", ">= 1"]),
        (["score", "f", *PLAIN, "--num-threads", "two"], ["--num-threads", "got 'two'"]),
        (["score", "f", *PLAIN, "--verbose"], ["--verbose"]),
        (["score", "f", *PLAIN, "--weights", "w"], ["--weights"]),
        (["score", "f", *PLAIN, "--y-true"], ["--y-true"]),
    ],
)
def test_wrong_arguments(command: Command, argv: list[str], parts: list[str]) -> None:
    assert_mistake(command(*argv), *parts, "--help")


@pytest.mark.parametrize("option", ["--y-true", "--y-pred"])
def test_same_column_twice(command: Command, option: str) -> None:
    run = command.score(*PLAIN, option, "y", option, "y")
    assert_mistake(run, f"{option} y: given twice")


# ---- fastloss score: columns that are not what a loss takes ----


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (
            ["--y-true", "y", *CLASSES, "--loss", "mse"],
            ["squared_error takes one column of predictions: got 3 y_pred"],
        ),
        (
            ["--y-true", "y", "--y-true", "w", "--y-pred", "z", "--loss", "mse"],
            ["squared_error takes one column of targets: got 2 y_true"],
        ),
        (
            ["--y-true", "index", "--y-pred", "z", "--loss", "nll"],
            ["one y_pred for each class: got 1, expected 2 or more"],
        ),
        (
            ["--y-true", "index", "--y-true", "y", *CLASSES, "--loss", "nll"],
            ["one column of class indices: got 2 y_true"],
        ),
        (
            ["--y-true", "index", *CLASSES, "--loss", "cross_entropy"],
            ["for each of the 3 y_pred: got 1", "use sparse_softmax_cross_entropy"],
        ),
        (
            ["--y-true", "index", *CLASSES, "--loss", "nll:class_weight=1:2"],
            ["class_weight has 2 weights; expected 3"],
        ),
        (
            ["--y-true", "lists", "--y-pred", "z", "--loss", "mse"],
            ["column 'lists' holds lists; squared_error takes one number a row"],
        ),
    ],
)
def test_columns_that_a_loss_does_not_take(
    command: Command, options: list[str], parts: list[str]
) -> None:
    assert_mistake(command.score(*options), *parts)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (
            ["--y-true", "Y", "--y-pred", "z", "--loss", "mse"],
            ["no column 'Y'; the columns are y, z, w, index"],
        ),
        (
            ["--y-true", "indx", "--y-pred", "z", "--loss", "mse"],
            ["no column 'indx'; did you mean 'index'?"],
        ),
        ([*PLAIN, "--weight", "weight"], ["no column 'weight'"]),
        (
            ["--y-true", "y", "--y-pred", "words", "--loss", "mse"],
            ["column 'words' has type string; expected numbers"],
        ),
        ([*PLAIN, "--weight", "days"], ["column 'days' has type date32"]),
        (
            ["--y-true", "y", "--y-pred", "z", "--loss", "bce"],
            ["column 'y', row 1 (the first is 0): got -2", "expected values in [0, 1]"],
        ),
        (
            ["--y-true", "y", "--y-pred", "z", "--loss", "hinge"],
            ["column 'y', row 1 (the first is 0): got -2", "{-1, +1} or {0, 1}"],
        ),
        (
            ["--y-true", "y", *CLASSES, "--loss", "sparse_softmax_cross_entropy"],
            ["column 'y', row 1 (the first is 0): got -2", "integers in [0, 3)"],
        ),
    ],
)
def test_wrong_columns(command: Command, options: list[str], parts: list[str]) -> None:
    assert_mistake(command.score(*options), *parts, code=3)


# ---- fastloss score: files ----


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("t.csv", b"", ["the file is empty"]),
        ("t.csv", b"y,z\n1,2\n3\n", ["cannot be read", "Expected 2 columns, got 1"]),
        ("t.csv", b"y,z\n1,2\n3,x4\n", ["column 'z', row 1 (the first is 0): got 'x4'"]),
        (
            "t.csv",
            b"y,z\n1,\xff\n",
            ["column 'z', row 0 (the first is 0): got '\N{REPLACEMENT CHARACTER}'"],
        ),
        (
            "t.csv",
            b"y,z\n1,2020-01-01\n",
            ["column 'z', row 0 (the first is 0): got '2020-01-01'; expected a number"],
        ),
        ("t.csv", b"y,z,y\n1,2,3\n", ["column 'y' is there 2 times; expected it once"]),
        ("t.csv", b"a;b\n1;2\n", ["no column 'y'; the columns are a;b"]),
        ("t.csv.gz", b"y,z\n1,2\n", ["cannot be read"]),
        ("t.txt", b"y,z\n1,2\n", ["is neither a Parquet nor an Arrow file", ".csv or .tsv"]),
        ("t.parquet", b"y,z\n1,2\n", ["is neither a Parquet nor an Arrow file"]),
        ("t.parquet", b"PAR1", ["cannot be read"]),
        ("t.parquet", b"PAR1" + bytes(100) + b"PAR1", ["cannot be read"]),
    ],
)
def test_wrong_file(command: Command, name: str, content: bytes, parts: list[str]) -> None:
    path = command.file(name, content)
    assert_mistake(command("score", path, *PLAIN), path, *parts, code=3)


def test_truncated_parquet(command: Command) -> None:
    whole = Path(command.table).read_bytes()
    path = command.file("half.parquet", whole[: len(whole) // 2])
    assert_mistake(command("score", path, *PLAIN), "cannot be read", code=3)


def test_damaged_parquet(command: Command) -> None:
    """The footer is whole, the pages are not."""
    whole = bytearray(Path(command.table).read_bytes())
    whole[4:200] = bytes(196)
    path = command.file("damaged.parquet", bytes(whole))
    assert_mistake(command("score", path, *PLAIN), "cannot be read", code=3)


def test_missing_file(command: Command) -> None:
    assert_mistake(
        command("score", "nowhere.parquet", *PLAIN), "nowhere.parquet: no such file", code=3
    )


def test_folder(command: Command) -> None:
    assert command("score", str(command.folder), *PLAIN) == command.score(*PLAIN)


def test_device(command: Command) -> None:
    assert_mistake(command("score", os.devnull, *PLAIN), "is not a regular file", code=3)


def test_file_that_cannot_be_opened(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_sources, "open", refuse, raising=False)
    assert_mistake(command.score(*PLAIN), "cannot be read: Permission denied", code=3)


# ---- the program ----


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help(capsys: pytest.CaptureFixture[str], option: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        _cli.main([option])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert out == f"fastloss {fastloss.__version__}\n" if option == "--version" else "score" in out


def test_version_needs_none_of_the_large_packages() -> None:
    code = "import sys; from fastloss._cli import main\n"
    code += "try: main(['--version'])\nexcept SystemExit: pass\nprint(*sys.modules)"
    version, modules = process("-c", code).stdout.splitlines()
    assert version == f"fastloss {fastloss.__version__}"
    for name in ("pandas", "pyarrow", "rich", "matplotlib", "dask", "polars", "scipy"):
        assert name not in modules.split()


def test_list_of_losses(command: Command) -> None:
    run = command("list")
    assert (run.code, run.err) == (0, "")
    words = run.out.replace(",", " ").replace("(", " ").replace(")", " ").split()
    for record in RECORDS:
        assert record.name in words
        assert set(record.aliases) <= set(words)
    assert "delta=1" in words
    assert max(map(len, run.out.splitlines())) <= 80


def test_config(command: Command) -> None:
    run = command("info")
    assert run.code == 0
    assert fastloss.__version__ in run.out
    assert fastloss.show_config(as_dict=True)["isa"] in run.out


def test_module_is_the_same_program(command: Command) -> None:
    mine = command.score(*PLAIN, "--loss", "huber")
    done = process("-m", "fastloss", "score", command.table, *PLAIN, "--loss", "huber")
    assert (done.returncode, done.stdout, done.stderr) == mine
    version = process("-m", "fastloss", "--version")
    assert (version.returncode, version.stdout) == (0, f"fastloss {fastloss.__version__}\n")
    wrong = process("-m", "fastloss", "score", "nowhere", *PLAIN)
    assert_mistake(
        Run(wrong.returncode, wrong.stdout, wrong.stderr), "nowhere: no such file", code=3
    )


def test_installed_command(command: Command) -> None:
    script = Path(sysconfig.get_path("scripts")) / "fastloss"
    if not script.exists():
        pytest.skip("fastloss is not installed")
    done = subprocess.run(
        [str(script), "score", command.table, *PLAIN], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == command.score(*PLAIN)


def test_without_pyarrow(command: Command) -> None:
    blocked = "import sys; sys.modules['pyarrow'] = None; from fastloss._cli import main; "
    done = process("-c", blocked + "sys.exit(main())", "score", command.table, *PLAIN)
    run = Run(done.returncode, done.stdout, done.stderr)
    assert_mistake(run, "needs pyarrow and rich: pip install 'fastloss[score]'")
    others = process("-c", blocked + "sys.exit(main())", "list")
    assert (others.returncode, others.stderr) == (0, "")


def test_closed_pipe(command: Command) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fastloss", "score", command.table, *PLAIN],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_disk(command: Command) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fastloss", "score", command.table, *PLAIN],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    run = Run(done.returncode, "", done.stderr)
    assert_mistake(run, "the output cannot be written: No space left on device", code=3)


def test_output_that_has_no_such_letters(command: Command) -> None:
    path = command.file("t.csv", "é,z\n1,2\n,3\n".encode())
    options = ["--y-true", "é", "--y-pred", "z", "--loss", "mse", "--nulls", "skip"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = process("-m", "fastloss", "score", path, *options, env=ascii_only)
    run = Run(done.returncode, done.stdout, done.stderr)
    assert_mistake(run, "the output cannot be written in ascii", code=3)


def test_interrupt(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastloss._scanner.Job.run", interrupt)
    run = command.score(*PLAIN)
    assert run == (130, "", "fastloss: interrupted\n")


def test_out_of_memory(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 1 failed")

    monkeypatch.setattr("fastloss._scanner._Worker.fold", fill)
    assert_mistake(command.score(*PLAIN), "out of memory", code=3)
