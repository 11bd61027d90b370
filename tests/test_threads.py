"""Sharing work among threads: the cuts, the order, errors, and processes that fork."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelrl_chainer.backend import Array
from pixelrl_chainer.errors import ConfigError
from pixelrl_chainer.kernels import threads
from pixelrl_chainer.kernels.conv import convolve, weight_gradient
from pixelrl_chainer.kernels.threads import VARIABLE, share, thread_count


@pytest.fixture
def uncached() -> Iterator[None]:
    """Forget the number of threads and the pool, before and behind the test."""
    for function in (thread_count, threads._pool):
        function.cache_clear()
    yield
    for function in (thread_count, threads._pool):
        function.cache_clear()


def use(count: int) -> None:
    """Use ``count`` threads until the test ends (with :func:`uncached`)."""
    os.environ[VARIABLE] = str(count)
    thread_count.cache_clear()
    threads._pool.cache_clear()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, uncached: None) -> pytest.MonkeyPatch:
    monkeypatch.setenv(VARIABLE, "")
    return monkeypatch


def test_threads_are_the_cores_of_this_process(environment: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert thread_count() == cores


def test_threads_where_affinity_is_unknown(environment: pytest.MonkeyPatch) -> None:
    environment.delattr(os, "sched_getaffinity", raising=False)
    environment.setattr(os, "cpu_count", lambda: None)
    assert thread_count() == 1


def test_threads_by_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv(VARIABLE, "3")
    assert thread_count() == 3


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²", " "])
def test_bad_number_of_threads(value: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(VARIABLE, value)
    with pytest.raises(ConfigError, match="expected a number of threads, at least 1") as caught:
        thread_count()
    assert f"{VARIABLE} = {value!r}" in str(caught.value)


@settings(deadline=None, max_examples=40)
@given(items=st.integers(0, 20), count=st.integers(1, 5))
def test_runs_are_in_order_and_about_equal(items: int, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "thread_count", lambda: count)
        runs = share(lambda run: run.tolist(), np.arange(items))
    assert sum(runs, []) == list(range(items))
    assert len(runs) == max(1, min(count, items))
    lengths = [len(run) for run in runs]
    assert max(lengths) - min(lengths) <= 1


def test_runs_are_worked_on_at_the_same_time(environment: pytest.MonkeyPatch) -> None:
    use(2)
    barrier = threading.Barrier(2, timeout=20)
    share(lambda run: barrier.wait(), np.arange(2))


def test_errors_reach_the_caller(environment: pytest.MonkeyPatch) -> None:
    use(2)

    def fail(run: Array) -> None:
        if run[0] > 0:
            raise ValueError("simulated")

    with pytest.raises(ValueError, match="simulated"):
        share(fail, np.arange(4))
    assert share(len, np.arange(4)) == [2, 2]


@pytest.mark.parametrize("inputs", [3, 16])
def test_the_number_of_threads_only_changes_rounding(
    inputs: int, environment: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x, gy = (rng.normal(size=(2, n, 33, 30)).astype(np.float32) for n in (inputs, 5))
    W = rng.normal(size=(5, inputs, 3, 3)).astype(np.float32)
    results = []
    for count in (1, 2, 5):
        use(count)
        results.append([convolve(x, W, None, 2, True), weight_gradient(x, gy, 2)])
    for found in results[1:]:
        np.testing.assert_array_equal(found[0], results[0][0])  # no sum is split
        for ours, expected in zip(found, results[0], strict=True):
            # Sums over 2000 pixels in another order, in single precision.
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_freed_memory_is_kept_where_the_c_library_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = threads.keep_freed_memory.__wrapped__
    assert made() == (platform.libc_ver()[0] == "glibc")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not made()


FORK = """
import os, signal
import numpy as np
import pixelrl_chainer
from pixelrl_chainer.kernels.conv import convolve
x, W = np.ones((1, 2, 9, 9), np.float32), np.ones((1, 2, 3, 3), np.float32)
expected = convolve(x, W, None, 1, False)
child = os.fork()
if child == 0:
    signal.alarm(20)
    same = (convolve(x, W, None, 1, False) == expected).all()
    os._exit(0 if same else 1)
raise SystemExit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_can_compute() -> None:
    environment = {**os.environ, VARIABLE: "2"}
    done = subprocess.run(
        [sys.executable, "-c", FORK], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
