"""Random sparse labels, predictions and heads for every loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphium import registry
from graphium.data.batch import Labels
from graphium.types import Task, group_tasks

CLASSES = {"regression": 0, "binary": 0, "multiclass": 4, "ordinal": 3}


@pytest.fixture
def make_labels():
    """Random sparse labels; task 0 has none, task 1 is on one entity, task 2 has one class."""

    def make(kind, num_tasks=6, num_entities=40, density=0.3, seed=0, num_classes=0, bounds=False):
        rng = np.random.default_rng(seed)
        mask = rng.random((num_entities, num_tasks)) < density
        mask[:, :2] = False
        mask[3, 1] = True
        entity, task = mask.nonzero()
        if kind == "regression":
            value = rng.normal(size=len(task)).round(1)
        else:
            value = rng.integers(0, max(num_classes or CLASSES[kind], 2), len(task))
            value[task == 2] = 1
        weight = rng.uniform(0.5, 2, len(task))
        total = np.bincount(task, weight, minlength=num_tasks)
        bound = torch.from_numpy(rng.integers(-1, 2, len(task)).astype(np.int8)) if bounds else None
        numbers = (torch.from_numpy(np.asarray(a)).float() for a in (value, weight, total))
        return Labels(torch.from_numpy(entity), torch.from_numpy(task), *numbers, bound)

    return make


@pytest.fixture
def make_prediction():
    """Predictions of the shape that a loss asks for."""

    def make(kind, loss="", num_tasks=6, num_entities=40, seed=1, num_classes=0):
        width = num_classes or CLASSES[kind] or len(registry.build("loss", loss).outputs if loss else ())
        shape = (num_entities, num_tasks, width) if width else (num_entities, num_tasks)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    return make


@pytest.fixture
def make_head():
    """A head with one task per loss, named t0, t1, ..."""

    def make(kind, *losses, dataset="demo", num_classes=0, outputs=()):
        classes = num_classes or CLASSES[kind]
        tasks = [
            Task(f"t{i}", dataset, "graph", kind, classes, loss=loss, outputs=outputs) for i, loss in enumerate(losses)
        ]
        (head,) = group_tasks(tasks)
        return head

    return make


@pytest.fixture
def check_reference():
    """Compare a loss with a per-task reference: ``reference(prediction [n(, width)], value [n]) -> [n]``, float64."""

    def check(loss, prediction, labels, reference):
        numerator, denominator = loss(prediction, labels)
        assert numerator.dtype == denominator.dtype == torch.float32
        torch.testing.assert_close(denominator, labels.total)
        for task in range(len(labels.total)):
            mine = labels.task == task
            if not mine.any():
                assert numerator[task] == denominator[task] == 0
                continue
            picked = prediction[labels.entity[mine], task].double().numpy()
            bound = () if labels.bound is None else (labels.bound[mine].numpy(),)
            element = reference(picked, labels.value[mine].double().numpy(), *bound)
            mean = np.average(element, weights=labels.weight[mine].double().numpy())
            assert float(numerator[task] / denominator[task]) == pytest.approx(mean, rel=2e-5, abs=1e-6)

    return check
