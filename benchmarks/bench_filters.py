"""Time the action bank on a batch of images against OpenCV called image by image.

Run ``python benchmarks/bench_filters.py`` (``--json FILE`` also writes the figures, ``-`` to the
standard output instead of the table). Ours and OpenCV's runs alternate, so both meet the same load;
the table gives medians in milliseconds. ``select`` is one step: a random map of nine actions.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from pixelrl_chainer import paper
from pixelrl_chainer.actions import ACTIONS

Plane = Any

STEP = np.float32(paper.PIXEL_STEP)
SIZE = (paper.FILTER_SIZE,) * 2
SPACE = paper.BILATERAL_SIGMA_SPACE
OPENCV: tuple[Callable[[Plane], Plane], ...] = (  # in the order of the action set "denoise"
    lambda plane: plane - STEP,
    lambda plane: plane,
    lambda plane: plane + STEP,
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


def seconds(run: Callable[[], object]) -> float:
    """Time one call."""
    start = perf_counter()
    run()
    return perf_counter() - start


def loop(filters: tuple[Callable[[Plane], Plane], ...], images: Plane) -> list[Plane]:
    """Apply each filter to each plane, one at a time."""
    return [
        np.stack([apply(plane) for image in images for plane in image]).reshape(images.shape)
        for apply in filters
    ]


def select(images: Plane, action_map: Plane) -> Plane:
    """One step by the loop over planes."""
    result = np.empty_like(images)
    for number, filtered in enumerate(loop(OPENCV, images)):
        np.copyto(result, filtered, where=(action_map == number)[:, None])
    return result


def compare(shape: tuple[int, int, int, int], repeats: int) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of ours and of OpenCV for each action and for one step."""
    rng = np.random.default_rng(0)
    images = rng.random(shape, dtype=np.float32)
    actions = ACTIONS["denoise"]
    action_map = rng.integers(0, len(actions), (shape[0], *shape[2:]))
    cases: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        action.name: (
            partial(action.apply, images),
            partial(loop, (theirs,), images),
        )
        for action, theirs in zip(actions.actions, OPENCV, strict=True)
    }
    cases["select"] = (
        partial(actions.apply, images, action_map),
        partial(select, images, action_map),
    )
    rows = {}
    for name, (ours, theirs) in cases.items():
        ours(), theirs()  # memory and caches warm
        times = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
        medians = [1e3 * statistics.median(column) for column in zip(*times, strict=True)]
        rows[name] = dict(zip(("ours_ms", "opencv_loop_ms"), medians, strict=True))
    return rows


def main() -> None:
    """Read the command line, measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", type=int, nargs=4, default=(64, 1, 70, 70), metavar="N")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="OpenCV's threads (ours: one)")
    parser.add_argument("--json", metavar="FILE", help="write JSON to FILE, or - for the output")
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    report = {
        "shape": list(options.shape),
        "repeats": options.repeats,
        "opencv_threads": options.threads,
        "machine": platform.processor() or platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
        "milliseconds": compare(tuple(options.shape), options.repeats),
    }
    text = json.dumps(report, indent=2)
    if options.json == "-":
        print(text)
        return
    print(f"{'action':16}{'ours ms':>10}{'cv2 loop ms':>14}")
    for name, row in report["milliseconds"].items():
        print(f"{name:16}{row['ours_ms']:10.2f}{row['opencv_loop_ms']:14.2f}")
    if options.json:
        Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
