"""Spreads against numpy."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from graphium.errors import GraphiumError
from graphium.models.tables.columns import label_numbers, task_columns
from graphium.models.trust.spread import Spread
from graphium.types import Task, group_tasks

TASKS = [
    Task("y", "a", "graph", "regression"),
    Task("active", "a", "node", "binary"),
    Task("kind", "a", "graph", "multiclass", num_classes=3, classes=("p", "spread", "r")),
    Task("grade", "a", "graph", "ordinal", num_classes=3),
]


def test_spread_is_the_deviation_over_passes() -> None:
    heads = group_tasks(TASKS)
    draw = torch.Generator().manual_seed(0)
    raw = [
        {head.name: torch.randn(5, 1, *([3] if head.num_classes else []), generator=draw) for head in heads}
        for _ in range(4)
    ]
    passes = [{h.name: label_numbers(h, one[h.name], lambda value: 2 * value.double()) for h in heads} for one in raw]
    extra = Spread()
    assert extra.columns(heads, task_columns(heads)) == {
        "y[spread]": ("graph", pa.float32()),
        "active[spread]": ("node", pa.float32()),
        "kind[spread of passes]": ("graph", pa.float32()),
        "grade[spread]": ("graph", pa.float32()),
    }
    found = extra.values(None, raw[0], passes, None)  # type: ignore[arg-type]
    every = [torch.stack([one[head.name] for one in raw]).double().numpy()[:, :, 0] for head in heads]
    np.testing.assert_allclose(found["y[spread]"], (2 * every[0]).std(0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(found["active[spread]"], (1 / (1 + np.exp(-every[1]))).std(0, ddof=1), rtol=1e-5)
    for column, logits in (("kind[spread of passes]", every[2]), ("grade[spread]", every[3])):
        share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        best = share.mean(0).argmax(-1)
        np.testing.assert_allclose(found[column], share[:, np.arange(5), best].std(0, ddof=1), rtol=1e-5)


def test_one_pass_has_no_spread() -> None:
    heads = group_tasks(TASKS[:1])
    extra = Spread()
    extra.columns(heads, task_columns(heads))
    with pytest.raises(GraphiumError, match="several models, or passes with dropout"):
        extra.values(None, {}, [{}], None)  # type: ignore[arg-type]
