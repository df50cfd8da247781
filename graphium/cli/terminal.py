"""What every command shares: how an application is run, how messages and errors reach the terminal."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from rich.console import Console

from graphium.errors import GraphiumError
from graphium.messages import tell

# The exit code of Ctrl-C.
_STOPPED = 130


def run_app(app: typer.Typer, name: str) -> NoReturn:
    """Run a command line and exit: 0, or 1 after one sentence on stderr; only a bug shows a traceback."""
    try:
        code = app(prog_name=name, standalone_mode=False)
    except GraphiumError as error:
        fail(str(error))
    except typer.TyperException as error:
        message = error.format_message().strip().rstrip(".?")
        if not message:
            # A bare command was answered with its help page.
            sys.exit(0)
        settings = "settings are written key=value, " if message.startswith("No such option") else ""
        fail(f"{message.replace('. Did', '; did')}; {settings}see {name} --help")
    except (typer.Abort, KeyboardInterrupt):
        code = _STOPPED
    if code == _STOPPED:
        tell(["stopped; what was prepared is kept"])
    sys.exit(code if isinstance(code, int) else 0)


def fail(sentence: str) -> NoReturn:
    console = Console(stderr=True)
    console.print("[bold red]Error:[/] ", end="")
    console.print(" ".join(sentence.split()), markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)
