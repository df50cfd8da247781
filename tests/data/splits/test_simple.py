from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.splits.drawing import share_out
from graphium.data.splits.simple import SplitContext
from graphium.errors import GraphiumError
from graphium.registry import build
from graphium.types import PARTS


def in_pieces(column: list[Any], size: int) -> Any:
    """The column as a table hands it out: some rows at a time, each piece with a dtype of its own."""

    def chunks(columns: Sequence[str], _: int) -> Iterator[tuple[int, pd.DataFrame]]:
        for start in range(0, len(column), size):
            yield start, pd.DataFrame({columns[0]: column[start : start + size]})

    return chunks


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
            "chunks": in_pieces(column or [], len(molecule)),
            "locate": lambda path, **_: (folder or Path()) / path,
            "dataset": "mine",
            **more,
        }
    )


def shuffled(context: SplitContext, column: list[Any], seed: int) -> tuple[SplitContext, np.ndarray]:
    """The same table with its rows in another order, its molecules numbered by first appearance there."""
    order = np.random.default_rng(seed).permutation(context.num_rows)
    molecule = context.row_molecule[order]
    known = molecule[molecule >= 0]
    first = known[np.sort(np.unique(known, return_index=True)[1])]
    number = np.full(context.num_molecules, -1)
    number[first] = np.arange(len(first))
    renamed = np.where(molecule < 0, -1, number[molecule])
    return make_context(renamed, [column[row] for row in order], id=context.id[first]), order


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


@pytest.mark.parametrize("part", PARTS)
def test_whole(part: str) -> None:
    context = make_context([0, -1, 1, 0])
    assert build("split", {"name": "whole", "part": part})(context).tolist() == [PARTS.index(part)] * 4
    assert build("split", "whole")(context).tolist() == [PARTS.index("test")] * 4
    with pytest.raises(GraphiumError, match="part is 'tset'"):
        build("split", {"name": "whole", "part": "tset"})


def test_column_words() -> None:
    words = ["train", "Valid", " TEST ", None, "", "test_seen", "training"]
    parts = build("split", {"name": "column", "column": "part"})(make_context(np.arange(7), words))
    assert parts.tolist() == [0, 1, 2, -1, -1, 3, 0]


def test_column_with_its_own_words() -> None:
    split = build("split", {"name": "column", "column": "fold", "names": {"train": "1", "test": "2"}})
    assert split(make_context(np.arange(3), [1, 2, 1])).tolist() == [0, 2, 0]
    # A column with a gap is read as float.
    assert split(make_context(np.arange(3), [1, None, 2])).tolist() == [0, -1, 2]
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
    with pytest.raises(GraphiumError, match="the split column 'part' is empty"):
        build("split", {"name": "column", "column": "part"})(make_context([0, 1], [None, ""]))


# Every split that is drawn


DRAWN = [
    {"name": "random"},
    {"name": "stratified", "column": "y"},
    {"name": "stratified", "column": "y", "bins": 3},
    {"name": "time", "column": "y"},
]


@pytest.mark.parametrize("options", DRAWN)
@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.integers(-1, 40), min_size=60, max_size=120), seed=st.integers(0, 3), data=st.data())
def test_drawn_splits(options: dict[str, Any], rows: list[int], seed: int, data: st.DataObject) -> None:
    """Repeats stay together, the order of rows changes nothing, sizes are exact."""
    value = data.draw(st.lists(st.integers(0, 4), min_size=len(rows), max_size=len(rows)))
    # Many rows of every class, so that none has too few molecules.
    rows, value = rows + list(range(41, 101)), value + [0, 1, 2, 3, 4] * 12
    present = sorted(set(rows) - {-1})
    molecule = np.array([present.index(row) if row >= 0 else -1 for row in rows])
    context = make_context(molecule, value)
    split = build("split", {**options, "seed": seed})
    parts = split(context)
    assert (parts[molecule < 0] == -1).all()
    part_of = {number: set(parts[molecule == number].tolist()) for number in range(len(present))}
    assert all(len(part) == 1 for part in part_of.values())
    of_molecule = np.array([part_of[number].copy().pop() for number in range(len(present))])
    assert np.bincount(of_molecule).tolist() == share_out(len(present), (0.8, 0.1, 0.1)).tolist()

    other, order = shuffled(context, value, seed)
    np.testing.assert_array_equal(split(other), parts[order])
    in_chunks = replace(context, chunks=in_pieces(value, 7))
    np.testing.assert_array_equal(split(in_chunks), parts)


# Stratified


def test_stratified_shares_out_every_class() -> None:
    rng = np.random.default_rng(0)
    value = rng.choice(["a", "b", None], 500, p=[0.7, 0.2, 0.1]).tolist()
    parts = build("split", {"name": "stratified", "column": "y"})(make_context(np.arange(500), value))
    assert sizes(parts) == {"train": 400, "val": 50, "test": 50}
    for word in ("a", "b", None):
        mine = parts[[cell == word for cell in value]]
        for code, share in enumerate((0.8, 0.1, 0.1)):
            assert abs((mine == code).sum() - share * len(mine)) <= 1


def test_stratified_takes_the_smallest_value_of_a_molecule() -> None:
    """Rows of one molecule disagree: the class that counts does not depend on their order."""
    molecule = np.repeat(np.arange(100), 2)
    value = np.stack([np.full(100, 9), np.arange(100) % 2], axis=1).ravel()
    split = build("split", {"name": "stratified", "column": "y", "train": 0.5, "val": 0.0, "test": 0.5})
    parts = split(make_context(molecule, [*value[:-4].tolist(), None, 9, None, 9]))
    assert sizes(parts) == {"train": 100, "test": 100}
    part = parts[::2]
    for members in (slice(0, 98, 2), slice(1, 98, 2), slice(98, 100)):
        mine = part[members]
        assert abs((mine == 0).sum() - len(mine) / 2) <= 1
    # The class 9 has no molecule of its own here, which is no error.
    split(make_context(molecule, value.tolist()))


def test_stratified_numbers_in_pieces_of_other_dtypes() -> None:
    """A piece with a gap is read as float: 1.0 and 1 are one class."""
    value = [1, 2] * 10 + [1, None] * 10 + [2, 1] * 10
    context = make_context(np.arange(60), value, chunks=in_pieces(value, 20))
    split = build("split", {"name": "stratified", "column": "y"})
    np.testing.assert_array_equal(split(context), split(make_context(np.arange(60), value)))


def test_stratified_by_quantiles() -> None:
    rng = np.random.default_rng(1)
    value = rng.normal(size=1000)
    value[:40] = np.nan
    split = build("split", {"name": "stratified", "column": "y", "bins": 4})
    parts = split(make_context(np.arange(1000), value.tolist()))
    assert sizes(parts) == {"train": 800, "val": 100, "test": 100}
    edges = np.sort(value[40:])[[240, 480, 720]]
    binned = np.where(np.isnan(value), 4, np.searchsorted(edges, value, side="right"))
    for number, size in enumerate((240, 240, 240, 240, 40)):
        assert (binned == number).sum() == size
        assert (parts[binned == number] == PARTS.index("test")).sum() == size // 10


@pytest.mark.parametrize(
    ("column", "options", "sentence"),
    [
        (["a"] * 20, {}, "the split column 'y' has the same value in every row"),
        ([None] * 20, {}, "the split column 'y' is empty"),
        ([1.5] * 20, {"bins": 2}, "the split column 'y' has the same value in every row"),
        (["a"] * 18 + ["b"] * 2, {}, r"class 'b' of split column 'y' has 2 molecules for 3 parts; merge"),
        ([*range(20)], {"bins": 1}, r"split\.bins is 1"),
        ([*range(19), "x"], {"bins": 2}, r"row 19: 'x' is not a number"),
        ([*range(20)], {"train": 2}, "between 0 and 1"),
    ],
)
def test_bad_strata(column: list[Any], options: dict[str, Any], sentence: str) -> None:
    split = build("split", {"name": "stratified", "column": "y", **options})
    with pytest.raises(GraphiumError, match=sentence):
        split.check(make_context(np.arange(20), column, id=np.zeros((0, 2), np.uint64)))
    with pytest.raises(GraphiumError, match=sentence):
        split(make_context(np.arange(20), column))


def test_too_many_classes() -> None:
    split = build("split", {"name": "stratified", "column": "y"})
    with pytest.raises(GraphiumError, match=r"more than 1,000 different values; .*split\.bins=10"):
        split.check(make_context(np.arange(1500), [*range(1500)]))


# Time


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda day: day, {}),
        (lambda day: 2000 + day / 7, {}),
        (lambda day: str(pd.Timestamp("2015-01-30") + pd.Timedelta(days=day))[:10], {}),
        (lambda day: pd.Timestamp("2015-01-30") + pd.Timedelta(days=day), {}),
        (lambda day: (pd.Timestamp("2015-01-30") + pd.Timedelta(days=day)).date(), {}),
        (
            lambda day: (pd.Timestamp("2015-01-30") + pd.Timedelta(days=day)).strftime("%d/%m/%Y"),
            {"format": "%d/%m/%Y"},
        ),
        (
            lambda day: int((pd.Timestamp("2015-01-30") + pd.Timedelta(days=day)).strftime("%Y%m%d")),
            {"format": "%Y%m%d"},
        ),
    ],
)
def test_the_oldest_are_trained_on(make: Any, options: dict[str, Any]) -> None:
    day = np.random.default_rng(2).permutation(100).tolist()
    column = [None if number == 99 else make(number) for number in day]
    said: list[str] = []
    split = build("split", {"name": "time", "column": "y", **options})
    parts = split(make_context(np.arange(100), column, tell=said.append))
    by_age = parts[np.argsort(day)]
    assert by_age.tolist() == [0] * 79 + [1] * 10 + [2] * 10 + [-1]
    assert said == ["1 molecule has no date in column 'y': in no part"]
    pieces = make_context(np.arange(100), column, chunks=in_pieces(column, 9))
    np.testing.assert_array_equal(split(pieces), parts)


def test_a_molecule_is_as_old_as_its_earliest_row() -> None:
    molecule = np.concatenate([np.arange(10), np.arange(10)])
    year = [*range(2000, 2010), *range(2009, 1999, -1)]
    parts = build("split", {"name": "time", "column": "y", "train": 0.6, "val": 0.2, "test": 0.2})(
        make_context(molecule, year)
    )
    age = [min(number, 9 - number) for number in range(10)]
    assert sorted(zip(age, parts[:10].tolist(), strict=True)) == [
        (0, 0), (0, 0), (1, 0), (1, 0), (2, 0), (2, 0), (3, 1), (3, 1), (4, 2), (4, 2)
    ]  # fmt: skip


def test_molecules_of_one_age_are_drawn() -> None:
    year = [2000] * 50 + [2001] * 40 + [2002] * 10
    split = {"name": "time", "column": "y", "train": 0.6, "val": 0.2, "test": 0.1}
    parts = build("split", split)(make_context(np.arange(100), year))
    assert sizes(parts) == {"train": 60, "val": 20, "test": 10}
    assert (parts[:50] == 0).all()
    assert sizes(parts[50:90]) == {"train": 10, "val": 20, "test": 10}
    assert (parts[90:] == -1).all()
    other = build("split", {**split, "seed": 1})(make_context(np.arange(100), year))
    assert sizes(other) == sizes(parts)
    assert (other != parts).any()


@pytest.mark.parametrize(
    ("column", "options", "sentence"),
    [
        (
            ["2015-01-01", "soon"],
            {},
            r"split column 'y', row 1: 'soon' is not a date like 2015-03-31 \(see split.format",
        ),
        (["2015-01-01", "03/04/2015"], {}, "row 1: '03/04/2015' is not a date"),
        (["2015-01-01", "2015-02-01"], {"format": "%d/%m/%Y"}, "row 0: '2015-01-01' is not a date like %d/%m/%Y"),
        ([2015, "2015-02-01"], {}, "row 1: '2015-02-01' is not a number"),
        ([2015, 2015], {}, "has the same value in every row"),
        ([None, ""], {}, "is empty"),
    ],
)
def test_bad_dates(column: list[Any], options: dict[str, Any], sentence: str) -> None:
    split = build("split", {"name": "time", "column": "y", **options})
    for context in (make_context([0, 1], column), make_context([0, 1], column, chunks=in_pieces(column, 1))):
        with pytest.raises(GraphiumError, match=sentence):
            split.check(context)
        with pytest.raises(GraphiumError, match=sentence):
            split(context)
