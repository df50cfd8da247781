"""``graphium predict`` as a command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from graphium.chem.featurizer import Featurizer
from graphium.cli.main import app
from graphium.cli.predict import summary
from graphium.errors import GraphiumError
from graphium.models.predictor import Predictor
from graphium.models.saved import save_model
from graphium.nn.network import build_network
from graphium.types import Task, group_tasks


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of the same tasks, ``one`` and ``two``."""
    folder = tmp_path_factory.mktemp("models")
    featurizer = Featurizer(encodings=[])
    heads = group_tasks(
        [
            Task("logp", "a", "graph", "regression", transform={"name": "zscore", "mean": 2.0, "scale": 3.0}),
            Task("tox", "a", "graph", "binary"),
            Task("charge", "a", "node", "regression"),
        ]
    )
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        network = build_network(featurizer.spec, heads, width=16, depth=1, dropout=0.3)
        save_model(folder / name, network, featurizer, heads)
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    pd.DataFrame({"smiles": ["OCC", "C(", "c1ccccc1"], "id": ["007", "008", "009"]}).to_csv(
        tmp_path / "in.csv", index=False
    )
    return tmp_path / "in.csv"


Run = Callable[..., str]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command; returns what it said on stderr, or raises what it raised."""

    def call(*words: object, stdin: str = "") -> str:
        result = CliRunner().invoke(app, ["predict", *map(str, words)], input=stdin)
        if isinstance(result.exception, Exception):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stderr + capfd.readouterr().err

    return call


def test_files(models: Path, table: Path, tmp_path: Path, run: Run) -> None:
    said = run(models / "one", table, "-o", tmp_path / "out.csv")
    assert "SMILES column: 'smiles'" in said
    assert "predicted 2 of 3 rows to" in said and "1 could not be used, see the column status" in said
    frame = pd.read_csv(tmp_path / "out.csv", dtype={"id": str})
    assert list(frame) == ["smiles", "id", "logp", "tox", "charge", "status"]
    assert frame["id"].tolist() == ["007", "008", "009"]
    assert frame["status"].tolist() == ["ok", "is not valid SMILES", "ok"]
    run(models / "one", table, "-o", tmp_path / "out.parquet", "--tasks", "log*", "--tasks", "tox")
    typed = pd.read_parquet(tmp_path / "out.parquet")
    assert list(typed) == ["smiles", "id", "logp", "tox", "status"]
    for name in ("logp", "tox"):
        pd.testing.assert_series_equal(frame[name].astype("float32"), typed[name])
    here = Predictor(models / "one").predict(typed["smiles"])
    pd.testing.assert_series_equal(here["logp"], typed["logp"])


def test_trust_columns_and_ensembles(models: Path, table: Path, tmp_path: Path, run: Run) -> None:
    words = (models / "one", table, "--ensemble", models / "two", "--spread", "--tasks", "logp")
    run(*words, "-o", tmp_path / "e.parquet")
    frame = pd.read_parquet(tmp_path / "e.parquet")
    assert list(frame) == ["smiles", "id", "logp", "logp[spread]", "status"]
    each = [Predictor(models / name).predict(["OCC"])["logp"][0] for name in ("one", "two")]
    assert frame["logp"][0] == pytest.approx(sum(each) / 2, rel=1e-5)
    assert frame["logp[spread]"][0] == pytest.approx(abs(each[0] - each[1]) / 2**0.5, rel=1e-3)
    run(models / "one", table, "--dropout", 4, "--spread", "-o", tmp_path / "d.parquet")
    dropped = pd.read_parquet(tmp_path / "d.parquet")
    assert (dropped["logp[spread]"].dropna() > 0).all() and len(dropped["charge[spread]"][0]) == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["one", "in.csv", "-o", "out.xyz"], "suffix that is not written"),
        (["one", "in.csv", "-o", "no/out.csv"], "folder 'no' of the output does not exist"),
        (["one", "none.csv", "-o", "out.csv"], "the file 'none.csv' does not exist"),
        (["one", ".", "-o", "out.csv"], "is a folder, not a table"),
        (["one", "empty.csv", "-o", "out.csv"], "is empty"),
        (["one", "garbage.csv", "-o", "out.csv"], "garbage.csv"),
        (["one", "garbage.sdf", "-o", "out.csv"], "garbage.sdf"),
        (["one", "in.csv", "-o", "out.csv", "--smiles", "smile"], "did you mean 'smiles'"),
        (["one", "in.csv", "-o", "out.csv", "--tasks", "logq"], "did you mean 'logp'"),
        (["one", "in.csv", "-o", "out.csv", "--batch-size", "0"], "batch_size is 0"),
        (["one", "in.csv", "-o", "out.csv", "--jobs", "0"], "jobs is 0"),
        (["one", "in.csv", "-o", "out.csv", "--device", "toaster"], "device is 'toaster'"),
        (["one", "in.csv", "-o", "out.csv", "--spread"], "--spread compares several"),
        (["one", "in.csv", "-o", "out.csv", "--dropout", "5"], "no use without --spread"),
        (["one", "in.csv", "-o", "out.csv", "--interval", "0.9"], "calibration"),
        (["one", "in.csv", "-o", "out.csv", "--domain"], "domain"),
        (["three", "in.csv", "-o", "out.csv"], "three"),
        (["one", "-", "-o", "out.csv"], "nothing came on stdin"),
    ],
)
def test_sentences(
    words: list[str], sentence: str, models: Path, table: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table.parent)
    (table.parent / "empty.csv").write_text("")
    for name in ("garbage.csv", "garbage.sdf"):
        (table.parent / name).write_bytes(bytes(range(256)) * 40)
    with pytest.raises(GraphiumError, match=sentence) as raised:
        run(models / words[0], *words[1:])
    assert "\n" not in str(raised.value) and not Path("out.csv").exists()


def test_nothing_usable_still_writes(models: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "in.csv").write_text("smiles\nC(\nnothing\n")
    said = run(models / "one", tmp_path / "in.csv", "--smiles", "smiles", "-o", tmp_path / "out.csv")
    assert "none of 2 rows could be used" in said
    frame = pd.read_csv(tmp_path / "out.csv")
    assert len(frame) == 2 and frame["logp"].isna().all() and (frame["status"] == "is not valid SMILES").all()


def test_summary() -> None:
    assert summary({"rows": 3, "failures": 0}, "-") == "predicted 3 of 3 rows"
    assert (
        summary({"rows": 3, "failures": 3}, "o.csv") == "none of 3 rows could be used, see the column status of o.csv"
    )


def test_a_pipe(models: Path) -> None:
    code = "from graphium.cli.main import main; main()"
    words = [sys.executable, "-c", code, "predict", str(models / "one"), "-", "-o", "-", "--tasks", "logp"]
    found = subprocess.run(words, input="CCO\nC(=\n", capture_output=True, text=True, check=True)
    header, first, second = found.stdout.splitlines()
    assert header == "smiles,name,logp,status" and first.endswith(",ok") and second == "C(=,,,is not valid SMILES"
    assert "predicted 1 of 2 rows" in found.stderr


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("from graphium.cli.main import app; app(['predict', '--help'], standalone_mode=False)", "torch"),
        ("import graphium.models.predictor, graphium.models.trust.conformal", "pytorch_lightning"),
    ],
)
def test_what_is_not_imported(code: str, absent: str) -> None:
    check = f"{code}\nimport sys; assert {absent!r} not in sys.modules and 'lightning' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)
