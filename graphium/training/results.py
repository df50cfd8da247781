"""After training: predictions and metrics of the held-out parts with the weights that are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch
from graphium.data.loader import BatchLoader
from graphium.data.mix import Mix, MixDataset
from graphium.training.evaluation import Evaluator, label_statistics
from graphium.types import PARTS, HeadSpec

Predictions = Mapping[str, Tensor]


@contextlib.contextmanager
def prediction_mode(network: nn.Module, device: torch.device, precision: str) -> Iterator[None]:
    """Evaluation mode, without gradients, in the precision of the training; the mode is put back after."""
    was_training = network.training
    network.eval()
    mixed = precision == "bf16-mixed"
    try:
        with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed, cache_enabled=False):
            yield
    finally:
        network.train(was_training)


def predict(
    network: nn.Module, loader: BatchLoader, device: torch.device, precision: str = "32"
) -> Iterator[tuple[GraphBatch, dict[str, Tensor]]]:
    """Every batch on the device with its predictions, transformed units and logits, float32 or wider."""
    for batch in loader:
        batch = batch if batch.x.device == device else batch.to(device, non_blocking=True)
        with prediction_mode(network, device, precision):
            predictions = network(batch)
        yield (
            batch,
            {name: value.to(torch.promote_types(value.dtype, torch.float32)) for name, value in predictions.items()},
        )


def training_statistics(mix: Mix) -> dict[str, Tensor]:
    """What the baseline predictor knows: means and class shares of the training labels of every head."""
    statistics = {}
    for dataset in mix.datasets:
        rows = np.flatnonzero(dataset.parts == PARTS.index("train"))
        for head in dataset.heads:
            _, task, value = dataset.blocks[head.name].select(rows)
            statistics[head.name] = label_statistics(head, torch.as_tensor(task), torch.as_tensor(value))
    return statistics


def evaluate(
    network: nn.Module,
    mix: Mix,
    part: str,
    *,
    batch_size: int,
    device: torch.device,
    precision: str = "32",
    statistics: Mapping[str, Tensor] | None = None,
    writer: PredictionTable | None = None,
) -> dict[str, dict[str, Any]]:
    """Metrics of one part by dataset, in the keys of ``metrics.json``; only datasets with rows in it.

    ``statistics`` (:func:`training_statistics`) adds the baseline; ``writer`` collects the predictions.
    """
    evaluator = Evaluator(mix.heads, mix.transforms)
    for batch, predictions in predict(network, mix.loader(part, batch_size=batch_size), device, precision):
        evaluator.update(predictions, batch.labels)
        if writer is not None:
            writer.add(batch, predictions)
    report = evaluator.compute(statistics)
    present = {d.name for d in mix.datasets if (d.parts == PARTS.index(part)).any()}
    return {dataset: numbers for dataset, numbers in report.items() if dataset in present}


class PredictionTable:
    """Collects predictions in label units, and makes the table of them.

    One line per row: ``dataset`` (where there are several), ``row``, the SMILES, one column per task and
    ``task[class]`` for the probabilities of classes. Binary tasks hold the probability of 1, multiclass ones the
    most probable class. Node and bond tasks hold lists in the atom or bond order of the row's own text.
    A line holds the tasks of its own dataset. Rows of ``part`` that could not be used are there too: without
    predictions, with the reason as their ``status``.
    """

    def __init__(self, mix: Mix, part: str) -> None:
        self.mix, self.part = mix, part
        self._names = task_columns(mix.heads)
        self._frames: list[list[pd.DataFrame]] = [[] for _ in mix.datasets]

    def add(self, batch: GraphBatch, predictions: Predictions) -> None:
        """Add a batch; graphs of padding are left out."""
        table, row = batch.table.cpu().numpy(), batch.row.cpu().numpy()
        for number, dataset in enumerate(self.mix.datasets):
            graphs = np.flatnonzero(table == number)
            if not len(graphs):
                continue
            rows = row[graphs]
            columns: dict[str, Any] = {"row": rows, self._smiles_column(): dataset.store.texts(rows)}
            for head in dataset.heads:
                columns.update(self._columns(head, dataset, batch, predictions[head.name], graphs, rows))
            self._frames[number].append(pd.DataFrame(columns))

    def _columns(
        self,
        head: HeadSpec,
        dataset: MixDataset,
        batch: GraphBatch,
        values: Tensor,
        graphs: np.ndarray,
        rows: np.ndarray,
    ) -> dict[str, Any]:
        numbers = in_label_units(head, self.mix.transforms[head.name].inverse(values), values)
        columns: dict[str, Any] = {}
        for index, name in enumerate(self._names[head.name]):
            for suffix, column in numbers(index):
                if head.level == "graph":
                    columns[name + suffix] = column[graphs]
                else:
                    columns[name + suffix] = _lists(column, head.level, dataset, batch, graphs, rows)
        return columns

    def _smiles_column(self) -> str:
        """The user's own name of the column, or ``smiles`` where datasets differ."""
        names = {dataset.resolved.smiles for dataset in self.mix.datasets}
        return names.pop() if len(names) == 1 else "smiles"

    def frame(self) -> pd.DataFrame:
        """The whole table, datasets one after another in the order of their rows, ``status`` last."""
        parts = []
        for dataset, frames in zip(self.mix.datasets, self._frames, strict=True):
            good = [frame.assign(status="ok") for frame in frames]
            failures = dataset.failed_rows(self.part)
            bad = [{"row": f.row, self._smiles_column(): f.text, "status": f.reason} for f in failures]
            both = [*good, pd.DataFrame(bad)] if bad else good
            if not both:
                continue
            frame = pd.concat(both, ignore_index=True).sort_values("row", ignore_index=True)
            if len(self.mix.datasets) > 1:
                frame.insert(0, "dataset", dataset.name)
            parts.append(frame)
        if not parts:
            return pd.DataFrame(columns=["row", self._smiles_column(), "status"])
        table = pd.concat(parts, ignore_index=True)
        return table[[*(name for name in table if name != "status"), "status"]]


def task_columns(heads: Sequence[HeadSpec]) -> dict[str, list[str]]:
    """Column names of every head's tasks: ``task``, or ``dataset/task`` where datasets share a name."""
    datasets: dict[str, set[str]] = {}
    for head in heads:
        for task in head.tasks:
            datasets.setdefault(task.name, set()).add(task.dataset)
    return {
        head.name: [f"{t.dataset}/{t.name}" if len(datasets[t.name]) > 1 else t.name for t in head.tasks]
        for head in heads
    }


def in_label_units(head: HeadSpec, restored: Tensor, raw: Tensor) -> Any:
    """A function from task number to ``[(column suffix, values [entities])]`` for predictions of a head.

    Args:
        head: The tasks.
        restored: Predictions with the label transform undone, float64 ``[entities, tasks(, classes)]``.
        raw: The predictions as the network gave them.
    """
    if head.kind == "regression":
        values = restored.cpu().numpy()
        return lambda index: [("", values[:, index])]
    if head.kind == "binary":
        shares = raw.double().sigmoid().cpu().numpy()
        return lambda index: [("", shares[:, index])]
    probabilities = raw.double().softmax(-1).cpu().numpy()

    def columns(index: int) -> list[tuple[str, np.ndarray]]:
        names = head.tasks[index].classes or tuple(str(number) for number in range(head.num_classes))
        best = np.array(names, dtype=object)[probabilities[:, index].argmax(-1)]
        return [("", best), *((f"[{name}]", probabilities[:, index, k]) for k, name in enumerate(names))]

    return columns


def _lists(
    column: np.ndarray, level: str, dataset: MixDataset, batch: GraphBatch, graphs: np.ndarray, rows: np.ndarray
) -> list[list[Any]]:
    """Cut a column of entities into one list per graph, in the order of the row's own text."""
    ptr = batch.ptr.cpu().numpy()
    if level == "edge":
        # Bonds lie graph after graph, as nodes do; a bond belongs to the graph of its first edge's source.
        owner = batch.batch[batch.edge_index[0, batch.bond_edges[0]]].cpu().numpy()
        ptr = np.searchsorted(owner, np.arange(len(ptr)))
    order_of = dataset.store.atom_order if level == "node" else dataset.store.bond_order
    lists = []
    for graph, row in zip(graphs, rows, strict=True):
        values = column[ptr[graph] : ptr[graph + 1]]
        restored = np.empty_like(values)
        restored[np.asarray(order_of(int(row)))] = values
        lists.append(restored.tolist())
    return lists
