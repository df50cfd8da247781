"""On real ToyMix, where molecules stand in several rows and parts: a batch brings the labels of its own rows only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from graphium.chem.featurizer import Featurizer
from graphium.config import compose
from graphium.data.build import build_mix
from graphium.data.mix import Mix

FILES = {
    "qm9": ("qm9.csv.gz", "qm9_random_splits.csv.gz"),
    "tox21": ("Tox21-7k-12-labels.csv.gz", "Tox21_random_splits.csv.gz"),
    "zinc12k": ("ZINC12k.csv.gz", "ZINC12k_random_splits.csv.gz"),
}


@pytest.fixture(scope="module")
def mix(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Mix:
    featurizer = Featurizer(atom_onehot=["atomic-number"], atom_float=[], bond_onehot=[], bond_float=[], encodings=[])
    return build_mix(
        compose(["data=toymix"])["data"],
        featurizer,
        data_dir=shared_data / "toymix",
        store_dir=tmp_path_factory.mktemp("stores"),
        progress=False,
    )


def expected(folder: Path, mix: Mix, number: int, part: str) -> pd.DataFrame:
    """(row, task, value) of a part, out of the published files alone; rows without a molecule left out."""
    dataset = mix.datasets[number]
    table, split = (pd.read_csv(folder / name) for name in FILES[dataset.name])
    rows = split[part].dropna().to_numpy(dtype=np.int64)
    rows = rows[~np.isin(rows, [failure.row for failure in dataset.store.failures()])]
    columns = [task.name for head in dataset.heads for task in head.tasks]
    wide = table.iloc[rows][columns].set_axis(range(len(columns)), axis=1).assign(row=rows)
    return wide.melt("row", var_name="task").dropna().sort_values(["row", "task"], ignore_index=True)


def delivered(mix: Mix, part: str, batch_size: int) -> dict[int, pd.DataFrame]:
    """(row, task, value in label units) that the loader hands out, by table."""
    found: dict[int, list[pd.DataFrame]] = {number: [] for number in range(len(mix.datasets))}
    for batch in mix.loader(part, batch_size=batch_size, shuffle=part == "train", seed=3):
        for number, dataset in enumerate(mix.datasets):
            first = 0
            for head in dataset.heads:
                labels = batch.labels[head.name]
                assert (labels.weight == 1).all()
                assert (batch.table[labels.entity] == number).all()
                value = mix.transforms[head.name].inverse(labels.value.double(), labels.task)
                triple = torch.stack([batch.row[labels.entity].double(), labels.task.double() + first, value], dim=1)
                found[number].append(pd.DataFrame(triple.numpy(), columns=["row", "task", "value"]))
                first += head.num_tasks
    return {
        number: pd.concat(frames).sort_values(["row", "task"], ignore_index=True) for number, frames in found.items()
    }


@pytest.mark.slow
def test_every_part_delivers_the_labels_of_its_rows_and_no_other(mix: Mix, shared_data: Path) -> None:
    for part in ("train", "val", "test"):
        for number, found in delivered(mix, part, batch_size=2000).items():
            wanted = expected(shared_data / "toymix", mix, number, part)
            assert len(found) == len(wanted)
            np.testing.assert_array_equal(found[["row", "task"]].to_numpy(np.int64), wanted[["row", "task"]])
            np.testing.assert_allclose(found["value"], wanted["value"].to_numpy(float), rtol=1e-5, atol=1e-3)


@pytest.mark.slow
def test_toymix_has_the_repeats_that_this_is_about(mix: Mix) -> None:
    """Molecules with rows in more than one part of their dataset, and test rows that another dataset trains on."""
    split = 0
    for dataset in mix.datasets:
        rows = np.flatnonzero(dataset.parts >= 0)
        seen = pd.DataFrame({"molecule": np.asarray(dataset.store.row_molecule)[rows], "part": dataset.parts[rows]})
        split += int((seen.groupby("molecule")["part"].nunique() > 1).sum())
    assert split == 79
    assert mix.leaks["tox21"]["test"]["mix"] > mix.leaks["tox21"]["test"]["own"]
