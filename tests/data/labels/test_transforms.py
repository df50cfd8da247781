from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from graphium.data.labels.fitting import configuration, fit
from graphium.data.labels.transforms import Clip, LabelTransform, MinMax, RankGaussian, ZScore
from graphium.errors import GraphiumError
from graphium.types import Task


def make_tasks(*transforms: Any) -> list[Task]:
    return [Task(f"y{n}", "d", "graph", "regression", transform=configuration(t)) for n, t in enumerate(transforms)]


def fitted(tasks: list[Task], task: np.ndarray, value: np.ndarray) -> list[Task]:
    return [replace(t, transform=f) for t, f in zip(tasks, fit(tasks, lambda: [(task, value)]), strict=True)]


def triples(seed: int = 0, rows: int = 200, tasks: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    dense = rng.normal([0, 1e4, -3], [1, 5, 1e-3], (rows, tasks))
    present = rng.random((rows, tasks)) < 0.6
    return np.nonzero(present)[1], dense[present]


def test_zscore_equals_scikit_learn() -> None:
    task, value = triples()
    parts = ZScore().fit([(task[:7], value[:7]), (task[7:], value[7:])], 3)
    for number, part in enumerate(parts):
        scaler = StandardScaler().fit(value[task == number][:, None])
        assert part["mean"] == pytest.approx(scaler.mean_[0], rel=1e-12)
        assert part["scale"] == pytest.approx(scaler.scale_[0], rel=1e-9)


def test_large_means_lose_nothing() -> None:
    # Total energies: a spread of 1e-3 on top of -4e4 is gone in float32 and in the one-pass formula.
    value = -4e4 + 1e-3 * np.random.default_rng(0).normal(size=1000)
    (part,) = ZScore().fit([(np.zeros(1000, dtype=int), value)], 1)
    assert part["scale"] == pytest.approx(value.std(), rel=1e-6)
    task = replace(make_tasks("zscore")[0], transform=part)
    scaled = LabelTransform([task]).forward(torch.from_numpy(value), torch.zeros(1000, dtype=torch.int64))
    assert scaled.dtype == torch.float32
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-4)
    assert float(scaled.std(correction=0)) == pytest.approx(1, rel=1e-4)
    back = LabelTransform([task]).inverse(scaled, torch.zeros(1000, dtype=torch.int64))
    np.testing.assert_allclose(back.numpy(), value, atol=1e-9)


def test_empty_and_constant_tasks() -> None:
    parts = ZScore().fit([(np.array([1, 1, 2]), np.array([0.1, 0.1, 5.0]))], 4)
    assert [part["scale"] for part in parts] == [1.0, 1.0, 1.0, 1.0]
    assert parts[0]["mean"] == parts[3]["mean"] == 0.0
    assert parts[2]["mean"] == 5.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100), st.integers(1, 40))
def test_inverse_undoes_forward(seed: int, rows: int) -> None:
    task, value = triples(seed, rows)
    transform = LabelTransform(fitted(make_tasks("zscore", "none", "zscore"), task, value))
    scaled = transform.forward(torch.from_numpy(value), torch.from_numpy(task))
    back = transform.inverse(scaled, torch.from_numpy(task))
    assert back.dtype == torch.float64
    np.testing.assert_allclose(back.numpy(), value, rtol=1e-6, atol=1e-4)


def test_predictions_and_labels_invert_alike() -> None:
    task, value = triples()
    transform = LabelTransform(fitted(make_tasks("zscore", "none", "zscore"), task, value))
    prediction = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    whole = transform.inverse(prediction)
    for column in range(3):
        single = transform.inverse(prediction[:, column], torch.full((5,), column))
        torch.testing.assert_close(whole[:, column], single)


def one_task(transform: Any, value: np.ndarray) -> LabelTransform:
    return LabelTransform(fitted(make_tasks(transform), np.zeros(len(value), int), value))


def apply(transform: LabelTransform, value: Any) -> np.ndarray:
    value = torch.as_tensor(np.asarray(value, np.float64))
    return transform.forward64(value, torch.zeros(len(value), dtype=torch.int64)).numpy()


def undo(transform: LabelTransform, value: Any) -> np.ndarray:
    value = torch.as_tensor(np.asarray(value, np.float64))
    return transform.inverse(value, torch.zeros(len(value), dtype=torch.int64)).numpy()


@pytest.mark.parametrize("range", [(0.0, 1.0), (-2.0, 3.5)])
def test_min_max_equals_scikit_learn(range: tuple[float, float]) -> None:
    task, value = triples()
    tasks = fitted(make_tasks(*[{"name": "min_max", "range": list(range)}] * 3), task, value)
    scaled = LabelTransform(tasks).forward64(torch.from_numpy(value), torch.from_numpy(task)).numpy()
    for number in (0, 1, 2):
        mine = task == number
        expected = MinMaxScaler(range).fit_transform(value[mine][:, None])[:, 0]
        np.testing.assert_allclose(scaled[mine], expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([-3.0, -1.5, 0.0, 0.1, 2.0, 7.0, 1e4]), min_size=1, max_size=60))
def test_rank_gauss_is_the_normal_score_of_the_mean_rank(labels: list[float]) -> None:
    value = np.array(labels)
    transform = one_task("rank_gauss", value)
    expected = norm.ppf((rankdata(value) - 0.5) / len(value))
    np.testing.assert_allclose(apply(transform, value), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(undo(transform, apply(transform, value)), value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("knots", "error"), [(250, 0.08), (1000, 0.02)])
def test_few_knots_come_close_to_all_ranks(knots: int, error: float) -> None:
    random = np.random.default_rng(0)
    for value in (random.lognormal(size=30_000), random.normal(size=30_000), random.gamma(0.3, size=30_000)):
        transform = one_task({"name": "rank_gauss", "knots": knots}, value)
        expected = norm.ppf((rankdata(value) - 0.5) / len(value))
        assert np.abs(apply(transform, value) - expected).max() < error
        (part,) = RankGaussian(knots).fit([(np.zeros(len(value), int), value)], 1)
        assert len(part["values"]) == len(part["scores"]) <= knots


def test_rank_gauss_goes_on_beyond_the_training_labels() -> None:
    transform = one_task("rank_gauss", np.array([0.0, 1.0, 4.0]))
    low, high = norm.ppf(0.5 / 3), norm.ppf(2.5 / 3)
    slope = (high - low) / 4
    np.testing.assert_allclose(apply(transform, [-2, 5, 400]), [low - 2 * slope, high + slope, high + 396 * slope])
    np.testing.assert_allclose(undo(transform, [low - 2 * slope, high + slope]), [-2, 5])
    assert np.isposinf(undo(transform, [np.inf])[0]) and np.isnan(undo(transform, [np.nan])[0])


CHAINS: list[Any] = [
    "none",
    "zscore",
    "min_max",
    "log1p",
    "rank_gauss",
    {"name": "rank_gauss", "knots": 4},
    ["log1p", "zscore"],
    ["log1p", "min_max", "rank_gauss"],
    ["rank_gauss", {"name": "min_max", "range": [-1, 1]}],
]
CLIPS: list[Any] = [
    {"name": "clip", "low": 0.5, "high": 2},
    {"name": "clip", "high": 2},
    {"name": "clip", "quantiles": [0.1, 0.8]},
    {"name": "clip", "deviations": 1},
]
labels_above = st.lists(st.floats(-0.999, 1e6, allow_subnormal=False), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CHAINS), labels_above, labels_above)
def test_what_is_inverted_is_what_was_there(chain: Any, train: list[float], more: list[float]) -> None:
    transform = one_task(chain, np.array(train))
    value = np.array([*train, *more])
    changed = apply(transform, value)
    assert np.isfinite(changed).all() and np.isfinite(undo(transform, changed)).all()
    assert transform.keeps_all == ("rank_gauss" not in str(chain))
    # A line through labels that differ by little is steep, and its inverse flat: compared in transformed units.
    again = apply(transform, undo(transform, changed))
    np.testing.assert_allclose(again, changed, rtol=1e-6, atol=1e-6)
    if transform.keeps_all:
        np.testing.assert_allclose(undo(transform, changed), value, rtol=1e-6, atol=1e-6 * max(map(abs, value)))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([*CHAINS, *CLIPS, [CLIPS[2], "log1p", "zscore"], [CLIPS[0], "rank_gauss"]]), labels_above)
def test_the_order_is_kept(chain: Any, train: list[float]) -> None:
    transform = one_task(chain, np.array(train))
    value = np.sort(np.concatenate([train, np.nextafter(train, np.inf), np.linspace(-0.9, 3, 50)]))
    changed = apply(transform, value)
    assert (np.diff(changed) >= 0).all()
    assert (np.diff(undo(transform, np.linspace(-50, 50, 400))) >= 0).all()


def test_every_task_of_a_mixed_head_has_its_own_chain() -> None:
    chains = ["none", "zscore", ["log1p", "zscore"], CLIPS[2], [CLIPS[3], "min_max"], "rank_gauss", "log1p"]
    random = np.random.default_rng(0)
    task, value = random.integers(0, len(chains), 900), random.lognormal(size=900)
    whole = LabelTransform(fitted(make_tasks(*chains), task, value))
    prediction = torch.randn(5, len(chains), generator=torch.Generator().manual_seed(0))
    together = whole.forward(torch.from_numpy(value), torch.from_numpy(task))
    assert together.dtype == torch.float32 and whole.inverse(prediction).dtype == torch.float64
    for number, chain in enumerate(chains):
        mine = task == number
        single = one_task(chain, value[mine])
        np.testing.assert_allclose(together[mine], apply(single, value[mine]), rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(whole.inverse(prediction)[:, number], undo(single, prediction[:, number]))
    deep = prediction.expand(2, 3, 5, len(chains))
    assert torch.equal(whole.inverse(deep)[1, 2], whole.inverse(prediction))


def test_a_chain_is_fitted_step_by_step() -> None:
    value = np.random.default_rng(0).lognormal(size=500)
    limits = np.quantile(value, [0.1, 0.8])
    logs = np.log1p(np.clip(value, *limits))
    transform = one_task([CLIPS[2], "log1p", "zscore"], value)
    np.testing.assert_allclose(apply(transform, value), (logs - logs.mean()) / logs.std(), rtol=1e-9, atol=1e-9)
    assert not transform.keeps_all
    np.testing.assert_allclose(undo(transform, apply(transform, value)), np.clip(value, *limits), rtol=1e-9)


def test_clip_keeps_predictions_and_never_raises() -> None:
    transform = one_task({"name": "clip", "low": -1, "high": 2}, np.array([0.0]))
    assert apply(transform, [-5, -1, 0, 2, 1e9]).tolist() == [-1, -1, 0, 2, 2]
    assert undo(transform, [-5, 7]).tolist() == [-5, 7]
    value = np.random.default_rng(0).normal(size=400)
    assert Clip().fit([(np.zeros(400, int), value)], 1) == Clip(deviations=5).fit([(np.zeros(400, int), value)], 1)
    (part,) = Clip(deviations=2).fit([(np.zeros(400, int), value)], 1)
    reach = 2 * value.std()
    assert (part["low"], part["high"]) == pytest.approx((value.mean() - reach, value.mean() + reach))


@pytest.mark.parametrize("chain", [*CHAINS, *CLIPS, [CLIPS[2], "log1p", "zscore"]])
def test_tasks_with_no_one_or_equal_labels_are_finite(chain: Any) -> None:
    task, value = np.array([1, 2, 2, 2]), np.array([0.7, 0.1, 0.1, 0.1])
    transform = LabelTransform(fitted(make_tasks(chain, chain, chain), task, value))
    some = torch.tensor([0.1, 0.7, 0.5, 2.0])
    for number in range(3):
        of = torch.full((4,), number)
        changed = transform.forward(some, of)
        assert changed.isfinite().all() and transform.inverse(changed, of).isfinite().all()
        # What tells labels apart is not lost, unless limits were named.
        if "low" not in str(chain) and "high" not in str(chain):
            assert len(changed.unique()) == 4


def test_most_labels_alike_are_not_clipped_away() -> None:
    value = np.array([0.0] * 999 + [5.0])
    assert apply(one_task({"name": "clip", "quantiles": [0.005, 0.995]}, value), [0, 5]).tolist() == [0, 5]


def test_a_logarithm_is_always_finite() -> None:
    transform = one_task("log1p", np.array([1.0]))
    assert np.isfinite(apply(transform, [-1.0, -50.0, 1e150])).all()
    assert np.isfinite(undo(transform, [-1e3, 1e3, 1e30])).all()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Clip(low=0, deviations=3), "low=0, high=None, quantiles=None, deviations=3; give low and high"),
        (lambda: Clip(low=2, high=1), r"low and high of clip are \[2, 1\]; give two numbers, the smaller one first"),
        (lambda: Clip(quantiles=(0.1, 1.1)), r"quantiles of clip are \[0.1, 1.1\]; give two fractions"),
        (lambda: Clip(deviations=-1), "deviations of clip are -1; give a number above 0"),
        (lambda: MinMax((1, 1)), r"range of min_max is \[1, 1\]"),
        (lambda: RankGaussian(1), "rank_gauss has 1 knots; give a number from 2 to 1000"),
    ],
)
def test_arguments_that_make_no_sense(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        make()


def test_what_is_not_fitted_is_not_used() -> None:
    for name in ("zscore", "min_max", "rank_gauss", "clip"):
        task = Task("y0", "d", "graph", "regression", transform={"name": name})
        with pytest.raises(GraphiumError, match=f"transform '{name}' of task 'y0' is not fitted"):
            LabelTransform([task])
    with pytest.raises(GraphiumError, match="of task 'y0' is 'my_lab.Log', which is none of none, zscore"):
        LabelTransform([Task("y0", "d", "graph", "regression", transform={"name": "my_lab.Log"})])
    with pytest.raises(GraphiumError, match="do not increase"):
        knots = {"name": "rank_gauss", "values": [1.0, 1.0], "scores": [0.0, 1.0]}
        LabelTransform([Task("y0", "d", "graph", "regression", transform=knots)])


def test_fitted_values_are_plain_and_survive_yaml() -> None:
    chains = [[CLIPS[2], "log1p", "zscore"], "rank_gauss", "min_max", CLIPS[1]]
    random = np.random.default_rng(0)
    task, value = random.integers(0, 4, 400), random.lognormal(size=400)
    tasks = fitted(make_tasks(*chains), task, value)
    back = [Task.from_dict(yaml.safe_load(yaml.safe_dump(one.to_dict()))) for one in tasks]
    some = torch.from_numpy(value), torch.from_numpy(task)
    assert torch.equal(LabelTransform(back).forward(*some), LabelTransform(tasks).forward(*some))
    prediction = torch.linspace(-3, 3, 40).reshape(10, 4)
    assert torch.equal(LabelTransform(back).inverse(prediction), LabelTransform(tasks).inverse(prediction))


def test_the_order_of_the_labels_does_not_matter() -> None:
    random = np.random.default_rng(0)
    task, value = random.integers(0, 3, 600), random.lognormal(size=600).round(1)
    order = random.permutation(600)
    for chain in (*CHAINS, *CLIPS):
        one, other = (LabelTransform(fitted(make_tasks(*[chain] * 3), task[o], value[o])) for o in (slice(None), order))
        some = torch.from_numpy(value), torch.from_numpy(task)
        torch.testing.assert_close(one.forward64(*some), other.forward64(*some), rtol=1e-9, atol=1e-9)
