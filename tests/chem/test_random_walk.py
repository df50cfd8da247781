"""Random-walk return probabilities against the dense formula."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from graphium.chem.featurizer import Featurizer
from graphium.errors import GraphiumError
from graphium.registry import build

TEXTS = ["C", "CC", "CCO", "[Na+].[Cl-]", "c1ccccc1C(=O)O.CC.O", "CC(C)(C)CCCCCCCN", "C12C3C4C1C5C2C3C45"]


def encode(steps: int, texts: list[str] = TEXTS) -> np.ndarray:
    featurizer = Featurizer(encodings=[{"name": "rw_return_probs", "steps": steps}])
    found = featurizer.molecules(texts)
    return featurizer.encode(
        found.num_atoms, found.num_components, found.component_size, found.num_bonds, found.bond_index
    )["rw_return_probs"]


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 16, 20])
def test_dense_formula(steps: int) -> None:
    expected = []
    for text in TEXTS:
        adjacency = Chem.GetAdjacencyMatrix(Chem.MolFromSmiles(Chem.CanonSmiles(text))).astype(float)
        walk = adjacency / np.maximum(adjacency.sum(1, keepdims=True), 1)
        expected.append(np.stack([np.diag(np.linalg.matrix_power(walk, step)) for step in range(1, steps + 1)], axis=1))
    found = encode(steps)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, np.concatenate(expected), atol=5e-4)


def test_by_hand() -> None:
    # On a pair of atoms the walk is back at every second step; in a triangle after two steps in half the cases.
    assert encode(4, ["CC"]).tolist() == [[0, 1, 0, 1]] * 2
    np.testing.assert_allclose(encode(3, ["C1CC1"]), [[0, 0.5, 0.25]] * 3, atol=1e-3)
    assert not encode(4, ["C"]).any()


def test_options() -> None:
    with pytest.raises(GraphiumError, match="steps of the rw_return_probs encoding is 0"):
        build("encoding", {"name": "rw_return_probs", "steps": 0})
