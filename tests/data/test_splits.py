from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.splits import SplitContext, assign, read_indices, read_split, write_split
from graphium.errors import GraphiumError
from graphium.registry import build
from graphium.types import PARTS


def make_context(
    row_molecule: np.ndarray | list[int], column: list[Any] | None = None, folder: Path | None = None, **more: Any
) -> SplitContext:
    molecule = np.asarray(row_molecule)
    ids = np.random.default_rng(3).integers(0, 2**63, (int(molecule.max(initial=-1)) + 1, 2)).astype(np.uint64)
    return SplitContext(
        **{
            "num_rows": len(molecule),
            "row_molecule": molecule,
            "id": ids,
            "column": lambda name: pd.Series(column, name=name),
            "locate": lambda path, **_: (folder or Path()) / path,
            "dataset": "mine",
            **more,
        }
    )


def sizes(parts: np.ndarray) -> dict[str, int]:
    return {name: int((parts == code).sum()) for code, name in enumerate(PARTS) if (parts == code).any()}


# Random


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-1, 12), min_size=1, max_size=60), st.integers(0, 5))
def test_random_keeps_repeats_together(rows: list[int], seed: int) -> None:
    context = make_context(rows)
    parts = build("split", {"name": "random", "seed": seed})(context)
    molecule = context.row_molecule
    assert parts.dtype == np.int8
    assert (parts[molecule < 0] == -1).all()
    for number in set(rows) - {-1}:
        assert len(set(parts[molecule == number])) == 1
        assert parts[molecule == number][0] >= 0


def test_random_does_not_depend_on_the_order_of_rows() -> None:
    rows = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3, 1, -1, 10, 11])
    context = make_context(rows)
    split = build("split", "random")
    expected = dict(zip(context.row_molecule.tolist(), split(context).tolist(), strict=True))
    # The same molecules in another order of appearance have other numbers and the same ids.
    shuffle = np.random.default_rng(0).permutation(12)
    renamed = make_context(np.where(rows < 0, -1, shuffle[rows])[::-1], id=context.id[np.argsort(shuffle)])
    again = split(renamed)[::-1]
    assert [expected[molecule] for molecule in rows.tolist()] == again.tolist()


@pytest.mark.parametrize(
    ("molecules", "expected"),
    [
        (1000, {"train": 800, "val": 100, "test": 100}),
        (11, {"train": 9, "val": 1, "test": 1}),
        (5, {"train": 3, "val": 1, "test": 1}),
        (3, {"train": 1, "val": 1, "test": 1}),
        (2, {"train": 1, "val": 1}),
        (1, {"train": 1}),
    ],
)
def test_random_shares(molecules: int, expected: dict[str, int]) -> None:
    assert sizes(build("split", "random")(make_context(np.arange(molecules)))) == expected


def test_random_shares_may_leave_rows_out() -> None:
    parts = build("split", {"name": "random", "train": 0.5, "val": 0.0, "test": 0.25})(make_context(np.arange(100)))
    assert sizes(parts) == {"train": 50, "test": 25}


def test_random_seeds_differ() -> None:
    context = make_context(np.arange(50))
    first, again, other = (build("split", {"name": "random", "seed": seed})(context) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("options", [{"train": 1.2}, {"val": -0.1}, {"train": 0.9, "val": 0.2}])
def test_random_refuses_shares(options: dict[str, float]) -> None:
    with pytest.raises(GraphiumError, match=r"share"):
        build("split", {"name": "random", **options})(make_context(np.arange(10)))


# Column


def test_column_words() -> None:
    words = ["train", "Valid", " TEST ", None, "", "test_seen", "training"]
    parts = build("split", {"name": "column", "column": "part"})(make_context(np.arange(7), words))
    assert parts.tolist() == [0, 1, 2, -1, -1, 3, 0]


def test_column_with_its_own_words() -> None:
    split = build("split", {"name": "column", "column": "fold", "names": {"train": "1", "test": "2"}})
    assert split(make_context(np.arange(3), [1, 2, 1])).tolist() == [0, 2, 0]
    with pytest.raises(GraphiumError, match=r"split column 'fold', row 2: '3' is not a part.*split\.names"):
        split(make_context(np.arange(3), [1, 2, 3]))
    with pytest.raises(GraphiumError, match=r"split\.names has 'trian'"):
        build("split", {"name": "column", "column": "fold", "names": {"trian": "1"}})(make_context([0], [1]))


def test_column_draws_val_out_of_train() -> None:
    molecule = np.concatenate([np.arange(100), np.arange(10), [-1]])
    words = ["train"] * 80 + ["test"] * 20 + ["train"] * 10 + ["train"]
    split = build("split", {"name": "column", "column": "part", "val_fraction": 0.25})
    context = make_context(molecule, words)
    parts = split(context)
    assert (parts[80:100] == PARTS.index("test")).all()
    assert len(set(molecule[parts == PARTS.index("val")])) == 20
    for number in range(10):
        assert len(set(parts[molecule == number])) == 1
    np.testing.assert_array_equal(parts, split(context))
    with pytest.raises(GraphiumError, match="has a val part already"):
        split(make_context([0, 1], ["train", "val"]))
    with pytest.raises(GraphiumError, match="between 0 and 1"):
        build("split", {"name": "column", "column": "part", "val_fraction": 2})(make_context([0], ["train"]))


# Files


def torch_file(path: Path, kind: str, indices: dict[str, list[int]]) -> None:
    make: dict[str, Any] = {"list": list, "array": np.array, "tensor": torch.tensor}
    make |= {"int32": lambda i: np.array(i, dtype=np.int32), "scalars": lambda i: list(np.array(i))}
    torch.save({part: make[kind](rows) for part, rows in indices.items()}, path)


INDICES = {"train": [4, 0, 2], "val": [1], "test": [5, 3]}


@pytest.mark.parametrize("kind", ["list", "array", "tensor", "int32", "scalars"])
def test_torch_files(tmp_path: Path, kind: str) -> None:
    torch_file(tmp_path / "split.pt", kind, INDICES)
    assert {part: rows.tolist() for part, rows in read_indices(tmp_path / "split.pt").items()} == INDICES


@pytest.mark.parametrize("name", ["split.csv", "split.csv.gz", "split.parquet"])
def test_table_files(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({part: pd.Series(rows) for part, rows in INDICES.items()}).rename(columns={"val": "valid"})
    frame = frame.reset_index(names="Unnamed: 0")
    if name.endswith("parquet"):
        frame.to_parquet(tmp_path / name)
    else:
        frame.to_csv(tmp_path / name, index=False)
    assert {part: rows.tolist() for part, rows in read_indices(tmp_path / name).items()} == INDICES


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code ran",))


def test_a_torch_file_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"train": Evil()}, tmp_path / "split.pt")
    with pytest.raises(GraphiumError, match="cannot read the split file"):
        read_indices(tmp_path / "split.pt")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"train": [0, 6]}, "row 6 in part 'train' is out of range, the table has 6 rows"),
        ({"train": [0, -1]}, "row -1 in part 'train' is out of range"),
        ({"train": [0, 3], "test": [2, 3]}, "row 3 is in two parts, 'train' and 'test'"),
        ({"val": [0]}, "has no part `train`"),
        ({"train": [0.5]}, r"0\.5 is not a row number"),
        ({"train": "abc"}, "not a row number"),
        ([1, 2], "holds a list"),
    ],
)
def test_bad_split_files(tmp_path: Path, content: Any, sentence: str) -> None:
    torch.save(content, tmp_path / "split.pt")
    with pytest.raises(GraphiumError, match=sentence):
        build("split", {"name": "file", "path": "split.pt"})(make_context(np.arange(6), folder=tmp_path))


def test_a_broken_torch_file(tmp_path: Path) -> None:
    (tmp_path / "split.pt").write_bytes(b"no torch file")
    with pytest.raises(GraphiumError, match="cannot read the split file"):
        read_indices(tmp_path / "split.pt")


def test_a_limit_cuts_the_split_too(tmp_path: Path) -> None:
    torch_file(tmp_path / "split.pt", "list", INDICES)
    split = build("split", {"name": "file", "path": "split.pt"})
    assert split(make_context(np.arange(3), folder=tmp_path, limited=True)).tolist() == [0, 1, 0]
    with pytest.raises(GraphiumError, match="out of range"):
        split(make_context(np.arange(3), folder=tmp_path))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-1, 3), min_size=1, max_size=40))
def test_written_splits_read_back(tmp_path_factory: pytest.TempPathFactory, codes: list[int]) -> None:
    parts = np.array([0, *codes], dtype=np.int8)
    path = tmp_path_factory.mktemp("split") / "splits" / "s.csv"
    write_split(path, parts)
    np.testing.assert_array_equal(read_split(path, len(parts)), parts)
    assert [file.name for file in path.parent.iterdir()] == ["s.csv"]
    assert ("test_seen" in path.read_text().splitlines()[0]) == (3 in codes)


def test_assign_equals_a_loop() -> None:
    indices = {"train": np.array([3, 1]), "test_seen": np.array([0, 0])}
    assert assign(indices, 5, "s").tolist() == [3, 0, -1, 0, -1]


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
    parts = assign(read_indices(shared_data / "toymix" / split), rows, split)
    assert sizes(parts) == dict(zip(PARTS, expected, strict=False))
    assert (parts >= 0).all()


def test_the_original_qm9_split_does_not_fit_the_shorter_file(shared_data: Path) -> None:
    name = "qm9_random_splits_133885.csv.gz"
    indices = read_indices(shared_data / "toymix" / name)
    assert sizes(assign(indices, 133_885, name)) == {"train": 107_109, "val": 13_388, "test": 13_388}
    with pytest.raises(GraphiumError, match="out of range, the table has 130831 rows"):
        assign(indices, 130_831, name)
