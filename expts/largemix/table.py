"""Print the loss curve of a run on LargeMix-shaped tables, and its test results, as the tables of README.md.

python expts/largemix/table.py outputs/largemix_gine/<time>
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

# dataset -> (key of metrics.json and metrics.csv, name); the first one stands in the curve.
NUMBERS = {
    "l1000_vcap": [("auroc", "AUROC"), ("ap", "AP")],
    "l1000_mcf7": [("auroc", "AUROC"), ("ap", "AP")],
    "pcba_1328": [("auroc", "AUROC"), ("ap", "AP"), ("bce", "BCE")],
    "pcqm4m_g25": [("pooled_mae_norm", "MAE, z-scored"), ("r2", "R2")],
    "pcqm4m_n4": [("pooled_mae_norm", "MAE, z-scored"), ("r2", "R2")],
}


def curve(run_dir: Path) -> None:
    """One line an epoch: losses, and the first number of every dataset on the validation part."""
    table = pd.read_csv(run_dir / "metrics.csv")
    columns = {"epoch": "epoch", "step": "step", "train/loss": "training loss", "val/loss": "validation loss"}
    columns |= {f"val/{dataset}/{keys[0][0]}": f"{dataset} {keys[0][1]}" for dataset, keys in NUMBERS.items()}
    columns = {column: title for column, title in columns.items() if column in table}
    print_row(columns.values())
    print_row("---" for _ in columns)
    for _, row in table.iterrows():
        print_row(f"{row[c]:.0f}" if c in ("epoch", "step") else f"{row[c]:.4f}" for c in columns)


def results(run_dir: Path) -> None:
    """One line a metric: test, test_seen and the baseline that knows the training labels alone."""
    metrics: dict[str, Any] = json.loads((run_dir / "metrics.json").read_text())
    print_row(["data set", "metric", "test", "test_seen", "baseline, test", "tasks where it is defined"])
    print_row(["---"] * 6)
    for dataset, keys in NUMBERS.items():
        for key, title in keys:
            test = metrics["test"].get(dataset, {})
            if test.get(key) is None:
                continue
            seen = metrics.get("test_seen", {}).get(dataset, {})
            numbers = [number(part.get(key)) for part in (test, seen, test["baseline"])]
            print_row([dataset, title, *numbers, test["n_defined"].get(key, "-")])


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def print_row(cells: Any) -> None:
    print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    curve(Path(sys.argv[1]))
    print()
    results(Path(sys.argv[1]))
