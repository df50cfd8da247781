"""Random batches and a tiny network that has everything a resumed run could get wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch, Labels
from graphium.types import HeadSpec, Task, group_tasks

NODES_PER_GRAPH = 4


@pytest.fixture
def fake_heads() -> tuple[HeadSpec, ...]:
    """Graph regression with a z-score, binary and node regression, in two datasets."""
    zscore = {"name": "zscore", "mean": 3.0, "scale": 2.0}
    tasks = [Task(f"y{i}", "alpha", "graph", "regression", transform=zscore) for i in range(3)]
    tasks += [Task(f"b{i}", "alpha", "graph", "binary") for i in range(2)]
    tasks += [Task("charge", "beta", "node", "regression"), Task("kind", "beta", "graph", "multiclass", num_classes=3)]
    return group_tasks(tasks)


@pytest.fixture
def make_batch(fake_heads: Sequence[HeadSpec]) -> Callable[[Tensor], GraphBatch]:
    """Rows int64 ``[n, 2]`` -> a batch that depends on nothing but these rows; 40 % of the labels exist."""

    def build(index: Tensor) -> GraphBatch:
        graphs = [_graph(int(row), fake_heads) for row in index[:, 1]]
        n = NODES_PER_GRAPH
        count = len(graphs)
        labels = {head.name: _join([g[1][head.name] for g in graphs], head, n) for head in fake_heads}
        source = torch.tensor([(i + 1) % n for i in range(n)])
        edge = torch.stack([source, torch.arange(n)])
        edge_index = torch.cat([edge + n * g for g in range(count)], dim=1)
        return GraphBatch(
            x=torch.cat([g[0] for g in graphs]),
            x_num=torch.ones(count * n, 1),
            edge_index=edge_index,
            edge_attr=torch.zeros(count * n, 1, dtype=torch.uint8),
            edge_num=torch.zeros(count * n, 0),
            rowptr=torch.arange(count * n + 1),
            batch=torch.arange(count).repeat_interleave(n),
            ptr=torch.arange(count + 1) * n,
            bond_edges=torch.zeros(2, 0, dtype=torch.int64),
            table=torch.zeros(count, dtype=torch.int64),
            row=index[:, 1].clone(),
            labels=labels,
        )

    return build


def _graph(row: int, heads: Sequence[HeadSpec]) -> tuple[Tensor, dict[str, Labels]]:
    generator = torch.Generator().manual_seed(1000 + row)
    x = torch.randint(0, 5, (NODES_PER_GRAPH, 2), generator=generator).to(torch.uint8)
    labels = {}
    for head in heads:
        entities = 1 if head.level == "graph" else NODES_PER_GRAPH
        present = torch.rand(entities, head.num_tasks, generator=generator) < 0.4
        entity, task = present.nonzero(as_tuple=True)
        value = torch.randn(len(task), generator=generator) + x.float().mean()
        if head.kind == "binary":
            value = (value > 2).float()
        if head.kind == "multiclass":
            value = (value.abs() % head.num_classes).floor()
        labels[head.name] = Labels(entity, task, value, torch.ones(len(task)), torch.empty(0))
    return x, labels


def _join(parts: Sequence[Labels], head: HeadSpec, n: int) -> Labels:
    step = 1 if head.level == "graph" else n
    entity = torch.cat([part.entity + step * i for i, part in enumerate(parts)])
    task = torch.cat([part.task for part in parts])
    weight = torch.cat([part.weight for part in parts])
    total = torch.zeros(head.num_tasks).index_add_(0, task, weight)
    return Labels(entity, task, torch.cat([part.value for part in parts]), weight, total)


class TinyNetwork(nn.Module):
    """Embedding, dropout, a random sign from each of the three global generators in training, one linear per head."""

    def __init__(self, heads: Sequence[HeadSpec], *, noise: bool = True, width: int = 8) -> None:
        super().__init__()
        self.specs, self.noise = tuple(heads), noise
        self.embedding = nn.Embedding(5, width)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(0.3 if noise else 0.0)
        self.heads = nn.ModuleDict({h.name: nn.Linear(width, h.num_tasks * max(1, h.num_classes)) for h in heads})
        self.register_buffer("codes", torch.arange(5), persistent=True)

    def forward(self, batch: GraphBatch) -> dict[str, Tensor]:
        x = self.embedding(self.codes[batch.x.long()]).sum(1)
        if self.training and self.noise:
            x = x * (1 if torch.rand(()) > 0.5 else -1) * (1 + 0.1 * random.random()) * (1 + 0.1 * np.random.rand())
        x = self.norm(self.dropout(torch.tanh(self.mix(x))))
        pooled = x.new_zeros(batch.num_graphs, x.shape[1]).index_add(0, batch.batch, x)
        out = {}
        for head in self.specs:
            value = self.heads[head.name](pooled if head.level == "graph" else x)
            out[head.name] = value.view(len(value), head.num_tasks, head.num_classes) if head.num_classes else value
        return out


@pytest.fixture
def tiny_network(fake_heads: Sequence[HeadSpec]) -> Callable[..., TinyNetwork]:
    def build(seed: int = 0, **options: object) -> TinyNetwork:
        torch.manual_seed(seed)
        return TinyNetwork(fake_heads, **options)  # type: ignore[arg-type]

    return build


@pytest.fixture
def shared_totals() -> Callable[[Sequence[GraphBatch]], list[GraphBatch]]:
    """Give the batches of one optimiser step the label totals of all of them."""

    def share(batches: Sequence[GraphBatch]) -> list[GraphBatch]:
        names = batches[0].labels
        totals = {name: torch.stack([b.labels[name].total for b in batches]).sum(0) for name in names}
        return [
            replace(b, labels={name: replace(label, total=totals[name]) for name, label in b.labels.items()})
            for b in batches
        ]

    return share
