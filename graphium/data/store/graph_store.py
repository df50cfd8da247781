"""The GraphStore: one prepared table as a folder of flat, memory-mapped columns.

::

    manifest.json             counts, the SMILES column, RDKit's version, checksum of failures.csv
    failures.csv              rows that could not be used: dataset, row, text, reason
    molecules/                id, flat_id where it differs, ptr, component_size, bonds
    rows/                     molecule, text, order of atoms and bonds, written hydrogens, positions
    features/<column>-<key>/  one column of properties or of an encoding
    labels/<name>-<key>/      the labels of one head, see :mod:`graphium.data.labels.block`

Every folder has its own manifest with dtypes, shapes and checksums: adding a feature or a label
adds a folder and touches none.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphium.data.store.columns import MANIFEST, damaged_files, open_columns, read_manifest, slices
from graphium.errors import GraphiumError

# Raise when a store of the same content has other files.
STORE_VERSION = 2
FAILURES = "failures.csv"
# Groups of further folders, each with a manifest of its own.
_GROUPS = ("features", "labels", "splits", "groups")
# Rows that are looked at together where a whole column is read.
_AT_ONCE = 1 << 20


class Failure(NamedTuple):
    """A row of a table that could not be used, and why."""

    dataset: str
    row: int
    text: str
    reason: str


class GraphStore:
    """A prepared table, opened for reading; columns are mapped into memory, not loaded.

    Attributes:
        folder: Where the store lies.
        manifest: Its top manifest.
        row_molecule: int32 (int64 beyond 2^31 molecules) ``[rows]``, the molecule of a row, -1 where the
            row failed. Molecules are numbered in the order in which the rows show them first.
        id: uint64 ``[molecules, 2]``, identity; :meth:`flat_ids` are those without stereochemistry.
        ptr: int64 ``[molecules + 1, 3]``, offsets into the columns of atoms, bonds and components, side
            by side because they are always read together.
        component_size: int32 ``[components]``, atoms of a connected component.
        bonds: uint8 or int16 ``[bonds, 4]``: atoms i < j of the molecule, then the places of the directed
            edges i -> j and j -> i among the molecule's edges sorted by (destination, source).
        positions: float32 ``[sum of the rows' atoms, 3]``, Angstrom, or None: coordinates belong to rows.
        position_ptr: int64 ``[rows + 1]``, offsets of the rows into ``positions``, or None.
    """

    def __init__(self, folder: Path, keys: Mapping[str, str] | None = None) -> None:
        self.folder = Path(folder)
        self.manifest: dict[str, Any] = read_manifest(self.folder)
        if self.manifest.get("layout") != STORE_VERSION:
            raise GraphiumError(
                f"the store {self.folder} was written by another version of Graphium (layout "
                f"{self.manifest.get('layout', 1)}, this one reads {STORE_VERSION}); prepare the data again"
            )
        molecules = _open(self.folder / "molecules")
        rows = _open(self.folder / "rows")
        self.id, self.ptr = molecules["id"], molecules["ptr"]
        self.component_size, self.bonds = molecules["component_size"], molecules["bonds"]
        self._flat_molecule, self._flat_id = molecules["flat_molecule"], molecules["flat_id"]
        self.row_molecule = rows["molecule"]
        self.positions, self.position_ptr = rows.get("positions"), rows.get("position_ptr")
        self._rows = rows
        self._keys = dict(keys) if keys is not None else None

    @classmethod
    def open(cls, folder: Path, keys: Mapping[str, str] | None = None) -> GraphStore:
        """Open a finished store.

        Args:
            folder: The store's folder.
            keys: Feature column name -> content key, where the store holds several versions.

        Raises:
            GraphiumError: the folder is no finished store, or a file has the wrong size.
        """
        return cls(folder, keys)

    @property
    def num_rows(self) -> int:
        return len(self.row_molecule)

    @property
    def num_molecules(self) -> int:
        return len(self.id)

    @property
    def num_failures(self) -> int:
        return int(self.manifest["failures"])

    @property
    def smiles(self) -> str:
        """Name of the table's SMILES column."""
        return str(self.manifest["smiles"])

    @property
    def rdkit(self) -> str:
        """Version of RDKit that made the ids: those of different versions cannot be compared."""
        return str(self.manifest["rdkit"])

    @property
    def atom_ptr(self) -> np.ndarray:
        """int64 ``[molecules + 1]``: the atoms of molecule m are ``atom_ptr[m]:atom_ptr[m + 1]``."""
        return self.ptr[:, 0]

    @property
    def bond_ptr(self) -> np.ndarray:
        """int64 ``[molecules + 1]``: the same for bonds."""
        return self.ptr[:, 1]

    @property
    def component_ptr(self) -> np.ndarray:
        """int64 ``[molecules + 1]``: the same for connected components."""
        return self.ptr[:, 2]

    def num_atoms(self, molecules: np.ndarray | slice = slice(None)) -> np.ndarray:
        """int64, atoms of some molecules, given by a slice or by their numbers."""
        return self._sizes(0, molecules)

    def num_bonds(self, molecules: np.ndarray | slice = slice(None)) -> np.ndarray:
        """int64, bonds of some molecules."""
        return self._sizes(1, molecules)

    def num_components(self, molecules: np.ndarray | slice = slice(None)) -> np.ndarray:
        """int64, connected components of some molecules."""
        return self._sizes(2, molecules)

    def _sizes(self, column: int, molecules: np.ndarray | slice) -> np.ndarray:
        if isinstance(molecules, slice):
            start, stop, _ = molecules.indices(self.num_molecules)
            return np.diff(self.ptr[start : max(start, stop) + 1, column])
        molecules = np.asarray(molecules, np.int64)
        return self.ptr[molecules + 1, column] - self.ptr[molecules, column]

    def flat_ids(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """uint64 ``[stop - start, 2]``, the identity without stereochemistry of the molecules ``start:stop``."""
        flat = np.array(self.id[start:stop])
        stop = start + len(flat)
        first, last = np.searchsorted(self._flat_molecule, (start, stop))
        flat[self._flat_molecule[first:last] - start] = self._flat_id[first:last]
        return flat

    @property
    def bond_index(self) -> np.ndarray:
        """uint8 or int16 ``[bonds, 2]``: atoms i < j of the molecule, sorted by (i, j)."""
        return self.bonds[:, :2]

    def text(self, row: int) -> str:
        """The user's own text of a row, empty where the cell was no text."""
        start, stop = self._rows["text_ptr"][row], self._rows["text_ptr"][row + 1]
        return bytes(self._rows["text"][start:stop]).decode()

    def texts(self, rows: np.ndarray) -> list[str]:
        """The user's own texts of several rows."""
        return [self.text(int(row)) for row in rows]

    def atom_order(self, row: int) -> np.ndarray:
        """int64 ``[atoms]``: the user's index of every canonical atom of a row."""
        return self.orders("node", row, row + 1)[1]

    def bond_order(self, row: int) -> np.ndarray:
        """int64 ``[bonds]``: the user's index of every canonical bond of a row."""
        return self.orders("edge", row, row + 1)[1]

    def orders(self, level: str, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The user's order of atoms (``node``) or bonds (``edge``) of the rows ``start:stop``.

        Returns:
            Offsets int64 ``[stop - start + 1]`` and, one row after another, the user's index of every
            canonical atom or bond, int64. A failed row has none.
        """
        sizes = self.row_sizes(level, start, stop)
        ptr = np.concatenate([[0], np.cumsum(sizes)])
        stored_ptr = self._rows["order_ptr"][start : stop + 1].astype(np.int64)
        # The identity is stored as nothing; else a row's order of atoms stands before that of its bonds.
        order = slices(np.zeros(len(sizes)), sizes)
        is_stored = np.diff(stored_ptr) > 0
        begin = stored_ptr[:-1] if level == "node" else stored_ptr[1:] - sizes
        order[np.repeat(is_stored, sizes)] = self._rows["order"][slices(begin[is_stored], sizes[is_stored])]
        return ptr, order

    def written(self, level: str, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """What the rows ``start:stop`` write beyond the graph's atoms (``node``) or bonds (``edge``).

        Returns:
            Offsets int64 ``[stop - start + 1]`` and, for every atom that the text writes, the user's
            number among the heavy atoms, or ``-1 - parent`` for a hydrogen that the graph leaves out; for
            every bond its number among the heavy bonds, or -1; int64. Rows whose graph has all that was
            written are empty.
        """
        column, name = {"node": (0, "written_atom"), "edge": (1, "written_bond")}[level]
        first, last = np.searchsorted(self._rows["written_row"], (start, stop))
        sizes = np.zeros(stop - start, np.int64)
        stored_ptr = self._rows["written_ptr"][first : last + 1, column]
        sizes[self._rows["written_row"][first:last] - start] = np.diff(stored_ptr)
        target = self._rows[name][stored_ptr[0] : stored_ptr[-1]].astype(np.int64)
        return np.concatenate([[0], np.cumsum(sizes)]), target

    def row_sizes(self, level: str, start: int, stop: int) -> np.ndarray:
        """int64 ``[stop - start]``: entities of a level in the molecules of some rows, 0 in failed rows."""
        molecule = self.row_molecule[start:stop]
        usable = molecule >= 0
        if level == "graph":
            return usable.astype(np.int64)
        sizes = np.zeros(len(molecule), np.int64)
        sizes[usable] = self._sizes({"node": 0, "edge": 1}[level], molecule[usable])
        return sizes

    def first_rows(self, size: int) -> Iterator[np.ndarray]:
        """The first row of every molecule, int64: of ``size`` molecules at a time, in their order."""
        # Molecules are numbered as the rows show them, so a first row is one beyond all numbers before.
        seen, waiting = -1, np.empty(0, np.int64)
        for start in range(0, self.num_rows, _AT_ONCE):
            molecule = self.row_molecule[start : start + _AT_ONCE]
            before = np.maximum.accumulate(np.concatenate([[seen], molecule]))
            waiting = np.concatenate([waiting, start + np.flatnonzero(molecule > before[:-1])])
            seen = int(before[-1])
            full = len(waiting) - len(waiting) % size
            for begin in range(0, full, size):
                yield waiting[begin : begin + size]
            waiting = waiting[full:]
        if len(waiting):
            yield waiting

    def failures(self) -> Iterator[Failure]:
        """Rows that could not be used, in their order."""
        with (self.folder / FAILURES).open(encoding="utf-8", newline="") as file:
            for found in csv.DictReader(file):
                yield Failure(found["dataset"], int(found["row"]), found["text"], found["reason"])

    def feature_folder(self, name: str, key: str) -> Path:
        """Where the column ``name`` of content ``key`` lies or would lie."""
        return self.folder / "features" / f"{name}-{key}"

    def feature(self, name: str) -> np.ndarray:
        """A feature column: one row per atom, bond or component.

        Raises:
            GraphiumError: the store does not hold it, or holds several and no key was given.
        """
        if self._keys is not None:
            folders = [self.feature_folder(name, self._keys[name])] if name in self._keys else []
        else:
            folders = sorted((self.folder / "features").glob(f"{name}-*"))
        if len(folders) != 1 or not folders[0].is_dir():
            held = sorted(p.name for p in (self.folder / "features").glob("*"))
            raise GraphiumError(
                f"the store {self.folder} holds {'several columns' if len(folders) > 1 else 'no column'} {name!r} "
                f"(it has {', '.join(held) or 'none'}); prepare the data again with this featurizer"
            )
        return _open(folders[0])["data"]

    def __reduce__(self) -> tuple[Any, ...]:
        # To another process a store travels as its place, not as its content.
        return GraphStore, (self.folder, self._keys)

    def __repr__(self) -> str:
        return f"GraphStore({str(self.folder)!r}, rows={self.num_rows:,}, molecules={self.num_molecules:,})"


def check(folder: Path) -> list[str]:
    """Read every file of a store and compare it with its checksum.

    Unfinished work lies beside a store, in a folder ``<key>.part``; it is no part of any store, the next
    preparation continues in it or replaces it, and it may be deleted while no preparation runs.

    Returns:
        The damaged or missing files, as paths inside the store; empty if all is well.
    """
    folder = Path(folder)
    parts = [folder, folder / "molecules", folder / "rows"]
    for group in _GROUPS:
        parts += sorted(path for path in (folder / group).glob("*") if path.is_dir())
    return [str(path.relative_to(folder)) for part in parts for path in damaged_files(part)]


def is_finished(folder: Path) -> bool:
    """Whether a folder of columns was completed."""
    return (folder / MANIFEST).is_file()


def _open(folder: Path) -> dict[str, np.ndarray]:
    return open_columns(folder, read_manifest(folder))
