from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from graphium.chem.featurizer import Featurizer
from graphium.data.splits.parts import assign_parts, check_split
from graphium.data.splits.simple import RandomSplit
from graphium.data.store.graph_store import GraphStore, check
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError

TEXTS = ["CCO", "CCN", "CCC", "no smiles", "OCC", "CCCl", "CCBr", "CCF", "CCI", "CC", "CCCC", "CO", "CN"]
WORDS = ["train", "val", "test", "train", "test", "train", "train", "val", None, "train", "train", "train", "train"]


@pytest.fixture
def prepared(tmp_path: Path) -> tuple[Table, GraphStore]:
    path = tmp_path / "mine.csv"
    year = [2000, 2001, None, *range(2003, 2013)]
    pd.DataFrame({"smiles": TEXTS, "part": WORDS, "year": year}).to_csv(path, index=False)
    plain = Featurizer(atom_onehot=["atomic-number"], atom_float=[], bond_onehot=[], bond_float=[], encodings=[])
    table = Table(path)
    return table, prepare_store(table, "smiles", plain, tmp_path / "stores", name="mine", progress=False)


def assign(prepared: tuple[Table, GraphStore], config: Any, name: str = "mine", **more: Any) -> np.ndarray:
    return assign_parts(config, *prepared, lambda path, **_: Path(path), dataset=name, **more)


def folders(store: GraphStore) -> list[str]:
    return sorted(path.name for path in (store.folder / "splits").glob("*"))


def test_a_computed_split_is_written_once_and_read_back(
    prepared: tuple[Table, GraphStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, store = prepared
    drawn = []
    whole = RandomSplit.__call__
    monkeypatch.setattr(RandomSplit, "__call__", lambda *given: drawn.append(1) or whole(*given))
    parts = assign(prepared, "random")
    assert parts.dtype == np.int8
    assert parts[3] == -1
    assert parts[0] == parts[4]
    # Neither the dataset's name nor the way in which the same options are said matters.
    for config in ({"name": "random"}, {"name": "Random", "train": 0.8, "val": 0.1, "seed": 0}):
        np.testing.assert_array_equal(assign(prepared, config, "other"), parts)
    assert len(drawn) == len(folders(store)) == 1
    assign(prepared, {"name": "random", "seed": 1})
    assert len(drawn) == len(folders(store)) == 2
    assert check(store.folder) == []
    file = store.folder / "splits" / folders(store)[0] / "part.bin"
    file.write_bytes(bytes([7]) + file.read_bytes()[1:])
    assert check(store.folder) == [str(file.relative_to(store.folder))]
    assert [path for path in store.folder.parent.iterdir() if path.suffix] == []


def test_what_is_said_is_said_again(prepared: tuple[Table, GraphStore]) -> None:
    split = {"name": "time", "column": "year"}
    first: list[str] = []
    again: list[str] = []
    parts = assign(prepared, split, tell=first.append)
    np.testing.assert_array_equal(assign(prepared, split, tell=again.append), parts)
    assert first == again == ["1 molecule has no date in column 'year': in no part"]
    assert parts[2] == -1


def test_other_splits_leave_nothing_in_the_store(prepared: tuple[Table, GraphStore], tmp_path: Path) -> None:
    table, store = prepared
    code = {"train": 0, "val": 1, "test": 2, None: -1}
    assert assign(prepared, {"name": "column", "column": "part"}).tolist() == [code[word] for word in WORDS]
    (tmp_path / "split.csv").write_text("train,val,test\n0,1,2\n3,,\n")
    found = assign(prepared, {"name": "file", "path": str(tmp_path / "split.csv")})
    assert found.tolist() == [0, 1, 2, 0] + [-1] * 9
    assert folders(store) == []
    with pytest.raises(GraphiumError, match="has a val part already"):
        assign(prepared, {"name": "column", "column": "part", "val_fraction": 0.5})


def test_a_split_that_fails_leaves_none_behind(prepared: tuple[Table, GraphStore]) -> None:
    config = {"name": "scaffold"}
    for _ in range(2):
        with pytest.raises(GraphiumError, match="leaves the train part empty"):
            assign(prepared, config)
    assert folders(prepared[1]) == []


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"name": "column", "column": "fold"}, "no column 'fold'"),
        ({"name": "stratified", "column": "fold"}, "no column 'fold'"),
        ({"name": "time", "column": "part"}, "row 0: 'train' is not a date"),
        ({"name": "random", "train": 3}, r"split\.train is 3"),
        ({"name": "cluster", "threshold": 0}, r"split\.threshold is 0"),
        ({"name": "scafold"}, "did you mean 'scaffold'"),
    ],
)
def test_checked_before_anything_is_prepared(
    prepared: tuple[Table, GraphStore], config: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        check_split(config, prepared[0], lambda path, **_: Path(path), dataset="mine")


def test_a_good_split_passes_the_check(prepared: tuple[Table, GraphStore]) -> None:
    for config in ("random", "scaffold", "cluster", {"name": "time", "column": "year"}):
        check_split(config, prepared[0], lambda path, **_: Path(path), dataset="mine")
    check_split(
        {"name": "stratified", "column": "year", "bins": 2}, prepared[0], lambda path, **_: Path(path), dataset="a"
    )
