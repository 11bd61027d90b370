"""Training of the agent: the published recurrent DQN on patches that are corrupted on the way."""

from __future__ import annotations

import json
from pathlib import Path

import chainer
import numpy as np

from ..backend import CPU, Device
from ..checkpoint import CheckpointStore
from ..episode import Record
from ..errors import CheckpointError, WeightsError, reason
from ..files import write_json
from ..imagesets import ImageSet
from ..rng import stream
from ..weights import assign, network_arrays, read_npz, save_network
from .chains import held_out_scores, score_chains
from .dqn import RestoreDQN, learning_rate
from .environment import RestoreEnv
from .networks import QNetwork, observe
from .patches import mixed_patches
from .replay import EpisodeReplay
from .run import Run
from .settings import PATCH_SIZE, RestoreConfig
from .toolbox import Toolbox
from .weights import Trained, fingerprint, load_trained, save_trained


class AgentTrainer(Run):
    """The training of an agent in one folder; see :class:`Run`.

    Parameters
    ----------
    config : RestoreConfig
        Its sections ``data`` and ``agent``.
    toolbox : Toolbox
    images, held_out : ImageSet
        To train and validate on, and to score on.
    folder : pathlib.Path
        Receives ``config.json``, ``log.jsonl``, ``checkpoints/``, ``replay.f16``, ``scores.json``
        and ``weights/``, tools and the best agent so far in the published layout.
    device : Device

    Raises
    ------
    PixelRLError
        If an image cannot be used, or the checkpoint is damaged or of other settings.
    """

    kind = "agent"

    def __init__(
        self,
        config: RestoreConfig,
        toolbox: Toolbox,
        images: ImageSet,
        held_out: ImageSet,
        folder: Path,
        device: Device = CPU,
    ) -> None:
        settings = self.rules = config.agent
        identity = {
            "config": {key: config.to_dict()[key] for key in ("data", "agent")},
            "tools": fingerprint(*toolbox.tools),
        }
        every = settings.checkpoint_every
        super().__init__(folder, identity, settings.steps, settings.log_every, every, device)
        self.patches, self.validation, self.scored = mixed_patches(
            images, held_out, config.data, settings.seed, settings.validation
        )
        self.toolbox = toolbox
        self.env = RestoreEnv(toolbox, settings.reward, settings.t_max, device)
        with device.use():
            toolbox.to_device(device.chainer_name)
            self.agent = self._make_agent()
            self.store = CheckpointStore(folder / "checkpoints", identity)
            self.episodes = 0
            self.done = self.store.resume(self.agent.model, self.agent.optimizer)
            if self.done:
                self._resume(self.store.path(self.done))

    def _make_agent(self) -> RestoreDQN:
        settings, n_tools = self.rules, len(self.toolbox)
        network = QNetwork(stream(settings.seed, "init"), n_tools, settings.stop)
        if settings.init == "wide":
            widen(network)
        network.to_device(self.device.chainer_name)
        optimizer = chainer.optimizers.Adam(alpha=settings.learning_rate)
        optimizer.setup(network)
        self.replay = EpisodeReplay(
            self.folder / "replay.f16",
            settings.replay,
            settings.checkpoint_every + settings.log_every + settings.t_max,
            stream(settings.seed, "replay"),
            (3, PATCH_SIZE, PATCH_SIZE),
        )
        return RestoreDQN(
            network,
            optimizer,
            self.replay,
            settings,
            n_tools + settings.stop,
            stream(settings.seed, "policy"),
            lambda seen: observe(*seen, n_tools),
        )

    @property
    def _trained(self) -> Trained:
        return Trained(self.toolbox, self.agent.model)

    def block(self, until: int) -> Record:
        """Run whole episodes; the record has means over them."""
        agent, first = self.agent, self.episodes
        rewards, lengths = 0.0, agent.t
        while agent.t < until:
            rewards += self._episode()
        self.done, count = agent.t, self.episodes - first
        return {
            "episode": self.episodes,
            "reward": rewards / count,
            "length": (agent.t - lengths) / count,
            "loss": agent.average_loss,
            "updates": agent.optimizer.t,
            "average_q": agent.average_q,
            "epsilon": agent.explorer.epsilon,
            "learning_rate": learning_rate(self.rules, agent.t),
        }

    def _episode(self) -> float:
        """Restore one patch and learn on the way; return the sum of its rewards."""
        agent, env, seed = self.agent, self.env, self.rules.seed
        agent.explorer.rng = stream(seed, "policy", self.episodes)
        self.replay.rng = stream(seed, "replay", self.episodes)
        seen = env.reset(self.patches.pair(self.episodes))
        total, reward, done = 0.0, 0.0, False
        while not done:
            seen, reward, done = env.step(agent.act_and_train(seen, reward))
            total += reward
        agent.stop_episode_and_train(seen, reward, True)
        self.episodes += 1
        return total

    def validate(self) -> Record:
        """Mean PSNR of fixed patches of training images, before and after their toolchains."""
        scores = score_chains(self._trained, self.validation, self.rules.t_max, self.device)
        return scores.means("validation_")

    def save(self, record: Record) -> None:
        """Save the weights, if they are the best so far, and a checkpoint."""
        score, agent = record.get("validation_psnr_output", -np.inf), self.agent
        if self.improves(score):
            save_trained(self._trained, self.folder / "weights", self.done)
        self.store.save(agent.model, agent.optimizer, self.done, score, self._save_rest)

    def score(self) -> Record:
        """Score the best agent beside every single tool."""
        pairs = self.scored.batch(0, self.rules.validation)
        best = load_trained(self.folder / "weights")
        return held_out_scores(best, pairs, self.rules.t_max, self.device)

    def _save_rest(self, folder: Path) -> None:
        save_network(network_arrays(self.agent.target_model), folder / "target.npz")
        self.replay.save(folder / "replay.npz")
        names = ("average_q", "average_loss")
        progress = {"episodes": self.episodes, **{n: getattr(self.agent, n) for n in names}}
        write_json(folder / "progress.json", progress)

    def _resume(self, folder: Path) -> None:
        """Load what CheckpointStore does not know of."""
        try:
            assign(self.agent.target_model, read_npz(folder / "target.npz"), folder / "target.npz")
            progress = json.loads((folder / "progress.json").read_text())
            self.episodes = int(progress["episodes"])
            self.agent.average_q = float(progress["average_q"])
            self.agent.average_loss = float(progress["average_loss"])
        except (OSError, ValueError, KeyError, TypeError, WeightsError) as error:
            raise CheckpointError(f"{folder}: damaged checkpoint ({reason(error)})") from error
        self.replay.load(folder / "replay.npz")
        self.agent.t = self.done


WIDE = {"contrast": 4.0, "features": 1.0, "values": 0.1, "value": 1.0}
"""Factor of the first kernels, deviations of the two linear layers, first value of every tool."""


def widen(network: QNetwork) -> None:
    """Give a network initial weights from which it learns in minutes what images differ in.

    Its first kernels look at differences, not at brightness; features of images differ by about
    as much as the LSTM can tell; and values begin near the gain of a good toolchain in decibels,
    for on the long way from zero Adam lets all features grow together until the LSTM is saturated.
    """
    kernels = network.features.l1.W.array
    kernels -= kernels.mean(axis=(1, 2, 3), keepdims=True)
    kernels *= WIDE["contrast"]
    for layer, name in ((network.features.l7, "features"), (network.values, "values")):
        layer.W.array *= WIDE[name] / layer.W.array.std()
    network.values.b.array[: network.n_tools] = WIDE["value"]
