"""Networks that come with the package, each with a card that says how it was trained."""

from __future__ import annotations

from pathlib import Path

from .env import level_of
from .errors import ConfigError
from .models.fcn import VARIANTS
from .settings import Config
from .tasks import find_task

FOLDER = Path(__file__).parent / "pretrained"
"""NAME.npz in the published layout, half precision, and NAME.md, its card."""

KEYWORD = Path("pretrained")
"""What stands for these networks where a weight file is expected."""


def available() -> list[str]:
    """Names of the networks: task, level and variant."""
    return sorted(path.stem for path in FOLDER.glob("*.npz"))


def find(config: Config, variant: str | None = None) -> Path | None:
    """Return the network for task, actions and level of ``config``, None if there is none.

    Parameters
    ----------
    config : Config
    variant : str or None
        Variant that is wanted; None takes that of ``config`` if there is such a network, else the
        one with the most parts.
    """
    task = find_task(config.task.name)
    if config.task.actions not in (None, task.actions):
        return None
    start = f"{task.name}-{task.level_name}{level_of(config, task):g}-"
    wanted = [variant] if variant else [config.network.variant, *reversed(VARIANTS)]
    files = (FOLDER / f"{start}{name}.npz" for name in wanted)
    return next((file for file in files if file.is_file()), None)


def resolve(weights: Path | None, config: Config, variant: str | None = None) -> Path | None:
    """Replace the word ``pretrained`` by the file it stands for; anything else stays.

    Raises
    ------
    ConfigError
        If there is no such network; the message lists those that there are.
    """
    if weights != KEYWORD:
        return weights
    file = find(config, variant)
    if file is None:
        task = find_task(config.task.name)
        raise ConfigError(
            f"no pretrained network for {task.name}, {task.level_name} "
            f"{level_of(config, task):g}{f', {variant}' if variant else ''}: found "
            f"{', '.join(available()) or 'none'}; train one, or give a weight file"
        )
    return file
