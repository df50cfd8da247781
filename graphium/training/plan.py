"""The plan that is shown before training: what will be trained on what, and everything that was decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from graphium.messages import alike

_PARTS = ("train", "val", "test", "test_seen")


def print_plan(summary: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any], console: Console) -> None:
    """Print the datasets with their tasks, splits and leaks, then the facts of the run.

    Args:
        summary: ``Mix.summary()``.
        facts: What else to say, in order, e.g. parameters, device, steps per epoch.
        console: Where to.
    """
    console.print(dataset_table(summary), task_table(summary))
    for sentence in remarks(summary):
        console.print(f"  {sentence}", highlight=False, markup=False, soft_wrap=True)
    for name, value in facts.items():
        console.print(f"  {name}: {value}", highlight=False, markup=False, soft_wrap=True)


def dataset_table(summary: Mapping[str, Mapping[str, Any]]) -> Table:
    """One line per dataset: rows, molecules, failures, split sizes."""
    table = _table("plan", "dataset")
    used = [part for part in _PARTS if any(d["parts"].get(part) for d in summary.values())]
    counts = ["rows", "molecules", *(["failures"] if any(d["failures"] for d in summary.values()) else [])]
    for name in (*counts, *used):
        table.add_column(name.replace("failures", "failed"), justify="right", no_wrap=True)
    for name, dataset in summary.items():
        numbers = [*(dataset[key] for key in counts), *(dataset["parts"].get(part, 0) for part in used)]
        table.add_row(name, *(f"{number:,}" for number in numbers))
    return table


def task_table(summary: Mapping[str, Mapping[str, Any]]) -> Table:
    """One line per head: level, kind, tasks and labels present."""
    table = _table(None, "dataset")
    table.add_column("tasks")
    table.add_column("labels", justify="right", no_wrap=True)
    for name, dataset in summary.items():
        label = name
        for head in dataset["heads"]:
            classes = f", {head['classes']} classes" if head["classes"] else ""
            table.add_row(label, f"{head['tasks']} {head['level']} {head['kind']}{classes}", f"{head['labels']:,}")
            label = ""
    return table


def _table(title: str | None, first: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    return table


def remarks(summary: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What was decided about the data, and which held-out rows show a training molecule."""
    sentences = []
    for name, dataset in summary.items():
        sentences += [f"{name}: {message}" for message in dataset["messages"]]
        for part, leak in dataset.get("leaks", {}).items():
            # That rows of test_seen show molecules of training is why they are there.
            if part != "test_seen" and (leak.get("mix") or leak.get("mix_flat")):
                same, flat = leak.get("mix", 0), leak.get("mix_flat", 0)
                number = same or flat
                rows = f"1 {part} row shows" if number == 1 else f"{number:,} {part} rows show"
                more = f"({leak.get('own', 0):,} of its own; {flat:,} without stereochemistry)"
                more = more if same else "that differs in stereochemistry alone"
                sentences.append(f"{name}: {rows} a molecule of a training part {more}")
        if dataset["failures"]:
            rows = "1 row" if dataset["failures"] == 1 else f"{dataset['failures']:,} rows"
            sentences.append(
                f"{name}: {rows} could not be used, listed with the reasons in failures.csv of the run folder"
            )
    return alike(sentences)
