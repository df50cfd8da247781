"""The data of a run measured again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from graphium.errors import GraphiumError
from graphium.models.saved import load_model
from graphium.training.measuring import evaluate, measure
from graphium.training.past_run import PastRun
from graphium.training.run import run


def config(folder: Path, run_dir: Path) -> dict[str, Any]:
    """Two tables: one in a mix of kinds with repeats, leaks and weights, one with a text of classes."""
    rng = np.random.default_rng(3)
    alcohols = [f"{'C' * n}O" for n in range(1, 25)]
    acids = [f"{'C' * n}C(=O)O" for n in range(1, 25)]
    first = pd.DataFrame({"smiles": [*alcohols, "bad", *alcohols[:6]], "w": 1.0})
    first["y"] = first["smiles"].str.len() + rng.normal(0, 1, len(first))
    first["hit"] = (rng.random(len(first)) < 0.4).astype(int)
    first.loc[3, "w"] = 0.0
    second = pd.DataFrame({"smiles": [*acids, *alcohols[10:16]]})
    second["stage"] = rng.choice(["low", "mid", "high"], len(second))
    folder.mkdir(parents=True, exist_ok=True)
    first.to_csv(folder / "first.csv", index=False)
    second.to_csv(folder / "second.csv", index=False)
    return {
        "seed": 3,
        "data_dir": str(folder),
        "store_dir": str(folder / "stores"),
        "run_dir": str(run_dir),
        "features": {"encodings": []},
        "data": {
            "batch_size": 7,
            "datasets": {
                "first": {
                    "path": "first.csv",
                    "targets": ["y", "hit"],
                    "repeats": "mean",
                    "sample_weight": "w",
                    "split": {"name": "random", "test": 0.3, "train": 0.5, "val": 0.2},
                },
                "second": {"path": "second.csv", "targets": ["stage"], "kind": "multiclass", "leak": "test_seen"},
            },
        },
        "model": {"layer": "gine", "width": 8, "depth": 2},
        "trainer": {"max_epochs": 1, "progress": False},
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return run(config(folder / "data", folder / "run")).run_dir


@pytest.mark.parametrize("part", [None, "val"])
@pytest.mark.parametrize("place", ["", "model"])
def test_a_run_is_measured_again(finished: Path, part: str | None, place: str) -> None:
    measured = measure(finished / place, None, part, progress=False)
    written = json.loads((finished / "metrics.json").read_text())
    parts = [part] if part else [name for name in ("test", "test_seen") if name in written]
    again = json.loads(json.dumps(measured.metrics))
    assert again.keys() == set(parts)
    # To the last bit: same weights, same batches, same baseline.
    assert again == {name: written[name] for name in parts}
    assert measured.remarks == ("the numbers are those of metrics.json, to 1e-06",)


def test_a_loaded_model_knows_where_its_run_is(finished: Path) -> None:
    written = json.loads((finished / "metrics.json").read_text())
    assert evaluate(load_model(finished), progress=False)["test"] == written["test"]


def test_the_split_is_the_one_that_was_written(finished: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(finished, moved)
    settings = yaml.safe_load((moved / "config.yaml").read_text())
    settings["data"]["datasets"]["first"]["split"] = {"name": "random", "seed": 99}
    (moved / "config.yaml").write_text(yaml.safe_dump(settings))
    written = json.loads((finished / "metrics.json").read_text())
    assert evaluate(moved, progress=False)["test"] == written["test"]


def test_other_data_and_other_numbers_are_said(finished: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load((finished / "config.yaml").read_text())
    data = tmp_path / "data"
    shutil.copytree(settings["data_dir"], data, ignore=shutil.ignore_patterns("stores"))
    frame = pd.read_csv(data / "first.csv")
    frame["y"] += 1
    frame.to_csv(data / "first.csv", index=False)
    remarks = measure(finished, data_dir=data, store_dir=tmp_path / "stores", progress=False).remarks
    assert remarks[0] == "first: the table is not the one that the run was trained on"
    assert "is not that of metrics.json, it differs by" in remarks[1]
    shutil.rmtree(data)
    with pytest.raises(GraphiumError, match="data_dir .* does not exist"):
        evaluate(finished, data_dir=data, progress=False)


def test_a_folder_that_is_no_run(tmp_path: Path, finished: Path) -> None:
    with pytest.raises(GraphiumError, match="is not the folder of a run"):
        PastRun.find(tmp_path / "nothing")
    with pytest.raises(GraphiumError, match="in no folder"):
        PastRun.find(None)
    alone = tmp_path / "model"
    shutil.copytree(finished / "model", alone)
    with pytest.raises(GraphiumError, match="is not the folder of a run"):
        PastRun.find(alone)
    (tmp_path / "config.yaml").write_text("data: [")
    with pytest.raises(GraphiumError, match="is not the configuration of a run"):
        PastRun.find(tmp_path)
