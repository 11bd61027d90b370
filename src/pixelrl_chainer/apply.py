"""Processing a user's own images: any size, gray or colour, no ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .agent import PixelwisePolicy
from .backend import CPU, Array, Device, to_numpy
from .env import PixelEnv, Rollout
from .errors import DataError
from .evaluate import rollout
from .images import SUFFIXES, list_images, read_image, to_8bit, to_float, write_image
from .progress import Progress, no_progress
from .settings import TILE
from .steering import write_maps
from .task import Task
from .viz.figures import steps


def step_files(target: Path) -> tuple[Path, Path]:
    """Files beside ``target`` that hold its steps: arrays and a picture."""
    return target.with_suffix(".steps.npz"), target.with_suffix(".steps.png")


def plan(
    inputs: Sequence[Path], output: Path, *, force: bool, keep_steps: bool = False
) -> list[tuple[Path, Path]]:
    """Pair every input image with the file its result goes to, before anything is computed.

    Parameters
    ----------
    inputs : sequence of pathlib.Path
        Image files, and folders that stand for the images in them.
    output : pathlib.Path
        A folder, in which results keep the names of the inputs; or, for one input image, a file
        with the ending of an image.
    force : bool
        Allow results to replace files. An input is never replaced.
    keep_steps : bool
        Whether :func:`step_files` will be written too.

    Returns
    -------
    list of (pathlib.Path, pathlib.Path)

    Raises
    ------
    DataError
        If an input is missing, two inputs would share a result, or a result exists already.
    """
    images = [
        image for path in inputs for image in (list_images(path) if path.is_dir() else [path])
    ]
    if output.suffix.lower() in SUFFIXES and not output.is_dir():
        if len(images) != 1:
            raise DataError(
                f"{len(images)} images cannot all become {output}: give a folder as --output"
            )
        pairs = [(images[0], output)]
    else:
        pairs = [(image, output / image.name) for image in images]
    originals = {image.resolve() for image in images}
    taken: dict[Path, Path] = {}
    for source, target in pairs:
        if not source.is_file():
            raise DataError(f"{source}: expected an image file or a folder of images, found none")
        for file in (target, *step_files(target)) if keep_steps else (target,):
            if file in taken:
                raise DataError(f"{source} and {taken[file]} would both become {file}: rename one")
            if file.resolve() in originals:
                raise DataError(f"{file} is an input: give another --output, inputs are kept")
            if file.exists() and not force:
                raise DataError(f"{file} exists: give another --output, or --force to replace it")
            taken[file] = source
    return pairs


def read_batch(path: Path, task: Task) -> Array:
    """Read an image as ``task`` works on it, float32 in [0, 1].

    Returns
    -------
    numpy.ndarray
        (1, 3, H, W), blue, green, red, for a task on colour images; else (C, 1, H, W), where C is 1
        for a gray image and 3 for a colour image, whose channels are images of their own.

    Raises
    ------
    DataError
        If the image cannot be read, or is gray where colour is needed.
    """
    image = np.atleast_3d(read_image(path))
    channels = to_float(np.ascontiguousarray(image.transpose(2, 0, 1)))
    if task.image_channels == 1:
        return channels[:, None]
    if len(channels) != task.image_channels:
        raise DataError(f"{path}: {task.name} needs a colour image, found a gray one")
    return channels[None]


def apply_to_file(
    policy: PixelwisePolicy,
    env: PixelEnv,
    source: Path,
    target: Path,
    *,
    device: Device = CPU,
    keep_steps: bool = False,
    tile: int = TILE,
    progress: Progress = no_progress,
) -> None:
    """Process one image file.

    A task on gray images processes the channels of a colour image as independent images, as in the
    paper.

    Parameters
    ----------
    policy : PixelwisePolicy
    env : PixelEnv
    source, target : pathlib.Path
        As returned by :func:`plan`.
    device : Device
    keep_steps : bool
        Also write :func:`step_files`: states, float32 (T + 1, C, H, W), action_maps, uint8
        (T, N, H, W) with N = 1 or, where channels are images of their own, C; and the names of
        the actions; and the same as a picture.
    tile, progress
        See :func:`~pixelrl_chainer.evaluate.rollout`.

    Raises
    ------
    DataError
        If the image cannot be read or the result not be written.
    """
    task = env.task
    with device.use():
        images = device.send(read_batch(source, task))
        result = rollout(policy, env, images, record=keep_steps, tile=tile, progress=progress)
    write_image(target, to_8bit(_picture(task.planes(to_numpy(result.output)))))
    if keep_steps:
        _write_steps(result, env, source, target)


def _picture(planes: Array) -> Array:
    """Turn (C, H, W) into (H, W) or (H, W, C)."""
    return planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0)


def _write_steps(result: Rollout, env: PixelEnv, source: Path, target: Path) -> None:
    """Save the recorded states and action maps as arrays and as a picture."""
    states = np.stack([env.task.planes(to_numpy(state)) for state in result.states])
    maps = [to_numpy(chosen) for chosen in result.action_maps]
    images = [_picture(state) for state in states]
    arrays, picture = step_files(target)
    try:
        write_maps(arrays, maps, env.actions, {"states": states})
        steps(
            images,
            [chosen[len(chosen) // 2] for chosen in maps],
            env.actions,
            picture,
            title=source.name + (", actions of the green channel" if len(maps[0]) == 3 else ""),
        )
    except OSError as error:
        raise DataError(f"cannot write the steps of {target} ({error.strerror})") from error
