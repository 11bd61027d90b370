"""The tasks, by a contract that each has to keep; and the published numbers they lead to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pixelrl_chainer.actions import ACTIONS
from pixelrl_chainer.backend import Array
from pixelrl_chainer.config import build
from pixelrl_chainer.datasets import DATASETS, READERS
from pixelrl_chainer.degradations import gaussian_noise, salt_and_pepper
from pixelrl_chainer.errors import ConfigError, DataError
from pixelrl_chainer.metrics import batch_psnr
from pixelrl_chainer.task import Task
from pixelrl_chainer.tasks import TASKS, find_task, make_task

GAUSSIAN = TASKS["denoise-gaussian"]
PAIRS = replace(GAUSSIAN, degrade=None)
COLOR = replace(PAIRS, image_channels=3)

every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


@every_task
def test_entries_are_complete(task: Task) -> None:
    assert TASKS[task.name] is task
    assert task.title
    assert task.action_set is ACTIONS[task.actions]
    assert task.metrics
    assert len({metric.key for metric in task.metrics}) == len(task.metrics)
    assert set(task.data) <= set(DATASETS)
    assert DATASETS[task.data[-1]].substitute, "the last one is always there"
    assert task.reads in READERS
    assert task.image_channels in (1, 3)
    assert 1 <= task.t_max <= task.steps
    assert task.steps % task.t_max == 0
    assert task.max_angle >= 0


@every_task
def test_levels(task: Task) -> None:
    assert bool(task.level_name) == bool(task.levels)
    assert task.level in (task.levels or (None,))
    low, high = task.level_range
    assert all(low <= level <= high for level in task.levels if not isinstance(level, str))


@every_task
def test_every_row_has_a_score_or_a_gap_for_every_level(task: Task) -> None:
    assert set(task.tables) <= {metric.key for metric in task.metrics} | {
        key
        for key in task.tables
        if key.startswith("cc_")  # of maps that are not computed here
    }
    assert task.metrics[0].key in task.tables
    for metric, rows in task.tables.items():
        assert {"random", "convgru", "convgru-rmc"} <= {row.key for row in rows}
        for row in rows:
            assert len(row.scores) == len(task.levels or (None,))
            last = replace(task, level=task.levels[-1] if task.levels else None)
            assert last.published(metric, row.key) == row.scores[-1]


@every_task
def test_make_task_is_the_entry_with_its_settings(task: Task) -> None:
    made = make_task(build(changes={"task.name": task.name, "task.steps": 2}))
    assert (made.name, made.steps, made.metrics) == (task.name, 2, task.metrics)
    assert made.column == task.column


@every_task
def test_degrading_is_repeatable_and_pure(task: Task) -> None:
    task = make_task(build(changes={"task.name": task.name}))
    clean = np.random.default_rng(0).random((2, task.image_channels, 48, 64), np.float32)
    if task.degrade is None:
        with pytest.raises(DataError, match=f"{task.name} needs pairs of images, found single"):
            task.start(clean, np.random.default_rng(1), paired=False)
        return
    original = clean.copy()
    once, again, other = (
        task.start(clean, np.random.default_rng(seed), paired=False) for seed in (1, 1, 2)
    )
    assert once[0].shape == once[1].shape == clean.shape
    assert once[0].dtype == once[1].dtype == np.float32
    np.testing.assert_array_equal(once[0], again[0])
    assert (once[0] != other[0]).any()
    for _, target in (once, other):
        np.testing.assert_array_equal(target, clean)
    np.testing.assert_array_equal(clean, original)


def stack(channels: int) -> Array:
    return np.random.default_rng(3).random((2, channels, 5, 6), np.float32)


def unused() -> np.random.Generator:
    """A generator that must not be drawn from."""
    return None  # type: ignore[return-value]


def test_start_of_gray_images() -> None:
    clean = stack(1)
    images, target = GAUSSIAN.start(clean, np.random.default_rng(1), paired=False)
    np.testing.assert_array_equal(images, gaussian_noise(clean, np.random.default_rng(1), 25.0))
    np.testing.assert_array_equal(target, clean)


def test_every_channel_of_a_colour_image_is_an_image() -> None:
    """Degraded as a whole, so that salt and pepper hits all channels of a pixel."""
    clean = stack(3)
    task = TASKS["denoise-saltpepper"]
    images, target = task.start(clean, np.random.default_rng(1), paired=False)
    noisy = salt_and_pepper(clean, np.random.default_rng(1), 0.5)
    assert images.shape == target.shape == (6, 1, 5, 6)
    for index in range(6):
        np.testing.assert_array_equal(images[index, 0], noisy[index // 3, index % 3])
        np.testing.assert_array_equal(target[index, 0], clean[index // 3, index % 3])
    np.testing.assert_array_equal(task.planes(images[:3]), noisy[0])


@pytest.mark.parametrize(
    ("task", "channels", "split"),
    [(PAIRS, 2, 1), (COLOR, 6, 3), (COLOR, 4, 3)],
    ids=["gray", "colour", "colour and mask"],
)
def test_start_of_pairs(task: Task, channels: int, split: int) -> None:
    """The first channels are the input; nothing is drawn."""
    pairs = stack(channels)
    images, target = task.start(pairs, unused(), paired=True)
    np.testing.assert_array_equal(images, pairs[:, :split])
    np.testing.assert_array_equal(target, pairs[:, split:])
    for array in (images, target):
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(task.planes(array[:1]), array[0])


def test_a_pair_of_colour_images_for_a_gray_task() -> None:
    pairs = stack(6)
    images, target = PAIRS.start(pairs, unused(), paired=True)
    assert images.shape == target.shape == (6, 1, 5, 6)
    np.testing.assert_array_equal(PAIRS.planes(images[3:]), pairs[1, :3])
    np.testing.assert_array_equal(PAIRS.planes(target[3:]), pairs[1, 3:])


def test_pairs_need_no_degradation() -> None:
    """A task that could degrade takes a given pair as it is."""
    images, _ = GAUSSIAN.start(stack(2), unused(), paired=True)
    np.testing.assert_array_equal(images, stack(2)[:, :1])


@pytest.mark.parametrize(
    ("level", "name", "expected"),
    [(25.0, "sigma", "sigma25"), (0.5, "density", "density0.5"), ("style", "s", "style")],
)
def test_column(level: float | str, name: str, expected: str) -> None:
    assert replace(GAUSSIAN, level=level, level_name=name).column == expected


def test_column_without_levels() -> None:
    assert replace(GAUSSIAN, level=None, level_name="", levels=()).column == ""


@pytest.mark.parametrize(
    ("name", "level", "wanted"),
    [
        ("denoise-saltpepper", 1.5, "a density from 0 to 1"),
        ("denoise-poisson", 0, "a peak from 0.01 to 1e+06"),
    ],
)
def test_levels_out_of_range(name: str, level: float, wanted: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_task(build(changes={"task.name": name, "task.level": level}))
    assert str(error.value) == f"task.level = {level:g}: expected {wanted} for {name}"


def test_unknown_action_set() -> None:
    with pytest.raises(ConfigError, match="unknown action set 'paint': expected one of denoise, "):
        make_task(build(changes={"task.actions": "paint"}))


def test_published_numbers_that_do_not_exist() -> None:
    assert replace(GAUSSIAN, level=12.5).published("psnr", "plain") is None
    assert GAUSSIAN.published("psnr", "dncnn") is None
    assert GAUSSIAN.published("psnr", "plain+aug") is None
    assert GAUSSIAN.published("ssim", "plain") is None


@pytest.mark.parametrize(
    ("name", "level", "row", "expected"),
    [
        ("denoise-gaussian", 25, "convgru-rmc", 28.85),
        ("denoise-gaussian", 50, "convgru@denoise-basic", 25.20),
        ("denoise-gaussian", 15, "none", None),
        ("denoise-poisson", 30, "convgru-rmc", 27.95),
        ("denoise-poisson", 10, "none", 14.52),
        ("denoise-saltpepper", 0.5, "convgru", 29.26),
    ],
)
def test_published_numbers_by_hand(
    name: str, level: float, row: str, expected: float | None
) -> None:
    assert replace(TASKS[name], level=level).published("psnr", row) == expected


def test_curve_of_denoising() -> None:
    """-10 log10 of the mean squared error, of the whole batch and unclipped."""
    clean = np.zeros((2, 1, 4, 4), np.float32)
    images = clean.copy()
    images[0] = 0.1
    images[1] = -0.3
    assert batch_psnr(images, clean) == pytest.approx(-10 * np.log10((0.01 + 0.09) / 2), abs=1e-5)
    assert np.ndim(batch_psnr(images, clean)) == 0


def test_find_task() -> None:
    assert find_task("denoise-gaussian") is TASKS["denoise-gaussian"]
    with pytest.raises(ConfigError) as error:
        find_task("denoise-gausian")
    assert str(error.value) == (
        f"unknown task 'denoise-gausian': expected one of {', '.join(TASKS)}; "
        "did you mean denoise-gaussian?"
    )
    with pytest.raises(ConfigError, match=f"{list(TASKS)[-1]}$"):
        find_task("")
