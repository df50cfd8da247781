"""Labels and weights of repeated molecules merged into one row of each part."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from graphium.data.labels.block import LabelBlock
from graphium.data.labels.layout import number_pairs, survey_chunks, write_block
from graphium.data.labels.repeats import Members, repeats_by_part
from graphium.data.store.assemble import column_writer
from graphium.data.store.chunks import Chunk, run_chunks
from graphium.data.store.columns import disk_errors, open_columns, read_manifest
from graphium.data.store.graph_store import GraphStore, is_finished
from graphium.data.store.work import fresh, locked_work, publish, sweep

# Labels merged together, and the least and most rows of these.
_LABELS_AT_ONCE = 1 << 21
_MERGED_AT_ONCE = (1024, 1 << 16)
_CHUNKS = "chunks"


def merge_labels(
    block: LabelBlock,
    store: GraphStore,
    parts: np.ndarray,
    folder: Path,
    *,
    row_weight: np.ndarray | None = None,
    advance: Callable[[int], None] = lambda rows: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> tuple[LabelBlock, int]:
    """Give the first row of every molecule in every part the labels of all of them.

    Regression labels of the same entity and task become the float64 mean of the exact values, weighted by the
    weights of their rows; where there are only bounds, the tightest one. Classes become the most frequent one, by
    weight. Labels of rows of weight 0 do not count. Rows that are merged into another one, and rows in no part,
    have no labels afterwards.

    Args:
        block: The labels of one head.
        store: The prepared store of the table.
        parts: int8 ``[rows]``, the part of every row before :func:`representatives`, -1 where it is in none.
        folder: Where the merged block lies or will lie; its name stands for the block, the parts and the weights.
        row_weight: float32 ``[rows]``, None is 1.
        advance: Told the number of rows of every chunk that is done.
        say: Told that another process merges the same labels, if one does.

    Returns:
        The merged block (the given one where nothing repeats), and how many labels were left out because
        classes tied, or lower and upper bounds met.
    """
    work_key = f"{store.folder.name}-{folder.name}"
    if is_finished(folder):
        sweep(store.folder.parent, work_key, _CHUNKS)
    else:
        several = repeats_by_part(store.row_molecule, parts)
        if not several.any():
            return block, 0
        with locked_work(store.folder.parent, work_key, say) as work:
            if not is_finished(folder):
                _merge(block, store, parts, several, row_weight, folder, work, advance)
    return LabelBlock.open(folder), int(read_manifest(folder)["left_out"])


def merge_weights(
    row_weight: np.ndarray,
    store: GraphStore,
    parts: np.ndarray,
    folder: Path,
    *,
    say: Callable[[str], None] = lambda sentence: None,
) -> np.ndarray:
    """Give the first row of every molecule in every part the mean weight of those of its rows that have labels.

    Rows of weight 0 have none, so they do not count; where all weights are 0 the merged one is 0.

    Args:
        row_weight: float32 ``[rows]``.
        store: The prepared store of the table.
        parts: int8 ``[rows]``, the part of every row before :func:`representatives`, -1 where it is in none.
        folder: Where the result lies or will lie; its name stands for the weights and the parts.
        say: Told that another process does the same, if one does.

    Returns:
        float32 ``[rows]``, mapped (the given one where nothing repeats); rows that are merged into another one keep
        their own.
    """
    if not is_finished(folder):
        several = repeats_by_part(store.row_molecule, parts)
        if not several.any():
            return row_weight
        with locked_work(store.folder.parent, f"{store.folder.name}-{folder.name}", say) as work:
            if not is_finished(folder):
                draft = fresh(work / "weights")
                with column_writer(draft) as writer, disk_errors(work):
                    members = Members.write(work / "members.bin", store.row_molecule, parts, several)
                    for start in range(0, len(row_weight), _MERGED_AT_ONCE[1]):
                        writer.append("weight", _merged_weights(row_weight, members, start))
                    writer.close()
                publish(draft, folder)
    return open_columns(folder, read_manifest(folder))["weight"]


def _merged_weights(row_weight: np.ndarray, members: Members, start: int) -> np.ndarray:
    """The weights of the rows from ``start`` on, so many as are merged at once."""
    weight = np.array(row_weight[start : start + _MERGED_AT_ONCE[1]], np.float32)
    for row, representative in members.pieces(start, start + len(weight), len(weight)):
        first = _run_starts(representative)
        total = np.add.reduceat(row_weight[row].astype(np.float64), first)
        count = np.add.reduceat(row_weight[row] > 0, first, dtype=np.int64)
        weight[representative[first] - start] = total / np.maximum(count, 1)
    return weight


def _merge(
    block: LabelBlock,
    store: GraphStore,
    parts: np.ndarray,
    several: np.ndarray,
    row_weight: np.ndarray | None,
    folder: Path,
    work: Path,
    advance: Callable[[int], None],
) -> None:
    chunks = work / _CHUNKS
    with disk_errors(chunks):
        chunks.mkdir(exist_ok=True)
        members = Members.write(chunks / "members.bin", store.row_molecule, parts, several)
    size = int(np.clip(_LABELS_AT_ONCE // max(1, block.num_labels // max(1, block.num_rows)), *_MERGED_AT_ONCE))
    ranges = [(start, min(start + size, block.num_rows)) for start in range(0, block.num_rows, size)]
    paths = [chunks / f"{start:012d}.chunk" for start, _ in ranges]
    left_out = 0

    def count(about: Any) -> None:
        nonlocal left_out
        left_out += about["left_out"]

    jobs = ((path, stop - start, (start, stop)) for path, (start, stop) in zip(paths, ranges, strict=True))
    run_chunks(
        jobs, _merge_chunk, (block, store, parts, several, row_weight, members, size), advance=advance, finished=count
    )
    draft = fresh(work / "labels")
    survey = survey_chunks(paths, block.num_tasks)
    write_block(paths, survey.layout(block.level, block.value.dtype), draft, left_out=left_out)
    publish(draft, folder)
    shutil.rmtree(chunks)


def _merge_chunk(
    block: LabelBlock,
    store: GraphStore,
    parts: np.ndarray,
    several: np.ndarray,
    row_weight: np.ndarray | None,
    members: Members,
    size: int,
    start: int,
    stop: int,
) -> Chunk:
    """The merged labels of the rows ``start:stop``; the columns are those of a block's chunks."""
    molecule, part = np.asarray(store.row_molecule[start:stop]), np.asarray(parts[start:stop])
    used = np.flatnonzero((molecule >= 0) & (part >= 0))
    is_member = (several[molecule[used]] >> part[used]) & 1
    single = start + used[is_member == 0]
    pieces, left_out = [_labels_of(block, single, single)], 0
    for row, representative in members.pieces(start, stop, size):
        if row_weight is not None:
            counts = row_weight[row] > 0
            row, representative = row[counts], representative[counts]
        weight = None if row_weight is None else row_weight[row]
        labels = _labels_of(block, row, representative, weight)
        merged, refused = _merged(labels, is_class=block.value.dtype.kind != "f")
        pieces.append(merged)
        left_out += refused
    row, entity, task, value, bound, _ = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
    row = row - start
    columns: dict[str, np.ndarray] = {}
    if block.pair is None:
        labelled = np.bincount(row, minlength=stop - start) > 0
        num_entities = int(store.row_sizes(block.level, start, stop)[labelled].sum())
    else:
        columns, entity = number_pairs(row, np.stack([entity >> 20, entity & 0xFFFFF], axis=1), stop - start)
        num_entities = len(columns["pair"])
    order = np.lexsort((task, entity, row))
    columns |= {
        "count": np.bincount(row, minlength=stop - start),
        "task": task[order].astype(np.int32),
        "value": value[order],
    }
    if block.level != "graph":
        columns["entity"] = entity[order].astype(np.int32)
    if bound.any():
        columns["bound"] = bound[order]
    return Chunk(columns, {"entities": num_entities, "left_out": left_out})


_Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _labels_of(
    block: LabelBlock, rows: np.ndarray, owners: np.ndarray, row_weight: np.ndarray | None = None
) -> _Columns:
    """Owner, entity (both atoms of a pair in one number), task, value, bound and weight of the labels of some rows.

    ``row_weight`` ``[n]`` are the weights of these rows, None is 1.
    """
    found = block.of_rows(rows)
    entity = found.entity
    if block.pair is not None and block.pair_ptr is not None:
        pair = block.pair[block.pair_ptr[rows[found.owner]] + entity].astype(np.int64)
        entity = (pair[:, 0] << 20) | pair[:, 1]
    bound = np.zeros(len(entity), np.int8) if found.bound is None else found.bound
    weight = np.ones(len(entity)) if row_weight is None else row_weight[found.owner].astype(np.float64)
    return owners[found.owner], entity, found.task, found.value, bound, weight


def _merged(labels: _Columns, is_class: bool) -> tuple[_Columns, int]:
    """One label per (owner, entity, task), and how many had to be left out."""
    owner, entity, task, value, bound, weight = labels
    if not len(owner):
        return labels, 0
    # Stable: equal labels stay in the order of their rows, so that sums are the same in every run.
    order = np.lexsort((value, task, entity, owner) if is_class else (task, entity, owner))
    owner, entity, task, value, bound, weight = (column[order] for column in labels)
    start = _run_starts(owner, entity, task)
    if is_class:
        merged, keep = _majority(value, weight, _run_starts(owner, entity, task, value), start)
        sides = np.zeros(len(start), np.int8)
    else:
        merged, sides, keep = _mean_or_bound(value, bound, weight, start)
    first = start[keep]
    return (owner[first], entity[first], task[first], merged[keep], sides[keep], weight[first]), int((~keep).sum())


def _mean_or_bound(
    value: np.ndarray, bound: np.ndarray, weight: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted mean of the exact values of each run, else its tightest bound; False where bounds contradict."""
    exact = bound == 0
    number = np.add.reduceat(exact, start, dtype=np.int64)
    total = np.add.reduceat(np.where(exact, weight, 0), start)
    mean = np.add.reduceat(np.where(exact, value * weight, 0), start) / np.where(number > 0, total, 1)
    lower = np.maximum.reduceat(np.where(bound > 0, value, -np.inf), start)
    upper = np.minimum.reduceat(np.where(bound < 0, value, np.inf), start)
    has_lower, has_upper = np.isfinite(lower), np.isfinite(upper)
    only = np.where(has_lower, lower, upper)
    side = np.where(number > 0, 0, np.where(has_lower, 1, -1)).astype(np.int8)
    return np.where(number > 0, mean, only), side, (number > 0) | ~(has_lower & has_upper)


def _majority(
    value: np.ndarray, weight: np.ndarray, same: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent value of each run, by weight; ``same`` are the starts of equal ones. False where two tie."""
    times = np.add.reduceat(weight, same)
    run = np.searchsorted(same, start)
    most = np.maximum.reduceat(times, run)
    wins = times == np.repeat(most, np.diff(np.append(run, len(same))))
    alone = np.add.reduceat(wins, run, dtype=np.int64) == 1
    return np.add.reduceat(np.where(wins, value[same], 0), run), alone


def _run_starts(*keys: np.ndarray) -> np.ndarray:
    """Where runs of equal keys begin in sorted columns."""
    is_start = np.ones(len(keys[0]), bool)
    is_start[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.flatnonzero(is_start)
