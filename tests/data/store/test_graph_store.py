from __future__ import annotations

import pickle
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rdkit
from rdkit import Chem
from rdkit.Chem import AllChem

from graphium.chem.featurizer import Featurizer
from graphium.chem.identity import identity
from graphium.data.store import prepare
from graphium.data.store.columns import ColumnWriter, read_manifest, write_manifest
from graphium.data.store.graph_store import GraphStore, check
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
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
    failures = list(store.failures())
    assert [(f.dataset, f.row, f.text) for f in failures] == [("small", 5, "not_a_smiles"), ("small", 12, "")]
    assert all(failure.reason for failure in failures)
    assert np.flatnonzero(store.row_molecule < 0).tolist() == [5, 12]


def test_rows_of_the_same_molecule_share_it_in_order_of_first_appearance(store: GraphStore) -> None:
    molecule = np.asarray(store.row_molecule)
    assert molecule[0] == molecule[1] == molecule[7] == 0
    assert molecule[6] == molecule[9]
    assert molecule[14] == molecule[19]
    assert molecule[10] != molecule[11] != molecule[13]
    assert len({store.flat_ids()[molecule[row]].tobytes() for row in (10, 11, 13)}) == 1
    used = molecule[molecule >= 0]
    assert list(dict.fromkeys(used)) == list(range(store.num_molecules))
    assert [molecule[rows].tolist() for rows in store.first_rows(10)] == [
        list(range(10)),
        list(range(10, store.num_molecules)),
    ]


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
    assert store.num_components(store.row_molecule[:1]) == 1


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


def test_flat_ids_differ_only_where_there_is_stereo(store: GraphStore, texts: list[str]) -> None:
    flat = store.flat_ids()
    for row in np.flatnonzero(store.row_molecule >= 0).tolist():
        molecule = store.row_molecule[row]
        found = identity(texts[row])
        assert [f"{word:016x}" for word in flat[molecule].byteswap().tolist()] == [
            found.flat_id[:16],
            found.flat_id[16:],
        ]
        assert (flat[molecule] == store.id[molecule]).all() == (found.flat_id == found.id)
    for start in range(store.num_molecules + 1):
        for stop in range(start, store.num_molecules + 1):
            assert np.array_equal(store.flat_ids(start, stop), flat[start:stop])


def test_sizes_of_slices_and_of_chosen_molecules(store: GraphStore) -> None:
    some = np.array([3, 0, 3])
    for sizes, ptr in (
        (store.num_atoms, store.atom_ptr),
        (store.num_bonds, store.bond_ptr),
        (store.num_components, store.component_ptr),
    ):
        assert np.array_equal(sizes(), np.diff(ptr))
        assert np.array_equal(sizes(slice(2, 5)), np.diff(ptr)[2:5])
        assert np.array_equal(sizes(slice(4, 2)), [])
        assert np.array_equal(sizes(some), np.diff(ptr)[some])
    assert store.row_sizes("graph", 4, 7).tolist() == [1, 0, 1]
    assert store.row_sizes("node", 4, 7).tolist() == [1, 0, 13]


def test_orders_of_many_rows_are_those_of_each(store: GraphStore) -> None:
    for level, one in (("node", store.atom_order), ("edge", store.bond_order)):
        for start, stop in ((0, 20), (3, 9), (5, 6), (7, 7)):
            ptr, order = store.orders(level, start, stop)
            expected = [one(row) for row in range(start, stop)]
            assert np.diff(ptr).tolist() == [len(row) for row in expected]
            assert np.array_equal(order, np.concatenate([np.empty(0, int), *expected]))


def test_what_rows_write_beyond_the_graph(
    table: Callable[..., Table], featurizer: Featurizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "CHUNK_ROWS", 2)
    texts = ["CO", "[H]OC", "nothing", "C[N+]([H])(C)C", "[H]C", "CC"]
    store = prepare_store(table(smiles=texts), "smiles", featurizer, tmp_path, name="small", progress=False)
    alone = [featurizer.molecules([text]) for text in texts]
    for level in ("node", "edge"):
        parts = [found.written_atom if level == "node" else found.written_bond for found in alone]
        assert any(len(part) for part in parts)
        for start, stop in ((0, 6), (1, 4), (2, 3), (5, 5), (4, 6)):
            ptr, target = store.written(level, start, stop)
            assert np.diff(ptr).tolist() == [len(part) for part in parts[start:stop]]
            assert np.array_equal(target, np.concatenate([np.empty(0, int), *parts[start:stop]]))


def test_coordinates_belong_to_rows(
    table: Callable[..., Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "CHUNK_ROWS", 2)
    mols = []
    for text, seed in (("OCC", 1), ("OCC", 2), ("c1ccccc1O", 3)):
        mols.append(Chem.AddHs(Chem.MolFromSmiles(text)))
        AllChem.EmbedMolecule(mols[-1], randomSeed=seed)
    blocks = [Chem.MolToMolBlock(mol) for mol in mols]
    source = table(smiles=[*blocks[:2], "CCO", blocks[2]])
    featurizer = Featurizer(encodings=[], positions=True)
    store = prepare_store(source, "smiles", featurizer, tmp_path, name="small", progress=False)
    assert store.row_molecule.tolist() == [0, 0, -1, 1]
    assert store.texts(np.array([1, 3])) == [blocks[1], blocks[2]]
    assert store.positions is not None and store.positions.dtype == np.float32 and store.position_ptr is not None
    for row, mol in ((0, mols[0]), (1, mols[1]), (3, mols[2])):
        found = store.positions[store.position_ptr[row] : store.position_ptr[row + 1]]
        expected = Chem.RemoveHs(mol).GetConformer().GetPositions()[store.atom_order(row)]
        assert np.allclose(found, expected, atol=1e-4)
    assert [failure.text for failure in store.failures()] == ["CCO"]


def test_a_store_without_coordinates_has_none(store: GraphStore) -> None:
    assert store.positions is None and store.position_ptr is None


def test_a_store_travels_as_its_place(store: GraphStore) -> None:
    packed = pickle.dumps(store)
    assert len(packed) < 1_000
    assert np.array_equal(pickle.loads(packed).id, store.id)


def test_opening_loads_nothing(store: GraphStore) -> None:
    for array in (store.id, store.ptr, store.bonds, store.row_molecule, store.component_size):
        base = array
        while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
            base = base.base
        assert isinstance(base, np.memmap)


def test_the_version_that_made_the_ids_is_kept(store: GraphStore) -> None:
    assert store.rdkit == rdkit.__version__


def test_a_store_of_another_layout_is_refused(store: GraphStore) -> None:
    manifest = {k: v for k, v in read_manifest(store.folder).items() if k not in ("layout", "version")}
    write_manifest(store.folder, manifest)
    with pytest.raises(GraphiumError, match="written by another version of Graphium .*prepare the data again"):
        GraphStore.open(store.folder)


@pytest.mark.parametrize("group", ["labels", "splits", "groups"])
def test_further_folders_are_checked_too(store: GraphStore, group: str) -> None:
    writer = ColumnWriter(store.folder / group / "one-key")
    writer.append("data", np.arange(3))
    writer.close()
    assert check(store.folder) == []
    (store.folder / group / "one-key" / "data.bin").write_bytes(bytes(24))
    assert check(store.folder) == [f"{group}/one-key/data.bin"]


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
