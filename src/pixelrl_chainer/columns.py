"""One column of a table: several networks beside the same baselines, from nothing to pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import shipped
from .env import make_env
from .errors import ConfigError
from .experiment import Experiment, run_name
from .files import replace_atomically, write_json
from .recording import draw_steps
from .result_tables import caption, table
from .results import load_policy
from .runfolder import open_run
from .runlog import LOG
from .tasks import make_task
from .viz.training import draw_training

Result = dict[str, Any]

Network = tuple[Experiment, Path | None]
"""An experiment and the weights it is evaluated with."""


@dataclass(frozen=True)
class Outcome:
    """What a column left behind: its folder, its results and the text for people."""

    folder: Path
    results: tuple[Result, ...]
    text: str


def run_column(experiments: Sequence[Experiment], weights: Path | None = None) -> Outcome:
    """Train, evaluate and draw what is still missing of one column of a table.

    Rows are the input, random agents, every network, where the paper has it also by the mean over
    flips and turns, and networks that come with the package for the same column.

    Parameters
    ----------
    experiments : sequence of Experiment
        Networks of one task and level, in the order of their rows.
    weights : pathlib.Path or None
        Evaluate these instead of training; if agents learn every image, start from these.

    Raises
    ------
    KeyboardInterrupt
        If a training was interrupted; another call continues.
    PixelRLError
        If a setting, an image or a weight file cannot be used.
    """
    first = experiments[0]
    folder = _folder(experiments)
    note = first.schedule()
    learned = bool(make_task(first.config).learns_from)
    if weights is not None and not learned:
        # Weights that cannot be used should not be noticed after the baselines only.
        policy = load_policy(first.config, weights, make_env(first.config), first.device)
        first = first.changed({"network.variant": policy.model.config.variant})
        folder = first.folder = first.root / run_name(first.given, weights.stem)
        networks: list[Network] = [(first, weights)]
        note = f"Weights: {weights}; nothing was trained."
    else:
        networks = [(one, weights or one.weights()) for one in experiments]
    results = [first.evaluate(agent, agent, None, folder) for agent in ("none", "random")]
    for experiment, trained in networks:
        results += _rows(experiment, trained)
    if weights is None and not learned:
        results += _shipped(experiments, folder)
    text = f"{table(results)}\n\n{caption(results[0])}\n{note}"
    for experiment, trained in networks:
        _draw(experiment, trained)
    record = folder / "results.json"
    if not record.is_file() or json.loads(record.read_text()) != results:
        with replace_atomically(folder / "table.md") as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        write_json(record, results)  # last, because it says that all is done
    return Outcome(folder, tuple(results), text)


def _folder(experiments: Sequence[Experiment]) -> Path:
    """Folder of the column: that of its only experiment, else one named after what they share."""
    first = experiments[0]
    if len(experiments) == 1:
        return first.folder
    tasks = [make_task(experiment.config) for experiment in experiments]
    if len({(task.name, task.level) for task in tasks}) > 1:
        raise ConfigError(
            "one table has one task and one level, found "
            + ", ".join(f"{task.name} {task.column}".strip() for task in tasks)
        )
    return first.root / run_name(first.config, first.preset, variant=False)


def _rows(experiment: Experiment, weights: Path | None) -> list[Result]:
    """Scores of one network; also augmented where the paper has that row."""
    rows = [experiment.evaluate("network", "network", weights, experiment.folder)]
    task = make_task(experiment.config)
    augmented = f"{rows[0]['row']}+aug"
    if any(task.published(metric.key, augmented) is not None for metric in task.metrics):
        changes = {"eval.augment": True}
        folder = experiment.folder
        rows.append(experiment.evaluate("network-aug", "network", weights, folder, changes))
    return rows


def _shipped(experiments: Sequence[Experiment], folder: Path) -> list[Result]:
    """Scores of the networks that come with the package, each once."""
    found = {shipped.find(experiment.config): experiment for experiment in experiments}
    return [
        experiment.evaluate("pretrained", "network", weights, folder)
        for weights, experiment in found.items()
        if weights is not None
    ]


def _draw(experiment: Experiment, weights: Path | None) -> None:
    """Draw the episode on the first test image and, after training, the curves; each once."""
    folder = experiment.folder
    picture = folder / "steps.png"
    if not _older(picture, folder / "eval-network.json"):
        return
    config = experiment.config
    draw_steps(config, weights, picture, folder.name, device=experiment.device)
    if (folder / LOG).is_file():
        draw_training(open_run(folder), folder)


def _older(path: Path, source: Path) -> bool:
    """Whether a file has to be made (again) from its source."""
    return not path.is_file() or path.stat().st_mtime_ns < source.stat().st_mtime_ns
