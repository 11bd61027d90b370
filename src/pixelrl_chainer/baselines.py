"""Classical methods that a user compares with, each computed by a well-kept library.

They work on gray planes; every channel of a colour image is a plane of its own, as for the agents.
OpenCV, scikit-image and bm3d run on the CPU: arrays on a GPU are copied there and back.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from .backend import Array, to_numpy, xp_of
from .errors import ConfigError
from .images import to_8bit, to_float
from .task import Task

Plane = NDArray[np.float32]
"""Gray image (H, W), 1 is white, not clipped."""

Mask = NDArray[np.bool_]
"""Lost pixels (H, W); none where the clean image is unknown."""

NLM_PATCH, NLM_DISTANCE, NLM_STRENGTH = 5, 6, 0.6
"""Patches of 5x5 within 13x13 pixels, as in the examples of scikit-image; h = 0.6 sigma."""

TV_WEIGHT = 0.8
"""Weight of the total variation in units of sigma."""

MEDIAN_SIZE = 5
"""Side of the median's window, as of the agents' filter, unless the share of lost pixels is known.
"""

OUTVOTED = 3
"""A median of impulse noise fails where pepper, or salt, fills half of its window: the window is so
wide that this is as many standard deviations from what is expected."""

INPAINT_RADIUS = 3
LOST = 16 / 255
"""A pixel is lost if it differs from the clean image by more; less may be JPEG compression."""


@dataclass(frozen=True)
class Baseline:
    """A classical method.

    Attributes
    ----------
    name, label : str
        Name on the command line and key of rows; name in tables.
    tasks : tuple of str
        What it is meant for, keys of ``TASKS``.
    restore : callable
        (plane, task, mask of lost pixels) -> restored plane, float32 (H, W).
    needs_clean : bool
        Whether it looks at the mask, which is made from the clean image.
    requires : str or None
        Module of an extra of the same name.
    """

    name: str
    label: str
    tasks: tuple[str, ...]
    restore: Callable[[Plane, Task, Mask], Plane]
    needs_clean: bool = False
    requires: str | None = None


def stabilise(counts: Any) -> Any:
    """Anscombe's transform: Poisson counts become values with a standard deviation of about 1."""
    return 2 * np.sqrt(np.maximum(counts, 0) + 3 / 8)


def unstabilise(values: Any) -> Any:
    """Turn means of :func:`stabilise` into means of counts without bias.

    Closed form of Mäkitalo and Foi, IEEE TIP 20(9), 2011, for values from 2 sqrt(3/8) on, what no
    count becomes; smaller ones are taken as this.
    """
    d = np.maximum(values, 2 * np.sqrt(3 / 8))
    root = np.sqrt(3 / 2)
    mean = d**2 / 4 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 1 / 8
    return np.maximum(mean, 0)


def _at_known_noise(denoise: Callable[[NDArray[Any], float], NDArray[Any]]) -> Callable[..., Plane]:
    """Make a method for Gaussian noise of known sigma one for the noise of a task.

    Gaussian noise has sigma / 255. Poisson noise is made Gaussian by :func:`stabilise`, in units in
    which white stays 1.
    """

    def restore(plane: Plane, task: Task, lost: Mask) -> Plane:
        level = float(task.level or 0)
        if level == 0:
            return plane
        if task.level_name == "sigma":
            return np.asarray(denoise(plane, level / 255), np.float32)
        white = float(stabilise(level))
        stable = denoise(stabilise(plane.astype(np.float64) * level) / white, 1 / white)
        return np.asarray(unstabilise(stable * white) / level, np.float32)

    return restore


def _nlm(plane: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Non-local means (Buades et al., 2005) with uniform patches, told sigma."""
    result: NDArray[Any] = denoise_nl_means(
        plane, NLM_PATCH, NLM_DISTANCE, NLM_STRENGTH * sigma, sigma=sigma, fast_mode=True
    )
    return result


def _tv(plane: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Total variation (Rudin et al., 1992) by Chambolle's algorithm."""
    result: NDArray[Any] = denoise_tv_chambolle(plane, TV_WEIGHT * sigma)
    return result


def _bm3d(plane: NDArray[Any], sigma: float) -> NDArray[Any]:
    """BM3D (Dabov et al., 2007) in its default profile, told sigma."""
    import bm3d

    result: NDArray[Any] = bm3d.bm3d(plane, sigma_psd=sigma)
    return result


def median_size(density: float) -> int:
    """Smallest odd window, at least 3, that pepper is unlikely to fill by half; :data:`OUTVOTED`.

    Of n pixels n p +- sqrt(n p (1 - p)) are pepper, p = density / 2.
    """
    pepper, size = density / 2, 3
    while size < 255 and size * (1 / 2 - pepper) < OUTVOTED * math.sqrt(pepper * (1 - pepper)):
        size += 2
    return size


def _median(plane: Plane, task: Task, lost: Mask) -> Plane:
    """Median of a square window, wider where a known share of the pixels is lost.

    OpenCV has windows wider than 5 for 8 bits only; impulse noise on 8-bit images needs no more.
    """
    if task.level_name == "density":
        filtered = cv2.medianBlur(to_8bit(plane), median_size(float(task.level or 0)))
        return to_float(filtered)
    return np.asarray(cv2.medianBlur(plane, MEDIAN_SIZE), np.float32)


def _inpaint(plane: Plane, task: Task, lost: Mask) -> Plane:
    """OpenCV's inpainting by Telea's method (2004), told which pixels are corrupted; in 8 bits."""
    mask = lost.astype(np.uint8)
    return to_float(cv2.inpaint(to_8bit(plane), mask, INPAINT_RADIUS, cv2.INPAINT_TELEA))


_NOISE = ("denoise-gaussian", "denoise-poisson")
_LOST_PIXELS = ("denoise-saltpepper", "restore-text")

BASELINES: dict[str, Baseline] = {
    baseline.name: baseline
    for baseline in (
        Baseline("nlm", "non-local means, told the noise", _NOISE, _at_known_noise(_nlm)),
        Baseline("tv", "total variation, told the noise", _NOISE, _at_known_noise(_tv)),
        Baseline("median", "median filter", (*_NOISE, *_LOST_PIXELS), _median),
        Baseline("bm3d", "BM3D, told the noise", _NOISE, _at_known_noise(_bm3d), requires="bm3d"),
        Baseline(
            "inpaint",
            "inpainting (Telea), told the lost pixels",
            _LOST_PIXELS,
            _inpaint,
            needs_clean=True,
        ),
    )
}
"""Every baseline by name."""


class Restorer:
    """A baseline for one task, in the place of agents: it works on whole images, in one step.

    Parameters
    ----------
    name : str
        Key of :data:`BASELINES`.
    task : Task

    Raises
    ------
    ConfigError
        If there is no such baseline, it is not meant for the task, or it is not installed.
    """

    def __init__(self, name: str, task: Task) -> None:
        if name not in BASELINES:
            raise ConfigError(f"unknown baseline {name!r}: expected one of {', '.join(BASELINES)}")
        self.baseline = baseline = BASELINES[name]
        if task.name not in baseline.tasks:
            others = [other.name for other in BASELINES.values() if task.name in other.tasks]
            raise ConfigError(
                f"the baseline {name} is for {', '.join(baseline.tasks)}, not for {task.name}; "
                + (f"that has {', '.join(others)}" if others else "that has none: use --agent none")
            )
        if baseline.requires and importlib.util.find_spec(baseline.requires) is None:
            raise ConfigError(
                f"the baseline {name} needs the package {baseline.requires}, which is not "
                f"installed and for non-commercial use only: pip install "
                f"'pixelrl-chainer[{baseline.requires}]'"
            )
        self.task = task
        self.rng: Any = None  # nothing is drawn

    def restore(self, images: Array, clean: Array | None = None) -> Array:
        """Restore corrupted images.

        Parameters
        ----------
        images : array, float32 (B, 1, H, W)
        clean : array or None, float32 (B, 1, H, W)
            Only looked at by a baseline that is told which pixels are corrupted.

        Returns
        -------
        array, float32 (B, 1, H, W), not clipped
            On the device of ``images``.

        Raises
        ------
        ConfigError
            If the baseline needs the clean image and there is none.
        """
        if self.baseline.needs_clean and clean is None:
            raise ConfigError(
                f"the baseline {self.baseline.name} is told the lost pixels by the clean image, "
                "and there is none"
            )
        planes = np.ascontiguousarray(to_numpy(images)[:, 0])
        known = planes if clean is None else to_numpy(clean)[:, 0]
        restored = [
            self.baseline.restore(plane, self.task, np.abs(plane - other) > LOST)
            for plane, other in zip(planes, known, strict=True)
        ]
        return xp_of(images).asarray(np.stack(restored)[:, np.newaxis])
