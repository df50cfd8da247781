"""Stacks of dense adjacency matrices."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

import graphium.chem.adjacency
from graphium.chem.adjacency import Adjacency
from graphium.chem.featurizer import Featurizer

TEXTS = ["C", "CCO", "[Na+].[Cl-]", "c1ccccc1.CC.O", "CCCCCC", "CC(C)(C)C"]


@pytest.fixture
def graphs() -> Adjacency:
    found = Featurizer(encodings=[]).molecules(TEXTS)
    return Adjacency(found.num_atoms, found.num_components, found.component_size, found.num_bonds, found.bond_index)


def dense(graphs: Adjacency) -> np.ndarray:
    """One matrix over the atoms of all molecules."""
    total = np.zeros((graphs.total_atoms, graphs.total_atoms))
    for _, atoms, matrices, which in graphs.stacks:
        for atom, place in zip(atoms, which, strict=True):
            total[np.ix_(atom, atom)] = matrices[place]
    return total


def test_matrices_are_rdkits(graphs: Adjacency) -> None:
    blocks = [Chem.GetAdjacencyMatrix(Chem.MolFromSmiles(Chem.CanonSmiles(text))) for text in TEXTS]
    total, start = dense(graphs), 0
    for block in blocks:
        stop = start + len(block)
        assert np.array_equal(total[start:stop, start:stop], block)
        total[start:stop, start:stop] = 0
        start = stop
    assert start == graphs.total_atoms
    assert not total.any()


def test_every_component_is_in_one_stack(graphs: Adjacency) -> None:
    found = np.concatenate([stack.component for stack in graphs.stacks])
    assert sorted(found.tolist()) == list(range(graphs.total_components))
    for stack in graphs.stacks:
        assert (graphs.component_size[stack.component] == stack.matrix.shape[1]).all()


def test_equal_skeletons_share_a_matrix() -> None:
    found = Featurizer(encodings=[]).molecules(["CCO", "C", "NCC", "C=CC", "C1CC1", "O", "CC(C)C", "C1OC1"])
    graphs = Adjacency(found.num_atoms, found.num_components, found.component_size, found.num_bonds, found.bond_index)
    assert [(len(stack.matrix), len(stack.which)) for stack in graphs.stacks] == [(1, 2), (2, 5), (1, 1)]
    assert [len(np.unique(stack.matrix, axis=0)) for stack in graphs.stacks] == [1, 2, 1]


@pytest.mark.parametrize("entries", [1, 30, 1000])
def test_parts_are_the_whole(graphs: Adjacency, entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphium.chem.adjacency, "_MAX_ENTRIES", entries)
    parts = list(graphs.split())
    assert len(parts) == (len(TEXTS) if entries == 1 else len(parts))
    for name in ("num_atoms", "num_components", "component_size", "num_bonds", "bond_index"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(graphs, name))
    whole, start = dense(graphs), 0
    for part in parts:
        stop = start + part.total_atoms
        assert np.array_equal(dense(part), whole[start:stop, start:stop])
        start = stop
