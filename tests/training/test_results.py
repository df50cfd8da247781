"""The prediction table's lists and pairs, and what the baseline knows of the training part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem

from graphium.chem.featurizer import Featurizer
from graphium.data.build import build_mix
from graphium.data.gather import Gather
from graphium.data.mix import Mix
from graphium.training.results import PredictionTable, task_columns, training_statistics
from graphium.types import Task, group_tasks

TEXTS = ["OCC", "CCO", "C", "c1ccccc1O", "Oc1ccccc1", "CC(=O)[O-].[Na+]"]
ROWS = 400


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> Mix:
    """400 rows with a number on every atom, the distance along the text as pairs, and a bounded column."""
    folder = tmp_path_factory.mktemp("mix")
    texts = [TEXTS[row % len(TEXTS)] for row in range(ROWS)]
    sizes = [Chem.MolFromSmiles(text).GetNumAtoms() for text in texts]
    frame = pd.DataFrame(
        {
            "text": texts,
            "mark": [[100.0 * row + k for k in range(n)] for row, n in enumerate(sizes)],
            "gap": [[[float(abs(i - j)) for j in range(n)] for i in range(n)] for n in sizes],
            "y": [f">{row}" if row % 4 == 0 else str(row) for row in range(ROWS)],
        }
    )
    frame.to_parquet(folder / "table.parquet")
    tasks = [
        {"columns": ["mark"], "level": "node", "kind": "regression"},
        {"columns": ["gap"], "level": "nodepair", "kind": "regression"},
        {"columns": ["y"], "level": "graph", "kind": "regression"},
    ]
    section = {"path": str(folder / "table.parquet"), "smiles": "text", "tasks": tasks, "transform": "none"}
    return build_mix(section, Featurizer(encodings=[]), store_dir=folder / "stores", progress=False)


@pytest.mark.parametrize("rows", [[0, 399, 17, 200, 16], [5], list(range(90))], ids=["far", "one", "near"])
@pytest.mark.parametrize("pairs", ["labelled", "all"])
def test_lists_of_any_rows_are_in_the_order_of_their_text(mix: Mix, rows: list[int], pairs: str) -> None:
    (dataset,) = mix.datasets
    batch = Gather(dataset.store, mix.spec, dataset.blocks)(torch.tensor(rows), pairs)  # type: ignore[arg-type]
    predictions = {}
    for head in mix.heads:
        values = torch.full((batch.num_entities(head.level), 1), torch.nan)
        values[batch.labels[head.name].entity, 0] = batch.labels[head.name].value
        predictions[head.name] = values
    table = PredictionTable(mix, "test")
    table.add(batch, predictions)
    frame = table.frame()
    assert frame["row"].tolist() == sorted(rows)
    for row, mark, named, gap in zip(frame["row"], frame["mark"], frame["pairs"], frame["gap"], strict=True):
        n = len(mark)
        assert mark == [100.0 * row + k for k in range(n)]
        assert named == [[i, j] for i in range(n) for j in range(i + 1, n)]
        assert gap == [float(j - i) for i, j in named]


def test_the_baseline_knows_the_exact_training_labels(mix: Mix) -> None:
    (dataset,) = mix.datasets
    train = np.flatnonzero(dataset.parts == 0)
    statistics = training_statistics(mix)
    by_level = {head.level: statistics[head.name] for head in mix.heads}
    assert float(by_level["graph"]) == pytest.approx(train[train % 4 > 0].mean())
    sizes = [Chem.MolFromSmiles(TEXTS[row % len(TEXTS)]).GetNumAtoms() for row in train]
    marks = [100.0 * row + k for row, n in zip(train, sizes, strict=True) for k in range(n)]
    assert float(by_level["node"]) == pytest.approx(np.mean(marks))


def test_tasks_named_like_a_column_of_the_table_get_their_dataset() -> None:
    heads = group_tasks([Task(name, "mine", "graph", "regression") for name in ("y", "row", "pairs", "status")])
    assert task_columns(heads) == {heads[0].name: ["y", "mine/row", "mine/pairs", "mine/status"]}


def test_tasks_named_like_the_share_of_a_class_or_the_smiles_get_their_dataset() -> None:
    shares = Task("y", "mine", "graph", "multiclass", num_classes=2, classes=("a", "b"))
    heads = group_tasks([shares, *(Task(name, "mine", "graph", "regression") for name in ("y[a]", "y[c]", "smiles"))])
    assert [name for names in task_columns(heads).values() for name in names] == [
        "y",
        "mine/y[a]",
        "y[c]",
        "mine/smiles",
    ]


@pytest.mark.parametrize("name", ["row", "status", "pairs"])
def test_a_smiles_column_named_like_one_of_the_table(name: str, tmp_path: Path) -> None:
    pd.DataFrame({name: ["CC", "CO", "CN"], "z": [0.5, 1.5, 2.5]}).to_csv(tmp_path / "t.csv", index=False)
    section = {"path": str(tmp_path / "t.csv"), "smiles": name, "targets": ["z"], "transform": "none"}
    mix = build_mix(section, Featurizer(encodings=[]), store_dir=tmp_path / "stores", progress=False)
    batch = mix.gather(torch.tensor([[0, 2], [0, 0]]))
    table = PredictionTable(mix, "test")
    table.add(batch, {mix.heads[0].name: batch.labels[mix.heads[0].name].value.unsqueeze(1)})
    frame = table.frame()
    assert frame.columns.tolist() == ["row", "smiles", "z", "status"]
    assert frame["row"].tolist() == [0, 2] and frame["smiles"].tolist() == ["CC", "CN"]
