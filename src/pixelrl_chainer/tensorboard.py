"""The log of a run as event files of TensorBoard, written from the same lines."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from .errors import ConfigError, DataError
from .runfolder import LOG, RunFolder, kernels, number_in
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
        from tensorboardX import SummaryWriter
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
    for path in earlier:
        path.unlink()
    times = _times(run)
    with SummaryWriter(str(folder), write_to_disk=True) as writer:
        for record, moment in zip(run.records, times, strict=True):
            step = int(record[run.step])
            for tag, value in _scalars(run, record).items():
                writer.add_scalar(tag, value, step, walltime=moment)
        at = {int(record[run.step]): time for record, time in zip(run.records, times, strict=True)}
        found = kernels(run)
        for step, kernel in found.items():
            image = kernel_image(kernel, kernel_limit(found)).repeat(ENLARGED, 0)
            shown = image.repeat(ENLARGED, 1)
            writer.add_image(
                "kernel", shown, step, walltime=at.get(step, times[0]), dataformats="HWC"
            )
    return len(run.records)


def _scalars(run: RunFolder, record: dict[str, object]) -> dict[str, float]:
    """Finite numbers of a line by tag."""
    found = {key: number_in(record, key) for key in record if key != run.step}
    shares = record.get("action_shares")
    names = run.task.action_set.names if run.task else ()
    if isinstance(shares, list) and len(shares) == len(names):
        for name, share in zip(names, shares, strict=True):
            found[f"actions/{name}"] = number_in({"share": share}, "share")
    return {tag: value for tag, value in found.items() if math.isfinite(value)}


def _times(run: RunFolder) -> list[float]:
    """Moment of every line, in seconds since 1970."""
    seconds = [number_in(record, "seconds") for record in run.records]
    passed = np.cumsum(np.nan_to_num(seconds, posinf=0, neginf=0))
    times: list[float] = ((run.path / LOG).stat().st_mtime - passed[-1] + passed).tolist()
    return times
