"""Sample weights: one number per row of a table, the weight of all labels of that row at every level.

A weight of 0 is as good as no label: what is fitted on labels, the losses and the metrics leave it out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from graphium.data.store.assemble import column_writer
from graphium.data.store.chunks import Chunk, read_chunk, run_chunks
from graphium.data.store.columns import disk_errors, open_columns, read_manifest
from graphium.data.store.graph_store import GraphStore, is_finished
from graphium.data.store.prepare import CHUNK_ROWS
from graphium.data.store.progress import StartStage, progress_bar
from graphium.data.store.work import content_key, fresh, locked_work, publish, sweep
from graphium.data.tables.cells import to_numbers, to_texts
from graphium.data.tables.readers import Table, shorten
from graphium.errors import GraphiumError

WEIGHTS_VERSION = 2
# Beyond these a float32, or a sum of them, is 0 or infinite.
_SMALLEST, _LARGEST = 1e-30, 1e30
_CHUNKS = "chunks"


def judge_weights(table: Table, column: str, dataset: str) -> None:
    """Refuse a column that cannot be the weights of rows, before anything is prepared.

    Raises:
        GraphiumError: there is no such column, or a cell is empty, no number, negative or out of range.
    """
    table.require([column])
    key = ["weights", WEIGHTS_VERSION, table.key, column]
    if table.memo.get(key) is None:
        for _, frame in table.chunks([column], table.rows_at_once([column])):
            read_weights(frame, column, dataset)
        table.memo.put(key, True)


def judge_line_weights(table: Table, column: str, key: str, dataset: str) -> None:
    """Refuse weights of a table in long form that no molecule can have, before its lines are gathered.

    Args:
        table: The lines.
        column: The column of the weights.
        key: The column that says which molecule a line is about.
        dataset: The name of the dataset, for sentences.

    Raises:
        GraphiumError: there is no such column, a cell that is no weight, or two weights of one molecule.
    """
    table.require([column, key])
    done = ["line weights", WEIGHTS_VERSION, table.key, column, key]
    if table.memo.get(done) is not None:
        return
    molecules, weights = np.empty(0, np.uint64), np.empty(0, np.float32)
    for _, frame in table.chunks([key, column], table.rows_at_once([key, column])):
        value = read_weights(frame, column, dataset)
        text, missing = to_texts(frame[key])
        # An empty key is refused when the lines are gathered.
        frame, value = frame[~missing], value[~missing]
        own = pd.util.hash_array(text[~missing].to_numpy(object), categorize=False)
        # Of equal molecules the one that was seen first comes first.
        found, first = np.unique(np.concatenate([molecules, own]), return_index=True)
        first_weight = np.concatenate([weights, value])[first]
        expected = first_weight[np.searchsorted(found, own)]
        if (value != expected).any():
            position = int(np.argmax(value != expected))
            raise GraphiumError(
                f"dataset {dataset!r}, sample weight column {column!r}, row {frame.index[position]}: "
                f"{value[position]:g} is not {expected[position]:g}, the weight in the first line with {key!r} "
                f"{shorten(frame[key].iloc[position])}; give all lines of a molecule the same weight"
            )
        molecules, weights = found, first_weight
    table.memo.put(done, True)


def read_weights(frame: pd.DataFrame, column: str, dataset: str) -> np.ndarray:
    """The weights of a chunk of rows, float32 ``[rows]``.

    Raises:
        GraphiumError: a cell that is empty, no number, negative or out of range.
    """
    value, strange = to_numbers(frame[column])
    wrong = ~((value == 0) | ((value >= _SMALLEST) & (value <= _LARGEST)))
    wrong[strange] = True
    if wrong.any():
        position = int(np.argmax(wrong))
        cell = frame[column].iloc[position]
        if position in strange:
            what = f"{shorten(cell)} is not a number"
        elif np.isnan(value[position]):
            what = "the cell is empty"
        elif value[position] < 0:
            what = f"{value[position]:g} is negative"
        else:
            what = f"{value[position]:g} is not between {_SMALLEST:g} and {_LARGEST:g}"
        raise GraphiumError(
            f"dataset {dataset!r}, sample weight column {column!r}, row {frame.index[position]}: {what}; "
            "give every row a number of at least 0"
        )
    return value.astype(np.float32)


def weights_key(table: Table, column: str) -> str:
    """What the weights are made from, as a short hash."""
    return content_key("weights", WEIGHTS_VERSION, table.key, column)


def prepare_weights(
    store: GraphStore, table: Table, column: str, *, dataset: str, progress: bool | StartStage = True
) -> np.ndarray:
    """Read the weights of all rows into the store, once, and map them: float32 ``[rows]``.

    Args:
        store: The prepared store of the same table.
        table: The source table.
        column: The column of the weights.
        dataset: The name of the dataset, for sentences.
        progress: Show a progress bar, or add a stage to one.

    Raises:
        GraphiumError: a cell that is no weight, or a disk that is full.
    """
    key = weights_key(table, column)
    folder = store.folder / "labels" / f"weights-{key}"
    work_key = f"{store.folder.name}-{key}"
    if is_finished(folder):
        sweep(store.folder.parent, work_key, _CHUNKS)
    else:
        with (
            progress_bar(dataset, progress) as bar,
            locked_work(store.folder.parent, work_key, bar.say) as work,
        ):
            if not is_finished(folder):
                _build(table, column, dataset, folder, work, bar("weights", table.num_rows))
    return open_columns(folder, read_manifest(folder))["weight"]


def _build(table: Table, column: str, dataset: str, folder: Path, work: Path, advance: Any) -> None:
    chunks = work / _CHUNKS
    with disk_errors(chunks):
        chunks.mkdir(exist_ok=True)
    paths: list[Path] = []

    def jobs() -> Iterator[tuple[Path, int, tuple[Any, ...]]]:
        for first, frame in table.chunks([column], CHUNK_ROWS):
            paths.append(chunks / f"{first:012d}.chunk")
            yield paths[-1], len(frame), (frame,)

    run_chunks(jobs(), _weight_chunk, (column, dataset), advance=advance)
    draft = fresh(work / "weights")
    with column_writer(draft) as writer:
        writer.append("weight", np.empty(0, np.float32))
        for path in paths:
            writer.append("weight", read_chunk(path).columns["weight"])
        writer.close()
    publish(draft, folder)
    shutil.rmtree(chunks)


def _weight_chunk(column: str, dataset: str, frame: pd.DataFrame) -> Chunk:
    return Chunk({"weight": read_weights(frame, column, dataset)}, {})
