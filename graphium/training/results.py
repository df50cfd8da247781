"""What the labels of the training part are like, and predictions and metrics of the held-out parts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch
from graphium.data.mix import Mix, MixDataset
from graphium.data.sampling.draws import Sampling
from graphium.data.sampling.loader import BatchLoader
from graphium.training.evaluation import Evaluator, label_statistics
from graphium.training.predictions import PredictionTable
from graphium.types import PARTS, HeadSpec


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
    """What the baseline and some losses know: means and class shares of the exact training labels of every head."""
    return {
        head.name: label_statistics(head, _training_labels(dataset, head))
        for dataset in mix.datasets
        for head in dataset.heads
    }


def _training_labels(dataset: MixDataset, head: HeadSpec) -> Iterator[tuple[Tensor, Tensor]]:
    """Tasks and values of the exact training labels of a head, some rows at a time."""
    for rows in dataset.labelled_rows([PARTS.index("train")]):
        labels = dataset.blocks[head.name].of_rows(rows)
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
    evaluator = Evaluator(mix.heads, mix.transforms, statistics=statistics)
    for batch, predictions in predict(network, mix.loader(part, sampling=sampling), device, precision):
        evaluator.update(predictions, batch.labels)
        if writer is not None:
            writer.add(batch, predictions)
    report = evaluator.compute()
    present = {d.name for d in mix.datasets if (d.parts == PARTS.index(part)).any()}
    return {dataset: numbers for dataset, numbers in report.items() if dataset in present}
