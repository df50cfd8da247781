"""Splits: which part (train, val, test, test_seen) every row of a table belongs to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from graphium.data.columns import disk_errors
from graphium.errors import GraphiumError
from graphium.registry import register
from graphium.types import PARTS

# Endings that a split file may have, tried in this order where the configuration gives none.
SPLIT_SUFFIXES = (".pt", ".csv", ".csv.gz", ".parquet")
_SPELLINGS = {
    **{name: name for name in PARTS},
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}


@dataclass(frozen=True)
class SplitContext:
    """What a split may look at.

    ``row_molecule`` int64 ``[rows]``: molecule of a row, -1 for a failed row. ``id`` uint64
    ``[molecules, 2]``. ``column`` returns a column of the table; ``locate`` finds (or downloads) a file:
    ``locate(path, url=..., sha256=..., suffixes=...)``. ``limited``: the table goes on after the rows
    used, so a split file may name rows beyond them.
    """

    num_rows: int
    row_molecule: np.ndarray
    id: np.ndarray
    column: Callable[[str], pd.Series]
    locate: Callable[..., Path]
    dataset: str
    limited: bool = False


@register("split", "file")
@dataclass(frozen=True)
class FileSplit:
    """Row numbers from a file: columns or keys ``train``, ``val``, ``test`` and ``test_seen``.

    ``path``: a ``.pt``, ``.csv``, ``.csv.gz`` or ``.parquet`` file; without an ending the first of these
    that exists. ``url``: where it is fetched from without a ``data_dir``. Row numbers count from 0.
    """

    path: str
    url: str | None = None
    sha256: str | None = None

    def __call__(self, context: SplitContext) -> np.ndarray:
        file = context.locate(self.path, url=self.url, sha256=self.sha256, suffixes=SPLIT_SUFFIXES)
        return assign(read_indices(file), context.num_rows, file.name, limited=context.limited)

    def check(self, context: SplitContext) -> None:
        """Raise what drawing the split would raise, before the table is prepared."""
        self(context)


@register("split", "column")
@dataclass(frozen=True)
class ColumnSplit:
    """A column of the table that names the part of every row; an empty cell is in no part.

    ``names``: the column's own words, e.g. ``{train: fold_1}``; common spellings are known.
    ``val_fraction``: share of the training molecules drawn into val, where the column has no val part.
    """

    column: str
    names: dict[str, str | int] = field(default_factory=dict)
    val_fraction: float = 0.0
    seed: int = 0

    @property
    def computed(self) -> bool:
        """Whether something is drawn, so that the result should be written down."""
        return self.val_fraction > 0

    def check(self, context: SplitContext) -> None:
        """Raise what drawing the split would raise, before the table is prepared."""
        _check_fractions(context.dataset, val_fraction=self.val_fraction)
        self._parts(context)

    def __call__(self, context: SplitContext) -> np.ndarray:
        self.check(context)
        parts = self._parts(context)
        if self.val_fraction:
            val = PARTS.index("val")
            if (parts == val).any():
                raise GraphiumError(
                    f"dataset {context.dataset!r}: column {self.column!r} has a val part already; "
                    "leave out split.val_fraction"
                )
            train = (parts == PARTS.index("train")) & (context.row_molecule >= 0)
            molecules = _shuffled(context, context.row_molecule[train], self.seed)
            many = _counts(len(molecules), (1 - self.val_fraction, self.val_fraction))[1]
            parts[train & np.isin(context.row_molecule, molecules[:many])] = val
        return parts

    def _parts(self, context: SplitContext) -> np.ndarray:
        word = context.column(self.column)
        missing = word.isna().to_numpy(dtype=bool)
        text = word.astype(object).where(~missing, "").astype(str).str.strip()
        missing = missing | (text == "").to_numpy(dtype=bool)
        known = {**_SPELLINGS, **{str(theirs).lower(): ours for ours, theirs in self.names.items()}}
        strange = set(self.names) - set(PARTS)
        if strange:
            raise GraphiumError(f"split.names has {strange.pop()!r}; its keys are {', '.join(PARTS)}")
        code = text.str.lower().map({theirs: PARTS.index(ours) for theirs, ours in known.items()})
        wrong = np.flatnonzero(code.isna().to_numpy() & ~missing)
        if len(wrong):
            raise GraphiumError(
                f"dataset {context.dataset!r}, split column {self.column!r}, row {wrong[0]}: "
                f"{text.iloc[wrong[0]]!r} is not a part; use {', '.join(PARTS)} or say it in split.names, "
                f"e.g. split.names={{train: {text.iloc[wrong[0]]}}}"
            )
        return code.fillna(-1).to_numpy(dtype=np.int8, copy=True)


@register("split", "random")
@dataclass(frozen=True)
class RandomSplit:
    """Molecules drawn at random; rows of the same molecule stay together.

    Drawn over molecule ids in sorted order, so that the order of the rows does not matter. A part with
    a share above 0 gets at least one molecule while there are enough. The draw has a ``seed`` of its
    own: runs with other seeds keep the same test molecules.
    """

    train: float = 0.8
    val: float = 0.1
    test: float = 0.1
    seed: int = 0

    computed = True

    def check(self, context: SplitContext) -> None:
        """Raise what drawing the split would raise, before the table is prepared."""
        shares = (self.train, self.val, self.test)
        _check_fractions(context.dataset, train=self.train, val=self.val, test=self.test)
        if not 0 < sum(shares) <= 1 + 1e-9:
            raise GraphiumError(
                f"dataset {context.dataset!r}: the shares of split random add up to {sum(shares):g}; "
                "train, val and test together are at most 1"
            )

    def __call__(self, context: SplitContext) -> np.ndarray:
        self.check(context)
        shares = (self.train, self.val, self.test)
        used = context.row_molecule >= 0
        order = _shuffled(context, context.row_molecule[used], self.seed)
        part = np.full(len(context.id), -1, dtype=np.int8)
        ends = np.cumsum(_counts(len(order), shares))
        for code, (start, end) in enumerate(zip((0, *ends[:-1]), ends, strict=True)):
            part[order[start:end]] = code
        parts = np.full(context.num_rows, -1, dtype=np.int8)
        parts[used] = part[context.row_molecule[used]]
        return parts


def read_indices(path: Path) -> dict[str, np.ndarray]:
    """Read the row numbers of every part from a split file, int64, in the file's order.

    Raises:
        GraphiumError: a file of another form, or a cell that is not a whole number.
    """
    suffix = path.suffix.lower()
    if suffix == ".pt":
        raw: Mapping[str, Any] = _load_torch(path)
    else:
        from graphium.data.readers import Table

        table = Table(path)
        raw = {name: table.column(name) for name in table.columns if name.lower() in _SPELLINGS}
    indices = {_SPELLINGS[name.lower()]: _whole(values, path, name) for name, values in raw.items()}
    if "train" not in indices:
        raise GraphiumError(f"the split file {path.name!r} has no part `train`; it needs {', '.join(PARTS)}")
    return {name: indices[name] for name in PARTS if name in indices}


def assign(indices: Mapping[str, np.ndarray], num_rows: int, name: str, *, limited: bool = False) -> np.ndarray:
    """Turn row numbers per part into the part of every row.

    Args:
        indices: part -> row numbers.
        num_rows: rows of the table.
        name: the split file's name, for the error sentence.
        limited: row numbers beyond the table are those that the limit cut off.

    Returns:
        int8 ``[num_rows]``: index in ``types.PARTS``, -1 in no part.

    Raises:
        GraphiumError: a row number out of range, or in two parts.
    """
    parts = np.full(num_rows, -1, dtype=np.int8)
    for part, rows in indices.items():
        code = PARTS.index(part)
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
    return parts


def write_split(path: Path, parts: np.ndarray) -> None:
    """Write the part of every row as a CSV of row numbers, one column a part; whole or not at all."""
    columns = {name: pd.Series(np.flatnonzero(parts == code)) for code, name in enumerate(PARTS)}
    if columns["test_seen"].empty:
        del columns["test_seen"]
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(columns).astype("Int64").to_csv(unfinished, index=False)
        unfinished.replace(path)


def read_split(path: Path, num_rows: int) -> np.ndarray:
    """Read what :func:`write_split` wrote: int8 ``[num_rows]``, index in ``types.PARTS`` or -1."""
    return assign(read_indices(path), num_rows, path.name)


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
    return {str(key): value for key, value in raw.items() if str(key).lower() in _SPELLINGS}


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


def _shuffled(context: SplitContext, molecules: np.ndarray, seed: int) -> np.ndarray:
    """Distinct molecules in random order, drawn over their sorted 128-bit ids."""
    molecules = np.unique(molecules)
    molecules = molecules[np.lexsort((context.id[molecules, 1], context.id[molecules, 0]))]
    return molecules[np.random.default_rng(seed).permutation(len(molecules))]


def _counts(total: int, shares: tuple[float, ...]) -> np.ndarray:
    """Share out ``total`` by largest remainder, at least one each where there are enough, the first part first."""
    wanted = np.array(shares) * total
    counts = np.floor(wanted + 1e-9).astype(np.int64)
    spare = round(float(wanted.sum())) - int(counts.sum())
    for part in np.argsort(counts - wanted, kind="stable")[:spare]:
        counts[part] += 1
    for part in np.flatnonzero((np.array(shares) > 0) & (counts == 0)):
        richest = int(np.argmax(counts))
        if counts[richest] > 1:
            counts[richest] -= 1
            counts[part] += 1
    return counts


def _check_fractions(dataset: str, **fractions: float) -> None:
    for name, value in fractions.items():
        if not 0 <= value <= 1:
            raise GraphiumError(f"dataset {dataset!r}: split.{name} is {value}; give a share between 0 and 1")
