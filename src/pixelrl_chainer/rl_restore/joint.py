"""Joint training of tools along the agent's toolchains (Algorithm 1)."""

from __future__ import annotations

from pathlib import Path

import chainer
import numpy as np
from chainer import functions as F

from ..backend import CPU, Device
from ..checkpoint import CheckpointStore
from ..episode import Record
from ..imagesets import ImageSet
from .chains import held_out_scores, restore, score_chains
from .patches import Pair, mixed_patches
from .run import Run
from .settings import RestoreConfig
from .weights import Trained, fingerprint, load_trained, save_trained


def joint_update(trained: Trained, optimizer: chainer.Optimizer, pair: Pair, t_max: int) -> float:
    """Make one iteration of Algorithm 1.

    Gradients of half the squared error at the end of each toolchain lead back along the chain; each
    tool gets the mean over its uses in the batch, and one that was not used stays as it is.

    Parameters
    ----------
    trained : Trained
        Toolbox and agent, which only chooses.
    optimizer : chainer.Optimizer
        Plain SGD, set up with the tools.
    pair : tuple of arrays, float32 (M, 3, 63, 63)
        Corrupted and clean images.
    t_max : int

    Returns
    -------
    float
        Mean squared error of a value of the restored images.
    """
    corrupted, clean = pair
    chains = restore(trained, corrupted, t_max)
    error = chains.outputs - clean
    loss = F.sum(error * error) / 2
    optimizer.target.cleargrads()
    loss.backward()
    uses = np.bincount(chains.actions.ravel(), minlength=len(trained.toolbox))
    for tool, count in zip(trained.toolbox.tools, uses, strict=False):
        for parameter in tool.params():
            if count:
                parameter.grad /= int(count)
    optimizer.update()
    return 2 * float(loss.array) / clean.size


class JointTrainer(Run):
    """Joint training in one folder; see :class:`Run`.

    Parameters
    ----------
    config : RestoreConfig
        Its sections ``data`` and ``joint``, and ``agent.t_max``.
    trained : Trained
        Tools, which are changed, and agent, which is not.
    images, held_out : ImageSet
        To train and validate on, and to score on.
    folder : pathlib.Path
        Receives ``config.json``, ``log.jsonl``, ``checkpoints/``, ``scores.json`` and
        ``weights/``, the best tools so far and the agent in the published layout.
    device : Device

    Raises
    ------
    PixelRLError
        If an image cannot be used, or the checkpoint is damaged or of other settings.
    """

    kind = "joint"

    def __init__(
        self,
        config: RestoreConfig,
        trained: Trained,
        images: ImageSet,
        held_out: ImageSet,
        folder: Path,
        device: Device = CPU,
    ) -> None:
        settings, self.t_max = config.joint, config.agent.t_max
        self.rules, self.trained = settings, trained
        identity = {
            "config": {key: config.to_dict()[key] for key in ("data", "joint")},
            "weights": fingerprint(*trained.toolbox.tools, trained.agent),
            "t_max": self.t_max,
        }
        every = settings.checkpoint_every
        super().__init__(folder, identity, settings.steps, settings.log_every, every, device)
        self.patches, self.validation, self.scored = mixed_patches(
            images, held_out, config.data, settings.seed, settings.validation
        )
        with device.use():
            trained.toolbox.to_device(device.chainer_name)
            trained.agent.to_device(device.chainer_name)
            self.tools = chainer.ChainList(*trained.toolbox.tools)
            self.optimizer = chainer.optimizers.SGD(settings.learning_rate)
            self.optimizer.setup(self.tools)
            self.store = CheckpointStore(folder / "checkpoints", identity)
            self.done = self.store.resume(self.tools, self.optimizer)

    def block(self, until: int) -> Record:
        """Make iterations; the record has the mean loss of a value."""
        first, losses = self.done, []
        for self.done in range(first + 1, until + 1):
            pair = self.patches.batch(
                (self.done - 1) * self.rules.batch_size, self.rules.batch_size
            )
            sent = self.device.send(pair[0]), self.device.send(pair[1])
            losses.append(joint_update(self.trained, self.optimizer, sent, self.t_max))
        return {"loss": float(np.mean(losses))}

    def validate(self) -> Record:
        """Mean PSNR of fixed patches of training images, before and after their toolchains."""
        scores = score_chains(self.trained, self.validation, self.t_max, self.device)
        return scores.means("validation_")

    def save(self, record: Record) -> None:
        """Save the weights, if they are the best so far, and a checkpoint."""
        score = record.get("validation_psnr_output", -np.inf)
        if self.improves(score):
            save_trained(self.trained, self.folder / "weights")
        self.store.save(self.tools, self.optimizer, self.done, score)

    def score(self) -> Record:
        """Score the agent with the best tools beside every single tool."""
        pairs = self.scored.batch(0, self.rules.validation)
        best = load_trained(self.folder / "weights")
        return held_out_scores(best, pairs, self.t_max, self.device)
