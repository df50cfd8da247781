"""Print the test results of a micromix run as the table of the project's README.

python expts/micromix/table.py outputs/micromix_gine/<time>
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

# dataset, key of metrics.json, words of the row
ROWS = [
    ("freesolv", "mae", "hydration free energy", "MAE, kcal/mol"),
    ("freesolv", "r2", "", "R2"),
    ("solubility", "mae", "solubility", "MAE, log10 mol/L"),
    ("solubility", "r2", "", "R2"),
    ("solubility", "accuracy", "three classes", "accuracy"),
    ("solubility", "auroc", "", "AUROC"),
    ("drugs", "mae", "partial charge of every atom", "MAE, e"),
    ("drugs", "r2", "", "R2"),
]


def main(run_dir: Path) -> None:
    test = json.loads((run_dir / "metrics.json").read_text())["test"]
    print("| data set | task | metric | Graphium | mean predictor |")
    print("| --- | --- | --- | --- | --- |")
    for dataset, key, task, metric in ROWS:
        ours, baseline = test[dataset][key], test[dataset]["baseline"][key]
        print(f"| {dataset if task else ''} | {task} | {metric} | {ours:.3f} | {baseline:.3f} |")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
