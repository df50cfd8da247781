from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from graphium.chem.featurizer import Featurizer
from graphium.cli.main import main
from graphium.data.build import build_mix
from graphium.models.saved import save_model
from graphium.nn.network import build_network
from graphium.training.results import training_statistics


def frame(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    texts = [f"{'C' * n}{end}" for n in range(1, 9) for end in ("O", "N", "Cl")]
    return pd.DataFrame({"smiles": texts, "y": rng.normal(3, 2, 24), "hit": np.resize([1, 0, 0], 24)})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A model of two tasks with random weights."""
    folder = tmp_path_factory.mktemp("saved")
    frame(0).to_csv(folder / "old.csv", index=False)
    section = {"path": str(folder / "old.csv"), "targets": ["y", "hit"], "unit": {"y": "eV"}}
    featurizer = Featurizer(encodings=[])
    mix = build_mix(section, featurizer, store_dir=folder / "stores", progress=False)
    torch.manual_seed(0)
    network = build_network(mix.spec, mix.heads, layer="gine", width=8, depth=1)
    save_model(folder / "model", network, featurizer, mix.heads, statistics=training_statistics(mix))
    return folder / "model"


class Terminal:
    """Runs ``graphium evaluate`` with the working directory in a folder of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.monkeypatch, self.capsys, self.folder = monkeypatch, capsys, folder
        monkeypatch.chdir(folder)
        monkeypatch.setenv("COLUMNS", "120")

    def __call__(self, *words: str | Path) -> tuple[int, str, str]:
        self.monkeypatch.setattr("sys.argv", ["graphium", "evaluate", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = self.capsys.readouterr()
        return int(caught.value.code or 0), out, " ".join(err.split())

    def numbers(self, *words: str | Path) -> dict[str, Any]:
        code, _, err = self(*words, "-o", "deep/found.json")
        assert code == 0, err
        return json.loads((self.folder / "deep" / "found.json").read_text())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    frame(1).to_csv(tmp_path / "mine.csv", index=False)
    return Terminal(monkeypatch, capsys, tmp_path)


def test_a_table(terminal: Terminal, model: Path) -> None:
    code, out, err = terminal(model, "mine.csv", "-o", "found.json", "--predictions", "found.parquet")
    assert code == 0
    assert "mae ↓ eV" in out and "baseline, all" in out
    assert "no split is named, so all rows were measured" in err
    assert "written: found.json" in err
    found = json.loads(Path("found.json").read_text())
    assert sorted(found["all"]["mine"]["per_task"]) == ["hit", "y"]
    assert pd.read_parquet("found.parquet").columns.tolist() == ["row", "smiles", "y", "hit", "status"]


def test_words_as_for_training(terminal: Terminal, model: Path) -> None:
    once = terminal.numbers(model, "mine.csv")
    assert terminal.numbers(model, "data=table", "data.path=mine.csv", "data.targets=[hit,y]", "--part", "all") == once
    assert terminal.numbers(model, "data=table", "data.path=mine.csv", "data_dir=.") == once
    few = terminal.numbers(model, "mine.csv", "data.limit=12", "data.split={name: random, test: 1.0, train: 0, val: 0}")
    assert list(few) == ["test"]
    alone = terminal.numbers(model, "mine.csv", "--tasks", "h*")
    assert alone["all"]["mine"]["per_task"] == {"hit": once["all"]["mine"]["per_task"]["hit"]}
    frame(1).rename(columns={"y": "a=b"}).to_csv("other.csv", index=False)
    two = terminal.numbers(model, "mine.csv", "other.csv", "--task", "other/a=b=y")
    assert two["all"]["mine"] == once["all"]["mine"]
    assert two["all"]["other"]["per_task"]["a=b"] == once["all"]["mine"]["per_task"]["y"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["no.csv"], "'no.csv' is not in the current folder"),
        (["mine.csv", "dat.smiles=x"], "'dat.smiles=x' is not a setting of the data"),
        (["mine.csv", "model.width=3"], "'model.width=3' is not a setting of the data"),
        (["mine.csv", "data.smile=x"], "unknown key data.smile; did you mean 'smiles'"),
        (["mine.csv", "data.smiles=x"], "'x'"),
        (["data=toymx"], "did you mean 'toymix'"),
        (["mine.csv", "--part", "tset"], "did you mean 'test'"),
        (["mine.csv", "--part", "test_seen"], "no row of the data is in the part test_seen"),
        (["mine.csv", "--task", "y"], "--task 'y' is not COLUMN=TASK"),
        (["mine.csv", "--task", "why=y"], "'why' is said to be a task of the model and is no column of the data"),
        (["mine.csv", "--tasks", "why"], "the model has no task 'why'"),
        (["mine.csv", "--predictions", "p.csv"], "name it .parquet"),
        (["mine.csv", "-o", "."], "is a folder; name a file"),
        (["mine.csv", "-o", "mine.csv"], "written as JSON and 'mine.csv' ends otherwise"),
        (["mine.parquet", "--predictions", "mine.parquet"], "would replace the table 'mine.parquet' itself"),
        (["mine.csv", "--device", "gpu"], "the device 'gpu' cannot be used"),
        (["empty.csv"], "has a header and no rows"),
        (["nosmiles.csv"], "no column of nosmiles.csv holds SMILES"),
        (["nolabels.csv"], "no column of the data is a task of the model"),
        (["text.csv"], "'y' holds text"),
        (["mine.csv", "other.csv", "data.limit=3"], "settings are about one table and there are several"),
        ([], "is not the folder of a run"),
    ],
)
def test_one_sentence(terminal: Terminal, model: Path, words: list[str], sentence: str) -> None:
    Path("empty.csv").write_text("smiles,y\n")
    Path("nosmiles.csv").write_text("name,y\nethanol,1\n")
    Path("nolabels.csv").write_text("smiles,y\nCC,\nCCC,\n")
    Path("text.csv").write_text("smiles,y\nCC,big\nCCC,small\n")
    Path("other.csv").write_text("smiles,y\nCC,1\n")
    frame(1).to_parquet("mine.parquet")
    code, out, err = terminal(model, *words)
    assert (code, out) == (1, "")
    assert "Traceback" not in err
    assert sentence in err.partition("Error: ")[2]


def test_what_cannot_be_written_is_shown_all_the_same(terminal: Terminal, model: Path) -> None:
    Path("file").write_text("")
    code, out, err = terminal(model, "mine.csv", "-o", "file/found.json")
    assert code == 1 and "mae" in out and "file" in err and "Traceback" not in err
    code, out, err = terminal(model, "mine.csv", "--predictions", "file/found.parquet")
    assert code == 1 and "file" in err and "Traceback" not in err


def test_no_model(terminal: Terminal) -> None:
    code, _, err = terminal("nothing", "mine.csv")
    assert code == 1 and "nothing" in err and "Traceback" not in err
    code, _, err = terminal("nothing")
    assert code == 1 and "nothing" in err and "Traceback" not in err


def test_lightning_is_not_imported(model: Path, tmp_path: Path) -> None:
    frame(1).to_csv(tmp_path / "mine.csv", index=False)
    code = f"""
import sys
from graphium.cli.main import app
app(["evaluate", {str(model)!r}, {str(tmp_path / "mine.csv")!r}], standalone_mode=False)
assert "torch" in sys.modules and "pytorch_lightning" not in sys.modules and "lightning" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
