"""What fewer digits in the products do to the published networks, without a GPU.

The operands of every convolution are rounded before Chainer multiplies them in float32, which is
what tensor cores do but for the order of their sums. TF32 keeps 11 significant bits, bfloat16 8 and
float16 11, within its range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chainer import functions as F
from test_published_scores import MODELS

from pixelrl_chainer.agent import PixelwisePolicy
from pixelrl_chainer.backend import Array
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.env import PixelEnv
from pixelrl_chainer.evaluate import Rollout, rollout, starts
from pixelrl_chainer.metrics import psnr
from pixelrl_chainer.tasks import TASKS
from pixelrl_chainer.weights import load_network

pytestmark = pytest.mark.official


def keep_bits(significant: int) -> Callable[[Array], Array]:
    """Round float32 to the nearest number of so many significant bits, ties to even."""
    dropped = 24 - significant

    def rounding(array: Array) -> Array:
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
        odd = (bits >> dropped) & 1
        half = (1 << (dropped - 1)) - 1
        return (((bits + half + odd) >> dropped) << dropped).astype(np.uint32).view(np.float32)

    return rounding


ROUNDING = {
    "tf32": keep_bits(11),
    "bfloat16": keep_bits(8),
    "float16": lambda array: array.astype(np.float16).astype(np.float32),
}
# Share of first actions that stay: those that change were nearly as probable as another one.
EQUAL = {"tf32": 0.99, "bfloat16": 0.98, "float16": 0.99}


def test_rounding() -> None:
    values = np.array([1, 1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-11, -(1 + 2**-12)], np.float32)
    assert ROUNDING["tf32"](values).tolist() == [1, 1 + 2**-10, 1, 1 + 2**-9, -1]
    assert ROUNDING["bfloat16"](np.float32(1 + 2**-7 + 2**-9)).item() == 1 + 2**-7


@pytest.fixture(scope="module")
def exact(shared: Path) -> Callable[[str], tuple[Any, Array, Array, Rollout]]:
    """Network, clean and noisy crop and its roll-out in float32, computed once for each model."""
    known: dict[str, tuple[Any, Array, Array, Rollout]] = {}

    def of(name: str) -> tuple[Any, Array, Array, Rollout]:
        if name not in known:
            folder, file = name.split("/")
            weights = shared / "weights" / "official" / folder / "model" / f"{file}.npz"
            model = load_network(weights, stock=True)
            task = replace(TASKS["denoise-gaussian"], level=float(file[-2:]))
            images = open_dataset(shared / "data" / "bsd68", "test")
            pairs = starts(task, images, 0, "official", 1)
            noisy, clean = (array[..., 100:228, 200:328] for array in next(pairs))
            known[name] = (model, clean, noisy, run(model, noisy))
        return known[name]

    return of


def run(model: Any, noisy: Array) -> Rollout:
    policy = PixelwisePolicy(model, np.random.default_rng(0))
    env = PixelEnv(TASKS["denoise-gaussian"])
    return rollout(policy, env, np.ascontiguousarray(noisy), record=True)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ROUNDING)
@pytest.mark.parametrize("name", MODELS)
def test_scores_and_first_actions(
    name: str, precision: str, exact: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, clean, noisy, expected = exact(name)
    convolve, rounding = F.convolution_2d, ROUNDING[precision]

    def rounded(x: Any, W: Any, *arguments: Any, **options: Any) -> Any:
        # The narrow layers, first and last, are computed in tf32 (kernels.cudnn_plan.attempts).
        one = ROUNDING["tf32"] if x.shape[1] % 8 or W.shape[0] % 8 else rounding
        return convolve(one(getattr(x, "array", x)), one(W.array), *arguments, **options)

    monkeypatch.setattr(F, "convolution_2d", rounded)
    found = run(model, noisy)
    assert psnr(found.output[0], clean[0]) == pytest.approx(
        psnr(expected.output[0], clean[0]), abs=0.01
    )
    equal = (found.action_maps[0] == expected.action_maps[0]).mean()
    assert EQUAL[precision] <= equal < 1, "and the rounding is felt"
