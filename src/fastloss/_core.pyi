from typing import Any, Literal, overload

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
        self, kernel: int, short: bool, has_hess: bool, parameters: tuple[float, ...]
    ) -> None: ...

def key_of(kwargs: dict[str, Any]) -> tuple[Any, ...]: ...
def isa_compiled() -> list[str]: ...
def isa_available() -> list[str]: ...
def isa() -> str: ...
def _set_isa(name: str) -> None: ...
def compiler() -> str: ...
def openmp() -> int: ...
def openmp_processors() -> int: ...
def set_default_threads(n: int) -> None: ...
def get_default_threads() -> int: ...
def after_fork_in_child() -> None: ...
def kernels() -> tuple[list[str], list[str]]: ...
def pointwise(
    kernel: int,
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
    dtype: str,
    mode: str,
    shape: tuple[int, ...],
    classes: int,
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
