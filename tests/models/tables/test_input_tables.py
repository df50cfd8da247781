"""Input tables: every file that training reads, cells as they stand, stdin."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rdkit import Chem

from graphium.errors import GraphiumError
from graphium.models.tables.input_tables import InputTable, opened

LINES = 'code,smiles,n,x,note\n007,CCO,1,0.5,plain\n008,C(,,nan,"a, b"\n,,3,1e3,\n'


def shown(table: InputTable, typed: bool, size: int = 2) -> pa.Table:
    layout = table.layout(typed)
    pieces = [pa.Table.from_arrays(layout.columns(cells), schema=layout.schema) for _, cells in table.chunks(size)]
    return pa.concat_tables(pieces)


def test_text_stays_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(LINES)
    table = InputTable(tmp_path / "t.csv")
    assert table.smiles == "smiles" and table.num_rows == 3 and "found by name" in table.messages[0]
    found = shown(table, typed=False).to_pydict()
    assert found["code"] == ["007", "008", None] and found["n"] == ["1", None, "3"]
    assert found["x"] == ["0.5", "nan", "1e3"] and found["note"] == ["plain", "a, b", None]
    (first, cells), _ = table.chunks(2)
    assert first == 0 and table.layout(False).texts(cells) == ["CCO", "C("]


def test_numbers_become_numbers_where_columns_have_types(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(LINES)
    schema = shown(InputTable(tmp_path / "t.csv", "smiles"), typed=True).schema
    types = dict(zip(schema.names, map(str, schema.types), strict=True))
    assert types == {"code": "string", "smiles": "large_string", "n": "int64", "x": "double", "note": "string"}


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "smiles": ["CCO", None, "C"] * 5,
            "n": pa.array([1, None, 3] * 5, pa.int16()),
            "when": pa.array([1, 2, 3] * 5, pa.timestamp("s")),
            "list": pa.array([[1.0], None, []] * 5, pa.list_(pa.float32())),
            "kind": pa.array(["a", "b", None] * 5).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=4)
    found = shown(InputTable(tmp_path / "t.parquet"), typed=True, size=7)
    assert found.schema.field("n").type == pa.int16() and str(found.schema.field("list").type).startswith("list")
    for name in table.column_names:
        assert found[name].to_pylist() == table[name].to_pylist()


def test_shards_and_what_they_do_not_share(tmp_path: Path) -> None:
    for number in range(12):
        frame = pd.DataFrame({"smiles": ["C" * (number + 1)], "n": [number]})
        frame.assign(**({"more": 1} if number == 3 else {})).to_csv(tmp_path / f"s_{number}.csv", index=False)
    table = InputTable(str(tmp_path / "s_*.csv"))
    assert any("'more'" in message for message in table.messages)
    assert shown(table, typed=True).to_pydict() == {"smiles": ["C" * k for k in range(1, 13)], "n": list(range(12))}


def test_columns_of_the_same_name_as_new_ones(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(LINES)
    table = InputTable(tmp_path / "t.csv", "smiles", new=["x", "status", "smiles"])
    assert table.messages == ["columns of the input that have the name of a new one are left out: 'smiles', 'x'"]
    assert shown(table, typed=False).column_names == ["code", "n", "note"]
    ((_, cells),) = table.chunks(9)
    assert table.layout(False).texts(cells) == ["CCO", "C(", None]


def test_structures_are_shown_as_smiles(tmp_path: Path) -> None:
    with Chem.SDWriter(str(tmp_path / "t.sdf")) as writer:
        for text, name in (("OCC", "ethanol"), ("c1ccccc1", "benzene")):
            mol = Chem.MolFromSmiles(text)
            mol.SetProp("_Name", name)
            mol.SetProp("logP", "1.5")
            writer.write(mol)
    table = InputTable(tmp_path / "t.sdf")
    assert table.smiles == "structure"
    found = shown(table, typed=True).to_pydict()
    assert found == {"smiles": ["CCO", "c1ccccc1"], "title": ["ethanol", "benzene"], "logP": [1.5, 1.5]}
    (_, cells), *_ = table.chunks(1)
    assert "M  END" in table.layout(True).texts(cells)[0]


def test_smi(tmp_path: Path) -> None:
    (tmp_path / "t.smi").write_text("CCO ethanol\n# no molecule\nC(\n")
    assert shown(InputTable(tmp_path / "t.smi"), typed=True).to_pydict() == {
        "smiles": ["CCO", "C("],
        "name": ["ethanol", None],
    }


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("smiles,id\nCCO,1\n", {"smiles": ["CCO"], "id": ["1"]}),
        ("drug\nCCO\nCCN\n", {"drug": ["CCO", "CCN"]}),
        ("CCO\nC(\n", {"smiles": ["CCO", "C("], "name": [None, None]}),
        ("\n\nCCO ethanol\n", {"smiles": ["CCO"], "name": ["ethanol"]}),
        ("C(=O\nCCO\nCCN\n", {"smiles": ["C(=O", "CCO", "CCN"], "name": [None] * 3}),
        ("smiles\nCCO\n", {"smiles": ["CCO"]}),
    ],
)
def test_stdin(content: str, columns: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    with opened("-") as path:
        assert shown(InputTable(path), typed=False).to_pydict() == columns
    assert not Path(str(path)).exists()


@pytest.mark.parametrize("name", ["", "ethanol"])
def test_sdf_and_parquet_on_stdin(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mol = Chem.MolFromSmiles("OCC")
    mol.SetProp("_Name", name)
    pq.write_table(pa.table({"smiles": ["CCO"]}), tmp_path / "t.parquet")
    for content in (f"{Chem.MolToMolBlock(mol)}$$$$\n".encode(), (tmp_path / "t.parquet").read_bytes()):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        with opened("-") as path:
            assert shown(InputTable(path), typed=False)["smiles"].to_pylist() == ["CCO"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"smiles\nCCO\n"))))
    with pytest.raises(GraphiumError, match="packed with gzip; unpack it first"), opened("-"):
        pass


def test_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text(LINES)
    with pytest.raises(GraphiumError, match="no column 'smile'; did you mean 'smiles'"):
        InputTable(tmp_path / "t.csv", "smile")
    (tmp_path / "n.csv").write_text("a,b\n1,2\n")
    with pytest.raises(GraphiumError, match="no column of n.csv holds SMILES; say which one it is: --smiles NAME"):
        InputTable(tmp_path / "n.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(GraphiumError, match="is empty"):
        InputTable(tmp_path / "empty.csv")
    (tmp_path / "bare.csv").write_text("CCO,1\nCCN,2\nCCC,3\n")
    with pytest.raises(GraphiumError, match="is called 'CCO', which is a molecule; write a header above it"):
        InputTable(tmp_path / "bare.csv")
    assert InputTable(tmp_path / "bare.csv", "CCO").num_rows == 2
    (tmp_path / "head.csv").write_text("smiles\n")
    with pytest.raises(GraphiumError, match="a header and no rows"):
        InputTable(tmp_path / "head.csv", "smiles").layout(False)
    with pytest.raises(GraphiumError, match="is a folder"):
        InputTable(tmp_path)
    for name, data in (("x.csv", bytes(range(256)) * 9), ("x.parquet", b"PAR1 nothing"), ("x.sdf", b"\x00\xff" * 99)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(GraphiumError):
            InputTable(tmp_path / name).layout(False)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n \n")))
    with pytest.raises(GraphiumError, match="nothing came on stdin"), opened("-"):
        pass


def test_shards_of_other_types(tmp_path: Path) -> None:
    for number, values in enumerate(([1, 2], ["a", "b"])):
        pd.DataFrame({"smiles": ["C", "CC"], "n": values}).to_parquet(tmp_path / f"s{number}.parquet")
    with pytest.raises(GraphiumError, match=r"columns of s1.parquet have other types.*write the files alike"):
        list(InputTable(str(tmp_path / "s*.parquet"), "smiles").chunks(3))
