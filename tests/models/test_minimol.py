"""The imported MiniMol against the outputs of the original program, and what keeps the import honest."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem

from graphium.data.batch import GraphBatch
from graphium.data.molecules import Molecules
from graphium.errors import GraphiumError
from graphium.models import minimol as module
from graphium.models.minimol import fetch_wheel, import_minimol, minimol_featurizer, minimol_heads, read_wheel
from graphium.models.saved import SavedModel, load_model
from graphium.nn.ops import Segments
from graphium.nn.stages import read_stage, vectors

OUTPUTS = ("fingerprint", "l1000_vcap", "l1000_mcf7", "pcba_1328", "pcqm4m_g25", "pcqm4m_n4")
# Columns of the original's one-hots, which follow five numbers: element, group, period, valence.
ONE_HOTS = np.cumsum([5, 44, 20, 8, 8])


@pytest.fixture(scope="module")
def reference(shared_data: Path) -> pd.DataFrame:
    path = shared_data.parent / "minimol_reference.parquet"
    if not path.exists():
        pytest.skip(f"the outputs of the original program are not at {path}")
    return pd.read_parquet(path)


@pytest.fixture(scope="module")
def model(minimol: Path) -> SavedModel:
    return load_model(minimol)


@torch.no_grad()
def outputs(model: SavedModel, batch: GraphBatch) -> dict[str, np.ndarray]:
    """All outputs that the reference names, molecules or atoms as rows."""
    atoms = vectors(model.network, batch, read_stage("gnn:15", model.network))
    found = {head.dataset: out for head, out in zip(model.heads, model.network(batch).values(), strict=True)}
    found["fingerprint"] = model.network.readouts["graph"].pooling(atoms, Segments(batch.ptr, batch.batch))
    return {name: found[name].flatten(1).numpy() for name in OUTPUTS}


def given_inputs(reference: pd.DataFrame) -> GraphBatch:
    """A batch of the exact inputs of the original network, in its own order of atoms."""

    def rows(name: str, columns: int) -> np.ndarray:
        return np.concatenate([np.asarray(values).reshape(-1, columns) for values in reference[name]])

    sizes = reference["num_atoms"].to_numpy()
    ptr = np.concatenate([[0], np.cumsum(sizes)])
    atoms, bonds = rows("in_feat", 85), rows("in_edge_feat", 13)
    codes = [atoms[:, start:stop].argmax(1) for start, stop in zip(ONE_HOTS[:-1], ONE_HOTS[1:], strict=True)]
    # Its last code of the valence is 7 and more; ours has 7, and one for more.
    codes[3] = np.where(codes[3] == 7, 8, codes[3])
    # Its degree is that of all bonds less 2, ours that of heavy atoms, beside the hydrogens.
    numbers = np.column_stack([atoms[:, 0] + 2, np.zeros(len(atoms)), atoms[:, 1:5]])
    ends = [np.asarray(v).reshape(2, -1) + start for v, start in zip(reference["in_edge_index"], ptr, strict=False)]
    source, destination = np.concatenate(ends, axis=1).astype(np.int64)
    order = np.lexsort((source, destination))
    source, destination = source[order], destination[order]
    place = {pair: row for row, pair in enumerate(zip(source.tolist(), destination.tolist(), strict=True))}
    forth = [row for (i, j), row in place.items() if i < j]
    back = [place[int(destination[row]), int(source[row])] for row in forth]
    edge_codes = np.column_stack([bonds[:, :5].argmax(1), bonds[:, 5:12].argmax(1), bonds[:, 12]])[order]
    names = {"laplacian_eigvec": 8, "laplacian_eigval": 8, "rw_return_probs": 16}
    return GraphBatch(
        x=torch.tensor(np.column_stack(codes), dtype=torch.uint8),
        x_num=torch.tensor(numbers, dtype=torch.float32),
        edge_index=torch.tensor(np.stack([source, destination])),
        edge_attr=torch.tensor(edge_codes, dtype=torch.uint8),
        edge_num=torch.zeros(len(source), 0),
        rowptr=torch.tensor(np.searchsorted(destination, np.arange(ptr[-1] + 1))),
        batch=torch.tensor(np.repeat(np.arange(len(sizes)), sizes)),
        ptr=torch.tensor(ptr),
        bond_edges=torch.tensor([forth, back]),
        table=torch.zeros(len(sizes), dtype=torch.long),
        row=torch.arange(len(sizes)),
        encodings={name: torch.tensor(rows(f"in_{name}", dim), dtype=torch.float32) for name, dim in names.items()},
    )


def from_texts(model: SavedModel, texts: list[str]) -> dict[str, np.ndarray]:
    molecules = Molecules(texts, model.featurizer)
    assert not molecules.failures
    (batch,) = molecules.batches(len(texts))
    return outputs(model, batch)


def distance(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Norm of the difference over the norm, per row."""
    return np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)


def test_the_network_is_the_published_one(reference: pd.DataFrame, model: SavedModel) -> None:
    found = outputs(model, given_inputs(reference))
    atoms = np.split(found.pop("pcqm4m_n4"), np.cumsum(reference["num_atoms"])[:-1])
    for values, expected in zip(atoms, reference["pcqm4m_n4"], strict=True):
        assert distance(values.reshape(1, -1), expected[None]).max() < 1e-3
    for name, values in found.items():
        assert distance(values, np.stack(reference[name])).max() < 1e-3, name


def test_from_smiles(reference: pd.DataFrame, model: SavedModel) -> None:
    found = from_texts(model, reference["smiles"].tolist())
    del found["pcqm4m_n4"]  # whose atoms stand in another order, see below
    for name, values in found.items():
        expected = np.stack(reference[name])
        cosine = (values * expected).sum(1) / np.linalg.norm(values, axis=1) / np.linalg.norm(expected, axis=1)
        assert cosine.min() >= 0.9995, name
        assert distance(values, expected).max() <= 0.02, name


def test_atoms_from_smiles_in_the_order_of_the_text(reference: pd.DataFrame, model: SavedModel) -> None:
    texts = reference["smiles"].tolist()
    read = Molecules(texts, model.featurizer)
    (batch,) = read.batches(len(texts))
    places = read.places("node", batch)
    of_text = outputs(model, batch)["pcqm4m_n4"][places.entity]
    found = np.split(of_text, np.cumsum(places.counts)[:-1])
    for text, values, expected in zip(texts, found, reference["pcqm4m_n4"], strict=True):
        # The original orders atoms by RDKit's canonical rank.
        values = values[np.argsort(Chem.CanonicalRankAtoms(Chem.MolFromSmiles(text)))].reshape(1, -1)
        cosine = (values * expected).sum() / np.linalg.norm(values) / np.linalg.norm(expected)
        assert cosine >= 0.9995, text
        assert distance(values, expected[None]).max() <= 0.02, text


@pytest.mark.parametrize("way", ["random", "explicit hydrogens", "kekulised"])
def test_every_way_to_write_a_molecule_gives_the_same(reference: pd.DataFrame, model: SavedModel, way: str) -> None:
    texts = reference["smiles"].tolist()
    rewritten = []
    for seed, text in enumerate(texts):
        mol = Chem.MolFromSmiles(text)
        if way == "random":
            Chem.rdBase.SeedRandomNumberGenerator(seed)
            rewritten.append(Chem.MolToSmiles(mol, canonical=False, doRandom=True))
        elif way == "kekulised":
            Chem.Kekulize(mol, clearAromaticFlags=True)
            rewritten.append(Chem.MolToSmiles(mol, kekuleSmiles=True))
        else:
            rewritten.append(Chem.MolToSmiles(Chem.AddHs(mol), allHsExplicit=True))
    before, after = from_texts(model, texts), from_texts(model, rewritten)
    for name in OUTPUTS:
        assert distance(after[name], before[name]).max() <= 1e-5, name


def test_it_says_what_it_is(minimol: Path, model: SavedModel) -> None:
    assert [(head.name, head.num_tasks, head.width) for head in model.heads] == [
        ("l1000_vcap_graph_ordinal3", 978, 3),
        ("l1000_mcf7_graph_ordinal3", 978, 3),
        ("pcba_1328_graph_binary", 1328, 0),
        ("pcqm4m_g25_graph_regression", 25, 0),
        ("pcqm4m_n4_node_regression", 4, 0),
    ]
    names = [task.name for head in minimol_heads() for task in head.tasks]
    assert len(set(names)) == len(names) and "assay_1328" in names and "vcap_gene_001" in names
    assert model.facts["fingerprint"] == "gnn:15"
    card = (minimol / "README.md").read_text(encoding="utf-8")
    for words in ("Copyright (c) 2024 Graphcore Ltd.", "above copyright notice and this permission notice", "LargeMix"):
        assert words in card
    assert model.featurizer.config() == minimol_featurizer().config()


def test_a_second_import_reads_nothing(minimol: Path) -> None:
    before = (minimol / "model.safetensors").stat().st_mtime_ns
    assert import_minimol(minimol, Path("no such wheel")) == minimol
    assert (minimol / "model.safetensors").stat().st_mtime_ns == before


def test_an_import_that_breaks_off_leaves_nothing(
    minimol_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, *_: object, **__: object) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_model", full)
    with pytest.raises(GraphiumError, match="the disk is full"):
        import_minimol(tmp_path / "here", minimol_wheel)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_things(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(GraphiumError, match="exists and holds no model"):
        import_minimol(tmp_path, Path("no such wheel"))


def test_wheels_that_are_not_the_published_one(minimol_wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match="does not exist; give the wheel minimol-1.3.5"):
        read_wheel(tmp_path / "none.whl")
    content = minimol_wheel.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    other = tmp_path / "other.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("minimol/ckpts/minimol_v1/state_dict.pth", b"a pickle")
    for name, damaged in (("short", content[: len(content) // 2]), ("flipped", flipped), ("other", other.read_bytes())):
        path = tmp_path / f"{name}.whl"
        path.write_bytes(damaged)
        with pytest.raises(GraphiumError, match="is not the published wheel of minimol 1.3.5 or is damaged"):
            import_minimol(tmp_path / "model", path)
    assert not (tmp_path / "model").exists()


def test_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHIUM_CACHE", str(tmp_path))
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: retrying\nERROR: No matching distribution found")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(
        GraphiumError, match=r"ERROR: No matching distribution found\); check the connection, or download"
    ):
        fetch_wheel()
    assert list((tmp_path / "downloads" / "minimol").iterdir()) == []
