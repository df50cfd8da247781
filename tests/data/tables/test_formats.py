from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.tables.formats import exact_chunks, split_ending
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=6), st.integers(1, 9))
def test_frames_are_cut_and_joined(lengths: list[int], size: int) -> None:
    total = sum(lengths)
    whole = pd.DataFrame({"n": range(total), "text": [str(n) for n in range(total)]})
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    pieces = [whole.iloc[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    chunks = list(exact_chunks(iter(pieces), size))
    assert [len(chunk) for chunk in chunks] == [min(size, total - start) for start in range(0, total, size)]
    assert [n for chunk in chunks for n in chunk["n"]] == list(range(total))
    assert [text for chunk in chunks for text in chunk["text"]] == whole["text"].tolist()


def test_endings() -> None:
    assert split_ending("a.b.CSV.GZ") == (".csv", ".gz")
    assert split_ending("a.sdf") == (".sdf", "")
    assert split_ending("gz") == ("", "")
    assert split_ending("a.gz") == ("", ".gz")


# SMI

LINES = """smiles name of it

CCO ethanol, 96 %
# a comment
c1ccccc1\tbenzene
C[C@H](N)O |o1:1| left or right
CC |(0,0,;1,1,),atomProp:0.x.a b|
  N
[H]C([H])([H])[H] |$;;_R1$| \t methane\t
"""
EXPECTED = {
    "smiles": [
        "CCO",
        "c1ccccc1",
        "C[C@H](N)O |o1:1|",
        "CC |(0,0,;1,1,),atomProp:0.x.a b|",
        "N",
        "[H]C([H])([H])[H] |$;;_R1$|",
    ],
    "name": ["ethanol, 96 %", "benzene", "left or right", None, None, "methane"],
}


@pytest.mark.parametrize("ending", [".smi", ".smi.gz", ".smiles.zip", ".cxsmiles"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 4, 9])
@pytest.mark.parametrize("has_header", [True, False])
def test_smi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, newline: str, size: int, has_header: bool
) -> None:
    monkeypatch.setattr("graphium.data.tables.formats._BLOCK_BYTES", 20)
    text = LINES if has_header else LINES.split("\n", 1)[1]
    content = ("\ufeff" + text).replace("\n", newline).encode()
    path = tmp_path / f"t{ending}"
    if ending.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("t.smiles", content)
    else:
        path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    table = Table(path)
    assert (table.columns, table.num_rows) == (["smiles", "name"], 6)
    frame = pd.concat([frame for _, frame in table.chunks(table.columns, size)])
    assert frame["smiles"].tolist() == EXPECTED["smiles"]
    assert [None if pd.isna(name) else name for name in frame["name"]] == EXPECTED["name"]
    assert [len(frame) for _, frame in table.chunks(["name"], 4)] == [4, 2]


def test_smi_without_names_and_without_lines(tmp_path: Path) -> None:
    (tmp_path / "t.smi").write_text("C\nCC\n")
    assert Table(tmp_path / "t.smi").column("name").isna().all()
    (tmp_path / "t.smi").write_text("SMILES\n# nothing\n")
    assert Table(tmp_path / "t.smi").num_rows == 0


# Archives


def test_an_archive_holds_one_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/._t.csv", b"\x00")
        archive.writestr("folder/t.csv", "smiles,y\nC,1\n")
        archive.writestr("folder/", "")
    assert Table(path).column("y").tolist() == [1]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("u.csv", "smiles,y\nC,1\n")
    with pytest.raises(GraphiumError, match="holds 2 files; give an archive of one file"):
        _ = Table(path).columns


def test_a_damaged_archive(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", "smiles,y\n" + "".join(f"C,{n}\n" for n in range(9000)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(GraphiumError, match="truncated or damaged"):
        _ = Table(path).num_rows


def test_a_parquet_file_with_two_columns_of_one_name(tmp_path: Path) -> None:
    columns = [pa.array(["C"]), pa.array([1.0]), pa.array([2.0])]
    pq.write_table(pa.Table.from_arrays(columns, names=["smiles", "y", "y"]), tmp_path / "t.parquet")
    with pytest.raises(GraphiumError, match="t.parquet' has two columns 'y'; rename"):
        Table(tmp_path / "t.parquet").columns  # noqa: B018
