"""``graphium explain``: tables, pictures, one molecule, and its sentences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch

from graphium.chem.featurizer import Featurizer
from graphium.cli.main import main
from graphium.models.attribution.contributions import explain
from graphium.models.saved import save_model
from graphium.nn.network import build_network
from graphium.types import Task, group_tasks

TEXTS = ["OCC", "C(", "c1ccncc1Cl", "CCN"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    tasks = [
        Task("logs", "a", "graph", "regression"),
        Task("kind", "a", "graph", "multiclass", num_classes=2, classes=("p", "q")),
    ]
    heads, featurizer = group_tasks(tasks), Featurizer(encodings=[])
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run") / "model"
    save_model(folder, build_network(featurizer.spec, heads, width=8, depth=1), featurizer, heads)
    return str(folder)


@pytest.fixture
def table(tmp_path: Path) -> str:
    pd.DataFrame({"id": range(4), "smiles": TEXTS, "logs": 0.0}).to_csv(tmp_path / "in.csv", index=False)
    return str(tmp_path / "in.csv")


def start(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr("sys.argv", ["graphium", "explain", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_a_folder_of_pictures(
    model: str, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [model, table, "--task", "logs", "-o", str(tmp_path / "out"), "--pictures", "3"]
    assert start(monkeypatch, *words) == 0
    said = capsys.readouterr().err
    assert "explained 3 of 4 rows" in said and "1 could not be used" in said and "the first 3 rows are drawn" in said
    assert "columns of the input that have the name of a new one are left out: 'logs'" in said
    found = pd.read_parquet(tmp_path / "out" / "contributions.parquet")
    assert list(found) == ["id", "smiles", "logs", "logs[baseline]", "logs[contributions]", "status"]
    assert found["smiles"].tolist() == TEXTS and found["status"].tolist() == ["ok", "is not valid SMILES", "ok", "ok"]
    for text, line in zip(TEXTS, found.to_dict("records"), strict=True):
        if line["status"] == "ok":
            one = explain(model, text, "logs")
            np.testing.assert_allclose(line["logs[contributions]"], one.values, atol=1e-5)
            assert line["logs"] == pytest.approx(one.prediction, rel=1e-5)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.svg", "2.svg", "contributions.parquet"]
    ElementTree.parse(tmp_path / "out" / "2.svg")
    assert start(monkeypatch, *words) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert start(monkeypatch, *words, "--overwrite") == 0


def test_a_file_without_pictures(model: str, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [model, table, "--task", "kind", "--class", "q", "--method", "masking", "-o", str(tmp_path / "out.csv")]
    assert start(monkeypatch, *words) == 0
    found = pd.read_csv(tmp_path / "out.csv")
    assert list(found)[-5:] == ["kind", "kind[class]", "kind[baseline]", "kind[contributions]", "status"]
    assert found["kind[class]"].dropna().unique().tolist() == ["q"] and found["kind"].between(0, 1).sum() == 3
    assert not list(tmp_path.glob("*.svg"))


def test_one_molecule(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [model, "--molecule", "OCC", "--task", "kind"]
    assert start(monkeypatch, *words, "-o", str(tmp_path / "one.svg")) == 0
    captured = capsys.readouterr()
    lines = [line.split() for line in captured.out.splitlines()]
    assert lines[0] == ["atom", "element", "contribution"] and [line[1] for line in lines[1:4]] == ["O", "C", "C"]
    assert lines[4][:3] == ["kind:", "probability", "of"]
    ElementTree.parse(tmp_path / "one.svg")
    assert start(monkeypatch, *words) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "logs"], "give either INPUT, a table, or --molecule with one SMILES"),
        (["TABLE", "--task", "logs"], "there is no output; give -o FOLDER"),
        (["TABLE", "-o", "x.csv"], "the model has 2 tasks; name one of them: a/logs, a/kind"),
        (["TABLE", "--task", "logs", "-o", "x.txt"], "has a suffix that is not written"),
        (["--molecule", "C(", "--task", "logs"], "'C(' is not valid SMILES; give a valid SMILES"),
        (["--molecule", "C", "--task", "logs", "-o", "x.png"], "is a picture; give a path that ends in .svg"),
        (["--molecule", "C", "--task", "logs", "--class", "p"], "leave it out, the task is a number"),
    ],
)
def test_sentences(
    model: str,
    table: str,
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert start(monkeypatch, model, *(table if word == "TABLE" else word for word in words)) == 1
    assert said in " ".join(capsys.readouterr().err.split())


def test_no_lightning_and_no_torch_for_the_help_page(model: str) -> None:
    code = f"""
import sys
from graphium.cli.main import main
def start(*words):
    sys.argv = ["graphium", "explain", *words]
    try:
        main()
    except SystemExit as error:
        assert not error.code
start("--help")
assert "torch" not in sys.modules
start({model!r}, "--molecule", "CO", "--task", "logs")
assert "pytorch_lightning" not in sys.modules and "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
