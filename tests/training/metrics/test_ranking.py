import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from graphium.training.metrics.base import Pooled
from graphium.training.metrics.ranking import (
    average_precisions,
    make_keys,
    midranks,
    pool_keys,
    roc_areas,
    score_bits,
    thresholds,
)

SCORES = st.floats(width=32, allow_nan=False)


@settings(max_examples=50, deadline=None)
@given(st.lists(SCORES, min_size=1, max_size=50), st.integers(1, 100_000_000))
def test_keys_order_and_tie_as_the_scores_do(scores, num_tasks):
    score = torch.tensor(scores, dtype=torch.float32)
    task = torch.zeros(len(score), dtype=torch.int64)
    keys = make_keys(task, score, num_tasks)
    assert torch.equal(keys[:, None] < keys, score[:, None] < score)
    assert keys.min() >= 0
    np.testing.assert_array_equal(midranks(keys).numpy(), scipy.stats.rankdata(score.numpy()) - 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), SCORES, st.booleans()), min_size=1, max_size=50))
def test_keys_order_like_task_score_and_label(triples):
    task = torch.tensor([t for t, _, _ in triples])
    score = torch.tensor([s for _, s, _ in triples], dtype=torch.float32)
    label = torch.tensor([y for *_, y in triples])
    keys = make_keys(task, score, 5, label)
    plain = [(t, np.float32(s), y) for t, s, y in triples]
    assert torch.equal(keys[:, None] < keys, torch.tensor([[a < b for b in plain] for a in plain]))
    assert torch.equal(keys >> (score_bits(5) + 1), task)


def test_float64_is_told_apart_to_eleven_digits():
    score = torch.tensor([1e9, 1e9 + 1e-2, -1e9, -1e9 - 1e-2], dtype=torch.float64)
    keys = make_keys(torch.zeros(4, dtype=torch.int64), score, 4000)
    assert torch.equal(keys.argsort(), score.argsort())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2), st.booleans()), max_size=40))
def test_areas_with_ties_against_scikit_learn(triples):
    task = torch.tensor([t for t, _, _ in triples], dtype=torch.int64)
    score = torch.tensor([s for _, s, _ in triples], dtype=torch.float64)
    label = torch.tensor([y for *_, y in triples], dtype=torch.bool)
    groups = thresholds(make_keys(task, score, 3, label), 3)  # the last task is none
    roc, precision = roc_areas(groups), average_precisions(groups)
    for index in range(3):
        y, s = label[task == index].numpy(), score[task == index].numpy()
        if y.any():
            assert float(precision[index]) == pytest.approx(sk.average_precision_score(y, s), abs=1e-12)
        else:
            assert precision[index].isnan()
        if y.any() and not y.all():
            assert float(roc[index]) == pytest.approx(sk.roc_auc_score(y, s), abs=1e-12)
        else:
            assert roc[index].isnan()


def test_pooled_keys_of_heads_of_different_size_tie_and_order():
    """Equal scores of heads whose keys have different numbers of bits are one score."""
    score = torch.tensor([0.1, -3.0, 0.1, torch.inf, 2.0], dtype=torch.float32)
    label = torch.tensor([1, 0, 0, 1, 0])
    task = torch.tensor([0, 1, 1, 0, 2])  # task 2 of 2 is none
    heads = [
        Pooled(make_keys(task, score, 2, label)[:, None], 2, torch.tensor([True, True])),
        Pooled(make_keys(task % 2 * 2999, score, 3000, label)[:, None], 3000, torch.arange(3000) == 2999),
    ]
    keys = pool_keys(heads)[:, 0]
    expected = torch.cat([score[:4], score[1:3]]), torch.cat([label[:4], label[1:3]])
    assert torch.equal(keys & 1, expected[1])
    assert torch.equal(keys[:, None] >> 1 < keys >> 1, expected[0][:, None] < expected[0])
    assert int((keys >> (score_bits(1) + 1)).max()) == 0
    groups = thresholds(keys, 1)
    assert float(roc_areas(groups)) == pytest.approx(sk.roc_auc_score(expected[1], scipy.stats.rankdata(expected[0])))
