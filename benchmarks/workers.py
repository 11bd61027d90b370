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
from multiprocessing import connection
from time import perf_counter, process_time
from typing import Any, NamedTuple

SHORTEST = 0.1
"""Seconds; what takes less is repeated for that long, and averaged."""


class Run(NamedTuple):
    """One measurement; ``result`` is what was computed, for comparisons between sides."""

    seconds: float
    cpu_seconds: float
    peak_memory_mb: float
    result: Any


class WorkerError(Exception):
    """A side could not do its work; the message is one line."""


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB.

    A child counts what its parent had when it started, so the parent must be the smaller one.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def measure(run: Callable[[], Any]) -> Run:
    """Time ``run`` once, or as often as fits into :data:`SHORTEST`."""
    wall, cpu, count = perf_counter(), process_time(), 0
    while count == 0 or perf_counter() - wall < SHORTEST:
        result = run()
        count += 1
    return Run(
        (perf_counter() - wall) / count, (process_time() - cpu) / count, peak_memory_mb(), result
    )


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def work(pipe: connection.Connection, make: Callable[..., Any], *arguments: Any) -> None:
    """Prepare one side, then answer each message with a measurement, or with what went wrong."""
    os.dup2(2, 1)  # whatever a library prints: the standard output is for the result
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run = make(*arguments)
        while True:
            pipe.recv()
            pipe.send(measure(run))
    except Exception as error:
        from pixelrl_chainer.errors import reason

        with suppress(OSError):
            pipe.send(reason(error))


@contextmanager
def worker(name: str, make: Callable[..., Any], *arguments: Any) -> Iterator[Callable[[], Run]]:
    """Start a process and yield the function that lets it perform ``make(*arguments)()`` once.

    Raises
    ------
    WorkerError
        From that function, if the process fails or ends.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, make, *arguments), daemon=True)

    def run() -> Run:
        try:
            here.send(True)
            answer = here.recv()
        except (EOFError, ConnectionError):
            process.join()
            raise WorkerError(f"{name}: {_ending(process.exitcode)}") from None
        if isinstance(answer, str):
            raise WorkerError(f"{name}: {answer}")
        return answer

    try:
        _start(process)
        there.close()  # so that the end of the process is noticed here
        yield run
    finally:
        if process.pid is not None:
            process.kill()
            process.join()


def _start(process: Any) -> None:
    """Start ``process`` deaf to Ctrl-C, which a terminal sends to all: the parent ends it."""
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
