"""Threads: the same bits for every number of them, defaults, forks, and calls at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from samples import DTYPES, REDUCED, same_bits, sample

import fastloss as fl
from fastloss import _core
from fastloss._losses import Record
from fastloss._threads import _available

ENVIRONMENT = {"FASTLOSS_NUM_THREADS": "", "OMP_NUM_THREADS": ""}
SHOW = "import fastloss as fl; print(fl.get_num_threads())"


@pytest.fixture
def many_processors() -> Iterator[None]:
    """Let teams be as large as the test asks, however few processors there are."""
    _core.set_processors(8)
    yield
    _core.set_processors(_available())


@pytest.mark.usefixtures("many_processors")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("record", REDUCED, ids=lambda r: r.name)
def test_same_bits(record: Record, dtype: str) -> None:
    for size in (33_000, 200_003):
        rows = size if record.kind == "pointwise" else size // 3
        s = sample(record, dtype, (rows,))
        loss = fl.get(record.name)

        def results(threads: int, s: Any = s, loss: fl.Loss = loss) -> list[Any]:
            kwargs: Any = {"sample_weight": s.w, "num_threads": threads}
            return [
                loss(s.y, s.z, num_threads=threads),
                loss(s.y, s.z, **kwargs),
                loss(s.y, s.z, reduction="none", **kwargs),
                *loss.value_and_grad(s.y, s.z, **kwargs),
                *loss.grad_and_hess(s.y, s.z, **kwargs),
                loss(s.y.astype(np.float64), s.z, **kwargs),
            ]

        one = results(1)
        for threads in (2, 3, 7):
            for got, wanted in zip(results(threads), one, strict=True):
                same_bits(got, wanted)


@pytest.mark.usefixtures("many_processors")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [32_767, 32_768, 32_769, 1_000_003])
def test_same_bits_at_the_edges_of_chunks(size: int, dtype: str) -> None:
    random = np.random.default_rng(11)
    y, z = random.normal(size=(2, size)).astype(dtype)
    rows, labels = random.normal(size=(size // 10, 10)).astype(dtype), np.arange(size // 10) % 10

    def results(threads: int) -> list[Any]:
        return [
            *fl.huber.value_and_grad(y, z, num_threads=threads),
            *fl.mse.grad_and_hess(y[::-1], z, num_threads=threads),
            *fl.rmse.value_and_grad(y, z, num_threads=threads),
            *fl.sparse_softmax_cross_entropy.value_and_grad(labels, rows, num_threads=threads),
        ]

    one = results(1)
    for threads in (2, 3, 7):
        for got, wanted in zip(results(threads), one, strict=True):
            same_bits(got, wanted)


@pytest.mark.parametrize("shape", [(1, 300), (600, 1), (300,), (), (1, 1)])
def test_same_bits_of_broadcast_gradients(shape: tuple[int, ...]) -> None:
    y = np.random.default_rng(12).normal(size=(600, 300))
    z = np.random.default_rng(13).normal(size=shape)
    one = fl.pseudo_huber.grad_and_hess(y, z, num_threads=1)
    for threads in (2, 3, 7):
        many = fl.pseudo_huber.grad_and_hess(y, z, num_threads=threads)
        for got, wanted in zip(many, one, strict=True):
            same_bits(got, wanted)


def test_set_and_get() -> None:
    before = fl.get_num_threads()
    try:
        fl.set_num_threads(3)
        assert fl.get_num_threads() == 3
        with fl.threads(5):
            assert fl.get_num_threads() == 5
            with fl.threads(1):
                assert fl.get_num_threads() == 1
            assert fl.get_num_threads() == 5
        assert fl.get_num_threads() == 3
        with pytest.raises(KeyError), fl.threads(2):
            raise KeyError
        assert fl.get_num_threads() == 3
    finally:
        fl.set_num_threads(before)


@pytest.mark.parametrize(
    ("n", "kind"),
    [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)],
)
def test_wrong_numbers(n: Any, kind: type[Exception]) -> None:
    before = fl.get_num_threads()
    with pytest.raises(kind, match="n: got"):
        fl.set_num_threads(n)
    with pytest.raises(kind), fl.threads(n):
        pass
    with pytest.raises(kind, match="num_threads: got"):
        fl.mse([0.0], [1.0], num_threads=n)
    assert fl.get_num_threads() == before


def test_numpy_integers_and_huge_numbers() -> None:
    z = np.ones(100_000)
    assert fl.mse(z, z, num_threads=np.int64(2)) == 0  # type: ignore[arg-type]
    assert fl.mse(z, z, num_threads=10**12) == 0


@pytest.mark.parametrize(
    ("env", "threads"),
    [
        ({"FASTLOSS_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"FASTLOSS_NUM_THREADS": "2", "OMP_NUM_THREADS": "7"}, 2),
    ],
)
def test_environment(env: dict[str, str], threads: int, python: Callable[..., str]) -> None:
    assert python(SHOW, **{**ENVIRONMENT, **env}) == str(threads)


def test_affinity(python: Callable[..., str]) -> None:
    pytest.importorskip("os").sched_getaffinity(0)
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " + SHOW
    assert python(code, **ENVIRONMENT) == "1"


@pytest.mark.parametrize("text", ["0", "-2", "many", "1.5"])
def test_wrong_environment(text: str, python: Callable[..., str]) -> None:
    code = (
        "try:\n import fastloss\n"
        "except ValueError as error:\n assert 'FASTLOSS_NUM_THREADS' in str(error)\n"
        "else:\n raise SystemExit('no error')"
    )
    python(code, FASTLOSS_NUM_THREADS=text)


def test_fork_after_a_parallel_call() -> None:
    code = """
import os, numpy as np, fastloss as fl
z = np.random.default_rng(0).normal(size=1_000_000)
y = np.zeros_like(z)
fl.set_num_threads(2)
before = fl.huber(y, z), fl.huber.grad(y, z).tobytes()
child = os.fork()
if child == 0:
    after = fl.huber(y, z, num_threads=4), fl.huber.grad(y, z).tobytes()
    os._exit(0 if after == before else 3)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
assert (fl.huber(y, z), fl.huber.grad(y, z).tobytes()) == before
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_no_more_threads_than_processors(python: Callable[..., str]) -> None:
    code = """
import os, numpy as np, fastloss as fl
z = np.zeros(1_000_000)
fl.log_cosh(z, z, num_threads=50)
print(len(os.listdir("/proc/self/task")) - before <= max(len(os.sched_getaffinity(0)), 1) - 1)
"""
    pytest.importorskip("os").sched_getaffinity(0)
    start = "import os, numpy, fastloss; before = len(os.listdir('/proc/self/task'))"
    assert python(start + code) == "True"


def test_helpers_take_part() -> None:
    """The processor time of a long job is spent in more than one thread."""
    code = """
import os, numpy as np, fastloss as fl
from fastloss import _core
_core.set_processors(3)
z = np.random.default_rng(0).normal(size=3_000_000)
before = set(os.listdir("/proc/self/task"))
for _ in range(5):
    fl.log_cosh(z, -z, num_threads=3)
helpers = set(os.listdir("/proc/self/task")) - before
assert len(helpers) == 2, helpers
"""
    pytest.importorskip("os").sched_getaffinity(0)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("many_processors")
def test_many_python_threads_at_once() -> None:
    z = np.random.default_rng(1).normal(size=300_000).astype(np.float32)
    y = np.zeros_like(z)
    rows = np.random.default_rng(2).normal(size=(20_000, 5))
    labels = np.arange(20_000) % 5
    wanted = fl.log_cosh.value_and_grad(y, z), fl.sparse_softmax_cross_entropy(labels, rows)
    failures: list[str] = []

    def work() -> None:
        for _ in range(10):
            value, grad = fl.log_cosh.value_and_grad(y, z, num_threads=2)
            other = fl.sparse_softmax_cross_entropy(labels, rows, num_threads=2)
            if value != wanted[0][0] or not (grad == wanted[0][1]).all() or other != wanted[1]:
                failures.append("different bits")

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def test_threads_that_share_an_accumulator() -> None:
    """Small batches take turns."""
    y, z = np.zeros((2, 90), np.float32)
    sums = fl.Accumulator(["squared_error", "huber"])
    workers = [
        threading.Thread(
            target=lambda: [sums.update(y, z + k) for k in range(3) for _ in range(500)]
        )
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sums.count == 4 * 3 * 500 * 90
    assert sums.sums() == {
        "squared_error": (0 + 1 + 4) * 180_000,
        "huber": (0 + 0.5 + 1.5) * 180_000,
    }
