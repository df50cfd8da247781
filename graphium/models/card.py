"""The card: the README.md that lies beside a model's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from graphium.types import HeadSpec

_SHOWN = ("mae", "pooled_mae_norm", "r2", "pearson", "spearman", "auroc", "ap", "bce", "accuracy")


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
    for part, datasets in metrics.items():
        lines += ["", f"## Results on {part}", "", *_results(datasets)]
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


def _results(datasets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = ["| dataset | metric | model | baseline |", "| --- | --- | --- | --- |"]
    for dataset, numbers in datasets.items():
        baseline = numbers.get("baseline", {})
        for name in _SHOWN:
            if name in numbers:
                lines.append(f"| {dataset} | {name} | {_number(numbers[name])} | {_number(baseline.get(name))} |")
    return [*lines, "", "Means over tasks (`pooled_mae_norm`: over all labels, in standard deviations)."]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
