"""Roll-outs and scores: protocols, seeds, augmentation, and rows of Table II without training."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import chainer
import numpy as np
import pytest
import small

from pixelrl_chainer.agent import PixelwiseA2C
from pixelrl_chainer.backend import CPU
from pixelrl_chainer.config import build, override
from pixelrl_chainer.datasets import DATASETS, open_dataset
from pixelrl_chainer.degradations import gaussian_noise
from pixelrl_chainer.env import PixelEnv, make_env
from pixelrl_chainer.errors import ConfigError, WeightsError
from pixelrl_chainer.evaluate import (
    RandomAgents,
    augmented_rollout,
    evaluate,
    rollout,
    starts,
    summarise,
)
from pixelrl_chainer.images import list_images, read_image, write_image
from pixelrl_chainer.imagesets import ImageSet
from pixelrl_chainer.metrics import Metric, psnr, ssim
from pixelrl_chainer.provenance import versions
from pixelrl_chainer.results import (
    describe_data,
    fingerprint,
    is_reference,
    load_policy,
    not_comparable,
    published,
    run_evaluation,
)
from pixelrl_chainer.rng import stream
from pixelrl_chainer.settings import EvalConfig, LossConfig
from pixelrl_chainer.tasks import TASKS, make_task
from pixelrl_chainer.weights import load_network

OFFICIAL = "weights/official/denoise_with_convGRU_and_RMC/model/pretrained_25.npz"


@pytest.fixture
def env() -> PixelEnv:
    return make_env(build())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return open_dataset(small.photographs(tmp_path_factory.mktemp("photographs")), "test")


@pytest.fixture(scope="module")
def bsd68(shared: Path) -> ImageSet:
    return open_dataset(shared / "data/bsd68/test", "test")


class LocalAgents:
    """Choose by what a pixel looks like, so that turning the image turns the actions."""

    rng = np.random.default_rng(0)

    def act(self, obs: np.ndarray) -> np.ndarray:
        return (np.abs(obs[:, 0]) * 1e4).astype(np.int32) % 9

    def stop_episode(self) -> None:
        pass


class CornerAgents(LocalAgents):
    """Brighten the top left pixel of whatever is seen."""

    def __init__(self, env: PixelEnv) -> None:
        self.names = env.actions.names
        self.seen: list[np.ndarray] = []

    def act(self, obs: np.ndarray) -> np.ndarray:
        self.seen.append(obs[0, 0].copy())
        maps = np.full((len(obs), *obs.shape[2:]), self.names.index("nothing"), np.int32)
        maps[:, 0, 0] = self.names.index("plus")
        return maps


class Diary(LocalAgents):
    """Note when an episode starts and ends, and optionally fail in the middle."""

    def __init__(self, fail: bool = False) -> None:
        self.calls: list[str] = []
        self.fail = fail

    def act(self, obs: np.ndarray) -> np.ndarray:
        self.calls.append("act")
        if self.fail and len(self.calls) == 3:
            raise RuntimeError("in the middle")
        return super().act(obs)

    def stop_episode(self) -> None:
        self.calls.append("stop")


def noisy(shape: tuple[int, ...] = (2, 1, 9, 12)) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.1, 1.1, shape).astype(np.float32)


def test_rollout_equals_the_loop_written_out(env: PixelEnv) -> None:
    start = noisy()
    result = rollout(LocalAgents(), env, start, record=True)
    state = start
    np.testing.assert_array_equal(result.states[0], start)
    for actions, after in zip(result.action_maps, result.states[1:], strict=True):
        np.testing.assert_array_equal(actions, LocalAgents().act(state))
        state = env.actions.apply(state, actions)
        np.testing.assert_array_equal(after, state)
    np.testing.assert_array_equal(result.output, state)
    assert len(result.action_maps) == env.steps


def test_rollout_keeps_nothing_unless_asked(env: PixelEnv) -> None:
    result = rollout(LocalAgents(), env, noisy())
    assert result.states == result.action_maps == []
    np.testing.assert_array_equal(
        result.output, rollout(LocalAgents(), env, noisy(), record=True).output
    )


def test_rollout_of_nobody(env: PixelEnv) -> None:
    start = noisy()
    result = rollout(None, env, start, record=True)
    assert result.output is start
    assert len(result.states) == 1


def test_rollout_starts_and_ends_an_episode(env: PixelEnv) -> None:
    diary = Diary()
    rollout(diary, env, noisy())
    assert diary.calls == ["stop", *["act"] * env.steps, "stop"]


def test_rollout_forgets_the_episode_after_an_error(env: PixelEnv) -> None:
    diary = Diary(fail=True)
    with pytest.raises(RuntimeError, match="in the middle"):
        rollout(diary, env, noisy())
    assert diary.calls[-1] == "stop"


def test_augmentation_does_nothing_to_agents_that_turn_with_the_image(env: PixelEnv) -> None:
    """One step of symmetric filters; sums in another order differ by a few float32 roundings."""
    env.steps = 1
    start = noisy((1, 1, 9, 12))
    expected = rollout(LocalAgents(), env, start).output
    np.testing.assert_allclose(
        augmented_rollout(LocalAgents(), env, start), expected, rtol=0, atol=2e-6
    )


def test_augmentation_shows_eight_views_and_undoes_each(env: PixelEnv) -> None:
    """Every corner is the top left one of two views, and is brightened in just those."""
    start = noisy((1, 1, 4, 6))
    agents = CornerAgents(env)
    output = augmented_rollout(agents, env, start)
    views = agents.seen[:: env.steps]
    assert len({(view.shape, view.tobytes()) for view in views}) == 8
    assert sorted(view.shape for view in views) == [(4, 6)] * 4 + [(6, 4)] * 4
    expected = start.copy()
    for row in (0, -1):
        for column in (0, -1):
            expected[..., row, column] += 2 / 8 * env.steps / 255
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-6)


def test_augmentation_of_nobody_is_the_input(env: PixelEnv) -> None:
    # A float32 sum of eight values near 1 is off by up to 1e-6, its mean by an eighth of that.
    np.testing.assert_allclose(augmented_rollout(None, env, noisy()), noisy(), rtol=0, atol=2e-7)


def test_random_agents_draw_every_action_equally_often() -> None:
    """Five standard errors of the count of one of nine equal shares."""
    agents = RandomAgents(9, np.random.default_rng(0))
    maps = agents.act(np.zeros((4, 3, 100, 120), np.float32))
    assert maps.shape == (4, 100, 120)
    assert maps.dtype == np.int32
    share = np.bincount(maps.ravel(), minlength=9) / maps.size
    assert np.abs(share - 1 / 9).max() < 5 * math.sqrt(1 / 9 * 8 / 9 / maps.size)
    again = RandomAgents(9, np.random.default_rng(0)).act(np.zeros((4, 3, 100, 120), np.float32))
    np.testing.assert_array_equal(maps, again)


def test_official_noise_runs_through_the_images(env: PixelEnv, images: ImageSet) -> None:
    np.random.seed(3)
    for index, (corrupted, clean) in enumerate(starts(env.task, images, 3, "official", 3)):
        np.testing.assert_array_equal(clean[0], images.load(index))
        noise = np.random.normal(0, 25.0, clean.shape).astype(np.float32) / 255
        np.testing.assert_array_equal(corrupted, clean + noise)


def test_kair_noise_begins_anew_for_each_image(env: PixelEnv, images: ImageSet) -> None:
    for corrupted, clean in starts(env.task, images, 3, "kair", 3):
        expected = gaussian_noise(clean, np.random.RandomState(3), 25.0)
        np.testing.assert_array_equal(corrupted, expected)


def test_corruption_leaves_the_images_alone(env: PixelEnv, images: ImageSet) -> None:
    before = [images.load(index) for index in range(2)]
    list(starts(env.task, images, 0, "official", 2))
    for index in range(2):
        np.testing.assert_array_equal(images.load(index), before[index])


def scores(result: dict[str, Any], seed: int | None = None) -> dict[str, float]:
    return {r["name"]: r["psnr"] for r in result["images"] if seed in (None, r["seed"])}


@pytest.mark.parametrize("protocol", ["official", "kair"])
def test_evaluate(env: PixelEnv, images: ImageSet, protocol: str) -> None:
    """Every figure is that of the roll-out on the corrupted image."""
    config = EvalConfig(seeds=(4,), protocol=protocol)
    result = evaluate(LocalAgents(), env, images, config)
    assert [row["name"] for row in result["images"]] == ["photo0", "photo1", "photo2", "photo3"]
    pairs = list(starts(env.task, images, 4, protocol, 4))
    for row, (corrupted, clean) in zip(result["images"], pairs, strict=True):
        output = rollout(LocalAgents(), env, corrupted).output
        assert row["psnr"] == psnr(output[0], clean[0])
        assert row["ssim"] == ssim(output[0], clean[0])
        assert row["seconds"] > 0
        assert row["seed"] == 4
    values = [row["psnr"] for row in result["images"]]
    assert result["psnr"]["mean"] == pytest.approx(np.mean(values), abs=1e-12)
    assert result["psnr"]["std"] == pytest.approx(np.std(values), abs=1e-12)


def test_evaluate_several_seeds(env: PixelEnv, images: ImageSet) -> None:
    agents = RandomAgents(9, np.random.default_rng(99))
    together = evaluate(agents, env, images, EvalConfig(seeds=(0, 5)))
    for seed in (0, 5):
        alone = evaluate(agents, env, images, EvalConfig(seeds=(seed,)))
        assert scores(together, seed) == scores(alone)
    assert scores(together, 0) != scores(together, 5)
    assert len(together["images"]) == 8
    assert len(together["psnr"]["seeds"]) == 2


def test_evaluate_gives_each_image_and_seed_its_own_stream(env: PixelEnv, images: ImageSet) -> None:
    """So a score does not depend on what was evaluated before."""
    drawn: list[float] = []

    class Drawing(LocalAgents):
        def act(self, obs: np.ndarray) -> np.ndarray:
            drawn.append(self.rng.random())
            return super().act(obs)

    env.steps = 1
    evaluate(Drawing(), env, images, EvalConfig(seeds=(0, 5), limit=2))
    expected = [stream(seed, "eval", index).random() for seed in (0, 5) for index in (0, 1)]
    assert drawn == expected


def test_evaluate_limit_takes_the_first(env: PixelEnv, images: ImageSet) -> None:
    """And an image's score does not depend on how many follow."""
    calls: list[None] = []
    agents = RandomAgents(9, np.random.default_rng(0))
    every = evaluate(agents, env, images, EvalConfig())
    first = evaluate(agents, env, images, EvalConfig(limit=2), advance=lambda: calls.append(None))
    assert len(calls) == len(first["images"]) == 2
    assert scores(first).items() <= scores(every).items()
    assert len(evaluate(None, env, images, EvalConfig(limit=99))["images"]) == 4


def test_evaluate_augmented(env: PixelEnv, images: ImageSet) -> None:
    result = evaluate(LocalAgents(), env, images, EvalConfig(augment=True, limit=1))
    ((corrupted, clean),) = starts(env.task, images, 0, "official", 1)
    expected = psnr(augmented_rollout(LocalAgents(), env, corrupted)[0], clean[0])
    assert result["images"][0]["psnr"] == expected


def test_summarise() -> None:
    """Two seeds by three images, worked out by hand."""
    summary = summarise([1, 2, 3, 3, 4, 5], 2)
    assert summary["mean"] == 3
    assert summary["seeds"] == [2, 4]
    assert summary["std_over_seeds"] == 1
    assert summary["std"] == pytest.approx(math.sqrt(2 / 3))  # of 2, 3, 4


def test_policies(tmp_path: Path, images: ImageSet) -> None:
    """Greedy needs no seed; samples follow the seed of the evaluation and are something else."""
    weights = small.network(tmp_path / "net.npz")
    results = {}
    for policy in ("greedy", "sample"):
        config = build(changes={"eval.policy": policy, "eval.limit": 2})
        once, again = (scores(run_evaluation(config, "network", weights, images)) for _ in "ab")
        assert once == again
        results[policy] = once
    assert results["greedy"] != results["sample"]


def test_run_evaluation_says_where_the_figures_come_from(tmp_path: Path, images: ImageSet) -> None:
    weights = small.network(tmp_path / "net.npz", "convgru")
    config = build(changes={"eval.limit": 1, "task.level": 15})
    result = run_evaluation(config, "network", weights, images)
    assert (result["task"], result["agent"], result["row"]) == (
        "denoise-gaussian",
        "network",
        "convgru",
    )
    assert result["level"] == {"sigma": 15.0}
    assert result["published"] == {"psnr": 31.26, "ssim": None}
    assert result["weights"] == str(weights)
    assert result["weights_sha256"] == fingerprint(weights)
    assert result["config"] == override(config, {"network.variant": "convgru"}).to_dict()
    assert result["versions"] == versions()
    assert result["device"] == "cpu"
    assert result["seconds"] > 0
    assert result["peak_memory_bytes"] > 2**20


def test_weights_of_other_agents_are_not_recorded(tmp_path: Path, images: ImageSet) -> None:
    config = build(changes={"eval.limit": 1})
    result = run_evaluation(config, "random", tmp_path / "unused.npz", images)
    assert result["weights"] is result["weights_sha256"] is None
    assert result["row"] == "random"


def test_augmented_rows_have_their_own_published_number(images: ImageSet) -> None:
    config = build(changes={"eval.augment": True, "eval.limit": 1})
    result = run_evaluation(config, "none", None, images)
    assert result["row"] == "none+aug"
    assert result["published"]["psnr"] is None


def test_run_evaluation_refuses(tmp_path: Path, images: ImageSet) -> None:
    config = build()
    with pytest.raises(ConfigError, match="no weights given"):
        run_evaluation(config, "network", None, images)
    with pytest.raises(ConfigError, match="unknown agent 'nobody': expected one of network, "):
        run_evaluation(config, "nobody", None, images)
    with pytest.raises(WeightsError, match="found none"):
        run_evaluation(config, "network", tmp_path / "missing.npz", images)
    wrong = small.network(tmp_path / "four.npz", actions=4)
    with pytest.raises(WeightsError, match="9 actions expected by denoise-gaussian, found 4"):
        run_evaluation(config, "network", wrong, images)
    wrong = small.network(tmp_path / "colour.npz", channels=3)
    with pytest.raises(WeightsError, match="1 input channels expected .* found 3"):
        run_evaluation(config, "network", wrong, images)
    plain = small.network(tmp_path / "plain.npz")
    with pytest.raises(WeightsError, match="variant convgru expected, found plain"):
        run_evaluation(config, "network", plain, images, variant="convgru")


def test_what_is_comparable(bsd68: ImageSet) -> None:
    for changes in ({}, {"eval.limit": 68}, {"task.actions": "denoise-basic"}):
        assert reasons(bsd68, changes) == []


def reasons(images: ImageSet, changes: dict[str, Any]) -> list[str]:
    config = build(changes=changes)
    return not_comparable(config, make_task(config), images)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"eval.limit": 3}, "only the first 3 of the 68 images"),
        ({"eval.protocol": "kair"}, "noise protocol kair"),
        ({"eval.policy": "sample"}, "sampled instead of most probable actions"),
        ({"task.steps": 4}, "4 steps"),
    ],
)
def test_what_is_not_comparable(bsd68: ImageSet, changes: dict[str, Any], reason: str) -> None:
    assert reasons(bsd68, changes) == [reason]


def test_other_images_of_the_same_names_are_not_comparable(shared: Path, bsd68: ImageSet) -> None:
    text = open_dataset(shared / "data/bsd68/test_text", "test")
    assert text.names == bsd68.names
    for images in (text, ImageSet(bsd68.paths[::-1]), ImageSet(bsd68.paths[:5])):
        assert not is_reference(images, "bsd68")
        assert reasons(images, {}) == [f"{len(images)} images other than those of bsd68"]
    assert is_reference(bsd68, "bsd68")
    assert not is_reference(bsd68, "bundled")


def test_departures_of_a_task_are_reasons(bsd68: ImageSet) -> None:
    task = replace(TASKS["denoise-gaussian"], departures=("another rule",))
    assert not_comparable(build(), task, bsd68) == ["another rule"]


def test_steps_that_are_the_level_are_comparable(bsd68: ImageSet) -> None:
    task = replace(TASKS["denoise-gaussian"], steps=10, level_name="steps", level=10)
    assert not_comparable(build(), task, bsd68) == []


def test_reference_without_checksums(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A set whose files are not registered is known by its place on this machine."""
    folder = small.photographs(tmp_path / "own")
    entry = replace(
        DATASETS["bundled"],
        find=lambda: folder,
        open=lambda root, split, read: open_dataset(root, split),
    )
    monkeypatch.setitem(DATASETS, "own", entry)
    assert is_reference(open_dataset("own", "test"), "own")
    copied = open_dataset(small.photographs(tmp_path / "other"), "test")
    assert not is_reference(copied, "own")
    monkeypatch.setitem(DATASETS, "own", replace(entry, find=lambda: None))
    assert not is_reference(open_dataset(folder, "test"), "own")
    assert not is_reference(copied, "unknown")


def test_action_sets_of_table_iii_have_published_numbers(images: ImageSet) -> None:
    for actions, expected in (
        ("denoise-basic", 27.60),
        ("denoise-bilateral", 27.81),
        ("denoise-pixel", 28.25),
        ("denoise", 28.83),
        (None, 28.83),
    ):
        config = build(changes={"task.actions": actions})
        assert published(config, make_task(config), "convgru")["psnr"] == expected
    config = build(changes={"task.actions": "denoise-basic", "eval.limit": 1})
    assert run_evaluation(config, "random", None, images)["published"]["psnr"] is None


def test_what_the_data_were(tmp_path: Path) -> None:
    assert describe_data(build(changes={"data.test": ["Bundled"]})) == {
        "sets": ["Bundled"],
        "substitute": True,
    }
    own = build(changes={"data.test": [str(tmp_path)]})
    assert describe_data(own) == {"sets": [str(tmp_path)], "substitute": False}


def test_colour_is_three_gray_images(tmp_path: Path) -> None:
    """Every channel on its own: as the three gray images with the same noise."""
    color = small.texture(0, 20, 24, channels=3)
    write_image(tmp_path / "a.png", color)
    images = open_dataset(tmp_path, "test", read=read_image)
    env = make_env(build())
    ((start, target),) = starts(env.task, images, 0, "official", 1)
    noisy = gaussian_noise(images.load(0)[None], np.random.RandomState(0), 25.0)
    outputs = [
        rollout(LocalAgents(), env, noisy[:, channel : channel + 1]).output[0, 0]
        for channel in range(3)
    ]
    np.testing.assert_array_equal(env.task.planes(start), noisy[0])
    result = evaluate(LocalAgents(), env, images, EvalConfig())
    output, clean = np.stack(outputs), images.load(0)
    np.testing.assert_array_equal(env.task.planes(target), clean)
    assert result["psnr"]["mean"] == psnr(output, clean)
    assert result["ssim"]["mean"] == ssim(output, clean)


def test_a_task_that_observes_its_target(images: ImageSet) -> None:
    """Evaluation and its augmentation show it, turned with the image."""
    seen: list[np.ndarray] = []

    class Noting(LocalAgents):
        def act(self, obs: np.ndarray) -> np.ndarray:
            seen.append(obs)
            return super().act(obs)

    def observe(state: np.ndarray, target: np.ndarray | None) -> np.ndarray:
        assert target is not None
        return np.concatenate([state, target], axis=1)

    task = replace(
        TASKS["denoise-gaussian"],
        observe=observe,
        observes_target=True,
        channels=2,
        steps=1,
        degrade=lambda clean, rng, level: clean,
    )
    for augment in (False, True):
        evaluate(Noting(), PixelEnv(task), images, EvalConfig(limit=1, augment=augment))
    assert len(seen) == 9
    for views in seen:
        np.testing.assert_array_equal(views[:, 0], views[:, 1])
    np.testing.assert_array_equal(seen[0][0, 1], images.load(0)[0])


def test_pairs_are_evaluated_as_they_are(tmp_path: Path) -> None:
    stack = small.texture(0, 12, 14, channels=2)
    write_image(tmp_path / "a.png", stack[..., 0])
    images = ImageSet([tmp_path / "a.png"], read=lambda path: stack.copy(), paired=True)
    env = PixelEnv(replace(TASKS["denoise-gaussian"], degrade=None))
    start, target = images.load(0)[:1], images.load(0)[1:]
    result = evaluate(None, env, images, EvalConfig(seeds=(0, 1)))
    assert result["psnr"]["seeds"] == [psnr(start, target)] * 2
    assert result["images"][0]["ssim"] == ssim(start, target)


def test_metrics_know_the_first_state(images: ImageSet) -> None:
    """Such as the similarity to the input."""
    gain = Metric("gain", "gain", 3, True, lambda output, target, start: psnr(output, start))
    task = replace(TASKS["denoise-gaussian"], metrics=(gain,))
    result = evaluate(LocalAgents(), PixelEnv(task), images, EvalConfig(limit=1))
    ((start, _),) = starts(task, images, 0, "official", 1)
    output = rollout(LocalAgents(), PixelEnv(task), start).output
    assert result["gain"]["mean"] == psnr(output[0], start[0])
    assert set(result) == {"gain", "images"}


@pytest.mark.parametrize(
    ("task", "level", "expected"),
    [
        ("denoise-gaussian", 15, 24.80),  # measured; the paper prints none
        ("denoise-gaussian", 25, 20.48),
        ("denoise-gaussian", 50, 14.91),
        ("denoise-poisson", 120, 24.82),  # measured; the paper prints none
        ("denoise-poisson", 30, 18.97),
        ("denoise-poisson", 10, 14.52),
        ("denoise-saltpepper", 0.1, 15.08),
        ("denoise-saltpepper", 0.5, 8.10),
        ("denoise-saltpepper", 0.9, 5.55),
    ],
)
def test_input_rows_of_the_paper(bsd68: ImageSet, task: str, level: float, expected: float) -> None:
    """Within 0.02 dB of the paper for any seed: the mean of 68 images varies by 0.002 dB."""
    at_level = replace(TASKS[task], level=level)
    pairs = starts(at_level, bsd68, 1, "official", len(bsd68))
    found = np.mean([psnr(corrupted[0], clean[0]) for corrupted, clean in pairs])
    assert found == pytest.approx(expected, abs=0.02)
    assert at_level.published("psnr", "none") in (None, expected)


@pytest.mark.slow
def test_random_row_of_the_paper(bsd68: ImageSet) -> None:
    """All 68 images, through everything that ``eval --agent random`` does."""
    result = run_evaluation(build(), "random", None, bsd68)
    assert result["published"]["psnr"] == 24.30
    assert result["psnr"]["mean"] == pytest.approx(24.30, abs=0.05)
    assert result["not_comparable"] == []


@pytest.mark.official
def test_greedy_roll_out_is_that_of_the_agent(shared: Path, bsd68: ImageSet, env: PixelEnv) -> None:
    """The policy that evaluation loads acts as the trained agent does, and it denoises."""
    clean = bsd68.load(0)[None, :, 100:164, 100:164]
    start = gaussian_noise(clean, np.random.RandomState(0), 25.0)
    policy = load_policy(build(), shared / OFFICIAL, env, CPU)
    output = rollout(policy, env, start).output

    model = load_network(shared / OFFICIAL)
    optimizer = chainer.optimizers.Adam()
    optimizer.setup(model)
    agent = PixelwiseA2C(model, optimizer, loss=LossConfig(), t_max=5, rng=np.random.default_rng(0))
    observations, done = env.reset(start), False
    while not done:
        observations, _, done = env.step(agent.act(observations))
    np.testing.assert_array_equal(observations, output)
    # 28.84 dB is the mean of whole images; this crop is a textured one.
    assert psnr(output[0], clean[0]) > psnr(start[0], clean[0]) + 3


@pytest.mark.official
def test_batches_do_not_mix(shared: Path, bsd68: ImageSet, env: PixelEnv) -> None:
    """Two images at once give what each gives alone, hidden maps included."""
    clean = np.stack([bsd68.load(i)[:, :24, :24] for i in range(2)])
    start = gaussian_noise(clean, np.random.RandomState(0), 25.0)
    policy = load_policy(build(), shared / OFFICIAL, env, CPU)
    both = rollout(policy, env, start, record=True)
    for index in range(2):
        alone = rollout(policy, env, start[index : index + 1], record=True)
        same = np.mean(
            [a[0] == b[index] for a, b in zip(alone.action_maps, both.action_maps, strict=True)]
        )
        # A rounding of the logits may decide between two equally good actions.
        assert same > 0.995


def test_config_of_the_evaluation_is_frozen() -> None:
    assert replace(EvalConfig(), limit=3) != EvalConfig()


def test_sampling_uses_the_stream_of_the_image(tmp_path: Path, env: PixelEnv) -> None:
    policy = load_policy(
        build(changes={"eval.policy": "sample"}),
        small.network(tmp_path / "net.npz"),
        env,
        CPU,
    )
    start = noisy((1, 1, 12, 12))
    outputs = []
    for index in (0, 0, 1):
        policy.rng = stream(0, "eval", index)
        outputs.append(rollout(policy, env, start).output)
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0] != outputs[2]).any()


def test_names_are_listed_as_published(shared: Path, bsd68: ImageSet) -> None:
    assert bsd68.names[:3] == ("101085", "101087", "102061")
    assert list(bsd68.paths) == list_images(shared / "data/bsd68/test")
