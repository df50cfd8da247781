"""The plan that is shown before training: what will be trained on what, and everything that was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from graphium.data.labels.fitting import default_transform
from graphium.data.labels.transforms import steps_of
from graphium.data.mix import Mix
from graphium.data.sampling.draws import Sampling
from graphium.messages import alike
from graphium.nn.network import Network
from graphium.registry import PartConfig
from graphium.training.losses.heads import DEFAULT_LOSS
from graphium.training.options import TrainerOptions
from graphium.types import HeadSpec

_PARTS = ("train", "val", "test", "test_seen")
# So many tasks, or weights, are named.
_NAMED = 3


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
        table.add_row(name, *map(_count, numbers))
    return table


def _count(number: int) -> str:
    """A number of rows; eight of them have to fit beside a name.

    >>> _count(9_999_999), _count(83_400_000)
    ('9,999,999', '83.4 M')
    """
    return f"{number:,}" if number < 10_000_000 else f"{number / 1e6:,.1f} M"


def task_table(summary: Mapping[str, Mapping[str, Any]]) -> Table:
    """One line per dataset, level and kind: tasks and labels present."""
    table = _table(None, "dataset")
    table.add_column("tasks")
    table.add_column("labels", justify="right", no_wrap=True)
    for name, dataset in summary.items():
        label = name
        for (level, kind, classes), heads in _alike(dataset["heads"]).items():
            tasks, labels = (sum(head[key] for head in heads) for key in ("tasks", "labels"))
            words = f"{tasks:,} {level} {kind}" + (f", {classes} classes" if classes else "")
            if level == "graph":
                words += _share(labels, sum(dataset["parts"].values()) * tasks)
            table.add_row(label, words, f"{labels:,}")
            label = ""
    return table


def _alike(heads: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, int], list[Mapping[str, Any]]]:
    """Heads that differ in their losses alone are one line."""
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for head in heads:
        groups.setdefault((head["level"], head["kind"], head["classes"]), []).append(head)
    return groups


def _share(labels: int, cells: int) -> str:
    """How many of the labels that there could be are there, where some are missing.

    >>> _share(70, 1000), _share(1000, 1000)
    (', 7.0 % present', '')
    """
    share = 100 * labels / max(cells, 1)
    if not 0 < labels < cells:
        return ""
    if share >= 99.95:
        return ", nearly all present"
    return f", {share:.1f} % present" if share >= 0.1 else f", {share:.2g} % present"


def decisions(
    heads: Sequence[HeadSpec], *, weighting: PartConfig = "datasets", row_weights: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What a configuration says of losses, label transforms and weights beyond the defaults, for :func:`print_plan`.

    Args:
        heads: What is trained.
        weighting: How tasks combine.
        row_weights: Dataset -> the column with the weights of its rows.
    """
    losses: dict[str, dict[str, list[int]]] = {}
    transforms: dict[str, dict[str, list[int]]] = {}
    for head in heads:
        for column, task in enumerate(head.tasks):
            if task.loss and task.loss != DEFAULT_LOSS[head.kind]:
                losses.setdefault(_said(task.loss), {}).setdefault(head.name, []).append(column)
            names = [step["name"] for step in steps_of(task.transform)]
            if names != [default_transform(head.kind)]:
                transforms.setdefault(", ".join(names), {}).setdefault(head.name, []).append(column)
    found = {
        "loss": "; ".join(f"{what} for {_tasks(columns, heads)}" for what, columns in losses.items()),
        "label transform": "; ".join(f"{what} for {_tasks(columns, heads)}" for what, columns in transforms.items()),
        "weighting": _said(weighting) if weighting != TrainerOptions.weighting else "",
        "weights of rows": "; ".join(f"column {column} of {name}" for name, column in (row_weights or {}).items()),
    }
    return {name: words for name, words in found.items() if words}


def run_facts(
    options: TrainerOptions, sampling: Sampling, mix: Mix, network: Network, device: torch.device, world_size: int
) -> dict[str, Any]:
    """What the plan says beyond the data, in order."""
    loader = mix.loader("train", sampling=sampling, shuffle=True, world_size=world_size)
    steps = -(-len(loader) // options.accumulate)
    weights = {dataset.name: dataset.resolved.dataset.sample_weight for dataset in mix.datasets}
    row_weights = {name: column for name, column in weights.items() if column is not None}
    draws = mix.draws(sampling)
    total = sum(parameter.numel() for parameter in network.parameters())
    trained = network.num_parameters()
    return {
        **decisions(mix.heads, weighting=options.weighting, row_weights=row_weights),
        "parameters": f"{total:,}" + (f", of which {trained:,} are trained" if trained < total else ""),
        "device": f"{device.type} x {world_size}, precision {options.precision}, {torch.get_num_threads()} CPU threads",
        "steps": f"{steps:,} per epoch of {_rows_in_step(sampling, world_size * options.accumulate)}, "
        f"{_steps_in_all(options, steps):,} in all",
        **({"drawn": "; ".join(draws)} if draws else {}),
        "kept weights": (f"the best by {options.monitor} ({options.direction})" if mix.count("val") else "the last")
        + (f", averaged with decay {options.averaging}" if options.averaging else ""),
    }


def _rows_in_step(sampling: Sampling, batches: int) -> str:
    bound = f" and {sampling.max_nodes * batches:,} atoms" if sampling.max_nodes is not None else ""
    return f"{'at most ' * bool(bound)}{sampling.batch_size * batches:,} rows{bound}"


def _steps_in_all(options: TrainerOptions, per_epoch: int) -> int:
    limits = [per_epoch * options.max_epochs if options.max_epochs >= 0 else None, options.max_steps]
    return min(limit for limit in limits if limit is not None)


def _tasks(columns: Mapping[str, Sequence[int]], heads: Sequence[HeadSpec]) -> str:
    """Tasks in a few words: a whole dataset, all of a kind in it, or their number and first names."""
    words = []
    for dataset in dict.fromkeys(head.dataset for head in heads if head.name in columns):
        mine = [head for head in heads if head.dataset == dataset]
        some = [head for head in mine if head.name in columns]
        whole = all(len(columns[head.name]) == head.num_tasks for head in some)
        if whole and len(some) == len(mine):
            words.append(dataset)
        elif whole and len({(head.level, head.kind) for head in mine}) == len(mine):
            words += [f"{head.level} {head.kind} of {dataset}" for head in some]
        else:
            names = [head.tasks[column].name for head in some for column in columns[head.name]]
            more = f", ... {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            words.append(f"{', '.join(names[:_NAMED])}{more} of {dataset}")
    return ", ".join(words)


def _said(part: str | Mapping[str, Any]) -> str:
    """A part in words.

    >>> _said({"name": "hybrid_ce", "alpha": 0.5})
    'hybrid_ce (alpha 0.5)'
    """
    if isinstance(part, str):
        return part
    arguments = [f"{name} {_value(value)}" for name, value in part.items() if name != "name"]
    return f"{part['name']} ({', '.join(arguments)})" if arguments else str(part["name"])


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        if len(value) > _NAMED:
            return f"of {len(value):,} names"
        return ", ".join(f"{name}: {item}" for name, item in value.items())
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


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
