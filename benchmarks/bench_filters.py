"""Time one step of the nine denoising actions against OpenCV called image by image.

Run ``python benchmarks/bench_filters.py`` (``--json FILE`` also writes the figures, ``-`` to the
standard output instead of the table); other scripts call :func:`figures`. Three ways to compute a
step are compared: ``ours``, in one compiled pass; ``numpy``, the same actions without it, each on
the whole batch; and ``opencv_loop``, as the published code does it. Their runs alternate, so all
meet the same load; medians are given. The maps are random, clustered (random squares of 7x7
pixels), and, for each action, full of it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from pixelrl_chainer import paper
from pixelrl_chainer.actions import ACTIONS, ActionSet
from pixelrl_chainer.backend import Array
from pixelrl_chainer.kernels.threads import VARIABLE, thread_count

Shape = tuple[int, int, int, int]

ACTION_SET = ACTIONS["denoise"]
PLAIN = ActionSet("plain", tuple(replace(a, operation=None) for a in ACTION_SET.actions))

SIZE = (paper.FILTER_SIZE,) * 2
SPACE = paper.BILATERAL_SIGMA_SPACE
FIRST_FILTER = 3
FILTERS: tuple[Callable[[Array], Array], ...] = (  # the actions behind -1/255, nothing, +1/255
    lambda plane: cv2.GaussianBlur(plane, SIZE, paper.GAUSSIAN_SIGMA_NARROW),
    lambda plane: cv2.bilateralFilter(
        plane, paper.FILTER_SIZE, paper.BILATERAL_SIGMA_COLOR_NARROW, SPACE
    ),
    lambda plane: cv2.medianBlur(plane, paper.FILTER_SIZE),
    lambda plane: cv2.GaussianBlur(plane, SIZE, paper.GAUSSIAN_SIGMA_WIDE),
    lambda plane: cv2.bilateralFilter(
        plane, paper.FILTER_SIZE, paper.BILATERAL_SIGMA_COLOR_WIDE, SPACE
    ),
    lambda plane: cv2.blur(plane, SIZE),
)


def select(images: Array, action_map: Array) -> Array:
    """One step as published: each image by the filters it chose, then the actions one by one."""
    result = images + ((action_map.astype(np.float32) - 1) / 255)[:, None]
    filtered = [np.zeros_like(images) for _ in FILTERS]
    for image, actions, *outputs in zip(images, action_map, *filtered, strict=True):
        for number, (apply, output) in enumerate(zip(FILTERS, outputs, strict=True), FIRST_FILTER):
            if np.sum(actions == number) > 0:
                for plane, target in zip(image, output, strict=True):
                    target[:] = apply(plane)
    for number, output in enumerate(filtered, FIRST_FILTER):
        result = np.where(action_map[:, None] == number, output, result)
    return result


def action_maps(shape: Shape) -> dict[str, Array]:
    """Return the maps to measure, int32 (B, H, W), by name."""
    rng = np.random.default_rng(0)
    batch, _, height, width = shape
    size = (batch, height, width)
    squares = rng.integers(0, len(ACTION_SET), (batch, -(-height // 7), -(-width // 7)))
    clustered = squares.repeat(7, axis=1).repeat(7, axis=2)[:, :height, :width]
    maps = {"random": rng.integers(0, len(ACTION_SET), size), "clustered": clustered}
    maps |= {name: np.full(size, number) for number, name in enumerate(ACTION_SET.names)}
    return {name: action_map.astype(np.int32) for name, action_map in maps.items()}


def seconds(run: Callable[[], object]) -> float:
    """Time one call."""
    start = perf_counter()
    run()
    return perf_counter() - start


def measure(shape: Shape, repeats: int) -> dict[str, Any]:
    """Time all maps in this process; see :func:`figures`."""
    cv2.setNumThreads(thread_count())
    images = np.random.default_rng(1).random(shape, dtype=np.float32)
    rows = {}
    for name, action_map in action_maps(shape).items():
        ways = {
            "ours": partial(ACTION_SET.apply, images, action_map),
            "numpy": partial(PLAIN.apply, images, action_map),
            "opencv_loop": partial(select, images, action_map),
        }
        for way in ways.values():  # memory and caches warm, loops compiled
            way()
        times = [[seconds(way) for way in ways.values()] for _ in range(repeats)]
        medians = [statistics.median(column) for column in zip(*times, strict=True)]
        row = {f"{way}_ms": 1e3 * time for way, time in zip(ways, medians, strict=True)}
        rows[name] = {**row, "speedup_vs_opencv_loop": medians[2] / medians[0]}
    return {"threads": thread_count(), "maps": rows}


def figures(
    shape: Shape = (paper.BATCH_SIZE, 1, paper.CROP_SIZE, paper.CROP_SIZE),
    repeats: int = 15,
    threads: int | None = None,
) -> dict[str, Any]:
    """Measure in a process of its own.

    Parameters
    ----------
    shape : (B, C, H, W)
        Size of the images.
    repeats : int
        Runs of each way, of which the median is taken.
    threads : int or None
        Of ours and of OpenCV; None for the default of ours.

    Returns
    -------
    dict
        ``shape``, ``repeats``, ``threads`` and ``maps``: by name of the map ``ours_ms``,
        ``numpy_ms``, ``opencv_loop_ms`` and ``speedup_vs_opencv_loop``.
    """
    before = os.environ.get(VARIABLE)
    if threads is not None:
        os.environ[VARIABLE] = str(threads)
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(measure, shape, repeats).result()
    finally:
        if threads is not None:
            os.environ.pop(VARIABLE)
            os.environ |= {VARIABLE: before} if before is not None else {}
    return {"shape": list(shape), "repeats": repeats, **found}


def table(report: dict[str, Any]) -> str:
    """Write one measurement as lines of text."""
    size = "x".join(map(str, report["shape"]))
    lines = [f"{size}, {report['threads']} threads, milliseconds"]
    lines.append(f"{'map':16}{'ours':>9}{'numpy':>9}{'cv2 loop':>10}{'ratio':>8}")
    for name, row in report["maps"].items():
        lines.append(
            f"{name:16}{row['ours_ms']:9.2f}{row['numpy_ms']:9.2f}{row['opencv_loop_ms']:10.2f}"
            f"{row['speedup_vs_opencv_loop']:8.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    default = (paper.BATCH_SIZE, 1, paper.CROP_SIZE, paper.CROP_SIZE)
    parser.add_argument("--shape", type=int, nargs=4, default=default, metavar="N")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, help="of ours and OpenCV (default: all, and one)")
    parser.add_argument("--json", metavar="FILE", help="write JSON to FILE, or - for the output")
    options = parser.parse_args()
    counts = [options.threads] if options.threads else [None, 1]
    reports = [figures(tuple(options.shape), options.repeats, count) for count in counts]
    everything = {
        "machine": platform.processor() or platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
        "reports": reports,
    }
    text = json.dumps(everything, indent=2)
    if options.json == "-":
        print(text)
        return
    print("\n\n".join(map(table, reports)))
    if options.json:
        Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
