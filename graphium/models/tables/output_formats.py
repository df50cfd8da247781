"""Tables written in pieces: CSV, packed or plain, and Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from graphium.data.store.columns import create_file
from graphium.errors import GraphiumError

SUFFIXES = (".csv", ".csv.gz", ".parquet")
# A field with one of these is quoted.
_SPECIAL = '[",\r\n]'
# Rows, and bytes in memory, of a row group of Parquet.
_GROUP_ROWS, _GROUP_BYTES = 1 << 16, 1 << 27
_TEXT = pa.large_string()


class Format(Protocol):
    """How pieces of a table become a file.

    ``is_typed``: columns have types, so that texts which are numbers should become numbers.
    """

    suffix: str
    is_typed: bool

    def encode(self, table: pa.Table) -> Any:
        """The bytes of one piece."""
        ...

    def join(self, path: Path, schema: pa.Schema, pieces: Iterable[Any]) -> None:
        """Write a whole file from the bytes of its pieces."""
        ...


def find_format(path: Path) -> CsvFormat | ParquetFormat:
    """The format that the name of a file says.

    Raises:
        GraphiumError: another suffix.
    """
    name = path.name.lower()
    if name.endswith((".parquet", ".pq")):
        return ParquetFormat()
    if name.endswith(".csv"):
        return CsvFormat()
    if name.endswith(".csv.gz"):
        return CsvFormat(packed=True)
    raise GraphiumError(f"the output {str(path)!r} has a suffix that is not written; give {', '.join(SUFFIXES)}")


class CsvFormat:
    """CSV with a header, fields quoted where they need it; lists are JSON, a missing value is nothing.

    Packed pieces are members of one gzip file, without a time stamp.
    """

    is_typed = False

    def __init__(self, packed: bool = False) -> None:
        self._packed = packed
        self.suffix = ".csv.gz" if packed else ".csv"

    def begin(self, schema: pa.Schema) -> bytes:
        """The header."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(schema.names)
        return self._pack(text.getvalue().encode())

    def encode(self, table: pa.Table) -> Any:
        if not table.num_rows:
            return b""
        fields = [_named_field(*both) for both in zip(table.column_names, table.columns, strict=True)]
        lines = pc.binary_join_element_wise(*fields, _scalar(","))
        # The texts of an Arrow array lie end to end in memory: with the ends of the lines this is the file.
        ended = pc.binary_join_element_wise(lines, _scalar("\n"), _scalar(""))
        _, offsets, data = ended.buffers()
        return self._pack(memoryview(data)[: np.frombuffer(offsets, np.int64)[len(ended)]])

    def join(self, path: Path, schema: pa.Schema, pieces: Iterable[Any]) -> None:
        with create_file(path) as file:
            file.write(self.begin(schema))
            for piece in pieces:
                file.write(piece)

    def _pack(self, data: Any) -> Any:
        return gzip.compress(data, mtime=0) if self._packed else data


class ParquetFormat:
    """Parquet, compressed as the library does by default."""

    suffix = ".parquet"
    is_typed = True

    def encode(self, table: pa.Table) -> Any:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return memoryview(sink.getvalue())

    def join(self, path: Path, schema: pa.Schema, pieces: Iterable[Any]) -> None:
        texts = [
            field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        ]
        with (
            create_file(path) as file,
            # Numbers do not repeat, and thousands of columns need no index of extremes.
            pq.ParquetWriter(file, schema, use_dictionary=texts, write_statistics=False) as writer,
        ):
            for group in _groups(pa.ipc.open_stream(pa.py_buffer(piece)).read_all() for piece in pieces):
                writer.write_table(group)


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(t.num_rows for t in waiting) >= _GROUP_ROWS or sum(t.nbytes for t in waiting) >= _GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _joined(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _named_field(name: str, column: pa.ChunkedArray) -> pa.Array:
    try:
        return _field(_joined(column))
    except pa.ArrowException:
        raise GraphiumError(
            f"column {name!r} is of type {column.type} and cannot be written as text; write Parquet, which keeps it, "
            "or remove the column"
        ) from None


def _field(array: pa.Array) -> pa.Array:
    """The values as fields of CSV."""
    kind = array.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return pc.fill_null(array.cast(_TEXT), "")
    text = array.cast(_TEXT) if _is_text(kind) else _json(array) if _is_nested(kind) else array.cast(_TEXT)
    text = pc.fill_null(text, "")
    special = pc.match_substring_regex(text, _SPECIAL)
    if pc.any(special).as_py():
        doubled = pc.replace_substring(text, '"', '""')
        quoted = pc.binary_join_element_wise(_scalar('"'), doubled, _scalar('"'), _scalar(""))
        text = pc.if_else(special, quoted, text)
    return text


def _json(array: pa.Array) -> pa.Array:
    """The values as JSON, missing where the value is missing."""
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = pc.fill_null(_json(array.values), "null")
        parts = pa.LargeListArray.from_arrays(array.offsets.cast(pa.int64()), inner)
        joined = pc.binary_join(parts, _scalar(","))
        text = pc.binary_join_element_wise(_scalar("["), joined, _scalar("]"), _scalar(""))
        return pc.if_else(array.is_null(), _scalar(None), text)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return array.cast(_TEXT)
    if _is_text(kind):
        words = array.dictionary_encode()
        return pa.array([json.dumps(word) for word in words.dictionary.to_pylist()], _TEXT).take(words.indices)
    return pa.array([None if v is None else json.dumps(v, default=str) for v in array.to_pylist()], _TEXT)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind))


def _scalar(text: str | None) -> pa.Scalar:
    return pa.scalar(text, _TEXT)
