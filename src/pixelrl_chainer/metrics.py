"""Scores of images as the paper's tables have them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from .backend import Array, xp_of
from .images import to_8bit
from .rewards import lab_distance
from .saliency import saliency_map

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Metric:
    """A score of one image.

    Attributes
    ----------
    key, label : str
        Name in results; heading of tables, with the unit.
    digits : int
        Decimal places in tables; the paper gives one less.
    higher_is_better : bool
    score : callable
        (output, target, start) -> float. ``output`` and ``start`` (the first state) are float32
        (C, H, W), ``target`` is what the task is rewarded by, for example the clean image.
    """

    key: str
    label: str
    digits: int
    higher_is_better: bool
    score: Callable[[Image, Image, Image], float]


WINDOW = 7
"""Side of the window of SSIM."""
STRIP = 1024
"""Rows of window centres at a time: a dozen maps in double precision are held for them."""


def psnr(output: Image, clean: Image) -> float:
    """Peak signal-to-noise ratio in dB after clipping and rounding both images to 8 bits.

    Parameters
    ----------
    output, clean : numpy.ndarray, float32, same shape
        1 is white.

    Returns
    -------
    float
        OpenCV's PSNR for a peak of 255, which the published code reports; 361.2 for equal images.
    """
    return float(cv2.PSNR(to_8bit(output), to_8bit(clean)))


def ssim(output: Image, clean: Image) -> float:
    """Mean structural similarity after clipping and rounding both images to 8 bits.

    A uniform window of 7x7 and a data range of 255, which gives the paper's 0.656 for the input of
    Table VI.

    Parameters
    ----------
    output, clean : numpy.ndarray, float32 (C, H, W)
        1 is white; the score is the mean over channels.

    Returns
    -------
    float
        In [-1, 1]; NaN where a side is shorter than the window.
    """
    height, width = clean.shape[-2:]
    if min(height, width) < WINDOW:
        return float("nan")
    images = to_8bit(output), to_8bit(clean)
    total = 0.0
    for top in range(0, height - WINDOW + 1, STRIP):
        strip = [image[:, top : top + STRIP + WINDOW - 1] for image in images]
        centres = strip[0].shape[1] - WINDOW + 1
        total += centres * structural_similarity(
            *strip, win_size=WINDOW, data_range=255, channel_axis=0
        )
    return float(total / (height - WINDOW + 1))


def lab_error(output: Image, target: Image) -> float:
    """Mean over pixels of the distance in CIELab of two images clipped to [0, 1] (Table VIII).

    Parameters
    ----------
    output, target : numpy.ndarray, float32 (3, H, W)
        Blue, green, red, with 1 as white; not rounded to 8 bits.
    """
    return float(lab_distance(target[None], output[None]).mean(dtype=np.float64))


PSNR = Metric("psnr", "PSNR (dB)", 3, True, lambda output, clean, start: psnr(output, clean))
SSIM = Metric("ssim", "SSIM", 4, True, lambda output, clean, start: ssim(output, clean))
LAB_ERROR = Metric(
    "lab_error", "Lab error", 3, False, lambda output, target, start: lab_error(output, target)
)
SSIM_INPUT = Metric(
    "ssim_input", "SSIM to input", 3, True, lambda output, mask, start: ssim(output, start)
)


def correlation(estimator: str) -> Metric:
    """Pearson's correlation (CC) of the mask and the saliency map of the output (Table IX).

    Parameters
    ----------
    estimator : str
        Key of :data:`pixelrl_chainer.saliency.ESTIMATORS`.

    Returns
    -------
    Metric
        Its key is ``cc_`` and the estimator; 0 where mask or map has one value only.
    """

    def score(output: Image, mask: Image, start: Image) -> float:
        return pearson(saliency_map(output, estimator), mask[0])

    return Metric(f"cc_{estimator}", f"CC {estimator.upper()}", 3, True, score)


def pearson(one: Image, other: Image) -> float:
    """Pearson's correlation coefficient of two maps of one shape; 0 if one is constant."""
    a, b = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (one, other))
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 0 else 0.0


CC_VSF, CC_SR = correlation("vsf"), correlation("sr")


def batch_psnr(images: Array, clean: Array) -> Array:
    """PSNR in dB of a whole batch, as floats, for the learning curve; an array of no dimension."""
    xp = xp_of(images)
    return -10 * xp.log10(xp.mean((images - clean) ** 2) + 1e-12)
