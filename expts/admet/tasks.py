"""The 22 ADMET tasks of Therapeutics Data Commons: tables, parts, and the number that TDC judges each by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import average_precision_score, mean_absolute_error, roc_auc_score

SPLITS = "scaffold_splits_seed42.csv.gz"
PARTS = ("train", "val", "test")


def spearman(label: np.ndarray, prediction: np.ndarray) -> float:
    """Rank correlation; 0 for predictions that are all alike."""
    return float(stats.spearmanr(label, prediction).statistic) if np.ptp(prediction) else 0.0


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "MAE": mean_absolute_error,
    "Spearman": spearman,
    "AUROC": roc_auc_score,
    "AUPRC": average_precision_score,
}


@dataclass(frozen=True)
class Task:
    """A task and its TDC metric.

    ``log``: what is learned is the decimal logarithm of the label; these labels span orders of magnitude and are
    judged by their ranks, which a logarithm does not change.
    """

    name: str
    metric: str
    log: bool = False

    @property
    def is_binary(self) -> bool:
        return self.metric in ("AUROC", "AUPRC")

    @property
    def higher_is_better(self) -> bool:
        return self.metric != "MAE"

    def score(self, label: np.ndarray, prediction: np.ndarray) -> float:
        """The metric of labels and predictions (classes: anything that rises with the probability of 1)."""
        return float(METRICS[self.metric](label, prediction))


# In TDC's order and with TDC's choice of metric (Huang et al. 2021, ADMET benchmark group).
TASKS = {
    task.name: task
    for task in (
        Task("caco2_wang", "MAE"),
        Task("hia_hou", "AUROC"),
        Task("pgp_broccatelli", "AUROC"),
        Task("bioavailability_ma", "AUROC"),
        Task("lipophilicity_astrazeneca", "MAE"),
        Task("solubility_aqsoldb", "MAE"),
        Task("bbb_martins", "AUROC"),
        Task("ppbr_az", "MAE"),
        Task("vdss_lombardo", "Spearman", log=True),
        Task("cyp2d6_veith", "AUPRC"),
        Task("cyp3a4_veith", "AUPRC"),
        Task("cyp2c9_veith", "AUPRC"),
        Task("cyp2d6_substrate_carbonmangels", "AUPRC"),
        Task("cyp3a4_substrate_carbonmangels", "AUROC"),
        Task("cyp2c9_substrate_carbonmangels", "AUPRC"),
        Task("half_life_obach", "Spearman", log=True),
        Task("clearance_microsome_az", "Spearman", log=True),
        Task("clearance_hepatocyte_az", "Spearman", log=True),
        Task("herg", "AUROC"),
        Task("ames", "AUROC"),
        Task("dili", "AUROC"),
        Task("ld50_zhu", "MAE"),
    )
}


def load(task: Task, data_dir: Path) -> pd.DataFrame:
    """The rows of a task that are used, in the order of its file: ``smiles``, ``y`` and ``part``.

    Repeats of a molecule after its first row and texts that are no molecule are marked in the file of splits and
    left out here, for every method alike. ``y`` is what is learned: 0 and 1, or a number, or its logarithm.
    """
    table = pd.read_csv(data_dir / f"{task.name}.csv.gz")
    splits = _splits(data_dir)
    part = splits[splits["task"] == task.name].set_index("row")["split"].reindex(table.index)
    used = part.isin(PARTS).to_numpy()
    label = table["Y"].to_numpy(np.float64)[used]
    if task.is_binary:
        label = label.astype(np.int64)
    return pd.DataFrame(
        {
            "smiles": table["Drug"].to_numpy()[used],
            "y": np.log10(label) if task.log else label,
            "part": part.to_numpy()[used],
        }
    )


def judge(task: Task, table: pd.DataFrame, prediction: np.ndarray) -> dict[str, float]:
    """The task's metric for the validation and the test rows of a table, ``prediction`` being of all its rows."""
    label, part = table["y"].to_numpy(), table["part"].to_numpy()
    return {name: task.score(label[part == name], prediction[part == name]) for name in ("val", "test")}


def count_rows(table: pd.DataFrame) -> dict[str, int]:
    """Rows of every part of a table."""
    return {name: int((table["part"] == name).sum()) for name in PARTS}


@cache
def _splits(data_dir: Path) -> pd.DataFrame:
    return pd.read_csv(data_dir / SPLITS)


def choose(names: Sequence[str]) -> list[Task]:
    """Tasks by name; all of them where no name is given.

    Raises:
        SystemExit: a name that is no task.
    """
    unknown = [name for name in names if name not in TASKS]
    if unknown:
        raise SystemExit(f"unknown task {unknown[0]}; choose from {', '.join(TASKS)}")
    return [TASKS[name] for name in names] or list(TASKS.values())
