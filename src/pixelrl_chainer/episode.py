"""One training episode: its batch, prepared ahead; its run; its record, read when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .agent import PixelwiseA2C
from .backend import Array, Device, Uploader, read_later, xp_of
from .batches import CropLoader
from .env import PixelEnv
from .rng import DrawnUniforms, stream
from .settings import Config

Record = dict[str, Any]
"""A line of ``log.jsonl``; keys and units in docs/TRAINING.md."""


class Batch(NamedTuple):
    """What an episode needs.

    ``images`` and ``target`` are float32 (B, C, H, W) and ``uniforms`` float32 (T, B, 1, H, W), the
    random numbers behind the actions, all on the device; ``score`` is that of the images.
    """

    images: Array
    target: Array
    uniforms: Array
    score: float


class Outcome(NamedTuple):
    """What an episode brought, on the device.

    ``reward`` has no dimensions: mean over batch and pixels of the discounted sum of rewards,
    Eq. (20). ``action_shares``, (A,), are the shares of the actions among all that the pixels chose
    in all steps.
    """

    reward: Array
    action_shares: Array


def run_episode(env: PixelEnv, agent: PixelwiseA2C, images: Array, target: Array) -> Outcome:
    """Train on one batch for one episode; on a GPU, without waiting for it.

    Parameters
    ----------
    env : PixelEnv
    agent : PixelwiseA2C
    images, target : arrays, float32 (B, C, H, W)
    """
    observations, done = env.reset(images, target), False
    reward, total, weight = None, 0.0, 1.0
    counts: Array = 0
    while not done:
        actions = agent.act_and_train(observations, reward)
        counts = counts + _count(actions, len(env.actions.names))
        observations, reward, done = env.step(actions)
        total = total + weight * reward.mean()
        weight *= agent.loss.gamma
    agent.stop_episode_and_train(observations, reward, done)
    return Outcome(total, counts / counts.sum())


def _count(action_maps: Array, n_actions: int) -> Array:
    """Count the pixels that chose each action: integers (A,), on a GPU without waiting for them."""
    xp = xp_of(action_maps)
    # CuPy's bincount would wait: it looks for the largest number first.
    return xp.stack([xp.count_nonzero(action_maps == action) for action in range(n_actions)])


def learning_rate(config: Config, episode: int) -> float:
    """Adam's alpha during ``episode``, counted from 0 (published schedule, set after each one)."""
    train = config.train
    return float(train.learning_rate * (1 - episode / train.episodes) ** train.decay_power)


class EpisodeRunner:
    """Trains an agent one episode at a time.

    Everything random is a function of the seed and the number of the episode.

    Parameters
    ----------
    config : Config
    env : PixelEnv
    agent : PixelwiseA2C
    loader : CropLoader
        Source of crops.
    device : Device
        Where agent and environment work.
    """

    def __init__(
        self,
        config: Config,
        env: PixelEnv,
        agent: PixelwiseA2C,
        loader: CropLoader,
        device: Device,
    ) -> None:
        self.config = config
        self.env = env
        self.agent = agent
        self.loader = loader
        self._uploader = Uploader(device)
        self._last_end = 0.0

    def prepare(self, episode: int) -> Batch:
        """Make the batch of an episode and send it to the device; safe to call from any thread."""
        seed = self.config.train.seed
        task = self.env.task
        images, target = task.start(
            self.loader.batch(episode),
            stream(seed, "corruption", episode),
            paired=self.loader.images.paired,
        )
        shape = (self.env.steps, len(images), 1, *images.shape[2:])
        uniforms = stream(seed, "policy", episode).random(shape, np.float32)
        score = float(task.curve(images, target))
        images, target, uniforms = self._uploader.send(images, target, uniforms)
        return Batch(images, target, uniforms, score)

    def start(self, episode: int, batch: Batch) -> Callable[[], Record]:
        """Train one episode; return the function that waits for its end and gives its record.

        On a GPU most of the work is still to be done when this returns.
        """
        begin = time.perf_counter()
        alpha = learning_rate(self.config, episode)
        self.agent.rng = DrawnUniforms(batch.uniforms)
        self.agent.optimizer.alpha = alpha
        outcome = run_episode(self.env, self.agent, batch.images, batch.target)
        task = self.env.task
        score = task.metrics[0].key
        actions = range(len(self.env.actions))
        values = {"reward": outcome.reward, "output": task.curve(self.env.images, batch.target)}
        values.update({f"action_{i}": outcome.action_shares[i] for i in actions})
        kernel = self._kernel_values()
        read = read_later(values | kernel | self.agent.loss_arrays())

        def finish() -> Record:
            found = read()
            now = time.perf_counter()
            seconds, self._last_end = now - max(begin, self._last_end), now
            return {
                "episode": episode + 1,
                "reward": found.pop("reward"),
                f"{score}_input": batch.score,  # and the batch is kept until here, see Uploader
                f"{score}_output": found.pop("output"),
                "learning_rate": alpha,
                "seconds": seconds,
                "images_per_second": len(batch.images) / seconds,
                "action_shares": [found.pop(f"action_{i}") for i in actions],
                **{name: found.pop(name) for name in kernel},
                **{f"loss_{name}": value for name, value in found.items()},
            }

        return finish

    def _kernel_values(self) -> dict[str, Array]:
        """Centre and sum of the kernel of reward map convolution; nothing without it."""
        kernel = self.agent.model.reward_kernel
        if kernel is None:
            return {}
        centre = len(kernel) // 2
        return {"kernel_centre": kernel[centre, centre], "kernel_sum": kernel.sum()}
