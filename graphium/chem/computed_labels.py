"""Labels computed from the molecule itself by RDKit, in the atom order of the given text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rdkit import rdBase
from rdkit.Chem import rdPartialCharges

from graphium.chem.parse import UnusableMolecule, read_molecule
from graphium.registry import register
from graphium.types import Kind, Level


@register("computed_label", "gasteiger_charges")
@dataclass(frozen=True)
class GasteigerCharges:
    """Partial charge of every atom, in elementary charges (Gasteiger and Marsili 1980, PEOE).

    Charges of implicit H are not added to their atom. Atoms without parameters, and with them usually
    the whole molecule, have NaN. ``iterations``: rounds of charge equalisation.

    >>> [charges.round(2) for charges in GasteigerCharges()(["CO", "not a molecule"])]
    [array([ 0.03, -0.4 ]), array([], dtype=float64)]
    """

    iterations: int = 12

    level: ClassVar[Level] = "node"
    kind: ClassVar[Kind] = "regression"
    unit: ClassVar[str] = "e"
    version: ClassVar[int] = 1

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return float64 ``[atoms]`` of each molecule, empty where the text does not parse."""
        with rdBase.BlockLogs():
            return [self._one(text) for text in texts]

    def _one(self, text: str) -> np.ndarray:
        try:
            mol = read_molecule(text, "heavy")
        except UnusableMolecule:
            return np.empty(0)
        rdPartialCharges.ComputeGasteigerCharges(mol, self.iterations)
        return np.array([atom.GetDoubleProp("_GasteigerCharge") for atom in mol.GetAtoms()])
