"""The networks of RL-Restore: two kinds of tools, and the agent's recurrent Q network.

Images are red, green, blue. Every convolution has a bias and the padding that TensorFlow calls
SAME: zeros, of which a stride of 2 puts the odd one to the bottom and the right.
"""

from __future__ import annotations

from typing import Any

import chainer
import numpy as np
from chainer import functions as F
from chainer import links as L
from chainerrl.action_value import DiscreteActionValue
from chainerrl.links import StatelessRecurrentSequential

from ..images import ImageFloat
from .convolution import Convolution
from .settings import PATCH_SIZE

N_FEATURES, N_HIDDEN = 32, 50
"""Features of an image, and units of the LSTM."""

LAST = 0.01
"""Share of He's deviation for the last layer of a tool, so that it begins by changing little."""

REACH = 8
"""Pixels to each side on which a pixel of a tool's output depends, for both kinds of tools."""


def convolution(
    rng: np.random.Generator, inputs: int, outputs: int, side: int, scale: float = 1.0
) -> L.Convolution2D:
    """Make a convolution of stride 1 whose weights are He's normal ones and biases zero.

    The paper refers to VDSR for the training of tools, which begins with such weights; ``scale``
    makes them smaller.
    """
    deviation = scale * np.sqrt(2 / (inputs * side * side))
    weights = rng.normal(0, deviation, (outputs, inputs, side, side)).astype(np.float32)
    return Convolution(inputs, outputs, side, pad=side // 2, initialW=weights)


class ShallowTool(chainer.Chain):
    """Three layers, 21,827 parameters; for slight distortions (Section 3.1).

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the initial weights.
    """

    layers = 3

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        with self.init_scope():
            self.conv1 = convolution(rng, 3, 32, 9)
            self.conv2 = convolution(rng, 32, 16, 5)
            self.conv3 = convolution(rng, 16, 3, 5, LAST)

    def forward(self, images: Any) -> chainer.Variable:
        """Return restored images, float32 (B, 3, H, W), not clipped, for images of that shape."""
        h = F.relu(self.conv1(images))
        return images + self.conv3(F.relu(self.conv2(h)))


class DeepTool(chainer.Chain):
    """Eight layers, 50,851 parameters; for severe distortions (Section 3.1).

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the initial weights.
    """

    layers = 8

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        with self.init_scope():
            self.conv1 = convolution(rng, 3, 64, 5)
            self.conv1_2 = convolution(rng, 64, 32, 1)
            self.conv2 = convolution(rng, 32, 32, 3)
            self.conv2a = convolution(rng, 32, 32, 3)
            self.conv2c = convolution(rng, 32, 32, 3)
            self.conv2d = convolution(rng, 32, 32, 3)
            self.conv2_2 = convolution(rng, 32, 64, 1)
            self.conv3 = convolution(rng, 64, 3, 5, LAST)

    def forward(self, images: Any) -> chainer.Variable:
        """Return restored images, float32 (B, 3, H, W), not clipped, for images of that shape."""
        h = self.conv1_2(F.relu(self.conv1(images)))
        h = h + self.conv2a(F.relu(self.conv2(F.relu(h))))
        h = h + self.conv2d(F.relu(self.conv2c(F.relu(h))))
        return images + self.conv3(F.relu(self.conv2_2(h)))


Tool = ShallowTool | DeepTool
TOOL_TYPES: dict[int, type[ShallowTool] | type[DeepTool]] = {3: ShallowTool, 8: DeepTool}
"""Kinds of tools by their number of layers."""


def halve(layer: L.Convolution2D, images: Any) -> chainer.Variable:
    """Convolve with a stride of 2 and TensorFlow's padding, and rectify."""
    pads = []
    for size, kernel in zip(images.shape[2:], layer.W.shape[2:], strict=True):
        total = max((-(-size // 2) - 1) * 2 + kernel - size, 0)
        pads.append((total // 2, total - total // 2))
    padded = F.pad(images, [(0, 0), (0, 0), *pads], "constant")
    return F.relu(layer(padded))


class Features(chainer.Chain):
    """Four convolutions and a linear layer on the image; beside them the previous action.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the initial weights: published are truncated normal ones of deviation
        sqrt(2 / (k k outputs)) for convolutions and normal ones of 0.001 for linear layers.
    """

    SIZES = ((3, 32, 9), (32, 24, 5), (24, 24, 5), (24, 24, 5))
    """Input channels, output channels and side of the kernel of each convolution."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        with self.init_scope():
            self.l1, self.l2, self.l3, self.l4 = (
                Convolution(
                    inputs,
                    outputs,
                    side,
                    stride=2,
                    initialW=truncated_normal(
                        rng, np.sqrt(2 / (side * side * outputs)), (outputs, inputs, side, side)
                    ),
                )
                for inputs, outputs, side in self.SIZES
            )
            self.l7 = linear(rng, 4 * 4 * 24, N_FEATURES)

    def forward(self, observations: Any) -> chainer.Variable:
        """Return features, (B, 32 + N), of observations, (B, 3 * 63 * 63 + N)."""
        size = 3 * PATCH_SIZE * PATCH_SIZE
        pixels, previous = F.split_axis(observations, [size], axis=1)
        h = F.reshape(pixels, (-1, 3, PATCH_SIZE, PATCH_SIZE))
        for layer in (self.l1, self.l2, self.l3, self.l4):
            h = halve(layer, h)
        # The published linear layer reads rows, columns and channels in this order.
        h = F.relu(self.l7(F.transpose(h, (0, 2, 3, 1))))
        return F.concat((h, previous), axis=1)


class BasicLSTM(L.NStepLSTM):
    """TensorFlow's basic LSTM, which adds 1 to the preactivation of its forget gate.

    Chainer's LSTM has two biases for each gate. The second ones are constants here: 1 for the
    forget gate, and 0. So there is one number in the published file for each that is learned.

    Parameters
    ----------
    inputs, units : int
    """

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__(1, inputs, units, 0.0)
        self[0].b5.array[...] = 1

    def rnn(self, *arguments: Any) -> Any:
        """Run the LSTM; no gradient reaches the second biases."""
        *before, ((*first, _, _, _, _),), inputs = arguments
        second = [bias.array for bias in self.bs[0][4:]]
        return super().rnn(*before, [[*first, *second]], inputs)


class QNetwork(StatelessRecurrentSequential):
    """Values of all actions for a sequence of images, in the form of ChainerRL's recurrent DQN.

    Observations are vectors, see :func:`observe`: ChainerRL takes a tuple of two arrays for a
    sequence of length two.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the initial weights; those of the LSTM are uniform as TensorFlow's default (Glorot).
    n_tools : int
        N, 12 in the paper.
    stop : bool
        Whether the last action is to stop (Table 7).
    """

    def __init__(self, rng: np.random.Generator, n_tools: int = 12, stop: bool = True) -> None:
        features, lstm = Features(rng), BasicLSTM(N_FEATURES + n_tools, N_HIDDEN)
        values = linear(rng, N_HIDDEN, n_tools + stop)
        super().__init__(features, lstm, values, DiscreteActionValue)
        self.features, self.lstm, self.values = features, lstm, values
        self.n_tools, self.n_actions, self.stop = n_tools, n_tools + stop, stop
        bound = np.sqrt(6 / (N_FEATURES + n_tools + N_HIDDEN + 4 * N_HIDDEN))
        for weights in lstm.ws[0]:
            weights.array[...] = rng.uniform(-bound, bound, weights.shape)


def observe(image: ImageFloat, previous: int, n_tools: int) -> ImageFloat:
    """Put an image and the previous action into one vector, the network's input.

    Parameters
    ----------
    image : numpy.ndarray, float32 (3, 63, 63)
        Red, green, blue in [0, 1].
    previous : int
        Index of the tool that was used before; -1 before the first step and after a stop.
    n_tools : int

    Returns
    -------
    numpy.ndarray, float32 (3 * 63 * 63 + n_tools,)
    """
    one_hot = np.arange(n_tools) == previous
    return np.concatenate((image.ravel(), one_hot.astype(np.float32)))


def linear(rng: np.random.Generator, inputs: int, outputs: int) -> L.Linear:
    """Make a linear layer with the published initial weights, normal ones of deviation 0.001."""
    weights = rng.normal(0, 0.001, (outputs, inputs)).astype(np.float32)
    return L.Linear(inputs, outputs, initialW=weights)


def truncated_normal(
    rng: np.random.Generator, deviation: float, shape: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    """Draw normal numbers, those beyond two deviations again, as TensorFlow does; float32."""
    drawn = rng.normal(0, 1, shape)
    while (beyond := np.abs(drawn) > 2).any():
        drawn[beyond] = rng.normal(0, 1, int(beyond.sum()))
    return (deviation * drawn).astype(np.float32)
