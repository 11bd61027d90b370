"""One experiment from an empty folder to a table: train, evaluate beside baselines, draw."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import paper, shipped, sources
from .backend import Device, to_numpy
from .config import override
from .datasets import DATASETS, SPLITS, open_dataset
from .env import make_env
from .errors import DataError
from .evaluate import rollout, starts
from .files import replace_atomically, write_json
from .images import read_image
from .imagesets import ImageSet
from .progress import Progress
from .report import caption, table
from .results import fingerprint, load_policy, run_evaluation
from .settings import Config, TrainConfig
from .task import Task
from .tasks import make_task
from .train import Trainer
from .viz import figures
from .weights import describe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What an experiment left behind: is it complete, its results and the text for people."""

    finished: bool
    folder: Path
    results: tuple[dict[str, Any], ...] = ()
    text: str = ""


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


def run_name(config: Config, origin: str) -> str:
    """Folder name of a run: task, level, actions, variant and origin (preset or weights' name)."""
    task, given = make_task(config), config.task
    changed = (given.actions, given.steps and f"T{given.steps}")
    parts = (task.name, task.column, *changed, config.network.variant, origin)
    return "-".join(part for part in parts if part)


class Experiment:
    """Train (unless weights are given), evaluate and draw; every part is done once.

    Parameters
    ----------
    config : Config
    preset : str
        Preset the configuration was built with, part of the folder name.
    root : pathlib.Path
        Folder of the runs.
    device : Device
    progress : Progress
    """

    def __init__(
        self, config: Config, preset: str, root: Path, device: Device, progress: Progress
    ) -> None:
        self.config = resolve_data(config)
        self.preset = preset
        self.root = root
        self.folder = root / run_name(config, preset)
        self.device = device
        self.progress = progress

    def run(self, weights: Path | None = None) -> Outcome:
        """Run what is still missing.

        Parameters
        ----------
        weights : pathlib.Path or None
            Evaluate these instead of training.

        Raises
        ------
        PixelRLError
            If a setting, an image or a weight file cannot be used.
        """
        test = open_images(self.config, "test")
        folder = self.folder
        if weights is None:
            checkpoint = self.train()
            if checkpoint is None:
                return Outcome(False, folder)
            weights, ours = checkpoint, shipped.find(self.config)
        else:
            ours = None
            # Weights that cannot be used should not be noticed after the baselines only.
            policy = load_policy(self.config, weights, make_env(self.config), self.device)
            variant = policy.model.config.variant
            self.config = override(self.config, {"network.variant": variant})
            folder = self.root / run_name(self.config, weights.stem)
        rows = [("none", "none", None), ("random", "random", None), ("network", "network", weights)]
        if ours:
            rows.append(("pretrained", "network", ours))
        results = [self._evaluate(*row, test, folder) for row in rows]
        text = f"{table(results)}\n\n{caption(results[0])}\n{self._warning(weights)}"
        record = folder / "results.json"
        if not record.is_file() or json.loads(record.read_text()) != results:
            self._draw(weights, test, folder)
            with replace_atomically(folder / "table.md") as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
            write_json(record, results)  # last, because it says that all is done
        return Outcome(True, folder, tuple(results), text)

    def train(self) -> Path | None:
        """Train to the end and return the best checkpoint, or None if it was interrupted."""
        config = self.config
        if config.train.init:
            start = self._find_init(config.train.init)
            if start is None:
                return None
            config = override(config, {"train.init": str(start)})
        trainer = Trainer(config, open_images(config, "train"), self.folder, self.device)
        total = config.train.episodes
        name = f"training {config.network.variant}"
        with self.progress(total, name, trainer.episodes_done) as advance:
            result = trainer.run(lambda record: advance(1, record))
        if not result.finished:
            logger.warning("stopped after episode %d of %d", result.episodes, total)
            return None
        best = trainer.store.best()
        return trainer.store.path(best.episode) if best else result.checkpoint

    def _find_init(self, init: str) -> Path | None:
        """Turn ``train.init`` into a path; see :class:`~pixelrl_chainer.settings.TrainConfig`."""
        first, _, rest = init.partition(",")
        kind, _, name = first.partition(":")
        if kind == "variant":
            changes = {"network.variant": name, "train.init": rest}
            config = override(self.config, changes)
            return Experiment(config, self.preset, self.root, self.device, self.progress).train()
        if kind != "ircnn":
            return Path(init)
        file = f"initial_weight/zhang_cvpr17_denoise_{name}_gray.caffemodel"
        folder = sources.find("official-weights")
        if folder is None or not (folder / file).is_file():
            raise DataError(
                f"train.init = {init} needs {file} of the authors' weights, not found here: run "
                "'pixelrl-chainer data fetch official-weights', or start from scratch with "
                "--set train.init="
            )
        return folder / file

    def _evaluate(
        self, name: str, agent: str, weights: Path | None, images: ImageSet, folder: Path
    ) -> dict[str, Any]:
        """Score ``agent``, or read the score of an earlier call with the same parts."""
        path = folder / f"eval-{name}.json"
        config = self.config
        if weights is not None:
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
            origin=self._origin(weights) if weights else "",
            device=self.device,
            progress=self.progress,
        )
        write_json(path, result)
        return result

    def _origin(self, weights: Path) -> str:
        """Say where weights come from; see :class:`~pixelrl_chainer.shipped.Chosen`."""
        if self.folder in weights.parents:
            return "run"
        return "shipped" if weights.parent == shipped.FOLDER else "given"

    def _draw(self, weights: Path, images: ImageSet, folder: Path) -> None:
        """Write ``steps.png`` of the first test image and, after training, ``curves.png``."""
        env = make_env(self.config)
        task, settings = env.task, self.config.eval
        ((start, target),) = starts(task, images, settings.seeds[0], settings.protocol, 1)
        policy = load_policy(self.config, weights, env, self.device)
        with self.device.use():
            sent = [self.device.send(x) for x in (start, target)]
            recorded = rollout(policy, env, *sent, record=True, tile=settings.tile)
        metric = task.metrics[0]
        states = [task.planes(to_numpy(state)) for state in recorded.states]
        pair = task.planes(target), states[0]
        figures.steps(
            [state[0] if len(state) == 1 else state.transpose(1, 2, 0) for state in states],
            [to_numpy(chosen)[0] for chosen in recorded.action_maps],
            env.actions,
            folder / "steps.png",
            title=", ".join(part for part in (images.names[0], task.column) if part),
            notes=[
                f"{metric.label}: {metric.score(state, *pair):.{metric.digits}f}"
                for state in states
            ],
        )
        log = folder / "log.jsonl"
        if log.is_file():
            records = [json.loads(line) for line in log.read_text().splitlines()]
            figures.learning_curves(records, folder / "curves.png", folder.name, metric)

    def _warning(self, weights: Path) -> str:
        """Say what the training was, so that nobody takes a quick run for the paper's."""
        if self._origin(weights) != "run":
            return f"Weights: {weights}; nothing was trained."
        train = self.config.train
        published = TrainConfig()
        schedule = ("episodes", "batch_size", "crop_size", "learning_rate", "decay_power")
        if all(getattr(train, key) == getattr(published, key) for key in schedule):
            return "Trained by the published schedule."
        return (
            f"Trained for {train.episodes} episodes of {train.batch_size} crops "
            f"{train.crop_size} x {train.crop_size} (paper: {paper.EPISODES} of "
            f"{paper.BATCH_SIZE}, {paper.CROP_SIZE} x {paper.CROP_SIZE}): "
            "shows that it learns, not how well it can."
        )
