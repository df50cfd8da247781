"""Who a molecule is, whatever text it came from: the canonical SMILES and its hash."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from rdkit import Chem, rdBase

from graphium.chem.parse import UnusableMolecule, read_molecule, readable
from graphium.errors import GraphiumError

# Marks of stereochemistry, isotopes and hydrogen atoms in a canonical SMILES.
_MARKED = re.compile(r"[@/\\]|\[\d|\[H")
_HYDROGEN_ATOM = re.compile(r"\[\d*H\]")


@dataclass(frozen=True)
class Identity:
    """Who a molecule is, whatever text it came from.

    ``smiles``: canonical isomeric SMILES without atom maps and ordinary explicit hydrogens.
    ``id``: 32 hexadecimal digits, the 128-bit hash of ``smiles``. ``flat_id``: the same without
    stereochemistry and isotope labels, and without the hydrogens that are atoms for their sake. Enhanced
    stereochemistry and atropisomers belong to neither.
    """

    smiles: str
    id: str
    flat_id: str


def identity(text: str) -> Identity:
    """Identify the molecule of one SMILES, CXSMILES or molblock.

    >>> identity("OCC").smiles, identity("[CH3:1][CH2:2]O").id == identity("C(O)C").id
    ('CCO', True)
    >>> identity("C[C@H](O)F").flat_id == identity("CC(O)F").id
    True

    Raises:
        GraphiumError: the text gives no molecule.
    """
    with rdBase.BlockLogs():
        try:
            mol = read_molecule(text, "heavy")
            smiles = canonical_smiles(mol)
        except UnusableMolecule as error:
            shown = readable(text) if isinstance(text, str) else text
            raise GraphiumError(f"{shown!r} {error}; give a valid SMILES or molblock") from None
        return Identity(smiles, digest(smiles).hex(), digest(flat_smiles(mol, smiles)).hex())


def canonical_smiles(mol: Chem.Mol) -> str:
    """RDKit's canonical isomeric SMILES.

    Raises:
        UnusableMolecule: RDKit cannot write one.
    """
    try:
        return Chem.MolToSmiles(mol)
    except Exception:  # RDKit's C++ code raises many kinds.
        raise UnusableMolecule("has no canonical SMILES that RDKit can write") from None


def may_differ_flat(smiles: str) -> bool:
    """Whether :func:`flat_smiles` has to look at a canonical SMILES: a look that costs nearly nothing."""
    return "[" in smiles or "/" in smiles or "\\" in smiles


def flat_smiles(mol: Chem.Mol, smiles: str) -> str:
    """Canonical SMILES without stereochemistry and isotopes; ``smiles`` is the one with them.

    Writing a SMILES is half as dear as parsing, so it is done again only where it can differ.
    """
    if not (may_differ_flat(smiles) and _MARKED.search(smiles)):
        return smiles
    if _HYDROGEN_ATOM.search(smiles):
        mol = Chem.RemoveHs(mol, _EVERY_HYDROGEN)
    return Chem.MolToSmiles(mol, isomericSmiles=False)


def digests(smiles: Iterable[str]) -> np.ndarray:
    """The 128-bit hashes of many canonical SMILES, uint64 ``[M, 2]``."""
    return np.frombuffer(b"".join(map(digest, smiles)), "<u8").reshape(-1, 2).astype(np.uint64)


def digest(smiles: str) -> bytes:
    """The 128-bit hash of a canonical SMILES, 16 bytes."""
    return blake2b(smiles.encode(), digest_size=16).digest()


_EVERY_HYDROGEN = Chem.RemoveHsParameters()
_EVERY_HYDROGEN.removeIsotopes = True  # type: ignore[assignment]
_EVERY_HYDROGEN.removeDefiningBondStereo = True  # type: ignore[assignment]
_EVERY_HYDROGEN.showWarnings = False  # type: ignore[assignment]
