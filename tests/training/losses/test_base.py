"""What holds for every registered loss."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from graphium import registry
from graphium.data.batch import Labels
from graphium.training.losses.heads import HeadLoss

LOSSES = [(name, kind) for name in registry.names("loss") for kind in registry.lookup("loss", name).kinds]
every_loss = pytest.mark.parametrize(("name", "kind"), LOSSES)


def bounds_of(name):
    return (False, True) if registry.lookup("loss", name).takes_bounds else (False,)


@every_loss
def test_gradient_reaches_labelled_predictions_only(name, kind, make_labels, make_prediction):
    labels, prediction = make_labels(kind), make_prediction(kind, name).requires_grad_()
    registry.build("loss", name)(prediction, labels)[0].sum().backward()
    touched = torch.zeros(prediction.shape[:2], dtype=torch.bool)
    touched[labels.entity, labels.task] = True
    gradient = prediction.grad.abs().flatten(2).sum(-1) if prediction.ndim == 3 else prediction.grad.abs()
    assert torch.equal(gradient > 0, touched)


@every_loss
def test_losses_are_not_negative_unless_they_say_so(name, kind, make_labels, make_prediction):
    loss = registry.build("loss", name)
    labels, prediction = make_labels(kind), make_prediction(kind, name)
    element = loss.element(prediction[labels.entity, labels.task], labels.value, labels.task)
    assert bool((element >= 0).all()) or loss.may_be_negative


@every_loss
def test_gradient_is_that_of_finite_differences(name, kind, make_labels, make_prediction):
    loss = registry.build("loss", name)
    for bounds in bounds_of(name):
        labels = make_labels(kind, num_tasks=4, num_entities=6, density=0.5, bounds=bounds)
        prediction = make_prediction(kind, name, num_tasks=4, num_entities=6).double().requires_grad_()
        assert torch.autograd.gradcheck(lambda x, y=labels: loss(x, y)[0], prediction)
        assert loss(prediction, labels)[0].dtype == torch.float64


@every_loss
def test_second_derivatives_are_those_of_finite_differences(name, kind, make_labels, make_prediction):
    labels = make_labels(kind, num_tasks=3, num_entities=4, density=0.5)
    prediction = make_prediction(kind, name, num_tasks=3, num_entities=4).double().requires_grad_()
    loss = registry.build("loss", name)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, labels)[0], prediction)


@every_loss
def test_sparse_gradient_is_that_of_the_same_formula_by_indexing(name, kind, make_labels, make_prediction):
    labels = make_labels(kind)
    ours = make_prediction(kind, name).requires_grad_()
    plain = ours.detach().clone().requires_grad_()
    loss = registry.build("loss", name)
    numerator, _ = loss(ours, labels)
    element = loss.element(plain[labels.entity, labels.task], labels.value, labels.task)
    expected = torch.zeros(6).index_put((labels.task,), element * labels.weight, accumulate=True)
    torch.testing.assert_close(numerator, expected)
    scale = torch.arange(1.0, 7.0)
    (numerator * scale).sum().backward()
    (expected * scale).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad)


@every_loss
def test_padding_changes_nothing(name, kind, make_labels, make_prediction):
    loss = registry.build("loss", name)
    for bounds in bounds_of(name):
        labels, prediction = make_labels(kind, bounds=bounds), make_prediction(kind, name)
        zeros = torch.zeros(5, dtype=torch.int64)
        padded = Labels(
            torch.cat([labels.entity, zeros + 40]),
            torch.cat([labels.task, zeros]),
            torch.cat([labels.value, torch.zeros(5)]),
            torch.cat([labels.weight, torch.zeros(5)]),
            labels.total,
            None if labels.bound is None else torch.cat([labels.bound, zeros.to(torch.int8)]),
        )
        plain = prediction.clone().requires_grad_()
        longer = torch.cat([prediction, torch.full_like(prediction[:1], 7.0)]).requires_grad_()
        expected, found = loss(plain, labels), loss(longer, padded)
        for a, b in zip(expected, found, strict=True):
            torch.testing.assert_close(a, b)
        expected[0].sum().backward()
        found[0].sum().backward()
        torch.testing.assert_close(longer.grad[:-1], plain.grad)
        assert torch.equal(longer.grad[-1], torch.zeros_like(longer.grad[-1]))


@every_loss
def test_weight_of_a_label_is_its_number_of_copies(name, kind, make_labels, make_prediction):
    labels, prediction = make_labels(kind), make_prediction(kind, name)
    twice = replace(labels, weight=torch.full_like(labels.weight, 2))
    copies = replace(
        labels,
        **{field: getattr(labels, field).repeat(2) for field in ("entity", "task", "value")},
        weight=torch.ones(2 * len(labels.weight)),
    )
    loss = registry.build("loss", name)
    for a, b in zip(loss(prediction, twice), loss(prediction, copies), strict=True):
        torch.testing.assert_close(a, b)


@every_loss
def test_no_labels_at_all(name, kind, make_prediction):
    empty = torch.empty(0, dtype=torch.int64)
    labels = Labels(empty, empty, torch.empty(0), torch.empty(0), torch.zeros(6))
    for prediction in (make_prediction(kind, name), make_prediction(kind, name)[:0]):
        prediction.requires_grad_()
        numerator, denominator = registry.build("loss", name)(prediction, labels)
        numerator.sum().backward()
        assert not numerator.any() and not denominator.any() and not prediction.grad.any()


@every_loss
def test_half_precision_predictions_are_compared_in_float32(name, kind, make_labels, make_prediction):
    labels, prediction = make_labels(kind), make_prediction(kind, name).bfloat16().requires_grad_()
    loss = registry.build("loss", name)
    expected = loss(prediction.float(), labels)
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = loss(prediction, labels)
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == torch.float32
            assert torch.equal(a, b)
    found[0].sum().backward()
    assert prediction.grad.dtype == torch.bfloat16 and prediction.grad.isfinite().all()


@pytest.mark.parametrize("size", [50.0, 1e4, 1e6])
@every_loss
def test_extreme_predictions_have_finite_losses_and_gradients(name, kind, size, make_labels, make_prediction):
    loss = registry.build("loss", name)
    for bounds in bounds_of(name):
        labels = make_labels(kind, bounds=bounds)
        for dtype in (torch.float32, torch.bfloat16):
            # Every number of a prediction is very small, zero or very large, in all combinations.
            signs = torch.randint(-1, 2, make_prediction(kind, name).shape)
            prediction = (size * signs).to(dtype).requires_grad_()
            numerator, _ = loss(prediction, labels)
            numerator.sum().backward()
            assert numerator.isfinite().all() and prediction.grad.isfinite().all()


@every_loss
def test_number_of_operations_does_not_depend_on_the_number_of_tasks(
    name, kind, make_labels, make_prediction, make_head
):
    class Count(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.calls = []

        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            self.calls.append(str(function))
            return function(*arguments, **(keywords or {}))

    outputs = registry.build("loss", name).outputs
    calls = []
    for num_tasks in (6, 3300):
        prediction = make_prediction(kind, name, num_tasks, 8).requires_grad_()
        labels = make_labels(kind, num_tasks, 8, bounds=bounds_of(name)[-1])
        loss = HeadLoss(make_head(kind, *[name] * num_tasks, outputs=outputs))
        with Count() as count:
            loss(prediction, labels)[0].sum().backward()
        calls.append(count.calls)
    assert calls[0] == calls[1]
    assert len(calls[0]) < 200
    # The shape of what these give depends on the data, or they bring a number to the host.
    waits = (
        "nonzero",
        "_local_scalar_dense",
        "masked_select",
        "unique",
        "bincount",
        "aten.index.",
        "repeat_interleave",
    )
    assert not [call for call in calls[0] if any(word in call for word in waits)]


@every_loss
def test_a_loss_compiles_into_one_graph(name, kind, make_labels, make_prediction):
    labels, prediction = make_labels(kind), make_prediction(kind, name)
    loss = registry.build("loss", name)
    torch.compiler.reset()
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    for a, b in zip(compiled(prediction, labels), loss(prediction, labels), strict=True):
        assert torch.equal(a, b)
