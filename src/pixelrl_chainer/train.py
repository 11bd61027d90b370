"""The training loop: episodes of random crops, one A2C update every ``t_max`` steps."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import chainer
import numpy as np

from .agent import PixelwiseA2C
from .backend import CPU, Array, Device, to_numpy
from .batches import CropLoader
from .checkpoint import CheckpointStore
from .datasets import open_dataset
from .env import PixelEnv, make_env
from .episode import EpisodeRunner, Record
from .errors import TrainingError
from .evaluate import rollout
from .files import replace_atomically
from .imagesets import ImageSet
from .initial import initialise
from .interrupt import stop_requests
from .models.fcn import ModelConfig, PixelFCN
from .provenance import describe_run
from .rng import stream
from .settings import Config, NetworkConfig
from .task import Task

logger = logging.getLogger(__name__)

Report = Callable[[Record], None]


class TrainResult(NamedTuple):
    """Outcome of :func:`train`.

    ``episodes`` were done, ``finished`` says whether these are all and nobody asked to stop, and
    ``checkpoint`` is the folder of the last one.
    """

    episodes: int
    finished: bool
    checkpoint: Path


class Trainer:
    """One run in one folder, which can be interrupted and continued.

    Parameters
    ----------
    config : Config
    images : ImageSet
        Training images, clean ones or pairs.
    folder : pathlib.Path
        Receives ``config.json``, ``process.json``, ``log.jsonl`` and ``checkpoints/``.
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
        self.loader = make_loader(config, self.env.task, images)
        self.loader.check()
        held_out, task = config.data.validation, self.env.task
        self.validation = self._validation_batch(
            open_dataset(held_out, "test", reads=task.reads, read=task.read) if held_out else images
        )
        with device.use():
            self.agent = make_agent(config, self.env, device)
        identity = {"config": training_settings(config), "actions": list(self.env.actions.names)}
        self.store = CheckpointStore(folder / "checkpoints", identity)
        with device.use():
            self.episodes_done = self.store.resume(self.agent.model, self.agent.optimizer)
        self.runner = EpisodeRunner(config, self.env, self.agent, self.loader, device)

    def _validation_batch(self, images: ImageSet) -> tuple[Array, Array]:
        """First states and targets: centre crops of evenly spaced images, (N, C, S, S)."""
        settings = self.config.train
        chosen = np.linspace(0, len(images) - 1, min(settings.validation_images, len(images)))
        stacks = [images.load(int(index)) for index in chosen]
        sides = (side for stack in stacks for side in stack.shape[1:])
        size = min(settings.validation_size, *sides)
        crops = []
        for stack in stacks:
            top, left = ((side - size) // 2 for side in stack.shape[1:])
            crops.append(stack[:, top : top + size, left : left + size])
        rng = stream(settings.seed, "eval")
        return self.env.task.start(np.stack(crops), rng, paired=images.paired, split="validation")

    def validate(self) -> float:
        """Mean of the task's first metric with ``eval.policy`` on the fixed validation crops."""
        self.agent.rng = stream(self.config.train.seed, "eval", 1)
        images, target = self.validation
        result = rollout(self.agent, self.env, *(self.device.send(x) for x in (images, target)))
        outputs = to_numpy(result.output)
        score = self.env.task.metrics[0].score
        return float(np.mean([score(*one) for one in zip(outputs, target, images, strict=True)]))

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
        works = start < settings.episodes
        described = self.folder, self.config.to_dict(), self.device
        describe_run(*described, works=works, kind="agents", total=settings.episodes)
        log = self.folder / "log.jsonl"
        truncate_log(log, start)
        metric = self.env.task.metrics[0]
        validation, sign = f"validation_{metric.key}", 1 if metric.higher_is_better else -1
        waiting: deque[Callable[[], Record]] = deque()
        prepared = self.loader.iterate(start, settings.episodes, self.runner.prepare)
        with (
            self.device.use(),
            stop_requests() as stopped,
            log.open("a", encoding="utf-8") as lines,
            closing(prepared) as batches,
        ):
            for episode, batch in batches:
                waiting.append(self.runner.start(episode, batch))
                done = episode + 1
                checkpoint = done == settings.episodes or done % settings.checkpoint_every == 0
                stopping = False
                # The record of an episode on a GPU is read while the next one is computed there.
                lag = self.device != CPU and not checkpoint
                while waiting and (len(waiting) > lag or stopped.is_set()):
                    record = self._checked(waiting.popleft()())
                    if checkpoint and not waiting:
                        record |= {validation: self.validate(), **self._kernel()}
                    lines.write(json.dumps(record) + "\n")
                    lines.flush()
                    stopping = stopped.is_set() and not waiting
                    if stopping or validation in record:
                        score = sign * record.get(validation, -sign * np.inf)
                        self.store.save(self.agent.model, self.agent.optimizer, done, score)
                    report(record)
                if stopping:
                    break
        finished = done == settings.episodes and not stopped.is_set()
        return TrainResult(done, finished, self.store.path(done))

    def _kernel(self) -> Record:
        """What a record tells at a checkpoint of a network with reward map convolution."""
        kernel = self.agent.model.reward_kernel
        if kernel is None:
            return {}
        return {"kernel": [[float(f"{x:.4g}") for x in row] for row in to_numpy(kernel)]}

    def _checked(self, record: Record) -> Record:
        """Count an episode as done; TrainingError if its loss is not finite."""
        if not np.isfinite(record["loss_total"]):
            raise TrainingError(
                f"episode {record['episode']}: the loss is {record['loss_total']}; start another "
                f"run with a smaller train.learning_rate, if you like with train.init = "
                f"{self.store.last() or 'none, as nothing was saved yet'}"
            )
        self.episodes_done = record["episode"]
        return record


def make_loader(config: Config, task: Task, images: ImageSet) -> CropLoader:
    """Build the source of mini-batches that ``config`` asks for."""
    settings = config.train
    return CropLoader(
        images,
        settings.batch_size,
        settings.crop_size,
        settings.seed,
        flip=settings.flip,
        rotate_probability=settings.rotate,
        max_angle=task.max_angle if settings.max_angle is None else settings.max_angle,
        workers=settings.workers,
    )


def make_agent(config: Config, env: PixelEnv, device: Device) -> PixelwiseA2C:
    """Build an agent with the initial weights and the optimiser that ``config`` asks for.

    Raises
    ------
    WeightsError
        If the initial weights cannot be used.
    """
    settings = config.train
    model = PixelFCN(
        ModelConfig(config.network.variant, len(env.actions), env.task.channels),
        stream(settings.seed, "init"),
        stock=config.network.conv == "stock",
    )
    model.use_precision(config.network.precision)
    if settings.init:
        done = initialise(model, Path(settings.init))
        logger.info(
            "started from %s: %d arrays copied, drawn anew: %s",
            settings.init,
            len(done.copied),
            ", ".join(done.fresh) or "none",
        )
    model.to_device(device.chainer_name)
    optimizer = chainer.optimizers.Adam(alpha=settings.learning_rate)
    optimizer.setup(model)
    return PixelwiseA2C(
        model,
        optimizer,
        loss=config.loss,
        t_max=env.task.t_max,
        rng=stream(settings.seed, "policy"),
        act_deterministically=config.eval.policy == "greedy",
    )


def training_settings(config: Config) -> dict[str, Any]:
    """The part of ``config`` that decides which weights are kept, as nested dictionaries."""
    settings = config.to_dict()
    del settings["data"]["test"], settings["data"]["color"], settings["train"]["workers"]
    if config.network.precision == NetworkConfig.precision:
        del settings["network"]["precision"]  # so that older checkpoints, without it, continue
    settings["eval"] = {"policy": config.eval.policy}
    return settings


def truncate_log(path: Path, last: int, key: str = "episode") -> None:
    """Drop records with a ``key`` above ``last``, made again later, and a half-written line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)[key] <= last:
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
