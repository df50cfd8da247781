from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from graphium.chem.featurizer import Featurizer
from graphium.data import build as build_module
from graphium.data.build import MixOptions, build_mix, check_data
from graphium.data.datasets.dataset import Dataset
from graphium.errors import GraphiumError

PARTS = ["train", "val", "test", "train", "test", "train", "val", "test"]
SMILES = ["CCO", "CCN", "CCC", "not_a_smiles", "C1CC", "OCC", "CCCl", "CCBr"]


@pytest.fixture
def csv(tmp_path: Path) -> str:
    path = tmp_path / "mine.csv"
    pd.DataFrame({"smiles": SMILES, "y": [0.5 * i for i in range(8)], "part": PARTS}).to_csv(path, index=False)
    return str(path)


@pytest.fixture
def build(tmp_path: Path, featurizer: Featurizer) -> Any:
    def run(*datasets: Dataset, **options: Any) -> Any:
        return build_mix(list(datasets), featurizer, store_dir=tmp_path / "stores", **{"progress": False, **options})

    return run


def by_column(path: str, name: str = "mine") -> Dataset:
    return Dataset(name, path, targets=["y"], split={"name": "column", "column": "part"})


def test_failed_rows_are_in_no_part_and_their_part_is_known(csv: str, build: Any, tmp_path: Path) -> None:
    mix = build(by_column(csv, "first"))
    mix = build(by_column(csv, "second"))
    (dataset,) = mix.datasets
    assert dataset.parts.tolist() == [0, 1, 2, -1, -1, 0, 1, 2]
    assert [(f.dataset, f.row, f.text) for f in dataset.failed_rows("test")] == [("second", 4, "C1CC")]
    assert [f.row for f in dataset.failed_rows("train")] == [3]
    assert dataset.failed_rows("val") == []
    assert mix.summary()["second"]["failures"] == 2

    mix.write_failures(tmp_path / "failures.csv")
    written = pd.read_csv(tmp_path / "failures.csv")
    assert written[["dataset", "row", "text"]].values.tolist() == [["second", 3, "not_a_smiles"], ["second", 4, "C1CC"]]
    assert written["reason"].notna().all()


def test_a_drawn_split_has_no_failed_rows(csv: str, build: Any) -> None:
    (dataset,) = build(Dataset("mine", csv, targets=["y"])).datasets
    assert [dataset.failed_rows(part) for part in ("train", "val", "test")] == [[], [], []]


def test_options_for_datasets_made_in_python(csv: str, build: Any) -> None:
    mix = build(by_column(csv), options=MixOptions(limit=3))
    assert mix.summary()["mine"]["rows"] == 3
    with pytest.raises(GraphiumError, match="row 3 of mine cannot be used"):
        build(by_column(csv), options=MixOptions(on_bad_molecule="raise"))


def test_two_limits_of_one_table(csv: str, build: Any) -> None:
    folders = set()
    for limit, rows in ((3, 3), (6, 6), (3, 3), (8, 8), (100, 8), (None, 8)):
        (dataset,) = build(by_column(csv), options=MixOptions(limit=limit)).datasets
        assert dataset.store.num_rows == rows
        assert dataset.blocks["mine_graph_regression"].ptr.shape == (rows + 1,)
        folders.add(dataset.store.folder)
    # A limit that cuts nothing off is none.
    assert len(folders) == 3


def test_what_was_found_is_said_before_a_table_is_prepared(
    csv: str, build: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise GraphiumError("the disk is full")

    monkeypatch.setattr(build_module, "prepare_store", stop)
    dataset = Dataset("mine", csv, targets="*", split={"name": "column", "column": "part"})
    with pytest.raises(GraphiumError, match="the disk is full"):
        build(dataset, progress=True)
    said = capsys.readouterr().err
    assert "mine: SMILES column: 'smiles'" in said
    assert "mine: takes y: numbers, regression" in said
    assert "mine: leaves out part: the split column" in said
    with pytest.raises(GraphiumError, match="the disk is full"):
        build(dataset, progress=False)
    assert capsys.readouterr().err == ""


def test_one_line_of_progress_a_dataset(csv: str, build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    build(by_column(csv), progress=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if "8/8" in line]
    assert len(lines) == 1
    assert lines[0].startswith("prepared mine ")
    build(by_column(csv), progress=True)
    assert "prepar" not in capsys.readouterr().err


def test_parts_left_empty_are_said(csv: str, build: Any) -> None:
    mix = build(by_column(csv), options=MixOptions(limit=2))
    assert mix.summary()["mine"]["messages"] == ["the test part is empty"]
    with pytest.raises(GraphiumError, match="no row in its training part"):
        build(
            Dataset("mine", csv, targets=["y"], split={"name": "column", "column": "part", "names": {"val": "train"}})
        )


def test_rows_in_no_part_are_said(csv: str, build: Any) -> None:
    mix = build(Dataset("mine", csv, targets=["y"], split={"name": "random", "train": 0.5, "seed": 1}))
    assert mix.summary()["mine"]["messages"] == ["2 rows are in no part and not used"]


def test_two_datasets_of_one_name(csv: str, build: Any) -> None:
    with pytest.raises(GraphiumError, match="two datasets are named 'mine'"):
        build(by_column(csv), by_column(csv))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"batch_size": 0}, "data.batch_size is 0; give a whole number of at least 1"),
        ({"limit": -5}, "data.limit is -5"),
        ({"n_jobs": 0}, "data.n_jobs is 0"),
        ({"on_bad_molecule": "drop"}, "'drop'"),
        ({"batch_sice": 3, "datasets": {}}, "did you mean 'batch_size'.*data.datasets.<name>"),
        ({"datasets": None}, "give at least one dataset"),
        ({"datasets": {"a": None}}, "data.datasets.a is None; give the fields"),
        ({"datasets": {"qm9": {"path": "a.csv", "targets": "*"}, "qm8": {"targets": "*"}}}, "did you mean 'qm9'"),
    ],
)
def test_wrong_sections_end_in_a_sentence(data: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        check_data({"path": "a.csv", "targets": "*", **data} if "datasets" not in data else data)


WORDS = ["CCO", "CCN", "CCC", "CO", "CN", "OCC", "CCCl", "CCBr", "C", "N", "CC", "CF"]
ROW_PARTS = ["train"] * 6 + ["val"] * 2 + ["test"] * 4


def table(folder: Path, name: str = "t", order: Any = None, **columns: Any) -> str:
    frame = pd.DataFrame({"smiles": WORDS, "part": ROW_PARTS, **columns})
    path = folder / f"{name}.csv"
    (frame if order is None else frame.iloc[order]).to_csv(path, index=False)
    return str(path)


def labelled(path: str, **fields: Any) -> Dataset:
    return Dataset("mine", path, **{"targets": ["y"], "split": {"name": "column", "column": "part"}, **fields})


Y = [0.5, 3.0, 1.0, 8.0, 2.0, 4.0, 9.0, 0.0, 5.0, 7.0, 6.0, 1.5]
EVERY = ["zscore", "min_max", "rank_gauss", ["log1p", "zscore"], {"name": "clip", "quantiles": [0.1, 0.9]}]


@pytest.mark.parametrize("transform", EVERY, ids=str)
def test_transforms_know_the_training_part_only(tmp_path: Path, build: Any, transform: Any) -> None:
    def fitted(name: str, y: list[float]) -> Any:
        return build(labelled(table(tmp_path, name, y=y), transform=transform)).heads[0].tasks[0].transform

    before = fitted("a", Y)
    assert fitted("b", [*Y[:6], *(20 * value + 3 for value in Y[6:])]) == before
    assert fitted("c", [Y[0] + 5, *Y[1:]]) != before


@pytest.mark.parametrize("transform", EVERY, ids=str)
def test_the_order_of_the_rows_does_not_matter(tmp_path: Path, build: Any, transform: Any) -> None:
    order = np.random.default_rng(0).permutation(12)
    mixes = [build(labelled(table(tmp_path, str(k), o, y=Y), transform=transform)) for k, o in enumerate([None, order])]
    values = []
    for mix, rows in zip(mixes, (np.arange(12), np.argsort(order)), strict=True):
        batch = mix.gather(torch.stack([torch.zeros(12, dtype=torch.int64), torch.from_numpy(rows)], 1))
        values.append(batch.labels["mine_graph_regression"].value)
    torch.testing.assert_close(values[0], values[1])


def test_a_label_without_a_logarithm_in_any_part_is_named(tmp_path: Path, build: Any) -> None:
    y = [*Y[:10], -1.0, 2.0]
    path = table(tmp_path, y=y, w=[1.0] * 10 + [0.0, 1.0])
    for transform in ("log1p", ["log1p", "zscore"]):
        with pytest.raises(
            GraphiumError, match="dataset 'mine', column 'y', row 10: -1 cannot be transformed by log1p"
        ):
            build(labelled(path, transform=transform))
    build(labelled(path, transform=[{"name": "clip", "low": 0}, "log1p"]))
    # A label of weight 0 is none.
    mix = build(labelled(path, transform="log1p", sample_weight="w"))
    labels = mix.gather(mix.index("test")).labels["mine_graph_regression"]
    assert labels.value.isfinite().all() and labels.weight.tolist() == [1, 1, 0, 1]


def test_rows_of_weight_0_have_no_labels(tmp_path: Path, build: Any) -> None:
    weights = [1.0, 0.0, 0.5, 2.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 3.0, 1.0]
    path = table(tmp_path, y=Y, w=weights)
    mix = build(labelled(path, sample_weight="w"))
    (dataset,) = mix.datasets
    assert dataset.row_weight is not None and dataset.row_weight.tolist() == weights
    kept = [y for y, w in zip(Y[:6], weights, strict=False) if w > 0]
    assert mix.heads[0].tasks[0].transform["mean"] == pytest.approx(np.mean(kept))
    assert mix.summary()["mine"]["heads"][0]["labels"] == 9
    assert "3 rows have the weight 0 in column 'w', and so no labels" in mix.summary()["mine"]["messages"]
    rows = np.concatenate([rows for rows, _, _ in dataset.all_labels(mix.heads[0])])
    assert rows.tolist() == [row for row, weight in enumerate(weights) if weight]
    labels = mix.gather(mix.index("train")).labels["mine_graph_regression"]
    assert labels.weight.tolist() == weights[:6] and labels.total.tolist() == [4.5]
    # What the weights are made from is a key: other weights do not find these.
    other = build(labelled(table(tmp_path, "u", y=Y, w=weights, v=[1.0] * 12), sample_weight="v"))
    assert other.datasets[0].row_weight.tolist() == [1.0] * 12


def test_a_weight_column_is_no_label(tmp_path: Path, build: Any) -> None:
    path = table(tmp_path, y=Y, importance=[1.5] * 12)
    mix = build(labelled(path, targets="*", sample_weight="importance"))
    assert [task.name for task in mix.heads[0].tasks] == ["y"]
    assert "leaves out importance: the sample weight column" in mix.datasets[0].resolved.messages
    with pytest.raises(GraphiumError, match="'importance' is the sample weight column and cannot be a label too"):
        build(labelled(path, targets=["importance"], sample_weight="importance"))
    with pytest.raises(GraphiumError, match="no column 'importence'; did you mean 'importance'"):
        build(labelled(path, sample_weight="importence"))
    nothing = table(tmp_path, "n", y=Y, w=[0.0] * 6 + [1.0] * 6)
    with pytest.raises(GraphiumError, match="column 'w' gives every row of the training part the weight 0"):
        build(labelled(nothing, sample_weight="w"))


def test_weights_of_repeated_molecules(tmp_path: Path, build: Any) -> None:
    # Rows 0 and 5 are ethanol in the training part; row 8, too, in the test part.
    smiles = [*WORDS[:8], "OCC", *WORDS[9:]]
    weights = [1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0]
    path = table(tmp_path, y=Y, w=weights)
    pd.read_csv(path).assign(smiles=smiles).to_csv(path, index=False)

    def first_row(**fields: Any) -> tuple[float, float, list[int]]:
        mix = build(labelled(path, transform="none", sample_weight="w", **fields))
        labels = mix.gather(torch.tensor([[0, 0]])).labels["mine_graph_regression"]
        return labels.value.item(), labels.weight.item(), mix.index("train")[:, 1].tolist()

    assert first_row(repeats="mean") == ((1 * Y[0] + 3 * Y[5]) / 4, 2.0, [0, 1, 2, 3, 4])
    assert first_row(repeats="mean") == first_row(repeats="mean")
    assert first_row(repeats="first") == (Y[0], 1.0, [0, 1, 2, 3, 4])
    assert first_row() == (Y[0], 1.0, [0, 1, 2, 3, 4, 5])


def test_weights_enter_the_loss_as_in_a_dense_formula(tmp_path: Path, build: Any) -> None:
    from graphium.training.losses.heads import Losses

    random = np.random.default_rng(0)
    other = [None if random.random() < 0.4 else round(random.normal(), 2) for _ in range(12)]
    weights = random.integers(0, 4, 12) / 2
    mix = build(labelled(table(tmp_path, y=Y, z=other, w=weights), targets=["y", "z"], sample_weight="w", loss="mse"))
    (head,) = mix.heads
    batch = mix.gather(mix.index("train"))
    prediction = torch.from_numpy(random.normal(size=(6, 2))).float()
    numerator, denominator = Losses(mix.heads)({head.name: prediction}, batch.labels)
    label = torch.tensor([[y, float("nan") if z is None else z] for y, z in zip(Y, other, strict=True)])[:6].double()
    fitted = [task.transform for task in head.tasks]
    scaled = (label - torch.tensor([f["mean"] for f in fitted])) / torch.tensor([f["scale"] for f in fitted])
    weight = torch.from_numpy(weights[:6])[:, None] * ~label.isnan()
    element = torch.nan_to_num((prediction - scaled) ** 2)
    torch.testing.assert_close(numerator[head.name].double(), (element * weight).sum(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(denominator[head.name].double(), weight.sum(0))
    torch.testing.assert_close(batch.labels[head.name].total.double(), weight.sum(0))
