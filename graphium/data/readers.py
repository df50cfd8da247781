"""Table files read in chunks, and the label cells of a chunk as flat arrays."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from graphium.data.cells import to_lists, to_numbers, to_texts
from graphium.errors import GraphiumError, suggest
from graphium.types import Task

_DELIMITED = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
_COMPRESSIONS = (".gz", ".bz2", ".zip")
_CHUNK = 65_536

Triples = tuple[np.ndarray, np.ndarray, np.ndarray]
Refuse = Callable[[int, str], NoReturn]


class Table:
    """One table file, read in chunks and never whole.

    CSV or TSV, plain or compressed (gz, bz2, zip), and Parquet. ``limit`` uses the first N rows.

    >>> table = Table("molecules.csv")  # doctest: +SKIP
    >>> [(first, len(frame)) for first, frame in table.chunks(["smiles"], size=1000)]  # doctest: +SKIP
    [(0, 1000), (1000, 128)]

    Raises:
        GraphiumError: the file does not exist, is empty, truncated, or of an unknown format.
    """

    def __init__(self, source: Path | str, limit: int | None = None, *, extra: Path | None = None) -> None:
        """``extra`` is a Parquet file with more columns of the same rows, e.g. computed labels."""
        self.source = Path(source).expanduser()
        if limit is not None and limit < 1:
            raise GraphiumError(f"limit is {limit}; give the number of rows to use, at least 1, or leave it out")
        self.limit = limit
        self._extra = Table(extra) if extra is not None else None
        if not self.source.is_file():
            what = "is a folder, not a table" if self.source.is_dir() else "does not exist"
            raise GraphiumError(f"the file {str(self.source)!r} {what}; give the path of a CSV or Parquet file")
        if self.source.stat().st_size == 0:
            raise GraphiumError(f"the file {str(self.source)!r} is empty; give a table with a header and rows")
        self._reader = _reader(self.source)

    @cached_property
    def columns(self) -> list[str]:
        """Column names in the file's order, then those of the extra file."""
        with _plain_errors(self.source):
            own = self._reader.columns()
        return [*own, *(c for c in (self._extra.columns if self._extra else []) if c not in own)]

    @cached_property
    def num_rows(self) -> int:
        """Rows without the header, at most ``limit``."""
        return self._count[0]

    @cached_property
    def limited(self) -> bool:
        """Whether the file goes on after the rows that are used."""
        return self._count[1]

    @cached_property
    def key(self) -> str:
        """SHA-256 of the content (and of the limit and the extra columns, where they make a difference)."""
        digest = _sha256(self.source)
        limit = str(self.limit) if self.limited else ""
        parts = [digest, limit, self._extra.key if self._extra else ""]
        return digest if not any(parts[1:]) else hashlib.sha256("/".join(parts).encode()).hexdigest()

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """Yield (first row, frame of at most ``size`` rows); the frame's index counts the file's rows.

        List columns of Parquet come as Arrow lists.

        Raises:
            GraphiumError: a column is missing, or the file cannot be read to its end.
        """
        columns = list(dict.fromkeys(columns))
        self.require(columns)
        extra = [c for c in columns if self._extra and c in self._extra.columns]
        more = self._extra.chunks(extra, size) if self._extra and extra else None
        own = [c for c in columns if c not in extra]
        with _plain_errors(self.source):
            first = 0
            for frame in self._reader.chunks(own or self._reader.columns()[:1], size):
                if self.limit is not None and first + len(frame) > self.limit:
                    frame = frame.iloc[: self.limit - first]
                if not len(frame):
                    break
                frame = frame[own].set_axis(pd.RangeIndex(first, first + len(frame)), axis=0)
                if more is not None:
                    frame = pd.concat([frame, next(more)[1].iloc[: len(frame)]], axis=1)[columns]
                yield first, frame
                first += len(frame)

    def column(self, name: str) -> pd.Series:
        """Return one whole column."""
        pieces = [frame[name] for _, frame in self.chunks([name], _CHUNK)]
        return pd.concat(pieces) if pieces else pd.Series(dtype=object, name=name)

    def require(self, columns: Sequence[str]) -> None:
        """Raise a GraphiumError that names the first of ``columns`` that the table lacks."""
        for column in columns:
            if column not in self.columns:
                near = suggest(column, self.columns)
                raise GraphiumError(
                    f"{self.source.name} has no column {column!r}; {near}{quoting(self.columns, column)}"
                )

    @cached_property
    def _count(self) -> tuple[int, bool]:
        # Every field of every line is read here once: lines with too many fields, a broken quote or a
        # truncated file are noticed before anything is prepared.
        total = 0
        with _plain_errors(self.source):
            for count in self._reader.counts():
                total += count
                if self.limit is not None and total > self.limit:
                    return self.limit, True
        return total, False


def quoting(columns: Sequence[str], near: str = "") -> str:
    """Return the end of a sentence that shows how to quote a column name, if one of them needs it.

    >>> print(quoting(["mw", "log P [uM]"]))
    ; quote names with spaces or signs: 'data.targets=["log P [uM]"]'
    """
    awkward = [name for name in columns if not re.fullmatch(r"[\w./-]+", name)]
    if not awkward:
        return ""
    name = (difflib.get_close_matches(near, awkward, n=1, cutoff=0.3) or awkward)[0]
    quoted = name.replace('"', '\\"')
    word = f'data.targets=["{quoted}"]'.replace("'", "'\\''")
    return f"; quote names with spaces or signs: '{word}'"


def read_cells(
    frame: pd.DataFrame, task: Task, smiles: str, sizes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the labels of one task out of a chunk; empty and NaN cells end here.

    Args:
        frame: a chunk of :meth:`Table.chunks`, whose index counts the rows of the file.
        task: the task; its name is the column.
        smiles: the SMILES column, for the error sentence.
        sizes: int ``[rows]`` or None: atoms or bonds of each row, -1 where unknown; a list of another
            length is an error.

    Returns:
        ``row`` int64 ``[L]`` (position in the frame), ``entity`` int32 ``[L]`` (0 for a graph label, else
        atom or bond in the order of the row's own text), ``value`` float64 ``[L]`` (number or class index).

    Raises:
        GraphiumError: a cell that is not what the task says, with dataset, column and row.
    """
    if task.level == "nodepair":
        raise GraphiumError(f"task {task.name!r}: labels of atom pairs are not read yet; choose graph, node or edge")

    def refuse(position: int, what: str) -> NoReturn:
        text = f" ({shorten(frame[smiles].iloc[position])})" if smiles in frame.columns else ""
        raise GraphiumError(
            f"dataset {task.dataset!r}, column {task.name!r}, row {frame.index[position]}{text}: {what}; "
            "mend or empty the cell"
        )

    if task.level == "graph":
        row, entity, value = _graph_labels(frame[task.name], task, refuse)
    else:
        row, entity, value = _entity_labels(frame[task.name], task, refuse, sizes)
    if task.kind == "binary":
        good, what = (value == 0) | (value == 1), "is not 0 or 1, and the kind is binary"
    else:
        good, what = np.isfinite(value), "is not finite"
    if not good.all():
        wrong = int(np.argmin(good))
        refuse(int(row[wrong]), f"{value[wrong]:g} {what}")
    return row, entity, value


def _graph_labels(column: pd.Series, task: Task, refuse: Refuse) -> Triples:
    if task.classes or task.num_classes:
        code, missing = _class_codes(column, task)
        strange = np.flatnonzero((code < 0) & ~missing)
        if len(strange):
            refuse(int(strange[0]), f"{shorten(column.iloc[strange[0]])} is none of the classes {_classes(task)}")
        row = np.flatnonzero(~missing)
        return row, np.zeros(len(row), dtype=np.int32), code[row].astype(np.float64)
    number, strange = to_numbers(column)
    if len(strange):
        refuse(int(strange[0]), f"{shorten(column.iloc[strange[0]])} is not a number")
    row = np.flatnonzero(~np.isnan(number))
    return row, np.zeros(len(row), dtype=np.int32), number[row]


def _entity_labels(column: pd.Series, task: Task, refuse: Refuse, sizes: np.ndarray | None) -> Triples:
    one = "atom" if task.level == "node" else "bond"
    lists, strange = to_lists(column)
    if lists is None:
        refuse(int(strange[0]), f"{shorten(column.iloc[strange[0]])} is not a list of numbers, one per {one}")
    if sizes is not None:
        wrong = np.flatnonzero((lists.length >= 0) & (sizes >= 0) & (lists.length != sizes))
        if len(wrong):
            position = int(wrong[0])
            refuse(
                position, f"the list has {lists.length[position]} elements and the molecule {sizes[position]} {one}s"
            )
    present = ~np.isnan(lists.value)
    row, entity, value = lists.row[present], lists.position[present].astype(np.int32), lists.value[present]
    if task.classes or task.num_classes:
        code, _ = _class_codes(pd.Series(value), task)
        if (code < 0).any():
            wrong_one = int(np.argmin(code))
            refuse(int(row[wrong_one]), f"{value[wrong_one]:g} is none of the classes {_classes(task)}")
        value = code.astype(np.float64)
    return row, entity, value


def _class_codes(column: pd.Series, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Class index of every cell, -1 where it is no class, and whether the cell is missing."""
    names, missing = to_texts(column)
    classes = task.classes or tuple(str(number) for number in range(task.num_classes))
    return pd.Index(classes).get_indexer(pd.Index(names)), missing


def _classes(task: Task) -> str:
    return ", ".join(task.classes) if task.classes else f"0 to {task.num_classes - 1}"


def shorten(cell: object) -> str:
    """Show a cell in an error sentence."""
    text = str(cell) if isinstance(cell, (int, float, np.number)) else repr(str(cell))
    return text if len(text) <= 60 else text[:57] + "..."


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """Turn what the libraries raise on a bad file into one plain sentence."""
    try:
        yield
    except pd.errors.EmptyDataError:
        raise GraphiumError(f"the file {str(path)!r} is empty; give a table with a header and rows") from None
    except (EOFError, zipfile.BadZipFile, pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise GraphiumError(f"cannot read {str(path)!r}: {error.strerror}; check the file") from None
        raise GraphiumError(f"{str(path)!r} is truncated or damaged ({error}); fetch or write the file again") from None
    except UnicodeDecodeError as error:
        raise GraphiumError(f"{str(path)!r} is not UTF-8 text ({error}); save the table as UTF-8") from None
    except (pd.errors.ParserError, ValueError) as error:
        raise GraphiumError(f"{str(path)!r} is not a readable table ({error}); mend the file") from None


class _DelimitedReader:
    """CSV and TSV through pandas."""

    def __init__(self, path: Path, delimiter: str) -> None:
        self._path = path
        self._delimiter = delimiter

    def columns(self) -> list[str]:
        return [str(name) for name in self._read(nrows=0).columns]

    def counts(self) -> Iterator[int]:
        for frame in self._read(chunksize=_CHUNK):
            if not isinstance(frame.index, pd.RangeIndex):
                raise ValueError("the rows have more fields than the header")
            yield len(frame)

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[pd.DataFrame]:
        # index_col=False: pandas otherwise takes the first column for an index where lines are longer
        # than the header, and every column would hold its neighbour's values.
        yield from self._read(usecols=list(columns), chunksize=size, index_col=False)

    def _read(self, **options: Any) -> Any:
        # `a, b`: a quoted field is one only where the blank before it is skipped.
        return pd.read_csv(self._path, sep=self._sniffed, skipinitialspace=True, low_memory=False, **options)

    @cached_property
    def _sniffed(self) -> str:
        """The delimiter of the header line: that of the file name unless the header does not hold it."""
        with _open_text(self._path) as file:
            header = file.readline()
        fields = {
            sign: len(next(csv.reader([header], delimiter=sign), [])) for sign in (self._delimiter, ";", "\t", ",", "|")
        }
        return self._delimiter if fields[self._delimiter] > 1 else max(fields, key=lambda sign: fields[sign])


class _ParquetReader:
    """Parquet through pyarrow, list columns kept as Arrow lists."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def columns(self) -> list[str]:
        return list(pq.ParquetFile(self._path).schema_arrow.names)

    def counts(self) -> Iterator[int]:
        yield pq.ParquetFile(self._path).metadata.num_rows

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[pd.DataFrame]:
        waiting: list[pa.Table] = []
        rows = 0
        for batch in pq.ParquetFile(self._path).iter_batches(batch_size=size, columns=list(columns)):
            waiting.append(pa.Table.from_batches([batch]))
            rows += batch.num_rows
            # A row group may end in the middle of a chunk; a chunk has the same rows whatever the file's layout.
            while rows >= size:
                table = pa.concat_tables(waiting)
                yield _to_pandas(table.slice(0, size))
                waiting, rows = [table.slice(size)], rows - size
        if rows:
            yield _to_pandas(pa.concat_tables(waiting))


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    frame = table.to_pandas(types_mapper=_keep_lists, ignore_metadata=True)
    for name in frame.columns[frame.dtypes == "category"]:
        frame[name] = frame[name].astype(object)
    return frame


def _keep_lists(dtype: pa.DataType) -> pd.ArrowDtype | None:
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype):
        return pd.ArrowDtype(dtype)
    return None


@contextmanager
def _open_text(path: Path) -> Iterator[io.TextIOBase]:
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as member:
            yield io.TextIOWrapper(member, encoding="utf-8-sig")
        return
    with pa.input_stream(str(path), compression="detect") as stream:
        yield io.TextIOWrapper(stream, encoding="utf-8-sig")


def _reader(path: Path) -> _DelimitedReader | _ParquetReader:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-1] if suffixes else ""
    if last in (".parquet", ".pq"):
        return _ParquetReader(path)
    inner = suffixes[-2] if last in _COMPRESSIONS and len(suffixes) > 1 else last
    if inner in _DELIMITED:
        return _DelimitedReader(path, _DELIMITED[inner])
    raise GraphiumError(
        f"{path.name!r} has an ending that is not read; give {', '.join(_DELIMITED)} (plain or "
        f"{', '.join(_COMPRESSIONS)}) or .parquet"
    )
