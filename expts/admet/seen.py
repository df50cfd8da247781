"""Does MiniMol know labels of a task before it is trained on it? Its 1,328 assay outputs against the test labels.

python expts/admet/seen.py path/to/tdc_admet [--tasks cyp2d6_veith ...] [--model minimol]

For every binary task, every assay output of the imported model, as it is, orders the test molecules; the best AUROC
of the 1,328 is set beside their median and their 95th percentile. An output that stands far above all others is
likely to be the assay that the task's labels come from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from table import markdown
from tasks import TASKS, Task, choose, load

import graphium as gf
from graphium.data.molecules import Molecules
from graphium.models.saved import SavedModel

HEAD = "pcba_1328"
# Test molecules looked at, drawn once, of tasks that have more.
LIMIT = 1_000
SEED = 0


def assay_scores(task: Task, model: SavedModel, data_dir: Path) -> np.ndarray:
    """AUROC of every assay output on test molecules of a task, ``[assays]``."""
    table = load(task, data_dir)
    test = table[table["part"] == "test"]
    test = test.sample(min(LIMIT, len(test)), random_state=SEED)
    head = next(head for head in model.heads if head.dataset == HEAD)
    molecules = Molecules(test["smiles"].tolist(), model.featurizer)
    output = np.zeros((len(test), head.num_tasks), np.float32)
    with torch.inference_mode():
        for batch in molecules.batches(256):
            output[batch.row.numpy()] = model.network(batch)[head.name].flatten(1).numpy()
    label = test["y"].to_numpy()
    return np.array([roc_auc_score(label, column) for column in output.T])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--tasks", nargs="+", default=[name for name, task in TASKS.items() if task.is_binary])
    parser.add_argument("--model", default="minimol")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = gf.load_model(options.model)
    model.network.eval()
    rows = []
    for task in choose(options.tasks):
        scores = np.sort(assay_scores(task, model, options.data_dir))[::-1]
        found = [scores[0], scores[1], np.percentile(scores, 95), np.median(scores)]
        rows.append([task.name, *(f"{score:.3f}" for score in found)])
    print(markdown(["task", "best output", "second", "95th percentile", "median"], rows))


if __name__ == "__main__":
    main()
