"""RL-Restore in the studio: a toolchain on the image of a session."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..backend import Device
from ..errors import ConfigError
from ..images import Image8, to_8bit
from ..progress import Progress
from ..rl_restore.apply import T_MAX, picture
from ..rl_restore.distortions import corrupt, draw
from ..rl_restore.evaluate import TASK, find_weights, load_agent_and_tools
from ..rl_restore.explanation import Start, ToolchainExplanation, explain_toolchain, read_start
from ..rl_restore.figures import colors_of
from ..rl_restore.page import page_data
from ..rl_restore.steering import indices_of
from ..rl_restore.toolbox import STOP, TOOLS, ToolSpec, labels_of
from ..rl_restore.weights import AGENT, load_trained
from .asking import Settings, named, pick
from .changes import Change, compare
from .uploads import Upload, as_files
from .watching import Watch

GROUP = "moderate"
"""Distortions of an image that is to be corrupted."""

NO_WEIGHTS = (
    "no weights of RL-Restore: import some with 'pixelrl-chainer weights import-rl-restore', or "
    "begin the studio with --weights DIR"
)


def description() -> dict[str, Any]:
    """Return what the page needs to know of the task."""
    return {
        "name": TASK,
        "title": "RL-Restore: a toolchain",
        "steps": T_MAX,
        "level_name": "",
        "level": None,
        "degrades": True,
        "needs_mask": False,
        "chain": True,
        "actions": _looks(TOOLS),
    }


def folders(given: Sequence[Path]) -> dict[str, Path]:
    """Name the folders of weights: imported ones, and those ``given`` that are folders of such."""
    found = {}
    with suppress(ConfigError):
        found["imported"] = find_weights(None)[0]
    of_agents = {name: find_weights(path)[0] for name, path in named(given).items()}
    return found | {name: path for name, path in of_agents.items() if (path / AGENT).is_file()}


def actions_of(folder: Path) -> list[dict[str, str]]:
    """Return name and colour of the actions that an agent has; WeightsError if it is unusable."""
    trained = load_trained(folder)
    return _looks(trained.toolbox.specs)[: trained.agent.n_actions]


def _looks(specs: Sequence[ToolSpec]) -> list[dict[str, str]]:
    pairs = zip(labels_of(specs), colors_of(specs), strict=False)
    return [{"name": label, "label": label, "color": color} for label, color in pairs]


@dataclass(frozen=True)
class _From:
    """What an episode begins with, and what that was made from."""

    key: tuple[Any, ...]
    name: str
    start: Start


class Toolchains:
    """What a session does for RL-Restore; see :class:`.session.Session`, whose part this is.

    Parameters
    ----------
    given : sequence of pathlib.Path
    device : Device

    Attributes
    ----------
    found : ToolchainExplanation or None
        The last run.
    change : Change or None
        What it changed in comparison with the one before.
    """

    painting = None

    def __init__(self, given: Sequence[Path], device: Device) -> None:
        self.given = tuple(given)
        self.device = device
        self.image: Upload | None = None
        self.target: Upload | None = None
        self.found: ToolchainExplanation | None = None
        self.change: Change | None = None
        self.facts: dict[str, str] = {}
        self._from: _From | None = None

    def run(self, settings: Settings, watch: Watch, progress: Progress) -> None:
        """Restore the image, with given and forbidden tools.

        Parts of the work are told as they are done, steps are not.

        Raises
        ------
        PixelRLError
            If something does not fit; the last run is kept.
        """
        steps = T_MAX if settings.steps is None else settings.steps
        _check(settings, steps)
        folder = pick(folders(self.given), settings.weights, NO_WEIGHTS)
        trained = load_agent_and_tools(folder, self.device)
        labels = trained.toolbox.labels[: trained.agent.n_actions]
        given = {
            step: indices_of([name], labels)[0] for step, name in enumerate(settings.tools) if name
        }
        begin = self._begin(settings)
        found = explain_toolchain(
            trained,
            begin.start.image,
            begin.start.clean,
            name=begin.name,
            gray=begin.start.gray,
            t_max=steps,
            overrides=given,
            forbidden=indices_of(settings.forbidden, labels),
            device=self.device,
            progress=progress,
        )
        same = self.found is not None and begin is self._from
        self.change = compare(self.found, found) if self.found is not None and same else None
        self.found, self._from = found, begin
        self.facts = _facts(settings, folder, found)

    def _begin(self, settings: Settings) -> _From:
        """Return where the run begins: where the one before did, unless something is new."""
        if self.image is None:
            raise ConfigError("no image is open: open one, or a sample")
        target = None if settings.degrade else self.target
        key = (self.image, target, settings.degrade, settings.seed)
        if self._from is not None and self._from.key == key:
            return self._from
        with as_files(self.image, target) as (path, clean):
            start = read_start(cast(Path, path), clean)
        if settings.degrade:
            rng = np.random.default_rng(settings.seed)
            clean_image = np.ascontiguousarray(start.image.transpose(1, 2, 0))
            distorted = corrupt(clean_image, draw(GROUP, rng), rng)
            start = Start(np.ascontiguousarray(distorted.transpose(2, 0, 1)), start.image, False)
        return _From(key, self.image.name, start)

    def page(self) -> dict[str, Any]:
        """Return what viewer.js shows of the last run."""
        return page_data(self._found(), self.facts)

    def picture(self) -> Image8:
        """Return the result of the last run as files hold it."""
        found = self._found()
        return to_8bit(picture(found.states[-1], found.gray))

    def save(self, path: Path) -> None:
        """Write the toolchain, which ``replay --actions`` reads."""
        self._found().save(path)

    def _found(self) -> ToolchainExplanation:
        if self.found is None:
            raise ConfigError("nothing to show: run the agent first")
        return self.found


def _check(settings: Settings, steps: int) -> None:
    """Raise ConfigError if something in the settings is out of range or does not fit."""
    settings.check_seed()
    tools = settings.tools
    if not 1 <= steps <= T_MAX or len(tools) > steps or settings.level is not None:
        raise ConfigError(
            f"T = {steps}, {len(tools)} given tools, level {settings.level}: expected 1 to {T_MAX} "
            "steps, no more tools than steps, and no level"
        )
    if STOP in tools and any(tools[tools.index(STOP) + 1 :]):
        raise ConfigError(f"given tools: expected none after {STOP}")


def _facts(settings: Settings, folder: Path, found: ToolchainExplanation) -> dict[str, str]:
    """Say below the title of a report what made it."""
    given = [
        f"{name} in step {step + 1}" + ("" if step < len(found.chain) else ", not reached")
        for step, name in enumerate(settings.tools)
        if name
    ]
    facts = {
        "weights": settings.weights or "/".join(folder.parts[-2:]),
        "corruption": f"{GROUP}, seed {settings.seed}" if settings.degrade else "",
        "toolchain": ", ".join(found.names),
        "given": ", ".join(given),
        "forbidden": ", ".join(settings.forbidden),
    }
    return {key: value for key, value in facts.items() if value}
