"""``graphium predict`` from a CSV of SMILES to a CSV of predictions, one core, against its two parts.

The parts are bare preparation (reading the molecules and computing the encodings of the same texts) and the bare
network (on batches that are ready); and RDKit's bare parse of the same strings. All in one process, in turn, in
seconds of the processor, of all threads together.

    python expts/benchmarks/predict.py [model] [folder with qm9.csv.gz and ZINC12k.csv.gz] [molecules] [repeats]

Without a model one of 150 k parameters with the 34 tasks of ToyMix is made; its weights are random.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from featurize import encoded, parse
from timing import interleave, report

from graphium.chem.featurizer import Featurizer
from graphium.data.molecules import Molecules
from graphium.models.predictor import Predictor
from graphium.models.saved import SavedModel
from graphium.nn.network import build_network
from graphium.types import Task, group_tasks

AT_MOST, AT_LEAST = 1.15, 0.18
ENCODINGS = [{"name": "laplacian", "k": 8}, {"name": "rw_return_probs", "steps": 16}]


def main(model: Path | None, folder: Path, count: int, repeats: int) -> None:
    torch.set_num_threads(1)
    predictor = Predictor(model if model is not None else untrained())
    size = predictor.models[0].network.num_parameters()
    print(f"{size:,} parameters, {len(predictor.tasks)} tasks, batches of {predictor.batch_size}")
    for file in ("qm9.csv.gz", "ZINC12k.csv.gz"):
        texts = pd.read_csv(folder / file, usecols=["smiles"])["smiles"]
        measure(file.partition(".")[0], predictor, texts.sample(min(count, len(texts)), random_state=0), repeats)


def untrained() -> SavedModel:
    """A network as ``model=gine`` makes it, for tasks like those of ToyMix."""
    featurizer = Featurizer(encodings=ENCODINGS)
    scaled = {"name": "zscore", "mean": 1.0, "scale": 2.0}
    tasks = [Task(f"y{k}", "qm9", "graph", "regression", transform=scaled) for k in range(19)]
    tasks += [Task(f"assay{k}", "tox21", "graph", "binary") for k in range(12)]
    tasks += [Task(f"z{k}", "zinc12k", "graph", "regression", transform=scaled) for k in range(3)]
    heads = group_tasks(tasks)
    network = build_network(featurizer.spec, heads, budget=150_000)
    return SavedModel(network.eval(), featurizer, heads)


def measure(name: str, predictor: Predictor, smiles: pd.Series, repeats: int) -> None:
    """Print the time of the whole beside that of its parts."""
    texts = smiles.tolist()
    batches = list(Molecules(texts, predictor.featurizer).batches(predictor.batch_size))
    network = predictor.models[0].network

    def forward() -> None:
        with torch.inference_mode():
            for batch in batches:
                network(batch)

    with tempfile.TemporaryDirectory() as folder:
        seconds = interleave(
            {
                "parse": lambda: parse(texts),
                "prepare": lambda: encoded(predictor.featurizer, texts),
                "forward": forward,
                "predict": predicted(predictor, smiles, Path(folder)),
            },
            repeats=repeats,
            clock=time.process_time,
        )
    scale = 1e6 / len(texts)
    each = ", ".join(f"{side} {seconds[side] * scale:.1f}" for side in seconds)
    print(f"{name}: {len(texts):,} molecules; microseconds a molecule: {each}")
    parts = seconds["prepare"] + seconds["forward"]
    report(f"{name}: predict over preparation and network", seconds["predict"] / parts, AT_MOST, at_least=False)
    report(f"{name}: rate of predict over RDKit's bare parse", seconds["parse"] / seconds["predict"], AT_LEAST)


def predicted(predictor: Predictor, smiles: pd.Series, folder: Path) -> Callable[[], None]:
    """From a file to a file, nothing remembered of an earlier call."""
    source = folder / "molecules.csv"
    smiles.to_csv(source, index=False)

    def run() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            os.environ["GRAPHIUM_CACHE"] = fresh
            predictor.predict_file(source, Path(fresh) / "out.csv", smiles="smiles", progress=False)

    return run


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[2]
    words = sys.argv[1:]
    main(
        Path(words[0]) if words and words[0] != "-" else None,
        Path(words[1]) if len(words) > 1 else here.parent / "shared" / "data" / "toymix",
        int(words[2]) if len(words) > 2 else 8_000,
        int(words[3]) if len(words) > 3 else 5,
    )
