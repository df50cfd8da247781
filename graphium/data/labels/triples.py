"""Labels as they were read from cells, and the sentence that ends the reading of a cell."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from graphium.chem.parse import readable
from graphium.data.tables.readers import shorten
from graphium.errors import GraphiumError
from graphium.types import Task


@dataclass(frozen=True)
class LabelCells:
    """Labels of a chunk, end to end, atoms and bonds in the user's own numbers.

    ``row`` int64 ``[L]``: position in the frame. ``task`` int32 ``[L]``. ``value`` float64 ``[L]``: a number
    or a class index. ``bound`` int8 ``[L]`` or None where all values are exact: +1 the true value is at
    least ``value``, -1 at most. ``entity`` int64 ``[L]``: atom or bond, the first atom of a pair; None at
    graph level. ``other`` int64 ``[L]``: the second atom of a pair, -1 where the label is about one entity;
    None where no label is about a pair. ``counting`` int8 ``[L]``: what the numbers count, see
    :mod:`graphium.data.labels.entities`; None at graph level.
    """

    row: np.ndarray
    task: np.ndarray
    value: np.ndarray
    bound: np.ndarray | None = None
    entity: np.ndarray | None = None
    other: np.ndarray | None = None
    counting: np.ndarray | None = None

    def take(self, index: np.ndarray) -> LabelCells:
        """Some of the labels, by number or mask."""
        columns = ((f.name, getattr(self, f.name)) for f in fields(self))
        taken: dict[str, Any] = {name: None if column is None else column[index] for name, column in columns}
        return LabelCells(**taken)


class Refuse:
    """Ends the reading with a sentence that names the cell: ``refuse(task, position, what)``."""

    def __init__(self, frame: pd.DataFrame, smiles: str) -> None:
        self._frame, self._smiles = frame, smiles

    def __call__(self, task: Task, position: int, what: str, mend: str = "mend or empty the cell") -> NoReturn:

        frame, text = self._frame, ""
        if self._smiles in frame.columns:
            cell = frame[self._smiles].iloc[position]
            text = f" ({shorten(readable(cell) if isinstance(cell, str) else cell)})"
        place = f"dataset {task.dataset!r}, column {task.name!r}, row {frame.index[position]}{text}"
        raise GraphiumError(f"{place}: {what}; {mend}")

    def num_with_hydrogens(self, position: int, level: str) -> int:
        """Atoms (bonds at level ``edge``) of a row's molecule with those hydrogens that its text does not write."""
        from graphium.chem.hydrogens import count_with_hydrogens

        if self._smiles not in self._frame.columns:
            return -1
        atoms, bonds = count_with_hydrogens(self._frame[self._smiles].iloc[position])
        return bonds if level == "edge" else atoms

    def cell(self, task: Task, position: int) -> str:
        """The cell of a task, short enough for a sentence."""
        return shorten(self._frame[task.name].iloc[position])
