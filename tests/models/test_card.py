from __future__ import annotations

from pathlib import Path

import yaml
from torch import nn

from graphium.models.card import write_card
from graphium.types import Task, group_tasks


def test_the_card_names_weights_tasks_and_results(tmp_path: Path) -> None:
    heads = group_tasks([Task(f"y{i}", "alpha", "graph", "regression", unit="eV") for i in range(25)])
    metrics = {"test": {"alpha": {"mae": 0.51234, "r2": None, "per_task": {}, "baseline": {"mae": 1.5}}}}
    facts = {"name": "mine", "weights": "best, averaged", "chosen_by": "val/loss", "nothing": None}
    write_card(tmp_path / "README.md", heads, facts=facts, metrics=metrics, network=nn.Linear(3, 1))
    text = (tmp_path / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "graphium"
    for words in ("# mine", "4 parameters", "25 tasks", "weights: best, averaged", "y0 (eV)", "and 5 more",
                  "| alpha | mae | 0.5123 | 1.5 |", "| alpha | r2 | - | - |", "Results on test"):  # fmt: skip
        assert words in body
    assert "nothing" not in body
