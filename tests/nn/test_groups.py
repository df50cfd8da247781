"""Which tasks share hidden layers: patterns, and one sentence for each that means nothing."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from graphium.errors import GraphiumError
from graphium.nn.groups import HeadOptions, group_heads
from graphium.nn.network import check_heads, check_network
from graphium.types import HeadSpec, Task, group_tasks


def specs() -> tuple[HeadSpec, ...]:
    return group_tasks(
        [
            *[Task(name, "qm9", "graph", "regression") for name in ("mu", "u0", "u298", "h298 [eV]")],
            *[Task(f"g{i}", "l1000_vcap", "graph", "ordinal", num_classes=3) for i in range(3)],
            *[Task(f"g{i}", "l1000_mcf7", "graph", "ordinal", num_classes=3) for i in range(3)],
            *[Task(f"n{i}", "n4", "node", "regression") for i in range(4)],
            Task("toxic", "tox.v2", "graph", "binary"),
        ]
    )


def grouped(**entries: Any) -> dict[str, dict[str, tuple[int, ...]]]:
    options = {name: HeadOptions(of=of) for name, of in entries.items()}
    return {group.name: dict(group.columns) for group in group_heads(options, specs())}


QM9, VCAP, MCF7 = "qm9_graph_regression", "l1000_vcap_graph_ordinal3", "l1000_mcf7_graph_ordinal3"


def test_without_entries_every_head_is_a_group() -> None:
    assert grouped() == {head.name: {head.name: tuple(range(head.num_tasks))} for head in specs()}


@pytest.mark.parametrize("of", [["l1000_vcap", "l1000_mcf7"], "l1000_*", "l1000_????/g*", [VCAP, "l1000_mcf7/g?"]])
def test_heads_that_share(of: str | list[str]) -> None:
    groups = grouped(genes=of)
    assert groups["genes"] == {VCAP: (0, 1, 2), MCF7: (0, 1, 2)}
    # The entry stands where its first head stood.
    assert list(groups) == [QM9, "genes", "n4_node_regression", "tox_v2_graph_binary"]


def test_some_tasks_of_a_data_set() -> None:
    groups = grouped(energies=["qm9/u*", "qm9/u0"], enthalpy="qm9/h298 [eV]")
    assert groups["energies"] == {QM9: (1, 2)} and groups["enthalpy"] == {QM9: (3,)} and groups[QM9] == {QM9: (0,)}


def test_an_entry_may_be_named_as_its_head() -> None:
    assert grouped(**{QM9: "qm9"})[QM9] == {QM9: (0, 1, 2, 3)}
    with pytest.raises(GraphiumError, match=f"{QM9} has the name of a head with tasks that are not in it"):
        grouped(**{QM9: "qm9/u*"})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=14, max_size=14))
def test_every_task_is_in_one_group(choice: list[int]) -> None:
    graph = [(head, column) for head in specs() if head.level == "graph" for column in range(head.num_tasks)]
    entries: dict[str, list[str]] = {}
    for (head, column), number in zip(graph, choice, strict=False):
        if number:
            entries.setdefault(f"entry{number}", []).append(f"{head.dataset}/{head.tasks[column].name}")
    groups = grouped(**entries)
    seen = sorted((name, column) for group in groups.values() for name, columns in group.items() for column in columns)
    assert seen == sorted((head.name, column) for head in specs() for column in range(head.num_tasks))
    for name, patterns in entries.items():
        assert sum(len(columns) for columns in groups[name].values()) == len(patterns)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"a": {"of": "qm8"}}, r"model\.heads\.a\.of names 'qm8', which no task has; did you mean 'qm9'"),
        ({"a": {"of": ["qm9", "qm9/u299"]}}, "names 'qm9/u299', which no task has; did you mean 'qm9/u298'"),
        ({"a": {"of": "qm9/x*"}}, "names 'qm9/x[*]', which no task has"),
        ({"a": {"of": "u0"}}, "names 'u0', which no task has"),
        ({"a": {"of": "qm9"}, "b": {"of": "*/u0"}}, r"'qm9/u0' is in model\.heads\.a and in model\.heads\.b"),
        ({"a": {"of": ["qm9", "n4"]}}, r"model\.heads\.a has 'qm9/mu' of level graph and 'n4/n0' of level node"),
    ],
)
def test_entries_that_do_not_fit_the_tasks(entries: Any, sentence: str) -> None:
    check_network(heads=entries)
    with pytest.raises(GraphiumError, match=sentence):
        check_heads({"heads": entries}, specs())


def test_thousands_of_tasks_are_not_listed() -> None:
    heads = group_tasks([Task(f"assayID-{i}", "pcba", "graph", "binary") for i in range(1328)])
    with pytest.raises(GraphiumError, match=r"did you mean 'pcba/assayID-13'\?.*\(1,328 in all\)") as caught:
        check_heads({"heads": {"a": {"of": "pcba/assayID_13"}}}, heads)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"a": {"width": 8}}, r"model\.heads\.a\.of is missing"),
        ({"a": {"of": []}}, r"model\.heads\.a\.of is empty"),
        ({"a": {"off": "qm9"}}, r"unknown key model\.heads\.a\.off; did you mean 'of'"),
        ({"a": {"of": "qm9", "width": 0}}, r"model\.heads\.a\.width is 0"),
        ({"a": {"of": "qm9", "depth": -1}}, r"model\.heads\.a\.depth is -1"),
        ({"a": {"of": "qm9", "dropout": 1.0}}, r"model\.heads\.a\.dropout is 1\.0"),
        ({"a": {"of": "qm9", "split": "perhaps"}}, r"model\.heads\.a\.split is 'perhaps'"),
        ({"a": {"of": "qm9", "activation": "rellu"}}, "did you mean 'relu'"),
        ({"a": {"of": "qm9", "depth": 0, "split": True}}, "split is True and there is no hidden layer"),
        ({"a": {"of": "qm9", "depth": 0, "width": 9}}, "width is 9 and there is no hidden layer"),
        ({"a": "qm9"}, r"model\.heads is"),
        ({"a.b": {"of": "qm9"}}, "'a.b' cannot be a name here"),
        ({"keys": {"of": "qm9"}}, "'keys' cannot be a name here"),
    ],
)
def test_bad_entries_are_refused_before_any_data(entries: Any, sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        check_network(heads=entries)


def test_without_hidden_layers_by_default() -> None:
    with pytest.raises(GraphiumError, match="split is True and there is no hidden layer"):
        check_network(heads={"a": {"of": "qm9", "split": True}}, head_depth=0)
    check_network(heads={"a": {"of": "qm9", "split": True, "depth": 1}}, head_depth=0)


def test_names_of_data_sets_are_judged_where_they_are_known() -> None:
    datasets = ["qm9", "l1000_vcap", "tox.v2"]
    fine = ["qm9", "qm9/no such task", "l1000_*", "*/u0", VCAP, "tox_v2_graph_binary", "*_graph_binary"]
    check_network(datasets, heads={"a": {"of": fine}})
    for strange in ("qm8", "qm8/u0", "l100_vcap"):
        with pytest.raises(GraphiumError, match=r"there is no data set .*; did you mean"):
            check_network(datasets, heads={"a": {"of": strange}})
    # The names are no option.
    with pytest.raises(GraphiumError, match=r"unknown key model\.datasets"):
        check_network(datasets=["qm9"])
