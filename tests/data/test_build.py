from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from graphium.chem.featurizer import Featurizer
from graphium.data import build as build_module
from graphium.data.build import MixOptions, build_mix, check_data
from graphium.data.datasets.dataset import Dataset
from graphium.errors import GraphiumError

PARTS = ["train", "val", "test", "train", "test", "train", "val", "test"]
SMILES = ["CCO", "CCN", "CCC", "not_a_smiles", "C1CC", "OCC", "CCCl", "CCBr"]


@pytest.fixture
def csv(tmp_path: Path) -> str:
    path = tmp_path / "mine.csv"
    pd.DataFrame({"smiles": SMILES, "y": [0.5 * i for i in range(8)], "part": PARTS}).to_csv(path, index=False)
    return str(path)


@pytest.fixture
def build(tmp_path: Path, featurizer: Featurizer) -> Any:
    def run(*datasets: Dataset, **options: Any) -> Any:
        return build_mix(list(datasets), featurizer, store_dir=tmp_path / "stores", **{"progress": False, **options})

    return run


def by_column(path: str, name: str = "mine") -> Dataset:
    return Dataset(name, path, targets=["y"], split={"name": "column", "column": "part"})


def test_failed_rows_are_in_no_part_and_their_part_is_known(csv: str, build: Any, tmp_path: Path) -> None:
    mix = build(by_column(csv, "first"))
    mix = build(by_column(csv, "second"))
    (dataset,) = mix.datasets
    assert dataset.parts.tolist() == [0, 1, 2, -1, -1, 0, 1, 2]
    assert [(f.dataset, f.row, f.text) for f in dataset.failed_rows("test")] == [("second", 4, "C1CC")]
    assert [f.row for f in dataset.failed_rows("train")] == [3]
    assert dataset.failed_rows("val") == []
    assert mix.summary()["second"]["failures"] == 2

    mix.write_failures(tmp_path / "failures.csv")
    written = pd.read_csv(tmp_path / "failures.csv")
    assert written[["dataset", "row", "text"]].values.tolist() == [["second", 3, "not_a_smiles"], ["second", 4, "C1CC"]]
    assert written["reason"].notna().all()


def test_a_drawn_split_has_no_failed_rows(csv: str, build: Any) -> None:
    (dataset,) = build(Dataset("mine", csv, targets=["y"])).datasets
    assert [dataset.failed_rows(part) for part in ("train", "val", "test")] == [[], [], []]


def test_options_for_datasets_made_in_python(csv: str, build: Any) -> None:
    mix = build(by_column(csv), options=MixOptions(limit=3))
    assert mix.summary()["mine"]["rows"] == 3
    with pytest.raises(GraphiumError, match="row 3 of mine cannot be used"):
        build(by_column(csv), options=MixOptions(on_bad_molecule="raise"))


def test_two_limits_of_one_table(csv: str, build: Any) -> None:
    folders = set()
    for limit, rows in ((3, 3), (6, 6), (3, 3), (8, 8), (100, 8), (None, 8)):
        (dataset,) = build(by_column(csv), options=MixOptions(limit=limit)).datasets
        assert dataset.store.num_rows == rows
        assert dataset.blocks["mine_graph_regression"].ptr.shape == (rows + 1,)
        folders.add(dataset.store.folder)
    # A limit that cuts nothing off is none.
    assert len(folders) == 3


def test_what_was_found_is_said_before_a_table_is_prepared(
    csv: str, build: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise GraphiumError("the disk is full")

    monkeypatch.setattr(build_module, "prepare_store", stop)
    dataset = Dataset("mine", csv, targets="*", split={"name": "column", "column": "part"})
    with pytest.raises(GraphiumError, match="the disk is full"):
        build(dataset, progress=True)
    said = capsys.readouterr().err
    assert "mine: SMILES column: 'smiles'" in said
    assert "mine: takes y: numbers, regression" in said
    assert "mine: leaves out part: the split column" in said
    with pytest.raises(GraphiumError, match="the disk is full"):
        build(dataset, progress=False)
    assert capsys.readouterr().err == ""


def test_one_line_of_progress_a_dataset(csv: str, build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    build(by_column(csv), progress=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if "8/8" in line]
    assert len(lines) == 1
    assert lines[0].startswith("prepared mine ")
    build(by_column(csv), progress=True)
    assert "prepar" not in capsys.readouterr().err


def test_parts_left_empty_are_said(csv: str, build: Any) -> None:
    mix = build(by_column(csv), options=MixOptions(limit=2))
    assert mix.summary()["mine"]["messages"] == ["the test part is empty"]
    with pytest.raises(GraphiumError, match="no row in its training part"):
        build(
            Dataset("mine", csv, targets=["y"], split={"name": "column", "column": "part", "names": {"val": "train"}})
        )


def test_rows_in_no_part_are_said(csv: str, build: Any) -> None:
    mix = build(Dataset("mine", csv, targets=["y"], split={"name": "random", "train": 0.5, "seed": 1}))
    assert mix.summary()["mine"]["messages"] == ["2 rows are in no part and not used"]


def test_two_datasets_of_one_name(csv: str, build: Any) -> None:
    with pytest.raises(GraphiumError, match="two datasets are named 'mine'"):
        build(by_column(csv), by_column(csv))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"batch_size": 0}, "data.batch_size is 0; give a whole number of at least 1"),
        ({"limit": -5}, "data.limit is -5"),
        ({"n_jobs": 0}, "data.n_jobs is 0"),
        ({"on_bad_molecule": "drop"}, "'drop'"),
        ({"batch_sice": 3, "datasets": {}}, "did you mean 'batch_size'.*data.datasets.<name>"),
        ({"datasets": None}, "give at least one dataset"),
        ({"datasets": {"a": None}}, "data.datasets.a is None; give the fields"),
        ({"datasets": {"qm9": {"path": "a.csv", "targets": "*"}, "qm8": {"targets": "*"}}}, "did you mean 'qm9'"),
    ],
)
def test_wrong_sections_end_in_a_sentence(data: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        check_data({"path": "a.csv", "targets": "*", **data} if "datasets" not in data else data)
