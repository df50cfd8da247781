"""Hydrogens that a text writes and the heavy graph leaves out: which they are, and where they sit."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase

from graphium.chem.featurizer import Featurizer
from graphium.chem.hydrogens import may_write_hydrogens, removed_hydrogens
from graphium.chem.parse import read_molecule

AS_WRITTEN = Chem.SmilesParserParams()
AS_WRITTEN.removeHs = False


@pytest.mark.parametrize(
    ("text", "atoms", "bonds"),
    [
        # First, in the middle, last.
        ("[H]OC", [-1, 0, 1], [-1, 0]),
        ("C([H])O", [0, -1, 1], [-1, 0]),
        ("CO[H]", [0, 1, -2], [0, -1]),
        ("[H]OC([H])([H])C", [-1, 0, 1, -2, -2, 2], [-1, 0, -1, -1, 1]),
        ("C([H])1([H])OC1", [0, -1, -1, 1, 2], [-1, -1, 0, 1, 2]),
        # The parent comes after its hydrogen and before it.
        ("[H]C#N.[H]Cl", [-1, 0, 1, -3, 2], [-1, 0, -1]),
        ("[H:1]O", [-1, 0], [-1]),
        ("[0H]O", [-1, 0], [-1]),
        ("[H]O |(0,0,1;1,0,0)|", [-1, 0], [-1]),
        # One hydrogen defines a double bond and stays; the other goes.
        ("[H]/N=C([H])/C", [0, 1, 2, -3, 3], [0, 1, -1, 2]),
        ("[2H]C([H])O", [0, 1, -2, 2], [0, -1, 1]),
        ("[H]C([2H])[3H]", [-1, 0, 1, 2], [-1, 0, 1]),
        ("[H][Pt]", [-1, 0], [-1]),
        # A hydrogen between two atoms stays.
        ("B1([H])([H])~[H]~B([H])([H])~[H]~1", [0, -1, -1, 1, 2, -3, -3, 3], [-1, -1, 0, 1, -1, -1, 2, 3]),
        ("[H]O[H]->[Pt]", [-1, 0, 1, 2], [-1, 0, 1]),
        ("[H]O.[H+]", [-1, 0, 1], [-1]),
        ("[H]O.[H][H]", [-1, 0, 1, 2], [-1, 0]),
        # Nothing was left out.
        ("[H][H]", [], []),
        ("[2H]C", [], []),
        ("[H+]", [], []),
        ("[H-].[Na+]", [], []),
        ("[Hg](C)C", [], []),
        ("[H]/N=C/C", [], []),
        ("C[C@H](N)[OH2+]", [], []),
        ("[H]*", [], []),
    ],
)
def test_known_places(text: str, atoms: list[int], bonds: list[int]) -> None:
    found = Featurizer(encodings=[]).molecules([text])
    assert found.failures == []
    assert found.written_atom.tolist() == atoms
    assert found.written_bond.tolist() == bonds
    assert (found.written_atoms.tolist(), found.written_bonds.tolist()) == ([len(atoms)], [len(bonds)])


@pytest.mark.parametrize("form", ["heavy", "explicit_h"])
@pytest.mark.parametrize("text", ["C~[H]", "C->[H]", "[H]C#[H]", "[H]OC |H:0.0|", "C[H+]", "[Cu]:[H]"])
def test_a_lost_hydrogen_that_is_no_ordinary_one_is_a_failure(text: str, form: str) -> None:
    """RDKit reads each of these as if the hydrogen were one of the implied ones."""
    found = Featurizer(encodings=[], form=form).molecules([text, "C"])
    assert found.position.tolist() == [1]
    ((place, reason),) = found.failures
    assert place == 0
    if form == "heavy":
        assert reason == "writes a hydrogen with a charge or an unusual bond that RDKit leaves out"
    assert found.written_atoms.tolist() == [0]


def test_places_of_many_texts() -> None:
    texts = ["CC", "[H]O", "not a molecule", "[2H]O", "C[H]", "O"]
    found = Featurizer(encodings=[]).molecules(texts)
    assert found.written_atoms.tolist() == [0, 2, 0, 2, 0]
    assert found.written_atom.tolist() == [-1, 0, 0, -1]
    assert found.written_bonds.tolist() == [0, 1, 0, 1, 0]
    assert found.written_bond.tolist() == [-1, -1]
    assert {found.written_atom.dtype, found.written_bond.dtype} == {np.dtype(np.int16)}
    assert {found.written_atoms.dtype, found.written_bonds.dtype} == {np.dtype(np.int32)}


@pytest.mark.parametrize("options", [{"form": "explicit_h"}, {"standardize": "datamol"}])
def test_only_where_the_graph_is_the_texts_without_hydrogens(options: dict[str, str]) -> None:
    found = Featurizer(encodings=[], **options).molecules(["[H]OC"])
    assert found.written_atoms.tolist() == [0]
    assert found.written_atom.size == found.written_bond.size == 0


def assert_follows(text: str) -> None:
    """Every heavy atom of the text carries a map number of its own: compare with RDKit's parses of it."""
    with rdBase.BlockLogs():
        written, heavy = Chem.MolFromSmiles(text, AS_WRITTEN), Chem.MolFromSmiles(text)
        found = removed_hydrogens(text, read_molecule(text, "heavy"))
    if found is None:
        assert written.GetNumAtoms() == heavy.GetNumAtoms()
        return
    assert may_write_hydrogens(text)
    atoms, bonds = found
    assert (len(atoms), len(bonds)) == (written.GetNumAtoms(), written.GetNumBonds())
    assert sorted(place for place in atoms if place >= 0) == list(range(heavy.GetNumAtoms()))
    assert sorted(place for place in bonds if place >= 0) == list(range(heavy.GetNumBonds()))
    for atom, place in zip(written.GetAtoms(), atoms, strict=True):
        if place >= 0:
            other = heavy.GetAtomWithIdx(place)
            for read in (Chem.Atom.GetAtomMapNum, Chem.Atom.GetAtomicNum, Chem.Atom.GetIsotope):
                assert read(atom) == read(other)
        else:
            (parent,) = atom.GetNeighbors()
            assert (atom.GetAtomicNum(), atom.GetIsotope()) == (1, 0)
            assert parent.GetAtomMapNum() == heavy.GetAtomWithIdx(-1 - place).GetAtomMapNum()
    for bond, place in zip(written.GetBonds(), bonds, strict=True):
        ends = [atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()]]
        if place >= 0:
            other = heavy.GetBondWithIdx(place)
            assert sorted(ends) == sorted((other.GetBeginAtomIdx(), other.GetEndAtomIdx()))
            assert bond.GetBondType() == other.GetBondType()
        else:
            assert sum(end < 0 for end in ends) == 1


MOLECULES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "C[C@H](N)C(=O)O",
    "F/C=C/C=N",
    "CC=N",
    "C1CC2CCC1O2.Cl",
    "[NH4+].[Cl-]",
    "C[N+](C)(C)CC([O-])=O",
    "[CH2]C",
    "[PtH2](C)C",
    "c1cc[nH]c1",
    "N->[Pt](Cl)(Cl)<-N",
    "*CO",
    "C=[NH2+]",
]


@settings(max_examples=60, deadline=None)
@given(text=st.sampled_from(MOLECULES), seed=st.integers(0, 2**20))
def test_some_hydrogens_written_somewhere(text: str, seed: int) -> None:
    """Some hydrogens of a molecule are written, some of these as deuterium, in any order of atoms."""
    choose = random.Random(seed)
    mol = Chem.AddHs(Chem.MolFromSmiles(text))
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() != 1 or choose.random() < 0.6:
            atom.SetAtomMapNum(atom.GetIdx() + 1)
    options = Chem.RemoveHsParameters()
    options.removeMapped = False
    mol = Chem.RemoveHs(mol, options)
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() == 1:
            atom.SetAtomMapNum(0)
            atom.SetIsotope(2 * (choose.random() < 0.2))
    order = list(range(mol.GetNumAtoms()))
    choose.shuffle(order)
    assert_follows(Chem.MolToSmiles(Chem.RenumberAtoms(mol, order), canonical=False))


def assert_positions_follow(text: str, written: Chem.Mol, heavy: Chem.Mol) -> int:
    """No two atoms share a place in space: compare coordinates. Returns the number of hydrogens left out."""
    found = removed_hydrogens(text, heavy)
    if found is None:
        assert written.GetNumAtoms() == heavy.GetNumAtoms()
        return 0
    atoms, bonds = (np.array(numbers) for numbers in found)
    points, of_heavy = written.GetConformer().GetPositions(), heavy.GetConformer().GetPositions()
    stays = atoms >= 0
    assert np.array_equal(points[stays], of_heavy[atoms[stays]])
    for index in np.flatnonzero(~stays).tolist():
        (parent,) = written.GetAtomWithIdx(index).GetNeighbors()
        assert np.array_equal(points[parent.GetIdx()], of_heavy[-1 - atoms[index]])
    for bond, place in zip(written.GetBonds(), bonds.tolist(), strict=True):
        ends = {atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()]}
        if place >= 0:
            other = heavy.GetBondWithIdx(place)
            assert ends == {other.GetBeginAtomIdx(), other.GetEndAtomIdx()}
    return int((~stays).sum())


def test_real_cxsmiles(shared_data: Path) -> None:
    texts = pd.read_csv(shared_data / "graphium_examples" / "pcqm4mv2_2k.csv.gz")["smiles"].tolist()[::7]
    with rdBase.BlockLogs():
        removed = [
            assert_positions_follow(text, Chem.MolFromSmiles(text, AS_WRITTEN), read_molecule(text, "heavy"))
            for text in texts
        ]
    assert min(removed) >= 0
    assert sum(removed) > 10 * len(texts)


def test_real_molblocks(shared_data: Path) -> None:
    with gzip.open(shared_data / "nmr_cascade" / "DFT8K_DFT.sdf.gz", "rt") as stream:
        blocks = stream.read().split("$$$$\n")[:-1:25]
    with rdBase.BlockLogs():
        removed = [
            assert_positions_follow(block, Chem.MolFromMolBlock(block, removeHs=False), read_molecule(block, "heavy"))
            for block in blocks
        ]
    assert sum(removed) > 10 * len(blocks)
