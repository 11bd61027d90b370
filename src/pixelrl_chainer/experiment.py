"""One network from an empty folder to its scores: initial weights, training, evaluation."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import paper, shipped, sources
from .backend import Device
from .config import Overrides, override, read_experiment
from .datasets import DATASETS, SPLITS, open_dataset
from .errors import DataError
from .files import write_json
from .images import read_image
from .imagesets import ImageSet
from .pretrain import Pretrainer
from .progress import Progress
from .results import fingerprint, run_evaluation
from .settings import Config, TrainConfig
from .task import Task
from .tasks import make_task
from .train import Trainer
from .weights import describe

logger = logging.getLogger(__name__)


OF_ONE_EXPERIMENT = {
    **{"task.level": None, "task.actions": None, "task.steps": None},
    "train.init": "",
}
"""What must not go from one experiment to another, of another task."""


def data_spec(names: Sequence[str], task: Task) -> list[str]:
    """Replace ``auto`` by the first of the task's data sets that is on this machine."""
    found = next((name for name in task.data if DATASETS[name].find()), task.data[-1])
    return [found if name == "auto" else name for name in names]


def resolve_data(config: Config) -> Config:
    """Return ``config`` with the data sets that ``auto`` stands for, so that records name them."""
    task = make_task(config)
    return override(
        config, {f"data.{split}": data_spec(getattr(config.data, split), task) for split in SPLITS}
    )


def open_images(config: Config, split: str) -> ImageSet:
    """Open the training or test images that ``config``, without ``auto``, names."""
    task = make_task(config)
    keeps_color = config.data.color and split == "test"
    return open_dataset(
        getattr(config.data, split),
        split,
        reads=task.reads,
        read=read_image if keeps_color else task.read,
    )


def run_name(config: Config, origin: str, *, variant: bool = True) -> str:
    """Folder name of a run: task, level, actions, variant, seed, preset or weights' name."""
    task, given = make_task(config), config.task
    changed = (given.actions, given.steps and f"T{given.steps}")
    seed = f"seed{config.train.seed}" if config.train.seed else ""
    network = config.network.variant if variant else ""
    parts = (task.name, task.column, *changed, network, seed, origin)
    return "-".join(part for part in parts if part)


class Experiment:
    """One trained network: train it, score it; every part is done once and then read again.

    Parameters
    ----------
    config : Config
    preset : str
        Preset the configuration was built with, part of the folder name.
    root : pathlib.Path
        Folder of the runs.
    device : Device
    progress : Progress

    Attributes
    ----------
    config : Config
        Names the data sets that ``auto`` stands for.
    folder : pathlib.Path
        Of the run.
    """

    def __init__(
        self, config: Config, preset: str, root: Path, device: Device, progress: Progress
    ) -> None:
        self.given = config
        self.config = resolve_data(config)
        self.preset = preset
        self.root = root
        self.folder = root / run_name(config, preset)
        self.device = device
        self.progress = progress

    def changed(self, changes: Overrides) -> Experiment:
        """Return the same experiment with other settings, in a folder of its own."""
        config = override(self.given, changes)
        return Experiment(config, self.preset, self.root, self.device, self.progress)

    def weights(self) -> Path | None:
        """Return what is evaluated: the trained network, or what agents of one image start from.

        Errors as for :meth:`train`.
        """
        if not make_task(self.config).learns_from:
            return self.train()
        if self.config.train.init:
            return self._start(self.config.train.init)
        chosen = shipped.choose_start(None, self.config)
        return chosen and chosen.weights

    def train(self) -> Path:
        """Train to the end and return the best checkpoint.

        Raises
        ------
        KeyboardInterrupt
            If the training was interrupted; another call continues.
        PixelRLError
            If a setting, an image or a weight file cannot be used.
        """
        start = self._start(self.config.train.init)
        config = override(self.config, {"train.init": "" if start is None else str(start)})
        trainer = Trainer(config, open_images(config, "train"), self.folder, self.device)
        total = config.train.episodes
        name = f"training {config.network.variant}"
        with self.progress(total, name, trainer.episodes_done) as advance:
            result = trainer.run(lambda record: advance(1, record))
        if not result.finished:
            logger.warning("stopped after episode %d of %d", result.episodes, total)
            raise KeyboardInterrupt
        best = trainer.store.best()
        return trainer.store.path(best.episode) if best else result.checkpoint

    def _start(self, init: str) -> Path | None:
        """Turn ``train.init`` into a path; see :class:`~pixelrl_chainer.settings.TrainConfig`."""
        kind, _, rest = init.partition(":")
        if kind == "variant":
            name, _, start = rest.partition(",")
            return self.changed({"network.variant": name, "train.init": start}).train()
        *others, last = init.split("|")
        for one in others:
            kind, _, name = one.partition(":")
            found = sources.published_weights(name) if kind == "published" else self._start(one)
            if found is not None:
                return found
        kind, _, name = last.partition(":")
        if not last:
            return None
        if kind == "experiment":
            return self.changed({**OF_ONE_EXPERIMENT, **read_experiment(Path(name))}).train()
        if kind == "pretrain":
            return self._pretrain(int(name))
        if kind == "ircnn":
            name = f"initial_weight/zhang_cvpr17_denoise_{name}_gray.caffemodel"
        if kind not in ("ircnn", "published"):
            return Path(last)
        path = sources.published_weights(name)
        if path is None:
            raise DataError(
                f"train.init = {init} needs {name} of the authors' weights, not found here: run "
                "'pixelrl-chainer data fetch official-weights', or start from scratch with "
                "--set train.init="
            )
        return path

    def _pretrain(self, epochs: int) -> Path:
        """Train the regression network of this task, once for all variants."""
        config = override(self.config, {"network.variant": "convgru", "train.init": ""})
        task = make_task(config)
        parts = (task.name, task.column, "regression", self.preset)
        folder = self.root / "-".join(filter(None, parts))
        trainer = Pretrainer(config, open_images(config, "train"), folder, epochs, self.device)
        with self.progress(trainer.steps, "pretraining", trainer.done) as advance:
            result = trainer.run(lambda record: advance(1, record))
        if not result.finished:
            raise KeyboardInterrupt
        return result.checkpoint

    def evaluate(
        self,
        name: str,
        agent: str,
        weights: Path | None,
        folder: Path,
        changes: Overrides | None = None,
    ) -> dict[str, Any]:
        """Score ``agent``, or read the score of an earlier call with the same parts.

        Parameters
        ----------
        name : str
            The score is kept as ``eval-NAME.json``.
        agent : str
            ``network``, ``random`` or ``none``.
        weights : pathlib.Path or None
        folder : pathlib.Path
        changes : mapping or None
            Other settings of this evaluation.
        """
        path = folder / f"eval-{name}.json"
        config = override(self.config, changes or {})
        images = open_images(config, "test")
        if weights is not None and not make_task(config).learns_from:
            config = override(config, {"network.variant": describe(weights)["variant"]})
        names = list(images.names[: config.eval.limit])
        wanted = json.loads(json.dumps([config.to_dict(), fingerprint(weights), names]))
        if path.is_file():
            known: dict[str, Any] = json.loads(path.read_text())
            scored = [row["name"] for row in known["images"][: len(names)]]
            if [known["config"], known.get("weights_sha256"), scored] == wanted:
                return known
        result = run_evaluation(
            config,
            agent,
            weights,
            images,
            origin=self._origin(weights),
            device=self.device,
            progress=self.progress,
        )
        write_json(path, result)
        return result

    def _origin(self, weights: Path | None) -> str:
        """Say where weights come from, as :func:`pixelrl_chainer.shipped.choose` does."""
        if weights is not None and weights.parent == shipped.FOLDER:
            return "shipped"
        return "run" if weights is not None and self.root in weights.parents else "given"

    def schedule(self) -> str:
        """Say what the training was, so that nobody takes a quick run for the paper's."""
        train, published = self.config.train, TrainConfig()
        if make_task(self.config).learns_from:
            alone = self.config.saliency
            size = f"{alone.size} pixels" if alone.size else "whole"
            return (
                f"Preset {self.preset}: {alone.episodes} episodes on every image, longest side "
                f"{size} (paper: {paper.SALIENCY_EPISODES}, whole)."
            )
        keys = ("episodes", "batch_size", "crop_size", "learning_rate", "decay_power")
        if all(getattr(train, key) == getattr(published, key) for key in keys):
            return "Trained by the published schedule."
        return (
            f"Preset {self.preset}: trained for {train.episodes} episodes of {train.batch_size} "
            f"crops {train.crop_size} x {train.crop_size} (paper: {paper.EPISODES} of "
            f"{paper.BATCH_SIZE}, {paper.CROP_SIZE} x {paper.CROP_SIZE}): "
            "shows that it learns, not how well it can."
        )
