"""The recurrent DQN of RL-Restore: ChainerRL's, with the published update where that differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from chainerrl.agents import DQN
from chainerrl.agents.dqn import compute_weighted_value_loss
from chainerrl.explorers import LinearDecayEpsilonGreedy

from .replay import EpisodeReplay, Observation
from .settings import AgentSettings


class EpsilonGreedy(LinearDecayEpsilonGreedy):
    """ChainerRL's explorer with a generator of its own, and a share that falls from a later step.

    Parameters
    ----------
    settings : AgentSettings
    actions : int
        Number of actions.
    rng : numpy.random.Generator

    Attributes
    ----------
    explored : bool
        Whether the last action was random.
    """

    def __init__(self, settings: AgentSettings, actions: int, rng: np.random.Generator) -> None:
        self.rng, self.from_step, self.explored = rng, settings.replay_start, False
        super().__init__(
            settings.epsilon_start,
            settings.epsilon_end,
            settings.epsilon_steps,
            lambda: int(self.rng.integers(actions)),
        )

    def select_action(
        self, t: int, greedy_action_func: Callable[[], int], action_value: Any = None
    ) -> int:
        """Return a random action with probability epsilon, else the greedy one."""
        self.epsilon = self.compute_epsilon(max(0, t - self.from_step))
        self.explored = bool(self.rng.random() < self.epsilon)
        return int(self.random_action_func() if self.explored else greedy_action_func())


class RestoreDQN(DQN):
    """ChainerRL's recurrent DQN on whole episodes, which differs from it in five points.

    The hidden state of the target network is its own, from zero on; a step counts by one over the
    length of its episode; the hidden state of the acting network does not see steps with random
    actions; the learning rate is a function of the step; and there are no global random numbers.

    Parameters
    ----------
    network : chainer.Link
        The Q network, ``StatelessRecurrent`` with a ``DiscreteActionValue``.
    optimizer : chainer.Optimizer
        Adam, set up with it.
    replay : EpisodeReplay
    settings : AgentSettings
    rng : numpy.random.Generator
        Draws actions.
    phi : callable
        Turns an :class:`Observation` into an input of the network.
    """

    def __init__(
        self,
        network: Any,
        optimizer: Any,
        replay: EpisodeReplay,
        settings: AgentSettings,
        actions: int,
        rng: np.random.Generator,
        phi: Callable[[Observation], Any],
    ) -> None:
        self.settings = settings
        self.train_recurrent_states: Any
        super().__init__(
            network,
            optimizer,
            replay,
            settings.gamma,
            EpsilonGreedy(settings, actions, rng),
            replay_start_size=settings.replay_start,
            minibatch_size=settings.batch_size,
            update_interval=settings.update_interval,
            target_update_interval=settings.target_interval,
            clip_delta=settings.huber,
            phi=phi,
            recurrent=True,
        )

    def act_and_train(self, obs: Observation, reward: float) -> int:
        """Learn, and choose an action; a random one leaves the hidden state as it was."""
        before = self.train_recurrent_states
        action: int = super().act_and_train(obs, reward)
        if self.explorer.explored:
            self.train_recurrent_states = before
        return action

    def update_from_episodes(self, episodes: list[Any], errors_out: None = None) -> None:
        """Make one optimiser step with the learning rate of the present step."""
        self.optimizer.alpha = learning_rate(self.settings, self.t)
        super().update_from_episodes(episodes, errors_out)

    def _compute_target_values(self, exp_batch: dict[str, Any]) -> Any:
        """Eq. 6: reward + gamma max Q'(next state); the target network sees whole episodes."""
        values, _ = self.target_model.n_step_forward(exp_batch["state"], None, output_mode="concat")
        highest = values.max.array
        following = self.xp.zeros_like(highest)
        following[:-1] = highest[1:]
        unfinished = 1 - exp_batch["is_state_terminal"]
        return exp_batch["reward"] + exp_batch["discount"] * unfinished * following

    def _compute_loss(self, exp_batch: dict[str, Any], errors_out: None = None) -> Any:
        """Mean over episodes of the mean over their steps.

        The published code groups a minibatch by length, takes the mean over the steps of a group
        and weights it by the group's share of the episodes: the same number.
        """
        y, t = self._compute_y_and_t(exp_batch)
        lengths = np.array([len(states) for states in exp_batch["state"]])
        weights = np.repeat(1 / (lengths * len(lengths)), lengths).astype(np.float32)
        return compute_weighted_value_loss(
            y, t, self.xp.asarray(weights), clip_delta=self.clip_delta, batch_accumulator="sum"
        )


def learning_rate(settings: AgentSettings, step: int) -> float:
    """Return Adam's alpha at a step: exponential and continuous, down to a least value."""
    decayed = settings.learning_rate * settings.learning_rate_decay ** (
        step / settings.learning_rate_steps
    )
    return float(max(settings.learning_rate_min, decayed))
