"""Sharing molecules out over parts: how many each part gets, and which ones.

Which ones is decided by a hash of the molecule's id and the seed, so neither the order of rows nor
anything else in the table matters. Nothing here holds more than a few bytes a molecule.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from graphium.data.splits.context import AT_ONCE
from graphium.data.store.columns import create_file, disk_errors
from graphium.errors import GraphiumError

# The cells of the histogram in which the thresholds of a draw are looked up first.
_CELLS_LOG2 = 22
_MAX_BITS = 16
# Temporary arrays from this size on are mapped files.
_LARGE = 1 << 26
_WORD = (1 << 64) - 1


def check_shares(dataset: str, split: str, shares: Sequence[float]) -> None:
    """Raise a GraphiumError unless train, val and test are shares of at most 1 together."""
    check_fractions(dataset, **dict(zip(("train", "val", "test"), shares, strict=True)))
    if not 0 < sum(shares) <= 1 + 1e-9:
        raise GraphiumError(
            f"dataset {dataset!r}: the shares of split {split} add up to {sum(shares):g}; "
            "train, val and test together are more than 0 and at most 1"
        )


def check_fractions(dataset: str, **fractions: float) -> None:
    """Raise a GraphiumError for an option of a split that is no number between 0 and 1."""
    for name, value in fractions.items():
        if not 0 <= value <= 1:
            raise GraphiumError(f"dataset {dataset!r}: split.{name} is {value}; give a share between 0 and 1")


def share_out(total: int, shares: Sequence[float]) -> np.ndarray:
    """Share out ``total`` by largest remainder, at least one each where there are enough, the first part first.

    >>> share_out(11, (0.8, 0.1, 0.1)).tolist(), share_out(2, (0.8, 0.1, 0.1)).tolist()
    ([9, 1, 1], [1, 1, 0])
    """
    wanted = np.array(shares) * total
    counts = np.floor(wanted + 1e-9).astype(np.int64)
    spare = round(float(wanted.sum())) - int(counts.sum())
    for part in np.argsort(counts - wanted, kind="stable")[:spare]:
        counts[part] += 1
    for part in np.flatnonzero((np.array(shares) > 0) & (counts == 0)):
        richest = int(np.argmax(counts))
        if counts[richest] > 1:
            counts[richest] -= 1
            counts[part] += 1
    return counts


def share_out_strata(sizes: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Share out every stratum in the proportions of ``totals``; each cell is off by at most 1.

    Args:
        sizes: Molecules of every stratum, int64 ``[strata]``.
        totals: Molecules of every part, int64 ``[parts]``, together at most ``sizes.sum()``.

    Returns:
        int64 ``[strata, parts]``, whose columns add up to ``totals`` exactly.
    """
    everything = int(sizes.sum())
    columns = np.append(totals, everything - totals.sum())
    if not everything:
        return np.zeros((len(sizes), len(totals)), np.int64)
    counts, remainder = np.divmod(sizes[:, None] * columns[None], everything)
    missing = columns - counts.sum(axis=0)
    # Rows and columns that are to be filled up by ones: taking the emptiest columns for each row always
    # comes out (Gale 1957, Ryser 1957); among equals the largest remainder is first.
    for row in np.argsort(-remainder.max(axis=1), kind="stable"):
        many = int(sizes[row] - counts[row].sum())
        for column in np.lexsort((-remainder[row], -missing))[:many]:
            counts[row, column] += 1
            missing[column] -= 1
    return counts[:, :-1]


def strata_sizes(stratum: np.ndarray, num_strata: int) -> np.ndarray:
    """Molecules of every stratum, int64 ``[strata]``; -1 is none."""
    size = np.zeros(num_strata, np.int64)
    for start in range(0, len(stratum), AT_ONCE):
        piece = stratum[start : start + AT_ONCE]
        size += np.bincount(piece[piece >= 0], minlength=num_strata)
    return size


def draw(ids: np.ndarray, stratum: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    """Draw molecules into parts, a given number from every stratum.

    The molecules of a stratum are taken in the order of a hash of (id, seed), first those of part 0.

    Args:
        ids: uint64 ``[molecules, 2]``.
        stratum: integers ``[molecules]``; -1 is not drawn.
        counts: int64 ``[strata, parts]``, together at most the molecules of the stratum.
        seed: Any whole number.

    Returns:
        int8 ``[molecules]``: part, -1 in none.
    """
    num_strata, num_parts = counts.shape
    bits = max(1, min(_MAX_BITS, _CELLS_LOG2 - (num_strata - 1).bit_length()))

    def pieces() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        for start in range(0, len(stratum), AT_ONCE):
            chosen = start + np.flatnonzero(stratum[start : start + AT_ONCE] >= 0)
            key = keyed(ids[chosen] if len(chosen) < AT_ONCE else ids[start : start + AT_ONCE], seed)
            row = stratum[chosen].astype(np.int64)
            yield chosen, row, key, (row << bits) | (key >> np.uint64(64 - bits)).astype(np.int64)

    # The place of a threshold is first narrowed down to one cell of a histogram, then looked up in it:
    # nothing is sorted but the few molecules of these cells.
    seen = np.zeros(num_strata << bits, np.int64)
    for _, _, _, cell in pieces():
        seen += np.bincount(cell, minlength=len(seen))
    ends = np.cumsum(seen)
    size = np.diff(np.concatenate([[0], ends[(1 << bits) - 1 :: 1 << bits]]))
    within = np.cumsum(counts, axis=1)
    is_open = within >= size[:, None]
    rank = within + (np.cumsum(size) - size)[:, None]
    cell_of = np.minimum(np.searchsorted(ends, rank, side="right"), len(seen) - 1)
    wanted = np.zeros(len(seen), bool)
    wanted[cell_of[~is_open]] = True
    found = [(cell[wanted[cell]], key[wanted[cell]]) for _, _, key, cell in pieces()]
    cells = np.concatenate([cell for cell, _ in found] or [np.empty(0, np.int64)])
    keys = np.concatenate([key for _, key in found] or [np.empty(0, np.uint64)])
    order = np.lexsort((keys, cells))
    cells, keys = cells[order], keys[order]
    threshold = np.zeros(counts.shape, np.uint64)
    place = np.searchsorted(cells, cell_of) + rank - (ends - seen)[cell_of]
    threshold[~is_open] = keys[place[~is_open]]
    part = np.full(len(stratum), -1, dtype=np.int8)
    for chosen, row, key, _ in pieces():
        number = ((key[:, None] >= threshold[row]) & ~is_open[row]).sum(axis=1)
        part[chosen] = np.where(number < num_parts, number, -1)
    return part


def keyed(ids: np.ndarray, seed: int) -> np.ndarray:
    """A 64-bit hash of 128-bit ids and a seed, uint64 ``[n]`` (the mixing of SplitMix64, Steele 2014)."""
    key = _mix(np.array([seed & _WORD, (seed >> 64) & _WORD], np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    return _mix(_mix(ids[:, 0] ^ (key[0] ^ key[1] >> np.uint64(1))) ^ ids[:, 1])


def fill_groups(size: np.ndarray, order: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Put whole groups into parts: each into the first part that has room for all of it.

    A group without room anywhere goes to the last part that has a share, or to no part where ``counts``
    leave molecules out.

    Args:
        size: Molecules of every group, int64 ``[groups]``.
        order: The order in which the groups are placed.
        counts: Molecules wanted in every part.

    Returns:
        int8 ``[groups]``: part, -1 in none.
    """
    room = [int(count) for count in counts]
    leaves_out = int(size.sum()) > sum(room)
    last = -1 if leaves_out else max(part for part, count in enumerate(room) if count)
    part = np.empty(len(size), np.int8)
    ordered = size[order]
    # Groups of equal size that follow each other are placed together.
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(order))
    start = 0
    for stop in ends:
        each = int(ordered[start])
        for code, space in enumerate(room):
            many = min(stop - start, max(space, 0) // each if each else stop - start)
            part[order[start : start + many]] = code
            room[code] -= many * each
            start += many
        part[order[start:stop]] = last
        start = stop
    return part


def scratch(work: Path | None, name: str, size: int, dtype: type[np.generic]) -> np.ndarray:
    """A temporary array ``[size]`` of zeros; a large one is a file in ``work``, which is removed at the end."""
    length = size * np.dtype(dtype).itemsize
    if work is None or length < _LARGE:
        return np.zeros(size, dtype)
    path = work / f"{name}.tmp"
    with disk_errors(path), create_file(path) as file:
        # Space that is not there must be missed now, not while the map is written.
        os.posix_fallocate(file.fileno(), 0, length)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r+", shape=(size,)))


def _mix(word: np.ndarray) -> np.ndarray:
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
