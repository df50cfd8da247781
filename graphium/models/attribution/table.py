"""Tables of atom contributions, and their pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from graphium.data.store.columns import disk_errors
from graphium.models.attribution.contributions import AtomContributions, Explainer
from graphium.models.predictor import Predictor
from graphium.models.tables.columns import task_columns
from graphium.models.tables.prediction_columns import OK, OWN_COLUMNS, STATUS
from graphium.models.tables.table_files import CHUNK_ROWS


class ContributionColumns:
    """The columns that explain a task, for :func:`~graphium.models.tables.table_files.write_table`.

    ``task``: the prediction that is explained. ``task[class]``: whose probability it is, where the task has classes.
    ``task[baseline]``: the prediction with no atom. ``task[contributions]``: a number for every atom, in the order of
    the row's own text. ``status`` is ``ok``, or why the row has none of these.

    Args:
        explainer: Of one task.
        pictures: A folder for ``ROW.svg``, rows counted from 0; None draws nothing.
        most_pictures: Rows that are drawn: the first ones.
    """

    def __init__(self, explainer: Explainer, pictures: Path | None = None, most_pictures: int = 100) -> None:
        self.explainer, self.pictures, self.most_pictures = explainer, pictures, most_pictures
        names = task_columns(explainer.saved.heads, OWN_COLUMNS)[explainer.head.name]
        (head,) = (head for head in explainer.saved.heads if head.name == explainer.head.name)
        self.name = names[head.tasks.index(explainer.task)]

    @property
    def schema(self) -> pa.Schema:
        """The new columns, ``status`` last."""
        of_class = [(f"{self.name}[class]", pa.string())] if self.explainer.classes else []
        numbers = [(self.name, pa.float64()), *of_class, (f"{self.name}[baseline]", pa.float64())]
        return pa.schema([*numbers, (f"{self.name}[contributions]", pa.list_(pa.float32())), (STATUS, pa.string())])

    @property
    def key(self) -> str:
        """Hash of all that the columns and pictures depend on beside the molecules."""
        one = self.explainer
        task = f"{one.task.dataset}/{one.task.name}"
        options = [one.method, one.of_class, one.entity, one.steps, one.batch_size, self.pictures, self.most_pictures]
        return hashlib.sha256(f"{Predictor(one.saved, tasks=[task]).key} {options}".encode()).hexdigest()

    def make(self, texts: Sequence[str | None], number: int) -> pa.Table:
        """The new columns of some rows, whose pictures are drawn; ``number`` counts the pieces of work."""
        found = list(self.explainer.contributions(texts))
        first = number * CHUNK_ROWS
        for row, one in enumerate(found[: max(self.most_pictures - first, 0)], first):
            self._draw(row, one)
        columns: list[list[Any]] = [
            [one.prediction if one.status == OK else None for one in found],
            *([[one.of_class for one in found]] if self.explainer.classes else []),
            [one.baseline if one.status == OK else None for one in found],
            [one.values if one.status == OK else None for one in found],
            [one.status for one in found],
        ]
        kinds = self.schema.types
        return pa.table([pa.array(one, kind) for one, kind in zip(columns, kinds, strict=True)], schema=self.schema)

    def _draw(self, row: int, found: AtomContributions) -> None:
        if self.pictures is None or found.status != OK:
            return
        path = self.pictures / f"{row}.svg"
        with disk_errors(path):
            path.write_text(found.svg(), encoding="utf-8")
