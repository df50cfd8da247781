"""``graphium models``: saved models: list, describe, check, import, calibrate, share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graphium.cli.terminal import fail
from graphium.errors import GraphiumError
from graphium.messages import tell

app = typer.Typer(help="List, describe, check, import, calibrate and share saved models.", no_args_is_help=True)
import_app = typer.Typer(help="Make a published model one of ours.", no_args_is_help=True)
app.add_typer(import_app, name="import")

_WHICH = "A model/ folder, a run folder, hub:org/name, or a model of the cache."
Model = Annotated[str, typer.Argument(metavar="MODEL", help=_WHICH)]
TrustCode = Annotated[bool, typer.Option("--trust-code", help="Run code of the model's author, where it names any.")]


@app.command("list")
def list_models() -> None:
    """List the models of the cache, which can be named alone."""
    from graphium.models.folder.described import describe, plain_text
    from graphium.models.sources import cached_models, models_dir

    console = Console()
    names = cached_models()
    if not names:
        typer.echo(f"there is no model in {models_dir()}; graphium models import minimol brings one")
        return
    table = Table(box=None, pad_edge=False)
    for title, justify in (("name", "left"), ("weights", "right"), ("tasks", "right"), ("what", "left")):
        table.add_column(title, justify=justify, no_wrap=title != "what", overflow="fold")  # type: ignore[arg-type]
    for name in names:
        try:
            found = describe(name)
        except GraphiumError as error:
            table.add_row(escape(name), "", "", escape(plain_text(error)))
            continue
        tasks = sum(found.tasks().values())
        table.add_row(escape(name), f"{found.num_weights:,}", f"{tasks:,}", escape(found.about))
    console.print(table, highlight=False)
    console.print("More: graphium models info NAME", style="dim")


@app.command("info")
def info(model: Model) -> None:
    """Describe a model: its files, its tasks, its card."""
    from rich.filesize import decimal
    from rich.markdown import Markdown

    from graphium.models.folder.described import describe, plain_text

    found = describe(model)
    console = Console()
    config = found.config
    written_by = ", ".join(f"{name} {version}" for name, version in config.versions.items())
    features = config.features
    facts = {
        "folder": str(found.folder),
        "format": f"{config.format}" + (f", written by {written_by}" if written_by else ""),
        "weights": f"{found.num_weights:,}",
        "files": ", ".join(f"{name} {decimal(size)}" for name, size in found.sizes.items()),
        "checksum": config.weights_sha256 or "none, as in every model of format 1",
        "licence": str(config.facts.get("licence") or "not stated"),
        "atoms": f"form {features.get('form')}, {len(config.spec.get('atoms', []))} properties of atoms, "
        f"{len(config.spec.get('bonds', []))} of bonds",
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for label, text in facts.items():
        table.add_row(label, escape(plain_text(text)))
    console.print(table, highlight=False)
    tasks = Table(box=None, pad_edge=False)
    for title in ("data set", "level", "kind", "tasks"):
        tasks.add_column(title, justify="right" if title == "tasks" else "left")
    for row, count in found.tasks().items():
        tasks.add_row(*map(escape, row), f"{count:,}")
    console.print()
    console.print(tasks, highlight=False)
    console.print()
    if found.card:
        console.rule("card", style="dim")
        # Links are shown as they are written: a text must not hide where it leads.
        console.print(Markdown(found.card, hyperlinks=False))
    else:
        console.print("It has no card (README.md).", style="dim")


@app.command("check")
def check(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL", help=f"{_WHICH} Default: all of the cache.")
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Load models and what lies beside them; name what is damaged."""
    from graphium.models.saved import load_model
    from graphium.models.sources import cached_models, models_dir
    from graphium.models.trust.conformal import Intervals
    from graphium.models.trust.domain import Domain
    from graphium.models.trust.stored import CALIBRATION, DOMAIN

    names = models or cached_models()
    if not names:
        raise GraphiumError(f"there is no model in {models_dir()}; name one")
    damaged = 0
    for name in names:
        try:
            saved = load_model(name, trust_code=trust_code)
            for beside, judge in ((CALIBRATION, Intervals), (DOMAIN, Domain)):
                if saved.folder is not None and (saved.folder / beside).is_file():
                    judge(saved)
        except GraphiumError as error:
            damaged += 1
            typer.echo(f"{name}: {' '.join(str(error).split())}")
        else:
            typer.echo(f"{name}: whole")
    if damaged:
        fail(f"{damaged} of {len(names)} models cannot be used")


@import_app.command("minimol")
def import_minimol(
    wheel: Annotated[
        Path | None, typer.Option(metavar="FILE", help="minimol-1.3.5-py3-none-any.whl; default: fetched with pip.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Default: the cache, where it is named minimol.")
    ] = None,
) -> None:
    """MiniMol (Kläser et al. 2024): 10 million parameters, trained on LargeMix."""
    from graphium.models.minimol import import_minimol as bring

    folder = bring(to=to, wheel=wheel)
    typer.echo(f"the model is in {folder}")
    name = "minimol" if to is None else str(folder)
    tell([f"use it: graphium predict {name} molecules.csv -o predictions.csv"])


@app.command("calibrate")
def calibrate(
    model: Model,
    overrides: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="Labelled data, e.g. data=qm9.")],
    part: Annotated[str, typer.Option(help="Whose labels are scored: val, test, test_seen, all.")] = "val",
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", metavar="COLUMN=TASK", help="A column that the model knows by another name; may be repeated."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    trust_code: TrustCode = False,
    config_dir: Annotated[Path | None, typer.Option(help="A folder with your own groups of files.")] = None,
) -> None:
    """Measure a model on labelled data, for intervals and the applicability domain of its predictions."""
    from graphium.config import compose_run

    renamed = dict(_pair(word) for word in task or [])
    composition = compose_run(overrides, config_dir)
    tell(composition.messages)

    from graphium.training.calibration import calibrate_saved

    said = calibrate_saved(model, composition.config, part=part, renamed=renamed, device=device, trust_code=trust_code)
    for sentence in said:
        typer.echo(sentence)


@app.command("push")
def push(
    model: Model,
    name: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The repository of the hub; made if there is none.")],
    private: Annotated[
        bool, typer.Option("--private", help="A new repository is visible to its owners alone.")
    ] = False,
    revision: Annotated[str | None, typer.Option(metavar="BRANCH", help="Default: the main one.")] = None,
) -> None:
    """Send a model to the Hugging Face hub."""
    from graphium.models.push import push_to_hub

    typer.echo(f"it is loaded by {push_to_hub(model, name, private=private, revision=revision)}")


@app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(metavar="hub:ORG/NAME[@REVISION]", help="A model of the hub.")],
) -> None:
    """Fetch a model of the Hugging Face hub, so that it can be used without a network."""
    from graphium.models.folder.names import HUB
    from graphium.models.hub import pull as fetch

    folder = fetch(name if name.startswith(HUB) else f"{HUB}{name}")
    typer.echo(f"the model is in {folder}")


def _pair(word: str) -> tuple[str, str]:
    # The names of columns hold an equals sign more often than those of tasks.
    column, sign, name = word.rpartition("=")
    if not (sign and column and name):
        raise GraphiumError(f"--task {word!r} is not COLUMN=TASK; name the column and the task of the model")
    return column, name
