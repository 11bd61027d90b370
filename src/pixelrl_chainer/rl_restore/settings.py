"""Settings of RL-Restore's trainings; the defaults are the published code's.

Where the code has nothing (tools and joint training are not published) the defaults are the
paper's, Section 3.3; what neither states is ours and has its row in docs/FIDELITY.md.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import Overrides, override, read_experiment
from ..errors import ConfigError
from ..settings import flatten
from .ranges import check_ranges

PATCH_SIZE = 63
"""Side of the images that the agent sees."""


@dataclass(frozen=True)
class DataSettings:
    """Images, patches and distortions.

    Attributes
    ----------
    train : tuple of str
        Data sets or folders; ``auto``: BSD's training images if found, else bundled photographs.
    held_out : tuple of str
        Images for scores; empty: the test images of ``train``, or every tenth of its images where
        it has no test images of its own.
    group : str
        Distortions of agent and joint training: mild, moderate or severe.
    distortions : str
        Scales of the distortion levels: ``code`` or ``paper``.
    image_scales : tuple of float
        Sizes of an image that patches are cut from, as factors.
    stride : int
        Patches begin at multiples of it.
    """

    train: tuple[str, ...] = ("auto",)
    held_out: tuple[str, ...] = ()
    group: str = "moderate"
    distortions: str = "code"
    image_scales: tuple[float, ...] = (1.0, 2 / 3, 1 / 3)
    stride: int = 96


@dataclass(frozen=True)
class AgentSettings:
    """Training of the agent. A step is one action; an update is one optimiser step.

    Attributes
    ----------
    steps : int
        Actions in all; the episode in which they are reached is finished.
    t_max : int
        Longest toolchain.
    stop : bool
        Whether the agent may stop before (Table 7).
    reward : str
        Key of ``REWARDS`` (Table 6).
    gamma : float
        Discount of one step.
    huber : bool
        Huber's loss of an error of the action values; else half its square.
    batch_size, update_interval, target_interval : int
        Episodes of an update; steps between updates, and between copies to the target network.
    learning_rate, learning_rate_decay, learning_rate_steps, learning_rate_min
        Adam's alpha at step t is
        max(learning_rate_min, learning_rate * learning_rate_decay ** (t / learning_rate_steps)).
    init : str
        Initial weights: ``published``, or ``wide``, see :func:`.train_agent.widen`.
    epsilon_start, epsilon_end, epsilon_steps : float, float, int
        Share of random actions, falling linearly within these steps from ``replay_start`` on.
    replay, replay_start : int
        Transitions kept, and those there must be before learning starts.
    log_every, checkpoint_every : int
        Steps between records, and between checkpoints, each preceded by a validation.
    validation : int
        Patches of a validation and of the last scores.
    seed : int
        Root of every random stream.
    """

    steps: int = 2_000_000
    t_max: int = 3
    stop: bool = True
    reward: str = "psnr"
    gamma: float = 0.99
    huber: bool = True
    batch_size: int = 32
    update_interval: int = 4
    target_interval: int = 10_000
    learning_rate: float = 1e-4
    learning_rate_decay: float = 0.5
    learning_rate_steps: int = 1_000_000
    learning_rate_min: float = 2.5e-5
    init: str = "published"
    epsilon_start: float = 1.0
    epsilon_end: float = 0.1
    epsilon_steps: int = 1_000_000
    replay: int = 500_000
    replay_start: int = 5_000
    log_every: int = 1_000
    checkpoint_every: int = 50_000
    validation: int = 512
    seed: int = 0


@dataclass(frozen=True)
class ToolSettings:
    """Training of one tool: minimises the squared error by SGD with momentum.

    Attributes
    ----------
    epochs, epoch_steps, batch_size : int
        Steps of an epoch (80 epochs are 320,000 steps); patches of a step.
    patch_size : int
    learning_rate, learning_rate_decay, decay_epochs : float, float, int
        The rate is multiplied by ``learning_rate_decay`` every ``decay_epochs`` epochs.
    momentum, weight_decay : float
    clip : float
        Largest norm of the gradient, times the learning rate: VDSR's adjustable clipping.
    noise : float
        "Slight noise": sigma is uniform in [0, noise], in gray levels.
    jpeg : float
        "Slight JPEG": quality is uniform in [jpeg, 100].
    log_every, checkpoint_every : int
        Steps between records, and between checkpoints.
    validation : int
        Patches of the last score.
    seed : int
    """

    epochs: int = 80
    epoch_steps: int = 4_000
    batch_size: int = 64
    patch_size: int = PATCH_SIZE
    learning_rate: float = 0.1
    learning_rate_decay: float = 0.1
    decay_epochs: int = 20
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip: float = 0.01
    noise: float = 5.0
    jpeg: float = 90.0
    log_every: int = 100
    checkpoint_every: int = 4_000
    validation: int = 256
    seed: int = 0


@dataclass(frozen=True)
class JointSettings:
    """Joint training of tools and agent, Algorithm 1.

    Attributes
    ----------
    steps, batch_size : int
        Iterations, and toolchains M of one.
    learning_rate : float
        Alpha of Algorithm 1.
    log_every, checkpoint_every : int
        Iterations between records, and between checkpoints.
    validation : int
        Patches of a validation and of the last scores.
    seed : int
    """

    steps: int = 200_000
    batch_size: int = 64
    learning_rate: float = 1e-4
    log_every: int = 100
    checkpoint_every: int = 5_000
    validation: int = 512
    seed: int = 0


@dataclass(frozen=True)
class RestoreConfig:
    """All settings of RL-Restore's trainings."""

    data: DataSettings = field(default_factory=DataSettings)
    agent: AgentSettings = field(default_factory=AgentSettings)
    tools: ToolSettings = field(default_factory=ToolSettings)
    joint: JointSettings = field(default_factory=JointSettings)

    def __post_init__(self) -> None:
        check_ranges(flatten(self))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the settings as plain nested dictionaries, ready for JSON."""
        return dataclasses.asdict(self)


UPDATE_STEPS = AgentSettings.update_interval
"""Steps of one iteration of the paper, which is one update: its 5e5 are the code's 2e6 steps."""

PROFILES: dict[str, Overrides] = {
    "official-code": {},
    "paper": {
        "data.distortions": "paper",
        "data.image_scales": (1 / 2, 1 / 3, 1 / 4),
        "data.stride": 56,
        "agent.huber": False,
        "agent.learning_rate": 2.5e-4,
        "agent.learning_rate_decay": 0.1,
        "agent.learning_rate_steps": 500_000 * UPDATE_STEPS,
        "agent.target_interval": 2_500 * UPDATE_STEPS,
    },
}
"""``official-code`` is what the authors ran; ``paper`` follows Sections 3.3 and 4."""

PRESETS: dict[str, Overrides] = {
    "paper": {},
    "quick": {
        "agent.steps": 10_000,
        "agent.init": "wide",
        "agent.learning_rate": 3e-4,
        "agent.learning_rate_steps": 5_000,
        "agent.batch_size": 16,
        "agent.update_interval": 2,
        "agent.target_interval": 200,
        "agent.epsilon_steps": 4_000,
        "agent.replay": 6_000,
        "agent.replay_start": 500,
        "agent.log_every": 200,
        "agent.checkpoint_every": 1_000,
        "agent.validation": 256,
        "tools.epochs": 4,
        "tools.epoch_steps": 150,
        "tools.batch_size": 16,
        "tools.patch_size": 31,
        "tools.decay_epochs": 1,
        "tools.checkpoint_every": 150,
        "tools.log_every": 50,
        "tools.validation": 64,
        "joint.steps": 200,
        "joint.batch_size": 8,
        "joint.learning_rate": 1e-5,
        "joint.log_every": 5,
        "joint.checkpoint_every": 50,
        "joint.validation": 64,
    },
}
"""``paper`` is the published schedule; ``quick`` shows the whole chain in minutes on a CPU."""


def build(
    experiment: Path | None = None,
    *,
    profile: str = "official-code",
    preset: str = "paper",
    changes: Overrides | None = None,
) -> RestoreConfig:
    """Build the settings: defaults, experiment file, profile, preset, changes; later ones win.

    Raises
    ------
    ConfigError
        If a profile, preset, key or value is unknown or out of range.
    """
    for kind, name, known in (("profile", profile, PROFILES), ("preset", preset, PRESETS)):
        if name not in known:
            raise ConfigError(f"unknown {kind} {name!r}: expected one of {', '.join(known)}")
    config = RestoreConfig()
    stated = read_experiment(experiment) if experiment else {}
    for part in (stated, PROFILES[profile], PRESETS[preset], changes or {}):
        config = override(config, part)
    return config
