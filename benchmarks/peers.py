"""Speed beside NumPy, scikit-learn, PyTorch, JAX and Numba, and beside the limit of the memory.

    python benchmarks/peers.py [--only REGEX] [--quick] [--markdown] [--write FILE] [--json FILE]

One run times all libraries (`libraries/`) on the same arrays, taking turns (`timing.py`), and keeps
the best time of each, so ratios hold on a noisy machine too. Every library's result is checked
against ours before it is timed. A library that is not installed is left out. `limits.py` says what
the limit is, `goals.py` what is promised.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import goals
from cases import OPERATIONS, Case, arguments, cases, check
from libraries import PEERS, CompileError, Library, ours
from limits import limits
from tables import (
    LIMIT,
    OURS,
    Goal,
    Rows,
    Times,
    detail_table,
    geometric_mean,
    goal_table,
    machine,
    matrix,
    means,
    ratio,
    rendered,
    write_between,
)
from timing import OthersWork, best_times, least_times, pin

import fastloss as fl

SMALL, MIDDLE, LARGE = 1_000, 100_000, 10_000_000
ROWS = goals.ROWS
# What takes microseconds is cheap to repeat, and needs it: it hangs on the threads' start.
CHEAP = 1_000_000


def matrix_cases(dtypes: tuple[str, ...], quick: bool) -> Iterator[Case]:
    """Yield the cells: the gradient into `out` only where the arrays are in no cache."""
    sizes, rows = ((MIDDLE,), ROWS[:1]) if quick else ((SMALL, MIDDLE), ROWS[:2])
    chosen = list(cases(dtypes, sizes, rows))
    if not quick:
        chosen += cases(dtypes, (LARGE,), ROWS[2:], OPERATIONS)
    # Those of a loss and dtype one after another, as in the registry.
    order = {case.loss: i for i, case in enumerate(chosen) if case.dtype == dtypes[0]}
    return iter(sorted(chosen, key=lambda case: (order[case.loss], case.dtype)))


def measure(
    case: Case, peers: list[Library], threads: int, repeats: int, remarks: list[str]
) -> Times:
    """Return nanoseconds per element of every library that has the loss, and the limit."""
    y, z = arguments(case)
    calls = {OURS: ours.prepare(case, y, z)}
    own = calls[OURS]()
    for peer in peers:
        try:
            call = peer.prepare(case, y, z, threads)
        except CompileError as error:
            remark = f"{peer.name} does not compile {case}: {error}"
            if remark not in remarks:
                remarks.append(remark)
            continue
        if call is not None:
            check(case, own, call(), peer.name)
            calls[peer.name] = call
    del own
    with ThreadPoolExecutor(threads) as pool:
        ways = limits(case, y, z, threads, pool)
        calls |= {f"{LIMIT} {way}": call for way, call in enumerate(ways)}
        turns = 3 * repeats if case.elements < CHEAP else repeats
        best = best_times(calls, turns, always=(OURS, LIMIT))
    times = {name: seconds / case.elements * 1e9 for name, seconds in best.items()}
    moved = [times.pop(f"{LIMIT} {way}") for way in range(len(ways))]
    return times | ({LIMIT: min(moved)} if moved else {})


def arguments_of_command() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=fl.get_num_threads(), metavar="N")
    parser.add_argument(
        "--repeats", type=int, default=10, metavar="N", help="turns of each call, at least"
    )
    parser.add_argument(
        "--passes",
        type=int,
        default=1,
        metavar="N",
        help="go through everything N times: neighbours come and go within minutes",
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="REGEX",
        help="only cases that match, and experiments: " + ", ".join(goals.EXPERIMENTS),
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), help="both by default")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="float32, one size, three turns or more, no experiments",
    )
    parser.add_argument(
        "--details", action="store_true", help="every cell behind the goals, not the worst alone"
    )
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the tables between the markers of FILE"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


def main() -> int:
    """Measure and print."""
    given = arguments_of_command()
    pin(given.threads)
    fl.set_num_threads(given.threads)
    repeats = 3 if given.quick else given.repeats
    peers = [peer for peer in PEERS if peer.installed]
    missing = [peer.name for peer in PEERS if not peer.installed]
    dtypes = (given.dtype,) if given.dtype else ("float32", "float64")
    selected = [
        case
        for case in matrix_cases(("float32",) if given.quick else dtypes, given.quick)
        if re.search(given.only, str(case))
    ]
    experiments = [] if given.quick else goals.chosen(given.only)
    if not selected and not experiments:
        print(f"--only: got {given.only!r}, which matches nothing", file=sys.stderr)
        return 2

    def progress(text: str) -> None:
        if sys.stderr.isatty():
            print(f"{text:100}", end="\r", file=sys.stderr, flush=True)

    begun, others, bench = (
        time.strftime("%Y-%m-%d"),
        OthersWork(),
        goals.Bench(given.threads, repeats),
    )
    # Before the other libraries are imported: their threads are not there yet.
    small = goals.small_calls(3 * repeats)
    rows: Rows = {}
    found: list[Goal] = []
    remarks = [f"Not installed, left out: {', '.join(missing)}."] if missing else []
    for _ in range(given.passes):
        found = list(goals.of_small_calls(small))
        for name in experiments:
            progress(name)
            bench.begin(name)
            found += goals.EXPERIMENTS[name](bench)
        for case in selected:
            progress(str(case))
            times = measure(case, peers, given.threads, repeats, remarks)
            rows[case] = least_times(times, rows.get(case, {}))
    names = [peer.name for peer in peers]
    found += goals.of_matrix(rows, names)
    described, share = machine(given.threads, peers), others.share

    def report(markdown: bool) -> str:
        parts = [f"Measured on {begun}: {described}.\n"]
        if share is not None:
            parts.append(f"Other processes took {share:.0%} of the processors meanwhile.\n")
        parts += [f"{remark}\n" for remark in remarks]
        parts.append(rendered(goal_table(found), markdown))
        if given.details:
            parts.append(rendered(detail_table(found), markdown))
        calls = [["call on 8 float32", "ns"], *([f"`{k}`", f"{v:.0f}"] for k, v in small.items())]
        parts.append(rendered(calls, markdown))
        if rows:
            parts.append("A ratio says how many times as long the peer takes.\n")
            parts.append(rendered(means(rows, names), markdown))
            parts.append("Nanoseconds per element:\n")
            parts.append(rendered(matrix(rows, names), markdown))
        return "\n".join(parts)

    print(report(given.markdown))
    if given.write:
        write_between(given.write, report(markdown=True))
    if given.json:
        figures = {
            "date": begun,
            "machine": described,
            "share_of_others": share,
            "remarks": remarks,
            "goals": [vars(goal) | {"met": goal.met} for goal in found],
            "ns_per_call_on_8": small,
            "ns_per_element": {str(case): times for case, times in rows.items()},
            "geometric_mean": {
                name: geometric_mean(ratio(times, name) for times in rows.values() if name in times)
                for name in names
                if any(name in times for times in rows.values())
            },
        }
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
