"""The agent: ChainerRL's contract, where an update is cut, what it learns from, replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chainer
import numpy as np
import pytest
from chainerrl.agent import Agent, AttributeSavingMixin

from pixelrl_chainer.agent import PixelwiseA2C, PixelwisePolicy
from pixelrl_chainer.backend import Array
from pixelrl_chainer.losses import LossTerms
from pixelrl_chainer.models.fcn import VARIANTS, ModelConfig, PixelFCN
from pixelrl_chainer.settings import LossConfig
from pixelrl_chainer.weights import network_arrays

SHAPE = (2, 1, 5, 6)
GAMMA = LossConfig().gamma

every_variant = pytest.mark.parametrize("variant", VARIANTS)


def make_agent(
    variant: str = "convgru-rmc",
    *,
    t_max: int = 5,
    seed: int = 0,
    loss: LossConfig | None = None,
    deterministic: bool = True,
) -> PixelwiseA2C:
    model = PixelFCN(ModelConfig(variant), np.random.default_rng(1))
    optimizer = chainer.optimizers.Adam(alpha=1e-3)
    optimizer.setup(model)
    return PixelwiseA2C(
        model,
        optimizer,
        loss=loss or LossConfig(),
        t_max=t_max,
        rng=np.random.default_rng(seed),
        act_deterministically=deterministic,
    )


def maps(count: int, seed: int = 0) -> Array:
    """Observations or rewards of ``count`` steps."""
    return np.random.default_rng(seed).random((count, *SHAPE), np.float32)


def run_episode(
    agent: PixelwiseA2C, steps: int, *, done: bool = True, seed: int = 0
) -> list[Array]:
    """Train on an episode whose states do not depend on the actions; return these."""
    observations, rewards = maps(steps + 1, seed), maps(steps, seed + 1)
    chosen = [agent.act_and_train(observations[0], None)]
    for observation, reward in zip(observations[1:-1], rewards, strict=False):
        chosen.append(agent.act_and_train(observation, reward))
    agent.stop_episode_and_train(observations[-1], rewards[-1], done)
    return chosen


class Updates:
    """Copies of what every update was computed from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rewards: list[list[Array]] = []
        self.bootstraps: list[Array | None] = []
        self.values: list[list[Array]] = []
        import pixelrl_chainer.agent as module

        returns, loss = module.discounted_returns, module.actor_critic_loss

        def discounted_returns(rewards: Any, gamma: float, spread: Any, bootstrap: Any) -> Any:
            self.rewards.append(list(rewards))
            self.bootstraps.append(bootstrap)
            return returns(rewards, gamma, spread, bootstrap)

        def actor_critic_loss(log_probs: Any, entropies: Any, values: Any, *rest: Any) -> Any:
            self.values.append([value.array.copy() for value in values])
            return loss(log_probs, entropies, values, *rest)

        monkeypatch.setattr(module, "discounted_returns", discounted_returns)
        monkeypatch.setattr(module, "actor_critic_loss", actor_critic_loss)


def test_has_the_contract_of_a_chainerrl_agent() -> None:
    agent = make_agent()
    assert isinstance(agent, Agent)
    assert isinstance(agent, AttributeSavingMixin)
    assert isinstance(agent, PixelwisePolicy)
    assert agent.saved_attributes == ("model", "optimizer")
    assert not Agent.__abstractmethods__ - set(dir(PixelwiseA2C))


@every_variant
def test_actions(variant: str) -> None:
    agent = make_agent(variant)
    for actions in (agent.act_and_train(maps(1)[0], None), agent.act(maps(1)[0])):
        assert actions.dtype == np.int32
        assert actions.shape == (2, 5, 6)
        assert actions.min() >= 0
        assert actions.max() < 9


# Where updates happen.


@every_variant
def test_one_update_at_the_end_of_an_episode(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, updates = make_agent(variant), Updates(monkeypatch)
    before = network_arrays(agent.model)
    before = {key: array.copy() for key, array in before.items()}
    run_episode(agent, 5)
    assert agent.optimizer.t == 1
    assert updates.bootstraps == [None]
    np.testing.assert_array_equal(updates.rewards[0], maps(5, 1))
    for key, array in network_arrays(agent.model).items():
        assert not np.array_equal(array, before[key]), f"{key} did not learn"


def test_a_long_episode_is_cut_and_continued_by_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """15 steps, t_max 5: the cuts are bootstrapped from V of the state behind them, the end not."""
    agent, updates = make_agent(), Updates(monkeypatch)
    observations, expected = maps(16), []
    update = agent._update

    def recorded(state: Array | None) -> None:
        if state is not None:
            expected.append(agent.model.v(state).array)
        update(state)

    monkeypatch.setattr(agent, "_update", recorded)
    run_episode(agent, 15)
    assert agent.optimizer.t == 3
    np.testing.assert_array_equal(np.concatenate(updates.rewards), maps(15, 1))
    assert [len(rewards) for rewards in updates.rewards] == [5, 5, 5]
    assert updates.bootstraps[2] is None
    for found, wanted in zip(updates.bootstraps[:2], expected, strict=True):
        assert isinstance(found, np.ndarray)  # plain data: nothing is learned through it
        np.testing.assert_array_equal(found, wanted)
    # The state behind a cut is also the first of the next update, seen by the updated network.
    fresh = make_agent()
    run_episode(fresh, 5, done=False)
    np.testing.assert_array_equal(updates.values[1][0], fresh.model.v(observations[5]).array)


def test_an_episode_that_does_not_end_is_continued_by_the_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent, updates = make_agent(), Updates(monkeypatch)
    value = agent.model.v(maps(4)[3]).array
    run_episode(agent, 3, done=False)
    np.testing.assert_array_equal(updates.bootstraps[0], value)


def test_a_remainder_is_learned_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, updates = make_agent(t_max=5), Updates(monkeypatch)
    run_episode(agent, 7)
    assert [len(rewards) for rewards in updates.rewards] == [5, 2]


@every_variant
def test_an_episode_of_one_step(variant: str) -> None:
    """The recurrent convolutions and the reward map kernel get no gradient and do not move."""
    agent = make_agent(variant)
    before = {key: array.copy() for key, array in network_arrays(agent.model).items()}
    run_episode(agent, 1)
    still = {
        k for k, array in network_arrays(agent.model).items() if np.array_equal(array, before[k])
    }
    unused = {f"conv7_{name}/W" for name in ("Uz", "Ur", "U", "Wr")} | {"conv_R/W"}
    assert still == unused & before.keys()


def test_gradients_do_not_add_up_over_updates() -> None:
    """Two equal updates with a learning rate of zero leave the same gradients."""
    agent = make_agent()
    agent.optimizer.alpha = 0
    found = []
    for _ in range(2):
        agent.rng = np.random.default_rng(0)
        run_episode(agent, 3)
        found.append({name: p.grad.copy() for name, p in agent.model.namedparams()})
    for name, gradient in found[0].items():
        np.testing.assert_array_equal(found[1][name], gradient)


# What is forgotten.


def test_each_episode_starts_with_an_empty_hidden_map() -> None:
    agent = make_agent()
    run_episode(agent, 2)
    assert agent.model.get_state() is None
    agent.act_and_train(maps(1)[0], None)
    assert agent.model.get_state() is not None
    agent.stop_episode()
    assert agent.model.get_state() is None


@every_variant
def test_a_crop_goes_on_with_a_part_of_the_hidden_map(variant: str) -> None:
    agent = make_agent(variant)
    agent.crop(slice(0, 2), slice(0, 2))
    assert agent.model.get_state() is None, "nothing to crop before the first step"
    agent.act(maps(1)[0])
    before = agent.model.get_state()
    agent.crop(slice(1, 4), slice(2, 6))
    after = agent.model.get_state()
    if variant == "plain":
        assert after is None
        return
    np.testing.assert_array_equal(after, before[:, :, 1:4, 2:6])
    assert not np.shares_memory(after, before)
    assert after.transpose(0, 2, 3, 1).flags.c_contiguous, "another order costs a copy each step"
    assert agent.act(maps(1)[0][:, :, 1:4, 2:6]).shape == (2, 3, 4)


def test_the_hidden_map_survives_a_cut() -> None:
    agent = make_agent(t_max=2)
    observations, rewards = maps(4), maps(3, 1)
    agent.act_and_train(observations[0], None)
    agent.act_and_train(observations[1], rewards[0])
    before = agent.model.get_state()
    seen = []
    pi_and_v = agent.model.pi_and_v
    agent.model.pi_and_v = lambda obs: seen.append(agent.model.get_state()) or pi_and_v(obs)
    agent.act_and_train(observations[2], rewards[1])
    assert agent.optimizer.t == 1
    assert [state is before for state in seen] == [True]


def test_an_abandoned_episode_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, updates = make_agent(), Updates(monkeypatch)
    agent.act_and_train(maps(1, 7)[0], None)
    agent.act_and_train(maps(1, 8)[0], maps(1, 9)[0])
    agent.stop_episode()
    assert agent.optimizer.t == 0
    agent.rng = np.random.default_rng(0)
    run_episode(agent, 3)
    assert [len(rewards) for rewards in updates.rewards] == [3]
    fresh = make_agent()
    run_episode(fresh, 3)
    assert agent.get_statistics() == fresh.get_statistics()


def test_acting_learns_nothing() -> None:
    agent = make_agent()
    before = {key: array.copy() for key, array in network_arrays(agent.model).items()}
    for observation in maps(7):
        agent.act(observation)
    assert agent.optimizer.t == 0
    assert agent.get_statistics() == []
    for key, array in network_arrays(agent.model).items():
        np.testing.assert_array_equal(array, before[key])


# Choosing.


def test_greedy_actions_are_the_most_probable() -> None:
    agent, observation = make_agent(), maps(1)[0]
    expected = agent.model.pi(observation).most_probable.array
    agent.stop_episode()
    state = agent.rng.bit_generator.state
    np.testing.assert_array_equal(agent.act(observation), expected)
    assert agent.rng.bit_generator.state == state  # nothing was drawn


def test_sampled_actions_follow_the_generator() -> None:
    agent, observation = make_agent(deterministic=False), maps(1)[0]
    expected = agent.model.pi(observation).sample(np.random.default_rng(4)).array
    agent.stop_episode()
    agent.rng = np.random.default_rng(4)
    np.testing.assert_array_equal(agent.act(observation), expected)
    agent.stop_episode()
    assert not np.array_equal(agent.act(observation), expected)


def test_training_samples_even_if_acting_is_greedy() -> None:
    agent, observation = make_agent(), maps(1)[0]
    expected = agent.model.pi(observation).sample(np.random.default_rng(0)).array
    agent.stop_episode()
    np.testing.assert_array_equal(agent.act_and_train(observation, None), expected)


# The same again.


@every_variant
@pytest.mark.parametrize("steps", [3, 8])
def test_replay_equals_sampling(variant: str, steps: int) -> None:
    """Given the actions that were drawn, every bit of the network comes out the same."""
    sampling, replaying = make_agent(variant), make_agent(variant, seed=99)
    actions = run_episode(sampling, steps)
    drawn = iter(actions)
    replaying.act_and_train = lambda obs, reward: replaying.observe_action(  # type: ignore
        obs, reward, next(drawn)
    )
    run_episode(replaying, steps)
    assert replaying.get_statistics() == sampling.get_statistics()
    expected = network_arrays(sampling.model)
    for key, array in network_arrays(replaying.model).items():
        np.testing.assert_array_equal(array, expected[key])


def test_same_seed_same_network() -> None:
    first, again, other = make_agent(), make_agent(), make_agent(seed=1)
    for agent in (first, again, other):
        for episode in range(2):
            run_episode(agent, 3, seed=episode)
    arrays = [network_arrays(agent.model) for agent in (first, again, other)]
    for key, array in arrays[0].items():
        np.testing.assert_array_equal(array, arrays[1][key])
    assert not np.array_equal(arrays[0]["conv1/W"], arrays[2]["conv1/W"])


def test_statistics_are_the_loss_and_its_parts() -> None:
    agent = make_agent()
    assert agent.get_statistics() == []
    run_episode(agent, 3)
    statistics = dict(agent.get_statistics())
    assert tuple(statistics) == LossTerms._fields
    assert all(type(value) is float for value in statistics.values())
    coefficient = agent.loss.entropy_coefficient * 3
    expected = statistics["policy"] + statistics["value"] - coefficient * statistics["entropy"]
    # Sums of three numbers of order one in single precision.
    assert statistics["total"] == pytest.approx(expected, abs=1e-6)
    assert 0 < statistics["entropy"] <= np.log(9)


def test_one_step_by_hand() -> None:
    """A terminal step: R is the reward, and the loss follows from the network's outputs."""
    agent = make_agent("plain")
    observation, reward = maps(1)[0], maps(1, 1)[0]
    policy, value = agent.model.pi_and_v(observation)
    actions = agent.act_and_train(observation, None)
    log_prob = policy.log_prob(actions).array
    advantage = reward - value.array
    agent.stop_episode_and_train(observation, reward, done=True)
    statistics = dict(agent.get_statistics())
    assert statistics["policy"] == pytest.approx((-log_prob * advantage[:, 0]).mean(), rel=1e-5)
    assert statistics["value"] == pytest.approx(0.25 * (advantage**2).mean(), rel=1e-5)
    assert statistics["entropy"] == pytest.approx(policy.entropy.array.mean(), rel=1e-5)


@every_variant
def test_save_and_load(variant: str, tmp_path: Path) -> None:
    """After loading, the next update equals that of the agent that was saved."""
    agent = make_agent(variant)
    run_episode(agent, 3)
    agent.save(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.npz", "optimizer.npz"]
    loaded = make_agent(variant)
    loaded.load(str(tmp_path))
    assert loaded.optimizer.t == 1
    for restored in (agent, loaded):
        restored.rng = np.random.default_rng(5)
        run_episode(restored, 3, seed=3)
    expected = network_arrays(agent.model)
    for key, array in network_arrays(loaded.model).items():
        np.testing.assert_array_equal(array, expected[key])


def test_learns_to_choose_the_rewarded_action() -> None:
    """A bandit at every pixel: action 3 pays 1, any other -1; thirty updates make it likely."""
    agent = make_agent("plain", t_max=1)
    observation = maps(1)[0]
    before = agent.model.pi(observation).all_prob.array[:, 3].mean()
    for _ in range(30):
        actions = agent.act_and_train(observation, None)
        reward = np.where(actions == 3, 1, -1).astype(np.float32)[:, None]
        agent.stop_episode_and_train(observation, reward, done=True)
    after = agent.model.pi(observation).all_prob.array[:, 3].mean()
    assert before < 0.5
    assert after > 0.9
