"""The GraphStore: one prepared table as a folder of flat, memory-mapped columns.

::

    manifest.json             counts, the SMILES column, checksum of failures.csv
    failures.csv              rows that could not be used: dataset, row, text, reason
    molecules/                id, flat_id, ptr, component_size, bonds
    rows/                     molecule, text, atom_order, bond_order and their offsets
    features/<column>-<key>/  one column of properties or of an encoding
    labels/<name>-<key>/      the labels of one head, see :mod:`graphium.data.labels`

Every folder has its own manifest with dtypes, shapes and checksums: adding a feature or a label
adds a folder and touches none.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphium.data.columns import MANIFEST, damaged_files, open_columns, read_manifest
from graphium.errors import GraphiumError

FAILURES = "failures.csv"


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
        row_molecule: int64 ``[rows]``, the molecule of a row, -1 where the row failed.
        id, flat_id: uint64 ``[molecules, 2]``, identity with and without stereochemistry.
        ptr: int64 ``[molecules + 1, 3]``, offsets into the columns of atoms, bonds and components, side
            by side because they are always read together.
        component_size: int32 ``[components]``, atoms of a connected component.
        bonds: int16 ``[bonds, 4]``: atoms i < j of the molecule, then the places of the directed edges
            i -> j and j -> i among the molecule's edges sorted by (destination, source).
    """

    def __init__(self, folder: Path, keys: Mapping[str, str] | None = None) -> None:
        self.folder = Path(folder)
        self.manifest: dict[str, Any] = read_manifest(self.folder)
        molecules = _open(self.folder / "molecules")
        rows = _open(self.folder / "rows")
        self.id, self.flat_id = molecules["id"], molecules["flat_id"]
        self.ptr, self.component_size, self.bonds = molecules["ptr"], molecules["component_size"], molecules["bonds"]
        self.row_molecule = rows["molecule"]
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

    @cached_property
    def num_atoms(self) -> np.ndarray:
        """int64 ``[molecules]``."""
        return np.diff(self.atom_ptr)

    @cached_property
    def num_bonds(self) -> np.ndarray:
        """int64 ``[molecules]``."""
        return np.diff(self.bond_ptr)

    @cached_property
    def num_components(self) -> np.ndarray:
        """int64 ``[molecules]``."""
        return np.diff(self.component_ptr)

    @property
    def bond_index(self) -> np.ndarray:
        """int16 ``[bonds, 2]``: atoms i < j of the molecule, sorted by (i, j)."""
        return self.bonds[:, :2]

    def text(self, row: int) -> str:
        """The user's own SMILES of a row, empty where the cell was no text."""
        start, stop = self._rows["text_ptr"][row], self._rows["text_ptr"][row + 1]
        return bytes(self._rows["text"][start:stop]).decode()

    def texts(self, rows: np.ndarray) -> list[str]:
        """The user's own SMILES of several rows."""
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
        name = {"node": "atom_order", "edge": "bond_order"}[level]
        sizes = self.row_sizes(level, start, stop)
        ptr = np.concatenate([[0], np.cumsum(sizes)])
        stored_ptr = np.asarray(self._rows[f"{name}_ptr"][start : stop + 1])
        # The identity is stored as nothing.
        order = np.arange(ptr[-1]) - np.repeat(ptr[:-1], sizes)
        is_stored = np.repeat(np.diff(stored_ptr) > 0, sizes)
        order[is_stored] = self._rows[name][stored_ptr[0] : stored_ptr[-1]]
        return ptr, order

    def row_sizes(self, level: str, start: int, stop: int) -> np.ndarray:
        """int64 ``[stop - start]``: entities of a level in the molecules of some rows, 0 in failed rows."""
        molecule = np.asarray(self.row_molecule[start:stop])
        usable = molecule >= 0
        if level == "graph":
            return usable.astype(np.int64)
        sizes = {"node": self.num_atoms, "edge": self.num_bonds}[level]
        return np.where(usable, sizes[np.maximum(molecule, 0)] if len(sizes) else 0, 0)

    def first_rows(self) -> np.ndarray:
        """int64 ``[molecules]``: the first row of every molecule."""
        usable = np.flatnonzero(self.row_molecule >= 0)
        first = np.empty(self.num_molecules, np.int64)
        first[self.row_molecule[usable[::-1]]] = usable[::-1]
        return first

    def failures(self) -> list[Failure]:
        """Rows that could not be used."""
        with (self.folder / FAILURES).open(encoding="utf-8", newline="") as file:
            return [Failure(r["dataset"], int(r["row"]), r["text"], r["reason"]) for r in csv.DictReader(file)]

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

    def __repr__(self) -> str:
        return f"GraphStore({str(self.folder)!r}, rows={self.num_rows:,}, molecules={self.num_molecules:,})"


def check(folder: Path) -> list[str]:
    """Read every file of a store and compare it with its checksum.

    Returns:
        The damaged or missing files, as paths inside the store; empty if all is well.
    """
    folder = Path(folder)
    parts = [folder, folder / "molecules", folder / "rows"]
    for group in ("features", "labels"):
        parts += sorted(path for path in (folder / group).glob("*") if path.is_dir())
    return [str(path.relative_to(folder)) for part in parts for path in damaged_files(part)]


def is_finished(folder: Path) -> bool:
    """Whether a folder of columns was completed."""
    return (folder / MANIFEST).is_file()


def _open(folder: Path) -> dict[str, np.ndarray]:
    return open_columns(folder, read_manifest(folder))
