from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.datasets.dataset import LongForm
from graphium.data.datasets.long import level_of, widen
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError


def write(path: Path, frame: pd.DataFrame) -> Table:
    frame.to_csv(path, index=False)
    return Table(path)


def read(table: Table, columns: list[str]) -> pd.DataFrame:
    return pd.concat([frame for _, frame in table.chunks(columns, 1000)])


def molecules(tmp_path: Path, count: int = 3) -> Table:
    return write(tmp_path / "molecules.csv", pd.DataFrame({"smiles": ["CCO"] * count, "id": np.arange(count) + 10}))


def test_lines_of_another_table_become_lists_of_its_rows(tmp_path: Path) -> None:
    lines = write(
        tmp_path / "lines.csv",
        pd.DataFrame({"mol": ["12", "10", "12", "99"], "atom": [2, 0, 1, 0], "shift": [7.5, 1.0, np.nan, 3.0]}),
    )
    long = LongForm(key="mol", values=["shift"], atom="atom", molecule_key="id", path="lines.csv")
    table, smiles, said = widen(molecules(tmp_path), "smiles", long, lines, tmp_path / "cache")
    assert smiles == "smiles" and level_of(long) == "node"
    found = read(table, ["smiles", "shift", "shift@atom"])
    assert [None if cell is pd.NA else list(cell) for cell in found["shift"].tolist()] == [[1.0], None, [7.5]]
    assert list(found["shift@atom"].tolist()[2]) == [2]
    assert "4 lines of lines.csv" in said and "1 lines are about molecules that are not among them" in said


def test_a_table_in_long_form_gives_its_molecules_in_the_order_of_their_first_lines(tmp_path: Path) -> None:
    lines = write(
        tmp_path / "lines.csv",
        pd.DataFrame(
            {
                "mol": ["b", "a", "b", "b"],
                "smiles": ["CC", "CO", "CC", "CC"],
                "first": [1, 1, 2, 1],
                "second": [2, 2, 1, 2],
                "kind": ["d", "d", "d", "e"],
                "value": [0.5, 2.0, 0.7, 9.0],
                "split": ["train", "test", "train", "train"],
            }
        ),
    )
    long = LongForm(key="mol", values="value", bond=["first", "second"], task="kind", base=1)
    table, smiles, _ = widen(lines, "smiles", long, None, tmp_path / "cache")
    assert level_of(long) == "edge" and table.num_rows == 2
    found = read(table, [smiles, "mol", "split", "value_d", "value_d@first", "value_d@second", "value_e"])
    assert found["smiles"].tolist() == ["CC", "CO"] and found["split"].tolist() == ["train", "test"]
    assert [list(cell) for cell in found["value_d"]] == [[0.5, 0.7], [2.0]]
    assert [list(cell) for cell in found["value_d@first"]] == [[0, 1], [0]]
    assert [list(cell) for cell in found["value_d@second"]] == [[1, 0], [1]]
    assert list(found["value_e"].iloc[0]) == [9.0] and found["value_e"].isna().tolist() == [False, True]
    again, _, said = widen(lines, "smiles", long, None, tmp_path / "cache")
    assert again.key == table.key and "4 lines" in said


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 9), st.one_of(st.none(), st.floats(-9, 9, width=32))),
        min_size=1,
        max_size=40,
        unique_by=lambda line: line[:2],
    )
)
def test_every_label_of_a_random_long_table_is_found_again(lines: list[tuple[int, int, float | None]]) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        tmp = Path(folder)
        base = write(tmp / "base.csv", pd.DataFrame({"smiles": ["C" * 10] * 5, "id": [f"m{i}" for i in range(5)]}))
        frame = pd.DataFrame(lines, columns=["id", "atom", "y"])
        frame["id"] = "m" + frame["id"].astype(str)
        long = LongForm(key="id", values=["y"], atom="atom", path="long.csv")
        table, _, _ = widen(base, "smiles", long, write(tmp / "long.csv", frame), tmp / "cache")
        found = read(table, ["y", "y@atom"])
    labels: set[tuple[Any, ...]] = set()
    for row, (value, atom) in enumerate(zip(found["y"].tolist(), found["y@atom"].tolist(), strict=True)):
        if value is not pd.NA:
            labels |= {(row, int(a), float(v)) for a, v in zip(atom, value, strict=True)}
    assert labels == {(m, a, y) for m, a, y in lines if y is not None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"atom": ["0", "x"]}, "'x' is not a number of an atom or bond"),
        ({"atom": ["0", "1.5"]}, "1.5 is not a number of an atom"),
        ({"atom": ["0", "-1"]}, "-1 is not a number of an atom"),
        ({"y": ["0", "high"]}, "'high' is not a number"),
        ({"id": ["m0", None]}, "the key of the long form is empty"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, change: dict[str, list[str]], message: str) -> None:
    base = write(tmp_path / "base.csv", pd.DataFrame({"smiles": ["CC"], "id": ["m0"]}))
    frame = pd.DataFrame({"id": ["m0", "m0"], "atom": ["0", "1"], "y": ["1", "2"], **change})
    long = LongForm(key="id", values=["y"], atom="atom", path="long.csv")
    with pytest.raises(GraphiumError, match=message):
        widen(base, "smiles", long, write(tmp_path / "long.csv", frame), tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_two_molecules_with_one_key_are_refused(tmp_path: Path) -> None:
    same = write(tmp_path / "same.csv", pd.DataFrame({"smiles": ["C", "C"], "id": ["a", "a"]}))
    with pytest.raises(GraphiumError, match="rows 0 and 1 of same.csv have the same 'id'"):
        widen(same, "smiles", LongForm(key="id", values=["y"], atom="atom", path="x"), _lines(tmp_path), tmp_path)


def _lines(tmp_path: Path) -> Table:
    return write(tmp_path / "lines.csv", pd.DataFrame({"id": ["a"], "atom": [0], "y": [1.0]}))


def test_lines_that_write_a_molecule_in_two_ways_are_refused(tmp_path: Path) -> None:
    """Atom 2 of OCC is no atom 2 of CCO."""
    columns = {"mol": [1, 1, 2], "atom": [0, 2, 0], "shift": [1.0, 2.0, 3.0]}
    long = LongForm(key="mol", values="shift", atom="atom")
    lines = write(tmp_path / "two.csv", pd.DataFrame({"smiles": ["CCO", "OCC", "CC"], **columns}))
    with pytest.raises(GraphiumError, match=r"two.csv, row 1: 'OCC' is not the text of the first line with 'mol' 1"):
        widen(lines, "smiles", long, None, tmp_path / "cache")
    lines = write(tmp_path / "one.csv", pd.DataFrame({"smiles": ["CCO", None, "CC"], **columns}))
    table, smiles, _ = widen(lines, "smiles", long, None, tmp_path / "cache")
    assert [list(cell) for cell in read(table, ["shift"])["shift"]] == [[1.0, 2.0], [3.0]]


def test_keys_with_leading_zeros_are_those_that_a_table_reads_as_numbers(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.csv", pd.DataFrame({"smiles": ["C", "CC", "CO"], "id": ["007", "0a", "1e2"]}))
    lines = write(tmp_path / "lines.csv", pd.DataFrame({"mol": [7, 7], "atom": [0, 1], "shift": [1.0, 2.0]}))
    long = LongForm(key="mol", values="shift", atom="atom", molecule_key="id", path="lines.csv")
    table, _, said = widen(rows, "smiles", long, lines, tmp_path / "cache")
    assert read(table, ["shift"])["shift"].notna().tolist() == [True, False, False] and "not among" not in said


def test_lines_about_no_molecule_at_all_are_refused(tmp_path: Path) -> None:
    lines = write(tmp_path / "lines.csv", pd.DataFrame({"mol": ["x1"], "atom": [0], "shift": [1.0]}))
    long = LongForm(key="mol", values="shift", atom="atom", molecule_key="id", path="lines.csv")
    with pytest.raises(GraphiumError, match=r"no line of lines.csv is about a molecule .*'mol' holds 'x1' .*'id' 10"):
        widen(molecules(tmp_path), "smiles", long, lines, tmp_path / "cache")


@pytest.mark.parametrize("number", [2**31, 2**32, 10**18])
def test_a_number_that_no_molecule_has_is_refused(number: int, tmp_path: Path) -> None:
    lines = write(tmp_path / "lines.csv", pd.DataFrame({"mol": [10], "atom": [number], "shift": [1.0]}))
    long = LongForm(key="mol", values="shift", atom="atom", molecule_key="id", path="lines.csv")
    with pytest.raises(GraphiumError, match="row 0: .* is not a number of an atom or bond"):
        widen(molecules(tmp_path), "smiles", long, lines, tmp_path / "cache")
