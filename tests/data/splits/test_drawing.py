from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.splits import drawing
from graphium.data.splits.drawing import draw, fill_groups, keyed, scratch, share_out, share_out_strata


def random_ids(many: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (many, 2), dtype=np.uint64)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 200), st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_shares(total: int, train: int, val: int, test: int) -> None:
    everything = max(train + val + test, 1)
    shares = (train / everything, val / everything, test / everything)
    counts = share_out(total, shares)
    assert counts.sum() == (total if any(shares) else 0)
    wanted = sum(share > 0 for share in shares)
    assert ((counts > 0) == (np.array(shares) > 0)).all() if total >= wanted else (counts <= 1).all()
    assert (abs(counts - np.array(shares) * total) <= 2).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.data())
def test_strata_add_up_and_stay_close(sizes: list[int], data: st.DataObject) -> None:
    total = sum(sizes)
    totals = []
    for _ in range(3):
        totals.append(data.draw(st.integers(0, total - sum(totals))))
    counts = share_out_strata(np.array(sizes), np.array(totals))
    assert counts.sum(axis=0).tolist() == totals
    assert (counts.sum(axis=1) <= sizes).all()
    assert (abs(counts - np.outer(sizes, totals) / max(total, 1)) <= 1).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-1, 4), max_size=80), st.integers(0, 3), st.integers(1, 16), st.integers(4, 50), st.data())
def test_a_draw_equals_a_sort(stratum: list[int], seed: int, bits: int, at_once: int, data: st.DataObject) -> None:
    """Whatever the width of the histogram and the size of the pieces."""
    ids = random_ids(len(stratum), seed)
    key = keyed(ids, seed)
    counts = np.zeros((5, 3), np.int64)
    expected = np.full(len(stratum), -1)
    for row in range(5):
        rest = stratum.count(row)
        for part in range(3):
            counts[row, part] = data.draw(st.integers(0, rest))
            rest -= counts[row, part]
        members = np.flatnonzero(np.array(stratum) == row)
        members = members[np.argsort(key[members])]
        for part, end in enumerate(np.cumsum(counts[row])):
            expected[members[end - counts[row, part] : end]] = part
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "_MAX_BITS", bits)
        patch.setattr(drawing, "AT_ONCE", at_once)
        found = draw(ids, np.array(stratum, np.int16), counts, seed)
    np.testing.assert_array_equal(found, expected)


def test_keys_depend_on_both_words_and_the_seed() -> None:
    ids = np.array([[1, 2], [1, 3], [2, 2], [2, 1]], np.uint64)
    keys = [keyed(ids, seed) for seed in (0, 1, -1, 2**63, 2**80)]
    assert len(set(np.concatenate(keys).tolist())) == 20
    np.testing.assert_array_equal(keys[0], keyed(ids, 0))
    many = keyed(random_ids(20_000), 3)
    assert abs((many >> np.uint64(63)).mean() - 0.5) < 0.02


def one_by_one(sizes: list[int], order: list[int], counts: list[int]) -> list[int]:
    room, part = list(counts), [-1] * len(sizes)
    for group in order:
        fits = [code for code, space in enumerate(room) if sizes[group] <= space]
        if fits:
            part[group] = fits[0]
            room[fits[0]] -= sizes[group]
        elif sum(counts) == sum(sizes):
            part[group] = max(code for code, count in enumerate(counts) if count)
    return part


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(0, 9), st.data())
def test_groups_are_placed_as_one_by_one(sizes: list[int], seed: int, data: st.DataObject) -> None:
    train = data.draw(st.integers(1, sum(sizes)))
    val = data.draw(st.integers(0, sum(sizes) - train))
    test = sum(sizes) - train - val - data.draw(st.integers(0, sum(sizes) - train - val))
    order = np.random.default_rng(seed).permutation(len(sizes))
    if seed % 2:
        order = np.argsort(-np.array(sizes), kind="stable")
    found = fill_groups(np.array(sizes), order, [train, val, test])
    assert found.tolist() == one_by_one(sizes, order.tolist(), [train, val, test])


def test_large_temporary_arrays_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert scratch(None, "a", 3, np.int32).tolist() == [0, 0, 0]
    assert scratch(tmp_path, "a", 3, np.int32).tolist() == [0, 0, 0]
    assert not any(tmp_path.iterdir())
    monkeypatch.setattr(drawing, "_LARGE", 1)
    array = scratch(tmp_path, "a", 3, np.float64)
    array[:] = 5
    assert (tmp_path / "a.tmp").stat().st_size == 24
    assert scratch(tmp_path, "a", 2, np.int32).tolist() == [0, 0]
