"""Time colour conversions and a step of the thirteen colour actions against OpenCV, image by image.

Run ``python benchmarks/bench_color.py``. The runs of the two sides alternate, so both meet the same
load; medians are given. ``PIXELRL_THREADS`` sets the threads of both.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import cv2
import numpy as np
from bench_filters import seconds

from pixelrl_chainer import color, paper
from pixelrl_chainer.actions import ACTIONS
from pixelrl_chainer.backend import Array
from pixelrl_chainer.kernels.threads import thread_count

ACTION_SET = ACTIONS["color"]
SATURATION = 3
CHANNELS = ((1, 2), (0, 1), (0, 2))


def last(images: Array) -> list[Array]:
    """Images as OpenCV wants them, (H, W, 3) each."""
    return [np.ascontiguousarray(image) for image in images.transpose(0, 2, 3, 1)]


def convert(images: list[Array], code: int) -> list[Array]:
    """OpenCV's conversion of each image."""
    return [cv2.cvtColor(image, code) for image in images]


def change(image: Array, number: int) -> Array:
    """One action on a whole image, by NumPy and OpenCV."""
    factor = np.float32(paper.COLOR_FACTORS[(number + 1) % 2])
    if number in (1, 2):
        return image * factor + (1 - factor) / 2
    if number in (5, 6):
        return image + np.float32((-paper.COLOR_STEP, paper.COLOR_STEP)[number - 5])
    if number in (SATURATION, SATURATION + 1):
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        hsv[..., 1] *= factor
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    result = image.copy()
    result[..., list(CHANNELS[(number - 7) // 2])] *= factor
    return result


def select(images: list[Array], action_map: Array) -> list[Array]:
    """One step: on each image the actions that occur, of which each pixel takes its own."""
    results = []
    for image, actions in zip(images, action_map, strict=True):
        result = image
        for number in range(1, len(ACTION_SET)):
            chosen = (actions == number)[..., None]
            if chosen.any():
                result = np.where(chosen, change(image, number), result)
        results.append(result)
    return results


def cases(shape: tuple[int, ...]) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name of a case to ours and OpenCV's."""
    rng = np.random.default_rng(0)
    images = rng.random(shape, dtype=np.float32)
    action_map = rng.integers(0, len(ACTION_SET), (shape[0], *shape[2:]), dtype=np.int32)
    hsv = color.bgr_to_hsv(images)
    bgr_last, hsv_last = last(images), last(hsv)
    return {
        "BGR to Lab": (
            lambda: color.bgr_to_lab(images),
            lambda: convert(bgr_last, cv2.COLOR_BGR2Lab),
        ),
        "BGR to HSV": (
            lambda: color.bgr_to_hsv(images),
            lambda: convert(bgr_last, cv2.COLOR_BGR2HSV),
        ),
        "HSV to BGR": (
            lambda: color.hsv_to_bgr(hsv),
            lambda: convert(hsv_last, cv2.COLOR_HSV2BGR),
        ),
        "step of 13 actions": (
            lambda: ACTION_SET.apply(images, action_map),
            lambda: select(bgr_last, action_map),
        ),
    }


def main() -> None:
    """Read the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    default = (paper.BATCH_SIZE, 3, paper.CROP_SIZE, paper.CROP_SIZE)
    parser.add_argument("--shape", type=int, nargs=4, default=default, metavar="N")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    cv2.setNumThreads(thread_count())
    size = "x".join(map(str, options.shape))
    print(f"{size}, {thread_count()} threads, milliseconds\n{'':20}{'ours':>9}{'cv2 loop':>10}")
    for name, sides in cases(tuple(options.shape)).items():
        for side in sides:  # loops compiled, memory and caches warm
            side()
        times = [[seconds(side) for side in sides] for _ in range(options.repeats)]
        ours, theirs = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:20}{ours:9.2f}{theirs:10.2f}")


if __name__ == "__main__":
    main()
