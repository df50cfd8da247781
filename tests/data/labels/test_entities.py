"""Labels of atoms, bonds and pairs against plain Python over texts that write hydrogens and shuffle atoms."""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from graphium.chem.featurizer import Featurizer
from graphium.data.labels.block import LabelBlock, prepare_labels
from graphium.data.store.graph_store import GraphStore
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError
from graphium.types import HeadSpec, Task, group_tasks

POOL = ("CCO", "C[C@H](N)C(=O)O", "[Na+].[Cl-]", "c1ccncc1Cl", "C", "CC#N", "F/C=C/F", "[NH4+].CC", "O=C=O")
TASKS = ("p", "q")
KEEP = Chem.SmilesParserParams()
KEEP.removeHs = False

Labels = dict[tuple[Any, int], float]


class Text:
    """One row's text as RDKit reads it with all that is written, and which of it the graph keeps."""

    def __init__(self, smiles: str, random: np.random.Generator, write_h: bool) -> None:
        molecule = Chem.MolFromSmiles(smiles)
        if write_h:
            atoms = [a for a in range(molecule.GetNumAtoms()) if random.random() < 0.7]
            molecule = Chem.AddHs(molecule, onlyOnAtoms=atoms) if atoms else molecule
        self.text = Chem.MolToRandomSmilesVect(molecule, 1, randomSeed=int(random.integers(1 << 30)))[0]
        full, self.kept = Chem.MolFromSmiles(self.text, KEEP), Chem.MolFromSmiles(self.text)
        self.num_atoms, self.bonds = (
            full.GetNumAtoms(),
            [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in full.GetBonds()],
        )
        self.heavy: list[int | None] = []
        for atom in full.GetAtoms():
            self.heavy.append(None if atom.GetAtomicNum() == 1 else sum(h is not None for h in self.heavy))
        self.parent = [atom.GetNeighbors()[0].GetIdx() if atom.GetAtomicNum() == 1 else -1 for atom in full.GetAtoms()]
        assert self.kept.GetNumAtoms() == sum(h is not None for h in self.heavy)

    @property
    def heavy_atoms(self) -> list[int]:
        """Written numbers of the heavy atoms in the user's heavy order."""
        return [a for a, heavy in enumerate(self.heavy) if heavy is not None]

    @property
    def heavy_bonds(self) -> list[int]:
        """Written numbers of the bonds between heavy atoms, in the order of RDKit's parse without hydrogens."""
        found = {frozenset((self.heavy[i], self.heavy[j])): number for number, (i, j) in enumerate(self.bonds)}
        return [found[frozenset((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))] for b in self.kept.GetBonds()]


def node_labels(text: Text, labels: Labels, h_labels: str) -> dict[tuple[int, int], float]:
    """What the labels of written atoms become, by the user's heavy number."""
    own = {(text.heavy[a], t): v for (a, t), v in labels.items() if text.heavy[a] is not None}
    hydrogens: dict[tuple[int, int], list[float]] = {}
    for (a, t), v in labels.items():
        if text.heavy[a] is None:
            hydrogens.setdefault((text.heavy[text.parent[a]], t), []).append(v)  # type: ignore[arg-type]
    if h_labels == "sum":
        return {key: own.get(key, 0) + sum(hydrogens.get(key, [])) for key in own.keys() | hydrogens.keys()}  # type: ignore[misc]
    if h_labels == "mean":
        return {**{key: sum(v) / len(v) for key, v in hydrogens.items()}, **own}  # type: ignore[dict-item]
    return own  # type: ignore[return-value]


def random_labels(entities: list[Any], random: np.random.Generator) -> Labels:
    return {(e, t): float(random.normal()) for e in entities for t in range(2) if random.random() < 0.6}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Path]]:
    yield lambda: tmp_path_factory.mktemp("tables")


def prepare(
    folder: Path, texts: list[Text], columns: dict[str, list[Any]], level: str, h_labels: str, form: str = "heavy"
) -> tuple[GraphStore, LabelBlock]:
    pd.DataFrame({"smiles": [text.text for text in texts], **columns}).to_parquet(folder / "table.parquet")
    table = Table(folder / "table.parquet")
    store = prepare_store(table, "smiles", Featurizer(form=form), folder / "stores", name="t", progress=False)  # type: ignore[arg-type]
    return store, prepare_labels(store, table, head(level), h_labels=h_labels, progress=False)  # type: ignore[arg-type]


def head(level: str, *names: str, kind: str = "regression") -> HeadSpec:
    return group_tasks([Task(name, "t", level, kind) for name in names or TASKS])[0]  # type: ignore[arg-type]


def stored(block: LabelBlock, row: int) -> dict[tuple[Any, int], float]:
    """Labels of a row by canonical entity (a pair: its atoms) and task."""
    entity, task, value = (part.tolist() for part in block.select(np.array([row])))
    if block.pair is not None and block.pair_ptr is not None:
        pairs = block.pair[block.pair_ptr[row] : block.pair_ptr[row + 1]].tolist()
        assert pairs == sorted(pairs) and all(i < j for i, j in pairs)
        entity = [tuple(pairs[e]) for e in entity]
    found = dict(zip(zip(entity, task, strict=True), value, strict=True))
    assert list(found) == sorted(found)
    return found


def approximate(labels: dict[Any, float]) -> Any:
    return pytest.approx(labels, rel=1e-6, abs=1e-6)


def as_lists(texts: list[Text], labels: list[Labels], written: list[bool], atoms: bool) -> dict[str, list[Any]]:
    """List columns; a row's list counts all that is written or what the graph keeps."""
    columns: dict[str, list[Any]] = {name: [] for name in TASKS}
    for text, row, whole in zip(texts, labels, written, strict=True):
        size = text.num_atoms if atoms else len(text.bonds)
        order = list(range(size)) if whole else text.heavy_atoms if atoms else text.heavy_bonds
        for t, name in enumerate(TASKS):
            columns[name].append([row.get((e, t)) for e in order])
    return columns


def as_numbered(labels: list[Labels], random: np.random.Generator, ends: tuple[str, ...]) -> dict[str, list[Any]]:
    """Lists of values beside lists of numbers, shuffled."""
    columns: dict[str, list[Any]] = {name + end: [] for name in TASKS for end in ("", *ends)}
    for row in labels:
        for t, name in enumerate(TASKS):
            mine = [(e, v) for (e, task), v in row.items() if task == t]
            random.shuffle(mine)  # type: ignore[arg-type]
            columns[name].append([v for _, v in mine])
            for k, end in enumerate(ends):
                columns[name + end].append([int(e[k]) if len(ends) == 2 else int(e) for e, _ in mine])
    return columns


def shuffled_texts(seed: int, write_h: bool) -> tuple[np.random.Generator, list[Text]]:
    random = np.random.default_rng(seed)
    return random, [Text(str(random.choice(POOL)), random, write_h) for _ in range(6)]


seeds = st.integers(0, 2**31 - 1)
POLICIES = ("error", "drop", "sum", "mean")


@settings(max_examples=15, deadline=None)
@given(seed=seeds, numbered=st.booleans(), h_labels=st.sampled_from(POLICIES))
def test_labels_of_atoms(folders: Callable[[], Path], seed: int, numbered: bool, h_labels: str) -> None:
    random, texts = shuffled_texts(seed, write_h=bool(seed % 4))
    written = [bool(random.random() < 0.5) or numbered for _ in texts]
    atoms = [list(range(text.num_atoms)) if w else text.heavy_atoms for text, w in zip(texts, written, strict=True)]
    labels = [random_labels(some, random) for some in atoms]
    labels[0][atoms[0][0], 0] = labels[0][atoms[0][0], 1] = 0.5
    columns = as_numbered(labels, random, ("@atom",)) if numbered else as_lists(texts, labels, written, atoms=True)
    on_h = any(t.heavy[a] is None for t, row in zip(texts, labels, strict=True) for a, _ in row)
    shifted = numbered and any(t.heavy[a] != a for t, row in zip(texts, labels, strict=True) for a, _ in row)
    if h_labels == "error" and (on_h or shifted):
        with pytest.raises(GraphiumError, match=r"hydrogens? that the graph leaves out.*h_labels=drop, sum or mean"):
            prepare(folders(), texts, columns, "node", h_labels)
        return
    store, block = prepare(folders(), texts, columns, "node", h_labels)
    for row, text in enumerate(texts):
        order = store.atom_order(row).tolist()
        expected = {(order.index(a), t): v for (a, t), v in node_labels(text, labels[row], h_labels).items()}
        assert stored(block, row) == approximate(expected)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, style=st.sampled_from(["list", "@bond", "@first"]), h_labels=st.sampled_from(POLICIES))
def test_labels_of_bonds(folders: Callable[[], Path], seed: int, style: str, h_labels: str) -> None:
    random, texts = shuffled_texts(seed, write_h=bool(seed % 4))
    texts.append(Text("CO", random, write_h=False))
    written = [bool(random.random() < 0.5) or style != "list" for _ in texts]
    bonds = [list(range(len(t.bonds))) if w else t.heavy_bonds for t, w in zip(texts, written, strict=True)]
    labels = [random_labels(some, random) for some in bonds]
    labels[-1] = {(0, 0): 0.5, (0, 1): 0.5}
    if style == "@first":
        ends = [[e if random.random() < 0.5 else e[::-1] for e in text.bonds] for text in texts]
        by_atoms = [{(ends[r][b], t): v for (b, t), v in row.items()} for r, row in enumerate(labels)]
        columns = as_numbered(by_atoms, random, ("@first", "@second"))
    elif style == "@bond":
        columns = as_numbered(labels, random, ("@bond",))
    else:
        columns = as_lists(texts, labels, written, atoms=False)

    def is_kept(text: Text, bond: int) -> bool:
        return bond in text.heavy_bonds

    def is_clear(text: Text, bond: int) -> bool:
        if style == "@first":
            return all(text.heavy[a] == a for a in text.bonds[bond])
        return is_kept(text, bond) and (style == "list" or text.heavy_bonds.index(bond) == bond)

    if h_labels == "error" and not all(is_clear(t, b) for t, row in zip(texts, labels, strict=True) for b, _ in row):
        with pytest.raises(GraphiumError, match="that the graph leaves out"):
            prepare(folders(), texts, columns, "edge", h_labels)
        return
    store, block = prepare(folders(), texts, columns, "edge", h_labels)
    for row, text in enumerate(texts):
        order = store.bond_order(row).tolist()
        kept = {(b, t): v for (b, t), v in labels[row].items() if is_kept(text, b)}
        expected = {(order.index(text.heavy_bonds.index(b)), t): v for (b, t), v in kept.items()}
        assert stored(block, row) == approximate(expected)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, numbered=st.booleans(), h_labels=st.sampled_from(POLICIES))
def test_labels_of_pairs(folders: Callable[[], Path], seed: int, numbered: bool, h_labels: str) -> None:
    random, texts = shuffled_texts(seed, write_h=bool(seed % 4))
    texts.append(Text("CO", random, write_h=False))
    written = [bool(random.random() < 0.5) or numbered for _ in texts]
    atoms = [list(range(text.num_atoms)) if w else text.heavy_atoms for text, w in zip(texts, written, strict=True)]
    labels = [random_labels([(i, j) for i in some for j in some if i < j], random) for some in atoms]
    labels[-1] = {((0, 1), 0): 0.5, ((0, 1), 1): 0.5}
    if numbered:
        turned = [{((j, i) if random.random() < 0.5 else (i, j), t): v for ((i, j), t), v in r.items()} for r in labels]
        columns = as_numbered(turned, random, ("@first", "@second"))
    else:
        columns = {
            name: [
                [[row.get(((min(i, j), max(i, j)), t)) for j in some] for i in some]
                for row, some in zip(labels, atoms, strict=True)
            ]
            for t, name in enumerate(TASKS)
        }

    def is_clear(text: Text, atom: int) -> bool:
        return text.heavy[atom] == atom if numbered else text.heavy[atom] is not None

    unclear = any(not is_clear(t, a) for t, row in zip(texts, labels, strict=True) for pair, _ in row for a in pair)
    if h_labels == "error" and unclear:
        with pytest.raises(GraphiumError, match="that the graph leaves out"):
            prepare(folders(), texts, columns, "nodepair", h_labels)
        return
    store, block = prepare(folders(), texts, columns, "nodepair", h_labels)
    for row, text in enumerate(texts):
        order = store.atom_order(row).tolist()
        expected = {}
        for ((i, j), t), v in labels[row].items():
            if text.heavy[i] is not None and text.heavy[j] is not None:
                ends = sorted((order.index(text.heavy[i]), order.index(text.heavy[j])))
                expected[tuple(ends), t] = v
        assert stored(block, row) == approximate(expected)


def table(folder: Path, smiles: list[str], **columns: Any) -> tuple[GraphStore, Table]:
    pd.DataFrame({"smiles": smiles, **columns}).to_parquet(folder / "table.parquet")
    source = Table(folder / "table.parquet")
    return prepare_store(source, "smiles", Featurizer(), folder / "stores", name="t", progress=False), source


@pytest.mark.parametrize(
    ("level", "columns", "sentence"),
    [
        ("node", {"p": [[1.0], [1.0]], "p@atom": [[2], [3]]}, r"row 1 \('OCC'\): atom 3 is out of range: .* 3 atoms"),
        ("node", {"p": [[1.0, 2.0], [3.0]], "p@atom": [[1, 1], [0]]}, "row 0 .*number 1 is given twice, with 1 and 2"),
        ("edge", {"p": [[1.0], [1.0]], "p@bond": [[2], [0]]}, "row 0 .*bond 2 is out of range: the text has 2 bonds"),
        (
            "edge",
            {"p": [[1.0], [1.0]], "p@first": [[0], [2]], "p@second": [[1], [0]]},
            r"row 1 .*there is no bond between atoms 0 and 2",
        ),
        (
            "nodepair",
            {"p": [[1.0, 2.0], [1.0]], "p@first": [[0, 1], [0]], "p@second": [[1, 0], [1]]},
            r"row 0 .*the pair \(1, 0\) is given twice, with 1 and 2; keep one",
        ),
        (
            "nodepair",
            {"p": [[1.0], [1.0]], "p@first": [[0], [1]], "p@second": [[1], [1]]},
            r"row 1 .*one atom with its",
        ),
    ],
)
def test_numbers_that_fit_no_entity(tmp_path: Path, level: str, columns: dict[str, Any], sentence: str) -> None:
    store, source = table(tmp_path, ["CCO", "OCC"], **columns)
    with pytest.raises(GraphiumError, match=sentence):
        prepare_labels(store, source, head(level, "p"), progress=False)


def test_a_pair_may_be_given_in_both_directions(tmp_path: Path) -> None:
    columns = {"p": [[1.0, 1.0, 5.0]], "p@first": [[0, 1, 2]], "p@second": [[1, 0, 1]]}
    store, source = table(tmp_path, ["CCO"], **columns)
    for level, entities in (("nodepair", [(0, 1), (1, 2)]), ("edge", [0, 1])):
        found = stored(prepare_labels(store, source, head(level, "p"), progress=False), 0)
        assert sorted(found.values()) == [1, 5] and len(entities) == len(found)


def test_sentences_about_hydrogens(tmp_path: Path) -> None:
    store, source = table(tmp_path, ["C([H])([H])([H])O"], p=[[1.0, 0.1, 0.2, 0.3, 2.0]], q=[[1.0, 2.0, 2.0, 2.0]])
    with pytest.raises(GraphiumError) as caught:
        prepare_labels(store, source, head("node", "p"), progress=False)
    assert "row 0 ('C([H])([H])([H])O'): the text writes 3 hydrogens that the graph leaves out" in str(caught.value)
    assert str(caught.value).endswith(
        "choose h_labels=drop, sum or mean, or keep the hydrogens with features.form=explicit_h"
    )
    with pytest.raises(GraphiumError, match="the text writes 3 bonds to hydrogens"):
        prepare_labels(store, source, head("edge", "q"), progress=False)
    values = {
        policy: prepare_labels(store, source, head("node", "p"), h_labels=policy, progress=False)
        for policy in ("sum", "mean")
    }  # type: ignore[arg-type]
    assert {policy: sorted(block.value.reshape(-1).tolist()) for policy, block in values.items()} == {
        "sum": pytest.approx([1.6, 2.0]),
        "mean": [1.0, 2.0],
    }


def test_classes_of_hydrogens_cannot_be_added(tmp_path: Path) -> None:
    store, source = table(tmp_path, ["[H]O"], p=[[1.0, 0.0]])
    with pytest.raises(GraphiumError, match="h_labels=sum is for numbers; choose h_labels=drop"):
        prepare_labels(store, source, head("node", "p", kind="binary"), h_labels="sum", progress=False)
    block = prepare_labels(store, source, head("node", "p", kind="binary"), h_labels="drop", progress=False)
    assert block.value.reshape(-1).tolist() == [0]


def test_with_explicit_hydrogens_every_written_label_stays(folders: Callable[[], Path]) -> None:
    random = np.random.default_rng(3)
    molecule = Chem.AddHs(Chem.MolFromSmiles("CC(=O)N"))
    texts = [Text("CC(=O)N", random, write_h=False) for _ in range(2)]
    for text in texts:
        text.text = Chem.MolToRandomSmilesVect(molecule, 1, randomSeed=int(random.integers(1 << 30)))[0]
    values = [[float(k) for k in range(molecule.GetNumAtoms())] for _ in texts]
    store, block = prepare(folders(), texts, dict.fromkeys(TASKS, values), "node", "error", form="explicit_h")
    for row in range(2):
        order = store.atom_order(row)
        assert stored(block, row) == {(place, t): float(user) for place, user in enumerate(order) for t in range(2)}


def test_real_shifts_of_written_hydrogens_reach_their_atoms(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "nmr_cascade"
    with gzip.open(folder / "DFT8K_DFT.sdf.gz", "rt") as file:
        blocks = "".join(islice(file, 4000)).split("$$$$\n")[:-1]
    key = [int(block.partition("\n")[0]) for block in blocks]
    lines = pd.read_csv(folder / "DFT8K.csv.gz").groupby(["mol_id", "atom_type"])
    reference = pd.read_parquet(folder / "nmr_node_edge.parquet").set_index("mol_id")
    reference.index = reference.index.astype(int)
    rows = [row for row, name in enumerate(key) if name in reference.index]
    columns = {name: [] for name in ("p", "p@atom", "q", "q@atom")}  # type: ignore[var-annotated]
    for row in rows:
        for name, atom_type in (("p", 6), ("q", 1)):
            known = (key[row], atom_type) in lines.groups
            mine = lines.get_group((key[row], atom_type)) if known else pd.DataFrame({"Shift": [], "atom_index": []})
            columns[name].append(mine["Shift"].tolist())
            columns[f"{name}@atom"].append(mine["atom_index"].astype(int).tolist())
    store, source = table(tmp_path, [blocks[row] for row in rows], **columns)
    block = prepare_labels(store, source, head("node"), h_labels="mean", progress=False)
    compared = 0
    for row, name in enumerate(key[row] for row in rows):
        found, expected = defaultdict(list), defaultdict(list)
        # Symmetric atoms may change places between two ways of writing a molecule.
        own = Chem.MolFromMolBlock(store.text(row))
        rank = list(Chem.CanonicalRankAtoms(Chem.MolFromSmiles(Chem.MolToSmiles(own)), breakTies=False))
        place = {atom: k for k, atom in enumerate(own.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])}
        order = store.atom_order(row)
        for (entity, t), value in stored(block, row).items():
            found[rank[place[int(order[entity])]], t].append(value)
        other = Chem.MolFromSmiles(reference["smiles"][name])
        smiles = Chem.MolToSmiles(other)
        if smiles != Chem.MolToSmiles(own):
            continue
        compared += 1
        place = {atom: k for k, atom in enumerate(other.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])}
        for t, column in enumerate(("c13_dft", "h1_dft")):
            for atom, value in enumerate(reference[column][name]):
                if not np.isnan(value):
                    expected[rank[place[atom]], t].append(float(value))
        assert found.keys() == expected.keys()
        for atom_class in found:
            assert sorted(found[atom_class]) == pytest.approx(sorted(expected[atom_class]), abs=1e-3)
    assert compared > 40
