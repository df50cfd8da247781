"""Text to molecule and identity: RDKit's parse, why it failed, the canonical SMILES and its hash."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from rdkit import Chem, rdBase

from graphium.errors import GraphiumError
from graphium.types import Form

# The store numbers a molecule's atoms, and the two directions of its bonds, in int16.
MAX_ATOMS = 32_767
MAX_BONDS = 16_383

# Marks of stereochemistry and isotopes in a canonical SMILES.
_MARKED = re.compile(r"[@/\\]|\[\d")


class UnusableMolecule(ValueError):
    """A text that gives no molecule; the message completes the sentence "this text ..."."""


@dataclass(frozen=True)
class Identity:
    """Who a molecule is, whatever text it came from.

    ``smiles``: canonical isomeric SMILES without atom maps and ordinary explicit hydrogens.
    ``id``: 32 hexadecimal digits, the 128-bit hash of ``smiles``. ``flat_id``: the same without
    stereochemistry and isotope labels.
    """

    smiles: str
    id: str
    flat_id: str


def identity(text: str) -> Identity:
    """Identify the molecule of one SMILES.

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
        except UnusableMolecule as error:
            raise GraphiumError(f"{text!r} {error}; give a valid SMILES") from None
        smiles = Chem.MolToSmiles(mol)
        return Identity(smiles, digest(smiles).hex(), digest(flat_smiles(mol, smiles)).hex())


def read_molecule(text: Any, form: Form) -> Chem.Mol:
    """Parse one SMILES, without its atom maps.

    ``heavy`` gives the atoms and bonds of RDKit's default parse, in that order. ``explicit_h`` keeps
    the hydrogens of the text in their places and appends the others. A caller that parses many texts
    silences RDKit's log around them.

    Raises:
        UnusableMolecule: the text gives no molecule; the message says why.
    """
    if not isinstance(text, str):
        raise UnusableMolecule(_describe(text))
    try:
        mol = Chem.MolFromSmiles(text) if form == "heavy" else Chem.MolFromSmiles(text, _KEEP_HYDROGENS)
    except UnicodeError:
        raise UnusableMolecule("holds characters that are no text") from None
    if mol is None:
        raise UnusableMolecule(_why(text))
    # Also an aromatic bond is written with a colon, but rarely.
    if ":" in text:
        _clear_atom_maps(mol)
    if form == "explicit_h":
        mol = Chem.AddHs(mol)
    num_atoms, num_bonds = mol.GetNumAtoms(), mol.GetNumBonds()
    if num_atoms == 0:
        raise UnusableMolecule("is empty")
    if num_atoms > MAX_ATOMS or num_bonds > MAX_BONDS:
        raise UnusableMolecule(
            f"has {num_atoms:,} atoms and {num_bonds:,} bonds; at most {MAX_ATOMS:,} and {MAX_BONDS:,} can be stored"
        )
    return mol


def flat_smiles(mol: Chem.Mol, smiles: str) -> str:
    """Canonical SMILES without stereochemistry and isotopes; ``smiles`` is the one with them.

    Writing a SMILES is half as dear as parsing, so it is done again only where it can differ.
    """
    return Chem.MolToSmiles(mol, isomericSmiles=False) if _MARKED.search(smiles) else smiles


def digest(smiles: str) -> bytes:
    """The 128-bit hash of a canonical SMILES, 16 bytes."""
    return blake2b(smiles.encode(), digest_size=16).digest()


_KEEP_HYDROGENS = Chem.SmilesParserParams()
_KEEP_HYDROGENS.removeHs = False  # type: ignore[assignment]


def _clear_atom_maps(mol: Chem.Mol) -> None:
    mapped = [atom for atom in mol.GetAtoms() if atom.GetAtomMapNum()]
    for atom in mapped:
        atom.SetAtomMapNum(0)
    if mapped:
        # Two neighbours that differed by their map alone made a stereocentre that is none.
        Chem.AssignStereochemistry(mol, cleanIt=True, force=True)


def _why(text: str) -> str:
    """Why RDKit gives no molecule for this text."""
    if not text.strip():
        return "is empty"
    loose = Chem.MolFromSmiles(text, sanitize=False)
    if loose is None:
        return "is not valid SMILES"
    problems = Chem.DetectChemistryProblems(loose)
    if not problems:
        return "is not a molecule that RDKit accepts"
    message = " ".join(problems[0].Message().split())
    return f"is not a possible molecule: {message[:1].lower()}{message[1:]}"


def _describe(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ == "NAType":
        return "is an empty cell"
    return f"is of type {type(value).__name__} and not text"
