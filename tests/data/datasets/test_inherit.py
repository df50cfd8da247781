from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.datasets.dataset import TaskGroup
from graphium.data.datasets.inherit import ModelTasks, Source, differs, inherited_group
from graphium.data.labels.cells import read_labels
from graphium.errors import GraphiumError
from graphium.types import Task, group_tasks

HEADS = group_tasks(
    [
        Task("gap", "qm9", "graph", "regression", unit="eV"),
        Task("y", "qm9", "graph", "regression"),
        Task("y", "tox", "graph", "binary"),
        Task("stage", "tox", "graph", "multiclass", num_classes=3, classes=("low", "mid", "high")),
        Task("slash/y", "tox", "graph", "binary"),
    ]
)


def find(known: ModelTasks, dataset: str, column: str, *others: str) -> Source | None:
    return known.of_table(dataset, [column, *others]).get(column)


def test_a_column_is_the_task_of_its_own_name() -> None:
    known = ModelTasks(HEADS)
    assert find(known, "mine", "gap") == Source("qm9_graph_regression", 0, HEADS[0].tasks[0])
    found = find(known, "tox", "y")
    assert found is not None and (found.head, found.column) == ("tox_graph_binary", 0)
    found = find(known, "qm9", "y")
    assert found is not None and (found.head, found.column) == ("qm9_graph_regression", 1)
    # Two tasks have this name, and the data set is neither of theirs.
    assert find(known, "mine", "y") is None
    assert "qm9/y or tox/y" in known.why_not("y")
    assert find(known, "mine", "slash/y") is not None
    assert find(known, "mine", "Gap") is None
    assert known.names == ["gap", "qm9/y", "tox/y", "slash/y", "stage"]


def test_a_column_of_another_name() -> None:
    known = ModelTasks(HEADS, {"HLgap": "gap", "mine/act": "tox/y"})
    found = find(known, "mine", "HLgap")
    assert found is not None and found.name == "qm9/gap"
    assert find(known, "mine", "act").name == "tox/y"  # type: ignore[union-attr]
    assert find(known, "other", "act") is None
    # The task has been given to another column of the table, if there is such a column.
    assert find(known, "mine", "gap", "HLgap") is None
    assert find(known, "mine", "gap") is not None
    assert find(known, "other", "gap", "act") is not None
    swapped = ModelTasks(HEADS, {"gap": "stage", "stage": "gap"})
    assert find(swapped, "mine", "gap", "stage").name == "tox/stage"  # type: ignore[union-attr]
    assert find(swapped, "mine", "stage", "gap").name == "qm9/gap"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("renamed", "sentence"),
    [
        ({"a": "gop"}, "no task 'gop'; did you mean 'gap'"),
        ({"a": "y"}, "2 tasks 'y'; say which one: qm9/y or tox/y"),
        ({"a": "gap", "b": "gap"}, "'a' and 'b' are both said to be the task 'qm9/gap'"),
    ],
)
def test_names_that_mean_nothing_or_too_much(renamed: dict[str, str], sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        ModelTasks(HEADS, renamed)


def test_what_is_said_otherwise_is_another_task() -> None:
    source = Source("h", 0, HEADS[0].tasks[0])
    assert differs(TaskGroup(["gap"]), source, None) is None
    assert differs(TaskGroup(["gap"], kind="regression", level="graph"), source, ()) is None
    assert differs(TaskGroup(["gap"], kind="binary"), source, None) == "binary here, and graph regression in the model"
    assert "predictions of mean, std" in str(differs(TaskGroup(["gap"]), source, ("mean", "std")))


NAMES = ["low", "mid", "high", "0", "1", "2", "inactive", "active"]


@settings(max_examples=60, deadline=None)
@given(st.permutations(NAMES), st.integers(2, 4), st.data())
def test_a_cell_never_becomes_another_class(names: list[str], count: int, data: st.DataObject) -> None:
    """Whatever the data say of the order of classes, a cell is read as the model's class of that name, or refused."""
    classes = tuple(names[:count])
    kind = data.draw(st.sampled_from(["multiclass", "ordinal"] + ["binary"] * (count == 2)))
    model = Task("y", "d", "graph", kind, num_classes=count * (kind != "binary"), classes=classes)
    said = data.draw(st.none() | st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True))
    cells = data.draw(st.lists(st.sampled_from(said or list(classes)), min_size=1, max_size=6))
    positions = kind == "binary" and said is not None and len(said) == 2 and not set(said) & set(classes)
    if said is not None and not set(said) <= set(classes) and not positions:
        with pytest.raises(GraphiumError, match="none of the model's"):
            inherited_group(TaskGroup(["y"], classes=said), Source("h", 0, model), "y", "mine")
        return
    group = inherited_group(TaskGroup(["y"], classes=said), Source("h", 0, model), "y", "mine")
    task = Task("y", "mine", "graph", kind, num_classes=model.num_classes, classes=tuple(group.classes or ()))
    frame = pd.DataFrame({"smiles": "C", "y": cells})
    if all(cell.isdecimal() for cell in cells) and data.draw(st.booleans()):
        frame["y"] = frame["y"].astype(float)
    order = said if positions else classes
    read = read_labels(frame, [task], "smiles")
    assert [order[int(code)] for code in read.value] == cells
    np.testing.assert_array_equal(read.row, np.arange(len(cells)))


@pytest.mark.parametrize("said", [*permutations(["low", "mid", "high"]), ["high", "low"], None])
def test_the_order_of_classes_is_the_models(said: list[str] | None) -> None:
    stage = HEADS[2].tasks[0]
    group = inherited_group(TaskGroup(["stage"], classes=said and list(said)), Source("h", 0, stage), "stage", "mine")
    assert group.classes == ["low", "mid", "high"]
    assert (group.kind, group.level) == ("multiclass", "graph")


def test_words_for_0_and_1_stand_in_the_order_in_which_they_are_named() -> None:
    plain = Task("y", "d", "graph", "binary")
    group = inherited_group(TaskGroup(["y"], classes=["no", "yes"]), Source("h", 0, plain), "y", "mine")
    assert group.classes == ["no", "yes"]
    named = Task("y", "d", "graph", "binary", classes=("inactive", "active"))
    for said in (["0", "1"], ["no", "yes"]):
        assert inherited_group(TaskGroup(["y"], classes=said), Source("h", 0, named), "y", "m").classes == said
    turned = TaskGroup(["y"], classes=["active", "inactive"])
    assert inherited_group(turned, Source("h", 0, named), "y", "m").classes == ["inactive", "active"]
    half = TaskGroup(["y"], classes=["active", "dead"])
    with pytest.raises(GraphiumError, match="'dead' is none of the model's, inactive, active"):
        inherited_group(half, Source("h", 0, named), "y", "m")
