"""The main job as a user starts it, with a tiny budget."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# The test part of `solubility` stands at the end of its table: 1,200 rows reach it.
TINY = ("model.width=16", "model.depth=2", "data.limit=1200", "data.batch_size=128", "trainer.max_epochs=1")


def train(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Start ``graphium-train`` in ``folder``, with the interpreter that runs the tests."""
    code = "from graphium.cli.train import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


def train_here(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    """The same in this process, which has imported everything already; return the exit code."""
    from graphium.cli.train import main

    monkeypatch.setattr("sys.argv", ["graphium-train", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of ``make train``'s command, made small."""
    folder = tmp_path_factory.mktemp("train")
    done = train(folder, f"run_dir={folder / 'run'}", f"store_dir={folder / 'stores'}", *TINY)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_make_train_is_this_command(repository: Path) -> None:
    recipe = (repository / "Makefile").read_text()
    assert re.search(r"^train: .*\n\t.*graphium-train \$\(ARGS\)$", recipe, re.MULTILINE)


def test_run_folder_is_complete(run_dir: Path) -> None:
    files = {str(file.relative_to(run_dir)) for file in run_dir.rglob("*") if file.is_file()}
    assert {
        "config.yaml",
        "environment.json",
        "metrics.csv",
        "metrics.json",
        "checkpoints/last.ckpt",
        "model/model.safetensors",
        "model/config.yaml",
        "model/README.md",
        "predictions/test.parquet",
    } <= files
    assert not [name for name in files if "=" in name]


def test_metrics_of_every_data_set_stand_beside_the_baseline(run_dir: Path) -> None:
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert set(metrics["test"]) == {"freesolv", "solubility", "drugs"}
    for dataset in metrics["test"].values():
        assert {"n_defined", "baseline", "per_task"} <= set(dataset)
    assert {"mae", "mae_norm", "pooled_mae_norm", "r2", "pearson", "spearman"} <= set(metrics["test"]["freesolv"])


def test_the_configuration_of_a_run_repeats_it(run_dir: Path) -> None:
    import yaml

    written = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert written["model"]["width"] == 16
    assert written["trainer"]["max_epochs"] == 1


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["model.widht=96"], "did you mean 'width'"),
        (["model.layer.epz=1"], "eps"),
        (["data.lmit=1"], "limit"),
        (["optim.rl=1"], "lr"),
        (["trainer.max_epoch=1"], "max_epochs"),
        (["features.fomr=heavy"], "form"),
        (["model.norm=layernrom"], "layer_norm"),
        (["data_dir=nowhere"], "nowhere"),
        (["data=table", "data.path=nowhere.csv", "data.targets=[y]"], "nowhere.csv"),
        (["ckpt_path=nowhere.ckpt"], "nowhere.ckpt"),
    ],
)
def test_wrong_input_ends_in_a_sentence(
    words: list[str],
    part: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train_here(monkeypatch, f"store_dir={tmp_path / 'stores'}", *TINY, *words) == 1
    (error,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: "))
    assert part in error
    assert not (tmp_path / "outputs").exists()


def test_any_table_without_a_configuration_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{'C' * n}{tail},{n + k}" for n in range(1, 21) for k, tail in enumerate(("O", "N", "Cl"))]
    (tmp_path / "my table.csv").write_text("structure,logP (mg/l)\n" + "\n".join(rows) + "\n")
    words = ["data=table", "data.path=my table.csv", "data.targets=['logP (mg/l)']", "run_dir=run"]
    assert train_here(monkeypatch, *words, f"store_dir={tmp_path / 'stores'}", *TINY) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    (dataset,) = metrics["test"].values()
    assert "logP (mg/l)" in dataset["per_task"]
