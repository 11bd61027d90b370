"""Runs of the studio, told event by event while they happen."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..backend import Array, to_numpy
from ..errors import PixelRLError
from ..rl_restore.evaluate import TASK as TOOLCHAINS
from ..tasks import make_task
from ..viz.page import picture, png
from .asking import Settings
from .session import Session

logger = logging.getLogger(__name__)

WAITING_SECONDS = 0.3
"""A run that has not begun after this time waits for those of others."""


class Stopped(Exception):
    """Somebody wants the run to end."""


class Run:
    """A run that is going on in a thread, and the events that tell of it.

    ``event`` is "waiting" (others are at work), "begun", "step" (with ``step``, ``steps``, and
    ``state`` and ``maps`` as PNG), "parts" (``done``, ``total``, ``seconds_left``), and at last
    "done" (``data`` as in a report, ``painted``, ``undo``, ``redo``, ``change``, ``seconds``),
    "stopped" or "error".

    Parameters
    ----------
    session : Session
    settings : Settings
    worker : ThreadPoolExecutor

    Raises
    ------
    ConfigError
        If the session has another run, or something in the settings is wrong.
    """

    def __init__(self, session: Session, settings: Settings, worker: ThreadPoolExecutor) -> None:
        self._session, self._settings = session, settings
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._steps = 0 if settings.task == TOOLCHAINS else make_task(settings.config()).steps
        self._tiled = False
        self._stop = session.turn.begin()
        self._job: Future[None] = worker.submit(self._work)

    async def events(self) -> AsyncIterator[str]:
        """Yield what happens as lines of JSON; the run ends if nobody listens any more."""
        try:
            first = asyncio.create_task(self._lines.get())
            done, _ = await asyncio.wait([first], timeout=WAITING_SECONDS)
            if not done:
                yield json.dumps({"event": "waiting"}) + "\n"
            line = await first
            while line is not None:
                yield line
                line = await self._lines.get()
        finally:
            self._stop.set()
            if self._job.cancel():
                self._session.turn.end()

    def _tell(self, event: dict[str, Any]) -> None:
        self._put(json.dumps(event, allow_nan=False) + "\n")

    def _put(self, line: str | None) -> None:
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line)

    def _work(self) -> None:
        """Run, and tell how it went, whatever happens."""
        try:
            self._check()
            self._tell({"event": "begun"})
            self._tell(self._run())
        except Stopped:
            self._tell({"event": "stopped"})
        except PixelRLError as error:
            self._tell({"event": "error", "error": str(error)})
        except MemoryError:
            said = "out of memory: use a smaller image or fewer steps"
            self._tell({"event": "error", "error": said})
        except Exception:
            logger.exception("the run failed")
            said = "the run failed; the terminal of the studio says why"
            self._tell({"event": "error", "error": said})
        finally:
            self._session.turn.end()
            self._put(None)

    def _run(self) -> dict[str, Any]:
        begin, work = time.perf_counter(), self._session.work(self._settings)
        work.run(self._settings, self._step, self._parts)
        self._session.last = work
        change, painting = work.change, work.painting
        return {
            "event": "done",
            "data": work.page(),
            "painted": {} if painting is None else painting.counts(),
            "undo": painting is not None and painting.can_undo,
            "redo": painting is not None and painting.can_redo,
            "change": None if change is None else change._asdict(),
            "seconds": time.perf_counter() - begin,
        }

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _step(self, step: int, images: Array, action_maps: Array) -> None:
        """Tell that a step is done; see :data:`.watching.Watch`."""
        self._check()
        if self._tiled:
            return  # what is done there is a part of the image
        states, actions = to_numpy(images), to_numpy(action_maps).astype(np.uint8)
        self._tell(
            {
                "event": "step",
                "step": step,
                "steps": self._steps,
                "state": png(picture(states[:, 0] if states.shape[1] == 1 else states[0])),
                "maps": [png(plane, noisy=True) for plane in actions],
            }
        )

    @contextmanager
    def _parts(
        self, total: int, description: str, initial: int = 0
    ) -> Iterator[Callable[..., Any]]:
        """Tell how many parts are done: steps of tiles, of toolchains; a :class:`.Progress`."""
        begin, done = time.perf_counter(), initial
        self._tiled = True

        def advance(count: int = 1) -> None:
            nonlocal done
            self._check()
            done += count
            left = (time.perf_counter() - begin) / done * (total - done)
            self._tell({"event": "parts", "done": done, "total": total, "seconds_left": left})

        yield advance
