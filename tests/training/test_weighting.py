import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from graphium.data.batch import Labels
from graphium.errors import GraphiumError
from graphium.registry import build
from graphium.training.losses.heads import Losses
from graphium.training.weighting import sum_over_ranks
from graphium.types import HeadSpec, Task, group_tasks

WEIGHTINGS = ("labels", "tasks", "datasets")
HEADS = group_tasks(
    [Task(f"r{i}", "one", "graph", "regression", loss=loss) for i, loss in enumerate(["mae", "mse", "huber"])]
    + [Task(f"b{i}", "one", "graph", "binary") for i in range(4)]
    + [Task(f"c{i}", "two", "graph", "multiclass", 3) for i in range(2)]
)
WIDTH = 5


def example(num_molecules=64, seed=0):
    """Inputs and uneven labels: the first half of the molecules has most of them, some tasks are in one half only."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(num_molecules, WIDTH, generator=generator)
    triples = {}
    for head in HEADS:
        mask = torch.rand(num_molecules, head.num_tasks, generator=generator) < 0.5
        mask[num_molecules // 2 :] &= torch.rand(num_molecules // 2, head.num_tasks, generator=generator) < 0.2
        mask[: num_molecules // 2, 0] = False
        if head.num_tasks > 2:
            mask[:, 2] = False
        entity, task = mask.nonzero(as_tuple=True)
        value = torch.randn(len(task), generator=generator)
        if head.kind != "regression":
            value = torch.randint(0, head.num_classes or 2, (len(task),), generator=generator).float()
        triples[head.name] = (entity, task, value, torch.rand(len(task), generator=generator) + 0.5)
    return inputs, triples


def part_of(inputs, triples, start, stop):
    """The molecules ``start:stop`` as a batch of their own, with their own totals."""
    labels = {}
    for head in HEADS:
        entity, task, value, weight = triples[head.name]
        mine = (entity >= start) & (entity < stop)
        total = torch.zeros(head.num_tasks).index_add_(0, task[mine], weight[mine])
        labels[head.name] = Labels(entity[mine] - start, task[mine], value[mine], weight[mine], total)
    return inputs[start:stop], labels


def make_network():
    torch.manual_seed(0)
    return nn.Linear(WIDTH, sum(head.num_tasks * max(head.num_classes, 1) for head in HEADS))


def step_loss(network, inputs, labels, totals, weighting):
    """This batch's share of the loss of a step whose label totals are ``totals``."""
    output = network(inputs)
    predictions, column = {}, itertools.count()
    for head in HEADS:
        shape = (head.num_tasks, head.num_classes) if head.num_classes else (head.num_tasks,)
        columns = [next(column) for _ in range(torch.Size(shape).numel())]
        predictions[head.name] = output[:, columns].view(-1, *shape)
    numerators, denominators = Losses(HEADS)(predictions, labels)
    return build("weighting", weighting, heads=HEADS)(numerators, denominators, totals)


def totals_of(labels):
    return {name: one.total for name, one in labels.items()}


def whole_step(weighting):
    """Loss and gradient of the 64 molecules as one batch."""
    network = make_network()
    inputs, labels = part_of(*example(), 0, 64)
    loss = step_loss(network, inputs, labels, totals_of(labels), weighting)
    loss.backward()
    return loss.detach(), [p.grad for p in network.parameters()]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("cuts", [(0, 32, 64), (0, 5, 40, 64)])
def test_accumulated_micro_batches_equal_one_batch(weighting, cuts):
    network = make_network()
    parts = [part_of(*example(), *cut) for cut in itertools.pairwise(cuts)]
    totals = {head.name: sum(labels[head.name].total for _, labels in parts) for head in HEADS}
    losses = []
    for inputs, labels in parts:
        losses.append(step_loss(network, inputs, labels, totals, weighting))
        losses[-1].backward()
    loss, gradients = whole_step(weighting)
    torch.testing.assert_close(sum(losses).detach(), loss, rtol=0, atol=1e-6)
    for mine, expected in zip(network.parameters(), gradients, strict=True):
        torch.testing.assert_close(mine.grad, expected, rtol=0, atol=1e-6)


def on_two_ranks(function, folder):
    """What ``function(rank, world_size)`` of this file returns on each of two gloo ranks."""
    script = Path(__file__).with_name("gloo_ranks.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), __file__, function.__name__, str(folder)]
    subprocess.run(command, check=True, env=environment, timeout=240)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def steps_of_rank(rank, world_size):
    """Loss and gradients of one rank after the gradients were averaged over ranks, as DDP does."""
    results = {}
    for weighting in WEIGHTINGS:
        network = nn.parallel.DistributedDataParallel(make_network())
        size = 64 // world_size
        inputs, labels = part_of(*example(), rank * size, (rank + 1) * size)
        loss = step_loss(network, inputs, labels, sum_over_ranks(totals_of(labels)), weighting)
        (loss * world_size).backward()
        loss = loss.detach()
        dist.all_reduce(loss)
        results[weighting] = (loss, [p.grad for p in network.parameters()])
    return results


def test_two_ranks_equal_one_batch(tmp_path):
    for results in on_two_ranks(steps_of_rank, tmp_path):
        for weighting in WEIGHTINGS:
            loss, gradients = whole_step(weighting)
            torch.testing.assert_close(results[weighting][0], loss, rtol=0, atol=1e-6)
            for mine, expected in zip(results[weighting][1], gradients, strict=True):
                torch.testing.assert_close(mine, expected, rtol=0, atol=1e-6)


NUMERATORS = {"a": torch.tensor([6.0, 0.0, 1.0]), "b": torch.tensor([8.0]), "c": torch.tensor([0.0, 0.0])}
TOTALS = {"a": torch.tensor([3.0, 0.0, 1.0]), "b": torch.tensor([2.0]), "c": torch.tensor([0.0, 0.0])}


def combined(weighting, datasets=("a", "b", "c"), numerators=NUMERATORS, totals=TOTALS):
    """The loss of three heads with 3, 1 and 2 tasks, which belong to these datasets."""
    heads = [
        HeadSpec(
            name,
            dataset,
            "graph",
            "regression",
            0,
            tuple(Task(f"t{i}", dataset, "graph", "regression") for i in range(n)),
        )
        for name, dataset, n in zip("abc", datasets, (3, 1, 2), strict=True)
    ]
    return build("weighting", weighting, heads=heads)(numerators, totals, totals)


@pytest.mark.parametrize(
    ("weighting", "datasets", "expected"),
    [
        ("labels", "abc", 15 / 6),
        ("tasks", "abc", (2 + 1 + 4) / 3),
        ("datasets", "abc", (1.5 + 4) / 2),
        ("datasets", "xxy", (2 + 1 + 4) / 3),
        ("datasets", "xyx", (1.5 + 4) / 2),
    ],
)
def test_values_by_hand(weighting, datasets, expected):
    assert float(combined(weighting, datasets)) == pytest.approx(expected)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_heads_without_labels_change_nothing(weighting):
    some = {name: NUMERATORS[name] for name in "ab"}, {name: TOTALS[name] for name in "ab"}
    assert torch.equal(combined(weighting), combined(weighting, "abc", *some))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_no_labels_give_zero_and_a_finite_gradient(weighting):
    numerator = torch.zeros(3, requires_grad=True)
    loss = combined(weighting, "abc", {"a": numerator}, {"a": torch.zeros(3)})
    loss.backward()
    assert loss == 0
    assert numerator.grad.isfinite().all()


def test_bad_weighting_names_the_choices():
    with pytest.raises(GraphiumError, match="did you mean 'tasks'"):
        combined("task")
    with pytest.raises(GraphiumError, match="no head"):
        combined("tasks", "abc", {}, {})


def test_single_process_totals_are_left_alone():
    assert sum_over_ranks(TOTALS) == TOTALS
