"""MiniMol's fingerprints, as they are, and the mean of five small MLPs on top: for all tasks and seeds.

graphium models import minimol
python expts/admet/fingerprints.py path/to/tdc_admet [--tasks caco2_wang ...] [--model minimol]

Fingerprints are made once a task and kept in the work folder.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ensemble import Training, fit_predict
from results import FOLDER, path, write
from tasks import Task, choose, count_rows, judge, load

METHOD = "fingerprint"
MEMBERS = 5
TRAINING = Training()


def fingerprints(task: Task, table: pd.DataFrame, model: str, work: Path) -> tuple[np.ndarray, float]:
    """float32 ``[rows, 512]`` of a task, and the core seconds that they cost when they were made."""
    kept, cost = work / f"{task.name}.npy", work / f"{task.name}.json"
    if not cost.is_file():
        from graphium.models.fingerprints.fingerprinter import Fingerprinter

        started = time.process_time()
        found = Fingerprinter(model, "gnn", "max").fingerprint(table["smiles"].tolist())
        work.mkdir(parents=True, exist_ok=True)
        np.save(kept, found)
        cost.write_text(json.dumps({"core_seconds": time.process_time() - started, "rows": len(found)}))
    found = np.load(kept)
    if len(found) != len(table) or not np.isfinite(found).all():
        raise SystemExit(f"{kept} does not hold a fingerprint of every molecule of {task.name}; delete {work}")
    return found, json.loads(cost.read_text())["core_seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--tasks", nargs="+", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--model", default="minimol")
    parser.add_argument("--work", type=Path, default=Path("outputs/admet"))
    parser.add_argument("--results", type=Path, default=FOLDER)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for task in choose(options.tasks):
        if all(path(options.results, METHOD, task.name, seed).is_file() for seed in options.seeds):
            continue
        table = load(task, options.data_dir)
        y, part = table["y"].to_numpy(), table["part"].to_numpy()
        x, seconds = fingerprints(task, table, options.model, options.work / "fingerprints")
        for seed in options.seeds:
            started = time.process_time()
            members = fit_predict(x, y, part, binary=task.is_binary, num_members=MEMBERS, seed=seed, training=TRAINING)
            spent = time.process_time() - started + seconds / len(options.seeds)
            setting = {"members": MEMBERS, **asdict(TRAINING)}
            scores = judge(task, table, members.mean(axis=0))
            result = write(options.results, METHOD, task, seed, scores, count_rows(table), spent, setting)
            print(f"{task.name} seed {seed}: {task.metric} {result.test:.4f}, {spent:.0f} s", flush=True)


if __name__ == "__main__":
    main()
