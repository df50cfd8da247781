"""``graphium models``: saved models: list, describe, import, calibrate, share."""

from __future__ import annotations

import typer

app = typer.Typer(help="List, describe, import, calibrate and share saved models.", no_args_is_help=True)


@app.command("list")
def list_models() -> None:
    """List the models of the cache."""
