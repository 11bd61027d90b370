"""How the files of a downloaded data set are found, and how they are stored in our layout."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath

import cv2
import numpy as np

from . import sources
from .errors import DataError
from .images import SUFFIXES
from .paper import STYLES
from .trees import Tree

Plan = dict[str, str]
"""Name in the layout by name in the tree."""

Convert = Callable[[bytes, str], bytes]
"""(content, name in the tree) -> content as it is stored."""

JPEG_QUALITY = 100
"""Of images that are stored as JPEG because the authors' copy is."""


def _keep(content: bytes, name: str) -> bytes:
    """Store a file as it is."""
    return content


def _text(content: bytes, name: str) -> bytes:
    """Store a document as UTF-8: what is not, is taken for Latin-1."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1").encode("utf-8")
    return content


def _gray_jpeg(content: bytes, name: str) -> bytes:
    """Store an image as gray JPEG of the best quality; a gray JPEG as it is."""
    data = np.frombuffer(content, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None:
        raise DataError(f"{name} is not an image that OpenCV can read; download it again")
    if image.ndim == 2 and content.startswith(b"\xff\xd8"):
        return content
    gray = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    encoded = cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return bytes(encoded.tobytes())


def _images(tree: Tree) -> list[PurePosixPath]:
    """Return the names of the images of a tree."""
    paths = [PurePosixPath(name) for name in tree.sizes]
    return [path for path in paths if path.suffix.lower() in SUFFIXES]


def _unlike(tree: Tree, expected: str) -> DataError:
    """Return the error of a tree that is not what it should be."""
    below = sorted({PurePosixPath(name).parts[0] for name in tree.sizes})
    shown = ", ".join(below[:5]) + (", …" if len(below) > 5 else "")
    return DataError(f"{tree.place}: expected {expected}; found {shown or 'nothing'}")


def _plan_bsd68(tree: Tree) -> Plan:
    """Find the images of BSD68 by their numbers, in BSDS500, CBSD68 or the authors' repository.

    Of several images of one number, those in a folder named like the split are taken, and gray ones
    before colour: the authors' repository has both, and images under text. A tree without training
    images gives the test images only.
    """
    wanted = {PurePosixPath(file).stem: file for file in sources.checksums("bsd68")}
    tests = [stem for stem, file in wanted.items() if file.startswith("test/")]
    numbered = {f"test{number:03}": stem for number, stem in enumerate(tests, start=1)}
    chosen: dict[str, tuple[bool, bool, PurePosixPath]] = {}
    for path in _images(tree):
        if file := wanted.get(numbered.get(path.stem, path.stem)):
            in_place = path.parts[-2:-1] == PurePosixPath(file).parts[:1]
            found = (in_place, "gray" in path.parts, path)
            chosen[file] = max(found, chosen.get(file, found))
    missing = [wanted[stem] for stem in tests if wanted[stem] not in chosen]
    training = len(chosen) - (len(tests) - len(missing))
    if missing or training not in (0, len(wanted) - len(tests)):
        raise _unlike(
            tree,
            f"all 68 test images and all or none of the {len(wanted) - len(tests)} training images "
            f"of BSD68 by number, for example 101085.jpg ({len(missing)} test images missing, "
            f"{training} training images found)",
        )
    return _in_order(tree, {str(path): file for file, (_, _, path) in chosen.items()})


_DOCUMENT = re.compile(r"(?:^|/)(?:20news-bydate-)?(train|test)/([a-z0-9.-]+)/(\d+)$")
_PLAIN_DOCUMENT = re.compile(r"(?:^|/)(train|test)/([^/]+)\.txt$")


def _plan_newsgroups(tree: Tree) -> Plan:
    """Find documents as 20news-bydate has them, or as text files in train and test."""
    plan = {}
    for name in tree.sizes:
        if found := _DOCUMENT.search(name):
            split, group, number = found.groups()
            plan[name] = f"{split}/{group}.{number}.txt"
        elif found := _PLAIN_DOCUMENT.search(name):
            plan[name] = f"{found[1]}/{found[2]}.txt"
    if not plan:
        raise _unlike(tree, "20news-bydate-train/GROUP/NUMBER or train/NAME.txt, and test")
    return _unique(tree, plan)


def _plan_folder(tree: Tree) -> Plan:
    """Take all images of a tree into one folder."""
    images = _images(tree)
    if not images:
        raise _unlike(tree, "images")
    return _unique(tree, {str(path): path.name for path in images})


def _plan_style(style: str, tree: Tree) -> Plan:
    """Find the pairs of a style, by split and side or in the layout of Yan et al."""
    images = _images(tree)
    plan = {
        str(path): "/".join((*path.parts[-3:-1], path.name))
        for path in images
        if path.parts[-3:-1] in {(s, t) for s in ("train", "test") for t in ("input", "target")}
    }
    if plan:
        return _unique(tree, plan)
    lists = _id_lists(tree)
    sides: dict[str, dict[str, PurePosixPath]] = {"input": {}, "target": {}}
    names = {"data": "input", "label": "target", _plain(style): "target"}
    for path in images:
        if len(path.parts) > 1 and (side := names.get(_plain(path.parts[-2]))):
            sides[side][path.stem] = path
    for split, ids in lists.items():
        for side, found in sides.items():
            if absent := [one for one in ids if one not in found]:
                raise DataError(
                    f"{tree.place}: {len(absent)} images of the {split} list have no {side}, the "
                    f"first is {absent[0]}; expected data/ID.tif and {style}/ID.tif or label/ID.tif"
                )
            for one in ids:
                plan[str(found[one])] = f"{split}/{side}/{found[one].name}"
    return _in_order(tree, plan)


def _id_lists(tree: Tree) -> dict[str, list[str]]:
    """Read the two lists of IDs of Yan et al.'s layout."""
    lists = {}
    for split in ("train", "test"):
        files = [
            name
            for name in tree.sizes
            if name.endswith(".txt") and split in PurePosixPath(name).stem.lower()
        ]
        if len(files) != 1:
            raise _unlike(
                tree,
                "{train,test}/{input,target}, or data, label and one text file of IDs each with "
                f"train and test in its name ({len(files)} with {split})",
            )
        words = tree.open(files[0]).decode("utf-8", "replace").replace("\\", "/").split()
        paths = [PurePosixPath(word) for word in words]
        lists[split] = [p.stem if p.suffix.lower() in SUFFIXES else p.name for p in paths]
    if both := set(lists["train"]) & set(lists["test"]):
        raise DataError(f"{tree.place}: {len(both)} images are in both lists ({min(both)}, …)")
    return lists


_SALIENCY_FOLDERS = {
    **dict.fromkeys(("images", "image", "imgs", "input"), "images"),
    **dict.fromkeys(("groundtruthmask", "masks", "mask", "gt", "groundtruth"), "masks"),
}


def _plan_saliency(tree: Tree) -> Plan:
    """Find photographs and masks by the names of their folders, as ECSSD and others call them."""
    plan = {
        str(path): f"{_SALIENCY_FOLDERS[_plain(path.parts[-2])]}/{path.name}"
        for path in _images(tree)
        if len(path.parts) > 1 and _plain(path.parts[-2]) in _SALIENCY_FOLDERS
    }
    if {name.partition("/")[0] for name in plan.values()} != {"images", "masks"}:
        raise _unlike(tree, "a folder images and a folder ground_truth_mask or masks")
    return _unique(tree, plan)


def _plain(name: str) -> str:
    """Letters and digits of a name."""
    return re.sub("[^a-z0-9]", "", name.lower())


def _in_order(tree: Tree, plan: Plan) -> Plan:
    """Sort a plan as the tree is, in which order an archive is read once."""
    return {name: plan[name] for name in tree.sizes if name in plan}


def _unique(tree: Tree, plan: Plan) -> Plan:
    """Return the plan; DataError if two files would get one name."""
    taken: dict[str, str] = {}
    for file, name in plan.items():
        if taken.setdefault(name.lower(), file) != file:
            raise DataError(
                f"{tree.place}: {taken[name.lower()]} and {file} would both become {name}; give "
                "the folder that holds one copy only"
            )
    return plan


RECIPES: dict[str, tuple[Callable[[Tree], Plan], Convert]] = {
    "bsd68": (_plan_bsd68, _gray_jpeg),
    "newsgroups": (_plan_newsgroups, _text),
    "text-masks": (_plan_folder, _keep),
    **{f"color-{style}": (partial(_plan_style, style), _keep) for style in STYLES},
    "saliency": (_plan_saliency, _keep),
    "waterloo": (_plan_folder, _keep),
}
"""How a set is found in a tree, and how its files are stored."""
