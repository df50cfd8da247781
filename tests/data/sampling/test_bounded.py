from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.sampling.bounded import BoundedCuts
from graphium.data.sampling.draws import Draws, Order, RowOrder, Sampling
from graphium.errors import GraphiumError


@st.composite
def cases(draw: st.DrawFn) -> tuple[Order, np.ndarray, Sampling, int]:
    """Random sizes, among them a few large ones, sorted ones and equal ones."""
    sizes = draw(st.lists(st.integers(1, 60), min_size=1, max_size=3))
    count = sum(sizes)
    kind = draw(st.sampled_from(["random", "sorted", "one large", "equal"]))
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    nodes = generator.integers(1, 40, count)
    if kind == "sorted":
        nodes.sort()
    if kind == "one large":
        nodes[generator.integers(count)] = 150
    if kind == "equal":
        nodes[:] = 17
    sampling = Sampling(
        batch_size=draw(st.integers(1, 12)),
        max_nodes=int(nodes.max()) * draw(st.integers(3, 5)) + draw(st.integers(0, 9)),
        epoch_fraction=draw(st.sampled_from([1.0, 0.4, 2.0])),
        shuffle=draw(st.sampled_from(["full", "block"])),
        block_rows=draw(st.integers(1, 20)),
        window_blocks=2,
    )
    weights = draw(st.sampled_from([None, [1.0, 3.0, 0.5]]))
    shuffled = draw(st.booleans())
    order = Draws(sizes, sampling, weights=weights and weights[: len(sizes)], seed=1) if shuffled else RowOrder(sizes)
    return order, nodes.astype(np.uint16), sampling, draw(st.integers(1, 3))


@settings(max_examples=80, deadline=None)
@given(cases())
def test_limits_hold_and_batches_follow_each_other(case: tuple[Order, np.ndarray, Sampling, int]) -> None:
    order, nodes, sampling, ranks = case
    try:
        cuts = BoundedCuts(order, nodes, sampling, ranks, may_be_empty=isinstance(order, RowOrder))
    except GraphiumError as error:
        assert "could be empty" in str(error)
        return
    assert cuts.num_batches % ranks == 0
    end, drift = 0, 0
    for epoch in range(5):
        spans = list(cuts.spans(epoch))
        assert len(spans) == cuts.num_batches
        for start, stop in spans:
            assert start == end, "the next batch begins where the last one ended, also in the next epoch"
            end = stop
            places = order.places(np.arange(start, stop))
            assert len(places) <= sampling.batch_size
            assert int(nodes[places].sum()) <= (sampling.max_nodes or 0)
            assert len(places) >= 1 or isinstance(order, RowOrder)
        drift = max(drift, abs(end - (epoch + 1) * order.num_rows))
        assert list(cuts.spans(epoch, 2)) == spans[2:]
    if (order.rows % order.sizes == 0).all():
        assert drift == 0, "an epoch of whole passes ends with them"


def test_resuming_in_a_late_epoch_needs_no_earlier_one() -> None:
    generator = np.random.default_rng(0)
    nodes = np.sort(generator.integers(5, 60, 400_000)).astype(np.uint16)
    sampling = Sampling(batch_size=64, max_nodes=1000, epoch_fraction=0.3, shuffle="block", block_rows=2000)
    order = Draws([300_000, 100_000], sampling, weights=[1, 2], seed=3)
    cuts = BoundedCuts(order, nodes, sampling, 4)
    spans = [span for epoch in range(4) for span in cuts.spans(epoch)]
    again = BoundedCuts(order, nodes, sampling, 4)
    assert list(again.spans(3, 17)) == spans[3 * cuts.num_batches + 17 :]
    sizes = np.array([nodes[order.places(np.arange(*span))].sum() for span in spans[::97]])
    assert sizes.max() <= 1000
    # A sorted table read by blocks: batches are as full as the bound lets them be, all the same.
    assert sizes.mean() > 0.9 * (1000 - 60)


def test_batches_are_nearly_full() -> None:
    nodes = np.random.default_rng(1).integers(10, 40, 50_000).astype(np.uint16)
    order = Draws([50_000], Sampling())
    by_nodes = BoundedCuts(order, nodes, Sampling(batch_size=10_000, max_nodes=8000))
    assert by_nodes.num_batches <= 1.02 * nodes.sum() / 8000
    by_rows = BoundedCuts(order, nodes, Sampling(batch_size=256, max_nodes=50_000))
    assert by_rows.num_batches <= 1.02 * 50_000 / 256


def test_molecules_beyond_the_limit_are_one_sentence() -> None:
    nodes, order = np.array([10, 30, 12], np.uint16), Draws([3], Sampling())
    sentence = "max_nodes is 20 and the largest molecule has 30 atoms; give at least 90"
    with pytest.raises(GraphiumError, match=sentence):
        BoundedCuts(order, nodes, Sampling(max_nodes=20))
    with pytest.raises(GraphiumError, match="some could be empty .* give at least 90, or use fewer devices"):
        BoundedCuts(order, nodes, Sampling(max_nodes=31))
    with pytest.raises(GraphiumError, match="use fewer devices"):
        BoundedCuts(order, nodes, Sampling(max_nodes=90), 8)
