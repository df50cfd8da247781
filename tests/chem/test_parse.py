"""Parsing and reasons for failure."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from graphium.chem.parse import UnusableMolecule, read_molecule


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
