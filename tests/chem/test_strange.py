"""Strange texts: each is an entry that is RDKit's parse of the text, or a failure with a reason; never a crash."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase

from graphium.chem.featurizer import Featurizer
from graphium.chem.parse import readable

KEEP = Chem.SmilesParserParams()
KEEP.removeHs = False
PEPTIDE = Chem.MolToSmiles(Chem.MolFromSequence("ACDEFGHIKLMNPQRSTVWY" * 3))
LONG_PEPTIDE = Chem.MolToSmiles(Chem.MolFromFASTA("ACDEFGHIKLMNPQRSTVWY" * 25))

ENTRIES = {
    "salt": "[Na+].[Cl-]",
    "large salt": "CC(=O)[O-].[NH3+]CCO.O.O.Cl",
    "radical": "C[CH]C.[O]",
    "diradical": "[CH2].O=[N]",
    "single atom": "[Xe]",
    "proton": "[H+]",
    "hydride": "[H-].[Li+]",
    "atomic hydrogen": "[H]",
    "hydrogen": "[H][H]",
    "hydrogen as one atom": "[HH]",
    "deuterium": "[2H][2H]",
    "dative": "N->[Pt](Cl)(Cl)<-N",
    "haptic": "C12C3->[Fe]4<-C1C4C23",
    "isotopes": "[13CH3][15NH2].[18F-].[235U]",
    "peptide": PEPTIDE,
    "peptide of 500 residues": LONG_PEPTIDE,
    "heaviest elements": "[Og].[Ts].[Fl]",
    "mapped": "[CH3:3][C@H:2]([OH:10])[F:1]",
    "mapped hydrogen": "[H:1][O:2][CH3:7]",
    "fragments": ".".join(["C", "CC", "c1ccccc1", "[Na+]"] * 20),
    "unspecified bond": "C~C",
    "zero-order bond": "CC |Z:0|",
    "quadruple bond": "[Re]$[Re]",
    "aromatic bond": "c1:c:c:c:c:c1",
    "ring closures past 9": "C%12CCC%12C%11CC%11",
    "ring closures past 99": "".join(f"C%({n})" for n in range(90, 130)) * 2,
    "reused ring closure": "C1CC1C1CC1",
    "ring closure with a type": "C=1CCCCC=1",
    "cage": "C12C3C4C1C5C2C3C45",
    "wildcard": "*c1ccc(*)cc1",
    "isotopic wildcard": "[1*]CC[2*]",
    "charged wildcard": "[*-]C",
    "aromatic wildcard": "c1cc*cc1",
    "charged metal": "[Fe+3].[Cl-].[Cl-].[Cl-]",
    "metal cluster": "[Au][Au+][Au-2]",
    "charge of the largest size": "[C-15].[Xe+15]",
    "allene": "C[C@]=[C@@]=CF",
    "allene without marks": "CC=C=CF",
    "double bond stereo": r"F/C=C/C=C\F",
    "imine": r"[H]/N=C\C",
    "atropisomer": "Cc1cccc(I)c1-n1c(C)cccc1=O |wU:7.8|",
    "enhanced stereo": "C[C@H](O)[C@@H](F)Cl |&1:1,o2:3|",
    "unknown double bond": "CC=CC |ctu:1|",
    "unknown centre": "CC(O)F |w:1.0|",
    "coordinates": "CO |(0,0,;1,0,)|",
    "labels": "*C |$R1;$|",
    "polymer": "*CC* |$star_e;;;star_e$,Sg:n:1,2::ht|",
    "radical of the extension": "CC |^1:0|",
    "square planar": "C[Pt@SP1](F)(Cl)Br",
    "octahedral": "C[Co@OH12](F)(Cl)(Br)(I)S",
    "hypervalent": "FS(F)(F)(F)(F)F.O=[Cl](=O)(=O)O",
    "long alkane": "C" * 3000,
    "long chain of branches": "C(C" * 1500 + ")" * 1500,
    "name": "CCO ethanol é",
    "tab": "CCO\tethanol",
    "line end": "CCO\r\n",
    "mark of byte order": "\ufeffCCO",
}


@pytest.fixture(scope="module")
def numbers() -> Featurizer:
    """Properties as plain numbers, so that they can be compared with RDKit's."""
    return Featurizer(
        atom_onehot=[],
        atom_float=["atomic-number", "formal-charge", "radical-electron", "implicit-valence", "aromatic", "mass"],
        bond_onehot=[],
        bond_float=["bond-type", "in-ring"],
        encodings=[],
    )


def assert_is_the_molecule(numbers: Featurizer, text: str, mol: Chem.Mol) -> None:
    """Compare the arrays of a text with RDKit's molecule, atom by atom and bond by bond."""
    found = numbers.molecules(["C", text])
    assert found.failures == []
    atoms, bonds = found.atom_order[1:].tolist(), found.bond_order.tolist()
    assert sorted(atoms) == list(range(mol.GetNumAtoms()))
    assert sorted(bonds) == list(range(mol.GetNumBonds()))
    items = [mol.GetAtomWithIdx(atom) for atom in atoms]
    expected = [
        [
            atom.GetAtomicNum(),
            atom.GetFormalCharge(),
            atom.GetNumRadicalElectrons(),
            atom.GetTotalNumHs(),
            atom.GetIsAromatic(),
        ]
        for atom in items
    ]
    assert found.blocks["atom_ints"][1:].tolist() == expected
    assert np.allclose(found.blocks["atom_floats"][1:, 0] * 12.011, [atom.GetMass() for atom in items])
    for (first, second), bond, order, ring in zip(
        found.bond_index.tolist(),
        map(mol.GetBondWithIdx, bonds),
        found.blocks["bond_floats"][:, 0].tolist(),
        found.blocks["bond_ints"][:, 0].tolist(),
        strict=True,
    ):
        assert {atoms[first], atoms[second]} == {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}
        assert (order, ring) == (bond.GetBondTypeAsDouble(), bond.IsInRing())
    # The canonical order is that of the canonical SMILES, and its bonds are the bonds.
    with rdBase.BlockLogs():
        written = Chem.MolFromSmiles(Chem.MolToSmiles(_unmapped(mol)), KEEP)
    assert [atom.GetAtomicNum() for atom in written.GetAtoms()] == [row[0] for row in expected]
    ends = sorted(sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())) for bond in written.GetBonds())
    assert ends == found.bond_index.tolist()


def _unmapped(mol: Chem.Mol) -> Chem.Mol:
    mol = Chem.Mol(mol)
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)
    Chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    return mol


@pytest.mark.parametrize("kind", ENTRIES)
def test_an_entry_is_rdkits_molecule(kind: str, numbers: Featurizer) -> None:
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(ENTRIES[kind])
    assert mol is not None
    assert_is_the_molecule(numbers, ENTRIES[kind], mol)


@pytest.mark.parametrize("kind", ENTRIES)
@pytest.mark.parametrize("options", [{"form": "explicit_h"}, {"standardize": "datamol"}], ids=str)
def test_an_entry_in_every_form(kind: str, options: dict[str, str]) -> None:
    if kind in ("long alkane", "long chain of branches", "peptide of 500 residues"):
        pytest.skip("slow, and nothing new")
    found = Featurizer(encodings=[], **options).molecules([ENTRIES[kind]])
    assert found.failures == []


def test_all_at_once_are_the_same(numbers: Featurizer) -> None:
    """What one text leaves behind in the featurizer does not reach another."""
    texts = list(ENTRIES.values())
    for order in (texts, texts[::-1]):
        together = Featurizer(encodings=[]).molecules(order)
        assert together.failures == []
        start = np.cumsum(together.num_bonds) - together.num_bonds
        for row, text in enumerate(order):
            alone = Featurizer(encodings=[]).molecules([text])
            bonds = slice(start[row], start[row] + together.num_bonds[row])
            assert np.array_equal(alone.id[0], together.id[row])
            assert np.array_equal(alone.blocks["bond_codes"], together.blocks["bond_codes"][bonds])
            assert np.array_equal(alone.blocks["bond_ints"], together.blocks["bond_ints"][bonds])


@pytest.mark.parametrize("mark", ["CC=CC |ctu:1|", "Cc1cccc(I)c1-n1c(C)cccc1=O |wU:7.8|"])
def test_marks_that_no_smiles_has_are_no_properties(mark: str) -> None:
    """Else the same id would stand for two graphs, and a bond learned from one text would mark all others."""
    featurizer = Featurizer(bond_onehot=["stereo"], bond_float=[], encodings=[])
    marked, plain = featurizer.molecules([mark]), featurizer.molecules([mark.split(" ")[0]])
    assert np.array_equal(marked.id, plain.id)
    assert np.array_equal(marked.blocks["bond_codes"], plain.blocks["bond_codes"])
    assert (marked.blocks["bond_codes"] == 0).all()


FAILURES = {
    "unknown element": ("[Xx]C", "is not valid SMILES"),
    "two-letter nonsense": ("Zz", "is not valid SMILES"),
    "open ring": ("C1CC", "is not valid SMILES"),
    "open bracket": ("[CH3", "is not valid SMILES"),
    "reaction": ("CC>>CO", "is not valid SMILES"),
    "InChI": ("InChI=1S/CH4/h1H4", "is not valid SMILES"),
    "SMARTS": ("[C,N]", "is not valid SMILES"),
    "broken extension": ("CCO |nonsense|", "is not valid SMILES"),
    "five bonds": ("C(C)(C)(C)(C)C", "is not a possible molecule"),
    "bridging hydrogen": ("C[H]C", "is not a possible molecule"),
    "query of the extension": (
        "*C |$Q_e;$|",
        "has query atoms and is no single molecule",
    ),
    "cut-off charge": ("CC(=O)O⁻", "holds the character '⁻', which is no part of SMILES"),
    "emoji": ("C😀", "holds the character '😀', which is no part of SMILES"),
    "surrogate": ("C\ud800", "holds characters that are no text"),
    "surrogate in a block": ("\n\ud800\n\n", "holds characters that are no text"),
    "zero byte": ("C\0C", "is not valid SMILES"),
    "all bytes": (bytes(range(256)).decode("latin-1"), "is not a valid molblock"),
    "two SMILES": ("CCO\nCCN", "is not a valid molblock"),
    "white space": (" \t\r\n", "is empty"),
    "lines": ("\n" * 100_000, "is empty"),
    "only an extension": (" |$$|", "is not valid SMILES"),
    "brackets": ("[" * 100_000, "is not valid SMILES"),
    "branches": ("(" * 100_000, "is not valid SMILES"),
    "million atoms": ("C" * 100_000, "has 100,000 atoms and 99,999 bonds"),
    "long nonsense": ("Q" * 1_000_000, "is not valid SMILES"),
}


@pytest.mark.parametrize("form", ["heavy", "explicit_h"])
@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_has_its_reason(kind: str, form: str) -> None:
    text, reason = FAILURES[kind]
    found = Featurizer(encodings=[], form=form).molecules(["O", text, "C"])
    assert found.position.tolist() == [0, 2]
    ((place, said),) = found.failures
    assert place == 1
    assert said.startswith(reason) if form == "heavy" else said
    assert "\n" not in said
    assert isinstance(readable(text), str)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_an_entry_or_a_failure(text: str) -> None:
    found = ANY_FEATURIZER.molecules([text, f"\n{text}\n{text}\n"])
    assert found.num_molecules + len(found.failures) == 2
    assert isinstance(readable(text), str)


ANY_FEATURIZER = Featurizer(encodings=[], positions=True)
