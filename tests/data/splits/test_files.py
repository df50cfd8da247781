from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.splits import files as split_files
from graphium.data.splits.files import read_split, write_split
from graphium.errors import GraphiumError
from graphium.types import PARTS


def sizes(parts: np.ndarray) -> dict[str, int]:
    return {name: int((parts == code).sum()) for code, name in enumerate(PARTS) if (parts == code).any()}


def torch_file(path: Path, kind: str, indices: dict[str, list[int]]) -> None:
    make: dict[str, Any] = {"list": list, "array": np.array, "tensor": torch.tensor}
    make |= {"int32": lambda i: np.array(i, dtype=np.int32), "scalars": lambda i: list(np.array(i))}
    torch.save({part: make[kind](rows) for part, rows in indices.items()}, path)


INDICES = {"train": [4, 0, 2], "val": [1], "test": [5, 3]}
EXPECTED = [0, 1, 0, 2, 0, 2, -1]


@pytest.mark.parametrize("kind", ["list", "array", "tensor", "int32", "scalars"])
def test_torch_files(tmp_path: Path, kind: str) -> None:
    torch_file(tmp_path / "split.pt", kind, INDICES)
    assert read_split(tmp_path / "split.pt", 7).tolist() == EXPECTED


@pytest.mark.parametrize("name", ["split.csv", "split.csv.gz", "split.parquet"])
def test_table_files(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({part: pd.Series(rows) for part, rows in INDICES.items()}).rename(columns={"val": "valid"})
    frame = frame.reset_index(names="Unnamed: 0")
    if name.endswith("parquet"):
        frame.to_parquet(tmp_path / name)
    else:
        frame.to_csv(tmp_path / name, index=False)
    assert read_split(tmp_path / name, 7).tolist() == EXPECTED


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code ran",))


def test_a_torch_file_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"train": Evil()}, tmp_path / "split.pt")
    with pytest.raises(GraphiumError, match="cannot read the split file"):
        read_split(tmp_path / "split.pt", 7)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"train": [0, 6]}, "row 6 in part 'train' is out of range, the table has 6 rows"),
        ({"train": [0, -1]}, "row -1 in part 'train' is out of range"),
        ({"train": [0, 3], "test": [2, 3]}, "row 3 is in two parts, 'train' and 'test'"),
        ({"val": [0]}, "has no part `train`"),
        ({"train": [0], "val": [1], "valid": [2]}, "has val and valid for part 'val'; keep one"),
        ({"train": [0.5]}, r"0\.5 is not a row number"),
        ({"train": "abc"}, "not a row number"),
        ([1, 2], "holds a list"),
    ],
)
def test_bad_split_files(tmp_path: Path, content: Any, sentence: str) -> None:
    torch.save(content, tmp_path / "split.pt")
    with pytest.raises(GraphiumError, match=sentence):
        read_split(tmp_path / "split.pt", 6)


def test_a_broken_torch_file(tmp_path: Path) -> None:
    (tmp_path / "split.pt").write_bytes(b"no torch file")
    with pytest.raises(GraphiumError, match="cannot read the split file"):
        read_split(tmp_path / "split.pt", 6)


def test_a_limit_cuts_the_split_too(tmp_path: Path) -> None:
    torch_file(tmp_path / "split.pt", "list", INDICES)
    assert read_split(tmp_path / "split.pt", 3, limited=True).tolist() == [0, 1, 0]
    with pytest.raises(GraphiumError, match="out of range"):
        read_split(tmp_path / "split.pt", 3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-1, 3), max_size=40), st.sampled_from(["s.csv", "s.parquet"]), st.integers(1, 7))
def test_written_splits_read_back(
    tmp_path_factory: pytest.TempPathFactory, codes: list[int], name: str, at_once: int
) -> None:
    """In pieces of a few rows too."""
    parts = np.array([0, *codes], dtype=np.int8)
    path = tmp_path_factory.mktemp("split") / "splits" / name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split_files, "AT_ONCE", at_once)
        write_split(path, parts)
        np.testing.assert_array_equal(read_split(path, len(parts)), parts)
    assert [file.name for file in path.parent.iterdir()] == [name]
    frame = pd.read_csv(path) if name == "s.csv" else pd.read_parquet(path)
    assert list(frame) == list(PARTS[: 4 if 3 in codes else 3])
    for code, part in enumerate(frame):
        assert frame[part].dropna().astype(int).tolist() == np.flatnonzero(parts == code).tolist()


def test_a_split_of_nothing_is_written(tmp_path: Path) -> None:
    write_split(tmp_path / "s.csv", np.full(3, -1, np.int8))
    assert (tmp_path / "s.csv").read_text() == "train,val,test\n"
    assert read_split(tmp_path / "s.csv", 3).tolist() == [-1, -1, -1]


# The published splits


@pytest.mark.parametrize(
    ("table", "split", "rows", "expected"),
    [
        ("qm9.csv.gz", "qm9_random_splits.csv.gz", 130_831, (104_661, 13_069, 13_101)),
        ("Tox21-7k-12-labels.csv.gz", "Tox21_random_splits.csv.gz", 7_831, (6_265, 783, 783)),
        ("ZINC12k.csv.gz", "ZINC12k_random_splits.csv.gz", 12_000, (9_600, 1_200, 1_200)),
        ("ZINC12k.csv.gz", "ZINC12k_benchgnn_splits.csv.gz", 12_000, (10_000, 1_000, 1_000)),
    ],
)
def test_toymix_splits(shared_data: Path, table: str, split: str, rows: int, expected: tuple[int, ...]) -> None:
    parts = read_split(shared_data / "toymix" / split, rows)
    assert sizes(parts) == dict(zip(PARTS, expected, strict=False))
    assert (parts >= 0).all()


def test_the_original_qm9_split_does_not_fit_the_shorter_file(shared_data: Path) -> None:
    path = shared_data / "toymix" / "qm9_random_splits_133885.csv.gz"
    assert sizes(read_split(path, 133_885)) == {"train": 107_109, "val": 13_388, "test": 13_388}
    with pytest.raises(GraphiumError, match="out of range, the table has 130831 rows"):
        read_split(path, 130_831)
