"""Atom properties, by hand."""

from __future__ import annotations

import pytest
from rdkit import Chem

from graphium.chem.properties import ChemicalProperty
from graphium.registry import lookup, names

NAMES = {
    "atom_onehot": "atomic-number degree total-valence valence implicit-valence hybridization chirality phase type "
    "group period",
    "atom_float": "atomic-number mass valence implicit-valence hybridization chirality aromatic in-ring min-ring "
    "max-ring num-ring degree radical-electron formal-charge vdw-radius covalent-radius electronegativity ionization "
    "melting-point metal group period single-bond aromatic-bond double-bond triple-bond is-carbon",
}


def value(kind: str, name: str, text: str, index: int) -> object:
    mol = Chem.MolFromSmiles(text)
    return lookup(kind, name).function(mol.GetAtomWithIdx(index))


@pytest.mark.parametrize("kind", NAMES)
def test_every_name_that_the_field_expects_exists(kind: str) -> None:
    for name in NAMES[kind].split():
        assert isinstance(lookup(kind, name), ChemicalProperty)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        # The published one-hots of these four have 44, 19, 8 and 9 columns.
        ("atomic-number", 44),
        ("group", 19),
        ("period", 8),
        ("total-valence", 9),
        ("chirality", 4),
    ],
)
def test_vocabulary_sizes(name: str, size: int) -> None:
    assert lookup("atom_onehot", name).spec.size == size


@pytest.mark.parametrize(
    ("name", "text", "index", "expected"),
    [
        ("atomic-number", "CO", 1, 8),
        ("mass", "C", 0, 1),
        ("mass", "[13CH4]", 0, 13.00335 / 12.011),
        ("valence", "C=O", 0, 4),
        ("total-valence", "C[N+](C)(C)C", 1, 4),
        ("implicit-valence", "C=O", 0, 2),
        ("implicit-valence", "[CH2]=O", 0, 2),
        ("hybridization", "C=C", 0, 3),
        # L-alanine is S, D-alanine R.
        ("chirality", "N[C@@H](C)C(=O)O", 1, -1),
        ("chirality", "N[C@H](C)C(=O)O", 1, 1),
        ("chirality", "CC(O)F", 1, 0),
        ("aromatic", "c1ccccc1C", 0, 1),
        ("aromatic", "c1ccccc1C", 6, 0),
        ("in-ring", "C1CC1C", 0, 1),
        ("in-ring", "C1CC1C", 3, 0),
        ("min-ring", "C1CC2CCCCC12", 2, 4),
        ("max-ring", "C1CC2CCCCC12", 2, 6),
        ("num-ring", "C1CC2CCCCC12", 2, 2),
        ("min-ring", "CC", 0, 0),
        ("degree", "CC(C)(C)C", 1, 4),
        ("radical-electron", "[CH3]", 0, 1),
        ("formal-charge", "CC(=O)[O-]", 3, -1),
        ("vdw-radius", "O", 0, 1.55),
        ("covalent-radius", "C", 0, 0.76),
        ("electronegativity", "F", 0, 3.98),
        ("ionization", "C", 0, 1.126),
        ("melting-point", "[Fe]", 0, 1.811),
        ("metal", "[Na+]", 0, 2),
        ("metal", "[SiH4]", 0, 1),
        ("metal", "Cl", 0, 0),
        ("group", "O", 0, 16),
        ("period", "Br", 0, 4),
        # Each bond type is counted on its own, not the degree.
        ("single-bond", "CC(=O)C#N", 1, 2),
        ("double-bond", "CC(=O)C#N", 1, 1),
        ("triple-bond", "CC(=O)C#N", 1, 0),
        ("triple-bond", "CC(=O)C#N", 3, 1),
        ("aromatic-bond", "Cc1ccccc1", 1, 2),
        ("single-bond", "Cc1ccccc1", 1, 1),
        ("is-carbon", "CO", 0, 1),
        ("is-carbon", "CO", 1, 0),
    ],
)
def test_numbers(name: str, text: str, index: int, expected: float) -> None:
    assert value("atom_float", name, text, index) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "text", "index", "expected"),
    [
        ("chirality", "N[C@@H](C)C(=O)O", 1, "S"),
        ("phase", "BrC", 0, "liquid"),
        ("type", "Cl", 0, "halogen"),
        ("hybridization", "C#C", 0, Chem.HybridizationType.SP),
    ],
)
def test_classes(name: str, text: str, index: int, expected: object) -> None:
    assert value("atom_onehot", name, text, index) == expected


def test_every_property_takes_every_kind_of_atom() -> None:
    for text in ("*", "[Na+]", "[H][H]", "[2H]C", "[U]", "[Og]", "[Pt](Cl)Cl", "c1cc*cc1", "[SH6]", "[CH2]"):
        mol = Chem.MolFromSmiles(text)
        for kind in NAMES:
            for name in names(kind):
                for atom in mol.GetAtoms():
                    assert lookup(kind, name).stored(atom) is not None
