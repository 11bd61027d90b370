"""What a log holds: curves that are shown together, smoothed; shares of actions; kernels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import PixelRLError
from .models.rmc import identity_kernel
from .runfolder import Record, RunFolder, column
from .settings import Config
from .weights import read_npz

Numbers = NDArray[np.float64]

PANELS = (
    ("Reward", r"reward"),
    ("Score", r"(?!loss)\w+_(input|output)|validation_\w+"),
    ("Loss", r"loss|loss_(input|total|policy|value)"),
    ("Entropy of the policy (nats)", r"loss_entropy"),
    ("Reward kernel", r"kernel_(centre|sum)"),
    ("Gain (dB)", r"gain_db"),
    ("Steps of an episode", r"length"),
    ("Highest action value", r"average_q"),
    ("Share of random actions", r"epsilon"),
    ("Learning rate", r"learning_rate"),
    ("Seconds from line to line", r"seconds"),
)
"""Title of a panel, and the keys of the log that it shows; keys in docs/TRAINING.md."""

SMOOTHED = 20
"""A running mean covers the last 1/20 of the values."""


SMOOTH = ("learning_rate", "epsilon", "kernel_centre", "kernel_sum")
"""Keys whose numbers do not depend on a single batch; a mean would only come late."""


class Series(NamedTuple):
    """One number of the log: its key, the steps that have it, and its values.

    ``sparse``: it is not in every line, and is drawn as points.
    """

    key: str
    x: Numbers
    y: Numbers
    sparse: bool

    @property
    def line(self) -> Numbers:
        """What is drawn as a line, (len(x),): the running mean of numbers that vary."""
        return self.y if self.key in SMOOTH else running_mean(self.y)


class Panel(NamedTuple):
    """What is drawn in one pair of axes."""

    title: str
    axis: str
    series: tuple[Series, ...]
    ceiling: float | None = None


class Shares(NamedTuple):
    """Shares of actions: ``edges`` of E bins of steps, (E + 1,), and means in them, (E, A)."""

    edges: Numbers
    means: Numbers


def panels(run: RunFolder) -> list[Panel]:
    """Return what a log holds, in the order of :data:`PANELS`; panels without numbers are left out.

    Numbers that are not finite are left out, too.
    """
    keys = dict.fromkeys(key for record in run.records for key in record)
    steps = column(run.records, run.step)
    task = run.task
    found = []
    for title, pattern in PANELS:
        chosen = (key for key in keys if re.fullmatch(pattern, key))
        series = tuple(one for key in chosen if len((one := _series(run.records, steps, key)).x))
        ceiling = None
        if task and title == "Score":
            title = task.metrics[0].label
        if task and "loss_entropy" in pattern:
            ceiling = math.log(len(task.action_set))
        if series:
            found.append(Panel(title, run.step, series, ceiling))
    return found


def _series(records: list[Record], steps: Numbers, key: str) -> Series:
    values = column(records, key)
    known = np.isfinite(values)
    return Series(key, steps[known], values[known], bool(known.mean() < 0.9))


def running_mean(values: Sequence[float] | Numbers) -> Numbers:
    """Mean of each value and those before it, of the last 5 % of all values together."""
    array = np.asarray(values, np.float64)
    span = max(1, len(array) // SMOOTHED)
    sums = np.concatenate([[0.0], np.cumsum(array)])
    ends = np.arange(1, len(array) + 1)
    starts = np.maximum(ends - span, 0)
    mean: Numbers = (sums[ends] - sums[starts]) / (ends - starts)
    return mean


def action_shares(run: RunFolder, bins: int = 150) -> Shares | None:
    """Return the shares of the actions, means over bins of equally many lines.

    Returns
    -------
    Shares or None
        None if the log, an older one perhaps, has none.
    """
    task = run.task
    if task is None:
        return None
    n_actions = len(task.action_set)
    rows, steps = [], []
    for record in run.records:
        values = record.get("action_shares")
        if not isinstance(values, list) or len(values) != n_actions:
            continue
        row = column([{"share": value} for value in values], "share")
        if np.isfinite(row).all() and (row >= 0).all() and row.sum() > 0:
            rows.append(row / row.sum())
            steps.append(float(record[run.step]))
    if not rows:
        return None
    parts = np.array_split(np.arange(len(rows)), min(bins, len(rows)))
    edges = [steps[part[0]] - 0.5 for part in parts] + [steps[-1] + 0.5]
    return Shares(np.array(edges), np.array([np.mean([rows[i] for i in p], axis=0) for p in parts]))


def kernels(run: RunFolder) -> dict[int, NDArray[np.float32]]:
    """Return the kernel of reward map convolution at the steps at which it is known.

    At the start, if that was no other network; from the log; from the checkpoints that there are.

    Returns
    -------
    dict
        Step -> float32 (K, K), in the order of steps; empty for networks without such a kernel.
    """
    found: dict[int, NDArray[np.float32]] = {}
    for record in run.records:
        if "kernel" in record:
            try:
                logged = np.array(record["kernel"], np.float32)
            except (ValueError, TypeError, OverflowError):
                continue
            if _is_kernel(logged):
                found[int(record[run.step])] = logged
    for folder in run.store.folder.glob("[0-9]*"):
        try:
            kernel = read_npz(folder / "model.npz").get("conv_R/W")
        except PixelRLError:
            continue
        if folder.name.isdecimal() and kernel is not None and kernel.ndim == 4:
            if _is_kernel(kernel[0, 0]):
                found[int(folder.name)] = kernel[0, 0]
    if found and isinstance(run.config, Config) and not run.config.train.init:
        found[0] = identity_kernel()[0, 0]
    return dict(sorted(found.items()))


def _is_kernel(array: NDArray[Any]) -> bool:
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    return square and array.shape[0] % 2 == 1 and bool(np.isfinite(array).all())
