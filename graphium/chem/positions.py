"""The 3-D coordinates that a text gives for its atoms."""

from __future__ import annotations

import re

import numpy as np
from rdkit import Chem

from graphium.chem.parse import UnusableMolecule, is_molblock, written_molecule

# The coordinates in the extension of a CXSMILES: |(x,y,z;x,y,z)| or |...,(x,y,z)|.
_WRITTEN = re.compile(r"[|,]\(([^()]*)\)")


def given_positions(text: str, mol: Chem.Mol) -> np.ndarray:
    """Coordinates of the atoms of a molecule as its text writes them.

    They count as 3-D in a molblock where its header says ``3D`` or a z is not 0, and in a CXSMILES where
    any z is written: RDKit leaves out a z of 0, so that a depiction and a flat structure, ``(x,y,;x,y,)``,
    look alike.

    Args:
        text: CXSMILES or molblock; its unit is angstrom.
        mol: Its molecule, from :func:`read_molecule`, in either form.

    Returns:
        float32 ``[atoms, 3]``, angstrom, in the order of ``mol``.

    Raises:
        UnusableMolecule: no 3-D coordinates, or not for every atom.
    """
    if mol.GetNumConformers() == 0:
        raise UnusableMolecule("has no 3-D coordinates")
    num_written = written_molecule(text).GetNumAtoms()
    if not is_molblock(text):
        _check_written(text, num_written)
    elif not (mol.GetConformer().Is3D() or _header_says_3d(text)):
        raise UnusableMolecule("has no 3-D coordinates")
    # The form explicit_h appends the hydrogens that the text leaves out.
    missing = mol.GetNumAtoms() - num_written
    if missing > 0:
        raise UnusableMolecule(f"writes no coordinates for {missing} of its hydrogens")
    with np.errstate(over="ignore"):
        positions = mol.GetConformer().GetPositions().astype(np.float32)
    if not np.isfinite(positions).all():
        raise UnusableMolecule("has coordinates that are no finite numbers")
    return positions


def in_canonical_order(points: list[np.ndarray], atom_order: np.ndarray, num_atoms: np.ndarray) -> np.ndarray:
    """Coordinates of many molecules in canonical order, float32 ``[atoms, 3]``, from RDKit's order of each."""
    start = np.cumsum(num_atoms, dtype=np.int64) - num_atoms
    return np.concatenate([np.empty((0, 3), np.float32), *points])[atom_order + np.repeat(start, num_atoms)]


def _check_written(text: str, num_written: int) -> None:
    """Check that a CXSMILES writes three numbers for each of its atoms; RDKit takes 0 for what is missing."""
    found = _WRITTEN.search(text)
    points = [point.split(",") for point in found[1].strip(";").split(";")] if found else []
    if not any(len(point) == 3 and point[2] for point in points):
        raise UnusableMolecule("has no 3-D coordinates")
    try:
        for x, y, z in points:
            float(x), float(y), float(z or 0)
    except ValueError:
        raise UnusableMolecule("writes coordinates that are not three numbers for every atom") from None
    if len(points) != num_written:
        raise UnusableMolecule(f"writes coordinates for {len(points)} of its {num_written} atoms")


def _header_says_3d(block: str) -> bool:
    """Whether the dimension code (columns 21 and 22 of the second line) is 3D."""
    return block.split("\n", 2)[1][20:22].upper() == "3D"
