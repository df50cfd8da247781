"""Reading atoms and bonds off canonical SMILES: many molecules into flat arrays, in canonical order.

RDKit writes the canonical SMILES of a molecule anyway, for its identity. The string names every atom
and bond in canonical order, so reading it back costs a few microseconds where walking RDKit's atom
and bond objects costs as much as parsing the molecule. Only what RDKit itself wrote is read here: the
text is known to be correct.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

SINGLE, DOUBLE, TRIPLE, AROMATIC, RARE = 0, 1, 2, 3, 4
# Marks of a bond that do not fix its type: none, or the one of a neighbouring double bond's stereo.
_UNMARKED, _DIRECTED = -1, -2
# Whether an atom is aromatic; the dummy atom * does not show it.
_NO, _MAYBE, _YES = 0, 1, 2
# The type of a bond by the less aromatic one of its atoms (row) and its mark (column, negative ones at
# the end). Without a mark it is aromatic between two aromatic atoms and single otherwise; with a
# direction it is single, but between two aromatic atoms it may be either.
_RESOLVED = np.array(
    [
        [SINGLE, DOUBLE, TRIPLE, AROMATIC, RARE, SINGLE, SINGLE],
        [SINGLE, DOUBLE, TRIPLE, AROMATIC, RARE, RARE, RARE],
        [SINGLE, DOUBLE, TRIPLE, AROMATIC, RARE, RARE, AROMATIC],
    ]
)

_BOND_MARKS = {
    "-": SINGLE,
    "/": _DIRECTED,
    "\\": _DIRECTED,
    "=": DOUBLE,
    "#": TRIPLE,
    ":": AROMATIC,
    "$": RARE,
    "~": RARE,
    "->": RARE,
    "<-": RARE,
}
_TOKEN = re.compile(r"\[[^\]]*\]|Cl|Br|%\(\d+\)|%\d\d|->|<-|.")
_AROMATIC_ATOM = re.compile(r"\[?\d*[a-z]")

# What a token does: atoms are numbered from 0, all else is negative, bonds last.
_OPEN, _CLOSE, _RING, _DOT, _BOND = -1, -2, -3, -4, -16


@dataclass(frozen=True)
class WrittenMolecules:
    """Atoms and bonds of many canonical SMILES, in the order in which they are written.

    ``num_atoms``, ``num_bonds``, ``num_components`` int32 ``[molecules]``; ``component_size`` int32
    ``[components]``; ``token`` int64 ``[atoms]``: number of the atom's token, the text that stands for
    the atom; ``bond_index`` int64 ``[bonds, 2]``: atoms of a bond within its molecule, smaller first;
    ``bond_type`` int64 ``[bonds]``: SINGLE ... AROMATIC, or RARE for all other types and
    where the string does not tell; ``bond_in_ring`` bool ``[bonds]``: on a cycle of the graph, whatever
    the types of its bonds.
    """

    num_atoms: np.ndarray
    num_bonds: np.ndarray
    num_components: np.ndarray
    component_size: np.ndarray
    token: np.ndarray
    bond_index: np.ndarray
    bond_type: np.ndarray
    bond_in_ring: np.ndarray


class SmilesReader:
    """Reads canonical SMILES as RDKit writes them; remembers the atom tokens that it has met."""

    def __init__(self) -> None:
        self._actions: dict[str, int] = {
            "(": _OPEN,
            ")": _CLOSE,
            ".": _DOT,
            **dict.fromkeys("0123456789", _RING),
            **{mark: _BOND - kind for mark, kind in _BOND_MARKS.items()},
        }
        self._aromatic: list[int] = []

    def read(self, texts: Iterable[str]) -> WrittenMolecules:
        """Read many canonical SMILES."""
        actions, split = self._actions, _TOKEN.findall
        tokens: list[int] = []
        first: list[int] = []
        second: list[int] = []
        kinds: list[int] = []
        ring_bonds: list[int] = []
        component_size: list[int] = []
        counts: list[int] = []
        for text in texts:
            start_bonds, start_components = len(first), len(component_size)
            current, atoms, kind, before = -1, 0, _UNMARKED, 0
            branches: list[int] = []
            rings: dict[str, tuple[int, int]] = {}
            # The string walks a tree: for every atom the bond that led to it.
            bond_to: list[int] = []
            for token in split(text):
                action = actions.get(token)
                if action is None:
                    action = self._learn(token)
                if action >= 0:
                    bond_to.append(len(first))
                    if current >= 0:
                        first.append(current)
                        second.append(atoms)
                        kinds.append(kind)
                        kind = _UNMARKED
                    tokens.append(action)
                    current = atoms
                    atoms += 1
                elif action == _OPEN:
                    branches.append(current)
                elif action == _CLOSE:
                    current = branches.pop()
                elif action == _RING:
                    if token in rings:
                        other, mark = rings.pop(token)
                        ring_bonds.append(len(first))
                        # The ring closes at an atom further down the same branch of the tree.
                        step = current
                        while step != other:
                            bond = bond_to[step]
                            ring_bonds.append(bond)
                            step = first[bond]
                        first.append(other)
                        second.append(current)
                        kinds.append(mark if kind == _UNMARKED else kind)
                    else:
                        rings[token] = current, kind
                    kind = _UNMARKED
                elif action == _DOT:
                    component_size.append(atoms - before)
                    before, current = atoms, -1
                else:
                    kind = _BOND - action
            component_size.append(atoms - before)
            counts += atoms, len(first) - start_bonds, len(component_size) - start_components
        size = np.array(counts, np.int32).reshape(-1, 3)
        token_of = _array(tokens)
        bond_index = np.stack([_array(first), _array(second)], axis=1)
        in_ring = np.zeros(len(first), bool)
        in_ring[_array(ring_bonds)] = True
        aromatic = np.array(self._aromatic, np.int64)[token_of]
        atom_base = np.repeat(np.cumsum(size[:, 0]) - size[:, 0], size[:, 1])
        between = np.minimum(aromatic[bond_index[:, 0] + atom_base], aromatic[bond_index[:, 1] + atom_base])
        return WrittenMolecules(
            num_atoms=size[:, 0],
            num_bonds=size[:, 1],
            num_components=size[:, 2],
            component_size=np.array(component_size, np.int32),
            token=token_of,
            bond_index=bond_index,
            bond_type=_RESOLVED[between, _array(kinds)],
            bond_in_ring=in_ring,
        )

    def _learn(self, token: str) -> int:
        """Number an atom token, or a ring closure past 9, that was not met before."""
        if token[0] == "%":
            action = _RING
        else:
            action = len(self._aromatic)
            self._aromatic.append(_YES if _AROMATIC_ATOM.match(token) else _MAYBE if "*" in token else _NO)
        self._actions[token] = action
        return action


def _array(numbers: list[int]) -> np.ndarray:
    """A list as int64: in half the time of ``np.array``."""
    return np.fromiter(numbers, np.int64, len(numbers))
