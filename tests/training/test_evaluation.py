import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from sklearn import metrics as sk

from graphium.data.batch import Labels
from graphium.data.labels.transforms import LabelTransform
from graphium.errors import GraphiumError
from graphium.training.evaluation import Evaluator, label_statistics
from graphium.training.module import flatten_metrics
from graphium.types import Task, group_tasks

MEAN, SCALE = (-75.0, 3.0, 40.0), (10.0, 0.5, 7.0)
TASKS = [
    *[
        Task(f"r{i}", "one", "graph", "regression", transform={"name": "zscore", "mean": mean, "scale": scale})
        for i, (mean, scale) in enumerate(zip(MEAN, SCALE, strict=True))
    ],
    Task("charge", "one", "node", "regression"),
    Task("class", "one", "graph", "multiclass", 3, ("low", "middle", "high")),
    *[Task(f"b{i}", "two", "graph", "binary") for i in range(4)],
]
HEADS = group_tasks(TASKS)
TRANSFORMS = {head.name: LabelTransform(head.tasks) for head in HEADS}
REGRESSION_KEYS = {"mae", "mae_norm", "rmse", "r2", "pearson", "spearman"}
BINARY_KEYS = {"auroc", "ap", "bce"}


def example(seed=0, num_entities=50):
    """Predictions and labels of all heads. r2 has no labels, b2 is all positive, b3 is on one molecule."""
    rng = np.random.default_rng(seed)
    predictions, labels = {}, {}
    for head in HEADS:
        mask = rng.random((num_entities, head.num_tasks)) < 0.5
        for column, task in enumerate(head.tasks):
            if task.name in ("r2", "b3"):
                mask[:, column] = False
            if task.name == "b3":
                mask[5, column] = True
        entity, task = mask.nonzero()
        value = rng.normal(size=len(task))
        if head.kind != "regression":
            value = rng.integers(0, head.num_classes or 2, len(task))
        if head.kind == "binary":
            value[task == 2] = 1
        labels[head.name] = Labels(
            torch.from_numpy(entity),
            torch.from_numpy(task),
            torch.from_numpy(value).float(),
            torch.ones(len(task)),
            torch.zeros(head.num_tasks),
        )
        shape = (num_entities, head.num_tasks, head.num_classes) if head.num_classes else (num_entities, head.num_tasks)
        predictions[head.name] = torch.from_numpy(rng.normal(size=shape)).float()
    return predictions, labels


def pairs(predictions, labels, name):
    """Prediction and value of one task, float64, transformed units."""
    for head in HEADS:
        for column, task in enumerate(head.tasks):
            if task.name == name:
                one = labels[head.name]
                mine = one.task == column
                prediction = predictions[head.name][one.entity[mine], column]
                return prediction.double().numpy(), one.value[mine].double().numpy()
    raise KeyError(name)


def evaluate(seed=0, statistics=None):
    predictions, labels = example(seed)
    evaluator = Evaluator(HEADS, TRANSFORMS)
    evaluator.update(predictions, labels)
    return predictions, labels, evaluator.compute(statistics)


def test_keys():
    _, _, report = evaluate()
    assert set(report) == {"one", "two"}
    assert set(report["one"]) == REGRESSION_KEYS | {"accuracy", "auroc", "pooled_mae_norm", "n_defined", "per_task"}
    assert set(report["two"]) == BINARY_KEYS | {"n_defined", "per_task"}
    assert set(report["one"]["per_task"]) == {"r0", "r1", "r2", "charge", "class"}
    assert all(set(values) == BINARY_KEYS for values in report["two"]["per_task"].values())
    assert set(report["one"]["per_task"]["r0"]) == REGRESSION_KEYS
    assert set(report["one"]["per_task"]["class"]) == {"accuracy", "auroc"}
    assert set(report["two"]["n_defined"]) == BINARY_KEYS


def test_regression_in_both_units():
    predictions, labels, report = evaluate()
    errors = []
    for name, mean, scale in [("r0", MEAN[0], SCALE[0]), ("r1", MEAN[1], SCALE[1]), ("charge", 0.0, 1.0)]:
        p, y = pairs(predictions, labels, name)
        errors.append(abs(p - y))
        expected = {
            "mae_norm": sk.mean_absolute_error(y, p),
            "mae": sk.mean_absolute_error(y * scale + mean, p * scale + mean),
            "rmse": sk.root_mean_squared_error(y * scale + mean, p * scale + mean),
            "r2": sk.r2_score(y, p),
            "pearson": scipy.stats.pearsonr(y, p).statistic,
            "spearman": scipy.stats.spearmanr(y, p).statistic,
        }
        assert report["one"]["per_task"][name] == pytest.approx(expected, abs=1e-9)
    tasks = [report["one"]["per_task"][name] for name in ("r0", "r1", "charge")]
    for key in REGRESSION_KEYS:
        assert report["one"][key] == pytest.approx(np.mean([values[key] for values in tasks]), abs=1e-12)
        assert report["one"]["n_defined"][key] == 3
    # Pooled is over labels, not over tasks.
    assert report["one"]["pooled_mae_norm"] == pytest.approx(np.concatenate(errors).mean(), abs=1e-12)
    assert report["one"]["pooled_mae_norm"] != pytest.approx(report["one"]["mae_norm"], abs=1e-6)


def test_binary_and_what_is_undefined():
    predictions, labels, report = evaluate()
    two = report["two"]
    for name in ("b0", "b1"):
        p, y = pairs(predictions, labels, name)
        expected = {
            "auroc": sk.roc_auc_score(y, p),
            "ap": sk.average_precision_score(y, p),
            "bce": sk.log_loss(y, scipy.special.expit(p)),
        }
        assert two["per_task"][name] == pytest.approx(expected, abs=1e-9)
    assert two["per_task"]["b2"]["auroc"] is None and two["per_task"]["b3"]["auroc"] is None
    assert two["n_defined"]["auroc"] == 2
    assert two["n_defined"]["bce"] == 4
    assert two["auroc"] == pytest.approx((two["per_task"]["b0"]["auroc"] + two["per_task"]["b1"]["auroc"]) / 2)
    assert report["one"]["per_task"]["r2"] == dict.fromkeys(report["one"]["per_task"]["r0"])
    json.dumps(report, allow_nan=False)


def test_nothing_seen_is_all_undefined():
    nothing = torch.empty(0, dtype=torch.int64), torch.empty(0)
    statistics = {head.name: label_statistics(head, [nothing]) for head in HEADS}
    report = Evaluator(HEADS, TRANSFORMS).compute(statistics)
    for dataset in report.values():
        for numbers in (dataset, dataset["baseline"]):
            for key, value in numbers.items():
                if key == "n_defined":
                    assert set(value.values()) == {0}
                elif key not in ("per_task", "baseline"):
                    assert value is None


def training_statistics(seed=9):
    """Statistics of another sample, from values in label units, and those values by task name."""
    _, labels = example(seed)
    statistics, values = {}, {}
    for head in HEADS:
        one = labels[head.name]
        value = TRANSFORMS[head.name].inverse(one.value, one.task)
        statistics[head.name] = label_statistics(head, zip(one.task.split(7), value.split(7), strict=True))
        for column, task in enumerate(head.tasks):
            values[task.name] = value[one.task == column].numpy()
    return statistics, values


def test_baseline_is_the_training_mean_prevalence_and_frequency():
    statistics, train = training_statistics()
    predictions, labels, report = evaluate(statistics=statistics)
    one, two = report["one"]["baseline"], report["two"]["baseline"]
    assert set(one) == set(report["one"]) - {"baseline"}
    assert set(two) == set(report["two"]) - {"baseline"}

    errors = []
    for name, mean, scale in [("r0", MEAN[0], SCALE[0]), ("r1", MEAN[1], SCALE[1]), ("charge", 0.0, 1.0)]:
        _, y = pairs(predictions, labels, name)
        y, guess = y * scale + mean, np.full(len(y), train[name].mean())
        errors.append(abs(y - guess) / scale)
        found = one["per_task"][name]
        assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, guess), rel=1e-6)
        assert found["mae_norm"] == pytest.approx(errors[-1].mean(), rel=1e-6)
        assert found["r2"] == pytest.approx(sk.r2_score(y, guess), abs=1e-6)
        assert found["pearson"] is None and found["spearman"] is None
    assert one["pooled_mae_norm"] == pytest.approx(np.concatenate(errors).mean(), rel=1e-6)

    for name in ("b0", "b1"):
        _, y = pairs(predictions, labels, name)
        assert two["per_task"][name]["auroc"] == 0.5
        assert two["per_task"][name]["ap"] == pytest.approx(y.mean())
        assert two["per_task"][name]["bce"] == pytest.approx(sk.log_loss(y, np.full(len(y), train[name].mean())))

    _, y = pairs(predictions, labels, "class")
    assert one["per_task"]["class"]["auroc"] == 0.5
    assert one["per_task"]["class"]["accuracy"] == pytest.approx(
        (y == np.bincount(train["class"].astype(int)).argmax()).mean()
    )


def test_baseline_of_a_one_class_training_part_stays_finite():
    head = HEADS[-1]
    task = torch.tensor([0, 0, 0, 1, 1])
    shares = label_statistics(head, [(task, torch.tensor([1.0, 1, 1, 0, 1]))])
    torch.testing.assert_close(shares[:2], torch.tensor([1 - 0.5 / 3, 0.5], dtype=torch.float64))
    assert shares[2:].isnan().all()


def test_class_frequencies():
    head = next(head for head in HEADS if head.kind == "multiclass")
    shares = label_statistics(head, [(torch.zeros(4, dtype=torch.int64), torch.tensor([0.0, 2, 2, 2]))])
    torch.testing.assert_close(shares, torch.tensor([[0.25, 0.5 / 4, 0.75]], dtype=torch.float64))


def test_batches_heads_that_are_absent_and_reset():
    predictions, labels, report = evaluate()
    evaluator = Evaluator(HEADS, TRANSFORMS)
    evaluator.update(*example(5))
    evaluator.reset()
    for name in labels:
        evaluator.update(predictions, {name: labels[name]})
    assert evaluator.compute() == report
    assert evaluator.compute() == report


def test_names_are_those_of_the_report():
    report = evaluate()[2]
    found = {f"{dataset}/{name}" for dataset, numbers in report.items() for name in numbers}
    assert set(Evaluator(HEADS).names()) == {name for name in found if not name.endswith(("/n_defined", "/per_task"))}


def test_metrics_can_be_chosen_by_kind():
    predictions, labels = example()
    evaluator = Evaluator(HEADS, TRANSFORMS, metrics={"binary": ["accuracy"]})
    evaluator.update(predictions, labels)
    assert set(evaluator.compute()["two"]) == {"accuracy", "n_defined", "per_task"}
    with pytest.raises(GraphiumError, match="'mae' of two does not fit binary tasks"):
        Evaluator(HEADS, TRANSFORMS, metrics={"binary": ["mae"]})


def test_a_broken_network_reports_null_and_no_error():
    predictions, labels = example()
    evaluator = Evaluator(HEADS, TRANSFORMS)
    evaluator.update({name: torch.full_like(value, torch.nan) for name, value in predictions.items()}, labels)
    report = evaluator.compute()
    assert report["one"]["pooled_mae_norm"] is None and report["two"]["auroc"] is None
    json.dumps(report, allow_nan=False)


def test_bounds_are_counted_per_task():
    predictions, labels = example()
    (name,) = [head.name for head in HEADS if head.kind == "regression"][:1]
    one = labels[name]
    bound = torch.where(one.task == 0, 1, 0).to(torch.int8)
    evaluator = Evaluator(HEADS, TRANSFORMS)
    evaluator.update(predictions, {**labels, name: replace(one, bound=bound)})
    report = evaluator.compute()
    head = next(head for head in HEADS if head.name == name)
    numbers = report[head.dataset]
    assert numbers["n_bounds"] == {head.tasks[0].name: int((one.task == 0).sum())}
    assert numbers["per_task"][head.tasks[0].name]["mae"] is None
    assert all("n_bounds" not in other for dataset, other in report.items() if dataset != head.dataset)
    assert not any("n_bounds" in key for key in flatten_metrics("val", report))
    evaluator.reset()
    evaluator.update(predictions, labels)
    assert not any("n_bounds" in other for other in evaluator.compute().values())
