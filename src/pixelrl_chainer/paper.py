"""Every constant and published number of PixelRL, in one place.

Sources: Furuta, Inoue, Yamasaki, "PixelRL: Fully Convolutional Network with Reinforcement Learning
for Image Processing", IEEE Transactions on Multimedia 22(7), 2020 (the tables below carry its
numbers), its AAAI 2019 version, and the authors' released code. Where paper and code differ the
constant is the code's and ``docs/FIDELITY.md`` has a row.
"""

from __future__ import annotations

from typing import NamedTuple

# Actions for denoising and restoration (Table I).
FILTER_SIZE = 5
GAUSSIAN_SIGMA_NARROW = 0.5
GAUSSIAN_SIGMA_WIDE = 1.5
BILATERAL_SIGMA_COLOR_NARROW = 0.1
BILATERAL_SIGMA_COLOR_WIDE = 1.0
BILATERAL_SIGMA_SPACE = 5.0
PIXEL_STEP = 1 / 255
N_DENOISING_ACTIONS = 9

# Network (Fig. 1; kernel of Section V).
HIDDEN_CHANNELS = 64
RMC_SIZE = 33

# Episode, return and loss (Section VI-A and the released code).
DENOISING_STEPS = 5
T_MAX = 5
GAMMA = 0.95
ENTROPY_COEFFICIENT = 0.01
VALUE_COEFFICIENT = 0.25  # 0.5 x 1/2 in the released code
REWARD_SCALE = 255.0
PAPER_VALUE_COEFFICIENT = 1.0  # Eq. (14)
PAPER_ENTROPY_COEFFICIENT = 0.0
PAPER_REWARD_SCALE = 1.0  # Eq. (19)

# Training (Section VI-A).
EPISODES = 30_000
BATCH_SIZE = 64
CROP_SIZE = 70
LEARNING_RATE = 1e-3
DECAY_POWER = 0.9
CHECKPOINT_EVERY = 300
FLIP_PROBABILITY = 0.5
ROTATION_PROBABILITY = 0.5
ROTATION_DEGREES = 10.0

# Degradations.
SIGMAS = (15.0, 25.0, 50.0)
SALT_AND_PEPPER_DENSITIES = (0.1, 0.5, 0.9)


class Row(NamedTuple):
    """One method of a table: scores in the order of the table's levels, None where not given."""

    key: str
    label: str
    scores: tuple[float | None, ...]


TABLE_II = (
    Row("bm3d", "BM3D", (31.07, 28.57, 25.62)),
    Row("wnnm", "WNNM", (31.37, 28.83, 25.87)),
    Row("tnrd", "TNRD", (31.42, 28.92, 25.97)),
    Row("mlp", "MLP", (None, 28.96, 26.03)),
    Row("cnn", "CNN (IRCNN)", (31.63, 29.15, 26.19)),
    Row("cnn+aug", "CNN (IRCNN), augmented", (31.66, 29.18, 26.20)),
    Row("none", "input", (None, 20.48, 14.91)),
    Row("random", "random agents", (24.69, 24.30, 22.80)),
    Row("plain", "PixelRL, plain", (31.17, 28.75, 25.78)),
    Row("convgru", "PixelRL +convGRU", (31.26, 28.83, 25.87)),
    Row("convgru-rmc", "PixelRL +convGRU +RMC", (31.40, 28.85, 25.88)),
    Row("convgru-rmc+aug", "PixelRL +convGRU +RMC, augmented", (31.49, 28.94, 25.95)),
)
"""Mean PSNR in dB on BSD68, Gaussian noise of sigma 15, 25 and 50."""

TABLE_V = (
    Row("cnn", "CNN (IRCNN)", (40.16, 29.19, 23.58)),
    Row("cnn+aug", "CNN (IRCNN), augmented", (40.40, 29.40, 23.76)),
    Row("none", "input", (15.08, 8.10, 5.55)),
    Row("random", "random agents", (None, 17.02, 12.24)),
    Row("plain", "PixelRL, plain", (36.51, 27.91, 22.73)),
    Row("convgru", "PixelRL +convGRU", (37.86, 29.26, 23.54)),
    Row("convgru-rmc", "PixelRL +convGRU +RMC", (38.46, 29.78, 23.78)),
    Row("convgru-rmc+aug", "PixelRL +convGRU +RMC, augmented", (38.82, 29.92, 23.81)),
)
"""Mean PSNR in dB on BSD68, salt-and-pepper noise of density 0.1, 0.5 and 0.9."""


def published(
    table: tuple[Row, ...], levels: tuple[float, ...], key: str, level: float
) -> float | None:
    """Return the score of row ``key`` at ``level``; None where the table does not give one."""
    if level not in levels:
        return None
    scores = {row.key: row.scores for row in table}.get(key)
    return None if scores is None else scores[levels.index(level)]
