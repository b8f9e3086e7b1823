"""Single points at which libraries differ most plainly: arguments that occur in every training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import reference
from losses import OUTPUTS, ours
from numpy.typing import NDArray
from peers import Peer

from fastloss._losses import BY_NAME

Array = NDArray[Any]


@dataclass(frozen=True)
class Example:
    """One point of a loss, and which of its three results; of a gradient, that of the class."""

    loss: str
    dtype: str
    y: Any
    z: Any
    output: str = "loss"
    of_class: int = 0

    def __str__(self) -> str:
        where = f" (class {self.of_class})" if self.of_class else ""
        return f"`{self.loss}`, {self.dtype}, {self.output}{where}, y = {self.y}, z = {self.z}"


EXAMPLES = (
    Example("sigmoid_cross_entropy", "float32", 0.0, -20.0),
    Example("sigmoid_cross_entropy", "float32", 1.0, 20.0),
    Example("sigmoid_cross_entropy", "float32", 1.0, 20.0, "gradient"),
    Example("sigmoid_cross_entropy", "float32", 0.0, 20.0, "Hessian"),
    Example("logistic", "float32", 1.0, -100.0),
    Example("binary_cross_entropy", "float32", 0.0, 1e-13, "gradient"),
    Example("sparse_softmax_cross_entropy", "float32", 0, [20.0, 0.0, 1.0]),
    Example("sparse_softmax_cross_entropy", "float32", 0, [20.0, 0.0, 1.0], "gradient"),
    Example("sparse_softmax_cross_entropy", "float64", 0, [40.0, 0.0, 1.0]),
    Example("log_cosh", "float32", 0.0, 1e-3),
    Example("log_cosh", "float64", 0.0, 1e-6),
    Example("log_cosh", "float32", 0.0, 10.0, "Hessian"),
    Example("squared_log_error", "float32", 1e-4, 1.1e-4),
    Example("kl_divergence", "float32", [0.5, 0.5], [0.5001, 0.4999]),
)


def digits(value: Any) -> str:
    """Return a result in seven digits, or that there is none."""
    return "" if value is None else f"{float(value):.7g}"


def lines(example: Example, available: Sequence[Peer]) -> list[str]:
    """Return the point, the exact value, ours, and those of the peers that have the loss."""
    record, dtype = BY_NAME[example.loss], np.dtype(example.dtype)
    y = np.array([example.y], None if record.kind == "sparse" else dtype)
    z = np.array([example.z], dtype)
    which, index = OUTPUTS.index(example.output), 0
    if record.kind == "pointwise":
        exact = reference.exact_elements(example.loss, dtype.name, y, z)[which]
    else:
        exact = reference.exact_rows(example.loss, dtype.name, y, z)[which][0]
        index = example.of_class if which else 0

    def cell(results: Sequence[Array | None], factor: float = 1) -> str:
        result = results[which]
        return digits(None if result is None else result.reshape(-1)[index] / factor)

    cells = [digits(exact[index].value), cell(ours(example.loss, {}, y, z))]
    for peer in available:
        loss = peer.loss(example.loss, {}, dtype.name)
        if loss is None or not loss.inside(y, z).all():
            cells.append(digits(None))
        else:
            cells.append(cell(peer.results(example.loss, {}, y, z), loss.factor))
    return [str(example), *cells]
