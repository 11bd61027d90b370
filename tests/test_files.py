"""Atomic replacement of files, and JSON that every reader accepts."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from pixelrl_chainer.files import replace_atomically, to_json, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("existing", [False, True])
def test_replaces_when_the_body_succeeds(existing: bool, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "image.png"
    if existing:
        path.parent.mkdir(parents=True)
        path.write_text("old")
    with replace_atomically(path) as temporary:
        assert temporary.parent == path.parent  # a rename across file systems is a copy
        assert temporary.suffix == ".png"  # by which image writers choose the format
        assert temporary.name.startswith(".")
        temporary.write_text("new")
        assert path.exists() == existing
        if existing:
            assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(path.parent) == ["image.png"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_changes_nothing(
    existing: bool, error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    if existing:
        path.write_text("old")
    with pytest.raises(error), replace_atomically(path) as temporary:
        temporary.write_text("half")
        raise error
    assert names(tmp_path) == (["state.json"] if existing else [])
    if existing:
        assert path.read_text() == "old"


def test_a_failing_rename_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")

    def fail(*paths: object) -> None:
        raise OSError("simulated")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="simulated"):
        write_json(path, {"new": 1})
    assert names(tmp_path) == ["state.json"]
    assert path.read_text() == "old"


def test_a_body_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replace_atomically(path):
        pass
    assert path.read_text() == "old"


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    """One thread reads while another rewrites a large file: each reading is a whole version."""
    path = tmp_path / "state.json"
    versions = [{"version": version, "filler": ["x"] * 20_000} for version in range(2)]
    write_json(path, versions[0])
    done = threading.Event()

    def rewrite() -> None:
        for turn in range(20):
            write_json(path, versions[turn % 2])
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    readings = 0
    while not done.is_set() or readings == 0:
        assert json.loads(path.read_text()) in versions
        readings += 1
    writer.join()


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError):
        write_json(tmp_path / "file" / "state.json", {})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_pipes_and_devices_are_written_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    write_json(pipe, {"a": 1})
    reader.join(timeout=10)
    assert json.loads(received[0]) == {"a": 1}
    assert pipe.is_fifo()
    write_json(Path(os.devnull), {"a": 1})
    assert not Path(os.devnull).is_file()


def test_json_without_nan_and_infinity() -> None:
    data = {
        "numbers": [1, 2.5, float("nan"), float("inf"), -float("inf")],
        "nested": {"tuple": (np.float64("nan"), np.float64(0.25), True, None, "NaN")},
    }
    text = to_json(data)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "numbers": [1, 2.5, None, None, None],
        "nested": {"tuple": [None, 0.25, True, None, "NaN"]},
    }
    assert np.isnan(data["numbers"][2])  # the argument is left alone


def test_json_keeps_every_digit() -> None:
    values = [0.1, 1 / 3, 1e-300, 28.840512345678]
    assert json.loads(to_json(values)) == values


def test_json_refuses_what_it_cannot_express() -> None:
    with pytest.raises(TypeError):
        to_json({"array": np.zeros(3)})


def test_written_json_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"degrees": "±10°"})
    data = (tmp_path / "a.json").read_bytes()
    assert data.endswith(b"}\n")
    assert data.isascii()  # whatever the locale
    assert json.loads(data) == {"degrees": "±10°"}
