"""The experiments of RL-Restore's paper: trainings, and scores for Tables 3 to 7 and Fig. 6.

Everything lies below one folder for each preset and profile. What is finished is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .. import paper
from ..backend import Device
from ..errors import ConfigError
from ..files import write_json
from ..progress import Progress
from ..result_tables import markdown, spread
from .distortions import GROUPS
from .evaluate import METRICS, TASK, Result, not_comparable, published, run_evaluation
from .joint import JointTrainer
from .patches import open_images
from .run import Run
from .settings import RestoreConfig
from .testsets import PairFolder, test_patches, write_pairs
from .train_agent import AgentTrainer
from .train_tools import ToolTrainer
from .weights import load_toolbox, load_trained


class Variant(NamedTuple):
    """One training of the paper's ablations.

    Attributes
    ----------
    rows : tuple of str
        Keys in :data:`pixelrl_chainer.paper.RL_RESTORE_TABLES` of what it is scored for.
    size : int
        Tools of its toolbox.
    own_tools : bool
        Whether it trains tools of its own even where other tools of this size are given.
    joint : bool
        Whether tools and agent of ``default`` are trained jointly, instead of an agent.
    """

    rows: tuple[str, ...]
    size: int = 12
    own_tools: bool = False
    joint: bool = False


VARIANTS: dict[str, Variant] = {
    "default": Variant(("size12", "length3", "noise", "psnr", "stop")),
    "joint": Variant(("joint", TASK), joint=True),
    "size6": Variant(("size6",), size=6),
    "size18": Variant(("size18",), size=18),
    "length2": Variant(("length2",)),
    "length4": Variant(("length4",)),
    "original": Variant(("original",), own_tools=True),
    "reward-ssim": Variant(("ssim",)),
    "reward-final-psnr": Variant(("final-psnr",)),
    "reward-final-mse": Variant(("final-mse",)),
    "no-stop": Variant(("no-stop",)),
}
"""By the name of the experiment file with the settings that differ."""


class Interrupted(Exception):
    """A training was stopped; what is done is saved."""


@dataclass(frozen=True)
class Laboratory:
    """Where trainings lie and with what they are done.

    Attributes
    ----------
    folder : pathlib.Path
        For trainings, test sets and scores.
    configs : callable
        Settings of a variant by its name.
    device : Device
    progress : Progress
    tools : pathlib.Path or None
        Folder of trained tools to use instead of training some.
    data : pathlib.Path or None
        Folder of pairs to score on; None: pairs of held-out images.
    count : int
        Pairs of a group to make in that case.
    """

    folder: Path
    configs: Callable[[str], RestoreConfig]
    device: Device
    progress: Progress
    tools: Path | None = None
    data: Path | None = None
    count: int = paper.RL_RESTORE_TEST_PATCHES

    def train_tools(self, name: str) -> Path:
        """Train the tools of a variant, or find them; return their folder."""
        variant, config = self.variant(name), self.configs(name)
        if self.tools is not None and not variant.own_tools:
            if len(load_toolbox(self.tools)) == variant.size:
                return self.tools
        kind = f"-{name}" if variant.own_tools else ""
        folder = self.folder / f"tools{variant.size}{kind}"
        images = open_images(config.data)
        for number in range(1, variant.size + 1):
            trainer = ToolTrainer(config, number, *images, folder, variant.size, self.device)
            self._run(trainer, f"{folder.name}, tool {number}")
        return folder / "weights"

    def train(self, name: str) -> Path:
        """Train a variant, and before it what it needs; return its folder of weights."""
        config, folder = self.configs(name), self.folder / name
        images = open_images(config.data)
        if self.variant(name).joint:
            trained = load_trained(self.train("default"))
            self._run(JointTrainer(config, trained, *images, folder, self.device), name)
        else:
            toolbox = load_toolbox(self.train_tools(name))
            self._run(AgentTrainer(config, toolbox, *images, folder, self.device), name)
        return folder / "weights"

    def score(self, name: str, weights: Path | None = None) -> list[Result]:
        """Score a variant, or given weights, on each group; write ``scores/NAME.json``.

        Returns
        -------
        list of dict
            For each group and row of the paper that it stands for a result as of ``eval``.
        """
        given, config = weights is not None, self.configs(name)
        weights = self.train(name) if weights is None else weights
        name, rows = ("given", (TASK,)) if given else (name, self.variant(name).rows)
        t_max, results = config.agent.t_max, []
        for group in GROUPS:
            result = run_evaluation(
                self.pairs(group),
                weights,
                origin="given" if given else "run",
                t_max=t_max,
                figures=self.folder / "figures" / f"{name}-{group}",
                device=self.device,
                progress=self.progress,
            )
            for image in result["images"]:
                del image["values"]  # of thousands of images, for each row
            for row in rows:
                results.append(
                    {
                        **result,
                        "row": row,
                        "published": published(row, group),
                        "not_comparable": not_comparable(len(result["images"]), t_max, row),
                    }
                )
        write_json(self.folder / "scores" / f"{name}.json", results)
        return results

    def pairs(self, group: str) -> PairFolder:
        """Open the pairs of a group; make them first if no folder is given."""
        if self.data is not None:
            return PairFolder(self.data, group)
        folder = self.folder / "pairs"
        if not (folder / f"{group}_gt").is_dir():
            data = self.configs("default").data
            write_pairs(test_patches(data, group, 0), group, self.count, folder)
        return PairFolder(folder, group)

    def _run(self, trainer: Run, description: str) -> None:
        done = trainer.done
        with self.progress(trainer.steps, description, done) as advance:

            def report(record: dict[str, object]) -> None:
                nonlocal done
                advance(trainer.done - done, record)
                done = trainer.done

            if not trainer.run(report).finished:
                raise Interrupted

    def variant(self, name: str) -> Variant:
        """Return the variant of this name; ConfigError if there is none."""
        if name not in VARIANTS:
            raise ConfigError(f"unknown variant {name!r}: expected one of {', '.join(VARIANTS)}")
        return VARIANTS[name]


def table(results: Sequence[Result]) -> str:
    """Markdown tables of results beside the paper's, for each table and metric."""
    parts = []
    for name, by_metric in paper.RL_RESTORE_TABLES.items():
        for metric in METRICS:
            rows = [["method", *(x for group in GROUPS for x in (group, "paper"))]]
            for row in by_metric[metric.key]:
                own = {r["level"]["group"]: r for r in results if r["row"] == row.key}
                cells = [row.label]
                for group, score in zip(GROUPS, row.scores, strict=True):
                    ours = spread(own[group][metric.key], metric.digits) if group in own else "–"
                    cells += [ours, f"{score:.{metric.digits - 1}f}"]
                if own:
                    rows.append(cells)
            if len(rows) > 1:
                parts.append(f"{name}, {metric.label}\n\n{markdown(rows)}")
    images = {result["data"]["sets"][0]: len(result["images"]) for result in results}
    about = "; ".join(f"{count} pairs a group of {folder}" for folder, count in images.items())
    return "\n\n".join(
        [
            *parts,
            f"{about}; mean ± standard deviation over pairs. "
            "The paper's figures are for other images, of DIV2K.",
        ]
    )
