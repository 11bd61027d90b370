"""Random streams: functions of seed, name and index, and of nothing else."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pixelrl_chainer.rng import NAMES, stream

GOLDEN = {
    "init": ([73979004, 2427222451, 3906231730], [1148948176, 4051085598, 361172851]),
    "data": ([2081501252, 4060103576, 4165089906], [1943727417, 1045726283, 3035161641]),
    "corruption": ([472184452, 1139465299, 2943609711], [1621067160, 2437928813, 562358361]),
    "policy": ([856055097, 1142220351, 2654721721], [181322938, 2307040167, 944341929]),
    "eval": ([1764908667, 4042136752, 435675279], [3924289523, 1978770973, 141394051]),
}
"""First numbers at (seed 0, index 0) and (seed 7, index 3): checkpoints depend on them."""


@pytest.mark.parametrize("name", GOLDEN)
def test_first_numbers(name: str) -> None:
    for (seed, index), expected in zip(((0, 0), (7, 3)), GOLDEN[name], strict=True):
        assert stream(seed, name, index).integers(2**32, size=3).tolist() == expected


def test_names_keep_their_order() -> None:
    """The position of a name is part of its key: new ones go to the end."""
    assert NAMES[: len(GOLDEN)] == tuple(GOLDEN)


def test_streams_are_reproducible_and_have_no_hidden_state() -> None:
    first = stream(1, "data", 2).random(5)
    stream(1, "data").random(100)
    np.random.default_rng(0).random(7)
    np.testing.assert_array_equal(stream(1, "data", 2).random(5), first)
    assert stream(1, "data", 2) is not stream(1, "data", 2)


def test_index_is_zero_by_default() -> None:
    assert stream(3, "eval").random() == stream(3, "eval", 0).random()


def test_streams_are_independent() -> None:
    """Neighbouring seeds, names and indices, and seed and index exchanged."""
    draws = [
        stream(seed, name, index).normal(size=2000)
        for seed, name, index in product(range(3), NAMES, range(3))
    ]
    correlation = np.corrcoef(draws)
    # 990 correlations of 2000 independent pairs: standard deviation 0.022, so 0.11 is five of them.
    assert np.abs(correlation - np.eye(len(draws))).max() < 0.11
    assert len({draw[0] for draw in draws}) == len(draws)


def test_global_generator_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()
    stream(0, "init").random(10)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_large_seeds() -> None:
    assert stream(2**100, "init").random() != stream(2**100 + 1, "init").random()


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1)])
def test_negative_arguments(seed: int, index: int) -> None:
    with pytest.raises(ValueError, match=f"must not be negative, found {seed} and {index}"):
        stream(seed, "init", index)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="unknown random stream 'dta'; expected one of init, data"):
        stream(0, "dta")
