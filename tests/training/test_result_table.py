from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from graphium.training.result_table import print_results
from graphium.types import Task, group_tasks

HEADS = group_tasks(
    [
        Task("y", "alpha", "graph", "regression", unit="kcal/mol"),
        Task("z", "alpha", "graph", "binary"),
        Task("k", "beta", "graph", "multiclass", num_classes=3, metrics=("f1",)),
    ]
)


def _text(metrics: dict[str, Any], width: int = 80) -> str:
    file = io.StringIO()
    print_results(metrics, HEADS, Console(file=file, width=width))
    return file.getvalue()


def test_results_stand_beside_the_baseline() -> None:
    numbers = {"mae": 0.51234, "auroc": None, "per_task": {}, "baseline": {"mae": 1.5, "auroc": 0.5}}
    text = _text({"val": {"alpha": numbers}, "test": {"alpha": numbers, "beta": {"accuracy": 0.9, "f1": 0.8}}})
    for words in ("val", "test", "alpha", "beta", "mae ↓ kcal/mol", "0.512", "1.5", "auroc ↑", "accuracy ↑", "0.900"):
        assert words in text
    (row,) = (line.split() for line in text.splitlines() if "mae" in line)
    assert row == ["alpha", "mae", "↓", "kcal/mol", "0.512", "0.512", "1.5"]
    assert ["f1", "↑", "-", "0.800", "-"] in [line.split() for line in text.splitlines()]


def test_the_baseline_shown_is_that_of_the_test_part() -> None:
    part = {"alpha": {"mae": 1.0, "baseline": {"mae": 2.0}}}
    other = {"alpha": {"mae": 3.0, "baseline": {"mae": 4.0}}}
    assert "baseline, test" in _text({"val": part, "test": other, "test_seen": part})
    assert "baseline, val" in _text({"val": part})
    for text in (_text({"val": part, "test": other, "test_seen": part}), _text({"test": other})):
        assert text.split()[-1] == "4"


@pytest.mark.parametrize("width", [80, 200])
def test_four_parts_fit_any_terminal(width: int) -> None:
    names = ("mae", "pooled_mae_norm", "r2", "pearson", "auroc", "ap")
    part = {"alpha": {**dict.fromkeys(names, -0.12345), "baseline": dict.fromkeys(names, 123456.0)}}
    text = _text(dict.fromkeys(("val", "test", "test_seen"), part), width)
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    (row,) = (line.split() for line in text.splitlines() if "pooled" in line)
    assert row == ["pooled_mae_norm", "↓", *["-0.123"] * 3, "123,456"]


def test_long_units_leave_room_for_the_name() -> None:
    heads = group_tasks([Task("y", "l1000_mcf", "graph", "regression", unit="log10(mL/min/kg)")])
    part = {"l1000_mcf": {"mae": 12345.0, "baseline": {"mae": 12345.0}}}
    file = io.StringIO()
    print_results(dict.fromkeys(("val", "test", "test_seen"), part), heads, Console(file=file, width=80))
    assert "l1000_mcf " in file.getvalue() and "…" not in file.getvalue()


def test_what_is_undefined_is_said_below_the_table() -> None:
    per_task = {"z": {"auroc": None, "ap": 0.5}}
    numbers = {"auroc": None, "ap": 0.5, "per_task": per_task, "undefined": {"auroc": {"one class only": ["z"]}}}
    assert _text({"test": {"alpha": numbers}}).splitlines()[-1].strip() == (
        "alpha: auroc is undefined on test: one class only (z)"
    )
