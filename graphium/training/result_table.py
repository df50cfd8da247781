"""The table of metrics that is printed after a run and by ``graphium evaluate``."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from graphium.models.measured import Metrics, judged_part, number, shown_metrics, undefined_metrics, unit_of
from graphium.training.metrics.base import higher_is_better
from graphium.types import HeadSpec


def print_results(metrics: Metrics, heads: Sequence[HeadSpec], console: Console) -> None:
    """Print what was measured, and what could not be.

    Args:
        metrics: ``{part: {dataset: {metric: value, "baseline": {...}, "undefined": {...}}}}``.
        heads: What was predicted.
        console: Where to.
    """
    console.print(result_table(metrics, heads))
    for sentence in undefined_metrics(metrics):
        console.print(f"  {sentence}", highlight=False, markup=False, soft_wrap=True)


def result_table(metrics: Metrics, heads: Sequence[HeadSpec]) -> Table:
    """The metrics of every dataset, one column per part, beside the predictor that knows the training labels only.

    The baseline shown is that of the test part, or of the last part there is.
    """
    judged = judged_part(metrics)
    title = "results: means over tasks"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("dataset", overflow="fold")
    for name in ("metric", *metrics, f"baseline, {judged}"):
        table.add_column(name, justify="left" if name == "metric" else "right", no_wrap=True)
    for dataset in dict.fromkeys(name for part in metrics.values() for name in part):
        table.add_section()
        parts = [part.get(dataset, {}) for part in metrics.values()]
        baseline = metrics[judged].get(dataset, {}).get("baseline", {})
        label = dataset
        for name in shown_metrics(dataset, metrics, heads):
            words = [name, "↑" if higher_is_better(name) else "↓", unit_of(name, dataset, heads)]
            numbers = [part.get(name) for part in (*parts, baseline)]
            table.add_row(label, " ".join(filter(None, words)), *map(number, numbers))
            label = ""
    return table
