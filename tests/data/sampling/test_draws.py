from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.sampling.draws import Draws, RowOrder, Sampling, make_key, permute, rows_per_epoch
from graphium.errors import GraphiumError

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=4).filter(any)


@st.composite
def samplings(draw: st.DrawFn) -> Sampling:
    return Sampling(
        batch_size=draw(st.integers(1, 9)),
        temperature=draw(st.sampled_from([1.0, 2.0, 0.7, math.inf])),
        epoch_fraction=draw(st.sampled_from([1.0, 0.3, 2.5])),
        shuffle=draw(st.sampled_from(["full", "block"])),
        block_rows=draw(st.integers(1, 8)),
        window_blocks=draw(st.integers(1, 4)),
    )


def epoch_of(order: Draws | RowOrder, epoch: int) -> np.ndarray:
    return order.places(np.arange(epoch * order.num_rows, (epoch + 1) * order.num_rows))


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 3000), seed=st.integers(-5, 2**40))
def test_a_permutation_holds_every_number_once(size: int, seed: int) -> None:
    values = permute(np.arange(size), size, make_key(seed))
    np.testing.assert_array_equal(np.sort(values), np.arange(size))
    some = np.arange(size)[:: max(1, size // 7)]
    np.testing.assert_array_equal(permute(some, size, make_key(seed)), values[some])


def test_a_permutation_of_a_large_range_and_a_key_for_every_index() -> None:
    size = 83_000_000_000
    index = np.arange(0, size, size // 1000)
    found = permute(index, size, make_key(1))
    assert len(np.unique(found)) == len(index) and found.min() >= 0 and found.max() < size
    passes = np.arange(len(index)) % 3
    mixed = permute(index, size, make_key(1, passes))
    for number in range(3):
        mine = passes == number
        np.testing.assert_array_equal(mixed[mine], permute(index[mine], size, make_key(1, number)))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_every_permutation_of_a_short_range_is_as_likely(size: int) -> None:
    possible = math.factorial(size)
    count, expected = 100 * possible, 100
    keys = np.repeat(make_key(np.arange(count)), size)
    found = permute(np.tile(np.arange(size), count), size, keys).reshape(count, size)
    counts = np.unique(found @ size ** np.arange(size), return_counts=True)[1]
    assert len(counts) == possible
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert chi2 < possible - 1 + 6 * math.sqrt(2 * (possible - 1))


def test_a_permutation_shows_no_trend() -> None:
    size = 20_011
    for seed in range(3):
        values = permute(np.arange(size), size, make_key(seed))
        limit = 5 / math.sqrt(size)
        for lag in (1, 2, 141, 142):
            assert abs(np.corrcoef(values[lag:], values[:-lag])[0, 1]) < limit
        assert abs(np.corrcoef(values, np.arange(size))[0, 1]) < limit
        other = permute(np.arange(size), size, make_key(seed + 1))
        assert abs(np.corrcoef(values, other)[0, 1]) < limit
        # Numbers in each tenth of the sequence come from each tenth of the range alike.
        table = np.histogram2d(np.arange(size), values, bins=10)[0]
        assert ((table - size / 100) ** 2 / (size / 100)).sum() < 81 + 6 * math.sqrt(2 * 81)


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES, sampling=samplings(), seed=st.integers(0, 5), epoch=st.integers(0, 4))
def test_without_weights_an_epoch_is_every_row_once(
    sizes: list[int], sampling: Sampling, seed: int, epoch: int
) -> None:
    plain = Sampling(shuffle=sampling.shuffle, block_rows=sampling.block_rows, window_blocks=sampling.window_blocks)
    order = Draws(sizes, plain, seed=seed)
    np.testing.assert_array_equal(np.sort(epoch_of(order, epoch)), np.arange(sum(sizes)))
    assert order.sentences([str(i) for i in range(len(sizes))]) == []


@settings(max_examples=100, deadline=None)
@given(
    sizes=SIZES, sampling=samplings(), weights=st.lists(st.sampled_from([0.0, 0.2, 1.0, 7.0]), min_size=4, max_size=4)
)
def test_shares_are_exact_and_streams_continue_over_epochs(
    sizes: list[int], sampling: Sampling, weights: list[float]
) -> None:
    weights = weights[: len(sizes)]
    used = [size if weight else 0 for size, weight in zip(sizes, weights, strict=True)]
    if not any(used):
        with pytest.raises(GraphiumError, match="weight of every dataset is 0"):
            Draws(sizes, sampling, weights=weights)
        return
    order = Draws(sizes, sampling, weights=weights, seed=1)
    wanted = np.array([w * n ** (1 / sampling.temperature) if n else 0.0 for w, n in zip(weights, sizes, strict=True)])
    wanted *= max(1, round(sampling.epoch_fraction * sum(used))) / wanted.sum()
    for rows, share in zip(order.rows, wanted, strict=True):
        assert abs(rows - share) < 1 + 1e-9 and (rows >= 1) == (share > 0)

    ends = np.cumsum(sizes)
    epochs = 5
    counts = np.zeros(sum(sizes), np.int64)
    for epoch in range(epochs):
        found = epoch_of(order, epoch)
        # Each epoch draws the same number of rows of every dataset ...
        by_table = np.bincount(np.searchsorted(ends, found, side="right"), minlength=len(sizes))
        np.testing.assert_array_equal(by_table, order.rows)
        counts += np.bincount(found, minlength=len(counts))
        # ... and no row is used twice before all others are used once.
        for first, end in zip(ends - sizes, ends, strict=True):
            if end > first:
                assert np.ptp(counts[first:end]) <= 1


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES, sampling=samplings(), seed=st.integers(0, 3), data=st.data())
def test_any_piece_in_any_order_is_the_same_sequence(
    sizes: list[int], sampling: Sampling, seed: int, data: st.DataObject
) -> None:
    weights = [1.0 + i for i in range(len(sizes))]
    whole = Draws(sizes, sampling, weights=weights, seed=seed)
    expected = whole.places(np.arange(3 * whole.num_rows))
    some = np.array(data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=20)), dtype=np.int64)
    np.random.seed(0)
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    np.testing.assert_array_equal(Draws(sizes, sampling, weights=weights, seed=seed).places(some), expected[some])
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_seeds_epochs_and_datasets_have_orders_of_their_own() -> None:
    order, other = Draws([50, 50], Sampling(), seed=1), Draws([50, 50], Sampling(), seed=2)
    assert (epoch_of(order, 0) != epoch_of(order, 1)).any()
    assert (epoch_of(order, 0) != epoch_of(other, 0)).any()
    first, second = order.stream(0, np.arange(50)), order.stream(1, np.arange(50)) - 50
    assert (first != second).any()


def test_datasets_are_mixed_evenly() -> None:
    """No half of an epoch prefers a dataset, in either shuffle."""
    for shuffle in ("full", "block"):
        order = Draws([9000, 1000], Sampling(shuffle=shuffle, block_rows=50, window_blocks=8), seed=4)
        small = epoch_of(order, 0) >= 9000
        for piece in np.split(small, 10):
            assert 60 <= piece.sum() <= 145, shuffle


@pytest.mark.parametrize("sizes", [[10_000], [9_000, 777, 3]])
def test_a_window_reads_few_blocks_of_neighbours(sizes: list[int]) -> None:
    block, window = 64, 4
    order = Draws(sizes, Sampling(shuffle="block", block_rows=block, window_blocks=window), seed=2)
    places = epoch_of(order, 1)
    ends = np.cumsum(sizes)
    starts = order._starts
    assert np.diff(starts).max() <= 1.5 * block * window
    for begin, end in zip(starts, starts[1:], strict=False):
        piece = places[begin:end]
        runs = 1 + int((np.diff(np.sort(piece)) > 1).sum())
        # Of every dataset: whole blocks, the two at the ends of the window in part, one that goes on at row 0.
        assert runs <= len(piece) // block + 3 * len(sizes)
        if len(piece) > 100:
            # Within the window the rows are shuffled.
            assert (np.abs(np.diff(piece)) == 1).mean() < 0.1
    tables = np.searchsorted(ends, places, side="right")
    np.testing.assert_array_equal(np.bincount(tables), sizes)


def test_every_window_of_a_sorted_table_shows_all_of_it() -> None:
    size = 100_003
    order = Draws([size, 5000], Sampling(shuffle="block", block_rows=16, window_blocks=128), seed=2)
    places = epoch_of(order, 3)
    for begin, end in zip(order._starts, order._starts[1:], strict=False):
        piece = places[begin:end]
        piece = piece[piece < size]
        counts = np.histogram(piece, bins=10, range=(0, size))[0]
        # 12 blocks on average; were they drawn anywhere, some window would have 10 more or less.
        assert np.abs(counts - len(piece) / 10).max() < 5 * 16


def test_blocks_are_in_random_order_and_cut_elsewhere_in_every_pass() -> None:
    order = Draws([1000], Sampling(shuffle="block", block_rows=100, window_blocks=1), seed=3)
    first = [epoch_of(order, epoch)[:100].min() for epoch in range(20)]
    assert len(set(first)) > 10 and len({value % 100 for value in first}) > 10


def test_a_huge_part_costs_nothing_to_open() -> None:
    order = Draws([83_000_000, 1_000_000], Sampling(shuffle="block"), weights=[1, 4], seed=5)
    assert order.num_rows == 84_000_000
    far = order.places(np.arange(10**12, 10**12 + 500))
    assert far.min() >= 0 and far.max() < 84_000_000


def test_a_sentence_for_every_dataset_when_draws_are_unequal() -> None:
    order = Draws([1000, 9000, 0, 50], Sampling(epoch_fraction=0.5), weights=[9, 1, 1, 0])
    assert order.sentences(["zinc", "qm9", "empty", "held"]) == [
        "zinc: 50 % of an epoch, each row 2.5 times",
        "qm9: 50 % of an epoch, each row 0.278 times",
        "held: 0 % of an epoch, no row is drawn",
    ]


def test_temperature() -> None:
    sizes = np.array([10_000, 100])
    assert rows_per_epoch(sizes, Sampling()).tolist() == [10_000, 100]
    assert rows_per_epoch(sizes, Sampling(temperature=2)).tolist() == [9182, 918]
    assert rows_per_epoch(sizes, Sampling(temperature=math.inf)).tolist() == [5050, 5050]
    assert rows_per_epoch(np.array([10_000, 1]), Sampling(epoch_fraction=0.01)).tolist() == [100, 1]
    assert rows_per_epoch(np.array([0, 0]), Sampling()).tolist() == [0, 0]


def test_the_order_of_tables_is_every_row_once() -> None:
    order = RowOrder([3, 0, 2])
    assert epoch_of(order, 0).tolist() == epoch_of(order, 7).tolist() == [0, 1, 2, 3, 4]
    assert order.stream(2, np.arange(3)).tolist() == [3, 4, 3]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 0}, "batch_size is 0; give a whole number of at least 1"),
        ({"max_nodes": 0}, "max_nodes is 0; give a whole number"),
        ({"temperature": 0.0}, "temperature is 0.0; give a number above 0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"epoch_fraction": -1.0}, "epoch_fraction is -1.0; give a number above 0"),
        ({"epoch_fraction": math.inf}, "epoch_fraction is inf"),
        ({"shuffle": "blocks"}, "shuffle is 'blocks'; choose full or block"),
        ({"block_rows": -4}, "block_rows is -4"),
        ({"window_blocks": 0}, "window_blocks is 0"),
    ],
)
def test_wrong_options_end_in_a_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        Sampling(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_wrong_weight_is_refused(weight: float) -> None:
    with pytest.raises(GraphiumError, match="the weight of a dataset is"):
        Draws([3, 4], Sampling(), weights=[1.0, weight])


def test_windows_take_short_runs_and_read_their_blocks_to_the_end() -> None:
    """A window stays in the processor's cache, and the windows after it read on where it stopped."""
    rows, block, blocks = 64 * 1024, 1024, 8
    draws = Draws([rows], Sampling(batch_size=64, shuffle="block", block_rows=block, window_blocks=blocks), seed=1)
    window, together = 64 * blocks, block * blocks
    for start in (0, together):
        for first in range(start, start + together, window):
            found = np.unique(draws.places(np.arange(first, first + window)) // 64)
            assert len(found) <= 2 * blocks
        # A pass cuts its blocks anywhere, so that each lies in two blocks counted from 0.
        found = np.unique(draws.places(np.arange(start, start + together)) // block)
        assert len(found) <= 2 * blocks
    assert len(np.unique(draws.places(np.arange(rows)))) == rows
