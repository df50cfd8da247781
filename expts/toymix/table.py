"""Print the test results of a ToyMix run beside the published ones, as the tables of README.md.

python expts/toymix/table.py outputs/toymix_gine/<time>
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

# Published test results of GINE with about 150,000 parameters (Beaini et al. 2023, ToyMix, random splits):
# dataset -> (key of metrics.json, name, trained on this dataset alone, trained on all three).
PUBLISHED = {
    "qm9": [
        ("pooled_mae_norm", "MAE, z-scored", "0.0959", "0.102"),
        ("pearson", "Pearson", "0.955", "0.956"),
        ("r2", "R2", "0.918", "0.918"),
    ],
    "zinc12k": [
        ("pooled_mae_norm", "MAE, z-scored", "0.266", "0.147"),
        ("pearson", "Pearson", "0.961", "0.987"),
        ("r2", "R2", "0.915", "0.971"),
    ],
    "tox21": [("bce", "BCE", "0.201", "0.177"), ("auroc", "AUROC", "0.783", "0.836"), ("ap", "AP", "0.345", "0.455")],
}


def main(run_dir: Path) -> None:
    test = json.loads((run_dir / "metrics.json").read_text())["test"]
    print("| data set | metric | this run | baseline | published, alone | published, together |")
    print("| --- | --- | --- | --- | --- | --- |")
    for dataset, rows in PUBLISHED.items():
        for key, name, alone, together in rows:
            ours, baseline = test[dataset][key], test[dataset]["baseline"][key]
            shown = "-" if baseline is None else f"{baseline:.3f}"
            print(f"| {dataset} | {name} | {ours:.4f} | {shown} | {alone} | {together} |")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
