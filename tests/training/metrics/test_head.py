from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch.utils._python_dispatch import TorchDispatchMode

from graphium import registry
from graphium.data.batch import Labels
from graphium.errors import GraphiumError
from graphium.training.metrics.head import DEFAULT_METRICS, REASONS, HeadMetrics, check_metrics
from graphium.types import Task, group_tasks

CLASSES = {"regression": 0, "binary": 0, "multiclass": 4, "ordinal": 3}
KINDS = tuple(CLASSES)


def make_head(kind, num_tasks):
    (head,) = group_tasks([Task(f"t{i}", "demo", "graph", kind, CLASSES[kind]) for i in range(num_tasks)])
    return head


def make_metrics(kind, num_tasks, **options):
    """Every metric that fits the kind."""
    names = [n for n in registry.names("metric") if kind in registry.lookup("metric", n).kinds]
    metrics = [{"name": "fbeta", "beta": 2.0} if name == "fbeta" else name for name in names]
    return HeadMetrics(make_head(kind, num_tasks), metrics=metrics, **options)


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


def one_against_rest(score, p, y, rest):
    areas = [score(y == c, p[:, c]) for c in range(p.shape[1]) if rest[0] < (y == c).sum() < len(y) + rest[1]]
    return np.mean(areas) if areas else np.nan


def called_classes(predicted, y, average):
    return {
        "accuracy": sk.accuracy_score(y, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(y, predicted),
        "mcc": sk.matthews_corrcoef(y, predicted),
        "f1": sk.f1_score(y, predicted, average=average, zero_division=0),
        "fbeta_2": sk.fbeta_score(y, predicted, beta=2, average=average, zero_division=0),
        "precision": sk.precision_score(y, predicted, average=average, zero_division=0),
        "recall": sk.recall_score(y, predicted, average=average, zero_division=0),
    }


def regression_reference(p, y):
    spread, both = len(y) > 1 and np.ptp(y) > 0, len(y) > 1 and np.ptp(y) > 0 and np.ptp(p) > 0
    return {
        "mae": sk.mean_absolute_error(y, p),
        "mae_norm": sk.mean_absolute_error(y, p),
        "mse": sk.mean_squared_error(y, p),
        "mape": sk.mean_absolute_percentage_error(y, p),
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
        **called_classes(p > 0, y, "binary"),
    }


def class_reference(p, y):
    probability = scipy.special.softmax(p, axis=1)
    return {
        "auroc": one_against_rest(sk.roc_auc_score, probability, y, (0, 0)),
        "ap": one_against_rest(sk.average_precision_score, probability, y, (0, 1)),
        "ce": sk.log_loss(y, probability, labels=range(p.shape[1])),
        **called_classes(p.argmax(1), y, "macro"),
    }


def ordinal_reference(p, y):
    numbers = regression_reference(scipy.special.softmax(p, axis=1) @ np.arange(p.shape[1]), y)
    return {**class_reference(p, y), **{n: v for n, v in numbers.items() if n not in ("mae_norm", "mape")}}


REFERENCE = {
    "regression": regression_reference,
    "binary": binary_reference,
    "multiclass": class_reference,
    "ordinal": ordinal_reference,
}


def assert_matches_reference(kind, found, prediction, labels, tolerance=1e-9):
    for task in range(len(labels.total)):
        p, y = of_task(prediction, labels, task)
        expected = REFERENCE[kind](p, y) if len(y) else dict.fromkeys(found, np.nan)
        assert set(expected) == set(found)
        for name, value in expected.items():
            assert float(found[name][task]) == pytest.approx(value, rel=1e-9, abs=tolerance, nan_ok=True), (name, task)


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
    assert counted.sum() > 0 and torch.equal(metrics.seen().counts[:, 1].long(), counted)


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


def test_lives_in_a_metric_collection():
    prediction, labels = make_batch("binary")
    head = make_head("binary", 8)
    parts = {name: HeadMetrics(head, metrics=[name]) for name in ("auroc", "ap", "f1")}
    collection = torchmetrics.MetricCollection(parts, prefix="val_")
    empty = torch.empty(0, dtype=torch.int64)
    collection.update(prediction[:0], make_labels(empty, empty, torch.empty(0), 8))
    collection.update(prediction, labels)
    other = collection.clone(prefix="test_")
    expected = HeadMetrics(head, metrics=["auroc", "ap", "f1"])
    expected.update(prediction, labels)
    for name, value in expected.compute().items():
        torch.testing.assert_close(collection.compute()[f"val_{name}"], value, equal_nan=True)
        torch.testing.assert_close(other.compute()[f"test_{name}"], value, equal_nan=True)
    collection.reset()
    assert collection.compute()["val_auroc"].isnan().all()
    assert not other.compute()["test_auroc"].isnan().all()


def test_heads_with_equal_states_stay_apart_in_a_collection():
    """The first batch has no label of either head, so that torchmetrics sees two equal states."""
    heads = group_tasks([Task("t", name, "graph", "binary") for name in ("one", "two")])
    collection = torchmetrics.MetricCollection({h.name: HeadMetrics(h, metrics=["accuracy"]) for h in heads})
    nobody = torch.empty(0, dtype=torch.int64)
    nothing = make_labels(nobody, nobody, torch.empty(0), 1)
    predictions = {head.name: torch.tensor([[2.0], [-1.0]]) for head in heads}
    collection.update(predictions, {head.name: nothing for head in heads})
    right = make_labels([0, 1], [0, 0], [1.0, 0.0], 1)
    wrong = make_labels([0, 1], [0, 0], [1.0, 1.0], 1)
    collection.update(predictions, dict(zip([head.name for head in heads], (right, wrong), strict=True)))
    collection.update(predictions, {})
    found = collection.compute()
    assert [float(found[f"{head.name}_accuracy"]) for head in heads] == [1.0, 0.5]


@pytest.mark.parametrize("kind", KINDS)
def test_forward_gives_the_batch_and_keeps_all(kind):
    first, second = make_batch(kind, seed=1), make_batch(kind, seed=2)
    metrics = make_metrics(kind, 8)
    metrics.update(*first)
    assert_matches_reference(kind, metrics(*second), *second)
    both = make_metrics(kind, 8)
    both.update(*first)
    both.update(*second)
    torch.testing.assert_close(metrics.compute(), both.compute(), equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_states_survive_clone_state_dict_and_merge(kind):
    metrics = make_metrics(kind, 8, inverse=lambda value, task: value * 2 + 1)
    metrics.update(*make_batch(kind, seed=1))
    clone = metrics.clone()
    metrics.persistent(True)
    loaded = make_metrics(kind, 8, inverse=lambda value, task: value * 2 + 1)
    loaded.load_state_dict(metrics.state_dict())
    halves = [make_metrics(kind, 8, inverse=lambda value, task: value * 2 + 1) for _ in range(2)]
    halves[0].update(*make_batch(kind, seed=1))
    halves[1].update(*make_batch(kind, seed=2))
    halves[0].merge_state(halves[1])
    for one in (metrics, clone, loaded):
        one.update(*make_batch(kind, seed=2))
    expected = metrics.compute()
    for one in (clone, loaded, halves[0]):
        torch.testing.assert_close(one.compute(), expected, equal_nan=True)


def test_a_task_reports_its_own_metrics_only():
    options = [(), ("mae",), ("mae", {"name": "mape"})]
    (head,) = group_tasks([Task(f"t{i}", "d", "graph", "regression", metrics=m) for i, m in enumerate(options)])
    metrics = HeadMetrics(head)
    metrics.update(torch.ones(3, 3), make_labels([0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2], [1.0, 3, 1, 3, 1, 3], 3))
    found = metrics.compute()
    assert list(found) == [*DEFAULT_METRICS["regression"], "mape"]
    assert found["mae"].tolist() == [1, 1, 1]
    assert found["rmse"].isfinite().tolist() == [True, False, False]
    assert found["mape"].isfinite().tolist() == [False, False, True]
    reasons = metrics.evaluate(metrics.seen())[1]
    assert reasons["rmse"].tolist() == [0, 0, 0]


def test_several_arguments_of_one_metric():
    head = make_head("multiclass", 8)
    metrics = HeadMetrics(head, metrics=["f1", {"name": "f1", "average": "micro"}, {"name": "fbeta", "beta": 0.5}])
    assert list(metrics.parts) == ["f1", "f1_micro", "fbeta_0.5"]


def reasons_of(metrics):
    codes = metrics.evaluate(metrics.seen())[1]
    return {name: [(*REASONS, *metrics.parts[name].undefined)[i] for i in c.tolist()] for name, c in codes.items()}


def test_reasons_of_binary_tasks():
    metrics = HeadMetrics(make_head("binary", 5), metrics=["auroc", "ap", "bce"])
    # Task 0 is fine, 1 has no label, 2 only negatives, 3 only positives, 4 a prediction that is NaN.
    task = torch.tensor([0, 0, 2, 2, 3, 4, 4])
    labels = make_labels(torch.zeros(7, dtype=torch.int64), task, [0.0, 1, 0, 0, 1, 0, 1], 5)
    metrics.update(torch.tensor([[0.5, 0.5, 0.5, 0.5, torch.nan]]), labels)
    nan, none, one = "prediction is NaN", "no labels", "one class only"
    assert reasons_of(metrics) == {
        "auroc": ["", none, one, one, nan],
        "ap": ["", none, "no positive labels", "", nan],
        "bce": ["", none, "", "", nan],
    }


def test_reasons_of_regression_tasks():
    metrics = HeadMetrics(make_head("regression", 4), metrics=["mae", "r2", "pearson", "spearman"])
    # Task 0 is fine, 1 has constant labels, 2 constant predictions, 3 an infinite prediction.
    prediction = torch.tensor([[1.0, 1, 5, torch.inf], [2.0, 2, 5, 1]])
    metrics.update(prediction, make_labels([0, 1] * 4, [0, 0, 1, 1, 2, 2, 3, 3], [1.0, 2, 7, 7, 1, 2, 1, 2], 4))
    infinite = "prediction is infinite"
    assert reasons_of(metrics) == {
        "mae": ["", "", "", infinite],
        "r2": ["", "constant labels", "", infinite],
        "pearson": ["", "constant labels", "constant predictions", infinite],
        "spearman": ["", "constant labels", "constant predictions", ""],
    }


def test_raw_labels_are_those_of_label_units():
    """The transform cuts labels off at 1: errors and ranks in label units are of the labels as they were."""
    head = make_head("regression", 1)
    metrics = HeadMetrics(head, lambda value, task: value.double() * 10, ["mae", "mae_norm", "rmse", "spearman"])
    labels = make_labels([0, 1, 2], [0, 0, 0], [0.5, 1.0, 1.0], 1)
    metrics.update(torch.tensor([[0.5], [2.0], [3.0]]), replace(labels, raw=torch.tensor([5.0, 20.0, 50.0]).double()))
    found = {name: float(value) for name, value in metrics.compute().items()}
    assert found == pytest.approx({"mae": 20 / 3, "mae_norm": 1.0, "rmse": np.sqrt(400 / 3), "spearman": 1.0})


@pytest.mark.parametrize("outputs", [("mean", "log_variance"), ("q0.1", "q0.5", "q0.9")])
def test_heads_with_outputs_are_judged_by_their_point(outputs):
    (head,) = group_tasks([Task(f"t{i}", "d", "graph", "regression", outputs=outputs) for i in range(8)])
    prediction, labels = make_batch("regression")
    order = torch.arange(len(outputs)) - outputs.index("q0.5" if "q0.5" in outputs else "mean")
    metrics = HeadMetrics(head, metrics=["mae", "spearman"])
    metrics.update(prediction.unsqueeze(-1) + order, labels)
    plain = HeadMetrics(make_head("regression", 8), metrics=["mae", "spearman"])
    plain.update(prediction, labels)
    torch.testing.assert_close(metrics.compute(), plain.compute(), equal_nan=True)


def test_low_precision_predictions():
    prediction, labels = make_batch("binary")
    metrics = make_metrics("binary", 8)
    metrics.update(prediction.bfloat16(), labels)
    assert_matches_reference("binary", metrics.compute(), prediction.bfloat16().float(), labels)


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


def test_metrics_of_tasks_are_judged_without_data():
    tasks = [
        Task("good", "d", "graph", "binary", metrics=("ap",)),
        Task("bad", "d", "graph", "binary", metrics=("r2",)),
    ]
    check_metrics(group_tasks(tasks[:1]))
    with pytest.raises(GraphiumError, match="metric 'r2' of d does not fit binary tasks; choose one of accuracy, ap"):
        check_metrics(group_tasks(tasks))
    with pytest.raises(GraphiumError, match="unknown key the metrics of d.betta"):
        check_metrics(group_tasks([Task("t", "d", "graph", "binary", metrics=({"name": "fbeta", "betta": 1},))]))
    with pytest.raises(GraphiumError, match="the metrics of d.beta is missing"):
        check_metrics(group_tasks([Task("t", "d", "graph", "binary", metrics=("fbeta",))]))
