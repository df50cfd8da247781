"""Laplacian encodings against the dense formula, one component at a time."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from graphium.chem.featurizer import Featurizer, MoleculeArrays
from graphium.chem.laplacian import Laplacian, canonical_vectors
from graphium.errors import GraphiumError
from graphium.registry import build

TEXTS = [
    "C",
    "CC",
    "CCO",
    "[Na+].[Cl-]",
    "c1ccccc1C(=O)O.CC.O",
    "CC(C)(C)CCCCCCCN",
    "C12C3C4C1C5C2C3C45",
    "N->[Pt](Cl)Cl",
]
# Half precision has 11 bits; degenerate eigenvectors are compared as projectors.
TOLERANCE = 2e-3


def encode(config: dict, texts: list[str] = TEXTS) -> tuple[MoleculeArrays, dict[str, np.ndarray]]:
    featurizer = Featurizer(encodings=[config])
    found = featurizer.molecules(texts)
    return found, featurizer.encode(
        found.num_atoms, found.num_components, found.component_size, found.num_bonds, found.bond_index
    )


def components(texts: list[str] = TEXTS) -> list[np.ndarray]:
    """Adjacency matrix of every component, in canonical order."""
    found = []
    for text in texts:
        mol = Chem.MolFromSmiles(text)
        Chem.MolToSmiles(mol)
        order = list(mol.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
        adjacency = Chem.GetAdjacencyMatrix(mol)[np.ix_(order, order)]
        for fragment in sorted(Chem.GetMolFrags(mol), key=lambda part: min(map(order.index, part))):
            places = sorted(order.index(atom) for atom in fragment)
            found.append(adjacency[np.ix_(places, places)])
    return found


def laplacian(adjacency: np.ndarray, normalization: str) -> np.ndarray:
    degree = adjacency.sum(1)
    plain = np.diag(degree) - adjacency
    with np.errstate(divide="ignore"):
        inverse = np.where(degree > 0, 1 / degree, 0)
    if normalization == "sym":
        return np.sqrt(inverse)[:, None] * plain * np.sqrt(inverse)[None, :]
    if normalization == "rw":
        return inverse[:, None] * plain
    return plain


@pytest.mark.parametrize("normalization", ["none", "sym", "rw"])
@pytest.mark.parametrize("basis", ["lapack", "canonical"])
@pytest.mark.parametrize("k", [1, 4, 8])
def test_dense_formula(normalization: str, k: int, basis: str) -> None:
    _, columns = encode({"name": "laplacian", "k": k, "normalization": normalization, "basis": basis})
    vectors, values = columns["laplacian_eigvec"], columns["laplacian_eigval"]
    assert vectors.dtype == values.dtype == np.float16
    start = 0
    for row, adjacency in enumerate(components()):
        size = len(adjacency)
        matrix = laplacian(adjacency, normalization)
        expected = np.sort(np.linalg.eigvals(matrix).real)
        kept = min(k, size)
        np.testing.assert_allclose(values[row, :kept], expected[:kept], atol=TOLERANCE, rtol=TOLERANCE)
        assert not values[row, kept:].any()
        own = vectors[start : start + size].astype(np.float64)
        assert not own[:, kept:].any()
        # Eigenvectors of unit norm, whatever their sign and the basis of equal eigenvalues.
        np.testing.assert_allclose(matrix @ own[:, :kept], own[:, :kept] * expected[:kept], atol=10 * TOLERANCE)
        np.testing.assert_allclose(np.linalg.norm(own[:, :kept], axis=0), 1, atol=TOLERANCE)
        if normalization != "rw":
            np.testing.assert_allclose(own[:, :kept].T @ own[:, :kept], np.eye(kept), atol=2 * TOLERANCE)
        start += size
    assert start == len(vectors)


def test_the_trivial_vector_comes_first() -> None:
    _, columns = encode({"name": "laplacian", "k": 3}, ["CCCC"])
    np.testing.assert_allclose(np.abs(columns["laplacian_eigvec"][:, 0]), 0.5, atol=1e-3)
    assert columns["laplacian_eigval"][0, 0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("basis", ["lapack", "canonical"])
def test_a_molecule_does_not_change_its_neighbours(basis: str) -> None:
    config = {"name": "laplacian", "basis": basis}
    together = encode(config)[1]["laplacian_eigvec"]
    alone = [encode(config, [text])[1]["laplacian_eigvec"] for text in TEXTS]
    assert np.array_equal(together, np.concatenate(alone))


def test_options() -> None:
    assert [column.dim for column in build("encoding", {"name": "laplacian", "k": 5}).columns] == [5, 5]
    with pytest.raises(GraphiumError, match="k of the laplacian encoding is 0"):
        build("encoding", {"name": "laplacian", "k": 0})
    with pytest.raises(GraphiumError, match="normalization"):
        build("encoding", {"name": "laplacian", "normalization": "symmetric"})
    with pytest.raises(GraphiumError, match="basis"):
        build("encoding", {"name": "laplacian", "basis": "odd"})


def posed(eigenvalues: np.ndarray, eigenvectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same spaces in another basis, with other signs."""
    found = eigenvectors * rng.choice([-1, 1], len(eigenvalues))
    for value in np.unique(eigenvalues.round(6)):
        columns = np.flatnonzero(np.isclose(eigenvalues, value, atol=1e-6))
        found[:, columns] @= np.linalg.qr(rng.normal(size=(len(columns), len(columns))))[0]
    return found


@pytest.mark.parametrize(
    "text", ["CC(C)(C)N", "c1ccccc1", "CC(C)(C)c1cc(C(F)(F)F)cc(S(N)(=O)=O)c1", "CCO", "C", "OCC(C)C"]
)
@pytest.mark.parametrize("k", [2, 8])
def test_canonical_vectors_do_not_depend_on_lapack(text: str, k: int) -> None:
    (adjacency,) = components([text])
    eigenvalues, eigenvectors = np.linalg.eigh(laplacian(adjacency, "none"))
    rng = np.random.default_rng(0)
    stack = np.stack([eigenvectors, *(posed(eigenvalues, eigenvectors, rng) for _ in range(4))])
    found = canonical_vectors(np.tile(eigenvalues, (5, 1)), stack, k)[:, :, :k]
    np.testing.assert_allclose(found[1:], np.broadcast_to(found[0], found[1:].shape), atol=1e-6)
    kept = found.shape[2]
    np.testing.assert_allclose(found[0].T @ found[0], np.eye(kept), atol=1e-9)
    np.testing.assert_allclose(laplacian(adjacency, "none") @ found[0], found[0] * eigenvalues[:kept], atol=1e-6)


def test_the_first_vector_of_a_repeated_eigenvalue_is_the_most_even() -> None:
    """Four atoms on one, one of which is the most even vector that adds up to 0: two of each sign."""
    (adjacency,) = components(["CC(C)(C)N"])
    eigenvalues, eigenvectors = np.linalg.eigh(laplacian(adjacency, "none"))
    assert np.isclose(eigenvalues, 1).sum() == 3
    found = canonical_vectors(eigenvalues[None], eigenvectors[None], 2)[0]
    np.testing.assert_allclose(np.sort(found[:, 1]), [-0.5, -0.5, 0, 0.5, 0.5], atol=0.02)


def test_the_default_basis_has_the_key_that_it_always_had() -> None:
    assert "basis" not in vars(Laplacian()) and vars(Laplacian(basis="canonical"))["basis"] == "canonical"
