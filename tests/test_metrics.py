"""PSNR and SSIM against OpenCV, scalar formulas and the numbers of the paper's Table VI."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from pixelrl_chainer import metrics
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.images import to_8bit
from pixelrl_chainer.metrics import Metric, psnr, ssim
from pixelrl_chainer.saliency import Estimator, fine_grained, spectral_residual


def pair(height: int, width: int, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(height)
    clean = rng.random((channels, height, width), np.float32)
    return clean + rng.normal(0, 0.1, clean.shape).astype(np.float32), clean


# 600 exceeds the channels of an OpenCV matrix, for which (1, H, W) might be taken.
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (40, 30), (3, 600), (600, 3), (481, 321)])
def test_psnr_is_that_of_opencv_and_of_the_formula(shape: tuple[int, int]) -> None:
    output, clean = pair(*shape)
    ours = psnr(output, clean)
    seen, wanted = to_8bit(output), to_8bit(clean)
    assert ours == pytest.approx(cv2.PSNR(seen[0], wanted[0]), abs=1e-9)
    error = np.mean((seen.astype(float) - wanted) ** 2)
    # OpenCV adds DBL_EPSILON to the root mean square error.
    assert ours == pytest.approx(10 * math.log10(255**2 / error), abs=1e-9)


def test_psnr_of_equal_images_is_finite() -> None:
    _, clean = pair(8, 8)
    assert psnr(clean, clean) == pytest.approx(361.2, abs=0.01)


def test_rounding_rule() -> None:
    """x * 255 + 0.5, cut: halves go up and everything outside [0, 1] is clipped first."""
    levels = np.array([-1, 0, 0.49, 0.5, 1.5, 2.5, 254.49, 254.5, 255, 300])
    image = (levels / 255).astype(np.float64)
    np.testing.assert_array_equal(to_8bit(image), [0, 0, 0, 1, 2, 3, 254, 255, 255, 255])


def test_scores_see_eight_bits_only() -> None:
    _, clean = pair(16, 16)
    eight = to_8bit(clean).astype(np.float32) / 255
    almost = eight + np.float32(0.4 / 255)
    assert psnr(almost, clean) == psnr(eight, clean) == psnr(clean, clean)
    assert ssim(almost, clean) == 1
    assert psnr(eight + np.float32(0.6 / 255), clean) < 50
    outside = np.where(eight == 1, 7, np.where(eight == 0, -7, eight)).astype(np.float32)
    assert psnr(outside, clean) == psnr(clean, clean)


def test_ssim_by_the_formula() -> None:
    """Uniform 7x7 windows that lie inside the image, sample covariances, range 255."""
    output, clean = pair(12, 15)
    seen, wanted = (to_8bit(image)[0].astype(float) for image in (output, clean))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    scores = []
    for top in range(12 - 6):
        for left in range(15 - 6):
            x, y = (im[top : top + 7, left : left + 7].ravel() for im in (seen, wanted))
            (vx, cov), (_, vy) = np.cov(x, y)
            mx, my = x.mean(), y.mean()
            scores.append(
                (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
            )
    # scikit-image computes the moments of whole images in float64, in another order.
    assert ssim(output, clean) == pytest.approx(np.mean(scores), abs=1e-9)


def test_ssim_of_colour_is_the_mean_over_channels() -> None:
    output, clean = pair(20, 20, 3)
    channels = [ssim(output[c : c + 1], clean[c : c + 1]) for c in range(3)]
    assert ssim(output, clean) == pytest.approx(np.mean(channels), abs=1e-12)


@pytest.mark.parametrize("rows", [1, 5, 14, 15, 100])
def test_ssim_strip_by_strip_is_that_of_the_whole_image(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, clean = pair(20, 33, 3)  # 14 rows of windows
    seen, wanted = to_8bit(output), to_8bit(clean)
    expected = structural_similarity(seen, wanted, data_range=255, channel_axis=0)
    monkeypatch.setattr(metrics, "STRIP", rows)
    # Its filter keeps a running sum in double precision, which begins anew with each strip.
    assert ssim(output, clean) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("shape", "exists"), [((7, 7), True), ((6, 90), False), ((1, 1), False)])
def test_ssim_of_small_images(shape: tuple[int, int], exists: bool) -> None:
    output, clean = pair(*shape)
    assert math.isnan(ssim(output, clean)) != exists


def test_text_inputs_of_table_vi(shared: Path) -> None:
    """The paper prints 16.61 dB and 0.656; 16.605 and 0.6562 were measured on these files."""
    clean = open_dataset(shared / "data/bsd68/test", "test")
    text = open_dataset(shared / "data/bsd68/test_text", "test")
    assert clean.names == text.names
    pairs = [(text.load(i), clean.load(i)) for i in range(len(clean))]
    # Half a unit of the last digit given.
    assert np.mean([psnr(*pair) for pair in pairs]) == pytest.approx(16.605, abs=5e-4)
    assert np.mean([ssim(*pair) for pair in pairs]) == pytest.approx(0.6562, abs=5e-5)


@pytest.mark.parametrize(
    ("metric", "estimator"),
    [(metrics.CC_VSF, fine_grained), (metrics.CC_SR, spectral_residual)],
    ids=["cc_vsf", "cc_sr"],
)
def test_correlation_by_the_formula(metric: Metric, estimator: Estimator) -> None:
    """Of the mask with the saliency of the output."""
    output, start = pair(30, 40, 3)
    mask = np.zeros((1, 30, 40), np.float32)
    mask[0, 5:20, 8:30] = 1
    values = estimator(output).ravel().tolist()
    inside = [v for v, m in zip(values, mask.ravel(), strict=True) if m]
    share, mean = len(inside) / len(values), math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
    gain = math.fsum(inside) / len(inside) - mean
    expected = gain * share / (spread * math.sqrt(share * (1 - share)))
    assert metric.score(output, mask, start) == pytest.approx(expected, abs=1e-9)


def test_correlation_of_constant_maps_is_zero() -> None:
    flat, varied = np.full((4, 4), 0.3, np.float32), np.eye(4, dtype=np.float32)
    assert metrics.pearson(flat, varied) == metrics.pearson(varied, flat) == 0
    assert metrics.pearson(varied, -varied) == pytest.approx(-1)


def test_ssim_to_the_input_looks_at_the_start() -> None:
    output, start = pair(20, 20, 3)
    mask = np.ones((1, 20, 20), np.float32)
    assert metrics.SSIM_INPUT.score(output, mask, start) == ssim(output, start) < 1
    assert metrics.SSIM_INPUT.score(start, mask, start) == 1
