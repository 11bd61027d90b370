"""Toolchains that an agent chooses, for a batch of patches at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import chainer
import numpy as np
from chainer import functions as F
from numpy.typing import NDArray

from ..backend import CPU, Array, Device, to_numpy, xp_of
from .networks import observe
from .patches import Pair, float_psnr
from .toolbox import Toolbox
from .weights import Trained


class Chains(NamedTuple):
    """Toolchains and what they lead to.

    Attributes
    ----------
    actions : numpy.ndarray, int (T, B)
        The action of each step; after a stop and for what stopped before, the number of tools.
    outputs : chainer.Variable, float32 (B, 3, H, W)
        Restored images, from which gradients lead back to the tools where they are recorded.
    """

    actions: NDArray[np.int64]
    outputs: Any


def restore(trained: Trained, images: Array, t_max: int) -> Chains:
    """Restore a batch of patches by the actions of highest value.

    Parameters
    ----------
    trained : Trained
        Toolbox and agent, on the device of the images.
    images : array, float32 (B, 3, 63, 63)
    t_max : int
        Longest chain.
    """
    toolbox, agent = trained
    stop = len(toolbox)
    state, taken = None, []
    current = chainer.Variable(images, requires_grad=False)
    previous = np.full(len(images), -1)
    for _ in range(t_max):
        seen = [observe(*one, stop) for one in zip(to_numpy(current.array), previous, strict=True)]
        with chainer.using_config("train", False), chainer.no_backprop_mode():
            values, state = agent(xp_of(images).asarray(np.stack(seen)), state)
        chosen = to_numpy(values.greedy_actions.array).astype(np.int64)
        chosen[previous == stop] = stop
        current = use_tools(toolbox, chosen, current)
        taken.append(chosen)
        previous = chosen
    return Chains(np.stack(taken), current)


def use_tools(toolbox: Toolbox, actions: NDArray[np.int64], images: Any) -> Any:
    """Apply to each image of a batch the tool of its own; as Chainer's function of the tools."""
    order = np.argsort(actions, kind="stable")
    parts = []
    for action in np.unique(actions):
        group = images[np.flatnonzero(actions == action)]
        parts.append(group if action == len(toolbox) else toolbox.tools[action](group))
    back = np.argsort(order, kind="stable")
    return F.concat(parts, axis=0)[back]


class Scores(NamedTuple):
    """PSNR in dB of every patch before and after its toolchain, and the chains (T, B)."""

    before: list[float]
    after: list[float]
    actions: NDArray[np.int64]

    def means(self, prefix: str = "") -> dict[str, float]:
        """Return the means as ``psnr_input`` and ``psnr_output``."""
        return {
            f"{prefix}psnr_input": float(np.mean(self.before)),
            f"{prefix}psnr_output": float(np.mean(self.after)),
        }


BATCH = 16
"""Patches at a time: on a CPU more are slower, as the arrays leave its caches."""


def score_chains(trained: Trained, pairs: Pair, t_max: int, device: Device = CPU) -> Scores:
    """Score the toolchains of an agent on pairs of (B, 3, 63, 63)."""
    outputs: list[Any] = []
    actions = []
    with device.use(), chainer.no_backprop_mode():
        for first in range(0, len(pairs[0]), BATCH):
            images = device.send(pairs[0][first : first + BATCH])
            chains = restore(trained, images, t_max)
            outputs.extend(to_numpy(chains.outputs.array))
            actions.append(chains.actions)
    before = list(map(float_psnr, *pairs))
    return Scores(before, list(map(float_psnr, outputs, pairs[1])), np.concatenate(actions, 1))


def held_out_scores(
    trained: Trained, pairs: Pair, t_max: int, device: Device = CPU
) -> dict[str, Any]:
    """Compare an agent with every single tool, used once on all patches.

    Returns
    -------
    dict
        Mean PSNR in dB of input and output, of each tool, and of the best one; mean length of the
        toolchains, without stops.
    """
    toolbox, single = trained.toolbox, []
    toolbox.to_device(device.chainer_name)
    trained.agent.to_device(device.chainer_name)
    scores = score_chains(trained, pairs, t_max, device)
    for index in range(len(toolbox)):
        with device.use():
            restored = [
                to_numpy(toolbox.apply(index, device.send(one[None])))[0] for one in pairs[0]
            ]
        single.append(float(np.mean(list(map(float_psnr, restored, pairs[1])))))
    best = int(np.argmax(single))
    return {
        "patches": len(scores.after),
        **scores.means(),
        "psnr_single_tools": single,
        "best_single_tool": best + 1,
        "psnr_best_single_tool": single[best],
        "length": float(np.mean((scores.actions < len(toolbox)).sum(axis=0))),
    }


def table(scores: dict[str, Any]) -> str:
    """Format what :func:`held_out_scores` returned."""
    single = ", ".join(f"{value:.2f}" for value in scores["psnr_single_tools"])
    return (
        f"{scores['patches']} held-out patches, mean PSNR (dB)\n"
        f"input       {scores['psnr_input']:.2f}\n"
        f"best tool   {scores['psnr_best_single_tool']:.2f} (number {scores['best_single_tool']})\n"
        f"toolchains  {scores['psnr_output']:.2f} (mean length {scores['length']:.2f})\n"
        f"every tool  {single}"
    )
