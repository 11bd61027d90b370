"""The studio's web server: JSON over HTTP, where every request names the session it belongs to."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ..backend import CPU, Device
from ..errors import ConfigError, PixelRLError
from ..rl_restore.evaluate import TASK as TOOLCHAINS
from ..task import Task
from ..tasks import TASKS
from ..viz.page import page, png, png_bytes
from ..viz.palette import colors
from . import toolchains, uploads
from .asking import Settings, networks
from .messages import ASKED, MAX_REQUEST, Edited, Pixel, received
from .running import Run
from .session import Session
from .sessions import SessionOver, Studio

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


Open = Annotated[Session, Depends(session_of)]


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
        "chain": False,
        "actions": [
            {"name": action.name, "label": action.label, "color": color} for action, color in looks
        ],
    }


@router.get("/api/options")
def options() -> Any:
    """Tell what can be chosen."""
    tasks = [*(_describe(task) for task in TASKS.values()), toolchains.description()]
    return {"tasks": tasks, "samples": uploads.samples(), "max_bytes": uploads.MAX_BYTES}


@router.get("/api/networks")
def fitting_networks(request: Request, task: str, level: float | None = None) -> Any:
    """Name the networks that fit a task, and the actions of those that have others than it."""
    given = studio_of(request).given
    if task != TOOLCHAINS:
        return [{"name": name} for name in networks(Settings(task, level).config(), given)]
    return [
        {"name": name, "actions": toolchains.actions_of(folder)}
        for name, folder in toolchains.folders(given).items()
    ]


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
async def open_image(request: Request, session: Open, name: str = "image") -> Any:
    """Take the body for the image to work on."""
    data = await received(request, uploads.MAX_BYTES)
    image = uploads.accept(name, data, studio_of(request).max_pixels)
    with session.turn.idle():
        session.open(image)
    return {"name": image.name}


@router.post("/api/target")
async def open_target(request: Request, session: Open, name: str = "target") -> Any:
    """Take the body for the target; an empty body takes the target away."""
    data = await received(request, uploads.MAX_BYTES)
    limit = studio_of(request).max_pixels
    target = uploads.accept(name, data, limit) if data else None
    with session.turn.idle():
        session.target = target
    return {}


@router.post("/api/sample")
def open_sample(session: Open, name: str) -> Any:
    """Open a bundled photograph."""
    image = uploads.sample(name)
    with session.turn.idle():
        session.open(image)
    return {"name": name}


@router.post("/api/run")
async def run(request: Request, session: Open) -> Response:
    """Run the agents; one JSON line an event, see :mod:`.running`."""
    settings = ASKED.validate_json(await received(request, MAX_REQUEST))
    running = Run(session, settings, studio_of(request).worker)
    return StreamingResponse(running.events(), media_type="application/x-ndjson")


@router.post("/api/stop")
def stop(session: Open) -> Any:
    """End the run that is going on."""
    session.turn.stop()
    return {}


@router.post("/api/edit")
async def edit(request: Request, session: Open) -> Any:
    """Paint, replace, free a step, undo or redo; return what changed."""
    asked = Edited.model_validate_json(await received(request, MAX_REQUEST))
    return await run_in_threadpool(_edit, session, asked)


def _edit(session: Session, asked: Edited) -> dict[str, Any]:
    with session.turn.idle():
        step = session.edit(**dict(asked))
        painting = session.painting
        answer: dict[str, Any] = {
            "painted": {} if painting is None else painting.counts(),
            "undo": painting is not None and painting.can_undo,
            "redo": painting is not None and painting.can_redo,
        }
        if step is not None and session.has_step(step):
            maps = session.action_maps(step)
            answer["step"] = step
            answer["maps"] = [png(plane, noisy=True) for plane in maps]
            answer["counts"] = session.counts(maps)
    return answer


@router.post("/api/pixel")
async def pixel(request: Request, session: Open) -> Any:
    """Return all probabilities at a pixel: step, plane, action."""
    asked = Pixel.model_validate_json(await received(request, MAX_REQUEST))
    with session.turn.idle():
        return {"probabilities": session.probabilities(asked.column, asked.row)}


@router.get("/api/export/{kind}")
def export(session: Open, kind: str) -> Response:
    """Return the result (png), the action maps as painted (npz), or the report (html)."""
    with session.turn.idle():
        return _export(session, kind)


def _export(session: Session, kind: str) -> Response:
    last = session.last
    if kind == "png":
        return Response(png_bytes(last.picture()), media_type="image/png")
    if kind == "html":
        return Response(page(last.page()), media_type="text/html")
    if kind != "npz":
        raise ConfigError(f"nothing can be saved as {kind!r}: expected png, npz or html")
    with tempfile.TemporaryDirectory(prefix="pixelrl-") as folder:
        path = Path(folder) / "maps.npz"
        last.save(path)
        return Response(path.read_bytes(), media_type="application/octet-stream")


def _serve(path: str) -> Response:
    package, file, kind = FILES[path]
    folder = resources.files(__package__.rpartition(".")[0]) / package
    return Response((folder / file).read_bytes(), media_type=kind)


def _refuse(request: Request, error: Exception) -> Response:
    """Say in one line what is wrong."""
    if isinstance(error, ValidationError | RequestValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "request"
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 400)
    return JSONResponse({"error": str(error)}, 404 if isinstance(error, SessionOver) else 400)


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
    for kind in (PixelRLError, ValidationError, RequestValidationError):
        app.add_exception_handler(kind, _refuse)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))

    @app.middleware("http")
    async def secure(request: Request, call_next: Any) -> Any:
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            return JSONResponse({"error": "only the studio's own page may ask"}, 403)
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    return app
