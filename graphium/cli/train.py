"""``graphium-train``: compose a configuration from words, hand it to :func:`graphium.training.run.run`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from graphium.cli.terminal import run_app
from graphium.messages import tell

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(context_settings={"help_option_names": []})
def train(
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
    config_dir: Annotated[Path | None, typer.Option("--config-dir")] = None,
    show_help: Annotated[bool, typer.Option("--help", "-h")] = False,
) -> None:
    if show_help:
        from graphium.cli.train_help import print_help

        print_help(config_dir)
        return
    from graphium.config import compose_run

    composition = compose_run(overrides or [], config_dir)
    tell(composition.messages)
    from graphium.training.run import run

    run(composition.config)


def main() -> None:
    # Threads that spin while they wait slow training down many times over as soon as another program wants a
    # core. OpenMP reads this when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run_app(app, "graphium-train")
