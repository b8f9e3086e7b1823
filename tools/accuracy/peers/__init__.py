"""What other libraries compute at the same points. One library a module; here what they share.

A module has `LOSSES`, the losses that the library has, and a function `results`, which evaluates
one of them. A library is given only points that its documentation allows and parameters that it
has; where its loss is a multiple of ours, the exact value is multiplied, not the result.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Params = Mapping[str, Any]
Inside = Callable[[Array, Array], Array]


def everywhere(_: Array, z: Array) -> Array:
    """Return that all points (targets, predictions) are allowed."""
    return np.ones(len(z), dtype=bool)


def distribution(y: Array, _: Array) -> Array:
    """Return where the targets of a row sum to 1."""
    sums: Array = y.sum(axis=1, dtype=np.float64)
    near: Array = abs(sums - 1) <= 4 * np.finfo(y.dtype).eps
    return near


@dataclass(frozen=True)
class Loss:
    """A loss of a library: the losses of targets and predictions, in the library's own arrays.

    `params` are the parameters of ours that it takes, `inside` tells which points it allows,
    `factor` what it is of ours.
    """

    call: Callable[..., Any]
    params: frozenset[str] = field(default_factory=frozenset)
    inside: Inside = everywhere
    factor: float = 1


@dataclass(frozen=True)
class Peer:
    """A library: its column, its module here, what must be installed, and what was done."""

    name: str
    module: str
    imported: str
    distributions: tuple[str, ...]
    remarks: str
    dtypes: tuple[str, ...] = ("float32", "float64")

    @property
    def installed(self) -> bool:
        """Whether it can be imported."""
        return importlib.util.find_spec(self.imported) is not None

    @property
    def versions(self) -> str:
        """Distributions and versions."""
        return ", ".join(f"{name} {version(name)}" for name in self.distributions)

    def loss(self, name: str, params: Params, dtype: str) -> Loss | None:
        """Return its version of a loss of ours, if it has one with these parameters."""
        losses: Mapping[str, Loss] = self._module.LOSSES if dtype in self.dtypes else {}
        found = losses.get(name)
        return found if found is not None and found.params >= set(params) else None

    def results(
        self, name: str, params: Params, y: Array, z: Array
    ) -> tuple[Array, Array, Array | None]:
        """Return loss, gradient and diagonal of the Hessian of elements or rows."""
        found = self.loss(name, params, z.dtype.name)
        assert found is not None
        with np.errstate(all="ignore"):
            results: tuple[Array, Array, Array | None] = self._module.results(found, params, y, z)
        return results

    @property
    def _module(self) -> Any:
        return import_module(f"peers.{self.module}")


PEERS = (
    Peer(
        "torch",
        "torch_functions",
        "torch",
        ("torch",),
        "`torch.nn.functional`, eager, derivatives by autograd. `binary_cross_entropy` clamps its "
        "logarithms at -100 and says so: it gets only probabilities where that changes nothing. "
        "`nll_loss` and `kl_div` take logarithms: they get `p.log()`, and no probability of 0. "
        "`cross_entropy` gets dense targets that sum to 1. `soft_margin_loss` is our `logistic`.",
    ),
    Peer(
        "scikit-learn",
        "scikit_learn",
        "sklearn",
        ("scikit-learn",),
        "The Cython losses of `sklearn._loss`, which its estimators use, with the derivatives that "
        "they return. Half the squared error is compared with half of the exact value. The Hessian "
        "of the absolute error and of the pinball loss is 1 there by convention, so it is left "
        "out.",
    ),
    Peer(
        "optax",
        "optax_losses",
        "optax",
        ("optax", "jax"),
        "`optax.losses`, compiled by `jax.jit`, derivatives by JAX, which flushes subnormal "
        "numbers to zero, intermediates too. "
        "`softmax_cross_entropy` gets targets that sum to 1; `kl_divergence` takes logarithms: it "
        "gets `log(p)`, and positive targets and probabilities only.",
    ),
    Peer(
        "Keras",
        "keras_losses",
        "keras",
        ("keras",),
        "The functions of `keras.losses` on the JAX backend, compiled, derivatives by JAX, in "
        "float32 alone, because on JAX it forms the means of float64 in float32. Probabilities are "
        "clipped to 1e-7 from 0 and 1, arguments of `kl_divergence` and of "
        "`mean_squared_logarithmic_error` at 1e-7: it gets only values inside. The categorical "
        "cross-entropies of probabilities divide each row by its sum, which makes them another "
        "function with other derivatives: they are left out.",
        dtypes=("float32",),
    ),
)
