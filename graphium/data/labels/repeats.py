"""Several rows of one molecule in one dataset: which of them are used.

A table may have more rows than memory has room for: rows are looked at some at a time, one byte is
kept per molecule, and what must be sorted lies in a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from graphium.errors import GraphiumError

Policy = Literal["keep", "first", "mean", "error"]

# Rows looked at together.
_AT_ONCE = 1 << 20
_PARTS = 4


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
    molecule in every part, for which :func:`graphium.data.labels.merging.merge_labels` makes the labels.
    ``error`` refuses repeats.

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


class Members:
    """The rows that share their molecule and part with others, sorted by (first row of the group, row).

    Both numbers are packed into one uint64, so that the file can be sorted in place.
    """

    def __init__(self, packed: np.ndarray, bits: int) -> None:
        self._packed, self._bits = packed, np.uint64(bits)

    @classmethod
    def write(cls, path: Path, row_molecule: np.ndarray, parts: np.ndarray, several: np.ndarray) -> Members:
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


def repeats_by_part(row_molecule: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """uint8 ``[molecules]``: bit p is set where several used rows of the molecule are in part p."""
    return _groups_seen(row_molecule, parts, by_part=True) >> _PARTS


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
