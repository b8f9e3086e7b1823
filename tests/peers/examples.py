"""An example of a peer's documentation, and what a test asks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Example:
    """The same call of fastloss and of the peer, and what the peer's documentation prints for it.

    `printed` is None where the documentation prints nothing. `digits` are those after the point;
    some documentation cuts them off instead of rounding.
    """

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    printed: Any = None
    digits: int = 4


def check(example: Example) -> None:
    """Check fastloss against the documentation, and against the peer as it is installed.

    Peers compute in float32; fastloss has the last word in `test_digits.py`.
    """
    ours, theirs = np.asarray(example.ours()), np.asarray(example.theirs())
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-7)
    if example.printed is not None:
        np.testing.assert_allclose(ours, example.printed, rtol=0, atol=10.0**-example.digits)
