"""The environment, by a contract that every task and every action set has to keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pixelrl_chainer.actions import ACTIONS
from pixelrl_chainer.backend import Array
from pixelrl_chainer.config import build
from pixelrl_chainer.env import PixelEnv, make_env
from pixelrl_chainer.filters import box_filter
from pixelrl_chainer.task import Task
from pixelrl_chainer.tasks import TASKS

BATCH, HEIGHT, WIDTH = 2, 16, 20
"""As large as the largest window that a cost needs."""

DENOISE = TASKS["denoise-gaussian"]


def pair(task: Task = DENOISE, seed: int = 0) -> tuple[Array, Array]:
    """First state and target of ``task``: a degraded batch, or a random pair."""
    rng = np.random.default_rng(seed)
    if task.degrade is None:
        channels = (task.image_channels, 1 if task.observes_target else task.image_channels)
        images, target = (rng.random((BATCH, c, HEIGHT, WIDTH), np.float32) for c in channels)
        return images, (target > 0.5).astype(np.float32) if task.observes_target else target
    clean = rng.random((BATCH, task.image_channels, HEIGHT, WIDTH), np.float32)
    return task.start(clean, rng, paired=False)


def random_maps(env: PixelEnv, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(len(env.actions), size=(BATCH, HEIGHT, WIDTH), dtype=np.int32)


def sets_of(task: Task) -> list[str]:
    """Sets of the same family: those of denoising, or those of colour."""
    return [name for name in ACTIONS if name.partition("-")[0] == task.actions.partition("-")[0]]


@pytest.fixture(params=[(t.name, a) for t in TASKS.values() for a in sets_of(t)], ids="-".join)
def env(request: pytest.FixtureRequest) -> PixelEnv:
    task, actions = request.param
    return make_env(build(changes={"task.name": task, "task.actions": actions}))


def test_contract(env: PixelEnv) -> None:
    """One episode: shapes, types, length, purity, and rewards that belong to the states."""
    task = env.task
    images, target = pair(task)
    originals = images.copy(), target.copy()
    observations = env.reset(images, target)
    for step in range(env.steps):
        before, seen = env.images.copy(), observations.copy()
        np.testing.assert_array_equal(observations, task.observe(before, target))
        maps = random_maps(env, step)
        result = env.step(maps)
        assert result.done == (step == env.steps - 1)
        assert result.observations.shape == (BATCH, task.channels, HEIGHT, WIDTH)
        assert env.images.shape == images.shape
        assert result.rewards.shape == (BATCH, 1, HEIGHT, WIDTH)
        for array in (result.observations, env.images, result.rewards):
            assert array.dtype == np.float32
        np.testing.assert_array_equal(observations, seen, "a step must not change its input")
        np.testing.assert_array_equal(env.images, env.actions.apply(before, maps))
        costs = [task.cost(target, state, task.reward_scale) for state in (before, env.images)]
        np.testing.assert_array_equal(result.rewards, costs[0] - costs[1])
        observations = result.observations
    np.testing.assert_array_equal(images, originals[0])
    np.testing.assert_array_equal(target, originals[1])


def test_rewards_of_denoising_are_the_published_ones() -> None:
    """Bit by bit: the decrease of the squared error times 255, in this order of operations."""
    images, clean = pair()
    env = PixelEnv(DENOISE)
    env.reset(images, clean)
    before = images
    for step in range(env.steps):
        rewards = env.step(random_maps(env, step)).rewards
        after = env.images
        expected = np.square(clean - before) * 255 - np.square(clean - after) * 255
        np.testing.assert_array_equal(rewards, expected)
        before = after


def test_rewards_of_an_episode_telescope(env: PixelEnv) -> None:
    """Undiscounted, they add up to what the whole episode gained, whatever was done in between."""
    task = env.task
    images, target = pair(task)
    env.reset(images, target)
    total, done, step = np.float32(0), False, 0
    while not done:
        _, rewards, done = env.step(random_maps(env, step))
        total, step = total + rewards, step + 1
    start, end = (task.cost(target, state, task.reward_scale) for state in (images, env.images))
    # A sum of T float32 differences of costs.
    largest = max(np.abs(start).max(), np.abs(end).max())
    np.testing.assert_allclose(total, start - end, rtol=0, atol=2e-6 * env.steps * largest)


def test_nothing_is_done_without_reward(env: PixelEnv) -> None:
    images, target = pair(env.task)
    env.reset(images, target)
    nothing = np.full((BATCH, HEIGHT, WIDTH), env.actions.names.index("nothing"), np.int32)
    _, rewards, _ = env.step(nothing)
    np.testing.assert_array_equal(env.images, images)
    assert not rewards.any()


def test_an_episode_ends_and_another_begins(env: PixelEnv) -> None:
    images, target = pair(env.task)
    maps = random_maps(env)
    with pytest.raises(RuntimeError, match="call reset first"):
        env.step(maps)
    first = []
    for episode in range(2):
        env.reset(images, target)
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
    images, target = pair(env.task)
    env.reset(images, target)
    with pytest.raises(ValueError, match="action_map"):
        env.step(random_maps(env)[:, 1:])
    np.testing.assert_array_equal(env.images, images)
    assert sum(1 for _ in iter(lambda: env.step(random_maps(env)).done, True)) == env.steps - 1


def test_without_clean_images_there_are_no_rewards() -> None:
    images, clean = pair()
    env = make_env(build())
    env.reset(images)
    without = env.step(random_maps(env))
    assert without.rewards is None
    env.reset(images, clean)
    np.testing.assert_array_equal(env.step(random_maps(env)).observations, without.observations)


def test_testing_computes_no_rewards_but_the_same_states() -> None:
    images, clean = pair()
    env = PixelEnv(replace(DENOISE, cost=None))  # type: ignore[arg-type]  # would fail if called
    env.reset(images, clean, testing=True)
    result = env.step(random_maps(env))
    assert result.rewards is None
    np.testing.assert_array_equal(env.images, env.actions.apply(images, random_maps(env)))


def with_mask(images: Array, mask: Array | None) -> Array:
    """Observation of a task that also shows its target."""
    assert mask is not None
    return np.concatenate([images, mask], axis=1)


def test_a_target_that_is_observed() -> None:
    """In each observation, also when testing, and cropped with the images."""
    env = PixelEnv(replace(DENOISE, observe=with_mask, observes_target=True, channels=2))
    images, target = pair()
    for testing in (False, True):
        np.testing.assert_array_equal(
            env.reset(images, target, testing=testing), with_mask(images, target)
        )
        observations = env.step(random_maps(env)).observations
        np.testing.assert_array_equal(observations, with_mask(env.images, target))
    window = slice(1, 4), slice(2, 9)
    cropped = env.crop(*window)
    np.testing.assert_array_equal(cropped, observations[:, :, window[0], window[1]])
    maps = random_maps(env)[:, window[0], window[1]]
    np.testing.assert_array_equal(env.step(maps).observations[:, 1], target[:, 0, 1:4, 2:9])


def test_smoothing_follows_every_step_when_testing() -> None:
    """It knows the first state and the current one; in training there is none."""
    seen: list[tuple[Array, Array]] = []

    def smooth(images: Array, start: Array) -> Array:
        seen.append((images, start))
        return box_filter(images)

    env = PixelEnv(replace(DENOISE, smooth=smooth))
    images, target = pair()
    env.reset(images, target, testing=True)
    state = images
    for step in range(env.steps):
        maps = random_maps(env, step)
        applied = env.actions.apply(state, maps)
        state = box_filter(applied)
        np.testing.assert_array_equal(env.step(maps).observations, state)
        np.testing.assert_array_equal(seen[step][0], applied)
        assert seen[step][1] is images
    env.reset(images, target)
    env.step(random_maps(env))
    assert len(seen) == env.steps
    np.testing.assert_array_equal(env.images, env.actions.apply(images, random_maps(env)))


@pytest.mark.parametrize("change", [slice(1), (slice(None), slice(None), slice(1, None))])
def test_number_and_size_must_agree(change: slice | tuple[slice, ...]) -> None:
    images, clean = pair()
    with pytest.raises(ValueError, match=r"one number and size, found \(2, 1, 16, 20\) and "):
        make_env(build()).reset(images, clean[change])


def test_a_mask_may_have_other_channels() -> None:
    images = np.zeros((BATCH, 3, HEIGHT, WIDTH), np.float32)
    observed = PixelEnv(replace(DENOISE, observe=with_mask, channels=4)).reset(
        images, images[:, :1], testing=True
    )
    assert observed.shape == (BATCH, 4, HEIGHT, WIDTH)


def test_a_crop_goes_on_with_a_part() -> None:
    images, clean = pair()
    env = make_env(build())
    with pytest.raises(RuntimeError, match="call reset first"):
        env.crop(slice(1, 4), slice(2, 9))
    env.reset(images, clean)
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
    assert (env.steps, env.actions) == (3, ACTIONS["denoise-basic"])
    assert env.task.reward_scale == 1.0
    defaults = make_env(build())
    assert (defaults.steps, defaults.task.reward_scale) == (5, 255.0)
    assert defaults.actions is ACTIONS["denoise"]


def test_the_reward_scale_reaches_the_rewards() -> None:
    images, clean = pair()
    rewards = []
    for scale in (1.0, 4.0):
        env = make_env(build(changes={"task.reward_scale": scale}))
        env.reset(images, clean)
        rewards.append(env.step(random_maps(env)).rewards)
    np.testing.assert_array_equal(4 * rewards[0], rewards[1])  # a power of 2 rounds nothing


def test_images_are_not_clipped() -> None:
    """Published: +1/255 on white leaves [0, 1]."""
    env = make_env(build())
    env.reset(np.ones((1, 1, 2, 2), np.float32))
    plus = np.full((1, 2, 2), env.actions.names.index("plus"), np.int32)
    for _ in range(5):
        env.step(plus)
    np.testing.assert_allclose(env.images, 1 + 5 / 255, rtol=1e-6)
