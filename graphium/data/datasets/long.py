"""Labels in long form, one line per atom, bond or pair, gathered into lists: one row per molecule.

The lists come with lists of the numbers that they belong to (``y`` and ``y@atom``), see
:func:`graphium.data.tables.cells.index_columns`. They are written to a Parquet file in the cache, once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from graphium.data.datasets.dataset import LongForm
from graphium.data.datasets.infer import class_names, distinct_cells
from graphium.data.store.columns import disk_errors
from graphium.data.tables.cells import to_numbers, to_texts
from graphium.data.tables.readers import Table, shorten
from graphium.errors import GraphiumError
from graphium.patterns import match
from graphium.types import Level

LONG_VERSION = 2
_CHUNK = 262_144
# Molecules whose lines are held in memory at a time.
_PARTITION = 65_536
# Numbers of atoms and bonds are written as int32.
_LARGEST = np.iinfo(np.int32).max
_TYPE = {"": pa.float64(), "@atom": pa.int32(), "@bond": pa.int32(), "@first": pa.int32(), "@second": pa.int32()}
_LINE = np.dtype([("row", "<i8"), ("task", "<i4"), ("first", "<i4"), ("second", "<i4"), ("value", "<f8")])


def widen(
    table: Table, smiles: str, long: LongForm, long_table: Table | None, cache_dir: Path
) -> tuple[Table, str, str]:
    """Gather the lines of a table in long form into one row per molecule.

    Args:
        table: The dataset's own table: one row per molecule, or in long form itself.
        smiles: Its SMILES column.
        long: What the columns of the long form mean.
        long_table: The table in long form, None where it is ``table``.
        cache_dir: Folder for the result.

    Returns:
        A table with one row per molecule and the list columns, its SMILES column, and a sentence that
        says how many lines were read. Molecules of a table in long form come in the order of their first
        lines; the other cells of their rows are those of the first line.

    Raises:
        GraphiumError: a column that is missing, a number that is none, two rows with one key.
    """
    lines = long_table or table
    values, index = _value_columns(long, lines), long.numbers
    key = long.key if long_table is None else long.molecule_key or long.key
    lines.require([long.key, *values, *index, *([long.task] if long.task else [])])
    table.require([key])
    described = [LONG_VERSION, table.key, smiles, lines.key, asdict(long)]
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(cache_dir) / "long"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    rows, lists, about = (folder / f"{digest}{end}" for end in (".rows.parquet", ".lists.parquet", ".json"))
    if not about.is_file():
        with disk_errors(folder), TemporaryDirectory(dir=folder, prefix=f"{digest}.") as work:
            draft = Path(work)
            if long_table is None:
                _write_rows(table, long, [*values, *index, long.task], smiles, draft / "rows.parquet")
                os.replace(draft / "rows.parquet", rows)
            base = Table(rows) if long_table is None else table
            text = smiles if long_table is None else None
            said = _write_lists(base, key, lines, long, values, index, text, draft)
            os.replace(draft / "lists.parquet", lists)
            (draft / "about.json").write_text(json.dumps(said))
            os.replace(draft / "about.json", about)
    sentence = json.loads(about.read_text())
    return (Table(rows) if long_table is None else table).with_extra(lists), smiles, sentence


def level_of(long: LongForm) -> Level:
    """The level of the labels of a table in long form."""
    return "node" if long.atom is not None else "edge" if long.bond is not None else "nodepair"


def _value_columns(long: LongForm, lines: Table) -> list[str]:
    said = [long.values] if isinstance(long.values, str) else list(long.values)
    found = []
    for name in said:
        names = match(name, lines.columns)
        if not names:
            lines.require([name])
        found += [column for column in names if column not in found]
    return found


def _suffixes(long: LongForm) -> list[str]:
    if len(long.numbers) == 2:
        return ["@first", "@second"]
    return ["@atom"] if long.atom is not None else ["@bond"]


def _write_rows(table: Table, long: LongForm, leave_out: Sequence[str | None], smiles: str, path: Path) -> None:
    """Write the first line of every molecule of a table in long form, all cells as text."""
    columns = [name for name in table.columns if name not in leave_out or name in (smiles, long.key)]
    schema = pa.schema([(name, pa.string()) for name in columns])
    seen = np.empty(0, np.uint64)
    with pq.ParquetWriter(path, schema) as writer:
        for _, frame in table.chunks(columns, _CHUNK):
            keys = _hashes(frame[long.key], long.key)
            found, where = np.unique(keys, return_index=True)
            is_new = ~np.isin(found, seen)
            first = frame.iloc[np.sort(where[is_new])]
            cells = {}
            for name in columns:
                text, missing = to_texts(first[name])
                cells[name] = pa.array(text.tolist(), pa.string(), mask=missing)
            writer.write_table(pa.table(cells, schema=schema))
            seen = np.union1d(seen, found)


def _write_lists(
    base: Table,
    key: str,
    lines: Table,
    long: LongForm,
    values: Sequence[str],
    index: Sequence[str],
    text: str | None,
    draft: Path,
) -> str:
    """Write one row of lists per row of ``base``; returns the sentence that says what was read.

    ``text`` is the column in which every line writes its molecule again, None where only ``base`` does.
    """
    order, hashes = _lookup(base, key)
    spellings = None
    if text is not None:
        spellings = np.concatenate([_spellings(frame[text])[0] for _, frame in base.chunks([text], _CHUNK)])
    tasks = _task_names(lines, long, values)
    partitions = max(1, -(-base.num_rows // _PARTITION))
    read = unknown = 0
    with ExitStack() as stack:
        files = [stack.enter_context((draft / f"{number}.lines").open("wb")) for number in range(partitions)]
        columns = [long.key, *values, *index, *(name for name in (long.task, text) if name)]
        for first, frame in lines.chunks(columns, _CHUNK):
            place = np.searchsorted(hashes, wanted := _hashes(frame[long.key], long.key))
            is_known = hashes[np.minimum(place, len(hashes) - 1)] == wanted
            read, unknown = read + len(frame), unknown + int((~is_known).sum())
            row = order[np.minimum(place, len(order) - 1)]
            if text is not None and spellings is not None:
                _check_spelling(frame, long.key, text, spellings[row], lines)
            for piece in _records(frame, first, row, is_known, long, values, index, tasks, lines):
                part = piece["row"] // _PARTITION
                for number in np.unique(part).tolist():
                    files[number].write(piece[part == number].tobytes())
    suffixes = _suffixes(long)
    schema = pa.schema([(name + end, pa.list_(_TYPE[end])) for name in tasks for end in ("", *suffixes)])
    with pq.ParquetWriter(draft / "lists.parquet", schema) as writer:
        for number in range(partitions):
            start = number * _PARTITION
            stop = min(start + _PARTITION, base.num_rows)
            entries = np.fromfile(draft / f"{number}.lines", _LINE)
            writer.write_table(pa.table(_lists(entries, start, stop, tasks, suffixes), schema=schema))
    if read and unknown == read and not base.limited:
        raise GraphiumError(
            f"no line of {lines.name} is about a molecule of {base.name}: {long.key!r} holds "
            f"{shorten(frame[long.key].iloc[0])} there, and {key!r} {shorten(base.column(key).iloc[0])} here; "
            "name the columns that hold the same keys with long.key and long.molecule_key"
        )
    of = "" if long.path is None else f" of {lines.name}"
    said = f"{read:,} lines{of} in long form give {', '.join(list(tasks)[:20])} of {base.num_rows:,} molecules"
    return said + (f"; {unknown:,} lines are about molecules that are not among them" if unknown else "")


def _lookup(base: Table, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the table in the order of their keys' hashes, and these hashes, sorted."""
    found = [_hashes(frame[key], key) for _, frame in base.chunks([key], _CHUNK)]
    hashes = np.concatenate(found)
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    same = np.flatnonzero(hashes[1:] == hashes[:-1])
    if len(same):
        rows = sorted(order[same[0] : same[0] + 2].tolist())
        raise GraphiumError(
            f"rows {rows[0]} and {rows[1]} of {base.name} have the same {key!r}, so that lines in long form cannot "
            "be told apart; name a column that differs with long.molecule_key"
        )
    return order, hashes


def _spellings(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """64-bit hash of every text, uint64, and whether the cell is empty."""
    text, missing = to_texts(column)
    return pd.util.hash_array(text.to_numpy(object), categorize=False), missing


def _check_spelling(frame: pd.DataFrame, key: str, text: str, first: np.ndarray, lines: Table) -> None:
    """Refuse lines that write their molecule otherwise than its first line: their atoms have other numbers."""
    own, missing = _spellings(frame[text])
    other = np.flatnonzero((own != first) & ~missing)
    if len(other):
        place = int(other[0])
        raise GraphiumError(
            f"{lines.name}, row {frame.index[place]}: {shorten(frame[text].iloc[place])} is not the text of the first "
            f"line with {key!r} {shorten(frame[key].iloc[place])}, and atoms count in the order of the text; write a "
            "molecule in one way in all of its lines, or name a key that tells the ways apart with long.key"
        )


def _task_names(lines: Table, long: LongForm, values: Sequence[str]) -> dict[str, int]:
    """Name of every list column -> its number: value columns, each once per cell of the task column."""
    if long.task is None:
        return {name: number for number, name in enumerate(values)}
    cells = distinct_cells(lines, [long.task])
    names = [f"{name}_{cell}" for name in values for cell in class_names(cells) if cell in cells]
    return {name: number for number, name in enumerate(names)}


def _records(
    frame: pd.DataFrame,
    first_line: int,
    row: np.ndarray,
    is_known: np.ndarray,
    long: LongForm,
    values: Sequence[str],
    index: Sequence[str],
    tasks: dict[str, int],
    lines: Table,
) -> Iterator[np.ndarray]:
    """The labels of some lines as records, one value column after another."""
    numbers = [_whole(frame[name], long.base, f"{lines.name}, column {name!r}") for name in index]
    kind = to_texts(frame[long.task])[0] if long.task is not None else None
    for name in values:
        value, strange = to_numbers(frame[name])
        if len(strange):
            cell = shorten(frame[name].iloc[strange[0]])
            raise GraphiumError(
                f"{lines.name}, column {name!r}, row {first_line + strange[0]}: {cell} is not a number; mend the cell"
            )
        keep = is_known & ~np.isnan(value)
        entries = np.empty(int(keep.sum()), _LINE)
        entries["row"], entries["value"] = row[keep], value[keep]
        entries["first"], entries["second"] = numbers[0][keep], numbers[-1][keep]
        if kind is None:
            entries["task"] = tasks[name]
        else:
            entries["task"] = (name + "_" + kind[keep]).map(tasks).fillna(-1).to_numpy(np.int32)
        yield entries[entries["task"] >= 0]


def _whole(column: pd.Series, base: int, place: str) -> np.ndarray:
    """Numbers of atoms or bonds, counted from 0."""
    number, strange = to_numbers(column)
    wrong = np.isnan(number) | (number != np.round(number)) | (number < base) | (number - base > _LARGEST)
    wrong[strange] = True
    if wrong.any():
        where = int(np.argmax(wrong))
        raise GraphiumError(
            f"{place}, row {column.index[where]}: {shorten(column.iloc[where])} is not a number of an atom or bond "
            f"(they count from {base}); mend the cell or set long.base"
        )
    return number.astype(np.int64) - base


def _lists(
    entries: np.ndarray, start: int, stop: int, tasks: dict[str, int], suffixes: Sequence[str]
) -> dict[str, pa.Array]:
    """List columns of the rows ``start:stop``; a row without lines has no list."""
    entries = entries[np.lexsort((entries["second"], entries["first"], entries["row"], entries["task"]))]
    edges = np.searchsorted(entries["task"], np.arange(len(tasks) + 1))
    columns: dict[str, pa.Array] = {}
    for name, number in tasks.items():
        mine = entries[edges[number] : edges[number + 1]]
        ptr = np.searchsorted(mine["row"], np.arange(start, stop + 1)).astype(np.int32)
        # An Arrow list is null where its offset is null.
        offsets = pa.array(ptr, mask=np.append(np.diff(ptr) == 0, False))
        fields = {"": "value", "@first": "first", "@second": "second", "@atom": "first", "@bond": "first"}
        for end in ("", *suffixes):
            flat = pa.array(np.ascontiguousarray(mine[fields[end]]))
            columns[name + end] = pa.ListArray.from_arrays(offsets, flat)
    return columns


def _hashes(column: pd.Series, name: str) -> np.ndarray:
    """64-bit hash of every key, uint64: the same for 7, 7.0, "7" and "007", as readers of tables take them."""
    text, missing = to_texts(column)
    if missing.any():
        row = column.index[int(np.argmax(missing))]
        raise GraphiumError(f"column {name!r}, row {row}: the key of the long form is empty; mend the cell")
    if not pd.api.types.is_numeric_dtype(column.dtype):
        text = text.str.replace(r"^0*(\d+)(?:\.0*)?$", r"\1", regex=True)
    return pd.util.hash_array(text.to_numpy(object), categorize=False)
