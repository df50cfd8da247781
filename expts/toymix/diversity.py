"""Many kinds of tasks or many rows? Training sets of equal size with one, two, four and eight families of tasks.

python expts/toymix/diversity.py path/to/data [--out outputs/diversity] [--seeds 0 1 2] [--jobs 2]

``path/to/data`` holds the folders ``toymix``, ``moleculenet``, ``sparse_multitask`` and ``tdc_admet``. A target data
set has 500 training rows of its own. To them come 1,000 rows of other data sets (families): of one, or shared out
among two, four or eight; or 2,000 or 4,000 rows of one or of eight. For every seed the families are put into a random
order and cut into 8 singles, 4 pairs, 2 fours and 1 eight, so that every size of group uses every family as often. The
target has half of the weight of the loss in every run, and the best epoch is chosen on its validation part.
A finished run is not repeated and a killed one goes on; ``--table`` prints the tables of what is finished.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from runs import Run, shown, table, train_all, versions
from scipy import stats
from sources import known

import graphium as gf

# Target -> the number to compare, and whether it should fall or rise.
TARGETS = {"lipo": ("pooled_mae_norm", "min"), "ames": ("auroc", "max")}
FAMILIES = {
    "qm9": "quantum chemistry",
    "zinc12k": "computed logP and accessibility",
    "muv": "screens",
    "chembl_5thresh": "binding",
    "toxcast": "toxicity in vitro",
    "cyp3a4_veith": "metabolic enzyme",
    "solubility_aqsoldb": "solubility",
    "ld50_zhu": "toxicity in vivo",
}
OWN, OTHERS = 500, 1000
VAL, TEST = 400, 800
BATCH = 50


@dataclass(frozen=True)
class Arm:
    """Some families, and the rows that they bring together; ``epochs`` in place of those of the study."""

    families: tuple[str, ...]
    rows: int
    same_steps: bool = False

    @property
    def kind(self) -> str:
        """What is compared: how many rows of how many families."""
        if not self.families:
            return "no other rows" + (", as many steps" if self.same_steps else "")
        return f"{self.rows:,} rows of {len(self.families)} famil{'ies' if len(self.families) > 1 else 'y'}"

    @property
    def name(self) -> str:
        return f"{self.rows}-{'+'.join(self.families)}" if self.families else f"alone{'-same-steps' * self.same_steps}"


def arms(seed: int) -> list[Arm]:
    """All training sets of a seed; every number of families uses every family as often."""
    names = [str(name) for name in np.random.default_rng(seed).permutation(list(FAMILIES))]
    groups = {size: [tuple(names[i : i + size]) for i in range(0, len(names), size)] for size in (1, 2, 4, 8)}
    found = [Arm((), 0), Arm((), 0, same_steps=True)]
    found += [Arm(group, OTHERS) for size in groups for group in groups[size]]
    found += [Arm(group, times * OTHERS) for times in (2, 4) for size in (1, 8) for group in groups[size]]
    return found


class Tables:
    """The prepared tables: which rows may be drawn, without the molecules that a target is tested on."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.features = gf.compose(["experiment=toymix_gine"])["features"]

    @cached_property
    def fields(self) -> dict[str, dict[str, Any]]:
        """Data set -> its configuration, without its split and its rule for repeats: rows are drawn here."""
        found = {name: known(name, self.options.data_dir) for name in (*TARGETS, *FAMILIES)}
        return {name: {k: v for k, v in one.items() if k not in ("split", "repeats")} for name, one in found.items()}

    @cached_property
    def stores(self) -> dict[str, Any]:
        """Data set -> its store; prepares what is not there."""
        mix = gf.build_mix(
            {"datasets": deepcopy(self.fields)}, gf.Featurizer(**self.features), store_dir=self.options.store_dir
        )
        return {dataset.name: dataset.store for dataset in mix.datasets}

    def one_row_each(self, name: str) -> np.ndarray:
        """The first row of every molecule, in the order of molecules."""
        molecule = np.asarray(self.stores[name].row_molecule)
        found, first = np.unique(molecule, return_index=True)
        return first[found >= 0]

    def ids(self, name: str) -> np.ndarray:
        """The identity without stereochemistry of the molecules of :meth:`one_row_each`, as single numbers."""
        flat = np.ascontiguousarray(self.stores[name].flat_ids())
        return flat.view([("high", "<u8"), ("low", "<u8")])[:, 0]

    def held_out(self, target: str) -> np.ndarray:
        """Places in :meth:`one_row_each` of the molecules of validation and test, the same for every seed."""
        return np.random.default_rng(0).permutation(len(self.one_row_each(target)))[: VAL + TEST]

    def target_parts(self, target: str, seed: int) -> dict[str, np.ndarray]:
        rows, held_out = self.one_row_each(target), self.held_out(target)
        # A molecule with another stereochemistry in training would give the answer away.
        free = np.setdiff1d(np.arange(len(rows)), held_out)
        free = free[~np.isin(self.ids(target)[free], self.ids(target)[held_out])]
        own = np.random.default_rng([seed, 1]).permutation(free)[:OWN]
        return {"train": rows[own], "val": rows[held_out[:VAL]], "test": rows[held_out[VAL:]]}

    def family_parts(self, family: str, target: str, seed: int, count: int) -> dict[str, np.ndarray]:
        """``count`` training rows; fewer are always among more."""
        rows = self.one_row_each(family)
        tested = self.ids(target)[self.held_out(target)]
        rows = rows[~np.isin(self.ids(family), tested)]
        order = np.random.default_rng([seed, 2 + list(FAMILIES).index(family)]).permutation(rows)
        if len(order) < count:
            raise SystemExit(f"{family} has {len(order):,} rows for {target}, and {count:,} are needed")
        return {"train": order[:count]}


def write_split(path: Path, parts: dict[str, np.ndarray]) -> dict[str, str]:
    """Write row numbers, a column for each part, and return the split that reads them."""
    columns = {part: pd.Series(parts.get(part, []), dtype="Int64") for part in ("train", "val", "test")}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    pd.DataFrame(columns).to_csv(unfinished, index=False)
    unfinished.replace(path)
    return {"name": "file", "path": str(path.absolute())}


def run_of(target: str, seed: int, arm: Arm, tables: Tables) -> Run:
    """The run of one training set."""
    options = tables.options
    folder = options.out / f"{options.epochs}-epochs" / f"{target}-{seed}" / arm.name
    metric, mode = TARGETS[target]
    names = [target, *arm.families]
    run = Run(folder, {})
    if run.is_finished or options.table:
        return run
    datasets = {name: deepcopy(tables.fields[name]) for name in names}
    splits = options.out / "splits" / f"{target}-{seed}"
    datasets[target]["split"] = write_split(splits / f"{target}.csv", tables.target_parts(target, seed))
    for family in arm.families:
        count = arm.rows // len(arm.families)
        parts = tables.family_parts(family, target, seed, count)
        datasets[family]["split"] = write_split(splits / f"{family}-{count}.csv", parts)
    trainer: dict[str, Any] = {
        "max_epochs": options.epochs,
        "threads": 1,
        "progress": False,
        "monitor": f"val/{target}/{metric}",
        "mode": mode,
        "weighting": {"name": "weights.TargetWeighting", "target": target},
    }
    if arm.same_steps:
        trainer.update(max_epochs=-1, max_steps=options.epochs * -(-(OWN + OTHERS) // BATCH))
    config = {
        "seed": seed,
        "store_dir": str(options.store_dir),
        "features": tables.features,
        "data": {"datasets": datasets, "batch_size": BATCH},
        "model": {"layer": "gine", "width": 64, "depth": 3},
        "optim": {"name": "adamw", "lr": 0.002, "schedule": {"name": "cosine", "warmup": 0.1}},
        "trainer": trainer,
    }
    return Run(folder, config)


def print_target(target: str, runs: dict[tuple[int, Arm], Run]) -> None:
    """The numbers of one target: by number of families and rows, and for the families one by one."""
    metric, mode = TARGETS[target]
    scores = {key: run.metrics["test"][target][metric] for key, run in runs.items() if run.is_finished}
    if not scores:
        return
    better = "lower" if mode == "min" else "higher"
    print(f"\n{target}, {metric} of the test part, {better} is better:\n")
    by_kind: dict[str, dict[int, float]] = {}
    for (seed, arm), _ in scores.items():
        alike = [value for (s, a), value in scores.items() if s == seed and a.kind == arm.kind]
        by_kind.setdefault(arm.kind, {})[seed] = float(np.mean(alike))
    reference = by_kind.get(Arm(("qm9",), OTHERS).kind, {})
    rows = []
    for kind, means in by_kind.items():
        count = sum(arm.kind == kind for _, arm in scores)
        steps = [run.facts["steps"] for (_, arm), run in runs.items() if arm.kind == kind and run.is_finished]
        rows.append([kind, shown(list(means.values())), paired(means, reference), f"{steps[0]:,}", str(count)])
    header = ["training set beside 500 rows of the target", metric, "less 1,000 rows of 1 family, same seed"]
    print(table([*header, "steps", "runs"], rows))
    rows = []
    for family, about in FAMILIES.items():
        cells = []
        for count in (OTHERS, 2 * OTHERS, 4 * OTHERS):
            cells.append(shown([v for (_, arm), v in scores.items() if arm == Arm((family,), count)]))
        rows.append([f"{family} ({about})", *cells])
    print("\n" + table(["one family", *(f"{times * OTHERS:,} rows" for times in (1, 2, 4))], rows), flush=True)


def paired(values: dict[int, float], reference: dict[int, float]) -> str:
    """Mean and deviation over seeds of the difference, and its paired t."""
    differences = [values[seed] - reference[seed] for seed in values if seed in reference]
    if len(differences) < 2 or not np.any(differences):
        return "-"
    t = stats.ttest_1samp(differences, 0.0).statistic
    return f"{np.mean(differences):+.4f} ± {np.std(differences, ddof=1):.4f} (t {t:+.1f})"


def all_runs(targets: Sequence[str], tables: Tables) -> dict[str, dict[tuple[int, Arm], Run]]:
    """Target -> (seed, training set) -> run."""
    return {
        target: {(seed, arm): run_of(target, seed, arm, tables) for seed in tables.options.seeds for arm in arms(seed)}
        for target in targets
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--out", type=Path, default=Path("outputs/diversity"))
    parser.add_argument("--store-dir", type=Path, help="where prepared tables are kept; <out>/stores")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, a core each")
    parser.add_argument("--table", action="store_true", help="print what is finished and train nothing")
    options = parser.parse_args()
    options.store_dir = options.store_dir or options.out / "stores"
    runs = all_runs(options.targets, Tables(options))
    if not options.table:
        # One seed of all targets after another, so that what is finished can be compared.
        ordered = [
            run for seed in options.seeds for found in runs.values() for (s, _), run in found.items() if s == seed
        ]
        train_all(ordered, options.jobs)
    finished = [run for found in runs.values() for run in found.values() if run.is_finished]
    print(f"\n{len(finished)} of {sum(map(len, runs.values()))} runs are finished")
    if finished:
        print(f"{versions(finished[-1])}; {options.epochs} epochs")
    for target, found in runs.items():
        print_target(target, found)


if __name__ == "__main__":
    main()
