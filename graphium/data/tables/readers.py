"""Tables, read in chunks and never whole."""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from graphium.config import cache_dir
from graphium.data.tables.files import Survey
from graphium.data.tables.formats import (
    exact_chunks,
    exact_tables,
    open_reader,
    plain_errors,
    rows_within,
    split_ending,
)
from graphium.data.tables.memo import Memo
from graphium.data.tables.sources import Source, find_sources
from graphium.errors import GraphiumError, suggest

_SURVEY_VERSION = 1
_MOST_ROWS = 65_536
# What a chunk of rows may take in memory where the caller leaves its size open.
_CHUNK_BYTES = 1 << 26


class Table:
    """A table of one file or of several whose rows follow each other, read in chunks and never whole.

    CSV or TSV, SDF, SMI, plain or compressed (gz, bz2, zip), and Parquet. ``limit`` uses the first N rows.

    >>> table = Table("molecules.csv")  # doctest: +SKIP
    >>> [(first, len(frame)) for first, frame in table.chunks(["smiles"], size=1000)]  # doctest: +SKIP
    [(0, 1000), (1000, 128)]

    Raises:
        GraphiumError: a file does not exist, is empty, truncated, or of an unknown format.
    """

    def __init__(
        self,
        source: Path | str | Iterable[Path | str],
        limit: int | None = None,
        *,
        extra: Path | None = None,
        memo: Memo | None = None,
    ) -> None:
        """Find the files; nothing is read yet.

        Args:
            source: A path, an address, a pattern such as ``shard_*.parquet``, or a list of these.
            limit: Use the first N rows.
            extra: A Parquet file with more columns of the same rows, e.g. computed labels.
            memo: Where counts and checksums are kept for the next run; None is in the cache.
        """
        if limit is not None and limit < 1:
            raise GraphiumError(f"limit is {limit}; give the number of rows to use, at least 1, or leave it out")
        self.memo = memo if memo is not None else Memo(cache_dir() / "memo")
        self.limit = limit
        self._shards = [_Shard(file, self.memo) for file in find_sources(source)]
        self._extras: tuple[Table, ...] = () if extra is None else (Table(extra, memo=self.memo),)
        one, more = self._shards[0].source.name, len(self._shards) - 1
        #: What a sentence calls the table.
        self.name = f"{one} and {more} more" if more else one
        if isinstance(source, (str, Path)) and more:
            self.name = Path(source).name

    @property
    def folder(self) -> Path | None:
        """The folder of the table, None where it is remote."""
        local = self._shards[0].source.local
        return None if local is None else local.parent

    @property
    def local_files(self) -> list[Path]:
        """Those of the table's files that are on this machine."""
        return [shard.source.local for shard in self._shards if shard.source.local is not None]

    @cached_property
    def columns(self) -> list[str]:
        """Names of the columns that every file has, in the first one's order, then those of the extra files."""
        own = [name for name in self._lacking if not self._lacking[name]]
        return list(dict.fromkeys([*own, *(name for extra in self._extras for name in extra.columns)]))

    @property
    def partial_columns(self) -> dict[str, str]:
        """Columns that only some of the files have -> a file without it; they cannot be used."""
        return {name: lacking for name, lacking in self._lacking.items() if lacking}

    @property
    def holds_structures(self) -> bool:
        """Whether the table is SDF: its column ``structure`` holds the molecules."""
        return all(shard.sparse for shard in self._shards)

    @property
    def num_rows(self) -> int:
        """Rows without the header, at most ``limit``."""
        return self._count[0]

    @property
    def limited(self) -> bool:
        """Whether the table goes on after the rows that are used."""
        return self._count[1]

    @cached_property
    def key(self) -> str:
        """SHA-256 of the content (and of the limit and the extra columns, where they make a difference)."""
        parts = [[shard.digest, *split_ending(shard.source.name)] for shard in self._shards]
        limit = self.limit if self.limited else None
        return hashlib.sha256(json.dumps([parts, limit, *(extra.key for extra in self._extras)]).encode()).hexdigest()

    def with_extra(self, path: Path) -> Table:
        """The same table with more columns of the same rows, from a Parquet file; they go before those known."""
        return self._changed(extras=(Table(path, memo=self.memo), *self._extras))

    def with_limit(self, limit: int | None) -> Table:
        """The same table, of which the first ``limit`` rows are used."""
        return self._changed(limit=limit)

    def rows_at_once(self, columns: Sequence[str]) -> int:
        """How many rows of some columns fit comfortably into memory, whatever their cells hold."""
        own, extra = self._by_table(columns)
        cost = [shard.row_bytes(own) for shard in self._shards[:1]]
        cost += [table._shards[0].row_bytes(names) for table, names in extra]
        return rows_within(_CHUNK_BYTES, sum(cost), _MOST_ROWS)

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """Yield (first row, frame of ``size`` rows, the last shorter); the frame's index counts the table's rows.

        The rows of a chunk do not depend on how the files are laid out. List columns of Parquet come as
        Arrow lists.

        Raises:
            GraphiumError: a column is missing, or a file cannot be read to its end.
        """
        columns = list(dict.fromkeys(columns))
        self.require(columns)
        own, extra = self._by_table(columns)
        more = [(table, table.chunks(names, size)) for table, names in extra]
        first = 0
        for frame in exact_chunks(self._frames(own, size), size):
            if self.limit is not None and first + len(frame) > self.limit:
                frame = frame.iloc[: self.limit - first]
            if not len(frame):
                break
            frame = frame[own].set_axis(pd.RangeIndex(first, first + len(frame)), axis=0)
            if more:
                frame = pd.concat([frame, *(_beside(frame, *one) for one in more)], axis=1)[columns]
            yield first, frame
            first += len(frame)

    def cells(self, columns: Sequence[str], size: int) -> Iterator[tuple[int, pa.Table]]:
        """Yield (first row, Arrow table of ``size`` rows, the last shorter) with the cells as the files have them.

        Text stays text, an empty cell has no value, and Parquet keeps its types. For the files of a table alone,
        without a limit or extra columns.

        Raises:
            GraphiumError: a column is missing, its types differ between files, or a file cannot be read to its end.
        """
        columns = list(dict.fromkeys(columns))
        self.require(columns)
        first = 0
        for table in exact_tables(self._tables(columns, size), size):
            yield first, table
            first += table.num_rows

    def column(self, name: str) -> pd.Series:
        """Return one whole column."""
        pieces = [frame[name] for _, frame in self.chunks([name], _MOST_ROWS)]
        return pd.concat(pieces) if pieces else pd.Series(dtype=object, name=name)

    def require(self, columns: Sequence[str]) -> None:
        """Raise a GraphiumError that names the first of ``columns`` that the table lacks."""
        for column in columns:
            if column in self.columns:
                continue
            if column in self.partial_columns:
                raise GraphiumError(
                    f"{self.partial_columns[column]} has no column {column!r}, and other files of {self.name} have it; "
                    "leave the column or the file out"
                )
            near = suggest(column, self.columns)
            raise GraphiumError(f"{self.name} has no column {column!r}; {near}{quoting(self.columns, column)}")

    @cached_property
    def _surveys(self) -> list[Survey]:
        """Surveys of the files, up to the one that the limit ends in."""
        found: list[Survey] = []
        rows = 0
        for shard in self._shards:
            found.append(shard.survey(None if self.limit is None else self.limit - rows))
            rows += found[-1].rows
            if self.limit is not None and rows > self.limit:
                break
        return found

    @cached_property
    def _count(self) -> tuple[int, bool]:
        total = sum(survey.rows for survey in self._surveys)
        return (self.limit, True) if self.limit is not None and total > self.limit else (total, False)

    @cached_property
    def _lacking(self) -> dict[str, str]:
        """Every column of the files -> the first file that lacks it, or an empty text."""
        # Any record of an SDF may lack a field, so all SDF files have the columns that one of them has.
        sparse: dict[str, None] = {}
        if any(shard.sparse for shard in self._shards):
            surveys = zip(self._shards, self._surveys, strict=False)
            sparse = dict.fromkeys(name for shard, survey in surveys if shard.sparse for name in survey.columns)
        headers = [(shard.source.name, sparse if shard.sparse else shard.header) for shard in self._shards]
        names = dict.fromkeys(name for _, header in headers for name in header)
        return {name: next((file for file, header in headers if name not in header), "") for name in names}

    def _frames(self, columns: Sequence[str], size: int) -> Iterator[pd.DataFrame]:
        for shard in self._shards:
            # A frame without columns would have no rows.
            yield from shard.chunks(columns or self._own_columns()[:1], size)

    def _tables(self, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        schema: pa.Schema | None = None
        for shard in self._shards:
            for table in shard.tables(columns, size):
                schema = schema or table.schema.remove_metadata()
                try:
                    yield table.select(schema.names).cast(schema)
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
                    raise GraphiumError(
                        f"columns of {shard.source.name} have other types than in the files before it ({error}); write "
                        "the files alike"
                    ) from None

    def _own_columns(self) -> list[str]:
        return [name for name in self._lacking if not self._lacking[name]]

    def _by_table(self, columns: Sequence[str]) -> tuple[list[str], list[tuple[Table, list[str]]]]:
        """Part columns into those of the table itself and those of each extra table that holds them."""
        left = list(columns)
        extra = []
        for table in self._extras:
            names = [name for name in left if name in table.columns]
            left = [name for name in left if name not in table.columns]
            if names:
                extra.append((table, names))
        return left, extra

    def _changed(self, **fields: object) -> Table:
        changed = copy.copy(self)
        kept = {
            name: value for name, value in vars(self).items() if not isinstance(vars(Table).get(name), cached_property)
        }
        changed.__dict__ = {**kept, **{f"_{name}" if name == "extras" else name: v for name, v in fields.items()}}
        return changed


class _Shard:
    """One file of a table, and what is known of it."""

    def __init__(self, source: Source, memo: Memo) -> None:
        self.source = source
        self._memo = memo
        self._reader = open_reader(source)
        self.sparse = self._reader.sparse

    @cached_property
    def digest(self) -> str:
        with plain_errors(self.source):
            return self.source.digest(self._memo)

    @cached_property
    def header(self) -> list[str]:
        with plain_errors(self.source):
            return self._reader.columns()

    def survey(self, stop: int | None) -> Survey:
        """Count the rows and find the columns, once per content; see :meth:`Reader.survey`."""
        key = ["survey", _SURVEY_VERSION, self.digest, *split_ending(self.source.name), stop]
        known = self._memo.get(key)
        if known is not None:
            return Survey(*known)
        with plain_errors(self.source):
            survey = self._reader.survey(stop)
        self._memo.put(key, [survey.columns, survey.rows])
        return survey

    def row_bytes(self, columns: Sequence[str]) -> int:
        with plain_errors(self.source):
            return self._reader.row_bytes(columns)

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[pd.DataFrame]:
        with plain_errors(self.source):
            yield from self._reader.chunks(columns, size)

    def tables(self, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        with plain_errors(self.source):
            yield from self._reader.tables(columns, size)


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


def shorten(cell: object) -> str:
    """Show a cell in an error sentence."""
    text = str(cell) if isinstance(cell, (int, float, np.number)) else repr(str(cell))
    return text if len(text) <= 60 else text[:57] + "..."


def _beside(frame: pd.DataFrame, table: Table, chunks: Iterator[tuple[int, pd.DataFrame]]) -> pd.DataFrame:
    """The next rows of an extra table, as many as ``frame`` has."""
    rows = next(chunks, (0, frame.iloc[:0]))[1].iloc[: len(frame)]
    if len(rows) < len(frame):
        raise GraphiumError(
            f"{table.name} has fewer rows than the table that it adds columns to; delete it and try again"
        )
    return rows
