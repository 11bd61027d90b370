"""Initial weights: from denoisers, regression networks and earlier variants, by renamed arrays."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._compat import caffe_net
from .errors import WeightsError, reason
from .models.fcn import PixelFCN
from .weights import Arrays, copy_arrays, finite_floats, network_arrays, network_file, read_npz

IRCNN_LAYERS = {
    "layer1": ("conv1",),
    "layer3": ("diconv2/diconv",),
    "layer6": ("diconv3/diconv",),
    "layer9": ("diconv4/diconv",),
    "layer12": ("diconv5_pi/diconv", "diconv5_V/diconv"),
    "layer15": ("diconv6_pi/diconv", "diconv6_V/diconv"),
    "layer18": ("conv7_V",),
}
"""Published mapping from layers of the IRCNN denoiser to our links."""

REGRESSION_LINKS = {
    "conv1": ("conv1",),
    "diconv2": ("diconv2",),
    "diconv3": ("diconv3",),
    "diconv4": ("diconv4",),
    "diconv5": ("diconv5_pi", "diconv5_V"),
    "diconv6": ("diconv6_pi", "diconv6_V"),
}
"""Published mapping from links of a regression network to ours; its ``conv7`` is dropped."""


class Initialised(NamedTuple):
    """Keys of a network by what :func:`initialise` did: copied, left as drawn, not used."""

    copied: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


def read_caffemodel(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read an IRCNN caffemodel as arrays of our network (published initial weights).

    Raises
    ------
    WeightsError
        If the file is missing or damaged, or a layer is missing.
    """
    layers = {layer.name: layer.blobs for layer in caffe_net(path).layer if layer.blobs}
    arrays = {}
    for layer, links in IRCNN_LAYERS.items():
        try:
            W, b = (
                np.array(blob.data, dtype=np.float32).reshape(tuple(blob.shape.dim))
                for blob in layers[layer]
            )
        except (KeyError, ValueError) as error:
            found = textwrap.shorten(", ".join(map(repr, layers)) or "none", 200)
            raise WeightsError(
                f"{path}: layer {layer!r} with weights and bias expected, found layers {found} "
                f"({reason(error)}); only the IRCNN denoisers can be read"
            ) from error
        for link in links:
            arrays[f"{link}/W"], arrays[f"{link}/b"] = W, b
    return finite_floats(arrays, path)


def _rename(arrays: Arrays) -> Arrays:
    """Rename the arrays of a regression network; those of another one stay as they are."""
    if "diconv5/diconv/W" not in arrays:
        return arrays
    renamed: dict[str, np.ndarray[Any, Any]] = {}
    for key, array in arrays.items():
        name, _, rest = key.partition("/")
        for link in REGRESSION_LINKS.get(name, (name,)):
            renamed[f"{link}/{rest}"] = array
    return renamed


def _with_unseen_channels(arrays: Arrays, channels: int) -> Arrays:
    """Prepare the arrays of a colour network for one that also sees other ``channels``, a mask.

    Its layers before convGRU and last layers are kept (Section VI-D); the channels that it did not
    see are the last ones and begin with weights of zero. Other arrays stay as they are.
    """
    kernel = arrays.get("conv1/W", np.empty(0))
    if kernel.ndim != 4 or not 1 < kernel.shape[1] < channels:
        return arrays
    kept = {key: array for key, array in arrays.items() if key.startswith(("conv1/", "diconv"))}
    unseen = ((0, 0), (0, channels - kernel.shape[1]), (0, 0), (0, 0))
    return {**kept, "conv1/W": np.pad(kernel, unseen)}


def initialise(model: PixelFCN, path: Path) -> Initialised:
    """Start ``model`` from an earlier network: caffemodel, npz or checkpoint of any variant.

    An npz may also hold a regression network (:mod:`~pixelrl_chainer.pretrain`).

    Arrays of the same key are copied; the others keep the values they were drawn with. So a network
    with reward map convolution continues a convGRU one, which continues IRCNN (the paper's stepwise
    training). Of a colour network a network that also sees a mask takes the layers before convGRU
    and last layers.

    Raises
    ------
    WeightsError
        If the file cannot be read, shares nothing with the network, or a shape differs.
    """
    path = network_file(path)
    given = read_caffemodel(path) if path.suffix == ".caffemodel" else _rename(read_npz(path))
    arrays = _with_unseen_channels(given, model.config.in_channels)
    parameters = network_arrays(model)
    copied = parameters.keys() & arrays.keys()
    if "conv1/W" not in copied:
        raise WeightsError(f"{path}: no array conv1/W found: not a PixelRL network")
    for key in sorted(copied):
        if arrays[key].shape != parameters[key].shape:
            raise WeightsError(
                f"{path}: {key} should have shape {parameters[key].shape} to start this network, "
                f"found {arrays[key].shape}"
            )
    copy_arrays(model, arrays)
    return Initialised(
        tuple(sorted(copied)),
        tuple(sorted(parameters.keys() - copied)),
        tuple(sorted(given.keys() - copied)),
    )
