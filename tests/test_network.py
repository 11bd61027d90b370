"""The network: layout, initial weights, what it sees, what it computes, its recurrent unit."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import chainer
import numpy as np
import pytest
from chainerrl.agents.a3c import A3CModel
from chainerrl.recurrent import Recurrent, state_kept, state_reset

from pixelrl_chainer.agent import PixelwisePolicy
from pixelrl_chainer.backend import Array
from pixelrl_chainer.kernels import gru as fused
from pixelrl_chainer.models import blocks
from pixelrl_chainer.models.fcn import VARIANTS, ModelConfig, PixelFCN
from pixelrl_chainer.ranges import CHOICES
from pixelrl_chainer.weights import network_arrays

TRUNK = {"conv1": (64, 1), **dict.fromkeys(("diconv2/diconv", "diconv3/diconv"), (64, 64))}
TRUNK["diconv4/diconv"] = (64, 64)
BRANCHES = {f"diconv{i}_{branch}/diconv": (64, 64) for i in (5, 6) for branch in ("pi", "V")}
COMMON = {**TRUNK, **BRANCHES, "conv7_V": (1, 64)}
GRU = {f"conv7_{name}": (64, 64) for name in ("Wz", "Uz", "Wr", "Ur", "W", "U")}
COUNTS = {"plain": 20, "convgru": 26, "convgru-rmc": 27}

every_variant = pytest.mark.parametrize("variant", VARIANTS)
recurrent = pytest.mark.parametrize("variant", ["convgru", "convgru-rmc"])


def network(variant: str = "convgru", seed: int = 0, *, stock: bool = False) -> PixelFCN:
    """A network with random biases too, so that a forgotten or swapped one is noticed."""
    rng = np.random.default_rng(seed)
    model = PixelFCN(ModelConfig(variant), rng, stock=stock)
    for name, parameter in model.namedparams():
        if name.endswith("/b"):
            parameter.array[...] = rng.normal(0, 0.1, parameter.shape)
    return model


def images(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(shape, np.float32)


def hidden_map(height: int, width: int, batch: int = 1, seed: int = 5) -> Array:
    """As after a step: values of a tanh."""
    rng = np.random.default_rng(seed)
    return np.tanh(rng.normal(size=(batch, 64, height, width))).astype(np.float32)


def published_keys(variant: str) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the authors' files, written down from their description."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, size in COMMON.items():
        shapes[f"{name}/W"] = (*size, 3, 3)
        shapes[f"{name}/b"] = size[:1]
    head = "conv7_pi/model" if variant == "plain" else "conv8_pi/model"
    shapes[f"{head}/W"], shapes[f"{head}/b"] = (9, 64, 3, 3), (9,)
    if variant != "plain":
        shapes.update({f"{name}/W": (*size, 3, 3) for name, size in GRU.items()})
    if variant == "convgru-rmc":
        shapes["conv_R/W"] = (1, 1, 33, 33)
    return shapes


def test_variants_are_those_of_the_settings() -> None:
    assert tuple(VARIANTS) == CHOICES["network.variant"] == tuple(COUNTS)


@every_variant
def test_parameters_are_those_of_the_published_files(variant: str) -> None:
    model = PixelFCN(ModelConfig(variant))
    found = {name[1:]: parameter.shape for name, parameter in model.namedparams()}
    assert found == published_keys(variant)
    assert len(found) == COUNTS[variant]
    assert all(parameter.dtype == np.float32 for parameter in model.params())


def test_actions_and_channels_change_two_layers() -> None:
    usual = published_keys("convgru")
    model = PixelFCN(ModelConfig("convgru", n_actions=13, in_channels=4))
    found = {name[1:]: parameter.shape for name, parameter in model.namedparams()}
    assert {key: shape for key, shape in found.items() if shape != usual[key]} == {
        "conv1/W": (64, 4, 3, 3),
        "conv8_pi/model/W": (13, 64, 3, 3),
        "conv8_pi/model/b": (13,),
    }
    policy, value = model.pi_and_v(images(2, 4, 5, 6))
    assert policy.logits.shape == (2, 13, 5, 6)
    assert value.shape == (2, 1, 5, 6)


def test_dilations() -> None:
    """Figure 1 of the paper; everything that is not listed has none."""
    found = {name[1:]: getattr(link, "dilation", 1) for name, link in network().namedlinks()}
    assert {name.split("/")[0]: dilation for name, dilation in found.items() if dilation > 1} == {
        "diconv2": 2,
        "diconv3": 3,
        "diconv4": 4,
        "diconv5_pi": 3,
        "diconv6_pi": 2,
        "diconv5_V": 3,
        "diconv6_V": 2,
    }


@every_variant
def test_initial_weights(variant: str) -> None:
    """HeNormal, Var = 2 / fan-in; biases zero; the reward map kernel the identity."""
    for key, array in network_arrays(PixelFCN(ModelConfig(variant))).items():
        if key.endswith("/b"):
            assert not array.any(), key
        elif key == "conv_R/W":
            assert array[0, 0, 16, 16] == array.sum() == np.abs(array).max() == 1
        else:
            scale = np.sqrt(2 / array[0].size)
            # Five standard deviations of the mean and of the deviation of n normal numbers.
            tolerance = 5 * scale / np.sqrt(array.size)
            assert abs(array.mean()) < tolerance, key
            assert abs(array.std() - scale) < tolerance, key
            # Normal, not uniform of the same variance, whose largest value is sqrt(3) sigma.
            assert np.abs(array).max() > 2 * scale, key


def test_layers_are_drawn_independently() -> None:
    arrays = [a.ravel()[:576] for k, a in network_arrays(network("plain")).items() if k[-1] == "W"]
    correlation = np.corrcoef(arrays)
    # 576 pairs of independent numbers: standard deviation 0.04.
    assert np.abs(correlation - np.eye(len(arrays))).max() < 0.2


@every_variant
def test_initial_weights_depend_on_the_generator_alone(variant: str) -> None:
    state = np.random.get_state()[1].copy()
    first, again, other = (
        network_arrays(PixelFCN(ModelConfig(variant), np.random.default_rng(seed)))
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(np.random.get_state()[1], state, "global generator touched")
    for key, array in first.items():
        np.testing.assert_array_equal(array, again[key])
    assert not np.array_equal(first["conv1/W"], other["conv1/W"])


# What a pixel sees.


def extent(change: Array) -> set[int]:
    """Distances in which a change at the centre is seen, in the four directions."""
    rows, columns = np.nonzero(np.abs(change).max(axis=(0, 1)))
    centre = change.shape[-1] // 2
    return {
        centre - rows.min(),
        rows.max() - centre,
        centre - columns.min(),
        columns.max() - centre,
    }


def change_of(function: Callable[[Array], Array], centre: Array) -> Array:
    """Difference that one changed pixel of ``centre`` makes."""
    changed = centre.copy()
    changed[..., changed.shape[-2] // 2, changed.shape[-1] // 2] += 10
    return function(changed) - function(centre)


SIDE = 45
# The reach of a network is measured with Chainer's convolutions: a fast algorithm computes tiles,
# in which a change also moves the rounding of outputs that do not depend on it.


def logits(model: PixelFCN, hidden: Array | None) -> Callable[[Array], Array]:
    def call(observations: Array) -> Array:
        model.set_state(hidden)
        return model.pi(observations).logits.array

    return call


def test_a_plain_policy_sees_16_pixels() -> None:
    """1 + 2 + 3 + 4 + 3 + 2 + 1."""
    model = network("plain", stock=True)
    assert extent(change_of(logits(model, None), images(1, 1, SIDE, SIDE))) == {16}


def test_a_recurrent_policy_sees_18_pixels() -> None:
    """15 to the recurrent unit, then reset gate, candidate and head; 17 while h is zero."""
    model, image = network(stock=True), images(1, 1, SIDE, SIDE)
    assert extent(change_of(logits(model, hidden_map(SIDE, SIDE)), image)) == {18}
    assert extent(change_of(logits(model, None), image)) == {17}


def test_a_policy_sees_3_pixels_of_the_hidden_map() -> None:
    model, image = network(stock=True), images(1, 1, SIDE, SIDE)
    change = change_of(lambda hidden: logits(model, hidden)(image), hidden_map(SIDE, SIDE))
    assert extent(change) == {3}


@every_variant
def test_a_value_sees_16_pixels_and_no_hidden_map(variant: str) -> None:
    model, image = network(variant, stock=True), images(1, 1, SIDE, SIDE)
    assert extent(change_of(lambda x: model.v(x).array, image)) == {16}
    expected = model.v(image).array
    model.set_state(hidden_map(SIDE, SIDE))
    np.testing.assert_array_equal(model.pi_and_v(image)[1].array, expected)


@every_variant
def test_shifting_the_image_shifts_the_maps(variant: str) -> None:
    """Away from the border, where zeros are padded: 18 pixels for the policy."""
    model = network(variant)
    image, hidden = images(1, 1, 60, 57), hidden_map(60, 57)
    down, right = 5, 3
    results = []
    for top, left in ((0, 0), (down, right)):
        window = np.s_[..., top : top + 50, left : left + 50]
        model.set_state(hidden[window] if model.config.recurrent else None)
        policy, value = model.pi_and_v(image[window])
        results.append(np.concatenate([policy.logits.array, value.array], axis=1))
    first, moved = results
    inner = 50 - 18
    # Sums are cut into other blocks, and pass through ten layers of order-one activations.
    np.testing.assert_allclose(
        moved[..., 18 : inner - down, 18 : inner - right],
        first[..., 18 + down : inner, 18 + right : inner],
        rtol=0,
        atol=2e-5,
    )


# What is computed.


class Counter:
    """Names of the links whose convolution is computed, in order; "gate" for the convGRU's."""

    def __init__(self, model: PixelFCN, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        paths = {id(parameter): name for name, parameter in model.namedparams()}
        convolution = blocks.dilated_convolution

        def counted(x: Any, W: Any, *args: Any, **kwargs: Any) -> chainer.Variable:
            self.names.append(re.sub(r"^/|/(diconv|model)?/?W$", "", paths[id(W)]))
            return convolution(x, W, *args, **kwargs)

        monkeypatch.setattr(blocks, "dilated_convolution", counted)
        gate = fused.convolve

        def counted_gate(*args: Any, **kwargs: Any) -> Array:
            self.names.append("gate")
            return gate(*args, **kwargs)

        monkeypatch.setattr(fused, "convolve", counted_gate)

    def take(self) -> list[str]:
        names, self.names = self.names, []
        return names


POLICY = ["conv1", "diconv2", "diconv3", "diconv4", "diconv5_pi", "diconv6_pi"]
VALUE = ["diconv5_V", "diconv6_V", "conv7_V"]


@recurrent
def test_acting_computes_neither_values_nor_convolutions_of_zeros(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(variant)
    counter = Counter(model, monkeypatch)
    policy = PixelwisePolicy(model, np.random.default_rng(0))
    policy.act(images(1, 1, 4, 4))
    # The reset gate multiplies a hidden map of zeros: it is not needed either.
    assert counter.take() == [*POLICY, "gate", "gate", "conv8_pi"]
    policy.act(images(1, 1, 4, 4))
    assert counter.take() == [*POLICY, "gate", "gate", "gate", "conv8_pi"]
    policy.stop_episode()
    policy.act(images(1, 1, 4, 4))
    assert counter.take().count("gate") == 2


def test_acting_with_a_plain_network_computes_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("plain")
    counter = Counter(model, monkeypatch)
    PixelwisePolicy(model, np.random.default_rng(0)).act(images(1, 1, 4, 4))
    assert counter.take() == [*POLICY, "conv7_pi"]


def test_training_computes_the_trunk_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("plain")
    counter = Counter(model, monkeypatch)
    model.pi_and_v(images(1, 1, 4, 4))
    assert sorted(counter.take()) == sorted([*POLICY, "conv7_pi", *VALUE])
    model.v(images(1, 1, 4, 4))
    assert counter.take() == [*POLICY[:4], *VALUE]


def test_acting_keeps_no_graph() -> None:
    model = network()
    PixelwisePolicy(model, np.random.default_rng(0)).act(images(1, 1, 4, 4))
    assert isinstance(model.hidden, np.ndarray)
    with chainer.no_backprop_mode():
        assert model.pi(images(1, 1, 4, 4)).logits.creator is None


def test_acting_holds_four_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 channels: input, hidden map, candidate and one gate; on the way there never more."""
    monkeypatch.setattr("pixelrl_chainer.kernels.threads.thread_count", lambda: 1)
    model, size = network(), 200
    policy, image = PixelwisePolicy(model, np.random.default_rng(0)), images(1, 1, size, size)
    policy.act(image)
    hidden = np.ascontiguousarray(np.zeros((1, size, size, 64), np.float32)).transpose(0, 3, 1, 2)
    tracemalloc.start()
    model.set_state(hidden.copy(order="K"))
    policy.act(image)
    peak = tracemalloc.get_traced_memory()[1] / hidden.nbytes
    tracemalloc.stop()
    # The buffers of a thread, for a block of tiles, do not grow with the image.
    assert 4 <= peak < 4.6


@every_variant
def test_one_pass_equals_two(variant: str) -> None:
    model, image = network(variant), images(2, 1, 6, 7)
    policy, value = model.pi_and_v(image)
    model.reset_state()
    np.testing.assert_array_equal(model.pi(image).logits.array, policy.logits.array)
    np.testing.assert_array_equal(model.v(image).array, value.array)


@every_variant
def test_our_convolutions_equal_the_stock_ones(variant: str) -> None:
    """Over two steps, so with and without a hidden map; gradients too."""
    results = []
    for stock in (False, True):
        model = network(variant, stock=stock)
        model.cleargrads()
        total = 0
        for step in range(2):
            policy, value = model.pi_and_v(images(2, 1, 9, 10, seed=step))
            total += chainer.functions.mean(policy.logits**2) + chainer.functions.mean(value**2)
        total.backward()
        gradients = {name: p.grad for name, p in model.namedparams() if name != "/conv_R/W"}
        results.append((policy.logits.array, value.array, gradients))
    ours, theirs = results
    # Ten layers of float32 sums of 576 products in another order.
    for found, expected in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    for name, expected in theirs[2].items():
        error = np.linalg.norm(ours[2][name] - expected) / np.linalg.norm(expected)
        assert error < 1e-5, name


# The recurrent unit.


def correlate(x: Array, W: Array) -> Array:
    """3x3 correlation of (C, H, W) in double precision by its definition."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    _, height, width = x.shape
    return sum(
        np.einsum("kc,chw->khw", W[:, :, i, j], padded[:, i : i + height, j : j + width])
        for i in range(3)
        for j in range(3)
    )


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def gru_reference(x: Array, h: Array, W: dict[str, Array]) -> Array:
    """Next hidden map of (64, H, W) maps from the published equations."""
    z = sigmoid(correlate(x, W["Wz"]) + correlate(h, W["Uz"]))
    r = sigmoid(correlate(x, W["Wr"]) + correlate(h, W["Ur"]))
    candidate = np.tanh(correlate(x, W["W"]) + correlate(r * h, W["U"]))
    return (1 - z) * h + z * candidate


def gru(model: PixelFCN, x: Array, h: Array | None) -> Array:
    links = {name: model[f"conv7_{name}"] for name in ("Wz", "Wr", "W", "Uz", "Ur", "U")}
    W, U = (
        tuple(links[name] for name in names) for names in (("Wz", "Wr", "W"), ("Uz", "Ur", "U"))
    )
    return blocks.conv_gru(chainer.Variable(x), h, W, U).array


@pytest.mark.parametrize("given", [False, True])
def test_recurrent_unit_equals_its_equations(given: bool) -> None:
    model = network()
    x = np.random.default_rng(1).normal(size=(2, 64, 5, 6)).astype(np.float32)
    h = hidden_map(5, 6, batch=2) if given else None
    kernels = {name: model[f"conv7_{name}"].W.array for name in ("Wz", "Wr", "W", "Uz", "Ur", "U")}
    start = np.zeros_like(x) if h is None else h
    expected = [gru_reference(x[i], start[i], kernels) for i in range(2)]
    # Gates have slope at most 1, and their arguments are sums of 1152 products of order one.
    np.testing.assert_allclose(gru(model, x, h), expected, rtol=0, atol=1e-5)


def test_no_hidden_map_is_a_hidden_map_of_zeros() -> None:
    model = network()
    x = np.random.default_rng(1).normal(size=(1, 64, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(
        gru(model, x, None), gru(model, x, np.zeros_like(x)), rtol=0, atol=1e-7
    )


def test_hidden_map_is_what_the_next_step_sees() -> None:
    model = network()
    model.pi(images(1, 1, 5, 6))
    hidden = model.get_state()
    assert isinstance(hidden, np.ndarray)
    assert hidden.shape == (1, 64, 5, 6)
    assert np.abs(hidden).max() <= 1
    following = images(1, 1, 5, 6, seed=1)
    continued = model.pi(following).logits.array
    np.testing.assert_array_equal(logits(model, hidden)(following), continued)
    assert not np.array_equal(logits(model, None)(following), continued)


def test_nothing_is_propagated_back_through_time() -> None:
    """The gradient of the second step is the same when its hidden map comes from elsewhere."""
    model = network()
    gradients = []
    for connected in (True, False):
        model.reset_state()
        model.pi(images(1, 1, 5, 6))
        if not connected:
            model.set_state(model.get_state().copy())
        model.cleargrads()
        chainer.functions.sum(model.pi(images(1, 1, 5, 6, seed=1)).logits ** 2).backward()
        gradients.append({name: p.grad for name, p in model.namedparams() if p.grad is not None})
    for name, gradient in gradients[0].items():
        np.testing.assert_array_equal(gradient, gradients[1][name])


# ChainerRL's contract.


@every_variant
def test_is_a_recurrent_actor_critic_of_chainerrl(variant: str) -> None:
    model = network(variant)
    assert isinstance(model, A3CModel)
    assert isinstance(model, Recurrent)
    policy, value = model(images(1, 1, 4, 4))
    assert policy.logits.shape == (1, 9, 4, 4)
    assert value.shape == (1, 1, 4, 4)


@recurrent
def test_state_contract(variant: str) -> None:
    model, image = network(variant), images(1, 1, 4, 4)
    assert model.get_state() is None
    model.pi(image)
    state = model.get_state()
    with state_kept(model):
        model.pi(image)
        assert not np.array_equal(model.get_state(), state)
    np.testing.assert_array_equal(model.get_state(), state)
    with state_reset(model):
        assert model.get_state() is None
    np.testing.assert_array_equal(model.get_state(), state)
    model.update_state(image)
    assert not np.array_equal(model.get_state(), state)
    model.reset_state()
    assert model.get_state() is None


def test_a_plain_network_has_no_state() -> None:
    model = network("plain")
    model.pi(images(1, 1, 4, 4))
    assert model.get_state() is None


def test_values_leave_the_hidden_map_alone() -> None:
    model = network()
    model.pi(images(1, 1, 4, 4))
    before = model.get_state().copy()
    model.v(images(1, 1, 4, 4, seed=1))
    np.testing.assert_array_equal(model.get_state(), before)


def test_only_rmc_spreads_returns() -> None:
    returns = images(1, 1, 5, 5)
    for variant in ("plain", "convgru"):
        assert network(variant).spread_returns(returns) is returns
    model = network("convgru-rmc")
    model.conv_R.W.array *= 3
    found = model.spread_returns(returns)
    assert isinstance(found, chainer.Variable)
    # Threefold identity, through a Fourier transform in single precision.
    np.testing.assert_allclose(found.array, 3 * returns, rtol=0, atol=1e-6)


@pytest.mark.gpu
@every_variant
def test_gpu_equals_cpu(variant: str) -> None:
    import cupy

    image = images(2, 1, 12, 13)
    model = network(variant)
    expected = [
        array.array for pair in [model.pi_and_v(image)] for array in (pair[0].logits, pair[1])
    ]
    model.reset_state()
    model.to_device("@cupy:0")
    policy, value = model.pi_and_v(cupy.asarray(image))
    for found, wanted in zip((policy.logits, value), expected, strict=True):
        # Ten layers of float32 sums in another order.
        np.testing.assert_allclose(found.array.get(), wanted, rtol=0, atol=1e-4)
