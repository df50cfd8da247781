"""The folder of a finished run, read again: its data, its split, its numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from graphium.errors import GraphiumError

_SPLIT_ENDINGS = ("csv", "parquet")


@dataclass(frozen=True)
class PastRun:
    """What a run folder says of its data.

    ``data``: the ``data`` section, each split replaced by the file that the run wrote. ``tables``: dataset -> key of
    its table. ``metrics``: ``metrics.json``, empty where there is none.
    """

    folder: Path
    data: Mapping[str, Any]
    data_dir: str | None
    store_dir: str | None
    precision: str
    tables: Mapping[str, str]
    metrics: Mapping[str, Any]

    @classmethod
    def find(cls, folder: str | Path | None) -> PastRun:
        """Read the run folder, which may be given by its ``model/``.

        Raises:
            GraphiumError: there is no run folder, or its configuration cannot be read.
        """
        given = Path(folder).expanduser() if folder is not None else Path()
        for candidate in (given, given.parent) if folder is not None else ():
            if (candidate / "config.yaml").is_file() and (candidate / "model").is_dir():
                return cls._read(candidate)
        what = f"{str(folder)!r} is" if folder is not None else "a model that lies in no folder is"
        raise GraphiumError(
            f"{what} not the folder of a run, whose data could be measured again; name a table, "
            "e.g. my.csv, or data=NAME"
        )

    @classmethod
    def _read(cls, folder: Path) -> PastRun:
        path = folder / "config.yaml"
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError, OSError):
            config = None
        if not isinstance(config, dict) or not isinstance(config.get("data"), dict):
            raise GraphiumError(f"{str(path)!r} is not the configuration of a run; name a table, e.g. my.csv")
        trainer = config.get("trainer") or {}
        environment = _json(folder / "environment.json")
        return cls(
            folder=folder,
            data=_with_splits(config["data"], folder),
            data_dir=config.get("data_dir"),
            store_dir=config.get("store_dir"),
            precision=str(trainer.get("precision") or "32"),
            tables=environment.get("data") or {},
            metrics=_json(folder / "metrics.json"),
        )

    def remarks(self, metrics: Mapping[str, Any], tables: Mapping[str, str], tolerance: float = 1e-6) -> list[str]:
        """Say whether numbers are those of ``metrics.json``, and which tables are not those of the run.

        Args:
            metrics: ``{part: {dataset: {...}}}``, measured again.
            tables: Dataset -> key of its table.
            tolerance: Numbers that differ by less, or by less than this share where they are above 1, are the same.
        """
        said = [
            f"{name}: the table is not the one that the run was trained on"
            for name, key in tables.items()
            if self.tables.get(name, key) != key
        ]
        pairs = [pair for part in metrics if part in self.metrics for pair in _pairs(metrics[part], self.metrics[part])]
        away = [(_distance(new, old), name) for name, new, old in pairs]
        if away:
            worst, name = max(away)
            same = f"the numbers are those of metrics.json, to {tolerance:g}"
            said.append(
                same if worst <= tolerance else f"{name} is not that of metrics.json, it differs by {worst:.2g}"
            )
        return said


def _distance(new: float | None, old: float | None) -> float:
    if new is None or old is None:
        return 0.0 if new is old else math.inf
    return abs(new - old) / max(1.0, abs(old))


def _pairs(new: Any, old: Any, name: str = "") -> Iterator[tuple[str, float | None, float | None]]:
    """Numbers that stand in the same place of two reports; one that the other report lacks is compared with None."""
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        for key, value in new.items():
            if key in old and key != "undefined":
                yield from _pairs(value, old[key], f"{name}/{key}" if name else key)
    elif not isinstance(new, (Mapping, list)):
        yield name, new, old


def _with_splits(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The section with the splits that the run wrote into its folder."""
    files = {path.stem: path for ending in _SPLIT_ENDINGS for path in sorted((folder / "splits").glob(f"*.{ending}"))}

    def described(name: str | None, one: Mapping[str, Any]) -> dict[str, Any]:
        path = files.get(str(name)) if name is not None else next(iter(files.values()), None)
        return {**one, "split": {"name": "file", "path": str(path.resolve())}} if path is not None else dict(one)

    if isinstance(data.get("datasets"), Mapping):
        return {**data, "datasets": {name: described(name, one) for name, one in data["datasets"].items()}}
    return described(None, data)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
