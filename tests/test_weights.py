"""Weight files: what is written and read, initial weights, and what the authors' files hold."""

from __future__ import annotations

import json
from pathlib import Path

import chainer
import numpy as np
import pytest
from networks import Arrays, arrays_of, assert_same, network, refusal

from pixelrl_chainer.initial import initialise
from pixelrl_chainer.models.fcn import VARIANTS, ModelConfig, PixelFCN
from pixelrl_chainer.weights import (
    assign,
    describe,
    load_network,
    network_arrays,
    read_npz,
    save_network,
)

every_variant = pytest.mark.parametrize("variant", VARIANTS)


# What is written and read.


@every_variant
def test_round_trip(variant: str, tmp_path: Path) -> None:
    model = network(variant, n_actions=7, in_channels=3)
    path = tmp_path / "folder" / "model.npz"
    save_network(network_arrays(model), path)
    loaded = load_network(path)
    assert loaded.config == ModelConfig(variant, 7, 3)
    assert_same(network_arrays(loaded), network_arrays(model))
    assert [file.name for file in path.parent.iterdir()] == ["model.npz"]
    assert_same(network_arrays(load_network(path.parent)), network_arrays(model))


@every_variant
def test_our_files_are_read_by_numpy_and_by_chainer(variant: str, tmp_path: Path) -> None:
    model, path = network(variant), tmp_path / "model.npz"
    save_network(network_arrays(model), path)
    with np.load(path, allow_pickle=False) as file:
        assert_same(dict(file), network_arrays(model))
    other = PixelFCN(ModelConfig(variant))
    chainer.serializers.load_npz(path, other)
    assert_same(network_arrays(other), network_arrays(model))


@every_variant
def test_we_read_files_of_chainer(variant: str, tmp_path: Path) -> None:
    """Also compressed ones, as the published code wrote them."""
    model, path = network(variant), tmp_path / "model.npz"
    chainer.serializers.save_npz(path, model)
    assert_same(network_arrays(load_network(path)), network_arrays(model))


def test_other_floats_are_converted(tmp_path: Path) -> None:
    expected = arrays_of()
    arrays = {key: array.astype(np.float64) for key, array in expected.items()}
    save_network(arrays, tmp_path / "double.npz")
    found = read_npz(tmp_path / "double.npz")
    assert all(array.dtype == np.float32 for array in found.values())
    assert_same(found, expected)


def test_stock_convolutions_on_request(tmp_path: Path) -> None:
    save_network(arrays_of(), tmp_path / "model.npz")
    assert load_network(tmp_path / "model.npz", stock=True).conv1.stock
    assert not load_network(tmp_path / "model.npz").conv1.stock


def test_loading_does_not_share_memory() -> None:
    model, arrays = network(seed=1), arrays_of()
    assign(model, arrays, Path("x"))
    arrays["conv1/W"][...] = 0
    assert network_arrays(model)["conv1/W"].any()


def test_missing_files(tmp_path: Path) -> None:
    assert "found none" in refusal(load_network, tmp_path / "nowhere.npz")
    assert "model.npz: expected a weight file, found none" in refusal(load_network, tmp_path)


@pytest.mark.parametrize("wanted", VARIANTS)
@pytest.mark.parametrize("found", VARIANTS)
def test_wrong_variant(wanted: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    save_network(arrays_of(found), path)
    if wanted == found:
        assert load_network(path, wanted).config.variant == wanted
    else:
        message = refusal(load_network, path, wanted)
        assert f"variant {wanted} expected, found {found}" in message


def test_mixed_variants(tmp_path: Path) -> None:
    """A plain head beside a recurrent unit is nobody's network."""
    path = tmp_path / "model.npz"
    save_network({**arrays_of("convgru-rmc"), **arrays_of()}, path)
    assert "belongs to no layer" in refusal(load_network, path)


# Starting from another network.


@pytest.mark.parametrize(
    ("source", "target", "copied", "fresh", "unused"),
    [
        ("convgru", "convgru-rmc", 26, {"conv_R/W"}, set()),
        ("convgru-rmc", "convgru", 26, set(), {"conv_R/W"}),
        (
            "plain",
            "convgru",
            18,
            {
                *(f"conv7_{name}/W" for name in ("Wz", "Uz", "Wr", "Ur", "W", "U")),
                "conv8_pi/model/W",
                "conv8_pi/model/b",
            },
            {"conv7_pi/model/W", "conv7_pi/model/b"},
        ),
        ("plain", "plain", 20, set(), set()),
    ],
)
def test_initialise(
    source: str, target: str, copied: int, fresh: set[str], unused: set[str], tmp_path: Path
) -> None:
    path = tmp_path / "model.npz"
    save_network(arrays_of(source, seed=1), path)
    model = PixelFCN(ModelConfig(target), np.random.default_rng(2))
    drawn = {key: array.copy() for key, array in network_arrays(model).items()}
    done = initialise(model, path)
    assert (len(done.copied), set(done.fresh), set(done.unused)) == (copied, fresh, unused)
    given_arrays = arrays_of(source, seed=1)
    for key, array in network_arrays(model).items():
        expected = drawn[key] if key in fresh else given_arrays[key]
        np.testing.assert_array_equal(array, expected)


def test_initialise_from_a_checkpoint_folder(tmp_path: Path) -> None:
    save_network(arrays_of(), tmp_path / "model.npz")
    model = network(seed=1)
    initialise(model, tmp_path)
    assert_same(network_arrays(model), arrays_of())


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"conv1/W": np.zeros((64, 3, 3, 3))}, "conv1/W should have shape (64, 1, 3, 3)"),
        ({"other": np.zeros(3)}, "no array conv1/W"),
        (
            {"conv1/W": np.ones((64, 1, 3, 3)), "conv7_V/b": np.zeros(2)},
            "conv7_V/b should have shape (1,)",
        ),
    ],
)
def test_initialising_from_something_unfit_changes_nothing(
    arrays: Arrays, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.npz"
    save_network(arrays, path)
    model = network()
    assert expected in refusal(lambda p: initialise(model, p), path)
    assert_same(network_arrays(model), arrays_of())


# The authors' files.

FOLDERS = {
    "plain": "denoise",
    "convgru": "denoise_with_convGRU",
    "convgru-rmc": "denoise_with_convGRU_and_RMC",
}


@pytest.mark.official
@pytest.mark.parametrize("sigma", [15, 25, 50])
@every_variant
def test_published_weights(variant: str, sigma: int, shared: Path, tmp_path: Path) -> None:
    """Read, told apart, and written again without a bit changed."""
    path = shared / "weights/official" / FOLDERS[variant] / "model" / f"pretrained_{sigma}.npz"
    model = load_network(path, variant)
    assert model.config == ModelConfig(variant, 9, 1)
    with np.load(path) as file:
        assert_same(network_arrays(model), dict(file))
    save_network(network_arrays(model), tmp_path / "copy.npz")
    assert_same(read_npz(tmp_path / "copy.npz"), network_arrays(model))


@pytest.mark.official
def test_published_salt_and_pepper_weights(shared: Path) -> None:
    model = load_network(shared / "weights" / "official" / "saltpepper_50_convGRU.npz")
    assert model.config == ModelConfig("convgru", 9, 1)


@pytest.mark.official
def test_another_network_of_the_authors_is_refused(shared: Path) -> None:
    path = shared / "weights" / "official" / "color_popout_regression_200epochs.npz"
    assert "not a PixelRL network" in refusal(load_network, path)


@pytest.mark.official
@pytest.mark.parametrize(
    ("sigma", "centre", "total"), [(15, -0.550, -1.24), (25, -0.683, -1.57), (50, -0.628, -1.92)]
)
def test_published_reward_map_kernels(
    sigma: int, centre: float, total: float, shared: Path
) -> None:
    folder = shared / "weights" / "official" / FOLDERS["convgru-rmc"] / "model"
    summary = describe(folder / f"pretrained_{sigma}.npz")
    # The reference prints three decimals and two.
    assert summary["rmc"]["centre"] == pytest.approx(centre, abs=5e-4)
    assert summary["rmc"]["sum"] == pytest.approx(total, abs=5e-3)


@every_variant
def test_describe(variant: str, tmp_path: Path) -> None:
    model = network(variant, n_actions=5)
    save_network(network_arrays(model), tmp_path / "model.npz")
    for path in (tmp_path, tmp_path / "model.npz"):
        summary = json.loads(json.dumps(describe(path)))
        assert summary["file"] == str(tmp_path / "model.npz")
        assert summary["variant"] == variant
        assert (summary["actions"], summary["channels"]) == (5, 1)
        assert summary["parameters"] == model.count_params()
        assert summary["arrays"] == {
            name[1:]: list(parameter.shape) for name, parameter in model.namedparams()
        }
        assert ("rmc" in summary) == (variant == "convgru-rmc")
    if variant == "convgru-rmc":
        kernel = model.conv_R.W.array[0, 0]
        assert summary["rmc"]["centre"] == pytest.approx(kernel[16, 16])
        assert summary["rmc"]["sum"] == pytest.approx(kernel.sum(), rel=1e-5)
