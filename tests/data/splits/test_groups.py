from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold
from rdkit.DataStructs import TanimotoSimilarity

from graphium.chem.featurizer import Featurizer
from graphium.chem.identity import identity
from graphium.data.splits import groups
from graphium.data.splits.context import SplitContext
from graphium.data.splits.groups import Groups, cluster_groups, nearest_chunk, scaffold_groups
from graphium.data.store.graph_store import GraphStore, check
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError
from graphium.registry import build
from graphium.types import PARTS

# Rings, chains and repeats; row 5 cannot be used.
SMILES = ["c1ccccc1C", "c1ccccc1CC", "CCO", "CCN", "C1CCCC1O", "no smiles", "Cc1ccccc1", "c1ccncc1", "CCCC", "OC1CCCC1"]
SMILES += ["c1ccc2ccccc2c1C", "c1ccccc1CCC", "CCCO", "C1CC1", "C1CC1C", "OCC"]

Prepare = Callable[..., GraphStore]


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    plain = Featurizer(atom_onehot=["atomic-number"], atom_float=[], bond_onehot=[], bond_float=[], encodings=[])

    def run(texts: list[str], name: str = "mine") -> GraphStore:
        path = tmp_path / f"{name}.csv"
        pd.DataFrame({"smiles": texts}).to_csv(path, index=False)
        return prepare_store(Table(path), "smiles", plain, tmp_path / "stores", name=name, progress=False)

    return run


def no_columns(columns: Any, size: int) -> Any:
    raise AssertionError("groups need no column")


def context_of(store: GraphStore, **more: Any) -> SplitContext:
    return SplitContext(
        **{
            "num_rows": store.num_rows,
            "row_molecule": store.row_molecule,
            "id": store.id,
            "chunks": no_columns,
            "locate": lambda path, **_: Path(path),
            "dataset": "mine",
            "store": store,
            **more,
        }
    )


def by_row(store: GraphStore, found: Groups) -> list[int]:
    molecule = np.asarray(store.row_molecule)
    return np.where(molecule < 0, -1, found.group[np.maximum(molecule, 0)]).tolist()


def same_partition(one: list[Any], other: list[Any]) -> bool:
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


def murcko(text: str) -> str | None:
    mol = Chem.MolFromSmiles(text)
    return None if mol is None else Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(mol))


def prints(texts: list[str]) -> list[Any]:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    return [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in texts]


def test_scaffolds(prepare: Prepare) -> None:
    store = prepare(SMILES)
    found = scaffold_groups(store)
    assert same_partition(by_row(store, found), [murcko(text) for text in SMILES])
    np.testing.assert_array_equal(np.bincount(found.group), found.size)
    assert found.group.dtype == np.int32

    apart = scaffold_groups(store, acyclic="apart")
    alone = [murcko(text) or identity(text).smiles if murcko(text) is not None else None for text in SMILES]
    assert same_partition(by_row(store, apart), alone)
    assert sorted(path.name.split("-")[0] for path in (store.folder / "groups").iterdir()) == ["scaffold", "scaffold"]
    assert check(store.folder) == []


def test_groups_are_computed_once_and_after_a_kill_no_chunk_twice(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = prepare(SMILES)
    monkeypatch.setattr(groups, "CHUNK_ROWS", 4)
    whole = groups.scaffold_chunk
    done: list[int] = []

    def broken(texts: Any, *rest: Any) -> Any:
        done.append(len(texts))
        if len(done) == 3:
            raise KeyboardInterrupt
        return whole(texts, *rest)

    monkeypatch.setattr(groups, "scaffold_chunk", broken)
    with pytest.raises(KeyboardInterrupt):
        scaffold_groups(store)
    assert not (store.folder / "groups").exists()
    found = scaffold_groups(store)
    assert done == [4, 4, 4, 4]
    assert same_partition(by_row(store, found), [murcko(text) for text in SMILES])
    scaffold_groups(store)
    assert len(done) == 4
    assert [path.suffix for path in store.folder.parent.iterdir()] == [""]


def test_numbering_in_partitions(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    store = prepare(SMILES)
    expected = scaffold_groups(store)
    monkeypatch.setattr(groups, "_SORTED", 2)
    monkeypatch.setattr(groups, "SCAFFOLD_VERSION", "other")
    again = scaffold_groups(store)
    np.testing.assert_array_equal(again.group, expected.group)
    np.testing.assert_array_equal(again.size, expected.size)


def test_clusters_are_spheres_around_leaders(
    shared_data: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = pd.read_csv(shared_data / "pool" / "moses_test.csv.gz", nrows=300).iloc[:, 0].tolist()
    store = prepare(texts)
    monkeypatch.setattr(groups, "_LEADERS", 16)
    monkeypatch.setattr(groups, "CHUNK_ROWS", 50)
    found = cluster_groups(store, dataset="mine", threshold=0.6)

    order = np.lexsort((store.id[:, 1], store.id[:, 0]))
    molecules = store.texts(np.concatenate(list(store.first_rows(1000))))
    own = prints(molecules)
    leaders: list[int] = []
    for molecule in order:
        if all(1 - TanimotoSimilarity(own[molecule], own[leader]) > 0.6 for leader in leaders):
            leaders.append(int(molecule))
    similarity = np.array([[TanimotoSimilarity(one, own[leader]) for leader in leaders] for one in own])
    np.testing.assert_array_equal(found.group, similarity.argmax(axis=1))
    assert similarity.max(axis=1).min() >= 0.4
    np.testing.assert_array_equal(np.bincount(found.group), found.size)
    assert 20 < len(leaders) < 250


def test_nearest_of_empty_fingerprints() -> None:
    bits = np.zeros((3, 8), np.uint8)
    bits[1, 0] = 3
    bits[2, 0] = 1
    assert nearest_chunk(bits[:2], bits).columns["group"].tolist() == [0, 1, 1]


def test_too_many_molecules_to_compare(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_CLUSTERED", 5)
    with pytest.raises(GraphiumError, match=r"takes at most 5 of them, the table has 12; use split=scaffold"):
        cluster_groups(prepare(SMILES), dataset="mine")


@pytest.mark.parametrize(
    "options",
    [
        {"name": "scaffold"},
        {"name": "scaffold", "balanced": True, "seed": 3},
        {"name": "scaffold", "acyclic": "apart"},
        {"name": "cluster"},
        {"name": "cluster", "balanced": True, "seed": 1},
    ],
)
def test_group_splits(shared_data: Path, prepare: Prepare, options: dict[str, Any]) -> None:
    """Groups and repeats stay together, sizes are near, neither processes nor the order of rows matter."""
    texts = pd.read_csv(shared_data / "tdc_admet" / "caco2_wang.csv.gz")["Drug"].tolist()
    store = prepare(texts)
    split = build("split", {**options, "train": 0.7, "val": 0.15, "test": 0.15})
    parts = split(context_of(store))
    if options["name"] == "scaffold":
        group = [
            identity(text).smiles if murcko(text) == "" and "acyclic" in options else murcko(text) for text in texts
        ]
    else:
        group = by_row(store, cluster_groups(store, dataset="mine"))
    part_of = pd.DataFrame({"group": group, "part": parts}).groupby("group")["part"].nunique()
    assert (part_of == 1).all()
    molecules = np.bincount(parts[np.concatenate(list(store.first_rows(5000)))], minlength=3) / store.num_molecules
    np.testing.assert_allclose(molecules, [0.7, 0.15, 0.15], atol=0.02)

    order = np.random.default_rng(0).permutation(len(texts))
    other = prepare([texts[row] for row in order], "other")
    np.testing.assert_array_equal(split(context_of(other, n_jobs=2 if len(options) == 1 else 1)), parts[order])


def test_the_largest_scaffolds_are_trained_on(shared_data: Path, prepare: Prepare) -> None:
    texts = pd.read_csv(shared_data / "tdc_admet" / "caco2_wang.csv.gz")["Drug"].tolist()
    store = prepare(texts)
    parts = build("split", "scaffold")(context_of(store))
    frame = pd.DataFrame(
        {"group": [murcko(text) for text in texts], "part": parts, "id": np.asarray(store.row_molecule)}
    )
    size = frame.drop_duplicates("id")["group"].value_counts()
    largest = size[frame["group"]].to_numpy()
    assert largest[parts == PARTS.index("train")].min() >= largest[parts > 0].max()
    drawn = [build("split", {"name": "scaffold", "balanced": True, "seed": seed})(context_of(store)) for seed in (0, 1)]
    assert (drawn[0] != drawn[1]).any()


def test_options_of_group_splits(prepare: Prepare) -> None:
    context = context_of(prepare(SMILES))
    for options, sentence in (
        ({"name": "scaffold", "seed": 1}, r"split\.seed=1 changes nothing; .*split\.balanced=true"),
        ({"name": "scaffold", "train": 0.9, "val": 0.2}, "add up to 1.2"),
        ({"name": "cluster", "threshold": 1.5}, r"split\.threshold is 1\.5; give a Tanimoto distance"),
        ({"name": "cluster", "size": 100}, "a multiple of 64 bits"),
    ):
        split = build("split", options)
        with pytest.raises(GraphiumError, match=sentence):
            split.check(context)
        with pytest.raises(GraphiumError, match=sentence):
            split(context)
    only_chains = context_of(prepare(["CCO", "CCC", "CCCC", "CCCCC"], "chains"))
    with pytest.raises(
        GraphiumError,
        match=r"split scaffold leaves the train part empty \(groups: 1, molecules in the largest: 4 of 4\)",
    ):
        build("split", "scaffold")(only_chains)
    parts = build("split", {"name": "scaffold", "acyclic": "apart"})(only_chains)
    assert sorted(parts.tolist()) == [0, 0, 1, 2]
