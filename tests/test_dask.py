"""Dask against the plain calls and the accumulator: schedulers, chunks, laziness."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from samples import sample

import fastloss as fl
from fastloss._losses import BY_NAME

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
import fastloss.dask as fd  # noqa: E402

NAMES = ["squared_error", "hinge", "softmax_cross_entropy", "sparse_softmax_cross_entropy"]
ROWS = 1000


def arguments(name: str, dtype: str = "float32") -> tuple[Any, Any, Any]:
    y, z, w = sample(BY_NAME[name], dtype, (ROWS,))
    return y, z, w.astype(np.float64)


def chunked(x: Any, rows: Any) -> Any:
    return da.from_array(x, chunks=(rows, *(2 for _ in x.shape[1:])))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    options = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": None,
    }
    with distributed.LocalCluster(**options) as local, distributed.Client(local) as client:
        yield client


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize("name", NAMES)
def test_score_has_the_bits_of_one_machine(name: str, scheduler: str, weighted: bool) -> None:
    y, z, w = arguments(name)
    weight = w if weighted else None
    alone = fl.Accumulator(name)
    alone.update(y, z, weight)
    blocks = chunked(w, 300) if weighted else None
    with dask.config.set(scheduler=scheduler):
        a = fd.score(chunked(y, 70), chunked(z, (500, 1, 499)), name, blocks)
    assert a.to_dict() == alone.to_dict()


@pytest.mark.parametrize("rows", [1000, 0, 8, 15])
def test_any_number_of_blocks(rows: int) -> None:
    """Of one, none is merged; of many, merged ones are merged."""
    y, z, _ = arguments("squared_error")
    y, z = y[:rows], z[:rows]
    alone = fl.Accumulator("squared_error")
    alone.update(y, z)
    for block in (1000, 8, 1):
        with dask.config.set(scheduler="synchronous"):
            state = fd.score(chunked(y, block), chunked(z, block), "squared_error")
        assert state.to_dict() == alone.to_dict()


@pytest.mark.filterwarnings("ignore")  # of the cluster's own
@pytest.mark.parametrize("name", NAMES[:3])
def test_two_processes(cluster: Any, name: str) -> None:
    y, z, w = arguments(name)
    alone = fl.Accumulator(name)
    alone.update(y, z, w)
    blocks = [chunked(x, 130) for x in (y, z, w)]
    assert fd.score(blocks[0], blocks[1], name, blocks[2]).to_dict() == alone.to_dict()
    gradient = fd.grad(blocks[0], blocks[1], name, blocks[2])
    np.testing.assert_allclose(
        cluster.compute(gradient).result(), fl.get(name).grad(y, z, sample_weight=w), rtol=1e-5
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_lazy_arrays(name: str, dtype: str) -> None:
    y, z, w = arguments(name, dtype)
    loss, blocks = fl.get(name), [chunked(x, 300) for x in (y, z, w)]
    lazy = fd.loss(blocks[0], blocks[1], name, blocks[2])
    assert (lazy.shape, lazy.dtype, lazy.chunks) == (
        (ROWS,),
        np.dtype(dtype),
        ((300, 300, 300, 100),),
    )
    assert isinstance(lazy._meta, np.ndarray)
    np.testing.assert_array_equal(lazy.compute(), loss(y, z, sample_weight=w, reduction="none"))
    for reduction in ("mean", "sum", "none"):
        options: dict[str, Any] = {"reduction": reduction}
        value, gradient = fd.value_and_grad(blocks[0], blocks[1], name, blocks[2], **options)
        assert (gradient.shape, gradient.dtype) == (z.shape, np.dtype(dtype))
        assert gradient.chunks[0] == (300, 300, 300, 100)
        wanted = loss.value_and_grad(y, z, sample_weight=w, reduction=reduction)  # type: ignore[call-overload]
        tolerance = 1e-6 if dtype == "float32" else 1e-14
        np.testing.assert_allclose(value.compute(), wanted[0], rtol=tolerance)
        np.testing.assert_allclose(gradient.compute(), wanted[1], rtol=tolerance, atol=0)


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    def fail(_: Any) -> Any:
        raise AssertionError("computed")

    y = da.zeros(10, chunks=5).map_blocks(fail, dtype=float, meta=np.empty(0))
    fd.loss(y, y, "mse")
    fd.value_and_grad(y, y, "mse")
    assert fd.score(y, y, "mse", compute=False) is not None


def test_data_frames_of_unknown_sizes() -> None:
    dd = pytest.importorskip("dask.dataframe")
    y, z, w = arguments("squared_error", "float64")
    frame = dd.from_pandas(pd.DataFrame({"y": y, "z": z, "w": w}), npartitions=7)
    kept = frame[frame["w"] > 1]
    rows = w > 1
    alone = fl.Accumulator("mse")
    alone.update(y[rows], z[rows], w[rows])
    a = fd.score(kept["y"], kept["z"], "mse", kept["w"])
    assert a.to_dict() == alone.to_dict()
    mixed = fd.score(kept["y"], da.from_array(z[rows], chunks=100), "mse", w[rows])
    assert mixed.to_dict() == alone.to_dict()
    lazy = fd.loss(kept["y"], kept["z"], "mse")
    np.testing.assert_array_equal(lazy.compute(), fl.mse(y[rows], z[rows], reduction="none"))


def test_root_mean_squared_error() -> None:
    y, z, _ = arguments("squared_error")
    lazy = fd.loss(chunked(y, 100), chunked(z, 100), "rmse", reduction="mean")
    np.testing.assert_allclose(lazy.compute(), fl.rmse(y, z), rtol=1e-6)
    with pytest.raises(ValueError, match="reduction: got 'none'; expected 'mean'"):
        fd.loss(chunked(y, 100), chunked(z, 100), "rmse")
    with pytest.raises(ValueError, match="needs all blocks"):
        fd.grad(chunked(y, 100), chunked(z, 100), "rmse")


def test_wrong_arguments() -> None:
    y = da.zeros(10, chunks=5)
    with pytest.raises(ValueError, match="got 10, 11 rows; expected the same"):
        fd.score(y, da.zeros(11, chunks=5), "mse")
    with pytest.raises(TypeError, match="y_true: got int"):
        fd.score(1, y, "mse")
    with pytest.raises(ValueError, match="did you mean"):
        fd.loss(y, y, "hubr")
