"""PixelRL and RL-Restore side by side on the same corrupted images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..agent import PixelwisePolicy
from ..backend import Device, select_device, to_numpy
from ..config import build
from ..env import PixelEnv, make_env
from ..errors import ConfigError
from ..evaluate import rollout, starts, summarise
from ..experiment import open_images, resolve_data
from ..images import ImageFloat
from ..imagesets import ImageSet
from ..metrics import PSNR, SSIM
from ..progress import bar
from ..provenance import describe_process
from ..result_tables import markdown, spread
from ..results import describe_weights, load_policy
from ..settings import Config
from ..shipped import choose
from ..task import Task
from .apply import restore_image
from .evaluate import describe_folder, find_weights, load_agent_and_tools
from .testsets import PairFolder
from .weights import Trained

METRICS = (PSNR, SSIM)

Methods: TypeAlias = dict[str, Callable[[ImageFloat], ImageFloat]]
SIGMA = 25.0
"""Noise for which PixelRL's network is used on mixed distortions."""


class Case(NamedTuple):
    """A corrupted and a clean image, float32 (1, H, W) gray or (3, H, W) red, green, blue."""

    name: str
    start: ImageFloat
    clean: ImageFloat


def compare(
    data: str,
    dataset: str | None,
    sigma: float | None,
    weights: Path | None,
    pixelrl: Path | None,
    limit: int | None,
    device: str,
) -> dict[str, Any]:
    """Restore the same images by both and score them in 8 bits.

    Parameters
    ----------
    data : str
        Folder of pairs, or data set or folder of clean images.
    dataset : str or None
        Group of the pairs.
    sigma : float or None
        Instead: Gaussian noise of test images, read gray, as in PixelRL's own evaluation, seed 0.
    weights, pixelrl : pathlib.Path or None
        Of RL-Restore and of PixelRL; None: as eval finds them.
    limit : int or None
        Only the first images.
    device : str

    Returns
    -------
    dict
        ``methods``: for each a ``psnr``, ``ssim`` and ``seconds``; ``images``; provenance.

    Raises
    ------
    PixelRLError
        If weights or images cannot be used, or both or none of ``dataset`` and ``sigma`` is given.
    """
    if (dataset is None) == (sigma is None):
        raise ConfigError("expected either --dataset (mixed distortions) or --sigma (noise)")
    chosen = select_device(device)
    config = build(
        changes={
            "task.name": "denoise-gaussian",
            "task.level": sigma or SIGMA,
            "data.test": () if dataset else (data,),
        }
    )
    folder, origin = find_weights(weights)
    network = choose(pixelrl, config)
    images = PairFolder(Path(data), dataset) if dataset else _clean_images(config)
    env = make_env(config)
    policy = load_policy(config, network.weights, env, chosen)
    methods = _methods(policy, env, load_agent_and_tools(folder, chosen), chosen)
    made = _pairs(images) if isinstance(images, PairFolder) else _noisy(images, env.task)
    rows = _rows(made, min(len(images), limit or len(images)), methods, chosen)
    return {
        "task": "compare",
        "level": {"group": dataset} if dataset else {"sigma": sigma},
        "data": data,
        "methods": {name: _summary(rows, name) for name in methods},
        "images": rows,
        "pixelrl": {**describe_weights(*network), "sigma": sigma or SIGMA},
        "rl_restore": describe_folder(folder, origin),
        **describe_process(chosen),
    }


def _methods(policy: PixelwisePolicy, env: PixelEnv, trained: Trained, device: Device) -> Methods:
    def by_pixels(image: ImageFloat) -> ImageFloat:
        output = rollout(policy, env, device.send(image[:, None])).output
        return to_numpy(output)[:, 0]

    def by_tools(image: ImageFloat) -> ImageFloat:
        gray = len(image) == 1
        colour = np.repeat(image, 3, axis=0) if gray else image
        output = restore_image(trained, colour, device=device).states[-1]
        return output.mean(axis=0, keepdims=True) if gray else output

    return {"input": lambda image: image, "PixelRL": by_pixels, "RL-Restore": by_tools}


def _clean_images(config: Config) -> ImageSet:
    return open_images(resolve_data(config), "test")


def _pairs(pairs: PairFolder) -> Iterator[Case]:
    for index, name in enumerate(pairs.names):
        yield Case(name, *pairs.load(index))


def _noisy(images: ImageSet, task: Task) -> Iterator[Case]:
    made = starts(task, images, 0, "official", len(images))
    for name, (start, clean) in zip(images.names, made, strict=True):
        yield Case(name, task.planes(start), task.planes(clean))


def _rows(
    cases: Iterator[Case],
    count: int,
    methods: Methods,
    device: Device,
) -> list[dict[str, Any]]:
    """Run every method on the first cases; the first time, which compiles, does not count."""
    rows: list[dict[str, Any]] = []
    with device.use(), bar(count, "comparing") as advance:
        for _, case in zip(range(count), cases, strict=False):
            if not rows:
                for restore in methods.values():
                    restore(case.start)
            for name, restore in methods.items():
                begin = time.perf_counter()
                output = restore(case.start)
                seconds = time.perf_counter() - begin
                scores = {m.key: m.score(output, case.clean, case.start) for m in METRICS}
                rows.append({"name": case.name, "method": name, **scores, "seconds": seconds})
            advance()
    return rows


def _summary(rows: list[dict[str, Any]], method: str) -> dict[str, Any]:
    own = [row for row in rows if row["method"] == method]
    scores = {metric.key: summarise([row[metric.key] for row in own], 1) for metric in METRICS}
    return {**scores, "seconds": float(np.mean([row["seconds"] for row in own]))}


def table(result: dict[str, Any]) -> str:
    """Markdown table of :func:`compare`."""
    rows = [["method", *(f"{m.label}, 8 bits" for m in METRICS), "s/image"]]
    for name, scores in result["methods"].items():
        means = [spread(scores[m.key], m.digits) for m in METRICS]
        rows.append([name, *means, f"{scores['seconds']:.2f}" if name != "input" else "–"])
    what = ", ".join(f"{key} {value}" for key, value in result["level"].items())
    count = len(result["images"]) // len(result["methods"])
    return (
        f"{markdown(rows)}\n\n{count} images of {result['data']}, {what}; mean ± standard "
        f"deviation over images.\nPixelRL: {result['pixelrl']['weights']}, for noise of sigma "
        f"{result['pixelrl']['sigma']:g}, each channel on its own.\n"
        f"RL-Restore: {result['rl_restore']['weights']}."
    )
