"""Fingerprints against a network that is called by hand on a prepared store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from graphium.chem.featurizer import Featurizer
from graphium.data.gather import Gather
from graphium.data.molecules import Molecules
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError
from graphium.models.fingerprints.fingerprinter import Fingerprinter
from graphium.models.saved import SavedModel, load_model, save_model
from graphium.nn.network import build_network
from graphium.types import HeadSpec, Task, group_tasks

# No two atoms of a molecule are equal by symmetry, and some bonds are written in an order of their own.
TEXTS = ["OCC", "CC(=O)Nc1ccc(O)cc1Cl", "C", "CC[NH3+].[Cl-]", "N[C@@H](CO)C(=O)O", "OC1CCN1C2CO2", "[H]OC([H])CBr"]
BAD = "not a molecule"
LEVELS = ("graph", "node", "edge", "nodepair")
POOLINGS = {
    "sum": lambda x: x.sum(0),
    "mean": lambda x: x.mean(0),
    "max": lambda x: x.max(0),
    "min": lambda x: x.min(0),
    "std": lambda x: np.sqrt(x.var(0) + 1e-5),
    "logsum": lambda x: x.mean(0) * np.log1p(len(x)),
}


def make(levels: Sequence[str] = LEVELS, facts: dict[str, Any] | None = None, **options: Any) -> SavedModel:
    torch.manual_seed(0)
    tasks = [Task(f"{level}{k}", "demo", level, "regression") for level in levels for k in range(2)]
    featurizer = Featurizer()
    heads: tuple[HeadSpec, ...] = group_tasks(tasks)
    network = build_network(featurizer.spec, heads, **{"width": 12, "depth": 3, **options}).eval()
    return SavedModel(network, featurizer, heads, facts or {})


@pytest.fixture(scope="module")
def model() -> SavedModel:
    return make()


class ByHand:
    """Vectors out of a prepared table, each molecule a batch of its own."""

    def __init__(self, saved: SavedModel, texts: Sequence[str], folder: Path) -> None:
        path = folder / "table.csv"
        pd.DataFrame({"smiles": list(texts)}).to_csv(path, index=False)
        self.store = prepare_store(Table(path), "smiles", saved.featurizer, folder, name="t", progress=False)
        self.gather = Gather(self.store, saved.spec, {})
        self.network = saved.network

    def vectors(self, row: int, layer: str) -> np.ndarray:
        """In the order of the text."""
        batch = self.gather(torch.tensor([row]), "all")
        kind, _, at = layer.partition(":")
        with torch.no_grad():
            if kind == "gnn":
                return self.in_text_order(self.network.encode(batch, int(at) + 1)[0].numpy(), "node", row)
            x, edges = self.network.encode(batch)
            if kind == "readout":
                return self.in_text_order(self.network.readouts[at](x, batch, edges).numpy(), at, row)
            level = self.network.heads.levels[at]
            out = self.network.heads.groups[at].hidden(self.network.readouts[level](x, batch, edges))
            return self.in_text_order(out.numpy(), level, row)

    def in_text_order(self, values: np.ndarray, level: str, row: int) -> np.ndarray:
        if level == "graph":
            return values
        atoms = self.store.orders("node", row, row + 1)[1]
        if level == "node":
            return values[np.argsort(atoms)]
        if level == "edge":
            return values[np.argsort(self.store.orders("edge", row, row + 1)[1])]
        ends = [sorted((atoms[i], atoms[j])) for i in range(len(atoms)) for j in range(i + 1, len(atoms))]
        return values[[k for k, _ in sorted(enumerate(ends), key=lambda one: one[1])]]


@pytest.fixture(scope="module")
def by_hand(model: SavedModel, tmp_path_factory: pytest.TempPathFactory) -> ByHand:
    return ByHand(model, TEXTS, tmp_path_factory.mktemp("store"))


PLACES = ["gnn:0", "gnn:2", *(f"readout:{one}" for one in LEVELS), *(f"head:demo_{one}_regression" for one in LEVELS)]


@pytest.mark.parametrize("layer", PLACES)
def test_molecules(model: SavedModel, by_hand: ByHand, layer: str) -> None:
    pooling = list(POOLINGS)
    fingerprinter = Fingerprinter(model, layer, pooling, batch_size=3)
    found = fingerprinter.fingerprint([*TEXTS[:3], BAD, *TEXTS[3:]])
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    assert fingerprinter.failures == [(3, "is not valid SMILES")]
    assert np.isnan(found[3]).all() and found.shape == (len(TEXTS) + 1, len(fingerprinter.names))
    for row, line in enumerate(np.delete(found, 3, axis=0)):
        expected = by_hand.vectors(row, layer)
        if "graph" in layer:
            np.testing.assert_allclose(line, expected[0], rtol=1e-5, atol=1e-5)
        elif len(expected):
            pooled = np.concatenate([pool(expected) for pool in POOLINGS.values()])
            np.testing.assert_allclose(line, pooled, rtol=1e-5, atol=1e-5)
        else:
            # A molecule without a bond: nothing is pooled.
            assert TEXTS[row] == "C" and np.isfinite(line).all()


@pytest.mark.parametrize("layer", [place for place in PLACES if "graph" not in place])
def test_atoms_bonds_and_pairs_in_the_order_of_the_text(model: SavedModel, by_hand: ByHand, layer: str) -> None:
    fingerprinter = Fingerprinter(model, layer, batch_size=2)
    found = fingerprinter.fingerprint([BAD, *TEXTS], per_atom=True)
    assert len(found) == len(TEXTS) + 1 and found[0].shape == (0, fingerprinter.num_entity_channels)
    for row, values in enumerate(found[1:]):
        expected = by_hand.vectors(row, layer)
        assert values.shape == expected.shape
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)


def test_several_layers_stand_side_by_side(model: SavedModel) -> None:
    layers = ["readout:node", "gnn:1", "readout", "encoders"]
    together = Fingerprinter(model, layers, ["max", "sum"])
    apart = [Fingerprinter(model, layer, ["max", "sum"]) for layer in layers]
    assert np.array_equal(together.fingerprint(TEXTS), np.concatenate([f.fingerprint(TEXTS) for f in apart], axis=1))
    assert together.names == [name for f in apart for name in f.names]
    assert len(set(together.names)) == together.num_channels
    assert together.names[0] == "readout_node_max_0" and together.names[-1] == "encoders_sum_11"
    assert apart[2].names[-1] == "readout_graph_11"
    atoms = Fingerprinter(model, ["gnn:0", "readout:node"]).fingerprint(TEXTS, per_atom=True)
    first, second = (Fingerprinter(model, one).fingerprint(TEXTS, per_atom=True) for one in ("gnn:0", "readout:node"))
    assert all(np.array_equal(a, np.hstack(parts)) for a, *parts in zip(atoms, first, second, strict=True))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_rewriting_the_smiles_changes_nothing(model: SavedModel, seed: int) -> None:
    random = np.random.default_rng(seed)
    texts = [*TEXTS[:-1], "c1ccccc1", "[Na+].CC(C)(C)[O-]", "F/C=C/C", "OCC(O)C(O)C(O)C(O)CO"]
    rewritten, orders = [], []
    for text in texts:
        mol = Chem.MolFromSmiles(text)
        order = random.permutation(mol.GetNumAtoms()).tolist()
        shuffled = Chem.RenumberAtoms(mol, order)
        rewritten.append(Chem.MolToSmiles(shuffled, canonical=False))
        written = list(shuffled.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
        orders.append([order[number] for number in written])
    layers = ["gnn:0", "gnn", "readout", "readout:edge", "readout:nodepair"]
    fingerprinter = Fingerprinter(model, layers, ["sum", "max", "std"])
    np.testing.assert_allclose(fingerprinter.fingerprint(rewritten), fingerprinter.fingerprint(texts), atol=1e-5)
    atoms = Fingerprinter(model, "gnn")
    named, renamed = (atoms.fingerprint(some, per_atom=True) for some in (texts, rewritten))
    for number in range(len(TEXTS) - 1):
        np.testing.assert_allclose(renamed[number], named[number][orders[number]], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "pooling"),
    [
        ({"pooling": "max"}, ["max"]),
        ({"pooling": ["sum", "std"]}, ["sum", "std"]),
        ({"pooling": "max", "readouts": {"graph": {"pooling": "logsum"}}}, ["logsum"]),
        ({"levels": ["node"], "pooling": "max"}, ["mean"]),
    ],
)
def test_pooling_is_that_of_the_network(options: dict[str, Any], pooling: list[str]) -> None:
    saved = make(**options)
    own, said = Fingerprinter(saved, "gnn"), Fingerprinter(saved, "gnn", pooling)
    assert np.array_equal(own.fingerprint(TEXTS), said.fingerprint(TEXTS))
    assert own.names == said.names


def test_the_model_says_what_its_fingerprint_is() -> None:
    assert str(Fingerprinter(make()).stages[0]) == "readout:graph"
    saved = make(facts={"fingerprint": "gnn"}, pooling="max")
    assert np.array_equal(
        Fingerprinter(saved).fingerprint(TEXTS), Fingerprinter(saved, "gnn:2", "max").fingerprint(TEXTS)
    )
    assert str(Fingerprinter(saved, "readout").stages[0]) == "readout:graph"
    # Without a task of molecules there is no readout of molecules.
    assert str(Fingerprinter(make(["edge"])).stages[0]) == "gnn:2"


def test_a_model_from_its_folder(model: SavedModel, tmp_path: Path) -> None:
    save_model(tmp_path, model.network, model.featurizer, model.heads)
    expected = Fingerprinter(model).fingerprint(TEXTS)
    assert np.array_equal(Fingerprinter(tmp_path).fingerprint(TEXTS), expected)
    assert np.array_equal(Fingerprinter(load_model(tmp_path)).fingerprint(pd.Series(TEXTS)), expected)


def test_dropout_is_off_and_batches_do_not_matter() -> None:
    saved = make(dropout=0.5)
    saved.network.train()
    found = [Fingerprinter(saved, "gnn", batch_size=size).fingerprint(TEXTS) for size in (1, 100)]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)


def test_nothing_to_do(model: SavedModel) -> None:
    fingerprinter = Fingerprinter(model, "gnn")
    assert fingerprinter.fingerprint([]).shape == (0, 12)
    assert fingerprinter.fingerprint([], per_atom=True) == []
    found = fingerprinter.fingerprint([BAD, None, 3.5, float("nan"), ""])
    assert np.isnan(found).all() and [position for position, _ in fingerprinter.failures] == [0, 1, 2, 3, 4]


def test_long_lists_are_read_a_part_at_a_time(model: SavedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprinter = Fingerprinter(model, "gnn")
    texts = [TEXTS[0], BAD, *TEXTS[1:], BAD]
    whole, atoms = fingerprinter.fingerprint(texts), fingerprinter.fingerprint(texts, per_atom=True)
    failures = fingerprinter.failures
    monkeypatch.setattr("graphium.models.fingerprints.fingerprinter._AT_ONCE", 2)
    np.testing.assert_allclose(fingerprinter.fingerprint(texts), whole, rtol=1e-5, atol=1e-5)
    assert fingerprinter.failures == failures and len(failures) == 2
    for part, expected in zip(fingerprinter.fingerprint(texts, per_atom=True), atoms, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-5, atol=1e-5)


def test_a_batch_alone(model: SavedModel) -> None:
    fingerprinter = Fingerprinter(model, ["readout", "gnn"])
    batch = next(Molecules(TEXTS, model.featurizer).batches())
    assert np.array_equal(fingerprinter.of_batch(batch).numpy(), fingerprinter.fingerprint(TEXTS))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"layer": "gnn:7"}, "3 blocks, gnn:0 to gnn:2"),
        ({"layer": []}, r"layer is \[\]; name at least one"),
        ({"layer": 15}, "layer is 15"),
        ({"layer": ["gnn", "readout", "gnn:2"]}, "layer names gnn:2 twice"),
        ({"layer": "gnn", "pooling": ["max", "max"]}, "pooling names max twice"),
        ({"device": "cdua"}, "device is 'cdua'"),
        ({"layer": "gnn", "pooling": "maks"}, "unknown pooling 'maks'"),
        ({"layer": "gnn", "pooling": []}, r"pooling is \[\]; name at least one"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_arguments_are_judged(model: SavedModel, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        Fingerprinter(model, **arguments)


def test_what_has_no_atoms_is_refused(model: SavedModel) -> None:
    with pytest.raises(GraphiumError, match="one text; give a list"):
        Fingerprinter(model).fingerprint("CCO")
    with pytest.raises(GraphiumError, match="'readout:graph' has a vector per molecule"):
        Fingerprinter(model, ["gnn", "readout"]).fingerprint(TEXTS, per_atom=True)
    with pytest.raises(GraphiumError, match=r"gnn:2 \(node\) and readout:edge \(edge\)"):
        Fingerprinter(model, ["gnn", "readout:edge"]).fingerprint(TEXTS, per_atom=True)


def test_a_table_is_no_list_of_texts(model: SavedModel) -> None:
    """It would give the names of its columns."""
    with pytest.raises(GraphiumError, match="the molecules are a table; give its column of SMILES alone"):
        Fingerprinter(model).fingerprint(pd.DataFrame({"smiles": ["CO"]}))
