"""From finished chunks to the folders of a store: merge repeated molecules, write flat columns."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphium.data.store.chunks import read_chunk
from graphium.data.store.columns import ColumnWriter, Kept, create_file, disk_errors, file_sum, write_manifest
from graphium.data.store.graph_store import FAILURES, STORE_VERSION, Failure
from graphium.errors import GraphiumError

# Ids merged in one sort; above it they are partitioned by their leading bits.
_MERGE_IDS = 1 << 22
_FLUSHED_TOGETHER = 8
# Entries that are renumbered together.
_AT_ONCE = 1 << 20


@contextmanager
def column_writer(folder: Path) -> Iterator[ColumnWriter]:
    """A writer whose files are closed whatever happens; the caller ends with ``close``."""
    writer = ColumnWriter(folder)
    try:
        yield writer
    finally:
        writer.abandon()


@dataclass(frozen=True)
class Survey:
    """What the headers of all chunks say.

    ``entries``: molecules of the chunks, each counted once per chunk. ``small``: the dtype that holds
    the numbers of atoms, bonds and edges of every molecule. ``text``, ``order``: dtypes of offsets.
    """

    rows: int
    entries: int
    failures: int
    first_failure: tuple[int, str, str] | None
    small: np.dtype[Any]
    text: np.dtype[Any]
    order: np.dtype[Any]


def survey(paths: Iterable[Path]) -> Survey:
    """Read the headers of all chunks."""
    rows = entries = failures = text = order = 0
    first_failure, small = None, np.dtype(np.uint8)
    for path in paths:
        chunk = read_chunk(path)
        rows += chunk.about["rows"]
        entries += chunk.about["molecules"]
        failures += len(chunk.about["failures"])
        if chunk.about["failures"] and first_failure is None:
            first_failure = tuple(chunk.about["failures"][0])
        text += len(chunk.columns["text"])
        order += len(chunk.columns["order"])
        small = max(small, chunk.columns["bonds"].dtype, key=lambda dtype: dtype.itemsize)
    return Survey(rows, entries, failures, first_failure, small, _offset_type(text), _offset_type(order))


def assemble_store(
    paths: Sequence[Path],
    folder: Path,
    scratch: Path,
    keys: Mapping[str, str],
    entities: Mapping[str, str],
    *,
    dataset: str,
    smiles: str,
    rdkit: str,
    advance: Callable[[int], None] = lambda rows: None,
) -> None:
    """Write a whole store from the chunks of its table.

    Args:
        paths: Chunk files in the order of the rows.
        folder: The folder to write, which must not exist.
        scratch: A file for intermediate results.
        keys: Feature column -> content key.
        entities: Feature column -> ``atom``, ``bond`` or ``component``: what its rows belong to.
        dataset: Name of the dataset for ``failures.csv``.
        smiles: Name of the SMILES column.
        rdkit: Version of RDKit that read the molecules.
        advance: Told the rows of every chunk that is written.

    Raises:
        GraphiumError: no row can be used, or the disk is full.
    """
    found = survey(paths)
    if not found.entries:
        first = found.first_failure
        reason = f"; row {first[0]}, {first[1]!r}: {first[2]}" if first else ""
        mend = f"is {smiles!r} the SMILES column?"
        if first and "coordinates" in first[2]:
            mend = "give a table with 3-D structures, or leave features.positions out"
        raise GraphiumError(f"no row of {dataset} can be used ({found.failures:,} tried{reason}); {mend}")
    molecule = number_molecules(paths, scratch, found.entries)
    with disk_errors(folder):
        folder.mkdir(parents=True)
    with ExitStack() as stack:
        molecules = _MoleculeWriter(stack.enter_context(column_writer(folder / "molecules")), found)
        rows = _RowWriter(stack.enter_context(column_writer(folder / "rows")), found)
        features = {
            name: stack.enter_context(column_writer(folder / "features" / f"{name}-{key}"))
            for name, key in keys.items()
        }
        failures = stack.enter_context(failure_writer(folder / FAILURES))
        start = 0
        for path in paths:
            chunk = read_chunk(path)
            number = molecule[start : start + chunk.about["molecules"]]
            start += len(number)
            kept = molecules.append(chunk.columns, number)
            rows.append(chunk.columns, number)
            for name, writer in features.items():
                writer.append("data", kept[entities[name]](chunk.columns[name]))
            failures(Failure(dataset, *entry) for entry in chunk.about["failures"])
            advance(chunk.about["rows"])
        # A disk brings many files home together sooner than one after another.
        with ThreadPoolExecutor(_FLUSHED_TOGETHER) as pool:
            list(pool.map(ColumnWriter.flush, [molecules.writer, rows.writer, *features.values()]))
        molecules.writer.close()
        rows.writer.close()
        for name, writer in features.items():
            writer.close(column=name, key=keys[name])
    write_manifest(
        folder,
        {
            "layout": STORE_VERSION,
            "rows": found.rows,
            "molecules": molecules.count,
            "failures": found.failures,
            "smiles": smiles,
            "rdkit": rdkit,
            "columns": {},
            "files": {"failures": {"file": FAILURES, "checksum": file_sum(folder / FAILURES)}},
        },
    )


def assemble_feature(paths: Iterable[Path], folder: Path, block: str, key: str) -> None:
    """Join one feature column from chunks over the molecules of a store."""
    with column_writer(folder) as writer:
        for path in paths:
            writer.append("data", read_chunk(path).columns[block])
        writer.close(column=block, key=key)


def number_molecules(paths: Sequence[Path], scratch: Path, entries: int, at_once: int = _MERGE_IDS) -> np.ndarray:
    """For every entry of the chunks, the number of its molecule: equal ids, equal numbers.

    Molecules are numbered by first appearance. Ids are sorted in partitions of about ``at_once``, and the
    result lies in the file ``scratch``, so memory stays bounded. int64 ``[entries]``.
    """
    first = _file_array(scratch, entries)
    bits = max(0, int(np.ceil(np.log2(max(entries, 1) / at_once))))
    for partition in range(1 << bits):
        _find_first(paths, first, partition, bits)
    # In place: an entry that is the first of its id gets the next number, the others that of their first.
    count = 0
    for start in range(0, entries, _AT_ONCE):
        part = first[start : start + _AT_ONCE]
        leader = part.copy()
        is_first = leader == np.arange(start, start + len(part))
        part[is_first] = count + np.arange(is_first.sum())
        part[~is_first] = first[leader[~is_first]]
        count += int(is_first.sum())
    return first


def _find_first(paths: Sequence[Path], first: np.ndarray, partition: int, bits: int) -> None:
    """Write, for the entries of one partition of ids, the place of the first entry with the same id."""
    entries, ids, start = [], [], 0
    for path in paths:
        found = read_chunk(path).columns["id"]
        inside = np.flatnonzero(found[:, 0] >> np.uint64(64 - bits) == partition) if bits else np.arange(len(found))
        entries.append(inside + start)
        ids.append(found[inside])
        start += len(found)
    entry, both = np.concatenate(entries), np.concatenate(ids)
    del entries, ids
    # lexsort is stable: within equal ids the entries stay in order, so the group's first is its earliest.
    order = np.lexsort((both[:, 1], both[:, 0]))
    both, entry = both[order], entry[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (both[1:] != both[:-1]).any(axis=1)
    first[entry] = entry[np.flatnonzero(is_new)][np.cumsum(is_new) - 1]


class _MoleculeWriter:
    """The folder of molecules; ``count`` are those written so far."""

    def __init__(self, writer: ColumnWriter, found: Survey) -> None:
        self.writer = writer
        self.count = 0
        self._end = np.zeros(3, np.int64)
        self._bond_type = found.small
        writer.append("ptr", self._end[None])

    def append(self, columns: Mapping[str, np.ndarray], number: np.ndarray) -> dict[str, Kept]:
        """Add the molecules of a chunk that no earlier one has shown; returns what chooses their slices."""
        # Numbers count first appearances, and a chunk has each molecule once.
        new = np.flatnonzero(number >= self.count)
        size = columns["size"]
        kept = {name: Kept(size[:, place], new) for place, name in enumerate(("atom", "bond", "component"))}
        exact, flat = columns["id"][new], columns["flat_id"][new]
        differs = np.flatnonzero((exact != flat).any(axis=1))
        self.writer.append("id", exact)
        self.writer.append("flat_molecule", differs + self.count)
        self.writer.append("flat_id", flat[differs])
        ptr = self._end + np.cumsum(size[new], axis=0, dtype=np.int64)
        self.writer.append("ptr", ptr)
        self._end = ptr[-1] if len(ptr) else self._end
        self.writer.append("component_size", kept["component"](columns["component_size"]))
        self.writer.append("bonds", kept["bond"](columns["bonds"]).astype(self._bond_type, copy=False))
        self.count += len(new)
        return kept


class _RowWriter:
    """The folder of rows."""

    def __init__(self, writer: ColumnWriter, found: Survey) -> None:
        self.writer = writer
        self._count = 0
        self._order_type = found.small
        self._molecule_type = _offset_type(found.entries)
        self._ends = {"text": 0, "order": 0, "position": 0}
        self._offsets = {"text": found.text, "order": found.order, "position": np.dtype(np.int64)}
        self._written_end = np.zeros(2, np.int64)
        writer.append("written_ptr", self._written_end[None])

    def append(self, columns: Mapping[str, np.ndarray], number: np.ndarray) -> None:
        """Add the rows of a chunk, whose molecules have these numbers."""
        local = columns["row_molecule"]
        molecule = np.full(len(local), -1, self._molecule_type)
        molecule[local >= 0] = number[local[local >= 0]]
        self.writer.append("molecule", molecule)
        self.writer.append("text", columns["text"])
        self.writer.append("order", columns["order"].astype(self._order_type, copy=False))
        self._append_offsets("text", columns["text_size"])
        self._append_offsets("order", columns["order_size"])
        self.writer.append("written_row", columns["written_row"].astype(np.int64) + self._count)
        ptr = self._written_end + np.cumsum(columns["written_size"], axis=0, dtype=np.int64)
        self.writer.append("written_ptr", ptr)
        self._written_end = ptr[-1] if len(ptr) else self._written_end
        for name in ("written_atom", "written_bond"):
            self.writer.append(name, columns[name])
        if "positions" in columns:
            self.writer.append("positions", columns["positions"])
            self._append_offsets("position", columns["position_size"])
        self._count += len(local)

    def _append_offsets(self, name: str, size: np.ndarray) -> None:
        dtype = self._offsets[name]
        if not self._count:
            self.writer.append(f"{name}_ptr", np.zeros(1, dtype))
        end = self._ends[name] + np.cumsum(size, dtype=np.int64)
        self.writer.append(f"{name}_ptr", end.astype(dtype))
        self._ends[name] = int(end[-1]) if len(end) else self._ends[name]


@contextmanager
def failure_writer(path: Path) -> Iterator[Callable[[Iterable[Failure]], None]]:
    """Write rows that could not be used as CSV: yields a function that adds some."""
    with disk_errors(path), io.TextIOWrapper(create_file(path), encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Failure._fields)
        yield writer.writerows


def write_failures(path: Path, failures: Iterable[Failure]) -> None:
    """Write rows that could not be used as CSV: dataset, row, text, reason."""
    with failure_writer(path) as write:
        write(failures)


def _file_array(path: Path, size: int) -> np.ndarray:
    """int64 ``[size]`` in a file, so that its pages need not stay in memory."""
    with disk_errors(path), create_file(path) as file:
        # A full disk is noticed here; a write into a mapped page without room would end the process.
        os.posix_fallocate(file.fileno(), 0, 8 * size)
    return np.memmap(path, np.int64, mode="r+", shape=(size,))


def _offset_type(total: int) -> np.dtype[Any]:
    return np.dtype(np.int32 if total <= np.iinfo(np.int32).max else np.int64)
