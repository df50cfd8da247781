"""The bonds of many molecules as stacks of small dense matrices, one per connected component."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

# Largest number of matrix entries that are held at a time, where more than one molecule is: 16 MiB.
_MAX_ENTRIES = 1 << 22


class Stack(NamedTuple):
    """Connected components of one size.

    ``component`` int64 ``[G]``: which components; ``atom`` int64 ``[G, size]``: their atoms, as rows
    of the atom columns; ``matrix`` float32 ``[distinct, size, size]``: 1 where two atoms are bonded, else
    0; ``which`` int64 ``[G]``: the matrix of each component.
    """

    component: np.ndarray
    atom: np.ndarray
    matrix: np.ndarray
    which: np.ndarray


@dataclass(frozen=True)
class Adjacency:
    """Which atoms of which molecules are bonded; all that an encoding may depend on.

    ``num_atoms``, ``num_components``, ``num_bonds`` ``[molecules]``; ``component_size``
    ``[components]``: the atoms of a component are consecutive; ``bond_index`` ``[bonds, 2]``: atom
    numbers within the molecule.
    """

    num_atoms: np.ndarray
    num_components: np.ndarray
    component_size: np.ndarray
    num_bonds: np.ndarray
    bond_index: np.ndarray

    @property
    def total_atoms(self) -> int:
        return int(self.component_size.sum(dtype=np.int64))

    @property
    def total_components(self) -> int:
        return len(self.component_size)

    @cached_property
    def _component_start(self) -> np.ndarray:
        sizes = self.component_size.astype(np.int64)
        return np.cumsum(sizes) - sizes

    @cached_property
    def _bonds(self) -> tuple[np.ndarray, np.ndarray]:
        """Component of every bond ``[bonds]``, and its atoms within the component ``[bonds, 2]``."""
        atoms = self.num_atoms.astype(np.int64)
        ends = self.bond_index + np.repeat(np.cumsum(atoms) - atoms, self.num_bonds)[:, None]
        component_of_atom = np.repeat(np.arange(self.total_components), self.component_size)
        component = component_of_atom[ends[:, 0]]
        return component, ends - self._component_start[component][:, None]

    @cached_property
    def stacks(self) -> list[Stack]:
        """All components as dense matrices, grouped by size."""
        bond_component, ends = self._bonds
        order = np.argsort(self.component_size, kind="stable")
        # Place of a component among all, sorted by size; bonds sorted by the place of their component.
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        bond_order = np.argsort(place[bond_component], kind="stable")
        bond_place, ends = place[bond_component][bond_order], ends[bond_order]
        sizes, starts = np.unique(self.component_size[order], return_index=True)
        found = []
        for size, start, stop in zip(sizes.tolist(), starts, [*starts[1:], len(order)], strict=True):
            bonds = slice(*np.searchsorted(bond_place, (start, stop)))
            matrix = np.zeros((stop - start, size, size), np.float32)
            group, low, high = bond_place[bonds] - start, ends[bonds, 0], ends[bonds, 1]
            matrix[group, low, high] = 1
            matrix[group, high, low] = 1
            component = order[start:stop]
            atom = self._component_start[component][:, None] + np.arange(size)
            found.append(Stack(component, atom, *_distinct(matrix)))
        return found

    def split(self) -> Iterator[Adjacency]:
        """The same molecules in consecutive parts whose matrices need little memory."""
        components = np.concatenate([[0], np.cumsum(self.num_components, dtype=np.int64)])
        bonds = np.concatenate([[0], np.cumsum(self.num_bonds, dtype=np.int64)])
        entries = np.concatenate([[0], np.cumsum(self.component_size.astype(np.int64) ** 2)])[components]
        start = 0
        while start < len(self.num_atoms):
            stop = max(start + 1, int(np.searchsorted(entries, entries[start] + _MAX_ENTRIES, "right")) - 1)
            yield Adjacency(
                self.num_atoms[start:stop],
                self.num_components[start:stop],
                self.component_size[components[start] : components[stop]],
                self.num_bonds[start:stop],
                self.bond_index[bonds[start] : bonds[stop]],
            )
            start = stop


def _distinct(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different ones among matrices of 0 and 1 ``[G, size, size]``, and which of them each is ``[G]``.

    Small molecules have few skeletons: a twelfth of QM9's are distinct within some thousand rows.
    """
    if len(matrix) == 1:
        return matrix, np.zeros(1, np.int64)
    bits = np.packbits(matrix.reshape(len(matrix), -1).astype(bool), axis=1)
    rows = np.ascontiguousarray(bits).view(f"V{bits.shape[1]}").ravel()
    _, first, which = np.unique(rows, return_index=True, return_inverse=True)
    return matrix[first], which
