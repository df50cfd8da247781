"""Parsing, reasons for failure, identity."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from graphium.chem.parse import UnusableMolecule, identity, read_molecule
from graphium.errors import GraphiumError


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        (None, "is an empty cell"),
        (float("nan"), "is an empty cell"),
        (pd.NA, "is an empty cell"),
        (3.5, "is of type float and not text"),
        (b"CC", "is of type bytes and not text"),
        ("C1CC", "is not valid SMILES"),
        ("[Xx]", "is not valid SMILES"),
        ("CC>>CO", "is not valid SMILES"),
        ("\ud800", "holds characters that are no text"),
        ("C(C)(C)(C)(C)C", "is not a possible molecule: explicit valence for atom # 0 C, 5, is greater than permitted"),
        ("c1cccc1", "is not a possible molecule: can't kekulize mol. Unkekulized atoms: 0 1 2 3 4"),
    ],
)
def test_an_unusable_text_says_why(text: object, reason: str) -> None:
    with pytest.raises(UnusableMolecule) as error:
        read_molecule(text, "heavy")
    assert str(error.value) == reason


def test_too_many_bonds_to_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphium.chem.parse.MAX_BONDS", 3)
    read_molecule("CCCC", "heavy")
    with pytest.raises(UnusableMolecule, match="has 5 atoms and 4 bonds; at most 32,767 and 3"):
        read_molecule("CCCCC", "heavy")


def test_identity_of_nonsense_is_an_error() -> None:
    with pytest.raises(GraphiumError, match=r"'C1CC' is not valid SMILES; give a valid SMILES"):
        identity("C1CC")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("OCC", "C(C)O"),
        ("[H]OC([H])([H])C", "OCC"),
        ("[CH3:1][CH2:2][OH:3]", "CCO"),
        ("[H:1]C", "C"),
        ("[CH3:1][C@H](O)[CH3:2]", "CC(C)O"),
        ("C/C=C/[CH3:7]", "C/C=C/C"),
        ("C1=CC=CC=C1", "c1ccccc1"),
        ("[Na+].[Cl-]", "[Cl-].[Na+]"),
        ("CCO ethanol", "CCO"),
    ],
)
def test_same_molecule_same_identity(one: str, other: str) -> None:
    assert identity(one) == identity(other)


@pytest.mark.parametrize(
    ("one", "other", "is_flat_equal"),
    [
        ("C[C@H](O)F", "C[C@@H](O)F", True),
        ("F/C=C/F", "F/C=C\\F", True),
        ("F/C=C/F", "FC=CF", True),
        ("[13CH4]", "C", True),
        ("CCO", "CCN", False),
        ("[NH4+]", "N", False),
        ("[CH3]", "C", False),
    ],
)
def test_different_molecules(one: str, other: str, is_flat_equal: bool) -> None:
    first, second = identity(one), identity(other)
    assert first.id != second.id
    assert (first.flat_id == second.flat_id) == is_flat_equal


def test_identity_is_fixed() -> None:
    # Stores compare these across versions: a change is a new store version.
    assert identity("CCO").id == "0c06e880517ec7d4bb17db19c33d30e1"


def test_hydrogens_keep_their_places_when_they_are_atoms() -> None:
    mol = read_molecule("[H]OC", "explicit_h")
    assert [atom.GetSymbol() for atom in mol.GetAtoms()] == ["H", "O", "C", "H", "H", "H"]


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="CNOcno()[]=#123+-.@/\\H: *%$~", max_size=12))
def test_any_text_is_a_molecule_or_a_reason(text: str) -> None:
    try:
        assert isinstance(read_molecule(text, "heavy"), Chem.Mol)
    except UnusableMolecule as error:
        assert str(error)
