from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from graphium.data.catalogue import catalogue, find
from graphium.errors import GraphiumError


def test_known_datasets_and_their_mixes() -> None:
    entries = {entry.name: entry for entry in catalogue()}
    assert {"qm9", "tox21", "zinc12k", "freesolv", "solubility", "drugs"} <= set(entries)
    assert entries["qm9"].labels == "19 graph regression"
    assert entries["solubility"].labels == "1 graph regression, 1 graph multiclass"
    assert entries["drugs"].labels == "1 node regression"
    assert entries["tox21"].mixes == ("tox21", "toymix")
    assert set(entries["freesolv"].mixes) == {"freesolv", "micromix"}
    assert all(entry.dataset.about for entry in entries.values())


def test_details() -> None:
    details = find("qm9").details()
    assert details["address"].startswith("https://storage.valencelabs.com/")
    assert "homo [Hartree]" in details["columns"]
    assert details["split"].startswith("file: path qm9_random_splits")
    assert details["use"] == "data=qm9, data=toymix"
    assert "address" not in find("freesolv").details()
    with pytest.raises(GraphiumError, match="no known dataset 'qm8'; did you mean 'qm9'"):
        find("qm8")


def test_a_mix_is_no_dataset() -> None:
    with pytest.raises(GraphiumError, match="'toymix' is a mix of qm9, tox21, zinc12k"):
        find("toymix")


def test_another_folder(tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "lab.yaml").write_text("path: lab.csv\ntargets: [y]\n")
    (entry,) = catalogue(tmp_path)
    assert (entry.name, entry.labels, entry.mixes) == ("lab", "1 any level any kind", ())
    (tmp_path / "dataset" / "lab.yaml").write_text("path: [lab.csv\n")
    with pytest.raises(GraphiumError, match=r"lab\.yaml is not readable YAML"):
        catalogue(tmp_path)


def test_the_catalogue_needs_no_torch() -> None:
    code = "import sys; from graphium.data.catalogue import catalogue; catalogue(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
