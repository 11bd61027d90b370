"""What all tests share."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

# Workers of pytest-xdist share the cores; more threads would only wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import pytest

import pixelrl_chainer  # noqa: F401  before any test module imports chainer
from pixelrl_chainer.cli import add_commands

add_commands()

# A shell starts background jobs with Ctrl-C ignored, which the programs under test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of published weights and recorded results; tests that need it skip without it."""
    folder = Path(os.environ.get("PIXELRL_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no published weights and results in {folder} (set PIXELRL_SHARED)")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a headless Chromium; skip without it, or without playwright (extra browser)."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on the path")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked ``gpu`` where there is no GPU."""
    from pixelrl_chainer.backend import gpu_count

    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and gpu_count() == 0:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no GPU"))
