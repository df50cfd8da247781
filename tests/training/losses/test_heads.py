import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch.utils._python_dispatch import TorchDispatchMode

from graphium import registry
from graphium.data.batch import Labels
from graphium.errors import GraphiumError
from graphium.training.losses.base import Loss
from graphium.training.losses.heads import DEFAULT_LOSS, HeadLoss, Losses, check_bounds
from graphium.types import Task, group_tasks

CLASSES = {"regression": 0, "binary": 0, "multiclass": 4, "ordinal": 3}
LOSSES = [(name, kind) for name in registry.names("loss") for kind in registry.lookup("loss", name).kinds]


def make_labels(kind, num_tasks=6, num_entities=40, density=0.3, seed=0, weighted=True):
    """Random sparse labels; task 0 has none, task 1 is on one entity, task 2 has one class."""
    rng = np.random.default_rng(seed)
    mask = rng.random((num_entities, num_tasks)) < density
    mask[:, :1] = False
    mask[:, 1:2] = False
    mask[3, 1:2] = True
    entity, task = mask.nonzero()
    if kind == "regression":
        value = rng.normal(size=len(task)).round(1)
    else:
        value = rng.integers(0, max(CLASSES[kind], 2), len(task))
        value[task == 2] = 1
    weight = rng.uniform(0.5, 2, len(task)) if weighted else np.ones(len(task))
    total = np.bincount(task, weight, minlength=num_tasks)
    return Labels(
        *(torch.from_numpy(a) for a in (entity, task)),
        *(torch.from_numpy(np.asarray(a)).float() for a in (value, weight, total)),
    )


def make_prediction(kind, num_tasks=6, num_entities=40, seed=1):
    shape = (num_entities, num_tasks, CLASSES[kind]) if CLASSES[kind] else (num_entities, num_tasks)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_head(kind, *losses, dataset="demo"):
    tasks = [Task(f"t{i}", dataset, "graph", kind, CLASSES[kind], loss=loss) for i, loss in enumerate(losses)]
    (head,) = group_tasks(tasks)
    return head


def probabilities(logits):
    if logits.ndim == 1:
        return torch.sigmoid(logits).numpy()
    return torch.softmax(logits, -1).numpy()


REFERENCE = {
    "mae": lambda p, y, w: sk.mean_absolute_error(y, p, sample_weight=w),
    "mse": lambda p, y, w: sk.mean_squared_error(y, p, sample_weight=w),
    "huber": lambda p, y, w: np.average(np.where(abs(p - y) < 1, (p - y) ** 2 / 2, abs(p - y) - 0.5), weights=w),
    "bce": lambda p, y, w: sk.log_loss(y, probabilities(p), sample_weight=w, labels=[0, 1]),
    "ce": lambda p, y, w: sk.log_loss(y, probabilities(p), sample_weight=w, labels=range(p.shape[-1])),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_per_task_mean_is_that_of_the_reference(name, kind, seed):
    labels, prediction = make_labels(kind, seed=seed), make_prediction(kind)
    numerator, denominator = registry.build("loss", name)(prediction, labels)
    assert numerator.dtype == denominator.dtype == torch.float32
    torch.testing.assert_close(denominator, labels.total)
    for task in range(6):
        mine = labels.task == task
        if not mine.any():
            assert numerator[task] == denominator[task] == 0
            continue
        picked = prediction[labels.entity[mine], task]
        picked = picked.double() if name in ("bce", "ce") else picked.double().numpy()
        value, weight = labels.value[mine].double().numpy(), labels.weight[mine].double().numpy()
        expected = REFERENCE[name](picked, value, weight)
        assert float(numerator[task] / denominator[task]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_gradient_reaches_labelled_predictions_only(name, kind):
    labels, prediction = make_labels(kind), make_prediction(kind).requires_grad_()
    registry.build("loss", name)(prediction, labels)[0].sum().backward()
    touched = torch.zeros(prediction.shape[:2], dtype=torch.bool)
    touched[labels.entity, labels.task] = True
    gradient = prediction.grad.abs().flatten(2).sum(-1) if prediction.ndim == 3 else prediction.grad.abs()
    assert torch.equal(gradient > 0, touched)


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_padding_changes_nothing(name, kind):
    labels, prediction = make_labels(kind), make_prediction(kind)
    zeros = torch.zeros(5, dtype=torch.int64)
    padded = Labels(
        torch.cat([labels.entity, zeros + 40]),
        torch.cat([labels.task, zeros]),
        torch.cat([labels.value, torch.zeros(5)]),
        torch.cat([labels.weight, torch.zeros(5)]),
        labels.total,
    )
    plain = prediction.clone().requires_grad_()
    longer = torch.cat([prediction, torch.full_like(prediction[:1], 7.0)]).requires_grad_()
    loss = registry.build("loss", name)
    expected, found = loss(plain, labels), loss(longer, padded)
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a, b)
    expected[0].sum().backward()
    found[0].sum().backward()
    assert torch.equal(longer.grad[:-1], plain.grad)
    assert torch.equal(longer.grad[-1], torch.zeros_like(longer.grad[-1]))


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_no_labels_at_all(name, kind):
    empty = torch.empty(0, dtype=torch.int64)
    labels = Labels(empty, empty, torch.empty(0), torch.empty(0), torch.zeros(6))
    for prediction in (make_prediction(kind), make_prediction(kind)[:0]):
        prediction.requires_grad_()
        numerator, denominator = registry.build("loss", name)(prediction, labels)
        numerator.sum().backward()
        assert not numerator.any() and not denominator.any() and not prediction.grad.any()


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_half_precision_predictions_are_compared_in_float32(name, kind):
    labels, prediction = make_labels(kind), make_prediction(kind).bfloat16()
    loss = registry.build("loss", name)
    for a, b in zip(loss(prediction, labels), loss(prediction.float(), labels), strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)


def test_number_of_operations_does_not_depend_on_the_number_of_tasks():
    class Count(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            self.calls += 1
            return function(*arguments, **(keywords or {}))

    calls = []
    for num_tasks in (2, 3300):
        prediction = make_prediction("binary", num_tasks, 8).requires_grad_()
        labels = make_labels("binary", num_tasks, 8)
        loss = HeadLoss(make_head("binary", *[""] * num_tasks))
        with Count() as count:
            loss(prediction, labels)[0].sum().backward()
        calls.append(count.calls)
    assert calls[0] == calls[1] < 30


def test_tasks_of_one_head_may_have_different_losses():
    losses = ["mae", {"name": "huber", "delta": 0.5}, "", "mse", {"name": "huber", "delta": 0.5}, "mae"]
    head = make_head("regression", *losses)
    loss = HeadLoss(head)
    assert len(loss.parts) == 3
    labels, prediction = make_labels("regression"), make_prediction("regression").requires_grad_()
    numerator, denominator = loss(prediction, labels)
    for task, config in enumerate(losses):
        alone = registry.build("loss", config or DEFAULT_LOSS["regression"])(prediction, labels)
        torch.testing.assert_close(numerator[task], alone[0][task])
        torch.testing.assert_close(denominator[task], alone[1][task])


@pytest.mark.parametrize("kind", DEFAULT_LOSS)
def test_every_kind_has_a_default_loss(kind):
    head = make_head(kind, *[""] * 6)
    labels, prediction = make_labels(kind), make_prediction(kind)
    numerators, denominators = Losses([head])({head.name: prediction}, {head.name: labels})
    expected = registry.build("loss", DEFAULT_LOSS[kind])(prediction, labels)
    assert torch.equal(numerators[head.name], expected[0])
    assert torch.equal(denominators[head.name], expected[1])
    assert Losses([head])({head.name: prediction}, {}) == ({}, {})


def test_loss_of_the_wrong_kind_names_those_that_fit():
    with pytest.raises(
        GraphiumError, match=r"'bce', which does not fit regression tasks; choose one of huber, mae, mse"
    ):
        HeadLoss(make_head("regression", "bce"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("torch.nn.L1Loss", "derive it from graphium.training.losses.base.Loss"),
        ("hubber", "did you mean 'huber'"),
        ({"name": "huber", "detla": 1}, r"demo\.detla; did you mean 'delta'"),
        ({"name": "huber", "delta": -1}, "delta of the huber loss is -1.0; give a number above 0"),
        ({"name": "huber", "delta": "wide"}, "'wide'"),
    ],
)
def test_bad_loss_configuration(config, message):
    with pytest.raises(GraphiumError, match=message):
        HeadLoss(make_head("regression", json.loads(json.dumps(config))))


BOUNDED = [name for name in registry.names("loss") if registry.lookup("loss", name).takes_bounds]


def with_bounds(labels, seed=3):
    bound = np.random.default_rng(seed).integers(-1, 2, len(labels.task)).astype(np.int8)
    return replace(labels, bound=torch.from_numpy(bound))


def dense_bounded(name, prediction, value, bound):
    """The distance to what the bound allows, and the loss of that distance."""
    error = prediction - value
    error = np.where(bound > 0, np.minimum(error, 0), np.where(bound < 0, np.maximum(error, 0), error))
    if name == "mae":
        return np.abs(error)
    if name == "mse":
        return error**2
    return np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_are_those_of_the_dense_formula(name, seed):
    labels, prediction = with_bounds(make_labels("regression", seed=seed)), make_prediction("regression") * 2
    prediction.requires_grad_()
    numerator, denominator = registry.build("loss", name)(prediction, labels)
    numerator.sum().backward()
    picked = prediction.detach()[labels.entity, labels.task].double().numpy()
    value, bound = labels.value.double().numpy(), labels.bound.numpy()
    element = dense_bounded(name, picked, value, bound) * labels.weight.double().numpy()
    expected = torch.from_numpy(np.bincount(labels.task, element, minlength=6)).float()
    torch.testing.assert_close(numerator, expected)
    torch.testing.assert_close(denominator, labels.total)
    kept = (picked - value) * bound > 0
    gradient = prediction.grad[labels.entity, labels.task]
    assert kept.any() and not kept.all()
    assert not gradient[torch.from_numpy(kept)].any()
    assert gradient[torch.from_numpy(~kept & (picked != value))].all()


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_of_zero_are_exact_labels(name):
    labels, prediction = make_labels("regression"), make_prediction("regression")
    exact = replace(labels, bound=torch.zeros_like(labels.task, dtype=torch.int8))
    loss = registry.build("loss", name)
    for a, b in zip(loss(prediction, labels), loss(prediction, exact), strict=True):
        assert torch.equal(a, b)


def test_bounds_where_tasks_have_different_losses():
    losses = ["mae", {"name": "huber", "delta": 0.5}, "", "mse", "mse", "mae"]
    loss = HeadLoss(make_head("regression", *losses))
    labels, prediction = with_bounds(make_labels("regression")), make_prediction("regression")
    numerator, _ = loss(prediction, labels)
    for task, config in enumerate(losses):
        alone, _ = registry.build("loss", config or "mae")(prediction, labels)
        torch.testing.assert_close(numerator[task], alone[task])


class LogCosh(Loss):
    def element(self, prediction, value, task):
        return torch.log(torch.cosh(prediction - value))


def test_a_loss_that_takes_no_bounds_refuses_them_at_set_up():
    assert BOUNDED == ["huber", "mae", "mse"]
    own = make_head("regression", "", f"{__name__}.LogCosh", dataset="mine")
    other = make_head("binary", "", dataset="other")
    check_bounds([own, other], [])
    check_bounds([make_head("regression", "mae", "huber")], ["demo_graph_regression"])
    message = (
        rf"labels of mine \(t0, t1\) are bounds.*loss mae, {__name__}.LogCosh does not take.*one of huber, mae, mse"
    )
    with pytest.raises(GraphiumError, match=message):
        check_bounds([own, other], [own.name])
