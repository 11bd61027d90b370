"""The log of a run as event files of TensorBoard, written from the same lines."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from .curves import kernels
from .errors import ConfigError, DataError
from .runfolder import RunFolder
from .runlog import LOG, MOST_SECONDS, number_in, printable
from .viz.training import kernel_image, kernel_limit

ENLARGED = 8
"""A weight of a kernel is shown as so many pixels."""

FILES = "events.out.tfevents.*"


def write_events(run: RunFolder, folder: Path, *, force: bool = False) -> int:
    """Write every number of the log as a scalar, shares of actions and kernels.

    Tags are the keys of the log; ``actions/NAME``; ``kernel``, an image. The time of an event is
    that of the log's last line, less the seconds of the lines after it.

    Parameters
    ----------
    run : RunFolder
    folder : pathlib.Path
        What ``tensorboard --logdir`` is given. TensorBoard joins all event files of a folder.
    force : bool
        Replace event files that are there.

    Returns
    -------
    int
        Lines that were written.

    Raises
    ------
    ConfigError
        If tensorboardX is not installed (extra ``tensorboard``).
    DataError
        If the folder has event files, or the log has no lines.
    """
    try:
        from tensorboardX import FileWriter
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.summary import image
    except ImportError as error:
        raise ConfigError(
            "--tensorboard needs the package tensorboardX: pip install "
            "'pixelrl-chainer[tensorboard]'"
        ) from error
    if not run.records:
        raise DataError(f"{run.path}: expected a {LOG} with lines, found none")
    earlier = list(folder.glob(FILES)) if folder.is_dir() else []
    if earlier and not force:
        raise DataError(f"{folder} holds event files: give another folder, or --force")
    events = _events(run, Summary, image)
    for path in earlier:
        path.unlink()
    writer = FileWriter(str(folder))
    for event in events:
        writer.add_summary(*event)
    writer.close()
    return len(run.records)


def _events(run: RunFolder, summary: Any, image: Any) -> list[tuple[Any, int, float]]:
    """One event a line with all its numbers, and one a kernel: summary, step and moment."""
    moments, events = {}, []
    for record, moment in zip(run.records, _times(run), strict=True):
        step = int(record[run.step])
        moments[step] = moment
        values = [
            summary.Value(tag=tag, simple_value=value)
            for tag, value in _scalars(run, record).items()
        ]
        events.append((summary(value=values), step, moment))
    found = kernels(run)
    for step, kernel in found.items():
        shown = kernel_image(kernel, kernel_limit(found))
        shown = shown.repeat(ENLARGED, 0).repeat(ENLARGED, 1)
        moment = moments.get(step, min(moments.values()))
        events.append((image("kernel", shown, dataformats="HWC"), step, moment))
    return events


def _scalars(run: RunFolder, record: dict[str, object]) -> dict[str, float]:
    """Finite numbers of a line by tag."""
    found = {key: number_in(record, key) for key in record if key != run.step}
    shares = record.get("action_shares")
    names = run.task.action_set.names if run.task else ()
    if isinstance(shares, list) and len(shares) == len(names):
        for name, share in zip(names, shares, strict=True):
            found[f"actions/{name}"] = number_in({"share": share}, "share")
    return {printable(tag): value for tag, value in found.items() if math.isfinite(value)}


def _times(run: RunFolder) -> list[float]:
    """Moment of every line, in seconds since 1970."""
    seconds = [number_in(record, "seconds") for record in run.records]
    passed = np.cumsum(np.clip(np.nan_to_num(seconds), 0, MOST_SECONDS))
    times: list[float] = ((run.path / LOG).stat().st_mtime - passed[-1] + passed).tolist()
    return times
