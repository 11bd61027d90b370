"""Studies of trained networks, for the paper's figures: counts of actions, states and action maps.

Every study leaves a folder with ``study.json`` (all that is drawn), ``study.png`` and ``study.md``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .experiment import Experiment, open_images
from .files import replace_atomically, write_json
from .provenance import versions
from .recording import count_actions, draw_steps, record_episodes
from .result_tables import markdown
from .results import describe_data, fingerprint
from .shipped import Chosen
from .task import Task
from .tasks import make_task
from .viz import studies as pictures
from .weights import describe

Record = dict[str, Any]

PICTURE, RECORD, TABLE = "study.png", "study.json", "study.md"


class Study(NamedTuple):
    """What a study left behind: its folder, its record and the text for people."""

    folder: Path
    record: Record
    text: str


def begin(name: str, experiment: Experiment) -> Record:
    """First entries of every record."""
    task = make_task(experiment.config)
    return {
        "study": name,
        "task": task.name,
        "level": {} if task.level is None else {task.level_name: task.level},
        "preset": experiment.preset,
        "data": describe_data(experiment.config),
        "versions": versions(),
    }


def finish(folder: Path, record: Record, text: str) -> Study:
    """Write record and text, the record last because it says that all is done."""
    with replace_atomically(folder / TABLE) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    write_json(folder / RECORD, record)
    return Study(folder, record, text)


def _once(folder: Path, identity: Record, make: Callable[[], Record]) -> Record:
    """Read the record of an earlier call for the same thing, or make a new one."""
    path = folder / RECORD
    if path.is_file() and (folder / PICTURE).is_file():
        known: Record = json.loads(path.read_text(encoding="utf-8"))
        if known.get("identity") == json.loads(json.dumps(identity)):
            return known
    return {**make(), "identity": identity}


def _identity(experiment: Experiment, weights: Path | None) -> Record:
    names = list(open_images(experiment.config, "test").names)
    return {
        "config": experiment.config.to_dict(),
        "weights_sha256": fingerprint(weights),
        "images": names,
    }


def heading(task: Task, experiment: Experiment) -> str:
    """Title of a picture; says so if the preset is not the paper's."""
    preset = "" if experiment.preset == "paper" else f"preset {experiment.preset}"
    return ", ".join(filter(None, (task.title, task.column, preset)))


def _with(experiment: Experiment, weights: Path | None) -> Experiment:
    """Return the experiment with the variant that the weights are of."""
    if weights is None or make_task(experiment.config).learns_from:
        return experiment
    return experiment.changed({"network.variant": describe(weights)["variant"]})


def histogram(experiment: Experiment, chosen: Chosen | None) -> Study:
    """Count the actions of each step over the test images (Fig. 2).

    Parameters
    ----------
    experiment : Experiment
        Task, level and test images.
    chosen : Chosen or None
        The network; of a task whose agents learn every image what they start from.

    Raises
    ------
    PixelRLError
        If weights or images cannot be used.
    """
    weights, origin = chosen or (None, None)
    experiment = _with(experiment, weights)
    config, task = experiment.config, make_task(experiment.config)
    actions = task.action_set
    folder = experiment.root / f"action-histogram-{experiment.folder.name}"

    def make() -> Record:
        images = open_images(config, "test")
        total = np.zeros((task.steps, len(actions)), dtype=np.int64)
        names = []
        for episode in record_episodes(
            config, weights, images, experiment.device, experiment.progress
        ):
            total += count_actions(episode.action_maps, len(actions))
            names.append(episode.name)
        return {
            **begin("action-histogram", experiment),
            "weights": None if weights is None else str(weights),
            "weights_origin": origin,
            "images": names,
            "actions": list(actions.names),
            "counts": total.tolist(),
            "shares": (total / total.sum(axis=1, keepdims=True)).tolist(),
        }

    record = _once(folder, _identity(experiment, weights), make)
    pictures.shares(
        record["shares"],
        actions,
        folder / PICTURE,
        f"{heading(task, experiment)}\n{len(record['images'])} images, {_short(weights)}",
    )
    rows = [["step", *(action.label for action in actions.actions)]]
    for step, shares in enumerate(record["shares"], start=1):
        rows.append([str(step), *(f"{share:.1%}" for share in shares)])
    text = f"{markdown(rows)}\n\nShare of all pixels of {len(record['images'])} images of "
    text += f"{', '.join(record['data']['sets'])}.\nWeights: {_named(weights, origin)}."
    return finish(folder, record, text)


def maps(experiment: Experiment, chosen: Chosen | None, image: int = 0) -> Study:
    """Draw states and action maps of one test image (Figs. 4, 6, 9 and 11).

    Arguments and errors as for :func:`histogram`; ``image`` is the number of the image, from 0.
    """
    weights, origin = chosen or (None, None)
    experiment = _with(experiment, weights)
    config = experiment.config
    folder = experiment.root / f"action-maps-{experiment.folder.name}-image{image}"

    def make() -> Record:
        title = f"{experiment.folder.name}, {_short(weights)}"
        return {
            **begin("action-maps", experiment),
            "weights": None if weights is None else str(weights),
            "weights_origin": origin,
            **draw_steps(
                config, weights, folder / PICTURE, title, image=image, device=experiment.device
            ),
        }

    record = _once(folder, {**_identity(experiment, weights), "image": image}, make)
    metrics = make_task(config).metrics
    rows = [["after step", *(metric.label for metric in metrics)]]
    for step in range(len(record[metrics[0].key])):
        scores = (f"{record[metric.key][step]:.{metric.digits}f}" for metric in metrics)
        rows.append([str(step) if step else "input", *scores])
    text = f"{markdown(rows)}\n\n{record['image']}. Weights: {_named(weights, origin)}."
    return finish(folder, record, text)


def _named(weights: Path | None, origin: str | None) -> str:
    return "random initial ones" if weights is None else f"{weights} ({origin})"


def _short(weights: Path | None) -> str:
    """Name of weights that fits into a title: without folders, of a checkpoint with its run."""
    if weights is None:
        return "random initial weights"
    parts = weights.parts
    return "/".join((parts[-3], parts[-1])) if "checkpoints" in parts[-2:-1] else weights.name
