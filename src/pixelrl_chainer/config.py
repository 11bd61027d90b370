"""Building a configuration: defaults, experiment file (TOML), profile, preset, overrides.

A configuration is built in this order, later entries winning: defaults (the published code), the
experiment file, the profile, the preset, explicit overrides. A key that does not exist is an error
that names the nearest one.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from . import paper
from .errors import ConfigError
from .settings import Config, Sections, flatten

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


Overrides = Mapping[str, Any]
C = TypeVar("C", bound=Sections)

PROFILES: dict[str, Overrides] = {
    "official-code": {},
    "paper": {
        "task.reward_scale": paper.PAPER_REWARD_SCALE,
        "loss.entropy_coefficient": paper.PAPER_ENTROPY_COEFFICIENT,
        "loss.value_coefficient": paper.PAPER_VALUE_COEFFICIENT,
        "loss.rmc_policy_gradient": True,
    },
}
"""``official-code`` is what the authors ran; ``paper`` follows the printed equations."""

PRESETS: dict[str, Overrides] = {
    "paper": {},
    "quick": {
        "train.episodes": 200,
        "train.batch_size": 8,
        "train.crop_size": 48,
        "train.checkpoint_every": 40,
        "train.validation_images": 4,
        "eval.limit": 6,
    },
}
"""``paper`` is the published schedule; ``quick`` shows the whole chain in minutes on a CPU."""

FROM_SCRATCH: Overrides = {"train.init": ""}

PRESETS_BY_TASK: dict[tuple[str, str], Overrides] = {
    ("quick", "denoise-gaussian"): FROM_SCRATCH,
    ("quick", "denoise-poisson"): FROM_SCRATCH,
    ("quick", "denoise-saltpepper"): FROM_SCRATCH,
    ("quick", "restore-text"): {"train.episodes": 100, "train.checkpoint_every": 20},
    ("quick", "color"): {
        "train.episodes": 100,
        "train.checkpoint_every": 20,
        "train.validation_images": 12,
        **FROM_SCRATCH,
        "task.reward_scale": 0.1,  # explores for longer: rewards are of the size of 1
    },
    ("quick", "saliency"): {
        "saliency.episodes": 100,
        "saliency.size": 96,
        "eval.limit": 2,
    },
}
"""What a preset changes further for a task: longer episodes, and training on single images."""


def override(config: C, changes: Overrides) -> C:
    """Return ``config`` with ``{"section.key": value}`` applied.

    Raises
    ------
    ConfigError
        If a key does not exist, or a value has the wrong type or is out of range.
    """
    known = flatten(config)
    sections: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise ConfigError(f"unknown setting {key!r}; did you mean {nearest}?")
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = _convert(config, section, name, value)
    return dataclasses.replace(
        config,
        **{
            section: dataclasses.replace(getattr(config, section), **values)
            for section, values in sections.items()
        },
    )


def _convert(config: Sections, section: str, name: str, value: Any) -> Any:
    """Give ``value``, perhaps text from a command line, the type that the setting has."""
    owner = getattr(config, section)
    kind = {f.name: str(f.type) for f in dataclasses.fields(owner)}[name]
    if kind.endswith("None") and value in (None, "none"):
        return None
    try:
        return _parse(kind, value)
    except (ValueError, TypeError, KeyError, ArithmeticError):
        raise ConfigError(
            f"{section}.{name} = {value!r}: expected a value of type {kind.split(' |')[0]}"
        ) from None


def _parse(kind: str, value: Any) -> Any:
    """Convert ``value`` to the type with which the annotation ``kind`` begins."""
    if kind.startswith("tuple["):
        items = [text for text in value.split(",") if text] if isinstance(value, str) else value
        return tuple(_parse(kind[len("tuple[") :], item) for item in items)
    if kind.startswith("bool"):
        return {"true": True, "false": False}[str(value).lower()]
    if isinstance(value, bool) or (kind.startswith("str") and not isinstance(value, str)):
        raise TypeError
    if kind.startswith("int"):
        number = Decimal(str(value))  # exact for large seeds, unlike a float
        if number != int(number):
            raise ValueError
        return int(number)
    return float(value) if kind.startswith("float") else value


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """Split ``section.key=value`` texts as given to ``--set``; ConfigError without an ``=``."""
    changes = {}
    for text in assignments:
        key, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--set {text!r}: expected section.key=value")
        changes[key.strip()] = value.strip()
    return changes


def read_experiment(path: Path) -> dict[str, Any]:
    """Read an experiment file as ``{"section.key": value}``.

    Raises
    ------
    ConfigError
        If the file is missing or is not TOML with one level of tables.

    Notes
    -----
    Other experiment files that ``train.init`` names are relative to this one.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: expected an experiment file in TOML ({error})") from error
    changes = {}
    for section, values in tables.items():
        if not isinstance(values, dict):
            raise ConfigError(
                f"{path}: {section} stands outside a table; put it under [train] etc."
            )
        changes.update({f"{section}.{key}": value for key, value in values.items()})
    if "train.init" in changes:
        changes["train.init"] = _from_here(str(changes["train.init"]), path.parent)
    return changes


def _from_here(init: str, folder: Path) -> str:
    """Write the experiment files in ``train.init``, relative to ``folder``, as paths."""
    return re.sub(
        r"(?<=experiment:)[^|]+",
        lambda file: os.path.normpath(folder / file[0]),
        init,
    )


def build(
    experiment: Path | None = None,
    *,
    profile: str = "official-code",
    preset: str = "paper",
    changes: Overrides | None = None,
) -> Config:
    """Build a configuration from its parts, in the order the module states.

    Raises
    ------
    ConfigError
        If a profile, preset, key or value is unknown.
    """
    for kind, name, known in (("profile", profile, PROFILES), ("preset", preset, PRESETS)):
        if name not in known:
            raise ConfigError(f"unknown {kind} {name!r}: expected one of {', '.join(known)}")
    config = Config()
    changes = changes or {}
    stated = read_experiment(experiment) if experiment else {}
    task = changes.get("task.name", stated.get("task.name", config.task.name))
    for part in (
        stated,
        PROFILES[profile],
        PRESETS[preset],
        PRESETS_BY_TASK.get((preset, task), {}),
        changes,
    ):
        config = override(config, part)
    return config


def from_dict(data: Mapping[str, Mapping[str, Any]]) -> Config:
    """Inverse of :meth:`Config.to_dict`, for recorded configurations."""
    flat = {f"{section}.{k}": v for section, values in data.items() for k, v in values.items()}
    return override(Config(), flat)
