from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from graphium.chem.featurizer import Featurizer
from graphium.data.build import build_mix
from graphium.data.datasets.dataset import Dataset
from graphium.data.mix import Mix
from graphium.data.sampling.draws import Sampling
from graphium.errors import GraphiumError
from graphium.types import PARTS


@pytest.fixture
def mix(tmp_path: Path) -> Callable[..., Mix]:
    """Two datasets of 40 and 20 rows, a failed one among them; 8 of 10 rows are for training."""

    def build(*weights: float) -> Mix:
        datasets = []
        for name, count, weight in zip(("long", "short"), (40, 20), weights or (1.0, 1.0), strict=True):
            smiles = ["C" * (1 + 7 * i % 30) for i in range(count)]
            smiles[4] = "broken"
            parts = [("train", "val", "test")[max(0, i % 10 - 7)] for i in range(count)]
            table = pd.DataFrame({"smiles": smiles, "y": np.arange(count) / 8, "part": parts})
            table.to_csv(tmp_path / f"{name}.csv", index=False)
            split = {"name": "column", "column": "part"}
            path = str(tmp_path / f"{name}.csv")
            datasets.append(Dataset(name, path, targets=["y"], split=split, weight=weight))
        return build_mix(datasets, Featurizer(encodings=[]), store_dir=tmp_path / "stores", progress=False)

    return build


def rows_of(batches: Any) -> list[tuple[int, int]]:
    return [pair for b in batches for pair in zip(b.table.tolist(), b.row.tolist(), strict=True)]


def test_rows_are_counted_and_listed(mix: Callable[..., Mix]) -> None:
    both = mix()
    for part in ("train", "val", "test", "test_seen"):
        expected = [
            (number, row)
            for number, dataset in enumerate(both.datasets)
            for row in np.flatnonzero(dataset.parts == PARTS.index(part)).tolist()
        ]
        assert both.count(part) == len(both.rows(part)) == len(expected)
        assert [tuple(pair) for pair in both.index(part).tolist()] == expected
    assert (both.count("train"), both.count("val")) == (46, 6)


@pytest.mark.parametrize("shuffle", ["full", "block"])
def test_a_loader_keeps_its_limits_and_its_part(mix: Callable[..., Mix], shuffle: Any) -> None:
    both = mix()
    sampling = Sampling(batch_size=8, max_nodes=100, shuffle=shuffle, block_rows=4, window_blocks=2)
    loader = both.loader("train", sampling=sampling, shuffle=True, seed=1)
    for epoch in range(2):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(loader)
        assert max(batch.num_nodes for batch in batches) <= 100
        assert max(batch.num_graphs for batch in batches) <= 8
        assert sorted(rows_of(batches)) == [tuple(pair) for pair in both.index("train").tolist()]


def test_evaluation_is_in_the_order_of_the_rows(mix: Callable[..., Mix]) -> None:
    both = mix()
    for options in ({"batch_size": 7}, {"sampling": Sampling(batch_size=7, max_nodes=30, epoch_fraction=0.1)}):
        batches = list(both.loader("val", **options))
        assert rows_of(batches) == [tuple(pair) for pair in both.index("val").tolist()]
    assert both.gather(both.index("val")[:0]).num_graphs == 0


def test_weights_draw_unequally_and_say_so(mix: Callable[..., Mix]) -> None:
    assert mix().draws(Sampling()) == []
    both = mix(1.0, 6.0)
    assert both.draws(Sampling()) == [
        "long: 26.1 % of an epoch, each row 0.387 times",
        "short: 73.9 % of an epoch, each row 2.27 times",
    ]
    tables = torch.cat([batch.table for batch in both.loader("train", batch_size=16, shuffle=True)])
    assert torch.bincount(tables).tolist() == both.loader("train", batch_size=4, shuffle=True).order.rows.tolist()
    # Held-out parts know no weight.
    assert sum(batch.num_graphs for batch in both.loader("val", batch_size=4)) == both.count("val")


def test_a_molecule_beyond_the_limit_is_told_before_training(mix: Callable[..., Mix]) -> None:
    with pytest.raises(GraphiumError, match="max_nodes is 5 and the largest molecule has 30 atoms; give at least 90"):
        mix().loader("train", sampling=Sampling(max_nodes=5), shuffle=True)
