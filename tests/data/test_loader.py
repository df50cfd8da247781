from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.batch import Labels
from graphium.data.loader import BatchLoader, epoch_order
from graphium.errors import GraphiumError


def _loader(num_rows: int, **options) -> BatchLoader:
    index = torch.stack([torch.zeros(num_rows, dtype=torch.int64), torch.arange(num_rows)], dim=1)
    return BatchLoader(lambda rows: rows[:, 1].tolist(), index, **options)


@settings(max_examples=50, deadline=None)
@given(
    num_rows=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    world_size=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
def test_ranks_share_every_row_once_and_take_as_many_steps(num_rows, batch_size, world_size, epoch):
    seen, steps, sizes = [], set(), []
    for rank in range(world_size):
        loader = _loader(num_rows, batch_size=batch_size, shuffle=True, seed=3, rank=rank, world_size=world_size)
        loader.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(loader)
        steps.add(len(batches))
        seen += [row for batch in batches for row in batch]
        sizes += [len(batch) for batch in batches]
    assert sorted(seen) == list(range(num_rows))
    assert len(steps) == 1
    if num_rows >= world_size:
        assert min(sizes) >= 1


@settings(max_examples=30, deadline=None)
@given(num_rows=st.integers(1, 40), position=st.integers(0, 12), accumulate=st.integers(1, 3))
def test_a_resumed_epoch_continues_with_the_next_batch(num_rows, position, accumulate):
    make = lambda: _plain(num_rows, accumulate)  # noqa: E731
    whole = make()
    whole.set_epoch(5)
    expected = list(whole)
    position = min(position, len(expected))
    resumed = make()
    resumed.load_state_dict({"epoch": 5, "position": position})
    assert list(resumed) == expected[position:]
    assert list(resumed) == expected, "only the first iteration after a resume is short"


def _plain(num_rows: int, accumulate: int) -> BatchLoader:
    loader = _loader(num_rows, batch_size=4, shuffle=True, seed=1, accumulate=accumulate)
    if accumulate > 1:
        inner = loader.gather
        loader.gather = lambda rows: _Batch(inner(rows))  # type: ignore[assignment]
    return loader


@dataclass(frozen=True)
class _Batch:
    rows: list[int]
    labels: dict[str, Labels] = field(default_factory=dict)


def test_the_order_depends_on_seed_and_epoch_only():
    assert torch.equal(epoch_order(50, 1, 2), epoch_order(50, 1, 2))
    assert not torch.equal(epoch_order(50, 1, 2), epoch_order(50, 1, 3))
    assert not torch.equal(epoch_order(50, 1, 2), epoch_order(50, 2, 2))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    epoch_order(50, 1, 2)
    assert torch.equal(state, torch.get_rng_state()), "the plan must not touch the global random state"


def test_the_state_counts_batches_handed_out():
    loader = _loader(10, batch_size=3)
    iterator = iter(loader)
    next(iterator), next(iterator)
    assert loader.state_dict() == {"epoch": 0, "position": 2}


def test_a_consumer_that_stops_after_len_batches_does_not_empty_the_next_epoch():
    loader = _loader(9, batch_size=3, shuffle=True)
    for epoch in range(3):
        loader.set_epoch(epoch)
        iterator = iter(loader)
        assert sum(len(next(iterator)) for _ in range(len(loader))) == 9


def test_totals_cover_the_whole_optimiser_step():
    def gather(rows):
        n = rows.shape[0]
        task = rows[:, 1] % 2
        one = torch.ones(n)
        total = torch.bincount(task, minlength=2).float()
        return _Batch(rows, {"h": Labels(torch.arange(n), task, one, one, total)})

    index = torch.stack([torch.zeros(10, dtype=torch.int64), torch.arange(10)], dim=1)
    batches = list(BatchLoader(gather, index, batch_size=3, accumulate=2))
    assert [b.labels["h"].total.tolist() for b in batches] == [[3, 3], [3, 3], [2, 2], [2, 2]]


def test_a_batch_size_of_zero_is_refused():
    with pytest.raises(GraphiumError, match="batch_size is 0"):
        _loader(3, batch_size=0)
