"""The command that opens the studio."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

import click

from .cli import PATH, cli
from .errors import ConfigError

NEEDS = ("fastapi", "uvicorn")

LOCAL = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")


@cli.command("studio")
@click.option(
    "--weights",
    type=PATH,
    multiple=True,
    help="Networks to choose from, too: files or folders; repeatable.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--max-side",
    type=click.IntRange(16, 10_000),
    default=2000,
    show_default=True,
    help="Largest image in pixels, as the side of a square.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open it in the web browser.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, gpu or gpu:N.")
def studio_command(
    weights: tuple[Path, ...],
    host: str,
    port: int,
    max_side: int,
    open_browser: bool,
    device: str,
) -> None:
    """Watch the agents in a web browser, paint over what they do, and see what changes."""
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the studio needs {' and '.join(missing)}: install the extra with "
            "pip install 'pixelrl-chainer[studio]'"
        )
    import webbrowser

    from .backend import select_device
    from .rl_restore.evaluate import find_weights
    from .rl_restore.weights import AGENT
    from .studio.server import LOCAL_HOSTS, create_app
    from .studio.serving import serve
    from .weights import load_network

    for path in weights:
        if not (find_weights(path)[0] / AGENT).is_file():
            load_network(path)
    hosts = ("*",) if host in EVERYWHERE else (*LOCAL_HOSTS, f"[{host}]" if ":" in host else host)
    app = create_app(weights, select_device(device), max_pixels=max_side**2, hosts=hosts)
    with _listen(host, port) as listener:
        url = _url(host, listener.getsockname()[1])
        click.echo(f"studio: {url} (Ctrl-C ends it)")
        if host not in LOCAL:
            click.echo("everybody who can reach this address can use it; there is no password")
        if open_browser:
            webbrowser.open(url)
        serve(app, listener)
    click.echo("studio: closed")


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _listen(host: str, port: int) -> socket.socket:
    """Take the port; ConfigError if that is not possible."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # who is quicker than the server waits for it
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}, port {port} ({error.strerror}); choose another --port, or 0 "
            "for any that is free"
        ) from error
    return listener
