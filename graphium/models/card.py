"""The card: the README.md that lies beside a model's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from graphium.models.measured import judged_part, number, shown_metrics, undefined_metrics, unit_of
from graphium.types import HeadSpec


def write_card(
    path: Path,
    heads: Sequence[HeadSpec],
    *,
    facts: Mapping[str, Any],
    metrics: Mapping[str, Any],
    network: nn.Module,
) -> None:
    """Write the card: what the model predicts, which weights these are, and how good they were."""
    path.write_text("\n".join(_lines(heads, facts, metrics, network)) + "\n", encoding="utf-8")


def _lines(
    heads: Sequence[HeadSpec], facts: Mapping[str, Any], metrics: Mapping[str, Any], network: nn.Module
) -> list[str]:
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    lines = [
        "---",
        "library_name: graphium",
        "tags:",
        "- chemistry",
        "- graph-neural-network",
        "---",
        "",
        f"# {facts.get('name') or 'Graphium model'}",
        "",
        f"A graph network of {parameters:,} parameters that predicts {sum(h.num_tasks for h in heads)} tasks "
        "from SMILES.",
        "",
        "## Weights",
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in facts.items() if value is not None and name != "name"]
    lines += ["", "## Tasks", "", "| dataset | level | kind | tasks |", "| --- | --- | --- | --- |"]
    for head in heads:
        names = ", ".join(t.name + (f" ({t.unit})" if t.unit else "") for t in head.tasks[:20])
        more = f" and {head.num_tasks - 20} more" if head.num_tasks > 20 else ""
        lines.append(f"| {head.dataset} | {head.level} | {head.kind} | {names}{more} |")
    if metrics:
        lines += ["", "## Results", "", *_results(metrics, heads)]
    lines += [
        "",
        "## Use",
        "",
        "```python",
        "import graphium as gf",
        "",
        'saved = gf.load_model("path/to/this/folder")',
        "```",
    ]
    return lines


def _results(metrics: Mapping[str, Any], heads: Sequence[HeadSpec]) -> list[str]:
    judged = judged_part(metrics)
    columns = ["data set", "metric", *metrics, f"baseline, {judged}"]
    lines = [_row(columns), _row(["---"] * len(columns))]
    for dataset in dict.fromkeys(name for part in metrics.values() for name in part):
        parts = [part.get(dataset, {}) for part in metrics.values()]
        baseline = metrics[judged].get(dataset, {}).get("baseline", {})
        for name in shown_metrics(dataset, metrics, heads):
            unit = unit_of(name, dataset, heads)
            numbers = [number(numbers.get(name)) for numbers in (*parts, baseline)]
            lines.append(_row([dataset, f"{name} ({unit})" if unit else name, *numbers]))
    lines += ["", "Means over tasks (`pooled_mae_norm`: over all labels, in transformed units), beside a predictor "]
    lines[-1] += "that knows nothing but the training labels."
    remarks = undefined_metrics(metrics)
    return lines + ([""] if remarks else []) + [f"- {sentence}" for sentence in remarks]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
