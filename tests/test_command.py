"""The command over groups, shards, gates and streams, and its output as it is on a terminal."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pty
import re
import resource
import select
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

import fastloss as fl
from fastloss import _cli, _core
from fastloss._losses import RECORDS

ROWS = 600
OPTIONS = ["--y-true", "y", "--y-pred", "z"]


def table() -> pa.Table:
    """Return rows whose losses are exact in binary, so that the output is the same everywhere."""
    i = np.arange(ROWS)
    return pa.table(
        {
            "id": i,
            "y": (i % 5).astype(np.float64),
            "z": (i % 7) / 4,
            "gaps": pa.array((i % 7) / 4, mask=i % 100 == 3),
            "w": (i % 3) / 2,
            "carrier": np.array(["AA", "B6", "UA"])[i % 3],
            "month": i % 2 + 1,
        }
    )


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "in" / "t.parquet"
    path.parent.mkdir()
    parquet.write_table(table(), path, row_group_size=128)
    return str(path)


class Command:
    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.capture = capture

    def __call__(self, *argv: str) -> tuple[int, str, str]:
        code = _cli.main(argv)
        return code, *self.capture.readouterr()

    def out(self, *argv: str) -> str:
        code, out, err = self(*argv)
        assert (code, err) == (0, "")
        return out


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def process(*argv: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "fastloss", *argv],
        capture_output=True, check=False, timeout=60, **options,
    )  # fmt: skip


# ---- groups ----


def test_table_of_groups(command: Command, source: str) -> None:
    losses = ["--loss", "mae", "--loss", "mse", "--loss", "huber:delta=0.5"]
    assert command.out("score", source, *OPTIONS, *losses, "--by", "carrier") == (
        """\
600 rows, no nulls

carrier  rows  absolute_error  squared_error  huber:delta=0.5
AA        200         1.58125        3.75156         0.675156
B6        200         1.60250        3.84187         0.686406
UA        200         1.59250        3.83312         0.681406
all       600         1.59208        3.80885         0.680990
"""
    )


def test_table_of_losses(command: Command, source: str) -> None:
    losses = ["--loss", "mae", "--loss", "rmse", "--loss", "huber:delta=0.5"]
    assert command.out("score", source, *OPTIONS, *losses, "--weight", "w") == (
        """\
600 rows, no nulls

loss                         mean      sum  count   weight
absolute_error            1.59583  478.750    600  300.000
root_mean_squared_error   1.95858        -    600  300.000
huber:delta=0.5          0.683073  204.922    600  300.000
"""
    )


def test_table_of_groups_that_is_too_wide(command: Command, source: str) -> None:
    losses = [f"--loss={name}" for name in ("mae", "mse", "rmse", "log_cosh", "huber")]
    out = command.out("score", source, *OPTIONS, *losses, "--by", "month", "--by", "carrier")
    lines = out.splitlines()
    assert lines[2].split() == ["month", "carrier", "loss", "mean", "sum", "count"]
    assert lines[3].split()[:3] == ["1", "AA", "absolute_error"]
    assert lines[-5].split()[:2] == ["all", "absolute_error"]
    assert max(map(len, lines)) <= 80


def test_json_of_groups(command: Command, source: str) -> None:
    options = ["--loss", "mae", "--by", "month", "--by", "carrier", "--format", "json"]
    results = json.loads(command.out("score", source, *OPTIONS, *options))["results"]
    assert [result["group"] for result in results] == [
        None,
        *({"month": m, "carrier": c} for m in (1, 2) for c in ("AA", "B6", "UA")),
    ]
    arrow = table()
    for result in results[1:]:
        rows = np.flatnonzero(
            (np.array(arrow["month"]) == result["group"]["month"])
            & (np.array(arrow["carrier"]) == result["group"]["carrier"])
        )
        y, z = (np.array(arrow[name])[rows] for name in "yz")
        assert (result["mean"], result["count"]) == (np.abs(z - y).mean(), len(rows))


def test_json_of_keys_of_every_kind(command: Command, tmp_path: Path) -> None:
    keys = {
        "number": [1.5, math.nan, math.inf],
        "date": pa.array([0, 1, 2], pa.date32()),
        "bool": [True, False, None],
        "decimal": [Decimal("1.50"), Decimal("2"), Decimal("3")],
        "bytes": [b"\x01", b"\x02", b"\x03"],
    }
    path = str(tmp_path / "t.parquet")
    parquet.write_table(pa.table({"y": [0.0] * 3, "z": [0.0] * 3} | keys), path)
    for name, wanted in {
        "number": [1.5, "Infinity", "NaN"],
        "date": ["1970-01-01", "1970-01-02", "1970-01-03"],
        "bool": [False, True, None],
        "decimal": ["1.50", "2.00", "3.00"],
        "bytes": ["01", "02", "03"],
    }.items():
        options = ["--loss", "mae", "--by", name, "--nulls", "propagate", "--format", "json"]
        results = json.loads(command.out("score", path, *OPTIONS, *options))["results"]
        assert [result["group"] for result in results] == [None, *({name: x} for x in wanted)]


def test_csv_of_groups(command: Command, source: str) -> None:
    options = ["--loss", "mae", "--by", "carrier", "--format", "csv"]
    header, *rows = csv.reader(io.StringIO(command.out("score", source, *OPTIONS, *options)))
    assert header[:3] == ["carrier", "loss", "params"]
    assert [row[0] for row in rows] == ["", "AA", "B6", "UA"]


# ---- nulls ----


def test_nulls(command: Command, source: str) -> None:
    options = ["--y-true", "y", "--y-pred", "gaps", "--loss", "mae"]
    code, out, err = command("score", source, *options)
    assert (code, out) == (3, "")
    assert err == (
        f"fastloss: error: column 'gaps' has 6 nulls, the first in row 3 (the first is 0) of "
        f"{source}; --nulls skip leaves such rows out\n"
    )
    out = command.out("score", source, *options, "--nulls", "skip")
    assert out.splitlines()[0] == "600 rows, 6 of them left out because of nulls (gaps: 6)"
    out = command.out("score", source, *options, "--nulls", "propagate", "--format", "json")
    (result,) = json.loads(out)["results"]
    assert (result["mean"], result["nan"], result["count"]) == ("NaN", 6, 600)


# ---- shards ----


def test_shards_become_one_answer(command: Command, source: str, tmp_path: Path) -> None:
    options = [*OPTIONS, "--loss", "mae", "--loss", "rmse", "--by", "carrier", "--weight", "w"]
    options += ["--format", "json"]
    whole = json.loads(command.out("score", source, *options))
    states = []
    for i, (start, stop) in enumerate([(0, 100), (100, 100), (100, 600)]):
        shard, state = tmp_path / f"{i}.parquet", str(tmp_path / f"{i}.json")
        parquet.write_table(table().slice(start, stop - start), shard)
        command.out("score", str(shard), *options, "--state-out", state)
        states.append(state)
    merged = str(tmp_path / "merged.json")
    command.out("merge", *states[1:], "--format", "json", "--state-out", merged)
    assert json.loads(command.out("merge", merged, states[0], "--format", "json")) == whole
    assert json.loads(command.out("score", source, *options)) == whole
    assert not list(tmp_path.glob(".*"))


def test_table_of_merged_shards(command: Command, source: str, tmp_path: Path) -> None:
    state = str(tmp_path / "state.json")
    options = ["--loss", "mae", "--by", "carrier", "--state-out", state]
    command.out("score", source, "--y-true", "y", "--y-pred", "gaps", "--nulls", "skip", *options)
    assert command.out("merge", state, state) == (
        """\
1,200 rows, 12 of them left out because of nulls (gaps: 12)

carrier   rows  absolute_error
AA         396         1.57323
B6         396         1.59975
UA         396         1.58586
all      1,188         1.58628
"""
    )


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        ([], 2, "the following arguments are required: COMMAND (see fastloss --help)"),
        (
            ["score", "SOURCE", *OPTIONS, "--loss", "hubr"],
            2,
            "--loss hubr: there is no loss 'hubr'; did you mean huber or pseudo_huber?",
        ),
        (
            ["score", "SOURCE", "--y-true", "Y", "--y-pred", "z", "--loss", "mae"],
            3,
            "SOURCE: no column 'Y'; the columns are id, y, z, gaps, w, carrier, month",
        ),
        (
            ["score", "SOURCE", *OPTIONS, "--loss", "bce"],
            3,
            "SOURCE: column 'y', row 2 (the first is 0): got 2.0; expected values in [0, 1]",
        ),
        (["score", "none.csv", *OPTIONS, "--loss", "mae"], 3, "none.csv: no such file"),
        (
            ["merge", "none.json"],
            3,
            "none.json: cannot be read: No such file or directory",
        ),
    ],
)
def test_mistakes(command: Command, source: str, argv: list[str], code: int, told: str) -> None:
    run = command(*(source if part == "SOURCE" else part for part in argv))
    assert run == (code, "", f"fastloss: error: {told.replace('SOURCE', source)}\n")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file"),
        ("{", "Expecting property name"),
        ("{}", "is no state that"),
        ('{"format": "fastloss.state", "version": 9}', "is a state of version 9; expected 1"),
        ('{"format": "fastloss.state", "version": 1}', "is a state without 'accumulator'"),
    ],
)
def test_wrong_states(command: Command, tmp_path: Path, content: str | None, told: str) -> None:
    path = tmp_path / "state.json"
    if content is not None:
        path.write_text(content)
    code, out, err = command("merge", str(path))
    assert (code, out) == (3, "")
    assert f"{path}: " in err
    assert told in err


def test_states_of_other_scores(command: Command, source: str, tmp_path: Path) -> None:
    states = []
    for i, options in enumerate([["mae"], ["mse"], ["mae", "--by", "carrier"]]):
        states.append(str(tmp_path / f"{i}.json"))
        command.out("score", source, *OPTIONS, "--loss", *options, "--state-out", states[-1])
    code, _, err = command("merge", states[0], states[1])
    assert code == 3
    assert "got the losses squared_error; expected the same as here, absolute_error" in err
    code, _, err = command("merge", states[0], states[2])
    assert code == 3
    assert "is grouped by carrier; expected nothing, as in the states before" in err


# ---- gates ----


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ("mae=1.6", 0),
        ("mae=1.5", 1),
        ("absolute_error=1.5", 1),
        ("huber:delta=0.5=0.7", 0),
        ("huber=0.1", 1),
        ("mse=1", 2),
        ("mae", 2),
        ("mae=high", 2),
    ],
)
def test_gates(command: Command, source: str, gate: str, code: int) -> None:
    losses = ["--loss", "mae", "--loss", "huber:delta=0.5"]
    run = command("score", source, *OPTIONS, *losses, "--fail-above", gate)
    assert run[0] == code
    assert ("gate: mean" in run[2]) is (code == 1)
    assert ("absolute_error" in run[1]) is (code < 2)


def test_nan_does_not_pass_a_gate(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"y": [0.0], "z": [np.nan]}), path)
    run = command("score", str(path), *OPTIONS, "--loss", "mae", "--fail-above", "mae=1e300")
    assert run[0] == 1
    assert "mean absolute_error is nan, above 1e+300" in run[2]


# ---- losses of rows ----


@pytest.mark.parametrize("nulls", ["skip", "propagate"])
def test_losses_of_rows(command: Command, source: str, tmp_path: Path, nulls: str) -> None:
    out = tmp_path / "rows.parquet"
    out.write_bytes(b"older")
    options = ["--y-true", "y", "--y-pred", "gaps", "--loss", "mae", "--loss", "huber:delta=0.5"]
    options += ["--nulls", nulls, "--keep", "id", "--keep", "carrier", "--per-row", str(out)]
    shown = command.out("score", source, *options)
    assert shown == command.out("score", source, *options)
    rows = parquet.read_table(out)
    arrow = table()
    assert rows.column_names == ["id", "carrier", "absolute_error", "huber:delta=0.5"]
    assert rows["id"].to_pylist() == list(range(ROWS))
    assert rows["carrier"].to_pylist() == arrow["carrier"].to_pylist()
    y, z = np.array(arrow["y"]), arrow["gaps"].fill_null(np.nan).to_numpy()
    for name, loss in (("absolute_error", fl.mae), ("huber:delta=0.5", fl.get("huber", delta=0.5))):
        wanted = loss(y, z, reduction="none").tolist()
        missing = [None if nulls == "skip" else np.nan if x != x else x for x in wanted]
        expected = [m if x != x else x for m, x in zip(missing, wanted, strict=True)]
        np.testing.assert_equal(rows[name].to_pylist(), expected)
    assert not list(tmp_path.glob(".*"))


def test_losses_of_no_rows(command: Command, tmp_path: Path) -> None:
    path, out = tmp_path / "t.parquet", tmp_path / "rows.parquet"
    parquet.write_table(
        pa.table({"y": pa.array([], pa.float64()), "z": pa.array([], pa.float64())}), path
    )
    command.out("score", str(path), *OPTIONS, "--loss", "mae", "--per-row", str(out))
    assert parquet.read_table(out).num_rows == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--keep", "id"], "--keep: needs --per-row"),
        (["--loss", "rmse", "--per-row", "x"], "root_mean_squared_error is of all rows"),
        (["--per-row", "x", "--keep", "absolute_error"], "is the column of the loss"),
        (["--eps", "0.1"], "none of the losses takes probabilities"),
        (["--memory", "12"], "expected 2MB or more"),
        (["--nulls", "drop"], "'drop'"),
    ],
)
def test_wrong_options(command: Command, source: str, options: list[str], told: str) -> None:
    code, out, err = command("score", source, *OPTIONS, "--loss", "mae", *options)
    assert (code, out) == (2, "")
    assert told in err


def test_error_leaves_the_older_file(command: Command, source: str, tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    out.write_bytes(b"older")
    code, _, err = command("score", source, *OPTIONS, "--loss", "bce", "--per-row", str(out))
    assert code == 3
    assert "expected values in [0, 1]" in err
    assert out.read_bytes() == b"older"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(
    _core.compiler().startswith("clang"), reason="LLVM's OpenMP itself ends such a process"
)
def test_file_that_may_not_grow(source: str, tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))

    done = process(
        "score", source, *OPTIONS, "--loss", "mae", "--per-row", str(out), preexec_fn=limit
    )
    assert done.returncode == 3
    assert b"rows.parquet: cannot be written: " in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


# The file system is mounted in a name space of the process: it goes with it, whatever happens.
FULL_DISK = """
disk=$1
shift
mount -t tmpfs -o size=4k tmpfs "$disk" && head -c 4096 /dev/zero >"$disk/full" || exit 77
"$@"
code=$?
ls "$disk"
exit $code
"""


@pytest.mark.parametrize("option", ["--per-row", "--state-out"])
def test_full_disk(source: str, tmp_path: Path, option: str) -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no name spaces")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        [
            *(unshare, "--map-root-user", "--mount", "sh", "-c", FULL_DISK, "sh", str(disk)),
            *(sys.executable, "-m", "fastloss", "score", source, *OPTIONS, "--loss", "mae"),
            *(option, str(disk / "out")),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode == 77 or done.stderr.startswith("unshare: "):
        pytest.skip("no file system can be mounted")
    assert done.returncode == 3
    assert "out: cannot be written: " in done.stderr
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == "full\n"


# ---- parameters for all losses ----


def test_eps(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"y": [1.0], "z": [0.0]}), path)
    options = ["--loss", "bce", "--loss", "mse", "--eps", "0.25", "--format", "json"]
    bce, mse = json.loads(command.out("score", str(path), *OPTIONS, *options))["results"]
    assert bce["params"]["eps"] == 0.25
    assert bce["mean"] == -np.log(0.25)
    assert mse["mean"] == 1.0


# ---- standard input ----


def test_streams_on_standard_input() -> None:
    arrow = table()
    stream = io.BytesIO()
    with ipc.new_stream(stream, arrow.schema) as writer:
        writer.write_table(arrow, 100)
    text = "y,z\n" + "".join(
        f"{y},{z}\n" for y, z in zip(arrow["y"].to_pylist(), arrow["z"].to_pylist(), strict=True)
    )
    options = ["score", "-", *OPTIONS, "--loss", "mae", "--format", "json"]
    runs = [
        process(*options, input=data)
        for data in (stream.getvalue(), text.encode(), text.replace(",", "\t").encode())
    ]
    assert [(run.returncode, run.stderr) for run in runs] == [(0, b"")] * 3
    assert {json.loads(run.stdout)["results"][0]["mean"] for run in runs} == {1.5920833333333333}


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"", b"standard input is empty"), (b"PAR1....", b"is a file that is read from its end")],
)
def test_wrong_standard_input(data: bytes, told: bytes) -> None:
    done = process("score", "-", *OPTIONS, "--loss", "mae", input=data)
    assert done.returncode == 3
    assert told in done.stderr


# ---- terminals ----


def on_a_terminal(*argv: str, **env: str) -> tuple[str, str]:
    """Return what goes to a terminal on stdout and stderr, each its own."""
    pairs = [pty.openpty() for _ in range(2)]
    with subprocess.Popen(
        [sys.executable, "-m", "fastloss", *argv],
        stdin=subprocess.DEVNULL,
        stdout=pairs[0][1],
        stderr=pairs[1][1],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", **env},
    ) as done:
        for _, slave in pairs:
            os.close(slave)
        texts = {master: b"" for master, _ in pairs}
        open_ends = set(texts)
        while open_ends:
            for master in select.select(list(open_ends), [], [], 60)[0]:
                try:
                    piece = os.read(master, 65536)
                except OSError:  # the other end is closed
                    piece = b""
                texts[master] += piece
                if not piece:
                    open_ends.discard(master)
        assert done.wait(60) == 0
    for master, _ in pairs:
        os.close(master)
    out, err = (texts[master].decode() for master, _ in pairs)
    return out.replace("\r\n", "\n"), err


def test_progress_on_a_terminal(source: str) -> None:
    options = ["score", source, *OPTIONS, "--loss", "mae"]
    out, err = on_a_terminal(*options)
    # The bar is drawn again and again, on one line of 80 columns.
    shown = re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", err))
    bar = re.compile(r"[━╸╺]+ +(\d+)% (\d+) rows  [\d.]+ M rows/s  [\d.]+ GB/s")
    found = [bar.fullmatch(line) for line in shown if line]
    assert all(found)
    assert found[-1] is not None
    assert found[-1].groups() == ("100", "600")
    assert {len(line) for line in shown if line} == {80}
    assert "\x1b[1m" in out
    plain, _ = on_a_terminal(*options, NO_COLOR="1")
    assert "\x1b[3" not in plain
    _, quiet = on_a_terminal(*options, "--quiet")
    assert quiet == ""


def test_no_progress_elsewhere(source: str) -> None:
    assert process("score", source, *OPTIONS, "--loss", "mae").stderr == b""


# ---- what there is ----


def test_list(command: Command) -> None:
    """A new loss, or another parameter, changes the listing: write it anew with the command."""
    assert command.out("list") == (Path(__file__).parent / "golden" / "list.txt").read_text("utf-8")


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
def test_show(command: Command, record: Any) -> None:
    out = command.out("show", record.name)
    assert all(command.out("show", alias) == out for alias in record.aliases)
    joined = " ".join(out.split())
    for text in (record.summary, record.formula, record.gradient, record.reference):
        assert " ".join(text.split()).replace("`", "") in joined.replace("`", "")
    assert max(map(len, out.splitlines())) <= 80


def test_show_of_hinge(command: Command) -> None:
    assert command.out("show", "hinge") == (
        """\
hinge
  Hinge loss of the support vector machine.

  loss      \\max(0, m - s z)
  gradient  -s\\, [m - s z > 0]
  Hessian   0
  y_true    {-1, +1} or {0, 1}
  y_pred    [-inf, inf]

parameters
  margin=1 in [0, inf)
      The margin that costs nothing.

Cortes, Vapnik, Support-Vector Networks, Machine Learning 20 (1995)
"""
    )


def test_show_of_nothing(command: Command) -> None:
    assert command("show", "hubr")[0] == 2


@pytest.mark.parametrize(
    "names", [["huber:delta=0.5", "mse", "mae"], ["bce"], ["hinge", "logistic"]]
)
def test_plot(command: Command, tmp_path: Path, names: list[str]) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "curves.png"
    command.out("plot", *names, "-o", str(path))
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["rmse"], "is not a loss of one prediction"),
        (["nll"], "is not a loss of one prediction"),
        (["mse", "bce"], "binary_cross_entropy: is a loss over the probability of a label 1"),
    ],
)
def test_what_has_no_curve(command: Command, tmp_path: Path, names: list[str], told: str) -> None:
    pytest.importorskip("matplotlib")
    code, _, err = command("plot", *names, "-o", str(tmp_path / "x.png"))
    assert code == 2
    assert told in err


def test_plot_that_is_no_picture(command: Command) -> None:
    pytest.importorskip("matplotlib")
    told = "fastloss: error: curves.txt: expected a name that ends with .png, .svg, .pdf\n"
    assert command("plot", "mse", "-o", "curves.txt") == (2, "", told)


@pytest.mark.parametrize(
    ("missing", "argv", "told"),
    [
        (
            "rich",
            ["merge", "x"],
            "this command needs pyarrow and rich: pip install 'fastloss[score]'",
        ),
        ("matplotlib", ["plot", "mse", "-o", "x.png"], "pip install 'fastloss[plot]'"),
    ],
)
def test_missing_extras(missing: str, argv: list[str], told: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from fastloss._cli import main; "
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit(main())", *argv],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert told in done.stderr
