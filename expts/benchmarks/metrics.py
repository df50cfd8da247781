"""Exact AUROC and AP of every task beside a loop of scikit-learn over tasks that are sliced already.

    python expts/benchmarks/metrics.py

1,328 tasks x 100,000 molecules, 7 % of the labels present, one positive in ten: ours through ``HeadMetrics`` (the
updates of all batches, and the result), scikit-learn over one array of labels and one of scores per task, in one
process, interleaved, in seconds of the processor (one thread). The peak of memory is that of the resident set
(``VmHWM``, reset before our turn) above what the process held before it: buffers, sort, and what the libraries keep.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from timing import report
from torch import Tensor

from graphium.data.batch import Labels
from graphium.training.metrics.head import HeadMetrics
from graphium.types import Task, group_tasks

TASKS, DENSITY, POSITIVE, BATCH = 1328, 0.07, 0.1, 2048


def batches(molecules: int) -> Iterator[tuple[Tensor, Labels]]:
    """Logits ``[BATCH, TASKS]`` and labels, in the order that a batch has them."""
    rng = np.random.default_rng(0)
    for start in range(0, molecules, BATCH):
        size = min(BATCH, molecules - start)
        prediction = rng.standard_normal((size, TASKS), dtype=np.float32)
        entity, task = (rng.random((size, TASKS), dtype=np.float32) < DENSITY).nonzero()
        value = (rng.random(len(task), dtype=np.float32) < POSITIVE).astype(np.float32)
        prediction[entity, task] += value  # the positives score higher
        one = torch.ones(len(task))
        labels = Labels(
            torch.from_numpy(entity), torch.from_numpy(task), torch.from_numpy(value), one, torch.zeros(TASKS)
        )
        yield torch.from_numpy(prediction), labels


def sliced(drawn: list[tuple[Tensor, Labels]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Labels and scores of every task."""
    task, value, score = [], [], []
    for prediction, labels in drawn:
        task.append(labels.task.numpy().astype(np.int16))
        value.append(labels.value.numpy())
        score.append(prediction[labels.entity, labels.task].numpy())
    order = np.argsort(np.concatenate(task), kind="stable")
    starts = np.cumsum(np.bincount(np.concatenate(task), minlength=TASKS))[:-1]
    columns = [np.split(np.concatenate(column)[order], starts) for column in (value, score)]
    return list(zip(*columns, strict=True))


def ours(drawn: list[tuple[Tensor, Labels]]) -> tuple[float, dict[str, Tensor]]:
    """Seconds of the processor for updates and result, and the result."""
    tasks = [Task(f"assay {i}", "pcba", "graph", "binary") for i in range(TASKS)]
    metrics = HeadMetrics(group_tasks(tasks)[0], metrics=["auroc", "ap"])
    start = time.process_time()
    for prediction, labels in drawn:
        metrics.update(prediction, labels)
    found = metrics.compute()
    return time.process_time() - start, found


def theirs(columns: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, dict[str, np.ndarray]]:
    """Seconds of the loop, and the result."""
    start = time.process_time()
    found = {
        "auroc": np.array([roc_auc_score(value, score) for value, score in columns]),
        "ap": np.array([average_precision_score(value, score) for value, score in columns]),
    }
    return time.process_time() - start, found


def memory(name: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process, bytes."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecules", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    drawn = list(batches(arguments.molecules))
    columns = sliced(drawn)
    ours(drawn[:1])  # what is loaded at first use is no memory of the metric
    labels = sum(len(value) for value, _ in columns)
    seconds: dict[str, list[float]] = {"ours": [], "scikit-learn": []}
    peak = 0
    for _ in range(arguments.repeats):
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from here
        spent, found = ours(drawn)
        peak = max(peak, memory("VmHWM") - before)
        seconds["ours"].append(spent)
        spent, expected = theirs(columns)
        seconds["scikit-learn"].append(spent)
    median = {side: statistics.median(values) for side, values in seconds.items()}
    print(f"{labels:,} labels: ours {median['ours']:.2f} s, scikit-learn {median['scikit-learn']:.2f} s")
    difference = max(float(np.abs(found[name].numpy() - expected[name]).max()) for name in found)
    report("AUROC and AP of 1,328 tasks / scikit-learn", median["scikit-learn"] / median["ours"], 12.0)
    report("largest difference", difference / 1e-9, 1.0, at_least=False, unit="e-9")
    report("peak memory per label", peak / labels, 120.0, at_least=False, unit="bytes")


if __name__ == "__main__":
    main()
