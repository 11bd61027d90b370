"""Threads and memory of the CPU kernels.

The kernels use no BLAS: its threads wait actively for one another, which costs more than it gains
for the small products of a convolution, above all when another process wants a core.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from ..errors import ConfigError

R = TypeVar("R")

VARIABLE = "PIXELRL_THREADS"


@cache
def thread_count() -> int:
    """Threads of the CPU kernels: ``PIXELRL_THREADS``, by default the cores this process may use.

    Raises
    ------
    ConfigError
        If the variable is not a positive number.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted:
        if not wanted.isdecimal() or int(wanted) < 1:
            raise ConfigError(f"{VARIABLE} = {wanted!r}: expected a number of threads, at least 1")
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Numbers of two settings of glibc's ``mallopt``."""


@cache
def keep_freed_memory() -> bool:
    """Let the allocator reuse freed memory instead of returning it to the system at once.

    By default glibc maps every large array anew, and the system clears it page by page: on the
    machine this was measured on, a third of the time of a convolution of 481x321 pixels. Peak
    memory stays the same. Other C libraries are left alone.

    Returns
    -------
    bool
        Whether the setting was made.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def return_freed_memory() -> bool:
    """Return to the system what :func:`keep_freed_memory` kept, gaps between arrays included.

    Arrays of changing sizes leave gaps that the next ones do not fit into.

    Returns
    -------
    bool
        Whether anything was returned.
    """
    return platform.libc_ver()[0] == "glibc" and bool(ctypes.CDLL(None).malloc_trim(0))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_count(), thread_name_prefix="kernels")


if hasattr(os, "register_at_fork"):
    # A child inherits the pool, but not its threads, for which it would wait for ever.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def share(work: Callable[[Any], R], items: Sequence[Any]) -> list[R]:
    """Cut ``items`` into one run for each thread; return what ``work`` makes of each, in order.

    The cuts depend on the number of threads alone, so a sum of the results is reproducible. The
    caller's thread takes the first run: a system wakes threads late and on few cores at first.
    """
    keep_freed_memory()
    count = max(1, min(thread_count(), len(items)))
    cuts = [len(items) * i // count for i in range(count + 1)]
    runs = [items[first:last] for first, last in zip(cuts[:-1], cuts[1:], strict=True)]
    others = [_pool().submit(work, run) for run in runs[1:]]
    return [work(runs[0]), *(other.result() for other in others)]
