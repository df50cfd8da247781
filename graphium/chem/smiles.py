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
# A bond without a mark is aromatic between two aromatic atoms and single otherwise. One with the mark
# of a neighbouring double bond's stereo is single, but between two aromatic atoms it may be either.
_UNMARKED, _DIRECTED = -1, -2

_BOND_MARKS = {
    "": _UNMARKED,
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
# A token: an atom with the bond and the open parenthesis before it, a ring closure with the bond before
# it, a closing parenthesis or a dot.
_TOKEN = re.compile(
    r"""
    (?P<opens>\()? (?P<mark>->|<-|[-=#$:~/\\])? (?: (?P<atom>\[[^\]]*\]|Cl|Br|[A-Za-z*]) | (?P<ring>\d|%\d\d|%\(\d+\)) )
    | \) | \.
    """,
    re.VERBOSE,
)
# The same without groups, so that a string is split in one call.
_SPLIT = re.compile(re.sub(r"\?P<\w+>", "?:", _TOKEN.pattern), re.VERBOSE)
_AROMATIC_ATOM = re.compile(r"\[?\d*[a-z]")

# What a token does, in place of the number of an atom.
_CLOSE, _RING, _DOT = -1, -2, -3


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
        # Token -> (number of the atom or what else it does, bond before it, whether a branch opens, ring label).
        self._actions: dict[str, tuple[int, int, bool, str]] = {
            ")": (_CLOSE, 0, False, ""),
            ".": (_DOT, 0, False, ""),
        }
        self._atoms: dict[str, int] = {}

    def read(self, texts: Iterable[str]) -> WrittenMolecules:
        """Read many canonical SMILES."""
        actions, split = self._actions, _SPLIT.findall
        tokens: list[int] = []
        first: list[int] = []
        second: list[int] = []
        kinds: list[int] = []
        ring_bonds: list[int] = []
        component_size: list[int] = []
        counts: list[int] = []
        for text in texts:
            start_bonds, start_components = len(first), len(component_size)
            current, atoms, before = -1, 0, 0
            branches: list[int] = []
            rings: dict[str, tuple[int, int]] = {}
            # The string walks a tree: for every atom the bond that led to it.
            bond_to: list[int] = []
            for token in split(text):
                action = actions.get(token) or self._learn(token)
                atom, kind, opens, label = action
                if atom >= 0:
                    if opens:
                        branches.append(current)
                    bond_to.append(len(first))
                    if current >= 0:
                        first.append(current)
                        second.append(atoms)
                        kinds.append(kind)
                    tokens.append(atom)
                    current = atoms
                    atoms += 1
                elif atom == _CLOSE:
                    current = branches.pop()
                elif atom == _RING:
                    if label in rings:
                        other, mark = rings.pop(label)
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
                        rings[label] = current, kind
                else:
                    component_size.append(atoms - before)
                    before, current = atoms, -1
            component_size.append(atoms - before)
            counts += atoms, len(first) - start_bonds, len(component_size) - start_components
        size = np.array(counts, np.int32).reshape(-1, 3)
        token_of = np.array(tokens, np.int64)
        bond_index = np.array([first, second], np.int64).T
        in_ring = np.zeros(len(first), bool)
        in_ring[ring_bonds] = True
        is_aromatic = np.array([_AROMATIC_ATOM.match(atom) is not None for atom in self._atoms], bool)[token_of]
        atom_base = np.repeat(np.cumsum(size[:, 0]) - size[:, 0], size[:, 1])
        between_aromatic = is_aromatic[bond_index[:, 0] + atom_base] & is_aromatic[bond_index[:, 1] + atom_base]
        # Row: nothing special, or both atoms aromatic; column: bond type, the negative ones at the end.
        resolved = np.array([[SINGLE, DOUBLE, TRIPLE, AROMATIC, RARE, SINGLE, SINGLE]] * 2)
        resolved[1, [_UNMARKED, _DIRECTED]] = AROMATIC, RARE
        return WrittenMolecules(
            num_atoms=size[:, 0],
            num_bonds=size[:, 1],
            num_components=size[:, 2],
            component_size=np.array(component_size, np.int32),
            token=token_of,
            bond_index=bond_index,
            bond_type=resolved[between_aromatic.astype(np.int64), kinds],
            bond_in_ring=in_ring,
        )

    def _learn(self, token: str) -> tuple[int, int, bool, str]:
        """Decode a token that was not met before."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise RuntimeError(f"{token!r} stands in a canonical SMILES and cannot be read")
        kind = _BOND_MARKS[match["mark"] or ""]
        number = _RING if match["ring"] else self._atoms.setdefault(match["atom"], len(self._atoms))
        action = (number, kind, match["opens"] is not None, match["ring"] or "")
        self._actions[token] = action
        return action
