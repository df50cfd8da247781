"""Which rows of repeated molecules are used, against plain Python over random tables."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.labels import repeats
from graphium.data.labels.repeats import RepeatCounts, repeated_rows, representatives
from graphium.errors import GraphiumError

seeds = st.integers(0, 2**31 - 1)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_AT_ONCE", 7)


def random_rows(random: np.random.Generator, rows: int = 30) -> tuple[np.ndarray, np.ndarray]:
    molecule = random.integers(-1, 8, rows).astype(np.int32)
    return molecule, np.where(random.random(rows) < 0.15, -1, random.integers(0, 4, rows)).astype(np.int8)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_representatives_equal_a_plain_loop(seed: int) -> None:
    molecule, parts = random_rows(np.random.default_rng(seed), rows=1 + seed % 40)
    used = [row for row in range(len(parts)) if molecule[row] >= 0 and parts[row] >= 0]
    times = Counter(int(molecule[row]) for row in used)
    several = {m for m, number in times.items() if number > 1}
    assert repeated_rows(molecule, parts) == RepeatCounts(len(several), sum(times[m] for m in several))
    before = parts.copy()
    for policy, key in (("first", lambda row: molecule[row]), ("mean", lambda row: (molecule[row], parts[row]))):
        seen, expected = set(), parts.copy()
        for row in used:
            if key(row) in seen:
                expected[row] = -1
            seen.add(key(row))
        chosen, sentence = representatives(molecule, parts, policy)  # type: ignore[arg-type]
        assert chosen.dtype == np.int8 and np.array_equal(chosen, expected)
        assert bool(sentence) == bool(several)
    kept, _ = representatives(molecule, parts, "keep")
    assert np.array_equal(kept, parts) and np.array_equal(parts, before)
    if not several:
        assert representatives(molecule, parts, "error")[1] == ""
        return
    second = next(row for k, row in enumerate(used) if molecule[row] in molecule[used[:k]])
    first = next(row for row in used if molecule[row] == molecule[second])
    with pytest.raises(GraphiumError, match=f"rows {first} and {second} hold the same molecule.*repeats=keep"):
        representatives(molecule, parts, "error")


def test_sentences_count_aloud() -> None:
    molecule, parts = np.array([0, 1, 0, 2, 0, 1]), np.array([0, 0, 0, 0, 1, -1])
    sentences = {policy: representatives(molecule, parts, policy)[1] for policy in ("keep", "first", "mean")}  # type: ignore[arg-type]
    assert sentences == {
        "keep": "1 molecule in several rows (3 rows): all of them are used (repeats=keep)",
        "first": "1 molecule in several rows (3 rows): the first of each is used, 2 rows not (repeats=first)",
        "mean": "1 molecule in several rows (3 rows): merged by part into 2 rows with their mean labels (repeats=mean)",
    }
