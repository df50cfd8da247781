"""Bond properties, by hand."""

from __future__ import annotations

import pytest
from rdkit import Chem

from graphium.registry import lookup


def stored(kind: str, name: str, text: str, index: int = 0) -> float:
    mol = Chem.MolFromSmiles(text)
    return lookup(kind, name).stored(mol.GetBondWithIdx(index))


@pytest.mark.parametrize(
    ("text", "code"), [("CC", 0), ("C=C", 1), ("C#C", 2), ("c1ccccc1", 3), ("N->[Pt](Cl)Cl", 4), ("C~C", 4)]
)
def test_type_codes(text: str, code: int) -> None:
    assert stored("bond_onehot", "bond-type", text) == code
    assert stored("bond_onehot", "bond-type-onehot", text) == code


@pytest.mark.parametrize(("text", "code"), [("FC=CF", 0), ("F/C=C\\F", 2), ("F/C=C/F", 3)])
def test_stereo_codes(text: str, code: int) -> None:
    assert stored("bond_onehot", "stereo", text, 1) == code


def test_vocabulary_sizes() -> None:
    # The published one-hots have 5 and 7 columns.
    assert lookup("bond_onehot", "bond-type").spec.size == 5
    assert lookup("bond_onehot", "stereo").spec.size == 7
    assert [stored("bond_onehot", "in-ring", text) for text in ("CC", "C1CC1")] == [0, 1]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("bond-type-float", "c1ccccc1", 1.5),
        ("bond-type", "C#C", 3),
        ("in-ring", "C1CC1", 1),
        ("in-ring", "CC", 0),
        ("conjugated", "C=CC=C", 1),
        ("conjugated", "CCC", 0),
    ],
)
def test_numbers(name: str, text: str, expected: float) -> None:
    assert stored("bond_float", name, text) == expected


@pytest.mark.parametrize(
    ("text", "angstrom"), [("CC", 1.54), ("C=C", 1.34), ("C#C", 1.20), ("c1ccccc1", 1.40), ("CCl", 1.77)]
)
def test_estimated_lengths_are_near_measured_ones(text: str, angstrom: float) -> None:
    assert stored("bond_float", "estimated-bond-length", text) == pytest.approx(angstrom, abs=0.04)
