"""Several rows of one molecule in one dataset: which of them are used, and the mean of their labels.

A table may have more rows than memory has room for: rows are looked at some at a time, one byte is
kept per molecule, and what must be sorted lies in a file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from graphium.data.labels.block import LabelBlock
from graphium.data.labels.layout import number_pairs, survey_chunks, write_block
from graphium.data.store.chunks import Chunk, run_chunks
from graphium.data.store.columns import disk_errors, read_manifest
from graphium.data.store.graph_store import GraphStore, is_finished
from graphium.data.store.work import fresh, locked_work, publish, sweep
from graphium.errors import GraphiumError

Policy = Literal["keep", "first", "mean", "error"]

# Rows looked at together; labels merged together, and the least and most rows of these.
_AT_ONCE = 1 << 20
_LABELS_AT_ONCE = 1 << 21
_MERGED_AT_ONCE = (1024, 1 << 16)
_PARTS = 4
_CHUNKS = "chunks"


@dataclass(frozen=True)
class RepeatCounts:
    """``molecules`` with several used rows, and the used ``rows`` of these molecules."""

    molecules: int
    rows: int


def repeated_rows(row_molecule: np.ndarray, parts: np.ndarray) -> RepeatCounts:
    """Count the molecules that stand in several used rows.

    Args:
        row_molecule: integers ``[rows]``, -1 where the row has no molecule.
        parts: int8 ``[rows]``, -1 where the row is not used.

    >>> repeated_rows(np.array([0, 1, 0, -1, 2]), np.array([0, 0, 1, 0, -1]))
    RepeatCounts(molecules=1, rows=2)
    """
    several = _groups_seen(row_molecule, parts, by_part=False) >> _PARTS
    rows = sum(int(several[molecule].sum()) for _, molecule, _ in _used(row_molecule, parts))
    return RepeatCounts(int(several.sum()), rows)


def representatives(row_molecule: np.ndarray, parts: np.ndarray, policy: Policy) -> tuple[np.ndarray, str]:
    """Choose the rows that are used where molecules have several.

    ``keep`` uses all. ``first`` uses the first row of every molecule. ``mean`` uses the first row of every
    molecule in every part, for which :func:`merge_labels` makes the labels. ``error`` refuses repeats.

    Args:
        row_molecule: integers ``[rows]``, -1 where the row has no molecule.
        parts: int8 ``[rows]``, -1 where the row is not used anyway.
        policy: ``repeats`` of the dataset.

    Returns:
        A new int8 ``[rows]``, -1 where a row is not used; and a sentence that counts the repeats, empty
        where there are none.

    Raises:
        GraphiumError: a repeated molecule under ``error``.
    """
    parts = np.array(parts, np.int8)
    counts = repeated_rows(row_molecule, parts)
    if not counts.molecules:
        return parts, ""
    if policy == "error":
        raise _refusal(row_molecule, parts)
    found = f"{counts.molecules:,} molecule{_s(counts.molecules)} in several rows ({counts.rows:,} rows)"
    if policy == "keep":
        return parts, f"{found}: all of them are used (repeats=keep)"
    by_part = policy == "mean"
    left_out = 0
    for rows, is_first in _firsts(row_molecule, parts, by_part):
        parts[rows[~is_first]] = -1
        left_out += int((~is_first).sum())
    if policy == "first":
        return parts, f"{found}: the first of each is used, {left_out:,} row{_s(left_out)} not (repeats=first)"
    kept = counts.rows - left_out
    return parts, f"{found}: merged by part into {kept:,} row{_s(kept)} with their mean labels (repeats=mean)"


def merge_labels(
    block: LabelBlock,
    store: GraphStore,
    parts: np.ndarray,
    folder: Path,
    *,
    advance: Callable[[int], None] = lambda rows: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> tuple[LabelBlock, int]:
    """Give the first row of every molecule in every part the labels of all of them.

    Regression labels of the same entity and task become the float64 mean of the exact values; where
    there are only bounds, the tightest one. Classes become the most frequent one. Rows that are merged
    into another one, and rows in no part, have no labels afterwards.

    Args:
        block: The labels of one head.
        store: The prepared store of the table.
        parts: int8 ``[rows]``, the part of every row before :func:`representatives`, -1 where it is in none.
        folder: Where the merged block lies or will lie; its name stands for the block and the parts.
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
        several = _groups_seen(store.row_molecule, parts, by_part=True) >> _PARTS
        if not several.any():
            return block, 0
        with locked_work(store.folder.parent, work_key, say) as work:
            if not is_finished(folder):
                _merge(block, store, parts, several, folder, work, advance)
    return LabelBlock.open(folder), int(read_manifest(folder)["left_out"])


def _merge(
    block: LabelBlock,
    store: GraphStore,
    parts: np.ndarray,
    several: np.ndarray,
    folder: Path,
    work: Path,
    advance: Callable[[int], None],
) -> None:
    chunks = work / _CHUNKS
    with disk_errors(chunks):
        chunks.mkdir(exist_ok=True)
        members = _Members.write(chunks / "members.bin", store.row_molecule, parts, several)
    size = int(np.clip(_LABELS_AT_ONCE // max(1, block.num_labels // max(1, block.num_rows)), *_MERGED_AT_ONCE))
    ranges = [(start, min(start + size, block.num_rows)) for start in range(0, block.num_rows, size)]
    paths = [chunks / f"{start:012d}.chunk" for start, _ in ranges]
    left_out = 0

    def count(about: Any) -> None:
        nonlocal left_out
        left_out += about["left_out"]

    jobs = ((path, stop - start, (start, stop)) for path, (start, stop) in zip(paths, ranges, strict=True))
    run_chunks(jobs, _merge_chunk, (block, store, parts, several, members, size), advance=advance, finished=count)
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
    members: _Members,
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
        merged, refused = _merged(_labels_of(block, row, representative), is_class=block.value.dtype.kind != "f")
        pieces.append(merged)
        left_out += refused
    row, entity, task, value, bound = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
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


_Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _labels_of(block: LabelBlock, rows: np.ndarray, owners: np.ndarray) -> _Columns:
    """Owner, entity (both atoms of a pair in one number), task, value and bound of the labels of some rows."""
    found = block.of_rows(rows)
    entity = found.entity
    if block.pair is not None and block.pair_ptr is not None:
        pair = block.pair[block.pair_ptr[rows[found.owner]] + entity].astype(np.int64)
        entity = (pair[:, 0] << 20) | pair[:, 1]
    bound = np.zeros(len(entity), np.int8) if found.bound is None else found.bound
    return owners[found.owner], entity, found.task, found.value, bound


def _merged(labels: _Columns, is_class: bool) -> tuple[_Columns, int]:
    """One label per (owner, entity, task), and how many had to be left out."""
    owner, entity, task, value, bound = labels
    if not len(owner):
        return labels, 0
    # Stable: equal labels stay in the order of their rows, so that sums are the same in every run.
    order = np.lexsort((value, task, entity, owner) if is_class else (task, entity, owner))
    owner, entity, task, value, bound = (column[order] for column in (owner, entity, task, value, bound))
    start = _run_starts(owner, entity, task)
    if is_class:
        merged, keep = _majority(value, _run_starts(owner, entity, task, value), start)
        sides = np.zeros(len(start), np.int8)
    else:
        merged, sides, keep = _mean_or_bound(value, bound, start)
    first = start[keep]
    return (owner[first], entity[first], task[first], merged[keep], sides[keep]), int((~keep).sum())


def _mean_or_bound(
    value: np.ndarray, bound: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of the exact values of each run, else its tightest bound; False where bounds contradict."""
    exact = bound == 0
    number = np.add.reduceat(exact, start, dtype=np.int64)
    mean = np.add.reduceat(np.where(exact, value, 0), start) / np.maximum(number, 1)
    lower = np.maximum.reduceat(np.where(bound > 0, value, -np.inf), start)
    upper = np.minimum.reduceat(np.where(bound < 0, value, np.inf), start)
    has_lower, has_upper = np.isfinite(lower), np.isfinite(upper)
    only = np.where(has_lower, lower, upper)
    side = np.where(number > 0, 0, np.where(has_lower, 1, -1)).astype(np.int8)
    return np.where(number > 0, mean, only), side, (number > 0) | ~(has_lower & has_upper)


def _majority(value: np.ndarray, same: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent value of each run; ``same`` are the starts of equal values. False where two tie."""
    times = np.diff(np.append(same, len(value)))
    run = np.searchsorted(same, start)
    most = np.maximum.reduceat(times, run)
    wins = times == np.repeat(most, np.diff(np.append(run, len(same))))
    alone = np.add.reduceat(wins, run, dtype=np.int64) == 1
    return np.add.reduceat(np.where(wins, value[same], 0), run), alone


class _Members:
    """The rows that share their molecule and part with others, sorted by (first row of the group, row).

    Both numbers are packed into one uint64, so that the file can be sorted in place.
    """

    def __init__(self, packed: np.ndarray, bits: int) -> None:
        self._packed, self._bits = packed, np.uint64(bits)

    @classmethod
    def write(cls, path: Path, row_molecule: np.ndarray, parts: np.ndarray, several: np.ndarray) -> _Members:
        """Collect the members of the groups whose bit is set in ``several`` uint8 ``[molecules]``."""
        bits = np.uint64(max(1, len(parts).bit_length()))
        with path.open("wb") as file:
            for rows, molecule, part in _used(row_molecule, parts):
                chosen = ((several[molecule] >> part) & 1).astype(bool)
                group = (molecule[chosen] * _PARTS + part[chosen]).astype(np.uint64)
                file.write(((group << bits) | rows[chosen].astype(np.uint64)).tobytes())
        packed = np.memmap(path, np.uint64, "r+")
        packed.sort()
        mask = (np.uint64(1) << bits) - np.uint64(1)
        last_group, first_row = -1, np.uint64(0)
        for start in range(0, len(packed), _AT_ONCE):
            piece = packed[start : start + _AT_ONCE]
            group, row = piece >> bits, piece & mask
            is_first = np.append(int(group[0]) != last_group, group[1:] != group[:-1])
            # Every row takes the last first row before it, which for a continued group lies in an earlier piece.
            firsts = np.concatenate([[first_row], row[is_first]])
            first = firsts[np.cumsum(is_first)]
            last_group, first_row = int(group[-1]), first[-1]
            packed[start : start + _AT_ONCE] = (first << bits) | row
        packed.sort()
        return cls(packed, int(bits))

    def pieces(self, start: int, stop: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows and their groups' first rows, int64, of whole groups with about ``size`` rows at a time."""
        begin, end = np.searchsorted(self._packed, np.array([start, stop], np.uint64) << self._bits)
        while begin < end:
            first = int(self._packed[min(begin + size, end) - 1] >> self._bits)
            until = int(np.searchsorted(self._packed, np.uint64(first + 1) << self._bits))
            piece = np.asarray(self._packed[begin:until])
            mask = (np.uint64(1) << self._bits) - np.uint64(1)
            yield (piece & mask).astype(np.int64), (piece >> self._bits).astype(np.int64)
            begin = until


def _used(row_molecule: np.ndarray, parts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Used rows, some at a time: row int64, molecule int64, part int64."""
    for start in range(0, len(parts), _AT_ONCE):
        molecule, part = np.asarray(row_molecule[start : start + _AT_ONCE]), np.asarray(parts[start : start + _AT_ONCE])
        used = np.flatnonzero((molecule >= 0) & (part >= 0))
        yield start + used, molecule[used].astype(np.int64), part[used].astype(np.int64)


def _firsts(row_molecule: np.ndarray, parts: np.ndarray, by_part: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Used rows, some at a time, and whether each is the first of its molecule (and part)."""
    seen = np.zeros(_num_molecules(row_molecule), np.uint8)
    for rows, molecule, part in _used(row_molecule, parts):
        yield rows, _mark(seen, molecule, part if by_part else np.zeros_like(part))


def _groups_seen(row_molecule: np.ndarray, parts: np.ndarray, by_part: bool) -> np.ndarray:
    """uint8 ``[molecules]``: bit p, a used row is in part p; bit 4 + p, several are (one p unless ``by_part``)."""
    seen = np.zeros(_num_molecules(row_molecule), np.uint8)
    for _, molecule, part in _used(row_molecule, parts):
        part = part if by_part else np.zeros_like(part)
        is_first = _mark(seen, molecule, part)
        for number in range(_PARTS):
            seen[molecule[~is_first & (part == number)]] |= np.uint8(1 << (_PARTS + number))
    return seen


def _mark(seen: np.ndarray, molecule: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Set the parts' bits; returns bool: the first entry of its (molecule, part)."""
    _, first = np.unique(molecule * _PARTS + part, return_index=True)
    is_first = np.zeros(len(molecule), bool)
    is_first[first] = True
    is_first &= ((seen[molecule] >> part) & 1) == 0
    for number in range(_PARTS):
        seen[molecule[part == number]] |= np.uint8(1 << number)
    return is_first


def _num_molecules(row_molecule: np.ndarray) -> int:
    last = (int(row_molecule[start : start + _AT_ONCE].max()) for start in range(0, len(row_molecule), _AT_ONCE))
    return max(last, default=-1) + 1


def _run_starts(*keys: np.ndarray) -> np.ndarray:
    """Where runs of equal keys begin in sorted columns."""
    is_start = np.ones(len(keys[0]), bool)
    is_start[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.flatnonzero(is_start)


def _refusal(row_molecule: np.ndarray, parts: np.ndarray) -> GraphiumError:
    for rows, is_first in _firsts(row_molecule, parts, by_part=False):
        if is_first.all():
            continue
        second = int(rows[np.argmin(is_first)])
        molecule = row_molecule[second]
        first = next(int(r[m == molecule][0]) for r, m, _ in _used(row_molecule, parts) if (m == molecule).any())
        return GraphiumError(
            f"rows {first} and {second} hold the same molecule, and repeats=error; "
            "leave one out, or choose repeats=keep, first or mean"
        )
    raise AssertionError("no molecule repeats")


def _s(number: int) -> str:
    return "s" * (number != 1)
