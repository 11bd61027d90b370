"""Parameters and multiplications of RL-Restore, as in Table 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import chainer
import numpy as np
from chainer import links as L

from .. import paper
from ..result_tables import markdown
from .apply import T_MAX
from .networks import DeepTool, QNetwork, ShallowTool, observe
from .settings import PATCH_SIZE


class Complexity(NamedTuple):
    """Numbers of parameters, without biases and with them, and of multiplications."""

    weights: float
    parameters: float
    multiplications: float


class Multiplications(chainer.LinkHook):
    """Counts the multiplications of convolutions and matrices of one image.

    Those of single numbers (gates of the LSTM, activations) are not counted.
    """

    def __init__(self) -> None:
        self.count = 0

    def forward_postprocess(self, args: Any) -> None:
        """Add those of a layer that was just used."""
        link = args.link
        if isinstance(link, L.Convolution2D):
            self.count += int(np.prod(args.out.shape[1:])) * int(np.prod(link.W.shape[1:]))
        elif isinstance(link, L.Linear):
            self.count += link.W.size
        elif isinstance(link, L.NStepLSTM):
            self.count += sum(weight.size for weight in link.ws[0])


def measure(link: chainer.Link, run: Callable[[], Any]) -> Complexity:
    """Count parameters of a network, and multiplications of ``run``, which uses it once."""
    hook = Multiplications()
    with hook, chainer.no_backprop_mode():
        run()
    arrays = [parameter.array for parameter in link.params()]
    weights = sum(array.size for array in arrays if array.ndim > 1)
    return Complexity(weights, sum(array.size for array in arrays), hook.count)


def networks() -> dict[str, Complexity]:
    """Count for a patch of 63x63 pixels: each kind of tool, the agent, and RL-Restore as a whole.

    As the paper says, each tool is as likely as the others and no step stops; so three steps use
    one and a half tools of each kind. The agent, one network, is run at each step.
    """
    rng = np.random.default_rng(0)
    image = np.zeros((1, 3, PATCH_SIZE, PATCH_SIZE), np.float32)
    shallow, deep, agent = ShallowTool(rng), DeepTool(rng), QNetwork(rng)
    seen = observe(image[0], -1, agent.n_tools)[None]
    counts = {
        "tool of 3 layers": measure(shallow, lambda: shallow(image)),
        "tool of 8 layers": measure(deep, lambda: deep(image)),
        "agent": measure(agent, lambda: agent(seen, None)),
    }
    # Of the LSTM, the second bias of each gate is a constant.
    constants = sum(bias.size for bias in agent.lstm.bs[0][4:])
    weights, parameters, multiplications = counts["agent"]
    counts["agent"] = Complexity(weights, parameters - constants, multiplications)
    tools = zip(counts["tool of 3 layers"], counts["tool of 8 layers"], strict=True)
    average = Complexity(*(sum(pair) / 2 for pair in tools))
    counts["RL-Restore"] = Complexity(
        weights + T_MAX * average.weights,
        parameters - constants + T_MAX * average.parameters,
        T_MAX * (multiplications + average.multiplications),
    )
    return counts


def table(counts: dict[str, Complexity]) -> str:
    """Markdown table of :func:`networks`, with the rows of Table 2 beside."""
    rows = [["network", "weights", "with biases", "multiplications (1e9)", "paper"]]
    cited = {label: figures for label, *figures in paper.RL_RESTORE_COMPLEXITY.values()}
    for name, count in counts.items():
        theirs = cited.pop(name, None)
        ours = [f"{count.weights:,.0f}", f"{count.parameters:,.0f}"]
        rows.append([name, *ours, f"{count.multiplications / 1e9:.4f}", _cited(theirs)])
    rows += [[name, "–", "–", "–", _cited(theirs)] for name, theirs in cited.items()]
    return f"{markdown(rows)}\n\nFor 63x63 pixels. {ASSUMPTION}"


def _cited(figures: list[float] | None) -> str:
    return f"{figures[0] / 1e5:.2f}e5, {figures[1] / 1e9:.3g}e9" if figures else ""


ASSUMPTION = (
    "RL-Restore: three steps, each tool as likely as the others, no step stops, and the agent is "
    "run at each step; the paper counts parameters without biases."
)
