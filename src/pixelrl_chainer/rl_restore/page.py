"""The report of a toolchain as one HTML file: what the viewer of viz/ shows of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..images import to_8bit
from ..viz.page import compress, metric_curves, png
from .apply import picture
from .evaluate import METRICS
from .figures import colors_of

if TYPE_CHECKING:
    from .explanation import Decision, ToolchainExplanation


def page_data(found: ToolchainExplanation, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return what viewer.js shows, ready for JSON; ``viz.page.write_page`` writes it.

    Parameters
    ----------
    found : ToolchainExplanation
    facts : mapping
        Lines below the title, for example the weights.
    """
    height, width = found.states.shape[2:]
    clean = None if found.clean is None else to_8bit(picture(found.clean, found.gray))
    states = compress([to_8bit(state) for state in found.pictures])
    several = found.values.shape[1] > 1
    return {
        "title": f"{found.name}: toolchain of RL-Restore",
        "facts": dict(facts),
        "width": width,
        "height": height,
        "steps": len(states) - 1,
        "planes": [""],
        "actions": [
            {"name": label, "label": label, "color": color}
            for label, color in zip(found.labels, colors_of(found.specs), strict=False)
        ],
        "states": states,
        "target": None if clean is None else png(clean),
        "target_name": "target",
        "maps": {"action": [compress([m]) for m in found.vote_maps()]} if several else {},
        "titles": {"action": "votes of the patches"},
        "scales": {},
        "ramps": {},
        "counts": found.votes.tolist(),
        "metrics": metric_curves(METRICS, found.scores),
        "forbidden": list(found.forbidden),
        "decisions": [_decision(decision) for decision in found.decisions],
    }


def _decision(decision: Decision) -> dict[str, Any]:
    """Turn a decision into what JSON can hold."""
    outcomes = decision.outcomes
    return {
        "taken": decision.taken,
        "preferred": decision.preferred,
        "values": _finite(decision.values),
        "votes": decision.votes.tolist(),
        "outcomes": None if outcomes is None else _finite(outcomes),
    }


def _finite(numbers: Iterable[float]) -> list[float | None]:
    """Replace what JSON cannot hold by None."""
    return [float(x) if math.isfinite(x) else None for x in numbers]
