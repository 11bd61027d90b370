"""Each shim, in a fresh process: it takes effect where it is needed, and something fails without.

The snippets run with warnings as errors, so a shim that lets a deprecation through fails too.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pixelrl_chainer._compat import caffe_net
from pixelrl_chainer.errors import WeightsError

SRC = Path(__file__).resolve().parents[1] / "src"

SHIMS = "import pixelrl_chainer\n"
ABSENT = """
import sys
for name in {names!r}:
    sys.modules[name] = None
"""


def python(code: str, *args: str | Path) -> str:
    """Run ``code`` in a new interpreter that sees ``src``; return what it printed."""
    done = _start("-c", code, *map(str, args))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def failure(code: str) -> str:
    """Return the last line of the traceback that ``code`` ends with."""
    done = _start("-c", code)
    assert done.returncode != 0, done.stdout
    return done.stderr.strip().splitlines()[-1]


def _start(*args: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(SRC), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-W", "error", *args],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )


def numpy_at_least(*version: int) -> bool:
    return tuple(map(int, np.__version__.split(".")[:2])) >= version


def test_chainer_and_chainerrl_import_and_train_without_a_warning() -> None:
    shown = python(
        SHIMS
        + """
import chainer, chainerrl, numpy as np
import chainer.functions as F, chainer.links as L
link = L.Convolution2D(1, 2, 3, pad=1)
optimizer = chainer.optimizers.Adam().setup(link)
before = link.W.array.copy()
link.cleargrads()
F.sum(F.relu(link(np.ones((2, 1, 5, 5), np.float32)))).backward()
optimizer.update()
print(chainer.__version__, chainerrl.agents.A3C.__name__, (before != link.W.array).any())
"""
    )
    assert shown == "7.8.1 A3C True"


def test_importing_the_package_imports_neither_chainer_nor_numpy() -> None:
    assert python(SHIMS + "import sys; print({'chainer', 'numpy'} & set(sys.modules))") == "set()"


def test_apply_is_idempotent_and_reports_what_took_effect() -> None:
    shown = python(
        SHIMS
        + """
import sys
from pixelrl_chainer._compat import apply
print(apply() == () == apply(), len([f for f in sys.meta_path if "pixelrl" in str(type(f))]))
import chainer, chainerrl
print(*apply())
"""
    )
    first, effective = shown.splitlines()
    assert first == "True 1"
    expected = {"chainer._environment_check", "numpy.float", "collections.Iterable"}
    expected |= {"float(array)", "chainerrl.wrappers"}
    if numpy_at_least(2, 0):
        expected.add("numpy.sctypes")
    if "pkg_resources" in effective:  # only where chainer itself imports its test helpers
        expected.add("pkg_resources")
    assert set(effective.split()) == expected


def test_without_the_shims_the_same_import_fails() -> None:
    done = _start("-c", ABSENT.format(names=("pkg_resources",)) + "import chainer")
    assert done.returncode != 0
    # What fails first depends on the versions; with CuPy 14, a warning, here an error.
    assert any(name in done.stderr for name in ("_environment_check", "sctypes", "cuDNN"))


def test_setuptools_is_not_needed() -> None:
    absent = ABSENT.format(names=("setuptools", "pkg_resources", "numpy.distutils", "distutils"))
    python(absent + SHIMS + "import chainer, chainerrl, chainer.gradient_check")


@pytest.mark.parametrize(
    ("requirement", "met"),
    [("numpy>=1.10", True), ("numpy<1", False), ("no-such-package", False), ("chainer", True)],
)
def test_requirements_are_checked_without_pkg_resources(requirement: str, met: bool) -> None:
    shown = python(
        SHIMS
        + """
import sys
from chainer import testing
case = testing.with_requires(sys.argv[1])(type("Case", (), {}))
print(getattr(case, "__unittest_skip__", False), "pkg_resources" in sys.modules)
""",
        requirement,
    )
    assert shown == f"{not met} False"


def test_as_strided_forward_and_backward() -> None:
    shown = python(
        SHIMS
        + """
import chainer, numpy as np, chainer.functions as F
x = chainer.Variable(np.arange(4, dtype=np.float32))
y = F.as_strided(x, (3, 2), (1, 1), 0)
y.grad = np.ones((3, 2), np.float32)
y.backward()
print(y.array.tolist(), x.grad.tolist())
"""
    )
    assert shown == "[[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]] [1.0, 2.0, 2.0, 1.0]"


def test_resize_images() -> None:
    shown = python(
        SHIMS
        + """
import numpy as np, chainer.functions as F
print(F.resize_images(np.array([[[[0, 2]]]], np.float32), (1, 3)).array.ravel().tolist())
"""
    )
    assert shown == "[0.0, 1.0, 2.0]"


def test_recurrent_states_of_several_episodes_are_masked() -> None:
    shown = python(
        SHIMS
        + """
import numpy as np, chainer.links as L
from chainerrl.links import StatelessRecurrentSequential
net = StatelessRecurrentSequential(L.NStepLSTM(1, 2, 2, 0))
_, state = net.n_step_forward([np.ones((3, 2), np.float32)] * 2, None, output_mode="concat")
masked = net.mask_recurrent_state_at(state, 0)
print(abs(masked[0][0].array[:, 0]).max(), abs(masked[0][0].array[:, 1]).max() > 0)
"""
    )
    assert shown == "0.0 True"


def test_agents_read_arrays_of_one_element_as_numbers() -> None:
    shown = python(
        SHIMS
        + """
import numpy as np
from chainerrl.agents import a3c
print(a3c.float(np.array([[2.5]], np.float32)), a3c.float("3"), a3c.float(np.float32(1)))
"""
    )
    assert shown == "2.5 3.0 1.0"


def test_a3c_acts_and_learns() -> None:
    python(
        SHIMS
        + """
import chainer, numpy as np, chainerrl
from chainerrl.agents import a3c
from chainerrl import policies, v_function
class Model(chainer.ChainList, a3c.A3CModel):
    def __init__(self):
        self.pi = policies.FCSoftmaxPolicy(2, 3)
        self.v = v_function.FCVFunction(2)
        super().__init__(self.pi, self.v)
    def pi_and_v(self, state):
        return self.pi(state), self.v(state)
model = Model()
agent = a3c.A3C(model, chainer.optimizers.SGD().setup(model), t_max=2, gamma=0.9)
for _ in range(5):
    agent.act_and_train(np.ones(2, np.float32), 1.0)
agent.stop_episode_and_train(np.ones(2, np.float32), 1.0, done=True)
assert np.isfinite([value for _, value in agent.get_statistics()]).all()
"""
    )


def test_gym_is_imported_only_for_its_wrappers() -> None:
    shown = python(
        SHIMS
        + """
import inspect, sys, chainerrl
inspect.stack()  # looks at every module of the process
print("gym" in sys.modules, hasattr(chainerrl.wrappers, "__wrapped__"))
"""
    )
    assert shown == "False False"


def test_without_gym_only_its_wrappers_are_missing() -> None:
    absent = ABSENT.format(names=("gym", "gym_notices"))
    assert "gym" in failure(absent + SHIMS + "import chainerrl; chainerrl.wrappers.Render")


GYM = """
import sys
from types import ModuleType, SimpleNamespace
gym, spaces, wrappers = ModuleType("gym"), ModuleType("gym.spaces"), ModuleType("gym.wrappers")
for name in ("Wrapper", "ActionWrapper", "ObservationWrapper", "RewardWrapper"):
    setattr(gym, name, type(name, (), {}))
gym.__version__, gym.spaces, gym.wrappers = "0.26.2", spaces, wrappers
sys.modules.update({"gym": gym, "gym.spaces": spaces, "gym.wrappers": wrappers})
"""


def test_new_gym_has_no_monitor_but_all_other_wrappers() -> None:
    code = GYM + SHIMS + "import chainerrl\nprint(chainerrl.wrappers.ScaleReward.__bases__[0])\n"
    assert python(code) == "<class '__main__.RewardWrapper'>"
    assert "needs gym < 0.23, found gym 0.26.2" in failure(
        code + "chainerrl.wrappers.Monitor(None, 'x')"
    )
    assert failure(code + "chainerrl.wrappers.Nothing") == "AttributeError: Nothing"


def test_old_gym_keeps_its_monitor() -> None:
    old = """
from types import ModuleType as M
recorder = M("gym.wrappers.monitoring.stats_recorder")
recorder.StatsRecorder = type("StatsRecorder", (), {})
sys.modules["gym.wrappers.monitoring"] = M("gym.wrappers.monitoring")
sys.modules[recorder.__name__] = recorder
wrappers.Monitor = type("OldMonitor", (), {})
"""
    code = GYM + old + SHIMS + "import chainerrl\nprint(chainerrl.wrappers.Monitor.__bases__[0])"
    assert python(code) == "<class '__main__.OldMonitor'>"


def test_remains_of_a_failed_import_are_refused() -> None:
    code = """
import sys
from types import ModuleType
sys.modules["chainer.functions"] = ModuleType("chainer.functions")
import pixelrl_chainer
"""
    assert "import pixelrl_chainer first" in failure(code)


def test_a_complete_chainer_imported_earlier_is_corrected_in_place() -> None:
    shown = python(
        SHIMS
        + """
import sys, chainer, chainerrl, numpy
from pixelrl_chainer import _compat
sys.meta_path.remove(_compat._FINDER)
chainerrl.agents.a3c.__dict__.pop("float")
numpy.__dict__.pop("float")
_compat.apply()
print(numpy.float, chainerrl.agents.a3c.float(numpy.ones((1, 1))))
"""
    )
    assert shown == "<class 'float'> 1.0"


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_worker_processes_unpickle_chainer_objects(method: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import multiprocessing
import pixelrl_chainer
def norm(link):
    return float((link.W.array ** 2).sum())
if __name__ == "__main__":
    import chainer.links as L
    link = L.Linear(2, 3)
    with multiprocessing.get_context({method!r}).Pool(1) as pool:
        print(pool.apply(norm, (link,)) == norm(link) > 0)
"""
    )
    done = _start(str(script))
    assert done.stdout == "True\n", done.stderr


def test_pickled_links_load_after_importing_the_package(tmp_path: Path) -> None:
    import chainer.links as L

    (tmp_path / "link").write_bytes(pickle.dumps(L.Linear(2, 3)))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).W.shape)"
    assert python(SHIMS + code, tmp_path / "link") == "(3, 2)"


def test_caffe_net_reads_the_published_initial_weights(shared: Path) -> None:
    folder = shared / "weights" / "official" / "initial_weight"
    for path in sorted(folder.glob("*.caffemodel")):
        layers = [layer for layer in caffe_net(path).layer if layer.type == "Convolution"]
        assert [tuple(layer.blobs[0].shape.dim) for layer in layers] == [
            (64, 1, 3, 3),
            *[(64, 64, 3, 3)] * 5,
            (1, 64, 3, 3),
        ]
        weights = np.array(layers[0].blobs[0].data, np.float32)
        assert weights.size == 64 * 9 and np.isfinite(weights).all() and weights.std() > 0


def test_caffe_function_agrees_with_caffe_net(shared: Path) -> None:
    path = shared / "weights/official/initial_weight/zhang_cvpr17_denoise_25_gray.caffemodel"
    with pytest.warns(UserWarning, match="Skip the layer"):
        from chainer.links.caffe import CaffeFunction

        function = CaffeFunction(str(path))
    for layer in caffe_net(path).layer:
        if layer.type == "Convolution":
            ours = np.array(layer.blobs[0].data, np.float32)
            np.testing.assert_array_equal(function[layer.name].W.array.ravel(), ours)


def test_caffe_messages_round_trip_with_their_constants() -> None:
    from chainer.links.caffe.protobuf3 import caffe_pb2

    net = caffe_pb2.NetParameter(name="net")
    layer = net.layer.add(name="conv", type="Convolution", phase=caffe_pb2.TEST)
    layer.blobs.add(data=[1.5, -2.0]).shape.dim.extend([2])
    read = caffe_pb2.NetParameter.FromString(net.SerializeToString())
    assert (read.layer[0].phase, list(read.layer[0].blobs[0].data)) == (1, [1.5, -2.0])
    assert caffe_pb2.V1LayerParameter.CONVOLUTION == 4


def test_damaged_caffe_models_give_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot read .*: No such file"):
        caffe_net(tmp_path / "none.caffemodel")
    (tmp_path / "bad.caffemodel").write_bytes(b"\xff" * 64)
    with pytest.raises(WeightsError, match="is not a Caffe model"):
        caffe_net(tmp_path / "bad.caffemodel")


def test_advice_about_cupy_is_kept_back() -> None:
    """Chainer warns without a cuDNN for CuPy, which CuPy 14 cannot have; our tests would fail."""
    code = (
        "import sys, types, warnings; warnings.simplefilter('error');"
        "import pixelrl_chainer._compat as compat;"
        "module = types.ModuleType('chainer.backends.cuda');"
        "check = lambda: getattr(check, '_already_warned', False) or warnings.warn('cuDNN');"
        "module.check_cuda_available = check;"
        "compat._shim_of('chainer.backends.cuda')(module, lambda: warnings.warn('advice'));"
        "check()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
