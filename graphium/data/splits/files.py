"""Split files: row numbers of every part, read and written piece by piece."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from graphium.data.splits.context import AT_ONCE
from graphium.data.store.columns import disk_errors
from graphium.errors import GraphiumError
from graphium.types import PARTS

# Endings that a split file may have, tried in this order where the configuration gives none.
SPLIT_SUFFIXES = (".pt", ".csv", ".csv.gz", ".parquet")
SPELLINGS = {
    **{name: name for name in PARTS},
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}


def read_split(path: Path, num_rows: int, *, limited: bool = False) -> np.ndarray:
    """Read the part of every row from a file of row numbers, which count from 0.

    Args:
        path: ``.csv``, ``.csv.gz``, ``.parquet`` (columns) or ``.pt`` (keys, read without running code):
            ``train``, ``val``, ``test`` and ``test_seen``, of which only ``train`` must be there.
        num_rows: rows of the table.
        limited: row numbers beyond the table are those that the limit cut off.

    Returns:
        int8 ``[num_rows]``: index in ``types.PARTS``, -1 in no part.

    Raises:
        GraphiumError: a file of another form, a cell that is no row number, one out of range or in two parts.
    """
    parts = np.full(num_rows, -1, dtype=np.int8)
    for part, rows in _row_numbers(path):
        _assign(parts, part, rows, path.name, limited)
    return parts


def write_split(path: Path, parts: np.ndarray) -> None:
    """Write row numbers, one column a part, as CSV or (``.parquet``) Parquet; whole or not at all.

    A part that no row is in has an empty column; ``test_seen`` has none then.
    """
    names = [name for code, name in enumerate(PARTS) if name != "test_seen" or (parts == code).any()]
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            schema = pa.schema([(name, pa.int64()) for name in names])
            with pq.ParquetWriter(unfinished, schema) as writer:
                for frame in _columns(parts, names):
                    writer.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False))
        else:
            for number, frame in enumerate(_columns(parts, names)):
                frame.to_csv(unfinished, index=False, header=number == 0, mode="w" if number == 0 else "a")
        unfinished.replace(path)


def _columns(parts: np.ndarray, names: list[str]) -> Iterator[pd.DataFrame]:
    """Row numbers of every part side by side, some lines at a time, first an empty frame."""
    nothing = np.empty(0, np.int64)
    pieces = zip_longest(*(_members(parts, PARTS.index(name)) for name in names), fillvalue=nothing)
    for columns in chain([(nothing,) * len(names)], pieces):
        lines = range(max(map(len, columns)))
        numbers = {name: pd.Series(rows, dtype="Int64") for name, rows in zip(names, columns, strict=True)}
        yield pd.DataFrame({name: rows.reindex(lines) for name, rows in numbers.items()})


def _members(parts: np.ndarray, code: int) -> Iterator[np.ndarray]:
    """The rows of one part, int64, in pieces of ``AT_ONCE``, the last one shorter."""
    waiting = np.empty(0, np.int64)
    for start in range(0, len(parts), AT_ONCE):
        waiting = np.concatenate([waiting, start + np.flatnonzero(parts[start : start + AT_ONCE] == code)])
        if len(waiting) >= AT_ONCE:
            yield waiting[:AT_ONCE]
            waiting = waiting[AT_ONCE:]
    if len(waiting):
        yield waiting


def _row_numbers(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(part, row numbers) of a split file, a table in pieces."""
    if path.suffix.lower() == ".pt":
        raw = _load_torch(path)
        part_of = _parts(raw, path)
        yield from ((part, _whole(raw[name], path, name)) for name, part in part_of.items())
        return
    from graphium.data.tables.readers import Table

    table = Table(path)
    part_of = _parts(table.columns, path)
    for _, frame in table.chunks(list(part_of), AT_ONCE):
        yield from ((part, _whole(frame[name], path, name)) for name, part in part_of.items())


def _parts(names: Any, path: Path) -> dict[str, str]:
    """Column or key -> part, in the order of the parts."""
    found = {name: SPELLINGS[name.lower()] for name in names if name.lower() in SPELLINGS}
    if "train" not in found.values():
        raise GraphiumError(f"the split file {path.name!r} has no part `train`; it needs {', '.join(PARTS)}")
    for part in PARTS:
        both = [name for name, known in found.items() if known == part]
        if len(both) > 1:
            raise GraphiumError(f"the split file {path.name!r} has {' and '.join(both)} for part {part!r}; keep one")
    return dict(sorted(found.items(), key=lambda item: PARTS.index(item[1])))


def _assign(parts: np.ndarray, part: str, rows: np.ndarray, name: str, limited: bool) -> None:
    code, num_rows = PARTS.index(part), len(parts)
    outside = (rows < 0) | ((rows >= num_rows) & (not limited))
    if outside.any():
        raise GraphiumError(
            f"split file {name!r}: row {rows[outside][0]} in part {part!r} is out of range, the table has "
            f"{num_rows} rows (0 to {num_rows - 1}); use the split that was made for this table"
        )
    rows = rows[rows < num_rows]
    taken = rows[(parts[rows] >= 0) & (parts[rows] != code)]
    if len(taken):
        raise GraphiumError(
            f"split file {name!r}: row {taken[0]} is in two parts, {PARTS[parts[taken[0]]]!r} and {part!r}; "
            "leave it in one of them"
        )
    parts[rows] = code


def _load_torch(path: Path) -> Mapping[str, Any]:
    import pickle

    import torch

    # Split files in the wild hold lists, tensors or numpy arrays; nothing else is let in.
    numpy_parts: list[Any] = [np.ndarray, np.dtype, type(np.dtype(np.int64)), type(np.dtype(np.int32))]
    makers = {"_reconstruct": np.empty(0).__reduce__()[0], "scalar": np.int64(0).__reduce__()[0]}
    for home in ("numpy.core.multiarray", "numpy._core.multiarray"):
        numpy_parts += [(maker, f"{home}.{name}") for name, maker in makers.items()]
    try:
        with torch.serialization.safe_globals(numpy_parts):
            raw = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GraphiumError(
            f"cannot read the split file {str(path)!r} ({first}); it must be a torch file of row numbers per part"
        ) from None
    if not isinstance(raw, Mapping):
        what = type(raw).__name__
        raise GraphiumError(f"the split file {path.name!r} holds a {what}; it must map parts to row numbers")
    return {str(key): value for key, value in raw.items()}


def _whole(values: Any, path: Path, part: str) -> np.ndarray:
    place = f"split file {path.name!r}, part {part!r}"
    try:
        number = np.asarray(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise GraphiumError(f"{place} holds something that is not a row number; use whole numbers") from None
    number = number[~np.isnan(number)]
    wrong = number[number != np.round(number)]
    if len(wrong):
        raise GraphiumError(f"{place}: {wrong[0]:g} is not a row number; use whole numbers")
    return number.astype(np.int64)
