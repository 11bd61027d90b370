"""Training of one tool on its own distortion (Section 3.3; the recipe is VDSR's)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import chainer
import numpy as np
from chainer import functions as F

from ..backend import CPU, Device, to_numpy
from ..checkpoint import CheckpointStore
from ..episode import Record
from ..errors import ConfigError
from ..images import ImageFloat
from ..imagesets import ImageSet
from ..rng import stream
from . import distortions
from .networks import TOOL_TYPES
from .patches import Corrupt, Pair, Patches, float_psnr
from .run import Run
from .settings import RestoreConfig, ToolSettings
from .toolbox import TOOLBOXES, ToolSpec
from .weights import save_tool, tool_file


def own_distortion(spec: ToolSpec, settings: ToolSettings | None = None) -> Corrupt:
    """Make the distortion that a tool is for.

    Parameters
    ----------
    spec : ToolSpec
        A level is drawn uniformly from its range.
    settings : ToolSettings or None
        How much noise and compression to add (Section 3.1); None: none, as with ``noise`` 0 and
        ``jpeg`` 100. They take their places in the sequence of blur, noise and JPEG; a tool for one
        of them gets no more of that one.
    """

    def corrupt(image: ImageFloat, rng: np.random.Generator) -> ImageFloat:
        level, noise, quality = rng.uniform(spec.low, spec.high), 0.0, 100.0
        if settings is not None:
            noise, quality = rng.uniform(0, settings.noise), rng.uniform(settings.jpeg, 100)
        if spec.distortion == "blur":
            image = distortions.blur(image, level)
        sigma = level if spec.distortion == "noise" else noise
        if sigma > 0:
            image = distortions.add_noise(image, sigma, rng)
        compressed = level if spec.distortion == "jpeg" else quality
        if compressed < 100:
            image = distortions.compress(image, compressed)
        return image

    return corrupt


class ToolTrainer(Run):
    """The training of one tool in one folder; see :class:`Run`.

    The loss is half the squared error of an image, its mean over the batch.

    Parameters
    ----------
    config : RestoreConfig
        Its sections ``data`` and ``tools``.
    number : int
        Of the tool, from 1 on.
    images, held_out : ImageSet
        To train on, and to score on.
    root : pathlib.Path
        Its folder ``tool01`` and so on receives ``config.json``, ``log.jsonl``, ``checkpoints/``
        and ``scores.json``, its folder ``weights`` the tool.
    size : int
        Of the toolbox: 6, 12 or 18.
    device : Device

    Raises
    ------
    PixelRLError
        If an image cannot be used, or the checkpoint is damaged or of other settings.
    """

    kind = "tools"

    def __init__(
        self,
        config: RestoreConfig,
        number: int,
        images: ImageSet,
        held_out: ImageSet,
        root: Path,
        size: int = 12,
        device: Device = CPU,
    ) -> None:
        settings = self.tools = config.tools
        steps = settings.epochs * settings.epoch_steps
        identity = {
            "config": {key: config.to_dict()[key] for key in ("data", "tools")},
            "tool": [number, size],
        }
        folder = root / f"tool{number:02d}"
        super().__init__(
            folder, identity, steps, settings.log_every, settings.checkpoint_every, device
        )
        self.spec, self.number = TOOLBOXES[size][number - 1], number
        self.file = tool_file(root / "weights", number)
        corrupt = own_distortion(self.spec, settings)
        self.patches = Patches(
            images, corrupt, config.data, settings.seed, size=settings.patch_size
        )
        self.scored = {
            "": Patches(held_out, corrupt, config.data, settings.seed, "eval"),
            "_alone": Patches(
                held_out, own_distortion(self.spec), config.data, settings.seed, "eval"
            ),
        }
        self.patches.pair(0)
        with device.use():
            self._make_model()
            self.store = CheckpointStore(folder / "checkpoints", identity)
            self.done = self.store.resume(self.model, self.optimizer)

    def _make_model(self) -> None:
        """Make the tool, untrained, and its optimiser."""
        settings, hooks = self.tools, chainer.optimizer_hooks
        self.model = TOOL_TYPES[self.spec.layers](stream(settings.seed, "init", self.number))
        self.model.to_device(self.device.chainer_name)
        self.optimizer = chainer.optimizers.MomentumSGD(settings.learning_rate, settings.momentum)
        self.optimizer.setup(self.model)
        self.clipping = hooks.GradientClipping(1)
        self.optimizer.add_hook(hooks.WeightDecay(settings.weight_decay))
        self.optimizer.add_hook(self.clipping)

    def block(self, until: int) -> Record:
        """Make steps; the record has the mean loss a value, and that of the input."""
        first, sums = self.done, np.zeros(2)
        for self.done in range(first + 1, until + 1):
            sums += self._step(self.done - 1)
        loss, loss_input = sums / (until - first)
        return {
            "loss": float(loss),
            "loss_input": float(loss_input),
            "gain_db": float(10 * np.log10(loss_input / loss)),
            "learning_rate": float(self.optimizer.lr),
        }

    def _step(self, step: int) -> tuple[float, float]:
        settings = self.tools
        drops = step // settings.epoch_steps // settings.decay_epochs
        self.optimizer.lr = settings.learning_rate * settings.learning_rate_decay**drops
        self.clipping.threshold = settings.clip / self.optimizer.lr
        pair = self.patches.batch(step * settings.batch_size, settings.batch_size)
        corrupted, clean = map(self.device.send, pair)
        error = self.model(corrupted) - clean
        loss = F.sum(error * error) / (2 * len(clean))
        self.model.cleargrads()
        loss.backward()
        self.optimizer.update()
        return 2 * float(loss.array) / clean[0].size, float(np.mean((pair[0] - pair[1]) ** 2))

    def validate(self) -> Record:
        """Nothing: the last checkpoint is the result."""
        return {}

    def save(self, record: Record) -> None:
        """Save a checkpoint and the tool."""
        save_tool(self.model, self.file)
        self.store.save(self.model, self.optimizer, self.done, -record["loss"])

    def score(self) -> Record:
        """Score the tool on held-out patches.

        Returns
        -------
        dict
            Mean PSNR in dB before and after, and their difference, for patches corrupted as in
            training and, with ``_alone`` behind the keys, by the tool's own distortion only.
        """
        count = self.tools.validation
        record: Record = {"tool": self.number, "label": self.spec.label, "patches": count}
        for ending, patches in self.scored.items():
            before, after = np.mean([self._psnr(patches.pair(i)) for i in range(count)], axis=0)
            record[f"psnr_input{ending}"], record[f"psnr_output{ending}"] = before, after
            record[f"gain_db{ending}"] = after - before
        return record

    def _psnr(self, pair: Pair) -> tuple[float, float]:
        """PSNR of a corrupted patch and of the restored one."""
        corrupted, clean = pair
        with chainer.no_backprop_mode():
            restored = to_numpy(self.model(self.device.send(corrupted[None])).array)[0]
        return float_psnr(corrupted, clean), float_psnr(restored, clean)


def check_numbers(numbers: Sequence[int], size: int) -> tuple[int, ...]:
    """Return the numbers of the tools to train, all of them if none is given.

    Raises
    ------
    ConfigError
        If there is no toolbox of that size, or no tool of that number in it.
    """
    if size not in TOOLBOXES:
        raise ConfigError(f"--size {size}: expected one of {', '.join(map(str, TOOLBOXES))}")
    for number in numbers:
        if not 1 <= number <= size:
            raise ConfigError(f"--tool {number}: expected 1 to {size}")
    return tuple(numbers) or tuple(range(1, size + 1))


def table(scores: Sequence[Record]) -> str:
    """Format what :meth:`ToolTrainer.score` returned for several tools."""
    lines = [
        "held-out patches, mean PSNR (dB): corrupted as in training | by the tool's own distortion"
    ]
    for one in scores:
        columns = [
            f"{one[f'psnr_input{end}']:6.2f} -> {one[f'psnr_output{end}']:5.2f} "
            f"({one[f'gain_db{end}']:+.2f})"
            for end in ("", "_alone")
        ]
        lines.append(f"{one['tool']:2} {one['label']:16} " + " | ".join(columns))
    return "\n".join(lines)
