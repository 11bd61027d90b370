"""The training loop: episodes of random crops, one A2C update every ``t_max`` steps."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import chainer
import numpy as np

from .agent import PixelwiseA2C
from .backend import CPU, Array, Device, to_numpy
from .batches import CropLoader
from .checkpoint import CheckpointStore
from .datasets import ImageSet, open_dataset
from .env import PixelEnv, level_of, make_env
from .errors import TrainingError
from .evaluate import rollout
from .files import replace_atomically, write_json
from .interrupt import stop_requests
from .metrics import psnr
from .models.fcn import ModelConfig, PixelFCN
from .rng import stream
from .settings import Config
from .weights import initialise

logger = logging.getLogger(__name__)

Report = Callable[[dict[str, Any]], None]


class TrainResult(NamedTuple):
    """Outcome of :func:`train`.

    ``episodes`` were done, ``finished`` says whether these are all and nobody asked to stop, and
    ``checkpoint`` is the folder of the last one.
    """

    episodes: int
    finished: bool
    checkpoint: Path


def run_episode(env: PixelEnv, agent: PixelwiseA2C, corrupted: Array, clean: Array) -> float:
    """Train on one batch for one episode.

    Parameters
    ----------
    env : PixelEnv
    agent : PixelwiseA2C
    corrupted, clean : arrays, float32 (B, C, H, W)

    Returns
    -------
    float
        Mean over batch and pixels of the discounted sum of rewards, Eq. (20).
    """
    observations, done = env.reset(corrupted, clean), False
    reward, total, weight = None, 0.0, 1.0
    while not done:
        actions = agent.act_and_train(observations, reward)
        observations, reward, done = env.step(actions)
        total = total + weight * reward.mean()
        weight *= agent.loss.gamma
    agent.stop_episode_and_train(observations, reward, done)
    return float(total)


def learning_rate(config: Config, episode: int) -> float:
    """Adam's alpha during ``episode``, counted from 0 (published schedule, set after each one)."""
    train = config.train
    return float(train.learning_rate * (1 - episode / train.episodes) ** train.decay_power)


class Trainer:
    """One run in one folder, which can be interrupted and continued.

    Parameters
    ----------
    config : Config
    images : ImageSet
        Clean training images.
    folder : pathlib.Path
        Receives ``config.json``, ``log.jsonl`` and ``checkpoints/``.
    device : Device

    Attributes
    ----------
    episodes_done : int
        Episodes that the agent has learned from, those of an earlier run in the folder included.

    Raises
    ------
    PixelRLError
        If a setting, an image or the initial weights cannot be used, or the folder's checkpoint is
        damaged or of another configuration.
    """

    def __init__(
        self, config: Config, images: ImageSet, folder: Path, device: Device = CPU
    ) -> None:
        self.config = config
        self.folder = folder
        self.device = device
        self.env = make_env(config)
        self.level = level_of(config, self.env.task)
        settings = config.train
        self.loader = CropLoader(
            images,
            settings.batch_size,
            settings.crop_size,
            settings.seed,
            flip=settings.flip,
            rotate_probability=settings.rotate,
            max_angle=settings.max_angle,
            workers=settings.workers,
        )
        self.loader.check()
        held_out = config.data.validation
        self.validation = self._validation_batch(
            open_dataset(held_out, "test") if held_out else images
        )
        self.agent = self._make_agent()
        identity = {"config": training_settings(config), "actions": list(self.env.actions.names)}
        self.store = CheckpointStore(folder / "checkpoints", identity)
        self.episodes_done = self.store.resume(self.agent.model, self.agent.optimizer)

    def _make_agent(self) -> PixelwiseA2C:
        settings = self.config.train
        model = PixelFCN(
            ModelConfig(self.config.network.variant, len(self.env.actions), self.env.task.channels),
            stream(settings.seed, "init"),
            stock=self.config.network.conv == "stock",
        )
        if settings.init:
            done = initialise(model, Path(settings.init))
            logger.info(
                "started from %s: %d arrays copied, drawn anew: %s",
                settings.init,
                len(done.copied),
                ", ".join(done.fresh) or "none",
            )
        model.to_device(self.device.chainer_name)
        optimizer = chainer.optimizers.Adam(alpha=settings.learning_rate)
        optimizer.setup(model)
        return PixelwiseA2C(
            model,
            optimizer,
            loss=self.config.loss,
            t_max=self.env.task.t_max,
            rng=stream(settings.seed, "policy"),
            act_deterministically=self.config.eval.policy == "greedy",
        )

    def _validation_batch(self, images: ImageSet) -> tuple[Array, Array]:
        """Clean and corrupted centre crops of evenly spaced images, (N, 1, S, S)."""
        settings = self.config.train
        chosen = np.linspace(0, len(images) - 1, min(settings.validation_images, len(images)))
        clean = [images.load(int(index)) for index in chosen]
        size = min(settings.validation_size, *(side for image in clean for side in image.shape))
        crops = []
        for image in clean:
            top, left = ((side - size) // 2 for side in image.shape)
            crops.append(image[top : top + size, left : left + size])
        batch = np.stack(crops)[:, None]
        rng = stream(settings.seed, "eval")
        return batch, self.env.task.degrade(batch, rng, self.level)

    def validate(self) -> float:
        """Mean PSNR in dB of the policy (``eval.policy``) on the fixed validation crops."""
        self.agent.rng = stream(self.config.train.seed, "eval", 1)
        clean, corrupted = self.validation
        result = rollout(self.agent, self.env, self.device.send(corrupted))
        outputs = to_numpy(result.output)
        return float(np.mean([psnr(*pair) for pair in zip(outputs, clean, strict=True)]))

    def run(self, report: Report = lambda record: None) -> TrainResult:
        """Train until the last episode, or until SIGINT or SIGTERM; continue an earlier run.

        A signal lets the current episode end and then saves a checkpoint, which is not a candidate
        for the best one, so that interruptions change no result; a second one stops at once, as
        ``KeyboardInterrupt``.

        Parameters
        ----------
        report : callable
            Receives the record of each episode, which is also a line of ``log.jsonl``; keys and
            units in docs/TRAINING.md.

        Raises
        ------
        TrainingError
            If the loss is no longer finite; the episode is not saved.
        OSError
            If a checkpoint or the log cannot be written.
        """
        settings = self.config.train
        start = done = self.episodes_done
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "config.json", self.config.to_dict())
        log = self.folder / "log.jsonl"
        truncate_log(log, start)
        with stop_requests() as stopped, log.open("a", encoding="utf-8") as lines:
            for episode, clean in self.loader.iterate(start, settings.episodes):
                record = self._episode(episode, clean)
                self.episodes_done = done = episode + 1
                if done == settings.episodes or done % settings.checkpoint_every == 0:
                    record["validation_psnr"] = self.validate()
                lines.write(json.dumps(record) + "\n")
                lines.flush()
                stopping = stopped.is_set()
                if stopping or "validation_psnr" in record:
                    score = record.get("validation_psnr", -np.inf)
                    self.store.save(self.agent.model, self.agent.optimizer, done, score)
                report(record)
                if stopping:
                    break
        finished = done == settings.episodes and not stopped.is_set()
        return TrainResult(done, finished, self.store.path(done))

    def _episode(self, episode: int, clean: Array) -> dict[str, Any]:
        """Train one episode and return its record."""
        begin = time.perf_counter()
        seed = self.config.train.seed
        corrupted = self.env.task.degrade(clean, stream(seed, "corruption", episode), self.level)
        self.agent.rng = stream(seed, "policy", episode)
        self.agent.optimizer.alpha = learning_rate(self.config, episode)
        reward = run_episode(
            self.env, self.agent, self.device.send(corrupted), self.device.send(clean)
        )
        output = to_numpy(self.env.images)
        seconds = time.perf_counter() - begin
        record = {
            "episode": episode + 1,
            "reward": reward,
            "psnr_input": _batch_psnr(corrupted, clean),
            "psnr_output": _batch_psnr(output, clean),
            "learning_rate": self.agent.optimizer.alpha,
            "seconds": seconds,
            "images_per_second": len(clean) / seconds,
        }
        record.update((f"loss_{name}", value) for name, value in self.agent.get_statistics())
        if not np.isfinite(record["loss_total"]):
            raise TrainingError(
                f"episode {episode + 1}: the loss is {record['loss_total']}; start another run "
                f"with a smaller train.learning_rate, if you like with train.init = "
                f"{self.store.last() or 'none, as nothing was saved yet'}"
            )
        return record


def _batch_psnr(output: Array, clean: Array) -> float:
    """PSNR in dB of a whole batch, as floats, for the learning curve."""
    return float(-10 * np.log10(np.mean((output - clean) ** 2) + 1e-12))


def training_settings(config: Config) -> dict[str, Any]:
    """The part of ``config`` that decides which weights are kept, as nested dictionaries."""
    settings = config.to_dict()
    del settings["data"]["test"], settings["train"]["workers"]
    settings["eval"] = {"policy": config.eval.policy}
    return settings


def truncate_log(path: Path, episode: int) -> None:
    """Drop records after ``episode``, which will be made again, and a half-written last line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["episode"] <= episode:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    with replace_atomically(path) as temporary:
        temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def train(
    config: Config,
    images: ImageSet,
    folder: Path,
    device: Device = CPU,
    report: Report = lambda record: None,
) -> TrainResult:
    """Train ``config`` on ``images`` in ``folder``; see :class:`Trainer`."""
    return Trainer(config, images, folder, device).run(report)
