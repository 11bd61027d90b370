"""A process for each side, so that each has its own threads and its own peak memory."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, resource_tracker
from time import perf_counter, process_time
from typing import Any, NamedTuple

SHORTEST = 0.1
"""Seconds; what takes less is repeated for that long, and averaged."""


class Run(NamedTuple):
    """One measurement."""

    seconds: float
    cpu_seconds: float
    peak_memory_mb: float


class WorkerError(Exception):
    """A side could not do its work; the message is one line."""


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB.

    A child counts what its parent had when it started, so the parent must be the smaller one.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def measure(run: Callable[[], Any]) -> tuple[Run, Any]:
    """Time ``run`` once, or for :data:`SHORTEST`; return the means and its last result."""
    wall, cpu, count = perf_counter(), process_time(), 0
    while count == 0 or perf_counter() - wall < SHORTEST:
        result = run()
        count += 1
    wall, cpu = perf_counter() - wall, process_time() - cpu
    return Run(wall / count, cpu / count, peak_memory_mb()), result


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def work(pipe: connection.Connection, make: Callable[..., Any], *arguments: Any) -> None:
    """Say when one side is ready, then answer each message with a measurement.

    What goes wrong is the last answer, as text.
    """
    os.dup2(2, 1)  # whatever a library prints: the standard output is for the figures
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run = make(*arguments)
        pipe.send(None)
        while True:
            pipe.recv()
            pipe.send(measure(run))
    except Exception as error:
        from pixelrl_chainer.errors import reason

        with suppress(OSError):
            pipe.send(reason(error))


class Worker:
    """The process of one side, seen from the outside; its methods raise :class:`WorkerError`."""

    def __init__(self, name: str, process: Any, pipe: connection.Connection) -> None:
        self._name, self._process, self._pipe = name, process, pipe

    def wait(self) -> Any:
        """Return the next answer; the first one says that the side is ready."""
        try:
            answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise WorkerError(f"{self._name}: {_ending(self._process.exitcode)}") from None
        if isinstance(answer, str):
            raise WorkerError(f"{self._name}: {answer}")
        return answer

    def run(self) -> tuple[Run, Any]:
        """Let the side do its work once: the measurement, and what the work returned."""
        with suppress(ConnectionError):  # then it has ended, and the answer says how
            self._pipe.send(True)
        measured, result = self.wait()
        return measured, result


@contextmanager
def worker(name: str, make: Callable[..., Any], *arguments: Any) -> Iterator[Worker]:
    """Start a process that prepares ``make(*arguments)``; it ends with the context."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, make, *arguments), daemon=True)
    try:
        _start(process)
        there.close()  # so that the end of the process is noticed here
        yield Worker(name, process, here)
    finally:
        if process.pid is not None:
            process.kill()
            process.join()


def _start(process: Any) -> None:
    """Start ``process`` deaf to Ctrl-C, which a terminal sends to all: the parent ends it."""
    resource_tracker.ensure_running()  # or it starts with the process, and unblocks signals
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _ending(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return (
            "the process was killed, as the system does when memory runs out; "
            "try --quick, or other --cases"
        )
    return f"the process ended unexpectedly (exit code {code})"
