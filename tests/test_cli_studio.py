"""The command that opens the studio: what it says when it cannot."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from pixelrl_chainer.cli import cli
from pixelrl_chainer.errors import ConfigError, WeightsError


def studio(*arguments: str) -> None:
    cli.main(["studio", *arguments], standalone_mode=False)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'pixelrl-chainer\[studio\]'"):
        studio()


def test_a_port_that_is_taken_is_named() -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed (extra studio)")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} .*choose another --port"):
            studio("--port", str(port), "--device", "cpu")


def test_weights_are_checked_at_once(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed (extra studio)")
    with pytest.raises(WeightsError, match=r"none\.npz"):
        studio("--weights", str(tmp_path / "none.npz"))


def test_it_starts_and_ends_with_an_interrupt() -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed (extra studio)")
    command = [sys.executable, "-m", "pixelrl_chainer", "studio", "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        try:
            assert it.stdout is not None
            line = it.stdout.readline()
            url = line.split()[1]
            assert urllib.request.urlopen(url, timeout=30).read().startswith(b"<!doctype html>")
        finally:
            it.send_signal(2)
            _, errors = it.communicate(timeout=60)
        assert "Traceback" not in errors
        assert it.returncode in (0, 130)
