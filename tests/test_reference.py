"""The oracle is right: its derivatives are those of its losses, its two arithmetics agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from reference import mp, mpf

STEP = mpf(2) ** -90
NAMES = [*reference.POINTWISE, *reference.ROWWISE]
# Away from the kinks, where a derivative exists.
POINTWISE = [(0.3, 0.8), (0.9, 0.2), (0.5, 0.55), (0.25, 0.75)]
PARAMS: dict[str, dict[str, Any]] = {
    "huber": {"delta": 0.25},
    "pseudo_huber": {"delta": 0.7},
    "quantile": {"q": 0.3},
    "binary_cross_entropy": {"label_smoothing": 0.125},
    "sigmoid_cross_entropy": {"pos_weight": 2.5, "label_smoothing": 0.125},
    "squared_hinge": {"margin": 1.5},
}
WEIGHTED = {"class_weight": [0.5, 2.0, 1.0, 3.0]}


def difference(f: Any, x: Any) -> Any:
    """Return the central difference quotient of f at x, exact to some 50 digits."""
    with mp.workprec(400):
        return (f(x + STEP) - f(x - STEP)) / (2 * STEP)


@pytest.mark.parametrize("name", reference.POINTWISE)
def test_pointwise_derivatives(name: str) -> None:
    entry = reference.POINTWISE[name]
    margin = name in {"logistic", "hinge", "squared_hinge"}
    values = reference._exact_params("float64", PARAMS.get(name, {}))
    for y, z in POINTWISE:
        target = mpf(round(y) * 2 - 1 if margin else y)

        def at(formula: Any, x: Any, target: Any = target) -> Any:
            known = reference._names_known(name, target, x, values)
            return reference._plain(reference._apply(formula, known))

        with mp.workprec(400):
            for derivative, of in ((entry.grad, entry.loss), (entry.hess, entry.grad)):
                slope = difference(lambda x, of=of: at(of, x), mpf(z))
                assert mp.almosteq(at(derivative, mpf(z)), slope, rel_eps=1e-40, abs_eps=1e-40)


@pytest.mark.parametrize("name", reference.ROWWISE)
def test_rowwise_derivatives(name: str) -> None:
    entry = reference.ROWWISE[name]
    own = "z" if entry is reference.SOFTMAX else "p"
    with mp.workprec(400):
        t = np.array([mpf(v) for v in (0.2, 0.0, 0.5, 0.3)])
        x = np.array([mpf(v) for v in (0.1, 0.4, 0.3, 0.2)])

        def at(formula: Any, x: Any) -> Any:
            return reference._plain(reference._apply(formula, {"t": t, own: x}))

        for k in range(len(x)):

            def moved(step: Any, k: int = k) -> Any:
                return np.array([v + step * (i == k) for i, v in enumerate(x)])

            slope = difference(lambda h: at(entry.loss, moved(h))[0], mpf(0))
            curve = difference(lambda h, k=k: at(entry.grad, moved(h))[k], mpf(0))
            assert mp.almosteq(at(entry.grad, x)[k], slope, rel_eps=1e-40, abs_eps=1e-40)
            assert mp.almosteq(at(entry.hess, x)[k], curve, rel_eps=1e-40, abs_eps=1e-40)


def test_root_derivative() -> None:
    y, z, w = np.array([[0.3, -1.0, 2.0], [0.8, 0.5, 1.0], [1.0, 2.0, 0.5]])
    _, grad = reference.exact_root(y, z, w)
    with mp.workprec(400):
        for k in range(3):

            def cost(h: Any, k: int = k) -> Any:
                r = np.array([mpf(b) - mpf(a) for a, b in zip(y, z, strict=True)])
                r[k] += h
                return reference._apply(
                    reference.ROOT.loss, {"r": r, "w": np.array([*map(mpf, w)])}
                )[0]

            assert mp.almosteq(grad[k].value, difference(cost, mpf(0)), rel_eps=1e-40)


@pytest.mark.parametrize("name", NAMES)
def test_arithmetics_agree(name: str) -> None:
    random = np.random.default_rng(30)
    params = PARAMS.get(name, {})
    if name in reference.POINTWISE:
        y, z = random.uniform(0.05, 0.95, (2, 20))
        if name in {"logistic", "hinge", "squared_hinge"}:
            y = np.sign(y - 0.5)
        exact: Any = reference.exact_elements(name, "float64", y, z, **params)
        exact = [[e.value for e in output] for output in exact]
    else:
        z = random.dirichlet(np.ones(4), 20)
        y = (
            random.integers(0, 4, 20)
            if name in reference.SPARSE
            else random.dirichlet(np.ones(4), 20)
        )
        params = {} if name == "kl_divergence" else WEIGHTED
        exact = [
            [[e.value for e in row] for row in output]
            for output in reference.exact_rows(name, "float64", y, z, **params)
        ]
        exact[0] = [row[0] for row in exact[0]]
    for plain, wanted in zip(reference.numpy_loss(name, y, z, **params), exact, strict=True):
        np.testing.assert_allclose(plain, np.array(wanted, dtype=float), rtol=1e-11, atol=1e-14)


def test_known_values() -> None:
    """Values from the literature and from hand calculation."""
    log = np.log
    for name, y, z, params, loss in (
        ("squared_error", 1.0, 3.0, {}, 4.0),
        ("absolute_error", 1.0, -1.0, {}, 2.0),
        ("huber", 0.0, 0.5, {}, 0.125),
        ("huber", 0.0, 3.0, {}, 2.5),
        ("pseudo_huber", 0.0, 1.0, {}, 2**0.5 - 1),
        ("log_cosh", 0.0, 1.0, {}, log(np.cosh(1.0))),
        ("quantile", 2.0, 1.0, {"q": 0.9}, 0.9),
        ("quantile", 1.0, 2.0, {"q": 0.9}, 0.1),
        ("squared_log_error", 0.0, np.e - 1, {}, 1.0),
        ("binary_cross_entropy", 1.0, 0.25, {}, log(4.0)),
        ("sigmoid_cross_entropy", 1.0, 0.0, {}, log(2.0)),
        ("logistic", -1.0, 0.0, {}, log(2.0)),
        ("hinge", 1.0, 0.25, {}, 0.75),
        ("squared_hinge", -1.0, 0.5, {}, 2.25),
    ):
        got = reference.numpy_loss(name, y, z, outputs=("loss",), **params)[0]
        np.testing.assert_allclose(got, loss, rtol=1e-14, err_msg=name)
    for name, y, z, loss in (
        ("categorical_cross_entropy", [0.0, 1.0], [0.75, 0.25], log(4.0)),
        ("sparse_categorical_cross_entropy", 1, [0.75, 0.25], log(4.0)),
        ("softmax_cross_entropy", [0.0, 1.0], [0.0, 0.0], log(2.0)),
        ("sparse_softmax_cross_entropy", 0, [0.0, 0.0, 0.0], log(3.0)),
        ("kl_divergence", [0.5, 0.5], [0.25, 0.75], 0.5 * log(2.0) + 0.5 * log(2 / 3)),
    ):
        got = reference.numpy_loss(name, [y], [z], outputs=("loss",))[0]
        np.testing.assert_allclose(got, [loss], rtol=1e-14, err_msg=name)
