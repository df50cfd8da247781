"""SDF: one structure with its data fields per record, streamed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

import pandas as pd
import pyarrow as pa

from graphium.data.tables.files import Survey, open_plain, text_table
from graphium.data.tables.sources import Source
from graphium.errors import GraphiumError

STRUCTURE = "structure"
TITLE = "title"

_BLOCK_BYTES = 1 << 20
_LARGEST_RECORD = 1 << 26  # bytes
_RECORD_END = re.compile(rb"^\$\$\$\$[^\n]*\n", re.MULTILINE)
_MOLBLOCK_END = re.compile(r"^M  END[^\n]*(?:\n|\Z)", re.MULTILINE)
# A header line such as `>  <logP>  (1)`, then lines up to an empty one; a value may begin with `>` too.
_FIELD = re.compile(r"^>[^<\n]*<([^\n]*)>[^>\n]*\n((?:[^\n]+(?:\n|\Z))*)", re.MULTILINE)


class SdfReader:
    """SDF as rows with the columns ``structure``, ``title`` and every data field.

    ``structure`` is the text up to ``M  END``, its header lines included; a record without that line gives
    the text before its data fields. A field called ``structure`` or ``title`` is the column
    ``structure_field`` or ``title_field``. Records end with ``$$$$``, which the last one may leave out.
    """

    sparse = True

    def __init__(self, source: Source, compression: str) -> None:
        self._source = source
        self._compression = compression

    def columns(self) -> list[str]:
        return [STRUCTURE, TITLE]

    def survey(self, stop: int | None) -> Survey:
        names: dict[str, None] = dict.fromkeys(self.columns())
        rows = 0
        for record in self._records():
            names.update(dict.fromkeys(_fields(_parts(record)[1])))
            rows += 1
            if stop is not None and rows > stop:
                break
        return Survey(list(names), rows)

    def row_bytes(self, columns: Sequence[str]) -> int:
        return 8_192

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[pd.DataFrame]:
        records = self._records()
        while piece := list(islice(records, size)):
            cells: dict[str, list[str | None]] = {name: [] for name in columns}
            for record in piece:
                structure, data = _parts(record)
                row = {STRUCTURE: structure, TITLE: structure.split("\n", 1)[0].strip(), **_fields(data)}
                for name, column in cells.items():
                    column.append(row.get(name) or None)
            yield pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in cells.items()})

    def tables(self, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        return map(text_table, self.chunks(columns, size))

    def _records(self) -> Iterator[str]:
        with open_plain(self._source, self._compression) as file:
            rest = b""
            while block := file.read(_BLOCK_BYTES):
                # What stands behind the last complete line `$$$$` is looked at again with the next block.
                *records, rest = _RECORD_END.split(rest + block)
                yield from map(_decode, records)
                if len(rest) > _LARGEST_RECORD:
                    raise GraphiumError(
                        f"{self._source.address!r} has no line '$$$$' in {len(rest):,} bytes; give an SDF file"
                    )
        *records, rest = _RECORD_END.split(rest + b"\n")
        yield from map(_decode, records)
        if rest.strip():
            record = _decode(rest)
            if not _MOLBLOCK_END.search(record) or _parts(record)[1].strip():
                raise EOFError("the last record has no line '$$$$'")
            yield record


def _decode(record: bytes) -> str:
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError:
        # Older programs write names in this encoding; it can read any byte.
        text = record.decode("latin-1")
    return text.replace("\r\n", "\n")


def _parts(record: str) -> tuple[str, str]:
    """The structure of a record and what follows it."""
    end = _MOLBLOCK_END.search(record)
    if end is not None:
        structure = record[: end.end()]
        return structure if structure.endswith("\n") else structure + "\n", record[end.end() :]
    first = _FIELD.search(record)
    return (record, "") if first is None else (record[: first.start()], record[first.start() :])


def _fields(data: str) -> dict[str, str]:
    found = {}
    for name, value in _FIELD.findall(data):
        name = name.strip()
        found[f"{name}_field" if name in (STRUCTURE, TITLE) else name] = value.rstrip("\n")
    return found
