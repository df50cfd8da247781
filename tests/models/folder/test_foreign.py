from __future__ import annotations

from typing import Any

import pytest

from graphium import registry
from graphium.models.folder.config_file import ModelConfig
from graphium.models.folder.foreign import foreign_code, oversized


def _config(model: Any = None, features: Any = None, heads: Any = None) -> ModelConfig:
    return ModelConfig(model=model or {}, features=features or {}, spec={}, heads=heads or [])


def test_places_of_code_are_named() -> None:
    config = _config(
        model={"layer": {"name": "my.Layer"}, "encoders": {"a.b": "mlp"}, "pooling": ["sum", "my.Pool"]},
        features={"atom_onehot": ["my.property"]},
        heads=[{"name": "h", "all": {"loss": "my.loss"}, "tasks": [{"name": "t", "metrics": [{"name": "my.metric"}]}]}],
    )
    assert foreign_code(config) == {
        "model.layer.name": "my.Layer",
        "model.encoders.a.b": "a.b",
        "model.pooling": "my.Pool",
        "features.atom_onehot": "my.property",
        "loss of h": "my.loss",
        "metrics of t": "my.metric",
    }


def test_free_texts_are_no_code() -> None:
    task = {"name": "log.p", "dataset": "a.v2", "unit": "mol.kg", "classes": ["a.b"], "outputs": ["q0.1"]}
    loss = {"name": "bce", "pos_weight": {"os.system": 1.0}}
    config = _config(
        model={"heads": {"x": {"of": ["a.v2", "b/c.d"]}, "y": {"of": "a.v2/*"}}, "width": 3.5},
        heads=[{"name": "h", "all": {"loss": loss}, "tasks": [{**task, "qualifier": "x.y"}]}],
    )
    assert foreign_code(config) == {}


def test_no_registered_part_has_a_dot() -> None:
    """What is looked up without a dot is never imported, and what has one is never a part of ours."""
    for kind in ("layer", "norm", "pooling", "residual", "encoder", "encoding", "atom_onehot", "bond_float", "loss"):
        assert not [name for name in registry.names(kind) if "." in name]


@pytest.mark.parametrize(
    "model,features,found",
    [
        ({"width": 100, "depth": 10, "dropout": 0.5, "flag": True}, {"encodings": [{"k": 8}]}, None),
        ({"width": 101}, {}, "model.width is 101"),
        ({"readouts": {"graph": {"depth": 11}}}, {}, "model.readouts.graph.depth is 11"),
        ({"head_depth": 11}, {}, "model.head_depth is 11"),
        ({"inputs": {"atoms": {"hidden": [8, 200]}}}, {}, "model.inputs.atoms.hidden is 200"),
        ({}, {"encodings": [{"k": 10_001}]}, "features.encodings.k is 10001"),
        # They become whole numbers where such are wanted.
        ({"encoders": {"x": {"depth": 3.0e7}}}, {}, "model.encoders.x.depth is 30000000.0"),
        ({"encoders": {"x": {"depth": "30_000_000"}}}, {}, "model.encoders.x.depth is 30_000_000"),
        ({"width": 10**40}, {}, f"model.width is {10**40}"),
        ({"activation": "gelu", "dropout": float("nan")}, {"encodings": [{"k": "8"}]}, None),
    ],
)
def test_sizes_that_the_weights_cannot_have(model: Any, features: Any, found: str | None) -> None:
    assert oversized(_config(model, features), num_tensors=10, num_values=100) == found
