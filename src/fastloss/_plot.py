"""Curves of pointwise losses and their gradients. Needs matplotlib."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np

from fastloss._accumulator import label_of
from fastloss._api import Loss
from fastloss._losses import BY_NAME, UNIT, Interval, Record

mpl.use("Agg")

import matplotlib.pyplot as plt

_PICTURES = (".png", ".svg", ".pdf")


def plot(losses: list[Loss], path: str) -> None:
    """Draw the losses and their gradients over the prediction into a file.

    Raises
    ------
    ValueError
        If a loss is not pointwise, or takes another kind of prediction than the first, or the file
        is no picture.
    """
    if not path.lower().endswith(_PICTURES):
        raise ValueError(f"{path}: expected a name that ends with {', '.join(_PICTURES)}")
    records = [BY_NAME[loss.name] for loss in losses]
    for loss, record in zip(losses, records, strict=True):
        if record.kind != "pointwise" or record.reductions == ("mean",):
            raise ValueError(f"{loss.name}: is not a loss of one prediction, which has a curve")
        if _axis(record) != _axis(records[0]):
            raise ValueError(
                f"{loss.name}: is a loss over the {_axis(record)[2]}; expected the "
                f"{_axis(records[0])[2]}, as {losses[0].name}"
            )
    low, high, name = _axis(records[0])
    z = np.linspace(low, high, 1001)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for loss, record in zip(losses, records, strict=True):
        y = np.full_like(z, 0.0 if record.family == "regression" else 1.0)
        left.plot(z, loss(y, z, reduction="none"), label=label_of(loss))
        right.plot(z, loss.grad(y, z, reduction="sum"), label=label_of(loss))
    _dress(left, "loss", name)
    _dress(right, "gradient", name)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _axis(record: Record) -> tuple[float, float, str]:
    """Where the curve is drawn: from, to, and what the prediction is."""
    if record.family == "regression":
        low = record.y_pred.low if isinstance(record.y_pred, Interval) else -3.0
        return max(-3.0, 0.99 * low), 3.0, "prediction of a target 0"
    if record.y_pred == UNIT:
        return 0.001, 0.999, "probability of a label 1"
    return -4.0, 4.0, "score of a label 1"


def _dress(axes: Any, title: str, name: str) -> None:
    axes.set(title=title, xlabel=name)
    axes.grid(color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
