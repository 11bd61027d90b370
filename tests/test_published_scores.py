"""Scores of the authors' weights on BSD68, as recorded from the released code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pixelrl_chainer.config import build
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.results import run_evaluation

# One model of each variant; the others differ in their numbers only. A whole image each.
MODELS = (
    "denoise/pretrained_50",
    "denoise_with_convGRU/pretrained_15",
    "denoise_with_convGRU_and_RMC/pretrained_25",
)


@pytest.mark.official
@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_first_image_of_bsd68(name: str, shared: Path) -> None:
    expected = json.loads((shared / "reference" / "bsd68_expected.json").read_text())[name]
    folder, file = name.split("/")
    config = build(changes={"task.level": int(file[-2:]), "eval.limit": 1})
    result = run_evaluation(
        config,
        "network",
        shared / "weights" / "official" / folder / "model" / f"{file}.npz",
        open_dataset(shared / "data" / "bsd68", "test"),
    )
    assert result["psnr"]["mean"] == pytest.approx(expected["first3"][0], abs=0.01)
