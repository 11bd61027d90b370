"""The command that opens the studio: what it says when it cannot."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

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


def test_an_interrupt_ends_a_run_and_the_studio() -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed (extra studio)")
    command = [sys.executable, "-m", "pixelrl_chainer", "studio", "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        try:
            assert it.stdout is not None
            url = it.stdout.readline().split()[1]

            def ask(path: str, body: bytes = b"", name: str = "") -> Any:
                request = urllib.request.Request(
                    url + path, body, {"X-Session": name}, method="POST"
                )
                return urllib.request.urlopen(request, timeout=60)

            name = json.load(ask("api/session"))["session"]
            ask("api/sample?name=camera.png", name=name)
            asked = {"task": "denoise-gaussian", "degrade": True, "weights": "pretrained"}
            told = ask("api/run", json.dumps({**asked, "steps": 30}).encode(), name)
            assert json.loads(told.readline())["event"] == "begun"
            assert json.loads(told.readline())["step"] == 1
        finally:
            it.send_signal(signal.SIGINT)
        *_, last = [json.loads(line)["event"] for line in told]
        output, errors = it.communicate(timeout=60)
    assert (last, it.returncode, errors) == ("stopped", 0, "")
    assert output.endswith("studio: closed\n")
