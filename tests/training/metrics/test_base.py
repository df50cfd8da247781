import pytest
import torch

from graphium import registry
from graphium.data.batch import Labels
from graphium.errors import GraphiumError
from graphium.training.metrics.base import Scored, Summary, TaskMetric, build_metric, higher_is_better, metric_key
from graphium.training.metrics.head import HeadMetrics
from graphium.types import Task, group_tasks


class LargestError(Summary):
    def update(self, scored):
        return scored.largest((scored.number - scored.value).abs())

    def merge(self, stacked):
        return stacked.amax(0)


class MaxError(TaskMetric):
    """Largest absolute error of each task, in label units."""

    summary = LargestError()

    def compute(self, summary):
        return summary


def test_a_metric_of_a_users_own(monkeypatch):
    """What CONTRIBUTING shows: accumulated over batches, in label units, NaN where there is no label."""
    registry.names("metric")
    monkeypatch.setitem(registry._parts["metric"], "max_error", MaxError)
    (head,) = group_tasks([Task(f"t{i}", "demo", "graph", "regression") for i in range(2)])
    metrics = HeadMetrics(head, lambda value, task: 10 * value, ["max_error"])
    for value in (5.0, 3.0):
        labels = Labels(*(torch.tensor([n]) for n in (0, 0, value, 1.0)), torch.zeros(2))
        metrics.update(torch.ones(1, 2), labels)
    torch.testing.assert_close(metrics.compute()["max_error"], torch.tensor([40, torch.nan]).double(), equal_nan=True)


def test_what_does_not_count_is_in_no_sum():
    scored = Scored(torch.tensor([0, 2, 1]), torch.zeros(3), torch.tensor([1.0, torch.nan, 3.0]).double(), 2)
    assert scored.sum(scored.value).tolist() == [1, 3]
    assert scored.largest(scored.value).tolist() == [1, 3]
    assert scored.count.tolist() == [1, 1]


@pytest.mark.parametrize("name", registry.names("metric"))
def test_every_metric_says_what_it_is(name):
    metric = registry.lookup("metric", name)
    assert metric.kinds and set(metric.kinds) <= {"regression", "binary", "multiclass", "ordinal"}
    assert isinstance(metric.summary, Summary)
    assert metric.__doc__ and ">>>" in metric.__doc__


def test_direction_of_a_metric():
    for name in ("auroc", "r2", "pooled_ap", "pooled_spearman_norm", "fbeta_2", "pooled_f1_micro", "balanced_accuracy"):
        assert higher_is_better(name), name
    for name in ("mae", "pooled_mae_norm", "rmse", "pooled_rmse_norm", "pooled_ce_ordinal3", "bce"):
        assert not higher_is_better(name), name
    with pytest.raises(GraphiumError, match="did you mean 'auroc'"):
        higher_is_better("auroch")


def test_keys_of_metrics():
    assert metric_key("auroc") == metric_key({"name": "auroc"}) == "auroc"
    assert metric_key({"name": "fbeta", "beta": 0.5, "average": "micro"}) == "fbeta_0.5_micro"


def test_a_built_metric_knows_its_kind():
    assert build_metric("accuracy", "ordinal", "demo").kind == "ordinal"
