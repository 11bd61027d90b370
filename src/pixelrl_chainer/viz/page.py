"""A report as one HTML file: no network, no other files, maps as PNG images inside.

What the page shows of an episode is a dictionary (:func:`page_data`), which viewer.js reads; the
numbers of a map are rounded to 8 bits, and the page says how (:func:`quantise`).
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from ..errors import DataError
from ..files import replace_or_say
from ..images import Image8, to_8bit
from ..metrics import Metric
from .palette import colors

if TYPE_CHECKING:
    from ..explanation import Explanation

Numbers = NDArray[Any]

RAMPS = {"probability": "cividis", "value": "PuOr_r", "reward": "PuOr_r"}
"""Matplotlib's name of the colours of each map; all can be told apart by colour-blind readers."""

RAMP_STOPS = 17


def png(image: Image8, *, noisy: bool = False) -> str:
    """:func:`png_bytes` in base64."""
    return base64.b64encode(png_bytes(image, noisy=noisy)).decode("ascii")


def png_bytes(image: Image8, *, noisy: bool = False) -> bytes:
    """Compress an image, uint8 (H, W) or (H, W, 3) blue, green, red, to PNG.

    A ``noisy`` one, whose pixels say little about their neighbours, is a quarter smaller if they
    are not used to predict it.
    """
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    if noisy:
        settings += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
        settings += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    done, encoded = cv2.imencode(".png", image, settings)
    if not done:
        raise DataError(f"no PNG image of shape {image.shape} can be made")
    return bytes(encoded.tobytes())


def quantise(maps: Numbers, low: float, high: float, levels: float, power: float) -> Image8:
    """Round numbers to the nearest of ``levels`` + 1 between ``low`` and ``high``.

    Parameters
    ----------
    maps : numpy.ndarray of floats
        From ``low`` to ``high``.
    low, high : float
        With ``power`` 2 they are -m and m.
    levels : int
        At most 255, even with ``power`` 2.
    power : int
        1: levels have equal distances. 2: their square roots have, finer around 0, where most
        rewards are.

    Returns
    -------
    numpy.ndarray, uint8
        The level; :func:`restore` is the inverse.
    """
    share = (maps.astype(np.float64) - low) / ((high - low) or 1)
    if power == 2:
        signed = 2 * share - 1
        share = (np.sign(signed) * np.sqrt(np.abs(signed)) + 1) / 2
    return np.round(share * levels).astype(np.uint8)


def restore(level: Numbers, low: float, high: float, levels: float, power: float) -> Numbers:
    """Return the numbers that levels stand for, float64; viewer.js has the same function."""
    share = level / levels
    if power == 2:
        signed = 2 * share - 1
        share = (signed * np.abs(signed) + 1) / 2
    return low + share * (high - low)


def scales(explanation: Explanation) -> dict[str, list[dict[str, float]]]:
    """Return, by map, the arguments of :func:`quantise` that suit each of its steps.

    Probabilities are whole percents. Values and rewards of later steps are a tenth of the first
    one's and less, so each step has its own largest number.
    """
    percent = {"low": 0.0, "high": 1.0, "levels": 100, "power": 1}
    found = {"probability": [percent] * len(explanation.action_maps)}
    for name, maps in (("value", explanation.value_maps), ("reward", explanation.reward_maps)):
        if maps is not None:
            largest = [float(np.abs(step).max()) for step in maps]
            found[name] = [{"low": -m, "high": m, "levels": 254, "power": 2} for m in largest]
    return found


def page_data(explanation: Explanation, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return what viewer.js shows, ready for JSON.

    Parameters
    ----------
    explanation : Explanation
    facts : mapping
        Lines below the title, for example the weights.
    """
    task, target = explanation.task, explanation.target
    steps, planes, height, width = explanation.action_maps.shape
    scale = scales(explanation)
    looks = zip(task.action_set.actions, colors(task.action_set.names), strict=True)
    return {
        "title": f"{explanation.name}: {task.title}",
        "facts": dict(facts),
        "width": width,
        "height": height,
        "steps": steps,
        "planes": ["blue", "green", "red"][:planes] if planes > 1 else [""],
        "actions": [
            {"name": action.name, "label": action.label, "color": color} for action, color in looks
        ],
        "states": compress([picture(state) for state in explanation.states]),
        "target": None if target is None else png(picture(target)),
        "target_name": "mask" if task.observes_target else "target",
        "maps": _maps(explanation, scale),
        "scales": scale,
        "ramps": {name: _ramp(RAMPS[name]) for name in scale},
        "counts": explanation.counts.tolist(),
        "metrics": metric_curves(task.metrics, explanation.scores),
    }


def _maps(explanation: Explanation, scale: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """Return the maps as images, by name, step and plane."""
    numbers: dict[str, Any] = {
        "probability": explanation.chosen,
        "value": explanation.value_maps,
        "reward": explanation.reward_maps,
    }
    maps: dict[str, Any] = {"action": explanation.action_maps}
    for name, arguments in scale.items():
        pairs = zip(numbers[name], arguments, strict=True)
        maps[name] = [quantise(step, **of_step) for step, of_step in pairs]
    packed = iter(compress([p for found in maps.values() for s in found for p in s], noisy=True))
    return {name: [[next(packed) for _ in step] for step in found] for name, found in maps.items()}


def compress(images: list[Image8], *, noisy: bool = False) -> list[str]:
    """Compress images at the same time; the encoder leaves Python to others meanwhile."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(partial(png, noisy=noisy), images))


def metric_curves(
    metrics: Sequence[Metric], scores: Mapping[str, Sequence[float]]
) -> list[dict[str, Any]]:
    """Return the scores of all states, by metric; JSON has no NaN."""
    return [
        {
            "key": metric.key,
            "label": metric.label,
            "digits": metric.digits,
            "values": [x if math.isfinite(x) else None for x in scores[metric.key]],
        }
        for metric in metrics
        if any(math.isfinite(x) for x in scores.get(metric.key, ()))
    ]


def write_page(data: Mapping[str, Any], path: Path) -> None:
    """Write the report of :func:`page_data` as one file.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    text = page(data)
    with replace_or_say(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(data: Mapping[str, Any]) -> str:
    """Return the report as HTML."""
    # Text cannot end the element it stands in, whatever an image is called.
    return assemble("viewer", data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"))


def assemble(name: str, **texts: str) -> str:
    """Put style sheet, script and texts into ``name``.html of viewer/, at marks such as /*css*/.

    Raises
    ------
    DataError
        If a mark is missing.
    """
    folder = resources.files(__package__) / "viewer"
    html, *code = ((folder / f"{name}.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    texts.update(zip(("css", "js"), code, strict=True))
    for mark in texts:
        if f"/*{mark}*/" not in html:
            raise DataError(f"{name}.html lacks /*{mark}*/: the installation is damaged")
    # In one pass: a text that looks like a mark stays a text.
    return re.sub(rf"/\*({'|'.join(texts)})\*/", lambda found: texts[found[1]], html)


def picture(planes: Numbers) -> Image8:
    """Turn (C, H, W) into an 8-bit image."""
    shown = to_8bit(planes)
    return shown[0] if len(shown) == 1 else np.ascontiguousarray(shown.transpose(1, 2, 0))


def _ramp(name: str) -> list[str]:
    """Colours of a map from its lowest to its highest number."""
    return [to_hex(colormaps[name](i / (RAMP_STOPS - 1))) for i in range(RAMP_STOPS)]
