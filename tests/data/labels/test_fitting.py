from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from graphium.data.labels.fitting import (
    check_configuration,
    check_labels,
    check_transform,
    configuration,
    default_transform,
    fit,
)
from graphium.data.labels.transforms import LabelTransform, ZScore
from graphium.errors import GraphiumError
from graphium.types import HeadSpec, Task, group_tasks


def make_tasks(*transforms: Any) -> list[Task]:
    return [Task(f"y{n}", "d", "graph", "regression", transform=configuration(t)) for n, t in enumerate(transforms)]


def triples(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 3, 300), random.normal(size=300)


def test_each_task_has_its_own_transform() -> None:
    task, value = triples()
    parts = fit(make_tasks("zscore", "none", "zscore"), lambda: [(task, value)])
    assert [part["name"] for part in parts] == ["zscore", "none", "zscore"]
    together = ZScore().fit([(task, value)], 3)
    assert parts[0] == together[0]
    assert parts[2] == together[2]


def test_no_labels_at_all() -> None:
    nothing = np.empty(0, int), np.empty(0)
    assert fit(make_tasks("zscore", "none"), lambda: [nothing])[1] == {"name": "none"}
    for chain in ("zscore", "rank_gauss", ["log1p", {"name": "clip", "quantiles": [0.1, 0.9]}]):
        for pieces in ([nothing], []):
            (task,) = make_tasks(chain)
            (values,) = fit([task], lambda pieces=pieces: pieces)  # type: ignore[misc]
            transform = LabelTransform([replace(task, transform=values)])
            assert transform.forward(torch.empty(0), torch.empty(0, dtype=torch.int64)).shape == (0,)


def test_labels_are_read_once_for_each_step() -> None:
    task, value = triples()
    times = 0

    def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal times
        times += 1
        yield task[:100], value[:100]
        yield task[100:], value[100:]

    fit(make_tasks("zscore", "zscore", "zscore"), pieces)
    assert times == 1
    whole = fit(make_tasks(*[["min_max", "log1p", "rank_gauss"]] * 3), pieces)
    # A logarithm needs no label to be fitted.
    assert times == 1 + 2
    assert whole == fit(make_tasks(*[["min_max", "log1p", "rank_gauss"]] * 3), lambda: [(task, value)])
    assert [step["name"] for step in whole[0]["steps"]] == ["min_max", "log1p", "rank_gauss"]


def test_defaults_and_refusals() -> None:
    assert default_transform("regression") == "zscore"
    assert {default_transform(kind) for kind in ("binary", "multiclass", "ordinal")} == {"none"}
    check_transform({"name": "none"}, "binary", "y")
    check_transform(configuration(["none", "none"]), "binary", "y")
    with pytest.raises(GraphiumError, match="'zscore'.*binary"):
        check_transform({"name": "zscore"}, "binary", "y")
    with pytest.raises(GraphiumError, match="'rank-gauss'.*ordinal"):
        check_transform(configuration(["none", "rank-gauss"]), "ordinal", "y")


@pytest.mark.parametrize(
    ("transform", "sentence"),
    [
        ([], "d.transform is .*; name at least one transform"),
        ("zscor", "did you mean 'zscore'"),
        (["log1p", {"name": "clip", "lo": 3}], r"unknown key d.transform\[1\].lo; did you mean 'low'"),
        (
            {"name": "clip", "low": 2, "high": 1},
            r"^d.transform: low and high of clip are \[2.0, 1.0\]; give two numbers, the smaller one first",
        ),
    ],
)
def test_configurations_are_judged(transform: Any, sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        check_configuration(transform, "d.transform")


def test_one_in_a_list_is_one() -> None:
    assert configuration(["zscore"]) == configuration("zscore") == {"name": "zscore"}


def fitted_head(*transforms: Any, task: np.ndarray, value: np.ndarray) -> HeadSpec:
    (head,) = group_tasks(make_tasks(*transforms))
    found = fit(head.tasks, lambda: [(task, value)])
    return replace(head, tasks=tuple(replace(t, transform=f) for t, f in zip(head.tasks, found, strict=True)))


def test_labels_that_have_no_logarithm_are_named() -> None:
    train = np.array([0, 0, 1]), np.array([1.0, 3.0, -7.0])
    head = fitted_head(["log1p", "zscore"], "zscore", task=train[0], value=train[1])
    rows, task = np.array([4, 9, 11]), np.array([0, 1, 0])
    check_labels(head, lambda: [(rows, task, np.array([-0.5, -3.0, 0.0]))])
    with pytest.raises(GraphiumError, match="dataset 'd', column 'y0', row 11: -1 cannot be transformed by log1p"):
        check_labels(head, lambda: [(rows[:1], task[:1], np.zeros(1)), (rows, task, np.array([2.0, -3.0, -1.0]))])


def test_what_goes_before_decides_what_a_logarithm_takes() -> None:
    train = np.array([0, 0]), np.array([-4.0, 3.0])
    every = [(np.array([5]), np.array([0]), np.array([-20.0]))]
    check_labels(fitted_head([{"name": "clip", "low": 0}, "log1p"], task=train[0], value=train[1]), lambda: every)
    with pytest.raises(GraphiumError, match="row 5: -20 cannot be transformed"):
        check_labels(fitted_head(["min_max", "log1p"], task=train[0], value=train[1]), lambda: every)
