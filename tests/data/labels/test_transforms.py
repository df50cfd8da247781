from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from graphium.data.labels.transforms import LabelTransform, ZScore, check_transform, default_transform, fit
from graphium.errors import GraphiumError
from graphium.types import Task


def make_tasks(*names: str) -> list[Task]:
    return [Task(f"y{n}", "d", "graph", "regression", transform={"name": name}) for n, name in enumerate(names)]


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
    assert transform.scale.shape == (3,)
    prediction = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    whole = transform.inverse(prediction)
    for column in range(3):
        single = transform.inverse(prediction[:, column], torch.full((5,), column))
        torch.testing.assert_close(whole[:, column], single)


def test_each_task_has_its_own_transform() -> None:
    task, value = triples()
    parts = fit(make_tasks("zscore", "none", "zscore"), lambda: [(task, value)])
    assert [part["name"] for part in parts] == ["zscore", "none", "zscore"]
    together = ZScore().fit([(task, value)], 3)
    assert parts[0] == together[0]
    assert parts[2] == together[2]


def test_no_labels_at_all() -> None:
    empty = np.empty(0)
    assert fit(make_tasks("zscore", "none"), lambda: [(empty.astype(int), empty)])[1] == {"name": "none"}
    transform = LabelTransform(fitted(make_tasks("zscore"), empty.astype(int), empty))
    assert transform.forward(torch.empty(0), torch.empty(0, dtype=torch.int64)).shape == (0,)


def test_what_is_not_fitted_is_not_used() -> None:
    with pytest.raises(GraphiumError, match="transform 'zscore' of task 'y0' is not fitted"):
        LabelTransform(make_tasks("zscore"))


def test_defaults_and_refusals() -> None:
    assert default_transform("regression") == "zscore"
    assert {default_transform(kind) for kind in ("binary", "multiclass", "ordinal")} == {"none"}
    check_transform({"name": "none"}, "binary", "y")
    with pytest.raises(GraphiumError, match="'zscore'.*binary"):
        check_transform("zscore", "binary", "y")
