"""What a split may look at, and the way from molecules back to rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from graphium.data.store.graph_store import GraphStore
    from graphium.data.store.progress import StartStage

# Rows or molecules that are looked at together.
AT_ONCE = 1 << 20
# Cells of a column, which may be texts, that are looked at together.
_CELLS = 1 << 18


def _tell_nobody(sentence: str) -> None:
    pass


@dataclass(frozen=True)
class SplitContext:
    """What a split may look at.

    ``row_molecule`` integers ``[rows]``: molecule of a row, -1 for a failed row. ``id`` uint64
    ``[molecules, 2]``. ``chunks(columns, size)`` yields columns of the table in pieces (first row, frame).
    ``locate`` finds (or downloads) a file: ``locate(path, url=..., sha256=..., suffixes=...)``. ``limited``:
    the table goes on after the rows used, so a split file may name rows beyond them. ``store``: the prepared
    table, None while a split is only checked. ``n_jobs``: processes. ``progress``: starts a stage of a
    progress bar. ``work``: a folder for large temporary files. ``tell``: takes a sentence that the user
    should read.
    """

    num_rows: int
    row_molecule: np.ndarray
    id: np.ndarray
    chunks: Callable[[Sequence[str], int], Iterator[tuple[int, pd.DataFrame]]]
    locate: Callable[..., Path]
    dataset: str
    limited: bool = False
    store: GraphStore | None = None
    n_jobs: int = 1
    progress: StartStage | None = None
    work: Path | None = None
    tell: Callable[[str], None] = _tell_nobody

    @property
    def num_molecules(self) -> int:
        return len(self.id)

    def cells(self, name: str) -> Iterator[tuple[int, pd.Series]]:
        """A column of the table in pieces: (first row, cells)."""
        for first, frame in self.chunks([name], _CELLS):
            yield first, frame[name]

    def slices(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Slices of rows with the molecules of the rows."""
        for start in range(0, self.num_rows, AT_ONCE):
            rows = slice(start, min(start + AT_ONCE, self.num_rows))
            yield rows, np.asarray(self.row_molecule[rows])

    def present(self) -> np.ndarray:
        """bool ``[molecules]``: whether a molecule has a row."""
        found = np.zeros(self.num_molecules, bool)
        for _, molecule in self.slices():
            found[molecule[molecule >= 0]] = True
        return found

    def to_rows(self, part: np.ndarray) -> np.ndarray:
        """The part of every row, int8 ``[rows]``, from that of every molecule; -1 for a failed row."""
        parts = np.full(self.num_rows, -1, dtype=np.int8)
        for rows, molecule in self.slices():
            used = molecule >= 0
            parts[rows][used] = part[molecule[used]]
        return parts


def is_empty(cells: pd.Series) -> np.ndarray:
    """bool: which cells have no value, or are texts of blanks."""
    missing = cells.isna().to_numpy(dtype=bool)
    if cells.dtype == object or pd.api.types.is_string_dtype(cells):
        missing = missing | (cells.astype(str).str.strip() == "").to_numpy(dtype=bool)
    return missing


def plain_text(cell: object) -> str:
    """A cell as text; whole numbers without a point, because a column with gaps is read as float."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def coded(cells: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Cells as numbers of their different values, -1 where empty; and these values as text."""
    code, values = pd.factorize(cells.where(~is_empty(cells)))
    return code, [plain_text(value) for value in values]
