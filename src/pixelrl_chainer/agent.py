"""Pixel-wise advantage actor-critic (A2C) with the contract of a ChainerRL agent."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple, TypeVar

import chainer
import numpy as np
from chainerrl.agent import Agent, AttributeSavingMixin

from .backend import Array, to_numpy
from .distributions import PixelwiseCategorical
from .losses import LossTerms, actor_critic_loss, discounted_returns
from .models.fcn import PixelFCN
from .rng import Uniforms
from .settings import LossConfig

P = TypeVar("P", bound="PixelwisePolicy")


class Decision(NamedTuple):
    """What the pixels do, and, if that is asked for, why.

    ``action_maps`` is int32 (B, H, W), ``probabilities`` of all actions float16 (B, A, H, W), with
    three digits in half of the memory, and ``value_maps`` float32 (B, 1, H, W).
    """

    action_maps: Array
    probabilities: Array = None
    value_maps: Array = None


class PixelwisePolicy:
    """The acting half of an agent: chooses actions for all pixels of a batch of images.

    Parameters
    ----------
    model : PixelFCN
    rng : Uniforms
        Source of sampled actions; replace it to start a new stream.
    act_deterministically : bool
        Whether :meth:`act` takes the most probable action (published) or samples.

    Attributes
    ----------
    forbidden : tuple of int
        Actions that are never chosen; see :meth:`without`.
    """

    forbidden: tuple[int, ...] = ()

    def __init__(
        self, model: PixelFCN, rng: Uniforms, *, act_deterministically: bool = True
    ) -> None:
        self.model = model
        self.rng = rng
        self.act_deterministically = act_deterministically

    def act(self, obs: Array) -> Array:
        """Choose actions, int32 (B, H, W), for ``obs``, float32 (B, C, H, W), without learning.

        The value branch is not computed and no graph is kept.
        """
        with chainer.no_backprop_mode(), chainer.using_config("train", False):
            return self._choose(self._allowed(self.model.pi(obs)))

    def explain(self, obs: Array) -> Decision:
        """Choose the actions of :meth:`act` and tell all probabilities and the values as well."""
        with chainer.no_backprop_mode(), chainer.using_config("train", False):
            policy, values = self.model.pi_and_v(obs)
            policy = self._allowed(policy)
            probabilities = policy.all_prob.array.astype(np.float16)
            return Decision(self._choose(policy), probabilities, values.array)

    def _allowed(self, policy: PixelwiseCategorical) -> PixelwiseCategorical:
        return policy.without(self.forbidden) if self.forbidden else policy

    def _choose(self, policy: PixelwiseCategorical) -> Array:
        chosen = policy.most_probable if self.act_deterministically else policy.sample(self.rng)
        return chosen.array

    def without(self: P, actions: Sequence[int]) -> P:
        """Return this policy, on the same network, with actions it never chooses."""
        restricted = copy(self)
        restricted.forbidden = tuple(actions)
        return restricted

    def crop(self, rows: slice, columns: slice) -> None:
        """Go on with a part of the images; the hidden map of the others is forgotten."""
        hidden = self.model.get_state()
        if hidden is not None:
            # A copy, so that the memory of the others is freed; channels stay last in it.
            self.model.set_state(hidden[:, :, rows, columns].copy(order="K"))

    def stop_episode(self) -> None:
        """Forget the hidden map."""
        self.model.reset_state()


class PixelwiseA2C(PixelwisePolicy, AttributeSavingMixin, Agent):
    """Every pixel of a batch of images is an agent; all share one network.

    Parameters
    ----------
    model : PixelFCN
    optimizer : chainer.Optimizer
        Set up on ``model``.
    loss : LossConfig
    t_max : int
        Steps between updates; an episode that is longer is cut there and its return continued by
        the value map.
    rng : Uniforms
        Source of the actions; replace it to start a new stream.
    act_deterministically : bool
        As for :class:`PixelwisePolicy`.
    """

    saved_attributes = ("model", "optimizer")

    def __init__(
        self,
        model: PixelFCN,
        optimizer: chainer.Optimizer,
        *,
        loss: LossConfig,
        t_max: int,
        rng: Uniforms,
        act_deterministically: bool = True,
    ) -> None:
        super().__init__(model, rng, act_deterministically=act_deterministically)
        self.optimizer = optimizer
        self.loss = loss
        self.t_max = t_max
        self._last: LossTerms | None = None
        self._forget()

    def _forget(self) -> None:
        self._log_probs: list[chainer.Variable] = []
        self._entropies: list[chainer.Variable] = []
        self._values: list[chainer.Variable] = []
        self._rewards: list[Array] = []

    def act_and_train(self, obs: Array, reward: Array) -> Array:
        """Receive the reward of the previous step, update every ``t_max`` steps, sample actions.

        Parameters
        ----------
        obs : array, float32 (B, C, H, W)
        reward : array, float32 (B, 1, H, W)
            Reward map of the previous action; ignored at the first step of an episode.

        Returns
        -------
        array, int32 (B, H, W)
        """
        return self.observe_action(obs, reward, None)

    def observe_action(self, obs: Array, reward: Array, action: Array | None) -> Array:
        """:meth:`act_and_train` with prescribed action maps instead of sampled ones (replay)."""
        if self._values:
            self._rewards.append(reward)
            if len(self._values) == self.t_max:
                self._update(obs)
        policy, value = self.model.pi_and_v(obs)
        if action is None:
            action = policy.sample(self.rng).array
        self._log_probs.append(policy.log_prob(action))
        self._entropies.append(policy.entropy)
        self._values.append(value)
        return action

    def stop_episode_and_train(self, state: Array, reward: Array, done: bool = False) -> None:
        """Receive the last reward, update and start a new episode.

        Parameters
        ----------
        state : array, float32 (B, C, H, W)
            Observation behind the last action; read only if not ``done``.
        reward : array, float32 (B, 1, H, W)
        done : bool
            Whether that state is terminal, so that nothing is expected behind it.
        """
        self._rewards.append(reward)
        self._update(None if done else state)
        self.stop_episode()

    def stop_episode(self) -> None:
        """Forget the hidden map and any unfinished update."""
        self._forget()
        super().stop_episode()

    def _update(self, state: Array | None) -> None:
        """One optimiser step on the steps since the last one."""
        bootstrap = None
        if state is not None:
            with chainer.no_backprop_mode():
                bootstrap = self.model.v(state).array
        returns = discounted_returns(
            self._rewards, self.loss.gamma, self.model.spread_returns, bootstrap
        )
        terms = actor_critic_loss(
            self._log_probs, self._entropies, self._values, returns, self.loss
        )
        self.model.cleargrads()
        terms.total.backward()
        self.optimizer.update()
        self._last = LossTerms(*(term.array for term in terms))
        self._forget()

    def loss_arrays(self) -> dict[str, Array]:
        """Loss and its parts at the last update by :class:`LossTerms` name, left on the device."""
        return {} if self._last is None else self._last._asdict()

    def get_statistics(self) -> list[tuple[str, float]]:
        """Loss and its parts at the last update, as pairs of :class:`LossTerms` name and value."""
        return [(name, float(to_numpy(value))) for name, value in self.loss_arrays().items()]
