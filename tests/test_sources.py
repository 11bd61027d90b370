"""Checksums, search places and downloads, against a server on this machine."""

from __future__ import annotations

import hashlib
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pixelrl_chainer import sources
from pixelrl_chainer.checks import check
from pixelrl_chainer.errors import DataError

FILES = {"a.bin": b"first" * 40, "sub/b.bin": b"second" * 40, "sub/c.bin": b"third" * 40}


class Server:
    """A small web server that counts requests and can be told to misbehave."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.cut: set[str] = set()
        self.content = dict(FILES)
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                server.requests.append(name)
                if name not in server.content:
                    return self.send_error(404)
                data = server.content[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[:10] if name in server.cut else data)

            def log_message(self, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The set "tiny" of three files, served from 127.0.0.1 without waiting between retries."""
    server = Server()
    use_tiny_set(server.url, monkeypatch)
    yield server
    server.http.shutdown()
    server.http.server_close()


def use_tiny_set(url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sources.Source("tiny", url, lambda: sources.user_places("tiny"), "copy a.bin there")
    monkeypatch.setitem(sources.SOURCES, "tiny", source)
    registered = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    monkeypatch.setattr(sources, "checksums", lambda name: registered)
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def files_below(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_fetch_downloads_once(server: Server, tmp_path: Path) -> None:
    assert sources.fetch("tiny", tmp_path, progress=False) == tmp_path
    assert files_below(tmp_path) == FILES
    assert check("tiny", tmp_path).ok
    server.requests.clear()
    sources.fetch("tiny", tmp_path, progress=False)
    assert server.requests == []


def test_interrupted_fetch_goes_on(server: Server, tmp_path: Path) -> None:
    server.cut = {"sub/b.bin"}
    with pytest.raises(DataError, match=r"sub/b.bin .*run the command again.*copy a.bin") as error:
        sources.fetch("tiny", tmp_path, progress=False, retries=1)
    assert "\n" not in str(error.value)
    assert server.requests == ["a.bin", "sub/b.bin", "sub/b.bin"]
    assert files_below(tmp_path) == {"a.bin": FILES["a.bin"]}, "a partial file was left"
    server.cut.clear()
    server.requests.clear()
    sources.fetch("tiny", tmp_path, progress=False)
    assert server.requests == ["sub/b.bin", "sub/c.bin"]
    assert files_below(tmp_path) == FILES


def test_fetch_replaces_damaged_files(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"damaged")
    sources.fetch("tiny", tmp_path, progress=False)
    assert files_below(tmp_path) == FILES


def test_fetch_refuses_other_content(server: Server, tmp_path: Path) -> None:
    server.content["a.bin"] = b"something else"
    with pytest.raises(DataError, match="does not have the registered SHA-256") as error:
        sources.fetch("tiny", tmp_path, progress=False)
    assert "\n" not in str(error.value)
    assert len(server.requests) == 3, "a wrong file is tried again twice"
    assert files_below(tmp_path) == {}


def test_fetch_of_a_file_that_moved(server: Server, tmp_path: Path) -> None:
    del server.content["a.bin"]
    with pytest.raises(DataError, match=r"a.bin .*HTTPError"):
        sources.fetch("tiny", tmp_path, progress=False, retries=0)


def test_fetch_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    use_tiny_set(url, monkeypatch)
    with pytest.raises(DataError, match=r"ConnectionError.*or copy a.bin there") as error:
        sources.fetch("tiny", tmp_path, progress=False)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_fetch_into_a_place_that_is_no_folder(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot fetch") as error:
        sources.fetch("tiny", tmp_path / "file" / "tiny", progress=False)
    assert "\n" not in str(error.value)


def test_fetch_of_what_cannot_be_fetched() -> None:
    with pytest.raises(DataError, match="cannot be downloaded; reinstall scikit-image"):
        sources.fetch("bundled")
    with pytest.raises(DataError, match="'unknown'; expected one of bundled, bsd68, official"):
        sources.fetch("unknown")


def test_fetch_destination(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("PIXELRL_DATA", raising=False)
    cached = sources.fetch("tiny", progress=False)
    assert cached == tmp_path / "cache" / "pixelrl_chainer" / "tiny"
    monkeypatch.setenv("PIXELRL_DATA", str(tmp_path / "own"))
    assert sources.fetch("Tiny", progress=False) == tmp_path / "own" / "tiny"


@pytest.mark.parametrize(
    ("name", "count", "example"),
    [
        ("bundled", 12, "chelsea.png"),
        ("bsd68", 500, "train/100007.jpg"),
        ("official-weights", 12, "denoise_with_convGRU/model/pretrained_25.npz"),
        ("extra-weights", 2, "saltpepper_50_convGRU.npz"),
        ("bsd68-text", 68, "test_text/101085.jpg"),
        ("newsgroups", 520, "train/alt.atheism.51060.txt"),
        ("text-masks", 1500, "0.png"),
        ("fonts", 8, "LiberationSerif-BoldItalic.ttf"),
        ("color-foreground-popout", 230, "train/target/10656328515_670c22a79a_z.webp"),
        ("saliency", 120, "masks/0060.png"),
    ],
)
def test_registries(name: str, count: int, example: str) -> None:
    registered = sources.checksums(name)
    assert len(registered) == count
    assert example in registered
    assert all(len(digest) == 64 and int(digest, 16) for digest in registered.values())


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("bsd68", "data/bsd68"),
        ("official-weights", "weights/official"),
        ("extra-weights", "weights/official"),
        ("bsd68-text", "data/bsd68"),
    ],
)
def test_registered_checksums_are_those_of_the_files(shared: Path, name: str, folder: str) -> None:
    report = check(name, shared / folder)
    assert report.ok
    assert report.good == len(sources.checksums(name))


def test_check_names_missing_and_wrong_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_set(None, monkeypatch)
    (tmp_path / "a.bin").write_bytes(FILES["a.bin"])
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.bin").write_bytes(b"damaged")
    report = check("tiny", tmp_path)
    assert (report.good, report.missing, report.wrong) == (1, ("sub/c.bin",), ("sub/b.bin",))
    assert not report.ok
    expected = f"tiny in {tmp_path}: 1 good, 1 missing (sub/c.bin), 1 wrong (sub/b.bin)"
    assert str(report) == expected


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setenv("PIXELRL_DATA", str(tmp_path / "own"))
    monkeypatch.chdir(tmp_path)
    own, here, cache = sources.places("bsd68")
    assert (own, here, cache) == (
        tmp_path / "own" / "bsd68",
        Path("data/bsd68"),
        tmp_path / "cache" / "bsd68",
    )
    assert sources.find("bsd68") is None
    with pytest.raises(DataError, match="run 'pixelrl-chainer data fetch bsd68'"):
        check("bsd68")
    for place in (cache, here, own):
        (place / "test").mkdir(parents=True)
        (place / "test" / "101085.jpg").touch()
        assert sources.find("bsd68") == place
    assert sources.available()["bsd68"] == own
    shutil.rmtree(own)
    monkeypatch.delenv("PIXELRL_DATA")
    assert sources.places("bsd68") == [here, cache]


def test_data_card_states_the_checksums_of_the_registries() -> None:
    card = (Path(__file__).parents[1] / "data" / "README.md").read_text(encoding="utf-8")
    folder = Path(sources.__file__).parent / "registry"
    for name in sources.SOURCES:
        row = f"| `{name}` | – | none | – |"
        if (file := folder / f"{name}.txt").is_file():
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            row = f"| `{name}` | {len(sources.checksums(name))} | `{name}.txt` | `{digest}` |"
        assert row in card


def test_every_registry_belongs_to_a_set() -> None:
    names = {file.stem for file in (Path(sources.__file__).parent / "registry").glob("*.txt")}
    assert names <= sources.SOURCES.keys()
    without = sources.SOURCES.keys() - names
    assert not any(sources.SOURCES[name].exact for name in without)
    assert without == {"color-local-xpro", "color-watercolor", "waterloo"}
