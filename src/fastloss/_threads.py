"""How many threads a call uses, and what happens after a fork.

The default is ``FASTLOSS_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the smallest of the
processors this process may run on, its control group's quota, and what OpenMP offers. A limit that
threadpoolctl sets holds for calls that do not give `num_threads`. Nothing here changes the state of
OpenMP or of the process.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

from fastloss import _core


def check_threads(n: object, name: str = "num_threads") -> int:
    """Return `n` if it is a number of threads."""
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"{name}: got {n!r}; expected an integer >= 1")
    count = int(n.__index__())
    if count < 1:
        raise ValueError(f"{name}: got {n!r}; expected an integer >= 1")
    return min(count, 1 << 20)


def get_num_threads() -> int:
    """Return the number of threads of calls that do not give `num_threads`."""
    return int(_core.current_threads())


def set_num_threads(n: int) -> None:
    """Set the number of threads of calls that do not give `num_threads`.

    Parameters
    ----------
    n : int
        At least 1. Results have the same bits for every number of threads.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an integer, or less than 1.
    """
    _core.set_default_threads(check_threads(n, "n"))


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Set the number of threads within a ``with`` block, and restore it at the end.

    Parameters
    ----------
    n : int
        At least 1.
    """
    before = _core.get_default_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        _core.set_default_threads(before)


def _from_environment() -> int | None:
    for name in ("FASTLOSS_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").strip()
        # OpenMP allows a list, one number for each level of nesting.
        first = text.split(",")[0].strip() if name == "OMP_NUM_THREADS" else text
        if not first:
            continue
        if not first.isdecimal() or int(first) < 1:
            raise ValueError(f"environment variable {name}: got {text!r}; expected an integer >= 1")
        return check_threads(int(first))
    return None


def _quota(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> float:
    """Processors' worth of time that the control group allows, `inf` without a limit.

    What limits a group also limits those within it.
    """
    try:
        lines = _text_of(own).splitlines()
    except OSError:
        return math.inf
    quota = math.inf
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            roots = [root]
        elif "cpu" in controllers.split(","):
            roots = [os.path.join(root, controllers), os.path.join(root, "cpu")]
        else:
            continue
        names = group.strip("/").split("/")
        for directory in roots:
            quota = min(quota, _quota_of(directory))
            for depth in range(1, len(names) + 1):
                quota = min(quota, _quota_of(os.path.join(directory, *names[:depth])))
    return quota


def _quota_of(directory: str) -> float:
    try:
        if os.path.exists(os.path.join(directory, "cpu.max")):
            limit, period = _text_of(directory, "cpu.max").split()
        else:
            limit = _text_of(directory, "cpu.cfs_quota_us").strip()
            period = _text_of(directory, "cpu.cfs_period_us").strip()
        return math.inf if limit in {"max", "-1"} else int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


# Not by pathlib, which takes a sixth of the time of the import. Groups may have any name that a
# folder may have.
def _text_of(*path: str) -> str:
    with open(os.path.join(*path), encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _available() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _quota()
    if quota < processors:
        processors = math.ceil(quota)
    return max(1, min(processors, int(_core.threads_offered())))


_core.set_processors(_available())
_core.set_default_threads(_from_environment() or _available())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_core.after_fork_in_child)
