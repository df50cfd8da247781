"""Batches of several tables joined into one."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from graphium.data.batch import GraphBatch, Labels
from graphium.types import HeadSpec


def concat(
    batches: Sequence[GraphBatch], heads: Sequence[HeadSpec], with_raw: Container[str] = frozenset()
) -> GraphBatch:
    """Join batches of several tables into one, graphs in the order of the batches.

    Args:
        batches: At least one batch; same features, no padding.
        heads: Heads that the result shall carry, in this order; those without labels get empty ones.
        with_raw: Names of the heads whose labels carry ``raw``, for those without labels.
    """
    nodes = _starts([batch.num_nodes for batch in batches])
    edges = _starts([batch.num_edges for batch in batches])
    bonds = _starts([batch.num_bonds for batch in batches])
    graphs = _starts([batch.num_graphs for batch in batches])
    pairs = _starts([batch.num_entities("nodepair") for batch in batches])
    starts = {"graph": graphs, "node": nodes, "edge": bonds, "nodepair": pairs}
    labels = {head.name: _join_labels(batches, head, starts[head.level], with_raw) for head in heads}
    pair_index = _join_pairs(batches, nodes, needed=any(head.level == "nodepair" for head in heads))
    if len(batches) == 1:
        return replace(batches[0], labels=labels, pair_index=pair_index)
    first = batches[0]
    return GraphBatch(
        x=torch.cat([b.x for b in batches]),
        x_num=torch.cat([b.x_num for b in batches]),
        edge_index=torch.cat([b.edge_index + start for b, start in zip(batches, nodes, strict=True)], dim=1),
        edge_attr=torch.cat([b.edge_attr for b in batches]),
        edge_num=torch.cat([b.edge_num for b in batches]),
        rowptr=_join_ptr([b.rowptr for b in batches], edges),
        batch=torch.cat([b.batch + start for b, start in zip(batches, graphs, strict=True)]),
        ptr=_join_ptr([b.ptr for b in batches], nodes),
        bond_edges=torch.cat([b.bond_edges + start for b, start in zip(batches, edges, strict=True)], dim=1),
        table=torch.cat([b.table for b in batches]),
        row=torch.cat([b.row for b in batches]),
        encodings={name: torch.cat([b.encodings[name] for b in batches]) for name in first.encodings},
        labels=labels,
        pair_index=pair_index,
        pos=None if first.pos is None else torch.cat([b.pos for b in batches if b.pos is not None]),
    )


def _starts(sizes: Sequence[int]) -> list[int]:
    starts = [0]
    for size in sizes[:-1]:
        starts.append(starts[-1] + size)
    return starts


def _join_ptr(pointers: Sequence[Tensor], starts: Sequence[int]) -> Tensor:
    """Join offsets: the end of one part is the beginning of the next."""
    parts = [ptr[:-1] + start for ptr, start in zip(pointers, starts, strict=True)]
    return torch.cat([*parts, pointers[-1][-1:] + starts[-1]])


def _join_pairs(batches: Sequence[GraphBatch], starts: Sequence[int], needed: bool) -> Tensor | None:
    both = zip(batches, starts, strict=True)
    found = [batch.pair_index + start for batch, start in both if batch.pair_index is not None]
    if found:
        return torch.cat(found, dim=1)
    return torch.empty(2, 0, dtype=torch.int64, device=batches[0].ptr.device) if needed else None


def _join_labels(
    batches: Sequence[GraphBatch], head: HeadSpec, starts: Sequence[int], with_raw: Container[str]
) -> Labels:
    both = zip(batches, starts, strict=True)
    found = [(batch.labels[head.name], start) for batch, start in both if head.name in batch.labels]
    if not found:
        nothing = torch.empty(0, dtype=torch.int64, device=batches[0].ptr.device)
        number = nothing.to(torch.float32)
        raw = number.double() if head.name in with_raw else None
        return Labels(nothing, nothing, number, number, number.new_zeros(head.num_tasks), raw=raw)
    if len(found) == 1:
        labels, start = found[0]
        return replace(labels, entity=labels.entity + start) if start else labels
    return Labels(
        entity=torch.cat([labels.entity + start for labels, start in found]),
        task=torch.cat([labels.task for labels, _ in found]),
        value=torch.cat([labels.value for labels, _ in found]),
        weight=torch.cat([labels.weight for labels, _ in found]),
        total=torch.stack([labels.total for labels, _ in found]).sum(0),
        bound=_join_bounds([labels for labels, _ in found]),
        raw=_join_raw([labels for labels, _ in found]),
    )


def _join_bounds(parts: Sequence[Labels]) -> Tensor | None:
    """Labels without bounds are exact, which is 0."""
    if all(labels.bound is None for labels in parts):
        return None
    return torch.cat([torch.zeros_like(p.task, dtype=torch.int8) if p.bound is None else p.bound for p in parts])


def _join_raw(parts: Sequence[Labels]) -> Tensor | None:
    """One head has one transform, so that all of its labels carry ``raw`` or none do."""
    found = [labels.raw for labels in parts if labels.raw is not None]
    assert len(found) in (0, len(parts))
    return torch.cat(found) if found else None
