from __future__ import annotations

from typing import Any

import pytest

from graphium.models.measured import number, shown_metrics, undefined_metrics, unit_of
from graphium.types import Task, group_tasks


def part(per_task: dict[str, dict[str, float | None]], undefined: dict[str, dict[str, list[str]]]) -> dict[str, Any]:
    names = dict.fromkeys(name for values in per_task.values() for name in values)
    return {**dict.fromkeys(names, 0.5), "per_task": per_task, "undefined": undefined}


def test_a_short_list_for_each_kind() -> None:
    heads = group_tasks([Task("y", "a", "graph", "regression"), Task("z", "b", "graph", "binary")])
    names = ("mae", "mae_norm", "rmse", "r2", "auroc", "ap", "bce", "f1", "n_defined")
    metrics = {"val": {"a": dict.fromkeys(names, 0.5), "b": dict.fromkeys(names, 0.5)}}
    assert shown_metrics("a", metrics, heads) == ["mae", "r2"]
    assert shown_metrics("b", metrics, heads) == ["auroc", "ap", "bce"]


def test_what_tasks_name_is_shown() -> None:
    named = ("rmse", {"name": "fbeta", "beta": 2.0})
    heads = group_tasks([Task("y", "a", "graph", "regression"), Task("z", "a", "graph", "binary", metrics=named)])
    metrics = {"val": {"a": {"mae": 1.0, "mae_norm": 1.0}}, "test": {"a": {"rmse": 1.0, "fbeta_2": 0.5, "f1": 0.5}}}
    assert shown_metrics("a", metrics, heads) == ["mae", "rmse", "fbeta_2"]


def test_a_unit_is_said_where_all_tasks_have_it() -> None:
    tasks = [Task("y", "a", "graph", "regression", unit="eV"), Task("c", "a", "graph", "binary")]
    assert unit_of("mae", "a", group_tasks(tasks)) == "eV"
    assert unit_of("r2", "a", group_tasks(tasks)) == ""
    assert unit_of("mae", "a", group_tasks([*tasks, Task("z", "a", "graph", "regression")])) == ""


@pytest.mark.parametrize(
    "value,text",
    [(None, "-"), (float("nan"), "-"), (0.0, "0.000"), (-0.00012, "-0.00012"), (0.0123, "0.012"), (-0.5, "-0.500"),
     (12345.6, "12,346"), (1.0, "1"), (0.1, "0.100")],
)  # fmt: skip
def test_numbers_of_every_size(value: float | None, text: str) -> None:
    assert number(value) == text


def test_metrics_that_are_undefined_for_the_same_tasks_are_said_together() -> None:
    tasks = [f"assay-{k}" for k in range(1328)]
    per_task: dict[str, dict[str, float | None]] = {name: {"auroc": 0.5, "ap": 0.5, "bce": 0.5} for name in tasks}
    few = tasks[3:15]
    metrics = {
        "val": {"pcba": part(per_task, {"auroc": {"one class only": few}, "ap": {"one class only": few}})},
        "test": {"pcba": part(per_task, {"auroc": {"one class only": few[:2], "no labels": few[2:3]}})},
    }
    assert undefined_metrics(metrics) == [
        "pcba: auroc and ap of 12 of 1,328 tasks are undefined on val: one class only (assay-3, assay-4, ... 10 more)",
        "pcba: auroc of 2 of 1,328 tasks is undefined on test: one class only (assay-3, assay-4)",
        "pcba: auroc of 1 of 1,328 tasks is undefined on test: no labels (assay-5)",
    ]


def test_parts_with_the_same_gaps_are_said_together_and_all_metrics_are_called_so() -> None:
    per_task: dict[str, dict[str, float | None]] = {name: {"mae": 0.5, "r2": 0.5} for name in "xyz"}
    gaps = {name: {"no labels": ["x", "y", "z"]} for name in ("mae", "r2")}
    metrics = {"val": {"a": part(per_task, gaps)}, "test": {"a": part(per_task, gaps)}}
    assert undefined_metrics(metrics) == [
        "a: every metric of all 3 tasks is undefined on val and test: no labels (x, y, z)"
    ]


def test_one_task_alone() -> None:
    metrics = {"test": {"a": part({"y": {"mae": 0.5, "r2": None}}, {"r2": {"constant labels": ["y"]}})}}
    assert undefined_metrics(metrics) == ["a: r2 is undefined on test: constant labels (y)"]


def test_reports_without_gaps_say_nothing() -> None:
    assert undefined_metrics({"test": {"a": {"mae": 0.5}}, "val": {"a": part({"y": {"mae": 1.0}}, {})}}) == []
