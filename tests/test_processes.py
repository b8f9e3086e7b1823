"""What processes do to a library: forks, worker pools, signals, limits from outside."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import math
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fastloss as fl
from fastloss import _threads

WORK = """
import os, signal, sys, threading, time, warnings, zlib
import numpy as np, fastloss as fl
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a process that has threads
z = np.random.default_rng(0).normal(size=300_000)
y = np.zeros_like(z)
def parallel(_=None):
    return fl.huber(y, z, num_threads=2), zlib.crc32(fl.huber.grad(y, z, num_threads=2))
"""
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def work(tmp_path: Path, python: Callable[..., str]) -> Callable[..., str]:
    """Run code beside a module `work`, which worker processes can import."""
    (tmp_path / "work.py").write_text(WORK)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    return lambda code: python(code, PYTHONPATH=path)


@FORKS
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing_after_a_parallel_call(method: str, work: Callable[..., str]) -> None:
    work(f"""
import multiprocessing, work
wanted = work.parallel()
with multiprocessing.get_context({method!r}).Pool(2) as pool:
    assert pool.map(work.parallel, range(4)) == [wanted] * 4
assert work.parallel() == wanted
""")


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
def test_joblib_after_a_parallel_call(backend: str, work: Callable[..., str]) -> None:
    pytest.importorskip("joblib")
    work(f"""
import joblib, work
wanted = work.parallel()
run = joblib.Parallel(n_jobs=2, backend={backend!r})
assert run(joblib.delayed(work.parallel)() for _ in range(4)) == [wanted] * 4
""")


@FORKS
def test_fork_during_a_parallel_call(work: Callable[..., str]) -> None:
    """The child must not wait for a team that only its parent has."""
    work("""
import os, threading, work
wanted, stop = work.parallel(), False
def call():
    while not stop: work.parallel()
thread = threading.Thread(target=call)
thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(0 if work.parallel() == wanted else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop = True
thread.join()
""")


# Work for the threads of another package.
BUSY = {
    "torch": "f = lambda: torch.randn(400, 400) @ torch.randn(400, 400)",
    "sklearn.ensemble": """
f = lambda: sklearn.ensemble.HistGradientBoostingRegressor(max_iter=3).fit(
    work.z[:9000, None], work.z[:9000])""",
    "xgboost": """
f = lambda: xgboost.train({"nthread": 2}, xgboost.DMatrix(work.z[:9000, None], work.z[:9000]), 3)
""",
}


@pytest.mark.parametrize("others", BUSY)
@pytest.mark.parametrize("first", [True, False])
def test_beside_other_runtimes(others: str, first: bool, work: Callable[..., str]) -> None:
    # Not imported here: what it does to the threads of this process is no business of other tests.
    if importlib.util.find_spec(others.split(".")[0]) is None:
        pytest.skip(f"{others} is not installed")
    imports = [f"import {others}", "import work"]
    work(
        "\n".join(imports if first else imports[::-1])
        + f"""
import threading
{BUSY[others]}
wanted, stop = work.parallel(), False
def call():
    while not stop: f()
thread = threading.Thread(target=call)
thread.start()
for _ in range(20): assert work.parallel() == wanted
stop = True
thread.join()
f()
"""
    )


# More elements than a machine gets through in the time that a test may take, over little memory.
ENDLESS = {
    "pointwise": "fl.log_cosh(big, big)",
    "converted": "fl.log_cosh(swapped, big)",
    "reduced": "fl.log_cosh.grad(big, 0.5)",
    "rows": "fl.softmax_cross_entropy(rows, rows)",
}


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("call", ENDLESS)
def test_interrupt(call: str, threads: int, work: Callable[..., str]) -> None:
    """Ctrl-C ends a call that would take hours within 0.2 s, and the call returns nothing.

    On a machine with much else to do, one in a few attempts is enough.
    """
    waited = work(f"""
import os, signal, threading, time
import numpy as np, fastloss as fl
big = np.broadcast_to(np.linspace(-3, 3, 1 << 20), (1 << 16, 1 << 20))
swapped = np.broadcast_to(big[0].astype(">f4"), big.shape)
rows = np.broadcast_to(np.full((1 << 16, 8), 0.125), (1 << 17, 1 << 16, 8))
result, sent, waited = None, [0], 1
def interrupt():
    sent[0] = time.perf_counter()
    os.kill(os.getpid(), signal.SIGINT)
fl.set_num_threads({threads})
for _ in range(5):
    if waited < 0.2: break
    threading.Timer(0.3, interrupt).start()
    try:
        result = {ENDLESS[call]}
    except KeyboardInterrupt:
        waited = time.perf_counter() - sent[0]
    else:
        raise SystemExit("not interrupted")
    assert result is None
    assert fl.huber(rows[0, 0], rows[1, 1]) == 0  # and the next call works
print(waited)
""")
    assert float(waited) < 0.2


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_handled_signal_does_not_change_the_result(work: Callable[..., str]) -> None:
    work("""
import signal
import numpy as np, fastloss as fl
big = np.broadcast_to(np.linspace(-3, 3, 1 << 20), (1 << 8, 1 << 20))
wanted = fl.log_cosh(big, big[::-1])
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
got = fl.log_cosh(big, big[::-1])
signal.setitimer(signal.ITIMER_REAL, 0)
assert seen and got == wanted, (seen, got, wanted)
""")


def test_threadpoolctl_limit(work: Callable[..., str]) -> None:
    pytest.importorskip("threadpoolctl")
    if fl.show_config(as_dict=True)["openmp"] is None:
        pytest.skip("built without OpenMP")
    work("""
import os
os.environ["OMP_NUM_THREADS"] = "4"
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
def pools(): return {p["filepath"]: p["num_threads"] for p in threadpool_info()}
before = pools()
import fastloss as fl
assert fl.get_num_threads() == 4
now = pools()
assert before.items() <= now.items()
fl.huber(np.zeros(300_000), np.ones(300_000), num_threads=2)
assert pools() == now
with threadpool_limits(1):
    assert fl.get_num_threads() == 1
    with fl.threads(3):
        assert fl.get_num_threads() == 1
assert fl.get_num_threads() == 4
""")


def test_quota(tmp_path: Path) -> None:
    """A control group's quota, as both versions of the interface give it."""
    for text, wanted in [("150000 100000\n", 1.5), ("max 100000\n", math.inf), ("", math.inf)]:
        (tmp_path / "cpu.max").write_text(text)
        assert _threads._quota_of(tmp_path) == wanted
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu.cfs_quota_us").write_text("200000\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    assert _threads._quota_of(tmp_path) == 2
    (tmp_path / "cpu.cfs_quota_us").write_text("-1\n")
    assert _threads._quota_of(tmp_path) == math.inf


def test_quota_of_the_groups_around(tmp_path: Path) -> None:
    """The least of the group's own quota and those of the groups that it lies in."""
    own, root = tmp_path / "own", tmp_path / "root"
    for of_cpu, folder, write in [
        ("0::/slice/service/scope", root, version_2),
        ("4:memory:/other\n3:cpu,cpuacct:/slice/service/scope", root / "cpu,cpuacct", version_1),
        ("3:cpu:/slice/service/scope", root / "cpu", version_1),
    ]:
        own.write_text(of_cpu + "\n")
        (folder / "slice/service/scope").mkdir(parents=True)
        assert _threads._quota(root, own) == math.inf
        for inner, processors, wanted in [
            ("slice/service/scope", 8, 8),
            ("slice", 3, 3),
            ("slice/service", 5, 3),
            ("", 2, 2),
            ("elsewhere", 1, 2),
        ]:
            write(folder / inner, processors)
            assert _threads._quota(root, own) == wanted
        shutil.rmtree(root)
    assert _threads._quota(root, tmp_path / "none") == math.inf


def test_quota_of_a_group_of_any_name(tmp_path: Path) -> None:
    """A group may be called what a folder may be called: neither ASCII nor UTF-8."""
    own = tmp_path / "own"
    for name in ("dienst-ü", os.fsdecode(b"\xff")):
        own.write_bytes(b"0::/" + os.fsencode(name) + b"\n")
        version_2(tmp_path / name, 2)
        assert _threads._quota(tmp_path, own) == 2


def version_1(folder: Path, processors: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{processors}00000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")


def version_2(folder: Path, processors: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "cpu.max").write_text(f"{processors}00000 100000\n")


def test_quota_limits_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "_quota", lambda: 0.5)
    assert _threads._available() == 1


# ---- floating-point modes and flags ----

# Invalid, division by zero, overflow, underflow: Python's own arithmetic is inexact.
EXCEPTIONS = 0x1D if platform.machine() == "x86_64" else 0x0F


def environment(libm: ctypes.CDLL) -> tuple[int, int]:
    return libm.fegetround(), libm.fetestexcept(EXCEPTIONS)


@pytest.mark.skipif(sys.platform != "linux", reason="needs the C library's fenv.h")
@pytest.mark.parametrize("threads", [1, 2])
def test_no_floating_point_leaks(threads: int) -> None:
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    hostile = np.array([np.nan, np.inf, -np.inf, 1e308, 5e-324, 0.0] * 20_000)
    rows = hostile.reshape(-1, 6)
    out = np.empty_like(hostile)
    plain, grouped = (fl.Accumulator(["mse", "log_cosh"], groups=g) for g in (False, True))
    plain._threads = grouped._threads = threads
    by = np.arange(len(hostile)) % 7
    calls: list[Callable[[], object]] = [
        lambda: fl.huber(hostile[:8], hostile[8:16]),
        lambda: fl.mse.grad(hostile, hostile[::-1], out=out, num_threads=threads),
        lambda: fl.log_cosh.value_and_grad(hostile, hostile, out=out, num_threads=threads),
        lambda: fl.huber.grad(hostile, 1.0, reduction="sum"),
        lambda: fl.mse.grad(rows, rows[0], num_threads=threads),
        lambda: fl.rmse.value_and_grad(hostile, hostile[::-1], num_threads=threads),
        lambda: fl.mae(hostile, hostile[::-1], sample_weight=hostile),
        lambda: fl.mae(hostile[:8], hostile[8:16], sample_weight=hostile[:8]),
        lambda: fl.squared_hinge(hostile > 0, hostile, margin=1e300),
        lambda: fl.softmax_cross_entropy.grad(np.ones_like(rows), rows, num_threads=threads),
        lambda: plain.update(hostile[:8], hostile[8:16]),
        lambda: plain.update(hostile, hostile[::-1], hostile),
        lambda: grouped.update(hostile, hostile[::-1], by=by),
        lambda: (plain.result(), grouped.result()),
    ]
    for call in calls:
        libm.feclearexcept(EXCEPTIONS)
        clean = environment(libm)
        call()
        assert environment(libm) == clean
    # Subnormal numbers are neither flushed to zero nor read as zero.
    tiny = np.full(100_000, 5e-324)
    assert fl.mae(np.zeros(100_000), tiny, num_threads=threads) == 5e-324
    assert tiny[0] / 1 == 5e-324
