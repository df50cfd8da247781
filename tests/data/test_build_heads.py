"""Mixes whose tasks are those of a saved model."""

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
from graphium.data.mix import Mix
from graphium.errors import GraphiumError
from graphium.types import Task, group_tasks

SMILES = ["CCO", "CCN", "CCC", "CCF", "CCCO", "CCS", "CCCl", "CCBr", "not_a_smiles"]
ZSCORE = {"name": "zscore", "mean": 10.0, "scale": 2.0}
HEADS = group_tasks(
    [
        Task("y", "old", "graph", "regression", unit="eV", transform=ZSCORE, loss="mae", metrics=("mae",)),
        Task("z", "old", "graph", "regression", transform={"name": "log1p"}),
        Task("stage", "old", "graph", "multiclass", num_classes=3, classes=("low", "mid", "high")),
        Task("grade", "old", "graph", "ordinal", num_classes=4, classes=("0", "1", "2", "3")),
        Task("hit", "old", "graph", "binary"),
        Task("toxic", "old", "graph", "binary", classes=("safe", "toxic")),
        Task("charge", "other", "node", "regression", transform={"name": "none"}),
    ]
)
COLUMNS: dict[str, list[Any]] = {
    "y": [8.0, 12.0, 10.0, 9.0, 11.0, 10.0, 9.5, 10.5, 1.0],
    "z": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    "stage": ["high", "mid", "high", None, "mid", "mid", "high", "mid", "mid"],
    "grade": [1.0, 3.0, 1.0, 2.0, 3.0, None, 1.0, 2.0, 1.0],
    "hit": [0, 1, 1, 0, 1, 0, 1, 1, 0],
    "toxic": ["toxic", "safe", "toxic", "toxic", "safe", "safe", "safe", "toxic", "safe"],
    "w": [5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0],
}


@pytest.fixture
def build(tmp_path: Path, featurizer: Featurizer) -> Callable[..., Mix]:
    def run(columns: dict[str, list[Any]], *, heads: Any = HEADS, **options: Any) -> Mix:
        path = tmp_path / "mine.csv"
        pd.DataFrame({"smiles": SMILES, **columns}).to_csv(path, index=False)
        keys = ("renamed", "need_training", "progress")
        given = {"progress": False, **{key: options.pop(key) for key in keys if key in options}}
        section = {"path": str(path), "targets": options.pop("targets", "*"), **options}
        return build_mix(section, featurizer, store_dir=tmp_path / "stores", heads=heads, **given)

    return run


def tasks_of(mix: Mix) -> dict[str, Task]:
    return {task.name: task for head in mix.heads for task in head.tasks}


def labels_of(mix: Mix, name: str) -> list[float]:
    """Labels of a task by row, NaN where there is none."""
    (dataset,) = mix.datasets
    head = next(head for head in mix.heads if any(task.name == name for task in head.tasks))
    column = [task.name for task in head.tasks].index(name)
    found = dataset.blocks[head.name].of_rows(np.arange(len(SMILES)))
    mine = found.task == column
    values = np.full(len(SMILES), np.nan)
    values[found.owner[mine]] = found.value[mine]
    return values.tolist()


def test_tasks_named_alike_are_those_of_the_model(build: Callable[..., Mix]) -> None:
    mix = build(COLUMNS, targets=[*COLUMNS])
    tasks = tasks_of(mix)
    assert tasks["y"].transform == ZSCORE
    assert (tasks["y"].unit, tasks["y"].loss, tasks["y"].metrics) == ("eV", "mae", ("mae",))
    assert tasks["z"].transform == {"name": "log1p"}
    assert tasks["stage"].classes == ("low", "mid", "high")
    assert (tasks["grade"].kind, tasks["grade"].num_classes) == ("ordinal", 4)
    assert (tasks["toxic"].kind, tasks["toxic"].classes) == ("binary", ("safe", "toxic"))
    # What the model does not know is fitted on the training part as always.
    (dataset,) = mix.datasets
    train = np.array(COLUMNS["w"])[dataset.parts == 0]
    assert tasks["w"].transform == {
        "name": "zscore",
        "mean": pytest.approx(train.mean()),
        "scale": pytest.approx(train.std()),
    }
    sources = {
        task.name: source and (source.head, source.column)
        for head in mix.heads
        for task, source in zip(head.tasks, mix.sources[head.name], strict=True)
    }
    assert sources == {
        "y": ("old_graph_regression", 0),
        "z": ("old_graph_regression", 1),
        "w": None,
        "stage": ("old_graph_multiclass3", 0),
        "grade": ("old_graph_ordinal4", 0),
        "hit": ("old_graph_binary", 0),
        "toxic": ("old_graph_binary", 1),
    }


def test_class_codes_are_the_models(build: Callable[..., Mix]) -> None:
    mix = build(COLUMNS, need_training=False)
    wanted = [{"low": 0, "mid": 1, "high": 2}.get(cell, np.nan) for cell in COLUMNS["stage"]]
    np.testing.assert_array_equal(labels_of(mix, "stage")[:8], wanted[:8])
    np.testing.assert_array_equal(labels_of(mix, "grade")[:5], [1, 3, 1, 2, 3])
    np.testing.assert_array_equal(labels_of(mix, "toxic")[:8], [1, 0, 1, 1, 0, 0, 0, 1])


def test_a_batch_holds_labels_in_the_models_transform(build: Callable[..., Mix]) -> None:
    mix = build({"y": COLUMNS["y"]}, need_training=False, split={"name": "whole", "part": "val"})
    labels = mix.gather(torch.tensor([[0, 0], [0, 1]])).labels["mine_graph_regression"]
    assert labels.value.tolist() == [-1.0, 1.0]


def test_without_training_rows(build: Callable[..., Mix]) -> None:
    whole = {"name": "whole", "part": "test"}
    mix = build(COLUMNS, need_training=False, split=whole)
    # The row that cannot be used is in no part, and a column that the model does not have is no task.
    assert {part: mix.count(part) for part in ("train", "val", "test")} == {"train": 0, "val": 0, "test": 8}
    assert "w" not in tasks_of(mix)
    with pytest.raises(GraphiumError, match="no row in its training part"):
        build(COLUMNS, split=whole)


@pytest.mark.parametrize("need_training", [True, False])
def test_columns_of_another_name_and_order(build: Callable[..., Mix], need_training: bool) -> None:
    turned = {"energy": COLUMNS["y"], "hit": COLUMNS["hit"], "z": COLUMNS["z"]}
    mix = build(
        dict(reversed(turned.items())), targets=["hit", "energy", "z"], renamed={"energy": "old/y"},
        need_training=need_training,
    )  # fmt: skip
    assert [[task.name for task in head.tasks] for head in mix.heads] == [["hit"], ["energy", "z"]]
    assert [(s.name, s.column) for s in mix.sources["mine_graph_regression"] if s] == [("old/y", 0), ("old/z", 1)]
    assert tasks_of(mix)["energy"].transform == ZSCORE


@pytest.mark.parametrize(
    ("columns", "options", "sentence"),
    [
        ({"stage": ["high"] * 8 + ["top"]}, {}, "row 8 .*: 'top' is none of the classes low, mid, high"),
        ({"grade": [1.0] * 8 + [4.0]}, {}, "row 8 .*: 4.0 is none of the classes 0, 1, 2, 3"),
        ({"toxic": [0, 1] * 4 + [0]}, {}, "0 is none of the classes safe, toxic"),
        ({"hit": ["yes", "no"] * 4 + ["no"]}, {}, r"'yes' in row 0; say data.kind=multiclass, or .*data.classes"),
        ({"hit": [0.5] * 9}, {}, "0.5 is not 0 or 1, and the kind is binary"),
        ({"y": ["a"] * 9}, {}, "'y' holds text, e.g. 'a' in row 0"),
        ({"z": [-2.0] * 9}, {}, "-2 cannot be transformed by log1p"),
        ({"stage": ["high"] * 9}, {"classes": ["high", "top"]}, "'top' is none of the model's, low, mid, high"),
        ({"w": COLUMNS["w"]}, {}, "no column of the data is a task of the model .*; its columns are w"),
        ({"y": [None] * 9}, {}, "no column of the data is a task of the model .* y is left out: every cell is empty"),
        ({"y": COLUMNS["y"]}, {"kind": "binary"}, "y is left out: binary here, and graph regression in the model"),
        ({"y": COLUMNS["y"]}, {"renamed": {"Y": "y"}}, "'Y' is said to be a task of the model and is no column"),
    ],
)
def test_what_cannot_be_measured_gets_a_sentence(
    build: Callable[..., Mix], columns: dict[str, list[Any]], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        build(columns, need_training=False, **options)


def test_words_for_0_and_1(build: Callable[..., Mix]) -> None:
    mix = build({"hit": ["yes", "no"] * 4 + ["no"]}, targets=["hit"], classes=["no", "yes"], need_training=False)
    assert labels_of(mix, "hit")[:8] == [1, 0] * 4
    mix = build({"toxic": [1, 0] * 4 + [0]}, targets=["toxic"], classes=["0", "1"], need_training=False)
    assert labels_of(mix, "toxic")[:8] == [1, 0] * 4


def test_what_differs_is_a_task_of_its_own(build: Callable[..., Mix], capsys: pytest.CaptureFixture[str]) -> None:
    mix = build({"hit": COLUMNS["hit"]}, targets=["hit"], kind="regression", progress=True)
    assert mix.sources == {"mine_graph_regression": (None,)}
    assert tasks_of(mix)["hit"].transform["name"] == "zscore"
    assert "hit is not taken from the model: regression here, and graph binary in the model" in capsys.readouterr().err


def test_a_loss_of_other_outputs_is_a_task_of_its_own(build: Callable[..., Mix]) -> None:
    mix = build({"y": COLUMNS["y"]}, targets=["y"], loss="gaussian")
    assert mix.sources[mix.heads[0].name] == (None,)
    mix = build({"y": COLUMNS["y"]}, targets=["y"], loss="mse")
    assert tasks_of(mix)["y"].loss == "mse"
    assert tasks_of(mix)["y"].transform == ZSCORE


def test_numbers_in_another_unit_are_said(build: Callable[..., Mix], capsys: pytest.CaptureFixture[str]) -> None:
    build({"y": COLUMNS["y"]}, need_training=False, progress=True)
    assert "another unit" not in capsys.readouterr().err
    build({"y": [1000.0 * y for y in COLUMNS["y"]], "z": COLUMNS["z"]}, need_training=False, progress=True)
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "mine: probably another unit: y has a mean of 1e+04 and the model learned around 10 eV "
        "(4995 of its deviations away)" in said
    )
    build({"y": COLUMNS["y"]}, targets=["y"], unit="meV", transform="min_max", need_training=False, progress=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "y is in meV here and in eV in the model" in said
    assert "the transform said for y is not used" in said


def test_labels_of_atoms(build: Callable[..., Mix]) -> None:
    lists = ["[0.1, 0.2, 0.3]", *[None] * 7, "[1]"]
    mix = build({"charge": lists}, need_training=False)
    assert [(head.level, head.kind) for head in mix.heads] == [("node", "regression")]
    # Numbers of molecules are no labels of atoms.
    for said in ({"level": "graph"}, {}):
        mix = build({"charge": [float(i) for i in range(9)]}, targets=["charge"], **said)
        assert mix.sources[mix.heads[0].name] == (None,)
    with pytest.raises(GraphiumError, match="charge is left out: lists .* here, and level node in the model"):
        build({"charge": ["[0.1, 0.2]", *[None] * 8]}, need_training=False)
