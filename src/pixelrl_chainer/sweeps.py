"""Studies that train: over seeds, lengths of an episode, sets of actions.

Trainings and evaluations are experiments of their own, each done once, so that the same call
continues what was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from .actions import ACTIONS
from .columns import Outcome, run_column
from .experiment import Experiment, run_name
from .result_tables import LABELS, caption, markdown
from .studies import PICTURE, Record, Study, begin, finish, heading
from .tasks import find_task, make_task
from .viz import studies as pictures

TMAX = (5, 10, 15, 20)
"""Lengths of an episode in Fig. 8."""

TRIALS = (0, 1, 2, 3, 4)
"""Seeds of the trials of Fig. 3."""

ACTION_SETS = ("denoise-basic", "denoise-bilateral", "denoise-pixel", "denoise")
"""Rows of Table III."""


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
        **begin("training-curve", experiment),
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
    return finish(folder, record, text)


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
    published = {key: [_published(c[i], metric.key) for c in kept] for i, key in enumerate(keys)}
    folder = experiment.root / f"{name}-{run_name(experiment.config, experiment.preset)}"
    record = {
        **begin(name, experiment),
        "metric": metric.key,
        "schedule": experiment.schedule(),
        "x": list(x),
        "means": means,
        "published": published,
        "folders": [str(column.folder) for column in columns],
        "not_comparable": [column.results[-1]["not_comparable"] for column in columns],
    }
    lines = {LABELS.get(key, key): values for key, values in means.items()}
    pictures.lines(x, lines, folder / PICTURE, heading(task, experiment), (x_label, metric.label))
    rows = [[x_label, *lines]]
    for i, setting in enumerate(x):
        rows.append(
            [str(setting).replace("\n", " "), *(_cell(means, published, k, i) for k in keys)]
        )
    text = f"{metric.label}; the paper's figure in brackets.\n\n{markdown(rows)}\n\n"
    return finish(
        folder, record, text + f"{caption(columns[0].results[0])}\n{experiment.schedule()}"
    )


def _published(result: Record, metric: str) -> float | None:
    """Figure of the paper, which has them for the task's own length of an episode only."""
    figure: float | None = result["published"][metric]
    return figure if result["config"]["task"]["steps"] is None else None


def _cell(means: Record, published: Record, key: str, i: int) -> str:
    paper = published[key][i]
    return f"{means[key][i]:.3f}" + ("" if paper is None else f" ({paper:.2f})")
