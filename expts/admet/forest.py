"""The floor: a random forest on counts of circular fragments (ECFP4), for all tasks and seeds.

python expts/admet/forest.py path/to/tdc_admet [--tasks caco2_wang ...] [--seeds 0 1 2 3 4]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator
from results import FOLDER, path, write
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from tasks import Task, choose, count_rows, judge, load

METHOD = "forest"
# Chosen on validation parts: counts are better than bits on most tasks. Shares of the columns that a node looks at
# are the usual ones: a third for numbers, the square root for classes.
TREES, RADIUS, SIZE = 200, 2, 2048


def fragment_counts(smiles: Sequence[str]) -> np.ndarray:
    """How often each fragment of radius 2 occurs, hashed to 2,048 columns: float32 ``[molecules, 2048]``."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=SIZE)
    with rdBase.BlockLogs():
        return np.stack(
            [generator.GetCountFingerprintAsNumPy(Chem.MolFromSmiles(text)).astype(np.float32) for text in smiles]
        )


def fit_predict(task: Task, x: np.ndarray, y: np.ndarray, is_train: np.ndarray, seed: int) -> np.ndarray:
    """Train on the training rows and predict the others: values, or probabilities of class 1; 0 for training rows."""
    prediction = np.zeros(len(x))
    if task.is_binary:
        forest = RandomForestClassifier(TREES, max_features="sqrt", random_state=seed).fit(x[is_train], y[is_train])
        prediction[~is_train] = forest.predict_proba(x[~is_train])[:, 1]
    else:
        forest = RandomForestRegressor(TREES, max_features=1 / 3, random_state=seed).fit(x[is_train], y[is_train])
        prediction[~is_train] = forest.predict(x[~is_train])
    return prediction


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--tasks", nargs="+", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--results", type=Path, default=FOLDER)
    options = parser.parse_args()
    for task in choose(options.tasks):
        seeds = [seed for seed in options.seeds if not path(options.results, METHOD, task.name, seed).is_file()]
        if not seeds:
            continue
        started = time.process_time()
        table = load(task, options.data_dir)
        x, y, is_train = fragment_counts(table["smiles"]), table["y"].to_numpy(), (table["part"] == "train").to_numpy()
        share = (time.process_time() - started) / len(options.seeds)
        for seed in seeds:
            started = time.process_time()
            prediction = fit_predict(task, x, y, is_train, seed)
            seconds = share + time.process_time() - started
            setting = {"trees": TREES, "radius": RADIUS, "size": SIZE}
            scores = judge(task, table, prediction)
            result = write(options.results, METHOD, task, seed, scores, count_rows(table), seconds, setting)
            print(f"{task.name} seed {seed}: {task.metric} {result.test:.4f}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
