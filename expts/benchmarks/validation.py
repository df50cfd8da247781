"""The cost of metrics in a validation of the five LargeMix heads, beside inference of the network they judge.

    python expts/benchmarks/validation.py ../shared/data

100,000 molecules in batches of 2,048: 978 tasks of three brackets twice (11 % of the molecules, all tasks), 1,328
assays (7 % of the labels), 25 graph and 4 atom regressions (all). Metrics: updates and report of the default metrics,
pooled ones included, of labels and predictions drawn at random. Inference: forward of `experiment=largemix_gine`
(10 M parameters) on a sample of MOSES molecules, scaled up linearly. Both in seconds of the processor, one thread.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from timing import report
from torch import Tensor

from graphium.chem.featurizer import Featurizer
from graphium.config import compose
from graphium.data.batch import GraphBatch, Labels
from graphium.data.gather import Gather
from graphium.data.labels.transforms import LabelTransform
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.nn.network import build_network
from graphium.training.evaluation import Evaluator
from graphium.types import FeatureSpec, HeadSpec, Task, group_tasks

MOLECULES, BATCH = 100_000, 2048
# Dataset -> level, kind, classes, tasks, share of the entities with labels, share of their labels.
SHAPES = {
    "l1000_vcap": ("graph", "ordinal", 3, 978, 0.11, 1.0),
    "l1000_mcf7": ("graph", "ordinal", 3, 978, 0.11, 1.0),
    "pcba_1328": ("graph", "binary", 0, 1328, 1.0, 0.07),
    "pcqm4m_g25": ("graph", "regression", 0, 25, 1.0, 1.0),
    "pcqm4m_n4": ("node", "regression", 0, 4, 1.0, 1.0),
}


def make_heads() -> tuple[HeadSpec, ...]:
    tasks = []
    for dataset, (level, kind, classes, count, *_) in SHAPES.items():
        fitted = {"name": "zscore", "mean": 3.0, "scale": 2.0} if kind == "regression" else {"name": "none"}
        tasks += [
            Task(f"{dataset} {i}", dataset, level, kind, classes, transform=fitted)  # type: ignore[arg-type]
            for i in range(count)
        ]
    return group_tasks(tasks)


def read_batches(pool: Path, folder: Path, rows: int) -> tuple[FeatureSpec, list[GraphBatch]]:
    """Batches of the first molecules of MOSES, without labels."""
    table = folder / "molecules.parquet"
    pd.read_csv(pool, nrows=rows).to_parquet(table)
    featurizer = Featurizer()
    store = prepare_store(Table(table), "SMILES", featurizer, folder, name="moses")
    gather = Gather(store, featurizer.spec, {})
    return featurizer.spec, [gather(piece) for piece in torch.arange(rows).split(BATCH)]


def draw(head: HeadSpec, entities: int, rng: np.random.Generator) -> tuple[Tensor, Labels]:
    """Random predictions and labels of one batch."""
    *_, share, density = SHAPES[head.dataset]
    shape = (entities, head.num_tasks, head.width) if head.width else (entities, head.num_tasks)
    prediction = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
    rows = np.flatnonzero(rng.random(entities) < share)
    place, task = (rng.random((len(rows), head.num_tasks), dtype=np.float32) < density).nonzero()
    value = rng.standard_normal(len(task), dtype=np.float32)
    if head.kind == "binary":
        value = (value > 1.3).astype(np.float32)
    if head.num_classes:
        value = rng.integers(0, head.num_classes, len(task)).astype(np.float32)
    labels = (rows[place], task, value, np.ones(len(task), np.float32), np.zeros(head.num_tasks, np.float32))
    return prediction, Labels(*map(torch.from_numpy, labels))


def metric_seconds(heads: tuple[HeadSpec, ...], atoms: float) -> dict[str, float]:
    """Seconds of all updates by head, and of the report."""
    evaluator = Evaluator(heads, {head.name: LabelTransform(head.tasks) for head in heads})
    seconds = {head.dataset: 0.0 for head in heads}
    rng, count = np.random.default_rng(0), 0
    for start in range(0, MOLECULES, BATCH):
        size = min(BATCH, MOLECULES - start)
        for head in heads:
            prediction, labels = draw(head, size if head.level == "graph" else round(size * atoms), rng)
            count += len(labels.task)
            begin = time.process_time()
            evaluator.update({head.name: prediction}, {head.name: labels})
            seconds[head.dataset] += time.process_time() - begin
    begin = time.process_time()
    found = evaluator.compute()
    seconds["report"] = time.process_time() - begin
    defined = {dataset: numbers["n_defined"] for dataset, numbers in found.items()}
    print(f"{count:,} labels; tasks defined: {defined}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with pool/moses_test.csv.gz")
    parser.add_argument("--sample", type=int, default=2 * BATCH, help="molecules that inference is timed on")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    heads = make_heads()
    with tempfile.TemporaryDirectory() as name:
        pool = arguments.data / "pool" / "moses_test.csv.gz"
        spec, batches = read_batches(pool, Path(name), arguments.sample)
        network = build_network(spec, heads, **compose(["experiment=largemix_gine"])["model"]).eval()
        print(f"{network.num_parameters():,} parameters")
        with torch.no_grad():
            network(batches[-1])
            begin = time.process_time()
            for batch in batches:
                network(batch)
            inference = (time.process_time() - begin) * MOLECULES / arguments.sample
        atoms = sum(batch.num_nodes for batch in batches) / arguments.sample
    seconds = metric_seconds(heads, atoms)
    print("seconds:", {name: round(value, 2) for name, value in seconds.items()}, f"inference {inference:.1f}")
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")
    report("metrics / inference", 100 * sum(seconds.values()) / inference, 10.0, at_least=False, unit="%")


if __name__ == "__main__":
    main()
