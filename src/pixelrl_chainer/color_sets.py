"""Pairs for local colour enhancement: Yan et al.'s three styles, or stand-ins made on the spot."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms

from . import paper, sources
from .errors import DataError
from .images import Image8, ImageFloat, read_image, to_8bit, to_float
from .imagesets import ImageSet, Read
from .pairs import is_pairs, stack

FOLDER = "color"
"""Folder of the three sets in ``$PIXELRL_DATA``, ``data`` and the user's cache."""

BUNDLED = {
    "train": ("astronaut.png", "motorcycle_left.png", "motorcycle_right.png", "rocket.jpg"),
    "test": ("chelsea.png", "coffee.png"),
}
"""Colour photographs that scikit-image installs, split as in the set ``bundled``."""


def read_color(path: Path) -> Image8:
    """Read a colour image as it is stored, uint8 (H, W, 3), blue, green, red.

    Raises
    ------
    DataError
        If it cannot be read or is gray.
    """
    image = read_image(path)
    if image.ndim == 2:
        raise DataError(f"{path} is gray; expected a colour image: save it as RGB if that is meant")
    return image


def read_managed(path: Path) -> Image8:
    """Read a colour image and convert it from its embedded ICC profile to sRGB.

    The conversion is Little CMS's, perceptual, on 8 bits. An image without a profile stays as it
    is; arguments, result and errors as for :func:`read_color`.

    Raises
    ------
    DataError
        Also if the profile is damaged.
    """
    image = read_color(path)
    try:
        with Image.open(path) as file:
            profile = file.info.get("icc_profile")
        if not profile:
            return image
        pixels = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
        converted = ImageCms.profileToProfile(
            pixels,
            ImageCms.getOpenProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
        )
    except (OSError, ImageCms.PyCMSError) as error:
        raise DataError(
            f"{path}: its colour profile cannot be used ({error}); convert the image to sRGB, or "
            "use --set color.management=none"
        ) from error
    result: Image8 = np.ascontiguousarray(np.asarray(converted)[..., ::-1])
    return result


READERS: dict[str, Read] = {"none": read_color, "icc": read_managed}
"""By ``color.management``."""


def find_style(style: str) -> Path | None:
    """Return the folder with the pairs of a style, or None where there is none.

    It is ``color/STYLE``, for example ``color/foreground-popout``, also by the last word of its
    name (``color/popout``), or ``color`` itself in the layout of Yan et al.
    """
    for place in sources.user_places(FOLDER):
        for folder in (place / style, place / style.rpartition("-")[2]):
            if is_pairs(folder):
                return folder
        if is_pairs(place) and (place / style).is_dir():
            return place
    return None


def missing_style(style: str) -> str:
    """Return the line that tells how to obtain the pairs of a style."""
    looked = ", ".join(str(place / style) for place in sources.user_places(FOLDER))
    return (
        f"color-{style} was not found (looked in {looked}); put its pairs there as "
        "{train,test}/{input,target}, see 'pixelrl-chainer data prepare --help'"
    )


def open_bundled(style: str, root: Path, split: str, read: Read) -> ImageSet:
    """Open bundled photographs with targets made by the effect of ``style``."""
    effect = EFFECTS[style]

    def read_pair(path: Path) -> Image8:
        image = read(path)
        return stack(image, effect(image), path)

    return ImageSet([root / name for name in BUNDLED[split]], read=read_pair, paired=True)


def pop_out(image: Image8) -> Image8:
    """Make vivid regions more vivid and bright, the others pale and dark (stands for Pop-Out).

    Vividness is the saturation, blurred by a Gaussian of 4 pixels, as a smooth step from 0.3 to
    0.6. Where it is 1, saturation is multiplied by 1.5, 0.08 added to the value and contrast is
    1.15; where it is 0, the factors are 0.5 and 1, and 0.08 is taken away.
    """
    bgr = to_float(image)
    saturation = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)[..., 1]
    ramp = np.clip((cv2.GaussianBlur(saturation, (0, 0), 4) - 0.3) / 0.3, 0, 1)[..., None]
    vivid = ramp * ramp * (3 - 2 * ramp)
    bgr = bgr + vivid * np.float32(0.15) * (bgr - np.float32(0.5))
    return _in_hsv(bgr, 0.5 + vivid, 0.16 * vivid - 0.08)


def cross_process(image: Image8) -> Image8:
    """Bend the curves of the channels, most in the shadows (stands for Local Xpro).

    Red and green get more contrast, blue less, as film has it that is developed in the chemicals
    of another one; the weight is the darkness of a pixel, 1 - (value of HSV).
    """
    bgr = to_float(image)
    shadows = 1 - bgr.max(axis=2, keepdims=True)
    blue, green, red = np.moveaxis(bgr, 2, 0)
    bent = np.stack([0.15 + 0.7 * blue, _s_curve(green, 0.6), _s_curve(red, 1.0)], axis=2)
    return to_8bit(bgr + (0.4 + 0.6 * shadows) * (bent - bgr))


def watercolor(image: Image8) -> Image8:
    """Smooth, brighten and saturate, most in the lights (stands for Watercolor).

    OpenCV's bilateral filter of nine pixels, sigma 40 grey levels and 5 pixels; then 0.15 times the
    value is added to the value, and saturation multiplied by up to 1.5.
    """
    bgr = to_float(cv2.bilateralFilter(image, 9, 40, 5))
    lights = bgr.max(axis=2, keepdims=True)
    return _in_hsv(bgr, 1 + 0.5 * lights, 0.15 * lights)


EFFECTS: dict[str, Callable[[Image8], Image8]] = dict(
    zip(paper.STYLES, (pop_out, cross_process, watercolor), strict=True)
)
"""Local effect that stands for each style where Yan et al.'s images are missing."""


def _in_hsv(bgr: ImageFloat, saturation: ImageFloat, value: ImageFloat) -> Image8:
    """Multiply the saturation and shift the value by maps (H, W, 1)."""
    hsv = cv2.cvtColor(np.clip(bgr, 0, 1).astype(np.float32), cv2.COLOR_BGR2HSV)
    hsv[..., 1:2] = np.clip(hsv[..., 1:2] * saturation, 0, 1)
    hsv[..., 2:3] = np.clip(hsv[..., 2:3] + value, 0, 1)
    return to_8bit(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR))


def _s_curve(channel: ImageFloat, strength: float) -> ImageFloat:
    """More contrast: between a channel and its smooth step."""
    steep: ImageFloat = channel + strength * (channel * channel * (3 - 2 * channel) - channel)
    return steep
