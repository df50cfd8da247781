"""From the table to the prediction: the order in which a SMILES names the atoms changes nothing but the order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datamol as dm
import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem

from graphium.chem.featurizer import Featurizer
from graphium.data.build import build_mix
from graphium.data.mix import Mix
from graphium.training.run import run

LISTS = {"charge": "node", "mark": "node", "order": "edge", "number": "edge"}
# `mark` and `number` name single atoms and bonds, also those that symmetry makes equal; the others are the
# same for equal atoms, so that training on them is the same computation.
TRAINED = {"charge": "node", "order": "edge"}


@dataclass
class Tables:
    """The same rows twice; ``atoms[row][i]`` is the original's number of atom i of the shuffled SMILES."""

    original: Path
    shuffled: Path
    atoms: list[list[int]]
    bonds: list[list[int]]


def row_of(mol: Chem.Mol, smiles: str) -> dict[str, Any]:
    atoms, bonds = mol.GetAtoms(), mol.GetBonds()
    return {
        "smiles": smiles,
        "y": float(mol.GetNumHeavyAtoms()),
        "charge": [a.GetAtomicNum() + 0.25 * sum(n.GetAtomicNum() for n in a.GetNeighbors()) for a in atoms],
        "mark": [float(a.GetIdx()) for a in atoms],
        "order": [b.GetBondTypeAsDouble() + b.GetBeginAtom().GetDegree() * b.GetEndAtom().GetDegree() for b in bonds],
        "number": [100.0 + b.GetIdx() for b in bonds],
    }


def shuffle(mol: Chem.Mol, row: dict[str, Any]) -> tuple[dict[str, Any], list[int], list[int]]:
    """The row with a random SMILES and its lists permuted, and both permutations."""
    smiles = Chem.MolToSmiles(mol, doRandom=True)
    atoms = list(mol.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
    again = Chem.MolFromSmiles(smiles)
    ends = ((atoms[b.GetBeginAtomIdx()], atoms[b.GetEndAtomIdx()]) for b in again.GetBonds())
    bonds = [mol.GetBondBetweenAtoms(*pair).GetIdx() for pair in ends]
    lists = {name: [row[name][i] for i in (atoms if level == "node" else bonds)] for name, level in LISTS.items()}
    return {**row, "smiles": smiles, **lists}, atoms, bonds


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("tables")
    Chem.rdBase.SeedRandomNumberGenerator(11)
    texts = [*dm.data.freesolv()["smiles"][:70], *dm.data.chembl_drugs()["smiles"][:60]]
    # Salts and two-atom molecules in both orders of their parts; a single atom.
    texts += ["CC(=O)[O-].[Na+]", "[Cl-].C[NH3+]", "CO", "OC", "C", "[2H]OC", "c1ccccc1.OC(F)(F)F"]
    original, shuffled, atoms, bonds = [], [], [], []
    for text in texts:
        mol = Chem.MolFromSmiles(text)
        original.append(row_of(mol, text))
        row, atom_order, bond_order = shuffle(mol, original[-1])
        shuffled.append(row)
        atoms.append(atom_order)
        bonds.append(bond_order)
    assert sum(order != sorted(order) for order in atoms) > 100
    paths = folder / "original.parquet", folder / "shuffled.parquet"
    for path, rows in zip(paths, (original, shuffled), strict=True):
        pd.DataFrame(rows).to_parquet(path)
    return Tables(*paths, atoms, bonds)


def section(path: Path, levels: dict[str, str]) -> dict[str, Any]:
    tasks = [{"columns": ["y"], "level": "graph", "kind": "regression"}]
    tasks += [{"columns": [name], "level": level, "kind": "regression"} for name, level in levels.items()]
    split = {"name": "random", "train": 0.7, "val": 0.1, "test": 0.2}
    dataset = {"path": str(path), "smiles": "smiles", "tasks": tasks, "split": split}
    return {"batch_size": 32, "datasets": {"mine": dataset}}


def prepared(path: Path, folder: Path) -> Mix:
    return build_mix(section(path, LISTS), Featurizer(), store_dir=folder, progress=False)


def test_the_stored_graph_is_the_same(tables: Tables, tmp_path: Path) -> None:
    one, two = (prepared(path, tmp_path / path.stem) for path in (tables.original, tables.shuffled))
    (a,), (b,) = one.datasets, two.datasets
    for name in ("row_molecule", "id", "ptr", "bond_index"):
        np.testing.assert_array_equal(getattr(a.store, name), getattr(b.store, name), err_msg=name)
    np.testing.assert_array_equal(a.store.flat_ids(), b.store.flat_ids())
    np.testing.assert_array_equal(a.assigned, b.assigned)
    graphs = [mix.gather(mix.index("train")) for mix in (one, two)]
    for name in ("x", "x_num", "edge_index", "edge_attr", "edge_num", "rowptr", "batch", "bond_edges"):
        np.testing.assert_array_equal(getattr(graphs[0], name), getattr(graphs[1], name), err_msg=name)


def test_labels_sit_on_their_own_atoms_and_bonds(tables: Tables, tmp_path: Path) -> None:
    """Every label of a batch, brought back to the order of the row's own text, is the cell of the table."""
    for path in (tables.original, tables.shuffled):
        mix, table = prepared(path, tmp_path / path.stem), pd.read_parquet(path)
        (dataset,) = mix.datasets
        for row in range(len(table)):
            batch = mix.gather(torch.tensor([[0, row]]))
            for head in dataset.heads[1:]:
                labels = batch.labels[head.name]
                order = dataset.store.atom_order(row) if head.level == "node" else dataset.store.bond_order(row)
                values = mix.transforms[head.name].inverse(labels.value.double(), labels.task).numpy()
                for number, task in enumerate(head.tasks):
                    mine = (labels.task == number).numpy()
                    found = np.full(len(order), np.nan)
                    found[np.asarray(order)[labels.entity.numpy()[mine]]] = values[mine]
                    np.testing.assert_allclose(found, table[task.name][row], rtol=1e-5, atol=1e-4)


def test_training_and_predictions_are_the_same_permuted(tables: Tables, tmp_path: Path) -> None:
    results, predictions = [], []
    for path in (tables.original, tables.shuffled):
        run_dir = tmp_path / path.stem
        config = {
            "seed": 4,
            "data": section(path, TRAINED),
            "model": {"width": 16, "depth": 2, "dropout": 0.1},
            "trainer": {"max_epochs": 3, "progress": False, "averaging": 0.9},
            "run_dir": str(run_dir),
            "store_dir": str(tmp_path / "stores"),
        }
        run(config)
        results.append(json.loads((run_dir / "metrics.json").read_text()))
        predictions.append(pd.read_parquet(run_dir / "predictions" / "test.parquet"))
    assert results[0] == results[1]
    one, two = predictions
    assert list(one["row"]) == list(two["row"]) and len(one) > 10
    assert (one["smiles"] != two["smiles"]).any()
    np.testing.assert_array_equal(one["y"], two["y"])
    compared = 0
    for number, row in enumerate(one["row"]):
        single = single_entities(Chem.MolFromSmiles(one["smiles"][number]))
        for name, permutation in (("charge", tables.atoms[row]), ("order", tables.bonds[row])):
            mine, other = one[name][number][permutation], two[name][number]
            # Atoms that symmetry makes equal may change places in the canonical order, and the eigenvectors of
            # the Laplacian tell them apart; every other atom and bond has its own number.
            np.testing.assert_array_equal(np.sort(mine), np.sort(other))
            keep = single[name][permutation]
            np.testing.assert_array_equal(mine[keep], other[keep])
            compared += keep.sum()
    assert compared > 200


def single_entities(mol: Chem.Mol) -> dict[str, np.ndarray]:
    """Which atoms and bonds have no symmetry partner."""
    rank = np.array(Chem.CanonicalRankAtoms(mol, breakTies=False, includeChirality=False))
    pairs = [tuple(sorted((rank[b.GetBeginAtomIdx()], rank[b.GetEndAtomIdx()]))) for b in mol.GetBonds()]
    return {
        "charge": np.bincount(rank)[rank] == 1,
        "order": np.array([pairs.count(pair) == 1 for pair in pairs], dtype=bool),
    }
