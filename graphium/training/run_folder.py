"""The folder that a run leaves behind: its place, and what is written into it beside the training itself."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from graphium.data.mix import Mix
from graphium.data.splits.files import write_split
from graphium.models.saved import plain

_RUN_DIR = "GRAPHIUM_RUN_DIR"
# A split of more rows is written as Parquet.
_CSV_ROWS = 1_000_000


def choose_run_dir(config: Mapping[str, Any]) -> Path:
    """``run_dir``; for a resumed run the folder of its checkpoint; else a new one named by the time."""
    if config.get("run_dir"):
        return Path(config["run_dir"])
    if config.get("ckpt_path"):
        parent = Path(config["ckpt_path"]).resolve().parent
        if parent.name == "checkpoints":
            return parent.parent
    # The processes that Lightning starts for the other devices inherit the folder of the first one.
    if "LOCAL_RANK" in os.environ and _RUN_DIR in os.environ:
        return Path(os.environ[_RUN_DIR])
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    base = Path("outputs") / (config.get("name") or "run")
    path, number = base / now, 2
    while path.exists():
        path, number = base / f"{now}_{number}", number + 1
    os.environ[_RUN_DIR] = str(path)
    return path


def bring_along(ckpt_path: str, best: Path, last: Path) -> None:
    """A run that is resumed in another folder takes its checkpoints along."""
    for there, here in ((Path(ckpt_path).parent / best.name, best), (Path(ckpt_path), last)):
        if there.exists() and not here.exists():
            here.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(there, here)


def write_data(run_dir: Path, mix: Mix) -> None:
    """What the run was trained and tested on: unusable rows, leaks, and the part of every row."""
    mix.write_failures(run_dir / "failures.csv")
    write_json(run_dir / "leaks.json", mix.leaks)
    for dataset in mix.datasets:
        ending = "csv" if dataset.store.num_rows <= _CSV_ROWS else "parquet"
        write_split(run_dir / "splits" / f"{dataset.name}.{ending}", dataset.split)


def data_facts(mix: Mix) -> dict[str, dict[str, Any]]:
    """What the card of a model says of its data: rows by part, hash of the table, licence."""
    facts = {}
    for name, dataset in mix.summary().items():
        rows = {part: count for part, count in dataset["parts"].items() if count}
        facts[name] = {"rows": dataset["rows"], **rows, "hash": dataset["key"]}
    for one in mix.datasets:
        if one.resolved.dataset.license:
            facts[one.name]["licence"] = one.resolved.dataset.license
    return facts


def write_json(path: Path, value: Any) -> None:
    """Write plain values; a number that is not finite is a mistake of ours and raises."""
    path.write_text(json.dumps(plain(value), indent=1, allow_nan=False) + "\n", encoding="utf-8")
