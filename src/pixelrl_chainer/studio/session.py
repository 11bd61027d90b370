"""One person's work in the studio: an image, what the agents did to it, and what is painted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import CPU, Array, Device, to_numpy
from ..env import PixelEnv, Step, make_env
from ..errors import ConfigError
from ..explanation import Explanation, Maps, explain
from ..painting import Painting
from ..progress import Progress
from ..results import load_policy
from ..settings import Config
from ..shipped import choose
from ..steering import FREE, numbers_of, steered, write_maps
from ..task import Task
from .asking import Settings, facts, networks
from .changes import Change, compare
from .uploads import Upload, read_start

MAX_BYTES = 2**31
"""Largest set of probability maps; other maps of an episode need about as much again."""

Watch = Callable[[int, Array, Array], None]
"""Called after a step with its number from 1, images (B, C, H, W) and actions (B, H, W)."""


class Stopped(Exception):
    """Somebody wants the run to end."""


class WatchedEnv(PixelEnv):
    """An environment that tells what happened after every step."""

    def __init__(self, task: Task, watch: Watch) -> None:
        super().__init__(task)
        self._watch = watch

    def step(self, action_maps: Array) -> Step:
        """As :meth:`PixelEnv.step`."""
        outcome = super().step(action_maps)
        self._watch(self.steps_done, self.images, action_maps)
        return outcome


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
    painting : Painting or None
        What is painted; None before the first run.
    change : Change or None
        What the last run changed in comparison with the one before, on the same first state.
    """

    def __init__(self, given: Sequence[Path] = (), device: Device = CPU) -> None:
        self.given = tuple(given)
        self.device = device
        self.image: Upload | None = None
        self.target: Upload | None = None
        self.found: Explanation | None = None
        self.painting: Painting | None = None
        self.stopped = threading.Event()
        self._start: tuple[Maps, Maps | None] | None = None
        self._key: Any = None
        self.busy = False
        self.facts: dict[str, str] = {}
        self._applied: dict[int, Maps] = {}
        self.change: Change | None = None

    def open(self, image: Upload, target: Upload | None = None) -> None:
        """Work on another image; its target may follow as a second call's."""
        self.image, self.target, self.found, self.painting = image, target, None, None
        self._key = None

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
        images, target = self._first_state(settings, env)
        policy = load_policy(config, chosen, env, self.device)
        painted = {step: maps.copy() for step, maps in self._painting().overrides.items()}
        overrides = {step: maps for step, maps in painted.items() if step < env.steps}
        if settings.keep and self.found is not None:
            known = range(min(env.steps, len(self.found.action_maps)))
            overrides = {step: self.action_maps(step).astype(np.int8) for step in known}
        found = explain(
            policy,
            env,
            images,
            target,
            name=self.image.name if self.image else "",
            overrides=overrides,
            forbidden_actions=forbidden,
            device=self.device,
            progress=self._stoppable(progress),
        )
        self.change = None if self.found is None else compare(self.found, found)
        self.found, self._applied = found, painted
        self.facts = facts(settings, chosen, env.task, painted)
        return found

    def stop(self) -> None:
        """End the run that is going on at its next step or tile."""
        self.stopped.set()

    def _pass_on(self, watch: Watch, step: int, images: Array, action_maps: Array) -> None:
        if self.stopped.is_set():
            raise Stopped
        start = self._start[0] if self._start else images
        if images.shape == start.shape:  # not a tile
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

    def _first_state(self, settings: Settings, env: PixelEnv) -> tuple[Maps, Maps | None]:
        """Make the first state, unless it is that of the run before."""
        if self.image is None:
            raise ConfigError("no image is open: open one, or a sample")
        key = (settings.task, settings.level, settings.degrade, settings.seed, self.target)
        if self._start is None or key != self._key:
            task = env.task
            self._start = read_start(
                task, self.image, self.target, degrade=settings.degrade, seed=settings.seed
            )
            self._key, self.found = key, None
            batch, _, height, width = self._start[0].shape
            self.painting = Painting((batch, height, width), len(env.actions))
        images = self._start[0]
        size = 2 * env.steps * len(env.actions) * images.size // images.shape[1]
        if size > MAX_BYTES:
            raise ConfigError(
                f"{env.steps} steps on {images.shape[3]}x{images.shape[2]} pixels: expected at "
                f"most {MAX_BYTES >> 20} MB of probabilities, found {size >> 20}; choose fewer "
                "steps or a smaller image"
            )
        return self._start

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
