"""What the cells of a table's columns say: all rows read once, in bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from graphium.data.tables.bounds import to_bounded_numbers
from graphium.data.tables.cells import Lists, form_of, to_lists
from graphium.data.tables.matrices import to_matrices
from graphium.data.tables.readers import Table, shorten
from graphium.types import Kind, Level

_FACTS_VERSION = 1
_CHUNK = 65_536
# Of all columns together, so many integers are kept to see whether they repeat.
_KEPT = 1_000_000
_KEPT_PER_COLUMN = 4_096
# The squares of larger labels overflow in means and metrics.
LARGEST = 1e150


@dataclass
class ColumnFacts:
    """What all cells of one column, read once, say about it; rows are named by number.

    ``odd``: first cell that is not a number (row, cell), ``num_odd`` how many of the ``present`` are;
    ``bounds``: cells such as ``>10``, ``bound`` the first one; ``not_binary``, ``infinite`` (or too large): first
    row with such a value. ``distinct``: all values are integers and none was seen to repeat; ``running``: each is
    larger by 1 than the one before, ``last``. ``fits``: levels whose entities the lists match in every row.
    """

    name: str
    rows: int = 0
    present: int = 0
    forms: set[str] = field(default_factory=set)
    odd: tuple[int, str] | None = None
    num_odd: int = 0
    bounds: int = 0
    bound: tuple[int, str] | None = None
    values: int = 0
    not_binary: tuple[int, float] | None = None
    infinite: int | None = None
    distinct: bool = True
    running: bool = True
    last: float | None = None
    fits: dict[str, bool] = field(default_factory=lambda: {"node": True, "edge": True, "nodepair": True})
    misfit: str = ""

    @property
    def form(self) -> str:
        """``number``, ``boolean``, ``list``, ``matrix``, ``time``, ``text`` (also a mixture) or ``empty``."""
        if len(self.forms) == 1:
            return next(iter(self.forms))
        if not self.forms:
            return "empty"
        return "number" if self.forms <= {"number", "boolean"} else "text"

    @property
    def kind(self) -> Kind:
        """Binary where all values are 0 or 1 and none is a bound, else regression."""
        return "regression" if self.not_binary or self.bounds else "binary"

    @property
    def holds(self) -> str:
        """What the cells are, as a sentence says it."""
        return {"list": "lists", "matrix": "square matrices"}.get(self.form, "single values")

    def can_be(self, level: Level) -> bool:
        """Whether such cells can be labels at a level; lists of pairs come with columns that number the atoms."""
        if self.form == "matrix":
            return level == "nodepair"
        return (self.form == "list") == (level != "graph")

    def is_unique(self) -> bool:
        """Whether most rows hold integers of which none repeats, and not 0 and 1 alone."""
        # A sparse label may have a few whole numbers that differ; an id has one in nearly every row.
        return self.distinct and self.not_binary is not None and self.present >= max(2, self.rows / 2)

    def is_running(self) -> bool:
        """Whether the column counts its rows."""
        return self.is_unique() and self.running

    def to_plain(self) -> dict[str, Any]:
        """Plain values that :meth:`from_plain` reads back."""
        return {**asdict(self), "forms": sorted(self.forms)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> ColumnFacts:
        pairs = {name: tuple(plain[name]) if plain[name] else None for name in ("odd", "bound", "not_binary")}
        return cls(**{**plain, **pairs, "forms": set(plain["forms"])})


def scan(table: Table, columns: Sequence[str], smiles: str, *, levels: Collection[str] = ()) -> dict[str, ColumnFacts]:
    """Read all rows of some columns once and collect what they say; what an earlier call found is not read again.

    Args:
        table: The table.
        columns: The columns to look at.
        smiles: The SMILES column.
        levels: Columns whose lists are compared with the numbers of atoms and bonds.
    """
    key = ["facts", _FACTS_VERSION, _rdkit_version() if levels else "", table.key, smiles]
    kept: dict[str, Any] = table.memo.get(key) or {}
    marks = {name: f"{name}/levels" if name in levels else name for name in columns}
    missing = [name for name in columns if marks[name] not in kept]
    if missing:
        found = _scan(table, missing, smiles, levels)
        kept.update((marks[name], facts.to_plain()) for name, facts in found.items())
        table.memo.put(key, kept)
    return {name: ColumnFacts.from_plain(kept[marks[name]]) for name in columns}


def _scan(table: Table, columns: Sequence[str], smiles: str, levels: Collection[str]) -> dict[str, ColumnFacts]:
    facts = {name: ColumnFacts(name) for name in columns}
    seen: dict[str, np.ndarray] = {}
    most = max(_KEPT_PER_COLUMN, _KEPT // len(columns))
    size = min(_CHUNK, table.rows_at_once([smiles, *columns]))
    for first, frame in table.chunks([smiles, *columns], size):
        sizes: dict[str, np.ndarray] = {}
        # A pandas call per column would cost more than the columns themselves where there are thousands.
        is_plain = {name for name, dtype in frame.dtypes.items() if isinstance(dtype, np.dtype) and dtype.kind in "iuf"}
        plain = [name for name in columns if name in is_plain]
        _add_numbers([facts[name] for name in plain], frame[plain].to_numpy(np.float64), first, "number", seen, most)
        for name in columns:
            facts[name].rows += len(frame)
            if name in is_plain:
                continue
            column = frame[name]
            form = "matrix" if _is_matrix(column) else form_of(column)
            if form in ("list", "matrix"):
                if name in levels and not sizes:
                    sizes = count_entities(frame[smiles])
                _add_lists(facts[name], column, form, first, frame[smiles], sizes if name in levels else {})
            else:
                _add_scalars(facts[name], column, form, first, seen, most)
    return facts


def count_entities(texts: pd.Series) -> dict[str, np.ndarray]:
    """Count the atoms (``node``) and bonds (``edge``) of each molecule, int64, -1 where it does not parse.

    Atoms as RDKit's default reading keeps them, so that ordinary explicit H does not count; ``written_node`` and
    ``written_edge`` count it.
    """
    from rdkit import Chem, rdBase

    from graphium.chem.parse import UnusableMolecule, read_molecule, written_molecule

    counts = {name: np.full(len(texts), -1) for name in ("node", "edge", "written_node", "written_edge")}
    with rdBase.BlockLogs():
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                continue
            # Sanitisation changes no counts, except that H written as atoms is taken away by it.
            if "[H" not in text and "\n" not in text:
                mol = written = Chem.MolFromSmiles(text, sanitize=False)
            else:
                try:
                    mol, written = read_molecule(text, "heavy"), written_molecule(text)
                except UnusableMolecule:
                    continue
            if mol is not None:
                counts["node"][row], counts["edge"][row] = mol.GetNumAtoms(), mol.GetNumBonds()
                counts["written_node"][row], counts["written_edge"][row] = written.GetNumAtoms(), written.GetNumBonds()
    return counts


def _add_scalars(
    facts: ColumnFacts, column: pd.Series, form: str, first: int, seen: dict[str, np.ndarray], most: int
) -> None:
    if form == "time":
        facts.forms.add(form)
        facts.present += int(column.notna().sum())
        facts.odd = facts.odd or (first, "a date")
        facts.distinct = False
        return
    number, bound, strange = to_bounded_numbers(column)
    bounds = np.flatnonzero(bound)
    facts.bounds += len(bounds)
    if len(bounds) and facts.bound is None:
        facts.bound = (first + int(bounds[0]), str(column.iloc[int(bounds[0])]))
    if len(strange):
        facts.forms.add(form)
        facts.present += len(strange)
        facts.num_odd += len(strange)
        facts.odd = facts.odd or (first + int(strange[0]), str(column.iloc[int(strange[0])]))
    if len(strange) or len(bounds):
        facts.distinct = False
    _add_numbers([facts], number[:, None], first, "number" if form == "text" else form, seen, most)


def _add_numbers(
    facts: Sequence[ColumnFacts], value: np.ndarray, first: int, form: str, seen: dict[str, np.ndarray], most: int
) -> None:
    """Add the cells of several columns of numbers, float64 ``[rows, columns]``, NaN where missing."""
    if not value.size:
        return
    present = ~np.isnan(value)
    counts = present.sum(axis=0).tolist()
    other = present & (value != 0) & (value != 1)
    infinite = np.abs(value) > LARGEST
    has_infinite = infinite.any(axis=0)
    # Columns that may still be ids are few after the first chunk.
    open_columns = [number for number, one in enumerate(facts) if one.distinct and counts[number]]
    part = value if len(open_columns) == len(facts) else value[:, open_columns]
    whole = ((part == np.round(part)) & np.isfinite(part) | np.isnan(part)).all(axis=0)
    for number in np.flatnonzero(other.any(axis=0)).tolist():
        if facts[number].not_binary is None:
            row = int(np.argmax(other[:, number]))
            facts[number].not_binary = (first + row, float(value[row, number]))
    for number in np.flatnonzero(has_infinite).tolist():
        if facts[number].infinite is None:
            facts[number].infinite = first + int(np.argmax(infinite[:, number]))
    for one, count in zip(facts, counts, strict=True):
        if count:
            one.forms.add(form)
            one.present += count
            one.values += count
    for number, is_whole in zip(open_columns, whole.tolist(), strict=True):
        if is_whole:
            _add_integers(facts[number], value[present[:, number], number], seen, most)
        else:
            facts[number].distinct = False
            seen.pop(facts[number].name, None)


def _add_integers(facts: ColumnFacts, value: np.ndarray, seen: dict[str, np.ndarray], most: int) -> None:
    """See whether integers repeat: among themselves, and among those kept of the column."""
    before = [] if facts.last is None else [facts.last]
    facts.running = facts.running and bool((np.diff(np.concatenate([before, value])) == 1).all())
    facts.last = float(value[-1])
    known = seen.get(facts.name, np.empty(0))
    new = np.unique(value)
    place = np.minimum(np.searchsorted(known, new), max(len(known) - 1, 0))
    if len(new) < len(value) or (len(known) and (known[place] == new).any()):
        facts.distinct = False
        seen.pop(facts.name, None)
    elif len(known) < most:
        seen[facts.name] = np.union1d(known, new[: most - len(known)])


def _add_lists(
    facts: ColumnFacts, column: pd.Series, form: str, first: int, texts: pd.Series, sizes: Mapping[str, np.ndarray]
) -> None:
    """Add a column of lists or of matrices."""
    facts.distinct = False
    facts.forms.add(form)
    found, strange = to_matrices(column) if form == "matrix" else to_lists(column)
    if found is None:
        facts.odd = facts.odd or (first + int(strange[0]), str(column.iloc[int(strange[0])]))
        facts.num_odd += len(strange)
        facts.present += int(column.notna().sum())
        facts.forms.add("text")
        return
    length = found.length if isinstance(found, Lists) else found.size
    present = ~np.isnan(found.value)
    facts.present += int((length >= 0).sum())
    facts.values += int(present.sum())
    _note_values(facts, found.value, present, first, found.row)
    _compare_sizes(facts, length, {"list": ("node", "edge"), "matrix": ("nodepair",)}[form], first, texts, sizes)


def _compare_sizes(
    facts: ColumnFacts,
    length: np.ndarray,
    levels: Sequence[str],
    first: int,
    texts: pd.Series,
    sizes: Mapping[str, np.ndarray],
) -> None:
    """Find levels whose entities are not as many as the elements; ``length`` is -1 where a cell is missing."""
    for level in facts.fits:
        facts.fits[level] = facts.fits[level] and level in levels
    if not sizes:
        return
    # Lists may count the hydrogens that the text writes; whether these labels are of use is judged later.
    wrong = {}
    for level in levels:
        entity = "edge" if level == "edge" else "node"
        wrong[level] = (length >= 0) & (length != sizes[entity]) & (length != sizes[f"written_{entity}"])
    fits_none = np.logical_and.reduce(list(wrong.values()))
    usable = (sizes["node"] >= 0) & ~_failed(fits_none, texts, sizes)
    what = "elements" if "node" in levels else "rows"
    for level in levels:
        rows = np.flatnonzero(wrong[level] & usable)
        if len(rows) and facts.fits[level]:
            facts.fits[level] = False
            row = int(rows[0])
            counts = f"{sizes['node'][row]} atoms, {sizes['edge'][row]} bonds, {length[row]} {what}"
            if fits_none[row]:
                counts += _if_all_hydrogens_count(int(length[row]), texts.iloc[row], levels)
            sentence = f"row {first + row}, {shorten(texts.iloc[row])}: {counts}"
            if sentence not in facts.misfit:
                facts.misfit = "; ".join(filter(None, [facts.misfit, sentence]))


def _if_all_hydrogens_count(length: int, text: str, levels: Sequence[str]) -> str:
    """The settings under which a list fits that counts hydrogens which its text does not write; else nothing."""
    from graphium.chem.hydrogens import count_with_hydrogens

    atoms, bonds = count_with_hydrogens(text)
    fitting = [level for level in levels if length == (bonds if level == "edge" else atoms)]
    if not fitting:
        return ""
    return f": as with all hydrogens, say data.level={fitting[0]} features.form=explicit_h for such a table"


def _failed(fits_none: np.ndarray, texts: pd.Series, sizes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows that fit no level because their text is no sound molecule, up to the first that does not fit otherwise."""
    from rdkit import rdBase

    from graphium.chem.parse import UnusableMolecule, read_molecule

    failed = np.zeros(len(fits_none), dtype=bool)
    with rdBase.BlockLogs():
        for row in np.flatnonzero(fits_none & (sizes["node"] >= 0)):
            try:
                read_molecule(texts.iloc[row], "heavy")
                break
            except UnusableMolecule:
                failed[row] = True
    return failed


def _note_values(facts: ColumnFacts, value: np.ndarray, present: np.ndarray, first: int, row: np.ndarray) -> None:
    """Note the first value of lists that is not 0 or 1, and the first that is too large."""
    if facts.not_binary is None:
        other = np.flatnonzero(present & (value != 0) & (value != 1))
        if len(other):
            facts.not_binary = (first + int(row[other[0]]), float(value[other[0]]))
    if facts.infinite is None:
        infinite = np.flatnonzero(np.abs(value) > LARGEST)
        if len(infinite):
            facts.infinite = first + int(row[infinite[0]])


def _is_matrix(column: pd.Series) -> bool:
    """Whether the first cell of a column is a list of lists."""
    if isinstance(column.dtype, pd.ArrowDtype):
        text = str(column.dtype.pyarrow_dtype)
        return text.count("list<") > 1 and bool(column.notna().any())
    if not isinstance(column.dtype, (pd.StringDtype, np.dtypes.ObjectDType)):
        return False
    where = column.first_valid_index()
    cell = None if where is None else column.loc[where]
    if isinstance(cell, str):
        return cell.lstrip().startswith("[") and cell.lstrip()[1:].lstrip().startswith("[")
    return isinstance(cell, (list, tuple, np.ndarray)) and len(cell) > 0 and isinstance(cell[0], (list, np.ndarray))


def _rdkit_version() -> str:
    import rdkit

    return rdkit.__version__
