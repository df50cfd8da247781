"""3-D coordinates: from which texts they are read, and on which atoms they land."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem, rdBase
from rdkit.Chem import AllChem

from graphium.chem.featurizer import Featurizer
from graphium.errors import GraphiumError

FORMS = ["heavy", "explicit_h"]


def featurizer(form: str = "heavy") -> Featurizer:
    return Featurizer(encodings=[], positions=True, form=form)


def embedded(smiles: str, seed: int = 1) -> Chem.Mol:
    """The molecule with all hydrogens as atoms, in a random order, and 3-D coordinates."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=seed) == 0
    order = list(range(mol.GetNumAtoms()))
    random.Random(seed).shuffle(order)
    return Chem.RenumberAtoms(mol, order)


def block(*atoms: str, header: str = "  graphium          3D", bonds: str = "") -> str:
    """A V2000 molblock of atoms given as ``x y z symbol``."""
    lines = []
    for atom in atoms:
        x, y, z, symbol = atom.split()
        lines.append(f"{float(x):10.4f}{float(y):10.4f}{float(z):10.4f} {symbol:<3} 0  0  0  0  0  0")
    counts = f"{len(atoms):3d}{len(bonds.splitlines()):3d}  0  0  0  0  0  0  0  0999 V2000"
    return "\n".join(["", header, "", counts, *lines, *bonds.splitlines(), "M  END", ""])


@pytest.mark.parametrize("form", FORMS)
def test_known_positions(form: str) -> None:
    text = block("0.1 0 0 O", "1 2 3 H", "4 5 -6 H", bonds="  1  2  1  0\n  1  3  1  0")
    found = featurizer(form).molecules(["C", text])
    assert found.failures == [(0, "has no 3-D coordinates")]
    assert found.positions is not None
    assert found.positions.dtype == np.float32
    expected = np.array([[0.1, 0, 0], [1, 2, 3], [4, 5, -6]], np.float32)
    assert np.array_equal(found.positions[np.argsort(found.atom_order)], expected[: found.num_atoms[0]])


def test_none_without_being_asked_for() -> None:
    assert Featurizer(encodings=[]).molecules(["C |(0,0,1)|"]).positions is None
    assert Featurizer(encodings=[]).molecules(["C"] * 2000).positions is None
    assert not Featurizer().spec.positions
    assert featurizer().spec.positions


def test_no_molecule_at_all() -> None:
    found = featurizer().molecules(["C"])
    assert found.positions is not None
    assert found.positions.shape == (0, 3)
    assert found.positions.dtype == np.float32


@pytest.mark.parametrize(
    "text",
    [
        "CO |(0,0,0.5;1,0,0)|",
        "CO |(0,0,0.5;1,0,)|",
        "CO |(0,0,0;1,0,0)|",
        "CO |$a;b$,(0,0,0.5;1,0,0)| name",
        "CO |(0,0,0.5;1,0,0;)|",
        block("0 0 0 C"),
        block("0 0 0 C", "1 0 0 O", bonds="  1  2  1  0"),
        block("0 0 0 C", "1 0 1 O", header="", bonds="  1  2  1  0"),
        block("0 0 0 C", "1 0 1 O", header="  graphium          2D", bonds="  1  2  1  0"),
    ],
)
def test_three_dimensions(text: str) -> None:
    assert featurizer().molecules([text]).failures == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("CO", "has no 3-D coordinates"),
        ("CO |(0,0,;1,0,)|", "has no 3-D coordinates"),
        ("CO |(0,0;1,0)|", "has no 3-D coordinates"),
        ("CO |$a;b$|", "has no 3-D coordinates"),
        (block("0 0 0 C", "1 0 0 O", header=""), "has no 3-D coordinates"),
        (Chem.MolToMolBlock(Chem.MolFromSmiles("CO")), "has no 3-D coordinates"),
        ("CO |(0,0,1)|", "writes coordinates for 1 of its 2 atoms"),
        ("CO |(0,0,1;0,1,0;1,0,0)|", "writes coordinates for 3 of its 2 atoms"),
        ("CO |(0,0,1;;1,0,0)|", "writes coordinates that are not three numbers for every atom"),
        ("CO |(0,0,1;1,0)|", "writes coordinates that are not three numbers for every atom"),
        ("CO |(0,0,1;x,0,0)|", "writes coordinates that are not three numbers for every atom"),
        ("CO |(0,0,1;nan,0,0)|", "has coordinates that are no finite numbers"),
        ("CO |(0,0,1;1e39,0,0)|", "has coordinates that are no finite numbers"),
    ],
)
def test_no_usable_coordinates(text: str, reason: str) -> None:
    found = featurizer().molecules(["C |(0,0,1)|", text, "O |(0,0,2)|"])
    assert found.failures == [(1, reason)]
    assert found.positions is not None
    assert found.positions.tolist() == [[0, 0, 1], [0, 0, 2]]


def test_hydrogens_without_coordinates() -> None:
    texts = ["[H]OC |(0,0,1;0,1,0;1,0,0)|", block("0 0 0 C"), "[H]O[H] |(0,0,1;0,1,0;1,0,0)|"]
    assert featurizer("explicit_h").molecules(texts).failures == [
        (0, "writes no coordinates for 3 of its hydrogens"),
        (1, "writes no coordinates for 4 of its hydrogens"),
    ]
    assert featurizer("heavy").molecules(texts).failures == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("write", [Chem.MolToMolBlock, Chem.MolToV3KMolBlock, Chem.MolToCXSmiles])
def test_distances_along_bonds(form: str, write: object) -> None:
    """The bond lengths in the arrays are those of the structure, whatever the order of its atoms."""
    mols = [embedded(smiles, seed) for seed, smiles in enumerate(["OCC(N)C(=O)c1ccccc1F", "C[C@H](N)C#N", "CC/C=C/Cl"])]
    found = featurizer(form).molecules([write(mol) for mol in mols])
    assert found.failures == []
    assert found.positions is not None
    start_atom = start_bond = 0
    for mol, num_atoms, num_bonds in zip(mols, found.num_atoms.tolist(), found.num_bonds.tolist(), strict=True):
        points = found.positions[start_atom : start_atom + num_atoms]
        ends = found.bond_index[start_bond : start_bond + num_bonds]
        lengths = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1)
        true = mol.GetConformer().GetPositions()
        expected = [
            np.linalg.norm(true[bond.GetBeginAtomIdx()] - true[bond.GetEndAtomIdx()])
            for bond in mol.GetBonds()
            if form == "explicit_h" or "H" not in (bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol())
        ]
        assert np.allclose(np.sort(lengths), np.sort(expected), atol=2e-4)
        start_atom, start_bond = start_atom + num_atoms, start_bond + num_bonds


def test_conformers_belong_to_rows() -> None:
    """Two conformers of one molecule, written in different orders of atoms, in one batch with another molecule."""
    mols = [embedded("OCCCC#N", seed) for seed in (1, 2)]
    texts = [Chem.MolToMolBlock(mols[0]), "C |(0,0,1)|", Chem.MolToMolBlock(mols[1])]
    found = featurizer().molecules(texts)
    assert np.array_equal(found.id[0], found.id[2])
    assert found.positions is not None
    size = int(found.num_atoms[0])
    order = [found.atom_order[:size], found.atom_order[size + 1 :]]
    points = [found.positions[:size], found.positions[size + 1 :]]
    for mol, one, place in zip(mols, points, order, strict=True):
        true = Chem.RemoveHs(mol).GetConformer().GetPositions()
        assert np.allclose(one, true[place], atol=1e-4)
    assert not np.allclose(points[0], points[1], atol=0.1)


def test_blocks_of_texts_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["CO |(0,0,1;1,0,0)|", "CO", "[H]C |(1,2,3;4,5,6)|"] * 3
    whole = featurizer().molecules(texts)
    monkeypatch.setattr("graphium.chem.featurizer._BLOCK", 2)
    parts = featurizer().molecules(texts)
    assert whole.positions is not None
    assert parts.positions is not None
    assert np.array_equal(parts.positions, whole.positions)
    assert np.array_equal(parts.written_atom, whole.written_atom)
    assert parts.failures == whole.failures


def test_they_make_another_store() -> None:
    assert featurizer().structure_key() != Featurizer(encodings=[]).structure_key()
    assert Featurizer(**featurizer().config()).spec == featurizer().spec


def test_they_need_the_atoms_of_the_text() -> None:
    with pytest.raises(GraphiumError, match="features.positions is true with features.standardize=datamol"):
        Featurizer(positions=True, standardize="datamol")


def test_real_cxsmiles(shared_data: Path) -> None:
    texts = pd.read_csv(shared_data / "graphium_examples" / "pcqm4mv2_2k.csv.gz")["smiles"].tolist()[1600:]
    found = featurizer().molecules(texts)
    assert found.failures == []
    # A tenth of the rows leave some of their hydrogens out.
    explicit = featurizer("explicit_h").molecules(texts)
    assert all(reason.startswith("writes no coordinates for ") for _, reason in explicit.failures)
    assert len(explicit.failures) < 0.2 * len(texts)
    for form in (found, explicit):
        assert form.positions is not None
        mols = _parse([texts[place] for place in form.position], keep=form is explicit)
        true = np.concatenate([mol.GetConformer().GetPositions() for mol in mols])
        start = np.repeat(np.cumsum(form.num_atoms) - form.num_atoms, form.num_atoms)
        assert np.array_equal(form.positions, true[form.atom_order + start].astype(np.float32))


def test_real_molblocks(shared_data: Path) -> None:
    with gzip.open(shared_data / "nmr_cascade" / "DFT8K_DFT.sdf.gz", "rt") as stream:
        texts = stream.read().split("$$$$\n")[:-1:40]
    for form in FORMS:
        found = featurizer(form).molecules(texts)
        assert found.failures == []
        assert found.positions is not None
        start = np.cumsum(found.num_atoms) - found.num_atoms
        ends = found.bond_index + np.repeat(start, found.num_bonds)[:, None]
        lengths = np.linalg.norm(found.positions[ends[:, 0]] - found.positions[ends[:, 1]], axis=1)
        assert lengths.min() > 0.9
        assert lengths.max() < 2.3


def _parse(texts: list[str], keep: bool) -> list[Chem.Mol]:
    options = Chem.SmilesParserParams()
    options.removeHs = not keep
    with rdBase.BlockLogs():
        return [Chem.MolFromSmiles(text, options) for text in texts]
