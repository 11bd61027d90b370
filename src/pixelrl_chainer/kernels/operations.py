"""How an action describes itself to the fused kernels of CPU and GPU: what it does to one pixel."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = {"keep": 0, "shift": 1, "separable": 3, "bilateral": 4, "median": 0}
"""What a pixel can do, with the count of its numbers.

``keep``: nothing. ``shift``: add a number. ``separable``: take the mean of 5x5 pixels by the outer,
inner and central weight of a line. ``bilateral``: likewise by the factor of a squared difference
and the weights of squared distances 1, 2 and 4. ``median``: take that of 5x5 pixels.

Its position is the number of a kind in the compiled loops of :mod:`.actions_cpu`, its name that of
a function in the source of :mod:`.actions_gpu`.
"""


@dataclass(frozen=True)
class PixelOperation:
    """An operation on one pixel and its neighbours, in every channel.

    Parameters
    ----------
    kind : str
        One of ``KINDS``.
    numbers : tuple of float
        Its constants, as many as ``KINDS`` says; rounded to float32 by the kernels.

    Raises
    ------
    ValueError
        If the kind is unknown or the count of numbers is another one.
    """

    kind: str
    numbers: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"unknown pixel operation {self.kind!r}: expected one of {', '.join(KINDS)}"
            )
        if len(self.numbers) != KINDS[self.kind]:
            raise ValueError(
                f"{self.kind} takes {KINDS[self.kind]} numbers, found {len(self.numbers)}"
            )
