"""After training: predictions and metrics of the held-out parts with the weights that are kept."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from graphium.chem.parse import readable
from graphium.data.batch import GraphBatch
from graphium.data.mix import Mix, MixDataset
from graphium.data.sampling.draws import Sampling
from graphium.data.sampling.loader import BatchLoader
from graphium.data.store.columns import slices
from graphium.data.store.graph_store import GraphStore
from graphium.training.evaluation import Evaluator, label_statistics
from graphium.types import PARTS, HeadSpec, Task

Predictions = Mapping[str, Tensor]

# Rows whose labels are in memory together.
_ROWS_AT_ONCE = 1 << 16
# Rows that lie closer than this are read together.
_GAP = 64
# Columns of the prediction table that are no tasks.
_OWN_COLUMNS = ("dataset", "row", "pairs", "status")


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
    """What the baseline predictor knows: means and class shares of the exact training labels of every head."""
    return {
        head.name: label_statistics(head, _training_labels(dataset, head))
        for dataset in mix.datasets
        for head in dataset.heads
    }


def _training_labels(dataset: MixDataset, head: HeadSpec) -> Iterator[tuple[Tensor, Tensor]]:
    """Tasks and values of the exact training labels of a head, some rows at a time."""
    block, code = dataset.blocks[head.name], PARTS.index("train")
    for start in range(0, len(dataset.parts), _ROWS_AT_ONCE):
        labels = block.of_rows(start + np.flatnonzero(dataset.parts[start : start + _ROWS_AT_ONCE] == code))
        exact = slice(None) if labels.bound is None else labels.bound == 0
        yield torch.as_tensor(labels.task[exact]), torch.as_tensor(labels.value[exact])


def evaluate(
    network: nn.Module,
    mix: Mix,
    part: str,
    *,
    sampling: Sampling,
    device: torch.device,
    precision: str = "32",
    statistics: Mapping[str, Tensor] | None = None,
    writer: PredictionTable | None = None,
) -> dict[str, dict[str, Any]]:
    """Metrics of one part by dataset, in the keys of ``metrics.json``; only datasets with rows in it.

    ``sampling`` bounds the batches. ``statistics`` (:func:`training_statistics`) adds the baseline; ``writer``
    collects the predictions.
    """
    evaluator = Evaluator(mix.heads, mix.transforms)
    for batch, predictions in predict(network, mix.loader(part, sampling=sampling), device, precision):
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
    most probable class. Node and bond tasks hold lists in the atom or bond order of the row's own text. Tasks of
    node pairs hold lists beside one column ``pairs``: the predicted pairs as ``[[i, j], ...]``, i < j in the
    text's own atom numbers from 0, sorted. Where the text is a molblock the table shows a SMILES of it, and lists
    and pairs keep the order of the molblock. A line holds the tasks of its own dataset. Rows of ``part`` that could
    not be used are there too: without predictions, with the reason as their ``status``.
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
            texts = [readable(text) for text in dataset.store.texts(rows)]
            columns: dict[str, Any] = {"row": rows, self._smiles_column(): texts}
            levels = {head.level for head in dataset.heads}
            places = {level: _places(level, dataset.store, batch, graphs, rows) for level in levels}
            if "nodepair" in places:
                columns["pairs"] = places["nodepair"].pairs
            for head in dataset.heads:
                columns.update(self._columns(head, predictions[head.name], places[head.level]))
            self._frames[number].append(pd.DataFrame(columns))

    def _columns(self, head: HeadSpec, values: Tensor, places: _Places) -> dict[str, Any]:
        numbers = in_label_units(head, self.mix.transforms[head.name].inverse(values), values)
        columns: dict[str, Any] = {}
        for index, name in enumerate(self._names[head.name]):
            for suffix, column in numbers(index):
                picked = column[places.entity]
                columns[name + suffix] = picked if head.level == "graph" else _cut(picked, places.ptr)
        return columns

    def _smiles_column(self) -> str:
        """The user's own name of the column, or ``smiles`` where datasets differ."""
        names = {dataset.resolved.smiles for dataset in self.mix.datasets}
        return names.pop() if len(names) == 1 and names.isdisjoint(_OWN_COLUMNS) else "smiles"

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
    """Column names of every head's tasks: ``task``, or ``dataset/task`` where the name means something else too."""
    datasets: dict[str, set[str]] = {name: {""} for name in (*_OWN_COLUMNS, "smiles")}
    for head in heads:
        for task in head.tasks:
            datasets.setdefault(task.name, set()).add(task.dataset)
            for share in (f"{task.name}[{name}]" for name in _class_names(head, task)):
                datasets.setdefault(share, set()).add("")
    return {
        head.name: [f"{t.dataset}/{t.name}" if len(datasets[t.name]) > 1 else t.name for t in head.tasks]
        for head in heads
    }


def _class_names(head: HeadSpec, task: Task) -> tuple[str, ...]:
    return task.classes or tuple(str(number) for number in range(head.num_classes))


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
        names = _class_names(head, head.tasks[index])
        best = np.array(names, dtype=object)[probabilities[:, index].argmax(-1)]
        return [("", best), *((f"[{name}]", probabilities[:, index, k]) for k, name in enumerate(names))]

    return columns


@dataclass(frozen=True)
class _Places:
    """Where the batch holds the entities of some rows, in the users' own order.

    ``entity`` int64 ``[E]``: rows of the predictions, those of one row of the table after the other.
    ``ptr`` int64 ``[rows + 1]``: which are a row's. ``pairs``: the atom numbers of its pairs.
    """

    entity: np.ndarray
    ptr: np.ndarray
    pairs: list[list[Any]] | None = None


def _places(level: str, store: GraphStore, batch: GraphBatch, graphs: np.ndarray, rows: np.ndarray) -> _Places:
    if level == "graph":
        return _Places(graphs, np.arange(len(graphs) + 1))
    order_ptr, order = _orders(store, "edge" if level == "edge" else "node", rows)
    first_node = batch.ptr.cpu().numpy()
    if level == "nodepair":
        return _pair_places(batch, graphs, first_node[graphs], order_ptr, order)
    first = first_node
    if level == "edge":
        # Bonds lie graph after graph, as nodes do; a bond belongs to the graph of its first edge's source.
        owner = batch.batch[batch.edge_index[0, batch.bond_edges[0]]].cpu().numpy()
        first = np.searchsorted(owner, np.arange(len(first_node)))
    count = np.diff(order_ptr)
    entity = np.empty_like(order)
    entity[np.repeat(order_ptr[:-1], count) + order] = slices(first[graphs], count)
    return _Places(entity, order_ptr)


def _pair_places(
    batch: GraphBatch, graphs: np.ndarray, first_node: np.ndarray, order_ptr: np.ndarray, order: np.ndarray
) -> _Places:
    assert batch.pair_index is not None
    owner = batch.batch[batch.pair_index[0]].cpu().numpy()
    number = np.full(batch.num_graphs, -1)
    number[graphs] = np.arange(len(graphs))
    mine = np.flatnonzero(number[owner] >= 0)
    graph = number[owner[mine]]
    nodes = batch.pair_index.cpu().numpy()[:, mine]
    ends = np.sort(order[nodes - first_node[graph] + order_ptr[graph]], axis=0)
    # Heads that share a pair name it once each.
    size = int(np.diff(order_ptr).max(initial=1))
    _, picked = np.unique((graph * size + ends[0]) * size + ends[1], return_index=True)
    ptr = np.searchsorted(graph[picked], np.arange(len(graphs) + 1))
    return _Places(mine[picked], ptr, _cut(ends[:, picked].T, ptr))


def _orders(store: GraphStore, level: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets int64 ``[rows + 1]`` and the user's index of every canonical atom or bond of the rows."""
    ordered = np.unique(rows)
    starts, counts, orders, total = [], [], [], 0
    for run in np.split(ordered, np.flatnonzero(np.diff(ordered) > _GAP) + 1):
        ptr, order = store.orders(level, int(run[0]), int(run[-1]) + 1)
        starts.append(total + ptr[run - run[0]])
        counts.append(np.diff(ptr)[run - run[0]])
        orders.append(order)
        total += len(order)
    at = np.searchsorted(ordered, rows)
    count = np.concatenate(counts)[at]
    return np.concatenate([[0], np.cumsum(count)]), np.concatenate(orders)[slices(np.concatenate(starts)[at], count)]


def _cut(values: np.ndarray, ptr: np.ndarray) -> list[list[Any]]:
    flat = values.tolist()
    return [flat[start:stop] for start, stop in itertools.pairwise(ptr.tolist())]
