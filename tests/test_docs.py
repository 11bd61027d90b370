"""What the documents say about the project exists: tests, commands, options, settings, files."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pixelrl_chainer.cli import cli
from pixelrl_chainer.config import PRESETS, build
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.results import run_evaluation
from pixelrl_chainer.rl_restore.settings import RestoreConfig
from pixelrl_chainer.settings import Config, flatten
from pixelrl_chainer.train import train

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "data" / "README.md"])
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands(text: str) -> Iterator[list[str]]:
    """Words of every line of a shell block, and of every command inside a sentence."""
    blocks = "".join(SHELL.findall(text)).replace("\\\n", " ")
    for line in [*blocks.splitlines(), *INLINE.findall(SHELL.sub("", text))]:
        words = shlex.split(line.replace("'", '"') if line.count("'") == 1 else line, comments=True)
        for i, word in enumerate(words):
            if Path(word).name in ("pixelrl-chainer", "make"):
                yield [Path(word).name, *words[i + 1 :]]


def options_of(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, "--help")}


def all_options(group: click.Group = cli) -> set[str]:
    found = options_of(group)
    for command in group.commands.values():
        is_group = isinstance(command, click.Group)
        found |= all_options(command) if is_group else options_of(command)
    return found


@every_document
def test_links_resolve(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@every_document
def test_no_private_places_and_no_gaps(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])(/work|/tmp|/home|/root|\.\./shared)\b", text)
    assert not re.search(r"TODO|FIXME|<!--|@[A-Z_]{3,}@", text)


@every_document
def test_named_tests_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for file, function in re.findall(r"\b(test_\w+\.py)(?:::(\w+))?", text):
        source = read(f"tests/{file}")
        assert not function or f"\ndef {function}(" in source, f"{file}::{function}"


def test_every_row_about_fidelity_names_its_test() -> None:
    text = read("docs/FIDELITY.md").partition("\n## The two profiles")[0]
    rows = [line for line in text.splitlines() if re.match(r"\| [^|-]", line)]
    rows = [row for row in rows if "| test |" not in row]
    assert len(rows) > 40
    for row in rows:
        assert re.search(r"`test_\w+\.py::test_\w+`(, `test_\w+\.py::test_\w+`)* \|$", row), row


@every_document
def test_commands_exist(document: Path) -> None:
    makefile = read("Makefile")
    for program, *words in commands(document.read_text(encoding="utf-8")):
        if program == "make":
            for word in words:
                name = word.partition("=")[0].partition("|")[0]
                pattern = rf"^(?:export )?{name} *\?=" if "=" in word else rf"^{name}:"
                assert word in ("&&", "TARGET") or re.search(pattern, makefile, re.M), word
                if word == "&&":
                    break
            continue
        command: click.Command = cli
        while words and isinstance(command, click.Group) and not words[0].startswith("-"):
            assert words[0] in command.commands, words[0]
            command = command.commands[words.pop(0)]
        options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert options <= options_of(command), (command.name, options)


@every_document
def test_options_inside_sentences_exist(document: Path) -> None:
    if document.name == "INSTALL.md":
        pytest.skip("its options are those of pip and uv")
    benchmarks = "".join(map(read, map(str, (ROOT / "benchmarks").glob("*.py"))))
    known = all_options() | set(re.findall(r'"(--[a-z-]+)"', benchmarks))
    for code in INLINE.findall(document.read_text(encoding="utf-8")):
        if code.startswith("--"):
            assert code.split()[0] in known, code


@every_document
def test_settings_exist(document: Path) -> None:
    known = flatten(Config()) | flatten(RestoreConfig())
    section = "|".join({key.split(".")[0] for key in known})
    for code in INLINE.findall(document.read_text(encoding="utf-8")):
        for key in re.findall(rf"(?<![\w/.])(?:{section})\.[a-z_]+\b(?!\.)", code):
            assert key in known or key.endswith((".py", ".md", ".json", ".txt", ".npz")), key


@every_document
def test_python_compiles_and_imports(document: Path) -> None:
    for code in PYTHON.findall(document.read_text(encoding="utf-8")):
        compile(code, document.name, "exec")
        exec("\n".join(re.findall(r"^(?:from|import) .*", code, re.MULTILINE)), {})


def test_module_map_is_complete() -> None:
    text = read("docs/ARCHITECTURE.md")
    for path in (ROOT / "src" / "pixelrl_chainer").iterdir():
        name = path.name + "/" * path.is_dir()
        if name.startswith(("cli_", "_version", "__main__", "__pycache__", "py.typed", "registry")):
            continue
        assert re.search(rf"^  {re.escape(name)} ", text, re.MULTILINE), name


def test_every_dependency_has_a_reason() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    section = read("README.md").partition("## Dependencies")[2].partition("\n## ")[0]
    for text in (setup["options"]["install_requires"], extras["test"], extras["dev"]):
        for name in re.findall(r"^[\w-]+", text, re.MULTILINE):
            assert re.search(rf"\b{name}\b", section) or name == "pixelrl-chainer", name


def table_keys(name: str, heading: str) -> set[str]:
    """Names in the first column of the table below a heading."""
    section = read(name).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    return {key for cell in cells for key in INLINE.findall(cell)}


def test_every_setting_is_explained() -> None:
    text = read("docs/TRAINING.md").partition("\n## Where")[0]
    for key in flatten(Config()):
        section, name = key.split(".")
        assert f"`{key}`" in text or re.search(rf"`{section}\..*`\.{name}`", text), key


def test_presets_are_as_documented() -> None:
    text = read("docs/TRAINING.md")
    for column, preset in enumerate(PRESETS, start=2):
        config = flatten(build(preset=preset))
        for key in PRESETS["quick"]:
            (row,) = re.findall(rf"^\| `{re.escape(key)}` \|.*\|.*\|$", text, re.MULTILINE)[:1]
            cell = row.split("|")[column].strip().replace(",", "")
            assert cell == str(config[key]) or key in ("train.init", "eval.limit"), (preset, key)


def test_every_key_of_the_log_is_explained(tmp_path: Path) -> None:
    config = build(
        preset="quick",
        changes={
            "network.variant": "convgru-rmc",
            "train.episodes": 1,
            "train.batch_size": 1,
            "train.crop_size": 16,
            "train.validation_images": 1,
            "train.validation_size": 16,
        },
    )
    train(config, open_dataset("bundled", "train"), tmp_path)
    record = json.loads((tmp_path / "log.jsonl").read_text())
    assert table_keys("docs/TRAINING.md", "log.jsonl") == set(record)


def test_every_key_of_a_result_is_explained() -> None:
    config = build(changes={"data.test": ["bundled"], "eval.limit": 1})
    result = run_evaluation(config, "none", None, open_dataset("bundled", "test"))
    keys = set()
    for key, value in result.items():
        if key in result["metrics"]:
            keys |= {f"{key}.{name}" for name in value}
        else:
            keys.add(key)
    keys |= {f"images[].{name}" for name in result["images"][0]}
    assert table_keys("docs/RESULTS.md", "Keys") == keys
