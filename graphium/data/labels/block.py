"""The labels of one head on disk: triples by row, in the canonical order of atoms and bonds.

Two layouts, chosen by what is there: *dense* where every labelled row has every task for each of
its entities (QM9), else *sparse* (Tox21, PCBA). The batch made from either is the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from graphium.data.labels.cells import label_columns, read_labels
from graphium.data.labels.entities import HLabels, RowGraphs, to_canonical
from graphium.data.labels.layout import number_pairs, survey_chunks, write_block
from graphium.data.labels.triples import Refuse
from graphium.data.store.chunks import Chunk, run_chunks
from graphium.data.store.columns import disk_errors, open_columns, read_manifest, slices
from graphium.data.store.graph_store import GraphStore, is_finished
from graphium.data.store.prepare import CHUNK_ROWS, TableLike
from graphium.data.store.progress import StartStage, progress_bar
from graphium.data.store.work import content_key, fresh, locked_work, publish, sweep
from graphium.errors import GraphiumError
from graphium.types import HeadSpec, Task

LABELS_VERSION = 2
_CHUNKS = "chunks"


class LabelTable(TableLike, Protocol):
    """What the labels need of a table."""

    @property
    def columns(self) -> list[str]: ...

    @property
    def limited(self) -> bool: ...


@dataclass(frozen=True)
class RowLabels:
    """The labels of some rows, row after row, each row sorted by (entity, task).

    ``owner`` int64 ``[L]``: position among the rows asked for. ``entity`` int64 ``[L]``: atom or bond inside
    its own molecule, number of the pair within its row, 0 for a graph. ``task`` int64 ``[L]``. ``value``
    float64 ``[L]``. ``bound`` int8 ``[L]`` or None.
    """

    owner: np.ndarray
    entity: np.ndarray
    task: np.ndarray
    value: np.ndarray
    bound: np.ndarray | None = None


@dataclass(frozen=True)
class LabelBlock:
    """The labels of one head for all rows of one table, mapped from the disk.

    ``ptr`` int64 ``[rows + 1]``: a row's slice of the flat columns. Dense: ``value``
    ``[entities, tasks]`` for the labelled rows, ``task`` and ``entity`` are None. Sparse: ``task``
    uint8, int16 or int32 ``[labels]``, ``value`` ``[labels]``, ``entity`` uint8, int16 or int32 ``[labels]``
    (None at graph level), sorted by (row, entity, task). Entities count the row's canonical atoms or
    bonds. ``value`` is float32, float64 where float32 would round by more than 1e-4 of a task's
    deviation, or uint8 classes. ``bound`` int8 ``[labels]``, None where all values are exact: +1 the true
    value is at least ``value``, -1 at most, 0 exact; never in a dense block. Level nodepair: the labelled
    pairs of a row are ``pair[pair_ptr[row]:pair_ptr[row + 1]]``, uint8 or int16 canonical atoms i < j,
    sorted; entities count them.
    """

    level: str
    num_tasks: int
    ptr: np.ndarray
    value: np.ndarray
    task: np.ndarray | None = None
    entity: np.ndarray | None = None
    bound: np.ndarray | None = None
    pair_ptr: np.ndarray | None = None
    pair: np.ndarray | None = None

    @classmethod
    def open(cls, folder: Path) -> LabelBlock:
        """Open a finished block.

        Raises:
            GraphiumError: the folder is not finished or a file has the wrong size.
        """
        manifest = read_manifest(folder)
        columns = open_columns(folder, manifest)
        # Where each pair has all tasks, a row's slice of pairs is its slice of values.
        return cls(
            level=manifest["level"],
            num_tasks=manifest["num_tasks"],
            ptr=columns["ptr"],
            value=columns["value"],
            task=columns.get("task"),
            entity=columns.get("entity"),
            bound=columns.get("bound"),
            pair_ptr=columns.get("pair_ptr", columns["ptr"]) if "pair" in columns else None,
            pair=columns.get("pair"),
        )

    @property
    def is_dense(self) -> bool:
        return self.task is None

    @property
    def num_rows(self) -> int:
        return len(self.ptr) - 1

    @property
    def num_labels(self) -> int:
        """Labels present in all rows together."""
        return int(self.value.size)

    def of_rows(self, rows: np.ndarray) -> RowLabels:
        """The labels of some rows (int64 ``[n]``), in the order of ``rows``."""
        rows = np.asarray(rows, dtype=np.int64)
        start = np.asarray(self.ptr[rows])
        count = np.asarray(self.ptr[rows + 1]) - start
        index, owner = slices(start, count), np.repeat(np.arange(len(rows)), count)
        if self.task is None:
            within = slices(np.zeros(len(rows)), count)
            owner, entity = np.repeat(owner, self.num_tasks), np.repeat(within, self.num_tasks)
            task = np.tile(np.arange(self.num_tasks), len(index))
            return RowLabels(owner, entity, task, self.value[index].reshape(-1).astype(np.float64))
        entity = np.zeros(len(index), np.int64) if self.entity is None else self.entity[index].astype(np.int64)
        bound = None if self.bound is None else np.asarray(self.bound[index])
        return RowLabels(owner, entity, self.task[index].astype(np.int64), self.value[index].astype(np.float64), bound)

    def select(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``entity`` int64, ``task`` int64 and ``value`` float64 of the labels of some rows, see :class:`RowLabels`."""
        found = self.of_rows(rows)
        return found.entity, found.task, found.value


def prepare_labels(
    store: GraphStore,
    table: LabelTable,
    head: HeadSpec,
    *,
    h_labels: HLabels = "error",
    progress: bool | StartStage = True,
) -> LabelBlock:
    """Read the labels of a head into the store, once, and open them.

    Labels of atoms, bonds and pairs come in the order of the row's own text and are stored in canonical
    order. Labels of rows that failed are left out.

    Args:
        store: The prepared store of the same table.
        table: The source table.
        head: The tasks; their names are columns of the table.
        h_labels: What to do with labels of hydrogens that the graph leaves out, see
            :mod:`graphium.data.labels.entities`.
        progress: Show a progress bar, or add a stage to the one of :func:`progress_bar`.

    Raises:
        GraphiumError: a cell that does not fit, a list of another length than the molecule, a task
            without any label in a table that is used whole, or a disk that is full.
    """
    key = label_key(table, head, h_labels)
    folder = store.folder / "labels" / f"{head.level}-{head.kind}-{key}"
    work_key = f"{store.folder.name}-{key}"
    if is_finished(folder):
        sweep(store.folder.parent, work_key, _CHUNKS)
    else:
        with (
            progress_bar(head.dataset, progress) as bar,
            locked_work(store.folder.parent, work_key, bar.say) as work,
        ):
            if not is_finished(folder):
                _build(store, table, head, h_labels, folder, work, bar("labels", table.num_rows))
    return LabelBlock.open(folder)


def label_key(table: TableLike, head: HeadSpec, h_labels: HLabels) -> str:
    """What the labels of a head are made from, as a short hash: the table, the tasks, the policy."""
    return content_key(
        LABELS_VERSION,
        table.key,
        head.level,
        head.kind,
        head.num_classes,
        [[task.name, list(task.classes), task.qualifier] for task in head.tasks],
        "" if head.level == "graph" else h_labels,
    )


def _build(
    store: GraphStore,
    table: LabelTable,
    head: HeadSpec,
    h_labels: HLabels,
    folder: Path,
    work: Path,
    advance: Callable[[int], None],
) -> None:
    chunks = work / _CHUNKS
    with disk_errors(chunks):
        chunks.mkdir(exist_ok=True)
    columns = [store.smiles, *label_columns(head.tasks, table.columns)]
    paths: list[Path] = []

    def jobs() -> Iterator[tuple[Path, int, tuple[Any, ...]]]:
        for first, frame in table.chunks(columns, CHUNK_ROWS):
            paths.append(chunks / f"{first:012d}.chunk")
            yield paths[-1], len(frame), (frame, RowGraphs.of_rows(store, head.level, first, first + len(frame)))

    run_chunks(jobs(), label_chunk, (head.tasks, store.smiles, h_labels), advance=advance)
    survey = survey_chunks(paths, head.num_tasks, numbers=head.kind == "regression")
    empty = np.flatnonzero(survey.counts == 0)
    if len(empty) and not table.limited:
        name = head.tasks[int(empty[0])].name
        raise GraphiumError(
            f"column {name!r} of {head.dataset} holds no label in any usable row; "
            f"leave it out with data.targets=[...,-{name}] or mend the table"
        )
    if head.kind == "regression":
        value = np.dtype(np.float64 if survey.needs_float64() else np.float32)
    else:
        value = np.dtype(np.uint8 if head.num_classes <= 256 else np.int32)
    draft = fresh(work / "labels")
    tasks = [task.name for task in head.tasks]
    write_block(paths, survey.layout(head.level, value), draft, kind=head.kind, tasks=tasks)
    publish(draft, folder)
    shutil.rmtree(chunks)


def label_chunk(tasks: Sequence[Task], smiles: str, h_labels: HLabels, frame: pd.DataFrame, graphs: RowGraphs) -> Chunk:
    """The labels of some rows, sorted by (row, entity, task); the columns are those of a :class:`BlockWriter`."""
    level, rows = tasks[0].level, len(frame)
    labels = to_canonical(read_labels(frame, tasks, smiles, graphs), tasks, graphs, h_labels, Refuse(frame, smiles))
    row, entity = labels.row, np.zeros(len(labels.row), np.int64) if labels.entity is None else labels.entity
    columns: dict[str, np.ndarray] = {}
    if level == "nodepair" and labels.other is not None:
        pair = np.stack([entity, labels.other], axis=1)
        columns, entity = number_pairs(row, pair, rows)
        num_entities = len(columns["pair"])
    else:
        labelled = np.bincount(row, minlength=rows) > 0
        num_entities = int((labelled if level == "graph" else graphs.numbering(level).num[labelled]).sum())
    # Rows, entities and tasks of a chunk are few enough for one number to hold them.
    order = np.argsort((row * (entity.max(initial=0) + 1) + entity) * len(tasks) + labels.task, kind="stable")
    columns |= {
        "count": np.bincount(row, minlength=rows),
        "task": labels.task[order],
        "value": labels.value[order],
    }
    if level != "graph":
        columns["entity"] = entity[order].astype(np.int32)
    if labels.bound is not None and labels.bound.any():
        columns["bound"] = labels.bound[order]
    return Chunk(columns, {"entities": num_entities})
