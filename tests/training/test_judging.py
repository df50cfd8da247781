"""What is refused before any table is read."""

from __future__ import annotations

from typing import Any

import pytest

from graphium.config import compose
from graphium.data.build import check_data
from graphium.errors import GraphiumError
from graphium.training.judging import judge_datasets


def judge(words: list[str], weighting: Any = "datasets") -> None:
    _, datasets = check_data(compose(words)["data"])
    judge_datasets(datasets, weighting)


@pytest.mark.parametrize(
    "words", [["data=toymix"], ["data=largemix"], ["data=table", "data.targets=[a]", "data.path=x"]]
)
@pytest.mark.parametrize("weighting", ["labels", "uncertainty", {"name": "dwa", "temperature": 3.0}])
def test_what_is_right_passes(words: list[str], weighting: Any) -> None:
    judge(words, weighting)


@pytest.mark.parametrize(
    ("words", "weighting", "sentence"),
    [
        (["data=toymix"], {"name": "fixed", "tasks": {"tox21/NR-ARR": 2.0}}, "did you mean 'tox21/NR-AR'"),
        (["data=toymix"], {"name": "fixed", "datasets": {"tox2": 2.0}}, "did you mean 'tox21'"),
        (["data=largemix"], {"name": "fixed", "datasets": {"pcba": 2.0}}, "did you mean 'pcba_1328'"),
        (["data=toymix", "data.datasets.tox21.metrics=[mae]"], "labels", "'mae' of tox21 does not fit binary"),
        (["data=largemix", "data.datasets.pcba_1328.metrics=[r2]"], "labels", "'r2' of pcba_1328 does not fit binary"),
        (["data=toymix", "data.datasets.tox21.loss=mse"], "labels", "'mse', which does not fit binary"),
    ],
)
def test_what_cannot_be_is_refused_with_the_names_alone(words: list[str], weighting: Any, sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        judge(words, weighting)


def test_tasks_that_a_pattern_takes_are_not_known_yet() -> None:
    judge(["data=largemix"], {"name": "fixed", "tasks": {"assayID-1": 2.0}})
