"""fastloss in the place of scikit-learn's Cython losses: a plugin for scikit-learn's own tests.

    PYTHONPATH=tests/peers python -m pytest -p fastloss_in_sklearn --pyargs sklearn._loss

`sklearn._loss.loss` wraps an object with the methods of `CyLossFunction`; the objects here have
these methods, and fastloss does their work. Links, intervals and constants stay scikit-learn's.

The run fails unless tests of scikit-learn's suite passed through fastloss, and every method of
every shim was called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import sklearn._loss.loss
from numpy.typing import NDArray

import fastloss as fl

Array = NDArray[Any]


class Shim:
    """The methods of scikit-learn's `CyLossFunction`, which write into the arrays given."""

    loss_name: ClassVar[str]
    # What scikit-learn's loss is, as a multiple of fastloss's: a power of two.
    factor: ClassVar[float] = 1.0
    methods: ClassVar = {"loss", "gradient", "loss_gradient", "gradient_hessian"}
    calls: ClassVar[Counter[tuple[str, str]]] = Counter()

    def bound(self) -> fl.Loss:
        """Return the loss with the parameters that this object has now."""
        return fl.get(self.loss_name)

    def fill(
        self, method: str, call: Any, out: tuple[Array, ...], y: Array, z: Array, w: Any, n: int
    ) -> None:
        """Run a call of fastloss into arrays of whatever dtype scikit-learn's tests ask for."""
        Shim.calls[type(self).__name__, method] += 1
        # scikit-learn takes inputs and outputs of different precision; fastloss computes in the
        # prediction's, and its results have that.
        dtype = np.result_type(z, *out)
        direct = all(array.dtype == dtype for array in out)
        results = call(
            y,
            z.astype(dtype, copy=False),
            sample_weight=w,
            reduction="none",
            num_threads=n,
            out=(out if len(out) == 2 else out[0]) if direct else None,
        )
        for array, result in zip(out, results if len(out) == 2 else [results], strict=True):
            np.multiply(result, self.factor, out=array, casting="same_kind")

    def loss(
        self, y_true: Array, raw_prediction: Array, sample_weight: Any, loss_out: Array,
        n_threads: int = 1,
    ) -> None:  # fmt: skip
        out = (loss_out,)
        self.fill("loss", self.bound(), out, y_true, raw_prediction, sample_weight, n_threads)

    def gradient(
        self, y_true: Array, raw_prediction: Array, sample_weight: Any, gradient_out: Array,
        n_threads: int = 1,
    ) -> None:  # fmt: skip
        call, out = self.bound().grad, (gradient_out,)
        self.fill("gradient", call, out, y_true, raw_prediction, sample_weight, n_threads)

    def loss_gradient(
        self, y_true: Array, raw_prediction: Array, sample_weight: Any, loss_out: Array,
        gradient_out: Array, n_threads: int = 1,
    ) -> None:  # fmt: skip
        call, out = self.bound().value_and_grad, (loss_out, gradient_out)
        self.fill("loss_gradient", call, out, y_true, raw_prediction, sample_weight, n_threads)

    def gradient_hessian(
        self, y_true: Array, raw_prediction: Array, sample_weight: Any, gradient_out: Array,
        hessian_out: Array, n_threads: int = 1,
    ) -> None:  # fmt: skip
        call, out = self.bound().grad_and_hess, (gradient_out, hessian_out)
        self.fill("gradient_hessian", call, out, y_true, raw_prediction, sample_weight, n_threads)


class CyHalfSquaredError(Shim):
    loss_name = "squared_error"
    factor = 0.5


class CyAbsoluteError(Shim):
    loss_name = "absolute_error"


class CyPinballLoss(Shim):
    loss_name = "quantile"

    def __init__(self, quantile: float) -> None:
        self.quantile = quantile

    def bound(self) -> fl.Loss:
        return fl.get(self.loss_name, q=self.quantile)


class CyHuberLoss(Shim):
    loss_name = "huber"

    def __init__(self, delta: float) -> None:
        self.delta = delta

    def bound(self) -> fl.Loss:
        return fl.get(self.loss_name, delta=self.delta)


class CyHalfBinomialLoss(Shim):
    loss_name = "sigmoid_cross_entropy"


class CyHalfMultinomialLoss(Shim):
    loss_name = "sparse_softmax_cross_entropy"
    methods: ClassVar = {*Shim.methods, "gradient_proba", "_test_cy_gradient"}

    def gradient_proba(
        self, y_true: Array, raw_prediction: Array, sample_weight: Any, gradient_out: Array,
        proba_out: Array, n_threads: int = 1,
    ) -> None:  # fmt: skip
        """Read the probabilities, which fastloss does not return, out of two gradients.

        The gradient is the probability in every class but that of the label.
        """
        Shim.calls[type(self).__name__, "gradient_proba"] += 1
        self.gradient(y_true, raw_prediction, sample_weight, gradient_out, n_threads)
        self.gradient(y_true, raw_prediction, None, proba_out, n_threads)
        with_next_label = np.empty_like(proba_out)
        next_label = (y_true + 1) % raw_prediction.shape[1]
        self.gradient(next_label, raw_prediction, None, with_next_label, n_threads)
        at_label = np.arange(y_true.size), y_true.astype(int)
        proba_out[at_label] = with_next_label[at_label]

    def _test_cy_gradient(self, y_true: Array, raw_prediction: Array, sample_weight: Any) -> Array:
        Shim.calls[type(self).__name__, "_test_cy_gradient"] += 1
        gradient = np.empty(raw_prediction.shape)
        self.gradient(y_true, raw_prediction, sample_weight, gradient)
        return gradient


SUITE = "sklearn._loss.tests.test_loss"
SHIMS = Shim.__subclasses__()
for shim in SHIMS:
    assert hasattr(sklearn._loss.loss, shim.__name__), shim.__name__
    setattr(sklearn._loss.loss, shim.__name__, shim)

# Tests that cannot hold for fastloss, each with its reason.
EXPECTED_TO_FAIL = {
    "test_sum_hessians_are_sample_weight[AbsoluteError]": "asks for a Hessian of 1, which is 0",
}

# Of each module of scikit-learn's tests: those that passed, with and without a call of a shim.
passed: Counter[tuple[str, bool]] = Counter()
calls_before = pytest.StashKey[int]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.name in EXPECTED_TO_FAIL:
            item.add_marker(pytest.mark.xfail(reason=EXPECTED_TO_FAIL[item.name], strict=True))


def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[calls_before] = Shim.calls.total()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    module = item.getparent(pytest.Module).obj.__name__
    if report.when == "call" and report.passed and module.startswith("sklearn."):
        passed[module, Shim.calls.total() > item.stash[calls_before]] += 1
    return report


def missing() -> list[str]:
    """Return the methods of the shims that no test called."""
    wanted = {(shim.__name__, method) for shim in SHIMS for method in shim.methods}
    return sorted(f"{name}.{method}" for name, method in wanted - Shim.calls.keys())


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.OK and (missing() or not passed[SUITE, True]):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("fastloss in scikit-learn's tests")
    for module in sorted({module for module, _ in passed}):
        through, others = passed[module, True], passed[module, False]
        terminalreporter.write_line(
            f"{module}: {through} tests passed through fastloss, {others} without a call of it"
        )
    for (name, method), count in sorted(Shim.calls.items()):
        terminalreporter.write_line(f"{count:7} calls of {name}.{method}")
    for name in missing():
        terminalreporter.write_line(f"never called: {name}", red=True)
