"""The card: the README.md that lies beside a model's weights.

Of ``facts`` it understands, and shows in a place of their own: ``name``; ``about``, what the model is for; ``data``,
``{data set: {"rows": 1200, "hash": ...}}`` with any other plain values; ``limits``, where not to trust it; ``licence``;
``source``, where the weights come from. All others it lists as what is known of the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from graphium.models.measured import judged_part, number, shown_metrics, undefined_metrics, unit_of
from graphium.types import HeadSpec

if TYPE_CHECKING:
    from torch import nn

# What stands in a card for the way to its model.
PLACE = "path/to/this/folder"

_TITLES = {"name", "about", "data", "limits", "licence"}
_LIMITS = (
    "The model knows what its training data show. Molecules unlike those, and conditions other than those that were "
    "measured, it predicts worse, and it does not say so by itself."
)
_NAMED_TASKS = 20


def card_text(
    heads: Sequence[HeadSpec],
    *,
    facts: Mapping[str, Any],
    metrics: Mapping[str, Any],
    network: nn.Module,
) -> str:
    """The card: what the model predicts, of which data and how well, and how it is used."""
    name = _text(facts.get("name") or "Graphium model")
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    tasks = sum(head.num_tasks for head in heads)
    lines = [
        *_front(facts),
        f"# {name}",
        "",
        *([_text(facts["about"]), ""] if facts.get("about") else []),
        f"A graph network of {parameters:,} parameters that predicts {tasks:,} tasks from SMILES.",
        *_section("Tasks", _tasks(heads)),
        *_section("Data", _data(facts.get("data"))),
        *_section(
            "Weights",
            [f"- {key}: {_value(value)}" for key, value in facts.items() if key not in _TITLES and value is not None],
        ),
        *_section("Results", _results(metrics, heads) if metrics else []),
        *_section("Limits", [_text(facts.get("limits") or _LIMITS)]),
        *_section("Licence", [_text(facts.get("licence") or "Not stated: ask its author before you use it.")]),
        *_section("Use", _use()),
    ]
    return "\n".join(lines) + "\n"


def _front(facts: Mapping[str, Any]) -> list[str]:
    """The front matter, by which the hub sorts models."""
    licence = str(facts.get("licence") or "").strip().lower()
    front: dict[str, Any] = {"library_name": "graphium", "tags": ["chemistry", "graph-neural-network"]}
    if licence:
        # The hub knows short names alone, such as `mit`.
        front["license"] = licence if re.fullmatch(r"[a-z][a-z0-9.-]*", licence) else "other"
    return ["---", *yaml.safe_dump(front, sort_keys=False).splitlines(), "---", ""]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if lines else []


def _tasks(heads: Sequence[HeadSpec]) -> list[str]:
    lines = [_row(["data set", "level", "kind", "tasks"]), _row(["---"] * 4)]
    for head in heads:
        names = ", ".join(t.name + (f" ({t.unit})" if t.unit else "") for t in head.tasks[:_NAMED_TASKS])
        more = head.num_tasks - _NAMED_TASKS
        lines.append(_row([head.dataset, head.level, head.kind, names + (f" and {more:,} more" if more > 0 else "")]))
    return lines


def _data(data: Any) -> list[str]:
    """The data sets, one a row, with what is known of them; as it is where it is no such mapping."""
    if not data:
        return []
    if not isinstance(data, Mapping) or not all(isinstance(about, Mapping) for about in data.values()):
        return [_value(data)]
    keys = list(dict.fromkeys(key for about in data.values() for key in about))
    rows = [[name, *(_value(about.get(key, "")) for key in keys)] for name, about in data.items()]
    return [_row(["data set", *keys]), _row(["---"] * (1 + len(keys))), *map(_row, rows)]


def _use() -> list[str]:
    return [
        "```sh",
        f"graphium predict {PLACE} molecules.csv -o predictions.csv",
        f"graphium-train data=table data.path=mine.csv finetune=full finetune.from={PLACE}",
        "```",
        "",
        "```python",
        "import graphium as gf",
        "",
        f'saved = gf.load_model("{PLACE}")',
        "```",
    ]


def _value(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items())
    return ", ".join(map(_value, value)) if isinstance(value, list | tuple) else _text(value)


def _text(value: Any) -> str:
    """A fact as words of one line, which no fact can leave to write a card of its own."""
    return " ".join(str(value).split())


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


def _row(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(_text(cell).replace('|', chr(92) + '|') for cell in cells)} |"
