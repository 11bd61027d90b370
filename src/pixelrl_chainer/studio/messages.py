"""What requests to the studio may hold; anything else is refused."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ..errors import DataError
from .asking import Settings

MAX_REQUEST = 2**20
"""Largest request in bytes that is no image."""

MAX_POINTS = 2_000
"""Of a stroke; the page sends fewer, the wider the brush is."""


STRICT = ConfigDict(extra="forbid", strict=True)


class Message(BaseModel):
    """What a request may hold; anything else is an error."""

    model_config = STRICT


ASKED = TypeAdapter(Settings)
"""A run."""

Coordinate = Annotated[int, Field(ge=-(10**6), le=10**6)]


class Edited(Message):
    """One edit: see :class:`~pixelrl_chainer.painting.Painting`."""

    kind: str
    step: int = 0
    action: int = 0
    old: int = 0
    plane: int | None = None
    size: float = 1
    points: list[tuple[Coordinate, Coordinate]] = Field(default=[], max_length=MAX_POINTS)


class Pixel(Message):
    """A pixel of the image."""

    column: int
    row: int


async def received(request: Request, limit: int) -> bytes:
    """Return the body of a request; DataError as soon as it is larger than ``limit`` bytes."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > limit:
            raise DataError(f"expected at most {limit >> 20} MB, found more; use a smaller file")
    return bytes(data)
