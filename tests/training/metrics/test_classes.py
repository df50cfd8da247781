import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.classification import (
    MulticlassAUROC,
    MulticlassAveragePrecision,
    MulticlassF1Score,
    MulticlassMatthewsCorrCoef,
    MultilabelAUROC,
    MultilabelAveragePrecision,
)

from graphium.data.batch import Labels
from graphium.training.metrics.head import HeadMetrics
from graphium.types import Task, group_tasks

REFERENCE = {"f1": sk.f1_score, "precision": sk.precision_score, "recall": sk.recall_score}


def measure(kind, prediction, target, metrics):
    """Metrics of dense targets ``[entities, tasks]``, -1 where there is no label."""
    classes = prediction.shape[2] if prediction.ndim > 2 else 0
    tasks = [Task(f"t{i}", "demo", "graph", kind, classes) for i in range(target.shape[1])]
    found = HeadMetrics(group_tasks(tasks)[0], metrics=metrics)
    entity, task = (target >= 0).nonzero(as_tuple=True)
    value = target[entity, task].float()
    found.update(prediction, Labels(entity, task, value, torch.ones(len(task)), torch.zeros(len(tasks))))
    return found.compute()


def example(classes=0, entities=150, tasks=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (entities, tasks, classes) if classes else (entities, tasks)
    target = torch.randint(0, classes or 2, (entities, tasks), generator=generator)
    absent = torch.rand(entities, tasks, generator=generator) < 0.4
    prediction = torch.randn(shape, generator=generator)
    # Ties; not among logits of classes, whose equal probabilities are equal here and differ by rounding elsewhere.
    return prediction if classes else prediction.mul(4).round(), target.masked_fill(absent, -1)


def test_binary_against_torchmetrics():
    prediction, target = example()
    found = measure("binary", prediction, target, ["auroc", "ap"])
    for name, reference in {"auroc": MultilabelAUROC, "ap": MultilabelAveragePrecision}.items():
        expected = reference(3, average=None, ignore_index=-1)(prediction.sigmoid(), target)
        torch.testing.assert_close(found[name].float(), expected)


def test_classes_against_torchmetrics():
    prediction, target = example(classes=4)
    references = {
        "auroc": MulticlassAUROC(4),
        "ap": MulticlassAveragePrecision(4),
        "f1": MulticlassF1Score(4),
        "mcc": MulticlassMatthewsCorrCoef(4),
    }
    found = measure("multiclass", prediction, target, list(references))
    for task in range(3):
        mine = target[:, task] >= 0
        for name, reference in references.items():
            expected = reference(prediction[mine, task], target[mine, task])
            assert float(found[name][task]) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("name", REFERENCE)
def test_averages_over_classes(name, average):
    prediction, target = example(classes=4)
    target[target[:, 0] == 3, 0] = 2  # a class that is predicted and never true
    prediction[:, 1, 2] = -100  # a class that is true and never predicted
    key = f"{name}_{average}"
    found = measure("ordinal", prediction, target, [{"name": name, "average": average}])[key]
    for task in range(3):
        mine = target[:, task] >= 0
        predicted = prediction[mine, task].argmax(-1)
        expected = REFERENCE[name](target[mine, task], predicted, average=average, zero_division=0)
        assert float(found[task]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["auroc", "ap"])
def test_weighted_areas(name):
    prediction, target = example(classes=3)
    found = measure("multiclass", prediction, target, [{"name": name, "average": "weighted"}])[f"{name}_weighted"]
    score = {"auroc": sk.roc_auc_score, "ap": sk.average_precision_score}[name]
    for task in range(3):
        mine = target[:, task] >= 0
        y, p = np.eye(3)[target[mine, task]], prediction[mine, task].double().softmax(-1)
        assert float(found[task]) == pytest.approx(score(y, p, average="weighted"), abs=1e-9)


def test_two_classes_are_no_binary_task():
    """F1 of a multiclass task is the mean over both classes, of a binary one that of the positive class."""
    prediction, target = example(classes=2)
    predicted = prediction.argmax(-1)
    mine = target[:, 0] >= 0
    found = measure("multiclass", prediction, target, ["f1", "auroc"])
    expected = sk.f1_score(target[mine, 0], predicted[mine, 0], average="macro")
    assert float(found["f1"][0]) == pytest.approx(expected)
    binary = measure("binary", prediction[..., 1] - prediction[..., 0], target, ["f1", "auroc"])
    assert float(binary["f1"][0]) == pytest.approx(sk.f1_score(target[mine, 0], predicted[mine, 0]))
    torch.testing.assert_close(found["auroc"], binary["auroc"])


def test_areas_of_many_labels_lose_nothing_to_rounding():
    """Log odds that are equal as float32 are ranked as their logits are."""
    rng = np.random.default_rng(0)
    prediction = torch.from_numpy(1 + 1e-6 * rng.normal(size=(3000, 1, 3))).float()
    target = torch.from_numpy(rng.integers(0, 3, (3000, 1)))
    found = measure("multiclass", prediction, target, ["auroc"])["auroc"]
    p = prediction[:, 0].double()
    odds = [p[:, c] - p[:, [k for k in range(3) if k != c]].logsumexp(-1) for c in range(3)]
    expected = np.mean([sk.roc_auc_score(target[:, 0] == c, odds[c]) for c in range(3)])
    assert float(found[0]) == pytest.approx(expected, abs=1e-9)
