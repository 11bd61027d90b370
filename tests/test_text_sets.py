"""Where text comes from: settings, folders with known names, and sets of pairs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import small
from click.testing import CliRunner

from pixelrl_chainer import sources
from pixelrl_chainer.cli import cli
from pixelrl_chainer.config import build
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.documents import generated_documents
from pixelrl_chainer.errors import ConfigError, DataError, PixelRLError
from pixelrl_chainer.fonts import matplotlib_fonts
from pixelrl_chainer.images import read_image
from pixelrl_chainer.results import run_evaluation
from pixelrl_chainer.settings import TextConfig
from pixelrl_chainer.tasks import TASKS, make_task
from pixelrl_chainer.text import MaskFiles, RenderedText
from pixelrl_chainer.text_sets import generated_pairs, open_source, write_pairs


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for data with nothing in it, the only one that is searched."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(sources, "user_places", lambda name: [folder / name])
    return folder


def write_document(folder: Path, text: str = "some text") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "document.txt").write_text(text)
    return folder


# Sources


def test_without_anything_documents_are_generated(bare: Path) -> None:
    for split in ("train", "test"):
        source = open_source(TextConfig(), split)
        assert isinstance(source.pages, RenderedText)
        assert source.pages.documents == generated_documents(split)
        assert len(source.pages.fonts) == 8
        assert source.augment == (split == "train")


def test_folders_with_known_names_are_found(bare: Path) -> None:
    small.photographs(bare / "text_masks", height=90, width=90)
    for path in (bare / "text_masks").iterdir():
        cv2.imwrite(str(path), np.zeros((90, 90), np.uint8))
    assert isinstance(open_source(TextConfig(), "train").pages, MaskFiles)
    for split in ("train", "test"):
        write_document(bare / "newsgroups" / split, split)
        pages = open_source(TextConfig(), split).pages
        assert isinstance(pages, RenderedText)
        assert pages.documents == (split,)


def test_given_folders_win(bare: Path, tmp_path: Path) -> None:
    write_document(bare / "newsgroups", "found")
    documents = write_document(tmp_path / "mine", "given")
    font = matplotlib_fonts()[3]
    pages = open_source(TextConfig(documents=str(documents), fonts=(str(font),)), "train").pages
    assert isinstance(pages, RenderedText)
    assert (pages.documents, pages.fonts) == (("given",), (font,))
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "0.png"), np.zeros((90, 90), np.uint8))
    assert isinstance(
        open_source(TextConfig(masks=str(tmp_path / "masks")), "train").pages, MaskFiles
    )


def test_fonts_are_found_among_the_data(bare: Path, shared: Path) -> None:
    (bare / "fonts").symlink_to(shared / "data" / "fonts")
    pages = open_source(TextConfig(), "train").pages
    assert isinstance(pages, RenderedText)
    assert {path.name.split("-")[0] for path in pages.fonts} <= {
        *("LiberationSans", "LiberationSerif"),
        *("Arial.ttf", "arial.ttf"),
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text.documents": "{empty}"}, "no document with text in"),
        ({"text.documents": "{empty}/missing"}, "no folder .*missing"),
        ({"text.fonts": ["{empty}"]}, "no usable font in"),
        ({"text.masks": "{empty}"}, "no images in"),
        ({"text.masks": "{masks}"}, "small.png has a side of 12 pixels"),
        ({"text.masks": "{masks}", "text.documents": "{empty}"}, "both set: give one"),
        ({"task.level": 3}, "task.level = 3: restore-text has no level"),
    ],
)
def test_what_cannot_be_used_is_one_line_before_training(
    bare: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    from pixelrl_chainer.train import Trainer

    (tmp_path / "empty").mkdir()
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "small.png"), np.zeros((12, 40), np.uint8))
    places = {"empty": tmp_path / "empty", "masks": tmp_path / "masks"}
    filled = {
        key: [text.format(**places) for text in value]
        if isinstance(value, list)
        else value.format(**places)
        if isinstance(value, str)
        else value
        for key, value in settings.items()
    }
    photographs = small.photographs(tmp_path / "photographs")
    with pytest.raises(PixelRLError, match=message) as error:
        config = build(changes={**small.TRAINING, "task.name": "restore-text", **filled})
        Trainer(config, open_dataset(photographs, reads="text"), tmp_path / "run")
    assert "\n" not in str(error.value)


# The task


def test_episodes_are_those_of_the_paper() -> None:
    task = TASKS["restore-text"]
    assert (task.steps, task.t_max, task.actions, task.reward_scale) == (15, 5, "denoise", 255)
    assert (task.published("psnr", "convgru-rmc"), task.published("ssim", "none")) == (29.97, 0.656)


def test_training_and_testing_take_other_documents(bare: Path, tmp_path: Path) -> None:
    for split, text in (("train", ("|" * 300 + "\n") * 99), ("test", ("-" * 300 + "\n") * 99)):
        write_document(tmp_path / "mine" / split, text)
    changes = {"task.name": "restore-text", "text.documents": str(tmp_path / "mine")}
    task = make_task(build(changes=changes))
    clean = np.full((1, 1, 200, 200), 0.5, np.float32)
    rng = np.random.default_rng(0)
    for split, upright in (("train", True), ("validation", True), ("test", False)):
        images, target = task.start(clean, rng, paired=False, split=split)
        ink = images[0, 0] != target[0, 0]
        assert ink.any()
        rows, columns = (np.abs(np.diff(ink.astype(int), axis=axis)).sum() for axis in (0, 1))
        assert (columns > rows) == upright


def test_validation_is_never_on_images_without_text(bare: Path, tmp_path: Path) -> None:
    """Left alone these score 361 dB, and the best checkpoint would be one that does nothing."""
    from pixelrl_chainer.train import Trainer

    photographs = small.photographs(tmp_path / "photographs", height=48, width=48)
    changes = {"task.name": "restore-text", "train.validation_size": 48}
    for seed in range(8):
        config = build(changes={**small.TRAINING, **changes, "train.seed": seed})
        trainer = Trainer(config, open_dataset(photographs, reads="text"), tmp_path / str(seed))
        images, target = trainer.validation
        assert (images != target).any((1, 2, 3)).all()


def test_apply_and_pairs_need_no_documents(bare: Path, tmp_path: Path) -> None:
    """They are not opened when the task is made, only when a text is pasted."""
    changes = {"task.name": "restore-text", "text.documents": str(tmp_path / "missing")}
    task = make_task(build(changes=changes))
    stack = np.zeros((1, 2, 8, 8), np.float32)
    task.start(stack, np.random.default_rng(0), paired=True)
    with pytest.raises(DataError, match="no folder"):
        task.start(stack, np.random.default_rng(0), paired=False)


def test_colour_images_have_one_text_in_all_channels(bare: Path) -> None:
    task = make_task(build(changes={"task.name": "restore-text"}))
    clean = np.full((1, 3, 60, 60), 0.5, np.float32)
    images, target = task.start(clean, np.random.default_rng(0), paired=False, split="test")
    assert images.shape == target.shape == (3, 1, 60, 60)
    assert (images != target).any()
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(images[0], images[2])


# Pairs


def test_pairs_of_a_folder(tmp_path: Path) -> None:
    for side, seed in (("input", 1), ("target", 2)):
        for name, ending in (("a", "png"), ("b", "bmp" if side == "input" else "png")):
            path = tmp_path / "test" / side / f"{name}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), small.texture(seed, 20, 30))
    images = open_dataset(tmp_path, "test", reads="text")
    assert (images.paired, images.names, len(images.files)) == (True, ("a", "b"), 4)
    loaded = images.load_8bit(1)
    np.testing.assert_array_equal(loaded, np.dstack([small.texture(s, 20, 30) for s in (1, 2)]))


def test_a_folder_without_pairs_is_one_of_clean_images(tmp_path: Path) -> None:
    images = open_dataset(small.photographs(tmp_path), "test", reads="text")
    assert not images.paired
    assert images.load_8bit(0).ndim == 2


def test_the_authors_layout(tmp_path: Path) -> None:
    small.photographs(tmp_path / "test_text")
    small.photographs(tmp_path / "test")
    small.photographs(tmp_path / "train", 2)
    test, train = (open_dataset(tmp_path, split, reads="text") for split in ("test", "train"))
    assert (len(test), test.paired) == (4, True)
    assert [path.parent.name for path in test.files[:2]] == ["test_text", "test"]
    assert (len(train), train.paired) == (2, False)


# The set that is the same everywhere


def test_generated_pairs_are_the_same_everywhere() -> None:
    """One checksum of three photographs and their texts.

    Glyphs are rendered by the FreeType that Pillow brings along. Its bitmaps were equal, byte for
    byte, for Pillow 11.3, 12.0 and 13.0; releases up to 11.1 differ by a few pixels, so that they
    are not supported.
    """
    images = generated_pairs(open_dataset("bundled", "test").paths)
    assert images.paired
    masks = []
    for index in range(len(images)):
        degraded, clean = images.load_8bit(index).transpose(2, 0, 1)
        ink = degraded != clean
        assert set(degraded[ink]) in ({0}, {255})
        assert 0.02 < ink.mean() < 0.3
        masks.append(ink.tobytes())
    assert hashlib.sha256(b"".join(masks)).hexdigest().startswith("414331b2c3848e08")


def test_the_text_of_an_image_depends_on_its_name_only(tmp_path: Path) -> None:
    first = small.photographs(tmp_path / "first", 3, height=60, width=60)
    (first / "photo1.png").unlink()
    second = small.photographs(tmp_path / "second", 3, height=60, width=60)
    few, all_of_them = (generated_pairs(sorted(folder.iterdir())) for folder in (first, second))
    np.testing.assert_array_equal(few.load(1), all_of_them.load(2))
    ink = [image[0] != image[1] for image in map(all_of_them.load, range(3))]
    assert (ink[0] != ink[1]).any()


def test_generated_pairs_in_colour(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), small.texture(0, 60, 70, 3))
    loaded = generated_pairs([path], read_image).load_8bit(0)
    assert loaded.shape == (60, 70, 6)
    ink = loaded[..., :3] != loaded[..., 3:]
    assert ink.any()
    assert set(loaded[..., :3][ink]) in ({0}, {255})


def test_a_written_set_is_read_again(tmp_path: Path) -> None:
    photographs = small.photographs(tmp_path / "photographs", 2, height=60, width=60)
    target = tmp_path / "set"
    arguments = ["data", "make-text-set", "--data", str(photographs), "-o", str(target)]
    done = CliRunner().invoke(cli, arguments)
    assert done.output == f"2 pairs written to {target}\n"
    again = open_dataset(target, "test", reads="text")
    expected = generated_pairs(sorted(photographs.iterdir()))
    for index in range(2):
        np.testing.assert_array_equal(again.load(index), expected.load(index))
    with pytest.raises(DataError, match="set exists: choose another folder"):
        write_pairs(expected, target)


# The published figures


@pytest.fixture
def given(bare: Path, shared: Path) -> None:
    (bare / "bsd68").symlink_to(shared / "data" / "bsd68")


@pytest.mark.official
def test_the_given_pairs_are_found(given: None) -> None:
    test, train = (open_dataset("bsd68-text", split) for split in ("test", "train"))
    assert (len(test), test.paired, len(test.files)) == (68, True, 136)
    assert (len(train), train.paired) == (432, False)


@pytest.mark.official
@pytest.mark.slow
def test_input_row_of_table_6(given: None) -> None:
    config = build(changes={"task.name": "restore-text", "data.test": ["bsd68-text"]})
    result = run_evaluation(config, "none", None, open_dataset("bsd68-text", "test"))
    assert result["psnr"]["mean"] == pytest.approx(16.605, abs=0.0006)
    assert result["ssim"]["mean"] == pytest.approx(0.6562, abs=0.00006)
    assert result["not_comparable"] == []
    assert result["published"] == {"psnr": 16.61, "ssim": 0.656}


@pytest.mark.official
@pytest.mark.slow
def test_random_agents_of_table_6(given: None) -> None:
    """All 68 images, as the spread between images is 2.9 dB; two seeds differ by 0.01 dB."""
    config = build(changes={"task.name": "restore-text", "data.test": ["bsd68-text"]})
    result = run_evaluation(config, "random", None, open_dataset("bsd68-text", "test"))
    assert result["psnr"]["mean"] == pytest.approx(19.58, abs=0.05)
    assert result["ssim"]["mean"] == pytest.approx(0.476, abs=0.003)


def test_both_given_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="text.documents and text.masks are both set"):
        open_source(TextConfig(documents="a", masks="b"), "train")
