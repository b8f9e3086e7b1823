"""Losses of Dask arrays and data frame columns: exact, one state a block, merged in a tree.

Needs Dask (``pip install "fastloss[dask]"``). Chunks that do not match are unified; where chunk
sizes are unknown, arrays with as many blocks are taken to match, and others are computed. Blocks
are worked on by one thread each, since Dask has workers of its own.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import dask
import dask.array as da
import numpy as np

from fastloss._accumulator import Accumulator, Losses, labelled
from fastloss._api import Loss
from fastloss._api import get as _get
from fastloss._arrays import Array, computation_dtype
from fastloss._losses import BY_NAME

__all__ = ["grad", "loss", "score", "value_and_grad"]

# States that are merged at a time: of some kilobytes each, beside milliseconds for a task.
_BRANCHES = 64
_AXES = "abcdefgh"


def score(
    y_true: Any,
    y_pred: Any,
    losses: Losses,
    sample_weight: Any = None,
    *,
    compute: bool = True,
    num_threads: int = 1,
) -> Any:
    """Return an accumulator of all rows, with the same bits as one on one machine.

    Parameters
    ----------
    y_true, y_pred : dask array or series
        As for the losses; the class axis of row-wise losses is the last.
    losses : str, Loss, iterable of them, or dict
        As for `fastloss.Accumulator`.
    sample_weight : dask array or series, optional
        One weight for each row.
    compute : bool
        False returns a `dask.delayed.Delayed` of the accumulator.
    num_threads : int
        Threads in each block.

    Returns
    -------
    Accumulator
        Or the `Delayed` of one.
    """
    named = labelled(losses)
    y, z, w = _aligned(y_true, y_pred, sample_weight, _is_rowwise(named.values()))
    blocks = zip(
        y.to_delayed().ravel(),
        z.to_delayed().ravel(),
        [None] * math.prod(z.numblocks) if w is None else w.to_delayed().ravel(),
        strict=True,
    )
    fold = dask.delayed(functools.partial(_fold, named, num_threads), pure=True)
    merge = dask.delayed(_merge, pure=True)
    states = [fold(*block) for block in blocks]
    while len(states) > 1:
        states = [merge(states[i : i + _BRANCHES]) for i in range(0, len(states), _BRANCHES)]
    (result,) = states
    return result.compute() if compute else result


def _fold(losses: dict[str, Loss], num_threads: int, y: Any, z: Any, w: Any) -> Accumulator:
    accumulator = Accumulator(losses)
    accumulator._threads = num_threads
    accumulator.update(y, z, w)
    accumulator._threads = None
    return accumulator


def _merge(states: list[Accumulator]) -> Accumulator:
    whole = states[0].copy()
    for state in states[1:]:
        whole.merge(state)
    return whole


def loss(
    y_true: Any,
    y_pred: Any,
    loss: str | Loss,
    sample_weight: Any = None,
    *,
    reduction: str = "none",
    num_threads: int = 1,
) -> da.Array:
    """Return the losses as a lazy array, or with another `reduction` their mean or sum.

    Parameters
    ----------
    y_true, y_pred, sample_weight
        As for `score`.
    loss : str or Loss
        The loss.
    reduction : {"none", "sum", "mean"}
        As for the losses.
    num_threads : int
        Threads in each block.

    Returns
    -------
    dask.array.Array
        Of the rows, or without axes.
    """
    one = _as_loss(loss)
    _check_reduction(one, reduction)
    if reduction != "none":
        state = score(y_true, y_pred, {"": one}, sample_weight, compute=False,
                      num_threads=num_threads)  # fmt: skip
        return _number(dask.delayed(_reduced, pure=True)(state, reduction))
    return _blocks(one, y_true, y_pred, sample_weight, "value", num_threads)


def grad(
    y_true: Any,
    y_pred: Any,
    loss: str | Loss,
    sample_weight: Any = None,
    *,
    reduction: str = "mean",
    num_threads: int = 1,
) -> da.Array:
    """Return the gradient of what `loss` with the same `reduction` returns, as a lazy array.

    Parameters
    ----------
    y_true, y_pred, loss, sample_weight, num_threads
        As for `loss`.
    reduction : {"mean", "sum", "none"}
        As for the losses.

    Returns
    -------
    dask.array.Array
        With the shape and chunks of `y_pred`.
    """
    one = _as_loss(loss)
    _check_reduction(one, reduction)
    if one.name == "root_mean_squared_error":
        raise ValueError("loss: the gradient of root_mean_squared_error needs all blocks at once")
    summed = _blocks(one, y_true, y_pred, sample_weight, "grad", num_threads)
    if reduction != "mean":
        return summed
    state = score(y_true, y_pred, {"": one}, sample_weight, compute=False, num_threads=num_threads)
    divisor = _number(dask.delayed(_divisor, pure=True)(state))
    return da.map_blocks(
        _divided, summed, divisor.reshape((1,) * summed.ndim), dtype=summed.dtype, meta=summed._meta
    )


def value_and_grad(
    y_true: Any,
    y_pred: Any,
    loss: str | Loss,
    sample_weight: Any = None,
    *,
    reduction: str = "mean",
    num_threads: int = 1,
) -> tuple[da.Array, da.Array]:
    """Return both, lazily; see `loss` and `grad`."""
    options: dict[str, Any] = {"reduction": reduction, "num_threads": num_threads}
    value = globals()["loss"](y_true, y_pred, loss, sample_weight, **options)
    return value, grad(y_true, y_pred, loss, sample_weight, **options)


def _as_loss(loss: str | Loss) -> Loss:
    (one,) = labelled(loss).values()
    return _get(one.name, **{**one.params, "axis": -1}) if "axis" in one.params else one


def _check_reduction(loss: Loss, reduction: str) -> None:
    allowed = BY_NAME[loss.name].reductions
    if reduction not in allowed:
        expected = " or ".join(map(repr, allowed))
        raise ValueError(f"reduction: got {reduction!r}; expected {expected}")


def _is_rowwise(losses: Any) -> bool:
    return any(BY_NAME[loss.name].kind != "pointwise" for loss in losses)


def _reduced(state: Accumulator, reduction: str) -> Array:
    result = state.result() if reduction == "mean" else state.sums()
    return np.array(result[""])


def _divisor(state: Accumulator) -> Array:
    return np.array(state.weights()[""])


def _divided(x: Array, divisor: Array) -> Array:
    total = divisor.reshape(())[()]
    return np.zeros_like(x) if total == 0 else x * x.dtype.type(1 / total)


def _number(delayed: Any) -> da.Array:
    return da.from_delayed(delayed, shape=(), dtype=np.float64)


# ---- blocks ----


def _blocks(
    loss: Loss, y_true: Any, y_pred: Any, sample_weight: Any, what: str, num_threads: int
) -> da.Array:
    """Return the losses or gradients of all blocks."""
    rowwise = _is_rowwise([loss])
    y, z, w = _aligned(y_true, y_pred, sample_weight, rowwise)
    axes = _AXES[: z.ndim]
    rows = axes[:-1] if rowwise else axes
    out = axes if what == "grad" else rows
    dtype = computation_dtype(np.empty(0, z.dtype))
    operands = [z, axes, y, _AXES[: y.ndim]]
    if w is not None:
        operands += [w, rows]
    return da.blockwise(
        _Call(loss, what, num_threads),
        out,
        *operands,
        dtype=dtype,
        meta=np.empty((0,) * len(out), dtype),
        concatenate=True,
    )


class _Call:
    """A call of a loss on blocks, as Dask gives them."""

    def __init__(self, loss: Loss, what: str, num_threads: int) -> None:
        self.loss, self.what, self.num_threads = loss, what, num_threads

    def __call__(self, z: Array, y: Array, w: Array | None = None) -> Array:
        call = self.loss if self.what == "value" else self.loss.grad
        result: Array = call(y, z, sample_weight=w, reduction="none", num_threads=self.num_threads)
        return result

    def __dask_tokenize__(self) -> Any:
        return "fastloss", self.loss.name, sorted(self.loss.params.items()), self.what


def _aligned(y_true: Any, y_pred: Any, sample_weight: Any, rowwise: bool) -> Any:
    """Return arrays whose blocks lie over each other, with one block along the classes."""
    arrays = [_as_array("y_true", y_true), _as_array("y_pred", y_pred)]
    if sample_weight is not None:
        arrays.append(_as_array("sample_weight", sample_weight))
    unknown = [any(map(math.isnan, a.shape)) for a in arrays]
    same = len({a.numblocks[0] for a in arrays}) == 1
    if any(unknown) and not (all(unknown) and same):
        for array, lacks in zip(arrays, unknown, strict=True):
            if lacks:
                array.compute_chunk_sizes()
        unknown = [False]
    if rowwise:
        arrays = [a.rechunk({a.ndim - 1: -1}) if _has_classes(a, arrays) else a for a in arrays]
    if not any(unknown):
        lengths = {a.shape[0] for a in arrays if a.ndim}
        if len(lengths) > 1:
            raise ValueError(
                f"y_true, y_pred, sample_weight: got {', '.join(map(str, sorted(lengths)))} rows; "
                "expected the same"
            )
        pairs = [x for a in arrays for x in (a, _AXES[: a.ndim])]
        _, arrays = da.core.unify_chunks(*pairs)
    return (*arrays, None) if sample_weight is None else tuple(arrays)


def _has_classes(a: da.Array, arrays: list[da.Array]) -> bool:
    return bool(a.ndim == arrays[1].ndim)


def _as_array(name: str, x: Any) -> da.Array:
    if isinstance(x, da.Array):
        return x
    if hasattr(x, "to_dask_array"):
        return x.to_dask_array()
    if hasattr(x, "__array__"):
        return da.from_array(np.asarray(x))
    raise TypeError(f"{name}: got {type(x).__name__}; expected a Dask array or series")
