"""Many training runs, one after another or side by side, of which a finished one is never repeated.

A run is a configuration of ``graphium.run`` and a folder. It is finished when its folder holds ``finished.json``; a run
that was killed goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

_FINISHED = "finished.json"


@dataclass(frozen=True)
class Run:
    """A training run: ``config`` as :func:`graphium.compose` returns it, without a ``run_dir``, and its folder."""

    folder: Path
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def is_finished(self) -> bool:
        return (self.folder / _FINISHED).is_file()

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json``."""
        found: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text())
        return found

    @cached_property
    def facts(self) -> dict[str, Any]:
        """``finished.json``: parameters, optimiser steps, seconds of the process."""
        found: dict[str, Any] = json.loads((self.folder / _FINISHED).read_text())
        return found


def train_all(runs: Sequence[Run], jobs: int = 1) -> None:
    """Train what is not finished, ``jobs`` runs at a time, and say one line about each."""
    open_runs = [run for run in runs if not run.is_finished]
    print(f"{len(runs)} runs, {len(open_runs)} of them to train", flush=True)
    if jobs == 1:
        for number, run in enumerate(open_runs, 1):
            print(f"[{number}/{len(open_runs)}] {_train(run)}", flush=True)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for number, line in enumerate(pool.map(_train, open_runs), 1):
            print(f"[{number}/{len(open_runs)}] {line}", flush=True)


def _train(run: Run) -> str:
    import graphium as gf

    started, used = time.time(), time.process_time()
    checkpoint = run.folder / "checkpoints" / "last.ckpt"
    again = {"ckpt_path": str(checkpoint)} if checkpoint.is_file() else {}
    result = gf.run({**run.config, "run_dir": str(run.folder), **again})
    facts = {
        "parameters": result.network.num_parameters(),
        "steps": int((run.folder / "metrics.csv").read_text().splitlines()[-1].split(",")[1]),
        "seconds": round(time.time() - started, 1),
        "process_seconds": round(time.process_time() - used, 1),
        "resumed": bool(again),
    }
    unfinished = run.folder / f"{_FINISHED}.tmp"
    unfinished.write_text(json.dumps(facts) + "\n")
    os.replace(unfinished, run.folder / _FINISHED)
    return f"{run.name}: {facts['steps']:,} steps, {facts['seconds']:.0f} s"


def shown(values: Sequence[float], digits: int = 4) -> str:
    """``mean ± standard deviation`` (of a sample) of several runs."""
    if not len(values):
        return "-"
    deviation = np.std(values, ddof=1) if len(values) > 1 else float("nan")
    return f"{np.mean(values):.{digits}f} ± {deviation:.{digits}f}"


def difference(values: Sequence[float], reference: Sequence[float], digits: int = 4) -> str:
    """Difference of two means, and Welch's t of it: differences beyond the scatter have a large \\|t\\|."""
    if min(len(values), len(reference)) < 2:
        return "-"
    t = stats.ttest_ind(values, reference, equal_var=False).statistic
    return f"{np.mean(values) - np.mean(reference):+.{digits}f} (t {t:+.1f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def versions(run: Run) -> str:
    """With what a run was made, from its ``environment.json``."""
    found = json.loads((run.folder / "environment.json").read_text())
    packages = ", ".join(f"{name} {found['packages'][name]}" for name in ("torch", "rdkit", "numpy"))
    day = time.strftime("%Y-%m-%d", time.localtime((run.folder / _FINISHED).stat().st_mtime))
    return f"{day}, graphium {found['graphium']}, {packages}, {found['threads']} CPU thread"
