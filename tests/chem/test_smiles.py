"""Reading canonical SMILES, against RDKit's own atoms and bonds."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from graphium.chem.smiles import AROMATIC, DOUBLE, RARE, SINGLE, TRIPLE, SmilesReader

KINDS = {
    Chem.BondType.SINGLE: SINGLE,
    Chem.BondType.DOUBLE: DOUBLE,
    Chem.BondType.TRIPLE: TRIPLE,
    Chem.BondType.AROMATIC: AROMATIC,
}
MOLECULES = [
    "C",
    "[H][H]",
    "CC(=O)Oc1ccccc1C(=O)O",
    "c1ccc(-c2ccccc2)cc1",
    "C#CC=C.[Na+].[Cl-].O",
    "C12C3C4C1C5C2C3C45",
    "F/C=C/C=C\\F",
    "[13CH3][C@H](N)C(=O)[O-]",
    "O=c1[nH]c(=O)c2ncn(C)c2[nH]1",
    "c1ccc2c(c1)[se]c1ccccc12",
    "C1CC1.C1CC1",
    "BrCCCl",
    "C" * 60,
    "C1CCCCC1" * 12,
    # Dodecahedrane: ring closures past 9.
    "C12C3C4C5C1C6C7C2C8C3C9C4C1C5C6C2C7C8C9C12",
]


def written(text: str) -> tuple[str, Chem.Mol, list[int], list[int]]:
    mol = Chem.MolFromSmiles(text)
    smiles = Chem.MolToSmiles(mol)
    props = mol.GetPropsAsDict(True, True)
    return smiles, mol, list(props["_smilesAtomOutputOrder"]), list(props["_smilesBondOutputOrder"])


@pytest.mark.parametrize("text", MOLECULES)
def test_atoms_and_bonds_are_rdkits(text: str) -> None:
    smiles, mol, atoms, bonds = written(text)
    found = SmilesReader().read([smiles])
    assert found.num_atoms.tolist() == [mol.GetNumAtoms()]
    assert found.num_bonds.tolist() == [mol.GetNumBonds()]
    assert found.component_size.tolist() == [
        len(part) for part in sorted(Chem.GetMolFrags(mol), key=lambda part: min(map(atoms.index, part)))
    ]
    for (first, second), kind, in_ring, bond in zip(
        found.bond_index.tolist(), found.bond_type, found.bond_in_ring, bonds, strict=True
    ):
        expected = mol.GetBondWithIdx(bond)
        assert first < second
        assert {atoms[first], atoms[second]} == {expected.GetBeginAtomIdx(), expected.GetEndAtomIdx()}
        assert kind == KINDS[expected.GetBondType()]
        assert in_ring == expected.IsInRing()


def test_many_at_once_are_one_by_one() -> None:
    texts = [written(text)[0] for text in MOLECULES]
    reader = SmilesReader()
    together = reader.read(texts)
    alone = [reader.read([text]) for text in texts]
    for name in ("num_atoms", "component_size", "token", "bond_index", "bond_type", "bond_in_ring"):
        assert np.array_equal(getattr(together, name), np.concatenate([getattr(one, name) for one in alone])), name


def test_tokens_tell_atoms_apart() -> None:
    found = SmilesReader().read(["C[CH3]", "[Cl-]Cl"])
    assert len(set(found.token.tolist())) == 4


def test_bonds_that_the_string_leaves_open_are_rare() -> None:
    dative = SmilesReader().read([Chem.CanonSmiles("N->[Pt](Cl)Cl")])
    assert sorted(dative.bond_type.tolist()) == [SINGLE, SINGLE, RARE]
    assert RARE in SmilesReader().read([Chem.CanonSmiles("c1cc*cc1")]).bond_type
    # The direction mark stands on an aromatic bond here.
    smiles = Chem.CanonSmiles("Cc1cs/c(=N\\S(C)(=O)=O)[nH]1")
    assert RARE in SmilesReader().read([smiles]).bond_type


def test_nothing_to_read() -> None:
    found = SmilesReader().read([])
    assert found.bond_index.shape == (0, 2)
    assert len(found.num_atoms) == len(found.token) == len(found.component_size) == 0
