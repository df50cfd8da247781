"""From file to file: resumes after a kill at any moment, the same bytes, one sentence on a full disk."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from graphium.data.store import chunks as store_chunks
from graphium.data.store.stages import DEADLY
from graphium.errors import GraphiumError
from graphium.models.tables import table_files
from graphium.models.tables.input_tables import InputTable
from graphium.models.tables.output_formats import CsvFormat
from graphium.models.tables.table_files import check_output, write_table

ROWS = 23


class Lengths:
    """New columns: the length of the text, and how many pieces of work came before; counts its calls."""

    def __init__(self, key: str = "lengths", stop_at: int = -1, deadly: str = "") -> None:
        self.key, self.stop_at, self.deadly = key, stop_at, deadly
        self.calls: list[int] = []

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("length", pa.int32()), ("piece", pa.int32()), ("status", pa.string())])

    def make(self, texts: Sequence[str | None], number: int) -> pa.Table:
        if number == self.stop_at:
            raise KeyboardInterrupt
        if self.deadly in texts:
            os.kill(os.getpid(), signal.SIGKILL)
        self.calls.append(number)
        status = ["ok" if text else "is an empty cell" for text in texts]
        length = [len(text) if text else None for text in texts]
        return pa.table([length, [number] * len(texts), status], schema=self.schema)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "CHUNK_ROWS", 4)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    texts = ["C" * (k + 1) if k % 5 else None for k in range(ROWS)]
    pd.DataFrame({"smiles": texts, "id": range(ROWS)}).to_csv(tmp_path / "in.csv", index=False)
    return tmp_path / "in.csv"


def write(table: Path, output: Path, maker: Lengths, **options: Any) -> dict[str, int]:
    return write_table(InputTable(table, "smiles"), output, maker, progress=False, **options)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_stopped_work_goes_on(table: Path, tmp_path: Path, suffix: str) -> None:
    whole, resumed = tmp_path / f"whole{suffix}", tmp_path / f"resumed{suffix}"
    assert write(table, whole, Lengths()) == {"rows": ROWS, "failures": 5}
    for stop in (0, 2, 4):
        with pytest.raises(KeyboardInterrupt):
            write(table, resumed, Lengths(stop_at=stop))
        assert not resumed.exists() and (tmp_path / f"resumed{suffix}.part").is_dir()
    maker = Lengths()
    assert write(table, resumed, maker) == {"rows": ROWS, "failures": 5} and maker.calls == [4, 5]
    assert resumed.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.csv", whole.name, resumed.name])
    frame = pd.read_parquet(whole) if suffix == ".parquet" else pd.read_csv(whole)
    assert list(frame) == ["smiles", "id", "length", "piece", "status"] and frame["id"].tolist() == list(range(ROWS))
    assert frame["length"].isna().tolist() == [k % 5 == 0 for k in range(ROWS)]


def test_other_work_begins_anew(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        write(table, output, Lengths(stop_at=3))
    assert "anew" not in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        write(table, output, Lengths(stop_at=3))
    assert "going on where an interrupted run was: 12 of 23 rows are there" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        write(table, output, Lengths("others", stop_at=2))
    assert "beginning anew" in capsys.readouterr().err
    time.sleep(0.01)
    pd.DataFrame({"smiles": ["CC"] * 9}).to_csv(table, index=False)
    maker = Lengths("others")
    assert write(table, output, maker) == {"rows": 9, "failures": 0} and maker.calls == [0, 1, 2]
    assert "beginning anew" in capsys.readouterr().err


def test_several_processes_write_the_same(table: Path, tmp_path: Path) -> None:
    write(table, tmp_path / "one.csv", Lengths())
    write(table, tmp_path / "two.csv", Lengths(), n_jobs=2)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    with pytest.raises(GraphiumError, match="jobs is 0"):
        write(table, tmp_path / "three.csv", Lengths(), n_jobs=0)


def test_a_row_that_kills_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("smiles\nC\nCCCC\nCC\n")
    table = InputTable(tmp_path / "in.csv", "smiles")
    ((_, cells),) = table.chunks(9)
    rows = table_files._each_row((0, cells))
    assert [row[1].to_pydict() for row in rows] == [{"smiles": ["C"]}, {"smiles": ["CCCC"]}, {"smiles": ["CC"]}]
    given = table_files._without_rows((0, cells), [1])
    chunk = table_files._chunk(Lengths(deadly="CCCC"), CsvFormat(), table.layout(False), *given)
    assert chunk.about == {"rows": 3, "failures": 1}
    assert bytes(chunk.columns["data"]) == f"C,1,0,ok\nCCCC,,0,{DEADLY}\nCC,2,0,ok\n".encode()


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
import pytest
from test_table_files import Lengths, write
from graphium.models.tables import table_files
from pathlib import Path
table_files.CHUNK_ROWS = 4
class Slow(Lengths):
    def make(self, texts, number):
        time.sleep(0.03)
        return super().make(texts, number)
print("ready", flush=True)
write(Path({table!r}), Path({output!r}), Slow())
"""


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.12])
def test_a_kill_at_any_moment(table: Path, tmp_path: Path, delay: float) -> None:
    whole, output = tmp_path / "whole.csv", tmp_path / "out.csv"
    write(table, whole, Lengths())
    code = KILLED.format(tests=str(Path(__file__).parent), table=str(table), output=str(output))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    time.sleep(delay)
    process.kill()
    process.wait()
    if not output.exists():
        write(table, output, Lengths())
    assert output.read_bytes() == whole.read_bytes()


def test_a_full_disk_is_one_sentence(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = store_chunks.create_file, [3]

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def create(path: Path) -> Any:
        left[0] -= 1
        return real(path) if left[0] >= 0 else Full()

    monkeypatch.setattr(store_chunks, "create_file", create)
    with pytest.raises(GraphiumError, match=r"the disk is full.*run the same command again"):
        write(table, tmp_path / "out.csv", Lengths())
    monkeypatch.setattr(store_chunks, "create_file", real)
    maker = Lengths()
    write(table, tmp_path / "out.csv", maker)
    assert maker.calls == [3, 4, 5]


def test_outputs_are_judged_first(table: Path, tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match="does not exist; make it first"):
        check_output(tmp_path / "no" / "out.csv")
    with pytest.raises(GraphiumError, match="suffix"):
        check_output(tmp_path / "out.txt")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(GraphiumError, match="is a folder"):
        check_output(tmp_path / "folder.csv", overwrite=True)
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(GraphiumError, match="exists; give another path, or say --overwrite"):
        write(table, tmp_path / "out.csv", Lengths())
    write(table, tmp_path / "out.csv", Lengths(), overwrite=True)
    assert len(pd.read_csv(tmp_path / "out.csv")) == ROWS
    with pytest.raises(GraphiumError, match="is the input"):
        write(table, table, Lengths(), overwrite=True)


def test_stdout(table: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write(table, tmp_path / "out.csv", Lengths())
    capfdbinary.readouterr()
    assert write(table, Path("-"), Lengths()) == {"rows": ROWS, "failures": 5}
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == (tmp_path / "out.csv").read_bytes()
