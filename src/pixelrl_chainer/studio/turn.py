"""Who may work on a session: one run at a time, and no edits meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConfigError


class Turn:
    """Whether agents are at work on a session, and whether they should end; for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop: threading.Event | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether a run is going on, or waits for its turn."""
        return self._stop is not None

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Keep runs from beginning within the context; ConfigError while one is going on."""
        with self._lock:
            if self._stop is not None:
                raise ConfigError("the agents are at work: wait for them, or stop them")
            yield

    def begin(self) -> threading.Event:
        """Begin a run; the event asks it to end. ConfigError while another is going on."""
        with self.idle():
            self._stop = threading.Event()
            if self._closed:
                self._stop.set()
            return self._stop

    def end(self) -> None:
        """Say that the run has ended."""
        self._stop = None

    def stop(self) -> None:
        """Ask the run that is going on to end."""
        stop = self._stop
        if stop is not None:
            stop.set()

    def close(self) -> None:
        """Ask the run that is going on, and any that still begins, to end."""
        self._closed = True
        self.stop()
