"""What the columns of a table are: the SMILES column, the columns that can be labels, their kind and level."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from graphium.data.cells import form_of, to_lists, to_numbers, to_texts
from graphium.data.readers import Table, shorten
from graphium.errors import GraphiumError, suggest
from graphium.types import Kind, Level

_CHUNK = 65_536
_SAMPLE = 64
_MAX_CLASSES = 1_000
# The squares of larger labels overflow in means and metrics.
LARGEST = 1e150
# Names under which SMILES columns go, the likeliest first.
_SMILES_NAMES = (
    "smiles", "canonical_smiles", "isomeric_smiles", "ordered_smiles", "standardized_smiles", "rdkit_smiles",
    "cxsmiles", "smi", "mol", "molecule", "structure", "compound", "drug", "ligand",
)  # fmt: skip


@dataclass
class ColumnFacts:
    """What all cells of one column, read once, say about it; rows are named by number.

    ``odd``: first cell that is not a number (row, cell), ``num_odd`` how many of the ``present`` are;
    ``not_binary``, ``infinite`` (or too large): first row with such a value. ``whole``: the values of a column of
    integers as long as none repeats. ``fits``: levels whose entities the lists match in every row.
    """

    name: str
    rows: int = 0
    present: int = 0
    forms: set[str] = field(default_factory=set)
    odd: tuple[int, str] | None = None
    num_odd: int = 0
    values: int = 0
    not_binary: tuple[int, float] | None = None
    infinite: int | None = None
    whole: list[np.ndarray] | None = field(default_factory=list)
    fits: dict[str, bool] = field(default_factory=lambda: {"node": True, "edge": True})
    misfit: str = ""

    @property
    def form(self) -> str:
        """``number``, ``boolean``, ``list``, ``time``, ``text`` (also a mixture) or ``empty``."""
        if len(self.forms) == 1:
            return next(iter(self.forms))
        if not self.forms:
            return "empty"
        return "number" if self.forms <= {"number", "boolean"} else "text"

    @property
    def kind(self) -> Kind:
        """Binary where all values are 0 or 1, else regression."""
        return "regression" if self.not_binary else "binary"

    def is_unique(self) -> bool:
        """Whether most rows hold integers of which none repeats, and not 0 and 1 alone."""
        # A sparse label may have a few whole numbers that differ; an id has one in nearly every row.
        if not self.whole or self.not_binary is None or self.present < max(2, self.rows / 2):
            return False
        values = np.concatenate(self.whole)
        return len(np.unique(values)) == len(values)

    def is_running(self) -> bool:
        """Whether the column counts its rows."""
        return self.is_unique() and bool((np.diff(np.concatenate(self.whole or [])) == 1).all())


def scan(table: Table, columns: Sequence[str], smiles: str, *, levels: Collection[str] = ()) -> dict[str, ColumnFacts]:
    """Read all rows of some columns once and collect what they say.

    Args:
        table: The table.
        columns: The columns to look at.
        smiles: The SMILES column.
        levels: Columns whose lists are compared with the numbers of atoms and bonds.
    """
    facts = {name: ColumnFacts(name) for name in columns}
    if not columns:
        return facts
    for first, frame in table.chunks([smiles, *columns], _CHUNK):
        sizes: dict[str, np.ndarray] = {}
        for name in columns:
            column = frame[name]
            facts[name].rows += len(column)
            form = form_of(column)
            if form == "list":
                if name in levels and not sizes:
                    sizes = count_entities(frame[smiles])
                _add_lists(facts[name], column, first, frame[smiles], sizes if name in levels else {})
            else:
                _add_scalars(facts[name], column, form, first)
    return facts


def count_entities(smiles: pd.Series) -> dict[str, np.ndarray]:
    """Count the atoms (``node``) and bonds (``edge``) of each molecule, int64, -1 where it does not parse.

    Atoms as RDKit's default reading keeps them, so that ordinary explicit H does not count.
    """
    from rdkit import Chem, rdBase

    counts = {"node": np.full(len(smiles), -1), "edge": np.full(len(smiles), -1)}
    with rdBase.BlockLogs():
        for row, text in enumerate(smiles):
            if not isinstance(text, str):
                continue
            # Sanitisation changes no counts, except that H written as atoms is taken away by it.
            mol = Chem.MolFromSmiles(text, sanitize=False) if "[H]" not in text else Chem.MolFromSmiles(text)
            if mol is not None:
                counts["node"][row], counts["edge"][row] = mol.GetNumAtoms(), mol.GetNumBonds()
    return counts


def find_smiles(table: Table) -> tuple[str, str]:
    """Find the SMILES column by its name and by parsing a sample of its cells.

    Returns:
        The column, and the sentence that says so.

    Raises:
        GraphiumError: no column, or several without a telling name, hold SMILES.
    """
    frame = next((frame for _, frame in table.chunks(table.columns, 1_000)), None)
    if frame is None:
        raise GraphiumError(f"{table.source.name} has a header and no rows; give a table with molecules")
    found = []
    for name in table.columns:
        rank = _smiles_rank(name)
        parsed, tried = _parse_sample(frame[name])
        # A name is half of the evidence: without one, nearly everything has to parse.
        if tried and parsed >= (0.5 if rank < len(_SMILES_NAMES) + 1 else 0.9) * tried:
            found.append((rank, name, parsed, tried))
    found.sort(key=lambda entry: entry[0])
    if not found:
        raise GraphiumError(
            f"no column of {table.source.name} holds SMILES; say which one it is: data.smiles=NAME; "
            f"{suggest('', table.columns)}"
        )
    rank, name, parsed, tried = found[0]
    if len(found) > 1 and found[1][0] == rank:
        names = ", ".join(repr(entry[1]) for entry in found if entry[0] == rank)
        raise GraphiumError(
            f"the columns {names} of {table.source.name} all hold SMILES; say which one: data.smiles=NAME"
        )
    how = "by name and" if rank <= len(_SMILES_NAMES) else "by"
    others = f"; {', '.join(repr(entry[1]) for entry in found[1:])} parse too" if len(found) > 1 else ""
    return name, f"SMILES column: {name!r}, found {how} parsing a sample ({parsed} of {tried} cells parse){others}"


def infer_level(facts: ColumnFacts, dataset: str) -> Level:
    """Say at what level a column's cells are: numbers at graph level, lists by their lengths in all rows.

    Raises:
        GraphiumError: the lists are as long as the atoms and as long as the bonds in every row, or neither.
    """
    if facts.form != "list":
        return "graph"
    fitting = [level for level, fits in facts.fits.items() if fits]
    if len(fitting) == 1:
        return fitting[0]  # type: ignore[return-value]
    if fitting:
        raise GraphiumError(
            f"dataset {dataset!r}, column {facts.name!r}: the lists are as long as the atoms and as long as the bonds "
            "in every row, so their level is open; say data.level=node or data.level=edge"
        )
    raise GraphiumError(
        f"dataset {dataset!r}, column {facts.name!r}: the lists are neither as long as the atoms nor as long as the "
        f"bonds of every molecule ({facts.misfit}); mend the lists"
    )


def distinct_cells(table: Table, columns: Sequence[str]) -> set[str]:
    """Return the distinct cells of some columns, or of their lists, as class names.

    Raises:
        GraphiumError: there are too many for classes.
    """
    found: set[str] = set()
    for _, frame in table.chunks(columns, _CHUNK):
        for name in columns:
            column = frame[name]
            if form_of(column) == "list":
                lists, _ = to_lists(column)
                column = pd.Series(lists.value if lists else [], dtype=np.float64)
            cells, missing = to_texts(column)
            found.update(cells[~missing].unique())
            if len(found) > _MAX_CLASSES:
                raise GraphiumError(
                    f"column {name!r} has more than {_MAX_CLASSES} distinct values, too many for classes; "
                    "say data.kind=regression"
                )
    return found


def class_names(names: Iterable[str]) -> list[str]:
    """Order class names: whole numbers by value with the gaps filled, anything else by the alphabet.

    >>> class_names({"3", "1"}), class_names({"low", "high"})
    (['1', '2', '3'], ['high', 'low'])
    """
    names = set(names)
    try:
        numbers = sorted(int(name) for name in names)
    except ValueError:
        return sorted(names)
    if numbers and numbers[-1] - numbers[0] < _MAX_CLASSES:
        return [str(number) for number in range(numbers[0], numbers[-1] + 1)]
    return [str(number) for number in numbers]


def _add_scalars(facts: ColumnFacts, column: pd.Series, form: str, first: int) -> None:
    if form == "time":
        facts.forms.add(form)
        facts.present += int(column.notna().sum())
        facts.odd = facts.odd or (first, "a date")
        return
    number, strange = to_numbers(column)
    has_number = ~np.isnan(number)
    facts.present += int(has_number.sum()) + len(strange)
    if not has_number.any() and not len(strange):
        return
    facts.forms.add(form)
    facts.num_odd += len(strange)
    if len(strange) and facts.odd is None:
        facts.odd = (first + int(strange[0]), str(column.iloc[int(strange[0])]))
    _add_values(facts, number, has_number, first, np.arange(len(number)))
    value = number[has_number]
    if facts.whole is not None:
        whole = bool(np.isfinite(value).all()) and np.array_equal(value, np.round(value)) and not len(strange)
        # Repeats inside one chunk are enough to know, and then nothing is kept.
        facts.whole = [*facts.whole, value] if whole and len(np.unique(value)) == len(value) else None


def _add_lists(
    facts: ColumnFacts, column: pd.Series, first: int, smiles: pd.Series, sizes: Mapping[str, np.ndarray]
) -> None:
    facts.forms.add("list")
    facts.whole = None
    lists, strange = to_lists(column)
    if lists is None:
        facts.odd = facts.odd or (first + int(strange[0]), str(column.iloc[int(strange[0])]))
        facts.num_odd += len(strange)
        facts.present += int(column.notna().sum())
        facts.forms.add("text")
        return
    here = lists.length >= 0
    facts.present += int(here.sum())
    _add_values(facts, lists.value, ~np.isnan(lists.value), first, lists.row)
    if sizes:
        here &= ~_failed(lists.length, here, smiles, sizes)
    for level, size in sizes.items():
        wrong = np.flatnonzero(here & (size >= 0) & (lists.length != size))
        if len(wrong) and facts.fits[level]:
            facts.fits[level] = False
            row = int(wrong[0])
            counts = f"{sizes['node'][row]} atoms, {sizes['edge'][row]} bonds, {lists.length[row]} elements"
            sentence = f"row {first + row}, {shorten(smiles.iloc[row])}: {counts}"
            if sentence not in facts.misfit:
                facts.misfit = "; ".join(filter(None, [facts.misfit, sentence]))


def _failed(length: np.ndarray, here: np.ndarray, smiles: pd.Series, sizes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows that fit no level because their text is no sound molecule, up to the first that does not fit otherwise."""
    from rdkit import Chem, rdBase

    failed = np.zeros(len(length), dtype=bool)
    with rdBase.BlockLogs():
        for row in np.flatnonzero(here & (length != sizes["node"]) & (length != sizes["edge"])):
            if sizes["node"][row] >= 0 and Chem.MolFromSmiles(smiles.iloc[row]) is not None:
                break
            failed[row] = True
    return failed


def _add_values(facts: ColumnFacts, value: np.ndarray, present: np.ndarray, first: int, row: np.ndarray) -> None:
    facts.values += int(present.sum())
    if facts.not_binary is None:
        other = np.flatnonzero(present & (value != 0) & (value != 1))
        if len(other):
            facts.not_binary = (first + int(row[other[0]]), float(value[other[0]]))
    if facts.infinite is None:
        infinite = np.flatnonzero(np.abs(value) > LARGEST)
        if len(infinite):
            facts.infinite = first + int(row[infinite[0]])


def _smiles_rank(name: str) -> int:
    plain = "_".join(words_of(name))
    if plain in _SMILES_NAMES:
        return _SMILES_NAMES.index(plain)
    return len(_SMILES_NAMES) + (0 if "smiles" in plain else 1)


def _parse_sample(column: pd.Series) -> tuple[int, int]:
    from rdkit import Chem, rdBase

    texts = [text for text in column if isinstance(text, str) and text.strip()]
    sample = [texts[i] for i in np.unique(np.linspace(0, len(texts) - 1, _SAMPLE).astype(int))] if texts else []
    with rdBase.BlockLogs():
        return sum(Chem.MolFromSmiles(text) is not None for text in sample), len(sample)


def words_of(name: str) -> list[str]:
    """Words of a column name in lower case: ``Drug_ID``, ``molId`` and ``Internal ID`` all end with ``id``."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^a-z0-9]+", parted.lower()) if word]
