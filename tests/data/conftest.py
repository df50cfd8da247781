"""Small tables and featurizers for the tests of stores, labels and batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from graphium.chem.featurizer import Featurizer
from graphium.data.tables.readers import Table

LAPLACIAN = {"name": "laplacian", "k": 4}
RANDOM_WALK = {"name": "rw_return_probs", "steps": 5}

# Repeats written in other ways, a salt, single atoms, no bond, a text that is no SMILES, an empty cell.
TEXTS = (
    ["CCO", "OCC", "c1ccccc1O", "[Na+].[Cl-]", "C", "not_a_smiles", "CC(=O)Oc1ccccc1C(=O)O"]
    + ["C(C)O", "N", "O=C(O)c1ccccc1OC(C)=O", "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "", "CC(N)C(=O)O"]
    + ["CCN.Cl", "F/C=C/F", "F/C=C\\F", "C1CC1", "[O-][N+](=O)c1ccccc1", "Cl.NCC"]
)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """20 SMILES with repeats, salts, stereo pairs; rows 5 and 12 cannot be used."""
    return list(TEXTS)


@pytest.fixture(scope="session")
def featurizer() -> Featurizer:
    """The default properties with two small encodings."""
    return Featurizer(encodings=[LAPLACIAN, RANDOM_WALK])


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Table]:
    """Write columns to a CSV file and open it."""

    def write(**columns: Any) -> Table:
        path = tmp_path / f"table{len(list(tmp_path.iterdir()))}.csv"
        pd.DataFrame(columns).to_csv(path, index=False)
        return Table(path)

    return write


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Table]:
    """Write columns to a Parquet file and open it: ``table(smiles=[...], y=[...])``."""

    def write(**columns: Any) -> Table:
        path = tmp_path / f"table{len(list(tmp_path.glob('table*')))}.parquet"
        pd.DataFrame(columns).to_parquet(path)
        return Table(path)

    return write
