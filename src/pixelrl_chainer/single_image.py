"""Training on a single image, which the agents work on afterwards (Section VI-D).

No other images are needed where the reward is made from an image itself, as in saliency-driven
editing. Everything is a function of image and settings, so a training that was interrupted goes on
as if it had not been.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pooch

from .agent import PixelwiseA2C
from .backend import CPU, Array, Device, to_numpy
from .checkpoint import CheckpointStore
from .config import override
from .env import PixelEnv
from .episode import learning_rate, run_episode
from .errors import DataError, TrainingError
from .files import to_json
from .images import Image8, to_8bit, to_float
from .interrupt import stop_requests
from .masked import THRESHOLD
from .progress import Progress, no_progress
from .rng import stream
from .settings import Config
from .train import make_agent, training_settings
from .weights import network_file

logger = logging.getLogger(__name__)

SAVE_EVERY = 20
"""Episodes between checkpoints: what a power cut costs at most."""


def first_state(env: PixelEnv, photograph: Image8) -> tuple[Array, Array]:
    """Turn a photograph with mask, uint8 (H, W, 4), into a batch of one: images and target."""
    stack = to_float(np.ascontiguousarray(photograph.transpose(2, 0, 1)[None]))
    return env.task.start(stack, np.random.default_rng(0), paired=True)


def reduced(photograph: Image8, size: int) -> Image8:
    """Shrink a photograph with its mask until no side is longer than ``size`` pixels; 0: never.

    Parameters
    ----------
    photograph : numpy.ndarray, uint8 (H, W, 4)

    Returns
    -------
    numpy.ndarray, uint8 (H', W', 4)
        Means over the area of a pixel; it is inside the mask if half of its area is.

    Raises
    ------
    DataError
        If inside or outside of the mask is nothing left.
    """
    longest = max(photograph.shape[:2])
    if not 0 < size < longest:
        return photograph
    sides = [max(1, round(side * size / longest)) for side in photograph.shape[1::-1]]
    small: Image8 = cv2.resize(photograph, sides, interpolation=cv2.INTER_AREA)
    inside = small[..., 3] >= THRESHOLD
    if inside.all() or not inside.any():
        where = "outside" if inside.all() else "inside"
        raise DataError(
            f"saliency.size = {size}: nothing is left {where} the mask when it is reduced so far; "
            "expected a larger size, or 0 for the whole photograph"
        )
    small[..., 3] = np.where(inside, 255, 0)
    return small


def learn(
    config: Config,
    env: PixelEnv,
    images: Array,
    target: Array,
    folder: Path,
    *,
    device: Device = CPU,
    progress: Progress = no_progress,
) -> PixelwiseA2C:
    """Train agents on one image, without crops and augmentation; continue what ``folder`` holds.

    Parameters
    ----------
    config : Config
        ``saliency.episodes`` are trained, a minibatch of 1 each, from ``train.init``.
    env : PixelEnv
    images, target : arrays, float32 (1, 3, H, W) and (1, 1, H, W)
    folder : pathlib.Path
        Keeps the checkpoint.
    device : Device
    progress : Progress
        Shows the episodes.

    Returns
    -------
    PixelwiseA2C
        As the last episode left it; acts greedily.

    Raises
    ------
    PixelRLError
        If the initial weights cannot be used, the loss is not finite, or the checkpoint in
        ``folder`` is damaged or of another image or other settings.
    KeyboardInterrupt
        On SIGINT or SIGTERM, after the episode in progress was saved.
    """
    schedule = {"train.episodes": config.saliency.episodes, "train.batch_size": 1}
    config = override(config, schedule)
    with device.use(), stop_requests() as stopped:
        agent = make_agent(config, env, device)
        store = CheckpointStore(folder, _identity(config, env, images, target))
        done = store.resume(agent.model, agent.optimizer)
        images, target = device.send(images), device.send(target)
        with progress(config.train.episodes, "learning", done) as advance:
            for episode in range(done, config.train.episodes):
                record = _train_episode(config, env, agent, images, target, episode)
                done, stopping = episode + 1, stopped.is_set()
                if done == config.train.episodes or done % SAVE_EVERY == 0 or stopping:
                    # The last network counts (as published), so a later one scores higher.
                    store.save(agent.model, agent.optimizer, done, score=done)
                advance(1, record)
                if stopping:
                    raise KeyboardInterrupt
    return agent


def _identity(config: Config, env: PixelEnv, images: Array, target: Array) -> dict[str, Any]:
    """What a checkpoint must agree with to be continued."""
    digest = hashlib.sha256(images.tobytes() + target.tobytes()).hexdigest()
    init = config.train.init
    return {
        "config": _settings(config),
        "actions": list(env.actions.names),
        "init_sha256": pooch.file_hash(network_file(Path(init))) if init else None,
        "image": digest,
    }


def _settings(config: Config) -> dict[str, Any]:
    """Settings that decide what is learned; the guided filter is not among them."""
    settings = training_settings(config)
    del settings["saliency"]["radius"], settings["saliency"]["eps"]
    return settings


def _train_episode(
    config: Config, env: PixelEnv, agent: PixelwiseA2C, images: Array, target: Array, episode: int
) -> dict[str, float]:
    """Train one episode; return what the progress bar shows."""
    begin = time.perf_counter()
    agent.rng = stream(config.train.seed, "policy", episode)
    agent.optimizer.alpha = learning_rate(config, episode)
    reward = float(run_episode(env, agent, images, target).reward)
    if not np.isfinite(float(agent.loss_arrays()["total"])):
        raise TrainingError(
            f"episode {episode + 1}: the loss is not finite; start again in another folder with a "
            "smaller train.learning_rate"
        )
    return {"reward": reward, "images_per_second": 1 / (time.perf_counter() - begin)}


class ImageLearner:
    """Agents that train on every image before they work on it; an actor for evaluations.

    Parameters
    ----------
    config : Config
        ``train.init`` names the weights with which each training starts.
    env : PixelEnv
    root : pathlib.Path
        Keeps one folder an image, so that an interrupted evaluation continues.
    device, progress
        As for :func:`learn`.
    """

    def __init__(
        self, config: Config, env: PixelEnv, root: Path, device: Device, progress: Progress
    ) -> None:
        self.config = config
        self.env = env
        identity = to_json(_settings(config))
        self.root = root / hashlib.sha256(identity.encode()).hexdigest()[:12]
        self.device = device
        self.progress = progress
        self.rng: Any = None
        self._agent: PixelwiseA2C | None = None
        if not config.saliency.size and device == CPU:
            logger.info(
                "agents learn every photograph at its full size, as in the paper: hours each on a "
                "CPU, minutes with --set saliency.size=160"
            )

    def prepare(self, name: str, seed: int, images: Array, target: Array) -> None:
        """Train on the image called ``name``, (1, 3, H, W) with its mask, from random ``seed``."""
        config = override(self.config, {"train.seed": seed})
        photograph = np.concatenate([to_numpy(images), to_numpy(target)], axis=1)[0]
        small = reduced(to_8bit(photograph).transpose(1, 2, 0), config.saliency.size)
        self._agent = learn(
            config,
            self.env,
            *first_state(self.env, small),
            self.root / f"{name}-{seed}",
            device=self.device,
            progress=self.progress,
        )

    def act(self, obs: Array) -> Array:
        """Choose the most probable actions, int32 (B, H, W)."""
        return self._trained().act(obs)

    def stop_episode(self) -> None:
        """Forget the hidden map."""
        self._trained().stop_episode()

    def without(self, actions: Sequence[int]) -> PixelwiseA2C:
        """Return what was learned, without these actions."""
        return self._trained().without(actions)

    def _trained(self) -> PixelwiseA2C:
        if self._agent is None:
            raise RuntimeError("nothing was learned yet: call prepare first")
        return self._agent
