"""Scaffolds: the rings of a molecule and what links them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold

from graphium.chem.parse import UnusableMolecule, read_molecule


def murcko(texts: Sequence[Any]) -> list[str]:
    """Canonical SMILES of the Bemis-Murcko scaffold of each molecule, without stereochemistry (1996).

    Empty for a molecule without rings, and for a text that gives no molecule.

    >>> murcko(["C[C@H](O)c1ccccc1", "CCO", "C1CC"])
    ['c1ccccc1', '', '']
    """
    with rdBase.BlockLogs():
        return [_one(text) for text in texts]


def _one(text: Any) -> str:
    try:
        mol = read_molecule(text, "heavy")
        return Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(mol), isomericSmiles=False)
    except UnusableMolecule:
        return ""
