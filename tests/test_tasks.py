"""The table of tasks, and the published numbers it leads to."""

from __future__ import annotations

import numpy as np
import pytest

from pixelrl_chainer.actions import ACTIONS
from pixelrl_chainer.errors import ConfigError
from pixelrl_chainer.tasks import TASKS, Task, find_task


@pytest.fixture(params=TASKS.values(), ids=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


def test_entries_are_complete(task: Task) -> None:
    assert TASKS[task.name] is task
    assert task.title
    assert task.level_name
    assert task.action_set is ACTIONS[task.actions]
    assert task.default_level in task.levels
    assert max(task.levels) <= task.largest_level
    assert 1 <= task.t_max <= task.steps
    assert task.steps % task.t_max == 0


def test_every_row_has_a_score_or_a_gap_for_every_level(task: Task) -> None:
    assert {"none", "random"} <= {row.key for row in task.table}
    for row in task.table:
        assert len(row.scores) == len(task.levels)
        assert task.published(row.key, task.levels[-1]) == row.scores[-1]


def test_degrading_is_repeatable_and_pure(task: Task) -> None:
    clean = np.random.default_rng(0).random((2, task.channels, 8, 8), np.float32)
    original = clean.copy()
    once, again, other = (
        task.degrade(clean, np.random.default_rng(seed), task.default_level) for seed in (1, 1, 2)
    )
    assert once.shape == clean.shape
    assert once.dtype == np.float32
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()
    np.testing.assert_array_equal(clean, original)


def test_published_numbers_that_do_not_exist(task: Task) -> None:
    assert task.published("plain", 12.5) is None
    assert task.published("dncnn", task.default_level) is None
    assert task.published("plain+aug", task.default_level) is None


def test_published_numbers_by_hand() -> None:
    gaussian, saltpepper = TASKS["denoise-gaussian"], TASKS["denoise-saltpepper"]
    assert gaussian.published("convgru-rmc", 25) == 28.85
    assert gaussian.published("none", 15) is None
    assert saltpepper.published("convgru", 0.5) == 29.26


def test_find_task() -> None:
    assert find_task("denoise-gaussian") is TASKS["denoise-gaussian"]
    with pytest.raises(ConfigError) as error:
        find_task("denoise-gausian")
    assert str(error.value) == (
        "unknown task 'denoise-gausian': expected one of denoise-gaussian, denoise-saltpepper; "
        "did you mean denoise-gaussian?"
    )
    with pytest.raises(ConfigError, match="denoise-saltpepper$"):
        find_task("")
