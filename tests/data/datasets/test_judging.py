"""A label outside its kind ends in one sentence before anything is prepared: dataset, column, row, value, mend."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from graphium.data.datasets import judging
from graphium.data.datasets.dataset import Dataset, LongForm
from graphium.data.datasets.resolve import ResolvedDataset, resolve
from graphium.errors import GraphiumError

SMILES = ["CCO", "CCN", "CCCl", "CCBr", "OCC", "CCS", "NCC", "CCF"]
WRONG = 5
LEVELS = ("graph", "node", "edge", "nodepair", "atoms", "bonds", "pairs")
GOOD = {"binary": [0, 1, 1], "ordinal": [0, 1, 2], "multiclass": [0, 1, 2], "regression": [0.5, 1.5, 2.5]}
NUMBERED: dict[str, dict[str, Any]] = {
    "atoms": {"atom": "i"},
    "bonds": {"bond": ["i", "j"]},
    "pairs": {"pair": ["i", "j"]},
}


def cells(level: str, good: list[Any], bad: Any) -> list[Any]:
    """One cell per molecule of three atoms; that of row 5 has the bad value at its second place."""
    found: list[Any] = []
    for row in range(len(SMILES)):
        values = [good[(row + k) % 3] for k in range(3)]
        if row == WRONG:
            values[1] = bad
        if level == "graph":
            found.append(values[1])
        elif level == "nodepair":
            found.append([[None, values[0], values[1]], [None, None, values[2]], [None, None, None]])
        else:
            found.append(values[: 2 if level == "edge" else 3])
    return found


def long_lines(level: str, good: list[Any], bad: Any) -> pd.DataFrame:
    ends = [(0, 1), (1, 2)] if level == "bonds" else [(0, 1), (0, 2), (1, 2)]
    lines = []
    for row, smiles in enumerate(SMILES):
        for k, (i, j) in enumerate(ends):
            value = bad if row == WRONG and k == 1 else good[(row + k) % 3]
            lines.append({"key": row, "smiles": smiles, "i": i, "j": j, "y": value})
    return pd.DataFrame(lines)


def write(folder: Path, level: str, good: list[Any], bad: Any, parquet: bool) -> tuple[Path, dict[str, Any]]:
    """Write a table with one bad label; returns its path and the dataset's fields beside it."""
    path = folder / f"mine.{'parquet' if parquet else 'csv'}"
    if level in NUMBERED:
        frame = long_lines(level, good, bad)
        fields: dict[str, Any] = {"long": LongForm("key", ["y"], **NUMBERED[level])}
    else:
        frame = pd.DataFrame({"smiles": SMILES, "y": pd.Series(cells(level, good, bad), dtype=object)})
        fields = {"level": level}
    is_text = isinstance(bad, str)
    if not parquet:
        if level in ("node", "edge", "nodepair"):
            frame["y"] = [json.dumps(cell) for cell in frame["y"]]
        frame.to_csv(path, index=False)
        return path, fields
    if level in ("graph", *NUMBERED):
        frame["y"] = frame["y"].astype(str if is_text else float)
    elif is_text:
        frame["y"] = [[str(value) for value in cell] for cell in frame["y"]]
    frame.to_parquet(path)
    return path, fields


def judge(path: Path, tmp_path: Path, **fields: Any) -> ResolvedDataset:
    dataset = Dataset("mine", str(path), smiles="smiles", targets=["y"], **fields)
    return resolve(dataset, data_dir=None, cache_dir=tmp_path / "cache", progress=False)


@pytest.mark.parametrize("parquet", [False, True], ids=["csv", "parquet"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("kind", "bad", "what"),
    [
        ("binary", 2, "2 is not 0 or 1, and the kind is binary"),
        ("binary", -0.5, "-0.5 is not 0 or 1"),
        ("binary", "yes", "'yes' "),
        ("ordinal", 7, "7(.0)? is none of the classes 0, 1, 2"),
        ("ordinal", 1.5, "1.5 is none of the classes 0, 1, 2"),
        ("ordinal", np.inf, "inf is none of the classes 0, 1, 2"),
        ("multiclass", "low", "'low' "),
        ("regression", np.inf, "inf is infinite or beyond 1e.150"),
        ("regression", -1e200, "-1e.200 is infinite or beyond 1e.150"),
        ("regression", "high", "'high' "),
        (None, -np.inf, "-inf is infinite"),
        (None, "high", "'high' "),
    ],
)
def test_a_label_outside_its_kind(
    tmp_path: Path, level: str, kind: str | None, bad: Any, what: str, parquet: bool
) -> None:
    if level == "nodepair" and parquet and isinstance(bad, str):
        pytest.skip("Parquet holds no matrices of texts and nulls")
    path, fields = write(tmp_path, level, GOOD[kind or "regression"], bad, parquet)
    if kind in ("ordinal", "multiclass"):
        fields["classes"] = ["0", "1", "2"]
    with pytest.raises(GraphiumError) as caught:
        judge(path, tmp_path, kind=kind, **fields)
    sentence = str(caught.value)
    # A line of the long form that holds text is named as the file counts it.
    line = {"atoms": 16, "bonds": 11, "pairs": 16}.get(level) if isinstance(bad, str) else None
    assert f", row {WRONG if line is None else line}" in sentence and "\n" not in sentence
    for part in ("dataset 'mine'", "column 'y'", "mend"):
        assert part in sentence, sentence
    assert re.search(what, sentence), sentence


@pytest.mark.parametrize("level", LEVELS)
def test_infinity_is_no_class(tmp_path: Path, level: str) -> None:
    path, fields = write(tmp_path, level, GOOD["multiclass"], np.inf, parquet=False)
    with pytest.raises(GraphiumError, match="column 'y', row 5: inf is infinite"):
        judge(path, tmp_path, kind="multiclass", **fields)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("parquet", [False, True], ids=["csv", "parquet"])
def test_classes_are_found_at_every_level(tmp_path: Path, level: str, parquet: bool) -> None:
    path, fields = write(tmp_path, level, GOOD["ordinal"], 3, parquet)
    (task,) = judge(path, tmp_path, kind="ordinal", **fields).tasks
    assert task.classes == ("0", "1", "2", "3")


def test_bounds_are_for_regression(tmp_path: Path) -> None:
    path, fields = write(tmp_path, "graph", GOOD["binary"], ">1", parquet=False)
    with pytest.raises(
        GraphiumError, match="column 'y', row 5: '>1' is a bound, and the kind is binary; bounds are for"
    ):
        judge(path, tmp_path, kind="binary", **fields)


def test_what_was_judged_once_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, fields = write(tmp_path, "node", GOOD["ordinal"], 1, parquet=False)
    judge(path, tmp_path, kind="ordinal", classes=["0", "1", "2"], **fields)
    monkeypatch.setattr(judging, "read_labels", lambda *_: pytest.fail("read again"))
    judge(path, tmp_path, kind="ordinal", classes=["0", "1", "2"], **fields)


def test_names_of_classes_may_stand_in_brackets(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    pd.DataFrame({"smiles": SMILES, "y": ["[0, 5)", "[5, 9]"] * 4}).to_csv(path, index=False)
    (task,) = judge(path, tmp_path, kind="multiclass", classes=["[0, 5)", "[5, 9]"]).tasks
    assert task.level == "graph" and task.num_classes == 2


def test_infinity_in_a_list_of_text_is_called_infinite(tmp_path: Path) -> None:
    path, fields = write(tmp_path, "node", GOOD["regression"], 7.5, parquet=False)
    path.write_text(path.read_text().replace("7.5", "-inf"))
    with pytest.raises(GraphiumError, match="column 'y', row 5: -inf in .* is infinite; mend or empty the cell"):
        judge(path, tmp_path, **fields)


@pytest.mark.parametrize("level", NUMBERED)
def test_rows_of_a_table_in_long_form(tmp_path: Path, level: str) -> None:
    path, fields = write(tmp_path, level, GOOD["binary"], 2, parquet=False)
    with pytest.raises(GraphiumError, match="row 5: 2 is not 0 or 1.* [(]the row counts molecules"):
        judge(path, tmp_path, kind="binary", **fields)
    # The weight of a molecule is that of each of its lines.
    frame = pd.read_csv(path).assign(y=1, w=1.0)
    frame.loc[4, "w"] = -2.0
    frame.to_csv(path, index=False)
    with pytest.raises(GraphiumError, match="sample weight column 'w', row 4: -2 is negative"):
        judge(path, tmp_path, kind="binary", sample_weight="w", **fields)


def test_words_in_a_binary_column_ask_for_their_classes(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    pd.DataFrame({"smiles": SMILES, "y": ["no", "yes"] * 4}).to_csv(path, index=False)
    with pytest.raises(GraphiumError, match=r"column 'y' holds text, e.g. 'no' in row 0; .* data.classes=.A,B."):
        judge(path, tmp_path, kind="binary")
    (task,) = judge(path, tmp_path, kind="binary", classes=["no", "yes"]).tasks
    assert task.kind == "binary" and task.classes == ("no", "yes")
