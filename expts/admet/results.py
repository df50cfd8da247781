"""One small file per method, task and seed, written when the run is finished: so nothing finished runs again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks import Task

import graphium

FOLDER = Path(__file__).parent / "results"
_PACKAGES = ("torch", "rdkit", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Result:
    """What one run gave: the task's metric on two parts, rows of all parts, core seconds, and how it was made."""

    method: str
    task: str
    seed: int
    metric: str
    val: float
    test: float
    rows: dict[str, int]
    core_seconds: float
    setting: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    date: str = ""


def path(folder: Path, method: str, task: str, seed: int) -> Path:
    """Where a result lies."""
    return folder / method / f"{task}-{seed}.json"


def write(
    folder: Path,
    method: str,
    task: Task,
    seed: int,
    scores: Mapping[str, float],
    rows: Mapping[str, int],
    core_seconds: float,
    setting: Mapping[str, Any],
) -> Result:
    """Write the result of a run.

    Args:
        folder: The folder of all results.
        method: Name of the method.
        task: The task.
        seed: The seed of the run.
        scores: The task's metric for ``val`` and ``test``.
        rows: Rows of every part.
        core_seconds: Processor time of training and prediction.
        setting: Hyper-parameters worth keeping.
    """
    result = Result(
        method,
        task.name,
        seed,
        task.metric,
        val=round(scores["val"], 6),
        test=round(scores["test"], 6),
        rows=dict(rows),
        core_seconds=round(core_seconds, 1),
        setting=dict(setting),
        versions={"graphium": graphium.__version__, **{name: version(name) for name in _PACKAGES}},
        date=time.strftime("%Y-%m-%d"),
    )
    target = path(folder, method, task.name, seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".tmp")
    unfinished.write_text(json.dumps(asdict(result), indent=1) + "\n")
    os.replace(unfinished, target)
    return result


def read_all(folder: Path) -> list[Result]:
    """All results, by method, task and seed."""
    return [Result(**json.loads(file.read_text())) for file in sorted(folder.glob("*/*.json"))]
