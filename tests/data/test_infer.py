from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from graphium.data.infer import class_names, count_entities, distinct_cells, find_smiles, infer_level, scan
from graphium.data.readers import Table
from graphium.errors import GraphiumError

SMILES = ["CCO", "c1ccccc1", "CC(=O)O", "N", "[Na+].[Cl-]"]


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Table]:
    """Write columns to a CSV file and open it."""

    def write(**columns: Any) -> Table:
        path = tmp_path / f"table{len(list(tmp_path.iterdir()))}.csv"
        pd.DataFrame(columns).to_csv(path, index=False)
        return Table(path)

    return write


# The SMILES column


@pytest.mark.parametrize("name", ["smiles", "SMILES", "Canonical_SMILES", "mol", "Drug", "my smiles", "structure"])
def test_smiles_column_by_name(csv: Callable[..., Table], name: str) -> None:
    found, sentence = find_smiles(csv(**{"Drug_ID": ["Drug 1"] * 5, "y": range(5), name: SMILES}))
    assert found == name
    assert f"SMILES column: {name!r}, found by name and parsing a sample (5 of 5 cells parse)" in sentence


def test_smiles_column_by_parsing_alone(csv: Callable[..., Table]) -> None:
    found, sentence = find_smiles(csv(y=range(5), what=SMILES, name=["ethanol", "benzene", "acid", "x", "salt"]))
    assert found == "what"
    assert "found by parsing a sample" in sentence


def test_the_name_needs_cells_that_parse(csv: Callable[..., Table]) -> None:
    found, _ = find_smiles(csv(molecule=["ethanol", "benzene", "acid", "am", "salt"], x=SMILES))
    assert found == "x"


def test_the_better_name_wins_and_the_other_is_said(csv: Callable[..., Table]) -> None:
    found, sentence = find_smiles(csv(mol=SMILES, smiles=SMILES))
    assert found == "smiles"
    assert "'mol' parse too" in sentence


def test_bad_texts_among_good_ones_do_not_hide_the_column(csv: Callable[..., Table]) -> None:
    assert find_smiles(csv(smiles=[*SMILES, "??", None, "C(C"]))[0] == "smiles"


def test_no_smiles_and_two_smiles(csv: Callable[..., Table]) -> None:
    with pytest.raises(GraphiumError, match=r"no column of .*holds SMILES; say which.*choices: a, b"):
        find_smiles(csv(a=["x", "y"], b=[1, 2]))
    with pytest.raises(GraphiumError, match="'left', 'right' of .* all hold SMILES"):
        find_smiles(csv(left=SMILES, right=SMILES))
    with pytest.raises(GraphiumError, match="a header and no rows"):
        find_smiles(csv(smiles=[]))


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("moleculenet/bace.csv.gz", "mol"),
        ("moleculenet/toxcast.csv.gz", "smiles"),
        ("tdc_admet/ames.csv.gz", "Drug"),
        ("sparse_multitask/biogen_adme_3521.csv.gz", "SMILES"),
        ("graphium_examples/pcqm4mv2_2k.csv.gz", "smiles"),
        ("nmr_cascade/nmr_node_edge.parquet", "smiles"),
        ("toymix/Tox21-7k-12-labels.csv.gz", "smiles"),
    ],
)
def test_smiles_columns_of_real_tables(shared_data: Path, file: str, column: str) -> None:
    assert find_smiles(Table(shared_data / file))[0] == column


# Facts


def test_facts_of_every_form(csv: Callable[..., Table]) -> None:
    table = csv(
        smiles=SMILES,
        number=[0.5, 1, 2, None, 4],
        binary=[0, 1, 1, None, 0],
        flag=[True, False, None, True, True],
        text=["a", "b", "c", "d", "e"],
        almost=["1", "2", ">3", "4", "5"],
        empty=[None] * 5,
        unique=[7, 3, 5, 9, 100],
        running=[3, 4, 5, 6, 7],
        infinite=[1, 2, np.inf, 3, 4],
    )
    facts = scan(table, table.columns[1:], "smiles")
    forms = {name: one.form for name, one in facts.items()}
    assert forms == {
        **dict.fromkeys(("number", "binary", "unique", "running", "infinite"), "number"),
        **dict.fromkeys(("text", "almost"), "text"),
        "flag": "boolean",
        "empty": "empty",
    }
    assert {name for name, one in facts.items() if one.kind == "binary" and one.form != "empty"} >= {"binary", "flag"}
    assert facts["number"].kind == "regression"
    assert facts["number"].present == 4
    assert facts["almost"].odd == (2, ">3")
    assert (facts["almost"].num_odd, facts["almost"].present) == (1, 5)
    assert facts["infinite"].infinite == 2
    assert {name for name, one in facts.items() if one.is_unique()} == {"unique", "running"}
    assert {name for name, one in facts.items() if one.is_running()} == {"running"}


def test_facts_do_not_depend_on_the_chunk(csv: Callable[..., Table], monkeypatch: pytest.MonkeyPatch) -> None:
    table = csv(
        smiles=SMILES * 4,
        late=["1"] * 17 + ["x", "2", "3"],
        turns=[0] * 19 + [2],
        flag=[1, 0] * 5 + [True, False] * 5,
        repeat=[*range(19), 0],
        running=range(20),
    )
    columns = table.columns[1:]
    monkeypatch.setattr("graphium.data.infer._CHUNK", 3)
    small = scan(table, columns, "smiles")
    monkeypatch.setattr("graphium.data.infer._CHUNK", 100)
    large = scan(table, columns, "smiles")
    for name in ("late", "turns", "repeat", "running"):
        for field in ("form", "kind", "present", "odd", "num_odd", "not_binary"):
            assert getattr(small[name], field) == getattr(large[name], field), (name, field)
        assert small[name].is_unique() == large[name].is_unique() == (name == "running")
    assert small["late"].odd == (17, "x")
    assert small["turns"].not_binary == (19, 2.0)


# Levels


def lists(texts: list[str], level: str) -> list[list[float]]:
    mols = [Chem.MolFromSmiles(text) for text in texts]
    return [[0.5] * (mol.GetNumAtoms() if level == "node" else mol.GetNumBonds()) for mol in mols]


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("level", ["node", "edge"])
def test_level_of_lists(tmp_path: Path, level: str, as_text: bool) -> None:
    frame = pd.DataFrame({"smiles": SMILES, "q": lists(SMILES, level)})
    path = tmp_path / ("t.csv" if as_text else "t.parquet")
    if as_text:
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    facts = scan(Table(path), ["q"], "smiles", levels=["q"])["q"]
    assert facts.form == "list"
    assert infer_level(facts, "mine") == level


def test_one_row_at_the_end_decides(table: Callable[..., Table]) -> None:
    rings = ["c1ccccc1", "C1CC1", "C1CCCC1"] * 30
    cells = [[1.0] * Chem.MolFromSmiles(text).GetNumAtoms() for text in rings]
    facts = scan(table(smiles=rings, q=cells), ["q"], "smiles", levels=["q"])["q"]
    with pytest.raises(GraphiumError, match="as long as the atoms and as long as the bonds in every row.*level=node"):
        infer_level(facts, "mine")
    more = table(smiles=[*rings, "CC"], q=[*cells, [1.0]])
    assert infer_level(scan(more, ["q"], "smiles", levels=["q"])["q"], "mine") == "edge"
    more = table(smiles=[*rings, "CC"], q=[*cells, [1.0, 2.0]])
    assert infer_level(scan(more, ["q"], "smiles", levels=["q"])["q"], "mine") == "node"
    more = table(smiles=[*rings, "CC"], q=[*cells, [1.0, 2.0, 3.0]])
    with pytest.raises(GraphiumError, match=r"neither.*row 90, 'CC': 2 atoms, 1 bonds, 3 elements"):
        infer_level(scan(more, ["q"], "smiles", levels=["q"])["q"], "mine")


def test_missing_lists_and_failed_rows_decide_nothing(table: Callable[..., Table]) -> None:
    made = table(smiles=["CCO", "no molecule", "CC"], q=[[1.0, 2.0, 3.0], [1.0] * 7, None])
    assert infer_level(scan(made, ["q"], "smiles", levels=["q"])["q"], "mine") == "node"


def test_entities_are_counted_as_rdkit_reads_them() -> None:
    texts = [*SMILES, "[H]C([H])([H])[H]", "[2H]C", "[H][H]", "C[C@H](N)C(=O)O |o1:1|", "C->[Pt]", "[CH3:1][OH:2]"]
    counts = count_entities(pd.Series([*texts, None, "??"]))
    mols = [Chem.MolFromSmiles(text) for text in texts]
    assert counts["node"].tolist() == [*(mol.GetNumAtoms() for mol in mols), -1, -1]
    assert counts["edge"].tolist() == [*(mol.GetNumBonds() for mol in mols), -1, -1]


@pytest.mark.parametrize(
    ("file", "levels"),
    [
        ("nmr_cascade/nmr_node_edge.parquet", {"c13_dft": "node", "h1_dft": "node", "bond_length_dft": "edge"}),
        ("qm9_node_edge/qm9_node_edge.parquet", {"mulliken_q": "node", "bond_length": "edge"}),
    ],
)
def test_levels_of_real_tables(shared_data: Path, file: str, levels: dict[str, str]) -> None:
    facts = scan(Table(shared_data / file, limit=3000), list(levels), "smiles", levels=list(levels))
    assert {name: infer_level(facts[name], "real") for name in levels} == levels


# Classes


def test_class_names_of_cells_and_lists(table: Callable[..., Table]) -> None:
    made = table(smiles=["C", "CC", "CCC"], y=[3, 1, None], q=[[0.0], [2.0, 0.0], None], t=["b", None, "a"])
    assert class_names(distinct_cells(made, ["y"])) == ["1", "2", "3"]
    assert class_names(distinct_cells(made, ["q"])) == ["0", "1", "2"]
    assert class_names(distinct_cells(made, ["t"])) == ["a", "b"]
    assert class_names(distinct_cells(made, ["y", "q"])) == ["0", "1", "2", "3"]


def test_too_many_classes(table: Callable[..., Table]) -> None:
    made = table(smiles=["C"] * 1500, y=np.arange(1500) / 7)
    with pytest.raises(GraphiumError, match="more than 1000 distinct values"):
        distinct_cells(made, ["y"])
