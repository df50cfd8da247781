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
CLASS_KEYS = {"accuracy", "auroc", "ap", "ce"}
POOLED = {
    "one": {f"pooled_{name}_norm" for name in REGRESSION_KEYS - {"mae_norm"}} | {f"pooled_{n}" for n in CLASS_KEYS},
    "two": {f"pooled_{name}" for name in BINARY_KEYS},
}
OTHER_KEYS = {"n_defined", "undefined", "per_task"}


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
    evaluator = Evaluator(HEADS, TRANSFORMS, statistics)
    evaluator.update(predictions, labels)
    return predictions, labels, evaluator.compute()


def test_keys():
    _, _, report = evaluate()
    assert set(report) == {"one", "two"}
    assert set(report["one"]) == REGRESSION_KEYS | CLASS_KEYS | POOLED["one"] | OTHER_KEYS
    assert set(report["two"]) == BINARY_KEYS | POOLED["two"] | OTHER_KEYS
    assert set(report["one"]["per_task"]) == {"r0", "r1", "r2", "charge", "class"}
    assert all(set(values) == BINARY_KEYS for values in report["two"]["per_task"].values())
    assert set(report["one"]["per_task"]["r0"]) == REGRESSION_KEYS
    assert set(report["one"]["per_task"]["class"]) == CLASS_KEYS
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
    report = Evaluator(HEADS, TRANSFORMS, statistics).compute()
    for dataset in report.values():
        for numbers in (dataset, dataset["baseline"]):
            for key, value in numbers.items():
                if key == "n_defined":
                    assert set(value.values()) == {0}
                elif key == "undefined":
                    assert all(list(reasons) == ["no labels"] for reasons in value.values())
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
    assert set(Evaluator(HEADS).names()) == {name for name in found if name.split("/")[1] not in OTHER_KEYS}


def pooled_pairs(predictions, labels, kind, dataset):
    """Predictions and values of all labels of one kind, transformed units."""
    names = [task.name for head in HEADS if (head.kind, head.dataset) == (kind, dataset) for task in head.tasks]
    return [np.concatenate(side) for side in zip(*(pairs(predictions, labels, name) for name in names), strict=True)]


def test_pooled_is_over_all_labels_of_a_kind():
    """Graph and node regression of a dataset together, in transformed units."""
    predictions, labels, report = evaluate()
    one, two = report["one"], report["two"]
    p, y = pooled_pairs(predictions, labels, "regression", "one")
    assert {name: one[f"pooled_{name}_norm"] for name in REGRESSION_KEYS - {"mae_norm"}} == pytest.approx(
        {
            "mae": sk.mean_absolute_error(y, p),
            "rmse": sk.root_mean_squared_error(y, p),
            "r2": sk.r2_score(y, p),
            "pearson": scipy.stats.pearsonr(y, p).statistic,
            "spearman": scipy.stats.spearmanr(y, p).statistic,
        },
        abs=1e-9,
    )
    p, y = pooled_pairs(predictions, labels, "binary", "two")
    assert {name: two[f"pooled_{name}"] for name in BINARY_KEYS} == pytest.approx(
        {
            "auroc": sk.roc_auc_score(y, p),
            "ap": sk.average_precision_score(y, p),
            "bce": sk.log_loss(y, scipy.special.expit(p)),
        },
        abs=1e-9,
    )
    p, y = pooled_pairs(predictions, labels, "multiclass", "one")
    assert one["pooled_accuracy"] == pytest.approx((p.argmax(1) == y).mean())


def test_pooled_kinds_of_one_dataset_stay_apart():
    """Three brackets, five brackets and binary tasks have no common ranking."""
    tasks = [
        Task("a", "d", "graph", "ordinal", 3),
        Task("b", "d", "graph", "ordinal", 5),
        Task("c", "d", "graph", "binary"),
    ]
    evaluator = Evaluator(group_tasks([replace(task, metrics=("auroc", "accuracy")) for task in tasks]))
    expected = [
        f"pooled_{name}_{kind}" for name in ("auroc", "accuracy") for kind in ("ordinal3", "ordinal5", "binary")
    ]
    assert [name for name in evaluator.names() if "pooled" in name] == [f"d/{name}" for name in expected]
    assert set(expected) < set(evaluator.compute()["d"])


def test_pooled_takes_the_tasks_that_ask_for_it():
    tasks = [
        Task(n, "d", "graph", "regression", metrics=(m,)) for n, m in [("a", "mae"), ("b", "rmse"), ("c", "mae_norm")]
    ]
    (head,) = group_tasks(tasks)
    evaluator = Evaluator([head])
    labels = Labels(torch.zeros(3).long(), torch.arange(3), torch.tensor([1.0, 10, 100]), torch.ones(3), torch.ones(3))
    evaluator.update({head.name: torch.zeros(1, 3)}, {head.name: labels})
    report = evaluator.compute()["d"]
    assert report["pooled_mae_norm"] == 1 and report["pooled_rmse_norm"] == 10
    assert report["per_task"] == {"a": {"mae": 1.0}, "b": {"rmse": 10.0}, "c": {"mae_norm": 100.0}}
    assert report["n_defined"] == {"mae": 1, "rmse": 1, "mae_norm": 1} and report["undefined"] == {}


def test_what_is_undefined_is_named_with_its_reason():
    _, _, report = evaluate()
    assert report["two"]["undefined"] == {
        "auroc": {"one class only": ["b2", "b3"]},
        "ap": {"no positive labels": ["b3"]},
    }
    assert report["one"]["undefined"] == {name: {"no labels": ["r2"]} for name in REGRESSION_KEYS}
    counted = {**report["one"]["n_defined"], "accuracy": 4, "auroc": 4, "ap": 4, "ce": 4}
    for name in REGRESSION_KEYS:
        assert counted[name] + len(report["one"]["undefined"][name]["no labels"]) == 4


def test_reasons_of_the_baseline():
    statistics, _ = training_statistics()
    baseline = evaluate(statistics=statistics)[2]["one"]["baseline"]
    assert baseline["undefined"]["pearson"] == {"constant predictions": ["r0", "r1", "charge"], "no labels": ["r2"]}


def test_baseline_of_heads_with_outputs_and_bounds():
    """The mean of the training part is compared with the point of a prediction."""
    (head,) = group_tasks([Task("y", "d", "graph", "regression", outputs=("q0.1", "q0.5", "q0.9"))])
    evaluator = Evaluator([head], statistics={head.name: torch.tensor([2.0])})
    labels = Labels(
        torch.tensor([0, 1, 1]),
        torch.zeros(3).long(),
        torch.tensor([1.0, 5, 9]),
        torch.ones(3),
        torch.ones(1),
        bound=torch.tensor([0, 0, 1], dtype=torch.int8),
    )
    evaluator.update({head.name: torch.zeros(2, 1, 3)}, {head.name: labels})
    report = evaluator.compute()["d"]
    assert report["mae"] == 3 and report["baseline"]["mae"] == 2 and report["n_bounds"] == {"y": 1}


def test_thousands_of_tasks_make_a_report():
    (head,) = group_tasks([Task(f"t{i}", "d", "graph", "binary") for i in range(3300)])
    evaluator = Evaluator([head])
    task = torch.arange(3000).repeat(2)
    labels = Labels(
        torch.arange(6000) // 3000, task, (torch.arange(6000) >= 3000).float(), torch.ones(6000), torch.ones(3300)
    )
    evaluator.update({head.name: torch.tensor([[0.0], [1.0]]).expand(2, 3300)}, {head.name: labels})
    report = json.loads(json.dumps(evaluator.compute(), allow_nan=False))["d"]
    assert report["auroc"] == 1 and report["n_defined"]["auroc"] == 3000 and len(report["per_task"]) == 3300
    assert report["undefined"]["auroc"] == {"no labels": [f"t{i}" for i in range(3000, 3300)]}


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
