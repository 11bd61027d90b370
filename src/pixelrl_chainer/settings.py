"""Settings of one experiment as frozen dataclasses; the defaults are the published code's."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from . import paper
from .ranges import check_ranges


@dataclass(frozen=True)
class TaskConfig:
    """What the agents do; None takes the task's own value.

    Attributes
    ----------
    name : str
        Key of ``TASKS``.
    level : float or None
        Level of the degradation, for example sigma.
    actions : str or None
        Key of ``ACTIONS``.
    steps : int or None
        Steps T of an episode.
    reward_scale : float or None
        Factor of the reward: for denoising and restoration 255 as published, 1 in the paper's
        Eq. (19).
    """

    name: str = "denoise-gaussian"
    level: float | None = None
    actions: str | None = None
    steps: int | None = None
    reward_scale: float | None = None


@dataclass(frozen=True)
class NetworkConfig:
    """The network and how its convolutions are computed.

    Attributes
    ----------
    variant : str
        A key of ``VARIANTS``.
    conv : str
        ``auto``: our own on a CPU, cuDNN on a GPU; ``stock``: Chainer's.
    precision : str
        Of cuDNN's products: ``float32``, ``tf32``, ``bfloat16`` or ``float16``. Parameters, sums
        and all else are float32 in each; a CPU always computes in float32.
    """

    variant: str = "convgru-rmc"
    conv: str = "auto"
    precision: str = "float32"


@dataclass(frozen=True)
class LossConfig:
    """Coefficients of the loss; the defaults are those of the published code.

    Attributes
    ----------
    gamma : float
        Discount of one step, in [0, 1].
    entropy_coefficient : float
        Weight of the policy's entropy (published 0.01; the paper's equations have none).
    value_coefficient : float
        Weight of (R - V)^2 (published 0.5 x 1/2; the paper's Eq. 14 has 1).
    rmc_policy_gradient : bool
        Let the reward map kernel also learn from the policy term, the first one of Eq. (17)
        (published: off).
    """

    gamma: float = paper.GAMMA
    entropy_coefficient: float = paper.ENTROPY_COEFFICIENT
    value_coefficient: float = paper.VALUE_COEFFICIENT
    rmc_policy_gradient: bool = False


@dataclass(frozen=True)
class TrainConfig:
    """The schedule.

    Attributes
    ----------
    episodes, batch_size, crop_size : int
    learning_rate, decay_power : float
        Adam's alpha is learning_rate * (1 - e / episodes) ** decay_power after episode e.
    seed : int
        Root of every random stream.
    init : str
        Network to start from: empty for HeNormal, else an npz file, caffemodel or checkpoint
        directory. In an experiment also ``ircnn:LEVEL``, the authors' caffemodel;
        ``published:FILE``, another file of theirs; ``experiment:FILE``, what another experiment
        file trains; ``pretrain:EPOCHS``, a regression network; several of these with ``|`` between
        them, the first that there is, nothing being HeNormal; ``variant:NAME,INIT``, the same
        experiment trained with another variant from INIT.
    flip, rotate : float
        Probabilities of a flip and of a rotation.
    max_angle : float or None
        Largest angle in degrees; None: the task's own.
    checkpoint_every : int
        Episodes between checkpoints, each preceded by a validation.
    validation_images, validation_size : int
        Number of images, cropped at their centre, on which the best checkpoint is chosen.
    workers : int
        Threads that prepare batches.
    """

    episodes: int = paper.EPISODES
    batch_size: int = paper.BATCH_SIZE
    crop_size: int = paper.CROP_SIZE
    learning_rate: float = paper.LEARNING_RATE
    decay_power: float = paper.DECAY_POWER
    seed: int = 0
    init: str = ""
    flip: float = paper.FLIP_PROBABILITY
    rotate: float = paper.ROTATION_PROBABILITY
    max_angle: float | None = None
    checkpoint_every: int = paper.CHECKPOINT_EVERY
    validation_images: int = 8
    validation_size: int = 128
    workers: int = 2


@dataclass(frozen=True)
class DataConfig:
    """Names of data sets or folders of images.

    Attributes
    ----------
    train, test : tuple of str
        ``auto`` is the paper's set if it is on this machine, else one made from photographs that
        scikit-image installs.
    validation : tuple of str
        Images on which checkpoints are scored during training; empty: the training images.
    color : bool
        Keep the colour of test images in tasks on gray images: every channel is processed as an
        image of its own.
    """

    train: tuple[str, ...] = ("auto",)
    test: tuple[str, ...] = ("auto",)
    validation: tuple[str, ...] = ()
    color: bool = False


@dataclass(frozen=True)
class ColorConfig:
    """Local colour enhancement.

    Attributes
    ----------
    style : str
        One of the three of Yan et al.: ``foreground-popout``, ``local-xpro``, ``watercolor``.
    saturation : str
        What the actions on the saturation change: ``s-channel``, or ``published`` for row 1 of the
        HSV array, as the shared code does by mistake.
    management : str
        ``none``: pixels as they are stored (published); ``icc``: converted from the embedded
        profile to sRGB.
    """

    style: str = paper.STYLES[0]
    saturation: str = "s-channel"
    management: str = "none"


@dataclass(frozen=True)
class TextConfig:
    """Restoration of images under text; empty: what :func:`.text_sets.open_source` finds.

    ``documents`` is a folder of .txt files, ``masks`` one of images with white text on black to be
    used instead, ``fonts`` font files or folders of them.
    """

    documents: str = ""
    masks: str = ""
    fonts: tuple[str, ...] = ()


@dataclass(frozen=True)
class SaliencyConfig:
    """Saliency-driven editing.

    Attributes
    ----------
    alpha, beta : float
        Weights of Eq. (22) inside and outside the mask.
    estimator : str
        The saliency that is rewarded, a key of ``ESTIMATORS``.
    episodes : int
        Episodes of training on each photograph.
    size : int
        Longest side in pixels of the photograph in training; 0: as it is.
    radius : int
        Of the guided filter, in pixels; 0: no filter.
    eps : float
        Of the guided filter, in squares of the range of values.
    """

    alpha: float = paper.SALIENCY_ALPHA
    beta: float = paper.SALIENCY_BETA
    estimator: str = "vsf"
    episodes: int = paper.SALIENCY_EPISODES
    size: int = 0
    radius: int = paper.GUIDED_FILTER_RADIUS
    eps: float = paper.GUIDED_FILTER_EPS


TILE = 1344
"""Side of a tile of a large image. 64 channels of it are 462 MB, of which at most five times that
is held; with a colour image of 24 megapixels, before and after, that is less than 3 GB."""


@dataclass(frozen=True)
class EvalConfig:
    """How a policy is scored.

    Attributes
    ----------
    seeds : tuple of int
        Seeds of the test noise; one evaluation each.
    protocol : str
        ``official``: one noise generator runs through the images in order; ``kair``: each image
        starts it anew.
    augment : bool
        Mean of the outputs of eight flips and rotations.
    policy : str
        ``greedy`` (published) or ``sample``.
    limit : int or None
        Number of images, from the first.
    tile : int
        Images of more than ``tile`` x ``tile`` pixels are processed in tiles of at most that side,
        with the same result; 0: never.
    """

    seeds: tuple[int, ...] = (0,)
    protocol: str = "official"
    augment: bool = False
    policy: str = "greedy"
    limit: int | None = None
    tile: int = TILE


@dataclass(frozen=True)
class Config:
    """One experiment."""

    task: TaskConfig = field(default_factory=TaskConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    color: ColorConfig = field(default_factory=ColorConfig)
    text: TextConfig = field(default_factory=TextConfig)
    saliency: SaliencyConfig = field(default_factory=SaliencyConfig)

    def __post_init__(self) -> None:
        check_ranges(flatten(self))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the configuration as plain nested dictionaries, ready for JSON."""
        return dataclasses.asdict(self)


class Sections(Protocol):
    """Frozen dataclass of sections, each a frozen dataclass of settings, as :class:`Config` is."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the settings as plain nested dictionaries."""


def flatten(config: Sections) -> dict[str, Any]:
    """Return ``{"section.key": value}`` for every setting."""
    return {
        f"{section}.{key}": value
        for section, values in config.to_dict().items()
        for key, value in values.items()
    }
