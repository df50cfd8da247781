from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.batch import Labels
from graphium.data.sampling.draws import Sampling
from graphium.data.sampling.loader import BatchLoader
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


@settings(max_examples=50, deadline=None)
@given(num_rows=st.integers(1, 60), batch_size=st.integers(1, 9), world_size=st.integers(2, 4), shuffle=st.booleans())
def test_the_batches_of_all_ranks_are_the_global_batch(num_rows, batch_size, world_size, shuffle):
    options = {"shuffle": shuffle, "seed": 3}
    ranks = [
        _at(2, _loader(num_rows, batch_size=batch_size, rank=rank, world_size=world_size, **options))
        for rank in range(world_size)
    ]
    alone = _at(2, _loader(num_rows, batch_size=batch_size * world_size, **options))
    together = [sorted(sum(step, [])) for step in zip(*ranks, strict=True)]
    if len(together) < len(alone):  # the last rows are fewer than ranks
        alone[-2:] = [alone[-2] + alone[-1]]
    assert together == [sorted(batch) for batch in alone]


def _at(epoch: int, loader: BatchLoader) -> list[list[int]]:
    loader.set_epoch(epoch)
    return list(loader)


def _bounded(world_size: int = 1, rank: int = 0, accumulate: int = 1, **options) -> BatchLoader:
    """Two datasets of 300 and 100 rows, of 5 to 40 atoms."""
    nodes = np.random.default_rng(0).integers(5, 41, 400)
    sampling = Sampling(batch_size=10, max_nodes=150, **options)
    return _loader(400, sampling=sampling, sizes=[300, 100], weights=[1, 2], num_nodes=lambda: nodes, shuffle=True,
                   seed=3, accumulate=accumulate, rank=rank, world_size=world_size)  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"shuffle": "block", "block_rows": 16, "window_blocks": 2}])
def test_ranks_share_bounded_batches(options):
    nodes = np.random.default_rng(0).integers(5, 41, 400)
    for world_size in (1, 3):
        found, steps = [], set()
        loaders = [_bounded(world_size, rank, **options) for rank in range(world_size)]
        for epoch in range(3):
            ranks = [_at(epoch, loader) for loader in loaders]
            steps |= {len(batches) for batches in ranks} | {len(loader) for loader in loaders}
            for step in zip(*ranks, strict=True):
                assert all(1 <= len(batch) <= 10 and nodes[batch].sum() <= 150 for batch in step)
                found += sum(step, [])
        assert len(steps) == 1
        # Any number of ranks walks through the same sequence.
        order = loaders[0].order
        assert found == order.places(np.arange(len(found))).tolist()
        assert abs(len(found) - 3 * order.num_rows) < 20


def test_the_limit_of_atoms_is_dropped_where_it_cannot_be_reached():
    loader = _loader(50, sampling=Sampling(batch_size=8, max_nodes=80), num_nodes=lambda: np.full(50, 10), shuffle=True)
    assert [len(batch) for batch in loader] == [8] * 6 + [2]


def test_evaluation_takes_molecules_that_are_too_large_to_train_on():
    nodes = np.array([5] * 30 + [90] + [5] * 10)
    options = {"sampling": Sampling(batch_size=64, max_nodes=60), "num_nodes": lambda: nodes}
    batches = list(_loader(41, **options))
    assert sum(batches, []) == list(range(41)) and len(batches) > 1
    with pytest.raises(GraphiumError, match="the largest molecule has 90 atoms"):
        _loader(41, shuffle=True, **options)


def test_an_empty_part_has_no_batch():
    for options in ({"batch_size": 3}, {"sampling": Sampling(max_nodes=5), "num_nodes": lambda: np.zeros(0, int)}):
        for shuffle in (False, True):
            loader = _loader(0, shuffle=shuffle, **options)
            assert len(loader) == 0 and list(loader) == []


@settings(max_examples=30, deadline=None)
@given(
    position=st.integers(0, 40), accumulate=st.integers(1, 3), epoch=st.integers(0, 5), block=st.booleans(),
    world_size=st.integers(1, 2),
)  # fmt: skip
def test_a_bounded_epoch_resumes_too(position, accumulate, epoch, block, world_size):
    options = {"epoch_fraction": 0.7, "shuffle": "block" if block else "full", "block_rows": 16, "window_blocks": 2}

    def make() -> BatchLoader:
        return _wrapped(_bounded(world_size, world_size - 1, accumulate, **options), accumulate)

    whole = make()
    whole.set_epoch(epoch)
    expected = list(whole)
    position = min(position, len(expected))
    resumed = make()
    resumed.load_state_dict({"epoch": epoch, "position": position})
    assert list(resumed) == expected[position:]


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
    return _wrapped(_loader(num_rows, batch_size=4, shuffle=True, seed=1, accumulate=accumulate), accumulate)


def _wrapped(loader: BatchLoader, accumulate: int) -> BatchLoader:
    if accumulate > 1:
        inner = loader.gather
        loader.gather = lambda rows: _Batch(inner(rows))  # type: ignore[assignment]
    return loader


@dataclass(frozen=True)
class _Batch:
    rows: list[int]
    labels: dict[str, Labels] = field(default_factory=dict)


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


@pytest.mark.parametrize("sizes", [{}, {"batch_size": 3, "sampling": Sampling()}])
def test_the_size_is_said_once(sizes):
    with pytest.raises(GraphiumError, match="give one of the two"):
        _loader(3, **sizes)


def test_atoms_must_be_known_for_a_limit_of_atoms():
    with pytest.raises(GraphiumError, match="max_nodes needs the number of atoms"):
        _loader(3, sampling=Sampling(max_nodes=5))
