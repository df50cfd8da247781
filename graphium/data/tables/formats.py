"""One file of a table as frames of rows: CSV and TSV, Parquet, SMI; SDF has a file of its own."""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from graphium.data.tables.files import Reader, Survey, open_plain, text_table
from graphium.data.tables.sdf import SdfReader
from graphium.data.tables.sources import Source, unreachable
from graphium.errors import GraphiumError

_DELIMITED = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
_SMILES_LISTS = (".smi", ".smiles", ".cxsmiles", ".ism")
_COMPRESSIONS = (".gz", ".bz2", ".zip")
_HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 20
# What a cell of text costs beyond its letters.
_CELL_BYTES = 24
# First words of a header line of an SMI file; none of them is a SMILES.
_SMI_HEADER = ("smiles", "smi", "cxsmiles", "canonical_smiles", "isomeric_smiles")
# The SMILES with its CXSMILES extension, then the name.
_SMI_LINE = r"^\s*(?P<smiles>\S+(?:\s+\|[^|]*\|)?)(?:\s+(?P<name>.*\S))?\s*$"


def open_reader(source: Source) -> Reader:
    """Choose the reader of a file by its ending.

    Raises:
        GraphiumError: an ending that is not read.
    """
    inner, compression = split_ending(source.name)
    if inner in (".parquet", ".pq") and not compression:
        return ParquetReader(source)
    if inner in _DELIMITED:
        return DelimitedReader(source, compression, _DELIMITED[inner])
    if inner in _SMILES_LISTS:
        return SmilesReader(source, compression)
    if inner in (".sdf", ".sd"):
        return SdfReader(source, compression)
    raise GraphiumError(
        f"{source.name!r} has an ending that is not read; give {', '.join(_DELIMITED)}, .sdf or .smi (plain or "
        f"{', '.join(_COMPRESSIONS)}) or .parquet"
    )


def split_ending(name: str) -> tuple[str, str]:
    """The ending that says the format, and that of the compression.

    >>> split_ending("my.table.CSV.gz"), split_ending("my.parquet")
    (('.csv', '.gz'), ('.parquet', ''))
    """
    found = re.search(r"(\.[^.]*)?(\.gz|\.bz2|\.zip)$|(\.[^.]*)$", name.lower())
    if found is None:
        return "", ""
    return (found[1] or "", found[2]) if found[2] else (found[3], "")


@contextmanager
def plain_errors(source: Source) -> Iterator[None]:
    """Turn what the libraries raise on a bad file into one plain sentence."""
    path = repr(source.address)
    try:
        yield
    except GraphiumError:
        raise
    except pd.errors.EmptyDataError:
        raise GraphiumError(f"the file {path} is empty; give a table with a header and rows") from None
    except (EOFError, zipfile.BadZipFile, zlib.error, pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise GraphiumError(f"cannot read {path}: {error.strerror or error}; check the file") from None
        raise GraphiumError(f"{path} is truncated or damaged ({error}); fetch or write the file again") from None
    except UnicodeDecodeError as error:
        raise GraphiumError(f"{path} is not UTF-8 text ({error}); save the table as UTF-8") from None
    except (pd.errors.ParserError, ValueError) as error:
        raise GraphiumError(f"{path} is not a readable table ({error}); mend the file") from None
    except Exception as error:
        if source.local is not None:
            raise
        raise unreachable(source.address, error) from None


def exact_chunks(frames: Iterable[pd.DataFrame], size: int) -> Iterator[pd.DataFrame]:
    """Cut and join frames to ``size`` rows each, the last one shorter."""
    waiting: list[pd.DataFrame] = []
    rows = 0
    for frame in frames:
        if len(frame):
            waiting.append(frame)
            rows += len(frame)
        if rows < size:
            continue
        joined = pd.concat(waiting, ignore_index=True) if len(waiting) > 1 else waiting[0]
        whole = rows - rows % size
        for start in range(0, whole, size):
            yield joined.iloc[start : start + size]
        waiting, rows = ([joined.iloc[whole:]], rows - whole) if rows > whole else ([], 0)
    if rows:
        yield pd.concat(waiting, ignore_index=True) if len(waiting) > 1 else waiting[0]


def exact_tables(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Cut and join Arrow tables of one schema to ``size`` rows each, the last one shorter."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        while rows >= size:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, size)
            waiting, rows = [joined.slice(size)], rows - size
    if rows:
        yield pa.concat_tables(waiting)


def rows_within(budget: int, row_bytes: int, most: int) -> int:
    """How many rows fit into so many bytes, a whole number from 64 to ``most``."""
    return max(64, min(most, budget // max(row_bytes, 1)))


class DelimitedReader:
    """CSV and TSV through pandas; the delimiter is that of the header line."""

    sparse = False

    def __init__(self, source: Source, compression: str, delimiter: str) -> None:
        self._source = source
        self._compression = compression
        self._usual = delimiter

    def columns(self) -> list[str]:
        with self._read(nrows=0) as header:
            return [str(name) for name in header.columns]

    def survey(self, stop: int | None) -> Survey:
        # Lines with too many fields, a broken quote and a truncated file are noticed here: pandas checks them
        # where all columns are read.
        columns = self.columns()
        size = rows_within(1 << 26, self.row_bytes(columns), 1 << 16)
        rows = 0
        with self._read(chunksize=size) as frames:
            for frame in frames:
                if not isinstance(frame.index, pd.RangeIndex):
                    raise ValueError("the rows have more fields than the header")
                rows += len(frame)
                if stop is not None and rows > stop:
                    break
        return Survey(columns, rows)

    def row_bytes(self, columns: Sequence[str]) -> int:
        return self._sniffed[1] + _CELL_BYTES * len(columns)

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[pd.DataFrame]:
        # index_col=False: pandas otherwise takes the first column for an index where lines are longer
        # than the header, and every column would hold its neighbour's values.
        options = {"usecols": list(columns), "chunksize": size, "index_col": False}
        with self._read(**options) as frames:
            yield from frames

    def tables(self, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        options = {"usecols": list(columns), "chunksize": size, "index_col": False}
        with self._read(**options, dtype=str, keep_default_na=False, na_values=[""]) as frames:
            for frame in frames:
                yield text_table(frame[list(columns)])

    @contextmanager
    def _read(self, **options: Any) -> Iterator[Any]:
        # `a, b`: a quoted field is one only where the blank before it is skipped.
        options |= {"sep": self._sniffed[0], "skipinitialspace": True, "low_memory": False}
        with open_plain(self._source, self._compression) as file:
            yield pd.read_csv(file, **options)

    @cached_property
    def _sniffed(self) -> tuple[str, int]:
        """The delimiter (that of the file name unless the header does not hold it) and the bytes of a line."""
        with open_plain(self._source, self._compression) as file:
            head = file.read(_HEAD_BYTES)
            if b"\r" in head and b"\n" not in head:
                raise GraphiumError(
                    f"{self._source.address!r} ends its lines with a carriage return alone; save it with newlines"
                )
            header = (head.split(b"\n", 1)[0] if b"\n" in head else head + file.readline()).decode("utf-8-sig")
        signs = (self._usual, ";", "\t", ",", "|")
        fields = {sign: len(next(csv.reader([header], delimiter=sign), [])) for sign in signs}
        delimiter = self._usual if fields[self._usual] > 1 else max(fields, key=lambda sign: fields[sign])
        return delimiter, len(head) // max(head.count(b"\n"), 1)


class ParquetReader:
    """Parquet through pyarrow, list columns kept as Arrow lists."""

    sparse = False

    def __init__(self, source: Source) -> None:
        self._source = source

    def columns(self) -> list[str]:
        with self._opened() as file:
            names = list(file.schema_arrow.names)
        twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
        if twice is not None:
            raise GraphiumError(f"{self._source.address!r} has two columns {twice!r}; rename or remove one of them")
        return names

    def survey(self, stop: int | None) -> Survey:
        names = self.columns()
        with self._opened() as file:
            return Survey(names, file.metadata.num_rows)

    def row_bytes(self, columns: Sequence[str]) -> int:
        with self._opened() as file:
            if not file.metadata.num_row_groups or not file.metadata.num_rows:
                return 0
            group = file.metadata.row_group(0)
            wanted = set(columns)
            leaves = [group.column(number) for number in range(group.num_columns)]
            sizes = [leaf.total_uncompressed_size for leaf in leaves if leaf.path_in_schema.split(".")[0] in wanted]
            return sum(sizes) // max(group.num_rows, 1) + 8 * len(columns)

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[pd.DataFrame]:
        # A row group may end in the middle of a chunk; a chunk has the same rows whatever the file's layout.
        yield from map(_to_pandas, exact_tables(self.tables(columns, size), size))

    def tables(self, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        with self._opened() as file:
            for batch in file.iter_batches(batch_size=size, columns=list(columns)):
                yield pa.Table.from_batches([batch]).select(list(columns))

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        # A mapped file costs no memory of its own, however large its row groups are.
        local = self._source.local
        with self._source.open() if local is None else pa.memory_map(str(local)) as raw, pq.ParquetFile(raw) as file:
            yield file


class SmilesReader:
    """SMI: a SMILES (with its CXSMILES extension) and perhaps a name on every line; ``#`` begins a comment."""

    sparse = False

    def __init__(self, source: Source, compression: str) -> None:
        self._source = source
        self._compression = compression

    def columns(self) -> list[str]:
        return ["smiles", "name"]

    def survey(self, stop: int | None) -> Survey:
        rows = 0
        for lines in self._lines():
            rows += len(lines)
            if stop is not None and rows > stop:
                break
        return Survey(self.columns(), rows)

    def row_bytes(self, columns: Sequence[str]) -> int:
        return 256

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[pd.DataFrame]:
        yield from exact_chunks((table.to_pandas() for table in self.tables(columns, size)), size)

    def tables(self, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        return map(_smiles_and_name, self._lines())

    def _lines(self) -> Iterator[pa.Array]:
        is_first = True
        with open_plain(self._source, self._compression) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig")
            while block := text.readlines(_BLOCK_BYTES):
                lines = [line for line in block if line.strip() and line[0] != "#"]
                if is_first and lines:
                    is_first = False
                    if lines[0].split()[0].lower() in _SMI_HEADER:
                        del lines[0]
                if lines:
                    yield pa.array(lines, pa.large_string())


def _smiles_and_name(lines: pa.Array) -> pa.Table:
    parts = pc.extract_regex(lines, _SMI_LINE)
    name = pc.struct_field(parts, "name")
    name = pc.if_else(pc.equal(name, ""), pa.scalar(None, name.type), name)
    return pa.table({"smiles": pc.struct_field(parts, "smiles"), "name": name})


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    frame = table.to_pandas(types_mapper=_keep_lists, ignore_metadata=True)
    for name in frame.columns[frame.dtypes == "category"]:
        frame[name] = frame[name].astype(object)
    return frame


def _keep_lists(dtype: pa.DataType) -> pd.ArrowDtype | None:
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype):
        return pd.ArrowDtype(dtype)
    return None
