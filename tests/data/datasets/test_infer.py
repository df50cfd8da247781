from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from graphium.data.datasets.infer import class_names, distinct_cells, find_smiles, infer_level
from graphium.data.tables.facts import scan
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError

SMILES = ["CCO", "c1ccccc1", "CC(=O)O", "N", "[Na+].[Cl-]"]


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


def test_structures_of_an_sdf(tmp_path: Path, table: Callable[..., Table]) -> None:
    blocks = [Chem.MolToMolBlock(Chem.MolFromSmiles(text)) for text in SMILES]
    (tmp_path / "t.sdf").write_text("".join(f"{block}> <smiles>\nCC\n\n$$$$\n" for block in blocks))
    assert find_smiles(Table(tmp_path / "t.sdf")) == (
        "structure",
        "structures: the records of t.sdf, column 'structure'",
    )
    assert find_smiles(table(block=blocks, y=range(5)))[0] == "block"


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


def test_lists_that_count_the_written_hydrogens(table: Callable[..., Table]) -> None:
    texts = ["[H]C([H])([H])O", "CC", "[H][H]", "[2H]C"]
    written = [5, 2, 2, 2]
    made = table(smiles=texts, q=[[0.5] * size for size in written], b=[[0.5] * (size - 1) for size in written])
    facts = scan(made, ["q", "b"], "smiles", levels=["q", "b"])
    assert [infer_level(facts[name], "mine") for name in ("q", "b")] == ["node", "edge"]


@pytest.mark.parametrize("as_text", [False, True])
def test_matrices_are_labels_of_pairs(tmp_path: Path, as_text: bool) -> None:
    sizes = [Chem.MolFromSmiles(text).GetNumAtoms() for text in SMILES]
    cells: list[Any] = [[[0.5] * size] * size for size in sizes]
    cells[2] = None
    frame = pd.DataFrame({"smiles": SMILES, "d": cells})
    path = tmp_path / ("t.csv" if as_text else "t.parquet")
    frame.to_csv(path, index=False) if as_text else frame.to_parquet(path)
    facts = scan(Table(path), ["d"], "smiles", levels=["d"])["d"]
    assert (facts.form, facts.present, facts.kind) == ("matrix", 4, "regression")
    assert infer_level(facts, "mine") == "nodepair"
    frame["d"] = [cells[1], *cells[1:]]
    frame.to_csv(path, index=False) if as_text else frame.to_parquet(path)
    facts = scan(Table(path), ["d"], "smiles", levels=["d"])["d"]
    with pytest.raises(
        GraphiumError, match=r"not one row and one column per atom.*row 0, 'CCO': 3 atoms, 2 bonds, 6 rows"
    ):
        infer_level(facts, "mine")
    frame["d"] = [[[1.0], [2.0, 3.0]], *cells[1:]]
    frame.to_csv(path, index=False) if as_text else frame.to_parquet(path)
    facts = scan(Table(path), ["d"], "smiles", levels=["d"])["d"]
    assert (facts.form, facts.num_odd) == ("text", 1)


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


def test_class_names_that_are_numbers_are_ordered_by_value() -> None:
    assert class_names({"10.5", "2.5"}) == ["2.5", "10.5"]
    assert class_names({"-1", "1"}) == ["-1", "0", "1"]
    assert class_names({"007", "7"}) == ["007", "7"]
    assert class_names({"b", "1"}) == ["1", "b"]
