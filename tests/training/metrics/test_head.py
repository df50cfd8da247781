import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics.classification import MultilabelAUROC, MultilabelAveragePrecision

from graphium import registry
from graphium.data.batch import Labels
from graphium.errors import GraphiumError
from graphium.training.metrics.base import higher_is_better
from graphium.training.metrics.head import DEFAULT_METRICS, HeadMetrics
from graphium.training.metrics.ranking import midranks, ordered_bits
from graphium.types import Task, group_tasks

CLASSES = {"regression": 0, "binary": 0, "multiclass": 4, "ordinal": 3}
KINDS = tuple(CLASSES)


def make_head(kind, num_tasks):
    (head,) = group_tasks([Task(f"t{i}", "demo", "graph", kind, CLASSES[kind]) for i in range(num_tasks)])
    return head


def make_metrics(kind, num_tasks, **options):
    names = [n for n in registry.names("metric") if kind in registry.lookup("metric", n).kinds]
    return HeadMetrics(make_head(kind, num_tasks), metrics=names, **options)


def make_batch(kind, num_tasks=8, num_entities=60, density=0.4, seed=0, ties=False):
    """Predictions and sparse labels. Task 0 has no labels, 1 is on one molecule, 2 has one class or value."""
    rng = np.random.default_rng(seed)
    mask = rng.random((num_entities, num_tasks)) < density
    mask[:, 0] = False
    mask[:, 1] = False
    mask[7, 1] = True
    entity, task = mask.nonzero()
    value = rng.normal(size=len(task)) if kind == "regression" else rng.integers(0, max(2, CLASSES[kind]), len(task))
    value = np.where(task == 2, 1, value).astype(np.float64)
    shape = (num_entities, num_tasks, CLASSES[kind]) if CLASSES[kind] else (num_entities, num_tasks)
    prediction = rng.normal(size=shape)
    if ties:
        prediction, value = prediction.round(), value.round()
    order = rng.permutation(len(task))
    return torch.from_numpy(prediction).float(), make_labels(entity[order], task[order], value[order], num_tasks)


def make_labels(entity, task, value, num_tasks):
    entity, task = torch.as_tensor(entity), torch.as_tensor(task)
    value = torch.as_tensor(value).float()
    return Labels(entity, task, value, torch.ones(len(task)), torch.bincount(task, minlength=num_tasks).float())


def of_task(prediction, labels, task):
    mine = labels.task == task
    return prediction[labels.entity[mine], task].double().numpy(), labels.value[mine].double().numpy()


def defined(condition, function):
    return function() if condition else np.nan


def one_against_rest(p, y):
    areas = [sk.roc_auc_score(y == c, p[:, c]) for c in range(p.shape[1]) if 0 < (y == c).sum() < len(y)]
    return np.mean(areas) if areas else np.nan


def regression_reference(p, y):
    spread, both = len(y) > 1 and np.ptp(y) > 0, len(y) > 1 and np.ptp(y) > 0 and np.ptp(p) > 0
    return {
        "mae": sk.mean_absolute_error(y, p),
        "mae_norm": sk.mean_absolute_error(y, p),
        "mse": sk.mean_squared_error(y, p),
        "rmse": sk.root_mean_squared_error(y, p),
        "r2": defined(spread, lambda: sk.r2_score(y, p)),
        "pearson": defined(both, lambda: scipy.stats.pearsonr(y, p).statistic),
        "spearman": defined(both, lambda: scipy.stats.spearmanr(y, p).statistic),
    }


def binary_reference(p, y):
    return {
        "auroc": defined(0 < y.sum() < len(y), lambda: sk.roc_auc_score(y, p)),
        "ap": defined(y.any(), lambda: sk.average_precision_score(y, p)),
        "bce": sk.log_loss(y, scipy.special.expit(p), labels=[0, 1]),
        "accuracy": sk.accuracy_score(y, p > 0),
    }


def class_reference(p, y):
    return {
        "auroc": one_against_rest(scipy.special.softmax(p, axis=1), y),
        "accuracy": sk.accuracy_score(y, p.argmax(1)),
    }


REFERENCE = {
    "regression": regression_reference,
    "binary": binary_reference,
    "multiclass": class_reference,
    "ordinal": class_reference,
}


def assert_matches_reference(kind, found, prediction, labels, tolerance=1e-9):
    for task in range(len(labels.total)):
        p, y = of_task(prediction, labels, task)
        expected = REFERENCE[kind](p, y) if len(y) else dict.fromkeys(found, np.nan)
        assert set(expected) == set(found)
        for name, value in expected.items():
            assert float(found[name][task]) == pytest.approx(value, abs=tolerance, nan_ok=True), (name, task)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_metric_of_every_task_against_references(kind, ties):
    for seed in range(3):
        prediction, labels = make_batch(kind, seed=seed, ties=ties and kind in ("regression", "binary"))
        metrics = make_metrics(kind, 8)
        metrics.update(prediction, labels)
        found = metrics.compute()
        assert all(value.shape == (8,) and value.dtype == torch.float64 for value in found.values())
        assert_matches_reference(kind, found, prediction, labels)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["regression", "binary"]),
    labels=st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1e-45, 0.5, 3.0, np.inf]), st.booleans()
        ),
        max_size=30,
    ),
)
def test_few_labels_and_many_ties(kind, labels):
    """Zeros of both signs tie, subnormal and infinite scores have their place."""
    task = torch.tensor([t for t, _, _ in labels], dtype=torch.int64)
    score = torch.tensor([s for _, s, _ in labels], dtype=torch.float32)
    value = torch.tensor([float(v) for _, _, v in labels])
    prediction = torch.zeros(len(labels), 4)
    prediction[torch.arange(len(labels)), task] = score
    if kind == "regression":
        prediction = prediction.clamp(-2, 2)
    batch = make_labels(torch.arange(len(labels)), task, value, 4)
    metrics = HeadMetrics(make_head(kind, 4), metrics=["auroc", "ap"] if kind == "binary" else ["spearman", "pearson"])
    metrics.update(prediction, batch)
    found = metrics.compute()
    for index in range(4):
        p, y = of_task(prediction, batch, index)
        # scikit-learn refuses infinities; ranks are the same.
        p = p if kind == "regression" else scipy.stats.rankdata(p)
        expected = REFERENCE[kind](p, y) if len(y) else dict.fromkeys(found, np.nan)
        for name in found:
            assert float(found[name][index]) == pytest.approx(expected[name], abs=1e-9, nan_ok=True)


def test_binary_against_torchmetrics():
    prediction, labels = make_batch("binary", num_tasks=6, num_entities=200, ties=True)
    target = torch.full((200, 6), -1)
    target[labels.entity, labels.task] = labels.value.long()
    metrics = make_metrics("binary", 6)
    metrics.update(prediction, labels)
    found = metrics.compute()
    for name, reference in {"auroc": MultilabelAUROC, "ap": MultilabelAveragePrecision}.items():
        # torchmetrics cannot be given the task without labels.
        expected = reference(3, average=None, ignore_index=-1)(prediction[:, 3:].sigmoid(), target[:, 3:])
        torch.testing.assert_close(found[name][3:].float(), expected)


@pytest.mark.filterwarnings("ignore:Metric `SpearmanCorrcoef`")
def test_regression_against_torchmetrics():
    prediction, labels = make_batch("regression", num_tasks=6, num_entities=200)
    metrics = make_metrics("regression", 6)
    metrics.update(prediction, labels)
    found = metrics.compute()
    references = {
        "mae": torchmetrics.MeanAbsoluteError(),
        "r2": torchmetrics.R2Score(),
        "pearson": torchmetrics.PearsonCorrCoef(),
        "spearman": torchmetrics.SpearmanCorrCoef(),
    }
    for name, reference in references.items():
        for task in range(3, 6):
            expected = reference(*map(torch.from_numpy, of_task(prediction, labels, task)))
            assert float(found[name][task]) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_their_order_do_not_matter(kind):
    batches = [make_batch(kind, seed=seed) for seed in range(3)]
    results = []
    for order in ([0, 1, 2], [2, 0, 1]):
        metrics = make_metrics(kind, 8)
        for index in order:
            metrics.update(*batches[index])
        results.append(metrics.compute())
    prediction = torch.cat([p for p, _ in batches])
    labels = make_labels(
        torch.cat([one.entity + 60 * i for i, (_, one) in enumerate(batches)]),
        torch.cat([one.task for _, one in batches]),
        torch.cat([one.value for _, one in batches]),
        8,
    )
    for result in results:
        assert_matches_reference(kind, result, prediction, labels)


@pytest.mark.parametrize("kind", KINDS)
def test_reset_forgets(kind):
    metrics = make_metrics(kind, 8)
    metrics.update(*make_batch(kind, seed=1))
    metrics.compute()
    metrics.reset()
    prediction, labels = make_batch(kind, seed=2)
    metrics.update(prediction, labels)
    assert_matches_reference(kind, metrics.compute(), prediction, labels)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_no_label(kind):
    prediction, labels = make_batch(kind)
    padded = Labels(
        torch.cat([labels.entity, torch.zeros(9, dtype=torch.int64)]),
        torch.cat([labels.task, torch.arange(9) % 8]),
        torch.cat([labels.value, torch.zeros(9)]),
        torch.cat([labels.weight, torch.zeros(9)]),
        labels.total,
    )
    metrics = make_metrics(kind, 8)
    metrics.update(prediction, padded)
    assert_matches_reference(kind, metrics.compute(), prediction, labels)


def test_bounds_enter_no_metric_and_are_counted():
    prediction, labels = make_batch("regression")
    exact = torch.arange(len(labels.task)) % 3 > 0
    bound = torch.where(exact, 0, torch.arange(len(labels.task)) % 2 * 2 - 1).to(torch.int8)
    padding = torch.arange(len(labels.task)) % 7 == 0
    weight = torch.where(padding, 0.0, labels.weight)
    metrics = make_metrics("regression", 8)
    metrics.update(prediction, replace(labels, bound=bound, weight=weight))
    kept = exact & ~padding
    remaining = make_labels(labels.entity[kept], labels.task[kept], labels.value[kept], 8)
    assert_matches_reference("regression", metrics.compute(), prediction, remaining)
    counted = torch.bincount(labels.task[~exact & ~padding], minlength=8)
    assert counted.sum() > 0 and torch.equal(metrics.scored().bounds, counted)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_compare_is_undefined(kind):
    metrics = make_metrics(kind, 8)
    assert all(value.isnan().all() and value.shape == (8,) for value in metrics.compute().values())
    empty = torch.empty(0, dtype=torch.int64)
    prediction, _ = make_batch(kind)
    metrics.update(prediction[:0], make_labels(empty, empty, torch.empty(0), 8))
    assert all(value.isnan().all() and value.shape == (8,) for value in metrics.compute().values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_task_keeps_its_axis(kind):
    prediction, labels = make_batch(kind)
    mine = labels.task == 4
    one = make_labels(labels.entity[mine], torch.zeros(int(mine.sum()), dtype=torch.int64), labels.value[mine], 1)
    metrics = make_metrics(kind, 1)
    metrics.update(prediction[:, 4:5], one)
    assert_matches_reference(kind, metrics.compute(), prediction[:, 4:5], one)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_that_is_nan_spoils_its_own_task_only(kind):
    prediction, labels = make_batch(kind)
    metrics = make_metrics(kind, 8)
    broken = prediction.clone()
    broken[int(labels.entity[labels.task == 5][0]), 5] = torch.nan
    metrics.update(broken, labels)
    found = metrics.compute()
    for name, value in found.items():
        assert value[5].isnan(), name
        value[5] = 0
    kept = labels.task != 5
    rest = make_labels(labels.entity[kept], labels.task[kept], labels.value[kept], 8)
    for value in found.values():
        value[5] = torch.nan
    assert_matches_reference(kind, found, prediction, rest)


def test_label_units():
    prediction, labels = make_batch("regression")
    scale, mean = torch.linspace(0.5, 20, 8).double(), torch.linspace(-100, 900, 8).double()
    metrics = make_metrics("regression", 8, inverse=lambda value, task: value * scale[task] + mean[task])
    metrics.update(prediction, labels)
    found = metrics.compute()
    plain = make_metrics("regression", 8)
    plain.update(prediction, labels)
    expected = plain.compute()
    for name in ("mae", "rmse"):
        torch.testing.assert_close(found[name], expected[name] * scale, equal_nan=True)
    torch.testing.assert_close(found["mse"], expected["mse"] * scale**2, equal_nan=True)
    for name in ("mae_norm", "r2", "pearson", "spearman"):
        torch.testing.assert_close(found[name], expected[name], equal_nan=True)


def test_a_large_offset_costs_no_digits():
    rng = np.random.default_rng(0)
    value = (1e6 + rng.normal(size=300)).astype(np.float32)
    prediction = (value + rng.normal(size=300)).astype(np.float32)
    labels = make_labels(np.arange(300), np.zeros(300, dtype=np.int64), value, 1)
    metrics = make_metrics("regression", 1)
    metrics.update(torch.from_numpy(prediction)[:, None], labels)
    assert_matches_reference("regression", metrics.compute(), torch.from_numpy(prediction)[:, None], labels)


def test_probabilities_that_round_to_one_still_rank():
    logits = torch.tensor([[40.0, 0.0], [41.0, 0.0], [42.0, 0.0], [43.0, 0.0]])[:, None]
    (head,) = group_tasks([Task("t", "demo", "graph", "multiclass", 2)])
    metrics = HeadMetrics(head, metrics=["auroc"])
    metrics.update(logits / 2, make_labels(torch.arange(4), torch.zeros(4, dtype=torch.int64), [1.0, 0, 1, 0], 1))
    assert float(metrics.compute()["auroc"]) == 0.75


@pytest.mark.parametrize("kind", KINDS)
def test_number_of_operations_does_not_depend_on_the_number_of_tasks(kind):
    class Count(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            self.calls += 1
            return function(*arguments, **(keywords or {}))

    calls = []
    for num_tasks in (4, 3300):
        prediction, labels = make_batch(kind, num_tasks, 10)
        metrics = make_metrics(kind, num_tasks)
        with Count() as count:
            metrics.update(prediction, labels)
            metrics.compute()
        calls.append(count.calls)
    assert calls[0] == calls[1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50))
def test_bits_order_and_tie_as_the_scores_do(scores):
    score = torch.tensor(scores, dtype=torch.float32)
    bits = ordered_bits(score)
    assert torch.equal(bits[:, None] < bits, score[:, None] < score)
    assert bits.min() >= 0 and bits.max() < 2**32
    task = torch.zeros(len(score), dtype=torch.int32)
    np.testing.assert_array_equal(midranks(task, score).numpy(), scipy.stats.rankdata(score.numpy()) - 1)


def on_two_ranks(function, folder):
    """What ``function(rank, world_size)`` of this file returns on each of two gloo ranks."""
    script = Path(__file__).parent.with_name("gloo_ranks.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), __file__, function.__name__, str(folder)]
    subprocess.run(command, check=True, env=environment, timeout=240)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def metrics_of_rank(rank, world_size):
    """Rank 0 sees all labels but those of one batch, rank 1 that batch and no regression label at all."""
    results = {}
    for kind in KINDS:
        metrics = make_metrics(kind, 8)
        if rank == 0:
            metrics.update(*make_batch(kind, seed=0))
            metrics.update(*make_batch(kind, seed=1, num_entities=90))
        elif kind != "regression":
            metrics.update(*make_batch(kind, seed=2, num_entities=10))
        results[kind] = metrics.compute()
        metrics.update(*make_batch(kind, seed=3))  # what a rank holds is still its own
        results[kind + " again"] = metrics.compute()
    return results


def test_two_ranks_equal_one(tmp_path):
    for results in on_two_ranks(metrics_of_rank, tmp_path):
        for kind in KINDS:
            metrics = make_metrics(kind, 8)
            metrics.update(*make_batch(kind, seed=0))
            metrics.update(*make_batch(kind, seed=1, num_entities=90))
            if kind != "regression":
                metrics.update(*make_batch(kind, seed=2, num_entities=10))
            torch.testing.assert_close(results[kind], metrics.compute(), equal_nan=True, rtol=1e-9, atol=1e-9)
            for _ in range(2):
                metrics.update(*make_batch(kind, seed=3))
            torch.testing.assert_close(
                results[kind + " again"], metrics.compute(), equal_nan=True, rtol=1e-9, atol=1e-9
            )


def test_lives_in_a_metric_collection():
    prediction, labels = make_batch("binary")
    collection = torchmetrics.MetricCollection({"demo": HeadMetrics(make_head("binary", 8))})
    collection.update(prediction, labels)
    assert set(collection.compute()) == {"auroc", "ap", "bce"}


@pytest.mark.parametrize("kind", KINDS)
def test_default_metrics_fit_their_kind(kind):
    assert tuple(HeadMetrics(make_head(kind, 2)).parts) == DEFAULT_METRICS[kind]


def test_metric_of_the_wrong_kind_names_those_that_fit():
    with pytest.raises(
        GraphiumError, match="'auroc' of demo does not fit regression tasks; choose one of mae, mae_norm"
    ):
        HeadMetrics(make_head("regression", 2), metrics=["auroc"])
    with pytest.raises(GraphiumError, match=r"derive it from graphium\.training\.metrics\.base\.TaskMetric"):
        HeadMetrics(make_head("binary", 2), metrics=["torchmetrics.SumMetric"])
    with pytest.raises(GraphiumError, match="did you mean 'auroc'"):
        HeadMetrics(make_head("binary", 2), metrics=["aurocs"])


def test_direction_of_a_metric():
    assert higher_is_better("auroc") and higher_is_better("r2")
    assert not higher_is_better("mae") and not higher_is_better("pooled_mae_norm")
