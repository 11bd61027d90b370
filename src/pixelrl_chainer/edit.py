"""Saliency-driven editing of one photograph, and what is said about it (Section VI-D)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .backend import CPU, Array, Device, to_numpy
from .env import make_env
from .errors import DataError
from .evaluate import rollout
from .images import SUFFIXES, Image8
from .progress import Progress, no_progress
from .provenance import versions
from .saliency_task import SALIENCY
from .settings import Config
from .single_image import first_state, learn, reduced


class Edited(NamedTuple):
    """Outcome of :func:`edit_image`.

    ``start`` and ``output`` are float32 (3, H, W), blue, green, red, the output not clipped;
    ``mask`` is float32 (1, H, W), 1 inside; ``scores`` holds the task's metrics, ``before`` and
    ``after``; ``learned_on`` is the size (H, W) of the image in training; seconds are of this call.
    """

    start: Array
    mask: Array
    output: Array
    scores: dict[str, dict[str, float]]
    learned_on: tuple[int, int]
    seconds_learning: float
    seconds_editing: float


def edit_image(
    config: Config,
    photograph: Image8,
    folder: Path,
    *,
    device: Device = CPU,
    progress: Progress = no_progress,
) -> Edited:
    """Train agents on a photograph and let them edit it.

    Parameters
    ----------
    config : Config
        Of the task ``saliency``; ``train.init`` names the initial weights.
    photograph : numpy.ndarray, uint8 (H, W, 4)
        Blue, green, red and mask, as :func:`~pixelrl_chainer.masked.read_masked` returns it.
    folder : pathlib.Path
        Keeps the checkpoint; an unfinished training in it is continued, a finished one not
        repeated.
    device : Device
    progress : Progress
        Shows the episodes.

    Raises
    ------
    PixelRLError
    KeyboardInterrupt
        As :func:`~pixelrl_chainer.single_image.learn`.
    """
    env = make_env(config)
    begin = time.perf_counter()
    small = reduced(photograph, config.saliency.size)
    agent = learn(config, env, *first_state(env, small), folder, device=device, progress=progress)
    learned = time.perf_counter()
    images, target = first_state(env, photograph)
    with device.use():
        sent = (device.send(array) for array in (images, target))
        output = to_numpy(rollout(agent, env, *sent).output)[0]
    scores = {
        name: {metric.key: metric.score(image, target[0], images[0]) for metric in env.task.metrics}
        for name, image in (("before", images[0]), ("after", output))
    }
    seconds = learned - begin, time.perf_counter() - learned
    return Edited(images[0], target[0], output, scores, small.shape[:2], *seconds)


def check_output(output: Path, inputs: Sequence[Path], *, force: bool) -> None:
    """Refuse a result that would replace an input, or an existing file unless ``force``.

    Raises
    ------
    DataError
        Also if the ending names no image format.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{output}: expected a file with the ending of an image, such as .png; found "
            f"{output.suffix or 'none'}"
        )
    refuse_to_replace(output, inputs, force=force)


def refuse_to_replace(output: Path, inputs: Sequence[Path], *, force: bool) -> None:
    """Refuse a result that would replace an input, or an existing file unless ``force``.

    Raises
    ------
    DataError
    """
    if output.resolve() in {path.resolve() for path in inputs}:
        raise DataError(f"{output} is an input: give another --output, inputs are kept")
    if output.exists() and not force:
        raise DataError(f"{output} exists: give another --output, or --force to replace it")


def describe(
    edited: Edited, config: Config, *, image: Path, mask: Path, output: Path, device: Device
) -> dict[str, Any]:
    """Return what happened, ready for JSON: files, sizes, scores, seconds, settings, versions."""
    height, width = edited.mask.shape[1:]
    rows, columns = edited.learned_on
    return {
        "image": str(image),
        "mask": str(mask),
        "output": str(output),
        "width": width,
        "height": height,
        "learned_width": columns,
        "learned_height": rows,
        "steps": make_env(config).steps,
        "episodes": config.saliency.episodes,
        "init": config.train.init or None,
        **edited.scores,
        "seconds_learning": edited.seconds_learning,
        "seconds_editing": edited.seconds_editing,
        "config": config.to_dict(),
        "versions": versions(),
        "device": device.name,
    }


def summary(result: dict[str, Any]) -> str:
    """Return :func:`describe`'s result as text."""
    lines = [
        f"{result['output']}: {result['steps']} steps, {result['episodes']} episodes on "
        f"{result['learned_width']}x{result['learned_height']} pixels in "
        f"{result['seconds_learning']:.0f} s, edited in {result['seconds_editing']:.1f} s"
    ]
    for metric in SALIENCY.metrics:
        before, after = (result[name][metric.key] for name in ("before", "after"))
        lines.append(f"  {metric.label:14} {before:6.3f} -> {after:6.3f}")
    return "\n".join(lines)
