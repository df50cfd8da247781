"""The table of predictions of a part, written as Parquet while the predictions come in."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from graphium.chem.parse import readable
from graphium.data.batch import GraphBatch
from graphium.data.mix import Mix
from graphium.data.places import find_places
from graphium.data.store.graph_store import Failure
from graphium.models.tables.columns import label_numbers, task_columns
from graphium.models.tables.prediction_columns import OK, OWN_COLUMNS, PAIRS, STATUS, Piece, PredictionColumns, filled
from graphium.types import PARTS

# Numbers that are held before they are written.
_GROUP_BYTES = 1 << 27


class PredictionTable:
    """Collects predictions in label units and writes them as a table.

    One line per row: ``dataset`` (where there are several), ``row``, the SMILES, one column per task, beside it
    ``task[class]`` for the probabilities of classes and ``task[std]`` or ``task[q0.9]`` for what a loss says of the
    uncertainty, see :mod:`graphium.models.tables.columns`, and ``status``. Binary tasks hold the probability of 1,
    multiclass ones the most probable class. Node and bond tasks hold lists in the atom or bond order of the row's
    own text. Tasks of node pairs hold lists beside one column ``pairs``: the predicted pairs as ``[[i, j], ...]``,
    i < j in the text's own atom numbers from 0, sorted. Where the text is a molblock the table shows a SMILES of
    it, and lists and pairs keep the order of the molblock. A line holds the tasks of its own dataset. Rows of
    ``part`` that could not be used are there too: without predictions, with the reason as their ``status``.

    Lines stand dataset after dataset in the order of their rows, provided that they come in that order, as those
    of a loader that does not shuffle do. The memory in use does not grow with the part.

    Args:
        mix: Where the rows come from.
        part: Whose unusable rows are listed.
        path: The Parquet file; it appears when the table is closed. None: the table is kept in memory.
    """

    def __init__(self, mix: Mix, part: str, path: Path | None = None) -> None:
        self.mix, self.part, self.path = mix, part, path
        names = task_columns(mix.heads, OWN_COLUMNS)
        self._columns = [PredictionColumns(dataset.heads, names) for dataset in mix.datasets]
        self._pieces: list[list[Piece]] = [[] for _ in mix.datasets]
        self._held = 0
        self._failures = [iter(d.failed_rows(part)) for d in mix.datasets]
        self._waiting = [next(failures, None) for failures in self._failures]
        self._draft = io.BytesIO() if path is None else path.with_name(f"{path.name}.part")
        self._writer: pq.ParquetWriter | None = None

    def add(self, batch: GraphBatch, predictions: Mapping[str, Tensor]) -> None:
        """Add a batch and its predictions, transformed units and logits; graphs of padding are left out."""
        table, row = batch.table.cpu().numpy(), batch.row.cpu().numpy()
        for number, dataset in enumerate(self.mix.datasets):
            graphs = np.flatnonzero(table == number)
            if not len(graphs):
                continue
            rows = row[graphs]
            levels = self._columns[number].levels
            places = {level: find_places(level, dataset.store, batch, graphs, rows) for level in levels}
            numbers = {}
            for head in dataset.heads:
                inverse = self.mix.transforms[head.name].inverse
                every = label_numbers(head, predictions[head.name], inverse).cpu().numpy()
                numbers[head.name] = every[places[head.level].entity]
                self._held += numbers[head.name].nbytes
            self._pieces[number].append(Piece(rows, numbers, places))
        if self._held >= _GROUP_BYTES:
            self._flush(last=False)

    def close(self) -> None:
        """Write what is left; the file is complete. Closing twice does nothing more."""
        if self._writer is not None and not self._writer.is_open:
            return
        self._flush(last=True)
        assert self._writer is not None
        self._writer.close()
        if isinstance(self._draft, Path):
            assert self.path is not None
            self._draft.replace(self.path)

    def frame(self) -> pd.DataFrame:
        """Close the table and read it: a list in a cell is an array."""
        self.close()
        return pd.read_parquet(self._draft if self.path is None else self.path)

    def _flush(self, last: bool) -> None:
        if self._writer is None:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._schema = self._make_schema()
            text = [field.name for field in self._schema if pa.types.is_string(field.type)]
            # Numbers do not repeat, and thousands of columns need no index of extremes.
            self._writer = pq.ParquetWriter(self._draft, self._schema, use_dictionary=text, write_statistics=False)
        newest = max((number for number, pieces in enumerate(self._pieces) if pieces), default=-1)
        for number, pieces in enumerate(self._pieces):
            end = max((int(piece.rows.max()) for piece in pieces), default=-1)
            failures = list(self._failed_until(number, None if last or number < newest else end))
            if pieces or failures:
                self._writer.write_table(self._lines(number, pieces, failures))
        self._pieces, self._held = [[] for _ in self.mix.datasets], 0

    def _failed_until(self, number: int, row: int | None) -> Iterator[Failure]:
        """The failures that come next, up to a row or to the end."""
        while (failure := self._waiting[number]) is not None and (row is None or failure.row < row):
            yield failure
            self._waiting[number] = next(self._failures[number], None)

    def _make_schema(self) -> pa.Schema:
        """The columns of the datasets that have rows in this part, in the order of the datasets."""
        code = PARTS.index(self.part)
        both = zip(self.mix.datasets, self._columns, self._pieces, self._waiting, strict=True)
        used = [
            columns.fields
            for dataset, columns, pieces, failure in both
            if pieces or failure is not None or (dataset.parts == code).any()
        ]
        fields = [pa.field("row", pa.int64()), pa.field(self._smiles_column(), pa.string())]
        if len(self.mix.datasets) > 1:
            fields.insert(0, pa.field("dataset", pa.string()))
        of_tasks = {field.name: field for columns in used for field in columns}
        if PAIRS in of_tasks:
            fields.append(of_tasks.pop(PAIRS))
        return pa.schema([*fields, *of_tasks.values(), pa.field(STATUS, pa.string())])

    def _smiles_column(self) -> str:
        """The user's own name of the column, or ``smiles`` where datasets differ."""
        names = {dataset.resolved.smiles for dataset in self.mix.datasets}
        return names.pop() if len(names) == 1 and names.isdisjoint({*OWN_COLUMNS} - {"smiles"}) else "smiles"

    def _lines(self, number: int, pieces: list[Piece], failures: list[Failure]) -> pa.Table:
        """The lines of some rows, sorted."""
        dataset = self.mix.datasets[number]
        rows = _joined([piece.rows for piece in pieces], np.empty(0, np.int64))
        texts = [readable(text) for text in dataset.store.texts(rows)]
        columns: dict[str, Any] = {
            "dataset": pa.repeat(pa.scalar(dataset.name), len(rows)),
            "row": pa.array(rows),
            self._smiles_column(): pa.array(texts, pa.string()),
            STATUS: pa.repeat(pa.scalar(OK), len(rows)),
        }
        if pieces:
            columns.update(self._columns[number].arrays(pieces))
        table = filled(columns, self._schema, len(rows))
        if failures:
            bad = {
                "dataset": pa.repeat(pa.scalar(dataset.name), len(failures)),
                "row": pa.array([failure.row for failure in failures], pa.int64()),
                self._smiles_column(): pa.array([failure.text for failure in failures], pa.string()),
                STATUS: pa.array([failure.reason for failure in failures], pa.string()),
            }
            table = pa.concat_tables([table, filled(bad, self._schema, len(failures))])
        order = table["row"].to_numpy()
        return table if (np.diff(order) > 0).all() else table.take(np.argsort(order, kind="stable"))


def _joined(arrays: Iterable[np.ndarray], nothing: np.ndarray) -> np.ndarray:
    return np.concatenate([nothing, *arrays])
