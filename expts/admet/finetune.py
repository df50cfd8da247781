"""MiniMol trained further as a whole on each task, and the same network trained on the task from nothing.

graphium models import minimol
python expts/admet/finetune.py path/to/tdc_admet [--methods finetune scratch] [--tasks caco2_wang ...] [--jobs 2]

Every run is a process of its own. A finished run is never repeated, and one that was killed goes on from its last
checkpoint. Both methods take equally many passes over the training rows.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from results import FOLDER, path, write
from tasks import Task, choose, count_rows, load

METRICS = {"MAE": "mae", "Spearman": "spearman", "AUROC": "auroc", "AUPRC": "ap"}


@dataclass(frozen=True)
class Budget:
    """How long a run lasts.

    ``molecules``: passes of one molecule through training; a table has as many epochs as come nearest to that, within
    the bounds. ``few``: tables with fewer rows have ``seeds_if_few`` seeds, others one.
    """

    molecules: int = 5_000
    min_epochs: int = 1
    max_epochs: int = 10
    few: int = 1_000
    seeds_if_few: int = 3

    def epochs(self, train_rows: int) -> int:
        return max(self.min_epochs, min(self.max_epochs, round(self.molecules / train_rows)))

    def seeds(self, rows: int) -> range:
        return range(self.seeds_if_few if rows < self.few else 1)


@dataclass(frozen=True)
class Recipe:
    """What the optimiser does; one choice for all tasks, made on validation parts of three of them."""

    lr: float
    lr_decay: float = 1.0
    batch_size: int = 32
    precision: str = "bf16-mixed"
    weight_decay: float = 0.01


RECIPES = {"finetune": Recipe(lr=3e-4, lr_decay=0.85), "scratch": Recipe(lr=3e-4)}


@dataclass(frozen=True)
class Run:
    """One training run; plain values, for a process of its own."""

    method: str
    task: Task
    seed: int
    epochs: int
    rows: dict[str, int]
    recipe: Recipe
    model: str
    work: Path
    results: Path

    @property
    def name(self) -> str:
        return f"{self.method} {self.task.name} seed {self.seed}"

    @property
    def is_finished(self) -> bool:
        return path(self.results, self.method, self.task.name, self.seed).is_file()

    @property
    def passes(self) -> int:
        return self.epochs * self.rows["train"]


def data_section(task: Task, recipe: Recipe, work: Path) -> dict[str, Any]:
    """The ``data`` section of a run: the table that :func:`write_table` wrote."""
    dataset = {
        "path": str((work / "tables" / f"{task.name}.csv").absolute()),
        "smiles": "smiles",
        "tasks": [
            {
                "columns": ["y"],
                "level": "graph",
                "kind": "binary" if task.is_binary else "regression",
                "metrics": [METRICS[task.metric]],
            }
        ],
        "split": {"name": "column", "column": "part"},
    }
    return {"datasets": {task.name: dataset}, "batch_size": recipe.batch_size}


def configuration(run: Run) -> dict[str, Any]:
    """The configuration of a run, as ``graphium.run`` takes it."""
    import graphium as gf

    recipe = run.recipe
    words = [
        f"optim.lr={recipe.lr}",
        f"optim.weight_decay={recipe.weight_decay}",
        f"trainer.max_epochs={run.epochs}",
        f"trainer.precision={recipe.precision}",
        "trainer.threads=1",
        "trainer.progress=false",
        "trainer.calibrate=false",
        f"seed={run.seed}",
    ]
    if run.method == "finetune":
        words += ["finetune=full", f"finetune.from={run.model}", f"finetune.lr_decay={recipe.lr_decay}"]
    config: dict[str, Any] = gf.compose(words)
    if run.method == "scratch":
        saved = gf.load_model(run.model)
        network = saved.network.config()
        # The model's own heads, and the readout of atoms, are of its own tasks.
        readouts = {"graph": network["readouts"]["graph"]}
        config |= {
            "features": saved.featurizer.config(),
            "model": {**network, "readouts": readouts, "heads": None},
        }
    folder = run.work / "runs" / run.method / f"{run.task.name}-{run.seed}"
    return {
        **config,
        "data": data_section(run.task, recipe, run.work),
        "store_dir": str(run.work / "stores"),
        "run_dir": str(folder),
    }


def train(run: Run) -> str:
    """Train, write the result, and say one line about it."""
    import graphium as gf

    started = time.process_time()
    config = configuration(run)
    folder = Path(config["run_dir"])
    checkpoint = folder / "checkpoints" / "last.ckpt"
    again = {"ckpt_path": str(checkpoint)} if checkpoint.is_file() else {}
    metrics = gf.run({**config, **again}).metrics
    seconds = time.process_time() - started
    scores = {part: metrics[part][run.task.name][METRICS[run.task.metric]] for part in ("val", "test")}
    setting = {"epochs": run.epochs, **vars(run.recipe), "resumed": bool(again)}
    result = write(run.results, run.method, run.task, run.seed, scores, run.rows, seconds, setting)
    # Eighty models of 10 million parameters, with what resumes their training, are not wanted.
    for name in ("checkpoints", "model"):
        shutil.rmtree(folder / name)
    return f"{run.name}: {run.task.metric} {result.test:.4f}, {run.epochs} epochs, {seconds:.0f} s"


def plan(options: argparse.Namespace, budget: Budget) -> Iterator[Run]:
    """All runs; writes the table of every task."""
    folder = options.work / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for task in choose(options.tasks):
        table = load(task, options.data_dir)
        table.to_csv(folder / f"{task.name}.csv", index=False)
        rows = count_rows(table)
        for method in options.methods:
            for seed in options.seeds or budget.seeds(len(table)):
                yield Run(
                    method, task, seed, budget.epochs(rows["train"]), rows, RECIPES[method],
                    options.model, options.work, options.results,
                )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--tasks", nargs="+", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 3 for tables under 1,000 rows, 1 for others")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--model", default="minimol")
    parser.add_argument("--work", type=Path, default=Path("outputs/admet"))
    parser.add_argument("--results", type=Path, default=FOLDER)
    options = parser.parse_args()
    runs = list(plan(options, Budget()))
    # One seed of every task before the next; the longest first, so that no process is left alone with a long one.
    waiting = sorted((run for run in runs if not run.is_finished), key=lambda run: (run.seed, -run.passes, run.method))
    print(f"{len(runs)} runs, {len(waiting)} of them to train", flush=True)
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        futures = {pool.submit(train, run): run for run in waiting}
        failed = 0
        for number, future in enumerate(as_completed(futures), 1):
            error = future.exception()
            failed += error is not None
            line = future.result() if error is None else f"{futures[future].name} failed: {error!r}"
            print(f"[{number}/{len(waiting)}] {line}", flush=True)
    if failed:
        raise SystemExit(f"{failed} runs failed; the same command tries them again")


if __name__ == "__main__":
    main()
