"""The bonds of many molecules as stacks of small dense matrices, one per connected component."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

# Largest number of matrix entries in one stack: 16 MiB of float32.
_STACK_ENTRIES = 1 << 22


class Stack(NamedTuple):
    """Connected components of one size.

    ``component`` int64 ``[G]``: which components; ``atom`` int64 ``[G, size]``: their atoms, as rows
    of the atom columns; ``matrix`` float32 ``[G, size, size]``: 1 where two atoms are bonded, else 0.
    """

    component: np.ndarray
    atom: np.ndarray
    matrix: np.ndarray


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

    def stacks(self) -> Iterator[Stack]:
        """All components, grouped by size; stacks are bounded in memory, so one size may come in several."""
        bond_component, ends = self._bonds
        order = np.argsort(self.component_size, kind="stable")
        # Place of a component among all, sorted by size; bonds sorted by the place of their component.
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        bond_place = place[bond_component]
        bond_order = np.argsort(bond_place, kind="stable")
        bond_place, ends = bond_place[bond_order], ends[bond_order]
        sizes = self.component_size[order]
        start = 0
        while start < len(order):
            size = int(sizes[start])
            stop = min(int(np.searchsorted(sizes, size, "right")), start + max(1, _STACK_ENTRIES // size**2))
            bonds = slice(*np.searchsorted(bond_place, (start, stop)))
            matrix = np.zeros((stop - start, size, size), np.float32)
            group, low, high = bond_place[bonds] - start, ends[bonds, 0], ends[bonds, 1]
            matrix[group, low, high] = 1
            matrix[group, high, low] = 1
            component = order[start:stop]
            yield Stack(component, self._component_start[component][:, None] + np.arange(size), matrix)
            start = stop
