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
from .datasets import SPLITS, ImageSet, open_dataset
from .env import level_of, make_env
from .errors import DataError
from .evaluate import corrupted_images, rollout
from .files import replace_atomically, write_json
from .metrics import psnr
from .progress import Progress
from .report import caption, table
from .results import fingerprint, load_policy, run_evaluation
from .settings import Config, TrainConfig
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


def data_spec(names: Sequence[str]) -> list[str]:
    """Replace ``auto`` by BSD68 if it is on this machine, else by the bundled photographs."""
    found = "bsd68" if sources.find("bsd68") else "bundled"
    return [found if name == "auto" else name for name in names]


def resolve_data(config: Config) -> Config:
    """Return ``config`` with the data sets that ``auto`` stands for, so that records name them."""
    return override(
        config, {f"data.{split}": data_spec(getattr(config.data, split)) for split in SPLITS}
    )


def open_images(config: Config, split: str) -> ImageSet:
    """Open the training or test images that ``config``, without ``auto``, names."""
    return open_dataset(getattr(config.data, split), split)


def run_name(config: Config, origin: str) -> str:
    """Folder name of a run: task, level, variant and origin (a preset, or the weights' name)."""
    env = make_env(config)
    level = f"{env.task.level_name}{level_of(config, env.task):g}"
    return f"{config.task.name}-{level}-{config.network.variant}-{origin}"


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
            config, agent, weights, images, device=self.device, progress=self.progress
        )
        write_json(path, result)
        return result

    def _draw(self, weights: Path, images: ImageSet, folder: Path) -> None:
        """Write ``steps.png`` of the first test image and, after training, ``curves.png``."""
        env = make_env(self.config)
        level = level_of(self.config, env.task)
        seeds = self.config.eval.seeds
        pair = corrupted_images(env, images, level, seeds[0], self.config.eval.protocol, 1)
        ((clean, corrupted),) = pair
        policy = load_policy(self.config, weights, env, self.device)
        with self.device.use():
            recorded = rollout(
                policy, env, self.device.send(corrupted), record=True, tile=self.config.eval.tile
            )
        states = [to_numpy(state)[0, 0] for state in recorded.states]
        figures.steps(
            states,
            [to_numpy(chosen)[0] for chosen in recorded.action_maps],
            env.actions,
            folder / "steps.png",
            title=f"{images.names[0]}, {env.task.level_name} {level:g}",
            notes=[f"{psnr(state[None], clean[0]):.2f} dB" for state in states],
        )
        log = folder / "log.jsonl"
        if log.is_file():
            records = [json.loads(line) for line in log.read_text().splitlines()]
            figures.learning_curves(records, folder / "curves.png", folder.name)

    def _warning(self, weights: Path) -> str:
        """Say what the training was, so that nobody takes a quick run for the paper's."""
        if self.folder not in weights.parents:
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
