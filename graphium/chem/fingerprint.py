"""Fingerprints of many molecules as packed bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rdkit import DataStructs, rdBase
from rdkit.Chem import rdFingerprintGenerator

from graphium.chem.parse import UnusableMolecule, read_molecule
from graphium.errors import GraphiumError

# Molecules that are held as RDKit objects at a time.
_BLOCK = 1024


def ecfp(texts: Sequence[Any], radius: int = 2, size: int = 1024) -> np.ndarray:
    """Extended-connectivity fingerprints (Rogers and Hahn 2010) by RDKit's Morgan generator, without chirality.

    Args:
        texts: SMILES, CXSMILES or molblocks.
        radius: Bonds around an atom that its bits tell of; 2 is ECFP4.
        size: Number of bits, a multiple of 8.

    Returns:
        uint8 ``[texts, size / 8]``: bit ``n`` stands in byte ``n // 8`` at the value ``1 << n % 8``. Zero
        for a text that gives no molecule.

    Raises:
        GraphiumError: a size that is no positive multiple of 8, or a negative radius.

    >>> np.unpackbits(ecfp(["CCO", "C1CC"], size=64), axis=1, bitorder="little").sum(axis=1).tolist()
    [6, 0]
    """
    if size < 8 or size % 8:
        raise GraphiumError(f"the size of a fingerprint is {size}; give a positive multiple of 8")
    if radius < 0:
        raise GraphiumError(f"the radius of a fingerprint is {radius}; give 0 or more")
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=size)
    bits = np.zeros((len(texts), size // 8), np.uint8)
    with rdBase.BlockLogs():
        for start in range(0, len(texts), _BLOCK):
            mols, rows = [], []
            for row, text in enumerate(texts[start : start + _BLOCK], start):
                try:
                    mols.append(read_molecule(text, "heavy"))
                except UnusableMolecule:
                    continue
                rows.append(row)
            packed = b"".join(map(DataStructs.BitVectToBinaryText, generator.GetFingerprints(mols, 1)))
            bits[rows] = np.frombuffer(packed, np.uint8).reshape(-1, size // 8)
    return bits
