"""Bringing a downloaded data set into the layout in which the program finds it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pooch
from tqdm import tqdm

from . import sources
from .checks import LOOKS, CheckReport, check
from .errors import ConfigError, DataError, reason
from .recipes import RECIPES
from .trees import open_tree

ARCHIVES = {
    "newsgroups": (
        "https://ndownloader.figshare.com/files/5975967",
        "8f1b2514ca22a5ade8fbb9cfa5727df95fa587f4c87b786e15c759fa66d95610",
    ),
}
"""Address and SHA-256 of archives that can be downloaded: 20news-bydate.tar.gz as scikit-learn
fetches it."""


def fetch(name: str, destination: Path | None = None, *, progress: bool = True) -> Path:
    """Download a set: file by file, or as an archive that is then prepared.

    Parameters
    ----------
    name : str
        Key of :data:`ARCHIVES`, or a set that :func:`pixelrl_chainer.sources.fetch` knows.
    destination : Path or None
        Folder to fill.
    progress : bool
        Show progress bars on a terminal.

    Returns
    -------
    Path
        The folder, complete.

    Raises
    ------
    DataError
        If there is no address, the network or the disk fails, a checksum is another, or the folder
        of a set that comes as an archive exists.
    """
    key = name.lower()
    if key not in ARCHIVES:
        return sources.fetch(name, destination, progress=progress)
    target = destination or sources.default_destination(key)
    _refuse_existing(target)
    url, digest = ARCHIVES[key]
    pooch.get_logger().setLevel("WARNING")
    try:
        archive = pooch.retrieve(url, digest, path=sources.cache() / "archives", fname=key)
    except (ValueError, OSError) as error:
        raise DataError(
            f"cannot fetch {url} ({reason(error)}); check network and disk and run the command "
            f"again, or download it in another way and run 'pixelrl-chainer data prepare {key} "
            "--from FILE'"
        ) from error
    return prepare(key, Path(archive), target, progress=progress).folder


def prepare(
    name: str,
    origin: Path,
    destination: Path | None = None,
    *,
    force: bool = False,
    progress: bool = True,
) -> CheckReport:
    """Copy a data set into its layout, check it, and only then give it its name.

    Everything is written into a hidden folder beside the destination. A failure or Ctrl-C leaves
    the destination as it was; the call can be repeated.

    Parameters
    ----------
    name : str
        Key of :data:`RECIPES`.
    origin : Path
        A folder, or a tar or zip archive, as it was downloaded.
    destination : Path or None
        Folder to make; None: where :func:`pixelrl_chainer.sources.default_destination` says.
    force : bool
        Replace an existing destination.
    progress : bool
        Show a progress bar on a terminal.

    Returns
    -------
    CheckReport
        Of the new folder.

    Raises
    ------
    ConfigError
        If there is no recipe for the name.
    DataError
        If the origin does not hold the set, pairs or counts are not as they should be, the
        destination exists, or it cannot be written.
    """
    key = name.lower()
    if key not in RECIPES:
        raise ConfigError(
            f"cannot prepare {name!r}: expected one of {', '.join(RECIPES)}; of other images, give "
            "the folder where a name is expected"
        )
    plan_of, convert = RECIPES[key]
    target = destination or sources.default_destination(key)
    if not force:
        _refuse_existing(target)
    with open_tree(origin) as tree:
        plan = plan_of(tree)
        _check_space(sum(tree.sizes[file] for file in plan), target)
        with _new_folder(target) as folder:
            for file in tqdm(plan, desc=key, unit="file", disable=None if progress else True):
                path = folder / plan[file]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(convert(tree.open(file), file))
            if key in LOOKS:
                _refuse(check(key, folder), origin)
    return check(key, target)


def _refuse_existing(target: Path) -> None:
    """Raise DataError if ``target`` is there."""
    if target.exists():
        raise DataError(
            f"{target} exists: choose another folder with -o, or replace it with 'data prepare "
            "--force'"
        )


def _refuse(report: CheckReport, origin: Path) -> None:
    """Raise DataError if files cannot be used, or pairs or counts are wrong."""
    if report.ok:
        return
    found = [f"{len(report.wrong)} unusable files ({report.wrong[0]}, …)"] if report.wrong else []
    raise DataError(
        f"{origin} is not a usable copy of {report.name}: "
        f"{'; '.join([*found, *report.problems[:3]])}; nothing was prepared"
    )


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Yield a new hidden folder; rename it to ``target``, replacing that, if the body succeeds."""
    folder = target.with_name(f".{target.name}.partial")
    old = target.with_name(f".{target.name}.old")
    try:
        _clean_up(target, folder, old)  # after a process that was killed
        folder.mkdir(parents=True)
        yield folder
        if target.exists():
            os.replace(target, old)
        os.replace(folder, target)
    except OSError as error:
        raise DataError(
            f"cannot write {target} ({error.strerror or error}); check the disk and the "
            "permissions, or choose another folder with -o"
        ) from error
    finally:
        _clean_up(target, folder, old)


def _clean_up(target: Path, folder: Path, old: Path) -> None:
    """Remove what is no longer needed; give ``target`` its old content back if it has none."""
    shutil.rmtree(folder, ignore_errors=True)
    if old.exists() and not target.exists():
        os.replace(old, target)
    shutil.rmtree(old, ignore_errors=True)


def _check_space(needed: int, target: Path) -> None:
    """Raise DataError if the disk has not ``needed`` bytes left."""
    existing = next(folder for folder in (target, *target.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DataError(
            f"the disk of {target} is too full: {needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB "
            "free; choose another folder with -o"
        )
