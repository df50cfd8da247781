"""Intervals and sets against dense formulas, and the guarantee they are made for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.chem.featurizer import Featurizer
from graphium.data.labels.transforms import LabelTransform
from graphium.errors import GraphiumError
from graphium.models.folder.names import WEIGHTS
from graphium.models.predictor import Predictor
from graphium.models.saved import load_model, save_model
from graphium.models.tables.columns import label_numbers, task_columns
from graphium.models.trust.conformal import SHARES, Intervals, Scores, kept_ranks, make_keys, scores
from graphium.models.trust.stored import CALIBRATION, write_stored
from graphium.nn.network import build_network
from graphium.nn.outputs import EVIDENTIAL, GAUSSIAN
from graphium.types import HeadSpec, Task, group_tasks

LEVELS = st.floats(0.01, 0.999)
ZSCORE = {"name": "zscore", "mean": 7.0, "scale": 2.5}


@dataclass
class Model:
    """What intervals need of a saved model."""

    folder: Path
    heads: tuple[HeadSpec, ...]
    facts: dict[str, Any] = field(default_factory=dict)


def head_of(kind: str, tasks: int = 2, **options: Any) -> HeadSpec:
    (head,) = group_tasks([Task(f"y{k}", "a", "graph", kind, **options) for k in range(tasks)])  # type: ignore[arg-type]
    return head


def calibrated(folder: Path, head: HeadSpec, prediction: torch.Tensor, value: torch.Tensor) -> Model:
    """A model folder whose calibration is that of dense labels ``[rows, tasks]``."""
    (folder / WEIGHTS).write_bytes(b"weights")
    write_stored(folder, CALIBRATION, stored_of(head, prediction, value), {})
    return Model(folder, (head,))


def stored(head: HeadSpec) -> dict[str, torch.Tensor]:
    """A calibration by twenty labels that are 1 away."""
    return stored_of(head, torch.zeros(20, head.num_tasks), torch.ones(20, head.num_tasks, dtype=torch.float64))


def stored_of(head: HeadSpec, prediction: torch.Tensor, value: torch.Tensor) -> dict[str, torch.Tensor]:
    numbers = label_numbers(head, prediction, LabelTransform(head.tasks).inverse)
    score = scores(head, numbers, value)
    task = torch.arange(head.num_tasks).expand_as(score)
    kept = Scores.of_keys(make_keys(task.flatten().numpy(), score.flatten().numpy()), head.num_tasks)
    return {
        "shares": torch.from_numpy(SHARES),
        f"count/{head.name}": torch.from_numpy(kept.count),
        f"scores/{head.name}": torch.from_numpy(kept.kept),
    }


def columns_of(model: Any, prediction: torch.Tensor, level: float) -> dict[str, Any]:
    """Column name -> one value per row."""
    heads = model.heads if isinstance(model, Model) else model[0].heads
    extra = Intervals(model, level)
    extra.columns(heads, task_columns(heads))
    passes = [{heads[0].name: label_numbers(heads[0], p, LabelTransform(heads[0].tasks).inverse)} for p in prediction]
    found = extra.values(None, {heads[0].name: prediction[0]}, passes, None)  # type: ignore[arg-type]
    return {name: value.to_pylist() if isinstance(value, pa.Array) else value for name, value in found.items()}


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(0, 900), min_size=1, max_size=4), level=LEVELS, seed=st.integers(0, 10**6))
def test_quantiles_are_those_of_the_formula(counts: list[int], level: float, seed: int) -> None:
    """Exact where all scores are kept, else not smaller, and not larger than the next one that is kept."""
    rng = np.random.default_rng(seed)
    every = [rng.choice([-1.0, 1.0, 1.0]) * rng.gamma(0.5, 3.0, n).round(2) for n in counts]
    task = np.repeat(np.arange(len(counts)), counts)
    order = rng.permutation(len(task))
    kept = Scores.of_keys(make_keys(task[order], np.concatenate([*every, []])[order]), len(counts))
    assert kept.count.tolist() == counts
    for score, n, found in zip(every, counts, kept.quantile(level), strict=True):
        # A product that is whole but for rounding is whole.
        rank = math.ceil((n + 1) * level * (1 - 1e-12))
        if rank > n:
            assert found == np.inf
            continue
        ranked = np.sort(score)
        above = rank
        if n > len(SHARES):
            above = min(r for r in kept_ranks(np.array([n]), SHARES)[0].tolist() if r >= rank)
            assert above - rank <= 0.0051 * (n + 1)
        assert found == pytest.approx(ranked[above - 1], rel=1e-6) and found >= ranked[rank - 1]


def test_usual_levels_are_exact() -> None:
    for n in (211, 1000, 12345, 999_999):
        ranks = set(kept_ranks(np.array([n]), SHARES)[0].tolist())
        for level in (0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999):
            rank = math.ceil((n + 1) * level - 1e-6)
            assert rank in ranks or rank > n


def test_scores_are_rounded_up_and_nan_is_infinite() -> None:
    score = np.array([0.1, -0.1, 1e300, np.nan, 0.0])
    kept = Scores.of_keys(make_keys(np.zeros(5, int), score), 1).kept[0]
    assert kept[0] >= -0.1 and kept[1] == 0 and kept[2] >= 0.1 and kept[3:].tolist() == [np.inf, np.inf]


def _regression(head: HeadSpec, prediction: torch.Tensor, value: np.ndarray) -> tuple[np.ndarray, ...]:
    """Core, unit and score of one task by the formulas of the papers, in numpy."""
    numbers = prediction.double().numpy()
    if not head.outputs:
        low = high = numbers * 2.5 + 7
        unit = np.ones_like(low)
    elif head.outputs == GAUSSIAN:
        low = high = numbers[..., 0] * 2.5 + 7
        unit = np.exp(numbers[..., 1] / 2) * 2.5
    elif head.outputs == EVIDENTIAL:
        _, nu, alpha, beta = np.moveaxis(np.logaddexp(0, numbers) + 1e-6, -1, 0)
        low = high = numbers[..., 0] * 2.5 + 7
        unit = np.sqrt(beta / alpha + beta / alpha / nu) * 2.5
    else:
        numbers = np.sort(numbers, axis=-1) * 2.5 + 7
        low, high, unit = numbers[..., 0], numbers[..., -1], np.ones_like(value)
    return low, high, unit, np.maximum(low - value, value - high) / unit


@pytest.mark.parametrize("outputs", [(), GAUSSIAN, EVIDENTIAL, ("q0.1", "q0.5", "q0.9")])
def test_intervals_of_numbers(tmp_path: Path, outputs: tuple[str, ...]) -> None:
    head = head_of("regression", outputs=outputs, transform=ZSCORE)
    draw = torch.Generator().manual_seed(1)
    shape = (60, 2, len(outputs)) if outputs else (60, 2)
    prediction = torch.randn(shape, generator=draw)
    value = torch.randn(60, 2, generator=draw, dtype=torch.float64) * 2.5 + 7
    model = calibrated(tmp_path, head, prediction, value)
    low, high, unit, score = _regression(head, prediction, value.numpy())
    found = columns_of(model, prediction.unsqueeze(0), 0.8)
    assert list(found) == ["y0[low]", "y0[high]", "y1[low]", "y1[high]"]
    for task in range(2):
        quantile = np.sort(score[:, task])[math.ceil(61 * 0.8) - 1]
        np.testing.assert_allclose(found[f"y{task}[low]"], (low - quantile * unit)[:, task], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found[f"y{task}[high]"], (high + quantile * unit)[:, task], rtol=1e-5, atol=1e-5)
        inside = (found[f"y{task}[low]"] <= value[:, task].numpy()) & (
            value[:, task].numpy() <= found[f"y{task}[high]"]
        )
        assert inside.mean() >= 0.8


def test_quantiles_that_were_too_wide_never_cross(tmp_path: Path) -> None:
    head = head_of("regression", tasks=1, outputs=("q0.1", "q0.9"))
    prediction = torch.tensor([[[-100.0, 100.0]]] * 50)
    model = calibrated(tmp_path, head, prediction, torch.zeros(50, 1, dtype=torch.float64))
    found = columns_of(model, torch.tensor([[[[3.0, 5.0]]]]), 0.9)
    assert found["y0[low]"] == [4.0] and found["y0[high]"] == [4.0]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), level=st.floats(0.3, 0.97), kind=st.sampled_from(["binary", "multiclass", "ordinal"])
)
def test_sets_of_classes(tmp_path_factory: pytest.TempPathFactory, seed: int, level: float, kind: str) -> None:
    names = ("low", "mid", "set", "top") if kind != "binary" else ()
    head = head_of(kind, num_classes=len(names), classes=names)
    draw = torch.Generator().manual_seed(seed)
    shape = (80, 2, 4) if names else (80, 2)
    prediction = torch.randn(shape, generator=draw) * 3
    value = torch.randint(0, len(names) or 2, (80, 2), generator=draw).double()
    model = calibrated(tmp_path_factory.mktemp("model"), head, prediction, value)
    found = columns_of(model, prediction.unsqueeze(0), level)
    numbers = prediction.double()
    share = (numbers.softmax(-1) if names else torch.stack([1 - numbers.sigmoid(), numbers.sigmoid()], -1)).numpy()
    suffix = "[set of classes]" if names else "[set]"
    assert list(found) == [f"y0{suffix}", f"y1{suffix}"]
    for task in range(2):
        true = value[:, task].long().numpy()
        score = np.sort(1 - share[np.arange(80), task, true])
        quantile = score[math.ceil(81 * level) - 1]
        for row, got in enumerate(found[f"y{task}{suffix}"]):
            inside = {k for k, p in enumerate(share[row, task]) if 1 - p <= quantile + 1e-7}
            inside |= {int(share[row, task].argmax())}
            if kind == "ordinal":
                inside = set(range(min(inside), max(inside) + 1))
            assert got == [(names or ("0", "1"))[k] for k in sorted(inside)]
        held = [(names or ("0", "1"))[k] in got for k, got in zip(true, found[f"y{task}{suffix}"], strict=True)]
        assert np.mean(held) >= level


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_the_guarantee_holds_on_exchangeable_labels(level: float) -> None:
    """Over many draws the coverage lies between the level and the level plus 1 / (n + 1) (Lei et al. 2018)."""
    n, draws = 19, 20_000
    rng = np.random.default_rng(3)
    score = rng.gumbel(size=(draws, n + 1))
    task = np.repeat(np.arange(draws), n)
    kept = Scores.of_keys(make_keys(task, score[:, :n].ravel()), draws)
    covered = (score[:, n] <= kept.quantile(level)).mean()
    noise = 4 * math.sqrt(0.25 / draws)
    assert level - noise <= covered <= math.ceil((n + 1) * level) / (n + 1) + noise


def test_too_few_labels_give_nothing_and_a_reason(tmp_path: Path) -> None:
    head = head_of("regression", tasks=1)
    prediction = torch.zeros(8, 1)
    model = calibrated(tmp_path, head, prediction, torch.ones(8, 1, dtype=torch.float64))
    extra = Intervals(model, 0.9)  # type: ignore[arg-type]
    assert extra.columns((head,), {head.name: ["y0"]})["y0[low]"] == ("graph", pa.float64())
    assert extra.remarks == ["no interval of level 0.9: y0: fewer than 9 validation labels"]
    found = extra.values(None, {head.name: prediction}, [], None)  # type: ignore[arg-type]
    assert found["y0[low]"].null_count == 8  # type: ignore[union-attr]
    assert columns_of(model, prediction.unsqueeze(0), 0.85)["y0[high]"].tolist() == [1.0] * 8


def test_an_ensemble_averages_the_ends(tmp_path: Path) -> None:
    head = head_of("regression", tasks=1)
    models = []
    for error in (1.0, 3.0):
        folder = tmp_path / str(error)
        folder.mkdir()
        models.append(calibrated(folder, head, torch.zeros(20, 1), torch.full((20, 1), error, dtype=torch.float64)))
    found = columns_of(models, torch.tensor([[[10.0]], [[20.0]]]), 0.9)
    assert found["y0[low]"].tolist() == [13.0] and found["y0[high]"].tolist() == [17.0]


def test_sentences(tmp_path: Path) -> None:
    head = head_of("binary", tasks=1)
    model = calibrated(tmp_path, head, torch.zeros(20, 1), torch.ones(20, 1))
    with pytest.raises(GraphiumError, match="level of intervals is 1.5; give a share"):
        Intervals(model, 1.5)  # type: ignore[arg-type]
    (tmp_path / WEIGHTS).write_bytes(b"other")
    with pytest.raises(GraphiumError, match="made of other weights"):
        Intervals(model)  # type: ignore[arg-type]
    (tmp_path / CALIBRATION).unlink()
    with pytest.raises(GraphiumError, match="graphium models calibrate"):
        Intervals(model)  # type: ignore[arg-type]
    with pytest.raises(GraphiumError, match="level of intervals is '0.9'; give a share"):
        Intervals(model, "0.9")  # type: ignore[arg-type]
    with pytest.raises(GraphiumError, match="intervals of no model"):
        Intervals([])
    with pytest.raises(GraphiumError, match="the calibration of a int is wanted"):
        Intervals(3)  # type: ignore[arg-type]


def test_intervals_of_another_model_are_refused(tmp_path: Path) -> None:
    featurizer = Featurizer(encodings=[])
    heads = group_tasks([Task("y", "a", "graph", "regression")])
    models = [tmp_path / "0", tmp_path / "1"]
    for seed, folder in enumerate(models):
        torch.manual_seed(seed)
        save_model(folder, build_network(featurizer.spec, heads, width=8, depth=1, dropout=0.5), featurizer, heads)
        write_stored(folder, CALIBRATION, stored(heads[0]), {})
    for same in (Intervals(models[0]), Intervals(str(models[0])), Intervals(load_model(models[0]))):
        assert Predictor(models[0], extras=[same]).predict(["CCO"])["y[high]"].notna().all()
        with pytest.raises(GraphiumError, match="the intervals are of another model"):
            Predictor(models[1], extras=[same]).predict(["CCO"])
    both = Intervals(models)
    assert Predictor(models, extras=[both]).predict(["CCO"])["y[low]"].notna().all()
    with pytest.raises(GraphiumError, match="the intervals are of 2 models and there are 1 predictions"):
        Predictor(models[0], extras=[both]).predict(["CCO"])
    with pytest.raises(GraphiumError, match="the intervals are of 1 models and there are 2 predictions"):
        Predictor(models, extras=[Intervals(models[0])]).predict(["CCO"])
    assert Predictor(models[0], extras=[Intervals(models[0])], dropout=3).predict(["CCO"])["y[low]"].notna().all()


@pytest.mark.parametrize(
    "change",
    [
        {"shares": None},
        {"count/{}": torch.ones(3, dtype=torch.int64)},
        {"count/{}": torch.tensor([-1, 1])},
        {"count/{}": torch.ones(2)},
        {"scores/{}": None},
        {"scores/{}": torch.tensor([[2.0, 1.0], [1.0, 2.0]])},
        {"scores/{}": torch.full((2, 2), torch.nan)},
        {"scores/{}": torch.zeros(2, 0)},
    ],
)
def test_content_that_is_not_ours(tmp_path: Path, change: dict[str, Any]) -> None:
    head = head_of("regression")
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    tensors = stored(head) | {name.format(head.name): tensor for name, tensor in change.items()}
    write_stored(tmp_path, CALIBRATION, {name: one for name, one in tensors.items() if one is not None}, {})
    with pytest.raises(GraphiumError, match=r"calibration.safetensors' is damaged .*; make it again"):
        Intervals(Model(tmp_path, (head,)))  # type: ignore[arg-type]
