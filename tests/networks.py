"""Networks and arrays for the tests of weight files and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixelrl_chainer.errors import PixelRLError
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.weights import network_arrays

Arrays = dict[str, np.ndarray[Any, Any]]


def network(variant: str = "plain", seed: int = 0, **sizes: int) -> PixelFCN:
    """A network with random biases and kernel, so that none is mistaken for another."""
    rng = np.random.default_rng(seed)
    model = PixelFCN(ModelConfig(variant, **sizes), rng)
    for parameter in model.params():
        parameter.array[...] = rng.normal(0, 0.05, parameter.shape)
    return model


def arrays_of(variant: str = "plain", seed: int = 0) -> Arrays:
    return dict(network_arrays(network(variant, seed)))


def assert_same(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for key, array in found.items():
        np.testing.assert_array_equal(array, expected[key])


def refusal(function: Callable[..., Any], path: Path, *arguments: Any) -> str:
    """Message of the error, checked to be one line of reasonable length that names the file."""
    with pytest.raises(PixelRLError) as caught:
        function(path, *arguments)
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable()  # no line break, no terminal escape
    assert len(message.replace(str(path), "")) < 400
    return message
