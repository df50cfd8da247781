"""Splits: which part (train, val, test, test_seen) every row of a table belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from graphium.data.splits.by_group import ClusterSplit, ScaffoldSplit
from graphium.data.splits.by_value import StratifiedSplit, TimeSplit
from graphium.data.splits.context import SplitContext, coded
from graphium.data.splits.drawing import check_fractions, check_shares, draw, share_out
from graphium.data.splits.files import SPELLINGS, SPLIT_SUFFIXES, read_split
from graphium.errors import GraphiumError
from graphium.registry import register
from graphium.types import PARTS

__all__ = [
    "SPLIT_SUFFIXES",
    "ClusterSplit",
    "ColumnSplit",
    "FileSplit",
    "RandomSplit",
    "ScaffoldSplit",
    "SplitContext",
    "StratifiedSplit",
    "TimeSplit",
    "WholeSplit",
]


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
        return read_split(file, context.num_rows, limited=context.limited)

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

    version = 2

    @property
    def computed(self) -> bool:
        """Whether something is drawn, so that the result should be written down."""
        return self.val_fraction > 0

    def check(self, context: SplitContext) -> None:
        """Raise what drawing the split would raise, before the table is prepared."""
        check_fractions(context.dataset, val_fraction=self.val_fraction)
        self._parts(context)

    def __call__(self, context: SplitContext) -> np.ndarray:
        check_fractions(context.dataset, val_fraction=self.val_fraction)
        parts = self._parts(context)
        if self.val_fraction:
            stratum = np.full(context.num_molecules, -1, dtype=np.int8)
            for rows, molecule in context.slices():
                stratum[molecule[(parts[rows] == PARTS.index("train")) & (molecule >= 0)]] = 0
            many = share_out(int((stratum == 0).sum()), (1 - self.val_fraction, self.val_fraction))
            drawn = draw(context.id, stratum, many[None], self.seed)
            for rows, molecule in context.slices():
                train = (parts[rows] == PARTS.index("train")) & (molecule >= 0)
                parts[rows][train] = drawn[molecule[train]]
        return parts

    def _parts(self, context: SplitContext) -> np.ndarray:
        strange = set(self.names) - set(PARTS)
        if strange:
            raise GraphiumError(f"split.names has {strange.pop()!r}; its keys are {', '.join(PARTS)}")
        known = {**SPELLINGS, **{str(theirs).lower(): ours for ours, theirs in self.names.items()}}
        parts = np.full(context.num_rows, -1, dtype=np.int8)
        for first, cells in context.cells(self.column):
            value, words = coded(cells)
            part = [PARTS.index(known[word.lower()]) if word.lower() in known else len(PARTS) for word in words]
            # The last entry is that of an empty cell, whose value is -1.
            code = np.array([*part, -1], np.int8)[value]
            wrong = np.flatnonzero(code == len(PARTS))
            if len(wrong):
                word = words[value[wrong[0]]]
                raise GraphiumError(
                    f"dataset {context.dataset!r}, split column {self.column!r}, row {first + wrong[0]}: "
                    f"{word!r} is not a part; use {', '.join(PARTS)} or say it in split.names, "
                    f"e.g. split.names={{train: {word}}}"
                )
            parts[first : first + len(cells)] = code
        if (parts < 0).all():
            raise GraphiumError(
                f"dataset {context.dataset!r}: the split column {self.column!r} is empty; "
                "name another column or use split=random"
            )
        if self.val_fraction and (parts == PARTS.index("val")).any():
            raise GraphiumError(
                f"dataset {context.dataset!r}: column {self.column!r} has a val part already; "
                "leave out split.val_fraction"
            )
        return parts


@register("split", "random")
@dataclass(frozen=True)
class RandomSplit:
    """Molecules drawn at random; rows of the same molecule stay together.

    Drawn by a hash of molecule id and seed, so that the order of the rows does not matter, and a molecule
    of several datasets mostly comes to the same part in all of them. A part with a share above 0 gets at
    least one molecule while there are enough. The draw has a ``seed`` of its own: runs with other seeds
    keep the same test molecules.
    """

    train: float = 0.8
    val: float = 0.1
    test: float = 0.1
    seed: int = 0

    computed = True
    version = 2

    def check(self, context: SplitContext) -> None:
        """Raise what drawing the split would raise, before the table is prepared."""
        check_shares(context.dataset, "random", (self.train, self.val, self.test))

    def __call__(self, context: SplitContext) -> np.ndarray:
        self.check(context)
        present = context.present()
        counts = share_out(int(present.sum()), (self.train, self.val, self.test))
        return context.to_rows(draw(context.id, present.view(np.int8) - 1, counts[None], self.seed))


@register("split", "whole")
@dataclass(frozen=True)
class WholeSplit:
    """All rows in one part: a table that is there for training, or for testing, alone."""

    part: Literal["train", "val", "test", "test_seen"] = "test"

    def __call__(self, context: SplitContext) -> np.ndarray:
        return np.full(context.num_rows, PARTS.index(self.part), dtype=np.int8)
