"""``graphium data``: known data sets, preparation ahead of training, and the check of what was prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graphium.cli.terminal import fail, tell
from graphium.errors import GraphiumError

app = typer.Typer(help="List, describe, prepare and check data sets.", no_args_is_help=True)

Words = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE")]
ConfigDir = Annotated[Path | None, typer.Option(help="A folder with your own groups of files.")]


@app.command("list")
def list_datasets() -> None:
    """List the data sets that graphium knows by name."""
    from graphium.data.catalogue import catalogue

    table = Table("name", "labels", "in", "what", box=None, header_style="bold")
    for entry in catalogue():
        table.add_row(entry.name, entry.labels, ", ".join(f"data={mix}" for mix in entry.mixes), entry.dataset.about)
    Console().print(table)


@app.command("info")
def info(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Describe one known data set: file, address, labels, split."""
    from graphium.data.catalogue import find

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in find(name).details().items():
        table.add_row(escape(label), escape(text))
    Console().print(table)


@app.command("prepare")
def prepare(overrides: Words = None, config_dir: ConfigDir = None) -> None:
    """Prepare the tables of a configuration: `graphium data prepare data=toymix data_dir=...`."""
    from graphium.config import compose_run

    composition = compose_run(overrides or [], config_dir)
    tell(composition.messages)
    from graphium.chem.featurizer import Featurizer
    from graphium.data.mix import build_mix
    from graphium.registry import check_arguments

    config = composition.config
    featurizer = Featurizer(**check_arguments(Featurizer, config["features"], where="features"))
    mix = build_mix(
        config["data"],
        featurizer,
        data_dir=config["data_dir"],
        store_dir=config["store_dir"],
    )
    _print_summary(mix.summary())


@app.command("check")
def check(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="FOLDER", help="Prepared tables, or folders of them.")
    ] = None,
) -> None:
    """Verify the checksums of prepared tables; name every damaged file."""
    from graphium.config import cache_dir
    from graphium.data.store import check as check_store

    roots = folders or [cache_dir() / "stores"]
    stores = [store for root in roots for store in _stores(root)]
    damaged = 0
    for store in stores:
        problems = check_store(store)
        damaged += bool(problems)
        typer.echo(f"{store}: " + ("; ".join(problems) if problems else "whole"))
    if damaged:
        fail(f"{damaged} of {len(stores)} prepared tables are damaged; delete their folders and prepare them again")


def _stores(root: Path) -> list[Path]:
    if not root.is_dir():
        raise GraphiumError(f"there is no folder {str(root)!r}; give the folder of a prepared table, or a store_dir")
    found = [root] if (root / "manifest.json").is_file() else sorted(p.parent for p in root.glob("*/manifest.json"))
    if not found:
        raise GraphiumError(f"{str(root)!r} holds no prepared table; run graphium data prepare first")
    return found


def _print_summary(summary: dict[str, dict[str, Any]]) -> None:
    table = Table("data set", "rows", "molecules", "failures", "labels", "split", box=None, header_style="bold")
    for name, one in summary.items():
        heads = [f"{head['tasks']} {head['level']} {head['kind']} ({head['labels']:,})" for head in one["heads"]]
        parts = [f"{part} {size:,}" for part, size in one["parts"].items() if size]
        table.add_row(
            name,
            f"{one['rows']:,}",
            f"{one['molecules']:,}",
            f"{one['failures']:,}",
            ", ".join(heads),
            ", ".join(parts),
        )
    tell(f"{name}: {message}" for name, one in summary.items() for message in one["messages"])
    Console().print(table)
    for name, one in summary.items():
        failures = f", rows that could not be used in {one['store']}/failures.csv" if one["failures"] else ""
        typer.echo(f"{name} is kept in {one['store']}{failures}")
