from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase

from graphium.chem.featurizer import Featurizer
from graphium.data.splits import leaks
from graphium.data.splits.files import read_split
from graphium.data.splits.leaks import LeakSource, apply_policy, find_leaks, leaking_rows
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError
from graphium.types import PARTS


def pair(numbers: np.ndarray) -> np.ndarray:
    """Ids of which many share a word."""
    numbers = np.asarray(numbers, np.int64)
    return np.stack([(numbers // 3) << 60, numbers], axis=1).astype(np.uint64)


def store_of(numbers: list[int], rdkit: str = "1") -> Any:
    """The molecules of these rows, -1 for a failed one: a molecule has the flat id of its number // 2."""
    distinct = list(dict.fromkeys(number for number in numbers if number >= 0))
    exact = np.array(distinct, np.int64)
    flat = pair(exact // 2 * 2)
    return SimpleNamespace(
        folder=Path("stores") / "one",
        rdkit=rdkit,
        num_molecules=len(distinct),
        row_molecule=np.array([distinct.index(number) if number >= 0 else -1 for number in numbers], np.int32),
        id=pair(exact),
        flat_ids=lambda start=0, stop=None: flat[start:stop],
    )


def expected_leaks(tables: dict[str, list[tuple[int, int]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """The same out of sets of (molecule, part) rows."""
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in tables}
    for suffix, key in (("", 1), ("_flat", 2)):
        train = {name: {n // key for n, part in rows if part == 0 and n >= 0} for name, rows in tables.items()}
        for name, rows in tables.items():
            for code, part in ((1, "val"), (2, "test"), (3, "test_seen")):
                if not any(p == code for _, p in rows):
                    continue
                here = [n // key for n, p in rows if p == code and n >= 0]
                counts = found[name].setdefault(part, {})
                counts[f"own{suffix}"] = sum(n in train[name] for n in here)
                counts[f"mix{suffix}"] = sum(any(n in t for t in train.values()) for n in here)
                others = {other: sum(n in train[other] for n in here) for other in tables if other != name}
                counts[f"datasets{suffix}"] = {other: many for other, many in others.items() if many}
    return found


ROWS = st.lists(st.tuples(st.integers(-1, 25), st.integers(-1, 3)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=10), st.sampled_from([1 << 22, 16, 4]), st.sampled_from([1 << 20, 7]))
def test_counts_equal_a_join_of_sets(rows: list[list[tuple[int, int]]], at_once: int, piece: int) -> None:
    """Also in partitions and in pieces, and for more datasets than a byte has bits."""
    tables = {f"d{number}": table for number, table in enumerate(rows)}
    sources = [
        LeakSource(name, store_of([n for n, _ in table]), np.array([part for _, part in table], np.int8))
        for name, table in tables.items()
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaks, "_SORTED", at_once)
        patch.setattr(leaks, "AT_ONCE", piece)
        found = find_leaks(sources)
        masks = leaking_rows(sources)
    assert found == expected_leaks(tables)
    assert json.loads(json.dumps(found)) == found
    train = {n // 2 for table in tables.values() for n, part in table if part == 0 and n >= 0}
    for name, table in tables.items():
        assert masks[name].tolist() == [part == 2 and n >= 0 and n // 2 in train for n, part in table]


def test_policies() -> None:
    parts = np.array([0, 1, 2, 2, 2, 3, -1], np.int8)
    rows = np.array([True, True, True, False, True, True, True])
    assert apply_policy(parts, rows, "report") == (parts, "")
    dropped, said = apply_policy(parts, rows, "drop")
    assert dropped.tolist() == [0, 1, -1, 2, -1, 3, -1]
    assert dropped.dtype == np.int8
    assert said == "2 test rows whose molecule stands in a training part of the mix were dropped"
    moved, said = apply_policy(parts, np.arange(7) == 3, "test_seen")
    assert moved.tolist() == [0, 1, 2, 3, 2, 3, -1]
    assert said == "1 test row whose molecule stands in a training part of the mix was moved to the part test_seen"
    assert apply_policy(parts, np.zeros(7, bool), "drop")[1] == ""


def test_ids_of_other_versions_are_not_compared() -> None:
    sources = [LeakSource(f"d{v}", store_of([1, 2], v), np.zeros(2, np.int8)) for v in ("2025.3", "2026.9")]
    for find in (find_leaks, leaking_rows):
        with pytest.raises(
            GraphiumError, match=r"'d2025\.3' and 'd2026\.9' .*RDKit 2025\.3, .*RDKit 2026\.9; delete the older folder"
        ):
            find(sources)


def test_no_molecules_and_no_held_out_rows() -> None:
    assert find_leaks([LeakSource("a", store_of([-1]), np.array([2], np.int8))])["a"]["test"]["mix"] == 0
    assert find_leaks([LeakSource("a", store_of([1, 2]), np.zeros(2, np.int8))]) == {"a": {}}


TOYMIX = {
    "qm9": ("qm9.csv.gz", "qm9_random_splits.csv.gz"),
    "tox21": ("Tox21-7k-12-labels.csv.gz", "Tox21_random_splits.csv.gz"),
    "zinc12k": ("ZINC12k.csv.gz", "ZINC12k_random_splits.csv.gz"),
}


@pytest.mark.slow
def test_toymix(shared_data: Path, tmp_path: Path) -> None:
    plain = Featurizer(atom_onehot=["atomic-number"], atom_float=[], bond_onehot=[], bond_float=[], encodings=[])
    sources, written = [], {}
    for name, (table, split) in TOYMIX.items():
        store = prepare_store(
            Table(shared_data / "toymix" / table), "smiles", plain, tmp_path, name=name, progress=False
        )
        parts = read_split(shared_data / "toymix" / split, store.num_rows)
        sources.append(LeakSource(name, store, parts))
        # The join out of plain RDKit: without atom maps there, one canonical SMILES is one molecule.
        with rdBase.BlockLogs():
            mols = [Chem.MolFromSmiles(text) for text in pd.read_csv(shared_data / "toymix" / table)["smiles"]]
        written[name] = np.array(["" if mol is None else Chem.MolToSmiles(mol) for mol in mols]), parts
    found = find_leaks(sources)
    train = {name: set(smiles[parts == 0]) - {""} for name, (smiles, parts) in written.items()}
    for name, (smiles, parts) in written.items():
        for part in ("val", "test"):
            here = smiles[parts == PARTS.index(part)]
            assert found[name][part]["own"] == sum(text in train[name] for text in here)
            for other in set(TOYMIX) - {name}:
                assert found[name][part]["datasets"].get(other, 0) == sum(text in train[other] for text in here)
    assert found["tox21"]["val"]["datasets"]["qm9"] + found["tox21"]["test"]["datasets"]["qm9"] == 70
    assert found["tox21"]["test"]["datasets"]["qm9"] == 32
    several = 0
    for smiles, parts in written.values():
        rows = pd.DataFrame({"smiles": smiles, "part": parts}).query("smiles != ''")
        several += int((rows.groupby("smiles")["part"].nunique() > 1).sum())
    assert several == 79
