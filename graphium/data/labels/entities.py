"""From the user's numbers of atoms and bonds to those of the stored graph.

A label says which atom or bond of the row's own text it belongs to. The graph has its own canonical
order, and under ``form: heavy`` it lacks the ordinary hydrogens that a text may write. What a user's
number counts is told by the length of the list (``IN_GRAPH``: the atoms of the graph in the user's
order; ``AS_WRITTEN``: all atoms of the text, hydrogens included) or, for a list that comes with its own
numbers (``BY_NUMBER``), is the atoms as the text writes them.

Labels of hydrogens that the graph leaves out follow ``h_labels``:

- ``error``: one sentence that names the row. Numbers that mean another atom once the hydrogens are left
  out are an error too: they could be meant either way.
- ``drop``: they are left out.
- ``sum``: they are added to the value of the atom that they sit on, as in united-atom charges; an atom
  without a value of its own gets the sum of its hydrogens.
- ``mean``: an atom without a value of its own gets the mean of its hydrogens, as in 1H NMR shifts; an
  atom that has one keeps it.

Labels of bonds to, and of pairs with, such hydrogens are left out under all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from graphium.data.labels.triples import LabelCells, Refuse
from graphium.data.store.graph_store import GraphStore
from graphium.types import Task

HLabels = Literal["error", "drop", "sum", "mean"]
IN_GRAPH, AS_WRITTEN, BY_NUMBER = 0, 1, 2

_CHOICES = "choose h_labels=drop, sum or mean, or keep the hydrogens with features.form=explicit_h"


@dataclass(frozen=True)
class Numbering:
    """The atoms or bonds of some rows, as the user counts them and as the graph does.

    ``usable`` bool ``[rows]``. ``ptr`` int64 ``[rows + 1]`` and ``order`` int64: the user's number of every
    canonical atom or bond. ``written_ptr`` int64 ``[rows + 1]`` and ``written`` int64: for every atom or
    bond that the text writes its number among those of the graph, negative where the graph lacks it
    (atoms: ``-1 - neighbour``); empty in rows that lack none.
    """

    usable: np.ndarray
    ptr: np.ndarray
    order: np.ndarray
    written_ptr: np.ndarray
    written: np.ndarray

    @property
    def num(self) -> np.ndarray:
        """Atoms or bonds of each row's graph, int64 ``[rows]``."""
        return np.diff(self.ptr)

    @property
    def num_written(self) -> np.ndarray:
        """Atoms or bonds of each row's text where some are not in the graph, else 0, int64 ``[rows]``."""
        return np.diff(self.written_ptr)

    @property
    def num_countable(self) -> np.ndarray:
        """How many the user can number, int64 ``[rows]``."""
        return np.where(self.num_written > 0, self.num_written, self.num)

    def in_graph(self, row: np.ndarray, number: np.ndarray, counting: np.ndarray) -> np.ndarray:
        """The user's numbers among the atoms or bonds of the graph, negative where it lacks them, int64."""
        target = number.copy()
        hidden = np.flatnonzero((counting != IN_GRAPH) & (self.num_written[row] > 0))
        target[hidden] = self.written[self.written_ptr[row[hidden]] + number[hidden]]
        return target

    def canonical(self, row: np.ndarray, number: np.ndarray) -> np.ndarray:
        """Canonical numbers of atoms or bonds that :meth:`in_graph` gave, int64."""
        start = np.repeat(self.ptr[:-1], self.num)
        inverse = np.empty_like(self.order)
        inverse[start + self.order] = np.arange(len(self.order)) - start
        return inverse[self.ptr[row] + number]


@dataclass(frozen=True)
class RowGraphs:
    """What labels need to know of the molecules of some rows.

    ``usable`` bool ``[rows]``: the row has a molecule. ``bond_ends`` int64 ``[bonds, 2]``: canonical atoms
    i < j of the bonds, one row after another. What the level does not need is None.
    """

    usable: np.ndarray
    atoms: Numbering | None = None
    bonds: Numbering | None = None
    bond_ends: np.ndarray | None = None

    @classmethod
    def of_rows(cls, store: GraphStore, level: str, start: int, stop: int) -> RowGraphs:
        """The rows ``start:stop`` of a store, for labels of one level."""
        molecule = np.asarray(store.row_molecule[start:stop]).astype(np.int64)
        usable = molecule >= 0
        if level == "graph":
            return cls(usable)
        atoms = _numbering(store, "node", usable, start, stop)
        if level != "edge":
            return cls(usable, atoms)
        bonds = _numbering(store, "edge", usable, start, stop)
        first = np.where(usable, np.asarray(store.bond_ptr[molecule]), 0)
        place = np.arange(bonds.ptr[-1]) + np.repeat(first - bonds.ptr[:-1], bonds.num)
        return cls(usable, atoms, bonds, np.asarray(store.bond_index[place]).astype(np.int64))

    def numbering(self, level: str) -> Numbering:
        """Atoms for level ``node`` and ``nodepair``, bonds for ``edge``."""
        found = self.bonds if level == "edge" else self.atoms
        assert found is not None
        return found


def _numbering(store: GraphStore, level: str, usable: np.ndarray, start: int, stop: int) -> Numbering:
    return Numbering(usable, *store.orders(level, start, stop), *store.written(level, start, stop))


def to_canonical(
    labels: LabelCells, tasks: Sequence[Task], graphs: RowGraphs, h_labels: HLabels, refuse: Refuse
) -> LabelCells:
    """Labels with canonical numbers, those of failed rows and of hydrogens that are left out removed.

    Pairs come as ``entity < other``. Labels of bonds that were given by their atoms get the bond's number.

    Raises:
        GraphiumError: a number that is out of range or given twice, a pair that is no bond, a hydrogen
            under ``h_labels="error"``.
    """
    labels = labels.take(graphs.usable[labels.row])
    level = tasks[0].level
    if level == "graph" or not len(labels.row):
        return labels
    labels = _without_mirrored(labels, tasks, refuse)
    if level == "node":
        return _node_labels(labels, tasks, graphs.numbering("node"), h_labels, refuse)
    assert labels.entity is not None
    by_atoms = np.zeros(len(labels.row), bool) if labels.other is None else labels.other >= 0
    if level == "nodepair":
        return _pair_labels(labels, tasks, graphs, h_labels, refuse)
    pieces = []
    if by_atoms.any():
        found = _pair_labels(labels.take(by_atoms), tasks, graphs, h_labels, refuse)
        pieces.append(_as_bonds(found, tasks, graphs, refuse))
    if not by_atoms.all():
        pieces.append(_bond_labels(labels.take(~by_atoms), tasks, graphs.numbering("edge"), h_labels, refuse))
    if len(pieces) == 1:
        return pieces[0]
    names = ("row", "task", "value", "entity")
    return type(labels)(**{name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in names})


def _without_mirrored(labels: LabelCells, tasks: Sequence[Task], refuse: Refuse) -> LabelCells:
    """Refuse entities that are numbered twice; a pair may be given in both directions with one value."""
    assert labels.entity is not None and labels.counting is not None
    numbered = np.flatnonzero(labels.counting == BY_NUMBER)
    if not len(numbered):
        return labels
    some = labels.take(numbered)
    assert some.entity is not None
    first, second = (
        some.entity,
        some.entity if some.other is None else np.where(some.other < 0, some.entity, some.other),
    )
    keys = (np.maximum(first, second), np.minimum(first, second), some.task, some.row)
    order = np.lexsort(keys)
    again = np.ones(max(len(order) - 1, 0), bool)
    for key in keys:
        again &= key[order[1:]] == key[order[:-1]]
    one, two = order[:-1][again], order[1:][again]
    is_mirror = (first[one] == second[two]) & (first[one] != second[one]) & (first[one] != first[two])
    bad = ~is_mirror | (some.value[one] != some.value[two])
    if bad.any():
        k = int(np.argmax(bad))
        label = int(two[k])
        shown = _shown(some, label)
        what = f"{shown} is given twice, with {some.value[one[k]]:g} and {some.value[label]:g}"
        refuse(tasks[some.task[label]], int(some.row[label]), what, "keep one of them")
    keep = np.ones(len(labels.row), bool)
    keep[numbered[two]] = False
    return labels.take(keep)


def _node_labels(
    labels: LabelCells, tasks: Sequence[Task], atoms: Numbering, h_labels: HLabels, refuse: Refuse
) -> LabelCells:
    assert labels.entity is not None
    target = _targets(labels, labels.entity, tasks, atoms, h_labels, refuse, "atom")
    is_h = target < 0
    if is_h.any() and h_labels in ("sum", "mean"):
        labels, target = _merge_hydrogens(labels, target, tasks, h_labels, refuse)
    elif is_h.any():
        labels, target = labels.take(~is_h), target[~is_h]
    return replace(labels, entity=atoms.canonical(labels.row, target), counting=None)


def _merge_hydrogens(
    labels: LabelCells, target: np.ndarray, tasks: Sequence[Task], h_labels: HLabels, refuse: Refuse
) -> tuple[LabelCells, np.ndarray]:
    """Labels of hydrogens brought to the atoms that they sit on; see the head of this file."""
    is_h = target < 0
    if tasks[0].kind != "regression":
        label = int(np.argmax(is_h))
        what = f"it labels hydrogens, and h_labels={h_labels} is for numbers"
        refuse(tasks[labels.task[label]], int(labels.row[label]), what, "choose h_labels=drop")
    atom = np.where(is_h, -1 - target, target)
    order = np.lexsort((is_h, atom, labels.task, labels.row))
    keys = [key[order] for key in (labels.row, labels.task, atom)]
    is_first = np.ones(len(order), bool)
    is_first[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    start = np.flatnonzero(is_first)
    # An atom's own value sorts before those of its hydrogens.
    value = labels.value[order]
    total = np.add.reduceat(value, start)
    if h_labels == "mean":
        number = np.diff(np.append(start, len(order)))
        total = np.where(is_h[order][start], total / number, value[start])
    merged = replace(labels.take(order[start]), value=total)
    return merged, atom[order[start]]


def _bond_labels(
    labels: LabelCells, tasks: Sequence[Task], bonds: Numbering, h_labels: HLabels, refuse: Refuse
) -> LabelCells:
    assert labels.entity is not None
    target = _targets(labels, labels.entity, tasks, bonds, h_labels, refuse, "bond")
    labels, target = labels.take(target >= 0), target[target >= 0]
    return replace(labels, entity=bonds.canonical(labels.row, target), other=None, counting=None)


def _pair_labels(
    labels: LabelCells, tasks: Sequence[Task], graphs: RowGraphs, h_labels: HLabels, refuse: Refuse
) -> LabelCells:
    assert labels.entity is not None and labels.other is not None
    atoms = graphs.numbering("node")
    same = labels.entity == labels.other
    if same.any():
        label = int(np.argmax(same))
        what = f"{_shown(labels, label)} is one atom with itself"
        refuse(tasks[labels.task[label]], int(labels.row[label]), what)
    ends = [_targets(labels, end, tasks, atoms, h_labels, refuse, "atom") for end in (labels.entity, labels.other)]
    keep = (ends[0] >= 0) & (ends[1] >= 0)
    labels = labels.take(keep)
    first, second = (atoms.canonical(labels.row, end[keep]) for end in ends)
    return replace(labels, entity=np.minimum(first, second), other=np.maximum(first, second))


def _as_bonds(labels: LabelCells, tasks: Sequence[Task], graphs: RowGraphs, refuse: Refuse) -> LabelCells:
    """Labels of canonical pairs of atoms as labels of the bonds between them."""
    assert graphs.bonds is not None and graphs.bond_ends is not None
    assert labels.entity is not None and labels.other is not None
    bonds = graphs.bonds
    row = np.repeat(np.arange(len(bonds.num)), bonds.num)
    # Bonds are sorted by (row, i, j); an atom number takes less than 20 bits.
    keys = (row << 40) | (graphs.bond_ends[:, 0] << 20) | graphs.bond_ends[:, 1]
    wanted = (labels.row << 40) | (labels.entity << 20) | labels.other
    place = np.searchsorted(keys, wanted)
    found = np.append(keys, -1)[place] == wanted
    if not found.all():
        label = int(np.argmin(found))
        atoms = graphs.numbering("node")
        start = atoms.ptr[labels.row[label]]
        i, j = sorted(int(atoms.order[start + end[label]]) for end in (labels.entity, labels.other))
        task, position = tasks[labels.task[label]], int(labels.row[label])
        refuse(task, position, f"there is no bond between atoms {i} and {j} (numbered from 0)", "mend the numbers")
    return replace(labels, entity=place - bonds.ptr[labels.row], other=None, counting=None)


def _targets(
    labels: LabelCells,
    number: np.ndarray,
    tasks: Sequence[Task],
    numbering: Numbering,
    h_labels: HLabels,
    refuse: Refuse,
    what: str,
) -> np.ndarray:
    """Numbers among the atoms or bonds of the graph, negative for those that it lacks."""
    assert labels.counting is not None
    countable = numbering.num_countable[labels.row]
    outside = (labels.counting == BY_NUMBER) & (number >= countable)
    if outside.any():
        label = int(np.argmax(outside))
        said = f"{what} {number[label]} is out of range: the text has {countable[label]} {what}s, numbered from 0"
        refuse(tasks[labels.task[label]], int(labels.row[label]), said, "mend the number")
    target = numbering.in_graph(labels.row, number, labels.counting)
    if h_labels == "error":
        unclear = (target < 0) | ((labels.counting == BY_NUMBER) & (target != number))
        if unclear.any():
            label = int(np.argmax(unclear))
            row = int(labels.row[label])
            hidden = int(numbering.num_written[row] - numbering.num[row])
            refuse(tasks[labels.task[label]], row, _hydrogen_sentence(hidden, what, int(target[label]) < 0), _CHOICES)
    return target


def _hydrogen_sentence(hidden: int, what: str, is_h: bool) -> str:
    many = "s" * (hidden != 1)
    if what == "bond":
        return f"the text writes {hidden} bond{many} to hydrogens that the graph leaves out, and the labels count them"
    if is_h:
        return f"the text writes {hidden} hydrogen{many} that the graph leaves out, and the labels count them"
    return f"the text writes {hidden} hydrogen{many} that the graph leaves out, so that atom numbers can mean two atoms"


def _shown(labels: LabelCells, label: int) -> str:
    assert labels.entity is not None
    if labels.other is None or labels.other[label] < 0:
        return f"number {labels.entity[label]}"
    return f"the pair ({labels.entity[label]}, {labels.other[label]})"
