from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

from graphium.chem.featurizer import Featurizer
from graphium.errors import GraphiumError
from graphium.models.saved import load_model, save_model
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
    assert saved.facts == {"weights": "best", "epoch": 3} and saved.folder == folder and saved.statistics == {}
    state = saved.network.state_dict()
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_the_files_are_plain(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.yaml", "model.safetensors"]
    text = (folder / "config.yaml").read_text()
    assert "!!" not in text and yaml.safe_load(text)["format"] == 2


def test_saving_twice_gives_the_same_bytes(folder: Path, network: Network, featurizer: Featurizer, heads: Any) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    saved = load_model(folder)
    save_model(folder, saved.network, saved.featurizer, saved.heads, facts=saved.facts)
    for name in ("config.yaml", "model.safetensors"):
        assert (folder / name).read_bytes() == before[name]


def _write(folder: Path, config: dict[str, Any]) -> None:
    """A configuration with the checksums that its content and the weights have: a stranger can compute them too."""
    sections = ("model", "features", "spec", "heads")
    below = "".join(yaml.safe_dump({name: config[name]}) for name in sections)
    above = {name: value for name, value in config.items() if name not in sections}
    if config["format"] > 1:
        weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        above["checksums"] = {"weights": weights, "config": hashlib.sha256(below.encode()).hexdigest()}
    (folder / "config.yaml").write_text(yaml.safe_dump(above) + below)


def _edit(folder: Path, **changes: Any) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    _write(folder, config)


def _retensor(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "model.safetensors")
    _edit(folder)


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
    whole = path.read_bytes()
    for length in (0, 5, 200, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(GraphiumError, match="is damaged"):
            load_model(folder)
    path.unlink()
    with pytest.raises(GraphiumError, match="is missing; copy the whole"):
        load_model(folder)


def test_weights_of_another_network(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    first = next(name for name in weights if weights[name].ndim == 2)
    for changed in (
        {name: tensor for name, tensor in weights.items() if name != first},
        {**weights, "another": torch.zeros(2)},
        {**weights, "heads/9/9": torch.zeros(2, dtype=torch.float64)},
        {**weights, "statistics/another": torch.zeros(2, dtype=torch.float64)},
        {**weights, first: weights[first].flatten()},
        {**weights, first: weights[first].long()},
    ):
        _retensor(folder, changed)
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
        ({"spec": 3}, "is not the configuration"),
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
    tensors = load_file(tmp_path / "model.safetensors")
    knots = tensors.pop("heads/0/1/transform/values")
    for values in (None, knots.reshape(4, 10), torch.zeros(40, dtype=torch.int64)):
        _retensor(tmp_path, tensors if values is None else {**tensors, "heads/0/1/transform/values": values})
        with pytest.raises(GraphiumError, match="does not fit its config.yaml: 1 tensors differ"):
            load_model(tmp_path)


def test_thousands_of_tasks_have_a_short_configuration(tmp_path: Path, featurizer: Featurizer) -> None:
    weights = {f"a{k}": 1.0 + k for k in range(1500)}
    loss = {"name": "bce", "pos_weight": weights}
    heads = group_tasks([Task(name, "alpha", "graph", "binary", loss=loss) for name in weights])
    save_model(tmp_path, build_network(featurizer.spec, heads, width=8), featurizer, heads)
    assert (tmp_path / "config.yaml").stat().st_size < 60_000
    assert load_model(tmp_path).heads == heads


def test_statistics_travel(tmp_path: Path, network: Network, featurizer: Featurizer, heads: Any) -> None:
    statistics = {
        heads[0].name: torch.tensor([float("nan")], dtype=torch.float64),
        heads[1].name: torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64),
    }
    save_model(tmp_path, network, featurizer, heads, statistics=statistics)
    saved = load_model(tmp_path)
    assert saved.statistics.keys() == statistics.keys()
    for name, values in statistics.items():
        torch.testing.assert_close(saved.statistics[name], values, equal_nan=True, rtol=0, atol=0)


def test_weights_that_are_no_numbers(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if weights[name].ndim == 2)
    weights[name][0, 0] = float("nan")
    _retensor(folder, weights)
    with pytest.raises(GraphiumError, match="holds weights that are no numbers"):
        load_model(folder)


def test_weights_of_half_the_precision_become_those_of_the_network(folder: Path, network: Network) -> None:
    _retensor(folder, {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()})
    state = load_model(folder).network.state_dict()
    for name, value in network.state_dict().items():
        assert state[name].dtype == value.dtype
        torch.testing.assert_close(state[name], value, rtol=1e-2, atol=1e-2)


def test_loading_draws_no_random_number(folder: Path) -> None:
    before = torch.random.get_rng_state()
    load_model(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"width": 10**9}},
        {"model": {"depth": 10**9}},
        {"model": {"head_depth": 10**7}},
        {"model": {"width": 10_000}},
        {"model": {"feed_forward": 1e300}},
        {"model": {"feed_forward": float("inf")}},
        {"model": {"readouts": {"graph": {"depth": 10**8}}}},
        {"features": {"encodings": [{"name": "laplacian", "k": 10**9}]}},
    ],
)
def test_an_enormous_network_is_not_built(folder: Path, change: dict[str, Any]) -> None:
    _edit(folder, **change)
    with Watch() as watch, pytest.raises(GraphiumError, match="is damaged|does not fit|makes differently"):
        load_model(folder)
    assert watch.most < 5_000 and watch.calls < 2_000


class Watch(TorchFunctionMode):
    """How many tensors were made, and the size of the largest."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.most = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        if isinstance(result, torch.Tensor):
            self.most = max(self.most, result.numel())
        return result


def test_a_network_larger_than_its_file_is_not_built(folder: Path) -> None:
    """Every number is smaller than the number of weights, and their product is not."""
    _edit(folder, model={"width": 3_000})
    with Watch() as watch, pytest.raises(GraphiumError, match="a network with more than its .* weights"):
        load_model(folder)
    assert watch.most < 2_000_000


def test_loading_takes_no_second_of_imports(folder: Path) -> None:
    code = "import sys, torch; from graphium.models.saved import load_model; import graphium.nn.layers; "
    code += f"load_model({str(folder)!r}); assert 'sympy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("word", ["os.system", " os.system", "a-b.c", "1a.b", "os.system\n", "é.b", ".os", "os."])
@pytest.mark.parametrize(
    "place",
    [
        ("model", "layer"),
        ("model", "norm"),
        ("model", "residual"),
        ("model", "activation"),
        ("model", "virtual_node"),
        ("model", "pooling"),
        ("model", "encoders", "laplacian"),
        ("model", "readouts", "graph", "pooling"),
        ("model", "readouts", "graph", "activation"),
        ("model", "heads", "mine", "activation"),
        ("features", "atom_onehot", 0),
        ("features", "bond_float", 0),
        ("features", "encodings", 0, "name"),
        ("features", "standardize"),
        ("heads", 0, "tasks", 0, "loss"),
        ("heads", 0, "tasks", 0, "loss", "name"),
        ("heads", 0, "all", "loss", "parts", 0, "name"),
        ("heads", 1, "tasks", 0, "metrics", 0),
        ("heads", 1, "tasks", 0, "metrics", 0, "name"),
        ("heads", 0, "tasks", 0, "transform", "name"),
        ("heads", 0, "tasks", 0, "transform", "steps", 0, "name"),
    ],
)
def test_foreign_code_in_any_place_is_refused(folder: Path, place: tuple[Any, ...], word: str) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    value: Any = word
    for key in reversed(place[1:]):
        value = [value] if isinstance(key, int) and place[0] != "heads" else {key: value}
    if place[0] == "heads":
        inner: Any = word
        for key in reversed(place[4:] if place[2] == "tasks" else place[3:]):
            inner = [inner] if isinstance(key, int) else {key: inner}
        head = config["heads"][place[1]]
        (head["tasks"][0] if place[2] == "tasks" else head["all"]).update(inner)
    else:
        config[place[0]].update(value)
    _write(folder, config)
    with pytest.raises(GraphiumError, match="code outside graphium; load it with trust_code=True"):
        load_model(folder)


CODE = """
from pathlib import Path
from torch import nn

Path(__file__).with_name("imported").touch()


class Plain(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)

    def forward(self, x, edges):
        return self.linear(x)
"""


def test_trusted_code_runs_and_is_named(
    tmp_path: Path, featurizer: Featurizer, heads: Any, monkeypatch: Any, capsys: Any
) -> None:
    (tmp_path / "somebodys_lab.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    network = build_network(featurizer.spec, heads, width=8, depth=1, layer="somebodys_lab.Plain")
    save_model(tmp_path / "model", network, featurizer, heads)
    (tmp_path / "imported").unlink()
    del sys.modules["somebodys_lab"]
    with pytest.raises(GraphiumError, match="model.layer of this model is 'somebodys_lab.Plain', code outside"):
        load_model(tmp_path / "model")
    assert not (tmp_path / "imported").exists() and capsys.readouterr().err == ""
    saved = load_model(tmp_path / "model", trust_code=True)
    assert (tmp_path / "imported").exists()
    assert type(saved.network.blocks[0].layer).__name__ == "Plain"
    assert "lets this model run code outside graphium: somebodys_lab.Plain (model.layer)" in capsys.readouterr().err


def test_patterns_of_heads_and_free_texts_may_have_dots(
    tmp_path: Path, featurizer: Featurizer, rich_heads: tuple[HeadSpec, ...]
) -> None:
    network = build_network(featurizer.spec, rich_heads, width=8, heads={"own": {"of": ["alpha.v2"], "width": 4}})
    save_model(tmp_path, network, featurizer, rich_heads, facts={"about": "see os.path", "${x}": "${oc.env:HOME}"})
    saved = load_model(tmp_path)
    assert saved.heads == rich_heads
    # Nothing is put in the place of what other programs would fill in.
    assert saved.facts == {"about": "see os.path", "${x}": "${oc.env:HOME}"}


def _same(folder: Path, network: Network, heads: Any) -> bool:
    """Whether what is loaded predicts the same; False where it is refused with one sentence."""
    try:
        saved = load_model(folder)
    except GraphiumError as error:
        assert str(error) and "\n" not in str(error)
        return False
    state = saved.network.state_dict()
    assert saved.heads == heads and saved.network.config() == network.config()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    return True


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
def test_a_flipped_bit_is_refused_or_does_no_harm(folder: Path, network: Network, heads: Any, name: str) -> None:
    whole = (folder / name).read_bytes()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(whole) - 1), st.integers(1, 255))
    def flip(place: int, bits: int) -> None:
        changed = bytearray(whole)
        changed[place] ^= bits
        (folder / name).write_bytes(changed)
        is_same = _same(folder, network, heads)
        assert name == "config.yaml" or not is_same

    flip()


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
def test_a_truncated_file_is_refused(folder: Path, network: Network, heads: Any, name: str) -> None:
    whole = (folder / name).read_bytes()
    for length in range(0, len(whole), 1 + len(whole) // 25):
        (folder / name).write_bytes(whole[:length])
        assert not _same(folder, network, heads)


def _killed_while_saving(folder: Path, stop: int) -> bool:
    """Save another model in a process of its own, which is killed before file operation ``stop``; whether it was."""
    model = load_model(folder)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(1.0)
    child = os.fork()
    if child == 0:
        calls = 0

        def count(event: str, arguments: Any) -> None:
            nonlocal calls
            if event in ("open", "os.rename", "os.remove") and str(folder) in str(arguments[0]):
                calls += 1
                if calls > stop:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            save_model(folder, model.network, model.featurizer, model.heads, facts={"n": 2})
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize("format_of_old", [1, 2])
def test_a_kill_while_saving_leaves_the_old_model_or_the_new_one(
    folder: Path, network: Network, heads: Any, format_of_old: int
) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    if format_of_old == 1:
        _write(
            folder,
            {key: value for key, value in {**config, "format": 1}.items() if key not in ("versions", "checksums")},
        )
    (folder / "calibration.safetensors").write_bytes(b"of the old weights")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    seen = []
    for stop in range(20):
        for path in folder.iterdir():
            path.unlink()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        was_killed = _killed_while_saving(folder, stop)
        saved = load_model(folder)
        moved = {name: value - network.state_dict()[name] for name, value in saved.network.state_dict().items()}
        is_new = saved.facts == {"n": 2}
        for value in moved.values():
            torch.testing.assert_close(value, torch.full_like(value, float(is_new)), rtol=0, atol=1e-5)
        seen.append(is_new)
        if not was_killed:
            break
    assert seen[0] is False and seen[-1] is True and seen == sorted(seen)
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.yaml", "model.safetensors"]


def test_a_folder_that_cannot_be_written(tmp_path: Path, network: Network, featurizer: Featurizer, heads: Any) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GraphiumError, match="could not be written"):
        save_model(tmp_path / "file" / "model", network, featurizer, heads)


def test_everybody_may_read_what_the_owner_lets_them(folder: Path) -> None:
    os.umask(mask := os.umask(0))
    assert all(path.stat().st_mode & 0o777 == 0o666 & ~mask for path in folder.iterdir())


def test_a_device_that_is_not_there(folder: Path) -> None:
    with pytest.raises(GraphiumError, match="device is 'cud', which cannot be used here"):
        load_model(folder, device="cud")
