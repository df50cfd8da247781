from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rdkit import Chem

from graphium.data.tables.facts import LARGEST, ColumnFacts, count_entities, scan
from graphium.data.tables.memo import Memo
from graphium.data.tables.readers import Table

SMILES = ["CCO", "c1ccccc1", "CC(=O)O", "N", "[Na+].[Cl-]"]


def test_facts_of_every_form(csv: Callable[..., Table]) -> None:
    table = csv(
        smiles=SMILES,
        number=[0.5, 1, 2, None, 4],
        binary=[0, 1, 1, None, 0],
        flag=[True, False, None, True, True],
        text=["a", "b", "c", "d", "e"],
        almost=["1", "2", "x3", "4", "5"],
        bounded=["1", "2", ">3", "< 0.5", None],
        empty=[None] * 5,
        unique=[7, 3, 5, 9, 100],
        running=[3, 4, 5, 6, 7],
        infinite=[1, 2, np.inf, 3, 4],
    )
    facts = scan(table, table.columns[1:], "smiles")
    forms = {name: one.form for name, one in facts.items()}
    assert forms == {
        **dict.fromkeys(("number", "binary", "unique", "running", "infinite", "bounded"), "number"),
        **dict.fromkeys(("text", "almost"), "text"),
        "flag": "boolean",
        "empty": "empty",
    }
    assert {name for name, one in facts.items() if one.kind == "binary" and one.form != "empty"} >= {"binary", "flag"}
    assert facts["number"].kind == "regression"
    assert facts["number"].present == 4
    assert facts["almost"].odd == (2, "x3")
    bounded = facts["bounded"]
    assert (bounded.bounds, bounded.bound, bounded.present, bounded.odd) == (2, (2, ">3"), 4, None)
    assert (facts["almost"].num_odd, facts["almost"].present) == (1, 5)
    assert facts["infinite"].infinite == 2
    assert {name for name, one in facts.items() if one.is_unique()} == {"unique", "running"}
    assert {name for name, one in facts.items() if one.is_running()} == {"running"}


CELL = st.one_of(
    st.none(),
    st.integers(-3, 40),
    st.sampled_from([0, 1]),
    st.floats(allow_nan=False, width=32),
    st.sampled_from(["x", ">3", "<= 0.5", "1e200", "true"]),
)
COLUMN = st.one_of(
    st.lists(CELL, min_size=12, max_size=12),
    st.lists(st.integers(-50, 50), min_size=12, max_size=12),
    st.permutations(range(12)),
    st.lists(st.one_of(st.none(), st.sampled_from([0, 1])), min_size=12, max_size=12),
    st.integers(-3, 3).map(lambda start: [start + n for n in range(12)]),
)


def plain_facts(cells: list[Any]) -> dict[str, Any]:
    """The facts of a column of scalars, cell by cell."""
    numbers: list[tuple[int, float]] = []
    odd, bounds = [], []
    for row, cell in enumerate(cells):
        text = "" if cell is None else str(cell)
        sign = "".join(c for c in text if c in "<>=")
        body = text.removeprefix(sign).strip()
        if not text:
            continue
        if body in ("True", "true"):
            numbers.append((row, 1.0))
        elif body == "x":
            odd.append((row, text))
        else:
            numbers.append((row, float(body)))
            bounds += [(row, text)] if sign else []
    values = [value for _, value in numbers]
    whole = bool(values) and not odd and not bounds and all(math.isfinite(v) and v == round(v) for v in values)
    not_binary = next(((row, value) for row, value in numbers if value not in (0, 1)), None)
    unique = whole and len(set(values)) == len(values) and not_binary is not None and len(values) >= len(cells) / 2
    return {
        "rows": len(cells),
        "present": len(numbers) + len(odd),
        "odd": odd[0] if odd else None,
        "num_odd": len(odd),
        "bounds": len(bounds),
        "bound": bounds[0] if bounds else None,
        "values": len(values),
        "not_binary": not_binary,
        "infinite": next((row for row, value in numbers if abs(value) > LARGEST), None),
        "unique": unique,
        "running": unique and all(b - a == 1 for a, b in zip(values[:-1], values[1:], strict=True)),
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=st.lists(COLUMN, min_size=1, max_size=4), size=st.integers(1, 13), as_parquet=st.booleans())
def test_facts_are_those_of_a_plain_loop(tmp_path: Path, columns: list[list[Any]], size: int, as_parquet: bool) -> None:
    texts = {f"c{n}": [None if c is None else str(c) for c in cells] for n, cells in enumerate(columns)}
    frame = pd.DataFrame({"smiles": ["C"] * 12, **texts})
    path = tmp_path / ("t.parquet" if as_parquet else "t.csv")
    frame.to_parquet(path) if as_parquet else frame.to_csv(path, index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphium.data.tables.facts._CHUNK", size)
        facts = scan(Table(path, memo=Memo(tmp_path / "none" / "none")), list(texts), "smiles")
    for number, (name, cells) in enumerate(texts.items()):
        one = facts[name]
        expected = plain_facts(columns[number])
        found = {field: getattr(one, field) for field in expected if field not in ("unique", "running")}
        # A cell is shown as pandas reads it.
        for field in ("odd", "bound"):
            found[field] = found[field] and (found[field][0], found[field][1])
        assert {**found, "unique": one.is_unique(), "running": one.is_running()} == expected, cells
        if expected["present"]:
            assert (one.form == "text") == bool(expected["num_odd"])
        assert one.kind == ("regression" if expected["not_binary"] or expected["bounds"] else "binary")


def test_many_columns_need_no_pandas_each(csv: Callable[..., Table], monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(20, 300))
    table = csv(smiles=["C"] * 20, **{f"y{n}": values[:, n] for n in range(300)})
    monkeypatch.setattr("graphium.data.tables.facts.form_of", lambda *_: 1 / 0)
    monkeypatch.setattr("graphium.data.tables.facts.to_bounded_numbers", lambda *_: 1 / 0)
    facts = scan(table, table.columns[1:], "smiles")
    assert [one.not_binary for one in facts.values()] == [(0, values[0, n]) for n in range(300)]


def test_few_values_are_kept_to_see_repeats(csv: Callable[..., Table], monkeypatch: pytest.MonkeyPatch) -> None:
    from graphium.data.tables import facts

    monkeypatch.setattr(facts, "_KEPT", 8)
    monkeypatch.setattr(facts, "_KEPT_PER_COLUMN", 4)
    monkeypatch.setattr(facts, "_CHUNK", 3)
    kept = []
    add = facts._add_integers

    def watch(one: ColumnFacts, value: np.ndarray, seen: dict[str, np.ndarray], most: int) -> None:
        add(one, value, seen, most)
        kept.append(max(map(len, seen.values()), default=0))

    monkeypatch.setattr(facts, "_add_integers", watch)
    table = csv(smiles=["C"] * 30, id=np.random.default_rng(0).permutation(30) + 7, late=[*range(2, 31), 2])
    found = scan(table, ["id", "late"], "smiles")
    assert max(kept) == 4
    assert found["id"].is_unique() and not found["id"].is_running()
    assert not found["late"].is_unique()


def test_facts_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memo = Memo(tmp_path / "memo")
    path = tmp_path / "t.csv"
    lists = ["[1, 2, 3]", "[1, 1]", None]
    pd.DataFrame({"smiles": ["CCO", "CC", "N"], "y": [0, ">5", "inf"], "q": lists, "z": [1, 2, 3]}).to_csv(path)
    first = scan(Table(path, memo=memo), ["y", "q"], "smiles", levels=["q"])
    assert first["q"].fits == {"node": True, "edge": False, "nodepair": False}
    more = scan(Table(path, memo=memo), ["y", "q", "z"], "smiles", levels=["q"])
    assert {name: more[name] for name in first} == first
    monkeypatch.setattr("graphium.data.tables.facts._scan", lambda *_: 1 / 0)
    again = scan(Table(path, memo=memo), ["z", "q", "y"], "smiles", levels=["q"])
    assert again == more
    with pytest.raises(ZeroDivisionError):
        scan(Table(path, memo=memo), ["q"], "smiles")
    with pytest.raises(ZeroDivisionError):
        scan(Table(path, limit=2, memo=memo), ["y"], "smiles")


def test_plain_facts_read_back() -> None:
    facts = ColumnFacts("y", 3, 2, {"number", "list"}, (1, "x"), 1, not_binary=(2, 0.1), infinite=0, last=3.0)
    assert ColumnFacts.from_plain(json.loads(json.dumps(facts.to_plain()))) == facts


def test_entities_are_counted_as_rdkit_reads_them() -> None:
    texts = [*SMILES, "[H]C([H])([H])[H]", "[2H]C", "[H][H]", "C[C@H](N)C(=O)O |o1:1|", "C->[Pt]", "[CH3:1][OH:2]"]
    counts = count_entities(pd.Series([*texts, None, "??"]))
    mols = [Chem.MolFromSmiles(text) for text in texts]
    assert counts["node"].tolist() == [*(mol.GetNumAtoms() for mol in mols), -1, -1]
    assert counts["edge"].tolist() == [*(mol.GetNumBonds() for mol in mols), -1, -1]
    written = [5 if "([H])" in text else mol.GetNumAtoms() for text, mol in zip(texts, mols, strict=True)]
    assert counts["written_node"].tolist() == [*written, -1, -1]


def test_entities_of_molblocks() -> None:
    mols = [Chem.AddHs(Chem.MolFromSmiles(text)) for text in SMILES]
    counts = count_entities(pd.Series([*map(Chem.MolToMolBlock, mols), "broken\n\n\n"]))
    assert counts["written_node"].tolist() == [*(mol.GetNumAtoms() for mol in mols), -1]
    assert counts["written_edge"].tolist() == [*(mol.GetNumBonds() for mol in mols), -1]
    assert counts["node"].tolist() == [*(mol.GetNumHeavyAtoms() for mol in mols), -1]


def test_lists_that_count_unwritten_hydrogens_are_told_the_setting(csv: Callable[..., Table]) -> None:
    table = csv(smiles=["CCO", "C"], q=["[1,1,1,1,1,1,1,1,1]", "[1,1,1,1,1]"], b=["[1,1,1,1,1,1,1,1]", "[1,1,1,1]"])
    found = scan(table, ["q", "b"], "smiles", levels=["q", "b"])
    assert not any(found["q"].fits.values()) and not any(found["b"].fits.values())
    assert "9 elements: as with all hydrogens, say data.level=node features.form=explicit_h" in found["q"].misfit
    assert "8 elements: as with all hydrogens, say data.level=edge features.form=explicit_h" in found["b"].misfit
    assert "hydrogens" not in scan(csv(smiles=["CCO"], q=["[1]"]), ["q"], "smiles", levels=["q"])["q"].misfit
