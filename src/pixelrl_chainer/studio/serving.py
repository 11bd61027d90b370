"""Running the studio's web server until somebody ends it."""

from __future__ import annotations

import socket
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

PATIENCE = 30
"""Seconds that answers may take to end after an interrupt; another interrupt does not wait."""


class Server(uvicorn.Server):
    """A server that, when it is interrupted, ends the runs for whose answers it then waits."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self.config.app.state.studio.stop_all()  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Answer requests until an interrupt."""
    config = uvicorn.Config(
        app, log_level="warning", lifespan="on", timeout_graceful_shutdown=PATIENCE
    )
    with suppress(KeyboardInterrupt):  # which uvicorn raises again at last
        Server(config).run(sockets=[listener])
