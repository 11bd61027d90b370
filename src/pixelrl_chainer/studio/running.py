"""Runs of the studio, told event by event while they happen."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..backend import Array
from ..errors import PixelRLError
from ..viz.page import page_data, picture, png
from .asking import Settings
from .session import Session
from .watching import Stopped

logger = logging.getLogger(__name__)

Tell = Callable[[dict[str, Any] | None], Any]
"""Takes an event; None is the last."""


async def run_events(
    session: Session, settings: Settings, worker: ThreadPoolExecutor
) -> AsyncIterator[str]:
    """Run the agents on the worker; yield what happens as JSON lines.

    ``event`` is "waiting" (others are at work), "step" (with ``step``, ``steps``, ``state`` and
    ``maps`` as PNG), "tiles" (``done``, ``total``, ``seconds_left``), and at last "done" (``data``
    as in a report, ``change``, ``seconds``), "stopped" or "error". The run ends if nobody listens.
    """
    loop, events = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None]()

    def tell(event: dict[str, Any] | None) -> None:
        loop.call_soon_threadsafe(events.put_nowait, event)

    session.busy = True
    job = worker.submit(_work, session, settings, tell)
    try:
        if not job.running():
            yield _line({"event": "waiting"})
        while (event := await events.get()) is not None:
            yield _line(event)
    finally:
        session.stop()
        if job.cancel():
            session.busy = False


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, allow_nan=False) + "\n"


def _work(session: Session, settings: Settings, tell: Tell) -> None:
    """Run, and tell how it went, whatever happens."""
    try:
        tell(_run(session, settings, tell))
    except Stopped:
        tell({"event": "stopped"})
    except PixelRLError as error:
        tell({"event": "error", "error": str(error)})
    except MemoryError:
        tell({"event": "error", "error": "out of memory: use a smaller image or fewer steps"})
    except Exception:
        logger.exception("the run failed")
        tell({"event": "error", "error": "the run failed; the terminal of the studio says why"})
    finally:
        session.busy = False
        tell(None)


def _run(session: Session, settings: Settings, tell: Tell) -> dict[str, Any]:
    begin = time.perf_counter()
    reporter = Reporter(tell)
    found = session.run(settings, reporter.step, reporter.tiles)
    change = session.change
    return {
        "event": "done",
        "data": page_data(found, session.facts),
        "painted": session.painting.counts() if session.painting else {},
        "change": None if change is None else change._asdict(),
        "seconds": time.perf_counter() - begin,
    }


class Reporter:
    """Turns steps and tiles into events, which it tells."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.tiled = False

    def step(self, step: int, images: Array, action_maps: Array) -> None:
        """Tell that a step is done; see :data:`.watching.Watch`."""
        if self.tiled:
            return  # what is done there is a part of the image
        planes = images[:, 0] if images.shape[1] == 1 else images[0]
        self.tell(
            {
                "event": "step",
                "step": step,
                "state": png(picture(planes)),
                "maps": [png(plane.astype(np.uint8), noisy=True) for plane in action_maps],
            }
        )

    @contextmanager
    def tiles(self, total: int, description: str, initial: int = 0) -> Iterator[Callable[..., Any]]:
        """Tell how many steps of tiles are done; a :class:`.progress.Progress`."""
        begin, done = time.perf_counter(), initial
        self.tiled = True

        def advance(count: int = 1) -> None:
            nonlocal done
            done += count
            left = (time.perf_counter() - begin) / done * (total - done)
            self.tell({"event": "tiles", "done": done, "total": total, "seconds_left": left})

        yield advance
