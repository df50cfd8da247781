"""Tables in the shape of LargeMix and UltraLarge, and a few steps of every experiment on them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem

from graphium.chem.featurizer import Featurizer
from graphium.config import compose
from graphium.data.build import build_mix
from graphium.data.mix import Mix
from graphium.nn.network import build_network
from graphium.training.run import run

# Networks of the experiments' form in a few thousand parameters, trained for a few steps.
TINY = (
    "~model.budget",
    "model.width=8",
    "model.depth=2",
    "model.head_width=8",
    "data.batch_size=64",
    "trainer.max_steps=3",
    "trainer.progress=false",
)
LARGE = (*TINY, "model.readouts.graph.width=16", "model.readouts.node.width=8")
# One data set alone has no need of the mix's heads, nor of a readout of another level.
ALONE = (*TINY, "~model.heads", "model.readouts.graph.width=16", "~model.readouts.node")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    path = tmp_path_factory.mktemp("pool") / "pool.csv"
    pd.read_csv(shared_data / "pool" / "moses_train.csv.gz", nrows=2500).to_csv(path, index=False)
    return path


def generate(repository: Path, folder: Path, pool: Path, *words: str) -> Path:
    script = repository / "expts" / "largemix" / "generate.py"
    subprocess.run([sys.executable, script, folder, "--pool", pool, *words], check=True)
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, repository: Path, pool: Path) -> Path:
    folder = tmp_path_factory.mktemp("largemix")
    generate(repository, folder, pool, "--molecules", "300", "--brackets", "5")
    return generate(repository, folder, pool, "--molecules", "300")


@pytest.fixture(scope="module")
def ultra(tmp_path_factory: pytest.TempPathFactory, repository: Path, pool: Path) -> Path:
    folder = tmp_path_factory.mktemp("ultralarge")
    return generate(repository, folder, pool, "--molecules", "100", "--ultralarge")


def split(folder: Path, name: str) -> dict[str, np.ndarray]:
    parts = torch.load(folder / f"{name}_random_splits.pt", weights_only=True)
    return {part: rows.numpy() for part, rows in parts.items()}


def canonical(texts: Sequence[str]) -> np.ndarray:
    return np.array([Chem.CanonSmiles(text) for text in texts])


def test_the_tables_have_the_published_form(large: Path) -> None:
    quantum = pd.read_parquet(large / "PCQM4M_G25_N4.parquet")
    assert [len(quantum.filter(regex=name).columns) for name in ("^graph_", "^node_")] == [25, 4]
    sizes = [Chem.MolFromSmiles(text).GetNumAtoms() for text in quantum["ordered_smiles"]]
    for column in quantum.filter(regex="^node_"):
        assert [len(values) for values in quantum[column]] == sizes
    assays = pd.read_parquet(large / "PCBA_1328_1564k.parquet").set_index("SMILES")
    assert assays.columns.str.startswith("assayID-").sum() == assays.shape[1] == 1328
    assert (assays.dtypes == np.float64).all()
    values = assays.to_numpy()
    assert np.isin(values[~np.isnan(values)], (0, 1)).all()
    assert 0.02 < np.nanmean(values) < 0.2
    for cell_line in ("VCAP", "MCF7"):
        three = pd.read_csv(large / f"LINCS_L1000_{cell_line}_0-2_th2.csv.gz").set_index("SMILES")
        five = pd.read_csv(large / f"LINCS_L1000_{cell_line}_0-4.csv.gz").set_index("SMILES")
        assert three.columns.str.startswith("geneID-").sum() == three.shape[1] == 978
        assert (three.dtypes == np.int64).all()
        assert np.isin(three, (0, 1, 2)).all()
        assert (three == 1).to_numpy().mean() == pytest.approx(0.92, abs=0.02)
        # The same labels: the outer brackets divided.
        assert (np.searchsorted([2, 3], five.to_numpy(), side="right") == three.to_numpy()).all()
        assert set(np.unique(five)) == {0, 1, 2, 3, 4}


def test_test_seen_shows_training_molecules_of_pcqm4m(large: Path) -> None:
    quantum = canonical(pd.read_parquet(large / "PCQM4M_G25_N4.parquet")["ordered_smiles"])
    seen = set(quantum[split(large, "pcqm4m_g25_n4")["train"]])
    tables = {
        "pcba_1328": pd.read_parquet(large / "PCBA_1328_1564k.parquet"),
        "l1000_vcap": pd.read_csv(large / "LINCS_L1000_VCAP_0-2_th2.csv.gz"),
        "l1000_mcf7": pd.read_csv(large / "LINCS_L1000_MCF7_0-2_th2.csv.gz"),
    }
    for name, table in tables.items():
        parts, molecules = split(large, name), canonical(table["SMILES"])
        assert sorted(np.concatenate(list(parts.values()))) == list(range(len(table)))
        assert set(molecules[parts["test_seen"]]) <= seen
        assert not seen.intersection(molecules[np.concatenate([parts[part] for part in ("train", "val", "test")])])
    vcap, mcf7 = (set(canonical(tables[name]["SMILES"])) for name in ("l1000_vcap", "l1000_mcf7"))
    assert vcap & mcf7


def test_labels_of_atoms_stand_in_the_order_of_the_text(large: Path) -> None:
    quantum = pd.read_parquet(large / "PCQM4M_G25_N4.parquet")
    elements = [[a.GetAtomicNum() for a in Chem.MolFromSmiles(t).GetAtoms()] for t in quantum["ordered_smiles"]]

    def explained(order: slice) -> float:
        """Largest share of a label's variance that the element explains."""
        shares = []
        for column in quantum.filter(regex="^node_"):
            frame = pd.DataFrame(
                {"y": np.concatenate(quantum[column]), "z": np.concatenate([atoms[order] for atoms in elements])}
            )
            shares.append(frame.groupby("z")["y"].transform("mean").var() / frame["y"].var())
        return max(shares)

    assert explained(slice(None)) > 0.2 > 0.1 > explained(slice(None, None, -1))


def test_equal_arguments_give_equal_files(ultra: Path, repository: Path, pool: Path, tmp_path: Path) -> None:
    again = generate(repository, tmp_path, pool, "--molecules", "100", "--ultralarge")
    files = sorted(file.name for file in ultra.iterdir())
    assert len(files) == 21
    assert [file.name for file in sorted(again.iterdir())] == files
    assert all((ultra / name).read_bytes() == (again / name).read_bytes() for name in files)


def train(folder: Path, run_dir: Path, *words: str) -> dict[str, Any]:
    config = compose([f"data_dir={folder}", f"store_dir={folder / 'stores'}", f"run_dir={run_dir}", *words])
    return run(config).metrics


@pytest.mark.parametrize(("experiment", "brackets"), [("largemix_gine", 3), ("largemix_gcn", 3), ("largemix_gin", 5)])
def test_largemix_experiments_train(experiment: str, brackets: int, large: Path, tmp_path: Path) -> None:
    words = [f"experiment={experiment}", *(["data=largemix_5"] if brackets == 5 else [])]
    small_heads = [f"model.heads.{name}.width=8" for name in ("vcap", "mcf7", "assays")]
    metrics = train(large, tmp_path / "run", *words, *LARGE, *small_heads)
    cells = [f"l1000_{name}{'_5' if brackets == 5 else ''}" for name in ("vcap", "mcf7")]
    assert set(metrics["test"]) == {*cells, "pcba_1328", "pcqm4m_g25", "pcqm4m_n4"}
    assert set(metrics["test_seen"]) == {*cells, "pcba_1328"}
    for name in (*cells, "pcba_1328"):
        for part in ("test", "test_seen"):
            assert metrics[part][name]["n_defined"]["auroc"] > 0
            assert 0 <= metrics[part][name]["auroc"] <= 1
            assert len(metrics[part][name]["per_task"]) == (1328 if name == "pcba_1328" else 978)
    for name, tasks in (("pcqm4m_g25", 25), ("pcqm4m_n4", 4)):
        assert np.isfinite(metrics["test"][name]["mae"])
        assert len(metrics["test"][name]["per_task"]) == tasks


def test_ultralarge_experiment_trains(ultra: Path, tmp_path: Path) -> None:
    metrics = train(ultra, tmp_path / "run", "experiment=ultralarge_gine", *LARGE)
    assert {name: len(dataset["per_task"]) for name, dataset in metrics["test"].items()} == {
        "pm6_83m_g62": 62,
        "pm6_83m_n7": 7,
    }


@pytest.mark.parametrize("name", ["pcba_1328", "l1000_vcap", "pcqm4m_g25"])
def test_one_data_set_alone_trains(name: str, large: Path, tmp_path: Path) -> None:
    metrics = train(large, tmp_path / "run", "experiment=largemix_gine", f"data={name}", *ALONE)
    assert set(metrics["test"]) == {name}
    assert ("test_seen" in metrics) == (name != "pcqm4m_g25")


def test_labels_of_atoms_alone_train(large: Path, tmp_path: Path) -> None:
    words = ("~model.heads", "~model.readouts.graph", "model.readouts.node.width=8")
    metrics = train(large, tmp_path / "run", "experiment=largemix_gine", "data=pcqm4m_n4", *TINY, *words)
    assert np.isfinite(metrics["test"]["pcqm4m_n4"]["mae"])


def mix_of(folder: Path, data: str) -> Mix:
    config = compose([f"data={data}"])
    featurizer = Featurizer(**config["features"])
    return build_mix(config["data"], featurizer, data_dir=folder, store_dir=folder / "stores", progress=False)


@pytest.mark.parametrize("experiment", ["largemix_gine", "largemix_gcn", "largemix_gin", "ultralarge_gine"])
def test_the_published_size(experiment: str, large: Path, ultra: Path) -> None:
    config = compose([f"experiment={experiment}"])
    is_large = experiment.startswith("largemix")
    mix = mix_of(large, "largemix") if is_large else mix_of(ultra, "ultralarge")
    with torch.device("meta"):
        network = build_network(mix.spec, mix.heads, **config["model"])
    assert network.num_parameters() == pytest.approx(10e6, rel=0.02)
    numbers = {head.dataset: head.num_tasks * max(head.width, 1) for head in mix.heads}
    if is_large:
        published = {"l1000_vcap": 2934, "l1000_mcf7": 2934, "pcba_1328": 1328, "pcqm4m_g25": 25, "pcqm4m_n4": 4}
    else:
        published = {"pm6_83m_g62": 62, "pm6_83m_n7": 7}
    assert numbers == published
    assert {task.loss["name"] for head in mix.heads if head.kind == "ordinal" for task in head.tasks} <= {"hybrid_ce"}
