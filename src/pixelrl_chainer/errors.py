"""Errors a user can cause; each message says what was expected, what was found and what to do."""

from __future__ import annotations

import textwrap


class PixelRLError(Exception):
    """Base of every error that the command line reports as one line."""


class DataError(PixelRLError):
    """An image, a folder of images or a data set is missing or unusable."""


class WeightsError(PixelRLError):
    """A weight file is missing, damaged or does not belong to the requested network."""


class ConfigError(PixelRLError):
    """A task, a configuration key or a configuration value is unknown or out of range."""


class TrainingError(PixelRLError):
    """Training has diverged."""


class CheckpointError(PixelRLError):
    """A checkpoint is missing, incomplete or belongs to another configuration."""


class DeviceError(PixelRLError):
    """The requested device does not exist here."""


def reason(error: BaseException) -> str:
    """Return what ``error`` says as a part of one line; a library's message is cut if too long."""
    if isinstance(error, PixelRLError):
        return str(error)
    said = textwrap.shorten(str(error), 120, placeholder="...")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
