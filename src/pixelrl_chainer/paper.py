"""Every constant and published number of PixelRL, in one place.

Sources: Furuta, Inoue, Yamasaki, "PixelRL: Fully Convolutional Network with Reinforcement Learning
for Image Processing", IEEE Transactions on Multimedia 22(7), 2020 (the tables below carry its
numbers), its AAAI 2019 version, and the authors' released code. Where paper and code differ the
constant is the code's and ``docs/FIDELITY.md`` has a row.
"""

from __future__ import annotations

from typing import NamedTuple

Level = float | str
"""Column of a table: level of a degradation, name of a style or length of an episode."""

# Actions for denoising and restoration (Table I).
FILTER_SIZE = 5
GAUSSIAN_SIGMA_NARROW = 0.5
GAUSSIAN_SIGMA_WIDE = 1.5
BILATERAL_SIGMA_COLOR_NARROW = 0.1
BILATERAL_SIGMA_COLOR_WIDE = 1.0
BILATERAL_SIGMA_SPACE = 5.0
PIXEL_STEP = 1 / 255
N_DENOISING_ACTIONS = 9

# Actions for colour enhancement (Table VII): smaller and larger.
COLOR_FACTORS = (0.95, 1.05)
COLOR_STEP = 0.025
N_COLOR_ACTIONS = 13

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

# The other applications (Sections VI-B to VI-D and the shared code).
RESTORATION_STEPS = 15
FONT_SIZES = (10, 30)
COLOR_STEPS = 10
COLOR_ROTATION_DEGREES = 45.0
COLOR_REWARD_SCALE = 1.0
SALIENCY_STEPS = (5, 10, 15)
SALIENCY_EPISODES = 200
SALIENCY_ALPHA = 1.0
SALIENCY_BETA = 0.5
GUIDED_FILTER_RADIUS = 2  # of a line that is commented out in the released code
GUIDED_FILTER_EPS = 0.01

# Degradations and styles: the columns of the tables.
SIGMAS = (15.0, 25.0, 50.0)
PEAKS = (120.0, 30.0, 10.0)
SALT_AND_PEPPER_DENSITIES = (0.1, 0.5, 0.9)
STYLES = ("foreground-popout", "local-xpro", "watercolor")


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

TABLE_III = (
    Row("convgru@denoise-basic", "box, median, Gaussian 1.5, nothing", (29.82, 27.60, 25.20)),
    Row("convgru@denoise-bilateral", "+ bilateral 1.0", (29.93, 27.81, 25.30)),
    Row("convgru@denoise-pixel", "+ pixel value ±1", (30.72, 28.25, 25.59)),
    Row("convgru@denoise", "+ bilateral 0.1, Gaussian 0.5", (31.26, 28.83, 25.87)),
)
"""Mean PSNR in dB on BSD68 of +convGRU with four action sets, columns as in Table II.

The key names the row of Table II and, behind the @, the set in ``ACTIONS``."""

TABLE_IV = (
    Row("cnn", "CNN (IRCNN)", (31.62, 28.20, 25.93)),
    Row("cnn+aug", "CNN (IRCNN), augmented", (31.66, 28.26, 25.96)),
    Row("none", "input", (None, 18.97, 14.52)),
    Row("random", "random agents", (None, 24.00, 22.58)),
    Row("plain", "PixelRL, plain", (31.17, 27.84, 25.55)),
    Row("convgru", "PixelRL +convGRU", (31.28, 27.94, 25.64)),
    Row("convgru-rmc", "PixelRL +convGRU +RMC", (31.37, 27.95, 25.70)),
    Row("convgru-rmc+aug", "PixelRL +convGRU +RMC, augmented", (31.47, 28.03, 25.77)),
)
"""Mean PSNR in dB on BSD68, Poisson noise of peak 120, 30 and 10."""

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


TABLE_VI_PSNR = (
    Row("net-e", "Net-D and Net-E", (29.53,)),
    Row("cnn", "CNN (IRCNN)", (29.75,)),
    Row("none", "input", (16.61,)),
    Row("random", "random agents", (19.58,)),
    Row("convgru", "PixelRL +convGRU", (29.50,)),
    Row("convgru-rmc", "PixelRL +convGRU +RMC", (29.97,)),
)
"""Mean PSNR in dB on the 68 images of BSD68 under text."""

TABLE_VI_SSIM = (
    Row("net-e", "Net-D and Net-E", (0.846,)),
    Row("cnn", "CNN (IRCNN)", (0.858,)),
    Row("none", "input", (0.656,)),
    Row("random", "random agents", (0.476,)),
    Row("convgru", "PixelRL +convGRU", (0.858,)),
    Row("convgru-rmc", "PixelRL +convGRU +RMC", (0.868,)),
)
"""Mean SSIM of the same."""

TABLE_VIII = (
    Row("lasso", "Lasso", (11.44, 12.01, 9.34)),
    Row("forest", "random forest", (9.05, 7.51, 11.41)),
    Row("dnn", "DNN (Yan et al.)", (7.08, 7.43, 7.20)),
    Row("pix2pix", "pix2pix", (5.85, 6.56, 8.84)),
    Row("original", "input, quoted from Yan et al.", (13.86, 19.71, 15.30)),
    Row("random", "random agents", (13.65, 16.11, 14.07)),
    Row("convgru", "PixelRL +convGRU", (6.75, 6.17, 6.44)),
    Row("convgru-rmc", "PixelRL +convGRU +RMC", (6.69, 5.67, 6.41)),
)
"""Mean L2 distance in CIELab on 45 images, columns in the order of ``STYLES``.

The input's row was measured by others on images in another colour space, so ours has another key.
"""

_TABLE_IX = {
    "oha": ("OHA", (0.23, 0.16, 0.48, 0.63, 0.59, 0.61, 0.98)),
    "hag": ("HAG", (0.29, 0.20, 0.50, 0.64, 0.57, 0.62, 0.95)),
    "wsr": ("WSR", (0.25, 0.17, 0.42, 0.62, 0.56, 0.61, 0.86)),
    "sdim": ("SDIM", (0.23, 0.15, 0.62, 0.65, 0.58, 0.64, 0.96)),
    "none": ("input", (0.24, 0.16, 0.37, 0.61, 0.53, 0.60, 1.0)),
}
_TABLE_IX_BY_STEPS: dict[str, tuple[str, tuple[tuple[float | None, ...], ...]]] = {
    "random": (
        "random agents",
        ((None,) * 7, (None,) * 7, (0.23, 0.16, 0.43, 0.61, 0.52, 0.58, 0.90)),
    ),
    "convgru": (
        "PixelRL +convGRU",
        (
            (0.37, 0.30, 0.48, 0.63, 0.54, 0.60, 0.89),
            (0.49, 0.45, 0.54, 0.65, 0.58, 0.62, 0.82),
            (0.54, 0.50, 0.57, 0.67, 0.58, 0.64, 0.77),
        ),
    ),
    "convgru-rmc": (
        "PixelRL +convGRU +RMC",
        (
            (0.39, 0.32, 0.49, 0.63, 0.55, 0.60, 0.88),
            (0.48, 0.42, 0.52, 0.65, 0.57, 0.62, 0.77),
            (0.53, 0.49, 0.56, 0.67, 0.59, 0.62, 0.73),
        ),
    ),
}


def _table_ix(column: int) -> tuple[Row, ...]:
    """One column of Table IX as a table whose columns are the lengths T of an episode."""
    same = [Row(key, text, (row[column],) * 3) for key, (text, row) in _TABLE_IX.items()]
    return (
        *same,
        *(
            Row(key, text, tuple(row[column] for row in rows))
            for key, (text, rows) in _TABLE_IX_BY_STEPS.items()
        ),
    )


TABLE_IX = {
    metric: _table_ix(column)
    for column, metric in enumerate(
        ("cc_sr", "cc_vsf", "cc_pca", "cc_nldf", "cc_hca", "cc_picanet", "ssim_input")
    )
}
"""Mean correlation of the mask with six saliency maps, and SSIM to the input, on 101 images.

By metric, columns for T = 5, 10 and 15; methods that take no steps have the same value in each."""


def published(
    table: tuple[Row, ...], levels: tuple[Level, ...], key: str, level: Level | None
) -> float | None:
    """Return the score of row ``key`` at ``level``; None where the table does not give one.

    A table without levels has one column.
    """
    scores = {row.key: row.scores for row in table}.get(key)
    if scores is None or level not in (levels or (None,)):
        return None
    return scores[(levels or (None,)).index(level)]


# RL-Restore: Yu et al., "Crafting a Toolchain for Image Restoration by Deep Reinforcement
# Learning", CVPR 2018. Columns are the groups of distortions.
RL_RESTORE_GROUPS = ("mild", "moderate", "severe")
RL_RESTORE_TEST_PATCHES = 3584

RL_RESTORE_COMPLEXITY = {
    "dncnn": ("DnCNN", 6.69e5, 2.66e9),
    "vdsr": ("VDSR", 6.67e5, 2.65e9),
    "vdsr-s": ("VDSR-s", 2.09e5, 0.828e9),
    "rl-restore": ("RL-Restore", 1.96e5, 0.474e9),
}
"""Table 2: parameters, and multiplications for 63x63 pixels."""

_JOINT = ((28.04, 26.45, 25.20), (0.6498, 0.5587, 0.4777))
_DEFAULT = ((27.78, 26.20, 24.97), (0.6372, 0.5441, 0.4643))
_RL_RESTORE: dict[str, dict[str, tuple[str, tuple[float, ...], tuple[float, ...]]]] = {
    "Table 3": {
        "dncnn": ("DnCNN", (28.03, 26.42, 24.99), (0.6503, 0.5554, 0.4658)),
        "vdsr": ("VDSR", (28.04, 26.40, 24.90), (0.6496, 0.5544, 0.4629)),
        "vdsr-s": ("VDSR-s", (27.69, 25.99, 24.50), (0.6383, 0.5399, 0.4505)),
        "rl-restore": ("RL-Restore", *_JOINT),
    },
    "Table 4": {
        "size6": ("6 tools", (27.57, 25.72, 24.27), (0.6241, 0.5142, 0.4291)),
        "size12": ("12 tools", *_DEFAULT),
        "size18": ("18 tools", (27.77, 26.17, 24.93), (0.6361, 0.5417, 0.4650)),
        "length2": ("2 steps", (27.74, 25.99, 24.63), (0.6264, 0.5233, 0.4444)),
        "length3": ("3 steps", *_DEFAULT),
        "length4": ("4 steps", (27.73, 26.20, 24.98), (0.6368, 0.5450, 0.4663)),
    },
    "Table 5": {
        "joint": ("+Joint", *_JOINT),
        "noise": ("+Noise", *_DEFAULT),
        "original": ("Original", (27.52, 25.91, 24.81), (0.6027, 0.5119, 0.4490)),
    },
    "Table 6": {
        "psnr": ("stepwise PSNR", *_DEFAULT),
        "ssim": ("stepwise SSIM", (26.58, 25.20, 24.18), (0.6341, 0.5368, 0.4579)),
        "final-psnr": ("final PSNR", (27.71, 26.11, 24.86), (0.6350, 0.5417, 0.4656)),
        "final-mse": ("final MSE", (27.14, 25.66, 24.55), (0.6009, 0.5166, 0.4470)),
    },
    "Table 7": {
        "stop": ("with stopping", *_DEFAULT),
        "no-stop": ("without stopping", (27.61, 26.08, 24.85), (0.6284, 0.5351, 0.4589)),
    },
}
RL_RESTORE_TABLES = {
    table: {
        metric: tuple(Row(key, row[0], (row[1], row[2])[column]) for key, row in rows.items())
        for column, metric in enumerate(("psnr", "ssim"))
    }
    for table, rows in _RL_RESTORE.items()
}
"""Tables 3 to 7 by table and metric: PSNR in dB and SSIM of 3,584 patches."""


def rl_restore_published(metric: str, key: str, group: str) -> float | None:
    """Return the first score of row ``key`` in Tables 3 to 7; None where there is none."""
    for by_metric in RL_RESTORE_TABLES.values():
        found = published(by_metric[metric], RL_RESTORE_GROUPS, key, group)
        if found is not None:
            return found
    return None
