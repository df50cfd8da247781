"""A saved model measured on labelled tables, in the keys of ``metrics.json``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch
from graphium.data.build import MixOptions, build_mix, check_data
from graphium.data.datasets.dataset import Dataset
from graphium.data.mix import Mix
from graphium.data.store.columns import disk_errors
from graphium.errors import GraphiumError, suggest
from graphium.models.members import choose_tasks
from graphium.models.saved import SavedModel, load_model
from graphium.models.tables.input_tables import check_distinct
from graphium.training.past_run import PastRun
from graphium.training.predictions import PredictionTable
from graphium.training.results import evaluate as evaluate_part
from graphium.training.results import training_statistics
from graphium.types import PARTS, HeadSpec

# Beside the parts of a split: all rows together.
ALL = "all"
# What a table has that names no split.
_NO_SPLIT = {"name": "random"}


@dataclass(frozen=True)
class Measured:
    """What was measured.

    ``metrics``: ``{part: {dataset: {...}}}`` as in ``metrics.json``. ``heads``: the tasks of the data. ``remarks``:
    what a reader of the numbers should know.
    """

    metrics: dict[str, dict[str, Any]]
    heads: tuple[HeadSpec, ...]
    remarks: tuple[str, ...] = ()


def evaluate(
    model: str | Path | SavedModel, data: Any = None, part: str | None = None, **options: Any
) -> dict[str, Any]:
    """Measure a saved model on labelled data; see :func:`measure`.

    Returns:
        ``{part: {dataset: {metric: value, "n_defined": ..., "undefined": ..., "per_task": ..., "baseline": ...}}}``,
        the keys of ``metrics.json``.
    """
    return measure(model, data, part, **options).metrics


def measure(
    model: str | Path | SavedModel,
    data: Any = None,
    part: str | None = None,
    *,
    tasks: Sequence[str] | str | None = None,
    renamed: Mapping[str, str] | None = None,
    predictions: str | Path | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    data_dir: str | Path | None = None,
    store_dir: str | Path | None = None,
    trust_code: bool = False,
    progress: bool = True,
) -> Measured:
    """Measure a saved model on labelled data.

    Columns are the tasks of the model that are named alike; others are left out. The featurizer, the label
    transforms and the classes are the model's. The baseline is what the training part of the data knows, or, where
    there is none, what the model knows of the labels that it was trained on.

    Args:
        model: What :func:`load_model` takes, or what it gives.
        data: The path of a table or several, a DataFrame, a ``data`` section, or datasets. None: ``model`` is the
            folder of a run, whose own data are measured again with its own split.
        part: ``train``, ``val``, ``test`` (with ``test_seen``, where there is such a part), ``test_seen``, or ``all``
            rows whatever their part. None: ``test``, and ``all`` for tables that name no split.
        tasks: Names or patterns of tasks of the model, ``task`` or ``dataset/task``: leave out all others.
        renamed: Column, or ``dataset/column``, -> task of the model, where the names differ.
        predictions: A Parquet file to write the predictions to, a table as in ``predictions/test.parquet``.
        batch_size: Rows predicted at once.
        device: Where the network is to be; None: the CPU, or where that of a loaded model is.
        data_dir: The folder of the source files.
        store_dir: The folder of the prepared tables; None is in the cache.
        trust_code: Allow a model that names code of its author.
        progress: Print what was found in the tables, and the progress, to stderr.

    Raises:
        GraphiumError: a model, table, column, part or class that cannot be used, or no task in common.
    """
    _check_part(part)
    path = _predictions_path(predictions)
    past = None
    if data is None:
        past = PastRun.find(model.folder if isinstance(model, SavedModel) else model)
        data, part = past.data, part or "test"
        data_dir, store_dir = data_dir or past.data_dir, store_dir or past.store_dir
    target = _device("cpu" if device is None else device)
    if isinstance(model, SavedModel):
        saved, target = model, target if device is not None else next(model.network.parameters()).device
    else:
        saved = load_model(model if past is None else past.folder / "model", trust_code=trust_code)
    chosen = choose_tasks(saved.heads, [tasks] if isinstance(tasks, str) else tasks)
    with _section(data) as (section, store):
        options, datasets, part_of_data = _datasets(section, part)
        options = options if batch_size is None else replace(options, batch_size=batch_size)
        mix = build_mix(
            datasets,
            saved.featurizer,
            data_dir=data_dir,
            store_dir=store or store_dir,
            options=options,
            progress=progress,
            heads=[one.head for one in chosen],
            renamed=renamed,
            need_training=False,
        )
        _check_not_read(path, mix)
        columns = {one.head.name: one.columns for one in chosen}
        sources = {
            name: [(source.head, columns[source.head][source.column]) for source in of_head if source is not None]
            for name, of_head in mix.sources.items()
        }
        statistics = _statistics(mix, sources, saved.statistics)
        metrics: dict[str, dict[str, Any]] = {}
        home = next(saved.network.parameters()).device
        network = _ByData(saved.network, sources).to(target)
        try:
            for name, measured, code in _parts(mix, part_of_data):
                # The predictions are those of the part that was asked for.
                with _table(measured, code, path if not metrics else None) as writer:
                    metrics[name] = evaluate_part(
                        network,
                        measured,
                        code,
                        sampling=options,
                        device=target,
                        precision=past.precision if past is not None else "32",
                        statistics=statistics,
                        writer=writer,
                    )
        finally:
            network.to(home)
        remarks = past.remarks(metrics, {d.name: d.resolved.table.key for d in mix.datasets}) if past else []
        if part is None and part_of_data == ALL:
            names = ", ".join(dataset.name for dataset in mix.datasets)
            remarks.append(f"{names}: no split is named, so all rows were measured, known to the model or not")
        return Measured(_with_known_baselines(metrics, mix, statistics), mix.heads, tuple(remarks))


@contextmanager
def _table(mix: Mix, part: str, path: Path | None) -> Iterator[PredictionTable | None]:
    """Where predictions are collected, written at the end; nothing where no file is named."""
    if path is None:
        yield None
        return
    with disk_errors(path):
        table = PredictionTable(mix, part, path)
        yield table
        table.close()


def _parts(mix: Mix, part: str) -> list[tuple[str, Mix, str]]:
    """What to measure: its name in the report, a mix, and a part of that mix that has rows.

    Raises:
        GraphiumError: there are no rows.
    """
    if part == ALL:
        parts = [(ALL, _together(mix), "test")]
    else:
        parts = [(name, mix, name) for name in (("test", "test_seen") if part == "test" else (part,))]
    found = [one for one in parts if one[1].count(one[2])]
    if not found:
        sizes = ", ".join(f"{mix.count(name):,} in {name}" for name in PARTS if mix.count(name))
        raise GraphiumError(
            f"no row of the data is in the part {part} ({sizes or 'none can be used'}); ask for another one, or for all"
        )
    return found


class _ByData(nn.Module):
    """A network whose predictions stand in the heads of the data, each column from the task that it is.

    Args:
        network: The network of a saved model.
        sources: Head of the data -> for each of its tasks, the head of the model and the column there.
    """

    def __init__(self, network: nn.Module, sources: Mapping[str, Sequence[tuple[str, int]]]) -> None:
        super().__init__()
        self.network = network
        self.sources = sources

    def forward(self, batch: GraphBatch) -> dict[str, Tensor]:
        """Head of the data -> predictions ``[entities, tasks(, width)]``."""
        if batch.pair_index is None:
            # A model of pairs, and data without.
            batch = replace(batch, pair_index=batch.edge_index.new_empty(2, 0))
        found: dict[str, Tensor] = self.network(batch)
        predictions = {}
        for name, columns in self.sources.items():
            heads = list(dict.fromkeys(head for head, _ in columns))
            first, starts = 0, {}
            for head in heads:
                starts[head], first = first, first + found[head].shape[1]
            index = [starts[head] + column for head, column in columns]
            joined = torch.cat([found[head] for head in heads], dim=1) if len(heads) > 1 else found[heads[0]]
            if index != list(range(joined.shape[1])):
                joined = joined.index_select(1, torch.tensor(index, device=joined.device))
            predictions[name] = joined
        return predictions


def _statistics(
    mix: Mix, sources: Mapping[str, Sequence[tuple[str, int]]], of_model: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What is known of the training labels of every task: of the data, else of the model; NaN where nothing is."""
    found = training_statistics(mix)
    for name, columns in sources.items():
        for number, (head, column) in enumerate(columns):
            if head in of_model and found[name][number].isnan().any():
                found[name][number] = of_model[head][column].double()
    return found


def _with_known_baselines(
    metrics: dict[str, dict[str, Any]], mix: Mix, statistics: Mapping[str, Tensor]
) -> dict[str, dict[str, Any]]:
    """The metrics without the baseline of datasets of whose training labels nothing is known."""
    for dataset in mix.datasets:
        if all(statistics[head.name].isnan().all() for head in dataset.heads):
            for numbers in metrics.values():
                numbers.get(dataset.name, {}).pop("baseline", None)
    return metrics


def _together(mix: Mix) -> Mix:
    """The mix with the rows of all parts in one, ``test``."""
    test = np.int8(PARTS.index("test"))
    whole = [replace(d, assigned=np.where(d.assigned < 0, np.int8(-1), test)) for d in mix.datasets]
    return Mix(whole, mix.spec)


@contextmanager
def _section(data: Any) -> Iterator[tuple[Mapping[str, Any] | Sequence[Dataset], Path | None]]:
    """What was given as data in the words of :func:`build_mix`, and where its tables are prepared (None: as asked)."""
    if isinstance(data, pd.DataFrame):
        check_distinct(data)
        with tempfile.TemporaryDirectory(prefix="graphium-evaluate-") as folder:
            path = Path(folder) / "data.parquet"
            try:
                data.to_parquet(path, index=False)
            except pa.ArrowException as error:
                raise GraphiumError(
                    f"the DataFrame has a column of mixed types ({str(error.args[-1])}); give it one type"
                ) from None
            yield {"path": str(path), "targets": "*"}, Path(folder) / "stores"
    elif isinstance(data, (str, Path)):
        yield {"path": str(data), "targets": "*"}, None
    elif isinstance(data, Dataset):
        yield [data], None
    elif isinstance(data, Sequence) and data and all(isinstance(one, (str, Path)) for one in data):
        named: dict[str, dict[str, Any]] = {}
        for one in data:
            _, (dataset,) = check_data({"path": str(one), "targets": "*"})
            if dataset.name in named:
                raise GraphiumError(f"two tables are named {dataset.name!r}; rename one of the files")
            named[dataset.name] = {"path": str(one), "targets": "*"}
        yield {"datasets": named}, None
    elif isinstance(data, Mapping) or (
        isinstance(data, Sequence) and data and all(isinstance(one, Dataset) for one in data)
    ):
        yield data, None
    else:
        raise GraphiumError(
            f"data is of type {type(data).__name__} and holds no table; give the path of a table or several, "
            "a DataFrame, a data section, or a list of datasets"
        )


def _datasets(data: Mapping[str, Any] | Sequence[Dataset], part: str | None) -> tuple[MixOptions, list[Dataset], str]:
    """The datasets with the split that the part asks for, and the part; where it is not said, the splits say it."""
    if isinstance(data, Mapping):
        options, checked = check_data(data)
        raw = data.get("datasets") or {checked[0].name: data}
        without = {d.name for d, one in zip(checked, raw.values(), strict=True) if not one.get("split")}
    else:
        options, checked = MixOptions(), tuple(data)
        without = {d.name for d in checked if d.split == _NO_SPLIT}
    if part is None:
        part = ALL if len(without) == len(checked) else "test"
    if part == ALL:
        whole = {"name": "whole"}
        return options, [replace(d, split=whole) if d.name in without else d for d in checked], part
    return options, list(checked), part


def _check_part(part: str | None) -> None:
    if part is not None and part not in (*PARTS, ALL):
        raise GraphiumError(f"there is no part {part!r}; {suggest(part, (*PARTS, ALL))}")


def _predictions_path(path: str | Path | None) -> Path | None:
    if path is not None and Path(path).suffix != ".parquet":
        raise GraphiumError(f"predictions are written as Parquet and {str(path)!r} ends otherwise; name it .parquet")
    return None if path is None else Path(path)


def _check_not_read(path: Path | None, mix: Mix) -> None:
    """Refuse to write over a table of the data."""
    read = [file for dataset in mix.datasets for file in dataset.resolved.table.local_files]
    if path is not None and path.exists() and any(path.samefile(file) for file in read):
        raise GraphiumError(f"the predictions would replace the table {str(path)!r} itself; give another path")


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise GraphiumError(
            f"the device {str(name)!r} cannot be used ({reason}); give cpu, or one that is here"
        ) from None
    return device
