"""What a property of an atom or bond is, and how its values become columns.

A property is one table entry: its name, the function that reads it from RDKit, and its vocabulary if
it is categorical. Most properties follow from the surroundings that the canonical SMILES shows: an
atom's token, its number of bonds of each type, and whether it is in a ring. Such a *local* property is
read from RDKit once per distinct surroundings and looked up afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphium.errors import GraphiumError
from graphium.registry import lookup
from graphium.types import Property

# Key of surroundings that do not determine the local properties; read from RDKit every time.
UNIQUE = -1


@dataclass(frozen=True)
class ChemicalProperty:
    """One property of atoms or bonds.

    ``function`` takes an RDKit atom or bond. A categorical property has a ``vocabulary``: its code is
    the place of the value there, or ``len(vocabulary)`` for any other value. A numeric one is stored
    as ``dtype`` int8 (clipped to its range) or float32. ``is_local``: see the module's docstring.
    ``unavailable`` says why a known name cannot be used, and what to use instead.
    """

    name: str
    function: Callable[[Any], Any]
    vocabulary: tuple[Hashable, ...] = ()
    dtype: str = "int8"
    is_local: bool = True
    unavailable: str = ""

    @property
    def spec(self) -> Property:
        """The property as the network sees it."""
        if self.vocabulary:
            return Property(self.name, len(self.vocabulary) + 1, "uint8")
        return Property(self.name, 0, self.dtype)

    def stored(self, item: Any) -> float:
        """The number to store for this atom or bond."""
        value = self.function(item)
        if self.vocabulary:
            return self.vocabulary.index(value) if value in self.vocabulary else len(self.vocabulary)
        return max(-128, min(127, int(value))) if self.dtype == "int8" else float(value)


def find_properties(kind: str, names: Sequence[str]) -> list[ChemicalProperty]:
    """Look the properties of a list up.

    Raises:
        GraphiumError: an unknown name, or one name twice.
    """
    found = []
    for name in names:
        part = lookup(kind, name, where=f"features.{kind}")
        if not isinstance(part, ChemicalProperty):
            raise GraphiumError(f"{name!r} in features.{kind} is not a ChemicalProperty; make it one")
        if part.unavailable:
            raise GraphiumError(f"{name!r} in features.{kind} {part.unavailable}")
        if part in found:
            raise GraphiumError(f"{name!r} stands twice in features.{kind}; remove one of them")
        found.append(part)
    return found


class PropertyColumns:
    """Columns of property values for one list of properties, remembered per distinct surroundings.

    The columns come in blocks by storage type: ``<prefix>_codes`` uint8, ``<prefix>_ints`` int8 and
    ``<prefix>_floats`` float32; a block without columns is absent.
    """

    def __init__(self, prefix: str, properties: Sequence[ChemicalProperty]) -> None:
        blocks = {
            f"{prefix}_codes": [p for p in properties if p.vocabulary],
            f"{prefix}_ints": [p for p in properties if not p.vocabulary and p.dtype == "int8"],
            f"{prefix}_floats": [p for p in properties if not p.vocabulary and p.dtype == "float32"],
        }
        self.blocks = {name: members for name, members in blocks.items() if members}
        self.properties = [p for members in self.blocks.values() for p in members]
        # Surroundings met so far, sorted, and a row of values for each. The row of UNIQUE is a placeholder.
        self._keys = np.array([UNIQUE])
        self._rows = {name: np.zeros((1, len(members)), _dtype(members)) for name, members in self.blocks.items()}

    @property
    def spec(self) -> tuple[Property, ...]:
        """Categorical properties, then int8, then float32 ones: the order of the columns."""
        return tuple(p.spec for p in self.properties)

    @property
    def is_local(self) -> bool:
        """Whether all properties are local, so that few atoms or bonds are ever asked for."""
        return all(p.is_local for p in self.properties)

    def read(self, keys: np.ndarray, item: Callable[[int], Any]) -> dict[str, np.ndarray]:
        """Values of all properties for many atoms or bonds.

        Args:
            keys: int64 ``[N]``, equal for equal surroundings, or UNIQUE.
            item: Gives the RDKit object of the n-th atom or bond; called as rarely as possible.

        Returns:
            Block name -> array ``[N, columns]``.
        """
        place = np.searchsorted(self._keys, keys)
        is_new = self._keys[np.minimum(place, len(self._keys) - 1)] != keys
        if is_new.any():
            self._learn(keys, np.flatnonzero(is_new), item)
            place = np.searchsorted(self._keys, keys)
        columns = {name: rows[place] for name, rows in self._rows.items()}
        for row in np.flatnonzero(keys == UNIQUE).tolist():
            for name, members in self.blocks.items():
                columns[name][row] = _values(members, item(row))
        if not self.is_local:
            self._read_others(columns, len(keys), item)
        return columns

    def _learn(self, keys: np.ndarray, rows: np.ndarray, item: Callable[[int], Any]) -> None:
        """Read the local properties of surroundings that were not met before; ``rows`` show them."""
        new, first = np.unique(keys[rows], return_index=True)
        learned: dict[str, list[list[float]]] = {name: [] for name in self.blocks}
        for row in rows[first].tolist():
            each = item(row)
            for name, members in self.blocks.items():
                learned[name].append(_values(members, each))
        merged = np.concatenate([self._keys, new])
        order = np.argsort(merged)
        self._keys = merged[order]
        for name, members in self.blocks.items():
            self._rows[name] = np.concatenate([self._rows[name], np.array(learned[name], _dtype(members))])[order]

    def _read_others(self, columns: dict[str, np.ndarray], count: int, item: Callable[[int], Any]) -> None:
        """Read the properties that are not local, one atom or bond after another."""
        others = [
            (columns[name], column, member.stored)
            for name, members in self.blocks.items()
            for column, member in enumerate(members)
            if not member.is_local
        ]
        for row in range(count):
            each = item(row)
            for values, column, stored in others:
                values[row, column] = stored(each)


def _dtype(members: Sequence[ChemicalProperty]) -> str:
    return members[0].spec.dtype


def _values(members: Sequence[ChemicalProperty], item: Any) -> list[float]:
    return [member.stored(item) for member in members]
