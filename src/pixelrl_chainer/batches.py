"""Training crops: shuffling, augmentation and cropping as published, prepared by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from . import paper
from .errors import ConfigError, DataError
from .images import Image8, ImageFloat, to_float
from .imagesets import ImageSet
from .rng import stream


def pass_starts(count: int, batch_size: int) -> tuple[int, ...]:
    """Return where the mini-batches of one pass start in its permutation (published code).

    Batches follow each other as long as two more whole ones and at least one image are left;
    what then remains, between one and two batches, gives a single batch, the last
    ``batch_size`` images. So 432 images in batches of 64 start at 0, 64, …, 256 and 368.

    Parameters
    ----------
    count : int
        Number of images, at least 1.
    batch_size : int
        Images of a batch, at least 1.

    Returns
    -------
    tuple of int
        At least one start. ``(0,)`` if ``count`` does not exceed ``batch_size``, a case for
        which the published code is not defined.

    Notes
    -----
    With at most two batches' worth of images, the published code has an additional batch at 0 in
    its very first pass only. Here all passes are alike.
    """
    if count <= batch_size:
        return (0,)
    return (*range(0, count - 2 * batch_size, batch_size), count - batch_size)


def flip_and_rotate(image: Image8, flip: bool, angle: float) -> Image8:
    """Mirror an image left to right, then rotate it about its centre (published code).

    Parameters
    ----------
    image : numpy.ndarray
        (H, W) or (H, W, C) uint8, up to 6 channels.
    flip : bool
        Whether to mirror.
    angle : float
        Degrees, counter-clockwise; 0 leaves the image as it is.

    Returns
    -------
    numpy.ndarray
        Same shape and type; bilinear interpolation, black where the rotated image has no pixel.
    """
    height, width = image.shape[:2]
    result: npt.NDArray[Any] = cv2.flip(image, 1).reshape(image.shape) if flip else image
    if angle:
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
        # OpenCV interpolates 2 and 6 channels more coarsely than 1 and 3.
        planes = result.reshape(height, width, -1)
        group = 1 if planes.shape[2] % 3 else 3
        turned = [
            cv2.warpAffine(planes[..., first : first + group], matrix, (width, height))
            for first in range(0, planes.shape[2], group)
        ]
        result = np.dstack(turned).reshape(image.shape)
    return result


def random_crop(image: Image8, size: int, rng: np.random.Generator) -> Image8:
    """Cut a square at a random place.

    Parameters
    ----------
    image : numpy.ndarray
        (H, W) or (H, W, C) with both sides at least ``size``.
    size : int
        Side of the square.
    rng : numpy.random.Generator
        Draws the offsets, uniform in [0, H − size) and [0, W − size) as published, that is never
        the last possible one; a side equal to ``size``, which the published code refuses, has
        offset 0.

    Returns
    -------
    numpy.ndarray
        (size, size) or (size, size, C), a view.
    """
    top, left = rng.integers([max(side - size, 1) for side in image.shape[:2]])
    return image[top : top + size, left : left + size]


class CropLoader:
    """Mini-batches of augmented crops, each a function of the seed and the episode alone.

    Nothing else is remembered, so training resumes exactly from an episode number, and the number
    of threads changes the speed only.

    Parameters
    ----------
    images : ImageSet
        Images to cut from.
    batch_size, crop_size : int
        Crops of a batch and their side in pixels.
    seed : int
        Root seed; the stream used is "data".
    flip, rotate_probability : float
        Probabilities of mirroring and of rotating.
    max_angle : float
        Rotations are uniform in ± this many degrees.
    workers, prefetch : int
        Threads, and batches prepared ahead, while iterating.

    Raises
    ------
    ConfigError
        If a number that must be positive is not.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        crop_size: int,
        seed: int,
        *,
        flip: float = paper.FLIP_PROBABILITY,
        rotate_probability: float = paper.ROTATION_PROBABILITY,
        max_angle: float = paper.ROTATION_DEGREES,
        workers: int = 2,
        prefetch: int = 4,
    ) -> None:
        for name, value in (
            ("batch size", batch_size),
            ("crop size", crop_size),
            ("workers", workers),
            ("prefetch", prefetch),
        ):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, found {value}")
        self.images = images
        self.batch_size = batch_size
        self.crop_size = crop_size
        self.seed = seed
        self.flip = flip
        self.rotate_probability = rotate_probability
        self.max_angle = max_angle
        self.workers = workers
        self.prefetch = prefetch
        self._starts = pass_starts(len(images), batch_size)

    def check(self) -> None:
        """Decode every image once, so that nothing fails in the middle of training.

        Raises
        ------
        DataError
            If an image cannot be read or is smaller than the crop.
        """
        with ThreadPoolExecutor(self.workers) as pool:
            for _ in pool.map(self._image, range(len(self.images))):
                pass

    def indices(self, episode: int) -> npt.NDArray[np.int64]:
        """Return which images batch ``episode`` is cut from.

        Parameters
        ----------
        episode : int
            Number of the batch, not negative.

        Returns
        -------
        numpy.ndarray
            (batch_size,) int64: a slice of the permutation of its pass, see :func:`pass_starts`.
            With fewer images than ``batch_size``, the beginning of several permutations in a row,
            so that no image occurs more than once more often than another.
        """
        number, position = divmod(episode, len(self._starts))
        # Even indices of the stream are for passes, odd ones for the episodes' augmentation.
        rng = stream(self.seed, "data", 2 * number)
        repeats = -(-self.batch_size // len(self.images))
        order = np.concatenate([rng.permutation(len(self.images)) for _ in range(repeats)])
        start = self._starts[position]
        return order[start : start + self.batch_size]

    def batch(self, episode: int) -> ImageFloat:
        """Return the crops of batch ``episode``.

        Parameters
        ----------
        episode : int
            Number of the batch, not negative.

        Returns
        -------
        numpy.ndarray
            (batch_size, C, crop_size, crop_size) float32 in [0, 1], of pairs all channels.

        Raises
        ------
        DataError
            If an image cannot be read or is smaller than the crop.
        """
        rng = stream(self.seed, "data", 2 * episode + 1)
        flips = rng.random(self.batch_size) < self.flip
        rotated = rng.random(self.batch_size) < self.rotate_probability
        angles = rotated * rng.uniform(-self.max_angle, self.max_angle, self.batch_size)
        crops = [
            random_crop(flip_and_rotate(self._image(index), flip, angle), self.crop_size, rng)
            for index, flip, angle in zip(self.indices(episode), flips, angles, strict=True)
        ]
        stack = np.stack(crops).reshape(self.batch_size, self.crop_size, self.crop_size, -1)
        return to_float(np.ascontiguousarray(stack.transpose(0, 3, 1, 2)))

    def iterate(
        self, start: int, stop: int, prepare: Callable[[int], Any] | None = None
    ) -> Generator[tuple[int, Any]]:
        """Yield ``(episode, batch)`` for ``start <= episode < stop``, prepared ahead by threads.

        The threads end when the iterator does, also by an exception or by being closed.

        Parameters
        ----------
        start, stop : int
            Episodes.
        prepare : callable or None
            Makes what is yielded for an episode, in one of the threads; None stands for
            :meth:`batch`.

        Raises
        ------
        DataError
            As :meth:`batch`, when the failed episode's turn has come.
        """
        prepare = prepare or self.batch
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="crops")
        try:
            submitted = ((episode, pool.submit(prepare, episode)) for episode in range(start, stop))
            pending = deque(islice(submitted, self.prefetch))
            while pending:
                episode, future = pending.popleft()
                batch = future.result()
                pending.extend(islice(submitted, 1))
                yield episode, batch
        finally:
            pool.shutdown(cancel_futures=True)

    def _image(self, index: int) -> Image8:
        """Return an image that is large enough to cut from."""
        image = self.images.load_8bit(index)
        height, width = image.shape[:2]
        if min(height, width) < self.crop_size:
            raise DataError(
                f"{self.images.paths[index]} has {width}×{height} pixels (width×height), less than "
                f"the {self.crop_size}×{self.crop_size} crop; remove it or choose a smaller crop"
            )
        return image
