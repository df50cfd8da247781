"""Molblocks, V2000 and V3000: the file's atoms in the file's order, and what makes one unusable."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase
from rdkit.Chem import AllChem

from graphium.chem.featurizer import Featurizer
from graphium.chem.identity import identity
from graphium.chem.parse import UnusableMolecule, is_molblock, read_molecule, readable
from graphium.errors import GraphiumError


def block(atoms: str, *bonds: tuple[int, int, int], tail: str = "", header: str = "  graphium          2D") -> str:
    """A V2000 molblock; ``atoms`` are symbols."""
    symbols = atoms.split()
    lines = [f"{n * 1.2:10.4f}{n % 2:10.4f}{0:10.4f} {s:<3} 0  0  0  0  0  0" for n, s in enumerate(symbols)]
    lines += [f"{first:3d}{second:3d}{kind:3d}  0" for first, second, kind in bonds]
    counts = f"{len(symbols):3d}{len(bonds):3d}  0  0  0  0  0  0  0  0999 V2000"
    return "\n".join(["a title", header, "", counts, *lines, *filter(None, [tail]), "M  END", ""])


CO = block("C O", (1, 2, 1))


@pytest.mark.parametrize("write", [Chem.MolToMolBlock, Chem.MolToV3KMolBlock])
@pytest.mark.parametrize("form", ["heavy", "explicit_h"])
def test_the_order_is_the_files(write: object, form: str) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("OCC(F)N"))
    order = list(range(mol.GetNumAtoms()))
    random.Random(3).shuffle(order)
    mol = Chem.RenumberAtoms(mol, order)
    AllChem.Compute2DCoords(mol)
    read = read_molecule(write(mol), form)
    symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
    assert [atom.GetSymbol() for atom in read.GetAtoms()] == [s for s in symbols if form == "explicit_h" or s != "H"]


def test_missing_hydrogens_come_last() -> None:
    mol = read_molecule(block("H O C", (1, 2, 1), (2, 3, 1)), "explicit_h")
    assert [atom.GetSymbol() for atom in mol.GetAtoms()] == ["H", "O", "C", "H", "H", "H"]


@pytest.mark.parametrize(
    ("text", "smiles"),
    [
        (CO, "CO"),
        (CO.replace("\n", "\r\n"), "CO"),
        (CO.replace("a title", ""), "CO"),
        (CO + "> <name>\nmethanol\n\n$$$$\n" + block("N"), "CO"),
        (block("H O H", (1, 2, 1), (2, 3, 1)), "O"),
        (block("H H", (1, 2, 1)), "[H][H]"),
        (block("D O", (1, 2, 1)), "[2H]O"),
        (block("C N", (1, 2, 1), tail="M  CHG  1   2   1"), "C[NH3+]"),
        (block("C C", (1, 2, 1), tail="M  RAD  1   1   2"), "[CH2]C"),
        (block("C C", (1, 2, 1), tail="M  ISO  1   1  13"), "C[13CH3]"),
        (block("C C C C C C", *((n + 1, (n + 1) % 6 + 1, 4) for n in range(6))), "c1ccccc1"),
        (block("N Pt", (1, 2, 9)), "N->[Pt]"),
        (block("C C", (1, 2, 1), tail="M  ZBO  1   1   0"), "C~C"),
        (block("R# C", (1, 2, 1), tail="M  RGP  1   1   1"), "[1*]C"),
        (block("R C", (1, 2, 1)), "*C"),
        (block("* C", (1, 2, 1)), "*C"),
        (block("Na Cl"), "Cl.[NaH]"),
        (block("Na Cl", tail="M  CHG  2   1   1   2  -1"), "[Cl-].[Na+]"),
    ],
)
def test_what_is_read(text: str, smiles: str) -> None:
    assert is_molblock(text)
    assert identity(text).smiles == Chem.CanonSmiles(smiles)
    assert readable(text) == Chem.CanonSmiles(smiles)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (block(""), "is empty"),
        (block("C C C C C C", *((1, n, 1) for n in range(2, 7))), "is not a possible molecule: explicit valence"),
        (block("A C", (1, 2, 1)), "has query atoms and"),
        (block("Q C", (1, 2, 1)), "has query atoms and"),
        (block("X C", (1, 2, 1)), "has query atoms and"),
        (block("L C", (1, 2, 1), tail="M  ALS   1  2 F C   N   "), "has query atoms and"),
        (block("C C", (1, 2, 1), tail="M  SUB  1   1   2"), "has query atoms and"),
        (block("C C", (1, 2, 8)), "has query bonds and"),
        (block("C C", (1, 2, 5)), "has query bonds and"),
        (block("Xx C", (1, 2, 1)), "is not a valid molblock"),
        (block("C C", (1, 2, 77)), "has query bonds and"),
        (block("C C", (1, 3, 1)), "is not a valid molblock"),
        (block("C C", (1, 1, 1)), "is not a valid molblock"),
        (block("C C", (1, 2, 1), (2, 1, 1)), "is not a valid molblock"),
        (CO.replace("  2  1", "  9  1"), "is not a valid molblock"),
        (CO.replace("  2  1", "  1  1"), "is not a valid molblock"),
        (CO.replace("  2  1", "  x  1"), "is not a valid molblock"),
        (CO.replace("  2  1", " -2  1"), "is not a valid molblock"),
        (CO.replace("0.0000", "0.00x0"), "is not a valid molblock"),
        (CO.replace("V2000", "V9000"), "is not a valid molblock"),
        (CO.replace("M  END", ""), "is not a valid molblock"),
        (CO[:100], "is not a valid molblock"),
        ("CCO\nCCN\nCCC\nO", "is not a valid molblock"),
        ("3\nwater\nO 0 0 0\nH 0 0 1\nH 0 1 0\n", "is not a valid molblock"),
        ("HEADER\nATOM      1  N   ALA A   1      11.104   6.134  -6.504\nEND\n", "is not a valid molblock"),
    ],
)
def test_what_is_unusable(text: str, reason: str) -> None:
    with rdBase.BlockLogs(), pytest.raises(UnusableMolecule) as error:
        read_molecule(text, "heavy")
    assert str(error.value).startswith(reason)
    assert readable(text).startswith("molblock '") or not text[0].strip()


def test_identity_of_a_broken_block_is_an_error() -> None:
    with pytest.raises(GraphiumError, match="is not a valid molblock"):
        identity("nothing\nat\nall\n")


def test_readable() -> None:
    assert readable("OCC") == "OCC"
    assert readable("OCC\n") == "OCC\n"
    assert readable("not a molecule") == "not a molecule"
    assert readable("\n\nC\nC\n") == "molblock without a title"
    assert readable("x" * 1000 + "\n\n\n") == "x" * 1000 + "\n\n\n"
    assert readable("x" * 1000 + "\n\nC") == f"molblock '{'x' * 60}'"


def with_coordinates(smiles: str, dimensions: int, shuffle: int | None = None) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    if dimensions == 3:
        assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    if shuffle is not None:
        order = list(range(mol.GetNumAtoms()))
        random.Random(shuffle).shuffle(order)
        mol = Chem.RenumberAtoms(mol, order)
    if dimensions == 2:
        mol = Chem.RemoveHs(mol)
        AllChem.Compute2DCoords(mol)
    return mol


STEREO = [
    "C[C@H](N)C(=O)O",
    "F/C=C/Cl",
    r"F/C=C\Cl",
    "C[C@@H]1CC[C@H](O)CC1",
    r"C/C=N\O",
    "C[S@](=O)CCF",
    "N[C@@H](C)[C@H](C)O",
]


@settings(max_examples=25, deadline=None)
@given(smiles=st.sampled_from(STEREO), dimensions=st.sampled_from([2, 3]), seed=st.integers(0, 2**20))
def test_a_block_is_its_smiles(smiles: str, dimensions: int, seed: int) -> None:
    mol = with_coordinates(smiles, dimensions, seed)
    plain = identity(smiles)
    for text in (Chem.MolToMolBlock(mol), Chem.MolToV3KMolBlock(mol)):
        assert identity(text) == plain
        for form in ("heavy", "explicit_h"):
            featurizer = Featurizer(encodings=[], form=form)
            one, other = featurizer.molecules([text]), featurizer.molecules([smiles])
            assert np.array_equal(one.bond_index, other.bond_index)
            assert all(np.array_equal(one.blocks[name], other.blocks[name]) for name in one.blocks)


def test_stereo_comes_from_the_coordinates() -> None:
    """The wedges of a 3-D block do not count."""
    mol = with_coordinates("C[C@H](N)C(=O)O", 3)
    text = Chem.MolToMolBlock(mol)
    assert identity(text) == identity("C[C@H](N)C(=O)O")
    mirror = Chem.Mol(mol)
    conformer = mirror.GetConformer()
    for index, (x, y, z) in enumerate(conformer.GetPositions().tolist()):
        conformer.SetAtomPosition(index, (x, y, -z))
    lines = Chem.MolToMolBlock(mirror, includeStereo=False)
    assert identity(lines) == identity("C[C@@H](N)C(=O)O")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**30))
def test_damaged_blocks(seed: int) -> None:
    """Characters and lines changed, lost and doubled: an entry or a failure."""
    choose = random.Random(seed)
    text = choose.choice(DAMAGED)
    for _ in range(choose.randint(1, 4)):
        place = choose.randrange(len(text))
        lines = text.split("\n")
        line = choose.randrange(len(lines))
        match choose.randrange(4):
            case 0:
                text = text[:place] + chr(choose.randrange(0, 300)) + text[place + 1 :]
            case 1:
                text = text[:place] + choose.choice("0123456789 -VMCHX\n") + text[place + choose.randrange(3) :]
            case 2:
                text = "\n".join(lines[:line] + lines[line + 1 :])
            case _:
                text = "\n".join([*lines[:line], lines[line], *lines[line:]])
    for form in ("heavy", "explicit_h"):
        found = Featurizer(encodings=[], form=form, positions=form == "heavy").molecules([text])
        assert found.num_molecules + len(found.failures) == 1
    assert isinstance(readable(text), str)


DAMAGED = [
    write(with_coordinates(smiles, dimensions))
    for smiles in ("C[C@H](N)C(=O)[O-]", "F/C=C/[13CH3]")
    for dimensions in (2, 3)
    for write in (Chem.MolToMolBlock, Chem.MolToV3KMolBlock)
]
