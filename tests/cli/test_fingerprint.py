from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from graphium.chem.featurizer import Featurizer
from graphium.cli.main import main
from graphium.models.fingerprints.fingerprinter import Fingerprinter
from graphium.models.saved import save_model
from graphium.nn.network import build_network
from graphium.types import Task, group_tasks

TEXTS = ["CCO", "c1ccccc1O", "nothing", "C", "CC(=O)N"]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    def run(*words: object) -> SimpleNamespace:
        monkeypatch.setattr("sys.argv", ["graphium", "fingerprint", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        return SimpleNamespace(code=caught.value.code, said=" ".join(capsys.readouterr().err.split()))

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    featurizer = Featurizer(encodings=[])
    heads = group_tasks([Task("y", "d", "graph", "regression"), Task("q", "d", "node", "regression")])
    save_model(folder, build_network(featurizer.spec, heads, width=8, depth=2), featurizer, heads)
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    pd.DataFrame({"id": range(5), "drug": TEXTS}).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_parquet(start, model: Path, table: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out.parquet"
    done = start(model, table, "-o", out, "--smiles", "drug")
    assert done.code == 0
    assert f"wrote 8 numbers per molecule for 4 of 5 rows to {out}; 1 could not be used, see the column" in done.said
    frame = pd.read_parquet(out)
    assert list(frame.columns) == ["id", "drug", "fingerprint", "status"] and frame["id"].tolist() == [*range(5)]
    found = np.stack(frame["fingerprint"].dropna())
    np.testing.assert_allclose(found, Fingerprinter(model).fingerprint(TEXTS)[[0, 1, 3, 4]], atol=1e-5)


def test_array_of_several_layers(start, model: Path, table: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = ["--layer", "gnn:0", "--layer", "readout", "--pool", "sum", "--pool", "max", "--dtype", "float16"]
    done = start(model, table, "-o", tmp_path / "out.npy", *words)
    assert done.code == 0 and "24 numbers per molecule" in done.said
    assert "1 could not be used, their rows are NaN, and a .parquet file tells why" in done.said
    found = np.load(tmp_path / "out.npy")
    expected = Fingerprinter(model, ["gnn:0", "readout"], ["sum", "max"]).fingerprint(TEXTS)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_vectors_of_atoms_from_stdin(  # type: ignore[no-untyped-def]
    start, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"CCO\nc1ccccc1\n")))
    done = start(model, "-", "-o", tmp_path / "out.parquet", "--layer", "gnn", "--per-atom")
    assert done.code == 0 and "8 numbers per atom for 2 of 2 rows" in done.said
    cells = pd.read_parquet(tmp_path / "out.parquet")["fingerprint"]
    expected = Fingerprinter(model, "gnn").fingerprint(["CCO", "c1ccccc1"], per_atom=True)
    for cell, values in zip(cells, expected, strict=True):
        np.testing.assert_allclose(np.stack(cell), values, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-o", "out.csv"], "give a name that ends in .parquet or .npy"),
        (["-o", "out.npy", "--layer", "gnn", "--per-atom"], "write vectors of atoms to a .parquet file"),
        (["-o", "out.npy", "--layer", "gnn:5"], "gnn:0 to gnn:1"),
        (["-o", "out.npy", "--pool", "sum"], "--pool is sum and readout:graph is of molecules already; leave it out"),
        (["-o", "out.parquet", "--layer", "gnn", "--pool", "sum", "--per-atom"], "vectors of atoms are not pooled"),
        (["-o", "out.npy", "--smiles", "drugs"], "did you mean 'drug'"),
        (["-o", "out.npy", "--dtype", "float8"], "float8"),
        ([], "--output"),
    ],
)
def test_one_sentence(  # type: ignore[no-untyped-def]
    start, model: Path, table: Path, words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = start(model, table, *words)
    assert done.code == 1 and sentence in done.said and done.said.startswith("Error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
