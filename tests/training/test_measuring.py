"""A saved model on labelled tables, against scikit-learn on the predictions of :class:`Predictor`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from graphium.chem.featurizer import Featurizer
from graphium.data.build import build_mix
from graphium.errors import GraphiumError
from graphium.models.predictor import Predictor
from graphium.models.saved import SavedModel, load_model, save_model
from graphium.nn.network import build_network
from graphium.training.measuring import _ByData, evaluate, measure
from graphium.training.results import training_statistics

SMILES = ["OCC", "CCN", "CCC", "CCF", "CCCO", "CCS", "ClCC", "CCBr", "nothing", "c1ccccc1O", "CC(=O)O", "CC#N", "NCCO"]
STAGES = ("low", "mid", "high")
TOLERANCE = {"rel": 1e-5, "abs": 1e-6}


def table(seed: int) -> pd.DataFrame:
    """Labels of four levels, some missing; classes as words, as numbers with a gap, and as words for 0 and 1."""
    from rdkit import Chem, rdBase

    rng = np.random.default_rng(seed)
    with rdBase.BlockLogs():
        molecules = [Chem.MolFromSmiles(text) for text in SMILES]
    count = len(SMILES)
    atoms = [molecule.GetNumAtoms() if molecule else 1 for molecule in molecules]
    bonds = [molecule.GetNumBonds() if molecule else 1 for molecule in molecules]
    frame = pd.DataFrame(
        {
            "smiles": SMILES,
            "y": rng.normal(5.0, 3.0, count),
            "z": rng.normal(-40.0, 0.1, count),
            "hit": np.resize([1, 0, 1, 1, 0], count),
            "stage": np.resize(["high", "low", "mid", "high"], count),
            "grade": np.resize([1, 4, 2, 1, 4, 2], count),
            "toxic": np.resize(["safe", "toxic", "toxic"], count),
            "charge": [rng.normal(0, 1, n).tolist() for n in atoms],
            "length": [rng.normal(1, 1, n).tolist() for n in bonds],
            "distance": [(square + square.T).tolist() for square in (rng.normal(3, 1, (n, n)) for n in atoms)],
        }
    )
    frame.loc[[1, 4], ["y", "stage", "toxic"]] = None
    return frame


SECTION = {
    "a": {"tasks": [{"columns": ["y", "z"]}, {"columns": ["stage"], "kind": "multiclass", "classes": list(STAGES)}]},
    "b": {
        "tasks": [
            {"columns": ["hit"], "kind": "binary"},
            {"columns": ["grade"], "kind": "ordinal"},
            {"columns": ["toxic"], "kind": "binary", "classes": ["safe", "toxic"]},
        ]
    },
    "c": {"tasks": [{"columns": ["charge"]}, {"columns": ["length"], "level": "edge"}, {"columns": ["distance"]}]},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> SavedModel:
    """A model of three data sets and all levels with random weights, saved and loaded."""
    folder = tmp_path_factory.mktemp("trained")
    table(0).to_parquet(folder / "train.parquet")
    whole = {"name": "whole", "part": "train"}
    datasets = {
        name: {"path": str(folder / "train.parquet"), "smiles": "smiles", "split": whole, **one}
        for name, one in SECTION.items()
    }
    featurizer = Featurizer(encodings=[{"name": "rw_return_probs", "steps": 4}])
    mix = build_mix({"datasets": datasets}, featurizer, store_dir=folder / "stores", progress=False)
    torch.manual_seed(1)
    network = build_network(mix.spec, mix.heads, layer="gine", width=16, depth=2).eval()
    save_model(folder / "model", network, featurizer, mix.heads, statistics=training_statistics(mix))
    return load_model(folder / "model")


@pytest.fixture
def measured(trained: SavedModel, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(data: Any, part: str | None = None, **options: Any) -> dict[str, Any]:
        if isinstance(data, pd.DataFrame):
            data.to_parquet(tmp_path / "mine.parquet")
            data = str(tmp_path / "mine.parquet")
        return evaluate(trained, data, part, **{"store_dir": tmp_path / "stores", "progress": False, **options})

    return run


def same(left: Any, right: Any) -> None:
    """Two reports with the same keys, and the same numbers up to float32."""
    assert type(left) is type(right) or {type(left), type(right)} == {int, float}
    if isinstance(left, Mapping):
        assert left.keys() == right.keys()
        for key in left:
            same(left[key], right[key])
    elif isinstance(left, float):
        assert left == pytest.approx(right, **TOLERANCE)
    else:
        assert left == right


def test_against_scikit_learn_on_predictions(trained: SavedModel, measured: Callable[..., dict[str, Any]]) -> None:
    frame = table(5)
    report = measured(frame)["all"]["mine"]
    told = report["per_task"]
    predicted = Predictor(trained).predict(frame[["smiles"]])
    ok = predicted["status"].eq("ok") & frame["y"].notna()
    y, p = frame["y"][ok], predicted["y"][ok]
    assert told["y"]["mae"] == pytest.approx(reference.mean_absolute_error(y, p), **TOLERANCE)
    assert told["y"]["r2"] == pytest.approx(reference.r2_score(y, p), **TOLERANCE)
    head = next(head for head in trained.heads if head.tasks[0].name == "y")
    scale = head.tasks[0].transform["scale"]
    assert told["y"]["mae_norm"] == pytest.approx(told["y"]["mae"] / scale, **TOLERANCE)

    usable = predicted["status"].eq("ok")
    assert told["hit"]["auroc"] == pytest.approx(
        reference.roc_auc_score(frame["hit"][usable], predicted["hit"][usable]), **TOLERANCE
    )
    toxic = (frame["toxic"][ok] == "toxic").astype(int)
    assert told["toxic"]["bce"] == pytest.approx(
        reference.log_loss(toxic, predicted["toxic"][ok].astype(float)), **TOLERANCE
    )
    codes = frame["stage"][ok].map(STAGES.index)
    shares = predicted[[f"stage[{name}]" for name in STAGES]][ok].to_numpy(float)
    assert told["stage"]["accuracy"] == pytest.approx(np.mean(shares.argmax(1) == codes), **TOLERANCE)
    shares = shares / shares.sum(1, keepdims=True)
    assert told["stage"]["ce"] == pytest.approx(reference.log_loss(codes, shares, labels=[0, 1, 2]), **TOLERANCE)
    # The classes of `grade` are 1, 2, 3, 4: that 3 never occurs moves no other class.
    grades = predicted[[f"grade[{number}]" for number in (1, 2, 3, 4)]][usable].to_numpy(float)
    wanted = -np.log(grades[np.arange(usable.sum()), frame["grade"][usable].to_numpy() - 1]).mean()
    assert told["grade"]["ce"] == pytest.approx(wanted, **TOLERANCE)

    for name in ("charge", "length"):
        true = np.concatenate([np.asarray(cell) for cell in frame[name][usable]])
        guess = np.concatenate([np.asarray(cell) for cell in predicted[name][usable]])
        assert told[name]["mae"] == pytest.approx(np.abs(true - guess).mean(), **TOLERANCE)
    true = np.concatenate([np.asarray(m)[np.triu_indices(len(m), 1)] for m in frame["distance"][usable]])
    guess = np.concatenate([np.asarray(cell) for cell in predicted["distance"][usable]])
    assert told["distance"]["mae"] == pytest.approx(np.abs(true - guess).mean(), **TOLERANCE)
    assert report["n_defined"]["mae"] == 6


def test_the_baseline_is_what_the_model_knows(measured: Callable[..., dict[str, Any]]) -> None:
    train, frame = table(0), table(5)
    usable = np.array([text != "nothing" for text in SMILES])
    baseline = measured(frame)["all"]["mine"]["baseline"]["per_task"]
    present = usable & frame["y"].notna()
    mean = train["y"][usable].mean()
    assert baseline["y"]["mae"] == pytest.approx(np.abs(frame["y"][present] - mean).mean(), **TOLERANCE)
    share = train["hit"][usable].mean()
    wanted = reference.log_loss(frame["hit"][usable], np.full(usable.sum(), share))
    assert baseline["hit"]["bce"] == pytest.approx(wanted, **TOLERANCE)
    codes, known = frame["stage"][present].map(STAGES.index), train["stage"][usable].dropna().map(STAGES.index)
    shares = np.bincount(known, minlength=3) / len(known)
    assert baseline["stage"]["ce"] == pytest.approx(-np.log(shares[codes]).mean(), **TOLERANCE)


def test_the_baseline_is_what_the_training_part_of_the_data_says(
    trained: SavedModel, measured: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    frame = table(5)
    frame["part"] = np.resize(["train", "test"], len(frame))
    frame.to_parquet(tmp_path / "split.parquet")
    section = {"path": str(tmp_path / "split.parquet"), "targets": "*", "split": {"name": "column", "column": "part"}}
    report = measured(section)
    assert list(report) == ["test"]
    train = frame[(frame["part"] == "train") & (frame["smiles"] != "nothing")]["y"]
    test = frame[(frame["part"] == "test") & (frame["smiles"] != "nothing")]["y"].dropna()
    wanted = np.abs(test - train.mean()).mean()
    assert report["test"]["split"]["baseline"]["per_task"]["y"]["mae"] == pytest.approx(wanted, **TOLERANCE)
    # A model that does not know its labels, and data without a training part: no baseline.
    bare = replace(trained, statistics={})
    assert "baseline" not in evaluate(bare, frame, progress=False)["all"]["data"]


def test_names_order_and_company_of_columns_do_not_matter(measured: Callable[..., dict[str, Any]]) -> None:
    frame = table(5)
    once = measured(frame)["all"]["mine"]
    turned = frame[["toxic", "distance", "z", "stage", "smiles", "charge", "y", "hit", "length", "grade"]]
    turned = turned.assign(other=1.5, note="text")
    same(measured(turned)["all"]["mine"]["per_task"], {name: once["per_task"][name] for name in
         ["toxic", "distance", "z", "stage", "charge", "y", "hit", "length", "grade"]})  # fmt: skip
    again = measured(
        frame.rename(columns={"y": "energy", "stage": "level"}), renamed={"energy": "y", "level": "a/stage"}
    )
    told = again["all"]["mine"]["per_task"]
    same(told["energy"], once["per_task"]["y"])
    same(told["level"], once["per_task"]["stage"])


def test_the_order_in_which_classes_are_named_does_not_matter(
    measured: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    frame = table(5)
    once = measured(frame)["all"]["mine"]["per_task"]["stage"]
    few = frame[frame["stage"].isin(["high", "mid"])]
    alone = measured(few)["all"]["mine"]["per_task"]["stage"]
    for classes in (["mid", "high", "low"], ["high", "mid"], None):
        rows = frame if classes is None or len(classes) == 3 else few
        rows.to_parquet(tmp_path / "one.parquet")
        one = {"columns": ["stage"], **({"classes": classes} if classes else {})}
        section = {"path": str(tmp_path / "one.parquet"), "tasks": [one]}
        same(measured(section)["all"]["one"]["per_task"]["stage"], once if rows is frame else alone)
    with pytest.raises(GraphiumError, match="'top' is none of the classes low, mid, high"):
        measured(frame.assign(stage="top"))


def test_some_tasks_and_one_dataset_of_several(
    trained: SavedModel, measured: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    frame = table(5)
    once = measured(frame)["all"]["mine"]["per_task"]
    found = measured(frame, tasks=["b/*", "z"])["all"]["mine"]["per_task"]
    assert sorted(found) == ["grade", "hit", "toxic", "z"]
    for name, numbers in found.items():
        same(numbers, once[name])
    frame.to_parquet(tmp_path / "train.parquet")
    section = {"b": {"path": str(tmp_path / "train.parquet"), **SECTION["b"]}}
    found = measured({"datasets": section})["all"]["b"]["per_task"]
    assert sorted(found) == ["grade", "hit", "toxic"]
    for name, numbers in found.items():
        same(numbers, once[name])
    with pytest.raises(GraphiumError, match="the model has no task 'nope'"):
        measured(frame, tasks="nope")


def test_parts(measured: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    frame = table(5)
    # The second ethanol is another text of a training molecule, and `leak` moves it.
    more = frame.iloc[:2].assign(smiles=["C(C)O", "CCP"])
    frame = pd.concat([frame, more], ignore_index=True)
    frame["part"] = ["train"] * 6 + ["val"] * 3 + ["test"] * 6
    frame.to_parquet(tmp_path / "split.parquet")
    section = {
        "path": str(tmp_path / "split.parquet"),
        "targets": ["z"],
        "split": {"name": "column", "column": "part"},
        "leak": "test_seen",
    }
    report = measured(section)
    assert list(report) == ["test", "test_seen"]
    assert measured(section, "test_seen") == {"test_seen": report["test_seen"]}
    assert list(measured(section, "val")) == ["val"]
    rows = {"train": range(6), "val": (6, 7), "test": (9, 10, 11, 12, 14), "test_seen": (13,)}
    rows["all"] = [row for part in ("train", "val", "test", "test_seen") for row in rows[part]]
    for part, mine in rows.items():
        told = measured(section, part)[part]["split"]["per_task"]["z"]["mae"]
        wanted = measured(frame.iloc[list(mine)].drop(columns="part"))["all"]["mine"]["per_task"]["z"]["mae"]
        assert told == pytest.approx(wanted, **TOLERANCE)
    # Where the part is named, a table without a split is drawn as in training.
    del section["split"], section["leak"]
    assert list(measured(section, "test")) == ["test"]
    with pytest.raises(GraphiumError, match="no row of the data is in the part test_seen"):
        measured(section, "test_seen")
    with pytest.raises(GraphiumError, match="there is no part 'tset'; did you mean 'test'"):
        measured(section, "tset")


def test_predictions_are_written(trained: SavedModel, measured: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    frame = table(5)
    measured(frame, predictions=tmp_path / "deep" / "p.parquet", batch_size=3)
    written = pd.read_parquet(tmp_path / "deep" / "p.parquet")
    predicted = Predictor(trained, tasks=["y"]).predict(frame[["smiles"]])
    assert written["row"].tolist() == list(range(len(frame)))
    np.testing.assert_allclose(written["y"], predicted["y"], rtol=1e-5)
    assert written["status"][8] != "ok"
    with pytest.raises(GraphiumError, match="name it .parquet"):
        measured(frame, predictions=tmp_path / "p.csv")


def test_what_can_be_given(trained: SavedModel, measured: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    frame = table(5)
    once = measured(frame)["all"]["mine"]
    frame.to_parquet(tmp_path / "other.parquet")
    both = measured([tmp_path / "mine.parquet", tmp_path / "other.parquet"])["all"]
    same(both["mine"], once)
    same(both["other"], once)
    same(evaluate(str(trained.folder), frame, progress=False)["all"]["data"], once)
    (tmp_path / "deep").mkdir()
    frame.to_parquet(tmp_path / "deep" / "other.parquet")
    with pytest.raises(GraphiumError, match="two tables are named 'other'"):
        measured([tmp_path / "other.parquet", tmp_path / "deep" / "other.parquet"])
    remarks = measure(trained, frame, progress=False).remarks
    assert remarks == ("data: no split is named, so all rows were measured, known to the model or not",)
    with pytest.raises(GraphiumError, match="not the folder of a run"):
        evaluate(trained, progress=False)
    with pytest.raises(GraphiumError, match="the device 'gpu0' cannot be used"):
        measured(frame, device="gpu0")
    with pytest.raises(GraphiumError, match="the DataFrame has two columns 'z'"):
        measure(trained, pd.concat([frame, frame[["z"]]], axis=1), progress=False)
    with pytest.raises(GraphiumError, match="a column of mixed types .*column z"):
        measure(trained, frame.assign(z=["x", *frame["z"].iloc[1:]]), progress=False)
    for nothing in (5, [], [frame]):
        with pytest.raises(GraphiumError, match="holds no table; give the path of a table"):
            measure(trained, nothing, progress=False)


def test_nothing_is_trained_or_left_in_another_state(trained: SavedModel, measured: Callable[..., Any]) -> None:
    before = {name: tensor.clone() for name, tensor in trained.network.state_dict().items()}
    trained.network.train()
    measured(table(5))
    assert trained.network.training
    trained.network.eval()
    for name, tensor in trained.network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_baseline_of_some_tasks(trained: SavedModel) -> None:
    statistics = {name: values.clone() for name, values in trained.statistics.items()}
    head = next(head for head in trained.heads if [task.name for task in head.tasks] == ["y", "z"])
    statistics[head.name][0] = torch.nan
    report = evaluate(replace(trained, statistics=statistics), table(5), progress=False)["all"]["data"]["baseline"]
    assert report["per_task"]["y"]["mae"] is None
    assert report["undefined"]["mae"] == {"prediction is NaN": ["y"]}
    assert report["per_task"]["z"]["mae"] > 0


class _Named(torch.nn.Module):
    """Predicts for every column of every head a number that says which one it is."""

    def __init__(self, sizes: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.sizes, self.width = sizes, width

    def forward(self, batch: Any) -> dict[str, torch.Tensor]:
        found = {}
        for number, (name, size) in enumerate(self.sizes.items()):
            columns = 1000.0 * number + 10.0 * torch.arange(size) + torch.zeros(3, 1)
            found[name] = columns[..., None] + torch.arange(self.width) if self.width else columns
        return found


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.sampled_from([0, 2, 3]), st.data())
def test_every_prediction_stands_in_the_column_of_its_task(sizes: list[int], width: int, data: st.DataObject) -> None:
    model = {f"head{number}": size for number, size in enumerate(sizes)}
    every = [(name, column) for name, size in model.items() for column in range(size)]
    asked = data.draw(st.lists(st.lists(st.sampled_from(every), min_size=1, max_size=7), min_size=1, max_size=3))
    network = _ByData(_Named(model, width), {f"mine{number}": columns for number, columns in enumerate(asked)})
    found = network(SimpleNamespace(pair_index=torch.zeros(2, 0)))
    for number, columns in enumerate(asked):
        wanted = torch.tensor([1000.0 * int(name[4:]) + 10.0 * column for name, column in columns]).expand(3, -1)
        got = found[f"mine{number}"]
        assert torch.equal(got, wanted[..., None] + torch.arange(width) if width else wanted)


@pytest.mark.parametrize("name", ["moleculenet/tox21.csv.gz", "toymix/ZINC12k.csv.gz"])
def test_a_real_table_against_scikit_learn(name: str, shared_data: Path, tmp_path: Path) -> None:
    tox = [f"NR-{end}" for end in ("AR", "AhR", "ER")]
    datasets = {
        "tox21": {"path": "toymix/Tox21-7k-12-labels.csv.gz", "targets": tox},
        "zinc12k": {"path": "toymix/ZINC12k.csv.gz", "targets": ["SA", "logp", "score"]},
    }
    featurizer = Featurizer(encodings=[])
    options = {"data_dir": shared_data, "store_dir": tmp_path / "stores", "progress": False}
    mix = build_mix({"limit": 200, "datasets": datasets}, featurizer, **options)
    torch.manual_seed(2)
    network = build_network(mix.spec, mix.heads, layer="gcn", width=8, depth=1).eval()
    saved = SavedModel(network, featurizer, mix.heads, statistics=training_statistics(mix))
    report = evaluate(saved, {"path": name, "targets": "*", "limit": 600}, **options)["all"]
    ((dataset, told),) = report.items()
    frame = pd.read_csv(shared_data / name, nrows=600)
    predicted = Predictor(saved).predict(frame[["smiles"]])
    assert sorted(told["per_task"]) == sorted(tox if "tox21" in name else ["SA", "logp", "score"])
    means: dict[str, list[float]] = {}
    for task, numbers in told["per_task"].items():
        there = frame[task].notna() & predicted["status"].eq("ok")
        y, p = frame[task][there].to_numpy(float), predicted[task][there].to_numpy(float)
        if "tox21" in name:
            wanted = {
                "auroc": reference.roc_auc_score(y, p),
                "ap": reference.average_precision_score(y, p),
                "bce": reference.log_loss(y, p),
            }
        else:
            wanted = {"mae": reference.mean_absolute_error(y, p), "r2": reference.r2_score(y, p)}
        for metric, value in wanted.items():
            # Predictions of random weights are so close to each other that rounding turns some of them round.
            slack = 1e-3 if metric in ("auroc", "ap") else 1e-5
            assert numbers[metric] == pytest.approx(value, rel=1e-4, abs=slack), (task, metric)
            means.setdefault(metric, []).append(numbers[metric])
    for metric, values in means.items():
        assert told[metric] == pytest.approx(np.mean(values))
