"""What the project says about itself in several places agrees."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from pixelrl_chainer import __version__

ROOT = Path(__file__).resolve().parents[1]
PINNED = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version_everywhere() -> None:
    assert re.search(r"^version: (\S+)$", read("CITATION.cff"), re.MULTILINE)[1] == __version__
    assert re.search(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)[1] == __version__


def test_one_build_constraint_everywhere() -> None:
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    assert lines == ["setuptools<81"]
    assert f'build-constraint-dependencies = ["{lines[0]}"]' in read("pyproject.toml")


@pytest.mark.parametrize("lock", ["requirements.lock", "uv.lock"])
def test_locks_name_no_private_place(lock: str) -> None:
    hosts = set(re.findall(r"\w+://([^/\"]*)", read(lock)))
    assert hosts <= {"pypi.org", "files.pythonhosted.org"}


def test_hash_lock_pins_every_direct_dependency() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = re.findall(r"^[\w-]+", setup["options"]["install_requires"], re.MULTILINE)
    pinned = dict(PINNED.findall(read("requirements.lock")))
    assert wanted and set(wanted) <= set(pinned)
    assert (pinned["chainer"], pinned["chainerrl"]) == ("7.8.1", "0.8.0")


def test_make_help_lists_every_target() -> None:
    targets = re.findall(r"^([a-z][\w-]*):", read("Makefile"), re.MULTILINE)
    shown = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = [line.split()[0] for line in shown.stdout.splitlines()[1:]]
    assert listed == targets
