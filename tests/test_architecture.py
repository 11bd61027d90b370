"""The shape of the package: who imports whom, how long things are, what stays out of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import small
from conftest import ROOT

import pixelrl_chainer
from pixelrl_chainer import paper

SOURCE = ROOT / "src" / "pixelrl_chainer"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix("__init__").strip("."): (
        path
    )
    for path in sorted(SOURCE.rglob("*.py"))
}

IMAGE_SIDE = {
    *("filters", "actions", "env", "tasks", "metrics", "degradations", "rewards", "images"),
    *("task", "imagesets", "datasets", "batches", "pairs", "color_sets", "color", "color_actions"),
    *("kernels.median", "kernels.borders", "kernels.operations", "kernels.lab"),
    *("text", "text_sets", "text_task", "color_task", "documents", "fonts", "glyphs"),
    *("kernels.actions_cpu", "kernels.actions_gpu", "kernels.patches"),
    *("color", "color_actions", "kernels.lab"),
    *("saliency", "saliency_task", "masked"),
}
"""What happens to images: knows no network."""

NETWORK_SIDE = {
    *("models.blocks", "models.fcn", "models.rmc", "losses", "distributions", "agent"),
    *("weights", "initial", "checkpoint", "kernels.conv", "kernels.conv_gpu", "kernels.gru_gpu"),
    *("kernels.cudnn", "kernels.cudnn_plan", "kernels.pointwise_gpu"),
}
"""What learns: knows no environment."""

COMMAND_LINE = {
    *("cli", "cli_data", "cli_explain", "cli_options", "cli_pretrain", "cli_report", "cli_run"),
    *("cli_edit", "cli_studies", "cli_rl_restore", "cli_rl_restore_train", "__main__"),
    *("cli_studio", "cli_toolchains"),
}
LOOP = {
    *("train", "episode", "evaluate", "tiling", "results", "result_tables", "apply", "experiment"),
    *("run_report", "run_scores", "samples"),
    *("pretrain", "progress", "interrupt", "single_image", "edit"),
    *("recording", "columns", "studies", "sweeps", "tables", "explanation"),
    *("studio.asking", "studio.changes", "studio.running", "studio.server", "studio.session"),
    *(
        "studio.messages",
        "studio.serving",
        "studio.sessions",
        "studio.toolchains",
        "studio.uploads",
        "studio.watching",
    ),
    *("rl_restore.apply", "rl_restore.compare", "rl_restore.complexity", "rl_restore.evaluate"),
    *("rl_restore.testsets", "rl_restore.run", "rl_restore.train_tools", "rl_restore.page"),
    *("rl_restore.train_agent", "rl_restore.joint", "rl_restore.experiments", "rl_restore.rows"),
    "rl_restore.explanation",
}
CHAINER = {"chainer", "chainerrl"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(name: str, *, lazy: bool = True) -> set[str]:
    """Modules that a module imports, ours by their name within the package.

    Imports for type checkers are left out; with ``lazy=False`` those inside functions are, too.
    """
    found = set()
    path = MODULES[name]
    package = list(path.relative_to(SOURCE).parts[:-1])
    for node in reachable(tree(path), lazy):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - (node.level - 1)]
            home = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                inner = ".".join([*home, alias.name])
                found.add(inner if inner in MODULES else ".".join(home))
    return found


def reachable(node: ast.AST, lazy: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if not lazy and isinstance(child, ast.FunctionDef):
            continue
        yield child
        yield from reachable(child, lazy)


def everything_behind(name: str) -> set[str]:
    """Our modules that are imported, at last, when ``name`` is; without lazy imports."""
    seen, waiting = set(), [name]
    while waiting:
        for other in imports(waiting.pop(), lazy=False) & MODULES.keys() - seen:
            seen.add(other)
            waiting.append(other)
    return seen


def test_the_reader_of_imports_reads() -> None:
    assert {"chainer", "numpy", "paper", "backend", "models.blocks"} <= imports("models.fcn")
    assert "results" in imports("cli_run")
    assert "results" not in imports("cli_run", lazy=False)
    assert "agent" not in imports("")  # for type checkers only
    assert everything_behind("env") >= {"tasks", "actions", "filters", "backend"}


def test_both_sides_exist() -> None:
    assert (IMAGE_SIDE | NETWORK_SIDE | LOOP | COMMAND_LINE) <= MODULES.keys()


@pytest.mark.parametrize("name", sorted(IMAGE_SIDE))
def test_the_image_side_knows_no_network(name: str) -> None:
    assert not (imports(name) | everything_behind(name)) & (CHAINER | NETWORK_SIDE)
    for other in everything_behind(name):
        assert not imports(other, lazy=False) & CHAINER, f"by way of {other}"


@pytest.mark.parametrize("name", sorted(NETWORK_SIDE))
def test_the_network_side_knows_no_environment(name: str) -> None:
    forbidden = {"env", "tasks", "actions", "filters", "degradations", "rewards", "datasets"}
    assert not (imports(name) | everything_behind(name)) & forbidden


@pytest.mark.parametrize("name", sorted(MODULES.keys() - COMMAND_LINE - LOOP))
def test_imports_point_down(name: str) -> None:
    """Nothing below the loops knows them, and nothing but the command line knows itself."""
    assert not imports(name, lazy=False) & (LOOP | COMMAND_LINE)


@pytest.mark.parametrize("name", sorted(LOOP))
def test_the_library_knows_no_command_line(name: str) -> None:
    assert not imports(name) & (COMMAND_LINE | {"click"})


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_module_imports_itself(name: str) -> None:
    assert name not in everything_behind(name)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_modules_are_short(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= 300


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for name, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef):
                yield f"{name}.{node.name}", node


def code_lines(node: ast.FunctionDef) -> int:
    """Lines of a function from its ``def`` on, without its docstring."""
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    lines = (node.end_lineno or 0) - node.lineno + 1
    return lines - ((first.end_lineno or 0) - first.lineno + 1 if documented else 0)


def test_functions_are_short() -> None:
    """At most 40 lines; a command also lists one parameter a line, which counts as its header."""
    long = {}
    for name, node in functions():
        header = node.body[0].lineno - node.lineno if name.startswith("cli") else 0
        if code_lines(node) - header > 40:
            long[name] = code_lines(node) - header
    assert long == {}


def test_everything_public_has_a_docstring() -> None:
    missing = [name for name, path in MODULES.items() if not ast.get_docstring(tree(path))]
    for name, path in MODULES.items():
        for node in tree(path).body:
            is_public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_"
            if is_public and not ast.get_docstring(node):  # type: ignore[arg-type]
                missing.append(f"{name}.{node.name}")  # type: ignore[attr-defined]
    assert missing == []


def test_input_is_not_validated_by_assert() -> None:
    """``python -O`` would skip it."""
    asserted = [name for name, path in MODULES.items() if "\n    assert " in path.read_text()]
    assert asserted == []


def test_no_branch_depends_on_the_task() -> None:
    """Tasks differ by their entries in ``TASKS``, not by ``if``."""
    for name, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Compare) and name != "tasks":
                text = ast.unparse(node)
                assert "denoise-" not in text, f"{name}: {text}"


def test_numbers_of_the_paper_stand_in_one_place() -> None:
    """A PSNR with two decimals outside ``paper.py`` is a published number in the wrong place."""
    tables = [value for name, value in vars(paper).items() if name.startswith("TABLE_")]
    scores = {
        score
        for table in tables
        if isinstance(table, tuple)
        for row in table
        for score in row.scores
        if score is not None and score > 5.5
    }
    assert len(scores) > 100
    for name, path in MODULES.items():
        if name != "paper":
            constants = {n.value for n in ast.walk(tree(path)) if isinstance(n, ast.Constant)}
            assert not {c for c in constants if isinstance(c, float)} & scores, name


def test_importing_the_package_is_quick() -> None:
    """It must prepare for Chainer without importing it, nor anything else that takes time."""
    code = (
        "import sys, pixelrl_chainer;"
        "print(sorted({'chainer', 'chainerrl', 'cv2', 'matplotlib', 'cupy', 'skimage', 'scipy'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_help_is_quick() -> None:
    code = (
        "import sys, pixelrl_chainer.cli_run, pixelrl_chainer.cli_data;"
        "print(sorted({'chainer', 'chainerrl', 'cv2', 'matplotlib', 'cupy', 'skimage', 'numpy'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(done.stdout)) <= {"numpy"}, "the shims need NumPy, nothing more"


def test_lazy_names() -> None:
    for name in pixelrl_chainer.__all__:
        assert getattr(pixelrl_chainer, name) is not None
    assert set(pixelrl_chainer._HOMES) | {"__version__"} == set(pixelrl_chainer.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'paint'"):
        pixelrl_chainer.paint  # noqa: B018


def committed() -> list[Path]:
    """Files under version control, or, in an unpacked archive, those that would be."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if (ROOT / name).is_file()]


def test_no_file_names_a_place_of_one_machine() -> None:
    # Written in parts, so that this file does not contain them.
    places = [f"/{top}/" for top in ("work", "home/", "root/.", "Users/")] + ["/tmp/" + "w"]
    for path in committed():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for place in places:
            assert place not in text, f"{path.relative_to(ROOT)} contains {place}"


def test_small_settings_are_deviations() -> None:
    """The helper of these tests cannot silently become the default."""
    assert small.config() != pixelrl_chainer.config.Config()
