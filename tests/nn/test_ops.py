"""Segment and neighbour sums against plain loops, and their gradients by finite differences."""

from __future__ import annotations

from types import SimpleNamespace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from graphium.nn.inputs import EdgeInput
from graphium.nn.ops import (
    Segments,
    add_to_segments,
    closed_neighbor_sum,
    group_by_code,
    permute_columns,
    segment_spread,
    segment_sum,
    table_sum,
)


def segments_of(sizes: list[int]) -> Segments:
    counts = torch.tensor(sizes)
    ptr = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    return Segments(ptr, torch.repeat_interleave(torch.arange(len(sizes)), counts))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_segment_sum_and_spread(sizes: list[int]) -> None:
    segments = segments_of(sizes)
    values = torch.randn(sum(sizes), 3, dtype=torch.float64, requires_grad=True)
    expected = torch.stack([part.sum(0) for part in values.split(sizes)])
    torch.testing.assert_close(segment_sum(values, segments), expected)
    per_segment = torch.randn(len(sizes), 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(segment_spread(per_segment, segments), per_segment[segments.owner])
    if sum(sizes):
        assert torch.autograd.gradcheck(lambda x: segment_sum(x, segments), (values,))
        assert torch.autograd.gradcheck(lambda x: segment_spread(x, segments), (per_segment,))
        assert torch.autograd.gradcheck(lambda x, v: add_to_segments(x, v, segments), (values, per_segment))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5), st.integers(1, 3))
def test_table_sum(rows: int, properties: int) -> None:
    table = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    codes = torch.randint(0, 7, (rows, properties))
    torch.testing.assert_close(table_sum(table, codes), table[codes].sum(1))
    if rows:
        assert torch.autograd.gradcheck(lambda t: table_sum(t, codes), (table,))


def test_group_by_code() -> None:
    codes = torch.tensor([[0, 4], [2, 3], [0, 3]])
    order, starts = group_by_code(codes, 5)
    assert [part.tolist() for part in order.tensor_split(starts[1:-1])] == [[0, 2], [], [1], [1, 2], [0]]


def test_permute_columns() -> None:
    place = torch.tensor([2, 0, 3, 1])
    order = torch.stack([place.argsort(), place])
    values = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    out = permute_columns(values, order)
    assert torch.equal(out[:, place], values)
    assert torch.autograd.gradcheck(lambda x: permute_columns(x, order), (values,))


def test_closed_neighbor_sum(make: SimpleNamespace) -> None:
    batch = make.collate(make.mixed())
    edges = EdgeInput(make.spec)(batch, torch.float64)
    x = torch.randn(batch.num_nodes, 2, dtype=torch.float64, requires_grad=True)
    adjacency = torch.zeros(batch.num_nodes, batch.num_nodes, dtype=torch.float64)
    adjacency[batch.edge_index[1], batch.edge_index[0]] = 1
    torch.testing.assert_close(closed_neighbor_sum(x, edges), x + adjacency @ x)
    assert torch.autograd.gradcheck(lambda x: closed_neighbor_sum(x, edges), (x,))


def test_reverse_edges(make: SimpleNamespace) -> None:
    batch = make.collate(make.mixed())
    edges = EdgeInput(make.spec)(batch, torch.float32)
    assert torch.equal(edges.edge_index[:, edges.reverse], edges.edge_index.flip(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_repeat_bit_for_bit(dtype: torch.dtype) -> None:
    segments = segments_of([5, 0, 30])
    values = torch.randn(35, 16).to(dtype)
    assert torch.equal(segment_sum(values, segments), segment_sum(values, segments))
