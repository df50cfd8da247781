"""From the ``transform`` of a dataset to the fitted transforms of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphium.data.labels.moments import Moments
from graphium.data.labels.transforms import CHAIN, Fitted, LabelTransform, NoTransform, Piece, steps_of
from graphium.errors import GraphiumError
from graphium.messages import listed
from graphium.registry import PartConfig, build, lookup, validate
from graphium.types import HeadSpec, Task

# A mean so many deviations away from that of the training labels is taken for numbers in another unit.
_FAR = 10.0
# Last step of a transform -> the middle of the labels that it was fitted on, after it, and their deviation or range.
_CENTRES: dict[str, Callable[[Mapping[str, Any]], tuple[float, float]]] = {
    "zscore": lambda step: (0.0, 1.0),
    "rank_gauss": lambda step: (0.0, 1.0),
    "min_max": lambda step: (sum(step["range"]) / 2, step["range"][1] - step["range"][0]),
}


def default_transform(kind: str) -> str:
    """Name of the transform that a kind of task gets where nothing else is said."""
    return "zscore" if kind == "regression" else "none"


def check_configuration(transform: PartConfig | Sequence[PartConfig], where: str) -> None:
    """Judge one transform, or several that follow each other, before any data is read.

    Raises:
        GraphiumError: an unknown transform, arguments that contradict each other, or an empty list.
    """
    if not transform:
        raise GraphiumError(f"{where} is {transform!r}; name at least one transform, or none")
    steps = steps_of(configuration(transform))
    for number, step in enumerate(steps):
        place = where if len(steps) == 1 else f"{where}[{number}]"
        part, arguments = validate("transform", step, where=place)
        try:
            part(**arguments)
        except GraphiumError as error:
            raise GraphiumError(f"{place}: {error}") from None


def configuration(transform: PartConfig | Sequence[PartConfig]) -> dict[str, Any]:
    """One transform, or several that follow each other, as ``Task.transform`` holds it before it is fitted.

    >>> configuration(["log1p", {"name": "clip", "high": 3}])
    {'name': 'chain', 'steps': [{'name': 'log1p'}, {'name': 'clip', 'high': 3}]}
    """
    several = [transform] if isinstance(transform, (str, Mapping)) else list(transform)
    steps = [{"name": one} if isinstance(one, str) else dict(one) for one in several]
    return steps[0] if len(steps) == 1 else {"name": CHAIN, "steps": steps}


def check_transform(transform: Mapping[str, Any], kind: str, where: str) -> None:
    """Refuse a transform, a :func:`configuration`, that would destroy class labels."""
    names = [step["name"] for step in steps_of(transform)]
    changing = next((name for name in names if lookup("transform", name) is not NoTransform), None)
    if kind != "regression" and changing is not None:
        raise GraphiumError(
            f"{where}: transform {changing!r} is for regression labels and the kind is {kind}; leave it out"
        )


def fit(tasks: Sequence[Task], pieces: Callable[[], Iterable[Piece]]) -> list[Fitted]:
    """Fit the transform that each task of one head names.

    Args:
        tasks: the head's tasks; ``Task.transform`` is the :func:`configuration`.
        pieces: gives the training labels, some at a time, as often as it is called: the column of the head,
            int64 ``[L]``, and the values in label units, float64 ``[L]``.

    Returns:
        The fitted transform of every task, as plain values.
    """
    fitted: list[Fitted] = [{} for _ in tasks]
    configs = [dict(task.transform) for task in tasks]
    for first, config in enumerate(configs):
        if fitted[first]:
            continue
        members = np.array([number for number, other in enumerate(configs) if other == config])
        local = np.full(len(tasks), -1)
        local[members] = np.arange(len(members))
        chains: list[list[Fitted]] = [[] for _ in members]
        for step in steps_of(config):
            # Each step is fitted on what those before it give.
            part = build("transform", dict(step))
            found = part.fit(_after(chains, _chosen(pieces, local)), len(members))
            for chain, values in zip(chains, found, strict=True):
                chain.append(values)
        for number, chain in zip(members, chains, strict=True):
            fitted[number] = chain[0] if len(chain) == 1 else {"name": CHAIN, "steps": chain}
    return fitted


def check_labels(head: HeadSpec, pieces: Callable[[], Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]]) -> None:
    """Refuse labels that a fitted transform cannot take, such as -2 under a logarithm.

    Args:
        head: Its tasks carry the fitted transforms.
        pieces: gives the labels of all parts, some at a time: the row of the table int64 ``[L]``, the column of the
            head int64 ``[L]``, and the value in label units float64 ``[L]``.

    Raises:
        GraphiumError: such a label, with its dataset, column and row.
    """
    import torch

    transform = LabelTransform(head.tasks)
    if not any(step["name"] == "log1p" for task in head.tasks for step in steps_of(task.transform)):
        return
    for row, task, value in pieces():
        outside = transform.outside(torch.from_numpy(value), torch.from_numpy(task)).numpy()
        if outside.any():
            label = int(np.argmax(outside))
            raise GraphiumError(
                f"dataset {head.dataset!r}, column {head.tasks[task[label]].name!r}, row {row[label]}: "
                f"{value[label]:g} cannot be transformed by log1p, which takes values above -1; mend or empty the cell "
                "or clip before it, transform=[{name: clip, low: 0}, log1p, zscore]"
            )


def check_scale(
    head: HeadSpec,
    columns: Sequence[int],
    pieces: Callable[[], Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]],
) -> list[str]:
    """Say which labels are far from those that their transform was fitted on, as numbers in another unit are.

    Args:
        head: Its tasks carry the fitted transforms.
        columns: The columns of the head to look at.
        pieces: The labels, as :func:`check_labels` has them.

    Returns:
        At most one sentence: of each such task the mean of its labels, and where the middle of the others was.
    """
    import torch

    # Clipped labels would hide how far away they are.
    steps = {number: [s for s in steps_of(head.tasks[number].transform) if s["name"] != "clip"] for number in columns}
    judged = [number for number in columns if steps[number] and steps[number][-1]["name"] in _CENTRES]
    if not judged:
        return []
    kept = [replace(head.tasks[n], transform={"name": CHAIN, "steps": steps[n]}) for n in judged]
    transform = LabelTransform(kept)
    centres = [_CENTRES[steps[number][-1]["name"]](steps[number][-1]) for number in judged]
    centre, unit = np.array([c for c, _ in centres]), np.array([u for _, u in centres])
    local = np.full(head.num_tasks, -1)
    local[judged] = np.arange(len(judged))
    raw, scaled = Moments(len(judged)), Moments(len(judged))
    for task, value in _chosen(lambda: ((column, label) for _, column, label in pieces()), local):
        inside = transform.forward64(torch.from_numpy(value), torch.from_numpy(task)).numpy()
        raw.add(task, value)
        scaled.add(task, inside)
    middle = transform.inverse(torch.from_numpy(centre)).numpy()
    away = np.abs(scaled.mean - centre) / unit
    far = np.flatnonzero((away > _FAR) & (raw.count > 0))
    if not len(far):
        return []
    shown = [
        f"{kept[k].name} has a mean of {raw.mean[k]:.4g} and the model learned around {middle[k]:.4g}"
        f"{f' {kept[k].unit}' if kept[k].unit else ''} ({away[k]:.0f} of its deviations away)"
        for k in far.tolist()
    ]
    return [f"probably another unit: {listed(shown, 3)}"]


def _chosen(pieces: Callable[[], Iterable[Piece]], local: np.ndarray) -> Iterator[Piece]:
    """The labels of some tasks, with the tasks' numbers among these; read when they are asked for."""
    for task, value in pieces():
        mine = local[task] >= 0
        yield local[task[mine]], np.asarray(value[mine], np.float64)


def _after(chains: Sequence[Sequence[Fitted]], pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Labels after the steps that are fitted already."""
    if not chains[0]:
        yield from pieces
        return
    import torch

    from graphium.data.labels.steps import stack

    steps = stack(chains)
    for task, value in pieces:
        number, changed = torch.from_numpy(task), torch.from_numpy(value)
        for step in steps:
            changed = step.forward(changed, number)
        yield task, changed.numpy()
