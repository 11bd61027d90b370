"""Bringing downloaded data into the layout: every origin, hostile archives, interruptions."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from collections import namedtuple
from collections.abc import Callable, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest
import small
from click.testing import CliRunner

from pixelrl_chainer import checks, sources, trees
from pixelrl_chainer import prepare as module
from pixelrl_chainer.cli import cli
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.errors import ConfigError, DataError
from pixelrl_chainer.prepare import prepare
from pixelrl_chainer.recipes import RECIPES
from pixelrl_chainer.trees import open_tree

Files = Mapping[str, bytes]


def image(seed: int = 0, channels: int = 3, ending: str = ".png", height: int = 12) -> bytes:
    encoded = cv2.imencode(ending, small.texture(seed, height, 16, channels))[1]
    return bytes(encoded.tobytes())


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_tar(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


WRITERS: dict[str, Callable[[Path, Files], Path]] = {
    "folder": write,
    "tar.gz": write_tar,
    "zip": write_zip,
}


def below(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


NEWS = {
    "20news-bydate-train/alt.atheism/51060": b"From: a\n\nText",
    "20news-bydate-train/sci.space/3": "Caf\u00e9".encode("latin-1"),
    "20news-bydate-test/sci.space/4": "Caf\u00e9".encode(),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_newsgroups(tmp_path: Path, kind: str) -> None:
    origin = WRITERS[kind](tmp_path / f"20news-bydate.{kind}", NEWS)
    report = prepare("Newsgroups", origin, tmp_path / "news", progress=False)
    assert (report.ok, report.good) == (True, 3)
    assert below(tmp_path / "news") == {
        "train/alt.atheism.51060.txt": b"From: a\n\nText",
        "train/sci.space.3.txt": "Caf\u00e9".encode(),
        "test/sci.space.4.txt": "Caf\u00e9".encode(),
    }


def test_newsgroups_in_our_layout(tmp_path: Path) -> None:
    origin = write(tmp_path / "from", {"a/train/x.txt": b"1", "a/test/y.txt": b"2", "a/z.txt": b""})
    prepare("newsgroups", origin, tmp_path / "to", progress=False)
    assert below(tmp_path / "to") == {"train/x.txt": b"1", "test/y.txt": b"2"}


@pytest.fixture
def bsd(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """BSD68 of two test images and one for training."""
    registered = dict.fromkeys(("test/101085.jpg", "test/12084.jpg", "train/100007.jpg"), "0" * 64)
    monkeypatch.setattr(sources, "checksums", lambda name: registered)
    return registered


def test_bsd68_of_the_authors(tmp_path: Path, bsd: dict[str, str]) -> None:
    files = {f"BSD68/gray/{name}": image(i, 1, ".jpg") for i, name in enumerate(bsd)}
    colour = {f"BSD68/color/{name}": image(9, 3, ".jpg") for name in bsd}
    overlay = {f"BSD68/gray/test_text/{Path(name).name}": image(8, 1, ".jpg") for name in bsd}
    origin = write(tmp_path / "from", {**overlay, **files, **colour, "BSD68/gray/more.jpg": b"no"})
    prepare("bsd68", origin, tmp_path / "to", progress=False)
    assert below(tmp_path / "to") == {
        name.removeprefix("BSD68/gray/"): content for name, content in files.items()
    }, "gray JPEG files are kept byte for byte"


@pytest.mark.usefixtures("bsd")
def test_bsd68_from_bsds500(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = ("val/101085", "val/12084", "test/100007", "train/8049")
    root = "BSR/BSDS500/data/images"
    files = {f"{root}/{place}.jpg": image(i, 3, ".jpg") for i, place in enumerate(places)}
    report = prepare(
        "bsd68", write_tar(tmp_path / "a.tgz", files), tmp_path / "bsd68", progress=False
    )
    assert len(report.wrong) == 3, "other bytes than the authors', so results are marked"
    assert set(below(tmp_path / "bsd68")) == set(sources.checksums("bsd68"))
    stored = cv2.imread(str(tmp_path / "bsd68/test/12084.jpg"), cv2.IMREAD_UNCHANGED)
    data = np.frombuffer(files[f"{root}/val/12084.jpg"], np.uint8)
    gray = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert stored.ndim == 2
    assert np.mean((stored.astype(float) - gray) ** 2) < 0.2
    monkeypatch.setenv("PIXELRL_DATA", str(tmp_path))
    assert open_dataset("bsd68", "test").names == ("101085", "12084")


@pytest.mark.usefixtures("bsd")
@pytest.mark.parametrize(
    "names", [("101085.png", "12084.png"), ("gray/test001.png", "gray/test002.png")]
)
def test_bsd68_test_images_only(tmp_path: Path, names: tuple[str, str]) -> None:
    origin = write(tmp_path / "from", {name: image(i, 1) for i, name in enumerate(names)})
    report = prepare("bsd68", origin, tmp_path / "to", progress=False)
    assert set(below(tmp_path / "to")) == {"test/101085.jpg", "test/12084.jpg"}
    assert report.missing == ("train/100007.jpg",)


@pytest.mark.usefixtures("bsd")
def test_incomplete_bsd68(tmp_path: Path) -> None:
    origin = write(tmp_path / "from", {"val/101085.jpg": image(0)})
    with pytest.raises(DataError, match=r"1 test images missing, 0 training .*; found val"):
        prepare("bsd68", origin, tmp_path / "to", progress=False)
    write(origin, {"val/12084.jpg": b"no image"})
    with pytest.raises(DataError, match=r"val/12084.jpg is not an image"):
        prepare("bsd68", origin, tmp_path / "to", progress=False)
    assert not (tmp_path / "to").exists()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A style has 2 and 1 pairs."""
    monkeypatch.setattr(checks, "STYLE_PAIRS", {"train": 2, "test": 1})


def yan(labels: str = "Local_Xpro") -> dict[str, bytes]:
    """Return the layout of Yan et al. with three photographs."""
    sides = ("set/data", f"set/{labels}")
    tiffs = {f"{side}/{i}.tif": image(int(i), ending=".tif") for side in sides for i in "123"}
    other = {f"set/Watercolor/{i}.tif": image(7, ending=".tif") for i in "123"}
    return {**tiffs, **other, "set/train_id.txt": b"1\r\n3.tif\r\n", "set/test_id.txt": b"2\n"}


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("labels", ["Local_Xpro", "label"])
def test_style_of_yan(tmp_path: Path, kind: str, labels: str) -> None:
    files = yan(labels)
    origin = WRITERS[kind](tmp_path / f"yan.{kind}", files)
    report = prepare("color-local-xpro", origin, tmp_path / "to", progress=False)
    assert report.ok
    assert below(tmp_path / "to") == {
        f"{split}/{side}/{number}.tif": files[f"set/{folder}/{number}.tif"]
        for split, numbers in (("train", "13"), ("test", "2"))
        for number in numbers
        for side, folder in (("input", "data"), ("target", labels))
    }, "files are kept byte for byte, with their colour profiles"


@pytest.mark.usefixtures("few")
def test_style_in_our_layout(tmp_path: Path) -> None:
    names = ("train/input/a", "train/input/b", "test/input/c")
    inputs = {f"x/{name}.webp": image(i, ending=".webp") for i, name in enumerate(names)}
    targets = {name.replace("input", "target"): content for name, content in inputs.items()}
    origin = write(tmp_path / "from", {**inputs, **targets})
    prepare("color-watercolor", origin, tmp_path / "to", progress=False)
    assert {f"x/{name}" for name in below(tmp_path / "to")} == {*inputs, *targets}


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"set/test_id.txt": None}, r"expected \{train,test\}.*\(0 with test\); found set"),
        ({"set/my_train.txt": b"1"}, r"\(2 with train\)"),
        ({"set/test_id.txt": b"3"}, r"1 images are in both lists \(3, "),
        ({"set/test_id.txt": b"9"}, r"1 images of the test list have no input, the first is 9"),
        ({"set/Local_Xpro/2.tif": None}, r"the test list have no target, the first is 2"),
        ({"set/train_id.txt": b"1"}, r"not a usable copy of color-local-xpro: 1 train pairs"),
        (
            {"set/Local_Xpro/2.tif": image(0, ending=".tif", height=9)},
            r"2: sizes 16×12 and 16×9 differ; nothing was prepared",
        ),
        ({"set/data/1.tif": b"II"}, r"1 unusable files \(train/input/1.tif"),
    ],
)
def test_unusable_style(tmp_path: Path, change: dict[str, bytes | None], expected: str) -> None:
    files = {name: data for name, data in {**yan(), **change}.items() if data is not None}
    with pytest.raises(DataError, match=expected) as error:
        prepare("color-local-xpro", write(tmp_path / "a", files), tmp_path / "to", progress=False)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a"], "something was left"


def test_saliency(tmp_path: Path) -> None:
    photos = {f"ECSSD/images/000{i}.jpg": image(i, 3, ".jpg") for i in (1, 2)}
    masks = {f"ECSSD/ground_truth_mask/000{i}.png": image(i, 1) for i in (1, 2)}
    junk = {"ECSSD/readme.txt": b"", "__MACOSX/images/._1.jpg": b"", "ECSSD/.DS_Store": b""}
    origin = write_zip(tmp_path / "a.zip", {**photos, **masks, **junk})
    assert prepare("saliency", origin, tmp_path / "to", progress=False).ok
    assert list(below(tmp_path / "to")) == [
        *("images/0001.jpg", "images/0002.jpg", "masks/0001.png", "masks/0002.png")
    ]
    lone = write_zip(tmp_path / "b.zip", {**photos, **dict(list(masks.items())[:1])})
    with pytest.raises(DataError, match="1 without partner in masks"):
        prepare("saliency", lone, tmp_path / "other", progress=False)
    with pytest.raises(DataError, match="expected a folder images and a folder ground_truth_mask"):
        prepare("saliency", write_zip(tmp_path / "c.zip", photos), tmp_path / "b", progress=False)


def test_waterloo_is_a_name_for_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELRL_DATA", str(tmp_path))
    monkeypatch.setitem(checks.LOOKS, "waterloo", lambda folder: checks.look_at_images(folder, 2))
    origin = write(tmp_path / "from", {f"pristine_images/0000{i}.bmp": image(i) for i in (1, 2)})
    assert prepare("waterloo", origin, progress=False).good == 2
    assert open_dataset("waterloo", "train").names == ("00001", "00002")


def test_folder_of_images(tmp_path: Path) -> None:
    origin = write(tmp_path / "from", {"a/0.png": image(0), "b/1.png": image(1), "b/notes": b""})
    prepare("text-masks", origin, tmp_path / "to", progress=False)
    assert list(below(tmp_path / "to")) == ["0.png", "1.png"]
    with pytest.raises(DataError, match="2 images, expected 4744; nothing was prepared"):
        prepare("waterloo", origin, tmp_path / "w", progress=False)
    write(origin, {"b/0.PNG": image(2)})
    with pytest.raises(DataError, match="a/0.png and b/0.PNG would both become 0.PNG"):
        prepare("text-masks", origin, tmp_path / "w", progress=False)
    empty = write(tmp_path / "empty", {"a.txt": b""})
    with pytest.raises(DataError, match="expected images; found a.txt"):
        prepare("text-masks", empty, tmp_path / "w", progress=False)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (member("../../evil.txt"), "leads out of the archive"),
        (member("/etc/evil.txt"), "leads out of the archive"),
        (member("a/../../evil.txt"), "leads out of the archive"),
        (member("C:\\evil.txt"), "leads out of the archive"),
        (member("train/x.txt", tarfile.SYMTYPE, "/etc/passwd"), "is a link or a device"),
        (member("train/x.txt", tarfile.LNKTYPE, "../../x"), "is a link or a device"),
        (member("train/x.txt", tarfile.FIFOTYPE), "is a link or a device"),
        (member("train/x.txt", tarfile.CHRTYPE), "is a link or a device"),
    ],
)
def test_hostile_tar(tmp_path: Path, info: tarfile.TarInfo, expected: str) -> None:
    origin = tmp_path / "in" / "evil.tar"
    origin.parent.mkdir()
    with tarfile.open(origin, "w") as archive:
        archive.addfile(member("train/a.txt"))
        archive.addfile(info)
    with pytest.raises(DataError, match=expected) as error:
        prepare("newsgroups", origin, tmp_path / "in" / "to", progress=False)
    assert "\n" not in str(error.value)
    assert below(tmp_path) == {"in/evil.tar": origin.read_bytes()}


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "..\\evil.txt"])
def test_hostile_zip(tmp_path: Path, name: str) -> None:
    origin = write_zip(tmp_path / "evil.zip", {"train/a.txt": b"a", name: b"evil"})
    with pytest.raises(DataError, match="leads out of the archive"):
        prepare("newsgroups", origin, tmp_path / "to", progress=False)
    link = zipfile.ZipInfo("train/x.txt")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="is a link"):
        prepare("newsgroups", tmp_path / "link.zip", tmp_path / "to", progress=False)


def test_archives_that_are_none(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar.gz", {"train/a.txt": os.urandom(100_000)}).read_bytes()
    for content in (b"", b"no archive", whole[:-20_000]):
        (tmp_path / "b.tar.gz").write_bytes(content)
        with pytest.raises(DataError, match="not a whole tar or zip archive") as error:
            prepare("newsgroups", tmp_path / "b.tar.gz", tmp_path / "to", progress=False)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="does not exist; expected a folder or an archive"):
        prepare("newsgroups", tmp_path / "nowhere", tmp_path / "to", progress=False)
    assert not (tmp_path / "to").exists()


def test_size_of_files_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "LARGEST_FILE", 100)
    for kind, writer in WRITERS.items():
        origin = writer(tmp_path / f"a.{kind}", {"a": b"x" * 101, "b": b"x" * 100})
        with open_tree(origin) as tree:
            assert len(tree.open("b")) == 100
            with pytest.raises(DataError, match="a has 101 bytes; expected at most 100"):
                tree.open("a")


def test_existing_folder_is_kept_unless_forced(tmp_path: Path) -> None:
    origin = write(tmp_path / "from", NEWS)
    write(tmp_path / "to", {"mine.txt": b"mine"})
    with pytest.raises(DataError, match="exists: choose another folder with -o, or replace it"):
        prepare("newsgroups", origin, tmp_path / "to", progress=False)
    assert below(tmp_path / "to") == {"mine.txt": b"mine"}
    prepare("newsgroups", origin, tmp_path / "to", force=True, progress=False)
    assert len(below(tmp_path / "to")) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["from", "to"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_interruption_leaves_nothing_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    origin = write(tmp_path / "from", NEWS)
    write(tmp_path / "to", {"mine.txt": b"mine"})
    written: list[str] = []

    def interrupted(content: bytes, name: str) -> bytes:
        written.append(name)
        if len(written) == 2:
            raise error
        return content

    plan, convert = RECIPES["newsgroups"]
    monkeypatch.setitem(RECIPES, "newsgroups", (plan, interrupted))
    expected: type[BaseException] = DataError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match=r"cannot write .*No space left|^$"):
        prepare("newsgroups", origin, tmp_path / "to", force=True, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["from", "to"]
    assert below(tmp_path / "to") == {"mine.txt": b"mine"}
    monkeypatch.setitem(RECIPES, "newsgroups", (plan, convert))
    assert prepare("newsgroups", origin, tmp_path / "to", force=True, progress=False).good == 3


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    origin = write(tmp_path / "from", NEWS)
    write(tmp_path / ".to.partial", {"train/half.txt": b"ha"})
    prepare("newsgroups", origin, tmp_path / "to", progress=False)
    assert "train/half.txt" not in below(tmp_path / "to")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["from", "to"]


def test_killed_between_the_two_renames(tmp_path: Path) -> None:
    """The old folder was set aside, the new one not yet in place: the old one comes back."""
    origin = write(tmp_path / "from", {"readme": b""})
    write(tmp_path / ".to.old", {"mine.txt": b"mine"})
    with pytest.raises(DataError, match="expected 20news"):
        prepare("newsgroups", origin, tmp_path / "to", progress=False)
    write(origin, NEWS)
    prepare("newsgroups", origin, tmp_path / "to", progress=False)
    assert len(below(tmp_path / "to")) == 3


def test_full_disk_is_noticed_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(0, 0, 5))
    origin = write(tmp_path / "from", NEWS)
    with pytest.raises(DataError, match=r"too full: 0 MB needed, 0 MB free; choose another"):
        prepare("newsgroups", origin, tmp_path / "a" / "b", progress=False)
    assert not (tmp_path / "a").exists()


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    origin = write(tmp_path / "from", NEWS)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write .*choose another folder") as error:
        prepare("newsgroups", origin, tmp_path / "file" / "to", progress=False)
    assert "\n" not in str(error.value)


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot prepare 'fonts': expected one of bsd68, news"):
        prepare("fonts", tmp_path)


def test_default_place_is_where_the_set_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELRL_DATA", str(tmp_path / "data"))
    origin = write(tmp_path / "from", {"a.png": image(0)})
    report = prepare("text-masks", origin, progress=False)
    assert report.folder == tmp_path / "data" / "text_masks" == sources.find("text-masks")
    for name in RECIPES:
        assert sources.default_destination(name) == sources.places(name)[0]


def test_command(tmp_path: Path) -> None:
    origin = write(tmp_path / "from", NEWS)
    arguments = ["data", "prepare", "newsgroups", "--from", str(origin), "-o", str(tmp_path / "to")]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "3 good" in done.output
    assert isinstance(CliRunner().invoke(cli, arguments).exception, DataError)
    assert CliRunner().invoke(cli, [*arguments, "--force"]).exit_code == 0


def test_fetch_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_tar(tmp_path / "news.tar.gz", NEWS)
    requests: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None:
            requests.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/news.tar.gz"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    monkeypatch.delenv("PIXELRL_DATA", raising=False)
    try:
        monkeypatch.setitem(module.ARCHIVES, "newsgroups", (url, "0" * 64))
        with pytest.raises(DataError, match=r"cannot fetch .*data prepare newsgroups") as error:
            module.fetch("newsgroups", progress=False)
        assert "\n" not in str(error.value)
        monkeypatch.setitem(module.ARCHIVES, "newsgroups", (url, digest))
        folder = module.fetch("newsgroups", progress=False)
        assert folder == sources.find("newsgroups")
        assert len(below(folder)) == 3
        requests.clear()
        with pytest.raises(DataError, match="exists"):
            module.fetch("newsgroups", progress=False)
        module.fetch("newsgroups", tmp_path / "other", progress=False)
        assert requests == [], "the archive is kept"
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(DataError, match="saliency cannot be downloaded; run"):
        module.fetch("saliency")
