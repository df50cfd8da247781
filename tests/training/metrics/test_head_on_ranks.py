"""Little is imported here, because each rank imports it."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from graphium.data.batch import Labels
from graphium.training.metrics.head import HeadMetrics
from graphium.types import Task, group_tasks

CLASSES = {"regression": 0, "binary": 0, "multiclass": 4, "ordinal": 3}


def make_metrics(kind):
    (head,) = group_tasks([Task(f"t{i}", "demo", "graph", kind, CLASSES[kind]) for i in range(8)])
    names = ["f1", "balanced_accuracy"] if CLASSES[kind] else []
    default = HeadMetrics(head).parts
    return HeadMetrics(head, (lambda value, task: 3 * value.double() - task), metrics=[*default, *names])


def make_batch(kind, seed, num_entities=60):
    generator = torch.Generator().manual_seed(seed)
    entity, task = (torch.rand(num_entities, 8, generator=generator) < 0.4).nonzero(as_tuple=True)
    value = torch.randn(len(task), generator=generator)
    if kind != "regression":
        value = torch.randint(0, max(2, CLASSES[kind]), (len(task),), generator=generator).float()
    shape = (num_entities, 8, CLASSES[kind]) if CLASSES[kind] else (num_entities, 8)
    prediction = torch.randn(shape, generator=generator)
    raw = value.double() * 3 - task + 0.1 if kind == "regression" and seed else None
    return prediction, Labels(entity, task, value, torch.ones(len(task)), torch.zeros(8), raw=raw)


def metrics_of_rank(rank, world_size):
    """Rank 0 sees all labels but those of one batch, rank 1 that batch and no regression label at all."""
    results = {}
    for kind in CLASSES:
        metrics = make_metrics(kind)
        if rank == 0:
            metrics.update(*make_batch(kind, 1))
            metrics.update(*make_batch(kind, 2, num_entities=90))
        elif kind != "regression":
            metrics.update(*make_batch(kind, 3, num_entities=10))
        results[kind] = metrics.compute()
        if rank == 0:
            results[kind + " forward"] = metrics(*make_batch(kind, 4))  # of this batch, on this rank alone
        else:
            metrics.update(*make_batch(kind, 4))
        results[kind + " again"] = metrics.compute()  # what a rank holds is still its own
    return results


def test_two_ranks_equal_one(tmp_path):
    script = Path(__file__).parent.with_name("gloo_ranks.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), __file__, metrics_of_rank.__name__, str(tmp_path)]
    subprocess.run(command, check=True, env=environment, timeout=240)
    for rank in range(2):
        results = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for kind in CLASSES:
            metrics = make_metrics(kind)
            metrics.update(*make_batch(kind, 1))
            metrics.update(*make_batch(kind, 2, num_entities=90))
            if kind != "regression":
                metrics.update(*make_batch(kind, 3, num_entities=10))
            torch.testing.assert_close(results[kind], metrics.compute(), equal_nan=True, rtol=1e-9, atol=1e-9)
            alone = metrics(*make_batch(kind, 4))
            if rank == 0:
                torch.testing.assert_close(results[kind + " forward"], alone, equal_nan=True)
            metrics.update(*make_batch(kind, 4))
            torch.testing.assert_close(
                results[kind + " again"], metrics.compute(), equal_nan=True, rtol=1e-9, atol=1e-9
            )
