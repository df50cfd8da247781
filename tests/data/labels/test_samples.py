from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.labels.samples import Extremes, Sample


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_a_sample_is_a_choice_that_the_pieces_do_not_change(seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    task, value = random.integers(0, 4, 90), random.permutation(90) / 7
    whole = Sample(5, size)
    whole.add(task, value)
    parted = Sample(5, size)
    for start in range(0, 90, 11):
        parted.add(task[start : start + 11], value[start : start + 11])
    for number, (one, other) in enumerate(zip(whole.sorted(), parted.sorted(), strict=True)):
        mine = value[task == number]
        assert np.array_equal(one, other) and np.array_equal(one, np.sort(one))
        assert len(one) == min(size, len(mine)) and np.isin(one, mine).all()


def test_a_sample_is_fair() -> None:
    sample = Sample(1, 2_000)
    for start in range(0, 200_000, 5_000):
        sample.add(np.zeros(5_000, int), np.arange(start, start + 5_000) / 200_000)
    (found,) = sample.sorted()
    # Kolmogorov's distance exceeds 2 / sqrt(n) once in 1,500 times.
    assert np.abs(found - (np.arange(2_000) + 0.5) / 2_000).max() < 2 / np.sqrt(2_000)


def test_what_is_held_is_bounded() -> None:
    sample = Sample(2, 50)
    for _ in range(200):
        sample.add(np.arange(100) % 2, np.ones(100))
        assert sample._held <= 200 + 100


def test_small_tasks_are_kept_whole() -> None:
    sample = Sample(2, 100)
    sample.add(np.array([1] + [0] * 1000), np.arange(1001.0))
    kept = sample.sorted()
    assert kept[1].tolist() == [0.0] and len(kept[0]) == 100
    assert [len(one) for one in Sample(3).sorted()] == [0, 0, 0]


def test_extremes() -> None:
    extremes = Extremes(3)
    extremes.add(np.array([0, 2, 0]), np.array([1.0, 5.0, -2.0]))
    extremes.add(np.array([0]), np.array([7.0]))
    assert extremes.low.tolist() == [-2, np.inf, 5]
    assert extremes.high.tolist() == [7, -np.inf, 5]
