"""What calibration writes, against the predictor and plain numpy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem

from graphium.chem.featurizer import Featurizer
from graphium.data.build import build_mix
from graphium.data.mix import Mix
from graphium.errors import GraphiumError
from graphium.models.folder.tensors import read_tensors
from graphium.models.predictor import Predictor
from graphium.models.saved import SavedModel, load_model, save_model
from graphium.models.trust.conformal import Intervals
from graphium.models.trust.domain import Domain
from graphium.models.trust.stored import CALIBRATION, DOMAIN
from graphium.nn.network import build_network
from graphium.training import calibration
from graphium.training.calibration import calibrate, calibrate_saved
from graphium.types import PARTS

ROWS = 240


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Labels of molecules, some of them bounds, of classes, of atoms and of bonds."""
    rng = np.random.default_rng(0)
    texts = ["O" * (row % 2) + "C" * (2 + row % 7) + "N" * (row % 3) + "C" * (row // 60) for row in range(ROWS)]
    return pd.DataFrame(
        {
            "text": texts,
            "y": [f"<{row / 9}" if row % 5 == 0 else f"{row / 10}" for row in range(ROWS)],
            "active": np.where(rng.random(ROWS) < 0.6, rng.integers(0, 2, ROWS), np.nan),
            "kind": rng.choice(["p", "q", "r"], ROWS),
            "charge": [[float(len(t) + k) for k in range(len(t))] for t in texts],
            "length": [[float(k) for k in range(len(t) - 1)] for t in texts],
        }
    )


@pytest.fixture(scope="module")
def section(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("table")
    frame.to_parquet(folder / "table.parquet")
    tasks = [
        {"columns": ["y"], "kind": "regression"},
        {"columns": ["active"], "kind": "binary"},
        {"columns": ["kind"], "kind": "multiclass"},
        {"columns": ["charge"], "level": "node", "kind": "regression"},
        {"columns": ["length"], "level": "edge", "kind": "regression"},
    ]
    split = {"name": "random", "train": 0.4, "val": 0.4, "test": 0.2}
    return {"path": str(folder / "table.parquet"), "smiles": "text", "tasks": tasks, "split": split}


@pytest.fixture(scope="module")
def mix(section: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Mix:
    return build_mix(section, Featurizer(encodings=[]), store_dir=tmp_path_factory.mktemp("stores"), progress=False)


@pytest.fixture
def saved(mix: Mix, tmp_path: Path) -> SavedModel:
    torch.manual_seed(0)
    network = build_network(mix.spec, mix.heads, width=16, depth=2, dropout=0.5)
    save_model(tmp_path / "model", network, Featurizer(encodings=[]), mix.heads)
    return load_model(tmp_path / "model")


def quantile(score: np.ndarray, level: float) -> float:
    return float(np.sort(score)[math.ceil((len(score) + 1) * level) - 1])


def test_scores_are_those_of_the_predictor(frame: pd.DataFrame, mix: Mix, saved: SavedModel) -> None:
    """Of the validation part alone, labels that are exact, atoms and bonds in the order of the text."""
    assert calibrate(saved, mix) == []
    rows = np.flatnonzero(mix.datasets[0].parts == PARTS.index("val"))
    texts = frame["text"][rows].tolist()
    found = Predictor(saved, extras=[Intervals(saved, 0.8)]).predict(texts)
    exact = rows % 5 > 0
    score = np.abs(frame["y"][rows][exact].astype(float).to_numpy() - found["y"][exact].to_numpy())
    np.testing.assert_allclose(found["y[high]"] - found["y"], quantile(score, 0.8), rtol=1e-4)
    np.testing.assert_allclose(found["y"] - found["y[low]"], quantile(score, 0.8), rtol=1e-4)
    for task in ("charge", "length"):
        label = np.concatenate(frame[task][rows].to_list())
        size = quantile(np.abs(label - np.concatenate(found[task].to_list())), 0.8)
        for value, high in zip(found[task], found[f"{task}[high]"], strict=True):
            np.testing.assert_allclose(high - value, size, rtol=1e-4)
    labels = frame["active"][rows].to_numpy()
    there = ~np.isnan(labels)
    share = found["active"].to_numpy()
    size = quantile(np.where(labels == 1, 1 - share, share)[there], 0.8)
    for p, inside in zip(share, found["active[set]"], strict=True):
        likely = str(int(p > 0.5))
        assert set(inside) == {name for name, q in (("0", 1 - p), ("1", p)) if 1 - q <= size + 1e-6} | {likely}
    held = [label in inside for label, inside in zip(frame["kind"][rows], found["kind[set]"], strict=True)]
    assert np.mean(held) >= 0.8


def test_the_domain_is_that_of_the_training_part(frame: pd.DataFrame, mix: Mix, saved: SavedModel) -> None:
    """Every molecule once, however often its text stands in the table; the same bytes every time."""
    calibrate(saved, mix)
    tensors, about = read_tensors(saved.folder / DOMAIN)  # type: ignore[operator]
    train = frame["text"][mix.datasets[0].parts == PARTS.index("train")]
    assert len(tensors["fingerprints"]) == train.map(Chem.CanonSmiles).nunique() and about["neighbours"] == "5"
    assert tensors["fingerprints"].dtype == torch.float16
    found = Predictor(saved, extras=[Domain(saved)]).predict([*train.unique(), "[Pt](Cl)(Cl)(N)N", "FC(I)Br"])
    assert found["domain"][-2:].max() < 0.05 < found["domain"][:-2].median()
    first = [(saved.folder / name).read_bytes() for name in (CALIBRATION, DOMAIN)]  # type: ignore[operator]
    calibrate(saved, mix, batch_size=256)
    assert first == [(saved.folder / name).read_bytes() for name in (CALIBRATION, DOMAIN)]  # type: ignore[operator]


def test_large_parts_are_drawn_from(mix: Mix, saved: SavedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MOST_ROWS", 30)
    monkeypatch.setattr("graphium.models.trust.domain.MOST", 8)
    calibrate(saved, mix)
    tensors, _ = read_tensors(saved.folder / CALIBRATION)  # type: ignore[operator]
    assert int(tensors["count/table_graph_multiclass3"]) == 30
    tensors, _ = read_tensors(saved.folder / DOMAIN)  # type: ignore[operator]
    assert len(tensors["fingerprints"]) == 8


def test_a_saved_model_is_calibrated_by_the_names_of_its_tasks(
    frame: pd.DataFrame, section: dict[str, Any], mix: Mix, saved: SavedModel, tmp_path: Path
) -> None:
    """On another table, in another order of columns, with one column renamed; all of its rows."""
    calibrate(saved, mix)
    own, _ = read_tensors(saved.folder / CALIBRATION)  # type: ignore[operator]
    other = frame.rename(columns={"kind": "sort"})[["text", "sort", "active", "charge"]]
    other.to_parquet(tmp_path / "other.parquet")
    tasks = [
        {"columns": ["sort"], "kind": "multiclass"},
        {"columns": ["active"]},
        {"columns": ["charge"], "level": "node"},
    ]
    data = {"path": str(tmp_path / "other.parquet"), "smiles": "text", "tasks": tasks}
    config = {"data": data, "store_dir": str(tmp_path / "stores")}
    (saved.folder / DOMAIN).unlink()  # type: ignore[operator]
    said = calibrate_saved(saved, config, part="all", renamed={"sort": "kind"}, progress=False)
    assert said == [f"the calibration is in {saved.folder}"]
    assert not (saved.folder / DOMAIN).exists(), "a table that the model never saw is not what it was trained on"  # type: ignore[operator]
    tensors, _ = read_tensors(saved.folder / CALIBRATION)  # type: ignore[operator]
    assert set(tensors) == set(own)
    assert int(tensors["count/table_graph_multiclass3"]) == ROWS
    assert int(tensors["count/table_graph_binary"]) == int(frame["active"].notna().sum())
    assert int(tensors["count/table_node_regression"]) == frame["charge"].map(len).sum()
    assert int(tensors["count/table_graph_regression"]) == 0
    extra = Intervals(saved, 0.9)
    found = Predictor(saved, extras=[extra]).predict(frame["text"].tolist()[:50])
    assert found["y[low]"].isna().all() and extra.remarks == ["no interval: y, length: no validation labels"]
    (saved.folder / CALIBRATION).unlink()  # type: ignore[operator]
    with pytest.raises(GraphiumError, match="a model knows its training part by heart"):
        calibrate_saved(saved, config, part="train")


def test_a_table_without_rows_for_it(section: dict[str, Any], saved: SavedModel, tmp_path: Path) -> None:
    data = {**section, "split": {"name": "random", "train": 0.0, "val": 0.0, "test": 1.0}}
    said = calibrate_saved(saved, {"data": data, "store_dir": str(tmp_path)}, progress=False)
    assert said[:2] == [
        "no intervals: the data have no rows in the part val",
        "no applicability domain: the data have less than two training molecules",
    ]
    assert not list(saved.folder.glob("c*.safetensors"))  # type: ignore[union-attr]
