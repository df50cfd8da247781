"""Splits by the values of a column: stratified, and from old to new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from graphium.data.splits.context import AT_ONCE, SplitContext, coded, is_empty, plain_text
from graphium.data.splits.drawing import check_shares, draw, scratch, share_out, share_out_strata, strata_sizes
from graphium.data.tables.readers import shorten
from graphium.errors import GraphiumError
from graphium.registry import register

# Different values of a column that may each be a class of its own.
MAX_CLASSES = 1_000


@register("split", "stratified")
@dataclass(frozen=True)
class StratifiedSplit:
    """Molecules drawn at random, the values of ``column`` in the same proportions in every part.

    Every different value (text or number) is a class; with ``bins`` numbers are cut at their quantiles
    into that many bins instead. A molecule whose rows have several values counts under the smallest (of
    texts: the first in the alphabet). Molecules without a value are a class of their own. The sizes of
    the parts are exact, those of every class in every part off by at most one molecule.
    """

    column: str
    bins: int | None = None
    train: float = 0.8
    val: float = 0.1
    test: float = 0.1
    seed: int = 0

    computed = True
    version = 1

    def check(self, context: SplitContext) -> None:
        """Raise what drawing the split would raise, before the table is prepared."""
        self._check_options(context)
        if self.bins is None:
            classes = _classes(context, self.column)
            self._check_sizes(context, classes, np.array([*classes.values()]))
        else:
            cells = context.cells(self.column)
            _check_spread(context, self.column, (_number(context, self.column, *piece) for piece in cells))

    def __call__(self, context: SplitContext) -> np.ndarray:
        self._check_options(context)
        if self.bins is None:
            classes = _classes(context, self.column)
            stratum = _smallest_class(context, self.column, list(classes))
            sizes = strata_sizes(stratum, len(classes) + 1)
            self._check_sizes(context, classes, sizes)
        else:
            stratum = self._binned(context, self.bins)
            sizes = strata_sizes(stratum, self.bins + 1)
        counts = share_out_strata(sizes, share_out(int(sizes.sum()), self._shares))
        return context.to_rows(draw(context.id, stratum, counts, self.seed))

    @property
    def _shares(self) -> tuple[float, float, float]:
        return self.train, self.val, self.test

    def _check_options(self, context: SplitContext) -> None:
        check_shares(context.dataset, "stratified", self._shares)
        if self.bins is not None and self.bins < 2:
            raise GraphiumError(f"dataset {context.dataset!r}: split.bins is {self.bins}; give at least 2 bins")

    def _check_sizes(self, context: SplitContext, classes: dict[str, int], sizes: np.ndarray) -> None:
        needed = sum(share > 0 for share in self._shares)
        for name, size in zip(classes, sizes, strict=False):
            # A class that only stands beside a smaller one in rows of the same molecules has none.
            if 0 < size < needed:
                raise GraphiumError(
                    f"dataset {context.dataset!r}: class {shorten(name)} of split column {self.column!r} has "
                    f"{size} molecule{'s' if size != 1 else ''} for {needed} parts; merge it with another class, "
                    "leave these cells empty, or use split=random"
                )

    def _binned(self, context: SplitContext, bins: int) -> np.ndarray:
        numbers = ((first, _number(context, self.column, first, cells)) for first, cells in context.cells(self.column))
        value = _smallest_number(context, self.column, numbers)
        known = int(value.size - np.isnan(value).sum())
        edges = np.unique(_ranked(context, value, [known * k // bins for k in range(1, bins)]))
        stratum = np.empty(len(value), np.int32)
        for start in range(0, len(value), AT_ONCE):
            piece = value[start : start + AT_ONCE]
            number = np.searchsorted(edges, piece, side="right")
            stratum[start : start + AT_ONCE] = np.where(np.isnan(piece), bins, number)
        stratum[~context.present()] = -1
        return stratum


@register("split", "time")
@dataclass(frozen=True)
class TimeSplit:
    """The oldest molecules for training, the newest for testing.

    ``column``: numbers (such as years) or dates (such as 2015-03-31; others with ``format``, e.g.
    ``"%d/%m/%Y"``). A molecule is as old as its earliest row; which molecules of the same age come first
    is drawn by ``seed``. Molecules without a date are in no part.
    """

    column: str
    format: str | None = None
    train: float = 0.8
    val: float = 0.1
    test: float = 0.1
    seed: int = 0

    computed = True
    version = 1

    def check(self, context: SplitContext) -> None:
        """Raise what drawing the split would raise, before the table is prepared."""
        check_shares(context.dataset, "time", (self.train, self.val, self.test))
        _check_spread(context, self.column, (time for _, time in self._times(context)))

    def __call__(self, context: SplitContext) -> np.ndarray:
        check_shares(context.dataset, "time", (self.train, self.val, self.test))
        time = _smallest_number(context, self.column, self._times(context))
        dated = int(len(time) - np.isnan(time).sum())
        undated = int(context.present().sum()) - dated
        if undated:
            are = "molecules have" if undated > 1 else "molecule has"
            context.tell(f"{undated:,} {are} no date in column {self.column!r}: in no part")
        parts = share_out(dated, (self.train, self.val, self.test))
        ends = np.cumsum(np.append(parts, dated - parts.sum()))
        borders = np.unique(_ranked(context, time, [int(end) for end in ends[:-1] if end < dated]))
        # In the order of time: before the first border, on it, behind it, on the second one ...
        stratum = np.empty(len(time), np.int8)
        for start in range(0, len(time), AT_ONCE):
            piece = time[start : start + AT_ONCE]
            place = 2 * np.searchsorted(borders, piece) + np.isin(piece, borders)
            stratum[start : start + AT_ONCE] = np.where(np.isnan(piece), -1, place)
        size = strata_sizes(stratum, 2 * len(borders) + 1)
        stop = np.cumsum(size)[:, None]
        overlap = np.minimum(stop, ends) - np.maximum(stop - size[:, None], ends - np.diff(ends, prepend=0))
        return context.to_rows(draw(context.id, stratum, np.maximum(overlap, 0)[:, : len(parts)], self.seed))

    def _times(self, context: SplitContext) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, numbers): seconds since 1970 for dates, else the cells; float64, NaN for an empty one."""
        is_date = True if self.format is not None else None
        for first, cells in context.cells(self.column):
            empty = is_empty(cells)
            if is_date is None and not empty.all():
                # The first cell decides for all: years and seconds must not be mixed.
                is_date = pd.isna(pd.to_numeric(cells[~empty].iloc[:1], errors="coerce")).any()
                is_date = bool(is_date or pd.api.types.is_datetime64_any_dtype(cells))
            if not is_date:
                yield first, _number(context, self.column, first, cells)
                continue
            text = cells.where(~empty)
            if self.format is not None and not pd.api.types.is_datetime64_any_dtype(cells):
                text = text.map(plain_text, na_action="ignore")
            date = pd.to_datetime(text, format=self.format or "ISO8601", errors="coerce", utc=True)
            seconds = (date - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy(np.float64)
            wanted = f"a date like {self.format}" if self.format else "a date like 2015-03-31 (see split.format)"
            yield first, _complete(context, self.column, first, cells, seconds, wanted)


def _number(context: SplitContext, column: str, first: int, cells: pd.Series) -> np.ndarray:
    """Cells as float64, NaN for an empty one."""
    number = pd.to_numeric(cells.where(~is_empty(cells)), errors="coerce").to_numpy(np.float64)
    return _complete(context, column, first, cells, number, "a number, as it must be here")


def _complete(
    context: SplitContext, column: str, first: int, cells: pd.Series, number: np.ndarray, wanted: str
) -> np.ndarray:
    wrong = np.flatnonzero(np.isnan(number) & ~is_empty(cells))
    if len(wrong):
        raise GraphiumError(
            f"dataset {context.dataset!r}, split column {column!r}, row {first + wrong[0]}: "
            f"{shorten(cells.iloc[wrong[0]])} is not {wanted}; mend the cell or leave it empty"
        )
    return number


def _check_spread(context: SplitContext, column: str, pieces: Iterable[np.ndarray]) -> None:
    """Raise a GraphiumError for a column that is empty or has one value only."""
    low, high = np.inf, -np.inf
    for number in pieces:
        number = number[~np.isnan(number)]
        low, high = min(low, number.min(initial=np.inf)), max(high, number.max(initial=-np.inf))
    if low >= high:
        raise _no_spread(context, column, is_empty=low > high)


def _no_spread(context: SplitContext, column: str, *, is_empty: bool) -> GraphiumError:
    what = "is empty" if is_empty else "has the same value in every row"
    return GraphiumError(
        f"dataset {context.dataset!r}: the split column {column!r} {what}; name another column or use split=random"
    )


def _classes(context: SplitContext, column: str) -> dict[str, int]:
    """Rows of every class of a column: numbers by size, texts by the alphabet."""
    found: Counter[str] = Counter()
    for _, cells in context.cells(column):
        code, names = coded(cells)
        for name, many in zip(names, np.bincount(code[code >= 0], minlength=len(names)), strict=True):
            found[name] += int(many)
        if len(found) > MAX_CLASSES:
            raise GraphiumError(
                f"dataset {context.dataset!r}: the split column {column!r} has more than {MAX_CLASSES:,} different "
                "values; cut numbers into bins with e.g. split.bins=10, or name a column of classes"
            )
    if len(found) < 2:
        raise _no_spread(context, column, is_empty=not found)
    number = pd.to_numeric(pd.Series(list(found)), errors="coerce").to_numpy(np.float64)
    if np.isnan(number).any():
        return {name: found[name] for name in sorted(found)}
    return {name: found[name] for _, name in sorted(zip(number.tolist(), found, strict=True))}


def _smallest_class(context: SplitContext, column: str, classes: list[str]) -> np.ndarray:
    """int16 ``[molecules]``: the first class of every molecule's rows; one more for no value, -1 without a row."""
    number_of = {name: number for number, name in enumerate(classes)}
    stratum = np.full(context.num_molecules, len(classes) + 1, np.int16)
    for first, cells in context.cells(column):
        code, names = coded(cells)
        # The last entry is that of an empty cell, whose code is -1.
        number = np.array([*(number_of[name] for name in names), len(classes)], np.int16)[code]
        molecule = np.asarray(context.row_molecule[first : first + len(cells)])
        used = molecule >= 0
        np.minimum.at(stratum, molecule[used], number[used])
    stratum[stratum > len(classes)] = -1
    return stratum


def _smallest_number(context: SplitContext, column: str, pieces: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
    """float64 ``[molecules]``: the smallest number of every molecule's rows, NaN where there is none."""
    value = scratch(context.work, "value", context.num_molecules, np.float64)
    value[:] = np.nan
    for first, number in pieces:
        molecule = np.asarray(context.row_molecule[first : first + len(number)])
        used = molecule >= 0
        np.fmin.at(value, molecule[used], number[used])
    _check_spread(context, column, (value[start : start + AT_ONCE] for start in range(0, len(value), AT_ONCE)))
    return value


def _ranked(context: SplitContext, value: np.ndarray, ranks: list[int]) -> np.ndarray:
    """The values that stand at some ranks when sorted; NaN has none."""
    ordered = scratch(context.work, "ordered", len(value), np.float64)
    # NaN sorts to the end.
    ordered[:] = value
    if ranks:
        ordered.partition(sorted(set(ranks)))
    return ordered[ranks]
