import itertools
import math
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
from graphium.nn.outputs import EVIDENTIAL, GAUSSIAN
from graphium.registry import build
from graphium.training.losses.heads import Losses
from graphium.training.weighting import sum_over_ranks
from graphium.types import HeadSpec, Task, group_tasks

# Names of the cases: what is configured, and set by hand where it is learned or adapted.
WEIGHTINGS = {
    "labels": "labels",
    "tasks": "tasks",
    "datasets": "datasets",
    "fixed": {"name": "fixed", "datasets": {"two": 3.0}, "tasks": {"one/r*": 0.5, "b1": 0.0}},
    "uncertainty": "uncertainty",
    "uncertainty-datasets": {"name": "uncertainty", "of": "datasets"},
    "dwa": "dwa",
    "dwa-datasets": {"name": "dwa", "of": "datasets", "temperature": 0.5},
}
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


def make_weighting(name, heads=HEADS):
    """A weighting in the middle of a training: with learned log-variances and means of two epochs."""
    weighting = build("weighting", WEIGHTINGS[name], heads=heads)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in weighting.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        if hasattr(weighting, "means"):
            weighting.means.copy_(torch.rand(weighting.means.shape, generator=generator))
    return weighting


class Model(nn.Module):
    """A linear network and its weighting, whose parameters are trained together."""

    def __init__(self, name):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Linear(WIDTH, sum(head.num_tasks * max(head.num_classes, 1) for head in HEADS))
        self.weighting = make_weighting(name)

    def forward(self, inputs, labels, totals):
        return step_loss(self.network, inputs, labels, totals, self.weighting)


def step_loss(network, inputs, labels, totals, weighting):
    """This batch's share of the loss of a step whose label totals are ``totals``."""
    output = network(inputs)
    predictions, column = {}, itertools.count()
    for head in HEADS:
        shape = (head.num_tasks, head.num_classes) if head.num_classes else (head.num_tasks,)
        columns = [next(column) for _ in range(torch.Size(shape).numel())]
        predictions[head.name] = output[:, columns].view(-1, *shape)
    numerators, denominators = Losses(HEADS)(predictions, labels)
    return weighting(numerators, denominators, totals)


def totals_of(labels):
    return {name: one.total for name, one in labels.items()}


def whole_step(weighting):
    """Loss and gradient of the 64 molecules as one batch."""
    model = Model(weighting)
    inputs, labels = part_of(*example(), 0, 64)
    loss = model(inputs, labels, totals_of(labels))
    loss.backward()
    return loss.detach(), [p.grad for p in model.parameters()]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("cuts", [(0, 32, 64), (0, 5, 40, 64)])
def test_accumulated_micro_batches_equal_one_batch(weighting, cuts):
    model = Model(weighting)
    parts = [part_of(*example(), *cut) for cut in itertools.pairwise(cuts)]
    totals = {head.name: sum(labels[head.name].total for _, labels in parts) for head in HEADS}
    losses = []
    for inputs, labels in parts:
        losses.append(model(inputs, labels, totals))
        losses[-1].backward()
    loss, gradients = whole_step(weighting)
    torch.testing.assert_close(sum(losses).detach(), loss, rtol=0, atol=1e-6)
    assert all(gradient.abs().max() > 1e-3 for gradient in gradients)
    for mine, expected in zip(model.parameters(), gradients, strict=True):
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
        model = nn.parallel.DistributedDataParallel(Model(weighting))
        size = 64 // world_size
        inputs, labels = part_of(*example(), rank * size, (rank + 1) * size)
        loss = model(inputs, labels, sum_over_ranks(totals_of(labels))[0])
        (loss * world_size).backward()
        loss = loss.detach()
        dist.all_reduce(loss)
        results[weighting] = (loss, [p.grad for p in model.parameters()])
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


def heads_of(datasets="abc", kinds=("regression", "regression", "regression")):
    """Three heads with 3, 1 and 2 tasks, ``t0`` and so on, that belong to these datasets."""
    return [
        HeadSpec(name, dataset, "graph", kind, 0, tuple(Task(f"t{i}", dataset, "graph", kind) for i in range(n)))
        for name, dataset, kind, n in zip("abc", datasets, kinds, (3, 1, 2), strict=True)
    ]


def combined(config, datasets="abc", numerators=NUMERATORS, totals=TOTALS):
    return build("weighting", config, heads=heads_of(datasets))(numerators, totals, totals)


@pytest.mark.parametrize(
    ("config", "datasets", "expected"),
    [
        ("labels", "abc", 15 / 6),
        ("tasks", "abc", (2 + 1 + 4) / 3),
        ("datasets", "abc", (1.5 + 4) / 2),
        ("datasets", "xxy", (2 + 1 + 4) / 3),
        ("datasets", "xyx", (1.5 + 4) / 2),
        ("fixed", "abc", (2 + 1 + 4) / 3),
        ({"name": "fixed", "datasets": {"a": 3}}, "abc", (3 * 2 + 3 * 1 + 4) / 7),
        ({"name": "fixed", "datasets": {"a": 3}, "tasks": {"a/t0": 0.5}}, "abc", (1.5 * 2 + 3 * 1 + 4) / 5.5),
        ({"name": "fixed", "tasks": {"t0": 5, "a/*": 2}}, "abc", (5 * 2 + 2 * 1 + 5 * 4) / 12),
        ({"name": "fixed", "tasks": {"a/*": 2, "a/t?": 0}}, "abc", 4),
        ({"name": "fixed", "tasks": {"a/*": 0, "b/*": 0}}, "abc", 0),
    ],
)
def test_values_by_hand(config, datasets, expected):
    assert float(combined(config, datasets)) == pytest.approx(expected)


@pytest.mark.parametrize("config", ["labels", "tasks", "datasets", "fixed", "uncertainty", "dwa"])
def test_heads_without_labels_add_nothing(config):
    some = {name: NUMERATORS[name] for name in "ab"}, {name: TOTALS[name] for name in "ab"}
    assert torch.equal(combined(config), combined(config, "abc", *some))


@pytest.mark.parametrize("config", ["labels", "tasks", "datasets", "fixed", "uncertainty", "dwa"])
def test_no_labels_give_zero_and_a_finite_gradient(config):
    numerator = torch.zeros(3, requires_grad=True)
    loss = combined(config, "abc", {"a": numerator}, {"a": torch.zeros(3)})
    loss.backward()
    assert loss == 0
    assert numerator.grad.isfinite().all()


def test_uncertainty_is_the_formula_of_kendall():
    kinds = ("regression", "binary", "binary")
    for of, deviations in (("tasks", [2.0, 3.0, 0.5, 4.0, 1.0, 1.0]), ("datasets", [2.0, 4.0, 1.0])):
        weighting = build("weighting", {"name": "uncertainty", "of": of}, heads=heads_of("abc", kinds))
        with torch.no_grad():
            weighting.log_variance.copy_(torch.tensor(deviations).square().log())
        loss = weighting(NUMERATORS, TOTALS, TOTALS)
        s = dict(zip(["a0", "a1", "a2", "b"], deviations if of == "tasks" else [2.0, 2.0, 2.0, 4.0], strict=False))
        terms = {name: L / (2 * s[name] ** 2) + math.log(s[name]) for name, L in (("a0", 2.0), ("a2", 1.0))}
        terms["b"] = 4.0 / s["b"] ** 2 + math.log(s["b"])
        mean = sum(terms.values()) / 3 if of == "tasks" else ((terms["a0"] + terms["a2"]) / 2 + terms["b"]) / 2
        assert float(loss.detach()) == pytest.approx(mean)
        loss.backward()
        # A task without a label teaches its deviation nothing.
        if of == "tasks":
            assert (weighting.log_variance.grad == 0).tolist() == [False, True, False, False, True, True]
        else:
            assert (weighting.log_variance.grad == 0).tolist() == [False, False, True]


def test_uncertainty_finds_the_deviation_of_every_task():
    """Its optimum: s^2 = L for regression."""
    weighting = build("weighting", "uncertainty", heads=heads_of())
    optimizer = torch.optim.Adam(weighting.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        weighting(NUMERATORS, TOTALS, TOTALS).backward()
        optimizer.step()
    variances = weighting.log_variance.detach().exp()
    assert variances.tolist() == pytest.approx([2.0, 1.0, 1.0, 4.0, 1.0, 1.0], rel=1e-2)
    assert weighting.dataset_weights().tolist() == pytest.approx([(0.25 + 0.5 + 0.5) / 3, 0.125, 0.5], rel=1e-2)


def test_a_loss_of_zero_does_not_push_its_weight_without_end():
    weighting = build("weighting", "uncertainty", heads=heads_of())
    with torch.no_grad():
        weighting.log_variance.fill_(-1e4)
    assert weighting(NUMERATORS, TOTALS, TOTALS).isfinite() and weighting.dataset_weights().isfinite().all()


def test_a_learned_weight_at_its_limit_comes_back():
    weighting = build("weighting", "uncertainty", heads=heads_of())
    optimizer = torch.optim.SGD(weighting.parameters(), lr=1.0)
    for numerators, best in ((dict.fromkeys("abc", torch.zeros(1)), -10.0), (NUMERATORS, math.log(2))):
        sums = {name: numerators[name].expand(len(TOTALS[name])) for name in TOTALS}
        for _ in range(100):
            optimizer.zero_grad()
            weighting(sums, TOTALS, TOTALS).backward()
            optimizer.step()
            weighting.close_step()
        assert float(weighting.log_variance[0].detach()) == pytest.approx(best, abs=1e-2)


@pytest.mark.parametrize(("loss", "outputs"), [("gaussian", GAUSSIAN), ({"name": "evidential"}, EVIDENTIAL)])
def test_uncertainty_refuses_losses_that_may_be_negative(loss, outputs):
    task = Task("t", "d", "graph", "regression", loss=loss, outputs=outputs)
    with pytest.raises(GraphiumError, match="the loss of d is (gaussian|evidential), which may be negative"):
        build("weighting", "uncertainty", heads=[*heads_of(), *group_tasks([task])])


def train_epochs(weighting, losses):
    """Every epoch two steps, the second of two micro-batches, in which heads a and b have these mean losses."""
    for a, b in losses:
        for micro_batches in (1, 2):
            for _ in range(micro_batches):
                numerators = {"a": torch.tensor([a, a, 0.0]), "b": torch.tensor([b]), "c": torch.zeros(2)}
                totals = {"a": torch.tensor([1.0, 1.0, 0.0]) * micro_batches, "b": torch.ones(1) * micro_batches}
                weighting.note(numerators, {**totals, "c": torch.zeros(2)})
            weighting.close_step()
        weighting.close_epoch()


def test_dwa_is_the_formula_of_liu():
    weighting = build("weighting", {"name": "dwa", "of": "datasets", "temperature": 0.7}, heads=heads_of())
    train_epochs(weighting, [(4.0, 3.0)])
    assert weighting.dataset_weights().tolist() == [1.0, 1.0, 1.0]
    train_epochs(weighting, [(2.0, 2.7)])
    rates = [2.0 / 4.0, 2.7 / 3.0, 1.0]
    shares = [3 * math.exp(r / 0.7) / sum(math.exp(r / 0.7) for r in rates) for r in rates]
    assert weighting.dataset_weights().tolist() == pytest.approx(shares, rel=1e-6)
    assert float(weighting(NUMERATORS, TOTALS, TOTALS)) == pytest.approx((shares[0] * 1.5 + shares[1] * 4) / 2)
    assert float(weighting.validation_loss(NUMERATORS, TOTALS)) == pytest.approx((1.5 + 4) / 2)
    train_epochs(weighting, [(2.0, -1.0)])
    rates = [1.0, 1.0, 1.0]
    assert weighting.dataset_weights().tolist() == pytest.approx(rates)


@pytest.mark.parametrize("of", ["tasks", "datasets"])
def test_dwa_continues_from_its_state(of):
    """Micro-batches of a step that is not complete are left out: a resumed run comes by them again."""
    config = {"name": "dwa", "of": of}
    whole, broken, resumed = (build("weighting", config, heads=heads_of()) for _ in range(3))
    for weighting in (whole, broken):
        train_epochs(weighting, [(4.0, 3.0), (3.0, 1.0)])
        weighting.note(NUMERATORS, TOTALS)
        weighting.close_step()
    broken.note({name: 100 * value for name, value in NUMERATORS.items()}, TOTALS)
    resumed.load_state(broken.state())
    for weighting in (whole, resumed):
        weighting.note(NUMERATORS, TOTALS)
        weighting.close_step()
        train_epochs(weighting, [(1.0, 2.0)])
    for name, value in whole.state().items():
        torch.testing.assert_close(resumed.state()[name], value, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(whole.dataset_weights(), resumed.dataset_weights())
    assert whole.dataset_weights().std() > 0


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_the_validation_loss_does_not_hang_on_what_changes_in_training(name):
    fresh, trained = build("weighting", WEIGHTINGS[name], heads=HEADS), make_weighting(name)
    _, labels = part_of(*example(), 0, 64)
    totals = totals_of(labels)
    numerators = {head: 2 * total for head, total in totals.items()}
    assert torch.equal(fresh.validation_loss(numerators, totals), trained.validation_loss(numerators, totals))
    assert float(fresh.validation_loss(numerators, totals)) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("task", "did you mean 'tasks'"),
        ({"name": "fixed", "datasets": {"aa": 1.0}}, "datasets gives a weight to 'aa'.* did you mean 'a'"),
        ({"name": "fixed", "tasks": {"a/t7": 1.0}}, "tasks gives a weight to 'a/t7'.* did you mean 'a/t"),
        ({"name": "fixed", "tasks": {"b/x*": 1.0}}, r"tasks gives a weight to 'b/x\*'"),
        ({"name": "fixed", "tasks": {"a/t1": -1.0}}, r"trainer.weighting.tasks\['a/t1'\] is -1.0"),
        ({"name": "fixed", "datasets": {"a": float("nan")}}, r"trainer.weighting.datasets\['a'\] is nan"),
        ({"name": "fixed", "datasets": {"a": 0, "b": 0, "c": 0}}, "every task with weight 0"),
        ({"name": "fixed", "datasets": {"a": "much"}}, "trainer.weighting.datasets is"),
        ({"name": "dwa", "temperature": 0}, "trainer.weighting.temperature is 0"),
        ({"name": "dwa", "of": "heads"}, "trainer.weighting.of is 'heads'"),
        ({"name": "uncertainty", "on": "tasks"}, "unknown key trainer.weighting.on; choices: of"),
    ],
)
def test_a_wrong_weighting_is_one_sentence(config, message):
    with pytest.raises(GraphiumError, match=message):
        build("weighting", config, where="trainer.weighting", heads=heads_of())


def test_thousands_of_tasks_are_not_all_named():
    tasks = tuple(Task(f"assay {i}", "pcba", "graph", "binary") for i in range(1328))
    with pytest.raises(GraphiumError) as error:
        config = {"name": "fixed", "tasks": {"pcba/assay 1328": 2.0}}
        build("weighting", config, heads=[HeadSpec("pcba", "pcba", "graph", "binary", 0, tasks)])
    assert "'pcba/assay 1" in str(error.value) and len(str(error.value)) < 400


def test_a_task_name_with_signs_of_a_pattern_is_itself():
    tasks = tuple(Task(name, "d", "graph", "regression") for name in ("k[1]", "k1", "*", "x"))
    weighting = build(
        "weighting",
        {"name": "fixed", "tasks": {"k[1]": 2.0, "d/*": 3.0}},
        heads=[HeadSpec("d", "d", "graph", "regression", 0, tasks)],
    )
    assert weighting.weight.tolist() == [2.0, 1.0, 3.0, 1.0]


def test_no_head_is_an_error():
    with pytest.raises(GraphiumError, match="no head"):
        combined("tasks", "abc", {}, {})


def test_single_process_totals_are_left_alone():
    assert sum_over_ranks(TOTALS, NUMERATORS) == (TOTALS, NUMERATORS)
