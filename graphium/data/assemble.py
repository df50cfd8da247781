"""From finished chunks to the folders of a store: merge repeated molecules, write flat columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from graphium.data.chunks import Chunk, read_chunk
from graphium.data.columns import ColumnWriter, disk_errors, file_sum, write_manifest
from graphium.data.store import FAILURES, Failure
from graphium.errors import GraphiumError

# Molecules merged in one sort; above it the ids are partitioned by their leading bits.
_MERGE_ROWS = 1 << 23


@contextmanager
def column_writer(folder: Path) -> Iterator[ColumnWriter]:
    """A writer whose files are closed whatever happens; the caller ends with ``close``."""
    writer = ColumnWriter(folder)
    try:
        yield writer
    finally:
        writer.abandon()


def assemble_store(paths: Sequence[Path], folder: Path, keys: Mapping[str, str], *, dataset: str, smiles: str) -> None:
    """Write a whole store, without encodings, from the chunks of its table.

    Args:
        paths: Chunk files in the order of the rows.
        folder: The folder to write, which must not exist.
        keys: Property block -> content key.
        dataset: Name of the dataset for ``failures.csv``.
        smiles: Name of the SMILES column.

    Raises:
        GraphiumError: no row can be used, or the disk is full.
    """
    failures = [Failure(dataset, *entry) for path in paths for entry in read_chunk(path).about["failures"]]
    first = merge_ids(paths)
    if not len(first):
        reason = f"; row {failures[0].row}, {failures[0].text!r}: {failures[0].reason}" if failures else ""
        raise GraphiumError(
            f"no row of {dataset} can be used ({len(failures):,} tried{reason}); is {smiles!r} the SMILES column?"
        )
    is_first = first == np.arange(len(first))
    molecule = (np.cumsum(is_first) - 1)[first]
    with disk_errors(folder):
        folder.mkdir(parents=True)
    _write_molecules(paths, folder / "molecules", is_first)
    num_rows = _write_rows(paths, folder / "rows", molecule)
    for block, key in keys.items():
        _write_block(paths, folder / "features" / f"{block}-{key}", block, key, is_first)
    write_failures(folder / FAILURES, failures)
    write_manifest(
        folder,
        {
            "rows": num_rows,
            "molecules": int(is_first.sum()),
            "failures": len(failures),
            "smiles": smiles,
            "columns": {},
            "files": {"failures": {"file": FAILURES, "checksum": file_sum(folder / FAILURES)}},
        },
    )


def assemble_feature(paths: Sequence[Path], folder: Path, block: str, key: str) -> None:
    """Join one feature column from chunks over the molecules of a store."""
    with column_writer(folder) as writer:
        for path in paths:
            writer.append("data", read_chunk(path).columns[block])
        writer.close(column=block, key=key)


def merge_ids(paths: Sequence[Path], at_once: int = _MERGE_ROWS) -> np.ndarray:
    """For every usable row, the number (among usable rows) of the first one with the same id.

    Sorted in partitions of about ``at_once`` ids, so memory beyond the result stays bounded.
    """
    sizes = [len(read_chunk(path).columns["position"]) for path in paths]
    total = sum(sizes)
    if not total:
        return np.empty(0, np.int64)
    starts = np.cumsum([0, *sizes])
    first = np.empty(total, np.int64)
    bits = max(0, int(np.ceil(np.log2(max(total, 1) / at_once))))
    for partition in range(1 << bits):
        rows, ids = [], []
        for path, start in zip(paths, starts, strict=False):
            found = np.asarray(read_chunk(path).columns["id"])
            inside = np.flatnonzero(found[:, 0] >> np.uint64(64 - bits) == partition) if bits else np.arange(len(found))
            rows.append(inside + start)
            ids.append(found[inside])
        row, both = np.concatenate(rows), np.concatenate(ids)
        # lexsort is stable: within equal ids the rows stay in order, so the group's first is its earliest.
        order = np.lexsort((both[:, 1], both[:, 0]))
        ranked = both[order]
        is_new = np.ones(len(order), bool)
        is_new[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
        leader = row[order[np.flatnonzero(is_new)]]
        first[row[order]] = leader[np.cumsum(is_new) - 1]
    return first


def _kept(paths: Sequence[Path], is_first: np.ndarray) -> Iterator[tuple[Chunk, np.ndarray]]:
    """Every chunk with the mask of its molecules that appear there for the first time."""
    start = 0
    for path in paths:
        chunk = read_chunk(path)
        size = len(chunk.columns["position"])
        yield chunk, is_first[start : start + size]
        start += size


def _write_molecules(paths: Sequence[Path], folder: Path, is_first: np.ndarray) -> None:
    end = np.zeros(3, np.int64)
    with column_writer(folder) as writer:
        writer.append("ptr", end[None])
        for chunk, keep in _kept(paths, is_first):
            columns = chunk.columns
            for name in ("id", "flat_id"):
                writer.append(name, columns[name][keep])
            sizes = [columns[name][keep] for name in ("num_atoms", "num_bonds", "num_components")]
            ptr = end + np.cumsum(np.stack(sizes, axis=1), axis=0, dtype=np.int64)
            writer.append("ptr", ptr)
            end = ptr[-1] if len(ptr) else end
            writer.append("component_size", _select(columns["component_size"], columns["num_components"], keep))
            writer.append("bonds", _select(columns["bonds"], columns["num_bonds"], keep))
        writer.close()


def _write_rows(paths: Sequence[Path], folder: Path, molecule: np.ndarray) -> int:
    num_rows = used = 0
    ends = {"text": 0, "atom_order": 0, "bond_order": 0}
    with column_writer(folder) as writer:
        for name in ends:
            writer.append(f"{name}_ptr", np.zeros(1, np.int64))
        for path in paths:
            chunk = read_chunk(path)
            columns, rows = chunk.columns, chunk.about["rows"]
            position = np.asarray(columns["position"])
            row_molecule = np.full(rows, -1, np.int64)
            row_molecule[position] = molecule[used : used + len(position)]
            writer.append("molecule", row_molecule)
            writer.append("text", columns["text"])
            sizes = {"text": np.asarray(columns["text_size"])}
            for name, counts in (("atom_order", columns["num_atoms"]), ("bond_order", columns["num_bonds"])):
                order, stored = _without_identities(np.asarray(columns[name]), np.asarray(counts, np.int64))
                writer.append(name, order.astype(np.int16))
                sizes[name] = np.zeros(rows, np.int64)
                sizes[name][position] = stored
            for name, size in sizes.items():
                writer.append(f"{name}_ptr", ends[name] + np.cumsum(size))
                ends[name] += int(size.sum())
            num_rows, used = num_rows + rows, used + len(position)
        writer.close()
    return num_rows


def _write_block(paths: Sequence[Path], folder: Path, block: str, key: str, is_first: np.ndarray) -> None:
    counts = "num_atoms" if block.startswith("atom") else "num_bonds"
    with column_writer(folder) as writer:
        for chunk, keep in _kept(paths, is_first):
            writer.append("data", _select(chunk.columns[block], chunk.columns[counts], keep))
        writer.close(column=block, key=key)


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    with disk_errors(path), path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Failure._fields)
        writer.writerows(failures)


def _select(flat: np.ndarray, counts: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Rows of a flat column that belong to kept molecules."""
    return flat if keep.all() else flat[np.repeat(keep, counts)]


def _without_identities(order: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the permutations that change nothing; also the stored length of each."""
    ptr = np.cumsum(counts) - counts
    moved = order != np.arange(len(order)) - np.repeat(ptr, counts)
    touched = np.concatenate([[0], np.cumsum(moved)])
    is_stored = touched[ptr + counts] > touched[ptr]
    return order[np.repeat(is_stored, counts)], np.where(is_stored, counts, 0)
