"""What the baseline knows of the training part."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from graphium.chem.featurizer import Featurizer
from graphium.data import mix as mix_module
from graphium.data.build import build_mix
from graphium.training.results import training_statistics

ROWS = 400


def test_the_baseline_knows_the_exact_training_labels(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In label units, read piece by piece, without those that are bounds and those of other parts."""
    folder = tmp_path_factory.mktemp("mix")
    rng = np.random.default_rng(0)
    texts = ["C" * (1 + row % 5) for row in range(ROWS)]
    frame = pd.DataFrame(
        {
            "text": texts,
            "mark": [[100.0 * row + k for k in range(len(text))] for row, text in enumerate(texts)],
            "y": [f">{row}" if row % 4 == 0 else str(row) for row in range(ROWS)],
            "kind": rng.choice(["p", "q", "r"], ROWS),
            "active": np.where(rng.random(ROWS) < 0.4, rng.integers(0, 2, ROWS), np.nan),
        }
    )
    frame.to_parquet(folder / "table.parquet")
    tasks = [
        {"columns": ["mark"], "level": "node", "kind": "regression"},
        {"columns": ["y"], "level": "graph", "kind": "regression", "transform": ["log1p", "zscore"]},
        {"columns": ["kind"], "kind": "multiclass"},
        {"columns": ["active"], "kind": "binary"},
    ]
    section = {"path": str(folder / "table.parquet"), "smiles": "text", "tasks": tasks}
    mix = build_mix(section, Featurizer(encodings=[]), store_dir=folder / "stores", progress=False)
    (dataset,) = mix.datasets
    train = np.flatnonzero(dataset.parts == 0)
    monkeypatch.setattr(mix_module, "_ROWS_AT_ONCE", 64)
    found = {head.tasks[0].name: training_statistics(mix)[head.name] for head in mix.heads}
    assert float(found["y"]) == pytest.approx(train[train % 4 > 0].mean())
    assert float(found["mark"]) == pytest.approx(np.concatenate(frame["mark"][train].to_list()).mean())
    assert float(found["active"]) == pytest.approx(frame["active"][train].mean())
    shares = frame["kind"][train].value_counts(normalize=True).sort_index()
    assert found["kind"].shape == (1, 3) and torch.allclose(found["kind"][0], torch.tensor(shares.to_numpy()))
