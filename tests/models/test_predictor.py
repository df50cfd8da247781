"""Predictions in memory: label units, order of the texts, task subsets, ensembles, threads."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from scipy.special import expit, softmax
from torch import Tensor

from graphium.chem.featurizer import Featurizer
from graphium.data.batch import GraphBatch
from graphium.data.build import build_mix
from graphium.data.gather import Gather
from graphium.data.molecules import Molecules
from graphium.errors import GraphiumError
from graphium.models import predictor as module
from graphium.models.predictor import Predictor
from graphium.models.saved import SavedModel, save_model
from graphium.nn.network import Network, build_network
from graphium.training.predictions import PredictionTable
from graphium.types import Task, group_tasks

ZSCORE = {"name": "zscore", "mean": 7.0, "scale": 2.5}
FAR = {"name": "zscore", "mean": 5e6, "scale": 0.5}
TEXTS = ["OCC", "CCO", "C(", "[H]OC", "c1ccccc1O", None, "CC(=O)[O-].[Na+]", "C", "Oc1ccccc1"]
TASKS = [
    Task("y", "a", "graph", "regression", transform=ZSCORE),
    Task("far", "a", "graph", "regression", transform=FAR),
    Task("toxic", "a", "graph", "binary"),
    Task("kind", "b", "graph", "multiclass", num_classes=3, classes=("low", "mid", "high")),
    Task("y", "b", "graph", "regression"),
    Task("charge", "b", "node", "regression", transform=ZSCORE),
    Task("length", "b", "edge", "regression"),
    Task("gap", "b", "nodepair", "regression"),
]


@pytest.fixture(scope="module")
def featurizer() -> Featurizer:
    return Featurizer(atom_onehot=["atomic-number"], encodings=[{"name": "rw_return_probs", "steps": 4}])


def make(featurizer: Featurizer, seed: int = 0, tasks: Sequence[Task] = TASKS, **options: Any) -> SavedModel:
    torch.manual_seed(seed)
    heads = group_tasks(tasks)
    network = build_network(featurizer.spec, heads, width=16, depth=2, **options)
    return SavedModel(network.eval(), featurizer, heads)


@pytest.fixture(scope="module")
def saved(featurizer: Featurizer) -> SavedModel:
    return make(featurizer, dropout=0.2)


@pytest.fixture(scope="module")
def frame(saved: SavedModel) -> pd.DataFrame:
    return Predictor(saved).predict(TEXTS)


def raw(saved: SavedModel, texts: Sequence[Any]) -> tuple[GraphBatch, dict[str, np.ndarray]]:
    (batch,) = Molecules(texts, saved.featurizer).batches(pairs=True)
    with torch.no_grad():
        return batch, {name: values.double().numpy() for name, values in saved.network(batch).items()}


def test_columns(frame: pd.DataFrame) -> None:
    shares = ["kind", "kind[low]", "kind[mid]", "kind[high]"]
    expected = ["smiles", "pairs", "a/y", "far", "toxic", *shares, "b/y", "charge", "length", "gap", "status"]
    assert sorted(frame) == sorted(expected) and list(frame)[0] == "smiles" and list(frame)[-1] == "status"
    assert frame["smiles"].tolist() == TEXTS
    assert frame["status"].tolist()[2] == "is not valid SMILES" and frame["status"].tolist()[5] == "is an empty cell"
    assert frame.drop(columns=["smiles", "status"]).loc[[2, 5]].isna().all(axis=None)
    good = frame.drop(index=[2, 5])
    assert (good["status"] == "ok").all() and good.notna().all(axis=None)
    assert frame["a/y"].dtype == np.float32 and frame["far"].dtype == np.float64


def test_numbers_are_in_label_units(saved: SavedModel, frame: pd.DataFrame) -> None:
    batch, made = raw(saved, TEXTS)
    rows = frame.loc[batch.row.numpy()]
    heads = {(task.dataset, task.name): (head.name, k) for head in saved.heads for k, task in enumerate(head.tasks)}

    def of(dataset: str, name: str) -> np.ndarray:
        head, column = heads[dataset, name]
        return made[head][:, column]

    np.testing.assert_allclose(rows["a/y"], of("a", "y") * 2.5 + 7.0, rtol=1e-5)
    np.testing.assert_allclose(rows["far"], of("a", "far") * 0.5 + 5e6, rtol=1e-12)
    np.testing.assert_allclose(rows["toxic"], expit(of("a", "toxic")), rtol=1e-5)
    shares = softmax(of("b", "kind"), axis=-1)
    np.testing.assert_allclose(rows[["kind[low]", "kind[mid]", "kind[high]"]], shares, rtol=1e-5)
    assert rows["kind"].tolist() == np.array(["low", "mid", "high"])[shares.argmax(1)].tolist()


def test_lists_are_in_the_order_of_the_text(frame: pd.DataFrame) -> None:
    for text, charge, length, pairs, gap in zip(
        frame["smiles"], frame["charge"], frame["length"], frame["pairs"], frame["gap"], strict=True
    ):
        mol = Chem.MolFromSmiles(text) if text else None
        if mol is None:
            assert charge is None
            continue
        n = mol.GetNumAtoms()
        assert len(charge) == n and len(length) == mol.GetNumBonds() and len(gap) == n * (n - 1) // 2
        assert [list(pair) for pair in pairs] == [[i, j] for i in range(n) for j in range(i + 1, n)]
    # The same molecule, written in two ways: OCC and CCO, and phenol.
    for one, other, order in ((0, 1, [2, 1, 0]), (4, 8, [6, 0, 1, 2, 3, 4, 5])):
        np.testing.assert_allclose(frame["charge"][one][order], frame["charge"][other], rtol=1e-4)
    np.testing.assert_allclose(frame["length"][0][::-1], frame["length"][1], rtol=1e-4)


@settings(max_examples=10, deadline=None)
@given(data=st.data(), smiles=st.sampled_from(["CC(=O)Oc1ccccc1C(=O)O", "C[NH2+]CC.[Cl-]", "F/C=C/Cl"]))
def test_any_rewriting_gives_the_same_values(data: st.DataObject, smiles: str, saved: SavedModel) -> None:
    mol = Chem.MolFromSmiles(smiles)
    order = data.draw(st.permutations(range(mol.GetNumAtoms())))
    other = Chem.RenumberAtoms(mol, list(order))
    text = Chem.MolToSmiles(other, canonical=False)
    written = [int(k) for k in other.GetProp("_smilesAtomOutputOrder").strip("[],").split(",")]
    place = [order[k] for k in written]  # atom of `smiles` behind every atom of `text`
    found = Predictor(saved).predict([smiles, text])
    charge, again = found["charge"]
    np.testing.assert_allclose(charge[place], again, rtol=1e-4)
    np.testing.assert_allclose(found["a/y"][0], found["a/y"][1], rtol=1e-5)
    gaps = {tuple(pair): value for pair, value in zip(map(tuple, found["pairs"][0]), found["gap"][0], strict=True)}
    for pair, value in zip(found["pairs"][1], found["gap"][1], strict=True):
        np.testing.assert_allclose(gaps[tuple(sorted(place[k] for k in pair))], value, rtol=1e-4)


def test_pieces_do_not_matter(saved: SavedModel, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 2)
    other = Predictor(saved, batch_size=1).predict(TEXTS)
    pd.testing.assert_frame_equal(other, frame, rtol=1e-4)


def test_a_frame_keeps_its_index_and_columns(saved: SavedModel, capsys: pytest.CaptureFixture[str]) -> None:
    given_ = pd.DataFrame({"id": [7, 8, 9], "drug": ["CCO", "C(", "CCN"], "toxic": [1, 0, 1]}, index=["x", "x", "z"])
    found = Predictor(saved, tasks=["toxic", "a/y"]).predict(given_)
    assert list(found) == ["id", "drug", "a/y", "toxic", "status"] and found.index.tolist() == ["x", "x", "z"]
    assert found["toxic"].isna().tolist() == [False, True, False] and found["id"].tolist() == [7, 8, 9]
    assert "left out: 'toxic'" in capsys.readouterr().err
    series = pd.Series(["CCO", "CCN"], index=[5, 3], name="mine")
    found = Predictor(saved, tasks=["toxic"]).predict(series)
    assert list(found) == ["mine", "toxic", "status"] and found.index.tolist() == [5, 3]
    assert Predictor(saved, tasks=["toxic"]).predict([]).shape == (0, 3)
    with pytest.raises(GraphiumError, match="no column 'smile'; did you mean 'smiles'"):
        Predictor(saved).predict(pd.DataFrame({"smiles": ["C"]}), smiles="smile")
    with pytest.raises(GraphiumError, match=r"no column of the table holds SMILES.*smiles=NAME"):
        Predictor(saved).predict(pd.DataFrame({"a": ["x y"]}))
    with pytest.raises(GraphiumError, match="one text"):
        Predictor(saved).predict("CCO")


@pytest.mark.parametrize(
    ("patterns", "columns"),
    [
        (["toxic"], ["toxic"]),
        (["b/y", "a/*"], ["a/y", "far", "toxic", "b/y"]),
        (["y"], ["a/y", "b/y"]),
        (["kind"], ["kind", "kind[low]", "kind[mid]", "kind[high]"]),
        (["char*", "len?th"], ["charge", "length"]),
        (["gap"], ["pairs", "gap"]),
    ],
)
def test_subsets_are_those_columns_alone(
    saved: SavedModel, frame: pd.DataFrame, patterns: list[str], columns: list[str]
) -> None:
    predictor = Predictor(saved, tasks=patterns)
    called: list[str] = []
    network = saved.network
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in [*network.readouts.items(), *network.heads.groups.items()]
    ]
    try:
        found = predictor.predict(TEXTS)
    finally:
        for handle in handles:
            handle.remove()
    assert sorted(found) == sorted(["smiles", *columns, "status"])
    pd.testing.assert_frame_equal(found, frame[list(found)], rtol=1e-5)
    levels = {head.level for head in predictor.heads}
    assert set(called) == levels | {head.name for head in predictor.heads}
    assert [f"{task.dataset}/{task.name}" for task in predictor.tasks] and str(len(predictor.tasks)) in repr(predictor)


def test_tasks_that_share_hidden_layers(featurizer: Featurizer) -> None:
    shared = {"x": {"of": ["a/y", "a/toxic"]}, "z": {"of": ["a/far"], "split": True}}
    model = make(featurizer, heads=shared)
    whole = Predictor(model).predict(TEXTS)
    for name in ("a/y", "far", "toxic"):
        part = Predictor(model, tasks=[name]).predict(TEXTS)
        np.testing.assert_allclose(part[name], whole[name], rtol=1e-6)


def test_wrong_names_and_options(saved: SavedModel, featurizer: Featurizer) -> None:
    with pytest.raises(GraphiumError, match="no task 'toxix'; did you mean 'toxic'"):
        Predictor(saved, tasks=["toxix"])
    with pytest.raises(GraphiumError, match=r"no task 'a/yy'; did you mean 'a/y'"):
        Predictor(saved, tasks=["a/yy"])
    with pytest.raises(GraphiumError, match="no task is chosen"):
        Predictor(saved, tasks=[])
    assert [task.name for task in Predictor(saved, tasks="a/y").tasks] == ["y"]
    with pytest.raises(GraphiumError, match="batch_size is 0"):
        Predictor(saved, batch_size=0)
    with pytest.raises(GraphiumError, match="device is 'gpu'"):
        Predictor(saved, device="gpu")
    with pytest.raises(GraphiumError, match="at least one"):
        Predictor([])
    with pytest.raises(GraphiumError, match="without dropout"):
        Predictor(make(featurizer), dropout=3)
    with pytest.raises(GraphiumError, match="at least 2"):
        Predictor(saved, dropout=1)
    with pytest.raises(GraphiumError):
        Predictor("/no/such/model")
    predictor = Predictor(saved)
    with pytest.raises(GraphiumError, match="molecules is None; give a list of SMILES"):
        predictor.predict(None)  # type: ignore[arg-type]
    with pytest.raises(GraphiumError, match="the DataFrame has two columns 'a'; rename or remove one"):
        predictor.predict(pd.DataFrame([["CCO", 1, 2]], columns=["smiles", "a", "a"]))


def test_an_ensemble_averages_numbers_and_probabilities(featurizer: Featurizer) -> None:
    other = [Task(**{**task.to_dict(), "transform": FAR}) if task.name == "y" else task for task in TASKS]
    members = [make(featurizer, 1), make(featurizer, 2), make(featurizer, 3, other)]
    each = [Predictor(member).predict(TEXTS).drop(index=[2, 5]) for member in members]
    both = Predictor(members).predict(TEXTS).drop(index=[2, 5])
    shares = ["kind[low]", "kind[mid]", "kind[high]"]
    for name in ("a/y", "b/y", "toxic", *shares):
        np.testing.assert_allclose(both[name], np.mean([one[name] for one in each], axis=0), rtol=1e-5)
    assert both["kind"].tolist() == np.array(["low", "mid", "high"])[both[shares].to_numpy().argmax(1)].tolist()
    for row in both.index:
        np.testing.assert_allclose(
            both["charge"][row], np.mean([one["charge"][row] for one in each], axis=0), rtol=1e-4
        )
    with pytest.raises(GraphiumError, match="model 2 of the ensemble has other tasks"):
        Predictor([members[0], make(featurizer, 2, TASKS[:-1])])
    with pytest.raises(GraphiumError, match="tasks of the first one in another order"):
        Predictor([members[0], make(featurizer, 2, TASKS[::-1])])
    with pytest.raises(GraphiumError, match="model 2 of the ensemble reads other features"):
        Predictor([members[0], make(Featurizer(encodings=[]), 2)])


class Echo:
    """Shows what extras are given: the first prediction, and how many passes there are."""

    key = "echo"

    def columns(self, heads: Sequence[Any], names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, Any]]:
        self.heads = [(head.name, head.level, names[head.name][0]) for head in heads]
        return {
            **{f"{name}[echo]": (level, pa.float64()) for _, level, name in self.heads},
            "passes": ("graph", pa.list_(pa.float64())),
        }

    def values(
        self,
        batch: GraphBatch,
        predictions: Mapping[str, Tensor],
        passes: Sequence[Mapping[str, Tensor]],
        network: Network,
    ) -> dict[str, Any]:
        graph = next(head for head, level, _ in self.heads if level == "graph")
        drawn = torch.stack([one[graph][:, 0, 0] for one in passes], dim=1)
        beside = {f"{name}[echo]": predictions[head][:, 0].double().numpy() for head, _, name in self.heads}
        return {**beside, "passes": drawn.tolist()}


def test_extras_stand_beside_their_task(saved: SavedModel) -> None:
    found = Predictor(saved, tasks=["b/y", "charge"], extras=[Echo()]).predict(TEXTS)
    assert list(found) == ["smiles", "b/y", "b/y[echo]", "charge", "charge[echo]", "passes", "status"]
    good = found.drop(index=[2, 5])
    np.testing.assert_allclose(good["b/y"], good["b/y[echo]"], rtol=1e-6)
    for charge, echo in zip(good["charge"], good["charge[echo]"], strict=True):
        np.testing.assert_allclose(charge, echo * 2.5 + 7.0, rtol=1e-5)
    assert [len(passes) for passes in good["passes"]] == [1] * 7


def test_dropout_draws_passes_and_leaves_the_prediction_alone(saved: SavedModel, frame: pd.DataFrame) -> None:
    state = torch.random.get_rng_state()
    predictor = Predictor(saved, tasks=["a/y"], dropout=6, extras=[Echo()])
    found = predictor.predict(TEXTS)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_allclose(found["a/y"], frame["a/y"], rtol=1e-6)
    drawn = np.stack(found["passes"].drop(index=[2, 5]).to_list())
    assert drawn.shape == (7, 6) and (drawn.std(axis=1) > 0).all()
    again = pickle.loads(pickle.dumps(predictor)).predict(TEXTS)
    assert np.array_equal(np.stack(again["passes"].drop(index=[2, 5]).to_list()), drawn)
    assert not any(isinstance(m, torch.nn.Dropout) and m.training for m in saved.network.modules())


def test_threads_predict_the_same(saved: SavedModel) -> None:
    predictor = Predictor(saved)
    wanted = [["C" * k + end for k in range(1, 25)] for end in ("O", "N", "F", "C(=O)O")]
    alone = [predictor.predict(texts) for texts in wanted]
    found: dict[int, pd.DataFrame] = {}

    def work(number: int) -> None:
        for _ in range(3):
            found[number] = predictor.predict(wanted[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, frame in enumerate(alone):
        pd.testing.assert_frame_equal(found[number], frame)


def test_the_key_is_what_predictions_depend_on(saved: SavedModel, featurizer: Featurizer, tmp_path: Path) -> None:
    key = Predictor(saved).key
    assert pickle.loads(pickle.dumps(Predictor(saved))).key == key
    save_model(tmp_path / "model", saved.network, saved.featurizer, saved.heads)
    assert Predictor(tmp_path / "model").key == key
    others = [
        Predictor(make(featurizer, 5, dropout=0.2)),
        Predictor(saved, tasks=["toxic"]),
        Predictor(saved, batch_size=3),
        Predictor(saved, extras=[Echo()]),
        Predictor([saved, saved]),
    ]
    assert len({key, *(one.key for one in others)}) == 6


def test_a_model_that_is_given_stays_as_it_is(featurizer: Featurizer) -> None:
    model = make(featurizer, dropout=0.5)
    model.network.train()
    first = Predictor(model, tasks=["toxic"]).predict(TEXTS)
    assert model.network.training
    pd.testing.assert_frame_equal(Predictor(model, tasks=["toxic"]).predict(TEXTS), first)


def test_as_the_table_of_a_run(featurizer: Featurizer, tmp_path: Path) -> None:
    """The prediction table of training has the same columns, types and numbers."""
    texts = [text for text in TEXTS if text not in (None, "C(")] * 4
    sizes = [Chem.MolFromSmiles(text).GetNumAtoms() for text in texts]
    table = {
        "text": texts,
        "y": np.arange(len(texts)) * 0.5,
        "kind": ["lo", "mid", "hi", "mid"] * (len(texts) // 4),
        "part": ["train", "test"] * (len(texts) // 2),
        "charge": [list(np.arange(float(n))) for n in sizes],
        "gap": [[[float(abs(i - j)) for j in range(n)] for i in range(n)] for n in sizes],
    }
    pd.DataFrame(table).to_parquet(tmp_path / "t.parquet")
    tasks = [
        {"columns": ["y"], "kind": "regression", "loss": "gaussian"},
        {"columns": ["kind"], "kind": "ordinal", "classes": ["lo", "mid", "hi"]},
        {"columns": ["charge"], "level": "node", "kind": "regression"},
        {"columns": ["gap"], "level": "nodepair", "kind": "regression"},
    ]
    section = {
        "path": str(tmp_path / "t.parquet"), "smiles": "text", "tasks": tasks,
        "split": {"name": "column", "column": "part"},
    }  # fmt: skip
    mix = build_mix(section, featurizer, store_dir=tmp_path / "stores", progress=False)
    torch.manual_seed(3)
    network = build_network(featurizer.spec, mix.heads, width=16, depth=2).eval()
    written = PredictionTable(mix, "test", tmp_path / "test.parquet")
    (dataset,) = mix.datasets
    gather = Gather(dataset.store, mix.spec, dataset.blocks)
    rows = np.flatnonzero(dataset.parts == 2)
    with torch.no_grad():
        batch = gather(torch.from_numpy(rows), "all")
        written.add(batch, network(batch))
    run = written.frame()
    found = Predictor(SavedModel(network, featurizer, mix.heads)).predict(run["text"])
    assert list(found.drop(columns="status")) == list(run.drop(columns=["row", "status"]))
    for name in found:
        assert found[name].dtype == run[name].dtype, name
        for mine, theirs in zip(found[name], run[name], strict=True):
            if mine is None or isinstance(mine, str):
                assert mine == theirs
            elif name == "pairs":
                assert [list(p) for p in mine] == [list(p) for p in theirs]
            else:
                np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
