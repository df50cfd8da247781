"""``graphium``: everything that is not training, one verb each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphium.cli import data, evaluate, explain, fingerprint, models, predict
from graphium.cli.terminal import run_app
from graphium.messages import tell

app = typer.Typer(
    help="Graph networks for tables of molecules. To train one: graphium-train --help",
    add_completion=False,
    no_args_is_help=True,
    # Paragraphs of help are broken where the terminal ends, not where the source does.
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command("predict")(predict.predict)
app.command("fingerprint")(fingerprint.fingerprint)
app.command("explain")(explain.explain)
app.command("evaluate")(evaluate.evaluate)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")


@app.callback(invoke_without_command=True)
def graphium(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from graphium import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command("config")
def config(
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE")] = None,
    config_dir: Annotated[Path | None, typer.Option(help="A folder with your own groups of files.")] = None,
) -> None:
    """Print the configuration that graphium-train would run with, as YAML."""
    import yaml

    from graphium.config import compose_run

    composition = compose_run(overrides or [], config_dir)
    tell(composition.messages)
    typer.echo(yaml.safe_dump(composition.config, sort_keys=False, allow_unicode=True), nl=False)


def main() -> None:
    run_app(app, "graphium")
