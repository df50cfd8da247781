import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from graphium.training.metrics.base import Mean, Pooled, Scored
from graphium.training.metrics.regression import absolute_error
from graphium.training.metrics.summaries import Confusion, Curves, Moments, Ranks

NUMBER = st.sampled_from([0.0, 1.0, -2.5, 1e6, 1e6 + 1, 0.1])
STREAMED = {"mean": Mean(absolute_error), "moments": Moments(), "confusion": Confusion()}


def scored(triples, num_tasks=3):
    task = torch.tensor([t for t, _, _ in triples], dtype=torch.int64)
    numbers = torch.tensor([[p, v] for _, p, v in triples], dtype=torch.float64).view(-1, 2)
    return Scored(task, numbers[:, 0], numbers[:, 1], num_tasks)


def random_scored(size, seed=0, num_tasks=4, classes=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (size, classes) if classes else (size,)
    return Scored(
        torch.randint(0, num_tasks + 1, (size,), generator=generator),
        torch.randn(shape, generator=generator, dtype=torch.float64),
        torch.randint(0, max(2, classes), (size,), generator=generator).double(),
        num_tasks,
    )


def cut(one, pieces):
    for task, prediction, value in zip(*(x.split(pieces) for x in (one.task, one.prediction, one.value)), strict=True):
        yield Scored(task, prediction, value, one.num_tasks)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 3), NUMBER, NUMBER), max_size=8), min_size=1, max_size=4))
def test_moments_of_batches_are_those_of_all(batches):
    """Merged at once or one after another, whatever is empty, constant or far from zero."""
    moments = Moments()
    states = torch.stack([moments.update(scored(batch)) for batch in batches])
    together = moments.view(moments.merge(states), 3)
    state = moments.update(scored([]))
    for one in states:
        state = moments.merge(torch.stack([state, one]))
    streamed = moments.view(state, 3)
    everything = [triple for batch in batches for triple in batch]
    for index in range(3):
        p, v = (np.array([t[i] for t in everything if t[0] == index]) for i in (1, 2))
        for found in (together, streamed):
            assert float(found.error[index]) == pytest.approx(((p - v) ** 2).sum(), rel=1e-9)
            for number, spread in ((v, found.value), (p, found.prediction)):
                expected = ((number - number.mean()) ** 2).sum() if len(number) else 0.0
                assert float(spread[index]) == pytest.approx(expected, rel=1e-9, abs=1e-9)
                if len(set(number.tolist())) <= 1:
                    assert spread[index] == 0  # exactly
            product = ((p - p.mean()) * (v - v.mean())).sum() if len(p) else 0.0
            scale = max(1.0, float(found.value[index] * found.prediction[index]) ** 0.5)
            assert float(found.product[index]) == pytest.approx(product, abs=1e-9 * scale)


def test_a_large_offset_costs_no_digits_over_batches():
    rng = np.random.default_rng(0)
    value = 1e9 + rng.normal(size=1000)
    prediction = value + rng.normal(size=1000)
    everything = Scored(
        torch.zeros(1000, dtype=torch.int64), torch.from_numpy(prediction), torch.from_numpy(value), num_tasks=1
    )
    moments = Moments()
    state = moments.update(scored([], 1))
    for batch in cut(everything, 7):
        state = moments.merge(torch.stack([state, moments.update(batch)]))
    found = moments.view(state, 1)
    assert float(found.correlation()) == pytest.approx(np.corrcoef(value - 1e9, prediction - 1e9)[0, 1], abs=1e-9)
    r2 = 1 - float(found.error / found.value)
    assert r2 == pytest.approx(sk.r2_score(value - 1e9, prediction - 1e9), abs=1e-9)


@pytest.mark.parametrize("name", STREAMED)
def test_an_empty_batch_changes_nothing(name):
    summary = STREAMED[name]
    one = summary.update(random_scored(50))
    empty = summary.update(next(cut(random_scored(50), [0, 50])))
    for stacked in ([one, empty], [empty, one], [empty, one, empty]):
        assert torch.equal(summary.merge(torch.stack(stacked)), one)


@pytest.mark.parametrize("classes", [0, 3])
def test_confusion_against_scikit_learn(classes):
    one = random_scored(200, classes=classes)
    counts = Confusion().update(one)
    predicted = one.prediction.argmax(-1) if classes else one.prediction > 0
    for index in range(4):
        mine = one.task == index
        expected = sk.confusion_matrix(one.value[mine], predicted[mine], labels=range(classes or 2))
        np.testing.assert_array_equal(counts[index].numpy(), expected)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("summary", [*STREAMED.values(), Curves(), Ranks()], ids=lambda s: s.name)
def test_pooled_tasks_are_as_one_task(summary, classes):
    """Some tasks of two heads, and none of what no task counts."""
    heads = [random_scored(100, 1, 4, classes), random_scored(150, 2, 300, classes)]
    keeps = [torch.tensor([True, False, True, True]), torch.arange(300) % 2 == 0]
    pooled = summary.pool([Pooled(summary.update(h), h.num_tasks, keep) for h, keep in zip(heads, keeps, strict=True)])
    kept = [torch.cat([keep, keep.new_zeros(1)])[h.task] for h, keep in zip(heads, keeps, strict=True)]
    one = Scored(
        torch.zeros(int(sum(k.sum() for k in kept)), dtype=torch.int64),
        torch.cat([h.prediction[k] for h, k in zip(heads, kept, strict=True)]),
        torch.cat([h.value[k] for h, k in zip(heads, kept, strict=True)]),
        num_tasks=1,
    )
    found, expected = summary.view(pooled, 1), summary.view(summary.update(one), 1)
    if isinstance(found, torch.Tensor):
        found, expected = {"": found}, {"": expected}
    else:
        found, expected = vars(found), vars(expected)
    torch.testing.assert_close(found, expected)
