"""One person's work in the studio: an image, what the agents did to it, and what is painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import CPU, Device
from ..env import PixelEnv, make_env
from ..errors import ConfigError
from ..explanation import Explanation, Maps, explain
from ..images import Image8
from ..painting import Painting
from ..progress import Progress
from ..results import load_policy
from ..rl_restore.evaluate import TASK as TOOLCHAINS
from ..steering import FREE, numbers_of, steered, write_maps
from ..viz.page import page_data, picture
from .asking import Settings, facts, networks, pick
from .changes import Change, check_finite, compare
from .toolchains import Toolchains
from .turn import Turn
from .uploads import Upload, read_start
from .watching import Watch, WatchedEnv

MAX_BYTES = 2**31
"""Largest set of probability maps; other maps of an episode need about as much again."""


@dataclass(frozen=True)
class Start:
    """Where a run begins: first state and target of an image, and what is painted over the steps.

    ``images`` is float32 (B, C, H, W), ``target`` float32 (B, C', H, W) or None, and ``key`` tells
    what they were made from.
    """

    key: tuple[Any, ...]
    name: str
    images: Maps
    target: Maps | None
    painting: Painting


class Session:
    """What one person has open; nothing of it is on disk.

    Parameters
    ----------
    given : sequence of pathlib.Path
        Networks that may be chosen besides those that are found.
    device : Device

    Attributes
    ----------
    found : Explanation or None
        The last run.
    turn : Turn
        Whether the agents are at work.
    last : Session or Toolchains
        What ran last: the session, or its toolchains.
    change : Change or None
        What the last run changed in comparison with the one before, on the same first state.
    """

    def __init__(self, given: Sequence[Path] = (), device: Device = CPU) -> None:
        self.given = tuple(given)
        self.device = device
        self.image: Upload | None = None
        self.target: Upload | None = None
        self.found: Explanation | None = None
        self.change: Change | None = None
        self.facts: dict[str, str] = {}
        self._start: Start | None = None
        self._agents: list[Maps] = []
        self.turn = Turn()
        self.toolchains = Toolchains(given, device)
        self.last: Session | Toolchains = self

    @property
    def painting(self) -> Painting | None:
        """What is painted on the last run; None if there was none."""
        return self._start.painting if self._start else None

    def open(self, image: Upload, target: Upload | None = None) -> None:
        """Work on another image; its target may follow as a second call's."""
        self.image, self.target, self.found, self._start = image, target, None, None
        self._agents = []
        self.toolchains, self.last = Toolchains(self.given, self.device), self

    def work(self, settings: Settings) -> Session | Toolchains:
        """Return what runs such settings; ``last`` is to be it once it has."""
        self.toolchains.image, self.toolchains.target = self.image, self.target
        return self.toolchains if settings.task == TOOLCHAINS else self

    def run(self, settings: Settings, watch: Watch, progress: Progress) -> Explanation:
        """Let the agents work on the image, with what is painted, and keep what happened.

        What is painted is forgotten when image, corruption or actions are others. An exception of
        ``watch`` or ``progress`` ends the run.

        Raises
        ------
        PixelRLError
            If something does not fit; the last run is kept.
        """
        config = settings.config()
        env = WatchedEnv(make_env(config).task, watch)
        forbidden = numbers_of(settings.forbidden, env.actions)
        nothing = f"no network fits {settings.task}: train one, or begin the studio with --weights"
        chosen = pick(networks(config, self.given), settings.weights, nothing)
        start = self._begin(settings, env)
        before = self.found if start is self._start else None
        keep = settings.keep and before is not None
        found = explain(
            load_policy(config, chosen, env, self.device),
            env,
            start.images,
            start.target,
            name=start.name,
            overrides=self._overrides(start, env.steps, keep, forbidden),
            forbidden_actions=forbidden,
            device=self.device,
            progress=progress,
        )
        check_finite(found)
        self.change = None if before is None else compare(before, found)
        self._agents = [
            self._choice(found, step, start.painting.overrides.get(step), keep)
            for step in range(env.steps)
        ]
        self.found, self._start = found, start
        painted = {step: n for step, n in start.painting.counts().items() if step < env.steps}
        self.facts = facts(settings, chosen, env.task, painted)
        return found

    def _overrides(
        self, start: Start, steps: int, keep: bool, forbidden: Sequence[int]
    ) -> dict[int, Maps]:
        """Return what is prescribed, by step; with ``keep`` also the actions of the last run."""
        painted = start.painting.overrides
        prescribed = {step: maps.copy() for step, maps in painted.items() if step < steps}
        for step, agents in enumerate(self._agents[:steps] if keep else ()):
            kept = np.where(np.isin(agents, forbidden), FREE, agents)
            prescribed[step] = steered(kept, painted.get(step)).astype(np.int8)
        return prescribed

    def _choice(self, found: Explanation, step: int, painted: Maps | None, keep: bool) -> Maps:
        """Return what the agents do in a step where nothing is painted, uint8 (N, H, W).

        Where something is, that is what they did before, or what they would have preferred.
        """
        chosen: Maps = found.action_maps[step]
        if painted is None:
            return chosen
        repeats = keep and self.has_step(step)
        others = self._agents[step] if repeats else found.probabilities[step].argmax(axis=1)
        return np.where(painted == FREE, chosen, others).astype(np.uint8)

    def _begin(self, settings: Settings, env: PixelEnv) -> Start:
        """Return where the run begins: where the one before did, unless something is new."""
        if self.image is None:
            raise ConfigError("no image is open: open one, or a sample")
        given = None if settings.degrade else self.target
        if env.task.observes_target and given is None:
            raise ConfigError(f"{env.task.name} needs the mask of the image: open it, too")
        key = (settings.task, settings.level, settings.degrade, settings.seed, self.image, given)
        start = self._start
        if start is None or start.key != key:
            images, target = read_start(
                env.task, self.image, given, degrade=settings.degrade, seed=settings.seed
            )
            painting = Painting((len(images), *images.shape[2:]), len(env.actions))
            start = Start(key, self.image.name, images, target, painting)
        count, height, width = start.painting.shape
        size = 2 * env.steps * len(env.actions) * count * height * width
        if size > MAX_BYTES:
            raise ConfigError(
                f"{env.steps} steps on {width}x{height} pixels: expected at most "
                f"{MAX_BYTES >> 20} MB of probabilities, found {size >> 20}; choose fewer steps or "
                "a smaller image"
            )
        return start

    def _painting(self) -> Painting:
        if self.painting is None:
            raise ConfigError("nothing to paint on: run the agents first")
        return self.painting

    def has_step(self, step: int) -> bool:
        """Whether the last run has a step of this number, from 0."""
        return 0 <= step < len(self._agents)

    def action_maps(self, step: int) -> Maps:
        """Return the actions of a step as they are painted now, uint8 (N, H, W).

        Raises
        ------
        ConfigError
            If there was no run, or it has no such step.
        """
        if not self.has_step(step):
            raise ConfigError(f"step {step + 1}: expected a step of a finished run")
        override = self._painting().overrides.get(step)
        shown: Maps = steered(self._agents[step], override).astype(np.uint8)
        return shown

    def counts(self, maps: Maps) -> list[int]:
        """Return how many pixels of maps (N, H, W) have each action."""
        counted = np.bincount(maps.ravel(), minlength=self._painting().n_actions)
        return [int(count) for count in counted]

    def probabilities(self, column: int, row: int) -> list[list[list[float]]]:
        """Return those of all actions at a pixel in the last run: T lists of N lists of A.

        Raises
        ------
        ConfigError
            If there was no run, or the image has no such pixel.
        """
        probabilities = self._found().probabilities
        height, width = probabilities.shape[3:]
        if not (0 <= column < width and 0 <= row < height):
            raise ConfigError(f"pixel {column}, {row}: expected one of {width}x{height}")
        found: list[list[list[float]]]
        found = probabilities[..., row, column].astype(float).round(4).tolist()
        return found

    def edit(
        self,
        kind: str,
        step: int,
        action: int,
        old: int,
        plane: int | None,
        size: float,
        points: Sequence[tuple[int, int]],
    ) -> int | None:
        """Paint on a step of the last run, see :class:`.painting.Painting`.

        Parameters
        ----------
        kind : {"stroke", "rectangle", "replace", "free", "undo", "redo"}
        step, action, old, plane, size, points
            As there, as far as that kind needs them; two points for a rectangle.

        Returns
        -------
        int or None
            The step whose map is another now, perhaps beyond the end of the last run; None if there
            was nothing to undo or redo.

        Raises
        ------
        ConfigError
            If something does not exist.
        """
        painting = self._painting()
        if kind in ("undo", "redo"):
            return painting.undo() if kind == "undo" else painting.redo()
        if not self.has_step(step):
            raise ConfigError(f"step {step + 1}: expected one from 1 to {len(self._agents)}")
        if kind == "stroke":
            painting.stroke(step, points, size, action, plane)
        elif kind == "rectangle" and len(points) == 2:
            painting.rectangle(step, points[0], points[1], action, plane)
        elif kind == "replace":
            painting.replace(step, self.action_maps(step), old, action, plane)
        elif kind == "free":
            painting.free(step)
        else:
            raise ConfigError(f"edit {kind!r} with {len(points)} points is not known")
        return step

    def page(self) -> dict[str, Any]:
        """Return what viewer.js shows of the last run."""
        return page_data(self._found(), self.facts)

    def picture(self) -> Image8:
        """Return the result of the last run, in 8 bits."""
        return picture(self._found().states[-1])

    def _found(self) -> Explanation:
        if self.found is None:
            raise ConfigError("nothing to show: run the agents first")
        return self.found

    def save(self, path: Path) -> None:
        """Write the action maps as they are painted, with what ``replay`` applies them to."""
        found, maps = self._found(), range(len(self._found().action_maps))
        others = {"states": found.states[:1]}
        if found.target is not None:
            others["target"] = found.target
        actions = found.task.action_set
        write_maps(path, [self.action_maps(step) for step in maps], actions, others)
