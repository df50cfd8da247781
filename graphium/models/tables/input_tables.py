"""Tables of molecules as they are given: any file that training reads, or stdin, with every column as it stands."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from rdkit import rdBase

from graphium.chem.parse import UnusableMolecule, read_molecule, readable
from graphium.data.datasets.infer import find_smiles
from graphium.data.tables.readers import Table
from graphium.data.tables.sdf import STRUCTURE
from graphium.errors import GraphiumError, suggest
from graphium.messages import listed

STDIN = "-"
Given = str | Path | list[str]
_SMILES = "smiles"
_ROWS_AT_ONCE, _A_FEW = 1 << 15, 64
# A number whose leading zeros would be lost, such as a code, is text.
_CODE = r"^[+-]?0[0-9]"


@dataclass(frozen=True)
class Layout:
    """What of an input an output shows; plain values, which any process can be given.

    ``smiles``: the column of the molecules. ``kept``: column of the output -> of the input. ``schema``: the types of
    the former.
    """

    smiles: str
    kept: Mapping[str, str]
    schema: pa.Schema

    def texts(self, cells: pa.Table) -> list[Any]:
        """The molecules of some rows, None where a cell is empty."""
        found: list[Any] = cells[self.smiles].to_pylist()
        return found

    def columns(self, cells: pa.Table) -> list[pa.ChunkedArray]:
        """The columns of some rows that are kept."""
        found = []
        for name, kind in zip(self.schema.names, self.schema.types, strict=True):
            column = cells[self.kept[name]]
            if name != STRUCTURE == self.kept[name]:
                column = pa.chunked_array([[None if t is None else readable(t) for t in column.to_pylist()]], kind)
            found.append(column.cast(kind))
        return found


class InputTable:
    """Molecules and the columns beside them.

    Texts of CSV, SMI and SDF stay the texts they are; Parquet keeps its types. The structures of an SDF are shown as
    SMILES, in the column ``smiles``.

    Args:
        source: A path, an address, a pattern or a list of these.
        smiles: The column of the molecules; None finds it as training does.
        new: Names of the columns that will be added: input columns of that name are left out.

    Attributes:
        smiles: The column of the molecules.
        messages: What was found, for the person at the terminal.

    Raises:
        GraphiumError: a file that cannot be read, no such column, no column of SMILES.
    """

    def __init__(self, source: Given, smiles: str | None = None, new: Collection[str] = ()) -> None:
        self._table = Table(source)
        self.name = self._table.name
        self.messages: list[str] = []
        columns = self._table.columns
        if smiles is None:
            self.smiles, said = find_smiles(self._table, "--smiles NAME")
            self.messages.append(said)
            self._check_header()
        elif smiles not in columns:
            raise GraphiumError(f"{self.name} has no column {smiles!r}; {suggest(smiles, columns)}")
        else:
            self.smiles = smiles
        if self._table.partial_columns:
            names = listed([repr(name) for name in self._table.partial_columns])
            self.messages.append(f"columns that only some of the files have are left out: {names}")
        #: The columns that are kept: their names in the output -> in the input.
        self.kept = {name: name for name in columns}
        if self._table.holds_structures and self.smiles == STRUCTURE and _SMILES not in columns:
            self.kept = {_SMILES if name == STRUCTURE else name: name for name in columns}
        clash = [name for name in self.kept if name in new]
        if clash:
            self.messages.append(left_out(clash))
            self.kept = {name: given for name, given in self.kept.items() if name not in clash}

    def _check_header(self) -> None:
        """Refuse a table without a header, whose first molecule would be lost."""
        if not self._table.holds_structures and _is_molecule(self.smiles):
            raise GraphiumError(
                f"the column of SMILES in {self.name} is called {self.smiles!r}, which is a molecule; write a header "
                f"above it, or, where it is the name of the column, say --smiles {self.smiles!r}"
            )

    @property
    def num_rows(self) -> int:
        return self._table.num_rows

    @property
    def key(self) -> str:
        """Hash of the content."""
        return self._table.key

    def reads(self, path: Path) -> bool:
        """Whether a file is one of the table's."""
        return any(path.exists() and path.samefile(own) for own in self._table.local_files)

    def layout(self, typed: bool) -> Layout:
        """What of the input an output shows.

        Args:
            typed: Whether texts that are all numbers become numbers, for which the table is read once more.

        Raises:
            GraphiumError: the table has no rows.
        """
        first = next((cells.schema for _, cells in self.chunks(_A_FEW)), None)
        if first is None:
            raise GraphiumError(f"{self.name} has a header and no rows; give a table with molecules")
        types = {name: _shown_type(first.field(given).type) for name, given in self.kept.items()}
        if typed:
            texts = [name for name, kind in types.items() if pa.types.is_large_string(kind)]
            types |= self._narrowed([name for name in texts if self.kept[name] != self.smiles])
        return Layout(self.smiles, self.kept, pa.schema(list(types.items())))

    def chunks(self, size: int) -> Iterator[tuple[int, pa.Table]]:
        """(first row, cells of ``size`` rows, the last one shorter): the molecules and the columns that are kept."""
        yield from self._table.cells([self.smiles, *self.kept.values()], size)

    def _narrowed(self, names: list[str]) -> dict[str, pa.DataType]:
        """The narrowest type of whole numbers, numbers and texts that holds every cell of some columns of text."""
        types: dict[str, pa.DataType] = {}
        left = {name: [pa.int64(), pa.float64()] for name in names}
        seen: set[str] = set()
        for _, cells in self._table.cells([self.kept[name] for name in names], _ROWS_AT_ONCE) if names else ():
            for name, kinds in left.items():
                column = cells[self.kept[name]]
                if kinds and pc.any(pc.match_substring_regex(column, _CODE)).as_py():
                    kinds.clear()
                while kinds and not _is_castable(column, kinds[0]):
                    kinds.pop(0)
                if column.null_count < len(column):
                    seen.add(name)
        for name, kinds in left.items():
            types[name] = kinds[0] if kinds and name in seen else pa.string()
        return types


def check_distinct(frame: pd.DataFrame) -> None:
    """Refuse a DataFrame with two columns of one name."""
    if not frame.columns.is_unique:
        name = str(frame.columns[frame.columns.duplicated()][0])
        raise GraphiumError(f"the DataFrame has two columns {name!r}; rename or remove one of them")


def left_out(names: Sequence[Any]) -> str:
    """The sentence that says which columns of the input are not kept."""
    shown = listed([repr(str(name)) for name in names])
    return f"columns of the input that have the name of a new one are left out: {shown}"


@contextmanager
def opened(source: Given) -> Iterator[Given]:
    """The path of an input; stdin (``-``) goes to a file while it is needed.

    Lines of stdin are CSV with a header, or one SMILES each; SDF and Parquet are known by how they begin.

    Raises:
        GraphiumError: nothing comes, or something packed.
    """
    if source != STDIN:
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="graphium-") as folder:
        # The first line of an SDF may be blank.
        first = [line for line in (sys.stdin.buffer.readline() for _ in range(4)) if line]
        suffix = _telling_suffix(first)
        while suffix is None and first and not first[0].strip():
            first = [*first[1:], *filter(None, [sys.stdin.buffer.readline()])]
        if not first:
            raise GraphiumError("nothing came on stdin; give CSV with a header, or one SMILES a line")
        if suffix is None:
            suffix = ".smi" if _is_smiles_line(first[0].decode("utf-8-sig", "replace")) else ".csv"
        path = Path(folder) / f"stdin{suffix}"
        with path.open("wb") as file:
            file.writelines(first)
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield str(path)


def _telling_suffix(first: Sequence[bytes]) -> str | None:
    """The suffix of Parquet or SDF whose first four lines these are; None for lines of CSV or SMILES."""
    begin = b"".join(first)
    if begin.startswith(b"\x1f\x8b"):
        raise GraphiumError("what comes on stdin is packed with gzip; unpack it first, e.g. with zcat")
    if begin.startswith(b"PAR1"):
        return ".parquet"
    return ".sdf" if len(first) == 4 and first[3].rstrip().endswith((b"V2000", b"V3000")) else None


def _is_smiles_line(line: str) -> bool:
    """Whether the first line of a text is a molecule and not the header of a table."""
    word = line.split()[0]
    # A broken SMILES still has signs that no name of a column has.
    return _is_molecule(word) or (not re.search(r"[,;\t]", line) and re.search(r"[=#()\[\]@\\+]", word) is not None)


def _is_molecule(text: str) -> bool:
    with rdBase.BlockLogs():
        try:
            read_molecule(text, "heavy")
        except UnusableMolecule:
            return False
    return True


def _is_castable(column: pa.ChunkedArray, kind: pa.DataType) -> bool:
    try:
        column.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _shown_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
