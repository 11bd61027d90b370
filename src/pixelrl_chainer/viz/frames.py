"""An episode as an animation: image and action map of every step, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image as Pillow

from ..errors import ConfigError
from ..files import replace_atomically
from ..images import Image8, to_8bit
from .palette import colors

if TYPE_CHECKING:
    from ..explanation import Explanation

SECONDS = 1.2
"""Each frame is shown so long."""

PANEL = 384
"""A smaller image is drawn several times as large, up to about this side in pixels, and one that
is larger than twice that is reduced."""

CODEC, PIXEL_FORMAT, RATE = "libx264", "yuv420p", 10
"""H.264 with the chroma that every browser and player decodes; frames a second."""


def frames(explanation: Explanation) -> Iterator[Image8]:
    """Draw the frames of an animation: the state before each step with its actions, the result.

    Yields
    ------
    numpy.ndarray, uint8 (h, w, 3)
        Red, green, blue; the sides are even, as video needs them.
    """
    task, steps = explanation.task, len(explanation.action_maps)
    metric = task.metrics[0]
    for t, state in enumerate(explanation.states):
        name = "input" if t == 0 else f"after step {t}" + (", result" if t == steps else "")
        if explanation.scores:
            name += f"\n{metric.label}: {explanation.scores[metric.key][t]:.{metric.digits}f}"
        maps = explanation.action_maps[t] if t < steps else None
        yield _frame(explanation, state, maps, name, f"actions of step {t + 1}")


def _frame(explanation: Explanation, state: Any, maps: Any, name: str, actions: str) -> Image8:
    """Draw one frame; without maps the place of the actions is empty."""
    height, width = state.shape[1:]
    longest = max(height, width)
    scale = min(max(PANEL // longest, 1), 2 * PANEL / longest)  # whole: pixels of one size
    dpi, wide, tall = 100, width * scale, height * scale
    labels = [action.label for action in explanation.task.action_set.actions]
    columns = max(2, int(2 * wide) // 170)
    below = 22 * -(-len(labels) // columns) + 12
    above = 64
    size = (max(2 * wide + 30, 360), tall + above + below)
    figure = Figure(figsize=tuple(2 * round(side / 2) / dpi for side in size), dpi=dpi)
    figure.suptitle(explanation.name, parse_math=False, fontsize=10, y=1 - 4 / size[1], va="top")
    palette = colors(explanation.task.action_set.names)
    for place, title in enumerate((name, actions if maps is not None else "")):
        left = 10 + place * (size[0] / 2 - 5)
        box = (left / size[0], below / size[1], wide / size[0], tall / size[1])
        axis = figure.add_axes(box)
        axis.set_axis_off()
        axis.set_title(title, fontsize=9)
        if place == 0:
            shown = to_8bit(state[0] if len(state) == 1 else state[::-1].transpose(1, 2, 0))
            axis.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        elif maps is not None:
            norm = BoundaryNorm(np.arange(len(palette) + 1) - 0.5, len(palette))
            shown = maps[len(maps) // 2]
            axis.imshow(shown, cmap=ListedColormap(palette), norm=norm, interpolation="nearest")
    handles = [
        Patch(facecolor=color, edgecolor="gray", label=label)
        for color, label in zip(palette, labels, strict=True)
    ]
    figure.legend(handles=handles, loc="lower center", ncols=columns, fontsize=8, frameon=False)
    return rendered(figure)


def rendered(figure: Figure) -> Image8:
    """Return the pixels of a figure, uint8 (h, w, 3) red, green, blue."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def write_gif(pictures: Iterable[Image8], path: Path, keep: Sequence[str]) -> None:
    """Write an animation of :func:`frames` that repeats, as GIF.

    Parameters
    ----------
    pictures : iterable of numpy.ndarray, uint8 (h, w, 3)
    path : pathlib.Path
    keep : sequence of str
        Hexadecimal colours, those of the actions, that the 256 of every frame include.
    """
    first, *others = (_indexed(picture, keep) for picture in pictures)
    with replace_atomically(path) as temporary:
        first.save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=round(1000 * SECONDS),
            loop=0,
        )


def _indexed(picture: Image8, keep: Sequence[str]) -> Pillow.Image:
    """Reduce a picture to 256 colours."""
    image, own = Pillow.fromarray(picture), 256 - len(keep)
    palette = Pillow.new("P", (1, 1))
    palette.putpalette(
        [*(image.quantize(own).getpalette() or [])[: 3 * own], *b"".join(map(_rgb, keep))]
    )
    return image.quantize(palette=palette, dither=Pillow.Dither.NONE)


def _rgb(color: str) -> bytes:
    return bytes.fromhex(color.removeprefix("#"))


def write_mp4(pictures: Iterable[Image8], path: Path) -> None:
    """Write an animation of :func:`frames` as MP4 with H.264, which browsers and players decode.

    Raises
    ------
    ConfigError
        If PyAV, which brings the encoder, is not installed (extra ``video``).
    """
    try:
        import av
    except ImportError as error:
        raise ConfigError(
            "mp4 needs the package av: pip install 'pixelrl-chainer[video]', or write a .gif"
        ) from error
    shown = list(pictures)
    height, width = shown[0].shape[:2]
    with (
        replace_atomically(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        stream = container.add_stream(CODEC, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, PIXEL_FORMAT
        for picture in shown:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            for _ in range(round(RATE * SECONDS)):
                for packet in stream.encode(frame):
                    container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
