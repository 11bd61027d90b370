"""The log of a training, read so that nothing in it can do harm.

It may be of a run that still goes on, that was killed in the middle of a line, or that was edited:
what cannot be read is counted and left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import reason

Record = dict[str, Any]
Numbers = NDArray[np.float64]

LOG, CONFIG = "log.jsonl", "config.json"

STEPS = ("step", "episode")
"""Keys that count what was done; the first one that a log has is its axis."""

LARGEST = 2**53
"""Steps are counted up to here, where floating point numbers are exact."""


MOST_SECONDS = 1e9
"""A line that took longer is damaged."""


def read_log(path: Path, notes: list[str]) -> list[Record]:
    """Read the lines that have a step, in the order of steps; note what is wrong with others.

    Of several lines of one step the last one is kept, as it is of the process that went on.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        notes.append(f"There is no {LOG}: nothing was trained here yet.")
        return []
    except OSError as error:
        notes.append(f"{LOG} cannot be read ({reason(error)}).")
        return []
    lines = [line for line in lines if line.strip()]
    if not lines:
        notes.append(f"{LOG} is empty: the first line is written after the first episode.")
    found: dict[float, Record] = {}
    damaged: list[int] = []
    key, last, repeated, back = "", -math.inf, 0, 0
    for number, line in enumerate(lines, start=1):
        record = _record(line)
        key = key or next((one for one in STEPS if one in record), "")
        step = number_in(record, key)
        if not 0 <= step <= LARGEST:
            damaged.append(number)
            continue
        repeated += step in found
        back += step < last and step not in found
        last = max(last, step)
        found[step] = record
    if damaged:
        notes.append(_damage(damaged, len(lines)))
    if repeated:
        notes.append(
            f"{LOG}: {_lines(repeated)} of steps that were there before; later ones count."
        )
    if back:
        notes.append(f"{LOG}: {_lines(back)} out of order; shown in the order of steps.")
    return [found[step] for step in sorted(found)]


def within(records: list[Record], key: str, last: int, notes: list[str]) -> list[Record]:
    """Leave out records of steps that the training does not have; note how many there are.

    If they are the greater part, the log is rather of a longer training, and all are kept.
    """
    kept = [record for record in records if number_in(record, key) <= last]
    if 2 * len(kept) < len(records):
        notes.append(f"{LOG} is of a longer training than {CONFIG}, which ends at {last:,}.")
        return records
    if len(kept) < len(records):
        many = _lines(len(records) - len(kept))
        notes.append(f"{LOG}: {many} of steps above {last:,}, the last one, and left out.")
    return kept


def _lines(count: int) -> str:
    return "1 line is" if count == 1 else f"{count:,} lines are"


def _damage(damaged: list[int], count: int) -> str:
    if len(damaged) == count:
        return f"{LOG}: no line could be read."
    where = "its last line" if damaged == [count] else f"{len(damaged):,} of its lines"
    return f"{LOG}: {where} could not be read; the others are shown."


def _record(line: str) -> Record:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def number_in(record: Mapping[str, Any], key: str) -> float:
    """Return a number of a record; NaN if it has none of that name."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def column(records: list[Record], key: str) -> Numbers:
    """Return one number of every record, NaN where it has none."""
    return np.array([number_in(record, key) for record in records])


def printable(text: str) -> str:
    """Replace what UTF-8 cannot say, as names of files and JSON can hold it, by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
