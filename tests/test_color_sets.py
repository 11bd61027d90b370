"""Pairs for local colour enhancement: profiles, where styles are found, effects that stand in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import small
from PIL import Image, ImageCms

from pixelrl_chainer import paper
from pixelrl_chainer.color_sets import (
    EFFECTS,
    cross_process,
    find_style,
    missing_style,
    pop_out,
    read_color,
    read_managed,
    watercolor,
)
from pixelrl_chainer.datasets import DATASETS
from pixelrl_chainer.errors import DataError

PHOTO = small.texture(0, 24, 30, 3)


def with_profile(path: Path, profile: bytes | None) -> Path:
    Image.fromarray(np.ascontiguousarray(PHOTO[..., ::-1])).save(path, icc_profile=profile)
    return path


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def test_stored_values_are_taken_as_they_are(tmp_path: Path) -> None:
    path = with_profile(tmp_path / "a.png", profile("sRGB"))
    np.testing.assert_array_equal(read_color(path), PHOTO)
    np.testing.assert_array_equal(read_managed(with_profile(tmp_path / "b.png", None)), PHOTO)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_profile_is_converted_to_srgb(tmp_path: Path, ending: str) -> None:
    same = read_managed(with_profile(tmp_path / f"a.{ending}", profile("sRGB")))
    assert np.abs(same.astype(int) - PHOTO).max() <= 1
    # A profile that swaps two primaries must change the picture.
    data = bytearray(profile("sRGB"))
    red, blue = data.find(b"rXYZ"), data.find(b"bXYZ")
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    swapped = read_managed(with_profile(tmp_path / f"b.{ending}", bytes(data)))
    assert np.abs(swapped[..., ::-1].astype(int) - PHOTO).max() <= 1


def test_a_damaged_profile(tmp_path: Path) -> None:
    path = with_profile(tmp_path / "a.tif", b"no profile at all" * 20)
    with pytest.raises(DataError, match=r"a\.tif: its colour profile cannot be used"):
        read_managed(path)


def test_gray_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), PHOTO[..., 0])
    with pytest.raises(DataError, match=r"a\.png is gray; expected a colour image"):
        read_color(tmp_path / "a.png")


@pytest.mark.parametrize("folder", ["color/local-xpro", "color/xpro"])
def test_a_style_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.setenv("PIXELRL_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for side in ("input", "target"):
        (tmp_path / folder / "test" / side).mkdir(parents=True)
    assert find_style("local-xpro") == tmp_path / folder
    assert str(tmp_path / "color" / "watercolor") in missing_style("watercolor")


def test_a_style_is_found_in_the_layout_of_yan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELRL_DATA", str(tmp_path))
    for name in ("data", "watercolor"):
        (tmp_path / "color" / name).mkdir(parents=True)
    assert find_style("watercolor") == tmp_path / "color"


@pytest.mark.parametrize("style", paper.STYLES)
def test_effects_are_local_and_repeatable(style: str) -> None:
    effect = EFFECTS[style]
    changed = effect(PHOTO)
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(changed, effect(PHOTO.copy()))
    difference = np.abs(changed.astype(int) - PHOTO).max(axis=2)
    assert difference.max() > 10
    assert difference.std() > 1


@pytest.mark.parametrize("style", paper.STYLES)
@pytest.mark.parametrize(("split", "count"), [("train", 4), ("test", 2)])
def test_bundled_pairs(style: str, split: str, count: int) -> None:
    dataset = DATASETS[f"bundled-color-{style}"]
    root = dataset.find()
    assert root is not None
    assert dataset.substitute
    images = dataset.open(root, split, read_color)
    assert (len(images), images.paired) == (count, True)
    pair = images.load_8bit(0)
    assert pair.shape[2] == 6
    np.testing.assert_array_equal(pair[..., 3:], EFFECTS[style](pair[..., :3].copy()))


def _pixels(*bgr: int) -> np.ndarray:
    return np.full((40, 40, 3), bgr, np.uint8)


def test_pop_out_by_hand() -> None:
    vivid, pale = pop_out(_pixels(20, 40, 200)), pop_out(_pixels(100, 110, 120))
    # S = 0.9 becomes 1; V = 0.784 + 0.15 (0.784 - 0.5) + 0.08 = 0.907.
    assert vivid[20, 20, 2] == pytest.approx(231, abs=1)
    assert vivid[20, 20, 0] <= 1
    # S = 1/6 is halved, V = 0.471 loses 0.08: 0.391 and 0.391 (1 - 1/12).
    np.testing.assert_allclose(pale[20, 20], [91, 95, 100], atol=1)


def test_cross_process_by_hand() -> None:
    # Black: value 0, weight 1; blue is lifted to 0.15, red and green stay.
    np.testing.assert_array_equal(cross_process(_pixels(0, 0, 0))[0, 0], [38, 0, 0])
    # White: weight 0.4; blue falls by 0.4 of 0.15.
    np.testing.assert_array_equal(cross_process(_pixels(255, 255, 255))[0, 0], [240, 255, 255])


def test_watercolor_by_hand() -> None:
    # V = 0.6 gains 0.09; S = 0.5 is multiplied by 1.3: 0.69 and 0.69 (1 - 0.65).
    found = watercolor(_pixels(77, 77, 153))[20, 20]
    np.testing.assert_allclose(found, [62, 62, 176], atol=1)
