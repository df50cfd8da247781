from __future__ import annotations

from pathlib import Path

import yaml
from torch import nn

from graphium.models.card import write_card
from graphium.types import Task, group_tasks


def test_the_card_names_weights_tasks_and_results(tmp_path: Path) -> None:
    heads = group_tasks([Task(f"y{i}", "alpha", "graph", "regression", unit="eV") for i in range(25)])
    per_task = {f"y{i}": {"mae": 0.5, "r2": None} for i in range(25)}
    numbers = {"mae": 0.51234, "r2": None, "per_task": per_task, "baseline": {"mae": 1.5}}
    undefined = {"r2": {"constant labels": [f"y{i}" for i in range(25)]}}
    metrics = {"test": {"alpha": {**numbers, "undefined": undefined}}, "test_seen": {"alpha": {"mae": 0.25}}}
    facts = {"name": "mine", "weights": "best, averaged", "chosen_by": "val/loss", "nothing": None}
    write_card(tmp_path / "README.md", heads, facts=facts, metrics=metrics, network=nn.Linear(3, 1))
    text = (tmp_path / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "graphium"
    for words in (
        *("# mine", "4 parameters", "25 tasks", "weights: best, averaged", "y0 (eV)", "and 5 more"),
        "| data set | metric | test | test_seen | baseline, test |",
        "| alpha | mae (eV) | 0.512 | 0.250 | 1.5 |",
        "| alpha | r2 | - | - | - |",
        "- alpha: r2 of all 25 tasks is undefined on test: constant labels (y0, y1, ... 23 more)",
    ):
        assert words in body
    assert "- nothing" not in body


def test_a_model_that_was_not_evaluated_has_no_results(tmp_path: Path) -> None:
    heads = group_tasks([Task("y", "alpha", "graph", "regression")])
    write_card(tmp_path / "README.md", heads, facts={}, metrics={}, network=nn.Linear(3, 1))
    assert "Results" not in (tmp_path / "README.md").read_text()
