"""Return probabilities of a random walk as structural encoding."""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np

from graphium.chem.adjacency import Adjacency
from graphium.errors import GraphiumError
from graphium.registry import register
from graphium.types import EncodingColumn


@register("encoding", "rw_return_probs")
class RandomWalkReturnProbabilities:
    """Probability that a random walk along the bonds is back at its atom after 1, 2 ... ``steps`` steps.

    The diagonals of P, P^2 ... with P = D^-1 A (Dwivedi et al. 2022, LSPE, eq. 4). A walk on an atom
    without bonds goes nowhere: 0.

    Column: ``rw_return_probs`` float16 ``[atoms, steps]``.
    """

    def __init__(self, steps: int = 16) -> None:
        if steps < 1:
            raise GraphiumError(f"steps of the rw_return_probs encoding is {steps}; give a positive number of steps")
        self.steps = steps
        self.columns = (EncodingColumn("rw_return_probs", "rw_return_probs", steps, "node"),)

    def __call__(self, graphs: Adjacency) -> dict[str, np.ndarray]:
        probabilities = np.zeros((graphs.total_atoms, self.steps), np.float16)
        for _, atom, matrix, which in graphs.stacks:
            probabilities[atom] = self._return_probabilities(matrix).astype(np.float16)[which]
        return {"rw_return_probs": probabilities}

    def _return_probabilities(self, adjacency: np.ndarray) -> np.ndarray:
        """Return probabilities ``[G, size, steps]`` of a stack.

        S = D^-1/2 A D^-1/2 has the diagonals of P and is symmetric, so diag(S^(a+b)) is the row-wise
        dot product of S^a and S^b: the powers 1..m and m, 2m ... are enough, with m about sqrt(steps).
        """
        degree = adjacency.sum(-1)
        scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
        walk = scale[:, :, None] * adjacency * scale[:, None, :]
        stride = ceil(sqrt(self.steps))
        powers = [walk]
        while len(powers) < stride:
            powers.append(powers[-1] @ walk)
        found = [np.diagonal(power, axis1=1, axis2=2) for power in powers]
        leap = powers[-1]
        while len(found) < self.steps:
            found += (np.einsum("gij,gij->gi", leap, power) for power in powers)
            if len(found) < self.steps:
                leap = leap @ powers[-1]
        return np.stack(found[: self.steps], axis=-1)
