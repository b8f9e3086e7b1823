"""PyTorch compiled for the very shape; `grad_and_value` makes forward and backward one graph.

Compiling takes seconds a case; torch keeps the results on disk for the next run. Inputs of a
thousand elements are left to the eager column: a call of a compiled function costs more than they.
"""

from __future__ import annotations

from typing import Any

import torch
from cases import Array, Call, Case

from libraries import CompileError
from libraries.torch_eager import LOSSES

SMALLEST = 10_000


def prepare(case: Case, y: Array, z: Array, threads: int) -> Call | None:
    if case.loss not in LOSSES or case.into_out or case.elements < SMALLEST:
        return None
    torch.set_num_threads(threads)
    torch._dynamo.reset()
    loss, target, scores = LOSSES[case.loss], torch.from_numpy(y), torch.from_numpy(z)
    function = torch.func.grad_and_value(loss) if case.gradient else loss
    compiled: Any = torch.compile(function, dynamic=False, fullgraph=True)

    def value() -> float:
        with torch.no_grad():
            return float(compiled(scores, target))

    def both() -> Any:
        with torch.no_grad():
            gradient, result = compiled(scores, target)
            return float(result), gradient.numpy()

    call = both if case.gradient else value
    try:
        call()
    except Exception as error:  # torch documents no common class of its compilers' errors
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        raise CompileError(reason) from error
    return call
