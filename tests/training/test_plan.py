from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from graphium.training.plan import dataset_table, decisions, print_plan, remarks
from graphium.types import Task, group_tasks

SUMMARY = {
    "alpha": {
        "rows": 12345,
        "molecules": 12000,
        "failures": 8,
        "heads": [
            {"level": "graph", "kind": "regression", "classes": 0, "tasks": 19, "labels": 99999},
            {"level": "node", "kind": "multiclass", "classes": 4, "tasks": 2, "labels": 77},
        ],
        "parts": {"train": 10000, "val": 1000, "test": 1345, "test_seen": 0},
        "leaks": {"test": {"own": 3, "mix": 5, "own_flat": 4, "mix_flat": 9}, "val": {"own": 0, "mix": 0}},
        "messages": ["SMILES column `smi`, found by its name"],
        "store": "stores/alpha",
        "key": "abc",
    }
}


def _printed(width: int = 100) -> str:
    file = io.StringIO()
    print_plan(SUMMARY, {"parameters": "1,234", "device": "cpu"}, Console(file=file, width=width))
    return file.getvalue()


def test_every_number_of_the_data_is_said() -> None:
    text = _printed()
    for words in ("alpha", "12,345", "12,000", "19 graph regression", "2 node multiclass, 4 classes", "99,999",
                  "10,000", "1,345", "parameters: 1,234", "device: cpu", "found by its name"):  # fmt: skip
        assert words in text
    assert "test_seen" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_no_number_is_cut_off(width: int) -> None:
    assert "…" not in _printed(width)


def test_a_hundred_million_rows_leave_room_for_the_name() -> None:
    parts = {"train": 80_000_000, "val": 10_000_000, "test": 9_000_000, "test_seen": 1_000_000}
    many = {**SUMMARY["alpha"], "rows": 100_000_000, "molecules": 83_400_000, "failures": 123_456, "parts": parts}
    file = io.StringIO()
    Console(file=file, width=80).print(dataset_table({"pm6_83m": many}))
    (line,) = (line for line in file.getvalue().splitlines() if "pm6_83m" in line)
    words = " ".join(line.split())
    assert words == "pm6_83m 100.0 M 83.4 M 123,456 80.0 M 10.0 M 9,000,000 1,000,000"


def test_failures_have_a_column_only_where_there_are_any() -> None:
    assert "failed" in _printed()
    file = io.StringIO()
    Console(file=file).print(dataset_table({"alpha": {**SUMMARY["alpha"], "failures": 0}}))
    assert "failed" not in file.getvalue()


def test_sentences_are_not_broken_by_a_narrow_terminal() -> None:
    sentence = "alpha: 8 rows could not be used, listed with the reasons in failures.csv of the run folder"
    assert sentence in _printed(width=40)


def test_leaks_are_said_where_there_are_any() -> None:
    leaks = [sentence for sentence in remarks(SUMMARY) if "training part" in sentence]
    assert leaks == ["alpha: 5 test rows show a molecule of a training part (3 of its own; 9 without stereochemistry)"]


def test_rows_are_moved_to_test_seen_because_they_leak() -> None:
    seen = {"own": 1, "mix": 1, "own_flat": 1, "mix_flat": 1}
    one = {**SUMMARY["alpha"], "leaks": {"val": seen, "test_seen": seen}, "failures": 0}
    assert remarks({"alpha": one})[1:] == [
        "alpha: 1 val row shows a molecule of a training part (1 of its own; 1 without stereochemistry)"
    ]


def test_a_leak_in_all_but_stereochemistry_is_told_apart() -> None:
    one = {**SUMMARY["alpha"], "leaks": {"test": {"own": 0, "mix": 0, "mix_flat": 5}}, "failures": 0}
    assert remarks({"alpha": one})[1:] == [
        "alpha: 5 test rows show a molecule of a training part that differs in stereochemistry alone"
    ]


def test_what_is_said_of_several_datasets_is_said_once() -> None:
    one = {**SUMMARY["alpha"], "leaks": {}, "failures": 0}
    assert remarks({"alpha": one, "beta": one}) == ["alpha, beta: SMILES column `smi`, found by its name"]


@pytest.mark.parametrize(
    "labels,words",
    [(12345 * 19, "19 graph regression "), (99999, "19 graph regression, 42.6 % present"), (0, "19 graph regression "),
     (30, "19 graph regression, 0.013 % present"), (12345 * 19 - 1, "19 graph regression, nearly all present")],
)  # fmt: skip
def test_how_many_labels_are_there(labels: int, words: str) -> None:
    head = {"level": "graph", "kind": "regression", "classes": 0, "tasks": 19, "labels": labels}
    summary = {"alpha": {**SUMMARY["alpha"], "heads": [head]}}
    file = io.StringIO()
    print_plan(summary, {}, Console(file=file, width=100))
    assert words in file.getvalue()


def test_thousands_of_tasks_and_of_labels_per_atom() -> None:
    heads = [
        {"level": "graph", "kind": "binary", "classes": 0, "tasks": 1328, "labels": 1000},
        {"level": "node", "kind": "binary", "classes": 0, "tasks": 2, "labels": 10},
    ]
    file = io.StringIO()
    print_plan({"alpha": {**SUMMARY["alpha"], "heads": heads}}, {}, Console(file=file, width=100))
    assert "1,328 graph binary, 0.0061 % present" in file.getvalue() and "2 node binary  " in file.getvalue()


ZSCORE = {"name": "zscore", "mean": 1.0, "scale": 2.0}


def _task(name: str, dataset: str, kind: str = "regression", **said: Any) -> Task:
    said.setdefault("transform", ZSCORE if kind == "regression" else {"name": "none"})
    return Task(name, dataset, said.pop("level", "graph"), kind, 3 if kind == "ordinal" else 0, **said)  # type: ignore[arg-type]


def test_defaults_are_not_said() -> None:
    heads = group_tasks([_task("y", "a"), _task("z", "a", loss="mae"), _task("b", "b", "binary")])
    assert decisions(heads, weighting="datasets") == {}


def test_losses_transforms_and_weights_are_said() -> None:
    hybrid, curved = {"name": "hybrid_ce", "alpha": 0.5}, {"name": "chain", "steps": [{"name": "log1p"}, ZSCORE]}
    heads = group_tasks(
        [
            *(_task(f"g{k}", name, "ordinal", loss=hybrid) for name in ("vcap", "mcf7") for k in range(5)),
            *(_task(f"y{k}", "a", loss="mse" if k else "", transform=curved) for k in range(6)),
            *(_task(f"n{k}", "a", level="node", loss="huber") for k in range(2)),
        ]
    )
    weighting = {"name": "fixed", "datasets": {"a": 2.0}, "tasks": dict.fromkeys("pqrstu", 1.0)}
    assert decisions(heads, weighting=weighting, row_weights={"a": "w"}) == {
        "loss": "hybrid_ce (alpha 0.5) for vcap, mcf7; mse for y1, y2, y3, ... 2 more of a; "
        "huber for node regression of a",
        "label transform": "log1p, zscore for graph regression of a",
        "weighting": "fixed (datasets a: 2.0, tasks of 6 names)",
        "weights of rows": "column w of a",
    }
