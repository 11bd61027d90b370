"""Time and memory of roll-outs on images of several sizes, in tiles and in one piece.

Run ``python benchmarks/bench_tiling.py`` (``--json FILE`` also writes the figures, ``-`` to the
standard output instead of the table). Every roll-out is done once, in a fresh process, whose peak
memory is reported: libraries, input and output included. Images are noise of 3:2, weights are
random. A size is processed in tiles if it exceeds ``--tile`` (squared); ``--whole`` repeats every
size in one piece. ``--megapixels 24`` takes minutes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import pixelrl_chainer  # noqa: F401  before chainer

# isort: split
import numpy as np

from pixelrl_chainer import paper
from pixelrl_chainer.agent import PixelwisePolicy
from pixelrl_chainer.env import PixelEnv
from pixelrl_chainer.evaluate import rollout
from pixelrl_chainer.models.fcn import VARIANTS, ModelConfig, PixelFCN
from pixelrl_chainer.progress import bar
from pixelrl_chainer.provenance import peak_memory_bytes, versions
from pixelrl_chainer.settings import TILE
from pixelrl_chainer.tasks import TASKS
from pixelrl_chainer.tiling import plan


def sides(megapixels: float) -> tuple[int, int]:
    """Height and width of an image of 3:2."""
    width = round((megapixels * 1.5e6) ** 0.5)
    return round(megapixels * 1e6 / width), width


def measure(options: argparse.Namespace, megapixels: float, tile: int) -> dict[str, Any]:
    """Roll out one image; keys as in the report."""
    rng = np.random.default_rng(0)
    model = PixelFCN(ModelConfig(options.variant), rng)
    env = PixelEnv(replace(TASKS["denoise-gaussian"], steps=options.steps))
    policy = PixelwisePolicy(model, rng)
    rollout(policy, env, rng.random((1, 1, 48, 48), dtype=np.float32))  # compiled loops loaded
    height, width = sides(megapixels)
    images = rng.random((options.channels, 1, height, width), dtype=np.float32)
    start = perf_counter(), process_time()
    rollout(policy, env, images, tile=tile, progress=bar)
    wall, cpu = perf_counter() - start[0], process_time() - start[1]
    is_cut = 0 < tile * tile < images.size
    tiles = len(plan(height, width, tile, env.steps, model.dilations)) if is_cut else 1
    return {
        "shape": list(images.shape),
        "tile": tile,
        "tiles": tiles * (options.channels if is_cut else 1),
        "seconds": wall,
        "cpu_seconds": cpu,
        "cpu_seconds_per_megapixel": cpu / (images.size / 1e6),
        "peak_memory_mb": peak_memory_bytes() / 2**20,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """One line for each roll-out."""
    lines = [f"{'image':>16}{'tiles':>7}{'seconds':>9}{'cpu s':>9}{'cpu s/Mpx':>11}{'peak MB':>9}"]
    for row in rows:
        channels, _, height, width = row["shape"]
        lines.append(
            f"{f'{channels}x{height}x{width}':>16}{row['tiles']:7}{row['seconds']:9.1f}"
            f"{row['cpu_seconds']:9.1f}{row['cpu_seconds_per_megapixel']:11.1f}"
            f"{row['peak_memory_mb']:9.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--megapixels", nargs="+", type=float, default=[0.15, 1, 4])
    parser.add_argument("--channels", type=int, default=1, help="images of a batch (default 1)")
    parser.add_argument("--steps", type=int, default=paper.DENOISING_STEPS)
    parser.add_argument("--variant", choices=VARIANTS, default="convgru-rmc")
    parser.add_argument("--tile", type=int, default=TILE, help="largest side of a tile")
    parser.add_argument("--whole", action="store_true", help="also in one piece")
    parser.add_argument("--json", metavar="FILE", help="write JSON to FILE, or - for the output")
    options = parser.parse_args()
    report: dict[str, Any] = {
        "variant": options.variant,
        "steps": options.steps,
        "cpus": os.cpu_count(),
        "machine": platform.processor() or platform.machine(),
        "load_before": os.getloadavg()[0],
        "versions": versions(),
        "runs": [],
    }
    context = multiprocessing.get_context("spawn")
    for megapixels in options.megapixels:
        for tile in (options.tile, 0) if options.whole else (options.tile,):
            with context.Pool(1) as fresh:
                row = fresh.apply(measure, (options, megapixels, tile))
            report["runs"].append(row)
            print(f"{megapixels:g} Mpixel: {row['seconds']:.1f} s", file=sys.stderr)
    text = json.dumps(report, indent=2)
    if options.json == "-":
        print(text)
        return
    print(table(report["runs"]))
    if options.json:
        Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
