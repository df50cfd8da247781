"""The help page of ``graphium-train``, written from the configuration files themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graphium.config import GROUPS, configs_dir, opening_comment, options

_SETTINGS: dict[str, str] = {
    "data.path": "the table: CSV, TSV, SDF, SMI, Parquet; a file, a pattern or a list",
    "data.targets": "label columns: a list, or * for every column that can be a label, *,-mw for all but mw",
    "data.level": "graph, node, edge or nodepair; inferred where it is clear",
    "data.kind": "regression, binary, multiclass or ordinal; inferred from the values",
    "data.split": "random, scaffold, cluster, ...; {name: column, column: part}; {name: file, path: rows.csv}",
    "data.limit": "use the first N molecules only",
    "data.n_jobs": "processes that prepare; -1 for all cores",
    "data.batch_size": "molecules a step",
    "data_dir": "where the files of known data sets lie; without it they are downloaded",
    "store_dir": "where prepared tables are kept",
    "run_dir": "where this run writes; default outputs/<name>/<time>",
    "model.width": "channels of a node",
    "model.depth": "message-passing layers",
    "model.budget": "trainable parameters; picks the width",
    "optim.lr": "peak learning rate",
    "finetune.from": "a model to go on from: folder, hub:org/name, or a name such as minimol",
    "trainer.max_epochs": "passes over the training part",
    "seed": "equal seeds give equal runs on the processor",
    "name": "name of the run",
    "ckpt_path": "a checkpoint to resume from",
}
_DATASET = "a known data set alone; see graphium data list"
_EXAMPLES: tuple[tuple[str, str], ...] = (
    ("graphium-train", "the embedded mix of three small data sets"),
    ("graphium-train data=table data.path=my.csv data.targets=[y1,y2]", "any table"),
    ("graphium-train data=table data.path=my.csv \"data.targets=['logP (mg/l)']\"", "a column that needs quotes"),
    ("graphium-train data=qm9", "a known data set, downloaded"),
    ("graphium-train data=toymix data_dir=path/to/toymix model=gcn", "a known mix"),
    ("graphium-train data=path/to/mine.yaml model.budget=150000", "a data set of your own, a model of a size"),
    ("graphium-train --config-dir path/to/configs experiment=mine", "a folder of your own files"),
    ("graphium-train data=table data.path=my.csv data.targets=[y] finetune=full finetune.from=minimol", "fine-tune"),
    ("graphium config model=gin model.width=64", "print a configuration without running it"),
)


def print_help(config_dir: Path | None = None) -> None:
    """Print usage, the groups with their options, the usual settings and examples."""
    console = Console(highlight=False, soft_wrap=not Console().is_terminal)
    console.print("[bold]Usage:[/] graphium-train \\[--config-dir DIR] \\[GROUP=OPTION]... \\[KEY=VALUE]...\n")
    console.print("Train one network on one or many tables of molecules.\n")
    console.print("[bold]Groups[/] (GROUP=OPTION; an option is a name below, or the path of a .yaml file)")
    choices = [(group, *choice) for group in GROUPS for choice in sorted(options(group, config_dir).items())]
    rows = [("", f"{group}={name}", _about(file)) for group, name, file in choices]
    rows.insert(sum(group == "data" for group, _, _ in choices), ("", "data=NAME", _DATASET))
    console.print(_rows(rows))
    console.print("\n[bold]Usual settings[/] (KEY=VALUE; any argument of a part can be set the same way)")
    console.print(_rows([("", key, about) for key, about in _SETTINGS.items()]))
    console.print("\n[bold]Options[/]")
    console.print(
        _rows([("", "--config-dir DIR", "a folder with your own groups of files"), ("", "--help, -h", "this page")])
    )
    console.print("\n[bold]Examples[/]")
    for command, about in _EXAMPLES:
        console.print(f"  # {about}", style="dim")
        console.print(f"  {command}", markup=False)
    console.print(f"\nThe files lie in {configs_dir()}", markup=False)


def _rows(rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _about(file: Path) -> str:
    """Return the first line of the comment that opens a configuration file, or what the file says of itself."""
    comment = opening_comment(file)
    if comment:
        return comment[0]
    return str((yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("about", ""))
