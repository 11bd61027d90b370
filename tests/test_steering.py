"""Replaying and steering: exactness, reach of an edit, forbidden actions, files of maps."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import chainer
import numpy as np
import pytest
import small

from pixelrl_chainer.actions import ACTIONS
from pixelrl_chainer.agent import PixelwisePolicy
from pixelrl_chainer.config import build
from pixelrl_chainer.distributions import PixelwiseCategorical
from pixelrl_chainer.env import PixelEnv, Rollout
from pixelrl_chainer.errors import ConfigError, DataError
from pixelrl_chainer.evaluate import RandomAgents, rollout
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.steering import FREE, read_maps, replay, reward_maps, write_maps
from pixelrl_chainer.tasks import TASKS, make_task

every_task = pytest.mark.parametrize("name", TASKS)
DENOISE = ACTIONS["denoise"]


def environment(name: str = "denoise-gaussian", steps: int = 4) -> PixelEnv:
    task = make_task(build(changes={"task.name": name}))
    return PixelEnv(replace(task, steps=steps))


def start(env: PixelEnv, height: int = 40, width: int = 44) -> tuple[np.ndarray, np.ndarray]:
    """First state and target of two images of the task's kind."""
    task, rng = env.task, np.random.default_rng(0)
    shape = (2, task.image_channels, height, width)
    clean = [small.texture(n, height, width) for n in range(shape[0] * shape[1])]
    target = (np.stack(clean).reshape(shape) / 255).astype(np.float32)
    images = (target + rng.normal(0, 0.1, shape)).astype(np.float32)
    if task.observes_target:
        target = np.zeros((2, 1, height, width), np.float32)
        target[..., 10:30, 12:30] = 1
    return images, target


def network(
    env: PixelEnv, variant: str = "convgru", *, stock: bool = False, seed: int = 1
) -> PixelwisePolicy:
    config = ModelConfig(variant, len(env.actions), env.task.channels)
    model = PixelFCN(config, np.random.default_rng(seed), stock=stock)
    return PixelwisePolicy(model, np.random.default_rng(2))


def far(one: np.ndarray, other: np.ndarray, row: int, column: int) -> int:
    """Distance, in the maximum norm, of the farthest pixel that differs from (row, column)."""
    different = (one != other).any(axis=tuple(range(one.ndim - 2)))
    rows, columns = np.nonzero(different)
    return int(max(np.abs(rows - row).max(), np.abs(columns - column).max())) if rows.size else -1


@every_task
def test_replay_gives_the_recorded_states_exactly(name: str) -> None:
    env = environment(name)
    images, target = start(env)
    for actor in (network(env), RandomAgents(len(env.actions), np.random.default_rng(0))):
        recorded = rollout(actor, env, images, target, record=True)
        again = replay(env, images, recorded.action_maps, target)
        assert not np.array_equal(recorded.output, images)
        np.testing.assert_array_equal(again.output, recorded.output)
        for found, expected in zip(again.states, recorded.states, strict=True):
            np.testing.assert_array_equal(found, expected)


@every_task
def test_a_changed_action_reaches_no_farther_than_the_later_filters(name: str) -> None:
    """Two pixels a step; nothing where actions change single pixels, as those on colours do. The
    guided filter of a task that smooths is two boxes of radius 2 and runs in every step."""
    env = environment(name)
    images, target = start(env)
    recorded = rollout(
        RandomAgents(len(env.actions), np.random.default_rng(0)), env, images, target, record=True
    )
    window = 0 if name in ("color", "saliency") else 2
    smoothing = 4 if env.task.smooth else 0
    row, column, step = 20, 22, 1
    moved = False
    for action in range(0, len(env.actions), 2):
        maps = [chosen.copy() for chosen in recorded.action_maps]
        maps[step][0, row, column] = action
        edited = replay(env, images, maps, target)
        for t, (found, expected) in enumerate(zip(edited.states, recorded.states, strict=True)):
            np.testing.assert_array_equal(found[1], expected[1])  # another image of the batch
            later = t - step - 1
            reach = far(found[0], expected[0], row, column)
            assert reach <= (window * later + smoothing * (later + 1) if later >= 0 else -1)
            moved |= reach > 0
    assert moved == bool(window or smoothing)


@pytest.mark.parametrize(("variant", "sees"), [("plain", 16), ("convgru", 18)])
def test_a_steered_roll_out_differs_only_within_what_the_policy_sees(
    variant: str, sees: int
) -> None:
    """With Chainer's convolutions, whose sums do not depend on neighbours' values."""
    env = environment(steps=3)
    images, _ = start(env, 90, 110)
    policy = network(env, variant, stock=True, seed=3)
    plain = rollout(policy, env, images, record=True)
    row, column = 45, 55
    override = np.full((2, 90, 110), FREE, np.int8)
    override[0, 44:47, 54:57] = 8 - plain.action_maps[0][0, 44:47, 54:57]
    edited = rollout(policy, env, images, record=True, overrides={0: override})
    farthest = []
    for t, (found, expected) in enumerate(zip(edited.states, plain.states, strict=True)):
        np.testing.assert_array_equal(found[1], expected[1])
        farthest.append(far(found[0], expected[0], row, column))
        assert farthest[-1] <= (1 + sees * (t - 1) if t else -1)
    assert farthest[:2] == [-1, 1]
    assert farthest[3] > 1 + 2 * 2  # the policy's answer, not the filters


def test_an_override_holds_and_the_others_stay_free() -> None:
    env = environment()
    images, _ = start(env)
    policy = network(env)
    plain = rollout(policy, env, images, record=True)
    override = np.full((2, 40, 44), FREE)
    override[:, 5:9, 7:20] = 2
    edited = rollout(policy, env, images, record=True, overrides={1: override})
    np.testing.assert_array_equal(edited.action_maps[0], plain.action_maps[0])
    chosen = edited.action_maps[1]
    np.testing.assert_array_equal(chosen, np.where(override == FREE, plain.action_maps[1], 2))
    assert chosen.dtype == np.int32
    free = rollout(policy, env, images, overrides={1: np.full_like(override, FREE)})
    np.testing.assert_array_equal(free.output, plain.output)


def test_the_hidden_map_goes_on_under_an_override() -> None:
    """All actions of step 0 given as they were chosen: the later ones are the same."""
    env = environment()
    images, _ = start(env)
    policy = network(env)
    plain = rollout(policy, env, images, record=True)
    given = rollout(policy, env, images, overrides=dict(enumerate(plain.action_maps[:3])))
    np.testing.assert_array_equal(given.output, plain.output)


@pytest.mark.parametrize("greedy", [True, False])
def test_forbidden_actions_are_never_chosen(greedy: bool) -> None:
    env = environment()
    images, _ = start(env)
    policy = network(env)
    policy.act_deterministically = greedy
    plain = rollout(policy, env, images, explain=True)
    common = int(np.bincount(np.ravel(plain.action_maps)).argmax())
    found = rollout(policy, env, images, explain=True, forbidden_actions=(common,))
    assert common not in np.unique(found.action_maps)
    assert len(np.unique(found.action_maps)) > 1
    first, before = found.probabilities[0], plain.probabilities[0].astype(np.float32)
    np.testing.assert_array_equal(first[:, common], 0)
    rest = np.delete(before, common, axis=1)
    expected = rest / rest.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.delete(first, common, axis=1), expected, atol=2e-3)
    assert policy.forbidden == ()


def test_random_agents_draw_among_the_allowed() -> None:
    env = environment()
    images, _ = start(env)
    agents = RandomAgents(9, np.random.default_rng(0))
    found = rollout(agents, env, images, record=True, forbidden_actions=(0, 3, 8))
    counts = np.bincount(np.ravel(found.action_maps), minlength=9)
    assert counts[[0, 3, 8]].sum() == 0
    np.testing.assert_allclose(counts[[1, 2, 4, 5, 6, 7]] / counts.sum(), 1 / 6, atol=0.015)
    np.testing.assert_array_equal(agents.allowed, range(9))


def test_a_policy_without_actions_has_a_finite_entropy() -> None:
    logits = np.random.default_rng(0).normal(size=(1, 3, 2, 2)).astype(np.float32)
    rest = PixelwiseCategorical(chainer.Variable(logits[:, :2]))
    policy = PixelwiseCategorical(chainer.Variable(logits))
    np.testing.assert_allclose(policy.without([2]).entropy.array, rest.entropy.array, rtol=1e-5)


def test_explaining_changes_nothing() -> None:
    env = environment()
    images, _ = start(env)
    policy = network(env)
    plain, told = (rollout(policy, env, images, record=True, explain=e) for e in (False, True))
    np.testing.assert_array_equal(told.output, plain.output)
    assert not plain.probabilities
    for t, (state, chosen) in enumerate(zip(told.states[:-1], told.action_maps, strict=True)):
        np.testing.assert_array_equal(told.probabilities[t].argmax(axis=1).shape, chosen.shape)
        value = policy.model.v(state).array
        np.testing.assert_allclose(told.value_maps[t], value, rtol=0, atol=1e-6)
        top = told.probabilities[t].max(axis=1)
        taken = np.take_along_axis(told.probabilities[t], chosen[:, None].astype(int), axis=1)
        np.testing.assert_array_equal(taken[:, 0], top)


def test_tiles_steered_and_explained_equal_the_whole_image() -> None:
    env = environment(steps=1)
    images, _ = start(env, 96, 200)
    policy = network(env)
    override = np.full((2, 96, 200), FREE)
    override[:, 40:60, 90:110] = 5
    options: dict[str, Any] = {"overrides": {0: override}, "forbidden_actions": (1,)}
    results = [
        rollout(policy, env, images, explain=True, tile=tile, **options) for tile in (0, 160)
    ]
    for name in ("states", "action_maps", "probabilities", "value_maps"):
        for one, other in zip(*(getattr(result, name) for result in results), strict=True):
            np.testing.assert_array_equal(one, other)


@every_task
def test_rewards_are_those_of_the_environment(name: str) -> None:
    env = environment(name)
    env = PixelEnv(replace(env.task, smooth=None))  # which it leaves out of training
    images, target = start(env)
    env.reset(images, target)
    rng = np.random.default_rng(0)
    states, rewards = [images], []
    for _ in range(env.steps):
        rewards.append(env.step(rng.integers(len(env.actions), size=(2, 40, 44))).rewards)
        states.append(env.images)
    for found, expected in zip(reward_maps(env.task, states, target), rewards, strict=True):
        np.testing.assert_array_equal(found, expected)


def whole(value: int, shape: tuple[int, ...] = (2, 40, 44)) -> np.ndarray:
    return np.full(shape, value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({4: whole(0)}, "override of step 4: expected a step from 0 to 3"),
        ({0: whole(0, (1, 40, 44))}, r"integers of shape \(2, 40, 44\), found int64 of shape"),
        ({0: whole(0).astype(np.float32)}, "found float32"),
        ({0: whole(9)}, "expected actions 0 to 8, or -1 .* found 9 to 9"),
        ({0: whole(-2)}, "found -2 to -2"),
    ],
)
def test_overrides_that_do_not_fit(overrides: dict[int, np.ndarray], message: str) -> None:
    env = environment()
    with pytest.raises(ConfigError, match=message):
        rollout(network(env), env, start(env)[0], overrides=overrides)


@pytest.mark.parametrize("forbidden", [(9,), (-1,), tuple(range(9))])
def test_forbidden_actions_that_do_not_exist(forbidden: tuple[int, ...]) -> None:
    env = environment()
    with pytest.raises(ConfigError, match="expected some, not all, of the numbers 0 to 8"):
        rollout(network(env), env, start(env)[0], forbidden_actions=forbidden)


class Silent:
    """Agents that only act."""

    rng = None

    def act(self, obs: np.ndarray) -> np.ndarray:
        return np.zeros((len(obs), *obs.shape[2:]), np.int32)

    def stop_episode(self) -> None:
        pass


@pytest.mark.parametrize(
    ("actor", "options", "message"),
    [
        (Silent(), {"explain": True}, "only a network can be explained, found Silent"),
        (None, {"explain": True}, "only agents can be steered"),
        (None, {"overrides": {0: whole(0)}}, "only agents can be steered"),
        (None, {"forbidden_actions": (1,)}, "a network or random agents, found NoneType"),
        (Silent(), {"forbidden_actions": (1,)}, "found Silent"),
    ],
)
def test_agents_that_cannot_be_steered(actor: Any, options: dict[str, Any], message: str) -> None:
    env = environment()
    with pytest.raises(ConfigError, match=message):
        rollout(actor, env, start(env)[0], **options)


def test_replay_needs_a_complete_map_for_every_step() -> None:
    env = environment()
    images, _ = start(env)
    with pytest.raises(ConfigError, match="4 action maps expected, found 3"):
        replay(env, images, [whole(1)] * 3)
    with pytest.raises(ConfigError, match="action for every pixel, found -1"):
        replay(env, images, [whole(1)] * 3 + [whole(FREE)])
    with pytest.raises(ConfigError, match="override of step 3"):
        replay(env, images, [whole(1)] * 3 + [whole(1, (2, 4, 4))])


def recorded() -> Rollout:
    env = environment()
    return rollout(RandomAgents(9, np.random.default_rng(0)), env, start(env)[0], record=True)


def test_files_of_maps_keep_the_maps(tmp_path: Path) -> None:
    result = recorded()
    write_maps(tmp_path / "maps.npz", result.action_maps, DENOISE, {"states": np.zeros(3)})
    found = read_maps(tmp_path / "maps.npz", DENOISE)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, result.action_maps)
    output = replay(environment(), start(environment())[0], list(found)).output
    np.testing.assert_array_equal(output, result.output)


def saved(**arrays: Any) -> Callable[[Path], None]:
    maps = np.ones((2, 1, 3, 4), np.uint8)
    content = {"action_maps": maps, "actions": np.array(DENOISE.names), **arrays}
    return lambda path: np.savez(path, **{k: v for k, v in content.items() if v is not None})


def huge(path: Path) -> None:
    """A header that promises more than there is memory."""
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (2, 1, 2**31, 2**31)}
    np.lib.format.write_array_header_1_0(buffer, header)
    saved()(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.read("actions.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("action_maps.npy", buffer.getvalue())
        archive.writestr("actions.npy", names)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "expected a file of action maps"),
        (lambda path: path.write_text("text"), "found another or a damaged file"),
        (lambda path: np.savez(path, other=np.zeros(3)), "action_maps.npy"),
        (saved(actions=None), "found another"),
        (saved(actions=np.array(ACTIONS["color"].names)), "expected the actions minus, .* found"),
        (saved(actions=np.array([{"a": 1}], object)), "found another or a damaged file"),
        (saved(action_maps=np.ones((2, 3, 4), np.uint8)), r"found uint8 of shape \(2, 3, 4\)"),
        (saved(action_maps=np.ones((2, 1, 3, 4))), "found float64"),
        (saved(action_maps=np.zeros((0, 1, 3, 4), np.uint8)), r"found uint8 of shape \(0,"),
        (saved(action_maps=np.full((2, 1, 3, 4), 9, np.uint8)), "actions 0 to 8, found 9"),
        (huge, "found another or a damaged file"),
    ],
)
def test_files_of_maps_that_do_not_fit(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "maps.npz"
    write(path)
    with pytest.raises(DataError, match=message) as caught:
        read_maps(path, DENOISE)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
