"""Molecules in, predictions in label units out: in memory, or from file to file."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.data.datasets.infer import choose_smiles
from graphium.data.molecules import Molecules
from graphium.errors import GraphiumError, suggest
from graphium.messages import listed, tell
from graphium.models.device import find_device
from graphium.models.extras import Extra
from graphium.models.members import Member, choose_tasks, with_dropout
from graphium.models.ready import Source, add_model, check_ensemble, ready_model
from graphium.models.saved import SavedModel
from graphium.models.tables.columns import averaged, task_columns
from graphium.models.tables.input_tables import Given, InputTable, check_distinct, left_out, opened
from graphium.models.tables.prediction_columns import OK, OWN_COLUMNS, STATUS, Piece, PredictionColumns
from graphium.models.tables.table_files import CHUNK_ROWS, check_output, write_table
from graphium.nn.network import Network
from graphium.types import HeadSpec, Task


class Predictor:
    """Predicts molecules with a saved model, or with several as an ensemble.

    May be used by several threads at once, and keeps no state of what it has predicted.

    Args:
        model: A saved model, where one lies (see :func:`~graphium.models.saved.load_model`), or a list of these with
            the same tasks and features, whose numbers and probabilities are averaged.
        tasks: Names of tasks, ``task`` or ``dataset/task``, with ``*`` and ``?``; None is all. Others are not computed.
        batch_size: Molecules that the network reads together.
        device: Where the network computes.
        extras: Further columns.
        dropout: Passes with dropout at work, for those extras that compare passes; predictions do without dropout.
        trust_code: Allow models with parts outside graphium, that is their authors' own code.

    Raises:
        GraphiumError: no such model or task, models that do not fit together, an option out of range.

    >>> Predictor("outputs/toymix/model", tasks=["logp"]).predict(["CCO", "C("])  # doctest: +SKIP
      smiles      logp             status
    0    CCO -0.231542                 ok
    1     C(       NaN  is not valid SMILES
    """

    def __init__(
        self,
        model: Source | Sequence[Source],
        *,
        tasks: Sequence[str] | str | None = None,
        batch_size: int = 512,
        device: str | torch.device = "cpu",
        extras: Sequence[Extra] = (),
        dropout: int = 0,
        trust_code: bool = False,
    ) -> None:
        if batch_size < 1:
            raise GraphiumError(f"batch_size is {batch_size}; give a number of molecules of at least 1")
        if dropout < 0 or dropout == 1:
            raise GraphiumError(f"dropout is {dropout}; give a number of passes of at least 2, or 0 for none")
        models = list(model) if isinstance(model, Sequence) and not isinstance(model, str) else [model]
        if not models:
            raise GraphiumError("the list of models is empty; give at least one")
        tasks = [tasks] if isinstance(tasks, str) else tasks
        self.device = find_device(device)
        saved = [ready_model(one, trust_code, self.device) for one in models]
        check_ensemble(saved)
        self._options: dict[str, Any] = {
            "tasks": None if tasks is None else [*tasks],
            "batch_size": batch_size,
            "device": str(self.device),
            "extras": tuple(extras),
            "dropout": dropout,
        }
        self.batch_size = batch_size
        self._dropout = dropout
        #: The saved models, on the device.
        self.models = tuple(saved)
        self.featurizer = saved[0].featurizer
        self._members = [Member(one, choose_tasks(one.heads, tasks)) for one in saved]
        #: The heads that are predicted, each with those of its tasks that are wanted.
        self.heads: tuple[HeadSpec, ...] = tuple(one.head for one in self._members[0].chosen)
        names = task_columns(saved[0].heads, OWN_COLUMNS)
        self._names = {one.head.name: [names[one.head.name][k] for k in one.columns] for one in self._members[0].chosen}
        self._extras = tuple(extras)
        self._more = [extra.columns(self.heads, self._names) for extra in extras]
        self._columns = PredictionColumns(
            self.heads, self._names, {name: about for more in self._more for name, about in more.items()}
        )
        self._drawn: list[Network] = []
        self._generator = torch.Generator(self.device)
        if dropout:
            self._drawn = [with_dropout(one.network, self._generator) for one in saved]
        # The featurizer remembers what it meets, and draws of dropout have an order.
        self._reading, self._drawing = threading.Lock(), threading.Lock()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that are predicted, in the order of their columns."""
        return tuple(task for head in self.heads for task in head.tasks)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that a prediction adds, ``status`` last."""
        return pa.schema([*self._columns.fields, pa.field(STATUS, pa.string())])

    @cached_property
    def key(self) -> str:
        """Hash of all that the predictions of a molecule depend on: models, tasks and options."""
        total = hashlib.sha256()
        for saved in self.models:
            add_model(total, saved)
        plain = {**self._options, "extras": [extra.key for extra in self._extras]}
        total.update(json.dumps([plain, [[t.dataset, t.name] for t in self.tasks]]).encode())
        return total.hexdigest()

    def predict(self, molecules: Sequence[Any] | pd.Series | pd.DataFrame, smiles: str | None = None) -> pd.DataFrame:
        """Predict molecules in memory.

        Args:
            molecules: SMILES, CXSMILES or molblocks: a list or a Series, or a DataFrame with a column of them.
            smiles: That column of the DataFrame; None finds it by name and content.

        Returns:
            The given columns, those of :attr:`schema`, and a row for every molecule, under the index given. A
            molecule that could not be used has no predictions and a ``status`` that says why.

        Raises:
            GraphiumError: the DataFrame has no such column, or two of one name.
        """
        given = _as_frame(molecules)
        column = _find_column(given, smiles) if given is molecules else given.columns[0]
        texts = given[column].tolist()
        tables = [
            self.make(texts[start : start + CHUNK_ROWS], start // CHUNK_ROWS)
            for start in range(0, max(len(texts), 1), CHUNK_ROWS)
        ]
        made = pa.concat_tables(tables).to_pandas().set_index(given.index)
        kept = [name for name in given.columns if name not in made.columns]
        if len(kept) < len(given.columns):
            tell([left_out([name for name in given.columns if name in made.columns])])
        return pd.concat([given[kept], made], axis=1)

    def predict_file(
        self,
        source: Given,
        output: str | Path,
        *,
        smiles: str | None = None,
        n_jobs: int = 1,
        overwrite: bool = False,
        progress: bool = True,
    ) -> dict[str, int]:
        """Predict the molecules of a table of any size, from file to file.

        Args:
            source: CSV, Parquet, SDF or SMI: a path, an address, a pattern or a list of these; ``-`` is stdin.
            output: CSV, CSV.GZ or Parquet, see :func:`~graphium.models.tables.table_files.write_table`; ``-`` is
                stdout.
            smiles: The column of the molecules; None finds it by name and content.
            n_jobs: Processes; -1 takes all cores.
            overwrite: Replace an output that exists.
            progress: Show a progress bar.

        Returns:
            ``{"rows": ..., "failures": ...}``.

        Raises:
            GraphiumError: a table that cannot be read, an output that cannot be written.
        """
        check_output(output, overwrite)
        with opened(source) as path:
            table = InputTable(path, smiles, new=self.schema.names)
            tell(table.messages)
            return write_table(table, output, self, n_jobs=n_jobs, overwrite=overwrite, progress=progress)

    def make(self, texts: Sequence[Any], number: int = 0) -> pa.Table:
        """The columns of :attr:`schema` for some molecules, all of which are held in memory.

        Args:
            texts: SMILES, CXSMILES or molblocks; anything else is a failure.
            number: Which piece of the work this is: what the draws of dropout depend on.
        """
        with self._reading:
            molecules = Molecules(texts, self.featurizer)
        pairs = "nodepair" in self._columns.levels
        with self._drawing if self._drawn else nullcontext(), torch.inference_mode():
            self._generator.manual_seed(number)
            pieces = [self._piece(molecules, batch) for batch in molecules.batches(self.batch_size, pairs)]
        status = np.full(len(texts), OK, object)
        for position, reason in molecules.failures:
            status[position] = reason
        if not pieces:
            nothing = [pa.nulls(len(texts), field.type) for field in self._columns.fields]
            return pa.table([*nothing, pa.array(status, pa.string())], schema=self.schema)
        made = pa.Table.from_pydict(self._columns.arrays(pieces), schema=pa.schema(self._columns.fields))
        if molecules.failures:
            place = np.full(len(texts), -1)
            place[molecules.position] = np.arange(molecules.num_molecules)
            made = made.take(pa.array(place, mask=place < 0))
        return made.append_column(self.schema.field(STATUS), pa.array(status, pa.string()))

    def _piece(self, molecules: Molecules, batch: GraphBatch) -> Piece:
        """Predict a batch."""
        on_device = batch.to(self.device)
        raw = [member.forward(on_device) for member in self._members]
        each = [member.numbers(one) for member, one in zip(self._members, raw, strict=True)]
        places = {level: molecules.places(level, batch) for level in self._columns.levels}
        numbers = {
            head.name: averaged(head, [one[head.name] for one in each]).numpy()[places[head.level].entity]
            for head in self.heads
        }
        more: dict[str, pa.Array] = {}
        if self._extras:
            passes = self._dropout_passes(on_device) or each
            for extra, columns in zip(self._extras, self._more, strict=True):
                values = extra.values(on_device, raw[0], passes, self.models[0].network)
                for name, (level, dtype) in columns.items():
                    array = pa.array(values[name], dtype)
                    more[name] = array if level == "graph" else array.take(pa.array(places[level].entity))
        return Piece(batch.row.numpy(), numbers, places, more)

    def _dropout_passes(self, batch: GraphBatch) -> list[dict[str, Tensor]]:
        both = list(zip(self._members, self._drawn, strict=bool(self._drawn)))
        return [member.numbers(member.forward(batch, drawn)) for member, drawn in both for _ in range(self._dropout)]

    def __reduce__(self) -> tuple[Any, ...]:
        # A lock cannot travel to another process.
        return _rebuild, (list(self.models), self._options)

    def __repr__(self) -> str:
        named = listed([name for names in self._names.values() for name in names], most=6)
        of = f"{len(self._members)} models" if len(self._members) > 1 else "1 model"
        return f"Predictor({of}, {len(self.tasks):,} tasks: {named}; {self.device})"


def _rebuild(models: list[SavedModel], options: dict[str, Any]) -> Predictor:
    return Predictor(models, **options)


def _as_frame(molecules: Sequence[Any] | pd.Series | pd.DataFrame) -> pd.DataFrame:
    if isinstance(molecules, pd.DataFrame):
        check_distinct(molecules)
        return molecules
    if isinstance(molecules, str):
        raise GraphiumError(f"{molecules!r} is one text; give a list of SMILES")
    if not isinstance(molecules, Iterable):
        raise GraphiumError(f"molecules is {molecules!r}; give a list of SMILES, a Series or a DataFrame")
    if isinstance(molecules, pd.Series):
        return molecules.to_frame("smiles" if molecules.name is None else molecules.name)
    return pd.DataFrame({"smiles": pd.Series(list(molecules), dtype=object)})


def _find_column(frame: pd.DataFrame, smiles: str | None) -> str:
    if smiles is None:
        return choose_smiles(frame, "the table", "smiles=NAME")[0]
    if smiles not in frame.columns:
        raise GraphiumError(f"the table has no column {smiles!r}; {suggest(smiles, map(str, frame.columns))}")
    return smiles
