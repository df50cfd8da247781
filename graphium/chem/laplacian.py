"""Eigenvectors and eigenvalues of the graph Laplacian as positional encoding."""

from __future__ import annotations

from typing import Literal

import numpy as np

from graphium.chem.adjacency import Adjacency
from graphium.errors import GraphiumError
from graphium.registry import register
from graphium.types import EncodingColumn


@register("encoding", "laplacian")
class Laplacian:
    """The ``k`` smallest eigenvalues of the Laplacian and their eigenvectors, per connected component.

    ``normalization``: ``none`` is L = D - A, ``sym`` is D^-1/2 L D^-1/2, ``rw`` is D^-1 L (D: number of
    bonds; an atom without bonds counts as D^-1 = 0). By the published convention the trivial vector of
    eigenvalue 0 (constant, for ``none`` and ``rw``) is the first of the ``k``. Eigenvectors have unit
    norm over their component; where a component has fewer than ``k`` atoms, the missing values and
    vectors are 0. The sign of a vector, and the basis for equal eigenvalues, are LAPACK's choice.

    Columns: ``laplacian_eigvec`` float16 ``[atoms, k]`` and ``laplacian_eigval`` float16
    ``[components, k]``.
    """

    def __init__(self, k: int = 8, normalization: Literal["none", "sym", "rw"] = "none") -> None:
        if k < 1:
            raise GraphiumError(f"k of the laplacian encoding is {k}; give a positive number of eigenvectors")
        self.k = k
        self.normalization = normalization
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
            return np.linalg.eigh(laplacian)
        scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
        eigenvalues, eigenvectors = np.linalg.eigh(scale[:, :, None] * laplacian * scale[:, None, :])
        if self.normalization == "rw" and size > 1:
            # D^-1 L has the eigenvalues of D^-1/2 L D^-1/2; its vectors are D^-1/2 times theirs.
            eigenvectors = scale[:, :, None] * eigenvectors
            eigenvectors /= np.linalg.norm(eigenvectors, axis=1, keepdims=True)
        return eigenvalues, eigenvectors
