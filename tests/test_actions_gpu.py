"""The fused GPU kernel: it compiles, its logic is the CPU path's, and on a GPU its results are."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gpu_tools import compile_for_gpu, compile_for_host

from pixelrl_chainer.actions import ACTIONS, Action, ActionSet
from pixelrl_chainer.backend import Array, to_numpy
from pixelrl_chainer.kernels import actions_gpu

Kernel = Callable[[Array, Array], Array]
Compile = Callable[[ActionSet], Kernel]

# expf and numpy.exp differ by a unit in the last place; values reach 4.
TOLERANCE = 2e-6
SHAPES = [(1, 1, 1, 1), (1, 2, 1, 7), (2, 1, 4, 4), (2, 1, 2, 3), (3, 3, 33, 21)]

FUSED = {
    name: action_set
    for name, action_set in ACTIONS.items()
    if all(action.operation for action in action_set.actions)
}
every_set = pytest.mark.parametrize("action_set", FUSED.values(), ids=FUSED)


def cuda_source(action_set: ActionSet) -> str:
    operations = [action.operation for action in action_set.actions]
    return actions_gpu.source([operation for operation in operations if operation])


def random_case(action_set: ActionSet, shape: tuple[int, ...]) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    images = rng.uniform(-3, 4, shape).astype(np.float32)
    return images, rng.integers(0, len(action_set), (shape[0], *shape[2:])).astype(np.int32)


def nan_cases(action_set: ActionSet) -> list[tuple[Array, Array]]:
    """One image with a NaN for each action."""
    images = random_case(action_set, (1, 1, 9, 9))[0]
    images[0, 0, 3, 4] = np.nan
    return [(images, np.full((1, 9, 9), i, np.int32)) for i in range(len(action_set))]


@pytest.fixture(scope="module")
def host_kernel(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compile the kernel of a set as C++ and return it as a function of images and action map."""
    folder = tmp_path_factory.mktemp("host_kernel")

    def compile_set(action_set: ActionSet) -> Kernel:
        source = cuda_source(action_set)
        function = compile_for_host(source, folder, action_set.name).choose

        def run(images: Array, action_map: Array) -> Array:
            result = np.full_like(images, -99)
            pointers = [
                ctypes.c_void_p(array.ctypes.data) for array in (images, action_map, result)
            ]
            function(*pointers, *images.shape[1:], ctypes.c_longlong(images.size))
            return result

        return run

    return compile_set


@every_set
def test_kernel_logic_on_the_host(action_set: ActionSet, host_kernel: Compile) -> None:
    run = host_kernel(action_set)
    for case in (*(random_case(action_set, shape) for shape in SHAPES), *nan_cases(action_set)):
        np.testing.assert_allclose(run(*case), action_set.apply(*case), rtol=0, atol=TOLERANCE)


def test_arithmetic_is_that_of_the_cpu_except_for_the_exponential(host_kernel: Compile) -> None:
    run = host_kernel(ACTIONS["denoise"])
    images, _ = random_case(ACTIONS["denoise"], (2, 1, 20, 20))
    for number, name in enumerate(ACTIONS["denoise"].names):
        if not name.startswith("bilateral"):
            action_map = np.full((2, 20, 20), number, np.int32)
            expected = ACTIONS["denoise"].apply(images, action_map)
            np.testing.assert_array_equal(run(images, action_map), expected)


@pytest.mark.parametrize("number", [-1, 9, 2**31 - 1, -(2**31)])
def test_a_number_outside_the_set_gives_nan_there_only(number: int, host_kernel: Compile) -> None:
    images, action_map = random_case(ACTIONS["denoise"], (2, 2, 6, 5))
    expected = ACTIONS["denoise"].apply(images, action_map)
    action_map[1, 3, 4] = number
    expected[1, :, 3, 4] = np.nan
    found = host_kernel(ACTIONS["denoise"])(images, action_map)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("architecture", [75, 80, 90])
@every_set
def test_source_compiles_for_gpus(action_set: ActionSet, architecture: int, tmp_path: Path) -> None:
    source = cuda_source(action_set)
    said = compile_for_gpu(source, architecture, actions_gpu.OPTIONS, tmp_path)
    assert "warning" not in said, said


@pytest.mark.gpu
@every_set
def test_gpu_equals_cpu(action_set: ActionSet) -> None:
    import cupy

    for case in (*(random_case(action_set, shape) for shape in SHAPES), *nan_cases(action_set)):
        found = action_set.apply(*map(cupy.asarray, case))
        np.testing.assert_allclose(to_numpy(found), action_set.apply(*case), rtol=0, atol=TOLERANCE)


@pytest.mark.gpu
def test_gpu_takes_non_contiguous_images_and_any_integer_map() -> None:
    import cupy

    images, action_map = random_case(ACTIONS["denoise"], (4, 2, 12, 10))
    images, action_map = images[::2, :, ::-1], action_map[::2].astype(np.uint8)
    found = ACTIONS["denoise"].apply(cupy.asarray(images), cupy.asarray(action_map))
    expected = ACTIONS["denoise"].apply(images, action_map)
    np.testing.assert_allclose(to_numpy(found), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.gpu
def test_gpu_runs_sets_without_a_kernel_by_the_plain_filters() -> None:
    import cupy

    full = ACTIONS["denoise"]
    plain = ActionSet("plain", tuple(Action(a.name, a.label, a.apply) for a in full.actions))
    images, action_map = random_case(full, (2, 3, 33, 21))
    found = plain.apply(cupy.asarray(images), cupy.asarray(action_map))
    np.testing.assert_allclose(
        to_numpy(found), full.apply(images, action_map), rtol=0, atol=TOLERANCE
    )


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["color", "color-published"])
def test_gpu_equals_cpu_for_colours(name: str) -> None:
    import cupy

    images, action_map = random_case(ACTIONS[name], (2, 3, 33, 21))
    found = ACTIONS[name].apply(cupy.asarray(images), cupy.asarray(action_map))
    # Roundings of the hue, 3e-5 of 60 degrees, times differences of channels of up to 7.
    expected = ACTIONS[name].apply(images, action_map)
    np.testing.assert_allclose(to_numpy(found), expected, rtol=0, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["denoise", "color"])
def test_gpu_number_outside_the_set_is_nan(name: str) -> None:
    import cupy

    images, action_map = random_case(ACTIONS[name], (1, 3, 2, 2))
    action_map[0, 0, 1] = len(ACTIONS[name])
    found = to_numpy(ACTIONS[name].apply(cupy.asarray(images), cupy.asarray(action_map)))
    assert np.isnan(found)[0].tolist() == [[[False, True], [False, False]]] * 3
