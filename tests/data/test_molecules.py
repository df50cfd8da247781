"""Batches of texts in memory: bit for bit those of a prepared table, and places in the order of the texts."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from torch import Tensor

from graphium.chem.featurizer import Featurizer
from graphium.data import molecules as module
from graphium.data.batch import GraphBatch
from graphium.data.gather import Gather
from graphium.data.molecules import Molecules
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table

ENCODINGS = [{"name": "laplacian", "k": 4}, {"name": "rw_return_probs", "steps": 5}]
# Salts, single atoms, no bond, hydrogens written out, atom maps, repeats, stereo, texts that are none.
HARD = (
    ["OCC", "CCO", "[H]OC([H])([H])C", "[CH3:7][CH2:1][OH:2]", "[Na+].[Cl-]", "C", "[H][H]", "[H]", "nothing", ""]
    + ["CC(=O)[O-].[Na+].O", "F/C=C/F", "C[C@H](N)C(=O)O", "[2H]C([2H])([2H])O", "c1ccccc1", "O=C(O)c1ccccc1OC(C)=O"]
    + ["C->[Fe]", "*CC", "[nH]1cccc1", "CCO |$_AV:a;;b$|", "C1CC1.C1CC1", "OCC"]
)


def assert_equal(mine: GraphBatch, theirs: GraphBatch) -> None:
    for part in fields(GraphBatch):
        first, second = getattr(mine, part.name), getattr(theirs, part.name)
        if isinstance(first, dict):
            assert first.keys() == second.keys()
            pairs = [(first[name], second[name]) for name in first]
        else:
            pairs = [(first, second)]
        for one, other in pairs:
            assert type(one) is type(other), part.name
            if isinstance(one, Tensor):
                assert one.dtype == other.dtype and torch.equal(one, other), part.name


def check(texts: Sequence[Any], featurizer: Featurizer, folder: Path, pairs: bool = False, batch: int = 7) -> Molecules:
    """Compare with a table that holds the same texts, row by row and batch by batch."""
    pd.DataFrame({"text": pd.Series(list(texts), dtype=object)}).to_parquet(folder / "table.parquet")
    table = Table(folder / "table.parquet")
    store = prepare_store(table, "text", featurizer, folder / "stores", name="table", progress=False)
    gather = Gather(store, featurizer.spec, {})
    found = Molecules(texts, featurizer)
    assert found.position.tolist() == np.flatnonzero(store.row_molecule >= 0).tolist()
    assert found.failures == [(failure.row, failure.reason) for failure in store.failures()]
    shown = []
    for one in found.batches(batch, pairs):
        assert_equal(one, gather(one.row, "all" if pairs else "labelled"))
        shown += one.row.tolist()
    assert shown == found.position.tolist() and len(shown) == found.num_molecules
    for level in ("node", "edge"):
        for mine, theirs in zip(
            [*found.store.orders(level, 0, len(texts)), *found.store.written(level, 0, len(texts))],
            [*store.orders(level, 0, len(texts)), *store.written(level, 0, len(texts))],
            strict=True,
        ):
            assert np.array_equal(mine, theirs)
    assert found.store.texts(found.position) == store.texts(found.position)
    assert np.array_equal(found.store.id, store.id)
    return found


@pytest.mark.parametrize("form", ["heavy", "explicit_h"])
@pytest.mark.parametrize("pairs", [False, True])
def test_hard_texts(form: Any, pairs: bool, tmp_path: Path) -> None:
    check(HARD, Featurizer(encodings=ENCODINGS, form=form), tmp_path, pairs)


def test_molblocks_and_coordinates(tmp_path: Path) -> None:
    from rdkit.Chem import AllChem

    blocks = []
    for text in ("OCC", "c1ccccc1O", "[Na+].[Cl-]", "CC(=O)N"):
        mol = Chem.AddHs(Chem.MolFromSmiles(text))
        AllChem.EmbedMolecule(mol, randomSeed=1)
        blocks.append(Chem.MolToMolBlock(mol))
    for featurizer in (Featurizer(encodings=[], positions=True), Featurizer(encodings=ENCODINGS)):
        folder = tmp_path / str(featurizer.spec.positions)
        folder.mkdir()
        check([*blocks, "broken\n\n\nM  END\n", blocks[0]], featurizer, folder, batch=3)


@pytest.mark.parametrize("file", ["qm9.csv.gz", "ZINC12k.csv.gz", "Tox21-7k-12-labels.csv.gz"])
def test_real_tables(shared_data: Path, file: str, tmp_path: Path) -> None:
    texts = pd.read_csv(shared_data / "toymix" / file, usecols=["smiles"])["smiles"]
    texts = [*texts.sample(400, random_state=1), *HARD]
    check(texts, Featurizer(encodings=ENCODINGS), tmp_path, batch=128)


def test_atoms_of_every_size_have_their_numbers(tmp_path: Path) -> None:
    # Beyond 256 atoms a table keeps wider numbers.
    check(["C" * 300, "CO", "C" * 200, "C1" + "C" * 126 + "C1"], Featurizer(encodings=[]), tmp_path)


@settings(max_examples=15, deadline=None)
@given(data=st.data(), form=st.sampled_from(["heavy", "explicit_h"]))
def test_places_are_in_the_order_of_the_text(data: st.DataObject, form: Any) -> None:
    texts = []
    for text in data.draw(st.lists(st.sampled_from(HARD), min_size=1, max_size=6)):
        mol = Chem.MolFromSmiles(text)
        if mol is not None and mol.GetNumAtoms():
            order = data.draw(st.permutations(range(mol.GetNumAtoms())))
            text = Chem.MolToSmiles(Chem.RenumberAtoms(mol, list(order)), canonical=False)
        texts.append(text)
    found = Molecules(texts, Featurizer(atom_onehot=["atomic-number"], atom_float=[], encodings=[], form=form))
    codes: dict[int, int] = {}
    for batch in found.batches(3, pairs=True):
        node, edge, pair = (found.places(level, batch) for level in ("node", "edge", "nodepair"))
        graph = found.places("graph", batch)
        assert graph.entity.tolist() == list(range(batch.num_graphs))
        node_at, edge_at, pair_at = 0, 0, 0
        for row, n, m, p in zip(batch.row.tolist(), node.counts, edge.counts, pair.counts, strict=True):
            mol = Chem.MolFromSmiles(texts[row])
            mol = Chem.AddHs(mol) if form == "explicit_h" else mol
            mine = node.entity[node_at : node_at + n]
            if form == "heavy":
                assert n == mol.GetNumAtoms()
                for atom, place in zip(mol.GetAtoms(), mine, strict=True):
                    assert codes.setdefault(atom.GetAtomicNum(), int(batch.x[place, 0])) == int(batch.x[place, 0])
                ends = [{b.GetBeginAtomIdx(), b.GetEndAtomIdx()} for b in mol.GetBonds()]
                user = {int(place): k for k, place in enumerate(mine)}
                edges = batch.edge_index[:, batch.bond_edges[0, edge.entity[edge_at : edge_at + m]]].T.tolist()
                assert [{user[a], user[b]} for a, b in edges] == ends
                assert pair.pairs is not None
                named = pair.pairs[pair_at : pair_at + p].tolist()
                assert named == [[i, j] for i in range(n) for j in range(i + 1, n)]
                assert batch.pair_index is not None
                nodes = batch.pair_index[:, pair.entity[pair_at : pair_at + p]].T.tolist()
                assert [sorted((user[a], user[b])) for a, b in nodes] == named
            node_at, edge_at, pair_at = node_at + n, edge_at + m, pair_at + p


def test_nothing_usable_and_nothing_at_all() -> None:
    featurizer = Featurizer(encodings=ENCODINGS)
    assert list(Molecules([], featurizer).batches()) == []
    found = Molecules([None, 3.5, "C("], featurizer)
    assert [reason for _, reason in found.failures] == [
        "is an empty cell",
        "is of type float and not text",
        "is not valid SMILES",
    ]
    assert found.num_molecules == 0 and list(found.batches(pairs=True)) == []


def test_large_molecules_are_read_in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_ATOMS", 20)
    monkeypatch.setattr(module, "_MOST_PAIRS", 50)
    found = Molecules(["C" * n for n in (3, 4, 5, 30, 2, 10, 11, 1, 1, 1, 1)], Featurizer(encodings=[]))
    assert [b.row.tolist() for b in found.batches(3)] == [[0, 1, 2], [3], [4, 5], [6, 7, 8], [9, 10]]
    assert [b.row.tolist() for b in found.batches(9, pairs=True)] == [[0, 1, 2], [3], [4, 5], [6], [7, 8, 9, 10]]


def test_a_store_in_memory_travels(texts: list[str], featurizer: Featurizer, table: Callable[..., Table]) -> None:
    store = Molecules(texts, featurizer).store
    other = pickle.loads(pickle.dumps(store))
    assert np.array_equal(other.ptr, store.ptr) and other.num_failures == store.num_failures == 2
    assert other.text(1) == "OCC" and other.num_rows == len(texts) and "rows=20" in repr(other)
