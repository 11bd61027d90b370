"""What explain and replay do for RL-Restore."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli import emit
from .cli_rl_restore import refuse_others

if TYPE_CHECKING:
    from .rl_restore.explanation import ToolchainExplanation


def explain_toolchain(
    image: Path, clean: Path | None, output: Path, kind: str, force: bool, given: dict[str, Any]
) -> str:
    """Write the report that the options of ``explain`` describe; return a summary of it."""
    from .backend import select_device
    from .edit import refuse_to_replace
    from .errors import ConfigError
    from .progress import bar
    from .rl_restore.apply import T_MAX
    from .rl_restore.evaluate import find_weights, load_agent_and_tools
    from .rl_restore.explanation import explain_toolchain, read_start
    from .rl_restore.steering import chain_of, indices_of

    refuse_others(given, "forbid", "tools", "what_if")
    if given["what_if"]:
        _check_what_if(clean, kind)
    refuse_to_replace(output, [path for path in (image, clean) if path], force=force)
    folder, _ = find_weights(given["weights"])
    start = read_start(image, clean)
    device = select_device(given["device"])
    trained = load_agent_and_tools(folder, device)
    labels = trained.toolbox.labels[: trained.agent.n_actions]
    first = chain_of(given["tools"], labels) if given["tools"] else []
    if len(first) > T_MAX:
        raise ConfigError(
            f"--tools: expected at most {T_MAX}, as the agent uses no more, found {len(first)}; "
            "'replay' uses any number"
        )
    forbidden = indices_of(given["forbid"], labels)
    found = explain_toolchain(
        trained,
        start.image,
        start.clean,
        name=image.name,
        gray=start.gray,
        overrides=dict(enumerate(first)),
        forbidden=forbidden,
        what_if=given["what_if"],
        device=device,
        progress=bar,
    )
    _write(found, kind, output, _facts(found, folder, len(first)))
    return _summary(found)


def _check_what_if(clean: Path | None, kind: str) -> None:
    """Raise ConfigError if outcomes cannot be had, or would not be shown."""
    from .errors import ConfigError

    if clean is None:
        raise ConfigError("--what-if needs --clean CLEAN: outcomes are compared with it")
    if kind not in ("html", "npz"):
        raise ConfigError(f"--what-if is shown in html and npz, not in {kind}; leave it out")


def _facts(found: ToolchainExplanation, folder: Path, given: int) -> dict[str, str]:
    """Return the lines below the title of a report; the first tools were ``given``."""
    facts = {
        "weights": "/".join(folder.parts[-2:]),
        "toolchain": ", ".join(found.names),
        "given": ", ".join(found.names[:given]),
        "forbidden": ", ".join(found.labels[i] for i in found.forbidden),
    }
    return {key: value for key, value in facts.items() if value}


def _write(found: ToolchainExplanation, kind: str, output: Path, facts: dict[str, str]) -> None:
    """Write an explanation in one of the formats."""
    from .cli_explain import write_as
    from .rl_restore.figures import colors_of, draw_sheet, frames
    from .rl_restore.page import page_data

    palette = colors_of(found.specs)
    write_as(kind, output, found, partial(page_data, facts=facts), draw_sheet, frames, palette)


def _summary(found: ToolchainExplanation) -> str:
    """Name the tools, and say what they reached."""
    scores = (
        f"{key.upper()} {values[0]:.4f} -> {values[-1]:.4f}" for key, values in found.scores.items()
    )
    return "; ".join((", ".join(found.names), *scores))


def replay_toolchain(
    image: Path | None,
    clean: Path | None,
    output: Path,
    force: bool,
    json_file: str | None,
    given: dict[str, Any],
) -> None:
    """Use the tools that the options of ``replay`` describe, and write the result."""
    from .backend import select_device
    from .edit import check_output
    from .errors import ConfigError
    from .images import to_8bit, write_image
    from .rl_restore.apply import names_of, picture, replay
    from .rl_restore.evaluate import find_weights
    from .rl_restore.explanation import read_start, score
    from .rl_restore.steering import chain_of, read_chain
    from .rl_restore.weights import load_toolbox

    refuse_others(given, "actions", "tools")
    file, text = given["actions"], given["tools"]
    if bool(file) == bool(text) or (text and image is None):
        found = [
            name
            for name, value in (("IMAGE", image), ("--tools", text), ("--actions", file))
            if value
        ]
        raise ConfigError(
            "expected IMAGE and --tools such as 3,7,stop, or --actions FILE without --tools; found "
            + (", ".join(found) or "nothing")
        )
    check_output(output, [path for path in (image, file, clean) if path], force=force)
    folder, _ = find_weights(given["weights"])
    device = select_device(given["device"])
    toolbox = load_toolbox(folder)
    toolbox.to_device(device.chainer_name)
    saved = read_chain(file, toolbox.labels) if file else None
    chain = saved.chain if saved else chain_of(text, toolbox.labels)
    start = read_start(image, clean, saved)
    restored = replay(toolbox, start.image, chain, device=device)
    write_image(output, to_8bit(picture(restored.states[-1], start.gray)))
    scores = {} if start.clean is None else score(restored.states, start.clean)
    names = names_of(restored.chain, toolbox)
    result = {"output": str(output), "tools": names, "scores": scores}
    shown = [f"  {key}: {' -> '.join(f'{x:.4f}' for x in xs)}" for key, xs in scores.items()]
    emit(result, json_file, "\n".join((f"{output}: {', '.join(names)}", *shown)))
