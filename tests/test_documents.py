"""Documents: decoding, folders, and those that are made of words."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pixelrl_chainer.documents import (
    GENERATED,
    generated_documents,
    printable,
    read_documents,
)
from pixelrl_chainer.errors import DataError


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\tb\r\n\r\nc  \n", "a       b\n\nc"),
        ("naïve café".encode(), "naïve café"),
        ("naïve café".encode("latin-1"), "naïve café"),
        (b"\x00a\x07b\x9bc", "abc"),
        (b"\xff\xfe", "ÿþ"),
        (b"", ""),
    ],
)
def test_decoding_takes_any_bytes(data: bytes, text: str) -> None:
    assert printable(data) == text


def test_documents_of_a_folder_in_order_of_their_paths(tmp_path: Path) -> None:
    for name, text in (("b.txt", "two"), ("a/z.TXT", "one"), ("c.txt", " \n"), ("d.md", "no")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert read_documents(tmp_path, "train") == ("one", "two")


def test_a_folder_for_each_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "document.txt").write_text(split)
    assert read_documents(tmp_path, "train") == ("train",)
    assert read_documents(tmp_path, "test") == ("test",)


def test_a_folder_with_nothing_to_print(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no document with text in .* \(0 \.txt files there\)"):
        read_documents(tmp_path, "train")
    (tmp_path / "blank.txt").write_bytes(b"\x00 \n\t\n")
    with pytest.raises(DataError, match=r"\(1 \.txt files there\); put plain text"):
        read_documents(tmp_path, "train")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder .*nowhere; expected one with documents"):
        read_documents(tmp_path / "nowhere", "train")


def test_a_document_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.txt").write_text("text")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"secret\.txt cannot be read \(Permission denied\)"):
        read_documents(tmp_path, "train")


def test_generated_documents_are_the_same_everywhere() -> None:
    train, test = generated_documents("train"), generated_documents("test")
    assert (len(train), len(test)) == (GENERATED["train"], GENERATED["test"])
    assert not set(train) & set(test)
    digest = hashlib.sha256("\0".join((*train, *test)).encode("ascii")).hexdigest()
    assert digest.startswith("b7d311584f32062d")


def test_generated_documents_look_like_letters() -> None:
    lines = [line for document in generated_documents("train") for line in document.split("\n")]
    assert max(map(len, lines)) <= 72
    assert 20 < len(lines) / GENERATED["train"] < 40
    assert len({line.split()[0] for line in lines if line}) > 100
