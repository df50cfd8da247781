"""Labels, pairs and coordinates of a batch against plain Python, over random stores and blocks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.batch import GraphBatch
from graphium.data.concat import concat
from graphium.data.gather import Gather
from graphium.data.labels.block import LabelBlock
from graphium.data.labels.transforms import LabelTransform
from graphium.errors import GraphiumError
from graphium.types import FeatureSpec, HeadSpec, Property, Task, group_tasks

SPEC = FeatureSpec(atoms=(Property("atomic-number", 120, "uint8"),), bonds=(Property("bond-type", 6, "uint8"),))
LEVELS = ("graph", "node", "edge", "nodepair")


@dataclass
class World:
    """One random table: a store, and per head what a row's labels are.

    ``labels[head][row]``: ``(entity, task) -> (value, bound)``, an entity is 0, an atom, a bond or a pair
    ``(i, j)``; ``pairs[head][row]``: the pairs of a row in the order of the block.
    """

    store: Any
    atoms: list[int]
    bonds: list[list[tuple[int, int]]]
    heads: tuple[HeadSpec, ...]
    blocks: dict[str, LabelBlock] = field(default_factory=dict)
    labels: dict[str, list[dict[Any, tuple[float, int]]]] = field(default_factory=dict)
    pairs: dict[str, list[list[tuple[int, int]]]] = field(default_factory=dict)

    def gather(self, table: int = 0, **options: Any) -> Gather:
        return Gather(self.store, options.pop("spec", SPEC), self.blocks, table=table, **options)


def make_world(seed: int, name: str, levels: tuple[str, ...], coordinates: bool = False) -> World:
    random = np.random.default_rng(seed)
    rows = int(random.integers(1, 7))
    atoms = random.integers(1, 6, rows).tolist()
    bonds = [[(i, i + 1) for i in range(n - 1) if random.random() < 0.8] for n in atoms]
    order = random.permutation(rows)  # rows and molecules are numbered differently
    store = make_store([atoms[m] for m in order], [bonds[m] for m in order], np.argsort(order), random)
    if coordinates:
        store.position_ptr = np.concatenate([[0], np.cumsum(atoms)])
        store.positions = random.normal(size=(sum(atoms), 3)).astype(np.float32)
    tasks = [Task(f"{level}{k}", name, level, "regression") for level in levels for k in range(2)]  # type: ignore[arg-type]
    tasks += [Task("more", name, "nodepair", "binary")] if "nodepair" in levels else []
    world = World(store, atoms, bonds, group_tasks(tasks))
    for head in world.heads:
        add_labels(world, head, random)
    return world


def make_store(atoms: list[int], bonds: list[list[tuple[int, int]]], molecule: np.ndarray, random: Any) -> Any:
    flat = []
    for pairs in bonds:
        both = sorted((j, i) for a, b in pairs for i, j in ((a, b), (b, a)))
        flat += [(i, j, both.index((j, i)), both.index((i, j))) for i, j in pairs]
    ptr = np.zeros((len(atoms) + 1, 3), np.int64)
    ptr[1:, 0], ptr[1:, 1] = np.cumsum(atoms), np.cumsum([len(pairs) for pairs in bonds])
    columns = {
        "atom_codes": random.integers(1, 100, (sum(atoms), 1)).astype(np.uint8),
        "bond_codes": random.integers(1, 5, (len(flat), 1)).astype(np.uint8),
    }
    return SimpleNamespace(
        folder="store",
        row_molecule=molecule.astype(random.choice([np.int32, np.int64])),
        ptr=ptr,
        component_size=np.zeros(0, np.int32),
        bonds=np.array(flat, random.choice([np.uint8, np.int16])).reshape(-1, 4),
        feature=columns.__getitem__,
        positions=None,
        position_ptr=None,
    )


def add_labels(world: World, head: HeadSpec, random: Any) -> None:
    """Random labels of one head, as a dense or a sparse block, with bounds or without."""
    dense, bounded = random.random() < 0.4, head.kind == "regression" and random.random() < 0.5
    labels: list[dict[Any, tuple[float, int]]] = []
    pairs: list[list[tuple[int, int]]] = []
    for n, bonds in zip(world.atoms, world.bonds, strict=True):
        every = [(i, j) for i in range(n) for j in range(i + 1, n)]
        pairs.append([pair for pair in every if head.level == "nodepair" and random.random() < 0.5])
        entities = {"graph": [0], "node": range(n), "edge": range(len(bonds)), "nodepair": pairs[-1]}[head.level]
        present = [(e, t) for e in entities for t in range(head.num_tasks) if dense or random.random() < 0.6]
        if random.random() < 0.2:
            present, pairs[-1] = [], []
        value = random.normal(size=len(present)).astype(np.float32)
        bound = random.integers(-1, 2, len(present)) * bounded
        labels.append(dict(zip(present, zip(value.tolist(), bound.tolist(), strict=True), strict=True)))
    if head.level == "nodepair":
        # A pair stands in the block because some task has a label for it.
        pairs = [[p for p in of if any(p == e for e, _ in found)] for of, found in zip(pairs, labels, strict=True)]
        world.pairs[head.name] = pairs
    world.labels[head.name] = labels
    flat = [
        (pairs[row].index(e) if head.level == "nodepair" else e, t, *found)
        for row, of_row in enumerate(labels)
        for (e, t), found in of_row.items()
    ]
    count = np.array([len(of_row) for of_row in labels])
    entity, task, value, bound = (np.array([item[k] for item in flat]) for k in range(4))
    shape = (-1, head.num_tasks) if dense else (-1,)
    world.blocks[head.name] = LabelBlock(
        level=head.level,
        num_tasks=head.num_tasks,
        ptr=np.concatenate([[0], np.cumsum(count // (head.num_tasks if dense else 1))]),
        value=value.astype(np.float32).reshape(shape),
        task=None if dense else task.astype(np.int8),
        entity=None if dense or head.level == "graph" else entity.astype(np.uint8),
        bound=bound.astype(np.int8) if bounded else None,
        pair_ptr=np.concatenate([[0], np.cumsum([len(p) for p in pairs])]) if head.level == "nodepair" else None,
        pair=np.array([p for of in pairs for p in of], np.uint8).reshape(-1, 2) if head.level == "nodepair" else None,
    )


def check(batch: GraphBatch, index: list[tuple[World, int]]) -> None:
    """The labels of a batch of these rows, head by head, against the dictionaries of the worlds."""
    nodes = np.concatenate([[0], np.cumsum([world.atoms[row] for world, row in index])])
    bonds = np.concatenate([[0], np.cumsum([len(world.bonds[row]) for world, row in index])])
    for name, labels in batch.labels.items():
        expected = {}
        for graph, (world, row) in enumerate(index):
            if name not in world.labels:
                continue
            level = world.blocks[name].level
            for (e, t), found in world.labels[name][row].items():
                if level == "graph":
                    key: Any = graph
                elif level == "nodepair":
                    key = (e[0] + nodes[graph], e[1] + nodes[graph])
                else:
                    key = e + (nodes if level == "node" else bonds)[graph]
                expected[key, t] = found
        entity: list[Any] = labels.entity.tolist()
        if "nodepair" in name:
            assert batch.pair_index is not None
            entity = [tuple(batch.pair_index[:, place].tolist()) for place in entity]
        bound = torch.zeros_like(labels.task) if labels.bound is None else labels.bound
        assert labels.bound is None or labels.bound.dtype == torch.int8
        values = zip(labels.value.tolist(), bound.tolist(), strict=True)
        assert dict(zip(zip(entity, labels.task.tolist(), strict=True), values, strict=True)) == expected
        assert len(labels.entity) == len(expected)
        assert labels.entity.dtype == torch.int64 and (labels.weight == 1).all()
        assert torch.equal(labels.total, torch.bincount(labels.task, minlength=len(labels.total)).float())


def rows_of(world: World, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, len(world.atoms), 5).tolist()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_labels_of_every_layout_are_those_of_the_rows(seed: int) -> None:
    world = make_world(seed, "one", LEVELS)
    rows = rows_of(world, seed)
    check(world.gather()(torch.tensor(rows)), [(world, row) for row in rows])
    check(world.gather()(torch.tensor(rows), pairs="all"), [(world, row) for row in rows])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_labels_of_several_tables_stay_with_their_rows(seed: int) -> None:
    levels = [("graph", "nodepair"), ("node", "edge"), ("nodepair",)]
    worlds = [make_world(seed + k, f"d{k}", levels[k]) for k in range(3)]
    heads = [head for world in worlds for head in world.heads]
    index = [[(world, row) for row in rows_of(world, seed)] for world in worlds]
    for pairs in ("labelled", "all"):
        batches = [w.gather(k)(torch.tensor([row for _, row in index[k]]), pairs) for k, w in enumerate(worlds)]
        batch = concat(batches, heads)
        assert list(batch.labels) == [head.name for head in heads]
        check(batch, [item for part in index for item in part])
        assert batch.pair_index is not None
        first, second = batch.pair_index
        assert (first < second).all() and torch.equal(batch.batch[first], batch.batch[second])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_all_pairs_are_sorted_and_complete(seed: int) -> None:
    world = make_world(seed, "one", ("graph",))
    rows = rows_of(world, seed)
    batch = world.gather()(torch.tensor(rows), pairs="all")
    starts = batch.ptr.tolist()
    expected = [
        (start + i, start + j)
        for start, row in zip(starts, rows, strict=False)
        for i in range(world.atoms[row])
        for j in range(i + 1, world.atoms[row])
    ]
    assert batch.pair_index is not None
    assert list(zip(*batch.pair_index.tolist(), strict=True)) == expected
    assert world.gather()(torch.tensor(rows)).pair_index is None


def test_pairs_of_heads_stand_end_to_end() -> None:
    world = make_world(5, "one", ("nodepair",))
    rows = list(range(len(world.atoms)))
    batch = world.gather()(torch.tensor(rows))
    assert batch.pair_index is not None
    starts = batch.ptr.tolist()
    expected = [
        (starts[row] + i, starts[row] + j)
        for head in world.heads
        for row in rows
        for i, j in world.pairs[head.name][row]
    ]
    assert list(zip(*batch.pair_index.tolist(), strict=True)) == expected
    assert batch.num_entities("nodepair") == len(expected)


def test_a_mix_with_pairs_always_names_them() -> None:
    with_pairs, without = make_world(1, "a", ("nodepair",)), make_world(2, "b", ("graph",))
    heads = [*with_pairs.heads, *without.heads]
    for batch in (without.gather()(torch.tensor([0])), with_pairs.gather()(torch.empty(0, dtype=torch.int64))):
        joined = concat([batch], heads)
        assert joined.pair_index is not None and joined.pair_index.shape == (2, 0)
        assert joined.pair_index.dtype == torch.int64
        assert len(joined.labels[with_pairs.heads[0].name].entity) == 0
    assert concat([without.gather()(torch.tensor([0]))], without.heads).pair_index is None


def test_labels_without_bounds_join_those_with_them_as_exact() -> None:
    world = make_world(0, "a", ("graph",))
    (head,) = world.heads
    rows = torch.arange(len(world.atoms))
    plain = world.gather()(rows)
    count = len(plain.labels[head.name].task)
    block = world.blocks[head.name]
    exact = {head.name: LabelBlock(block.level, 2, block.ptr, block.value, block.task, block.entity)}
    bounds = np.ones(block.value.size, np.int8)
    bounded = {head.name: LabelBlock(block.level, 2, block.ptr, block.value, block.task, block.entity, bounds)}
    parts = [Gather(world.store, SPEC, blocks)(rows) for blocks in (exact, bounded)]
    assert count > 0 and parts[0].labels[head.name].bound is None
    joined = concat(parts, world.heads).labels[head.name].bound
    assert joined is not None and joined.tolist() == [0] * count + [1] * count


def test_a_transform_keeps_the_side_of_a_bound() -> None:
    task = Task("y", "a", "graph", "regression", transform={"name": "zscore", "mean": 1.0, "scale": -2.0})
    with pytest.raises(GraphiumError, match="scale of a label transform is -2; it has to be above 0"):
        LabelTransform([task, task])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_coordinates_belong_to_rows(seed: int) -> None:
    spec = FeatureSpec(atoms=SPEC.atoms, bonds=SPEC.bonds, positions=True)
    worlds = [make_world(seed + k, f"d{k}", ("graph",), coordinates=True) for k in range(2)]
    batches, expected = [], []
    for world in worlds:
        rows = rows_of(world, seed)
        batches.append(world.gather(spec=spec)(torch.tensor(rows)))
        ptr = world.store.position_ptr
        expected += [world.store.positions[ptr[row] : ptr[row + 1]] for row in rows]
    joined = concat(batches, [])
    assert joined.pos is not None and joined.pos.dtype == torch.float32
    assert np.array_equal(joined.pos, np.concatenate(expected))
    assert worlds[0].gather()(torch.tensor([0])).pos is None


def test_conformers_of_one_molecule_keep_their_own_coordinates() -> None:
    spec = FeatureSpec(atoms=SPEC.atoms, bonds=SPEC.bonds, positions=True)
    store = make_store([3], [[(0, 1), (1, 2)]], np.array([0, 0]), np.random.default_rng(0))
    store.positions, store.position_ptr = np.arange(18, dtype=np.float32).reshape(6, 3), np.array([0, 3, 6])
    batch = Gather(store, spec, {})(torch.tensor([1, 0]))
    assert batch.pos is not None
    assert batch.pos.tolist() == [*store.positions[3:].tolist(), *store.positions[:3].tolist()]


def test_a_store_without_coordinates_says_so() -> None:
    world = make_world(0, "a", ("graph",))
    with pytest.raises(GraphiumError, match="holds no 3-D coordinates; prepare the data again"):
        world.gather(spec=FeatureSpec(atoms=SPEC.atoms, bonds=SPEC.bonds, positions=True))


CHAIN = {"name": "chain", "steps": [{"name": "clip", "low": -0.5, "high": 0.5}, {"name": "log1p"}]}


def clipped(world: World) -> dict[str, LabelTransform]:
    """A transform that cannot be undone, for every head of numbers."""
    heads = [head for head in world.heads if head.kind == "regression"]
    return {head.name: LabelTransform([replace(task, transform=CHAIN) for task in head.tasks]) for head in heads}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_every_label_of_a_row_has_its_weight(seed: int) -> None:
    world = make_world(seed, "one", LEVELS)
    rows = rows_of(world, seed)
    weight = np.random.default_rng(seed).integers(0, 5, len(world.atoms)).astype(np.float32) / 4
    plain = world.gather()(torch.tensor(rows))
    batch = world.gather(row_weight=weight)(torch.tensor(rows))
    owner = {
        "graph": torch.arange(batch.num_graphs),
        "node": batch.batch,
        "edge": batch.batch[batch.edge_index[1, batch.bond_edges[0]]],
        "nodepair": batch.batch[batch.pair_index[0]],  # type: ignore[index]
    }
    for head in world.heads:
        labels, other = batch.labels[head.name], plain.labels[head.name]
        assert torch.equal(labels.entity, other.entity) and torch.equal(labels.value, other.value)
        expected = torch.from_numpy(weight)[torch.tensor(rows)][owner[head.level]][labels.entity]
        assert labels.weight.dtype == torch.float32 and torch.equal(labels.weight, expected)
        total = torch.zeros(head.num_tasks).index_add(0, labels.task, labels.weight)
        assert labels.total.is_contiguous()
        torch.testing.assert_close(labels.total, total)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_labels_that_cannot_be_restored_are_carried(seed: int) -> None:
    world = make_world(seed, "one", LEVELS)
    rows = torch.tensor(rows_of(world, seed))
    plain, batch = world.gather()(rows), world.gather(transforms=clipped(world))(rows)
    for head in world.heads:
        labels, other = batch.labels[head.name], plain.labels[head.name]
        assert other.raw is None
        if head.kind != "regression":
            assert labels.raw is None
            continue
        assert labels.raw is not None and labels.raw.dtype == torch.float64
        assert torch.equal(labels.raw.float(), other.value)
        torch.testing.assert_close(labels.value, labels.raw.clamp(-0.5, 0.5).log1p().float())
    exact = {name: LabelTransform([Task("y", "d", "graph", "regression")] * 3) for name in batch.labels}
    assert all(labels.raw is None for labels in world.gather(transforms=exact)(rows).labels.values())


def test_tables_with_and_without_weights_and_raw_labels_share_a_batch() -> None:
    first, second, third = make_world(3, "a", LEVELS), make_world(4, "b", LEVELS), make_world(5, "c", ("graph",))
    weight = np.full(len(first.atoms), 0.5, np.float32)
    batches = [
        first.gather(row_weight=weight, transforms=clipped(first))(torch.arange(len(first.atoms))),
        second.gather(1)(torch.arange(len(second.atoms))),
    ]
    heads = [*first.heads, *second.heads, *third.heads]
    absent = third.heads[0].name
    joined = concat(batches, heads, {*clipped(first), absent})
    for head in heads:
        labels = joined.labels[head.name]
        assert (labels.raw is not None) == (head.name == absent or head.name in clipped(first))
        assert labels.raw is None or labels.raw.shape == labels.value.shape
        assert (labels.weight == (0.5 if head in first.heads else 1.0)).all()
    nothing = joined.labels[absent].raw
    assert nothing is not None and nothing.dtype == torch.float64 and len(nothing) == 0


def test_two_tables_of_one_head_join_their_raw_labels() -> None:
    world = make_world(3, "a", ("graph",))
    (head,) = world.heads
    some, more = torch.tensor([0]), torch.arange(len(world.atoms))
    parts = [world.gather(k, transforms=clipped(world))(rows) for k, rows in enumerate((some, more))]
    raw = concat(parts, world.heads).labels[head.name].raw
    assert raw is not None
    assert torch.equal(raw, torch.cat([part.labels[head.name].raw for part in parts]))  # type: ignore[misc]
