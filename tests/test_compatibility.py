"""What a release has, the next one has: names, parameters, defaults.

A line leaves this list two minor versions after the name began to warn.
"""

from __future__ import annotations

import inspect

import pytest

import fastloss as fl

OTHERS = [
    "Accumulator", "Loss", "__version__", "get", "get_num_threads", "losses", "scan",
    "set_num_threads", "show_config", "threads",
]  # fmt: skip
LOSSES = """
squared_error mse l2
root_mean_squared_error rmse
absolute_error mae l1
squared_log_error msle
huber: delta=1.0
pseudo_huber: delta=1.0
log_cosh
quantile pinball: q=0.5
binary_cross_entropy bce log_loss: eps=0.0 label_smoothing=0.0
sigmoid_cross_entropy bce_with_logits: pos_weight=1.0 label_smoothing=0.0
logistic
hinge: margin=1.0
squared_hinge: margin=1.0
categorical_cross_entropy: axis=-1 eps=0.0 label_smoothing=0.0 class_weight=None
sparse_categorical_cross_entropy nll: axis=-1 eps=0.0 ignore_index=None class_weight=None \
label_smoothing=0.0
softmax_cross_entropy cross_entropy: axis=-1 label_smoothing=0.0 class_weight=None
sparse_softmax_cross_entropy: axis=-1 ignore_index=None class_weight=None label_smoothing=0.0
kl_divergence kl: axis=-1 eps=0.0
""".strip().splitlines()
EVERY_CALL = {"sample_weight": None, "reduction": "mean", "out": None, "num_threads": None}


def test_public_names() -> None:
    assert set(OTHERS) <= set(fl.__all__)


@pytest.mark.parametrize("line", LOSSES)
def test_losses(line: str) -> None:
    names, _, parameters = line.partition(":")
    canonical = names.split()[0]
    defaults = dict(p.split("=") for p in parameters.split())
    for name in names.split():
        loss = getattr(fl, name)
        assert fl.get(name).name == loss.name == canonical
        known = inspect.signature(loss).parameters
        assert list(known)[:2] == ["y_true", "y_pred"]
        assert defaults.items() <= {n: str(p.default) for n, p in known.items()}.items()
        assert EVERY_CALL.items() <= {n: p.default for n, p in known.items()}.items()
        for method in (loss.grad, loss.value_and_grad, loss.grad_and_hess):
            assert callable(method)
