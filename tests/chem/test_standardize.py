"""Standardised molecules: what datamol makes of them, whatever the text."""

from __future__ import annotations

import random
from pathlib import Path

import datamol
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase

from graphium.chem.featurizer import Featurizer
from graphium.chem.identity import canonical_smiles
from graphium.chem.parse import UnusableMolecule, read_molecule
from graphium.errors import GraphiumError


def standard(text: str) -> str:
    with rdBase.BlockLogs():
        return canonical_smiles(read_molecule(text, "heavy", "datamol"))


@pytest.mark.parametrize(
    ("text", "smiles"),
    [
        ("CN(=O)=O", "C[N+](=O)[O-]"),
        ("CS(C)=O", "C[S+](C)[O-]"),
        ("OC(=O)C.[O-]c1ccccc1", "CC(=O)[O-].Oc1ccccc1"),
        # Neither charges nor salts go, and metals stay bonded.
        ("[NH3+]CC([O-])=O", "[NH3+]CC(=O)[O-]"),
        ("CC(=O)[O-].[Na+]", "CC(=O)[O-].[Na+]"),
        ("CC(=O)O[Na]", "CC(=O)[O][Na]"),
        ("CCO", "CCO"),
        ("[CH3:1][N:2](=O)=O", "C[N+](=O)[O-]"),
        ("CN(=O)=O |(0,0,0;1,0,0;1,1,0;0,1,1)|", "C[N+](=O)[O-]"),
        (Chem.MolToMolBlock(Chem.MolFromSmiles("CN(=O)=O", sanitize=False), kekulize=False), "C[N+](=O)[O-]"),
        ("[H][H]", "[H][H]"),
        ("*CC", "*CC"),
    ],
)
def test_known_forms(text: str, smiles: str) -> None:
    assert standard(text) == Chem.CanonSmiles(smiles)


def test_two_forms_become_one_molecule() -> None:
    texts = ["CS(C)=O", "C[S+](C)[O-]", "CC(=O)O.[O-]c1ccccc1", "CC(=O)[O-].Oc1ccccc1"]
    plain = Featurizer(encodings=[]).molecules(texts)
    assert len(np.unique(plain.id, axis=0)) == 4
    for form in ("heavy", "explicit_h"):
        found = Featurizer(encodings=[], standardize="datamol", form=form).molecules(texts)
        assert np.array_equal(found.id[0], found.id[1])
        assert np.array_equal(found.id[2], found.id[3])
        assert np.array_equal(found.id[[1, 3]], plain.id[[1, 3]])
        for name, values in found.blocks.items():
            counts = found.num_atoms if name.startswith("atom") else found.num_bonds
            first, second, *_ = np.split(values, np.cumsum(counts)[:-1])
            assert np.array_equal(first, second)


def test_it_is_datamols_for_real_molecules(shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "toymix" / "Tox21-7k-12-labels.csv.gz")["smiles"].sample(150, random_state=2)
    for seed, text in enumerate(table):
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(text)
            if mol is None:
                continue
            expected = Chem.CanonSmiles(Chem.MolToSmiles(datamol.standardize_mol(mol)))
        once = standard(text)
        assert once == expected
        assert standard(once) == once
        assert standard(Chem.MolToRandomSmilesVect(mol, 1, randomSeed=seed + 1)[0]) == once


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["CN(=O)=O", "OC(=O)CCS(=O)(=O)[O-]", "CN=[N]=N", "OS(=O)(=O)c1ccccc1C([O-])=O"]),
    st.integers(1, 999),
)
def test_the_way_of_writing_does_not_matter(text: str, seed: int) -> None:
    mol = Chem.MolFromSmiles(text, sanitize=False)
    order = list(range(mol.GetNumAtoms()))
    random.Random(seed).shuffle(order)
    other = Chem.MolToSmiles(Chem.RenumberAtoms(mol, order), canonical=False)
    try:
        expected = standard(text)
    except UnusableMolecule:
        with pytest.raises(UnusableMolecule):
            standard(other)
    else:
        assert standard(other) == expected


def test_a_molecule_that_datamol_cannot_handle_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(mol: Chem.Mol) -> Chem.Mol:
        raise ValueError("No way\nto do this.")

    monkeypatch.setattr(datamol, "standardize_mol", fail)
    found = Featurizer(encodings=[], standardize="datamol").molecules(["CC", "C1CC"])
    assert found.failures == [
        (0, "cannot be standardised by datamol: no way to do this."),
        (1, "is not valid SMILES"),
    ]


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    Featurizer(encodings=[], standardize="datamol").molecules(["CN(=O)=O", "C[Fe]C", "c1cccc1", "CC([O-])=O.OC=O"])
    assert capfd.readouterr() == ("", "")


def test_it_is_part_of_the_featurizer() -> None:
    plain, standardized = Featurizer(encodings=[]), Featurizer(encodings=[], standardize="datamol")
    assert plain.keeps_atoms
    assert not standardized.keeps_atoms
    assert plain.config()["standardize"] == "none"
    again = Featurizer(**standardized.config())
    assert again.structure_key() == standardized.structure_key() != plain.structure_key()
    assert not set(plain.block_keys().values()) & set(standardized.block_keys().values())


def test_unknown_name() -> None:
    with pytest.raises(GraphiumError, match="features.standardize is 'rdkit'; choose none or datamol"):
        Featurizer(standardize="rdkit")
