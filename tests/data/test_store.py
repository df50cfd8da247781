from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from graphium.chem.featurizer import Featurizer
from graphium.data.prepare import prepare_store
from graphium.data.readers import Table
from graphium.data.store import GraphStore, check
from graphium.errors import GraphiumError


@pytest.fixture
def store(texts: list[str], table: Callable[..., Table], featurizer: Featurizer, tmp_path: Path) -> GraphStore:
    source = table(smiles=texts)
    return prepare_store(source, "smiles", featurizer, tmp_path / "stores", name="small", progress=False)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_counts_texts_and_failures(store: GraphStore, texts: list[str]) -> None:
    assert store.num_rows == len(texts)
    assert store.num_failures == 2
    assert [store.text(row) for row in range(len(texts))] == texts
    failures = store.failures()
    assert [(f.dataset, f.row, f.text) for f in failures] == [("small", 5, "not_a_smiles"), ("small", 12, "")]
    assert all(failure.reason for failure in failures)
    assert np.flatnonzero(store.row_molecule < 0).tolist() == [5, 12]


def test_rows_of_the_same_molecule_share_it_in_order_of_first_appearance(store: GraphStore) -> None:
    molecule = np.asarray(store.row_molecule)
    assert molecule[0] == molecule[1] == molecule[7] == 0
    assert molecule[6] == molecule[9]
    assert molecule[14] == molecule[19]
    assert molecule[10] != molecule[11] != molecule[13]
    assert len({store.flat_id[molecule[row]].tobytes() for row in (10, 11, 13)}) == 1
    used = molecule[molecule >= 0]
    assert list(dict.fromkeys(used)) == list(range(store.num_molecules))
    assert np.array_equal(molecule[store.first_rows()], np.arange(store.num_molecules))


def test_orders_map_canonical_atoms_and_bonds_to_the_users_text(store: GraphStore) -> None:
    for row in np.flatnonzero(store.row_molecule >= 0).tolist():
        user = Chem.MolFromSmiles(store.text(row))
        molecule = store.row_molecule[row]
        atoms, bonds = store.atom_order(row), store.bond_order(row)
        assert sorted(atoms) == list(range(user.GetNumAtoms()))
        ends = store.bond_index[store.bond_ptr[molecule] : store.bond_ptr[molecule + 1]]
        assert len(bonds) == len(ends) == user.GetNumBonds()
        for number, (i, j) in zip(bonds, ends, strict=True):
            bond = user.GetBondWithIdx(int(number))
            assert {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()} == {atoms[i], atoms[j]}


def test_tox21_fails_where_rdkit_fails(shared_data: Path, featurizer: Featurizer, tmp_path: Path) -> None:
    source = Table(shared_data / "toymix" / "Tox21-7k-12-labels.csv.gz")
    store = prepare_store(source, "smiles", featurizer, tmp_path, name="tox21", progress=False)
    assert [failure.row for failure in store.failures()] == [1322, 2290, 2297, 3558, 4565, 4649, 5538, 6723]
    assert store.num_rows == 7831
    assert check(store.folder) == []


def test_components_are_counted(store: GraphStore) -> None:
    salt = store.row_molecule[14]
    start, stop = store.component_ptr[salt : salt + 2]
    assert sorted(store.component_size[start:stop]) == [1, 3]
    assert store.num_components[store.row_molecule[0]] == 1


def test_a_flipped_bit_is_found_and_named_in_every_file(store: GraphStore) -> None:
    assert check(store.folder) == []
    for path in files_of(store.folder):
        content = path.read_bytes()
        if not content:
            continue
        damaged = bytearray(content)
        damaged[len(damaged) // 2] ^= 4
        path.write_bytes(damaged)
        assert check(store.folder) == [str(path.relative_to(store.folder))]
        path.write_bytes(content)
    assert check(store.folder) == []


def test_a_missing_file_is_named(store: GraphStore) -> None:
    (store.folder / "rows" / "text.bin").unlink()
    assert check(store.folder) == ["rows/text.bin"]
    with pytest.raises(GraphiumError, match="text.bin is missing"):
        GraphStore.open(store.folder)


def test_a_truncated_column_is_refused_on_opening(store: GraphStore) -> None:
    path = store.folder / "molecules" / "bonds.bin"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(GraphiumError, match=r"bonds.bin has .* bytes instead of"):
        GraphStore.open(store.folder)


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match="not a finished store"):
        GraphStore.open(tmp_path)


def test_a_feature_that_is_not_there_is_named(store: GraphStore) -> None:
    with pytest.raises(GraphiumError, match="no column 'charges'"):
        store.feature("charges")
    with pytest.raises(GraphiumError, match="no column 'atom_codes'"):
        GraphStore.open(store.folder, keys={}).feature("atom_codes")


def test_two_versions_of_a_feature_need_a_key(store: GraphStore) -> None:
    folder = next((store.folder / "features").glob("atom_codes-*"))
    shutil.copytree(folder, store.folder / "features" / "atom_codes-other")
    with pytest.raises(GraphiumError, match="several columns 'atom_codes'"):
        GraphStore.open(store.folder).feature("atom_codes")
    chosen = GraphStore.open(store.folder, keys={"atom_codes": "other"}).feature("atom_codes")
    assert np.array_equal(chosen, store.feature("atom_codes"))


def test_the_files_know_nothing_of_the_place_they_were_made(store: GraphStore) -> None:
    for path in files_of(store.folder):
        content = path.read_bytes()
        assert str(store.folder.parent).encode() not in content
        assert socket.gethostname().encode() not in content
