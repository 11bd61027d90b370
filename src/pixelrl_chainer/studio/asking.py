"""What may be asked of a run in the studio, and with which networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from .. import sources
from ..config import build
from ..env import PixelEnv, make_env
from ..errors import ConfigError, PixelRLError
from ..settings import Config
from ..shipped import find, newest_run
from ..task import Task
from ..tasks import make_task
from ..weights import infer_config, network_file, read_npz

MAX_STEPS = 50
"""Longest episode."""


@dataclass(frozen=True)
class Settings:
    """What is asked of a run.

    Attributes
    ----------
    task : str
    level : float or None
        Of the corruption; None: the task's own.
    steps : int or None
        Length T of the episode; None: the task's own.
    weights : str
        A key of :func:`networks`.
    degrade : bool
        Corrupt the image, which is clean, as the task does for a test.
    seed : int
        Of the corruption.
    forbidden : tuple of str
        Names of actions that the agents cannot choose.
    keep : bool
        Every pixel repeats its action of the run before, or the painted one; else the agents
        decide wherever nothing is painted, and react to what is.
    tools : tuple of str
        Of RL-Restore: the tool of each step, empty where the agent decides.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "strict": True}  # for requests

    task: str = "denoise-gaussian"
    level: float | None = None
    steps: int | None = None
    weights: str = ""
    degrade: bool = False
    seed: int = 0
    forbidden: tuple[str, ...] = ()
    keep: bool = False
    tools: tuple[str, ...] = ()

    def config(self) -> Config:
        """Build the configuration; ConfigError if something in it is unknown or out of range."""
        if self.steps is not None and not 1 <= self.steps <= MAX_STEPS:
            raise ConfigError(f"T = {self.steps}: expected 1 to {MAX_STEPS} steps")
        self.check_seed()
        given = {"task.name": self.task, "task.level": self.level, "task.steps": self.steps}
        config = build(changes={key: value for key, value in given.items() if value is not None})
        make_task(config)  # refuses what is unknown or out of range
        return config

    def check_seed(self) -> None:
        """Raise ConfigError if the seed is out of range."""
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed {self.seed}: expected 0 to {2**32 - 1}")


def named(paths: Iterable[Path]) -> dict[str, Path]:
    """Name paths by their last parts, as few as tell them apart, at least two."""
    found: dict[str, Path] = {}
    for path in dict.fromkeys(path.resolve() for path in paths):
        parts = 3 if path.parent.name == "checkpoints" else 2
        while "/".join(path.parts[-parts:]) in found:
            parts += 1
        found["/".join(path.parts[-parts:])] = path
    return found


def networks(config: Config, given: Sequence[Path] = ()) -> dict[str, Path]:
    """Name the networks that fit a task: shipped, trained, published, and ``given`` ones."""
    env = make_env(config)
    found = {"pretrained": find(config), "newest run": newest_run(config)}
    files = [
        file
        for name, folder in sources.available().items()
        if name.endswith("-weights")
        for file in sorted(folder.glob("*.npz") if folder else [])
    ]
    found.update(named((*given, *files)))
    return {name: path for name, path in found.items() if path and _fits(path, env)}


def pick(known: Mapping[str, Path], name: str, nothing: str) -> Path:
    """Return the network called ``name``, or the first one if that is empty.

    Raises
    ------
    ConfigError
        If there is none of this name, or none at all, which ``nothing`` explains.
    """
    if not known:
        raise ConfigError(nothing)
    if name and name not in known:
        raise ConfigError(f"weights {name!r}: expected one of {', '.join(known)}")
    return known[name] if name else next(iter(known.values()))


def _fits(path: Path, env: PixelEnv) -> bool:
    """Whether the network of a file has the actions and channels of an environment."""
    file = network_file(path)
    changed = file.stat().st_mtime_ns if file.is_file() else 0
    return _shape(file, changed) == (len(env.actions), env.task.channels)


@lru_cache(maxsize=256)
def _shape(file: Path, changed: int) -> tuple[int, int] | None:
    """Actions and channels of a weight file, None if it is unusable; ``changed`` is its age."""
    try:
        found = infer_config(read_npz(file), file)
    except PixelRLError:
        return None
    return found.n_actions, found.in_channels


def facts(
    settings: Settings, network: Path, task: Task, painted: Mapping[int, int]
) -> dict[str, str]:
    """Say below the title of a report what made it; ``painted`` counts pixels by step."""
    strokes = ", ".join(f"{count} in step {step + 1}" for step, count in sorted(painted.items()))
    facts = {
        "weights": settings.weights or "/".join(network.parts[-2:]),
        "corruption": f"{task.column or 'text'}, seed {settings.seed}" if settings.degrade else "",
        "forbidden": ", ".join(settings.forbidden),
        "painted": strokes,
        "other actions": "as in the run before" if settings.keep else "",
    }
    return {key: value for key, value in facts.items() if value}
