"""What a log holds: curves that are shown together, smoothed; shares of actions; kernels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import PixelRLError
from .metrics import PSNR
from .models.rmc import identity_kernel
from .runfolder import RunFolder
from .runlog import Numbers, Record, column
from .settings import Config
from .weights import read_npz


class PanelKind(NamedTuple):
    """Numbers that are shown together: title, and pattern of their keys.

    ``scores``: the title is what the task is scored by; ``entropy``: has an upper limit.
    """

    title: str
    keys: str
    scores: bool = False
    entropy: bool = False


PANELS = (
    PanelKind("Reward", r"reward"),
    PanelKind("Score", r"(?!loss)\w+_(input|output)|validation_\w+", scores=True),
    PanelKind("Loss", r"loss|loss_(input|total|policy|value)"),
    PanelKind("Entropy of the policy (nats)", r"loss_entropy", entropy=True),
    PanelKind("Reward kernel", r"kernel_(centre|sum)"),
    PanelKind("Gain (dB)", r"gain_db"),
    PanelKind("Steps of an episode", r"length"),
    PanelKind("Highest action value", r"average_q"),
    PanelKind("Share of random actions", r"epsilon"),
    PanelKind("Learning rate", r"learning_rate"),
    PanelKind("Seconds of a line", r"seconds"),
)
"""All panels in their order; keys in docs/TRAINING.md."""

MEAN_PARTS = 20
"""A running mean covers the last 1/20 of the values."""

NOT_AVERAGED = ("learning_rate", "epsilon", "kernel_centre", "kernel_sum")
"""Keys whose numbers do not depend on a single batch; a mean would only come late."""

LARGEST = 1e300
"""Numbers beyond are damaged, and their differences could not be computed."""

FULL = 0.9
"""A line of a chart is of numbers that at least this share of the lines have."""


class Series(NamedTuple):
    """One number of the log: its key, the steps that have it, and its values.

    ``sparse``: few lines of the log between its first and its last one have it; drawn as points.
    """

    key: str
    x: Numbers
    y: Numbers
    sparse: bool

    @property
    def line(self) -> Numbers:
        """What is drawn as a line, (len(x),): the running mean of numbers that vary."""
        return self.y if self.key in NOT_AVERAGED else running_mean(self.y)


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
    for kind in PANELS:
        chosen = (key for key in keys if re.fullmatch(kind.keys, key))
        series = tuple(one for key in chosen if len((one := _series(run.records, steps, key)).x))
        title = _metric(run) or kind.title if kind.scores else kind.title
        ceiling = math.log(len(task.action_set)) if task and kind.entropy else None
        if series:
            found.append(Panel(title, run.step, series, ceiling))
    return found


def _metric(run: RunFolder) -> str:
    """What scores in the log are; empty if the configuration does not say it."""
    if run.task:
        return run.task.metrics[0].label
    return PSNR.label if run.kind in ("agent", "joint") else ""


def _series(records: list[Record], steps: Numbers, key: str) -> Series:
    values = column(records, key)
    known = np.abs(values) <= LARGEST  # false of NaN
    places = np.flatnonzero(known)
    span = places[-1] - places[0] + 1 if len(places) else 1
    return Series(key, steps[known], values[known], bool(len(places) < FULL * span))


def running_mean(values: Sequence[float] | Numbers) -> Numbers:
    """Mean of each value and those before it, of the last 5 % of all values together.

    Every sum is of its own values: a difference of two sums would lose small values behind an
    outlier. Values are laid out in rows as long as a sum, which is the end of one row and the
    beginning of the next.
    """
    array = np.asarray(values, np.float64)
    count, span = len(array), max(1, len(array) // MEAN_PARTS)
    rows = np.pad(array, (span, -count % span)).reshape(-1, span)
    ends = np.zeros_like(rows)
    ends[:, :-1] = rows[:, :0:-1].cumsum(axis=1)[:, ::-1]
    sums = (ends[:-1] + rows[1:].cumsum(axis=1)).ravel()[:count]
    mean: Numbers = sums / np.minimum(np.arange(1, count + 1), span)
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
        if ((row >= 0) & (row <= 1)).all() and row.any():
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
                with np.errstate(over="ignore"):
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
        if folder.name.isdecimal() and kernel is not None and kernel.ndim == 4 and kernel.size:
            if _is_kernel(kernel[0, 0]):
                found[int(folder.name)] = kernel[0, 0]
    if found and isinstance(run.config, Config) and not run.config.train.init:
        found[0] = identity_kernel()[0, 0]
    return dict(sorted(found.items()))


def _is_kernel(array: NDArray[Any]) -> bool:
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    return square and array.shape[0] % 2 == 1 and bool(np.isfinite(array).all())
