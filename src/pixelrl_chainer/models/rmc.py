"""Reward map convolution (RMC): one learned 33x33 kernel that spreads returns over neighbours.

Section V of the paper, Eqs. (12) to (18). Chainer's convolution would build an im2col matrix of
33 x 33 columns (1.4 GB at the published batch of 64 crops of 70 x 70); the correlation theorem
needs three small Fourier transforms instead.
"""

from __future__ import annotations

from types import ModuleType

import chainer
import numpy as np
from scipy.fft import next_fast_len

from .. import paper
from ..backend import Array, xp_of


def identity_kernel() -> Array:
    """Return the published initial kernel, float32 (1, 1, 33, 33): 1 in the centre, else 0."""
    size = paper.RMC_SIZE
    kernel = np.zeros((1, 1, size, size), dtype=np.float32)
    kernel[0, 0, size // 2, size // 2] = 1
    return kernel


def _fft_shape(maps: Array, reach: int) -> tuple[int, int]:
    """Smallest fast transform in which no tap wraps onto the map."""
    height, width = (size + reach for size in maps.shape[-2:])
    return next_fast_len(height, real=True), next_fast_len(width, real=True)


def _taps(xp: ModuleType, shape: tuple[int, int], reach: int) -> tuple[Array, Array]:
    """Rows and columns of the kernel's taps on a grid: the centre at (0, 0), wrapped around."""
    offsets = xp.arange(-reach, reach + 1)
    return (offsets % shape[0])[:, None], (offsets % shape[1])[None, :]


class _RewardMapConvolution(chainer.FunctionNode):
    """Correlation of (B, 1, H, W) with (1, 1, 2r+1, 2r+1) and zero padding r, by FFT."""

    def forward(self, inputs: tuple[Array, ...]) -> tuple[Array]:
        self.retain_inputs((0, 1))
        maps, kernel = inputs
        return (self._filter(maps, kernel, conjugate=True),)

    def backward(
        self, indexes: tuple[int, ...], grad_outputs: tuple[chainer.Variable, ...]
    ) -> tuple[chainer.Variable, ...]:
        maps, kernel = (variable.array for variable in self.get_retained_inputs())
        gradient = grad_outputs[0].array
        found: dict[int, Array] = {}
        if 0 in indexes:
            found[0] = self._filter(gradient, kernel, conjugate=False)
        if 1 in indexes:
            found[1] = self._kernel_gradient(maps, gradient, kernel.shape[-1] // 2)
        return tuple(chainer.Variable(found[i]) for i in indexes)

    @staticmethod
    def _filter(maps: Array, kernel: Array, *, conjugate: bool) -> Array:
        """Correlate (``conjugate``) or convolve ``maps`` with ``kernel``."""
        xp = xp_of(maps)
        reach = kernel.shape[-1] // 2
        shape = _fft_shape(maps, reach)
        grid = xp.zeros(shape, dtype=kernel.dtype)
        grid[_taps(xp, shape, reach)] = kernel[0, 0]
        response = xp.fft.rfft2(grid)
        if conjugate:
            response = response.conj()
        result = xp.fft.irfft2(xp.fft.rfft2(maps, s=shape) * response, s=shape)
        return result[..., : maps.shape[-2], : maps.shape[-1]].astype(maps.dtype)

    @staticmethod
    def _kernel_gradient(maps: Array, gradient: Array, reach: int) -> Array:
        """Correlation of the maps with the output gradient at lags -reach..reach, batch summed."""
        xp = xp_of(maps)
        shape = _fft_shape(maps, reach)
        spectrum = xp.fft.rfft2(maps, s=shape) * xp.fft.rfft2(gradient, s=shape).conj()
        lags = xp.fft.irfft2(spectrum.sum(axis=(0, 1)), s=shape)
        return lags[_taps(xp, shape, reach)][None, None].astype(maps.dtype)


def reward_map_convolution(
    maps: Array | chainer.Variable, kernel: Array | chainer.Variable
) -> chainer.Variable:
    """Spread return maps over their neighbourhood: ``w * R`` of Eq. (13).

    Parameters
    ----------
    maps : array or chainer.Variable, float32 (B, 1, H, W)
        Return of each pixel; outside the map it counts as 0.
    kernel : array or chainer.Variable, float32 (1, 1, 33, 33)
        Cross-correlation kernel without bias, any sign, not normalised (published code).

    Returns
    -------
    chainer.Variable, float32 (B, 1, H, W)
        Differentiable once by both arguments.
    """
    return _RewardMapConvolution().apply((maps, kernel))[0]
