from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from graphium.data.labels.transforms import LabelTransform
from graphium.models.tables.columns import column_suffixes, label_numbers, task_columns
from graphium.nn.outputs import EVIDENTIAL, GAUSSIAN
from graphium.types import HeadSpec, Task, group_tasks

ZSCORE = {"name": "zscore", "mean": 7.0, "scale": 2.5}
LOG = {"name": "chain", "steps": [{"name": "log1p"}, {"name": "zscore", "mean": 1.0, "scale": 0.5}]}
QUANTILES = ("q0.1", "q0.5", "q0.9")


def regression(outputs: tuple[str, ...] = (), transform: dict = ZSCORE, tasks: int = 3) -> HeadSpec:
    named = [Task(f"y{k}", "a", "graph", "regression", outputs=outputs, transform=transform) for k in range(tasks)]
    (head,) = group_tasks(named)
    return head


def numbers_of(head: HeadSpec, prediction: torch.Tensor) -> dict[str, np.ndarray]:
    """Suffix -> ``[entities, tasks]``."""
    columns = label_numbers(head, prediction, LabelTransform(head.tasks).inverse)
    assert columns.dtype == torch.float64
    suffixes = column_suffixes(head, head.tasks[0])
    assert columns.shape == (len(prediction), head.num_tasks, len(suffixes))
    return dict(zip(suffixes, columns.permute(2, 0, 1).numpy(), strict=True))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 5), kind=st.sampled_from(["multiclass", "ordinal"]))
def test_classes(seed: int, classes: int, kind: str) -> None:
    head = group_tasks([Task(f"y{k}", "a", "graph", kind, num_classes=classes) for k in range(3)])[0]  # type: ignore[arg-type]
    logits = torch.randn(6, 3, classes, generator=torch.Generator().manual_seed(seed)) * 5
    found, shares = numbers_of(head, logits), softmax(logits.double().numpy(), axis=-1)
    np.testing.assert_array_equal(found.pop(""), shares.argmax(-1))
    if kind == "ordinal":
        np.testing.assert_allclose(found.pop("[expected]"), (shares * np.arange(classes)).sum(-1))
    assert list(found) == [f"[{k}]" for k in range(classes)]
    np.testing.assert_allclose(np.stack(list(found.values()), axis=-1), shares, rtol=1e-12)


def test_binary_is_a_probability() -> None:
    (head,) = group_tasks([Task("y", "a", "graph", "binary")])
    logits = torch.tensor([[-40.0], [0.0], [20.0]])
    np.testing.assert_allclose(numbers_of(head, logits)[""], expit(logits.double().numpy()), rtol=1e-12)


def test_one_number_in_label_units() -> None:
    found = numbers_of(regression(), torch.tensor([[0.0, 1.0, -2.0]]))
    assert list(found) == [""] and found[""].tolist() == [[7.0, 9.5, 2.0]]


def test_quantiles_go_through_the_transform() -> None:
    levels = torch.tensor([[[-1.0, 0.0, 2.0]] * 3])
    found = numbers_of(regression(QUANTILES), levels)
    assert list(found) == ["", "[q0.1]", "[q0.5]", "[q0.9]"]
    assert [float(found[s][0, 0]) for s in found] == [7.0, 4.5, 7.0, 12.0]
    found = numbers_of(regression(QUANTILES, LOG), levels)
    np.testing.assert_allclose(found["[q0.9]"], np.expm1(2.0 * 0.5 + 1.0))
    np.testing.assert_allclose(found[""], np.expm1(1.0))


def test_a_standard_deviation_is_scaled_and_not_shifted() -> None:
    prediction = torch.tensor([[[0.5, 2 * float(np.log(3.0))]] * 3])
    found = numbers_of(regression(GAUSSIAN), prediction)
    assert list(found) == ["", "[std]"]
    np.testing.assert_allclose(found[""], 0.5 * 2.5 + 7.0)
    np.testing.assert_allclose(found["[std]"], 3.0 * 2.5, rtol=1e-6)


def test_a_standard_deviation_through_a_curved_transform_is_half_the_way_between_its_ends() -> None:
    prediction = torch.tensor([[[0.5, 2 * float(np.log(0.25))]] * 3])
    found = numbers_of(regression(GAUSSIAN, LOG), prediction)
    ends = [np.expm1((0.5 + side * 0.25) * 0.5 + 1.0) for side in (-1, 1)]
    np.testing.assert_allclose(found["[std]"], (ends[1] - ends[0]) / 2, rtol=1e-6)


def test_both_deviations_of_an_evidential_prediction() -> None:
    found = numbers_of(regression(EVIDENTIAL), torch.randn(5, 3, 4))
    assert list(found) == ["", "[aleatoric_std]", "[epistemic_std]"]
    assert all((found[name] > 0).all() and np.isfinite(found[name]).all() for name in list(found)[1:])


def test_a_class_that_is_called_expected() -> None:
    (head,) = group_tasks([Task("y", "a", "graph", "ordinal", num_classes=2, classes=("low", "expected"))])
    assert column_suffixes(head, head.tasks[0]) == ["", "[low]", "[expected]", "[expected class number]"]


@pytest.mark.parametrize(
    "task,name",
    [
        (Task("y", "a", "graph", "regression", outputs=GAUSSIAN), "y[std]"),
        (Task("y", "a", "graph", "regression", outputs=QUANTILES), "y[q0.9]"),
        (Task("y", "a", "graph", "ordinal", num_classes=3), "y[expected]"),
        (Task("y", "a", "graph", "multiclass", num_classes=2, classes=("u", "v")), "y[u]"),
    ],
)
def test_a_task_named_like_what_stands_beside_another(task: Task, name: str) -> None:
    heads = group_tasks([task, Task(name, "b", "graph", "regression")])
    assert list(task_columns(heads).values()) == [["y"], [f"b/{name}"]]


def test_tasks_named_like_a_column_of_the_table_get_their_dataset() -> None:
    heads = group_tasks([Task(name, "mine", "graph", "regression") for name in ("y", "row", "status")])
    assert task_columns(heads, ("row", "status")) == {heads[0].name: ["y", "mine/row", "mine/status"]}


def test_a_task_called_like_the_longer_name_of_another_one() -> None:
    names = ("row", "mine/row", "mine/mine/row", "y", "y[std]", "mine/y[std]")
    tasks = [Task(name, "mine", "graph", "regression", outputs=GAUSSIAN if name == "y" else ()) for name in names]
    heads = group_tasks(tasks)
    found = task_columns(heads, ("row",))
    columns = [
        name + suffix
        for head in heads
        for task, name in zip(head.tasks, found[head.name], strict=True)
        for suffix in column_suffixes(head, task)
    ]
    assert len({*columns, "row"}) == len(columns) + 1 == 8
    assert {"mine/row", "mine/mine/row", "y", "y[std]"} < set(columns)


def test_tasks_of_one_name_get_their_dataset() -> None:
    heads = group_tasks([Task(name, dataset, "graph", "binary") for name, dataset in ("ya", "yb", "zb")])
    assert list(task_columns(heads).values()) == [["a/y"], ["b/y", "z"]]
