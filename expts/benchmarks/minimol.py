"""MiniMol from SMILES on one core: our rate, that of its matrix products alone, and that of the original program.

    python expts/benchmarks/minimol.py [ZINC12k.csv.gz] [molecules] [--model folder] [--profile]

"Fingerprints" parses, featurizes and runs the network up to its last block, as the original program does;
"predictions" goes on to all 3,313 tasks and the atoms. The floor multiplies matrices of the sizes that the nodes of
the same batches need, and does nothing else. The model is imported into the cache where no folder is given. All in
one process with one thread, interleaved.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from timing import interleave, report
from torch import nn

from graphium.data.batch import GraphBatch
from graphium.data.molecules import Molecules
from graphium.models.minimol import import_minimol
from graphium.models.saved import SavedModel, load_model
from graphium.nn.linear import apply_linear
from graphium.nn.network import Network

# Molecules a second from SMILES on one core, the figure for the original program (batches of 128).
ORIGINAL = 72.0
REQUIRED = 2.5
BATCH = 128


def main(table: Path, count: int, folder: Path | None, profile: bool) -> None:
    torch.set_num_threads(1)
    model = load_model(folder or import_minimol())
    texts = pd.read_csv(table, usecols=["smiles"])["smiles"].sample(count, random_state=0).tolist()
    products, nodes = node_products(model.network), [batch.num_nodes for batch in batches(model, texts)]
    if profile:
        show_profile(model, texts)
        return
    seconds = interleave(
        {
            "features": lambda: list(batches(model, texts)),
            "fingerprints": lambda: fingerprints(model, texts),
            "predictions": lambda: predictions(model, texts),
            "floor": lambda: multiply(products, nodes),
        },
        repeats=3,
    )
    rates = {name: len(texts) / value for name, value in seconds.items()}
    print(f"{len(texts):,} molecules of {sum(nodes) / len(texts):.1f} atoms, molecules a second on one core")
    print(f"  matrix products of the nodes alone {rates['floor']:.0f}, features alone {rates['features']:.0f}")
    report(
        f"fingerprints {rates['fingerprints']:.0f}/s / original {ORIGINAL:.0f}/s",
        rates["fingerprints"] / ORIGINAL,
        REQUIRED,
    )
    report(
        f"predictions {rates['predictions']:.0f}/s / original {ORIGINAL:.0f}/s",
        rates["predictions"] / ORIGINAL,
        REQUIRED,
    )


def batches(model: SavedModel, texts: list[str]) -> Iterator[GraphBatch]:
    return Molecules(texts, model.featurizer).batches(BATCH)


@torch.inference_mode()
def fingerprints(model: SavedModel, texts: list[str]) -> None:
    for batch in batches(model, texts):
        x, edges = model.network.encode(batch)
        model.network.readouts["graph"].collect(x, batch, edges)  # type: ignore[operator]


@torch.inference_mode()
def predictions(model: SavedModel, texts: list[str]) -> None:
    for batch in batches(model, texts):
        model.network(batch)


def node_products(network: Network) -> list[nn.Linear]:
    """The linear maps that every atom goes through on its way to the fingerprint."""
    return [m for part in (network.node_input, network.blocks) for m in part.modules() if isinstance(m, nn.Linear)]


@torch.inference_mode()
def multiply(products: list[nn.Linear], nodes: list[int]) -> None:
    for count in nodes:
        inputs = {linear.in_features: torch.ones(count, linear.in_features) for linear in products}
        for linear in products:
            apply_linear(linear, inputs[linear.in_features])


def show_profile(model: SavedModel, texts: list[str]) -> None:
    predictions(model, texts)
    with torch.profiler.profile() as profiler:
        predictions(model, texts)
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=40))


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser()
    parser.add_argument("table", nargs="?", type=Path, default=here.parent / "shared/data/toymix/ZINC12k.csv.gz")
    parser.add_argument("count", nargs="?", type=int, default=1000)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    main(options.table, options.count, options.model, options.profile)
