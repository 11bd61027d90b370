"""Progress of long work on standard error, with an estimate of the time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from tqdm import tqdm


class Progress(Protocol):
    """Announce work of ``total`` units; the context gives the function that reports units done."""

    def __call__(
        self, total: int, description: str, initial: int = 0
    ) -> AbstractContextManager[Callable[..., Any]]: ...


@contextmanager
def no_progress(total: int, description: str, initial: int = 0) -> Iterator[Callable[..., Any]]:
    """Show nothing."""
    yield lambda *done: None


SHOWN = {
    "reward": "reward {:+.4f}",
    "_output": "score {:.2f}",
    "loss": "loss {:.6f}",
    "images_per_second": "{:.1f} img/s",
}
"""Keys of a training record, or their endings, that the bar shows."""


@contextmanager
def bar(total: int, description: str, initial: int = 0) -> Iterator[Callable[..., Any]]:
    """Show a bar of ``total`` units, ``initial`` of them done; yield the function that advances it.

    That function takes the number of units (default 1) and, optionally, a training record. Where
    standard error is not a terminal a line is written at most every 30 seconds.
    """
    terminal = sys.stderr.isatty()
    with tqdm(
        total=total,
        desc=description,
        initial=initial,
        dynamic_ncols=terminal,
        leave=None,  # a bar within another one disappears when it is full
        mininterval=0.2 if terminal else 30,
        file=sys.stderr,
    ) as shown:

        def advance(count: int = 1, record: dict[str, Any] | None = None) -> None:
            if record:
                values = (
                    text.format(value)
                    for ending, text in SHOWN.items()
                    for key, value in record.items()
                    if key == ending or (ending[0] == "_" and key.endswith(ending))
                )
                shown.set_postfix_str(", ".join(values), refresh=False)
            shown.update(count)

        yield advance
