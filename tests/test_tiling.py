"""Large images: the plan of the tiles, its margins, and equality with the whole image."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelrl_chainer.agent import PixelwisePolicy
from pixelrl_chainer.backend import Array, select_device, to_numpy
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.env import PixelEnv, Rollout
from pixelrl_chainer.errors import ConfigError
from pixelrl_chainer.evaluate import RandomAgents, augmented_rollout, evaluate, rollout
from pixelrl_chainer.images import read_gray, to_float
from pixelrl_chainer.models.fcn import VARIANTS, ModelConfig, PixelFCN
from pixelrl_chainer.settings import EvalConfig
from pixelrl_chainer.tasks import TASKS
from pixelrl_chainer.tiling import Tile, blur, grid, margins, plan, tiled_rollout
from pixelrl_chainer.weights import load_network

PLAIN = (1, 2, 3, 4, 3, 2, 1)
RECURRENT = (1, 2, 3, 4, 3, 2, 1, 1, 1)
"""Dilations of the layers before the logits, typed from the description of the networks."""

WHOLE = 0
OFFICIAL = {
    "plain": "denoise/model/pretrained_25.npz",
    "convgru": "denoise_with_convGRU/model/pretrained_25.npz",
    "convgru-rmc": "denoise_with_convGRU_and_RMC/model/pretrained_25.npz",
}

every_variant = pytest.mark.parametrize("variant", VARIANTS)


def environment(steps: int) -> PixelEnv:
    return PixelEnv(replace(TASKS["denoise-gaussian"], steps=steps))


def network(variant: str = "convgru", **options: Any) -> PixelFCN:
    return PixelFCN(ModelConfig(variant, **options), np.random.default_rng(0))


def noisy(*shape: int) -> Array:
    """Smooth images with noise, on which a random network chooses many different actions."""
    batch, channels, height, width = shape
    rng = np.random.default_rng(0)
    clean = [small.texture(n, height, width) for n in range(batch * channels)]
    noise = rng.normal(0, 25, shape)
    return ((np.stack(clean).reshape(shape) + noise) / 255).astype(np.float32)


def policy_of(model: PixelFCN, *, greedy: bool = True) -> PixelwisePolicy:
    return PixelwisePolicy(model, np.random.default_rng(5), act_deterministically=greedy)


def both(model: PixelFCN, images: Array, steps: int, tile: int, **options: Any) -> list[Rollout]:
    """The roll-out of whole images, and the one in tiles; both leave the generator alike."""
    env, (first, second) = environment(steps), (policy_of(model, **options) for _ in "ab")
    assert len(plan(*images.shape[2:], tile, steps, model.dilations)) > 1
    results = [
        rollout(first, env, images, record=True, tile=WHOLE),
        tiled_rollout(second, env, images, tile, record=True),
    ]
    assert first.rng.bit_generator.state == second.rng.bit_generator.state
    assert model.get_state() is None
    return results


def assert_equal(results: list[Rollout]) -> None:
    whole, tiled = results
    assert len(whole.states) == len(tiled.states) == len(whole.action_maps) + 1
    for expected, found in zip(whole.action_maps, tiled.action_maps, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    for expected, found in zip(whole.states, tiled.states, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(tiled.output, whole.output)
    assert all(len(np.unique(chosen)) > 2 for chosen in whole.action_maps)


# The plan.


@every_variant
def test_dilations_of_a_network(variant: str) -> None:
    dilations = network(variant).dilations
    assert dilations == (PLAIN if variant == "plain" else RECURRENT)
    assert sum(dilations) == (16 if variant == "plain" else 18)
    assert grid(dilations) == 48


def test_margins_of_the_published_networks() -> None:
    """Worked out by hand: 18 pixels a step, 32 with the last bits, in steps of 48."""
    assert blur(0, RECURRENT) == 32
    assert margins(1, RECURRENT) == [48, 0]
    assert margins(5, RECURRENT) == [144, 96, 96, 96, 48, 0]
    assert margins(5, PLAIN) == [144, 96, 96, 48, 48, 0]


sides = st.integers(1, 2500)


@settings(deadline=None)
@given(
    height=sides,
    width=sides,
    limit=st.integers(336, 1500),
    steps=st.integers(1, 5),
    dilations=st.sampled_from([PLAIN, RECURRENT]),
)
def test_plan(height: int, width: int, limit: int, steps: int, dilations: tuple[int, ...]) -> None:
    tiles = plan(height, width, limit, steps, dilations)
    owners = np.zeros((height, width), np.uint8)
    for tile in tiles:
        owners[tile.core] += 1
        assert len(tile.windows) == steps + 1
        for axis, size in enumerate((height, width)):
            spans = [window[axis] for window in tile.windows]
            assert spans[0].stop - spans[0].start <= limit or len(tiles) == 1
            for span, margin in zip(spans, margins(steps, dilations), strict=True):
                assert span.start == max(spans[-1].start - margin, 0)
                assert span.stop == min(spans[-1].stop + margin, size)
                assert span.start % 48 == 0
                assert span.stop % 48 == 0 or span.stop == size
    assert (owners == 1).all()
    if max(height, width) <= limit:
        assert len(tiles) == 1


def test_plan_has_no_needless_tiles() -> None:
    assert len(plan(1344, 1344, 1344, 5, RECURRENT)) == 1
    assert len(plan(1344, 1345, 1344, 5, RECURRENT)) == 2
    # Cores of 1344 - 2 * 144 = 1056 pixels.
    assert len(plan(4000, 6000, 1344, 5, RECURRENT)) == 4 * 6


def test_tile_without_room_for_a_core() -> None:
    message = "eval.tile = 335: expected at least 336 pixels for 5 steps, or 0 for every image"
    with pytest.raises(ConfigError, match=message):
        plan(100, 500, 335, 5, RECURRENT)
    assert len(plan(100, 337, 336, 5, RECURRENT)) == 2
    assert len(plan(100, 300, 335, 5, RECURRENT)) == 1


# Margins against a model of the network along a line: which pixels are wrong, layer by layer.


class Line:
    """Spread errors among the pixels of ``span`` in an image line of ``size`` pixels."""

    def __init__(self, size: int, span: slice) -> None:
        self.size, self.span = size, span

    def shifted(self, wrong: Array, offset: int) -> Array:
        """What each pixel finds at ``offset``: wrong if that is cut off, right if no image."""
        place = np.arange(self.size) + offset
        held = (place >= self.span.start) & (place < self.span.stop)
        inside = (place >= 0) & (place < self.size)
        return np.where(held, wrong[np.clip(place, 0, self.size - 1)], inside)

    def layer(self, wrong: Array, dilation: int) -> Array:
        return wrong | self.shifted(wrong, dilation) | self.shifted(wrong, -dilation)

    def bits(self, wrong: Array, dilation: int) -> Array:
        """Where a layer's result differs by a last bit: in the square of every wrong input."""
        place = np.arange(self.size)  # spans begin on the grid
        square = place // (4 * dilation) * dilation + place % dilation
        together = np.bincount(square, wrong) > 0
        return self.layer(wrong, dilation) | together[square]


def spread(
    layer: Callable[[Array, int], Array], image: Array, hidden: Array, recurrent: bool
) -> tuple[Array, Array]:
    """Wrong logits and wrong hidden map after one step, from the equations of the network."""
    x = image
    for dilation in (1, 2, 3, 4, 3, 2):
        x = layer(x, dilation)
    if not recurrent:
        return layer(x, 1), hidden
    gates = layer(x, 1) | layer(hidden, 1)
    candidate = layer(x, 1) | layer(gates | hidden, 1)
    hidden = gates | candidate | hidden
    return layer(hidden, 1), hidden


def wrong_pixels(size: int, tile: Tile, recurrent: bool, accident: int | None) -> Array:
    """Wrong pixels of the core after an episode on ``tile``, columns only.

    In step ``accident`` every pixel whose logits differ by a last bit takes another action; None
    returns the pixels where the logits of the last step differ by a last bit.
    """
    image, hidden, bits = (np.zeros(size, bool) for _ in range(3))
    core = tile.core[1]
    for step, window in enumerate(tile.windows[:-1]):
        line = Line(size, window[1])
        noisy_logits, bits = spread(line.bits, image, bits | hidden, recurrent)
        logits, hidden = spread(line.layer, image, hidden, recurrent)
        image = logits | line.layer(line.layer(image, 1), 1)  # a filter of radius 2
        if step == accident:
            image |= noisy_logits
    return (noisy_logits if accident is None else image)[core]


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 9, 15])
def test_margins_keep_the_core_right(steps: int, recurrent: bool) -> None:
    dilations = RECURRENT if recurrent else PLAIN
    limit = 2 * margins(steps, dilations)[0] + 96
    size = 2 * limit - 5
    tiles = plan(1, size, limit, steps, dilations)
    assert len(tiles) > 2
    for tile in (*tiles[:2], tiles[-1]):
        for accident in (None, *range(steps - 1)):
            assert not wrong_pixels(size, tile, recurrent, accident).any()


@pytest.mark.parametrize("steps", [1, 2, 4, 5])
def test_smaller_margins_would_not(steps: int) -> None:
    """So the model of the network finds what it is there to find."""
    for tile in plan(1, 1500, 900, steps, RECURRENT)[1:-1]:
        spans = [
            slice(max(core.start - m, 0), min(core.stop + m, 1500))
            for core, m in zip([tile.core[1]] * steps, margins(steps, RECURRENT)[:-1], strict=True)
        ]
        first = slice(spans[0].start + 48, spans[0].stop - 48)
        smaller = Tile(tuple((slice(0, 1), s) for s in (first, *spans[1:], tile.core[1])))
        accidents = (None, *range(steps - 1))
        assert any(wrong_pixels(1500, smaller, True, a).any() for a in accidents)


# Margins against the network itself.


def test_pixels_outside_the_margin_do_not_matter() -> None:
    """And some inside do: the margin is not just far too wide."""
    images, env, policy = noisy(1, 1, 150, 500), environment(2), policy_of(network())
    tile = plan(150, 500, 300, 2, RECURRENT)[2]
    held, core = tile.windows[0][1], tile.core[1]
    assert (core.start - held.start, held.stop - core.stop) == (96, 96)

    def core_after(columns: slice) -> Array:
        changed = images.copy()
        changed[..., columns] = np.random.default_rng(1).random(changed[..., columns].shape)
        return rollout(policy, env, changed).output[..., core]

    expected = rollout(policy, env, images).output[..., core]
    np.testing.assert_array_equal(core_after(slice(0, held.start)), expected)
    np.testing.assert_array_equal(core_after(slice(held.stop, None)), expected)
    for distance in (3, 20):  # filters alone would reach 2 and 4 pixels
        assert (core_after(slice(0, core.start - distance)) != expected).any()


def test_last_bits_differ_as_far_as_stated() -> None:
    """Behind a cut on the grid: 32 pixels, though 18 are all that the logits depend on."""
    model, images = network(), noisy(1, 1, 96, 240)
    hidden = np.random.default_rng(0).uniform(-1, 1, (1, 64, 96, 240)).astype(np.float32)
    logits = []
    for start in (0, 96):
        model.set_state(hidden[..., start:])
        logits.append(model.pi(images[..., start:]).logits.array)
    differs = (logits[0][..., 96:] != logits[1]).any(axis=(0, 1, 2))
    assert 18 <= np.flatnonzero(differs).max() < blur(0, RECURRENT)


# Equality.

SHAPES = [
    (1, 1, 100, 370, 288),  # four columns of tiles: two of them cut on both sides
    (1, 1, 250, 245, 240),  # two by two
    (1, 1, 245, 1, 240),
    (2, 1, 60, 290, 256),  # two images, two tiles each
]


@every_variant
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equal_to_the_whole_image(variant: str, shape: tuple[int, ...]) -> None:
    *size, tile = shape
    assert_equal(both(network(variant), noisy(*size), 2, tile))


def test_sampled_actions_are_those_of_the_whole_image() -> None:
    assert_equal(both(network(), noisy(2, 1, 60, 290), 2, 256, greedy=False))


def test_colour_as_one_image() -> None:
    model = network("convgru", in_channels=3)
    assert_equal(both(model, noisy(1, 3, 50, 200), 1, 160))


def test_a_batch_that_is_too_large_is_processed_image_by_image() -> None:
    """Nothing is cut: each of the images is small."""
    seen: list[tuple[int, ...]] = []

    class Watched(PixelwisePolicy):
        def act(self, obs: Array) -> Array:
            seen.append(obs.shape)
            return super().act(obs)

    images = noisy(3, 1, 96, 144)
    results = []
    for tile in (WHOLE, 150):
        watched = Watched(network(), np.random.default_rng(0), act_deterministically=False)
        results.append(rollout(watched, environment(2), images, record=True, tile=tile))
    assert seen == [(3, 1, 96, 144)] * 2 + [(1, 1, 96, 144)] * 6
    assert_equal(results)


@pytest.mark.official
@pytest.mark.slow
@every_variant
def test_published_networks(shared: Path, variant: str) -> None:
    """A whole episode on a natural image."""
    model = load_network(shared / "weights/official" / OFFICIAL[variant])
    clean = to_float(read_gray(shared / "data/bsd68/test/101085.jpg"))[None, None, :370]
    noise = np.random.default_rng(0).normal(0, 25 / 255, clean.shape)
    assert_equal(both(model, (clean + noise).astype(np.float32), 5, 336))


@pytest.mark.slow
def test_stock_convolutions() -> None:
    """Chainer's matrix products round by the size of the image: few equally good actions swap."""
    model = PixelFCN(ModelConfig("convgru"), np.random.default_rng(0), stock=True)
    whole, tiled = both(model, noisy(1, 1, 60, 260), 2, 240)
    for step in range(2):
        assert (whole.action_maps[step] == tiled.action_maps[step]).mean() > 0.999
    same = whole.action_maps[0] == tiled.action_maps[0]
    np.testing.assert_array_equal(whole.states[1][:, 0][same], tiled.states[1][:, 0][same])


@pytest.mark.gpu
def test_gpu() -> None:
    device = select_device("gpu")
    model = network()
    model.to_device(device.chainer_name)
    with device.use():
        whole, tiled = both(model, device.send(noisy(1, 1, 60, 260)), 2, 240)
    for expected, found in zip(whole.action_maps, tiled.action_maps, strict=True):
        assert (to_numpy(expected) == to_numpy(found)).mean() > 0.99


# Around it.


def test_augmentation_in_tiles() -> None:
    images, env, policy = noisy(1, 1, 150, 150), environment(1), policy_of(network("plain"))
    expected = augmented_rollout(policy, env, images, tile=WHOLE)
    found = augmented_rollout(policy, env, images, tile=144)
    np.testing.assert_array_equal(found, expected)


def test_evaluation_in_tiles(tmp_path: Path) -> None:
    photographs = open_dataset(small.photographs(tmp_path, 1, 100, 250), "test")
    env, policy = environment(1), policy_of(network("plain"))
    scores = [
        evaluate(policy, env, photographs, EvalConfig(tile=tile))["psnr"]["mean"]
        for tile in (WHOLE, 144)
    ]
    assert scores[0] == scores[1]


def test_other_agents_need_no_tiles() -> None:
    images, env = noisy(1, 1, 20, 30), environment(2)
    outputs = [
        rollout(RandomAgents(9, np.random.default_rng(0)), env, images, tile=tile).output
        for tile in (WHOLE, 1)
    ]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert rollout(None, env, images, tile=1).output is images


def test_small_images_are_processed_in_one_piece() -> None:
    """By their pixels: a side may be longer."""
    images = noisy(1, 1, 10, 400)
    shapes = []

    class Watched(PixelwisePolicy):
        def act(self, obs: Array) -> Array:
            shapes.append(obs.shape)
            return super().act(obs)

    rollout(Watched(network(), np.random.default_rng(0)), environment(2), images, tile=64)
    assert shapes == [images.shape] * 2


def test_nothing_is_recorded_unless_asked() -> None:
    result = tiled_rollout(policy_of(network()), environment(1), noisy(1, 1, 20, 200), 144)
    assert result.states == result.action_maps == []


def test_progress_counts_steps_of_tiles() -> None:
    work: list[tuple[int, str]] = []
    done: list[int] = []

    @contextmanager
    def progress(total: int, description: str, initial: int = 0) -> Iterator[Callable[..., Any]]:
        work.append((total, description))
        yield lambda: done.append(1)

    images = noisy(2, 1, 20, 260)
    policy, env = policy_of(network("plain")), environment(2)
    tiled_rollout(policy, env, images, 240, progress=progress)
    tiles = len(plan(20, 260, 240, 2, PLAIN))
    assert tiles > 1
    assert work == [(2 * tiles * 2, "tiles")]
    assert len(done) == 2 * tiles * 2
    rollout(policy, env, images, progress=progress)
    assert len(work) == 1, "no bar without tiles"


def test_an_interruption_leaves_the_policy_as_it_was() -> None:
    @contextmanager
    def progress(total: int, description: str, initial: int = 0) -> Iterator[Callable[..., Any]]:
        def interrupt() -> None:
            raise KeyboardInterrupt

        yield interrupt

    policy = policy_of(network())
    rng = policy.rng
    with pytest.raises(KeyboardInterrupt):
        tiled_rollout(policy, environment(2), noisy(1, 1, 20, 260), 240, progress=progress)
    assert policy.rng is rng
    assert policy.model.get_state() is None


def test_memory_is_that_of_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four maps of 64 channels, of the image or of a tile; of an earlier tile nothing is left."""
    monkeypatch.setattr("pixelrl_chainer.kernels.threads.thread_count", lambda: 1)
    images, env, policy = noisy(1, 1, 480, 480), environment(2), policy_of(network())
    peaks = []
    for tile in (WHOLE, 336):
        rollout(policy, env, images[..., :48, :48], tile=tile)
        tracemalloc.start()
        rollout(policy, env, images, tile=tile)
        side = tile or 480
        peaks.append(tracemalloc.get_traced_memory()[1] / (side * side * 64 * 4))
        tracemalloc.stop()
    # Images, actions and the buffers of a thread come to it.
    assert 4 <= peaks[0] < 4.5
    assert 3 <= peaks[1] < 4.5
