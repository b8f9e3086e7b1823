from collections.abc import Callable
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Number = Literal["mean", "sum"]
Out = Array | None
Pair = tuple[Array, Array]

class Result:
    loss: float
    weight: float
    bad: tuple[int, int] | None

class ShortPath:
    _kept: dict[tuple[Any, ...], Any]
    @overload
    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        sample_weight: ArrayLike | None = ...,
        reduction: Literal["none"],
        out: Out = ...,
        num_threads: int | None = ...,
        **params: Any,
    ) -> Array: ...
    @overload
    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        sample_weight: ArrayLike | None = ...,
        reduction: Number = ...,
        out: None = ...,
        num_threads: int | None = ...,
        **params: Any,
    ) -> float: ...
    def grad(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        sample_weight: ArrayLike | None = ...,
        reduction: Literal["mean", "sum", "none"] = ...,
        out: Out = ...,
        num_threads: int | None = ...,
        **params: Any,
    ) -> Array: ...
    @overload
    def value_and_grad(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        sample_weight: ArrayLike | None = ...,
        reduction: Literal["none"],
        out: Pair | None = ...,
        num_threads: int | None = ...,
        **params: Any,
    ) -> Pair: ...
    @overload
    def value_and_grad(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        sample_weight: ArrayLike | None = ...,
        reduction: Number = ...,
        out: Out = ...,
        num_threads: int | None = ...,
        **params: Any,
    ) -> tuple[float, Array]: ...
    def grad_and_hess(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        sample_weight: ArrayLike | None = ...,
        reduction: Literal["mean", "sum", "none"] = ...,
        out: Pair | None = ...,
        num_threads: int | None = ...,
        **params: Any,
    ) -> Pair: ...
    def _set_kernel(
        self,
        kernel: int,
        cost: float,
        short: bool,
        has_hess: bool,
        is_root: bool,
        is_real: bool,
        parameters: tuple[float, ...],
    ) -> None: ...
    def _set_rows(
        self,
        target: str,
        axis: int,
        smoothing: float,
        eps: float,
        ignored: int | None,
        class_weight: tuple[Array, ...],
    ) -> None: ...
    def _short(
        self,
        call: str,
        y_true: Array,
        y_pred: Array,
        weight: Array | None,
        reduction: str,
        out: Any,
        threads: int,
    ) -> Any: ...

def key_of(kwargs: dict[str, Any]) -> tuple[Any, ...]: ...
def isa_compiled() -> list[str]: ...
def isa_available() -> list[str]: ...
def isa() -> str: ...
def _set_isa(name: str) -> None: ...
def compiler() -> str: ...
def openmp() -> int: ...
def threads_offered() -> int: ...
def set_processors(n: int) -> None: ...
def set_default_threads(n: int) -> None: ...
def get_default_threads() -> int: ...
def current_threads() -> int: ...
def after_fork_in_child() -> None: ...
def readable(a: Array) -> bool: ...
def new_results(
    shapes: list[tuple[int, ...]], dtype: np.dtype[Any], like: Array | None = ...
) -> list[Array]: ...
def kernels() -> tuple[list[str], list[str]]: ...
def pointwise(
    kernel: int,
    cost: float,
    dtype: str,
    mode: str,
    shape: tuple[int, ...],
    y: Array,
    z: Array,
    w: Array | None,
    out: tuple[Array, ...],
    params: tuple[float, ...],
    scale: float,
    w_scale: float,
    threads: int,
    weights_only: bool = ...,
) -> Result: ...
def rowwise(
    kernel: int,
    cost: float,
    dtype: str,
    mode: str,
    shape: tuple[int, ...],
    axis: int,
    y: Array,
    z: Array,
    w: Array | None,
    out: tuple[Array, ...],
    target: str,
    class_weight: Array | None,
    smoothing: float,
    eps: float,
    ignored: int | None,
    scale: float,
    w_scale: float,
    threads: int,
    weights_only: bool = ...,
) -> Result: ...
def reduced(
    kernel: int,
    dtype: str,
    mode: str,
    shape: tuple[int, ...],
    kept_ndim: int,
    y: Array,
    z: Array,
    w: Array | None,
    params: tuple[float, ...],
) -> tuple[bool, Array]: ...

class Binding(NamedTuple):
    rowwise: bool
    kernel: int
    cost: float
    dtype: str
    parameters: tuple[float, ...]
    target: str
    class_weight: Array | None
    smoothing: float
    eps: float
    ignored: int | None

class Fold:
    def __init__(
        self,
        bindings: list[Binding],
        y: Array,
        z: Array,
        w: Array | None,
        own: list[tuple[int, int]],
        width: int,
        counters: int,
    ) -> None: ...
    def fits_arrays(self, y_true: Array, y_pred: Array, w: Array | None) -> bool: ...

class Sums:
    _size: int
    _fold: Fold | None
    _grouped: bool
    _labels: int
    _threads: int | None
    def update(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = ...,
        by: Any = ...,
    ) -> None: ...
    def _set_width(self, width: int, counters: int) -> None: ...
    def _resize(self, groups: int) -> None: ...
    def _fold_in(
        self,
        y: Array,
        z: Array,
        w: Array | None,
        codes: Array | None = ...,
        lowest: int = ...,
        groups: int = ...,
        slot_of: Callable[[int], int] | None = ...,
    ) -> bool: ...
    def _add_group(self, slot: int, other: Sums, other_slot: int) -> None: ...
    def _sum(self, slot: int, cell: int) -> tuple[int, tuple[int, int, int]]: ...
    def _set_sum(self, slot: int, cell: int, total: int, special: tuple[int, int, int]) -> None: ...
    def _count(self, slot: int, counter: int) -> int: ...
    def _set_count(self, slot: int, counter: int, count: int) -> None: ...

FEW_GROUPS: int

def number_values(x: Array, lowest: int, span: int) -> tuple[Array, list[int]]: ...
