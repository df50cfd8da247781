"""A loss that is not finite: found without waiting for the device in every step, told with its molecules."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.data.mix import Mix
from graphium.errors import GraphiumError
from graphium.types import HeadSpec, Task

# Steps that are held at most before somebody looks.
_HELD = 1000
# Tasks and datasets that a sentence names.
_NAMED = 3


class NonFiniteLoss(GraphiumError):
    """After this optimiser step the weights are worth nothing.

    Args:
        step: Number of the first bad step, from 1.
        tasks: Tasks whose loss is not finite; none where only the gradient, or only what came of it, is not.
        rows: (table, row) of the molecules of the bad micro-batch on all ranks, or of the whole step where
            only the gradient is not finite, int64 ``[n, 2]``; None where only the weights after the step are not.
    """

    def __init__(self, step: int, tasks: Sequence[Task], rows: Tensor | None) -> None:
        self.step, self.tasks = step, tuple(tasks)
        self.what = "weights" if rows is None else "loss" if tasks else "gradient"
        self.rows = torch.empty(0, 2, dtype=torch.int64) if rows is None else rows
        super().__init__(f"{self.finding}; use a smaller optim.lr, or look for extreme labels")

    @property
    def finding(self) -> str:
        """What was found, as the beginning of a sentence."""
        if self.what == "weights":
            return f"the weights of the network are not finite, or beyond 1e19, after step {self.step}"
        if not self.tasks:
            return f"the gradient of the training loss is not finite at step {self.step}"
        names = [f"{task.dataset}/{task.name}" for task in self.tasks]
        more = f" and {len(names) - _NAMED} more tasks" if len(names) > _NAMED else ""
        return f"the training loss is not finite at step {self.step} ({', '.join(names[:_NAMED])}{more})"

    def report(self, mix: Mix, path: Path) -> GraphiumError:
        """Write the step, its tasks and its molecules as JSON; return the sentence that names the file.

        Every molecule comes with that label of the bad tasks which is furthest from 0 as the network is to predict
        it. Those with features that are not finite stand first, then those with the most extreme labels.

        Args:
            mix: What the rows are rows of.
            path: The file.
        """
        molecules = describe_rows(mix, self.rows, self.tasks)
        datasets = dict.fromkeys([task.dataset for task in self.tasks] or sorted({m["dataset"] for m in molecules}))
        value = {
            "step": self.step,
            "not_finite": self.what,
            "datasets": list(datasets),
            "tasks": {name: [task.name for task in self.tasks if task.dataset == name] for name in datasets},
            "molecules": molecules,
        }
        path.write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
        if self.what == "weights":
            return GraphiumError(f"{self.finding}; use a smaller optim.lr")
        return GraphiumError(
            f"{self.finding}; {path} lists its {len(molecules):,} molecules, those with the most extreme labels first: "
            "mend these labels, use a smaller optim.lr, or clip them with a label transform"
        )


@dataclass(frozen=True)
class _MicroBatch:
    """``numerator`` ``[tasks]``: summed losses over all ranks; ``table``, ``row`` int64 ``[graphs]`` of this one."""

    numerator: Tensor
    table: Tensor
    row: Tensor

    @property
    def rows(self) -> Tensor:
        index = torch.stack([self.table, self.row], dim=1).cpu()
        return index[index[:, 0] >= 0]


@dataclass(frozen=True)
class _Step:
    number: int
    micro_batches: Sequence[_MicroBatch]
    norm: Tensor


class LossWatch:
    """Holds what the last steps computed, where it was computed, until somebody looks.

    All ranks hold sums over all ranks, so they all find the same when they look after the same step.

    Args:
        heads: The heads that are trained; numerators are ``[tasks]`` of all of them.
    """

    def __init__(self, heads: Iterable[HeadSpec]) -> None:
        self.tasks = [task for head in heads for task in head.tasks]
        self._open: list[_MicroBatch] = []
        self._closed: list[_Step] = []

    def note(self, numerator: Tensor, batch: GraphBatch) -> None:
        """Hold a micro-batch: its losses summed over ranks, detached, ``[tasks]``."""
        self._open.append(_MicroBatch(numerator, batch.table, batch.row))

    def close_step(self, number: int, norm: Tensor) -> None:
        """The micro-batches noted since the last time made this step, with this norm of the gradient, ``[]``."""
        self._closed.append(_Step(number, self._open, norm))
        self._open = []

    @property
    def is_full(self) -> bool:
        """Whether it is time to look, for memory's sake."""
        return len(self._closed) >= _HELD

    def look(self) -> None:
        """Wait for the device, and forget the steps that were fine.

        Raises:
            NonFiniteLoss: in one of the steps, the first of which it describes, a loss or the gradient is not finite.
        """
        steps, self._closed = self._closed, []
        if not steps:
            return
        fine = torch.stack([_is_finite(step) for step in steps]).tolist()
        if not all(fine):
            raise self._error(steps[fine.index(False)])

    def _error(self, step: _Step) -> NonFiniteLoss:
        bad = [m for m in step.micro_batches if not bool(m.numerator.isfinite().all())]
        tasks: list[Task] = []
        if bad:
            tasks = [self.tasks[place] for place in bad[0].numerator.isfinite().logical_not().nonzero()[:, 0].tolist()]
        rows = torch.cat([micro_batch.rows for micro_batch in (bad[:1] or step.micro_batches)])
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            of_all: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(of_all, rows)
            rows = torch.cat(of_all)
        return NonFiniteLoss(step.number, tasks, rows)


def _is_finite(step: _Step) -> Tensor:
    losses = torch.stack([micro_batch.numerator for micro_batch in step.micro_batches])
    return losses.isfinite().all() & step.norm.isfinite()


def describe_rows(mix: Mix, rows: Tensor, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Some (table, row), int64 ``[n, 2]``, in plain values as :meth:`NonFiniteLoss.report` writes them."""
    found: list[tuple[tuple[bool, float], dict[str, Any]]] = []
    for number, dataset in enumerate(mix.datasets):
        mine = rows[rows[:, 0] == number]
        if not len(mine):
            continue
        size, task, value = most_extreme(mix, number, mine[:, 1].numpy(), tasks)
        for place, fine in enumerate(finite_features(mix.gather(mine)).tolist()):
            row = int(mine[place, 1])
            one = {"dataset": dataset.name, "row": row, "smiles": dataset.store.text(row), "finite_features": fine}
            found.append(((fine, -size[place]), {**one, "task": task[place], "label": value[place]}))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def most_extreme(
    mix: Mix, table: int, rows: np.ndarray, tasks: Sequence[Task]
) -> tuple[list[float], list[str | None], list[float | None]]:
    """The label of each row that is furthest from 0 as the network is to predict it, among ``tasks`` (or all).

    Returns:
        That distance (-1 without a label), the task's name, and the label in its own units.
    """
    size = [-1.0] * len(rows)
    name: list[str | None] = [None] * len(rows)
    label: list[float | None] = [None] * len(rows)
    wanted = {(task.dataset, task.name) for task in tasks}
    for head in mix.datasets[table].heads:
        found = mix.datasets[table].blocks[head.name].of_rows(rows)
        scaled = mix.transforms[head.name].forward(torch.from_numpy(found.value), torch.from_numpy(found.task))
        chosen = [not wanted or (task.dataset, task.name) in wanted for task in head.tasks]
        for owner, task, value, far in zip(
            found.owner.tolist(), found.task.tolist(), found.value.tolist(), scaled.abs().tolist(), strict=True
        ):
            if chosen[task] and far > size[owner]:
                # Most labels are stored in float32, whose last digits were never written by anyone.
                size[owner], name[owner], label[owner] = far, head.tasks[task].name, float(f"{value:.7g}")
    return size, name, label


def finite_features(batch: GraphBatch) -> Tensor:
    """Whether all numbers of a graph's atoms and bonds are finite, bool ``[graphs]``."""
    finite = torch.ones(batch.num_graphs, dtype=torch.bool)
    positions = [] if batch.pos is None else [batch.pos]
    for value in (batch.x_num, *batch.encodings.values(), *positions):
        finite[batch.batch[~value.isfinite().all(1)]] = False
    finite[batch.batch[batch.edge_index[0, ~batch.edge_num.isfinite().all(1)]]] = False
    return finite
