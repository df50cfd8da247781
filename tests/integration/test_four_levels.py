"""Labels of graphs, atoms, bonds and pairs from random tables to the predictions, in the order of each row's text.

Two tables write the same molecules with their atoms in different orders. Every label is a number of its own, so
that a label on a wrong atom cannot go unseen, not even on atoms that symmetry makes equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from torch import Tensor

from graphium.chem.featurizer import Featurizer
from graphium.data.batch import GraphBatch
from graphium.data.build import build_mix
from graphium.data.mix import Mix
from graphium.data.padding import pad
from graphium.nn.network import build_network
from graphium.registry import build
from graphium.training.evaluation import Evaluator
from graphium.training.losses.heads import Losses
from graphium.training.predictions import PredictionTable

# Symmetric molecules, single atoms, salts, isotopes, written hydrogens, stereo, aromatic rings, a dative bond.
MOLECULES = (
    ["CC", "c1ccccc1", "CC(C)(C)C", "C12C3C4C1C5C2C3C45", "C", "[Na+].[Cl-]", "O=C([O-])C.[Na+]", "[2H]OC"]
    + ["[H]OC([H])([H])C", "[H][H]", "C[C@H](N)C(=O)O", "F/C=C/F", "Cc1ccccc1-c1ccncc1", "N", "CCO.OCC"]
    + ["c1ccc2ccccc2c1", "[H]C#C[H]", "O=S(=O)(O)c1ccc(Cl)cc1", "CC(=O)Oc1ccccc1C(=O)O", "[NH3]->[Cu+2]"]
    + ["C1CC1C2CC2", "CN(C)C.Cl", "[2H]C([2H])([2H])C", "FC(F)(F)C(F)(F)F", "OCC(O)C(O)C(O)C(O)CO"]
)
# Column -> level, kind. Two columns share a head; `bound` and `contact` are pairs of two heads.
COLUMNS = {
    "y": ("graph", "regression"),
    "z": ("graph", "regression"),
    "charge": ("node", "regression"),
    "shift": ("node", "regression"),
    "class": ("node", "multiclass"),
    "length": ("edge", "regression"),
    "distance": ("nodepair", "regression"),
    "contact": ("nodepair", "binary"),
}
CLASSES = 3


@dataclass
class Written:
    """A table: for every row its text, and its cells as entity -> value in the numbers of the text's own atoms."""

    texts: list[str]
    atoms: list[list[tuple[int, int]]]  # atomic number and number of bonds of each atom
    bonds: list[list[tuple[int, int]]]
    cells: dict[str, list[dict[Any, float]]] = field(default_factory=dict)

    def entities(self, level: str, row: int) -> list[Any]:
        n = len(self.atoms[row])
        every = {"graph": [0], "node": range(n), "edge": range(len(self.bonds[row]))}
        return list(every[level]) if level in every else [(i, j) for i in range(n) for j in range(i + 1, n)]

    def column(self, name: str) -> list[Any]:
        """The cells as a user's table has them."""
        level = COLUMNS[name][0]
        column: list[Any] = []
        for row, cells in enumerate(self.cells[name]):
            if level == "graph":
                column.append(cells.get(0))
            elif not cells:
                column.append(None)
            elif level == "nodepair":
                n = range(len(self.atoms[row]))
                column.append([[cells.get((min(i, j), max(i, j))) if i != j else None for j in n] for i in n])
            else:
                column.append([cells.get(entity) for entity in self.entities(level, row)])
        return column


def parse(text: str, form: str) -> Chem.Mol:
    """RDKit's atoms and bonds of a text."""
    if form == "heavy":
        return Chem.MolFromSmiles(text)
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    return Chem.AddHs(Chem.MolFromSmiles(text, parameters))


def write_table(seed: int, molecules: Sequence[str], form: str, density: float) -> Written:
    random = np.random.default_rng(seed)
    table = Written([], [], [])
    counter = iter(random.permutation(200_000).tolist())
    table.cells = {name: [] for name in COLUMNS}
    for text in molecules:
        # The hydrogens that a text writes are kept, and shuffled with the other atoms.
        mol = parse(text, "explicit_h") if "[H]" in text and form == "explicit_h" else Chem.MolFromSmiles(text)
        order = random.permutation(mol.GetNumAtoms()).tolist()
        shuffled = Chem.RenumberAtoms(mol, order)
        kekulized = random.random() < 0.3
        if kekulized:
            Chem.Kekulize(shuffled)
        if random.random() < 0.3:
            for atom, number in zip(shuffled.GetAtoms(), random.permutation(mol.GetNumAtoms()).tolist(), strict=True):
                atom.SetAtomMapNum(number + 1 if atom.GetAtomicNum() > 1 else 0)
        table.texts.append(Chem.MolToSmiles(shuffled, canonical=False, kekuleSmiles=kekulized))
        mol = parse(table.texts[-1], form)
        table.atoms.append([(atom.GetAtomicNum(), atom.GetDegree()) for atom in mol.GetAtoms()])
        table.bonds.append([tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))) for b in mol.GetBonds()])
        for name, (level, kind) in COLUMNS.items():
            entities = table.entities(level, len(table.texts) - 1)
            share = density if level != "nodepair" else min(density, 10 / max(len(entities), 1))
            found = {}
            for entity in entities:
                if random.random() < share:
                    number = next(counter)
                    found[entity] = float(number % {"binary": 2, "multiclass": CLASSES}.get(kind, 10**9))
            table.cells[name].append(found if random.random() < 0.9 else {})
    # Every column has some labels, and every class stands somewhere: the largest molecule has them.
    row = max(range(len(table.texts)), key=lambda row: len(table.atoms[row]))
    for name, (level, kind) in COLUMNS.items():
        for k, entity in enumerate(table.entities(level, row)[:6]):
            classes = {"binary": 2, "multiclass": CLASSES}.get(kind)
            table.cells[name][row][entity] = float(next(counter) if classes is None else k % classes)
    return table


def make_mix(tables: dict[str, Written], folder: Path, form: str) -> Mix:
    datasets = {}
    for name, table in tables.items():
        path = folder / f"{name}.parquet"
        pd.DataFrame({"text": table.texts, **{column: table.column(column) for column in COLUMNS}}).to_parquet(path)
        groups: dict[tuple[str, str], list[str]] = {}
        for column, kinds in COLUMNS.items():
            groups.setdefault(kinds, []).append(column)
        tasks = [{"columns": columns, "level": level, "kind": kind} for (level, kind), columns in groups.items()]
        datasets[name] = {"path": str(path), "smiles": "text", "tasks": tasks}
    return build_mix({"datasets": datasets}, Featurizer(form=form), store_dir=folder / "stores", progress=False)


def shuffled_index(tables: dict[str, Written], seed: int) -> Tensor:
    index = [(number, row) for number, table in enumerate(tables.values()) for row in range(len(table.texts))]
    return torch.tensor(np.random.default_rng(seed).permutation(index))


def own_labels(mix: Mix, batch: GraphBatch) -> dict[str, Tensor]:
    """Predictions that are the labels; NaN where there is none. A pair predicts the same wherever it is named."""
    predictions = {}
    for head in mix.heads:
        labels = batch.labels[head.name]
        shape = (batch.num_entities(head.level), head.num_tasks)
        values = torch.full(shape, torch.nan, dtype=torch.float64)
        values[labels.entity, labels.task] = labels.value.double()
        if head.level == "nodepair":
            assert batch.pair_index is not None
            places: dict[tuple[int, ...], list[int]] = {}
            for place, pair in enumerate(batch.pair_index.t().tolist()):
                places.setdefault(tuple(pair), []).append(place)
            for same in places.values():
                values[same] = values[same].nan_to_num(-torch.inf).amax(0)
            values[values.isinf()] = torch.nan
        if head.kind == "binary":
            values = torch.where(values.isnan(), values, values * 40 - 20)
        if head.num_classes:
            logits = torch.nn.functional.one_hot(values.nan_to_num(0).long(), head.num_classes) * 30.0
            values = torch.where(values.isnan().unsqueeze(-1), torch.nan, logits.double())
        predictions[head.name] = values
    return predictions


def check_graphs(mix: Mix, tables: dict[str, Written], batch: GraphBatch) -> None:
    """Every label of the batch lies on the atom, bond or pair that the user wrote, and none is lost."""
    starts = batch.ptr.tolist()
    forth = batch.edge_index[:, batch.bond_edges[0]]
    bond_graph = batch.batch[forth[0]].tolist()
    written = list(tables.values())
    atomic_numbers, degrees = batch.x[:, 0].tolist(), batch.rowptr.diff().tolist()
    code_of: dict[int, int] = {}
    users: dict[int, int] = {}  # node of the batch -> number of the atom in the row's text
    for graph, (table, row) in enumerate(zip(batch.table.tolist(), batch.row.tolist(), strict=True)):
        order = mix.datasets[table].store.atom_order(row)
        assert sorted(order) == list(range(len(written[table].atoms[row])))
        users.update({starts[graph] + canonical: int(user) for canonical, user in enumerate(order)})
        mine = [k for k, owner in enumerate(bond_graph) if owner == graph]
        bonds = {tuple(sorted((users[int(forth[0, k])], users[int(forth[1, k])]))) for k in mine}
        # An atom that stands for another one would have another element, or other neighbours.
        assert bonds == set(written[table].bonds[row]) and len(mine) == len(bonds)
        for node in range(starts[graph], starts[graph + 1]):
            number, degree = written[table].atoms[row][users[node]]
            assert degree == degrees[node]
            assert code_of.setdefault(number, atomic_numbers[node]) == atomic_numbers[node]
    assert len(set(code_of.values())) == len(code_of)
    for head in mix.heads:
        labels = batch.labels[head.name]
        values = mix.transforms[head.name].inverse(labels.value, labels.task).tolist()
        expected = {}
        for graph, (table, row) in enumerate(zip(batch.table.tolist(), batch.row.tolist(), strict=True)):
            if mix.datasets[table].name == head.dataset:
                for number, task in enumerate(head.tasks):
                    cells = written[table].cells[task.name][row]
                    expected.update({(graph, entity, number): value for entity, value in cells.items()})
        found = {}
        for entity, task, value in zip(labels.entity.tolist(), labels.task.tolist(), values, strict=True):
            if head.level == "graph":
                key: tuple[int, Any] = (entity, 0)
            elif head.level == "node":
                key = (int(batch.batch[entity]), users[entity])
            else:
                assert head.level == "edge" or batch.pair_index is not None
                ends = forth[:, entity] if head.level == "edge" else batch.pair_index[:, entity]  # type: ignore[index]
                pair = tuple(sorted(users[int(end)] for end in ends))
                graph = int(batch.batch[ends[0]])
                assert graph == int(batch.batch[ends[1]])
                if head.level == "edge":
                    table, row = int(batch.table[graph]), int(batch.row[graph])
                    key = (graph, written[table].bonds[row].index(pair))  # type: ignore[arg-type]
                else:
                    key = (graph, pair)
            found[(*key, task)] = round(value)
        assert found == expected
        assert len(found) == len(values)


def check_predictions(mix: Mix, tables: dict[str, Written], frame: pd.DataFrame) -> None:
    assert (frame["status"] == "ok").all()
    for name, table in tables.items():
        mine = frame[frame["dataset"] == name].set_index("row")
        assert list(mine.index) == list(range(len(table.texts)))
        assert mine["text"].tolist() == table.texts
        for row in mine.index:
            named = set(table.cells["distance"][row]) | set(table.cells["contact"][row])
            pairs = [tuple(pair) for pair in mine["pairs"][row]]
            assert pairs == sorted(named)
            for column, (level, kind) in COLUMNS.items():
                predicted = mine[f"{name}/{column}"][row]
                entities = [0] if level == "graph" else pairs if level == "nodepair" else table.entities(level, row)
                values = [predicted] if level == "graph" else predicted
                assert len(values) == len(entities)
                if kind == "multiclass":
                    # The most probable of no numbers is none: the probabilities say where there is a prediction.
                    shares = mine[f"{name}/{column}[0]"][row]
                    values = [np.nan if np.isnan(s) else float(v) for s, v in zip(shares, values, strict=True)]
                found = {e: round(float(v)) for e, v in zip(entities, values, strict=True) if not np.isnan(float(v))}
                assert found == table.cells[column][row], (name, column, row)


def tables_of(seed: int, form: str) -> dict[str, Written]:
    """The same molecules, each in another order of its atoms; one table has some of them twice."""
    random = np.random.default_rng(seed)
    chosen = [MOLECULES[k] for k in random.permutation(len(MOLECULES))[:14]]
    chosen += [text for text in ("CC", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O") if text not in chosen]
    again = [chosen[k] for k in random.permutation(len(chosen))]
    density = float(random.choice([0.3, 0.7, 1.0]))
    return {
        "one": write_table(seed + 1, chosen, form, density),
        "two": write_table(seed + 2, [*again, *chosen[:4]], form, density),
    }


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), form=st.sampled_from(["heavy", "explicit_h"]))
def test_labels_go_to_their_atoms_and_come_back(seed: int, form: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    tables = tables_of(seed, form)
    mix = make_mix(tables, tmp_path_factory.mktemp("mix"), form)
    table = PredictionTable(mix, "test")
    for rows in shuffled_index(tables, seed).split(11):
        batch = mix.gather(rows)
        check_graphs(mix, tables, batch)
        table.add(batch, own_labels(mix, batch))
    check_predictions(mix, tables, table.frame())


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> Mix:
    return make_mix(tables_of(3, "heavy"), tmp_path_factory.mktemp("mix"), "heavy")


def test_the_two_tables_have_the_same_graphs(mix: Mix) -> None:
    stores = [dataset.store for dataset in mix.datasets]
    rows = [{tuple(store.id[molecule]): row for row, molecule in enumerate(store.row_molecule)} for store in stores]
    shared = sorted(set(rows[0]) & set(rows[1]))
    assert len(shared) == len(rows[0]) > 10
    one, two = (mix.gather(torch.tensor([[k, rows[k][key]] for key in shared])) for k in range(2))
    for name in ("x", "x_num", "edge_index", "edge_attr", "edge_num", "rowptr", "batch", "bond_edges"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert all(torch.equal(one.encodings[name], two.encodings[name]) for name in one.encodings)
    orders = [[store.atom_order(row[key]).tolist() for key in shared] for store, row in zip(stores, rows, strict=True)]
    assert sum(a != b for a, b in zip(*orders, strict=True)) > 4


@pytest.mark.parametrize("kind", ["plain", "padded", "bf16", "no pairs", "no pairs, padded"])
def test_all_levels_train_together(mix: Mix, kind: str) -> None:
    torch.manual_seed(0)
    index = torch.tensor([[0, row] for row in range(8)] + [[1, row] for row in range(8)])
    if kind.startswith("no pairs"):
        named = [torch.as_tensor(pairs_of(mix, table)) for table in (0, 1)]
        index = index[[not bool(named[t][r]) for t, r in index.tolist()]]
        assert len(index) > 0
    batch = mix.gather(index)
    assert batch.pair_index is not None and (batch.pair_index.shape[1] == 0) == kind.startswith("no pairs")
    evaluator, network, losses = (
        Evaluator(mix.heads, mix.transforms),
        build_network(mix.spec, mix.heads),
        Losses(mix.heads),
    )
    if kind.endswith("padded"):
        batch = padded_batch(mix, batch)
    network.train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "bf16"):
        predictions = network(batch)
    numerators, totals = losses(predictions, batch.labels)
    loss = build("weighting", "datasets", heads=mix.heads)(numerators, totals, totals)
    loss.backward()
    evaluator.update(predictions, batch.labels)
    assert loss.isfinite() and loss > 0
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    report = evaluator.compute()
    defined = report["one"]["per_task"]["distance"]["mae"] is not None
    assert defined != kind.startswith("no pairs")
    PredictionTable(mix, "test").add(batch, {name: value.detach() for name, value in predictions.items()})


def test_padding_changes_no_loss_and_no_gradient(mix: Mix) -> None:
    torch.manual_seed(0)
    # In training the signs of the eigenvectors are drawn per graph, and more graphs draw others.
    network, losses = build_network(mix.spec, mix.heads).eval(), Losses(mix.heads)
    batch = mix.gather(torch.tensor([[0, row] for row in range(6)] + [[1, row] for row in range(5)]))
    results = []
    for one in (batch, padded_batch(mix, batch)):
        network.zero_grad()
        numerators, totals = losses(network(one), one.labels)
        build("weighting", "datasets", heads=mix.heads)(numerators, totals, totals).backward()
        results.append((numerators, [parameter.grad.clone() for parameter in network.parameters()]))  # type: ignore[union-attr]
    for name in results[0][0]:
        torch.testing.assert_close(results[0][0][name], results[1][0][name])
    torch.testing.assert_close(results[0][1], results[1][1])


def test_a_molblock_says_where_its_own_atoms_are(tmp_path: Path) -> None:
    """Conformers of one molecule, written as blocks in several orders: coordinates and labels stay together."""
    random = np.random.default_rng(0)
    texts, marks, places = [], [], []
    for text in ("CC", "c1ccccc1", "CC(C)(C)C", "OCC(F)(F)F", "CC(=O)[O-].[Na+]", "[H]OC([H])([H])C") * 3:
        mol = Chem.AddHs(Chem.MolFromSmiles(text)) if random.random() < 0.5 else Chem.MolFromSmiles(text)
        mol = Chem.RenumberAtoms(mol, random.permutation(mol.GetNumAtoms()).tolist())
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.SetPositions(random.integers(-90, 90, (mol.GetNumAtoms(), 3)).astype(float))
        mol.AddConformer(conformer)
        texts.append(Chem.MolToMolBlock(mol))
        read = Chem.MolFromMolBlock(texts[-1])
        places.append(read.GetConformer().GetPositions())
        marks.append([1000.0 * len(texts) + atom for atom in range(read.GetNumAtoms())])
    path = tmp_path / "blocks.parquet"
    pd.DataFrame({"block": texts, "mark": marks}).to_parquet(path)
    tasks = [{"columns": ["mark"], "level": "node", "kind": "regression", "transform": "none"}]
    section = {"path": str(path), "smiles": "block", "tasks": tasks}
    mix = build_mix(section, Featurizer(positions=True), store_dir=tmp_path / "stores", progress=False)
    rows = random.permutation(len(texts))
    batch = mix.gather(torch.tensor([[0, row] for row in rows]))
    (head,) = mix.heads
    labels = batch.labels[head.name]
    assert batch.pos is not None and torch.equal(labels.entity, torch.arange(batch.num_nodes))
    number, atom = (labels.value // 1000 - 1).long().tolist(), (labels.value % 1000).long().tolist()
    expected = np.stack([places[row][user] for row, user in zip(number, atom, strict=True)])
    np.testing.assert_array_equal(batch.pos, expected.astype(np.float32))
    assert [number[start] for start in batch.ptr[:-1].tolist()] == rows.tolist()
    table = PredictionTable(mix, "test")
    table.add(batch, {head.name: labels.value.unsqueeze(1)})
    frame = table.frame()
    assert [list(cell) for cell in frame["mark"]] == marks
    shown = [Chem.MolToSmiles(Chem.MolFromMolBlock(text)) for text in texts]
    assert frame["block"].tolist() == shown


@pytest.mark.parametrize("form", ["heavy", "explicit_h"])
def test_lists_that_count_written_hydrogens(form: str, tmp_path: Path) -> None:
    """Two spellings with hydrogens in other places; what the graph lacks is dropped, the rest stays on its atom."""
    rows = []
    for text in ("[H]OC([H])([H])C", "C([H])([H])(C)O[H]", "CCO", "[H]C([H])([H])C", "C(C[H])([H])[H]"):
        parameters = Chem.SmilesParserParams()
        parameters.removeHs = False
        mol = Chem.MolFromSmiles(text, parameters)
        mol = Chem.AddHs(mol) if form == "explicit_h" else mol
        rows.append({"text": text, "mark": [float(100 * len(rows) + atom.GetIdx()) for atom in mol.GetAtoms()]})
    path = tmp_path / "written.parquet"
    pd.DataFrame(rows).to_parquet(path)
    section = {
        "path": str(path),
        "smiles": "text",
        "h_labels": "drop",
        "tasks": [{"columns": ["mark"], "level": "node", "kind": "regression", "transform": "none"}],
    }
    mix = build_mix(section, Featurizer(form=form), store_dir=tmp_path / "stores", progress=False)
    batch = mix.gather(torch.tensor([[0, row] for row in (4, 2, 0, 1, 3)]))
    (head,) = mix.heads
    labels = batch.labels[head.name]
    assert torch.equal(labels.entity, torch.arange(batch.num_nodes))
    table = PredictionTable(mix, "test")
    table.add(batch, {head.name: labels.value.unsqueeze(1)})
    for cell, row in zip(table.frame()["mark"], rows, strict=True):
        parameters = Chem.SmilesParserParams()
        parameters.removeHs = False
        mol = Chem.MolFromSmiles(row["text"], parameters)
        heavy = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
        expected = [row["mark"][k] for k in heavy] if form == "heavy" else row["mark"]
        assert list(cell) == expected


def test_bounds_of_a_table_reach_the_loss_and_leave_the_metrics(tmp_path: Path) -> None:
    cells = ["1.5", ">10", "<0.5", "3", "", "> 8", "2", "-1"]
    path = tmp_path / "censored.csv"
    texts = ["C" * (k + 1) for k in range(len(cells))]
    pd.DataFrame({"text": texts, "y": cells}).to_csv(path, index=False)
    section = {"path": str(path), "smiles": "text", "targets": ["y"]}
    mix = build_mix(section, Featurizer(), store_dir=tmp_path / "stores", progress=False)
    (head,) = mix.heads
    batch = mix.gather(torch.tensor([[0, row] for row in range(len(cells))]))
    labels, transform = batch.labels[head.name], mix.transforms[head.name]
    assert labels.bound is not None and labels.bound.tolist() == [0, 1, -1, 0, 1, 0, 0]
    assert transform.inverse(labels.value, labels.task).tolist() == pytest.approx([1.5, 10, 0.5, 3, 8, 2, -1], abs=1e-5)
    guess = transform.forward(
        torch.tensor([1.0, 12.0, 2.0, 5.0, 0.0, 7.0, 2.0, 0.0]), torch.zeros(8, dtype=torch.int64)
    )
    numerators, totals = Losses(mix.heads)({head.name: guess.unsqueeze(1)}, {head.name: labels})
    scale = head.tasks[0].transform["scale"]
    assert float(numerators[head.name]) * scale == pytest.approx(0.5 + 0 + 1.5 + 2 + 1 + 0 + 1, rel=1e-4)
    assert totals[head.name].tolist() == [7.0]
    evaluator = Evaluator(mix.heads, mix.transforms)
    evaluator.update({head.name: guess.unsqueeze(1)}, batch.labels)
    report = evaluator.compute()[head.dataset]
    assert report["n_bounds"] == {"y": 3}
    assert report["mae"] == pytest.approx((0.5 + 2 + 0 + 1) / 4, rel=1e-4)


def padded_batch(mix: Mix, batch: GraphBatch) -> GraphBatch:
    return pad(
        batch,
        num_nodes=batch.num_nodes + 9,
        num_edges=batch.num_edges + 7,
        num_graphs=batch.num_graphs + 2,
        num_bonds=batch.num_bonds + 3,
        num_pairs=batch.num_entities("nodepair") + 4,
        labels={name: len(labels.entity) + 5 for name, labels in batch.labels.items()},
        heads=mix.heads,
    )


def pairs_of(mix: Mix, table: int) -> list[int]:
    """How many labelled pairs each row of a table has."""
    blocks = [b for b in mix.datasets[table].blocks.values() if b.pair_ptr is not None]
    return np.sum([np.diff(block.pair_ptr) for block in blocks if block.pair_ptr is not None], axis=0).tolist()
