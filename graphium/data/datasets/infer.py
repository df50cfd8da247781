"""What the columns of a table are: the SMILES column, the columns that can be labels, their kind and level."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pandas as pd

from graphium.data.tables.cells import form_of, to_lists, to_texts
from graphium.data.tables.facts import ColumnFacts
from graphium.data.tables.matrices import to_matrices
from graphium.data.tables.readers import Table
from graphium.data.tables.sdf import STRUCTURE
from graphium.errors import GraphiumError, suggest
from graphium.types import Level

_CHUNK = 65_536
_SAMPLE = 64
_MAX_CLASSES = 1_000
# Names under which SMILES columns go, the likeliest first.
_SMILES_NAMES = (
    "smiles", "canonical_smiles", "isomeric_smiles", "ordered_smiles", "standardized_smiles", "rdkit_smiles",
    "cxsmiles", "smi", "mol", "molecule", "structure", "compound", "drug", "ligand",
)  # fmt: skip


def find_smiles(table: Table, setting: str = "data.smiles=NAME") -> tuple[str, str]:
    """Find the SMILES column by its name and by parsing a sample of its cells.

    Args:
        table: The table.
        setting: How a user names the column, for the sentences.

    Returns:
        The column, and the sentence that says so.

    Raises:
        GraphiumError: no column, or several without a telling name, hold SMILES.
    """
    if table.holds_structures:
        return STRUCTURE, f"structures: the records of {table.name}, column {STRUCTURE!r}"
    frame = next((frame for _, frame in table.chunks(table.columns, 1_000)), None)
    if frame is None:
        raise GraphiumError(f"{table.name} has a header and no rows; give a table with molecules")
    return choose_smiles(frame, table.name, setting)


def choose_smiles(frame: pd.DataFrame, table: str, setting: str) -> tuple[str, str]:
    """The same for a table in memory, or for the first rows of one; ``table`` is what a sentence calls it."""
    found = []
    for name in frame.columns:
        rank = _smiles_rank(str(name))
        parsed, tried = _parse_sample(frame[name])
        # A name is half of the evidence: without one, nearly everything has to parse.
        if tried and parsed >= (0.5 if rank < len(_SMILES_NAMES) + 1 else 0.9) * tried:
            found.append((rank, name, parsed, tried))
    found.sort(key=lambda entry: entry[0])
    if not found:
        raise GraphiumError(
            f"no column of {table} holds SMILES; say which one it is: {setting}; {suggest('', map(str, frame.columns))}"
        )
    rank, name, parsed, tried = found[0]
    if len(found) > 1 and found[1][0] == rank:
        names = ", ".join(repr(entry[1]) for entry in found if entry[0] == rank)
        raise GraphiumError(f"the columns {names} of {table} all hold SMILES; say which one: {setting}")
    how = "by name and" if rank <= len(_SMILES_NAMES) else "by"
    others = f"; {', '.join(repr(entry[1]) for entry in found[1:])} parse too" if len(found) > 1 else ""
    return name, f"SMILES column: {name!r}, found {how} parsing a sample ({parsed} of {tried} cells parse){others}"


def infer_level(facts: ColumnFacts, dataset: str) -> Level:
    """Say at what level a column's cells are: numbers at graph level, lists by their lengths in all rows.

    Raises:
        GraphiumError: the lists are as long as the atoms and as long as the bonds in every row, or neither.
    """
    if facts.form not in ("list", "matrix"):
        return "graph"
    fitting = [level for level, fits in facts.fits.items() if fits]
    place = f"dataset {dataset!r}, column {facts.name!r}"
    if len(fitting) == 1:
        return fitting[0]  # type: ignore[return-value]
    if fitting:
        raise GraphiumError(
            f"{place}: the lists are as long as the atoms and as long as the bonds in every row, so their level is "
            "open; say data.level=node or data.level=edge"
        )
    if facts.form == "matrix":
        raise GraphiumError(
            f"{place}: the matrices have not one row and one column per atom of every molecule ({facts.misfit}); "
            "mend them"
        )
    raise GraphiumError(
        f"{place}: the lists are neither as long as the atoms nor as long as the bonds of every molecule "
        f"({facts.misfit}); mend the lists"
    )


def distinct_cells(table: Table, columns: Sequence[str], matrices: Collection[str] = ()) -> set[str]:
    """Return the distinct cells of some columns, or of their lists, as class names.

    ``matrices`` are those columns that hold square matrices, whose diagonal is no label.

    Raises:
        GraphiumError: there are too many for classes.
    """
    found: set[str] = set()
    for _, frame in table.chunks(columns, min(_CHUNK, table.rows_at_once(columns))):
        for name in columns:
            column = frame[name]
            if name in matrices:
                column = pd.Series(_off_diagonal(column), dtype=np.float64)
            elif form_of(column) == "list":
                lists, _ = to_lists(column)
                if lists is None:
                    raise GraphiumError(
                        f"column {name!r} holds lists of something else than numbers; give the classes as numbers"
                    )
                column = pd.Series(lists.value, dtype=np.float64)
            cells, missing = to_texts(column)
            found.update(cells[~missing].unique())
            if len(found) > _MAX_CLASSES:
                raise GraphiumError(
                    f"column {name!r} has more than {_MAX_CLASSES} distinct values, too many for classes; "
                    "say data.kind=regression"
                )
    return found


def class_names(names: Iterable[str]) -> list[str]:
    """Order class names: whole numbers by value with the gaps filled, other numbers by value, texts by the alphabet.

    >>> class_names({"3", "1"}), class_names({"low", "high"})
    (['1', '2', '3'], ['high', 'low'])
    """
    names = set(names)
    try:
        ordered = sorted(names, key=lambda name: (float(name), name))
    except ValueError:
        return sorted(names)
    # A number written otherwise, as 007, is a name.
    if not all(name.lstrip("-").isdecimal() and str(int(name)) == name for name in names):
        return ordered
    numbers = [int(name) for name in ordered]
    if numbers and numbers[-1] - numbers[0] < _MAX_CLASSES:
        return [str(number) for number in range(numbers[0], numbers[-1] + 1)]
    return [str(number) for number in numbers]


def _off_diagonal(column: pd.Series) -> np.ndarray:
    """The elements of square matrices beside the diagonal, float64; none where a cell is no matrix."""
    found, _ = to_matrices(column)
    if found is None:
        return np.empty(0)
    first, second = found.place
    return found.value[first != second]


def _smiles_rank(name: str) -> int:
    plain = "_".join(words_of(name))
    if plain in _SMILES_NAMES:
        return _SMILES_NAMES.index(plain)
    return len(_SMILES_NAMES) + (0 if "smiles" in plain else 1)


def _parse_sample(column: pd.Series) -> tuple[int, int]:
    from rdkit import rdBase

    from graphium.chem.parse import UnusableMolecule, read_molecule

    if not isinstance(column.dtype, (pd.StringDtype, np.dtypes.ObjectDType)):
        return 0, 0
    texts = [text for text in column if isinstance(text, str) and text.strip()]
    sample = [texts[i] for i in np.unique(np.linspace(0, len(texts) - 1, _SAMPLE).astype(int))] if texts else []
    parsed = 0
    with rdBase.BlockLogs():
        for text in sample:
            try:
                read_molecule(text, "heavy")
                parsed += 1
            except UnusableMolecule:
                continue
    return parsed, len(sample)


def words_of(name: str) -> list[str]:
    """Words of a column name in lower case: ``Drug_ID``, ``molId`` and ``Internal ID`` all end with ``id``."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^a-z0-9]+", parted.lower()) if word]
