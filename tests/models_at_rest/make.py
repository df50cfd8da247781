"""Make the archive of one format of saved models, with the graphium that writes it.

``python tests/models_at_rest/make.py FOLDER`` writes models, and beside each one ``expected.safetensors``: a batch,
what the network predicts for it, and the same in label units. Once written, the folder of a format never changes; all
later versions must load it and predict the same.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save

from graphium.chem.featurizer import Featurizer
from graphium.data.gather import Gather
from graphium.data.labels.transforms import LabelTransform
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.models.saved import save_model
from graphium.nn.network import build_network
from graphium.types import Task, group_tasks

SMILES = ["CCO", "c1ccccc1O", "[Na+].[Cl-]", "C", "CC(=O)Oc1ccccc1C(=O)O", "F/C=C/F", "C[C@H](N)C(=O)O", "C1CC1.O"]
KNOTS = {"name": "rank_gauss", "values": [k * k / 40 for k in range(60)], "scores": [k / 10 - 3 for k in range(60)]}
ZSCORE = {"name": "zscore", "mean": 6.25, "scale": 1.3}


def models() -> dict[str, dict[str, Any]]:
    """Name -> features, tasks and options of the network."""
    clip = {"name": "chain", "steps": [{"name": "clip", "low": None, "high": 3.25}, KNOTS, {"name": "log1p"}]}
    every_level = [
        Task("y", "alpha.v2", "graph", "regression", unit="eV", transform=clip, qualifier="bound"),
        Task("z", "alpha.v2", "graph", "regression", transform=KNOTS, loss={"name": "huber", "delta": 2.0}),
        Task("k", "beta", "graph", "ordinal", num_classes=3, classes=("low", "medium", "high"), metrics=("mcc",)),
        Task("m", "beta", "graph", "multiclass", num_classes=4),
        *[Task(f"b{k}", "beta", "graph", "binary", loss={"name": "bce", "pos_weight": {"b1": 3.0}}) for k in range(5)],
        Task("charge", "gamma", "node", "regression", unit="e", transform=ZSCORE),
        Task("order", "gamma", "edge", "multiclass", num_classes=3, classes=("single", "double", "other")),
        Task("distance", "gamma", "nodepair", "regression", transform={**ZSCORE, "mean": 2.5}),
        Task("bonded", "gamma", "nodepair", "binary"),
    ]
    outputs = [
        Task("g", "delta", "graph", "regression", loss="gaussian", outputs=("mean", "log_variance")),
        Task("q", "delta", "graph", "regression", loss="quantile", outputs=("q0.1", "q0.5", "q0.9"), transform=ZSCORE),
        Task("e", "delta", "node", "regression", loss="evidential", outputs=("gamma", "nu", "alpha", "beta")),
        Task(
            "r", "delta", "graph", "regression", transform={"name": "min_max", "low": 1.0, "high": 3.0, "range": [0, 1]}
        ),
    ]
    return {
        "every_level": {
            "features": {"encodings": [{"name": "laplacian", "k": 4}, {"name": "rw_return_probs", "steps": 6}]},
            "tasks": every_level,
            "options": {
                "width": 12,
                "depth": 3,
                "edge_width": 6,
                "encoding_width": 8,
                "feed_forward": 1.5,
                "encoders": {"rw_return_probs": {"name": "mlp", "hidden": 8, "depth": 2}},
                "readouts": {"graph": {"pooling": ["sum", "max"], "norm": "layer_norm"}, "nodepair": {"width": 6}},
                "head_width": 8,
                "heads": {
                    "shared": {"of": ["alpha.v2", "beta/k"], "width": 6, "activation": "relu"},
                    "own": {"of": "beta/b*", "split": True, "width": 4},
                },
            },
        },
        "outputs": {
            "features": {"encodings": [], "form": "explicit_h"},
            "tasks": outputs,
            "options": {
                "width": 10,
                "depth": 2,
                "layer": {"name": "gin", "train_eps": True},
                "norm": "batch_norm",
                "residual": "weighted",
                "activation": "silu",
                "pooling": ["mean", "std", "logsum"],
                "head_depth": 0,
            },
        },
        "plain": {
            "features": {
                "atom_onehot": ["atomic-number"],
                "atom_float": [],
                "encodings": [{"name": "laplacian", "k": 3, "normalization": "sym"}],
            },
            "tasks": [Task("y", "data", "graph", "regression", transform=ZSCORE)],
            "options": {
                "width": 8,
                "depth": 2,
                "layer": "gcn",
                "norm": "graph_norm",
                "residual": "densenet",
                "virtual_node": None,
            },
        },
    }


def main(folder: Path) -> None:
    for number, (name, plan) in enumerate(models().items()):
        featurizer = Featurizer(**plan["features"])
        heads = group_tasks(plan["tasks"])
        torch.manual_seed(number)
        network = build_network(featurizer.spec, heads, **plan["options"])
        with torch.no_grad():
            # Weights that start at 0 or 1 would hide a mistake.
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        save_model(folder / name, network, featurizer, heads, facts={"name": name, "weights": "best", "epoch": 3})
        with tempfile.TemporaryDirectory() as made:
            table = Path(made) / "table.csv"
            pd.DataFrame({"smiles": SMILES}).to_csv(table, index=False)
            store = prepare_store(Table(table), "smiles", featurizer, Path(made), name="table", progress=False)
            batch = Gather(store, featurizer.spec, {})(torch.arange(len(SMILES)), "all")
        with torch.no_grad():
            predictions = network.eval()(batch)
        tensors = {
            f.name: getattr(batch, f.name) for f in fields(batch) if isinstance(getattr(batch, f.name), torch.Tensor)
        }
        tensors |= {f"encodings/{key}": value for key, value in batch.encodings.items()}
        for head in heads:
            tensors[f"predictions/{head.name}"] = predictions[head.name]
            if head.kind == "regression" and not head.outputs:
                units = LabelTransform(head.tasks).inverse(predictions[head.name])
                tensors[f"units/{head.name}"] = units
        expected = {key: value.clone().contiguous() for key, value in tensors.items()}
        (folder / name / "expected.safetensors").write_bytes(save(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
