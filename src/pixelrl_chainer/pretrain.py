"""Supervised pre-training: a regression network whose layers an actor-critic can start from.

Section VI-C starts local colour enhancement from a network that was trained to predict the target.
The published weight file turns out to predict the difference between the observations of target and
input, in CIELab divided by 100, 127 and 127; so does this one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import chainer
import numpy as np
from chainer import functions as F
from chainer import initializers

from . import paper
from .backend import CPU, Array, Device
from .batches import pass_starts
from .checkpoint import CheckpointStore
from .env import make_env
from .episode import Record
from .errors import ConfigError, TrainingError
from .imagesets import ImageSet
from .interrupt import stop_requests
from .models.blocks import Convolution, DilatedBlock
from .provenance import describe_run
from .rng import stream
from .settings import Config
from .train import TrainResult, make_loader, training_settings, truncate_log
from .weights import network_arrays, save_network


class RegressionNet(chainer.Chain):
    """3x3 convolutions with the dilations of the trunk and of one branch, and a linear last one.

    Parameter paths equal the keys of the published file of the colour task.

    Parameters
    ----------
    channels : int
        Of an observation.
    rng : numpy.random.Generator
        Source of the initial weights (HeNormal; biases 0).
    stock : bool
        Use Chainer's own convolutions also on the CPU.
    """

    def __init__(self, channels: int, rng: np.random.Generator, *, stock: bool = False) -> None:
        super().__init__()
        seed = rng.integers(2**32, dtype=np.uint64)
        he = initializers.HeNormal(rng=np.random.RandomState(int(seed)))
        k = paper.HIDDEN_CHANNELS
        with self.init_scope():
            self.conv1 = Convolution(channels, k, relu=True, initial=he, stock=stock)
            self.diconv2, self.diconv3, self.diconv4, self.diconv5, self.diconv6 = (
                DilatedBlock(k, k, dilation, he, stock) for dilation in (2, 3, 4, 3, 2)
            )
            self.conv7 = Convolution(k, channels, initial=he, stock=stock)

    def forward(self, observations: Array) -> chainer.Variable:
        """Predict observations of the target, (B, C, H, W), from those of the input."""
        x = self.conv1(observations)
        for layer in (self.diconv2, self.diconv3, self.diconv4, self.diconv5, self.diconv6):
            x = layer(x)
        return observations + self.conv7(x)


class Pretrainer:
    """One supervised training in one folder, which can be interrupted and continued.

    The schedule is that of ``config.train``: mean squared error, Adam with alpha =
    learning_rate * (1 - step / steps) ** decay_power.

    Parameters
    ----------
    config : Config
    images : ImageSet
        Training images, pairs or clean ones.
    folder : pathlib.Path
        Receives ``config.json``, ``log.jsonl``, ``checkpoints/`` and at last ``regression.npz``.
    epochs : int
        Passes over the images (published: 200).
    device : Device

    Attributes
    ----------
    steps, done : int
        Mini-batches of all epochs, and those that are done.

    Raises
    ------
    PixelRLError
        If a setting or an image cannot be used, the task has no target to predict, or the folder's
        checkpoint is damaged or of another configuration.
    """

    def __init__(
        self, config: Config, images: ImageSet, folder: Path, epochs: int, device: Device = CPU
    ) -> None:
        self.config, self.folder, self.device = config, folder, device
        self.task = make_env(config).task
        if self.task.observes_target:
            raise ConfigError(f"{self.task.name} has no target to predict: pretrain another task")
        settings = config.train
        self.loader = make_loader(config, self.task, images)
        self.loader.check()
        self.steps = epochs * len(pass_starts(len(images), settings.batch_size))
        with device.use():
            self.model = RegressionNet(
                self.task.channels,
                stream(settings.seed, "init"),
                stock=config.network.conv == "stock",
            )
            self.model.to_device(device.chainer_name)
            self.optimizer = chainer.optimizers.Adam(alpha=settings.learning_rate)
            self.optimizer.setup(self.model)
            identity = {"config": training_settings(config), "epochs": epochs}
            self.store = CheckpointStore(folder / "checkpoints", identity)
            self.done = self.store.resume(self.model, self.optimizer)

    def run(self, report: Callable[[Record], None] = lambda record: None) -> TrainResult:
        """Train until the last step, or until SIGINT or SIGTERM; continue an earlier run.

        Parameters
        ----------
        report : callable
            Receives the record of each step, which is also a line of ``log.jsonl``.

        Raises
        ------
        TrainingError
            If the loss is no longer finite; the step is not saved.
        OSError
            If a checkpoint or the log cannot be written.
        """
        works = self.done < self.steps
        described = self.folder, self.config.to_dict(), self.device
        describe_run(*described, works=works, kind="regression", total=self.steps)
        log = self.folder / "log.jsonl"
        truncate_log(log, self.done)
        prepared = self.loader.iterate(self.done, self.steps, self._prepare)
        every = self.config.train.checkpoint_every
        with (
            self.device.use(),
            stop_requests() as stopped,
            log.open("a", encoding="utf-8") as lines,
            closing(prepared) as batches,
        ):
            for step, batch in batches:
                record = self._step(step, batch)
                self.done = step + 1
                lines.write(json.dumps(record) + "\n")
                lines.flush()
                if stopped.is_set() or self.done == self.steps or self.done % every == 0:
                    self.store.save(self.model, self.optimizer, self.done, -record["loss"])
                report(record)
                if stopped.is_set():
                    break
        finished = self.done == self.steps
        if finished:
            save_network(network_arrays(self.model), self.folder / "regression.npz")
        return TrainResult(self.done, finished, self.folder / "regression.npz")

    def _prepare(self, step: int) -> tuple[Array, Array]:
        """Observations of input and target of one mini-batch."""
        rng = stream(self.config.train.seed, "corruption", step)
        pair = self.task.start(self.loader.batch(step), rng, paired=self.loader.images.paired)
        seen, wanted = (self.task.observe(images, None) for images in pair)
        return seen, wanted

    def _step(self, step: int, batch: tuple[Array, Array]) -> Record:
        """One optimiser step; returns its record."""
        begin = time.perf_counter()
        settings = self.config.train
        share = 1 - step / self.steps
        self.optimizer.alpha = float(settings.learning_rate * share**settings.decay_power)
        seen, wanted = (self.device.send(part) for part in batch)
        loss = F.mean_squared_error(self.model(seen), wanted)
        self.model.cleargrads()
        loss.backward()
        self.optimizer.update()
        value = float(loss.array)
        if not np.isfinite(value):
            raise TrainingError(
                f"step {step + 1}: the loss is {value}; start another run with a smaller "
                "train.learning_rate"
            )
        record: dict[str, Any] = {
            "episode": step + 1,
            "loss": value,
            "loss_input": float(((seen - wanted) ** 2).mean()),
            "learning_rate": self.optimizer.alpha,
            "seconds": time.perf_counter() - begin,
        }
        return record
