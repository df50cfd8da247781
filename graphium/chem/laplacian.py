"""Eigenvectors and eigenvalues of the graph Laplacian as positional encoding."""

from __future__ import annotations

from typing import Literal

import numpy as np

from graphium.chem.adjacency import Adjacency
from graphium.errors import GraphiumError
from graphium.registry import register
from graphium.types import EncodingColumn

# Eigenvalues of small integer matrices that differ by less are one.
_SAME = 1e-6
# The search for the most even vector: directions per dimension, steps, weight of the step before, and sums that
# count as equal.
_STARTS, _STEPS, _SHIFT, _AS_EVEN = 6, 30, 2.0, 1e-4
_GOLDEN = (5**0.5 - 1) / 2


@register("encoding", "laplacian")
class Laplacian:
    """The ``k`` smallest eigenvalues of the Laplacian and their eigenvectors, per connected component.

    ``normalization``: ``none`` is L = D - A, ``sym`` is D^-1/2 L D^-1/2, ``rw`` is D^-1 L (D: number of
    bonds; an atom without bonds counts as D^-1 = 0). By the published convention the trivial vector of
    eigenvalue 0 (constant, for ``none`` and ``rw``) is the first of the ``k``. Eigenvectors have unit
    norm over their component; where a component has fewer than ``k`` atoms, the missing values and
    vectors are 0. With ``basis="lapack"`` the sign of a vector, and the basis for equal eigenvalues, are LAPACK's
    choice; with ``canonical`` they belong to the graph, see :func:`canonical_vectors`.

    Columns: ``laplacian_eigvec`` float16 ``[atoms, k]`` and ``laplacian_eigval`` float16
    ``[components, k]``.
    """

    basis: Literal["lapack", "canonical"] = "lapack"

    def __init__(
        self,
        k: int = 8,
        normalization: Literal["none", "sym", "rw"] = "none",
        basis: Literal["lapack", "canonical"] = "lapack",
    ) -> None:
        if k < 1:
            raise GraphiumError(f"k of the laplacian encoding is {k}; give a positive number of eigenvectors")
        self.k = k
        self.normalization = normalization
        if basis != "lapack":
            # Left to the class elsewhere: what is set here is in the key of the stored columns.
            self.basis = basis
        self.columns = (
            EncodingColumn("laplacian_eigvec", "laplacian", k, "node"),
            EncodingColumn("laplacian_eigval", "laplacian", k, "component"),
        )

    def __call__(self, graphs: Adjacency) -> dict[str, np.ndarray]:
        vectors = np.zeros((graphs.total_atoms, self.k), np.float16)
        values = np.zeros((graphs.total_components, self.k), np.float16)
        for component, atom, matrix, which in graphs.stacks:
            kept = min(self.k, matrix.shape[1])
            eigenvalues, eigenvectors = self._decompose(matrix)
            # Rounding leaves the smallest eigenvalue, which is 0, a little off on either side.
            values[component, :kept] = np.maximum(eigenvalues[:, :kept], 0)[which]
            vectors[atom, :kept] = eigenvectors[:, :, :kept].astype(np.float16)[which]
        return {"laplacian_eigvec": vectors, "laplacian_eigval": values}

    def _decompose(self, adjacency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ascending eigenvalues ``[G, size]`` and unit eigenvectors ``[G, size, size]`` of a stack."""
        degree = adjacency.sum(-1)
        size = adjacency.shape[-1]
        laplacian = -adjacency
        laplacian[:, np.arange(size), np.arange(size)] = degree
        if self.normalization == "none":
            return self._eigh(laplacian)
        scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
        eigenvalues, eigenvectors = self._eigh(scale[:, :, None] * laplacian * scale[:, None, :])
        if self.normalization == "rw" and size > 1:
            # D^-1 L has the eigenvalues of D^-1/2 L D^-1/2; its vectors are D^-1/2 times theirs.
            eigenvectors = scale[:, :, None] * eigenvectors
            eigenvectors /= np.linalg.norm(eigenvectors, axis=1, keepdims=True)
        return eigenvalues, eigenvectors

    def _eigh(self, matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        eigenvalues, eigenvectors = np.linalg.eigh(matrices)
        if self.basis == "canonical":
            eigenvectors = canonical_vectors(eigenvalues, eigenvectors, self.k)
        return eigenvalues, eigenvectors


def canonical_vectors(eigenvalues: np.ndarray, eigenvectors: np.ndarray, k: int) -> np.ndarray:
    """Choose signs, and the basis of every repeated eigenvalue among the first ``k``, by the graph alone.

    Of the unit vectors of a repeated eigenvalue, one after the other is the one with the smallest sum of fourth
    powers in the space that is left: the most even one. A vector that rests on two atoms alone comes last, so that it
    is not among those kept where ``k`` cuts the space. What symmetry leaves open, and the sign, is decided by a sum
    over the atoms with fixed weights in their canonical order.

    Args:
        eigenvalues: float64 ``[G, size]``, ascending.
        eigenvectors: float64 ``[G, size, size]``, orthonormal columns.
        k: How many are kept.

    Returns:
        ``[G, size, size]``, the columns from ``k`` on unchanged unless they share an eigenvalue with one before.
    """
    chosen = eigenvectors.copy()
    repeats = np.diff(eigenvalues, axis=1) < _SAME
    continues = np.concatenate([np.zeros((len(eigenvalues), 1), bool), repeats], axis=1)
    graph, start = np.nonzero(~continues[:, :k])
    # Columns of an eigenvalue: up to the next one that does not continue it.
    ends = np.where(continues, eigenvalues.shape[1], np.arange(eigenvalues.shape[1]))
    ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    following = np.concatenate([ends[:, 1:], np.full((len(ends), 1), ends.shape[1])], axis=1)
    multiplicity = following[graph, start] - start
    for size in np.unique(multiplicity[multiplicity > 1]).tolist():
        mine = multiplicity == size
        columns = start[mine, None] + np.arange(size)
        basis = eigenvectors[graph[mine, None], :, columns].transpose(0, 2, 1)
        chosen[graph[mine, None], :, columns] = _even_basis(basis).transpose(0, 2, 1)
    sign = np.where(_weighted(chosen[:, :, :k]) < 0, -1.0, 1.0)
    chosen[:, :, :k] *= sign[:, None]
    return chosen


def _weighted(vectors: np.ndarray) -> np.ndarray:
    """Sum over the atoms ``[G, size, columns]`` with weights that no symmetry of a graph has: ``[G, columns]``."""
    weights = np.arange(1, vectors.shape[1] + 1) * _GOLDEN % 1
    return np.einsum("gsc,s->gc", vectors, weights)


def _even_basis(basis: np.ndarray) -> np.ndarray:
    """The even basis of each space: ``[G, size, m]`` orthonormal columns -> the same."""
    found = []
    while basis.shape[2] > 1:
        direction = _most_even(basis)
        found.append(np.einsum("gsm,gm->gs", basis, direction))
        # A basis of what is left: the reflection that takes the last axis there, without its image.
        mirror = direction.copy()
        mirror[:, -1] += np.where(direction[:, -1] < 0, -1.0, 1.0)
        mirror /= np.linalg.norm(mirror, axis=1, keepdims=True)
        basis = basis - 2 * np.einsum("gsm,gm,gn->gsn", basis, mirror, mirror)
        basis = basis[:, :, :-1]
    return np.stack([*found, basis[:, :, 0]], axis=2)


def _most_even(basis: np.ndarray) -> np.ndarray:
    """Coordinates ``[G, m]`` of the most even unit vector of each space, by descent from many directions.

    The step is that of the shifted power method (Kolda & Mayo 2011, eq. 3.1) for the sum of fourth powers.
    """
    transposed = basis.transpose(0, 2, 1)
    _, atoms, size = basis.shape
    # Waves over the atoms, seen from the space: the search starts at the same vectors in whatever basis.
    turns = np.outer(np.arange(1, atoms + 1), np.arange(1, _STARTS * size + 1)) * _GOLDEN
    directions = transposed @ np.cos(2 * np.pi * turns)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    shift = _SHIFT * (basis**2).sum(2).max(1)[:, None, None]
    for _ in range(_STEPS):
        vectors = basis @ directions
        directions = shift * directions - transposed @ (vectors * vectors * vectors)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = basis @ directions
    spread = np.square(np.square(vectors)).sum(1)
    # Of those that are as even, one of which symmetry makes several.
    score = np.where(spread < spread.min(1, keepdims=True) + _AS_EVEN, np.abs(_weighted(vectors)), -1)
    return np.take_along_axis(directions, score.argmax(1)[:, None, None], axis=2)[:, :, 0]
