"""Where files that are not part of the package lie, what they must contain, how to fetch them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pooch
from tqdm import tqdm

from .errors import DataError
from .paper import STYLES

PUBLISHED_COMMIT = "e0f5d35f4303724d90c1f5c6d9663c07284419e3"
"""Commit of the authors' repository whose files the checksums were computed from."""

REPOSITORY = "https://github.com/rfuruta/pixelRL"
_RAW = f"https://raw.githubusercontent.com/rfuruta/pixelRL/{PUBLISHED_COMMIT}/"
_CACHE_NAME = "pixelrl_chainer"


@dataclass(frozen=True)
class Source:
    """A set of files.

    Attributes
    ----------
    name : str
        Name of the set and of its registry.
    url : str or None
        Address below which the files lie under their registered names; None: not downloadable.
    places : callable
        Returns the folders in which the set is looked for, first choice first.
    by_hand : str
        What to do without a network, as the end of a sentence.
    exact : bool
        Whether the registered files are the set; else they are those of one known copy.
    """

    name: str
    url: str | None
    places: Callable[[], list[Path]]
    by_hand: str
    exact: bool = True


def cache() -> Path:
    """Return the user's cache."""
    return Path(pooch.os_cache(_CACHE_NAME))


def user_places(name: str) -> list[Path]:
    """Return the folders searched for a set that is not part of a package, first choice first."""
    root = os.environ.get("PIXELRL_DATA")
    own = [Path(root).expanduser() / name] if root else []
    return [*own, Path("data") / name, cache() / name]


def _scikit_image_places() -> list[Path]:
    """Return the folder of the photographs inside the scikit-image package."""
    package = importlib.util.find_spec("skimage")
    folders = package.submodule_search_locations if package else None
    return [Path(folder) / "data" for folder in folders or ()]


def _from_user(
    name: str, by_hand: str, *folders: str, url: str | None = None, exact: bool = False
) -> Source:
    """Make the entry of a set that the user fetches or brings, in folders of its or other names."""

    def places() -> list[Path]:
        return [place for folder in folders or (name,) for place in user_places(folder)]

    return Source(name, url, places, by_hand, exact)


_PREPARE = "run 'pixelrl-chainer data prepare {} --from PATH'"

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            "bundled",
            None,
            _scikit_image_places,
            "reinstall scikit-image 0.22 or later with pip",
        ),
        _from_user(
            "bsd68",
            f"copy the folders train and test of BSD68/gray in {REPOSITORY} there",
            url=_RAW + "BSD68/gray/",
            exact=True,
        ),
        _from_user(
            "official-weights",
            f"copy the folders denoise* and initial_weight of {REPOSITORY} there",
            url=_RAW,
            exact=True,
        ),
        _from_user(
            "extra-weights",
            "copy the two files there if you have them",
            *("extra-weights", "official-weights"),
            exact=True,
        ),
        _from_user(
            "bsd68-text",
            "copy the authors' 68 images into the folder test_text there",
            "bsd68",
            exact=True,
        ),
        _from_user("newsgroups", "run 'pixelrl-chainer data fetch newsgroups'"),
        _from_user("text-masks", _PREPARE.format("text-masks"), "text_masks"),
        _from_user("fonts", "copy Liberation Sans and Serif there, 8 files"),
        *(
            _from_user(
                f"color-{style}",
                _PREPARE.format(f"color-{style}"),
                *(f"color/{style}", f"color/{style.rpartition('-')[2]}"),
            )
            for style in STYLES
        ),
        _from_user("saliency", _PREPARE.format("saliency")),
        _from_user("waterloo", _PREPARE.format("waterloo")),
    )
}
"""Every set of files the program knows, by name."""


def checksums(name: str) -> dict[str, str]:
    """Return the registered files of a set.

    Parameters
    ----------
    name : str
        One of :data:`SOURCES`.

    Returns
    -------
    dict
        SHA-256 (64 hexadecimal digits) by file name relative to the set's folder, with "/"; empty
        for a set without a registry.

    Raises
    ------
    DataError
        If the name is unknown.
    """
    file = resources.files(__package__) / "registry" / f"{_source(name).name}.txt"
    text = file.read_text(encoding="ascii") if file.is_file() else ""
    return dict(line.split() for line in text.splitlines())


def places(name: str) -> list[Path]:
    """Return the folders searched for a set, first choice first.

    Those are ``$PIXELRL_DATA/<name>``, ``data/<name>`` below the current folder and the user's
    cache; for the bundled photographs, the data folder of scikit-image.

    Raises
    ------
    DataError
        If the name is unknown.
    """
    return _source(name).places()


def find(name: str) -> Path | None:
    """Return the first of :func:`places` that holds a file of the set, or None.

    Of a set that is not defined by its registry, the first that is there.

    Raises
    ------
    DataError
        If the name is unknown.
    """
    if not _source(name).exact:
        return next((place for place in places(name) if place.is_dir()), None)
    names = checksums(name)
    return next((p for p in places(name) if any((p / file).is_file() for file in names)), None)


def published_weights(name: str) -> Path | None:
    """Return a weight file of the authors, or None where it is not on this machine."""
    for source in SOURCES:
        folder = find(source) if source.endswith("-weights") else None
        if folder is not None and (folder / name).is_file():
            return folder / name
    return None


def available() -> dict[str, Path | None]:
    """Return where each known set of files lies, None for those not on this machine."""
    return {name: find(name) for name in SOURCES}


def missing_message(name: str) -> str:
    """Return the line that tells a user how to obtain a set that was not found."""
    looked = ", ".join(str(place) for place in places(name))
    return f"{name} was not found (looked in {looked or 'no folder'}); {remedy(name)}"


def remedy(name: str) -> str:
    """Return what to do to obtain a set."""
    source = _source(name)
    return f"run 'pixelrl-chainer data fetch {name}'" if source.url else source.by_hand


def fetch(
    name: str,
    destination: str | Path | None = None,
    *,
    progress: bool = True,
    retries: int = 2,
) -> Path:
    """Download a set of files, each checked against its SHA-256 before it gets its name.

    Files that are already there with the right content are kept, so an interrupted download goes
    on where it stopped when the call is repeated.

    Parameters
    ----------
    name : str
        A set of :data:`SOURCES` with an address.
    destination : str or Path, optional
        Folder to fill; by default ``$PIXELRL_DATA/<name>`` or the user's cache.
    progress : bool
        Show a progress bar on a terminal.
    retries : int
        How often a failed file is tried again.

    Returns
    -------
    Path
        The folder, complete.

    Raises
    ------
    DataError
        If the set is unknown or has no address, the network or the disk fails, or the server
        sends a file with another checksum.
    """
    source = _source(name)
    if source.url is None:
        raise DataError(f"{name} cannot be downloaded; {source.by_hand}")
    folder = Path(destination) if destination is not None else default_destination(source.name)
    registered = checksums(name)
    store = pooch.create(folder, source.url, registry=registered, retry_if_failed=retries)
    pooch.get_logger().setLevel("WARNING")
    for file in tqdm(registered, desc=name, unit="file", disable=None if progress else True):
        _fetch_file(store, file, source.by_hand)
    return folder


def _fetch_file(store: pooch.Pooch, file: str, by_hand: str) -> None:
    """Download one file unless it is there, or say in one line why that failed."""
    url, folder = store.get_url(file), store.path
    try:
        store.fetch(file)
    except ValueError:
        raise DataError(
            f"{url} does not have the registered SHA-256 and was not kept; "
            f"run the command again, or {by_hand} ({folder})"
        ) from None
    except OSError as error:
        raise DataError(
            f"cannot fetch {url} into {folder} ({error.strerror or type(error).__name__}); check "
            f"network and disk and run the command again (finished files are kept), or {by_hand}"
        ) from error


def default_destination(name: str) -> Path:
    """Return the folder that a set is put into: the user's own choice or the cache."""
    first, second, *_ = _source(name).places()
    return first if os.environ.get("PIXELRL_DATA") else second


def _source(name: str) -> Source:
    """Return a set by name, in any case."""
    try:
        return SOURCES[name.lower()]
    except KeyError:
        raise DataError(
            f"unknown set of files {name!r}; expected one of {', '.join(SOURCES)}"
        ) from None
