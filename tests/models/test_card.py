from __future__ import annotations

import yaml
from torch import nn

from graphium.models.card import PLACE, card_text
from graphium.types import Task, group_tasks


def test_the_card_names_weights_tasks_and_results() -> None:
    heads = group_tasks([Task(f"y{i}", "alpha", "graph", "regression", unit="eV") for i in range(25)])
    per_task = {f"y{i}": {"mae": 0.5, "r2": None} for i in range(25)}
    numbers = {"mae": 0.51234, "r2": None, "per_task": per_task, "baseline": {"mae": 1.5}}
    undefined = {"r2": {"constant labels": [f"y{i}" for i in range(25)]}}
    metrics = {"test": {"alpha": {**numbers, "undefined": undefined}}, "test_seen": {"alpha": {"mae": 0.25}}}
    facts = {"name": "mine", "weights": "best, averaged", "chosen_by": "val/loss", "nothing": None}
    text = card_text(heads, facts=facts, metrics=metrics, network=nn.Linear(3, 1))
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


def test_a_model_that_was_not_evaluated_has_no_results() -> None:
    heads = group_tasks([Task("y", "alpha", "graph", "regression")])
    text = card_text(heads, facts={}, metrics={}, network=nn.Linear(3, 1))
    assert "Results" not in text and "## Data" not in text and "license:" not in text
    assert "Not stated" in text and "Molecules unlike those" in text


def test_facts_that_have_a_place_of_their_own() -> None:
    heads = group_tasks([Task("y", "alpha", "graph", "regression")])
    facts = {
        "name": "mine",
        "about": "For one assay.",
        "data": {"alpha": {"rows": 12345, "hash": "abc"}, "beta": {"rows": 7, "parts": {"train": 5}}},
        "limits": "No salts.",
        "licence": "MIT",
        "source": "a paper",
        "epoch": 0,
    }
    text = card_text(heads, facts=facts, metrics={}, network=nn.Linear(3, 1))
    assert yaml.safe_load(text.split("---\n", 2)[1])["license"] == "mit"
    for words in (
        "\n\nFor one assay.\n\n",
        "| data set | rows | hash | parts |",
        "| alpha | 12,345 | abc |  |",
        "| beta | 7 |  | train 5 |",
        "## Limits\n\nNo salts.\n",
        "## Licence\n\nMIT\n",
        "- source: a paper\n- epoch: 0\n",
        f"graphium predict {PLACE} molecules.csv",
        f"finetune=full finetune.from={PLACE}",
        f'gf.load_model("{PLACE}")',
    ):
        assert words in text
    assert "- licence" not in text and "- data" not in text


def test_a_licence_in_words_is_another_one_for_the_hub() -> None:
    heads = group_tasks([Task("y", "alpha", "graph", "regression")])
    text = card_text(heads, facts={"licence": "ask: me\n# first"}, metrics={}, network=nn.Linear(3, 1))
    assert "license: other" in text and "\nask: me # first\n" in text


def test_what_a_table_holds_stays_in_its_cells() -> None:
    heads = group_tasks([Task("a|b\n# c", "alpha", "graph", "regression")])
    assert "| a\\|b # c |" in card_text(heads, facts={}, metrics={}, network=nn.Linear(3, 1))
