"""The command line: its root, what commands share, and how errors become exit codes.

Every command parses, calls the library and prints; imports are local, so that ``--help`` is quick.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from ._version import __version__
from .errors import PixelRLError

EXIT_FAILURE = 1
EXIT_INTERRUPTED = 130

PATH = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pixelrl-chainer")
def cli() -> None:
    """PixelRL: every pixel is an agent that edits itself, step by step."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


json_option = click.option(
    "--json", "json_file", metavar="FILE", help="Write the result as JSON; - prints nothing else."
)


def emit(result: Any, json_file: str | None, text: str) -> None:
    """Print ``text``, and write ``result`` as JSON where asked; ``-`` prints the JSON instead.

    The text comes first, so that a file that cannot be written does not cost the result.
    """
    from .files import to_json, write_json

    if json_file == "-":
        click.echo(to_json(result))
        return
    click.echo(text)
    if json_file:
        write_json(Path(json_file), result)


def add_commands() -> None:
    """Import the modules that define the commands; they add themselves."""
    from . import (  # noqa: F401
        cli_data,
        cli_edit,
        cli_explain,
        cli_pretrain,
        cli_report,
        cli_rl_restore,
        cli_rl_restore_train,
        cli_run,
        cli_studies,
        cli_studio,
    )


def main() -> None:
    """Run the command line: one line for each error, and an exit code that tells."""
    add_commands()
    sys.exit(_run())


def _run() -> int:
    """Run the command that was asked for; return the exit code."""
    try:
        code = cli.main(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; what was finished is kept", err=True)
        return EXIT_INTERRUPTED
    except PixelRLError as error:
        message = str(error)
    except MemoryError:
        message = "out of memory: use smaller tiles (--tile), crops or batches"
    except OSError as error:
        if error.filename is None:
            # What standard output did not take must not be tried again when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}; check disk and permissions"
    click.echo(f"error: {message}", err=True)
    return EXIT_FAILURE
