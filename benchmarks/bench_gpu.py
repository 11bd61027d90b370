"""Time a GPU: one roll-out of a 481x321 image, and training episodes of 64 crops of 70x70.

Run ``python benchmarks/bench_gpu.py`` (``--json FILE`` also writes the figures, ``-`` to the
standard output instead of the table). Without a GPU it says so and ends with exit code 1.

The roll-out is five greedy steps with random weights, from an image in the GPU's memory to the
result there; the median of many. The episodes are a real training run, loader, log, validation and
checkpoints included, of which the first ones, with the compilation of kernels, are not counted. The
time of the published 30,000 episodes is an extrapolation from their rate, and is called so.
Utilisation is what ``nvidia-smi`` reports: the share of time in which some kernel was running.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pixelrl_chainer  # noqa: F401  before chainer

# isort: split
import numpy as np

from pixelrl_chainer import paper
from pixelrl_chainer.agent import PixelwisePolicy
from pixelrl_chainer.backend import Device, gpu_count, select_device, to_numpy
from pixelrl_chainer.config import build
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.env import make_env
from pixelrl_chainer.evaluate import rollout
from pixelrl_chainer.kernels.cudnn_plan import in_use
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.provenance import versions
from pixelrl_chainer.ranges import CHOICES
from pixelrl_chainer.settings import Config, TrainConfig
from pixelrl_chainer.train import train

SIGMA = 25 / 255
IMAGE = {False: (1, 1, 321, 481), True: (1, 1, 40, 60)}
BATCH = {False: (paper.BATCH_SIZE, paper.CROP_SIZE), True: (4, 32)}
"""Shape of the image; size of the batch and side of its crops; by ``--quick``."""

INTERVAL = 0.2
"""Seconds between two questions to ``nvidia-smi``."""


def wait(device: Device) -> None:
    """Let everything that was queued on the device finish."""
    if device.index is not None:
        device.xp.cuda.get_current_stream().synchronize()


def time_rollout(
    shape: tuple[int, ...], config: Config, device: Device, repeats: int
) -> dict[str, Any]:
    """Median seconds of a roll-out, alone and with the image sent and the result fetched."""
    rng = np.random.default_rng(0)
    image = rng.random(shape, np.float32) + rng.normal(0, SIGMA, shape).astype(np.float32)
    model = PixelFCN(ModelConfig(config.network.variant), rng)
    model.use_precision(config.network.precision)
    model.to_device(device.chainer_name)
    policy, env = PixelwisePolicy(model, rng), make_env(config)
    there = device.send(image)

    def alone() -> None:
        rollout(policy, env, there)
        wait(device)

    def with_transfers() -> None:
        to_numpy(rollout(policy, env, device.send(image)).output)

    result: dict[str, Any] = {"shape": list(shape), "steps": env.steps, "repeats": repeats}
    for name, function in (("seconds", alone), ("seconds_with_transfers", with_transfers)):
        result[name] = statistics.median(timed(function, repeats))
    return result


def timed(function: Callable[[], None], repeats: int) -> list[float]:
    """Seconds of each call, after three that are not counted."""
    for _ in range(3):
        function()
    taken = []
    for _ in range(repeats):
        begin = perf_counter()
        function()
        taken.append(perf_counter() - begin)
    return taken


@contextmanager
def utilisation(device: Device) -> Iterator[list[float]]:
    """Fill the list with percentages of time in which a kernel ran, one each :data:`INTERVAL`.

    It stays empty where ``nvidia-smi`` is not found.
    """
    percentages: list[float] = []
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        process = subprocess.Popen(
            [*command, f"--id={device.index}", f"--loop-ms={INTERVAL * 1000:.0f}"],
            stdout=subprocess.PIPE,
            text=True,
        )
    except OSError:
        yield percentages
        return
    try:
        yield percentages
    finally:
        process.terminate()
        text, _ = process.communicate()
        percentages += [float(line) for line in text.split() if line.replace(".", "").isdigit()]


def time_episodes(config: Config, device: Device, warm_up: int, counted: int) -> dict[str, Any]:
    """Train ``warm_up + counted`` episodes and tell the rate of the counted ones."""
    ends: list[float] = []
    images = open_dataset("bundled", "train")
    with tempfile.TemporaryDirectory() as folder, utilisation(device) as percentages:
        train(config, images, Path(folder), device, lambda record: ends.append(perf_counter()))
    seconds = ends[-1] - ends[warm_up - 1]
    busy = percentages[-max(1, round(seconds / INTERVAL)) :]
    published = paper.EPISODES
    result = {
        "batch": [config.train.batch_size, 1, config.train.crop_size, config.train.crop_size],
        "episodes": counted,
        "seconds": seconds,
        "seconds_per_episode": seconds / counted,
        "extrapolation": f"minutes for {published} episodes at this rate, not measured",
        "extrapolated_minutes": published * seconds / counted / 60,
        "utilisation_percent": statistics.mean(busy) if busy else None,
    }
    if device.index is not None:
        pool = device.xp.get_default_memory_pool()
        result["pool_gigabytes"] = pool.total_bytes() / 2**30
    return result


def describe(device: Device) -> str:
    """Name of the GPU."""
    if device.index is None:
        return device.name
    name = device.xp.cuda.runtime.getDeviceProperties(device.index)["name"]
    return name.decode() if isinstance(name, bytes) else str(name)


def table(report: dict[str, Any]) -> str:
    """Write the figures for people."""
    lines = [f"{report['device']}, {report['precision']}, convolutions: {report['convolutions']}"]
    if "rollout" in report:
        found = report["rollout"]
        lines.append(
            f"roll-out {'x'.join(map(str, found['shape']))}, {found['steps']} steps: "
            f"{1000 * found['seconds']:.2f} ms, "
            f"{1000 * found['seconds_with_transfers']:.2f} ms with transfers"
        )
    if "episodes" in report:
        found = report["episodes"]
        busy = found["utilisation_percent"]
        lines.append(
            f"episodes {'x'.join(map(str, found['batch']))}: {found['episodes']} in "
            f"{found['seconds']:.1f} s, {1000 * found['seconds_per_episode']:.2f} ms each; "
            f"extrapolated to {paper.EPISODES}: {found['extrapolated_minutes']:.1f} min; "
            f"utilisation {'unknown' if busy is None else f'{busy:.0f} %'}"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small image and batch")
    parser.add_argument("--cases", nargs="+", choices=["rollout", "episodes"])
    parser.add_argument("--precision", choices=CHOICES["network.precision"], default="tf32")
    parser.add_argument("--episodes", type=int, default=1000, help="counted, after the warm-up")
    parser.add_argument("--warm-up", type=int, default=50, help="episodes that are not counted")
    parser.add_argument("--repeats", type=int, default=50, help="roll-outs")
    parser.add_argument("--device", default="gpu", help="gpu, gpu:N, or cpu to try this program")
    parser.add_argument("--json", metavar="FILE", help="write JSON to FILE, or - for the output")
    options = parser.parse_args()
    for name in ("episodes", "warm_up", "repeats"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: at least 1 expected")
    if options.device != "cpu" and gpu_count() == 0:
        sys.exit("bench_gpu: a GPU is needed, none found; install the extra cuda12 or cuda13")
    device = select_device(options.device)
    batch, crop = BATCH[options.quick]
    config = build(
        changes={
            "network.precision": options.precision,
            "train.episodes": options.warm_up + options.episodes,
            "train.batch_size": batch,
            "train.crop_size": crop,
            "train.validation_size": crop if options.quick else TrainConfig.validation_size,
            "train.workers": 4,
        }
    )
    report: dict[str, Any] = {
        "device": describe(device),
        "precision": options.precision,
        "variant": config.network.variant,
        "convolutions": in_use(gpu_count()),
        "versions": versions(),
    }
    cases = options.cases or ["rollout", "episodes"]
    with device.use():
        if "rollout" in cases:
            report["rollout"] = time_rollout(IMAGE[options.quick], config, device, options.repeats)
        if "episodes" in cases:
            report["episodes"] = time_episodes(config, device, options.warm_up, options.episodes)
    text = json.dumps(report, indent=2)
    print(text if options.json == "-" else table(report))
    if options.json not in (None, "-"):
        Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
