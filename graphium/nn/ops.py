"""Sums over segments of rows and over neighbours, with gradients that cost as little as the sums.

Every sum is one ``embedding_bag``: it reads rows by index and adds them up in one pass, on CPU and
GPU, in float32 and bfloat16, in a fixed order (so the same input gives the same bits). The gradients
use two facts of a molecular batch: rows of a segment lie together, and every bond is there in both
directions, so that "sum over outgoing edges" is "sum over incoming edges of the reverse".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function


class Segments(NamedTuple):
    """Rows in consecutive segments: ``ptr`` int64 ``[segments + 1]``; ``owner`` int64 ``[rows]``: segment of a row."""

    ptr: Tensor
    owner: Tensor

    @property
    def num_segments(self) -> int:
        return self.ptr.shape[0] - 1

    def sizes(self, dtype: torch.dtype) -> Tensor:
        """Rows per segment as numbers, ``[segments, 1]``."""
        return (self.ptr[1:] - self.ptr[:-1]).to(dtype).unsqueeze(1)


class BondTerms(NamedTuple):
    """The bond features of directed edges as terms of a sum.

    ``codes`` int64 ``[edges, properties]``: table rows; ``numbers`` ``[edges, bond numbers]`` in the dtype of the
    weights. A linear map of the bond features is a table with one row per category and one per number.
    ``rows`` int64 ``[edges * terms]`` and ``weights`` ``[edges * terms]`` list, for each edge, what
    has to be added up in ``cat([x, table])`` to get ``x[source] + bond features @ table``;
    ``order`` and ``starts`` list the edges of each category.
    """

    codes: Tensor
    numbers: Tensor
    rows: Tensor
    row_starts: Tensor
    weights: Tensor | None
    order: Tensor
    starts: Tensor

    def features(self) -> Tensor:
        """One-hots followed by numbers, ``[edges, categories + numbers]``."""
        return one_hots(self.codes, self.numbers, self.starts.shape[0] - 1)


class BondTable(NamedTuple):
    """Bond vectors of features that are all categorical: a row of ``vectors`` for each combination of categories.

    ``vectors`` ``[combinations, edge_dim]``; ``terms`` has one code per edge, its row of ``vectors``.
    """

    vectors: Tensor
    terms: BondTerms

    def features(self) -> Tensor:
        """One vector per edge, ``[edges, edge_dim]``."""
        return table_sum(self.vectors, self.terms.codes)


class Edges(NamedTuple):
    """The directed edges of a batch and what layers read of their bonds.

    ``edge_index`` int64 ``[2, edges]`` (source, destination), sorted by destination; ``rowptr`` int64
    ``[nodes + 1]``; ``reverse`` int64 ``[edges]``: the same bond the other way. ``bonds``: the bond features
    as they are, or what an MLP makes of them: ``[edges, edge_dim]``, or a table where edges share few vectors.
    """

    edge_index: Tensor
    rowptr: Tensor
    reverse: Tensor
    bonds: BondTerms | BondTable | Tensor

    def features(self) -> Tensor:
        """One vector per edge, ``[edges, edge_dim]``."""
        return self.bonds if isinstance(self.bonds, Tensor) else self.bonds.features()


def one_hots(codes: Tensor, numbers: Tensor, num_categories: int) -> Tensor:
    """``codes`` int64 ``[rows, properties]`` as zeros and ones, then ``numbers``: ``[rows, categories + numbers]``."""
    zeros = numbers.new_zeros(codes.shape[0], num_categories)
    return torch.cat([zeros.scatter(1, codes, 1.0), numbers], dim=1)


def group_by_code(codes: Tensor, num_categories: int) -> tuple[Tensor, Tensor]:
    """For table rows ``codes`` int64 ``[rows, properties]``: the rows of each category, and where they start."""
    flat, position = torch.sort(codes.flatten(), stable=True)
    starts = torch.searchsorted(flat, torch.arange(num_categories + 1, device=codes.device))
    return position // max(codes.shape[1], 1), starts


def bag_sum(values: Tensor, index: Tensor, ptr: Tensor, weights: Tensor | None = None) -> Tensor:
    """``out[s] = sum of weights[j] * values[index[j]] for j in ptr[s]:ptr[s + 1]``, without gradient."""
    return torch.embedding_bag(values.detach(), index, ptr, False, 0, False, weights, True)[0]


def segment_sum(values: Tensor, segments: Segments) -> Tensor:
    """Sum the rows of each segment: ``[rows, channels]`` -> ``[segments, channels]``; 0 where empty."""
    out: Tensor = _SegmentSum.apply(values, segments.ptr, segments.owner)
    return out


def add_to_segments(x: Tensor, values: Tensor, segments: Segments) -> Tensor:
    """``x[row] + values[segment of row]``: ``[rows, channels]`` and ``[segments, channels]``."""
    out: Tensor = _AddToSegments.apply(x, values, segments.ptr, segments.owner)
    return out


def segment_spread(values: Tensor, segments: Segments) -> Tensor:
    """Give every row the value of its segment: ``[segments, channels]`` -> ``[rows, channels]``."""
    out: Tensor = _AddToSegments.apply(None, values, segments.ptr, segments.owner)
    return out


def closed_neighbor_sum(x: Tensor, edges: Edges) -> Tensor:
    """``x[i] + sum of x over the neighbours of i``, ``[nodes, channels]``."""
    out: Tensor = _ClosedNeighborSum.apply(x, edges.edge_index, edges.rowptr)
    return out


def closed_edge_message_sum(x: Tensor, table: Tensor, edges: Edges, bias: Tensor | None = None) -> Tensor:
    """``x[i] + sum over edges j -> i of relu(x[j] + bond vector @ table + bias)``, ``[nodes, channels]``.

    ``table`` ``[edge_dim, channels]`` has one row per channel of the bond vectors: per bond category, then
    per bond number, where the bond features are not changed by an MLP.
    """
    edge_index, rowptr, reverse, bonds = edges
    out: Tensor
    if isinstance(bonds, BondTerms):
        moved = x if bias is None else x + bias
        out = _ClosedTermSum.apply(moved, table.to(x.dtype), edge_index, rowptr, reverse, *bonds)
        return out if bias is None else out - bias
    vectors = bonds if isinstance(bonds, Tensor) else bonds.vectors
    added = (vectors @ table if bias is None else torch.addmm(bias, vectors, table)).to(x.dtype)
    if isinstance(bonds, Tensor):
        out = _ClosedMessageSum.apply(x, added, edge_index, rowptr, reverse)
    else:
        out = _ClosedTermSum.apply(x, added, edge_index, rowptr, reverse, *bonds.terms)
    return out


def table_sum(table: Tensor, codes: Tensor) -> Tensor:
    """Sum of the table rows ``codes`` int64 ``[rows, properties]``: ``[rows, channels]``."""
    out: Tensor = _TableSum.apply(table, codes)
    return out


def permute_columns(values: Tensor, order: Tensor) -> Tensor:
    """Columns of ``values`` ``[rows, columns, ...]`` as ``order`` int64 ``[2, columns]`` says: ``values[:, order[0]]``.

    ``order[1]`` is the inverse of ``order[0]``, so that the gradient is a selection too, not a scattered sum.
    """
    out: Tensor = _PermuteColumns.apply(values, order)
    return out


def _every(rows: int, like: Tensor) -> Tensor:
    return torch.arange(rows, device=like.device)


class _SegmentSum(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, ptr: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return bag_sum(values.contiguous(), _every(values.shape[0], ptr), ptr)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return grad.index_select(0, index), None, None


class _AddToSegments(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor | None, values: Tensor, ptr: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(ptr)
        ctx.has_x = x is not None
        spread = values.index_select(0, index)
        return spread if x is None else spread.add_(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (ptr,) = ctx.saved_tensors
        summed = bag_sum(grad.contiguous(), _every(grad.shape[0], ptr), ptr)
        return grad if ctx.has_x else None, summed, None, None


class _ClosedNeighborSum(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, edge_index: Tensor, rowptr: Tensor) -> Tensor:
        ctx.save_for_backward(edge_index, rowptr)
        return bag_sum(x.contiguous(), edge_index[0], rowptr).add_(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # The adjacency is symmetric, so its transpose is itself.
        edge_index, rowptr = ctx.saved_tensors
        return bag_sum(grad.contiguous(), edge_index[0], rowptr).add_(grad), None, None


class _TableSum(Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, codes: Tensor) -> Tensor:
        ctx.save_for_backward(codes)
        ctx.like = table.dtype, table.shape
        ptr = torch.arange(codes.shape[0] + 1, device=codes.device) * codes.shape[1]
        return bag_sum(table, codes.flatten(), ptr)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (codes,) = ctx.saved_tensors
        dtype, shape = ctx.like
        # Thousands of rows fall on one category: too many to add up in a short float.
        grad = grad if dtype is torch.float64 else grad.float()
        total = grad.new_zeros(shape)
        for code in codes.unbind(1):
            total.index_add_(0, code, grad)
        return total.to(dtype), None


class _ClosedTermSum(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        table: Tensor,
        index: Tensor,
        rowptr: Tensor,
        reverse: Tensor,
        codes: Tensor,
        numbers: Tensor,
        rows: Tensor,
        row_starts: Tensor,
        weights: Tensor | None,
        order: Tensor,
        starts: Tensor,
    ) -> Tensor:
        if weights is not None:
            weights = weights.to(x.dtype)
        message = bag_sum(torch.cat([x, table]), rows, row_starts, weights).relu_()
        ctx.save_for_backward(message, index, rowptr, reverse, numbers, order, starts)
        return bag_sum(message, _every(message.shape[0], index), rowptr).add_(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        message, index, rowptr, reverse, numbers, order, starts = ctx.saved_tensors
        through = grad.index_select(0, index[1])
        torch.ops.aten.threshold_backward.grad_input(through, message, 0, grad_input=through)
        parts = [bag_sum(through, order, starts)]
        if numbers.shape[1]:
            parts.append(numbers.to(grad.dtype).t() @ through)
        return bag_sum(through, reverse, rowptr).add_(grad), torch.cat(parts), *(None,) * 10


class _ClosedMessageSum(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bonds: Tensor, index: Tensor, rowptr: Tensor, reverse: Tensor) -> Tensor:
        message = x.index_select(0, index[0]).add_(bonds).relu_()
        ctx.save_for_backward(message, index, rowptr, reverse)
        return bag_sum(message, _every(message.shape[0], index), rowptr).add_(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        message, index, rowptr, reverse = ctx.saved_tensors
        through = grad.index_select(0, index[1])
        torch.ops.aten.threshold_backward.grad_input(through, message, 0, grad_input=through)
        return bag_sum(through, reverse, rowptr).add_(grad), through, None, None, None


class _PermuteColumns(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return values.index_select(1, order[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        return grad.index_select(1, order[1]), None
