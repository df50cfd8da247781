from __future__ import annotations

import gzip
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase

from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError

SMILES = ["CCO", "c1ccccc1", "[Na+].[Cl-]", "C[C@H](N)C(=O)O", "C"]
NAME = st.text("abcXYZ 19_%()[].", min_size=1, max_size=8).filter(lambda name: name == name.strip())
LINE = st.text("abc >19.,<$é", min_size=1, max_size=9).filter(lambda line: not line.startswith("$$$$"))
VALUE = st.lists(LINE, min_size=1, max_size=3).map("\n".join)


def whole(table: Table, size: int = 3) -> pd.DataFrame:
    return pd.concat([frame for _, frame in table.chunks(table.columns, size)])


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(st.tuples(st.sampled_from(SMILES), LINE, st.dictionaries(NAME, VALUE, max_size=3)), min_size=1),
    size=st.integers(1, 7),
    block=st.integers(1, 300),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_what_rdkit_writes_is_read_back(
    tmp_path: Path, records: list[tuple[str, str, dict[str, str]]], size: int, block: int, newline: str
) -> None:
    stream = io.StringIO()
    writer = Chem.SDWriter(stream)
    blocks = []
    for smiles, title, fields in records:
        mol = Chem.MolFromSmiles(smiles)
        mol.SetProp("_Name", title)
        blocks.append(Chem.MolToMolBlock(mol))
        for name, value in fields.items():
            mol.SetProp(name, value)
        writer.write(mol)
    writer.close()
    path = tmp_path / "t.sdf.gz"
    path.write_bytes(gzip.compress(stream.getvalue().replace("\n", newline).encode()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphium.data.tables.sdf._BLOCK_BYTES", block)
        table = Table(path)
        frame = whole(table, size)
    names = dict.fromkeys(name for _, _, fields in records for name in fields)
    assert table.columns == ["structure", "title", *names]
    assert table.num_rows == len(frame) == len(records)
    assert frame["structure"].tolist() == blocks
    for row, (_, title, fields) in enumerate(records):
        assert frame["title"].iloc[row] == (title.strip() or None)
        for name in names:
            assert frame[name].iloc[row] == fields.get(name)


def test_the_same_fields_as_rdkit_reads(tmp_path: Path) -> None:
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    data = (
        ">  <IC50>  (1) \n>10\n\n> <a<b>c>\nx\ny\n   \nz\n\n> 25 <name> DT3\nv\n\n> <empty>\n\n"
        "> <same>\n1\n\n> <same>\n2\n\n"
    )
    path = tmp_path / "t.sdf"
    path.write_text(block + data + "$$$$\n" + block + "$$$$")
    with rdBase.BlockLogs():
        expected = next(Chem.SDMolSupplier(str(path))).GetPropsAsDict(autoConvertStrings=False)
    table = Table(path)
    first, second = whole(table).to_dict("records")
    assert {name: value or "" for name, value in first.items() if name not in ("structure", "title")} == expected
    assert all(value is None for name, value in second.items() if name != "structure")


def test_broken_records_are_rows(tmp_path: Path) -> None:
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    texts = [block, "no structure at all\n> <y>\n1\n\n", "", block.replace("M  END\n", "") + "\n> <y>\n2\n\n", block]
    path = tmp_path / "t.sdf"
    path.write_text("$$$$\n".join(texts))
    frame = whole(Table(path))
    assert frame["structure"].tolist() == [
        block,
        "no structure at all\n",
        None,
        block.replace("M  END\n", "") + "\n",
        block,
    ]
    assert frame["y"].tolist() == [None, "1", None, "2", None]


def test_reserved_names_and_other_encodings(tmp_path: Path) -> None:
    block = "naïve".encode("latin-1") + Chem.MolToMolBlock(Chem.MolFromSmiles("C")).encode()
    path = tmp_path / "t.sdf"
    path.write_bytes(block + b"> <title>\nold\n\n> <structure>\nx\n\n$$$$\n")
    table = Table(path)
    assert table.columns == ["structure", "title", "title_field", "structure_field"]
    (row,) = whole(table).to_dict("records")
    assert (row["title"], row["title_field"], row["structure_field"]) == ("naïve", "old", "x")


def test_fields_of_several_files_and_of_the_first_rows(tmp_path: Path) -> None:
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    for number in range(3):
        (tmp_path / f"t_{number}.sdf").write_text(f"{block}> <y{number}>\n{number}\n\n$$$$\n{block}$$$$\n")
    table = Table(tmp_path / "t_*.sdf")
    assert table.columns == ["structure", "title", "y0", "y1", "y2"]
    assert whole(table)["y1"].tolist() == [None, None, "1", None, None, None]
    assert table.holds_structures
    some = Table(tmp_path / "t_*.sdf", limit=3)
    assert (some.columns, some.num_rows, some.limited) == (["structure", "title", "y0", "y1"], 3, True)
    four = Table(tmp_path / "t_*.sdf", limit=6)
    assert (four.num_rows, four.limited) == (6, False)


@pytest.mark.parametrize(
    "end", ["> <y>\n1\n", "> <y>\n", "cut in the middle"], ids=["in a field", "in a header", "in a structure"]
)
def test_a_cut_file_is_noticed(tmp_path: Path, end: str) -> None:
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    path = tmp_path / "t.sdf"
    path.write_text(f"{block}$$$$\n" + (block if ">" in end else "") + end)
    with pytest.raises(GraphiumError, match="truncated or damaged .the last record has no line"):
        _ = Table(path).num_rows


def test_what_is_no_sdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphium.data.tables.sdf._LARGEST_RECORD", 1000)
    path = tmp_path / "t.sdf"
    path.write_text("CCO\n" * 1000)
    with pytest.raises(GraphiumError, match=r"has no line '\$\$\$\$' in 4,000 bytes; give an SDF file"):
        _ = Table(path).columns


def test_a_real_file(shared_data: Path) -> None:
    path = shared_data / "nmr_cascade" / "DFT8K_DFT.sdf.gz"
    table = Table(path)
    assert (table.num_rows, table.columns) == (7_454, ["structure", "title"])
    _, frame = next(Table(path, limit=300).chunks(["title", "structure"], 300))
    with gzip.open(path) as file:
        for row, mol in zip(range(300), Chem.ForwardSDMolSupplier(file, removeHs=False), strict=False):
            assert frame["title"].iloc[row] == mol.GetProp("_Name")
            assert Chem.MolToMolBlock(Chem.MolFromMolBlock(frame["structure"].iloc[row], removeHs=False)) == (
                Chem.MolToMolBlock(mol)
            )
