"""Documents whose text is pasted over images: the user's, or sentences made of common words."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

from .errors import DataError

GENERATED = {"train": 400, "test": 100}
"""Number of generated documents of each part."""

_LINE = 72
_WORDS = """
a able about above across act add after again agent air all almost also always an and angle answer
any area around as ask at average back balance band bank base be because before begin behind below
best better between big black blue board book border both bottom bright bring build but by camera
can care case centre change choose city clean clear close cloud cold colour come common copy corner
could cover cut dark day deep depth detail did differ do door down draw dry each early earth east
edge eight empty end enough even evening every example eye face fact fall far fast few field figure
filter find fine first five flat flow focus follow for form found four frame free from front full
garden get give glass go good grain grass great green ground group grow half hand hard have he head
hear heavy height help her here high hill his hold hour house how I idea if image in inside into is
it its just keep kind know lake large last late layer leaf learn leave left length lens less let
letter level light like line list little local long look low machine make many map mark may mean
measure middle might mile mirror month moon more morning most mountain move much must name near
need network never new next night nine no noise north not note now number of off often old on once
one only open or order other our out over own page paint paper part past path pattern people
photograph picture piece pixel place plain plan plane plant point policy print process quick quiet
rain range rather reach read real red remember rest reward right river road room rough round row
rule same sand say scale sea season second see seem seven shade shape sharp she shine ship shore
short should show side sign simple size sky slow small smooth snow so soft some soon sound south
space spring square stand star start state station step still stone story street strong such summer
sun surface table take tell ten text than that the their then there these they thing think this
those though three through time to today together too top town train tree true try turn two under
until up use value very view voice wait walk wall want warm was watch water wave way we weather
week well were west what wheel when where which while white who wide wild will wind window winter
with without wood word work world would write year yellow yes yet you young your
""".split()


def read_documents(folder: Path, split: str) -> tuple[str, ...]:
    """Read the documents of a folder.

    Parameters
    ----------
    folder : Path
        Holds text files (``*.txt``), also in folders below; a sub-folder named like the split
        stands for it.
    split : {"train", "test"}

    Returns
    -------
    tuple of str
        At least one document with something to print, sorted by path; see :func:`printable`.

    Raises
    ------
    DataError
        If the folder is missing, a file cannot be read or no document has anything to print.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; expected one with documents (.txt)")
    root = folder / split if (folder / split).is_dir() else folder
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() == ".txt")
    documents = tuple(filter(str.strip, (_read(path) for path in files if path.is_file())))
    if not documents:
        raise DataError(
            f"no document with text in {root} ({len(files)} .txt files there); put plain text "
            "files into it, or leave text.documents empty for generated ones"
        )
    return documents


def printable(data: bytes) -> str:
    """Decode a document as UTF-8, else as Latin-1, which takes any bytes, and keep what prints.

    Tabs become spaces, up to the next multiple of 8; other control characters are dropped.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = (line.expandtabs().rstrip() for line in text.splitlines())
    return "\n".join("".join(filter(str.isprintable, line)) for line in lines)


def generated_documents(split: str) -> tuple[str, ...]:
    """Make documents of common words, laid out like a letter, the same on every machine.

    Parameters
    ----------
    split : {"train", "test"}
        The two parts have other documents, of the same kind.
    """
    offset = 0 if split == "train" else GENERATED["train"]
    # NumPy's older generator: its streams are frozen for ever.
    return tuple(
        _generate(np.random.RandomState(offset + number)) for number in range(GENERATED[split])
    )


def _generate(rng: np.random.RandomState) -> str:
    """Make one document: a heading, then paragraphs."""
    heading = [
        f"From: {'.'.join(_words(rng, 2))}@{'.'.join(_words(rng, 2))}",
        f"Subject: {' '.join(_words(rng, rng.randint(2, 7))).capitalize()}",
        f"Lines: {rng.randint(100)}",
    ]
    paragraphs = [
        textwrap.fill(" ".join(_sentence(rng) for _ in range(rng.randint(1, 6))), _LINE)
        for _ in range(rng.randint(1, 15))
    ]
    return "\n\n".join(["\n".join(heading), *paragraphs])


def _sentence(rng: np.random.RandomState) -> str:
    """Make a sentence of 3 to 17 words."""
    first, *others = _words(rng, rng.randint(3, 18))
    return f"{first.capitalize()} {' '.join(others)}."


def _words(rng: np.random.RandomState, count: int) -> list[str]:
    return [_WORDS[index] for index in rng.randint(len(_WORDS), size=count)]


def _read(path: Path) -> str:
    """Return what a file prints, or say in one line why there is nothing."""
    try:
        return printable(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); check its permissions"
        ) from error
