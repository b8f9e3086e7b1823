"""fastloss itself."""

from __future__ import annotations

import numpy as np
from cases import Array, Call, Case

import fastloss as fl


def prepare(case: Case, y: Array, z: Array) -> Call:
    loss = fl.get(case.loss)
    if case.into_out:
        out = np.empty_like(z)
        return lambda: loss.value_and_grad(y, z, out=out)
    if case.gradient:
        return lambda: loss.value_and_grad(y, z)
    return lambda: loss(y, z)
