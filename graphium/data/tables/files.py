"""One file of a table: what its reader can do, and its content without compression."""

from __future__ import annotations

import bz2
import gzip
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Protocol

import pandas as pd
import pyarrow as pa

from graphium.data.tables.sources import Source
from graphium.errors import GraphiumError


@dataclass(frozen=True)
class Survey:
    """What one pass over a file found; ``rows`` is larger than asked for where the pass ended early."""

    columns: list[str]
    rows: int


class Reader(Protocol):
    """One file of a table.

    ``sparse``: a row may lack any column, as in SDF, and the columns are known after a survey only.
    """

    sparse: bool

    def columns(self) -> list[str]:
        """Names of the columns (those that every row has, where the reader is ``sparse``)."""
        ...

    def survey(self, stop: int | None) -> Survey:
        """Count the rows, reading every field of every row; end where more than ``stop`` were seen."""
        ...

    def row_bytes(self, columns: Sequence[str]) -> int:
        """Roughly what a row of these columns takes in memory."""
        ...

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[pd.DataFrame]:
        """Frames of ``size`` rows, the last one shorter."""
        ...

    def tables(self, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        """The cells as they are, some rows at a time: text of the file stays text, an empty cell has no value."""
        ...


@contextmanager
def open_plain(source: Source, compression: str) -> Iterator[IO[bytes]]:
    """Open a file and take its compression off."""
    with source.open() as raw:
        if compression == ".gz":
            with gzip.open(raw) as unpacked:
                yield unpacked  # type: ignore[misc]
        elif compression == ".bz2":
            with bz2.open(raw) as unpacked:
                yield unpacked
        elif compression == ".zip":
            with zipfile.ZipFile(raw) as archive, archive.open(_only_member(archive, source)) as file:
                yield file
        else:
            yield raw


def text_table(frame: pd.DataFrame) -> pa.Table:
    """A frame of texts as an Arrow table; a missing cell has no value."""
    columns = {str(name): pa.array(frame[name], pa.large_string(), from_pandas=True) for name in frame.columns}
    return pa.table(columns)


def _only_member(archive: zipfile.ZipFile, source: Source) -> str:
    members = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(members) != 1:
        raise GraphiumError(
            f"{source.address!r} holds {len(members)} files; give an archive of one file, or unpack it and name a file"
        )
    return members[0]
