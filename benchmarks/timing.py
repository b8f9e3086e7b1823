"""Timing calls that take turns, and how busy the machine was with something else meanwhile."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

from cases import Call
from threadpoolctl import threadpool_limits

# What is timed runs for at least this long, in seconds; of short calls so many times in succession,
# of which the best counts: what disturbs one leaves others alone. Long ones would find in the last
# cache what the call before them left there.
LEAST = 2.5e-4
PARTS = 8
# Rest before a measurement: threads of the library before it may still be spinning (those of an
# OpenMP program do so for 8 ms). Then the threads of the next one sleep, and their caches are cold:
# what is measured comes after some calls that are not.
REST = 12e-3
WARM, WARM_CALLS = 1e-3, 3
# A call that has been timed for this long, and three times at least, takes no more turns.
ENOUGH = 0.25
FEWEST = 3
# The best time of a call is one that it met more than once: a machine has quiet seconds and others.
# As long as one has met it once only, all take more turns, up to so many times as many.
CLOSE, CONFIRMED, MOST = 1.03, 3, 3
# What takes longer is not called once before it is timed.
LONG = 0.1


def repetitions(call: Call) -> tuple[int, int]:
    """Return how often a call must be made for its time to be measurable, and how often that."""
    count = 1
    while _seconds(call, count) <= LEAST:
        count *= 2
    return count, 1 if count == 1 else PARTS


def best_times(
    calls: dict[str, Call], repeats: int, always: tuple[str, ...] = ()
) -> dict[str, float]:
    """Return the best time of each call in seconds; the calls take `repeats` turns, or more.

    Calls whose names begin with one of `always` take every turn, however long they are.
    """
    counts = {name: repetitions(call) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(MOST * repeats):
        going_on = [
            name
            for name in calls
            if turn < FEWEST
            or sum(times[name]) * math.prod(counts[name]) <= ENOUGH
            or name.startswith(always)
        ]
        if turn >= repeats and all(_is_confirmed(times[name]) for name in going_on):
            break
        for name in going_on:
            time.sleep(REST)
            best = min(times[name], default=math.inf)
            times[name].append(_timed(calls[name], *counts[name], best))
    return {name: min(times[name]) for name in calls}


def least_times(times: dict[str, float], others: dict[str, float]) -> dict[str, float]:
    """Return the less of both times of each call."""
    return {name: min(seconds, others.get(name, seconds)) for name, seconds in times.items()}


def _is_confirmed(times: list[float]) -> bool:
    least = sorted(times)[:CONFIRMED]
    return least[-1] <= CLOSE * least[0]


def _timed(call: Call, count: int, parts: int, best: float) -> float:
    """Return the time of a call, the best of parts of `count`, after some that are not timed."""
    start, calls_made = time.perf_counter(), 0
    while best < LONG and (calls_made < WARM_CALLS or time.perf_counter() - start < WARM):
        call()
        calls_made += 1
    return min(_seconds(call, count) for _ in range(parts)) / count


def _seconds(call: Call, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - start


def pin(threads: int) -> None:
    """Keep the process on as many processors as threads, which binds all libraries alike.

    NumPy's BLAS gets one thread: after a product its threads spin for 30 ms.
    """
    threadpool_limits(1, "blas")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


class OthersWork:
    """What share of the processors other processes took: figures of a busy machine are worthless.

    `share` is None where the system does not tell.
    """

    def __init__(self) -> None:
        self._start = self._seconds()

    @staticmethod
    def _seconds() -> tuple[float, float, float] | None:
        """Return time on the clock, of all processes, and of this one with its children."""
        file = Path("/proc/stat")
        if not file.exists():
            return None
        user, nice, system, _idle, _wait, *interrupts = map(
            int, file.read_text().splitlines()[0].split()[1:9]
        )
        busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), busy, sum(os.times()[:4])

    @property
    def share(self) -> float | None:
        """Share of the processors' time since this object was made."""
        if self._start is None:
            return None
        clock, busy, own = (
            b - a for a, b in zip(self._start, self._seconds() or self._start, strict=True)
        )
        return max(0.0, busy - own) / (clock * (os.cpu_count() or 1))
