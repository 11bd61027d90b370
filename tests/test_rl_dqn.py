"""RL-Restore's update against the same sums written out with NumPy, and its schedules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import chainer
import numpy as np
import pytest
from chainer import links as L
from chainerrl.action_value import DiscreteActionValue
from chainerrl.links import StatelessRecurrentSequential

from pixelrl_chainer.rl_restore.dqn import EpsilonGreedy, RestoreDQN, learning_rate
from pixelrl_chainer.rl_restore.replay import EpisodeReplay, Observation
from pixelrl_chainer.rl_restore.settings import AgentSettings, build

SHAPE, ACTIONS, HIDDEN = (1, 1, 2), 3, 4
SETTINGS = replace(
    AgentSettings(), batch_size=3, replay_start=5, update_interval=1, target_interval=10**6
)
EPISODES = (  # images of two values, actions, rewards
    (((0.5, -1),), (2,), (0.25,)),
    (((1, 0), (-0.5, 0.25)), (0, 1), (4.0, -0.5)),
    (((0.25, 1), (0.75, 0.5), (-1, -1)), (1, 0, 0), (1.5, 0.5, -3.0)),
)


def phi(seen: Observation) -> np.ndarray[Any, Any]:
    previous = np.zeros(ACTIONS - 1, np.float32)
    if seen.previous >= 0:
        previous[seen.previous] = 1
    return np.concatenate([seen.image.ravel(), previous]).astype(np.float32)


def agent(folder: Path, settings: AgentSettings = SETTINGS, seed: int = 0) -> RestoreDQN:
    rng = np.random.RandomState(seed)
    normal = chainer.initializers.Normal(0.7, rng=rng)
    network = StatelessRecurrentSequential(
        L.NStepLSTM(1, 4, HIDDEN, 0, initialW=normal, initial_bias=normal),
        L.Linear(HIDDEN, ACTIONS, initialW=normal, initial_bias=normal),
        DiscreteActionValue,
    )
    optimizer = chainer.optimizers.Adam()
    optimizer.setup(network)
    replay = EpisodeReplay(folder / "replay.f16", 40, 10, np.random.default_rng(1), SHAPE)
    made = RestoreDQN(network, optimizer, replay, settings, ACTIONS, np.random.default_rng(2), phi)
    for parameter in made.target_model.params():  # so that it matters which network is asked
        parameter.array += rng.normal(0, 0.3, parameter.shape).astype(np.float32)
    return made


def q_values(network: Any, images: Any, actions: Any) -> np.ndarray[Any, Any]:
    """The network by its equations, one episode from a hidden state of zero."""
    lstm, head = network[0][0], network[1]
    weight = [getattr(lstm, f"w{i}").array for i in range(8)]
    bias = [getattr(lstm, f"b{i}").array for i in range(8)]
    h = c = np.zeros(HIDDEN)
    out = []
    for step, image in enumerate(images):
        x = phi(Observation(np.array(image), actions[step - 1] if step else -1))
        i, f, g, o = (weight[k] @ x + bias[k] + weight[k + 4] @ h + bias[k + 4] for k in range(4))
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        out.append(head.W.array @ h + head.b.array)
    return np.array(out)


def loss_by_hand(made: RestoreDQN, huber: bool = True) -> float:
    """Grouped by length: mean over the steps of a group, weighted by its share of episodes."""
    total = 0.0
    for images, actions, rewards in EPISODES:  # three groups of one episode each
        values = q_values(made.model, images, actions)
        target = q_values(made.target_model, images, actions)
        errors = []
        for step, action in enumerate(actions):
            last = step == len(actions) - 1
            wanted = rewards[step] + (0 if last else 0.99 * target[step + 1].max())
            error = abs(wanted - values[step][action])
            errors.append(0.5 * error**2 if error < 1 or not huber else error - 0.5)
        total += np.mean(errors) / len(EPISODES)
    return total


def transitions(made: RestoreDQN) -> list[list[dict[str, Any]]]:
    """The episodes as the replay memory returns them."""
    start = 0
    for images, actions, rewards in EPISODES:
        for step, image in enumerate(images):
            seen = Observation(np.array(image, np.float32).reshape(SHAPE), -1)
            done = step == len(images) - 1
            made.replay_buffer.append(seen, actions[step], rewards[step], is_state_terminal=done)
        start += len(images)
    return [made.replay_buffer._episode(number) for number in (0, 1, 3)]


@pytest.mark.parametrize("huber", [True, False])
def test_loss_of_one_update_by_hand(tmp_path: Path, huber: bool) -> None:
    made = agent(tmp_path, replace(SETTINGS, huber=huber))
    expected = loss_by_hand(made, huber)
    assert expected != pytest.approx(loss_by_hand(made, not huber), rel=0.01)
    made.update_from_episodes(transitions(made))
    # average_loss starts at 0 and takes 1 % of every loss
    assert made.average_loss / 0.01 == pytest.approx(expected, rel=1e-5)


def test_update_is_adam_on_the_gradient_of_that_loss(tmp_path: Path) -> None:
    """Gradient by differences of the loss written out; only the online network changes."""
    made = agent(tmp_path)
    head = made.model[1].W
    before, target = head.array.copy(), [p.array.copy() for p in made.target_model.params()]
    numeric = np.zeros_like(head.array)
    for place in np.ndindex(*head.shape):
        sides = []
        for step in (1e-3, -1e-3):
            head.array[place] = before[place] + step
            sides.append(loss_by_hand(made))
        head.array[place] = before[place]
        numeric[place] = (sides[0] - sides[1]) / 2e-3
    made.t = 10**6  # half of the learning rate
    made.update_from_episodes(transitions(made))
    np.testing.assert_allclose(head.grad, numeric, atol=2e-4)
    moved = head.array - before
    large = np.abs(numeric) > 1e-2  # Adam's first step is the learning rate, against the sign
    np.testing.assert_allclose(moved[large], -5e-5 * np.sign(numeric[large]), rtol=1e-2)
    for parameter, old in zip(made.target_model.params(), target, strict=True):
        np.testing.assert_array_equal(parameter.array, old)


def test_a_random_action_leaves_the_hidden_state(tmp_path: Path) -> None:
    made = agent(tmp_path)
    seen = Observation(np.ones(SHAPE, np.float32), -1)
    made.explorer.compute_epsilon = lambda t: 0.0
    made.act_and_train(seen, 0.0)
    after_first = made.train_recurrent_states
    assert after_first is not None
    made.explorer.compute_epsilon = lambda t: 1.0
    made.act_and_train(seen, 0.0)
    assert made.train_recurrent_states is after_first
    made.explorer.compute_epsilon = lambda t: 0.0
    made.act_and_train(seen, 0.0)
    assert made.train_recurrent_states is not after_first
    made.stop_episode_and_train(seen, 0.0, True)
    assert made.train_recurrent_states is None
    assert len(made.replay_buffer) == 3


def test_epsilon_falls_after_the_start_of_learning() -> None:
    explorer = EpsilonGreedy(AgentSettings(), 13, np.random.default_rng(0))
    shares = {}
    for t in (0, 5_000, 505_000, 1_005_000, 2_000_000):
        explorer.select_action(t, lambda: 0)
        shares[t] = explorer.epsilon
    assert shares == pytest.approx({0: 1, 5000: 1, 505_000: 0.55, 1_005_000: 0.1, 2_000_000: 0.1})


def test_random_actions_are_drawn_from_the_generator_uniformly() -> None:
    settings = replace(AgentSettings(), epsilon_start=0.5, epsilon_end=0.5)
    runs = []
    for _ in range(2):
        explorer = EpsilonGreedy(settings, 13, np.random.default_rng(3))
        runs.append([explorer.select_action(0, lambda: -1) for _ in range(4000)])
    assert runs[0] == runs[1]
    counts = np.bincount(np.array(runs[0]) + 1, minlength=14)
    assert counts[0] == pytest.approx(2000, abs=130)  # 4 standard errors
    assert np.abs(counts[1:] - 2000 / 13).max() < 50


def test_learning_rates_as_published() -> None:
    code, paper = build().agent, build(profile="paper").agent
    for step, rate in ((0, 1e-4), (500_000, 1e-4 / 2**0.5), (10**6, 5e-5), (3 * 10**6, 2.5e-5)):
        assert learning_rate(code, step) == pytest.approx(rate)
    for update, rate in ((0, 2.5e-4), (250_000, 2.5e-4 / 10**0.5), (500_000, 2.5e-5)):
        assert learning_rate(paper, 4 * update) == pytest.approx(rate)
    assert paper.target_interval == 4 * 2500
