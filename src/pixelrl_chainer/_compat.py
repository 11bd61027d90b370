"""Every version quirk of Chainer 7.8.1 and ChainerRL 0.8.0 on current Python, in one place.

Both predate NumPy 1.24, Python 3.12, setuptools 81, protobuf 4 and gym 0.23. A *shim* runs in place
of one library module: it prepares what the module expects, executes it, and corrects what it left
behind. :func:`apply` installs the import hook that calls them, so that nothing is imported earlier
than without us and only what a process really loads is changed.

The hook must be there before Chainer is imported, hence ``pixelrl_chainer/__init__.py`` calls
:func:`apply`; so it must in a worker process that unpickles a Chainer object.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import PixelRLError, WeightsError

Execute = Callable[[], None]
Shim = Callable[[ModuleType, Execute], None]

_SHIMS: dict[str, Shim] = {}
_applied: list[str] = []


class CompatError(PixelRLError, ImportError):
    """Chainer was imported too early and cannot be used in this process any more."""


def _shim(*modules: str) -> Callable[[Shim], Shim]:
    """Register a shim for these modules; ``package.*`` stands for every module of the package."""

    def register(shim: Shim) -> Shim:
        _SHIMS.update(dict.fromkeys(modules, shim))
        return shim

    return register


def _shim_of(module: str) -> Shim | None:
    return _SHIMS.get(module) or _SHIMS.get(module.rpartition(".")[0] + ".*")


def _note(name: str) -> None:
    if name not in _applied:
        _applied.append(name)


@_shim("chainer._environment_check")
def _environment_check(module: ModuleType, execute: Execute) -> None:
    """Leave out Chainer's look at the environment.

    It only warns, but imports ``numpy.distutils`` (gone from Python 3.12) and ``pkg_resources``.
    """
    module.__dict__["check"] = lambda: None
    _note("chainer._environment_check")


@_shim("chainer.backends.cuda", "chainer.training.updaters.multiprocess_parallel_updater")
def _cupy_advice(module: ModuleType, execute: Execute) -> None:
    """Keep back advice to install a cuDNN for CuPy, gone from CuPy 14, and NCCL, not used here."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        execute()
    if hasattr(module, "check_cuda_available"):
        module.check_cuda_available._already_warned = True


@_shim("chainer.functions.array.as_strided")
def _numpy_sctypes(module: ModuleType, execute: Execute) -> None:
    """Define ``numpy.sctypes``, gone from NumPy 2, whose "int" and "float" ``as_strided`` reads."""
    import numpy as np

    if not hasattr(np, "sctypes"):
        np.__dict__["sctypes"] = {
            "int": [np.int8, np.int16, np.int32, np.int64],
            "float": [np.float16, np.float32, np.float64, np.longdouble],
        }
        _note("numpy.sctypes")
    execute()


@_shim("chainer.functions.array.resize_images")
def _numpy_float(module: ModuleType, execute: Execute) -> None:
    """Define ``numpy.float``, gone from NumPy 1.24, which ``resize_images`` uses as a dtype.

    It compares modules by identity (``xp is numpy``), so a stand-in for NumPy would not do.
    """
    import numpy as np

    if not hasattr(np, "float"):
        np.__dict__["float"] = float
        _note("numpy.float")
    execute()


@_shim("chainer.testing.helper", "chainer.testing.doctest_helper")
def _pkg_resources(module: ModuleType, execute: Execute) -> None:
    """Spare test helpers ``pkg_resources``, gone from setuptools 82, and warning before."""
    stand_in = ModuleType("pkg_resources")
    stand_in.__dict__.update(WorkingSet=_WorkingSet, ResolutionError=LookupError)
    hidden = sys.modules.get("pkg_resources")
    sys.modules["pkg_resources"] = stand_in
    try:
        execute()
    finally:
        del sys.modules["pkg_resources"]
        if hidden is not None:
            sys.modules["pkg_resources"] = hidden
    _note("pkg_resources")


class _WorkingSet:
    """The distributions installed here, as far as Chainer asks about them."""

    def require(self, *requirements: str) -> None:
        """Raise LookupError unless every requirement is installed."""
        from importlib import metadata

        from packaging.requirements import Requirement

        for wanted in map(Requirement, requirements):
            found = [d.version for d in metadata.distributions(name=wanted.name)]
            if not found or found[0] not in wanted.specifier:
                raise LookupError(f"expected {wanted}, found {found}")


@_shim("chainerrl.recurrent")
def _collections_iterable(module: ModuleType, execute: Execute) -> None:
    """Let ``collections``, used for ``Iterable`` alone (gone from Python 3.10), be its ``abc``."""
    import collections.abc

    execute()
    module.__dict__["collections"] = collections.abc
    _note("collections.Iterable")


@_shim("chainerrl.wrappers")
def _lazy_wrappers(module: ModuleType, execute: Execute) -> None:
    """Import ChainerRL's gym wrappers only when one of them is asked for.

    They need gym, which may be absent and, where present, announces on import that it is
    unmaintained and does not support NumPy 2.
    """

    def load(name: str) -> Any:
        if name.startswith("__"):  # inspecting all modules of a process must not import gym
            raise AttributeError(name)
        execute()
        if name not in module.__dict__:
            raise AttributeError(name)
        return module.__dict__[name]

    module.__dict__["__getattr__"] = load
    _note("chainerrl.wrappers")


@_shim("chainerrl.wrappers.monitor")
def _gym_monitor(module: ModuleType, execute: Execute) -> None:
    """Replace ChainerRL's ``Monitor``, whose base is gone from gym 0.23, lest all wrappers fail."""
    import gym.wrappers

    if hasattr(gym.wrappers, "Monitor"):
        execute()
        return

    class Monitor:
        def __init__(self, *args: object, **kwargs: object) -> None:
            raise PixelRLError(
                f"chainerrl.wrappers.Monitor needs gym < 0.23, found gym {gym.__version__}"
            )

    module.__dict__["Monitor"] = Monitor
    _note("chainerrl.wrappers.monitor")


@_shim("chainerrl.agents.*")
def _float_of_array(module: ModuleType, execute: Execute) -> None:
    """Let agents call ``float`` on arrays like ``[x]``: NumPy 1.25 warns, NumPy 2.4 refuses."""
    module.__dict__["float"] = _scalar
    execute()
    _note("float(array)")


def _scalar(value: Any) -> float:
    return float(value.item() if hasattr(value, "item") else value)


@_shim("chainer.links.caffe.protobuf3.caffe_pb2")
def _caffe_pb2(module: ModuleType, execute: Execute) -> None:
    """Build Caffe's message classes from the descriptor inside the generated code.

    protobuf 4 refuses code generated that long ago, except in its pure-Python mode, which is some
    thirty times slower. The pool is private: another copy of Caffe's messages does no harm.
    """
    import ast

    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    literal = source.partition("serialized_pb=_b(")[2].partition(")\n")[0]
    serialized = ast.literal_eval(literal).encode("latin1")
    file = descriptor_pb2.FileDescriptorProto.FromString(serialized)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    for message in file.message_type:
        descriptor = pool.FindMessageTypeByName(f"{file.package}.{message.name}")
        module.__dict__[message.name] = message_factory.GetMessageClass(descriptor)
    for enum in file.enum_type:
        module.__dict__.update({value.name: value.number for value in enum.value})
    _note("chainer.links.caffe")


def caffe_net(path: str | Path) -> Any:
    """Read a binary Caffe model.

    Returns
    -------
    NetParameter
        Its ``layer`` hold ``name``, ``type`` and ``blobs``; a blob ``shape.dim`` and ``data``.

    Raises
    ------
    WeightsError
        If the file is missing or is not a Caffe model.
    """
    from chainer.links.caffe.protobuf3 import caffe_pb2
    from google.protobuf.message import DecodeError

    try:
        return caffe_pb2.NetParameter.FromString(Path(path).read_bytes())
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
    except DecodeError as error:
        raise WeightsError(f"{path} is not a Caffe model, or it is truncated") from error


class _ShimLoader(Loader):
    """Hands the execution of one module to its shim."""

    def __init__(self, shim: Shim, loader: Loader) -> None:
        self._shim = shim
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._shim(module, lambda: self._loader.exec_module(module))


class _ShimFinder(MetaPathFinder):
    """Finds the modules that have a shim; all others are left to the finders after it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        shim = _shim_of(fullname)
        if shim is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _ShimLoader(shim, spec.loader)
        return spec


_FINDER = _ShimFinder()


def apply() -> tuple[str, ...]:
    """Install the shims, once, and return the names of those that took effect so far.

    A shim takes effect when its module is imported, so the answer is complete after ``import
    chainer, chainerrl``. Modules imported before, as an old NumPy permits, are corrected in place.

    Raises
    ------
    CompatError
        If Chainer was imported before without the shims and is therefore broken.
    """
    if _FINDER not in sys.meta_path:
        early = [name for name in sys.modules if name.startswith(("chainer.", "chainerrl."))]
        if early and not hasattr(sys.modules.get("chainer"), "__version__"):
            raise CompatError(
                "expected pixelrl_chainer to be imported before chainer, found the remains of a "
                "failed import of chainer: start a new process and import pixelrl_chainer first"
            )
        sys.meta_path.insert(0, _FINDER)
        for name in early:
            if (shim := _shim_of(name)) is not None:
                shim(sys.modules[name], lambda: None)
    return tuple(_applied)
