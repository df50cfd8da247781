"""Merged labels and weights of repeated molecules against plain Python over random tables, and over real ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.chem.featurizer import Featurizer
from graphium.data.labels import merging, repeats
from graphium.data.labels.block import LabelBlock, prepare_labels
from graphium.data.labels.layout import number_pairs, survey_chunks, write_block
from graphium.data.labels.merging import merge_labels, merge_weights
from graphium.data.labels.repeats import representatives
from graphium.data.store.chunks import Chunk, write_chunk
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.types import Task, group_tasks

LEVELS = ("graph", "node", "edge", "nodepair")
Row = dict[tuple[Any, int], tuple[float, int]]

seeds = st.integers(0, 2**31 - 1)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_AT_ONCE", 7)
    monkeypatch.setattr(merging, "_MERGED_AT_ONCE", (4, 4))


def random_rows(random: np.random.Generator, rows: int = 30) -> tuple[np.ndarray, np.ndarray]:
    molecule = random.integers(-1, 8, rows).astype(np.int32)
    return molecule, np.where(random.random(rows) < 0.15, -1, random.integers(0, 4, rows)).astype(np.int8)


class World:
    """A random table with its labels as a plain dictionary per row."""

    def __init__(
        self, seed: int, level: str, kind: str, bounds: bool, full: bool, folder: Path, weighted: bool = False
    ) -> None:
        random = np.random.default_rng(seed)
        self.level, self.kind, self.num_tasks = level, kind, int(random.integers(1, 4))
        self.molecule, self.parts = random_rows(random)
        self.size = random.integers(2, 5, 8)
        # Some weights are 0, and some are equal, so that classes may tie.
        self.weight = random.integers(0, 4, len(self.parts)).astype(np.float32) / 2 if weighted else None
        self.rows: list[Row] = []
        for molecule in self.molecule:
            row: Row = {}
            for entity in self.entities(molecule) if random.random() < 0.8 else []:
                for task in range(self.num_tasks):
                    if full or random.random() < 0.6:
                        value = float(random.integers(0, 3) if kind == "class" else np.float32(random.normal()))
                        row[entity, task] = value, int(random.integers(-1, 2)) if bounds else 0
            self.rows.append(row)
        self.store: Any = SimpleNamespace(
            folder=folder / "stores" / "t", row_molecule=self.molecule, row_sizes=self._row_sizes
        )
        self.store.folder.mkdir(parents=True)
        self.block = self.write(self.rows, folder / "block")

    def entities(self, molecule: int) -> list[Any]:
        size = int(self.size[molecule]) if molecule >= 0 else 0
        if self.level == "nodepair":
            return [(i, j) for i in range(size) for j in range(i + 1, size)]
        return list(range(min(size, 1) if self.level == "graph" else size))

    def _row_sizes(self, level: str, start: int, stop: int) -> np.ndarray:
        assert level == self.level
        return np.array([len(self.entities(m)) for m in self.molecule[start:stop]])

    def write(self, rows: list[Row], folder: Path) -> LabelBlock:
        flat = [(r, e, t, v, b) for r, row in enumerate(rows) for (e, t), (v, b) in sorted(row.items())]
        row, task = (np.array([entry[k] for entry in flat], np.int64) for k in (0, 2))
        columns: dict[str, np.ndarray] = {
            "count": np.bincount(row, minlength=len(rows)),
            "task": task.astype(np.int32),
            "value": np.array([entry[3] for entry in flat], np.float64),
        }
        entities = sum(len(self.entities(m)) for m, labels in zip(self.molecule, rows, strict=True) if labels)
        if self.level == "nodepair":
            pairs = np.array([entry[1] for entry in flat], np.int64).reshape(-1, 2)
            more, columns["entity"] = number_pairs(row, pairs, len(rows))
            columns |= more
            entities = len(columns["pair"])
        elif self.level != "graph":
            columns["entity"] = np.array([entry[1] for entry in flat], np.int32)
        bound = np.array([entry[4] for entry in flat], np.int8)
        if bound.any():
            columns["bound"] = bound
        path = folder.with_suffix(".chunk")
        write_chunk(path, Chunk(columns, {"entities": entities}))
        dtype = np.dtype(np.uint8 if self.kind == "class" else np.float32)
        write_block([path], survey_chunks([path], self.num_tasks).layout(self.level, dtype), folder)
        return LabelBlock.open(folder)

    def groups(self) -> list[list[int]]:
        """Rows of the same molecule in the same part."""
        groups: dict[Any, list[int]] = defaultdict(list)
        for row, (molecule, part) in enumerate(zip(self.molecule.tolist(), self.parts.tolist(), strict=True)):
            if molecule >= 0 and part >= 0:
                groups[molecule, part].append(row)
        return list(groups.values())

    def merged(self) -> tuple[list[Row], int]:
        """What the merged labels should be, and how many are left out."""
        result: list[Row] = [{} for _ in self.rows]
        left_out = 0
        for rows in self.groups():
            found: dict[Any, list[Any]] = defaultdict(list)
            for row in rows:
                weight = 1.0 if self.weight is None else float(self.weight[row])
                for key, label in self.rows[row].items():
                    if weight > 0 or len(rows) == 1:
                        found[key].append((*label, weight or 1.0))
            for key, labels in found.items():
                one = merge_one(labels, self.kind)
                left_out += one is None
                if one is not None:
                    result[rows[0]][key] = one
        return result, left_out


def merge_one(labels: list[tuple[float, int, float]], kind: str) -> tuple[float, int] | None:
    if kind == "class":
        total: Counter[float] = Counter()
        for value, _, weight in labels:
            total[value] += weight  # type: ignore[assignment]
        (first, times), *others = total.most_common(2)
        return None if others and others[0][1] == times else (first, 0)
    exact = [(value, weight) for value, bound, weight in labels if bound == 0]
    if exact:
        values, weights = zip(*exact, strict=True)
        return float(np.average(values, weights=weights)), 0
    sides = {bound for _, bound, _ in labels}
    if len(sides) == 2:
        return None
    return (max if sides == {1} else min)(value for value, _, _ in labels), sides.pop()


def rows_of(block: LabelBlock, num_rows: int) -> list[Row]:
    rows: list[Row] = []
    for row in range(num_rows):
        found = block.of_rows(np.array([row]))
        entity: list[Any] = found.entity.tolist()
        if block.pair is not None and block.pair_ptr is not None:
            pairs = block.pair[block.pair_ptr[row] : block.pair_ptr[row + 1]].tolist()
            assert pairs == sorted(pairs)
            entity = [tuple(pairs[e]) for e in entity]
        bound = [0] * len(entity) if found.bound is None else found.bound.tolist()
        keys = list(zip(entity, found.task.tolist(), strict=True))
        assert keys == sorted(set(keys))
        rows.append(dict(zip(keys, zip(found.value.tolist(), bound, strict=True), strict=True)))
    return rows


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    return lambda: tmp_path_factory.mktemp("worlds")


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    level=st.sampled_from(LEVELS),
    kind=st.sampled_from(["number", "bounded", "class"]),
    full=st.booleans(),
    weighted=st.booleans(),
)
def test_merged_labels_equal_a_plain_loop(
    folders: Callable[[], Path], seed: int, level: str, kind: str, full: bool, weighted: bool
) -> None:
    folder = folders()
    world = World(seed, level, "class" if kind == "class" else "number", kind == "bounded", full, folder, weighted)
    assert rows_of(world.block, 30) == world.rows
    to, weight = folder / "labels" / "merged", world.weight
    merged, left_out = merge_labels(world.block, world.store, world.parts, to, row_weight=weight)
    expected, expected_left_out = world.merged()
    found = rows_of(merged, 30)
    assert left_out == expected_left_out
    for one, other in zip(found, expected, strict=True):
        assert {key: bound for key, (_, bound) in one.items()} == {key: bound for key, (_, bound) in other.items()}
        values = {key: value for key, (value, _) in other.items()}
        assert {key: value for key, (value, _) in one.items()} == pytest.approx(values, rel=1e-6, abs=1e-6)
    if world.block.is_dense and not left_out and merged.num_labels:
        assert merged.is_dense
    # The second call reads what the first one wrote.
    again, same = merge_labels(world.block, world.store, world.parts, to, row_weight=weight)
    assert same == left_out and np.array_equal(again.value, merged.value)
    assert not list(world.store.folder.parent.glob("*.part"))


@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_merged_weights_are_means_of_rows_with_labels(folders: Callable[[], Path], seed: int) -> None:
    folder = folders()
    world = World(seed, "graph", "number", False, True, folder, weighted=True)
    assert world.weight is not None
    expected = world.weight.copy()
    for rows in world.groups():
        above = world.weight[rows][world.weight[rows] > 0]
        expected[rows[0]] = above.mean() if len(above) else 0
    for _ in range(2):
        merged = merge_weights(world.weight, world.store, world.parts, folder / "labels" / "weights")
        assert merged.dtype == np.float32
        np.testing.assert_allclose(merged, expected, rtol=1e-6)
    assert not list(world.store.folder.parent.glob("*.part"))


def test_nothing_is_written_where_nothing_repeats(tmp_path: Path) -> None:
    world = World(1, "node", "number", False, False, tmp_path)
    world.store.row_molecule = np.arange(30)
    block, left_out = merge_labels(world.block, world.store, world.parts, tmp_path / "merged")
    assert block is world.block and left_out == 0
    weight = np.ones(30, np.float32)
    assert merge_weights(weight, world.store, world.parts, tmp_path / "merged") is weight
    assert not (tmp_path / "merged").exists()


def test_an_interrupted_merge_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(5, "edge", "number", False, False, tmp_path)

    def stop(*args: Any, **more: Any) -> None:
        raise RuntimeError("stopped here")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped here"):
        patch.setattr(merging, "write_block", stop)
        merge_labels(world.block, world.store, world.parts, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    merged, _ = merge_labels(world.block, world.store, world.parts, tmp_path / "merged")
    assert rows_of(merged, 30) == [
        {key: (pytest.approx(value, rel=1e-6, abs=1e-6), bound) for key, (value, bound) in row.items()}
        for row in world.merged()[0]
    ]


def test_labels_of_one_atom_meet_whatever_the_order_of_the_text(tmp_path: Path) -> None:
    lists = [[1.0, 2.0, 3.0], [5.0, 4.0, None], [0.0, 0.0]]
    pd.DataFrame({"smiles": ["CCO", "OCC", "CC"], "q": lists}).to_parquet(tmp_path / "t.parquet")
    table = Table(tmp_path / "t.parquet")
    store = prepare_store(table, "smiles", Featurizer(encodings=[]), tmp_path / "s", name="t", progress=False)
    head = group_tasks([Task("q", "t", "node", "regression")])[0]
    block = prepare_labels(store, table, head, progress=False)
    merged, _ = merge_labels(block, store, np.zeros(3, np.int8), store.folder / "labels" / "node-mean-0")
    order = store.atom_order(0).tolist()
    assert {order[e]: v for (e, _), (v, _) in rows_of(merged, 3)[0].items()} == {0: 1.0, 1: 3.0, 2: 4.0}
    assert rows_of(merged, 3)[1] == {}


def test_real_repeats(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_AT_ONCE", 500)
    monkeypatch.setattr(merging, "_MERGED_AT_ONCE", (300, 300))
    table = Table(shared_data / "tdc_admet" / "clearance_hepatocyte_az.csv.gz")
    store = prepare_store(table, "Drug", Featurizer(encodings=[]), tmp_path / "s", name="t", progress=False)
    head = group_tasks([Task("Y", "t", "graph", "regression")])[0]
    block = prepare_labels(store, table, head, progress=False)
    parts = np.zeros(store.num_rows, np.int8)
    chosen, sentence = representatives(store.row_molecule, parts, "mean")
    assert "193 molecules in several rows" in sentence
    merged, left_out = merge_labels(block, store, parts, store.folder / "labels" / "merged")
    frame = pd.DataFrame({"molecule": np.asarray(store.row_molecule), "y": table.column("Y")})
    expected = frame.groupby("molecule")["y"].mean()
    rows = np.flatnonzero(chosen >= 0)
    assert left_out == 0 and merged.num_labels == len(rows) == store.num_molecules
    np.testing.assert_allclose(merged.select(rows)[2], expected[frame["molecule"][rows]], rtol=1e-6)
