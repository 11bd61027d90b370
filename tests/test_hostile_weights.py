"""Damaged and hostile weight files: each is refused in one line that names it."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import arrays_of, assert_same, network, refusal

from pixelrl_chainer import weights
from pixelrl_chainer.errors import WeightsError
from pixelrl_chainer.initial import initialise
from pixelrl_chainer.weights import MAX_BYTES, load_network, network_arrays, unpack


def npy(header: str | bytes, data: bytes = b"") -> bytes:
    """A NumPy file with any header."""
    text = header.encode() if isinstance(header, str) else header
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + data


def npy_shape(shape: str, data: bytes = b"") -> bytes:
    return npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n", data)


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def bomb(size: int) -> bytes:
    """A zip of zeros, a thousand times smaller than what it holds."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("w.npy", "w") as member,
    ):
        member.write(npy_shape(f"({size // 4},)"))
        for _ in range(size // 2**20):
            member.write(bytes(2**20))
    return buffer.getvalue()


CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"


def patched(archive: bytes, offset: int, value: bytes) -> bytes:
    """Overwrite a field of the first member, ``offset`` counted in its local header."""
    data = bytearray(archive)
    for signature, shift in ((LOCAL, 0), (CENTRAL, 2)):
        start = data.find(signature) + offset + shift
        data[start : start + len(value)] = value
    return bytes(data)


def saved(**changes: Any) -> bytes:
    """A plain network with some arrays replaced, or removed by None."""
    arrays = {**arrays_of(), **{key.replace("__", "/"): value for key, value in changes.items()}}
    buffer = io.BytesIO()
    np.savez(buffer, **{key: value for key, value in arrays.items() if value is not None})
    return buffer.getvalue()


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


GOOD = zipped({"w.npy": npy_shape("(2,)", bytes(8))})
NOT_NPZ = "damaged or different file"

FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", NOT_NPZ),
    "text": (lambda: b"version https://git-lfs.github.com/spec/v1\n", NOT_NPZ),
    "random bytes": (lambda: np.random.default_rng(0).bytes(100_000), NOT_NPZ),
    "npy instead of npz": (lambda: npy_shape("(2,)", bytes(8)), NOT_NPZ),
    "truncated": (lambda: saved()[:-200_000], NOT_NPZ),
    "truncated by a byte": (lambda: saved()[:-1], NOT_NPZ),
    "a flipped bit in the numbers": (lambda: flipped(saved(), 5000), "checksum"),
    "a smaller shape": (
        # One bit of the header: (64, 1, 3, 3) becomes (24, 1, 3, 3), fewer numbers than there are.
        lambda: saved().replace(b"(64, 1, 3, 3)", b"(24, 1, 3, 3)"),
        "checksum",
    ),
    "zip of a text": (lambda: zipped({"readme.txt": b"hello"}), "'readme.txt' should be"),
    "zip of nothing": (lambda: zipped({}), "conv8_pi/model/W"),
    "member without magic": (lambda: zipped({"w.npy": b"hello"}), "array"),
    "object array": (
        lambda: saved(conv1__b=np.array([{"a": 1}], dtype=object)),
        "allow_pickle=False",
    ),
    "malicious pickle": (
        lambda: zipped({"w.npy": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n")}),
        "allow_pickle=False",
    ),
    "bomb": (lambda: bomb(MAX_BYTES), f"at most {MAX_BYTES} expected"),
    "bomb that declares little": (
        lambda: patched(bomb(MAX_BYTES), 22, struct.pack("<I", 1000)),
        "checksum",
    ),
    "much declared, nothing there": (
        lambda: patched(GOOD, 22, struct.pack("<I", 2**31)),
        str(2**31),
    ),
    "terabytes by the array's header": (
        lambda: zipped({"w.npy": npy_shape("(1000000000000,)", bytes(8))}),
        NOT_NPZ,
    ),
    "overflowing shape": (
        lambda: zipped({"w.npy": npy_shape("(10000000000, 10000000000)", bytes(8))}),
        NOT_NPZ,
    ),
    "negative shape": (lambda: zipped({"w.npy": npy_shape("(-1,)", bytes(8))}), NOT_NPZ),
    "huge header": (lambda: zipped({"w.npy": npy(b" " * 20_000)}), NOT_NPZ),
    "header that is no literal": (lambda: zipped({"w.npy": npy("{'descr': (((")}), NOT_NPZ),
    "deeply nested header": (lambda: zipped({"w.npy": npy("(" * 9000)}), NOT_NPZ),
    "encrypted": (lambda: patched(GOOD, 6, b"\x01"), "encrypted"),
    "unknown compression": (lambda: patched(GOOD, 8, b"\x63"), NOT_NPZ),
    "damaged LZMA": (
        lambda: flipped(zipped({"w.npy": npy_shape("(9,)", bytes(36))}, zipfile.ZIP_LZMA), 45),
        NOT_NPZ,
    ),
    "NaN": (lambda: saved(conv1__b=np.full(64, np.nan, np.float32)), "'conv1/b' holds NaN"),
    "infinity": (lambda: saved(conv1__b=np.full(64, -np.inf, np.float32)), "'conv1/b' holds NaN"),
    "too large for single precision": (
        lambda: saved(conv1__b=np.full(64, 1e300)),
        "'conv1/b' holds NaN",
    ),
    "integers": (lambda: saved(conv1__b=np.zeros(64, np.int32)), "floats, found int32"),
    "complex": (lambda: saved(conv1__b=np.zeros(64, np.complex64)), "floats, found complex64"),
    "strings": (lambda: saved(conv1__b=np.array(["a"] * 64)), "floats, found <U1"),
}

NETWORKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "missing array": (lambda: saved(diconv3__diconv__b=None), "'diconv3/diconv/b' is missing"),
    "missing first layer": (lambda: saved(conv1__W=None), "conv1/W"),
    "missing head": (lambda: saved(conv7_pi__model__W=None), "conv8_pi/model/W"),
    "extra array": (lambda: saved(conv9__W=np.zeros(3)), "'conv9/W' belongs to no layer"),
    "extra array with a line break": (
        lambda: saved(**{"conv9\n\x1b[31m": np.zeros(3)}),
        r"'conv9\n\x1b[31m' belongs to no layer",
    ),
    "wrong shape": (
        lambda: saved(diconv2__diconv__W=np.zeros((64, 64, 5, 5), np.float32)),
        "diconv2/diconv/W should have shape (64, 64, 3, 3), found (64, 64, 5, 5)",
    ),
    "same size, other shape": (
        lambda: saved(conv1__b=np.zeros((8, 8), np.float32)),
        "conv1/b should have shape (64,), found (8, 8)",
    ),
    "wrong shape of the first layer": (
        lambda: saved(conv1__W=np.zeros((32, 1, 3, 3), np.float32)),
        "array conv1/W of shape (64, 1, 3, 3) expected, found (32, 1, 3, 3)",
    ),
    "no actions": (
        lambda: saved(conv7_pi__model__W=np.zeros((0, 64, 3, 3), np.float32)),
        "(1, 64, 3, 3) expected, found (0, 64, 3, 3)",
    ),
    "billions of actions without a number": (
        lambda: saved(conv7_pi__model__W=np.zeros((10**9, 0, 3, 3), np.float32)),
        "found (1000000000, 0, 3, 3)",
    ),
    "billions of channels without a number": (
        lambda: saved(conv1__W=np.zeros((0, 10**9, 3, 3), np.float32)),
        "found (0, 1000000000, 3, 3)",
    ),
    "vector as head": (lambda: saved(conv7_pi__model__W=np.zeros(9, np.float32)), "found (9,)"),
    "another program's": (lambda: zipped({"w.npy": npy_shape("(2,)", bytes(8))}), "among 1 arrays"),
}


@pytest.mark.parametrize("name", FILES | NETWORKS)
def test_bad_file_is_refused(name: str, tmp_path: Path) -> None:
    make, expected = (FILES | NETWORKS)[name]
    path = tmp_path / "model.npz"
    path.write_bytes(make())
    assert expected in refusal(load_network, path)


@pytest.mark.parametrize("name", FILES)
def test_bad_file_initialises_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(FILES[name][0]())
    model = network()
    before = {key: array.copy() for key, array in network_arrays(model).items()}
    refusal(lambda p: initialise(model, p), path)
    assert_same(network_arrays(model), before)


def test_the_good_file_of_these_tests_is_good(tmp_path: Path) -> None:
    """Otherwise each of them might be refused for another reason."""
    (tmp_path / "a.npz").write_bytes(saved())
    load_network(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(GOOD)
    assert_same(unpack(tmp_path / "b.npz"), {"w": np.zeros(2, np.float32)})
    (tmp_path / "c.npz").write_bytes(
        zipped({"w.npy": npy_shape("(9,)", bytes(36))}, zipfile.ZIP_LZMA)
    )
    assert_same(unpack(tmp_path / "c.npz"), {"w": np.zeros(9, np.float32)})


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "pwned"),)

    path = tmp_path / "model.npz"
    np.savez(path, **{"conv1/W": np.array([Evil()], dtype=object)})
    refusal(load_network, path)
    assert not (tmp_path / "pwned").exists()


def test_size_is_judged_before_anything_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(saved())
    size = sum(member.file_size for member in zipfile.ZipFile(path).infolist())
    monkeypatch.setattr(weights, "MAX_BYTES", size)
    load_network(path)
    monkeypatch.setattr(weights, "MAX_BYTES", size - 1)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    assert str(size) in refusal(load_network, path)


SMALL = zipped({f"{name}.npy": npy_shape("(12,)", bytes(range(48))) for name in "ab"})
SMALL_ARRAYS = {name: np.frombuffer(bytes(range(48)), np.float32) for name in "ab"}


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_any_damage_is_reported_or_harmless(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any byte changed, cut or inserted: the same arrays come out, or one clear line."""
    position = data.draw(st.integers(0, len(SMALL) - 1))
    kind = data.draw(st.sampled_from(("change", "cut", "insert")))
    value = data.draw(st.binary(min_size=1, max_size=3))
    removed = 0 if kind == "insert" else len(value)
    damaged = SMALL[:position] + (b"" if kind == "cut" else value) + SMALL[position + removed :]
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(damaged)
    try:
        assert_same(unpack(path), SMALL_ARRAYS)
    except WeightsError:
        refusal(unpack, path)
