"""Saved models of every format that there has been: they load, and predict what they predicted when they were saved."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from graphium.data.batch import GraphBatch
from graphium.data.labels.transforms import LabelTransform
from graphium.models.folder.config_file import FORMAT
from graphium.models.saved import load_model, save_model

HERE = Path(__file__).resolve().parent
MODELS = sorted(path.parent for path in HERE.glob("format_*/*/config.yaml"))
NAMES = [str(path.relative_to(HERE)) for path in MODELS]


def _expected(folder: Path) -> tuple[GraphBatch, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    tensors = load_file(folder / "expected.safetensors")
    parts: dict[str, dict[str, torch.Tensor]] = {"": {}, "encodings": {}, "predictions": {}, "units": {}}
    for name, tensor in tensors.items():
        kind, _, key = name.rpartition("/")
        parts[kind][key] = tensor
    return GraphBatch(**parts[""], encodings=parts["encodings"]), parts["predictions"], parts["units"]  # type: ignore[arg-type]


def _predicts_the_same(folder: Path, expected: Path) -> None:
    saved = load_model(folder)
    batch, predictions, units = _expected(expected)
    assert {head.name for head in saved.heads} == predictions.keys()
    with torch.no_grad():
        found = saved.network(batch)
    for head in saved.heads:
        torch.testing.assert_close(found[head.name], predictions[head.name], rtol=1e-5, atol=1e-5)
        if head.name in units:
            in_units = LabelTransform(head.tasks).inverse(predictions[head.name])
            torch.testing.assert_close(in_units, units[head.name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("folder", MODELS, ids=NAMES)
def test_every_format_loads_and_predicts_the_same(folder: Path) -> None:
    assert yaml.safe_load((folder / "config.yaml").read_text())["format"] == int(folder.parent.name.rpartition("_")[2])
    _predicts_the_same(folder, folder)


@pytest.mark.parametrize("folder", MODELS, ids=NAMES)
def test_every_format_is_saved_again_in_the_newest(folder: Path, tmp_path: Path) -> None:
    saved = load_model(folder)
    save_model(tmp_path, saved.network, saved.featurizer, saved.heads, facts=saved.facts)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["format"] == FORMAT
    assert load_model(tmp_path).heads == saved.heads
    _predicts_the_same(tmp_path, folder)


def test_every_format_has_its_archive() -> None:
    """With a new format comes a new folder, made by make.py before the release that writes it."""
    assert {path.parent.name for path in MODELS} == {f"format_{number}" for number in range(1, FORMAT + 1)}
    for folder in MODELS:
        assert sum(file.stat().st_size for file in folder.iterdir()) < 150_000


def test_what_made_them_still_runs(tmp_path: Path) -> None:
    path = HERE / "make.py"
    specification = importlib.util.spec_from_file_location("make_models_at_rest", path)
    assert specification is not None and specification.loader is not None
    make = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(make)
    make.main(tmp_path)
    for folder in sorted(tmp_path.iterdir()):
        _predicts_the_same(folder, folder)
        assert re.fullmatch(r"\w+", folder.name) and folder.name in {path.name for path in MODELS}
        shutil.rmtree(folder)
