"""Image files: what is read, what is written, and what is said when that fails."""

from __future__ import annotations

import errno
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pixelrl_chainer import images
from pixelrl_chainer.errors import DataError


def photograph(channels: int = 3) -> np.ndarray:
    """A smooth colour or gray image of 40×60 pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, channels), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2).reshape(40, 60, channels)


def encode(ending: str, image: np.ndarray, *options: int) -> bytes:
    success, data = cv2.imencode(ending, image, options)
    assert success
    return data.tobytes()


def save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def one_line(error: pytest.ExceptionInfo[DataError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


FILES = {
    "gray.png": encode(".png", photograph(1)),
    "colour.png": encode(".png", photograph()),
    "alpha.png": encode(".png", photograph(4)),
    "16bit.png": encode(".png", photograph(1).astype(np.uint16) * 257 + 13),
    "colour.jpg": encode(".jpg", photograph()),
    "gray.jpg": encode(".jpg", photograph(1)),
    "progressive.jpg": encode(".jpg", photograph(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "colour.bmp": encode(".bmp", photograph()),
    "colour.tif": encode(".tif", photograph()),
    "colour.webp": encode(".webp", photograph()),
    "gray.pgm": encode(".pgm", photograph(1)),
}


@pytest.mark.parametrize("name", FILES)
def test_read_gray_is_what_the_published_code_reads(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, FILES[name])
    image = images.read_gray(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, cv2.imread(str(path), 0))


def test_read_gray_of_bsd68(shared: Path) -> None:
    for path in images.list_images(shared / "data/bsd68/test"):
        np.testing.assert_array_equal(images.read_gray(path), cv2.imread(str(path), 0))


@pytest.mark.parametrize("name", FILES)
def test_read_image_keeps_the_colour(tmp_path: Path, name: str) -> None:
    image = images.read_image(save(tmp_path / name, FILES[name]))
    is_gray = name.split(".")[0] in ("gray", "16bit")
    assert image.dtype == np.uint8
    assert image.shape == ((40, 60) if is_gray else (40, 60, 3))
    if name == "colour.png":
        np.testing.assert_array_equal(image, photograph())


@pytest.mark.parametrize("cut", [1, 10, 400])
@pytest.mark.parametrize("name", FILES)
def test_truncated_file(tmp_path: Path, name: str, cut: int) -> None:
    path = save(tmp_path / name, FILES[name][:-cut])
    with pytest.raises(DataError, match="not a whole image") as error:
        images.read_gray(path)
    assert str(path) in one_line(error)


def test_truncated_jpeg_with_whole_thumbnail(tmp_path: Path) -> None:
    photo, thumbnail = FILES["colour.jpg"], FILES["gray.jpg"]
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = photo[:2] + segment + photo[2:]
    expected = images.read_gray(save(tmp_path / "plain.jpg", photo))
    # Cameras append other data, for example a film, after the end of the photograph.
    for data in (whole, whole + bytes(100), whole + b"\xff\xda film"):
        np.testing.assert_array_equal(images.read_gray(save(tmp_path / "a.jpg", data)), expected)
    with pytest.raises(DataError, match="not a whole image"):
        images.read_gray(save(tmp_path / "b.jpg", whole[:-2]))


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("text.png", b"not an image", "not a whole image"),
        ("empty.png", b"", "empty"),
        ("float.tif", encode(".tif", np.zeros((9, 9), np.float32)), "float32"),
    ],
)
def test_unusable_content(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    path = save(tmp_path / name, data)
    for read in (images.read_gray, images.read_image):
        with pytest.raises(DataError, match=expected) as error:
            read(path)
        assert str(path) in one_line(error)


def test_no_file_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as error:
        images.read_gray(tmp_path / "a.png")
    one_line(error)
    with pytest.raises(DataError, match="is a folder") as error:
        images.read_gray(tmp_path)
    one_line(error)
    below_a_file = save(tmp_path / "file", b"x") / "a.png"
    with pytest.raises(DataError, match="cannot be read") as error:
        images.read_gray(below_a_file)
    one_line(error)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ending", [".png", ".PNG", ".bmp", ".tif"])
def test_write_then_read(tmp_path: Path, ending: str, channels: int) -> None:
    image = photograph(channels).squeeze()
    path = tmp_path / "new" / f"image{ending}"
    images.write_image(path, image)
    np.testing.assert_array_equal(images.read_image(path), image)
    assert [child.name for child in path.parent.iterdir()] == [path.name]


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "image.png", FILES["gray.png"])

    def fill_disk(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_disk)
    with pytest.raises(DataError, match="No space left on device") as error:
        images.write_image(path, np.zeros((4, 4), np.uint8))
    assert str(path) in one_line(error)
    assert path.read_bytes() == FILES["gray.png"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("a.png", np.zeros((4, 4), np.float32), "float32"),
        ("a.png", np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        ("a.png", np.zeros((4,), np.uint8), r"\(4,\)"),
        ("a.png", np.zeros((0, 4), np.uint8), r"\(0, 4\)"),
        ("a.xyz", np.zeros((4, 4), np.uint8), "'.xyz'"),
        ("a", np.zeros((4, 4), np.uint8), "''"),
        ("file/a.png", np.zeros((4, 4), np.uint8), "cannot write"),
    ],
)
def test_unwritable(tmp_path: Path, name: str, image: np.ndarray, expected: str) -> None:
    save(tmp_path / "file", b"x")
    with pytest.raises(DataError, match=expected) as error:
        images.write_image(tmp_path / name, image)
    one_line(error)
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test_8bit_values_survive_the_way_to_float_and_back() -> None:
    values = np.arange(256, dtype=np.uint8)
    scaled = images.to_float(values)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, (values / 255).astype(np.float32))
    np.testing.assert_array_equal(images.to_8bit(scaled), values)


@settings(deadline=None)
@given(hnp.arrays(np.float32, (3, 5), elements=st.floats(-3, 4, width=32)))
def test_to_8bit_is_the_published_rounding(image: np.ndarray) -> None:
    published = (np.minimum(1, np.maximum(0, image)) * 255 + 0.5).astype(np.uint8)
    result = images.to_8bit(image)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, published)


def test_list_images_sorts_names_as_text(tmp_path: Path) -> None:
    for name in ("9.png", "10.png", "b.JPG", "._b.jpg", "notes.txt"):
        save(tmp_path / name, b"")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in images.list_images(tmp_path)] == ["10.png", "9.png", "b.JPG"]


def test_list_images_says_what_it_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images in .* no sub-folders"):
        images.list_images(tmp_path)
    (tmp_path / "inner").mkdir()
    with pytest.raises(DataError, match="sub-folders are: inner") as error:
        images.list_images(tmp_path)
    one_line(error)
    for path in (tmp_path / "none", save(tmp_path / "file", b"")):
        with pytest.raises(DataError, match="expected a folder") as error:
            images.list_images(path)
        one_line(error)


def with_profile(png: bytes) -> bytes:
    """Put a colour profile that libpng complains about behind the header of a PNG file."""
    body = b"iCCPname\0\0" + zlib.compress(b"no profile")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


def test_a_profile_changes_nothing_and_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    images.write_image(tmp_path / "a.png", picture)
    plain = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(with_profile(plain))
    cv2.imread(str(tmp_path / "b.png"))
    assert "iCCP" in capfd.readouterr().err, "the test makes no profile"
    np.testing.assert_array_equal(images.read_image(tmp_path / "b.png"), picture)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("length", [8, 10, 20, 33, 40, 45, 60])
def test_a_png_cut_short_anywhere(tmp_path: Path, length: int) -> None:
    images.write_image(tmp_path / "a.png", np.zeros((5, 6), np.uint8))
    damaged = with_profile((tmp_path / "a.png").read_bytes())[:length]
    (tmp_path / "b.png").write_bytes(damaged)
    with pytest.raises(DataError, match=r"b\.png is not a whole image"):
        images.read_image(tmp_path / "b.png")
