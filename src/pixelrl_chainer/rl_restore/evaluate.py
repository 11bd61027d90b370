"""Scores of toolchains on pairs of images, with everything that led to them."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pooch
from numpy.typing import NDArray

from .. import paper
from ..backend import CPU, Device
from ..errors import ConfigError, WeightsError
from ..evaluate import summarise
from ..files import replace_atomically
from ..metrics import PSNR, SSIM, Metric, ssim
from ..progress import Progress, no_progress
from ..provenance import describe_process
from ..result_tables import caption, markdown, spread
from ..sources import user_places
from .apply import T_MAX, Restored, names_of, picture, restore_image
from .figures import draw_chain, draw_shares
from .patches import float_psnr
from .testsets import PairFolder
from .weights import AGENT, Trained, load_trained

TASK = "rl-restore"
"""What ``--task`` calls this."""

WEIGHTS = "rl-restore-weights"
"""Folder of imported weights, in the places where data sets are looked for."""

DRAWN = 8
"""Toolchains that are drawn; the others are in the result only."""

AGENTS = ("network", "none")

METRICS = (
    Metric(PSNR.key, PSNR.label, 3, True, lambda output, clean, start: float_psnr(output, clean)),
    Metric(SSIM.key, SSIM.label, 4, True, lambda output, clean, start: ssim(output, clean)),
)
"""PSNR of floating point values, as published; SSIM of 8 bits, as for the other tasks."""

Result = dict[str, Any]


def find_weights(given: Path | None) -> tuple[Path, str]:
    """Return a folder of weights and where it comes from: ``given`` or ``imported``.

    Parameters
    ----------
    given : pathlib.Path or None
        A folder of weights, or of a training, which has them in ``weights``; None: what
        ``weights import-rl-restore`` has stored.

    Raises
    ------
    ConfigError
        If nothing is given and nothing was imported.
    """
    if given is not None:
        inner = given / "weights"
        return (inner if (inner / AGENT).is_file() else given), "given"
    for place in user_places(WEIGHTS):
        if (place / AGENT).is_file():
            return place, "imported"
    raise ConfigError(
        f"no weights for {TASK}: none are shipped; give --weights DIR with tool01.npz to "
        f"tool12.npz and {AGENT}, import published ones with 'pixelrl-chainer weights "
        "import-rl-restore DIR', or train some (docs/RL_RESTORE.md)"
    )


def load_agent_and_tools(folder: Path, device: Device) -> Trained:
    """Read a folder of weights onto a device; WeightsError if it is unusable."""
    trained = load_trained(folder)
    trained.toolbox.to_device(device.chainer_name)
    trained.agent.to_device(device.chainer_name)
    return trained


def run_evaluation(
    pairs: PairFolder,
    weights: Path | None,
    *,
    origin: str = "given",
    row: str = TASK,
    t_max: int = T_MAX,
    limit: int | None = None,
    figures: Path | None = None,
    device: Device = CPU,
    progress: Progress = no_progress,
) -> Result:
    """Score an agent and its tools on pairs of images.

    Parameters
    ----------
    pairs : PairFolder
    weights : pathlib.Path or None
        Folder of weights; None scores the inputs as they are.
    origin : str
        Where the weights come from.
    row : str
        Key of the row in the paper's tables.
    t_max : int
        Longest toolchain.
    limit : int or None
        Only the first images.
    figures : pathlib.Path or None
        Folder for pictures of the first :data:`DRAWN` toolchains, and of how often each tool was
        chosen.
    device : Device
    progress : Progress

    Returns
    -------
    dict
        Keys as in docs/RESULTS.md. Each image has in addition its ``psnr_input``, its ``chain``
        (indices from 0 on; the number of tools: stop), the names of its ``tools`` and the
        ``values`` of all actions at each step.

    Raises
    ------
    PixelRLError
        If weights or images cannot be used.
    """
    begin = time.perf_counter()
    trained = None if weights is None else load_agent_and_tools(weights, device)
    count = min(len(pairs), limit or len(pairs))
    rows, name = [], "none" if weights is None else row
    with progress(count, f"evaluating {name}") as advance:
        for index in range(count):
            rows.append(_score(trained, pairs, index, t_max, device, figures))
            advance()
    if figures and trained:
        shares = action_shares([r["chain"] for r in rows], len(trained.toolbox), t_max)
        draw_shares(shares, trained.toolbox.specs, figures / "tools.png", title=pairs.group)
    scores = {metric.key: summarise([row[metric.key] for row in rows], 1) for metric in METRICS}
    return {
        "task": TASK,
        "agent": "none" if weights is None else "network",
        "row": name,
        "level": {"group": pairs.group},
        **describe_folder(weights, origin),
        "data": {"sets": [str(pairs.folder)], "substitute": False},
        **scores,
        "images": rows,
        "metrics": [metric.key for metric in METRICS],
        "published": published(name, pairs.group),
        "not_comparable": not_comparable(count, t_max, name),
        "config": {"task": {"name": TASK, "level": pairs.group, "steps": t_max, "actions": None}},
        **describe_process(device),
        "seconds": time.perf_counter() - begin,
    }


def describe_folder(weights: Path | None, origin: str) -> dict[str, str | None]:
    """Return the path of a folder of weights, where it comes from and its checksum."""
    keys = ("weights", "weights_origin", "weights_sha256")
    values = (str(weights), origin, fingerprint(weights)) if weights else (None,) * 3
    return dict(zip(keys, values, strict=True))


def _score(
    trained: Trained | None,
    pairs: PairFolder,
    index: int,
    t_max: int,
    device: Device,
    figures: Path | None,
) -> dict[str, Any]:
    """Restore one image and score it; the seconds are those of restoring."""
    start, clean = pairs.load(index)
    begin = time.perf_counter()
    states, chain, values = (
        restore_image(trained, start, t_max=t_max, device=device)
        if trained
        else Restored([start], [], [])
    )
    seconds = time.perf_counter() - begin
    names = names_of(chain, trained.toolbox) if trained else []
    if figures and trained and index < DRAWN:
        notes = [f"{float_psnr(state, clean):.2f} dB" for state in states]
        upright = [picture(state.transpose(0, 2, 1), False) for state in states]
        file = figures / f"{pairs.names[index]}.png"
        draw_chain(upright, names, file, title=pairs.names[index], notes=notes)
    return {
        "name": pairs.names[index],
        **{metric.key: metric.score(states[-1], clean, start) for metric in METRICS},
        "seconds": seconds,
        "seed": 0,
        "psnr_input": float_psnr(start, clean),
        "chain": chain,
        "tools": names,
        "values": [step.mean(axis=0).tolist() for step in values],
    }


def action_shares(chains: list[list[int]], n_tools: int, t_max: int) -> NDArray[np.float64]:
    """Share of each action at each step among the images that had not stopped before (Fig. 6)."""
    shares = np.zeros((t_max, n_tools + 1))
    for chain in chains:
        for step, action in enumerate(chain):
            shares[step, action] += 1
    result: NDArray[np.float64] = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1)
    return result


def published(row: str, group: str) -> dict[str, float | None]:
    """Return the paper's figures for a row and group, by metric."""
    return {metric.key: paper.rl_restore_published(metric.key, row, group) for metric in METRICS}


def not_comparable(count: int, t_max: int, row: str) -> list[str]:
    """Reasons why a score must not be compared with the paper's."""
    reasons = [f"{count} pairs that are not the paper's {paper.RL_RESTORE_TEST_PATCHES:,}"]
    if t_max != T_MAX and row in (TASK, "none"):
        reasons.append(f"{t_max} steps")
    return reasons


def fingerprint(folder: Path) -> str:
    """SHA-256 of the checksums of all weight files of a folder, in the order of their names."""
    sums = "".join(str(pooch.file_hash(file)) for file in weight_files(folder))
    return hashlib.sha256(sums.encode()).hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a folder of weights, sorted by name."""
    return sorted([*folder.glob("tool[0-9][0-9].npz"), folder / AGENT])


def table(result: Result) -> str:
    """Markdown table of a result: every image with its toolchain, and the mean."""
    rows = [["image", "input (dB)", *(m.label for m in METRICS), "s", "toolchain"]]
    for image in result["images"]:
        scores = [f"{image[m.key]:.{m.digits}f}" for m in METRICS]
        chain = ", ".join(image["tools"]) or "–"
        first, last = f"{image['psnr_input']:.3f}", f"{image['seconds']:.2f}"
        rows.append([image["name"], first, *scores, last, chain])
    images = result["images"]
    before, seconds = (
        np.mean([image[key] for image in images]) for key in ("psnr_input", "seconds")
    )
    spreads = [spread(result[m.key], m.digits) for m in METRICS]
    rows.append(["mean", f"{before:.3f}", *spreads, f"{seconds:.2f}", ""])
    known = [
        f"{m.label} {result['published'][m.key]:.{m.digits - 1}f}"
        for m in METRICS
        if result["published"][m.key] is not None
    ]
    cited = f"\n\nThe paper's: {', '.join(known)}." if known else ""
    return f"{markdown(rows)}{cited}\n\n{caption(result)}"


def import_weights(source: Path, target: Path, *, force: bool = False) -> int:
    """Check the weight files of a folder and copy them to where they are found.

    Returns
    -------
    int
        Number of tools.

    Raises
    ------
    WeightsError
        If a file is unusable, or there are weights already and ``force`` is not set.
    """
    trained = load_trained(source)
    if (target / AGENT).exists() and not force:
        raise WeightsError(f"{target} has weights already: give --force to replace them")
    for file in weight_files(source):
        with replace_atomically(target / file.name) as temporary:
            shutil.copyfile(file, temporary)
    return len(trained.toolbox)
