from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from graphium.chem.featurizer import Featurizer
from graphium.errors import GraphiumError
from graphium.models.fingerprints.fingerprinter import Fingerprinter
from graphium.models.fingerprints.table import FingerprintColumns, NumpyFormat, check_output, write_fingerprints
from graphium.models.saved import SavedModel
from graphium.models.tables import table_files
from graphium.models.tables.output_formats import ParquetFormat
from graphium.nn.network import build_network
from graphium.types import Task, group_tasks

TEXTS = ["CCO", "not a molecule", "c1ccccc1O", "C", "[Na+].[Cl-]", "", "CC(=O)N[C@@H](C)C"] * 3
BAD = [number % 7 in (1, 5) for number in range(21)]


@pytest.fixture(scope="module")
def model() -> SavedModel:
    torch.manual_seed(0)
    featurizer = Featurizer()
    heads = group_tasks([Task("y", "d", "graph", "regression"), Task("b", "d", "edge", "regression")])
    return SavedModel(build_network(featurizer.spec, heads, width=6, depth=2).eval(), featurizer, heads)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "molecules.csv"
    pd.DataFrame({"name": [f"m{k}" for k in range(21)], "smiles": TEXTS, "price": range(21)}).to_csv(path, index=False)
    return path


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "CHUNK_ROWS", 4)


def write(columns: FingerprintColumns, source: Path, output: Path, **options: Any) -> dict[str, int]:
    return write_fingerprints(columns, source, output, progress=False, **options)


def test_parquet(model: SavedModel, table: Path, tmp_path: Path) -> None:
    fingerprinter = Fingerprinter(model, ["readout", "gnn"], ["sum", "max"])
    total = write(FingerprintColumns(fingerprinter), table, tmp_path / "out.parquet")
    assert total == {"rows": 21, "failures": 6}
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert list(frame.columns) == ["name", "smiles", "price", "fingerprint", "status"]
    assert frame["name"].tolist() == [f"m{k}" for k in range(21)] and frame["price"].tolist() == list(range(21))
    assert (frame["status"] != "ok").tolist() == BAD and frame["fingerprint"].isna().tolist() == BAD
    assert frame["status"][1] == "is not valid SMILES"
    found = np.stack(frame.loc[frame["status"] == "ok", "fingerprint"])
    expected = fingerprinter.fingerprint(TEXTS)
    assert found.dtype == np.float32 and found.shape == (15, 18)
    np.testing.assert_allclose(found, expected[~np.array(BAD)], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_array(model: SavedModel, table: Path, tmp_path: Path, dtype: Any) -> None:
    fingerprinter = Fingerprinter(model, "gnn", "sum")
    total = write(FingerprintColumns(fingerprinter, dtype=dtype), table, tmp_path / "out.npy")
    assert total == {"rows": 21, "failures": 6}
    found = np.load(tmp_path / "out.npy", mmap_mode="r")
    assert found.dtype == dtype and found.shape == (21, 6) and np.isnan(found).all(axis=1).tolist() == BAD
    exact = {"float32": 1e-5, "float16": 1e-3}[dtype]
    np.testing.assert_allclose(found, fingerprinter.fingerprint(TEXTS), rtol=exact, atol=exact)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["molecules.csv", "out.npy"]


@pytest.mark.parametrize(("layer", "counts"), [("gnn:0", [3, 7, 1, 2, 7]), ("readout:edge", [2, 7, 0, 0, 6])])
def test_vectors_of_atoms_and_bonds(
    model: SavedModel, table: Path, tmp_path: Path, layer: str, counts: list[int]
) -> None:
    fingerprinter = Fingerprinter(model, layer)
    write(FingerprintColumns(fingerprinter, per_atom=True, dtype="float16"), table, tmp_path / "out.parquet")
    cells = pq.read_table(tmp_path / "out.parquet")["fingerprint"].to_pylist()
    expected = fingerprinter.fingerprint(TEXTS, per_atom=True)
    assert [cell is None for cell in cells] == BAD
    assert [len(cell) for cell in cells if cell is not None] == counts * 3
    for cell, values in zip(cells, expected, strict=True):
        found = np.array(cell if cell is not None else [], float).reshape(-1, 6)
        np.testing.assert_allclose(found, values, rtol=1e-3, atol=1e-3)


def test_nothing_that_can_be_used(model: SavedModel, tmp_path: Path) -> None:
    table = tmp_path / "bad.csv"
    table.write_text("smiles,fingerprint\nnothing,1\nat all,2\n")
    for per_atom in (False, True):
        columns = FingerprintColumns(Fingerprinter(model, "gnn"), per_atom=per_atom)
        write(columns, table, tmp_path / "out.parquet", smiles="smiles", overwrite=True)
        frame = pd.read_parquet(tmp_path / "out.parquet")
        assert frame["fingerprint"].isna().all() and list(frame.columns) == ["smiles", "fingerprint", "status"]
    write(FingerprintColumns(Fingerprinter(model, "gnn")), table, tmp_path / "out.npy", smiles="smiles")
    assert np.isnan(np.load(tmp_path / "out.npy")).all()


def test_processes_write_the_same_bytes(model: SavedModel, table: Path, tmp_path: Path) -> None:
    columns = FingerprintColumns(Fingerprinter(model))
    for name in ("one.npy", "two.npy"):
        write(columns, table, tmp_path / name, n_jobs=1 + (name == "two.npy"))
    assert (tmp_path / "one.npy").read_bytes() == (tmp_path / "two.npy").read_bytes()


@pytest.mark.parametrize("name", ["out.npy", "out.parquet"])
def test_interrupted_work_goes_on(
    model: SavedModel, table: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = FingerprintColumns(Fingerprinter(model))
    write(columns, table, tmp_path / f"whole_{name}")
    form = NumpyFormat if name.endswith("npy") else ParquetFormat

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(form, "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(columns, table, tmp_path / name)
    assert not (tmp_path / name).exists()
    chunks = sorted(tmp_path.glob("*/chunks-*/*.chunk"))
    assert len(chunks) == 6
    chunks[2].unlink()
    made: list[Path] = []
    monkeypatch.setattr(table_files, "run_chunks", spy(table_files.run_chunks, made))
    write(columns, table, tmp_path / name)
    assert made == [chunks[2]]
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole_{name}").read_bytes()


def spy(run_chunks: Callable[..., None], made: list[Path]) -> Callable[..., None]:
    """``run_chunks`` that notes the chunks which do not exist yet."""

    def run(jobs: Iterable[tuple[Path, int, Any]], *arguments: Any, **options: Any) -> None:
        def noted() -> Iterator[tuple[Path, int, Any]]:
            for job in jobs:
                if not job[0].exists():
                    made.append(job[0])
                yield job

        run_chunks(noted(), *arguments, **options)

    return run


def test_the_key_is_that_of_what_is_written(model: SavedModel) -> None:
    def key(per_atom: bool = False, dtype: Any = "float32", **options: Any) -> str:
        return FingerprintColumns(Fingerprinter(model, **options), per_atom=per_atom, dtype=dtype).key

    keys = [
        key(),
        key(layer="gnn"),
        key(layer="gnn:0"),
        key(layer="gnn", pooling="max"),
        key(layer="gnn", per_atom=True),
        key(dtype="float16"),
        key(batch_size=3),
    ]
    assert len(set(keys)) == len(keys) and key() == keys[0] and key(layer="gnn:1") == keys[1]


def test_numbers_too_large_for_float16(model: SavedModel) -> None:
    with torch.no_grad():
        model.network.node_input.table *= 1e6
    try:
        columns = FingerprintColumns(Fingerprinter(model, "encoders", "sum"), dtype="float16")
        with pytest.raises(GraphiumError, match="too large for float16; write float32"):
            columns.make(["CCO", "bad"])
    finally:
        with torch.no_grad():
            model.network.node_input.table /= 1e6


def test_outputs_are_judged_first(model: SavedModel, tmp_path: Path) -> None:
    (tmp_path / "there.npy").touch()
    for name, sentence, per_atom in (
        ("out.csv", "ends in .parquet or .npy", False),
        ("out.npy", "molecules differ in their number of atoms", True),
        ("there.npy", "exists", False),
        ("nowhere/out.npy", "does not exist", False),
    ):
        with pytest.raises(GraphiumError, match=sentence):
            check_output(tmp_path / name, per_atom=per_atom)
    with pytest.raises(GraphiumError, match="'readout:graph' has a vector per molecule"):
        FingerprintColumns(Fingerprinter(model), per_atom=True)
    with pytest.raises(GraphiumError, match="dtype is 'int8'"):
        FingerprintColumns(Fingerprinter(model), dtype="int8")  # type: ignore[arg-type]
