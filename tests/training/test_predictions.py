"""The prediction table: lists and pairs in the order of the text, row groups, unusable rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from rdkit import Chem

from graphium.chem.featurizer import Featurizer
from graphium.data.build import build_mix
from graphium.data.gather import Gather
from graphium.data.mix import Mix
from graphium.training import predictions
from graphium.training.predictions import PredictionTable

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
    made = {}
    for head in mix.heads:
        values = torch.full((batch.num_entities(head.level), 1), torch.nan)
        values[batch.labels[head.name].entity, 0] = batch.labels[head.name].value
        made[head.name] = values
    table = PredictionTable(mix, "test")
    table.add(batch, made)
    frame = table.frame()
    assert frame["row"].tolist() == sorted(rows)
    for row, mark, named, gap in zip(frame["row"], frame["mark"], frame["pairs"], frame["gap"], strict=True):
        n = len(mark)
        assert mark.tolist() == [100.0 * row + k for k in range(n)]
        assert [list(pair) for pair in named] == [[i, j] for i in range(n) for j in range(i + 1, n)]
        assert gap.tolist() == [float(j - i) for i, j in named]


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


PARTS = ("train", "test", "test", "val")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Mix:
    """Two datasets with a column of the same name and rows that are no molecules, and one that has no test part."""
    folder = tmp_path_factory.mktemp("two")
    rng = np.random.default_rng(0)
    sections: dict[str, Any] = {}
    for name, rows in (("a", 60), ("b", 40), ("c", 12)):
        frame = pd.DataFrame({"text": [TEXTS[k % len(TEXTS)] for k in range(rows)], "y": rng.normal(size=rows) ** 2})
        frame["part"] = [PARTS[k % 4] if name != "c" else "train" for k in range(rows)]
        frame["kind"] = [("lo", "mid", "hi")[k % 3] for k in range(rows)]
        frame.loc[[1, 6, rows - 2], "text"] = ["C(", "no", "("]
        frame.rename(columns={"y": "only_c"} if name == "c" else {}).to_csv(folder / f"{name}.csv", index=False)
        target = "only_c" if name == "c" else "y"
        tasks = [{"columns": [target], "kind": "regression", "transform": ["log1p", "zscore"], "loss": "gaussian"}]
        if name == "b":
            tasks.append({"columns": ["kind"], "kind": "ordinal", "classes": ["lo", "mid", "hi"]})
        split = {"name": "column", "column": "part"}
        sections[name] = {"path": str(folder / f"{name}.csv"), "smiles": "text", "tasks": tasks, "split": split}
    return build_mix({"datasets": sections}, Featurizer(encodings=[]), store_dir=folder / "stores", progress=False)


def guesses(mix: Mix, count: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {head.name: torch.randn(count, head.num_tasks, head.width, generator=generator) for head in mix.heads}


def filled(mix: Mix, path: Path | None, part: str = "test") -> PredictionTable:
    table = PredictionTable(mix, part, path)
    for number, batch in enumerate(mix.loader(part, batch_size=7)):
        table.add(batch, guesses(mix, batch.num_graphs, number))
    return table


def test_columns_of_several_datasets(two: Mix) -> None:
    frame = filled(two, None).frame()
    shares = ["kind", "kind[lo]", "kind[mid]", "kind[hi]", "kind[expected]"]
    assert list(frame) == ["dataset", "row", "text", "a/y", "a/y[std]", "b/y", "b/y[std]", *shares, "status"]
    for name, other, rows in (("a", "b", 60), ("b", "a", 40)):
        mine = frame[frame["dataset"] == name]
        assert mine["row"].tolist() == [row for row in range(rows) if PARTS[row % 4] == "test"]
        good = mine[mine["status"] == "ok"]
        assert len(mine) - len(good) == 3
        assert mine[mine["status"] != "ok"].drop(columns=["dataset", "row", "text", "status"]).isna().all(axis=None)
        assert good[f"{name}/y"].notna().all() and (good[f"{name}/y[std]"] > 0).all()
        assert good[f"{other}/y"].isna().all()
    ordered = frame.loc[frame["kind"].notna(), shares]
    np.testing.assert_allclose(ordered[shares[1:4]].sum(axis=1), 1)
    names = np.array(["lo", "mid", "hi"])
    assert ordered["kind"].tolist() == names[ordered[shares[1:4]].to_numpy().argmax(1)].tolist()


def test_the_file_is_the_same_in_one_piece_and_in_many(
    two: Mix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = filled(two, None).frame()
    monkeypatch.setattr(predictions, "_GROUP_BYTES", 200)
    table = filled(two, tmp_path / "test.parquet")
    assert not (tmp_path / "test.parquet").exists()
    table.close()
    assert [path.name for path in tmp_path.iterdir()] == ["test.parquet"]
    assert pq.ParquetFile(tmp_path / "test.parquet").num_row_groups > 4
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "test.parquet"), whole)
    table.close()
    pd.testing.assert_frame_equal(table.frame(), whole)


def test_a_part_without_rows_has_a_table_without_lines(two: Mix) -> None:
    assert list(PredictionTable(two, "test_seen").frame()) == ["dataset", "row", "text", "status"]
