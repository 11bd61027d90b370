"""The environment, by a contract that every task and every action set has to keep."""

from __future__ import annotations

import numpy as np
import pytest

from pixelrl_chainer.actions import ACTIONS
from pixelrl_chainer.config import build
from pixelrl_chainer.env import PixelEnv, make_env
from pixelrl_chainer.rewards import squared_error_decrease
from pixelrl_chainer.tasks import TASKS

BATCH, HEIGHT, WIDTH = 2, 6, 9


def pair(task: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A corrupted and a clean batch of ``task``."""
    rng = np.random.default_rng(seed)
    shape = (BATCH, TASKS[task].channels, HEIGHT, WIDTH)
    clean = rng.random(shape, np.float32)
    return TASKS[task].degrade(clean, rng, TASKS[task].default_level), clean


def random_maps(env: PixelEnv, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(len(env.actions), size=(BATCH, HEIGHT, WIDTH), dtype=np.int32)


@pytest.fixture(params=[(t, a) for t in TASKS for a in ACTIONS], ids="-".join)
def env(request: pytest.FixtureRequest) -> PixelEnv:
    task, actions = request.param
    return make_env(build(changes={"task.name": task, "task.actions": actions}))


def test_contract(env: PixelEnv) -> None:
    """One episode: shapes, types, length, purity, and rewards that belong to the states."""
    corrupted, clean = pair(env.task.name)
    originals = corrupted.copy(), clean.copy()
    observations = env.reset(corrupted, clean)
    np.testing.assert_array_equal(observations, corrupted)
    for step in range(env.steps):
        before = observations.copy()
        maps = random_maps(env, step)
        result = env.step(maps)
        assert result.done == (step == env.steps - 1)
        assert result.observations is env.images
        assert result.observations.shape == corrupted.shape
        assert result.observations.dtype == np.float32
        assert result.rewards.shape == (BATCH, 1, HEIGHT, WIDTH)
        assert result.rewards.dtype == np.float32
        np.testing.assert_array_equal(observations, before, "a step must not change its input")
        np.testing.assert_array_equal(result.observations, env.actions.apply(before, maps))
        np.testing.assert_array_equal(
            result.rewards,
            env.task.reward(clean, before, result.observations, env.reward_scale),
        )
        observations = result.observations
    np.testing.assert_array_equal(corrupted, originals[0])
    np.testing.assert_array_equal(clean, originals[1])


def test_rewards_of_an_episode_telescope(env: PixelEnv) -> None:
    """Undiscounted, they add up to what the whole episode gained, whatever was done in between."""
    corrupted, clean = pair(env.task.name)
    env.reset(corrupted, clean)
    total, done, step = np.zeros_like(clean), False, 0
    while not done:
        output, rewards, done = env.step(random_maps(env, step))
        total, step = total + rewards, step + 1
    gained = squared_error_decrease(clean, corrupted, output, env.reward_scale)
    # Rewards are of order 255 and are sums of a few float32 differences.
    np.testing.assert_allclose(total, gained, rtol=0, atol=5e-4)


def test_nothing_is_done_without_reward(env: PixelEnv) -> None:
    corrupted, clean = pair(env.task.name)
    env.reset(corrupted, clean)
    nothing = np.full((BATCH, HEIGHT, WIDTH), env.actions.names.index("nothing"), np.int32)
    output, rewards, _ = env.step(nothing)
    np.testing.assert_array_equal(output, corrupted)
    assert not rewards.any()


def test_an_episode_ends_and_another_begins(env: PixelEnv) -> None:
    corrupted, clean = pair(env.task.name)
    maps = random_maps(env)
    with pytest.raises(RuntimeError, match="call reset first"):
        env.step(maps)
    first = []
    for episode in range(2):
        env.reset(corrupted, clean)
        for step in range(env.steps):
            result = env.step(maps)
            if episode == 0:
                first.append(result)
            else:
                np.testing.assert_array_equal(result.observations, first[step].observations)
                np.testing.assert_array_equal(result.rewards, first[step].rewards)
        with pytest.raises(RuntimeError, match=f"after step {env.steps}"):
            env.step(maps)


def test_a_failed_step_does_not_count(env: PixelEnv) -> None:
    corrupted, clean = pair(env.task.name)
    env.reset(corrupted, clean)
    with pytest.raises(ValueError, match="action_map"):
        env.step(random_maps(env)[:, 1:])
    np.testing.assert_array_equal(env.images, corrupted)
    assert sum(1 for _ in iter(lambda: env.step(random_maps(env)).done, True)) == env.steps - 1


def test_without_clean_images_there_are_no_rewards() -> None:
    corrupted, clean = pair("denoise-gaussian")
    env = make_env(build())
    env.reset(corrupted)
    without = env.step(random_maps(env))
    assert without.rewards is None
    env.reset(corrupted, clean)
    np.testing.assert_array_equal(env.step(random_maps(env)).observations, without.observations)


def test_shapes_must_agree() -> None:
    corrupted, clean = pair("denoise-gaussian")
    with pytest.raises(ValueError, match=r"one shape, found \(2, 1, 6, 9\) and \(1, 1, 6, 9\)"):
        make_env(build()).reset(corrupted, clean[:1])


def test_a_crop_goes_on_with_a_part() -> None:
    corrupted, clean = pair("denoise-gaussian")
    env = make_env(build())
    with pytest.raises(RuntimeError, match="call reset first"):
        env.crop(slice(1, 4), slice(2, 9))
    env.reset(corrupted, clean)
    maps = random_maps(env)
    before, _, _ = env.step(maps)
    env.crop(slice(1, 4), slice(2, 9))
    np.testing.assert_array_equal(env.images, before[:, :, 1:4, 2:9])
    assert not np.shares_memory(env.images, before)
    result = env.step(maps[:, 1:4, 2:9])
    expected = make_env(build())
    expected.reset(np.ascontiguousarray(before[:, :, 1:4, 2:9]), clean[:, :, 1:4, 2:9])
    np.testing.assert_array_equal(result.rewards, expected.step(maps[:, 1:4, 2:9]).rewards)
    assert env.step(maps[:, 1:4, 2:9]).done == (env.steps == 3)


def test_settings_reach_the_environment() -> None:
    env = make_env(
        build(
            changes={"task.steps": 3, "task.actions": "denoise-basic", "task.reward_scale": 1.0},
        )
    )
    assert (env.steps, env.actions, env.reward_scale) == (3, ACTIONS["denoise-basic"], 1.0)
    defaults = make_env(build())
    assert (defaults.steps, defaults.reward_scale) == (5, 255.0)
    assert defaults.actions is ACTIONS["denoise"]


def test_images_are_not_clipped() -> None:
    """Published: +1/255 on white leaves [0, 1]."""
    env = make_env(build())
    env.reset(np.ones((1, 1, 2, 2), np.float32))
    plus = np.full((1, 2, 2), env.actions.names.index("plus"), np.int32)
    for _ in range(5):
        env.step(plus)
    np.testing.assert_allclose(env.images, 1 + 5 / 255, rtol=1e-6)
