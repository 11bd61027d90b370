"""The paper's figures as studies: sweeps over settings and seeds, counts of actions, pictures.

Every study leaves a folder with ``study.json`` (all that is drawn), ``study.png`` and ``study.md``.
Trainings and evaluations are experiments of their own, each done once, so that the same call
continues what was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .actions import ACTIONS
from .columns import Outcome, run_column
from .experiment import Experiment, open_images, run_name
from .files import replace_atomically, write_json
from .recording import count_actions, draw_steps, record_episodes
from .report import LABELS, caption, markdown
from .results import describe_data, fingerprint, versions
from .shipped import Chosen
from .task import Task
from .tasks import find_task, make_task
from .viz import studies as pictures
from .weights import describe

Record = dict[str, Any]

TMAX = (5, 10, 15, 20)
"""Lengths of an episode in Fig. 8."""

ACTION_SETS = ("denoise-basic", "denoise-bilateral", "denoise-pixel", "denoise")
"""Rows of Table III."""

TRIALS = (0, 1, 2, 3, 4)
"""Seeds of the trials of Fig. 3."""

PICTURE, RECORD, TABLE = "study.png", "study.json", "study.md"


class Study(NamedTuple):
    """What a study left behind: its folder, its record and the text for people."""

    folder: Path
    record: Record
    text: str


def _begin(name: str, experiment: Experiment) -> Record:
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


def _finish(folder: Path, record: Record, text: str) -> Study:
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


def _identity(experiment: Experiment, weights: Path) -> Record:
    names = list(open_images(experiment.config, "test").names)
    return {
        "config": experiment.config.to_dict(),
        "weights_sha256": fingerprint(weights),
        "images": names,
    }


def _heading(task: Task, experiment: Experiment) -> str:
    """Title of a picture; says so if the preset is not the paper's."""
    preset = "" if experiment.preset == "paper" else f"preset {experiment.preset}"
    return ", ".join(filter(None, (task.title, task.column, preset)))


def _with(experiment: Experiment, weights: Path) -> Experiment:
    """Return the experiment with the variant that the weights are of."""
    return experiment.changed({"network.variant": describe(weights)["variant"]})


def histogram(experiment: Experiment, chosen: Chosen) -> Study:
    """Count the actions of each step over the test images (Fig. 2).

    Parameters
    ----------
    experiment : Experiment
        Task, level and test images.
    chosen : Chosen
        The network.

    Raises
    ------
    PixelRLError
        If weights or images cannot be used.
    """
    weights = chosen.weights
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
            **_begin("action-histogram", experiment),
            "weights": str(weights),
            "weights_origin": chosen.origin,
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
        f"{_heading(task, experiment)}\n{len(record['images'])} images, {_short(weights)}",
    )
    rows = [["step", *(action.label for action in actions.actions)]]
    for step, shares in enumerate(record["shares"], start=1):
        rows.append([str(step), *(f"{share:.1%}" for share in shares)])
    text = f"{markdown(rows)}\n\nShare of all pixels of {len(record['images'])} images of "
    text += (
        f"{', '.join(record['data']['sets'])}.\nWeights: {weights} ({record['weights_origin']})."
    )
    return _finish(folder, record, text)


def maps(experiment: Experiment, chosen: Chosen, image: int = 0) -> Study:
    """Draw states and action maps of one test image (Figs. 4, 6, 9 and 11).

    Arguments and errors as for :func:`histogram`; ``image`` is the number of the image, from 0.
    """
    weights = chosen.weights
    experiment = _with(experiment, weights)
    config = experiment.config
    folder = experiment.root / f"action-maps-{experiment.folder.name}-image{image}"

    def make() -> Record:
        title = f"{experiment.folder.name}, {_short(weights)}"
        return {
            **_begin("action-maps", experiment),
            "weights": str(weights),
            "weights_origin": chosen.origin,
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
    text = f"{markdown(rows)}\n\n{record['image']}. Weights: {weights} ({chosen.origin})."
    return _finish(folder, record, text)


def curve(experiment: Experiment, seeds: Sequence[int] = TRIALS) -> Study:
    """Train with several seeds; mean and spread of the reward of every episode (Fig. 3).

    Parameters
    ----------
    experiment : Experiment
    seeds : sequence of int
        One training each.

    Raises
    ------
    KeyboardInterrupt
        If a training was interrupted; another call continues.
    PixelRLError
        If a setting, an image or a weight file cannot be used.
    """
    task = make_task(experiment.config)
    rewards = []
    for seed in seeds:
        trial = experiment.changed({"train.seed": seed})
        trial.train()
        log = (trial.folder / "log.jsonl").read_text(encoding="utf-8")
        rewards.append([json.loads(line)["reward"] for line in log.splitlines()])
    mean, std = np.mean(rewards, axis=0), np.std(rewards, axis=0)
    folder = experiment.root / f"training-curve-{experiment.folder.name}"
    record = {
        **_begin("training-curve", experiment),
        "seeds": list(seeds),
        "schedule": experiment.schedule(),
        "reward_scale": task.reward_scale,
        "episodes": list(range(1, len(mean) + 1)),
        "mean": mean.tolist(),
        "std": std.tolist(),
    }
    pictures.band(
        record["episodes"],
        mean,
        std,
        folder / PICTURE,
        title=f"{experiment.folder.name}: mean and standard deviation of {len(seeds)} trials",
        axes=("episode", f"reward of Eq. (20), times {task.reward_scale:g}"),
    )
    rows = [["episodes", "mean reward", "standard deviation over trials"]]
    for part in np.array_split(np.arange(len(mean)), min(5, len(mean))):
        row = (f"{mean[part].mean():+.4f}", f"{std[part].mean():.4f}")
        rows.append([f"{part[0] + 1} to {part[-1] + 1}", *row])
    text = (
        f"{markdown(rows)}\n\n{len(seeds)} trials, seeds {', '.join(map(str, seeds))}; reward of "
    )
    text += f"Eq. (20) times {task.reward_scale:g}. {experiment.schedule()}"
    return _finish(folder, record, text)


def tmax(experiments: Sequence[Experiment], lengths: Sequence[int] = TMAX) -> Study:
    """Score networks that were trained for episodes of several lengths (Fig. 8).

    Parameters
    ----------
    experiments : sequence of Experiment
        The networks.
    lengths : sequence of int
        Steps T of an episode.

    Raises
    ------
    KeyboardInterrupt
        If a training was interrupted; another call continues.
    PixelRLError
        If a setting, an image or a weight file cannot be used.
    """
    own = find_task(experiments[0].config.task.name).steps
    columns = [
        run_column([e.changed({"task.steps": None if T == own else T}) for e in experiments])
        for T in lengths
    ]
    return _sweep("ablation-tmax", experiments[0], list(lengths), columns, "steps of an episode")


def action_sets(experiment: Experiment, names: Sequence[str] = ACTION_SETS) -> Study:
    """Score one network with several sets of actions (Table III).

    Arguments and errors as for :func:`tmax`; ``names`` are keys of ``ACTIONS``.
    """
    own = find_task(experiment.config.task.name).actions
    columns = [
        run_column([experiment.changed({"task.actions": None if name == own else name})])
        for name in names
    ]
    labels = [f"{name}\n({len(ACTIONS[name])} actions)" for name in names]
    return _sweep("ablation-actions", experiment, labels, columns, "set of actions")


def _sweep(
    name: str,
    experiment: Experiment,
    x: Sequence[int | str],
    columns: Sequence[Outcome],
    x_label: str,
) -> Study:
    """Table and picture of the first metric of every row, over the settings ``x``."""
    task = make_task(experiment.config)
    metric = task.metrics[0]
    kept = [[r for r in one.results if r["weights_origin"] != "shipped"] for one in columns]
    keys = [result["row"] for result in kept[0]]
    means = {key: [c[i][metric.key]["mean"] for c in kept] for i, key in enumerate(keys)}
    published = {key: [c[i]["published"][metric.key] for c in kept] for i, key in enumerate(keys)}
    folder = experiment.root / f"{name}-{run_name(experiment.config, experiment.preset)}"
    record = {
        **_begin(name, experiment),
        "metric": metric.key,
        "schedule": experiment.schedule(),
        "x": list(x),
        "means": means,
        "published": published,
        "folders": [str(column.folder) for column in columns],
        "not_comparable": [column.results[-1]["not_comparable"] for column in columns],
    }
    lines = {LABELS.get(key, key): values for key, values in means.items()}
    pictures.lines(x, lines, folder / PICTURE, _heading(task, experiment), (x_label, metric.label))
    rows = [[x_label, *lines]]
    for i, setting in enumerate(x):
        rows.append(
            [str(setting).replace("\n", " "), *(_cell(means, published, k, i) for k in keys)]
        )
    text = f"{metric.label}; the paper's figure in brackets.\n\n{markdown(rows)}\n\n"
    return _finish(
        folder, record, text + f"{caption(columns[0].results[0])}\n{experiment.schedule()}"
    )


def _cell(means: Record, published: Record, key: str, i: int) -> str:
    paper = published[key][i]
    return f"{means[key][i]:.3f}" + ("" if paper is None else f" ({paper:.2f})")


def _short(weights: Path) -> str:
    """Name of weights that fits into a title: without folders, of a checkpoint with its run."""
    parts = weights.parts
    return "/".join((parts[-3], parts[-1])) if "checkpoints" in parts[-2:-1] else weights.name
