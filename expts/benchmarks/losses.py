"""Loss forward and backward over label triples beside a dense NaN-masked BCE in plain PyTorch.

    python expts/benchmarks/losses.py

1,024 molecules x 1,328 binary tasks, 10 %, 7 % and 1 % of the labels present, per-task means, one thread. Both sides
start from the same predictions ``[1024, 1328]``, a leaf, and end with their gradient. The sides take turns in blocks
of thirty steps: a single step would find the other side's fifty megabytes in the processor's cache in place of its own.
Memory that was freed is kept by the process, so that no side pays for fresh pages. The other losses stand beside the
same dense BCE, for information.
"""

from __future__ import annotations

import argparse
import ctypes
import os
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from timing import interleave, report
from torch import Tensor

from graphium import registry
from graphium.data.batch import Labels
from graphium.registry import build
from graphium.training.losses.heads import Losses
from graphium.types import Task, group_tasks

MOLECULES, TASKS, CLASSES, STEPS = 1024, 1328, 3, 30
ASKED = {0.10: 0.20, 0.07: 0.15, 0.01: 0.06}
# What the other losses are measured at.
SHARE = 0.07


def make_labels(share: float, kind: str) -> Labels:
    """Labels of which ``share`` is present, as a batch carries them: molecule by molecule."""
    generator = torch.Generator().manual_seed(0)
    present = torch.rand(MOLECULES, TASKS, generator=generator) < share
    entity, task = present.nonzero(as_tuple=True)
    if kind == "regression":
        value = torch.randn(len(task), generator=generator)
    else:
        highest = 2 if kind == "binary" else CLASSES
        value = torch.randint(0, highest, (len(task),), generator=generator).float()
    return Labels(entity, task, value, torch.ones(len(task)), present.sum(0).float())


def sparse_step(name: str, kind: str, labels: Labels) -> tuple[Tensor, Callable[[], Tensor]]:
    """The predictions, and a step over triples: the loss of all tasks, every task equal, and its gradient."""
    classes = CLASSES if kind in ("multiclass", "ordinal") else 0
    outputs = build("loss", name).outputs
    tasks = [Task(f"t{i}", "demo", "graph", kind, classes, loss=name, outputs=outputs) for i in range(TASKS)]
    heads = group_tasks(tasks)
    head = heads[0]
    losses, weighting = Losses(heads), build("weighting", "tasks", heads=heads)
    shape = (MOLECULES, TASKS, head.width) if head.width else (MOLECULES, TASKS)
    prediction = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()

    def step() -> Tensor:
        prediction.grad = None
        numerators, denominators = losses({head.name: prediction}, {head.name: labels})
        loss: Tensor = weighting(numerators, denominators, {head.name: labels.total})
        loss.backward()
        return loss.detach()

    return prediction, step


def dense_step(prediction: Tensor, labels: Labels) -> Callable[[], Tensor]:
    """The same BCE over a dense matrix of labels with NaN where there is none."""
    target = torch.full((MOLECULES, TASKS), torch.nan)
    target[labels.entity, labels.task] = labels.value

    def step() -> Tensor:
        prediction.grad = None
        present = ~target.isnan()
        element = F.binary_cross_entropy_with_logits(prediction, target.nan_to_num(), reduction="none")
        count = present.sum(0)
        mean = torch.where(present, element, 0).sum(0) / count.clamp(min=1)
        loss = mean.sum() / (count > 0).sum()
        loss.backward()
        return loss.detach()

    return step


def in_blocks(step: Callable[[], Tensor]) -> Callable[[], None]:
    def block() -> None:
        for _ in range(STEPS):
            step()

    return block


def keep_memory() -> None:
    """Tell glibc's allocator, where it is the one, to give nothing back to the system."""
    if hasattr(allocator := ctypes.CDLL(None), "mallopt"):
        trim_threshold, mmap_threshold = -1, -3
        allocator.mallopt(trim_threshold, 1 << 30)
        allocator.mallopt(mmap_threshold, 1 << 25)


def check_equal(prediction: Tensor, sparse: Callable[[], Tensor], dense: Callable[[], Tensor]) -> None:
    """Both sides must do the same work: equal losses, equal gradients."""
    results = []
    for step in (sparse, dense):
        loss = step()
        assert prediction.grad is not None
        results.append((loss, prediction.grad.clone()))
    torch.testing.assert_close(*results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11, help="blocks of thirty steps per side")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    keep_memory()
    for share, asked in ASKED.items():
        labels = make_labels(share, "binary")
        prediction, sparse = sparse_step("bce", "binary", labels)
        dense = dense_step(prediction, labels)
        check_equal(prediction, sparse, dense)
        seconds = interleave({"sparse": in_blocks(sparse), "dense": in_blocks(dense)}, repeats)
        title = f"bce, {share:.0%} present, {seconds['sparse'] / STEPS * 1e3:.2f} ms / dense"
        report(title, seconds["sparse"] / seconds["dense"], asked, at_least=False)

    labels = make_labels(SHARE, "binary")
    prediction, _ = sparse_step("bce", "binary", labels)
    sides = {"dense": in_blocks(dense_step(prediction, labels))}
    for name in registry.names("loss"):
        for kind in registry.lookup("loss", name).kinds:
            sides[f"{name}, {kind}"] = in_blocks(sparse_step(name, kind, make_labels(SHARE, kind))[1])
    seconds = interleave(sides, max(repeats // 4, 1))
    for name in list(sides)[1:]:
        print(f"{f'{name}, {SHARE:.0%} present / dense bce':<58} {seconds[name] / seconds['dense']:8.3f} x")


if __name__ == "__main__":
    main()
