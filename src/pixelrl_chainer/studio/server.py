"""The studio's web server: JSON over HTTP, where every request names the session it belongs to."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ..backend import CPU, Device
from ..errors import ConfigError, PixelRLError
from ..task import Task
from ..tasks import TASKS
from ..viz.page import page, page_data, picture, png, png_bytes
from ..viz.palette import colors
from . import uploads
from .asking import Settings, networks
from .messages import MAX_REQUEST, Asked, Edited, Pixel, received
from .running import run_events
from .session import Session
from .sessions import Studio

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")

FILES = {
    "/": ("studio", "static/studio.html", "text/html"),
    "/studio.css": ("studio", "static/studio.css", "text/css"),
    "/studio.js": ("studio", "static/studio.js", "text/javascript"),
    "/viewer.css": ("viz", "viewer/viewer.css", "text/css"),
    "/viewer.js": ("viz", "viewer/viewer.js", "text/javascript"),
}
"""Path of a page -> package, file and type; nothing else is served from the disk."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter()


def studio_of(request: Request) -> Studio:
    """Return the studio of a server."""
    found: Studio = request.app.state.studio
    return found


def session_of(request: Request, x_session: Annotated[str, Header()] = "") -> Session:
    """Return the session that the header X-Session names."""
    return studio_of(request).find(x_session)


def idle_session(session: Annotated[Session, Depends(session_of)]) -> Session:
    """Return the session, unless the agents are at work on it."""
    if session.busy:
        raise ConfigError("the agents are at work: wait for them, or stop them")
    return session


Open = Annotated[Session, Depends(session_of)]
Idle = Annotated[Session, Depends(idle_session)]


def _describe(task: Task) -> dict[str, Any]:
    looks = zip(task.action_set.actions, colors(task.action_set.names), strict=True)
    return {
        "name": task.name,
        "title": task.title,
        "steps": task.steps,
        "level_name": task.level_name,
        "level": task.level if isinstance(task.level, float) else None,
        "degrades": task.degrade is not None,
        "needs_mask": task.observes_target,
        "needs_colour": task.image_channels == 3,
        "actions": [
            {"name": action.name, "label": action.label, "color": color} for action, color in looks
        ],
    }


@router.get("/api/options")
def options(request: Request) -> Any:
    """Tell what can be chosen."""
    limits = {"bytes": uploads.MAX_BYTES, "pixels": studio_of(request).max_pixels}
    return {
        "tasks": [_describe(task) for task in TASKS.values()],
        "samples": list(uploads.samples()),
        "limits": limits,
    }


@router.get("/api/networks")
def fitting_networks(request: Request, task: str, level: float | None = None) -> Any:
    """Name the networks that fit a task."""
    return list(networks(Settings(task, level).config(), studio_of(request).given))


@router.post("/api/session")
def open_session(request: Request) -> Any:
    """Open a session."""
    return {"session": studio_of(request).open()}


@router.delete("/api/session")
def close_session(request: Request, x_session: Annotated[str, Header()] = "") -> Any:
    """Close a session and forget what was in it."""
    studio_of(request).close(x_session)
    return {}


@router.post("/api/image")
async def open_image(request: Request, session: Idle, name: str = "image") -> Any:
    """Take the body for the image to work on."""
    data = await received(request, uploads.MAX_BYTES)
    session.open(uploads.accept(name, data, studio_of(request).max_pixels))
    return {"name": uploads.safe_name(name)}


@router.post("/api/target")
async def open_target(request: Request, session: Idle, name: str = "target") -> Any:
    """Take the body for the target; an empty body takes the target away."""
    data = await received(request, uploads.MAX_BYTES)
    limit = studio_of(request).max_pixels
    session.target = uploads.accept(name, data, limit) if data else None
    return {}


@router.post("/api/sample")
def open_sample(session: Idle, name: str) -> Any:
    """Open a bundled photograph."""
    session.open(uploads.sample(name))
    return {"name": name}


@router.post("/api/run")
async def run(request: Request, session: Idle) -> Response:
    """Run the agents; one JSON line an event, see :mod:`.running`."""
    asked = Asked.model_validate_json(await received(request, MAX_REQUEST))
    settings = Settings(**{**asked.model_dump(), "forbidden": tuple(asked.forbidden)})
    settings.config()  # what is wrong with it is said before anything begins
    events = run_events(session, settings, studio_of(request).worker)
    return StreamingResponse(events, media_type="application/x-ndjson")


@router.post("/api/stop")
def stop(session: Open) -> Any:
    """End the run that is going on."""
    session.stop()
    return {}


@router.post("/api/edit")
async def edit(request: Request, session: Idle) -> Any:
    """Paint, replace, free a step, undo or redo; return what changed."""
    asked = Edited.model_validate_json(await received(request, MAX_REQUEST))
    step = session.edit(**{**asked.model_dump(), "points": [(p[0], p[1]) for p in asked.points]})
    return _edited(session, step)


def _edited(session: Session, step: int | None) -> dict[str, Any]:
    painting = session.painting
    answer: dict[str, Any] = {
        "painted": {} if painting is None else painting.counts(),
        "undo": painting is not None and painting.can_undo,
        "redo": painting is not None and painting.can_redo,
    }
    if step is not None:
        maps = session.action_maps(step)
        answer["step"] = step
        answer["maps"] = [png(plane, noisy=True) for plane in maps]
        answer["counts"] = session.counts(maps)
    return answer


@router.post("/api/pixel")
async def pixel(request: Request, session: Idle) -> Any:
    """Return all probabilities at a pixel: step, plane, action."""
    asked = Pixel.model_validate_json(await received(request, MAX_REQUEST))
    return {"probabilities": session.probabilities(asked.column, asked.row)}


@router.get("/api/export/{kind}")
def export(session: Idle, kind: str) -> Response:
    """Return the result (png), the action maps as painted (npz), or the report (html)."""
    found = session.found
    if found is None or kind not in ("png", "npz", "html"):
        raise ConfigError(f"nothing to save as {kind!r}: run the agents, then png, npz or html")
    if kind == "png":
        return Response(png_bytes(picture(found.states[-1])), media_type="image/png")
    if kind == "html":
        return Response(page(page_data(found, session.facts)), media_type="text/html")
    with tempfile.TemporaryDirectory(prefix="pixelrl-") as folder:
        path = Path(folder) / "maps.npz"
        session.write_maps(path)
        return Response(path.read_bytes(), media_type="application/octet-stream")


def _serve(path: str) -> Response:
    package, file, kind = FILES[path]
    folder = resources.files(__package__.rpartition(".")[0]) / package
    return Response((folder / file).read_bytes(), media_type=kind)


def _refuse(request: Request, error: Exception) -> Response:
    """Say in one line what is wrong."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "request"
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 400)
    return JSONResponse({"error": str(error)}, 404 if isinstance(error, LookupError) else 400)


def create_app(
    given: Sequence[Path] = (),
    device: Device = CPU,
    *,
    max_pixels: int = uploads.MAX_PIXELS,
    hosts: Sequence[str] = LOCAL_HOSTS,
) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    given : sequence of pathlib.Path
        Networks that may be chosen besides those that are found.
    device : Device
    max_pixels : int
        Largest image.
    hosts : sequence of str
        Names under which it may be reached; "*" allows all. Others are refused, because a foreign
        page could take one and so speak to a server on this machine.
    """
    studio = Studio(given, device, max_pixels)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        studio.close_all()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.studio = studio
    app.include_router(router)
    for path in FILES:
        app.add_api_route(path, partial(_serve, path), methods=["GET"])
    for kind in (PixelRLError, ValidationError, LookupError):
        app.add_exception_handler(kind, _refuse)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))

    @app.middleware("http")
    async def secure(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    return app
