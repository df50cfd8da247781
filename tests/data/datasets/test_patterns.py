from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from graphium.data.datasets.infer import find_smiles
from graphium.data.datasets.patterns import select_columns
from graphium.data.tables.facts import scan
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError
from graphium.patterns import match


def select(table: Table, *patterns: str, smiles: str = "smiles") -> tuple[list[str], list[str]]:
    facts = scan(table, [name for name in table.columns if name != smiles], smiles, levels=table.columns)
    return select_columns(patterns, table, facts, {smiles: "the SMILES column"})


@pytest.fixture
def mixed(table: Callable[..., Table]) -> Table:
    """One column of every sort that ``*`` judges."""
    return table(
        **{
            "smiles": ["C", "CC", "CCC", "CCCC"],
            "y": [0.5, None, 1.5, 0.5],
            "active": [True, False, None, True],
            "class": [0, 1, 1, 0],
            "charges": [[0.1], [0.1, 0.2], None, [0.0] * 4],
            "mw": [16.0, 30.1, 44.1, 58.1],
            "log P [uM]": [1, 2, 2, 1],
            "name": ["methane", "ethane", "propane", "butane"],
            "nothing": [None] * 4,
            "mol_id": [4, 4, 5, 6],
            "molId": [4, 4, 5, 6],
            "Unnamed: 0": [1, 1, 2, 3],
            "index": [1, 1, 2, 3],
            "number": [10, 11, 12, 13],
            "CAS": [7, 3, 99, 12],
            "scaffold_split": [0, 1, 0, 1],
            "weight": [1.0, 0.5, 1.0, 1.0],
            "Year": [1999, 2001, 2001, 1999],
        }
    )


def test_star_takes_and_leaves_with_reasons(mixed: Table) -> None:
    chosen, messages = select(mixed, "*")
    assert chosen == ["y", "active", "class", "charges", "mw", "log P [uM]"]
    assert messages == [
        "takes y, mw, log P [uM]: numbers, regression",
        "takes active: true/false, binary",
        "takes class: 0/1 numbers, binary",
        "takes charges: lists of numbers, regression",
        "leaves out smiles: the SMILES column",
        "leaves out name: text, e.g. 'methane' in row 0",
        "leaves out nothing: every cell is empty",
        "leaves out mol_id, molId, Unnamed: 0, index: named like an id",
        "leaves out number: a running number",
        "leaves out CAS: integers that never repeat, as in an id",
        "leaves out scaffold_split: named like a split",
        "leaves out weight: named like a weight",
        "leaves out Year: named like a time",
    ]
    named = " ".join(messages)
    assert all(column in named for column in mixed.columns)


@pytest.mark.parametrize("patterns", [("*,-mw",), ("*", "-mw"), ("-mw",), ("-m?", "*")])
def test_minus_excludes(mixed: Table, patterns: tuple[str, ...]) -> None:
    chosen, messages = select(mixed, *patterns)
    assert chosen == ["y", "active", "class", "charges", "log P [uM]"]
    assert any("mw: excluded by -m" in message for message in messages)


def test_names_and_patterns(mixed: Table) -> None:
    assert select(mixed, "mw", "y") == (["mw", "y"], [])
    assert select(mixed, "mw,y")[0] == ["mw", "y"]
    assert select(mixed, "log P [uM]") == (["log P [uM]"], [])
    assert select(mixed, "log*")[0] == ["log P [uM]"]
    assert select(mixed, "CAS", "*", "-active")[0] == ["CAS", "y", "class", "charges", "mw", "log P [uM]"]


def test_a_longer_pattern_asks_for_numbers_only(table: Callable[..., Table]) -> None:
    made = table(**{"smiles": ["C", "CC"], "geneID-1": [5, 6], "geneID-2": [0, 2], "geneID-note": ["a", "b"]})
    chosen, messages = select(made, "geneID-*")
    assert chosen == ["geneID-1", "geneID-2"]
    assert messages[-1] == "leaves out geneID-note: text, e.g. 'a' in row 0"


def test_lists_that_fit_nothing_and_another_level(table: Callable[..., Table]) -> None:
    made = table(smiles=["C", "CC"], y=[0.5, 1.5], q=[[1.0], [1.0, 2.0]], xyz=[[1.0] * 3, [1.0] * 6])
    chosen, messages = select(made, "*")
    assert chosen == ["y", "q"]
    assert "leaves out xyz: lists as long as neither the atoms nor the bonds (row 0, 'C': 1 atoms" in messages[-1]
    facts = scan(made, ["y", "q"], "smiles")
    reserved = {"smiles": "the SMILES column"}
    chosen, messages = select_columns(["?"], made, facts, reserved, "node")
    assert (chosen, messages[-1]) == (["q"], "leaves out y: single values, and the level is node")
    chosen, messages = select_columns(["?"], made, facts, reserved, "graph")
    assert (chosen, messages[-1]) == (["y"], "leaves out q: lists, and the level is graph")


def test_assay_ids_are_labels(table: Callable[..., Table]) -> None:
    made = table(**{"smiles": ["C", "CC"], "assayID-1379": [0, 1], "acid": [0, 1], "COVID": [1, 0]})
    assert select(made, "*")[0] == ["assayID-1379", "acid", "COVID"]


def test_names_with_signs_come_first(table: Callable[..., Table]) -> None:
    made = table(**{"smiles": ["C", "CC"], "-mw": [1.5, 2], "a,b": [1.5, 2], "*": [1.5, 2]})
    assert select(made, "-mw")[0] == ["-mw"]
    assert select(made, "a,b")[0] == ["a,b"]
    assert select(made, "*")[0] == ["*"]


def test_what_matches_nothing(mixed: Table) -> None:
    for pattern in ("activ", "*,-activ", "gene*", "y,log P"):
        with pytest.raises(GraphiumError, match="has no column"):
            select(mixed, pattern)
    with pytest.raises(GraphiumError) as caught:
        select(mixed, "log P")
    assert "did you mean 'log P [uM]'" in str(caught.value)
    assert """'data.targets=["log P [uM]"]'""" in str(caught.value)


def test_brackets_stand_for_themselves() -> None:
    assert match("[ab]*", ["a1", "[ab]1"]) == ["[ab]1"]
    assert match("a", ["ab"]) == []


@pytest.mark.parametrize(
    ("file", "chosen", "left_out"),
    [
        ("toymix/qm9.csv.gz", 19, {"mol_id", "smiles"}),
        ("toymix/ZINC12k.csv.gz", 3, {"smiles"}),
        ("moleculenet/tox21.csv.gz", 12, {"mol_id", "smiles"}),
        ("moleculenet/toxcast.csv.gz", 617, {"smiles"}),
        ("tdc_admet/herg.csv.gz", 1, {"Drug_ID", "Drug"}),
        ("graphium_examples/finetuning_reg_raw.csv.gz", 1, {"Unnamed: 0", "smiles"}),
        ("nmr_cascade/nmr_node_edge.parquet", 4, {"mol_id", "smiles"}),
        ("sparse_multitask/biogen_adme_3521.csv.gz", 6, {"Internal ID", "Vendor ID", "SMILES", "CollectionName"}),
        ("sparse_multitask/chembl_5thresh.csv.gz", 691, {"smiles"}),
    ],
)
def test_star_on_real_tables(shared_data: Path, file: str, chosen: int, left_out: set[str]) -> None:
    table = Table(shared_data / file, limit=4000)
    smiles = find_smiles(table)[0]
    names, _ = select(table, "*", smiles=smiles)
    facts = scan(table, [name for name in table.columns if name != smiles], smiles)
    empty = {name for name, fact in facts.items() if fact.form == "empty"}
    assert set(table.columns) - set(names) - empty == left_out
    assert len(names) + len(empty) == chosen


def test_hundreds_of_columns_are_not_all_listed(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("smiles," + ",".join(f"y{n}" for n in range(300)) + "\n" + ("C" + ",0.5" * 300 + "\n") * 3)
    table = Table(path)
    facts = scan(table, [f"y{n}" for n in range(300)], "smiles")
    chosen, said = select_columns(["*"], table, facts, {"smiles": "the SMILES column"})
    assert len(chosen) == 300
    assert any("y19, ... (300 in all)" in sentence for sentence in said) and max(map(len, said)) < 200


def test_a_pattern_of_many_stars_is_soon_done() -> None:
    """Patterns come with a saved model too."""
    started = time.perf_counter()
    assert match("*a" * 30 + "b", ["a" * 100]) == []
    assert time.perf_counter() - started < 5
