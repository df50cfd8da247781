"""Tables of molecules with new columns: read in chunks, written so that a kill costs one chunk.

The work on one output lies in a folder ``<output>.part`` beside it: a chunk is complete and checksummed there, or it
is made again, and the output appears in one step when all of them are. The same command goes on where it was stopped,
and what it writes does not show that it was.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from graphium.data.store.chunks import Chunk, Singly, read_chunk, run_chunks
from graphium.data.store.columns import disk_errors
from graphium.data.store.progress import progress_bar
from graphium.data.store.stages import DEADLY
from graphium.data.store.work import content_key, locked_work
from graphium.errors import GraphiumError
from graphium.messages import tell
from graphium.models.tables.input_tables import InputTable, Layout
from graphium.models.tables.output_formats import CsvFormat, Format, find_format
from graphium.models.tables.prediction_columns import OK, STATUS

# Raise when the same input and options give other files.
_VERSION = 1
# Fixed, whatever the number of processes: chunk borders may show in the last digits.
CHUNK_ROWS = 4096


class Maker(Protocol):
    """What makes new columns of molecules; can be sent to another process."""

    @property
    def schema(self) -> pa.Schema:
        """The new columns; the last one is ``status``, ``ok`` or the reason why a row has no values."""
        ...

    @property
    def key(self) -> str:
        """Hash of all that the columns depend on beside the molecules."""
        ...

    def make(self, texts: Sequence[str | None], number: int) -> pa.Table:
        """The new columns of some rows; ``number`` counts the pieces of work."""
        ...


def write_table(
    table: InputTable,
    output: str | Path,
    maker: Maker,
    *,
    form: Format | None = None,
    n_jobs: int = 1,
    overwrite: bool = False,
    progress: bool = True,
    verbs: tuple[str, str] = ("predicting", "predicted"),
) -> dict[str, int]:
    """Write a table with new columns.

    Rows keep their order and their number. What an interrupted call with the same input, maker and format left is
    not computed again; what one with others left is thrown away, and a sentence says so.

    Args:
        table: The molecules and the columns that are kept.
        output: CSV, CSV.GZ or Parquet, by its suffix; ``-`` is CSV to stdout, which cannot go on after a kill.
        maker: Makes the new columns.
        form: How the output is written; None goes by its suffix.
        n_jobs: Processes; -1 takes all cores.
        overwrite: Replace an output that exists.
        progress: Show a progress bar on stderr.
        verbs: What the bar says.

    Returns:
        ``{"rows": ..., "failures": ...}``.

    Raises:
        GraphiumError: an output that exists or cannot be written, a full disk, a table that cannot be read.
    """
    n_jobs = (os.cpu_count() or 1) if n_jobs == -1 else n_jobs
    if n_jobs < 1:
        raise GraphiumError(f"jobs is {n_jobs}; give a number of processes of at least 1, or -1 for all cores")
    if str(output) == "-":
        return _stream(table, maker)
    output = Path(output)
    form = form or find_format(output)
    check_place(output, overwrite)
    if table.reads(output):
        raise GraphiumError(f"the output {str(output)!r} is the input; give another path")
    layout = table.layout(typed=form.is_typed)
    schema = _joined(layout.schema, maker.schema)
    key = content_key(_VERSION, table.key, layout.smiles, schema.to_string(), maker.key, form.suffix)
    total = {"rows": 0, "failures": 0}

    def count(about: Any) -> None:
        total["rows"] += about["rows"]
        total["failures"] += about["failures"]
        advance(0, about["failures"])

    with (
        progress_bar(table.name, progress, verbs) as bar,
        locked_work(output.parent, output.name, bar.say) as work,
    ):
        chunks = _begin(work, key, table.num_rows)
        advance = bar("molecules", table.num_rows)
        paths: list[Path] = []

        def jobs() -> Iterator[tuple[Path, int, tuple[Any, ...]]]:
            for first, cells in table.chunks(CHUNK_ROWS):
                paths.append(chunks / f"{first:012d}.chunk")
                yield paths[-1], cells.num_rows, (first // CHUNK_ROWS, cells)

        run_chunks(
            jobs(),
            _chunk,
            (maker, form, layout),
            n_jobs=n_jobs,
            advance=advance,
            finished=count,
            singly=Singly(_each_row, _without_rows),
        )
        draft = work / f"whole{form.suffix}"
        with disk_errors(output):
            form.join(draft, schema, (read_chunk(path).columns["data"].data for path in paths))
            os.replace(draft, output)
    return total


def check_output(output: str | Path, overwrite: bool = False) -> None:
    """Judge an output before any work is done for it.

    Raises:
        GraphiumError: an unknown suffix, a folder that does not exist, a file that does.
    """
    if str(output) != "-":
        find_format(Path(output))
        check_place(output, overwrite)


def check_place(output: str | Path, overwrite: bool = False) -> None:
    """The same for an output of any suffix."""
    output = Path(output)
    if not output.parent.is_dir():
        raise GraphiumError(f"the folder {str(output.parent)!r} of the output does not exist; make it first")
    if output.is_dir():
        raise GraphiumError(f"the output {str(output)!r} is a folder; give the path of a file")
    if output.exists() and not overwrite:
        raise GraphiumError(f"the output {str(output)!r} exists; give another path, or say --overwrite to replace it")


def _begin(work: Path, key: str, rows: int) -> Path:
    """The folder of the chunks of this work; what other work left is removed."""
    chunks = work / f"chunks-{key}"
    others = [path for path in work.glob("chunks-*") if path != chunks]
    if others:
        tell(["the input or the options are not those of the work that was interrupted; beginning anew"])
    for path in others:
        shutil.rmtree(path)
    with disk_errors(chunks):
        chunks.mkdir(exist_ok=True)
    if finished := len(list(chunks.glob("*.chunk"))):
        tell(
            [f"going on where an interrupted run was: {min(finished * CHUNK_ROWS, rows):,} of {rows:,} rows are there"]
        )
    return chunks


def _chunk(
    maker: Maker, form: Format, layout: Layout, number: int, cells: pa.Table, deadly: Sequence[int] = ()
) -> Chunk:
    """The encoded lines of some rows; ``deadly``: places of rows that are not read because they end the process."""
    lines = _lines(maker, layout, number, cells, deadly)
    failures = lines.num_rows - lines[STATUS].to_pylist().count(OK)
    data = np.frombuffer(form.encode(lines), np.uint8)
    return Chunk({"data": data}, {"rows": lines.num_rows, "failures": failures})


def _lines(maker: Maker, layout: Layout, number: int, cells: pa.Table, deadly: Sequence[int]) -> pa.Table:
    """The columns that are kept and the new ones."""
    texts = layout.texts(cells)
    for place in deadly:
        texts[place] = None
    made = maker.make(texts, number)
    if deadly:
        status = made[STATUS].to_pylist()
        for place in deadly:
            status[place] = DEADLY
        made = made.set_column(made.schema.get_field_index(STATUS), STATUS, pa.array(status, pa.string()))
    return pa.Table.from_arrays([*layout.columns(cells), *made.columns], schema=_joined(layout.schema, made.schema))


def _joined(first: pa.Schema, second: pa.Schema) -> pa.Schema:
    return pa.schema([*first, *second])


def _each_row(arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    number, cells = arguments
    return [(number, cells.slice(place, 1)) for place in range(cells.num_rows)]


def _without_rows(arguments: tuple[Any, ...], places: Sequence[int]) -> tuple[Any, ...]:
    return *arguments, places


def _stream(table: InputTable, maker: Maker) -> dict[str, int]:
    """Write CSV to stdout, chunk by chunk."""
    form = CsvFormat()
    layout = table.layout(typed=False)
    total = {"rows": 0, "failures": 0}
    out = sys.stdout.buffer
    try:
        out.write(form.begin(_joined(layout.schema, maker.schema)))
        for first, cells in table.chunks(CHUNK_ROWS):
            chunk = _chunk(maker, form, layout, first // CHUNK_ROWS, cells)
            out.write(chunk.columns["data"].data)
            out.flush()
            total = {name: total[name] + chunk.about[name] for name in total}
    except BrokenPipeError:
        # Whoever reads has seen enough; what Python would flush at its end has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return total
