from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from graphium.chem.featurizer import Featurizer
from graphium.errors import GraphiumError
from graphium.models.saved import head_from_dict, load_model, plain, save_model
from graphium.nn.network import Network, build_network
from graphium.types import HeadSpec, Task, group_tasks


@pytest.fixture(scope="module")
def heads() -> tuple[HeadSpec, ...]:
    transform = {"name": "zscore", "mean": 6.25, "scale": 1.3}
    tasks = [
        Task("y", "alpha", "graph", "regression", unit="eV", transform=transform, loss={"name": "huber", "delta": 2.0}),
        Task("kind", "alpha", "graph", "multiclass", num_classes=3, classes=("low", "medium", "high")),
        Task("charge", "beta", "node", "regression"),
    ]
    return group_tasks(tasks)


@pytest.fixture(scope="module")
def featurizer() -> Featurizer:
    return Featurizer(atom_onehot=["atomic-number"], encodings=[{"name": "laplacian", "k": 4}])


@pytest.fixture
def network(featurizer: Featurizer, heads: tuple[HeadSpec, ...]) -> Network:
    torch.manual_seed(0)
    return build_network(
        featurizer.spec, heads, width=16, depth=2, layer={"name": "gin"}, dropout=0.25, pooling=["sum", "mean"]
    )


@pytest.fixture
def folder(tmp_path: Path, network: Network, featurizer: Featurizer, heads: tuple[HeadSpec, ...]) -> Path:
    metrics = {"test": {"alpha": {"mae": 0.5, "r2": None, "baseline": {"mae": 1.5}}}}
    save_model(tmp_path / "model", network, featurizer, heads, facts={"weights": "best", "epoch": 3}, metrics=metrics)
    return tmp_path / "model"


def test_round_trip(folder: Path, network: Network, featurizer: Featurizer, heads: tuple[HeadSpec, ...]) -> None:
    saved = load_model(folder)
    assert saved.heads == heads
    assert saved.featurizer.config() == featurizer.config() and saved.spec == featurizer.spec
    assert saved.network.config() == network.config() and not saved.network.training
    assert saved.facts == {"weights": "best", "epoch": 3}
    state = saved.network.state_dict()
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_the_files_are_plain(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.yaml", "model.safetensors"]
    text = (folder / "config.yaml").read_text()
    assert "!!" not in text and yaml.safe_load(text)["format"] == 1


def test_saving_twice_gives_the_same_bytes(folder: Path, network: Network, featurizer: Featurizer, heads: Any) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    saved = load_model(folder)
    save_model(folder, saved.network, saved.featurizer, saved.heads, facts=saved.facts)
    for name in ("config.yaml", "model.safetensors"):
        assert (folder / name).read_bytes() == before[name]


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"layer": {"name": "os.system"}}},
        {"model": {"layer": "torch_geometric.nn.GCNConv"}},
        {"features": {"encodings": [{"name": "subprocess.run", "k": 4}]}},
        {"model": {"norm": {"name": "layer_norm", "affine": {"deep": ["a.b"]}}}},
    ],
)
def test_a_strangers_code_is_refused(folder: Path, change: dict[str, Any]) -> None:
    _edit(folder, **change)
    with pytest.raises(GraphiumError, match="code outside graphium; load it with trust_code=True"):
        load_model(folder)


def test_yaml_tags_run_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "config.yaml").write_text(f"model: !!python/object/apply:pathlib.Path.touch [{tmp_path / 'made'}]\n")
    with pytest.raises(GraphiumError, match="cannot be read"):
        load_model(folder)
    assert not (tmp_path / "made").exists()


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match="holds no model"):
        load_model(tmp_path)


def test_missing_and_damaged_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(GraphiumError, match="is damaged"):
        load_model(folder)
    path.unlink()
    with pytest.raises(GraphiumError, match="is missing; copy the whole"):
        load_model(folder)


def test_weights_of_another_network(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights.pop(sorted(weights)[0])
    save_file(weights, path)
    with pytest.raises(GraphiumError, match="does not fit its config.yaml: 1 tensors differ"):
        load_model(folder)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"format": 99}, "has format 99"),
        ({"features": {"atom_onehot": ["atomic-number", "group"]}}, "makes differently"),
        ({"model": {"widht": 3}}, "model.widht; did you mean 'width'"),
        ({"heads": 3}, "is damaged"),
        ({"heads": [{"name": "y"}]}, "is damaged"),
        ({"heads": [{"name": "y", "tasks": [{"name": "y"}]}]}, "is damaged"),
        (
            {"heads": [{"name": 5, "tasks": [{"name": "y", "dataset": "a", "level": "graph", "kind": "binary"}]}]},
            "damaged",
        ),
        ({"spec": 3}, "is damaged"),
        ({"spec": {"atoms": None}}, "is damaged"),
        ({"spec": {"atoms": [{"name": "group"}]}}, "is damaged"),
    ],
)
def test_a_configuration_that_does_not_fit(folder: Path, change: dict[str, Any], message: str) -> None:
    _edit(folder, **change)
    with pytest.raises(GraphiumError, match=message):
        load_model(folder)


KNOTS = {"name": "rank_gauss", "values": [k / 7 for k in range(40)], "scores": [k / 3 - 6 for k in range(40)]}


@pytest.fixture
def rich_heads() -> tuple[HeadSpec, ...]:
    """Every field of a task, with a chain of transforms whose knots are long lists."""
    chain = {"name": "chain", "steps": [{"name": "clip", "low": None, "high": 3.25}, KNOTS, {"name": "log1p"}]}
    metrics = ("mae", {"name": "rmse"})
    tasks = [
        Task("y", "alpha.v2", "graph", "regression", unit="eV", transform=chain, qualifier="q", metrics=metrics),
        Task("z", "alpha.v2", "graph", "regression", transform=KNOTS, loss={"name": "huber", "delta": 2.0}),
        Task("g", "alpha.v2", "graph", "regression", loss="gaussian", outputs=("mean", "log_variance")),
        Task("k", "beta", "graph", "ordinal", num_classes=3, classes=("low", "medium", "high"), metrics=("f1",)),
        Task("b", "beta", "node", "binary"),
    ]
    return group_tasks(tasks)


def test_transforms_outputs_and_metrics_travel(
    tmp_path: Path, featurizer: Featurizer, rich_heads: tuple[HeadSpec, ...]
) -> None:
    options: dict[str, Any] = {
        "width": 16,
        "depth": 2,
        "readouts": {"graph": {"width": 8, "pooling": "sum"}},
        "heads": {"shared": {"of": ["alpha.v2", "beta/k"], "width": 4}, "own": {"of": "beta_node_binary"}},
    }
    network = build_network(featurizer.spec, rich_heads, **options)
    save_model(tmp_path / "model", network, featurizer, rich_heads)
    saved = load_model(tmp_path / "model")
    assert saved.heads == rich_heads
    assert saved.network.config() == network.config()
    assert saved.network.config()["heads"] == options["heads"]
    assert saved.network.state_dict().keys() == network.state_dict().keys()
    text = (tmp_path / "model" / "config.yaml").read_text()
    assert "tensor: heads/0/0/transform/steps/1/values" in text
    assert str(KNOTS["scores"][7]) not in text  # type: ignore[index]


def test_a_damaged_knot(tmp_path: Path, featurizer: Featurizer, rich_heads: tuple[HeadSpec, ...]) -> None:
    save_model(tmp_path, build_network(featurizer.spec, rich_heads, width=8), featurizer, rich_heads)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["heads/0/1/transform/values"]
    save_file(tensors, path)
    with pytest.raises(GraphiumError, match="is damaged"):
        load_model(tmp_path)


def test_thousands_of_tasks_have_a_short_configuration(tmp_path: Path, featurizer: Featurizer) -> None:
    weights = {f"a{k}": 1.0 + k for k in range(1500)}
    loss = {"name": "bce", "pos_weight": weights}
    heads = group_tasks([Task(name, "alpha", "graph", "binary", loss=loss) for name in weights])
    save_model(tmp_path, build_network(featurizer.spec, heads, width=8), featurizer, heads)
    assert (tmp_path / "config.yaml").stat().st_size < 250_000
    assert load_model(tmp_path).heads == heads


def test_a_configuration_without_the_newer_keys(folder: Path, network: Network, heads: tuple[HeadSpec, ...]) -> None:
    """As it was written before tasks had outputs and metrics, and networks readouts and heads: all keys spelt out."""
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for name in ("readouts", "heads", "edge_width"):
        config["model"].pop(name, None)
    config["heads"] = [plain(head.to_dict()) for head in heads]
    for head in config["heads"]:
        for task in head["tasks"]:
            del task["outputs"], task["metrics"]
    assert config["format"] == 1
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    saved = load_model(folder)
    assert saved.heads == heads
    assert all(torch.equal(value, saved.network.state_dict()[name]) for name, value in network.state_dict().items())


def test_heads_travel_whole(heads: tuple[HeadSpec, ...]) -> None:
    assert tuple(head_from_dict(yaml.safe_load(yaml.safe_dump(plain(h.to_dict())))) for h in heads) == heads


def test_plain_values() -> None:
    import numpy as np

    value = {"a": (1, np.float32(0.5)), 2: [np.int64(3), None, True], "p": Path("x")}
    assert plain(value) == {"a": [1, 0.5], "2": [3, None, True], "p": "x"}
