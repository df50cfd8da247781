"""The datasets that graphium knows by name, and the mixes that they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from graphium.config import configs_dir
from graphium.data.dataset import Dataset
from graphium.errors import GraphiumError, suggest
from graphium.registry import build

_OPTION = "/dataset@datasets."


@dataclass(frozen=True)
class Entry:
    """A known dataset: its fields, the file that defines it, and the mixes (``data=...``) that hold it."""

    dataset: Dataset
    file: Path
    mixes: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def labels(self) -> str:
        """Labels by level and kind, e.g. ``19 graph regression``."""
        counts: dict[str, int] = {}
        for group in self.dataset.groups:
            part = build("computed_label", group.compute) if group.compute is not None else group
            name = f"{group.level or part.level or 'any level'} {group.kind or part.kind or 'any kind'}"
            counts[name] = counts.get(name, 0) + len(group.columns)
        return ", ".join(f"{count} {name}" for name, count in counts.items())

    def details(self) -> dict[str, str]:
        """What ``graphium data info`` shows: label -> text."""
        dataset = self.dataset
        split: dict[str, Any] = {"name": dataset.split} if isinstance(dataset.split, str) else dict(dataset.split)
        options = ", ".join(f"{key} {value}" for key, value in split.items() if key != "name")
        rows = {
            "name": dataset.name,
            "what": dataset.about,
            "license": dataset.license,
            "file": dataset.path,
            "address": dataset.url or "",
            "SMILES column": dataset.smiles or "found in the table",
            "labels": self.labels,
            "columns": ", ".join(_with_unit(group, column) for group in dataset.groups for column in group.columns),
            "split": f"{split['name']}: {options}" if options else str(split["name"]),
            "use": ", ".join(f"data={mix}" for mix in self.mixes),
        }
        return {label: text for label, text in rows.items() if text}


def catalogue(folder: Path | None = None) -> list[Entry]:
    """Return the known datasets by name, from ``configs/dataset`` (or that of another configuration folder).

    >>> [entry.labels for entry in catalogue() if entry.name == "zinc12k"]
    ['3 graph regression']
    """
    folder = folder or configs_dir()
    mixes = {file.stem: _members(file) for file in sorted((folder / "data").glob("*.yaml"))}
    return [
        Entry(
            Dataset.from_config(file.stem, _read(file), where=f"dataset {file.stem}"),
            file,
            tuple(mix for mix, members in mixes.items() if file.stem in members),
        )
        for file in sorted((folder / "dataset").glob("*.yaml"))
    ]


def find(name: str, folder: Path | None = None) -> Entry:
    """Return the known dataset of this name.

    Raises:
        GraphiumError: there is none; the sentence lists them.
    """
    entries = {entry.name: entry for entry in catalogue(folder)}
    members = [entry.name for entry in entries.values() if name in entry.mixes]
    if name not in entries and members:
        raise GraphiumError(f"{name!r} is a mix of {', '.join(members)}; ask for one of them")
    if name not in entries:
        raise GraphiumError(f"there is no known dataset {name!r}; {suggest(name, entries)}")
    return entries[name]


def _members(file: Path) -> list[str]:
    """The datasets that a file of the data group composes."""
    defaults = (_read(file) or {}).get("defaults", [])
    return [
        str(dataset)
        for entry in defaults
        if isinstance(entry, dict)
        for option, dataset in entry.items()
        if str(option).startswith(_OPTION)
    ]


def _read(file: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        where = str(error).replace("\n", " ")
        raise GraphiumError(f"{file} is not readable YAML ({where}); mend the file") from None


def _with_unit(group: Any, column: str) -> str:
    unit = group.unit_of(column)
    return f"{column} [{unit}]" if unit else column
