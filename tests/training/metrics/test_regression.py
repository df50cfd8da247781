import pytest
import torch
import torchmetrics
from sklearn import metrics as sk

from graphium.data.batch import Labels
from graphium.training.metrics.head import HeadMetrics
from graphium.types import Task, group_tasks


def measure(prediction, value, metrics, **task):
    """Metrics of a single task whose labels are all there."""
    (head,) = group_tasks([Task("t", "demo", "graph", **{"kind": "regression", **task})])
    found = HeadMetrics(head, metrics=metrics)
    number = torch.arange(len(value))
    labels = Labels(number, torch.zeros_like(number), value, torch.ones(len(value)), torch.zeros(1))
    found.update(prediction.unsqueeze(1), labels)
    return {name: float(one) for name, one in found.compute().items()}


@pytest.mark.filterwarnings("ignore:Metric `SpearmanCorrcoef`")
def test_against_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(200, generator=generator).round(decimals=1)
    prediction = value + torch.randn(200, generator=generator).round(decimals=1)
    references = {
        "mae": torchmetrics.MeanAbsoluteError(),
        "mse": torchmetrics.MeanSquaredError(),
        "r2": torchmetrics.R2Score(),
        "pearson": torchmetrics.PearsonCorrCoef(),
        "spearman": torchmetrics.SpearmanCorrCoef(),
    }
    found = measure(prediction, value, list(references))
    assert found == pytest.approx({name: float(one(prediction, value)) for name, one in references.items()}, abs=1e-5)


def test_percentage_error_of_a_zero_is_huge_and_finite():
    value, prediction = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 1.0])
    expected = sk.mean_absolute_percentage_error(value.double(), prediction.double())
    assert measure(prediction, value, ["mape"]) == {"mape": pytest.approx(expected)}


def test_numbers_of_ordinal_tasks_are_of_the_expected_class():
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, 50.0, 0.0]])
    found = measure(logits, torch.tensor([2.0, 1.0]), ["mae", "rmse"], kind="ordinal", num_classes=3)
    assert found == pytest.approx({"mae": 0.5, "rmse": 0.5**0.5})


def test_a_perfect_prediction_far_from_zero():
    value = 1e7 + torch.arange(50).float()
    found = measure(value, value, ["r2", "pearson", "spearman", "mae"])
    assert found == pytest.approx({"r2": 1, "pearson": 1, "spearman": 1, "mae": 0}, abs=1e-12)
