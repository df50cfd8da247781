from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from graphium.data.sampling.part_rows import PartRows

PARTS = st.lists(hnp.arrays(np.int8, st.integers(0, 300), elements=st.integers(-1, 2)), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(parts=PARTS, code=st.integers(0, 2))
def test_rows_by_number(parts: list[np.ndarray], code: int) -> None:
    rows = PartRows(parts, code)
    expected = [(table, row) for table, part in enumerate(parts) for row in np.flatnonzero(part == code).tolist()]
    assert len(rows) == len(expected)
    assert rows.sizes.tolist() == [int((part == code).sum()) for part in parts]
    everything = rows[torch.arange(len(rows))]
    assert everything.dtype == torch.int64 and everything.shape == (len(expected), 2)
    assert everything.tolist() == [list(pair) for pair in expected]
    some = torch.arange(len(rows)).flip(0)[::3]
    assert rows[some].tolist() == everything[some].tolist()


def test_atoms_of_every_row() -> None:
    parts = [np.array([0, -1, 1, 0], np.int8), np.array([0], np.int8)]
    molecule = [np.array([1, -1, 0, 1]), np.array([0])]
    ptr = [np.array([[0, 0, 0], [3, 0, 0], [10, 0, 0]]), np.array([[0, 0, 0], [500, 0, 0]])]
    stores = [SimpleNamespace(row_molecule=m, ptr=p) for m, p in zip(molecule, ptr, strict=True)]
    found = PartRows(parts, 0).num_nodes(stores)  # type: ignore[arg-type]
    assert found.dtype == np.uint16 and found.tolist() == [7, 7, 500]
