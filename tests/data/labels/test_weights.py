from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphium.chem.featurizer import Featurizer
from graphium.data.labels import weights as module
from graphium.data.labels.weights import judge_line_weights, judge_weights, prepare_weights
from graphium.data.store.graph_store import GraphStore, check
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError

WEIGHTS = [0.0, 1.0, 0.25, 2.0, 1e-3, 7.0, 1.0, 3.0]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 3)


@pytest.fixture
def prepared(csv: Callable[..., Table], featurizer: Featurizer, tmp_path: Path) -> Callable[..., Any]:
    def make(**columns: Any) -> tuple[GraphStore, Table]:
        table = csv(smiles=["C", "CC", "x", "CO", "N", "CN", "CCC", "CC"], **columns)
        return prepare_store(table, "smiles", featurizer, tmp_path / "stores", name="t", progress=False), table

    return make


def test_weights_lie_beside_the_labels(prepared: Callable[..., Any]) -> None:
    store, table = prepared(w=WEIGHTS)
    weight = prepare_weights(store, table, "w", dataset="d", progress=False)
    assert weight.dtype == np.float32 and np.array_equal(weight, np.float32(WEIGHTS))
    (folder,) = (store.folder / "labels").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "weight.bin"]
    assert (folder / "weight.bin").stat().st_size == 4 * len(WEIGHTS)
    check(store.folder)
    written = folder.stat().st_mtime_ns
    again = prepare_weights(store, table, "w", dataset="d", progress=False)
    assert np.array_equal(again, weight) and folder.stat().st_mtime_ns == written


def test_an_interrupted_reading_goes_on(prepared: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    store, table = prepared(w=WEIGHTS)
    calls: list[int] = []

    def stop_at(last: int) -> Callable[..., Any]:
        def read(column: str, dataset: str, frame: Any, whole: Any = module._weight_chunk) -> Any:
            calls.append(int(frame.index[0]))
            if frame.index[0] == last:
                raise RuntimeError("stopped here")
            return whole(column, dataset, frame)

        return read

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped here"):
        patch.setattr(module, "_weight_chunk", stop_at(6))
        prepare_weights(store, table, "w", dataset="d", progress=False)
    assert not (store.folder / "labels").exists()
    monkeypatch.setattr(module, "_weight_chunk", stop_at(-1))
    assert np.array_equal(prepare_weights(store, table, "w", dataset="d", progress=False), np.float32(WEIGHTS))
    assert calls == [0, 3, 6, 6]
    assert not list(store.folder.parent.glob("*.part"))


def test_truth_values_and_whole_numbers_are_weights(csv: Callable[..., Table]) -> None:
    table = csv(w=[True, False, True], n=[1, 0, 3])
    judge_weights(table, "w", "d")
    judge_weights(table, "n", "d")


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("-1", "-1 is negative"),
        ("", "the cell is empty"),
        ("nan", "the cell is empty"),
        ("high", "'high' is not a number"),
        ("[1, 2]", r"'\[1, 2\]' is not a number"),
        (">2", "'>2' is not a number"),
        ("inf", "inf is not between 1e-30 and 1e\\+30"),
        ("-inf", "-inf is negative"),
        ("1e40", "1e\\+40 is not between .*"),
        ("1e-50", "1e-50 is not between .*"),
    ],
)
def test_what_is_no_weight_is_named(csv: Callable[..., Table], cell: str, what: str) -> None:
    table = csv(w=["1", "0", "2.5", cell, "3"])
    for _ in range(2):
        with pytest.raises(
            GraphiumError, match=f"^dataset 'd', sample weight column 'w', row 3: {what}; give every row"
        ):
            judge_weights(table, "w", "d")


def test_a_missing_column_brings_the_nearest_name(csv: Callable[..., Table]) -> None:
    with pytest.raises(GraphiumError, match="has no column 'weigth'; did you mean 'weight'"):
        judge_weights(csv(weight=[1.0]), "weigth", "d")


def test_lines_of_one_molecule_have_one_weight(csv: Callable[..., Table], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Table, "rows_at_once", lambda self, columns: 2)
    key = ["b", "b", "a", "c", "a", "b"]
    judge_line_weights(csv(key=key, w=[2.0, 2.0, 0.0, 1.0, 0.0, 2.0]), "w", "key", "d")
    for _ in range(2):
        with pytest.raises(
            GraphiumError, match="^dataset 'd', sample weight column 'w', row 5: 3 is not 2, .* with 'key' 'b'; give"
        ):
            judge_line_weights(csv(key=key, w=[2.0, 2.0, 0.0, 1.0, 0.0, 3.0]), "w", "key", "d")
    with pytest.raises(GraphiumError, match="column 'w', row 1: -1 is negative; give"):
        judge_line_weights(csv(key=key, w=[1.0, -1.0, 0.0, 1.0, 0.0, 3.0]), "w", "key", "d")
