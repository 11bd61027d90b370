"""All sessions that are open, and the one thread that computes for them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..backend import Device
from ..errors import PixelRLError
from .session import Session

MAX_SESSIONS = 8
"""Open sessions; one more closes that which was used least recently, rather an idle one."""

IDLE_SECONDS = 2 * 3600
"""A session that was not used for so long is closed when the next one opens."""


class SessionOver(PixelRLError):
    """A request names a session that is not open."""


class Studio:
    """What the requests of a server share.

    Parameters
    ----------
    given : sequence of pathlib.Path
        Networks that may be chosen besides those that are found.
    device : Device
    max_pixels : int
        Largest image.
    """

    def __init__(self, given: Sequence[Path], device: Device, max_pixels: int) -> None:
        self.given = tuple(given)
        self.device = device
        self.max_pixels = max_pixels
        self.worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="agents")
        self._sessions: dict[str, Session] = {}
        self._used: dict[str, float] = {}

    def open(self) -> str:
        """Open a session and return its secret name; idle ones are closed."""
        now = time.monotonic()
        idle = [name for name, used in self._used.items() if now - used > IDLE_SECONDS]
        by_age = sorted(
            self._used, key=lambda name: (self._sessions[name].turn.busy, self._used[name])
        )
        for name in {*idle, *by_age[: max(len(by_age) - MAX_SESSIONS + 1, 0)]}:
            self.close(name)
        name = secrets.token_urlsafe(24)
        self._sessions[name] = Session(self.given, self.device)
        self._used[name] = now
        return name

    def find(self, name: str) -> Session:
        """Return an open session.

        Raises
        ------
        SessionOver
            If there is none of this name.
        """
        if name not in self._sessions:
            raise SessionOver("this session is over: reload the page to begin another")
        self._used[name] = time.monotonic()
        return self._sessions[name]

    def close(self, name: str) -> None:
        """Stop and forget a session with all its images."""
        session = self._sessions.pop(name, None)
        self._used.pop(name, None)
        if session is not None:
            session.turn.close()

    def stop_all(self) -> None:
        """Ask all runs to end, also those that still begin."""
        for session in list(self._sessions.values()):
            session.turn.close()

    def close_all(self) -> None:
        """Stop everything; called when the server ends."""
        for name in list(self._sessions):
            self.close(name)
        self.worker.shutdown(cancel_futures=True)
