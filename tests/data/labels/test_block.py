from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from graphium.chem.featurizer import Featurizer
from graphium.data.labels import block as labels
from graphium.data.labels.block import LabelBlock, prepare_labels
from graphium.data.store import prepare
from graphium.data.store.graph_store import GraphStore, check
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError
from graphium.types import HeadSpec, Task, group_tasks

FAILED = (5, 12)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "CHUNK_ROWS", 6)
    monkeypatch.setattr(labels, "CHUNK_ROWS", 6)


Prepared = Callable[..., tuple[GraphStore, Table]]


@pytest.fixture
def prepared(texts: list[str], table: Callable[..., Table], featurizer: Featurizer, tmp_path: Path) -> Prepared:
    def make(**columns: Any) -> tuple[GraphStore, Table]:
        source = table(smiles=columns.pop("smiles", texts), **columns)
        store = prepare_store(source, "smiles", featurizer, tmp_path / "stores", name="small", progress=False)
        return store, source

    return make


def head(*names: str, level: str = "graph", kind: str = "regression", classes: tuple[str, ...] = ()) -> HeadSpec:
    tasks = [Task(n, "small", level, kind, num_classes=len(classes), classes=classes) for n in names]  # type: ignore[arg-type]
    return group_tasks(tasks)[0]


def read(store: GraphStore, source: Table, spec: HeadSpec) -> LabelBlock:
    return prepare_labels(store, source, spec, progress=False)


def triples(block: LabelBlock, row: int) -> list[tuple[int, int, float]]:
    return list(zip(*(part.tolist() for part in block.select(np.array([row]))), strict=True))


def user_sizes(texts: list[str], level: str) -> list[int]:
    molecules = [Chem.MolFromSmiles(text) if text not in ("", "not_a_smiles") else Chem.Mol() for text in texts]
    return [m.GetNumAtoms() if level == "node" else m.GetNumBonds() for m in molecules]


def test_full_columns_are_dense_and_failed_rows_have_no_labels(prepared: Prepared, texts: list[str]) -> None:
    a, b = np.arange(20.0), np.arange(20.0) * 100
    store, source = prepared(a=a, b=b)
    block = read(store, source, head("a", "b"))
    assert block.is_dense
    assert block.num_labels == 2 * 18
    assert block.value.dtype == np.float32
    for row in range(20):
        expected = [] if row in FAILED else [(0, 0, a[row]), (0, 1, b[row])]
        assert triples(block, row) == expected
    assert check(store.folder) == []


def test_missing_cells_make_a_sparse_block(prepared: Prepared) -> None:
    random = np.random.default_rng(0)
    table = {f"t{i}": np.where(random.random(20) < 0.5, np.nan, random.integers(0, 2, 20)) for i in range(3)}
    store, source = prepared(**table)
    block = read(store, source, head(*table, kind="binary"))
    assert not block.is_dense
    assert block.value.dtype == np.uint8
    for row in range(20):
        present = [(0, i, column[row]) for i, column in enumerate(table.values()) if not np.isnan(column[row])]
        assert triples(block, row) == ([] if row in FAILED else present)


def test_select_follows_the_order_of_the_rows(prepared: Prepared) -> None:
    store, source = prepared(a=np.where(np.arange(20) % 3 == 0, np.nan, np.arange(20.0)))
    block = read(store, source, head("a"))
    rows = np.array([7, 1, 6, 7, 5, 19])
    entity, task, value = block.select(rows)
    assert value.tolist() == [7, 1, 7, 19]
    assert entity.dtype == task.dtype == np.int64
    assert value.dtype == np.float64
    assert len(block.select(np.empty(0, np.int64))[0]) == 0


def test_text_classes(prepared: Prepared) -> None:
    store, source = prepared(c=[["low", "high", None][i % 3] for i in range(20)])
    block = read(store, source, head("c", kind="multiclass", classes=("low", "high")))
    assert block.value.dtype == np.uint8
    assert triples(block, 0) == [(0, 0, 0.0)]
    assert triples(block, 1) == [(0, 0, 1.0)]
    assert triples(block, 2) == []


@pytest.mark.parametrize("level", ["node", "edge"])
@pytest.mark.parametrize("holes", [False, True])
def test_atom_and_bond_labels_follow_their_atoms(prepared: Prepared, texts: list[str], level: str, holes: bool) -> None:
    random = np.random.default_rng(1)
    columns = {
        name: [
            [None if holes and random.random() < 0.3 else float(100 * row + k + shift) for k in range(size)]
            for row, size in enumerate(user_sizes(texts, level))
        ]
        for name, shift in (("p", 0.0), ("q", 0.5))
    }
    store, source = prepared(**columns)
    block = read(store, source, head("p", "q", level=level))
    assert block.is_dense is not holes
    for row in range(20):
        if row in FAILED:
            assert triples(block, row) == []
            continue
        order = store.atom_order(row) if level == "node" else store.bond_order(row)
        expected = [
            (place, number, columns[name][row][user])
            for place, user in enumerate(order)
            for number, name in enumerate(columns)
            if columns[name][row][user] is not None
        ]
        assert triples(block, row) == expected


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_shuffled_texts_of_a_molecule_get_the_same_atom_labels(
    tmp_path_factory: pytest.TempPathFactory, featurizer: Featurizer, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("shuffled")
    molecule = Chem.MolFromSmiles("C[C@H](N)C(=O)Oc1ccncc1Cl.O")
    texts, charges = [], []
    for step in range(4):
        text = Chem.MolToRandomSmilesVect(molecule, 1, randomSeed=seed + step)[0]
        again = Chem.MolFromSmiles(text)
        texts.append(text)
        # A label that tells the atoms apart by what they are, not by where they stand.
        ranks = Chem.CanonicalRankAtoms(again, breakTies=False)
        charges.append([float(rank) for rank in ranks])
    pd.DataFrame({"smiles": texts, "charge": charges}).to_parquet(folder / "table.parquet")
    source = Table(folder / "table.parquet")
    store = prepare_store(source, "smiles", featurizer, folder / "stores", name="small", progress=False)
    block = read(store, source, head("charge", level="node"))
    assert store.num_molecules == 1
    assert all(triples(block, row) == triples(block, 0) for row in range(1, 4))


@pytest.mark.parametrize(
    ("level", "cell", "said"),
    [
        ("node", [0.5] * 9, r"9 elements and the molecule 3 atoms \(9 with all hydrogens\); .*form=explicit_h"),
        ("edge", [0.5] * 8, r"8 elements and the molecule 2 bonds \(8 with all hydrogens\); .*form=explicit_h"),
        ("nodepair", [[0.5] * 9] * 9, r"9 rows and the molecule 3 atoms \(9 with all hydrogens\)"),
        ("node", [0.5] * 8, "8 elements and the molecule 3 atoms; mend"),
    ],
)
def test_lists_that_count_hydrogens_which_the_text_does_not_write(
    level: str, cell: list[float], said: str, tmp_path: Path
) -> None:
    pd.DataFrame({"smiles": ["CCO"], "y": [cell]}).to_parquet(tmp_path / "table.parquet")
    source = Table(tmp_path / "table.parquet")
    for form in ("heavy", "explicit_h"):
        featurizer = Featurizer(form=form, encodings=[])
        store = prepare_store(source, "smiles", featurizer, tmp_path / form, name="small", progress=False)
        if form == "explicit_h" and "all hydrogens" in said:
            block = read(store, source, head("y", level=level))
            assert block.num_labels == {"node": 9, "edge": 8, "nodepair": 36}[level]
        else:
            with pytest.raises(GraphiumError, match=said if form == "heavy" else "the molecule 9 atoms; mend"):
                read(store, source, head("y", level=level))


def test_a_list_of_another_length_is_refused(prepared: Prepared, texts: list[str]) -> None:
    lists = [[0.0] * size for size in user_sizes(texts, "node")]
    lists[8] = [0.0, 1.0]
    store, source = prepared(p=lists)
    with pytest.raises(GraphiumError, match=r"row 8.*2 elements and the molecule 1 atoms"):
        read(store, source, head("p", level="node"))


def test_values_that_float32_would_spoil_stay_float64(prepared: Prepared) -> None:
    energies = 1e6 + np.arange(20) * 1e-3
    store, source = prepared(small=np.arange(20) / 7, energies=energies, constant=np.full(20, 0.1))
    assert read(store, source, head("small")).value.dtype == np.float32
    assert read(store, source, head("constant")).value.dtype == np.float32
    block = read(store, source, head("energies"))
    assert block.value.dtype == np.float64
    assert triples(block, 3) == [(0, 0, energies[3])]
    huge = np.where(np.arange(20) == 3, 1e300, 1.0)
    store, source = prepared(huge=huge)
    assert triples(read(store, source, head("huge")), 3) == [(0, 0, 1e300)]


def test_a_column_without_labels_is_refused(prepared: Prepared) -> None:
    only_failed = np.full(20, np.nan)
    only_failed[5] = 1.0
    store, source = prepared(a=np.arange(20.0), b=only_failed)
    with pytest.raises(GraphiumError, match=r"column 'b' of small holds no label .*-b\]"):
        read(store, source, head("a", "b"))
    assert not list(store.folder.glob("labels/*"))


def test_in_a_part_of_a_table_a_column_may_have_no_labels(prepared: Prepared, tmp_path: Path) -> None:
    late = np.full(20, np.nan)
    late[19] = 1.0
    store, source = prepared(a=np.arange(20.0), b=late)
    some = Table(tmp_path / "table0.parquet", limit=10)
    assert some.limited
    store = prepare_store(some, "smiles", Featurizer(), tmp_path / "stores", name="small", progress=False)
    block = read(store, some, head("a", "b"))
    assert [triples(block, row) for row in (0, 5, 9)] == [[(0, 0, 0.0)], [], [(0, 0, 9.0)]]
    nothing = read(store, some, head("b"))
    assert nothing.num_labels == 0
    assert triples(nothing, 3) == []


def test_bounds_are_kept_and_make_a_sparse_block(prepared: Prepared) -> None:
    cells = [[">", "<", ""][k % 3] + str(k) for k in range(20)]
    store, source = prepared(a=cells, b=np.arange(20.0), sign=[["<=", None][k % 2] for k in range(20)])
    tasks = [Task("a", "small", "graph", "regression"), Task("b", "small", "graph", "regression", qualifier="sign")]
    block = read(store, source, group_tasks(tasks)[0])
    assert not block.is_dense
    assert block.bound is not None and block.bound.dtype == np.int8
    found = block.of_rows(np.array([4, 3]))
    assert found.owner.tolist() == [0, 0, 1, 1]
    assert found.value.tolist() == [4, 4, 3, 3]
    assert found.bound is not None and found.bound.tolist() == [-1, -1, 1, 0]
    # Another qualifier column is another block.
    assert read(store, source, head("a", "b")).bound.tolist() != block.bound.tolist()  # type: ignore[union-attr]
    assert check(store.folder) == []


def test_labels_take_few_bytes(prepared: Prepared, texts: list[str]) -> None:
    random = np.random.default_rng(2)
    sizes = user_sizes(texts, "node")
    holes = [[None if random.random() < 0.5 else float(random.normal()) for _ in range(n)] for n in sizes]
    pairs = [[[float(i + j) for j in range(n)] for i in range(n)] for n in sizes]
    many = {f"t{k}": np.where(random.random(20) < 0.3, random.integers(0, 2, 20), np.nan) for k in range(300)}
    store, source = prepared(q=holes, r=holes, pair=pairs, dense=random.normal(size=20), **many)

    def sizes_of(block: LabelBlock) -> dict[str, int]:
        columns = ("value", "task", "entity", "pair")
        return {name: getattr(block, name).nbytes for name in columns if getattr(block, name) is not None}

    node = read(store, source, head("q", "r", level="node"))
    assert sizes_of(node) == {"value": 4 * node.num_labels, "task": node.num_labels, "entity": node.num_labels}
    graph = read(store, source, head(*many, kind="binary"))
    assert sizes_of(graph) == {"value": graph.num_labels, "task": 2 * graph.num_labels}
    dense = read(store, source, head("dense"))
    assert sizes_of(dense) == {"value": 4 * dense.num_labels}
    pair = read(store, source, head("pair", level="nodepair"))
    assert pair.is_dense and pair.pair_ptr is pair.ptr
    assert sizes_of(pair) == {"value": 4 * pair.num_labels, "pair": 2 * pair.num_labels}
    for block in (node, graph, dense, pair):
        assert block.ptr.nbytes == 8 * 21
    assert check(store.folder) == []


def test_more_than_256_pairs_of_a_row(prepared: Prepared) -> None:
    chain = "C" * 40
    matrix = [[float(i * 40 + j) if i < j and (i + j) % 3 else None for j in range(40)] for i in range(40)]
    store, source = prepared(smiles=[chain], p=[matrix], q=[[[None] * 40] * 39 + [[1.0] + [None] * 39]])
    block = read(store, source, head("p", "q", level="nodepair"))
    assert block.entity is not None and block.entity.dtype == np.int16
    assert block.pair is not None and block.pair_ptr is not None and block.pair.dtype == np.uint8
    order = store.atom_order(0)
    found = block.of_rows(np.array([0]))
    ends = np.sort(order[block.pair[found.entity].astype(int)], axis=1)
    for (i, j), number, value in zip(ends.tolist(), found.task, found.value, strict=True):
        assert value == (matrix[i][j] if number == 0 else 1.0)
    assert block.num_labels == sum(v is not None for row in matrix for v in row) + 1


@pytest.mark.parametrize(
    ("level", "columns"),
    [
        ("node", {"p": [1.0, None]}),
        ("node", {"p": [1.0], "p@atom": [1]}),
        ("edge", {"p": [1.0], "p@bond": [0]}),
        ("edge", {"p": [1.0], "p@first": [1], "p@second": [0]}),
        ("nodepair", {"p": [1.0], "p@first": [1], "p@second": [0]}),
        ("nodepair", {"p": [[0.0, 1.0], [1.0, 0.0]]}),
    ],
)
def test_chunks_without_labels(prepared: Prepared, level: str, columns: dict[str, Any]) -> None:
    store, source = prepared(smiles=["CO"] * 20, **{name: [None] * 19 + [cell] for name, cell in columns.items()})
    block = read(store, source, head("p", level=level))
    assert block.num_labels == 1
    assert [len(triples(block, row)) for row in (0, 18, 19)] == [0, 0, 1]
    assert (block.pair is not None) == (level == "nodepair")


def test_labels_are_read_once_and_other_heads_beside_them(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    store, source = prepared(a=np.arange(20.0), b=np.arange(20.0) % 2)
    first = read(store, source, head("a", "b"))
    with monkeypatch.context() as patch:
        patch.setattr(labels, "read_labels", None)
        again = prepare_labels(store, source, head("a", "b"), h_labels="drop", progress=False)
    assert np.array_equal(again.value, first.value)
    read(store, source, head("b", kind="binary"))
    assert len(list(store.folder.glob("labels/*"))) == 2
    assert check(store.folder) == []


def test_an_interrupted_reading_goes_on_where_it_stopped(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    store, source = prepared(a=np.arange(20.0))
    seen: list[int] = []
    original = labels.read_labels

    def stop_at_third(frame: Any, *rest: Any) -> Any:
        seen.append(frame.index[0])
        if len(seen) == 3:
            raise RuntimeError("stopped here")
        return original(frame, *rest)

    monkeypatch.setattr(labels, "read_labels", stop_at_third)
    with pytest.raises(RuntimeError, match="stopped here"):
        read(store, source, head("a"))
    block = read(store, source, head("a"))
    assert seen == [0, 6, 12, 12, 18]
    assert block.num_labels == 18
    assert not list(store.folder.parent.glob("*.part"))


def test_real_charges_stand_on_their_atoms(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "qm9_node_edge" / "qm9_node_edge.parquet"
    source = Table(path, limit=400)
    featurizer = Featurizer(encodings=[])
    store = prepare_store(source, "smiles", featurizer, tmp_path / "stores", name="qm9", progress=False)
    charges = read(store, source, head("mulliken_q", "mulliken_q_united", level="node"))
    lengths = read(store, source, head("bond_length", level="edge"))
    assert charges.is_dense and lengths.is_dense
    element = np.asarray(store.feature("atom_codes"))[:, 0]
    found = {"O": [], "N": [], "C=O": [], "C-O": []}  # type: ignore[var-annotated]
    for row in range(400):
        molecule = Chem.MolFromSmiles(store.text(row))
        order, bonds = store.atom_order(row), store.bond_order(row)
        own = element[store.atom_ptr[store.row_molecule[row]] :][: len(order)]
        # Whatever the codes mean: atoms of one element have one code, in canonical order.
        elements = [molecule.GetAtomWithIdx(int(user)).GetSymbol() for user in order]
        assert len(set(zip(own.tolist(), elements, strict=True))) == len(set(elements))
        for entity, task, value in triples(charges, row):
            if task == 0 and elements[entity] in found:
                found[elements[entity]].append(value)
        for entity, _, value in triples(lengths, row):
            bond = molecule.GetBondWithIdx(int(bonds[entity]))
            ends = {bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol()}
            if ends == {"C", "O"} and not bond.GetIsAromatic():
                found["C=O" if bond.GetBondTypeAsDouble() == 2 else "C-O"].append(value)
    assert min(map(len, found.values())) > 50
    assert max(found["O"]) < 0
    assert np.mean(found["N"]) < -0.2
    assert np.mean(found["C=O"]) < 1.25 < 1.35 < np.mean(found["C-O"])
