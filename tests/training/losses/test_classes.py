import numpy as np
import pytest
import torch
from scipy import special
from sklearn import metrics as sk

from graphium import registry
from graphium.training.losses.classes import BinaryCrossEntropy, CrossEntropy, Focal, HybridCrossEntropy
from graphium.training.losses.heads import HeadLoss


def positives_and_negatives(p, y):
    """Log-probability of the label's own class, and of the other one."""
    sign = 2 * y - 1
    return special.log_expit(sign * p), special.log_expit(-sign * p)


def one_hot(p, y):
    return np.eye(p.shape[1])[y.astype(int)]


@pytest.mark.parametrize("seed", [0, 1])
def test_cross_entropies_are_those_of_scikit_learn(seed, make_labels, make_prediction, check_reference):
    def log_loss(p, y):
        shares = special.expit(p) if p.ndim == 1 else special.softmax(p, axis=1)
        labels = range(max(p.shape[1:] + (2,)) if p.ndim > 1 else 2)
        return np.array([sk.log_loss([b], [a], labels=labels) for a, b in zip(shares, y, strict=True)])

    for kind, loss in (("binary", "bce"), ("multiclass", "ce"), ("ordinal", "ce")):
        labels, prediction = make_labels(kind, seed=seed), make_prediction(kind)
        check_reference(registry.build("loss", loss), prediction, labels, log_loss)


def test_label_smoothing_is_that_of_torch(make_labels, make_prediction, check_reference):
    torch_loss = torch.nn.CrossEntropyLoss(label_smoothing=0.2, reduction="none")
    check_reference(
        CrossEntropy(label_smoothing=0.2),
        make_prediction("multiclass"),
        make_labels("multiclass"),
        lambda p, y: torch_loss(torch.from_numpy(p), torch.from_numpy(y).long()).numpy(),
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal_of_binary_labels(gamma, alpha, make_labels, make_prediction, check_reference):
    def reference(p, y):
        own, rest = positives_and_negatives(p, y)
        weight = 1.0 if alpha is None else np.where(y == 1, alpha, 1 - alpha)
        return -weight * np.exp(rest) ** gamma * own

    check_reference(Focal(gamma, alpha), make_prediction("binary"), make_labels("binary"), reference)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, [0.1, 1.0, 2.0, 0.0]])
def test_focal_of_classes(gamma, alpha, make_labels, make_prediction, check_reference):
    def reference(p, y):
        share = (special.softmax(p, axis=1) * one_hot(p, y)).sum(1)
        weight = 1.0 if alpha is None else np.array(alpha)[y.astype(int)]
        return -weight * (1 - share) ** gamma * np.log(share)

    check_reference(Focal(gamma, alpha), make_prediction("multiclass"), make_labels("multiclass"), reference)


def test_focal_without_focus_is_cross_entropy(make_labels, make_prediction):
    for kind, loss in (("binary", "bce"), ("multiclass", "ce")):
        labels, prediction = make_labels(kind), make_prediction(kind)
        expected, _ = registry.build("loss", loss)(prediction, labels)
        torch.testing.assert_close(Focal(gamma=0.0)(prediction, labels)[0], expected)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
def test_focal_has_a_finite_slope_where_a_prediction_is_certain(gamma):
    for kind in ("binary", "multiclass"):
        logits = torch.tensor([-1e4, -30.0, 12.0, 30.0, 200.0, 1e4])
        prediction = logits if kind == "binary" else torch.stack([logits, torch.zeros(6)], dim=1)
        prediction = prediction.requires_grad_()
        value = torch.ones(6) if kind == "binary" else torch.zeros(6)
        found = Focal(gamma).element(prediction, value, torch.zeros(6))
        found.sum().backward()
        x = logits.detach().double().numpy()
        expected = -(special.expit(-x) ** gamma) * special.log_expit(x)
        np.testing.assert_allclose(found.detach(), expected, rtol=1e-5, atol=1e-6)
        assert prediction.grad.isfinite().all()


@pytest.mark.parametrize("brackets", [2, 3, 5, 9])
@pytest.mark.parametrize("regression", ["mse", "mae"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_hybrid_ce(alpha, regression, brackets, make_labels, make_prediction, check_reference):
    def reference(p, y):
        shares = special.softmax(p, axis=1)
        error = shares @ np.arange(brackets) - y
        distance = error**2 if regression == "mse" else abs(error)
        return -alpha * np.log((shares * one_hot(p, y)).sum(1)) + (1 - alpha) * distance

    labels = make_labels("ordinal", num_classes=brackets)
    prediction = make_prediction("ordinal", num_classes=brackets)
    check_reference(HybridCrossEntropy(alpha, regression), prediction, labels, reference)


def weights_in(loss, make_labels, make_prediction):
    """By how much the loss of a positive label exceeds that of plain cross-entropy, per task; negatives must not."""
    labels, prediction = make_labels("binary", seed=5), make_prediction("binary")
    picked, value = prediction[labels.entity, labels.task], labels.value
    element = loss.element(picked, value, labels.task)
    ratio = element / BinaryCrossEntropy().element(picked, value, labels.task)
    torch.testing.assert_close(ratio[value == 0], torch.ones(int((value == 0).sum())))
    return [ratio[(value == 1) & (labels.task == task)].mean().item() for task in range(1, 6)]


STATISTICS = torch.tensor([0.5, 0.2, 0.9, 0.5, torch.nan, 0.001], dtype=torch.float64)
AUTO = [4.0, 1 / 9, 1.0, 1.0, 999.0]


@pytest.mark.parametrize(
    ("pos_weight", "expected"),
    [
        (1, [1, 1, 1, 1, 1]),
        (3, [3, 3, 3, 3, 3]),
        (0.5, [0.5] * 5),
        ("auto", AUTO),
        ({"t2": 7, "t5": 0.5}, [1, 7, 1, 1, 0.5]),
        ({"t*": "auto", "t3": 2}, [*AUTO[:2], 2, *AUTO[3:]]),
        ({"t?": 5.0, "*2": 6.0}, [5, 6, 5, 5, 5]),
        ({"t2": 7, "t?": 5.0}, [5, 7, 5, 5, 5]),
    ],
)
def test_pos_weight(pos_weight, expected, make_head, make_labels, make_prediction):
    head = make_head("binary", *[{"name": "bce", "pos_weight": pos_weight}] * 6)
    (loss,) = HeadLoss(head, STATISTICS).parts
    found = weights_in(loss, make_labels, make_prediction)
    labels = make_labels("binary", seed=5)
    positive = [bool(((labels.task == task) & (labels.value == 1)).any()) for task in range(1, 6)]
    for a, b, has in zip(found, expected, positive, strict=True):
        assert not has or a == pytest.approx(b, rel=1e-4)
    assert sum(positive) >= 4


def test_pos_weight_multiplies_as_in_torch(make_head, make_labels, make_prediction, check_reference):
    weight = [1.0, 2.0, 0.5, 30.0, 4.0, 5.0]
    config = {"name": "bce", "pos_weight": {f"t{i}": w for i, w in enumerate(weight)}}
    loss = HeadLoss(make_head("binary", *[config] * 6))
    labels, prediction = make_labels("binary"), make_prediction("binary")
    dense = torch.full((40, 6), torch.nan)
    dense[labels.entity, labels.task] = labels.value
    element = torch.nn.functional.binary_cross_entropy_with_logits(
        prediction, dense.nan_to_num(), reduction="none", pos_weight=torch.tensor(weight)
    )
    dense_weight = torch.zeros(40, 6).index_put((labels.entity, labels.task), labels.weight)
    numerator, denominator = loss(prediction, labels)
    torch.testing.assert_close(numerator, (element * dense_weight).sum(0))
    torch.testing.assert_close(denominator, dense_weight.sum(0))
