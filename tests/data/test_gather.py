from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rdkit import Chem
from torch import Tensor

from graphium.chem.featurizer import Featurizer
from graphium.data.batch import GraphBatch, Labels
from graphium.data.concat import concat
from graphium.data.gather import Gather
from graphium.data.labels.block import LabelBlock, prepare_labels
from graphium.data.labels.transforms import LabelTransform
from graphium.data.store.graph_store import GraphStore
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError
from graphium.types import HeadSpec, Task, group_tasks

USABLE = [row for row in range(20) if row not in (5, 12)]


class Prepared:
    """A table with labels of three levels, dense and sparse, and what the batches are compared with."""

    def __init__(self, texts: list[str], write: Callable[..., Table], featurizer: Featurizer, root: Path) -> None:
        self.texts, self.featurizer = texts, featurizer
        atoms, bonds = zip(*(self._sizes(text) for text in texts), strict=True)
        random = np.random.default_rng(0)
        self.columns: dict[str, Any] = {
            "y": np.arange(20) / 3,
            "z": 100.0 - np.arange(20),
            "active": [None if random.random() < 0.4 else float(random.random() < 0.5) for _ in texts],
            "toxic": [None if random.random() < 0.4 else float(random.random() < 0.5) for _ in texts],
            "charge": [[100.0 * row + k for k in range(size)] for row, size in enumerate(atoms)],
            "length": [
                [None if random.random() < 0.3 else 1000.0 * row + k for k in range(size)]
                for row, size in enumerate(bonds)
            ],
        }
        tasks = [
            Task("y", "small", "graph", "regression"),
            Task("z", "small", "graph", "regression"),
            Task("active", "small", "graph", "binary"),
            Task("toxic", "small", "graph", "binary"),
            Task("charge", "small", "node", "regression"),
            Task("length", "small", "edge", "regression"),
        ]
        source = write(smiles=texts, **self.columns)
        self.heads: tuple[HeadSpec, ...] = group_tasks(tasks)
        self.store: GraphStore = prepare_store(source, "smiles", featurizer, root, name="small", progress=False)
        self.blocks: dict[str, LabelBlock] = {
            head.name: prepare_labels(self.store, source, head, progress=False) for head in self.heads
        }

    def gather(self, **options: object) -> Gather:
        return Gather(self.store, self.featurizer.spec, self.blocks, **options)  # type: ignore[arg-type]

    @staticmethod
    def _sizes(text: str) -> tuple[int, int]:
        molecule = Chem.MolFromSmiles(text) if text != "not_a_smiles" else Chem.Mol()
        return molecule.GetNumAtoms(), molecule.GetNumBonds()


@pytest.fixture
def prepared(texts: list[str], table: Callable[..., Table], featurizer: Featurizer, tmp_path: Path) -> Prepared:
    return Prepared(texts, table, featurizer, tmp_path / "stores")


def assert_equal(left: GraphBatch, right: GraphBatch) -> None:
    assert_same_tensors(left, right)
    assert list(left.encodings) == list(right.encodings)
    assert all(torch.equal(left.encodings[name], right.encodings[name]) for name in left.encodings)
    assert list(left.labels) == list(right.labels)
    for name, labels in left.labels.items():
        assert_same_tensors(labels, right.labels[name])


def assert_same_tensors(left: GraphBatch | Labels, right: GraphBatch | Labels) -> None:
    for item in fields(left):
        one, other = getattr(left, item.name), getattr(right, item.name)
        assert type(one) is type(other), item.name
        if isinstance(one, Tensor):
            assert one.dtype == other.dtype, item.name
            assert torch.equal(one, other), item.name


def test_batch_equals_loop_over_molecules(prepared: Prepared) -> None:
    gather = prepared.gather(table=3)
    rows = torch.tensor([14, 0, 4, 9, 6, 0, 18, 19, 3, 8])
    loop = concat([gather(rows[i : i + 1]) for i in range(len(rows))], prepared.heads)
    assert_equal(gather(rows), loop)
    assert gather(rows).table.tolist() == [3] * 10
    assert gather(rows).row.tolist() == rows.tolist()


def test_shapes_and_dtypes_are_those_of_the_batch(prepared: Prepared) -> None:
    spec = prepared.featurizer.spec
    batch = prepared.gather()(torch.tensor(USABLE))
    assert batch.x.dtype == batch.edge_attr.dtype == torch.uint8
    assert batch.x.shape == (batch.num_nodes, len(spec.atom_sizes))
    assert batch.edge_attr.shape == (batch.num_edges, len(spec.bond_sizes))
    assert batch.x_num.shape == (batch.num_nodes, spec.num_atom_numbers)
    assert batch.edge_num.shape == (batch.num_edges, spec.num_bond_numbers)
    assert batch.x_num.dtype == batch.edge_num.dtype == torch.float32
    assert {name: column.shape[1] for name, column in batch.encodings.items()} == spec.encoding_dims()
    assert all(len(column) == batch.num_nodes for column in batch.encodings.values())
    for tensor in (batch.edge_index, batch.rowptr, batch.batch, batch.ptr, batch.bond_edges, batch.table, batch.row):
        assert tensor.dtype == torch.int64
        assert tensor.is_contiguous()
    for labels in batch.labels.values():
        assert labels.entity.dtype == labels.task.dtype == torch.int64
        assert labels.value.dtype == labels.weight.dtype == labels.total.dtype == torch.float32


def test_graphs_are_those_of_the_featurizer(prepared: Prepared) -> None:
    batch = prepared.gather()(torch.tensor(USABLE))
    assert batch.num_graphs == len(USABLE)
    for graph, row in enumerate(USABLE):
        found = prepared.featurizer.molecules([prepared.texts[row]])
        start, stop = batch.ptr[graph : graph + 2].tolist()
        assert stop - start == found.num_atoms[0]
        assert (batch.batch[start:stop] == graph).all()
        assert np.array_equal(batch.x[start:stop], found.blocks["atom_codes"])
        numbers = [found.blocks[name] for name in ("atom_ints", "atom_floats") if name in found.blocks]
        assert np.array_equal(batch.x_num[start:stop], np.concatenate(numbers, axis=1).astype(np.float32))
        inside = (batch.edge_index[0] >= start) & (batch.edge_index[0] < stop)
        bonds = [(int(i), int(j)) for i, j in found.bond_index]
        both = sorted([(j, i, k) for k, (i, j) in enumerate(bonds)] + [(i, j, k) for k, (i, j) in enumerate(bonds)])
        edges = (batch.edge_index[:, inside] - start).t().tolist()
        assert edges == [[source, destination] for destination, source, _ in both]
        codes = found.blocks["bond_codes"][[k for _, _, k in both]] if both else found.blocks["bond_codes"]
        assert np.array_equal(batch.edge_attr[inside], codes)
        encoded = prepared.featurizer.encode(
            num_atoms=found.num_atoms,
            num_components=found.num_components,
            component_size=found.component_size,
            num_bonds=found.num_bonds,
            bond_index=found.bond_index,
        )
        for column in prepared.featurizer.spec.encodings:
            values = encoded[column.name]
            if column.entity == "component":
                values = np.repeat(values, found.component_size, axis=0)
            assert np.array_equal(batch.encodings[column.name][start:stop], values), column.name


def test_numbers_are_small_integers_then_floats(texts: list[str], table: Callable[..., Table], tmp_path: Path) -> None:
    featurizer = Featurizer(
        atom_onehot=["atomic-number"],
        atom_float=["mass", "degree"],
        bond_onehot=["bond-type"],
        bond_float=[],
        encodings=[],
    )
    store = prepare_store(table(smiles=texts), "smiles", featurizer, tmp_path / "s", name="small", progress=False)
    batch = Gather(store, featurizer.spec, {})(torch.tensor([4, 0]))
    found = featurizer.molecules([texts[4], texts[0]]).blocks
    assert [p.name for p in featurizer.spec.atoms] == ["atomic-number", "degree", "mass"]
    assert np.array_equal(batch.x_num, np.concatenate([found["atom_ints"], found["atom_floats"]], axis=1))
    assert batch.edge_num.shape == (batch.num_edges, 0)
    assert batch.encodings == batch.labels == {}


def test_real_atom_and_bond_labels_come_back_in_the_users_order(
    shared_data: Path, featurizer: Featurizer, tmp_path: Path
) -> None:
    source = Table(shared_data / "qm9_node_edge" / "qm9_node_edge.parquet", limit=300)
    store = prepare_store(source, "smiles", featurizer, tmp_path, name="qm9", progress=False)
    node = group_tasks([Task("mulliken_q", "qm9", "node", "regression")])[0]
    edge = group_tasks([Task("bond_length", "qm9", "edge", "regression")])[0]
    blocks = {h.name: prepare_labels(store, source, h, progress=False) for h in (node, edge)}
    rows = torch.arange(299, -1, -1)
    batch = Gather(store, featurizer.spec, blocks)(rows)
    for head, order in ((node, store.atom_order), (edge, store.bond_order)):
        labels, column = batch.labels[head.name], source.column(head.tasks[0].name)
        expected = [np.asarray(column[int(row)])[order(int(row))] for row in rows]
        assert np.array_equal(labels.value.numpy(), np.concatenate(expected).astype(np.float32))
        assert torch.equal(labels.entity, torch.arange(batch.num_entities(head.level)))


def test_edges_are_sorted_and_the_offsets_and_bonds_agree(prepared: Prepared) -> None:
    batch = prepared.gather()(torch.tensor(USABLE[::-1]))
    source, destination = batch.edge_index
    assert (destination.diff() >= 0).all()
    degree = torch.bincount(destination, minlength=batch.num_nodes)
    assert torch.equal(batch.rowptr.diff(), degree)
    assert batch.rowptr[0] == 0
    forth, back = batch.bond_edges
    assert torch.equal(source[forth], destination[back])
    assert torch.equal(source[back], destination[forth])
    assert (source[forth] < destination[forth]).all()
    assert torch.equal(batch.bond_edges.flatten().sort().values, torch.arange(batch.num_edges))
    assert torch.equal(batch.edge_attr[forth], batch.edge_attr[back])


def test_labels_of_all_levels_point_at_their_entities(prepared: Prepared) -> None:
    rows = [19, 2, 14, 9, 4, 0]
    batch = prepared.gather()(torch.tensor(rows))
    first_bond = np.cumsum([0, *prepared.store.num_bonds(prepared.store.row_molecule[rows])])
    for head in prepared.heads:
        expected = []
        for number, task in enumerate(head.tasks):
            for graph, row in enumerate(rows):
                cell = prepared.columns[task.name][row]
                if head.level == "graph":
                    entries = [(graph, cell)]
                elif head.level == "node":
                    start = int(batch.ptr[graph])
                    entries = [(start + k, cell[user]) for k, user in enumerate(prepared.store.atom_order(row))]
                else:
                    start = int(first_bond[graph])
                    entries = [(start + k, cell[user]) for k, user in enumerate(prepared.store.bond_order(row))]
                expected += [(entity, number, np.float32(value)) for entity, value in entries if value is not None]
        labels = batch.labels[head.name]
        found = list(zip(labels.entity.tolist(), labels.task.tolist(), labels.value.numpy(), strict=True))
        assert found == sorted(expected)
        assert (labels.weight == 1).all()
        counts = torch.bincount(labels.task, minlength=head.num_tasks)
        assert torch.equal(labels.total, counts.to(torch.float32))


def test_repeats_of_a_molecule_keep_their_own_labels(prepared: Prepared) -> None:
    # Rows 0, 1 and 7 are one molecule with three labels: only the sampled row's may appear.
    for row in (0, 1, 7):
        labels = prepared.gather()(torch.tensor([row])).labels["small_graph_regression"]
        assert labels.value.tolist() == pytest.approx([row / 3, 100 - row])


def test_values_are_transformed_in_float64(prepared: Prepared) -> None:
    head = prepared.heads[0]
    fitted = [{"name": "zscore", "mean": 2.0, "scale": 0.1}, {"name": "zscore", "mean": 90.0, "scale": 4.0}]
    tasks = [replace(task, transform=values) for task, values in zip(head.tasks, fitted, strict=True)]
    gather = prepared.gather(transforms={head.name: LabelTransform(tasks)})
    value = gather(torch.tensor([3, 10])).labels[head.name].value
    assert value.tolist() == pytest.approx([(1.0 - 2) / 0.1, (97 - 90) / 4, (10 / 3 - 2) / 0.1, 0.0], rel=1e-6)


def test_a_row_without_molecule_is_refused(prepared: Prepared) -> None:
    with pytest.raises(GraphiumError, match="row 5 has no molecule"):
        prepared.gather()(torch.tensor([0, 5]))


def test_no_rows_make_an_empty_batch(prepared: Prepared) -> None:
    batch = prepared.gather()(torch.empty(0, dtype=torch.int64))
    assert (batch.num_graphs, batch.num_nodes, batch.num_edges, batch.num_bonds) == (0, 0, 0, 0)
    assert batch.ptr.tolist() == batch.rowptr.tolist() == [0]
    assert all(len(labels.value) == 0 for labels in batch.labels.values())


def test_molecules_without_bonds(prepared: Prepared) -> None:
    batch = prepared.gather()(torch.tensor([3, 4]))
    assert (batch.num_graphs, batch.num_nodes, batch.num_edges) == (2, 3, 0)
    assert batch.rowptr.tolist() == [0, 0, 0, 0]
    assert batch.edge_attr.shape == (0, len(prepared.featurizer.spec.bond_sizes))


def test_tables_are_joined_and_absent_heads_are_empty(prepared: Prepared) -> None:
    names = [head.name for head in prepared.heads]
    first = Gather(prepared.store, prepared.featurizer.spec, {n: prepared.blocks[n] for n in names[:2]}, table=0)
    second = Gather(prepared.store, prepared.featurizer.spec, {n: prepared.blocks[n] for n in names[2:]}, table=1)
    parts = [first(torch.tensor([6, 0])), second(torch.tensor([14, 2, 9]))]
    other = replace(prepared.heads[0], name="other_graph_regression")
    batch = concat(parts, [*prepared.heads, other])
    whole = prepared.gather()(torch.tensor([6, 0, 14, 2, 9]))
    assert batch.table.tolist() == [0, 0, 1, 1, 1]
    for name in ("x", "x_num", "edge_index", "edge_attr", "edge_num", "rowptr", "batch", "ptr", "bond_edges", "row"):
        assert torch.equal(getattr(batch, name), getattr(whole, name)), name
    assert list(batch.labels) == [*names, "other_graph_regression"]
    assert (batch.labels[names[0]].entity < 2).all()
    for name in names[2:]:
        # Only the labels of the second table's rows, at the entities they have in the joined batch.
        expected = whole.labels[name]
        limit = {"node": parts[0].num_nodes, "edge": parts[0].num_bonds}["node" if "node" in name else "edge"]
        mine = expected.entity >= limit
        assert torch.equal(batch.labels[name].entity, expected.entity[mine])
        assert torch.equal(batch.labels[name].value, expected.value[mine])
    empty = batch.labels["other_graph_regression"]
    assert len(empty.value) == len(empty.entity) == len(empty.weight) == 0
    assert empty.total.tolist() == [0.0, 0.0]
    single = concat([parts[0]], prepared.heads)
    assert list(single.labels) == names
    assert len(single.labels[names[2]].value) == 0
