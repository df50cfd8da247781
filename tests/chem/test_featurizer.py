"""The featurizer: canonical arrays, permutations, failures, keys."""

from __future__ import annotations

import gzip
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

import graphium.chem.featurizer
from graphium.chem.featurizer import Featurizer, MoleculeArrays
from graphium.chem.identity import identity
from graphium.errors import GraphiumError
from graphium.registry import check_arguments, lookup, names
from graphium.types import FeatureSpec

# Salts, single atoms, H2, dative bonds, isotopes, charges, kept hydrogens, radicals, dummies, stereo.
ZOO = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "[Na+].[Cl-].O",
    "C",
    "[He]",
    "[H][H]",
    "[H+]",
    "[H]/N=C/C",
    "N->[Pt](Cl)(Cl)<-N",
    "C[Fe]~C1CC1",
    "[2H]C([2H])[13CH3]",
    "C[N+](C)(C)CC([O-])=O",
    "[CH2]C",
    "*c1ccccc1",
    "c1cc*cc1",
    "C[C@H](N)C(=O)O",
    "F/C=C/C=C\\F",
    "Cc1cs/c(=N\\S(=O)(=O)c2cc(C)c(Br)s2)[nH]1",
    "C12C3C4C1C5C2C3C45",
    "OB1OCC(CO1)N=[N+]=[N-]",
    "O=S(=O)(O)P(=O)(O)O",
    "[O-][n+]1ccccc1",
    "c1ccc2c(c1)[se]c1ccccc12",
]


def per_molecule(found: MoleculeArrays) -> list[dict[str, Any]]:
    """What a store would hold of each molecule."""
    atoms = np.concatenate([[0], np.cumsum(found.num_atoms)])
    bonds = np.concatenate([[0], np.cumsum(found.num_bonds)])
    components = np.concatenate([[0], np.cumsum(found.num_components)])
    molecules = []
    for row in range(found.num_molecules):
        of_atoms, of_bonds = slice(*atoms[row : row + 2]), slice(*bonds[row : row + 2])
        molecules.append(
            {
                "id": found.id[row],
                "flat_id": found.flat_id[row],
                "component_size": found.component_size[slice(*components[row : row + 2])],
                "bond_index": found.bond_index[of_bonds],
                "atom_order": found.atom_order[of_atoms],
                "bond_order": found.bond_order[of_bonds],
                **{
                    name: values[of_atoms if name.startswith("atom") else of_bonds]
                    for name, values in found.blocks.items()
                },
            }
        )
    return molecules


def shuffled(text: str, seed: int, **options: bool) -> str:
    """The same molecule with its atoms in another order."""
    mol = Chem.MolFromSmiles(text)
    order = list(range(mol.GetNumAtoms()))
    random.Random(seed).shuffle(order)
    return Chem.MolToSmiles(Chem.RenumberAtoms(mol, order), canonical=False, **options)


def everything() -> Featurizer:
    """All properties that there are."""
    known = {
        kind: [name for name in names(kind) if not lookup(kind, name).unavailable]
        for kind in ("atom_onehot", "atom_float", "bond_onehot", "bond_float")
    }
    return Featurizer(**known)


@pytest.fixture(scope="module")
def default() -> Featurizer:
    return Featurizer()


@pytest.fixture(scope="module")
def full() -> Featurizer:
    return everything()


def assert_is_rdkits(featurizer: Featurizer, text: str, found: dict[str, Any]) -> None:
    """Compare with the RDKit objects of the user's own parse, one by one."""
    mol = Chem.MolFromSmiles(text)
    atoms, bonds = found["atom_order"].tolist(), found["bond_order"].tolist()
    assert sorted(atoms) == list(range(mol.GetNumAtoms()))
    assert sorted(bonds) == list(range(mol.GetNumBonds()))
    for (first, second), bond in zip(found["bond_index"].tolist(), map(mol.GetBondWithIdx, bonds), strict=True):
        assert {atoms[first], atoms[second]} == {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}
    for kind, objects in (("atom", map(mol.GetAtomWithIdx, atoms)), ("bond", map(mol.GetBondWithIdx, bonds))):
        columns = featurizer._atoms if kind == "atom" else featurizer._bonds
        items = list(objects)
        for block, members in columns.blocks.items():
            expected = np.empty((len(items), len(members)), found[block].dtype)
            for row, item in enumerate(items):
                expected[row] = [member.stored(item) for member in members]
            assert np.array_equal(found[block], expected), block


@pytest.mark.parametrize("kind", ["default", "full"])
def test_the_arrays_are_rdkits(kind: str, request: pytest.FixtureRequest) -> None:
    featurizer = request.getfixturevalue(kind)
    molecules = per_molecule(featurizer.molecules(ZOO))
    assert len(molecules) == len(ZOO)
    for text, found in zip(ZOO, molecules, strict=True):
        assert_is_rdkits(featurizer, text, found)


def test_known_values(default: Featurizer) -> None:
    (found,) = per_molecule(default.molecules(["[O-]C=C"]))
    assert Chem.CanonSmiles("[O-]C=C") == "C=C[O-]"
    assert found["atom_order"].tolist() == [2, 1, 0]
    assert found["bond_order"].tolist() == [1, 0]
    assert found["bond_index"].tolist() == [[0, 1], [1, 2]]
    # Columns: element (C, N, O ...), group - 1, period - 1, total valence.
    assert found["atom_codes"].tolist() == [[0, 13, 1, 4], [0, 13, 1, 4], [2, 15, 1, 1]]
    # Columns: degree, charge, radical electrons, aromatic, in a ring.
    assert found["atom_ints"].tolist() == [[1, 0, 0, 0, 0], [2, 0, 0, 0, 0], [1, -1, 0, 0, 0]]
    # Columns: type, stereo; in a ring.
    assert found["bond_codes"].tolist() == [[1, 0], [0, 0]]
    assert found["bond_ints"].tolist() == [[0], [0]]


def test_bonds_are_sorted_and_components_consecutive(default: Featurizer) -> None:
    for text, found in zip(ZOO, per_molecule(default.molecules(ZOO)), strict=True):
        bonds = found["bond_index"].tolist()
        assert bonds == sorted(bonds)
        assert all(first < second for first, second in bonds)
        mol = Chem.MolFromSmiles(text)
        place = np.argsort(found["atom_order"])
        fragments = sorted(sorted(place[list(part)].tolist()) for part in Chem.GetMolFrags(mol))
        sizes = found["component_size"].tolist()
        assert fragments == [list(range(sum(sizes[:n]), sum(sizes[: n + 1]))) for n in range(len(sizes))]


def assert_same_molecule(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name in one.keys() - {"atom_order", "bond_order"}:
        assert np.array_equal(one[name], other[name]), name


@settings(max_examples=30, deadline=None)
@given(text=st.sampled_from(ZOO), seed=st.integers(0, 2**20))
def test_shuffled_atoms_give_the_same_arrays(text: str, seed: int) -> None:
    featurizer = SHUFFLE_FEATURIZER
    other = shuffled(text, seed)
    first, second = per_molecule(featurizer.molecules([text, other]))
    assert_same_molecule(first, second)
    assert_is_rdkits(featurizer, other, second)


SHUFFLE_FEATURIZER = everything()


def test_writing_does_not_matter(default: Featurizer) -> None:
    texts = ["c1ccccc1[CH3]", "[CH3:4]C1=CC=CC=C1", "[H]C([H])([H])c1ccccc1", "C1=CC=C(C)C=C1 toluene"]
    first, *others = per_molecule(default.molecules(texts))
    for other in others:
        assert_same_molecule(first, other)


@pytest.mark.parametrize(
    "file, column",
    [
        ("toymix/qm9.csv.gz", "smiles"),
        ("toymix/ZINC12k.csv.gz", "smiles"),
        ("toymix/Tox21-7k-12-labels.csv.gz", "smiles"),
        ("tdc_admet/solubility_aqsoldb.csv.gz", "Drug"),
    ],
)
def test_real_molecules(shared_data: Path, default: Featurizer, file: str, column: str) -> None:
    with gzip.open(shared_data / file, "rt") as stream:
        texts = pd.read_csv(stream, usecols=[column], nrows=10_000)[column].sample(300, random_state=1).tolist()
    found = default.molecules(texts)
    usable = [texts[place] for place in found.position]
    assert len(usable) + len(found.failures) == len(texts)
    assert len(found.failures) <= 3
    molecules = per_molecule(found)
    again = per_molecule(default.molecules([shuffled(text, seed) for seed, text in enumerate(usable)]))
    # RDKit writes a rare stereo string in two ways: that may split an entry.
    split = [row for row in range(len(usable)) if not np.array_equal(molecules[row]["id"], again[row]["id"])]
    assert len(split) <= 1
    for row, text in enumerate(usable):
        assert_is_rdkits(default, text, molecules[row])
        assert np.array_equal(molecules[row]["flat_id"], again[row]["flat_id"])
        if row not in split:
            assert_same_molecule(molecules[row], again[row])


def test_identity_of_one_is_identity_of_many(default: Featurizer) -> None:
    found = default.molecules(ZOO)
    for row, text in enumerate(ZOO):
        alone = identity(text)
        assert found.id[row].astype("<u8").tobytes().hex() == alone.id
        assert found.flat_id[row].astype("<u8").tobytes().hex() == alone.flat_id


def test_failures_have_places_and_reasons(default: Featurizer) -> None:
    found = default.molecules(["CC", "", None, "C1CC", "O", 7, "C(C)(C)(C)(C)C"])
    assert found.position.tolist() == [0, 4]
    assert found.num_molecules == 2
    assert [place for place, _ in found.failures] == [1, 2, 3, 5, 6]
    assert [reason.split(":")[0] for _, reason in found.failures] == [
        "is empty",
        "is an empty cell",
        "is not valid SMILES",
        "is of type int and not text",
        "is not a possible molecule",
    ]


@pytest.mark.parametrize("texts", [[], ["", "C1CC"]])
def test_no_molecule_at_all(default: Featurizer, texts: list[str]) -> None:
    found = default.molecules(texts)
    assert len(found.failures) == len(texts)
    assert found.id.shape == (0, 2)
    assert found.bond_index.shape == (0, 2)
    assert found.blocks["atom_codes"].shape == (0, 4)
    columns = default.encode(
        found.num_atoms, found.num_components, found.component_size, found.num_bonds, found.bond_index
    )
    assert columns["laplacian_eigval"].shape == (0, 8)
    assert columns["rw_return_probs"].shape == (0, 16)


def test_dtypes(default: Featurizer) -> None:
    found = default.molecules(ZOO)
    expected = {
        "position": "int64",
        "id": "uint64",
        "flat_id": "uint64",
        "num_atoms": "int32",
        "num_bonds": "int32",
        "num_components": "int32",
        "component_size": "int32",
        "bond_index": "int16",
        "atom_order": "int32",
        "bond_order": "int32",
    }
    assert {name: getattr(found, name).dtype.name for name in expected} == expected
    assert {name: values.dtype.name for name, values in found.blocks.items()} == {
        "atom_codes": "uint8",
        "atom_ints": "int8",
        "bond_codes": "uint8",
        "bond_ints": "int8",
    }


def test_blocks_of_texts_do_not_show(full: Featurizer, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*ZOO, "C1CC", *ZOO]
    whole = full.molecules(texts)
    monkeypatch.setattr(graphium.chem.featurizer, "_BLOCK", 5)
    for other in (full.molecules(texts), everything().molecules(texts)):
        assert other.failures == whole.failures
        for one, two in zip(per_molecule(whole), per_molecule(other), strict=True):
            for name in one:
                assert np.array_equal(one[name], two[name])


def test_explicit_hydrogens() -> None:
    featurizer = Featurizer(form="explicit_h")
    texts = ["[H]OC", "CO", "[H]C([H])([H])O[H]"]
    found = featurizer.molecules(texts)
    assert found.num_atoms.tolist() == [6, 6, 6]
    first, *others = per_molecule(found)
    for other in others:
        assert_same_molecule(first, other)
    heavy = Featurizer().molecules(texts)
    assert np.array_equal(found.id, heavy.id)
    assert np.array_equal(found.flat_id, heavy.flat_id)
    # The order is that of the text, hydrogens included; those that the text leaves out come last.
    for text, one in zip(texts, per_molecule(found), strict=True):
        options = Chem.SmilesParserParams()
        options.removeHs = False
        mol = Chem.AddHs(Chem.MolFromSmiles(text, options))
        elements = [mol.GetAtomWithIdx(atom).GetSymbol() for atom in one["atom_order"].tolist()]
        assert [{"C": 0, "O": 2, "H": 29}[element] for element in elements] == one["atom_codes"][:, 0].tolist()


@settings(max_examples=15, deadline=None)
@given(text=st.sampled_from(ZOO), seed=st.integers(0, 2**20))
def test_shuffled_explicit_hydrogens(text: str, seed: int) -> None:
    first, second = per_molecule(EXPLICIT_FEATURIZER.molecules([text, shuffled(text, seed, allHsExplicit=True)]))
    assert_same_molecule(first, second)


EXPLICIT_FEATURIZER = Featurizer(form="explicit_h", encodings=[])


def test_the_spec_travels(default: Featurizer, full: Featurizer) -> None:
    for featurizer in (default, full):
        assert FeatureSpec.from_dict(featurizer.spec.to_dict()) == featurizer.spec
        found = featurizer.molecules(["CCO"])
        atoms = [values for name, values in found.blocks.items() if name.startswith("atom")]
        assert sum(values.shape[1] for values in atoms) == len(featurizer.spec.atoms)
        assert tuple(p.dtype for p in featurizer.spec.atoms) == tuple(
            values.dtype.name for values in atoms for _ in range(values.shape[1])
        )
    assert default.spec.atom_sizes == (44, 19, 8, 9)
    assert default.spec.bond_sizes == (5, 7)
    assert default.spec.encoding_dims() == {"laplacian_eigvec": 8, "laplacian_eigval": 8, "rw_return_probs": 16}


def test_config_builds_the_same(full: Featurizer) -> None:
    again = Featurizer(**full.config())
    assert again.spec == full.spec
    assert again.block_keys() == full.block_keys()
    worker = pickle.loads(pickle.dumps(full))
    assert worker.block_keys() == full.block_keys()


def test_keys_follow_the_content() -> None:
    base = Featurizer().block_keys()
    assert set(base) == {
        "atom_codes",
        "atom_ints",
        "bond_codes",
        "bond_ints",
        "laplacian_eigvec",
        "laplacian_eigval",
        "rw_return_probs",
    }

    def changed(**options: Any) -> set[str]:
        other = Featurizer(**options).block_keys()
        return {name for name in base.keys() | other.keys() if base.get(name) != other.get(name)}

    assert changed() == set()
    assert changed(atom_onehot=["atomic_number", "Group", "period", "total-valence"]) == set()
    assert changed(atom_onehot=["atomic-number"]) == {"atom_codes"}
    assert changed(atom_float=["degree", "mass"]) == {"atom_ints", "atom_floats"}
    assert changed(bond_float=[]) == {"bond_ints"}
    assert changed(encodings=[{"name": "laplacian", "k": 4}, "rw_return_probs"]) == {
        "laplacian_eigvec",
        "laplacian_eigval",
    }
    assert changed(form="explicit_h") == set(base)
    assert Featurizer(form="explicit_h").structure_key() != Featurizer().structure_key()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"atom_onehot": ["atomic-numbr"]}, "did you mean 'atomic_number'"),
        ({"encodings": ["laplacan"]}, "did you mean 'laplacian'"),
        ({"encodings": [{"name": "laplacian", "K": 3}]}, r"features.encodings\[0\].K"),
        ({"encodings": ["laplacian", {"name": "laplacian", "k": 4}]}, "two of features.encodings"),
        ({"form": "hydrogens"}, "choose heavy or explicit_h"),
    ],
)
def test_wrong_options(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        Featurizer(**options)


def test_the_constructor_is_the_schema() -> None:
    checked = check_arguments(Featurizer, {"atom_onehot": ["degree"], "encodings": ["laplacian"]}, where="features")
    assert Featurizer(**checked).spec.atom_sizes == (8,)
    with pytest.raises(GraphiumError, match="unknown key features.atom_onehots; did you mean 'atom_onehot'"):
        check_arguments(Featurizer, {"atom_onehots": []}, where="features")
    with pytest.raises(GraphiumError, match=r"features.encodings\[0\]"):
        check_arguments(Featurizer, {"encodings": [{"name": "laplacian", "kk": 3}]}, where="features")
