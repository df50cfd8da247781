"""The plan that is shown before training: what will be trained on what, and everything that was decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_PARTS = ("train", "val", "test", "test_seen")


def print_plan(summary: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any], console: Console) -> None:
    """Print the datasets with their tasks, splits and leaks, then the facts of the run.

    Args:
        summary: ``Mix.summary()``.
        facts: What else to say, in order, e.g. parameters, device, steps per epoch.
        console: Where to.
    """
    console.print(dataset_table(summary))
    for sentence in remarks(summary):
        console.print(f"  {sentence}", highlight=False, markup=False, soft_wrap=True)
    for name, value in facts.items():
        console.print(f"  {name}: {value}", highlight=False, markup=False, soft_wrap=True)


def dataset_table(summary: Mapping[str, Mapping[str, Any]]) -> Table:
    """One line per dataset and head: rows, molecules, failures, tasks, labels present, split sizes."""
    table = Table(title="plan")
    for name in ("dataset", "tasks"):
        table.add_column(name, no_wrap=True)
    used = [part for part in _PARTS if any(d["parts"].get(part) for d in summary.values())]
    for name in ("rows", "molecules", "failed", "labels", *used):
        table.add_column(name, justify="right", no_wrap=True)
    for name, dataset in summary.items():
        for position, head in enumerate(dataset["heads"]):
            first = position == 0
            classes = f" ({head['classes']})" if head["classes"] else ""
            counts = [dataset["rows"], dataset["molecules"], dataset["failures"]] if first else ["", "", ""]
            parts = [dataset["parts"].get(part, 0) if first else "" for part in used]
            table.add_row(
                name if first else "",
                f"{head['tasks']} {head['level']} {head['kind']}{classes}",
                *(_count(value) for value in (*counts, head["labels"], *parts)),
            )
    return table


def remarks(summary: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What was decided about the data, and which held-out rows show a training molecule."""
    sentences = []
    for name, dataset in summary.items():
        sentences += [f"{name}: {message}" for message in dataset["messages"]]
        for part, leak in dataset.get("leaks", {}).items():
            if leak.get("mix") or leak.get("mix_flat"):
                sentences.append(
                    f"{name}: {leak.get('mix', 0):,} {part} rows show a molecule of a training part "
                    f"({leak.get('own', 0):,} of its own; {leak.get('mix_flat', 0):,} without stereochemistry)"
                )
        if dataset["failures"]:
            sentences.append(
                f"{name}: {dataset['failures']:,} rows could not be used, see {dataset['store']}/failures.csv"
            )
    return sentences


def _count(value: int | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"
