"""IRCNN caffemodels as initial weights: the published mapping, and damaged files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import arrays_of, assert_same, network, refusal

from pixelrl_chainer.initial import IRCNN_LAYERS, initialise, read_caffemodel
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.weights import network_arrays


def caffemodel(change: Callable[[Any], None] = lambda net: None) -> bytes:
    """An IRCNN of random numbers, with weights and bias in layers 1, 3, ..., 18."""
    from chainer.links.caffe.protobuf3 import caffe_pb2

    net, rng = caffe_pb2.NetParameter(), np.random.default_rng(0)
    for name in ("layer1", *(f"layer{i}" for i in (2, 3, 6, 9, 12, 15, 18))):
        layer = net.layer.add()
        layer.name = name
        if name == "layer2":
            continue  # a rectifier
        outputs, inputs = (1 if name == "layer18" else 64), (1 if name == "layer1" else 64)
        for shape in ((outputs, inputs, 3, 3), (outputs,)):
            blob = layer.blobs.add()
            blob.shape.dim.extend(shape)
            blob.data.extend(rng.normal(size=int(np.prod(shape))).tolist())
    change(net)
    return bytes(net.SerializeToString())


def field(data: bytes, wanted: int) -> list[bytes]:
    """Length-delimited fields with this number in a protocol buffer message."""
    found, at = [], 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 2:
            length = varint()
            if key >> 3 == wanted:
                found.append(data[at : at + length])
            at += length
        elif key & 7 == 0:
            varint()
        else:
            at += {1: 8, 5: 4}[key & 7]
    return found


def blobs(caffe: bytes) -> dict[str, list[np.ndarray[Any, Any]]]:
    """Numbers of each layer, flat, from the bytes alone: layer is 100, name 1, blobs 7, data 5."""
    return {
        field(layer, 1)[0].decode(): [
            np.frombuffer(b"".join(field(blob, 5)), "<f4") for blob in field(layer, 7)
        ]
        for layer in field(caffe, 100)
    }


MAPPING = {
    "conv1": "layer1",
    "diconv2/diconv": "layer3",
    "diconv3/diconv": "layer6",
    "diconv4/diconv": "layer9",
    "diconv5_pi/diconv": "layer12",
    "diconv5_V/diconv": "layer12",
    "diconv6_pi/diconv": "layer15",
    "diconv6_V/diconv": "layer15",
    "conv7_V": "layer18",
}
"""Published mapping, by our links."""


def check_mapping(path: Path) -> None:
    layers = blobs(path.read_bytes())
    model = PixelFCN(ModelConfig("convgru-rmc"), np.random.default_rng(3))
    drawn = {key: array.copy() for key, array in network_arrays(model).items()}
    done = initialise(model, path)
    assert set(done.copied) == {f"{link}/{part}" for link in MAPPING for part in "Wb"}
    assert done.unused == ()
    for key, array in network_arrays(model).items():
        link, _, part = key.rpartition("/")
        if link in MAPPING:
            expected = layers[MAPPING[link]]["Wb".index(part)]
            np.testing.assert_array_equal(array.ravel(), expected, err_msg=key)
            assert array.any(), key
        else:
            assert key in done.fresh
            np.testing.assert_array_equal(array, drawn[key], err_msg=key)


def test_caffemodel(tmp_path: Path) -> None:
    path = tmp_path / "made.caffemodel"
    path.write_bytes(caffemodel())
    check_mapping(path)
    assert {link: layer for layer, links in IRCNN_LAYERS.items() for link in links} == MAPPING


@pytest.mark.official
@pytest.mark.parametrize("sigma", [15, 25, 50])
def test_published_caffemodel(sigma: int, shared: Path) -> None:
    name = f"zhang_cvpr17_denoise_{sigma}_gray.caffemodel"
    check_mapping(shared / "weights" / "official" / "initial_weight" / name)


def layer_of(net: Any, name: str) -> Any:
    return next(layer for layer in net.layer if layer.name == name)


CAFFEMODELS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "missing layer": (lambda net: net.layer.remove(layer_of(net, "layer9")), "layer 'layer9'"),
    "renamed layer": (
        lambda net: setattr(layer_of(net, "layer9"), "name", "a\n\x1b[2J"),
        "layer 'layer9'",
    ),
    "no bias": (lambda net: layer_of(net, "layer12").blobs.pop(), "layer 'layer12'"),
    "third blob": (lambda net: layer_of(net, "layer12").blobs.add(), "layer 'layer12'"),
    "fewer numbers": (
        lambda net: layer_of(net, "layer3").blobs[0].data.pop(),
        "cannot reshape array of size 36863",
    ),
    "no shape": (lambda net: layer_of(net, "layer3").blobs[0].ClearField("shape"), "'layer3'"),
    "enormous shape": (
        lambda net: layer_of(net, "layer3").blobs[0].shape.dim.append(10**15),
        "layer 'layer3'",
    ),
    "another shape": (
        lambda net: layer_of(net, "layer3").blobs[0].shape.dim.append(1),
        "diconv2/diconv/W should have shape (64, 64, 3, 3)",
    ),
    "NaN": (
        lambda net: layer_of(net, "layer6").blobs[1].data.__setitem__(0, float("nan")),
        "'diconv3/diconv/b' holds NaN",
    ),
    "nothing": (lambda net: net.Clear(), "found layers none"),
}


@pytest.mark.parametrize("name", CAFFEMODELS)
def test_bad_caffemodel_is_refused(name: str, tmp_path: Path) -> None:
    change, expected = CAFFEMODELS[name]
    path = tmp_path / "bad.caffemodel"
    path.write_bytes(caffemodel(change))
    model = network()
    assert expected in refusal(lambda p: initialise(model, p), path)
    assert_same(network_arrays(model), arrays_of())


@pytest.mark.parametrize("data", [caffemodel()[:-1000], b"\xff" * 1000, b"not a model"])
def test_damaged_caffemodel_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.caffemodel"
    path.write_bytes(data)
    assert "not a Caffe model" in refusal(read_caffemodel, path)


def test_missing_caffemodel(tmp_path: Path) -> None:
    assert "No such file" in refusal(read_caffemodel, tmp_path / "nowhere.caffemodel")
