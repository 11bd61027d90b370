"""One person's work in the studio: an image, what the agents did to it, and what is painted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import CPU, Array, Device, to_numpy
from ..env import PixelEnv, make_env
from ..errors import ConfigError
from ..explanation import Explanation, Maps, explain
from ..painting import Painting
from ..progress import Progress
from ..results import load_policy
from ..settings import Config
from ..shipped import choose
from ..steering import FREE, numbers_of, steered, write_maps
from .asking import Settings, facts, networks
from .changes import Change, compare
from .uploads import Upload, read_start
from .watching import Stopped, Watch, WatchedEnv

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
        self.busy = False
        self.stopped = threading.Event()
        self._start: Start | None = None
        self._applied: dict[int, Maps] = {}

    @property
    def painting(self) -> Painting | None:
        """What is painted on the last run; None if there was none."""
        return self._start.painting if self._start else None

    def open(self, image: Upload, target: Upload | None = None) -> None:
        """Work on another image; its target may follow as a second call's."""
        self.image, self.target, self.found, self._start = image, target, None, None

    def run(self, settings: Settings, watch: Watch, progress: Progress) -> Explanation:
        """Let the agents work on the image, with what is painted, and keep what happened.

        What is painted is forgotten when image, corruption or actions are others.

        Raises
        ------
        PixelRLError
            If something does not fit; the last run is kept.
        Stopped
            After :meth:`stop`.
        """
        self.stopped.clear()
        config = settings.config()
        env = WatchedEnv(make_env(config).task, lambda *step: self._pass_on(watch, *step))
        forbidden = numbers_of(settings.forbidden, env.actions)
        chosen = self._network(settings, config)
        start = self._begin(settings, env)
        before = self.found if start is self._start else None
        painted = {step: maps.copy() for step, maps in start.painting.overrides.items()}
        overrides = {step: maps for step, maps in painted.items() if step < env.steps}
        if settings.keep and before is not None:
            known = range(min(env.steps, len(before.action_maps)))
            overrides = {step: self.action_maps(step).astype(np.int8) for step in known}
        found = explain(
            load_policy(config, chosen, env, self.device),
            env,
            start.images,
            start.target,
            name=start.name,
            overrides=overrides,
            forbidden_actions=forbidden,
            device=self.device,
            progress=self._stoppable(progress),
        )
        self.change = None if before is None else compare(before, found)
        self.found, self._start, self._applied = found, start, painted
        self.facts = facts(settings, chosen, env.task, painted)
        return found

    def stop(self) -> None:
        """End the run that is going on at its next step or tile."""
        self.stopped.set()

    def _pass_on(self, watch: Watch, step: int, images: Array, action_maps: Array) -> None:
        if self.stopped.is_set():
            raise Stopped
        watch(step, to_numpy(images), to_numpy(action_maps))

    def _stoppable(self, progress: Progress) -> Progress:
        @contextmanager
        def shown(total: int, description: str, initial: int = 0) -> Iterator[Callable[..., Any]]:
            with progress(total, description, initial) as advance:

                def checked(*done: Any) -> None:
                    if self.stopped.is_set():
                        raise Stopped
                    advance(*done)

                yield checked

        return shown

    def _network(self, settings: Settings, config: Config) -> Path:
        known = networks(config, self.given)
        if settings.weights and settings.weights not in known:
            raise ConfigError(
                f"weights {settings.weights!r}: expected one of {', '.join(known) or 'none found'}"
            )
        return known[settings.weights] if settings.weights else choose(None, config).weights

    def _begin(self, settings: Settings, env: PixelEnv) -> Start:
        """Return where the run begins: where the one before did, unless something is new."""
        if self.image is None:
            raise ConfigError("no image is open: open one, or a sample")
        key = (settings.task, settings.level, settings.degrade, settings.seed, self.target)
        start = self._start
        if start is None or start.key != key:
            images, target = read_start(
                env.task, self.image, self.target, degrade=settings.degrade, seed=settings.seed
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

    def action_maps(self, step: int) -> Maps:
        """Return the actions of a step as they are painted now, uint8 (N, H, W).

        Where nothing is painted these are the agents' of the last run: where something was painted
        then and no longer is, the most probable ones.

        Raises
        ------
        ConfigError
            If there was no run, or it has no such step.
        """
        found = self.found
        if found is None or not 0 <= step < len(found.action_maps):
            raise ConfigError(f"step {step + 1}: expected a step of a finished run")
        agents = found.action_maps[step]
        if step in self._applied:
            preferred = found.probabilities[step].argmax(axis=1)
            agents = np.where(self._applied[step] == FREE, agents, preferred)
        shown: Maps = steered(agents, self._painting().overrides.get(step)).astype(np.uint8)
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
        if self.found is None:
            raise ConfigError("no probabilities yet: run the agents first")
        height, width = self.found.action_maps.shape[2:]
        if not (0 <= column < width and 0 <= row < height):
            raise ConfigError(f"pixel {column}, {row}: expected one of {width}x{height}")
        found: list[list[list[float]]]
        found = self.found.probabilities[..., row, column].astype(float).round(4).tolist()
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
            The step whose map is another now; None if there was nothing to undo or redo.

        Raises
        ------
        ConfigError
            If something does not exist.
        """
        painting = self._painting()
        if kind in ("undo", "redo"):
            return painting.undo() if kind == "undo" else painting.redo()
        maps = self.action_maps(step)
        if kind == "stroke":
            painting.stroke(step, points, size, action, plane)
        elif kind == "rectangle" and len(points) == 2:
            painting.rectangle(step, points[0], points[1], action, plane)
        elif kind == "replace":
            painting.replace(step, maps, old, action, plane)
        elif kind == "free":
            painting.free(step)
        else:
            raise ConfigError(f"edit {kind!r} with {len(points)} points is not known")
        return step

    def write_maps(self, path: Path) -> None:
        """Write the action maps as they are painted, with what ``replay`` applies them to."""
        if self.found is None:
            raise ConfigError("nothing to save: run the agents first")
        found, maps = self.found, range(len(self.found.action_maps))
        others = {"states": found.states[:1]}
        if found.target is not None:
            others["target"] = found.target
        actions = found.task.action_set
        write_maps(path, [self.action_maps(step) for step in maps], actions, others)
