"""Atom contributions: they add up, follow their atoms, and agree with one forward pass per atom."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from graphium.chem.featurizer import Featurizer
from graphium.data.molecules import Molecules
from graphium.errors import GraphiumError
from graphium.models.attribution.contributions import AtomContributions, Explainer, explain, symbols
from graphium.models.predictor import Predictor
from graphium.models.saved import SavedModel
from graphium.nn.network import build_network
from graphium.nn.outputs import GAUSSIAN
from graphium.types import Task, group_tasks

ZSCORE = {"name": "zscore", "mean": 7.0, "scale": 2.5}
TEXTS = ["OCC", "CC(=O)Oc1ccccc1C(=O)O", "[Na+].[Cl-]", "C", "c1ccncc1Cl", "N#CC(F)(F)C1CC1"]
# No two atoms of these are the same by symmetry, which encodings may tell apart by chance.
ALL_DIFFERENT = ["OCC", "CC(=O)Oc1ccccc1C(=O)O", "c1ccncc1Cl", "C[C@H](N)C(=O)O"]
# Task -> what is asked of it.
ASKED: dict[str, dict[str, Any]] = {
    "y": {},
    "spread": {},
    "active": {},
    "kind": {"of_class": "b"},
    "grade": {},
    "charge": {"entity": 0},
}


@pytest.fixture(scope="module")
def saved() -> SavedModel:
    tasks = [
        Task("y", "a", "graph", "regression", transform=ZSCORE, unit="kcal/mol"),
        Task("log", "a", "graph", "regression", transform={"name": "log1p"}),
        Task("spread", "a", "graph", "regression", transform=ZSCORE, outputs=GAUSSIAN),
        Task("active", "a", "graph", "binary", classes=("no", "yes")),
        Task("kind", "a", "graph", "multiclass", num_classes=3, classes=("a", "b", "c")),
        Task("grade", "a", "graph", "ordinal", num_classes=3),
        Task("charge", "a", "node", "regression"),
        Task("length", "a", "edge", "regression"),
        Task("distance", "a", "nodepair", "regression"),
    ]
    heads = group_tasks(tasks)
    featurizer = Featurizer()
    torch.manual_seed(0)
    network = build_network(featurizer.spec, heads, width=16, depth=2, head_depth=1, dropout=0.2).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".outputs." in name:
                parameter.mul_(3)
    return SavedModel(network, featurizer, heads)


def predicted(saved: SavedModel, text: str, task: str) -> Any:
    return Predictor(saved, tasks=[task]).predict([text])


@pytest.mark.parametrize("task", ASKED)
def test_integrated_gradients_add_up(saved: SavedModel, task: str) -> None:
    """To the prediction, as the predictor gives it, less the baseline."""
    for text, found in zip(TEXTS, explain(saved, TEXTS, task, **ASKED[task]), strict=True):
        assert len(found.values) == Chem.MolFromSmiles(text).GetNumAtoms() and found.values.dtype == np.float64
        change = found.prediction - found.baseline
        assert found.values.sum() == pytest.approx(change, abs=3e-3 * (1 + np.abs(found.values).sum()))
        row = predicted(saved, text, task).iloc[0]
        if task == "charge":
            assert found.prediction == pytest.approx(row["charge"][0], rel=1e-4)
        elif found.of_class is None:
            assert found.prediction == pytest.approx(row[task], rel=1e-4)
        else:
            column = task if task == "active" else f"{task}[{found.of_class}]"
            assert found.prediction == pytest.approx(row[column], rel=1e-4) and found.units == "probability"
            assert task != "grade" or found.of_class == row["grade"]


def test_finer_steps_come_closer(saved: SavedModel) -> None:
    gaps = []
    for steps in (2, 8, 64):
        found = explain(saved, TEXTS[1], "y", steps=steps)
        gaps.append(abs(found.values.sum() - (found.prediction - found.baseline)))
    assert gaps[2] < gaps[0] and gaps[2] < 1e-3


@pytest.mark.parametrize("task", ASKED)
def test_masking_is_one_pass_without_each_atom(saved: SavedModel, task: str) -> None:
    """Against a loop that runs the whole network once per atom of each molecule alone."""
    for text, found in zip(TEXTS, explain(saved, TEXTS, task, method="masking", **ASKED[task]), strict=True):
        molecules = Molecules([text], saved.featurizer)
        (batch,) = molecules.batches(pairs=True)
        places = molecules.places("node", batch).entity
        explainer = Explainer(saved, task, **{"of_class": found.of_class, **ASKED[task]})
        row = torch.tensor([places[0] if task == "charge" else 0])
        for atom, value in enumerate(found.values):

            def mask(module: Any, args: Any, out: torch.Tensor, node: int = int(places[atom])) -> torch.Tensor:
                return out.index_fill(0, torch.tensor([node]), 0.0)

            handle = saved.network.node_input.register_forward_hook(mask)
            with torch.no_grad():
                numbers = explainer._numbers(batch, row)
                without = explainer._explained(numbers, explainer._chosen_classes(numbers))
            handle.remove()
            assert value == pytest.approx(found.prediction - float(without), abs=1e-5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), method=st.sampled_from(["gradient", "masking"]), text=st.sampled_from(ALL_DIFFERENT))
def test_values_follow_their_atoms(saved: SavedModel, seed: int, method: str, text: str) -> None:
    mol = Chem.MolFromSmiles(text)
    order = list(range(mol.GetNumAtoms()))
    random.Random(seed).shuffle(order)
    shuffled = Chem.RenumberAtoms(mol, order)
    written = Chem.MolToSmiles(shuffled, canonical=False)
    place = list(shuffled.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
    first, second = (explain(saved, one, "y", method=method, steps=8) for one in (text, written))
    assert second.prediction == pytest.approx(first.prediction, rel=1e-5)
    np.testing.assert_allclose(second.values, first.values[[order[atom] for atom in place]], atol=1e-4)
    assert symbols(second) == [mol.GetAtomWithIdx(order[atom]).GetSymbol() for atom in place]


@pytest.mark.parametrize("method", ["gradient", "masking"])
def test_batches_do_not_matter_and_nothing_is_drawn(saved: SavedModel, method: str) -> None:
    """No dropout, no random numbers, no gradients left behind; the same values in any company."""
    state = torch.random.get_rng_state()
    together = explain(saved, TEXTS, "y", method=method)
    alone = [explain(saved, text, "y", method=method) for text in TEXTS]
    small = explain(saved, TEXTS, "y", method=method, batch_size=2)
    for one, other, third in zip(together, alone, small, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-4)
        np.testing.assert_allclose(one.values, third.values, atol=1e-4)
    assert all(parameter.grad is None for parameter in saved.network.parameters())
    assert torch.equal(state, torch.random.get_rng_state())
    again = explain(saved, TEXTS, "y", method=method)
    assert all(np.array_equal(one.values, other.values) for one, other in zip(together, again, strict=True))


def test_bonds_and_pairs(saved: SavedModel) -> None:
    """The numbered bond or pair of the text's own, as lists of predictions have them."""
    for task in ("length", "distance"):
        listed = predicted(saved, "OCCCl", task).iloc[0][task]
        for entity, value in enumerate(listed):
            found = explain(saved, "OCCCl", task, entity=entity)
            assert found.prediction == pytest.approx(value, rel=1e-4)
            assert found.values.sum() == pytest.approx(found.prediction - found.baseline, abs=2e-2)


def test_a_class_and_its_opposite(saved: SavedModel) -> None:
    yes, no = (explain(saved, "CCO", "active", of_class=name) for name in ("yes", "no"))
    np.testing.assert_allclose(yes.values, -no.values, atol=1e-7)
    assert explain(saved, "CCO", "active").of_class == "yes"


def test_explicit_hydrogens() -> None:
    """Where graphs hold hydrogens, these have contributions: those of the text in their places, the others after."""
    featurizer = Featurizer(form="explicit_h", encodings=[])
    heads = group_tasks([Task("y", "a", "graph", "regression")])
    torch.manual_seed(0)
    saved = SavedModel(build_network(featurizer.spec, heads, width=8, depth=1).eval(), featurizer, heads)
    found = explain(saved, "[H]OC")
    assert symbols(found) == ["H", "O", "C", "H", "H", "H"] and len(found.values) == 6
    assert "<svg" in found.svg()


def test_texts_that_cannot_be_used(saved: SavedModel) -> None:
    good, bad, empty = explain(saved, ["CO", "C(", ""], "y")
    assert (good.status, bad.status) == ("ok", "is not valid SMILES") and len(bad.values) == 0 and empty.status != "ok"
    with pytest.raises(GraphiumError, match=r"'C\(' is not valid SMILES; there is nothing to draw"):
        bad.svg()
    with pytest.raises(GraphiumError, match=r"'C\(' is not valid SMILES; give"):
        explain(saved, "C(", "y")
    assert explain(saved, [], "y") == []


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        (None, {}, "the model has 9 tasks; name one of them: a/y, a/log"),
        ("yy", {}, "the model has no task 'yy'; did you mean 'y'"),
        ("y", {"method": "gradients"}, "method is 'gradients'; did you mean 'gradient'"),
        ("y", {"of_class": "1"}, "leave it out, the task is a number"),
        ("y", {"steps": 0}, "steps is 0; give a whole number"),
        ("y", {"steps": 2.5}, "steps is 2.5; give a whole number"),
        ("y", {"device": "cud"}, "device is 'cud', which cannot be used here"),
        ("y", {"entity": 1}, "predicts whole molecules; leave it out"),
        ("kind", {"of_class": "d"}, "task 'kind' has no class 'd'"),
        ("charge", {}, "predicts atoms; say by its number which atom's prediction to explain"),
        ("charge", {"entity": 3}, "entity is 3 and 'CCO' has 3 that task 'charge' predicts; count from 0"),
        ("charge", {"entity": -1}, "entity is -1"),
    ],
)
def test_sentences(saved: SavedModel, task: str | None, options: dict[str, Any], said: str) -> None:
    with pytest.raises(GraphiumError, match=said):
        explain(saved, "CCO", task, **options)


def test_the_result_is_plain() -> None:
    found = AtomContributions("CO", "y", "gradient", np.array([1.0, -1.0]), 2.0, 2.0)
    assert found._repr_svg_() == found.svg()


def test_any_column_of_texts_and_no_table(saved: SavedModel) -> None:
    for texts in (pd.Series(["CO", "CC"], index=[5, 3]), np.array(["CO", "CC"]), (text for text in ("CO", "CC"))):
        found = explain(saved, texts, "y", steps=2)  # type: ignore[call-overload]
        assert [(one.text, len(one.values)) for one in found] == [("CO", 2), ("CC", 2)]
    with pytest.raises(GraphiumError, match="the molecules are a table; give its column of SMILES alone"):
        explain(saved, pd.DataFrame({"smiles": ["CO"]}), "y")  # type: ignore[call-overload]
    with pytest.raises(GraphiumError, match="the molecules are a NoneType"):
        explain(saved, None, "y")  # type: ignore[call-overload]


def test_a_model_in_training_stays_so(saved: SavedModel) -> None:
    before = explain(saved, "OCC", "y", steps=2).values
    try:
        saved.network.train()
        np.testing.assert_array_equal(explain(saved, "OCC", "y", steps=2).values, before)
        assert saved.network.training
    finally:
        saved.network.eval()
