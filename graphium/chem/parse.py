"""Text to molecule: RDKit's parse of a SMILES, CXSMILES or molblock, and why it failed."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from rdkit import Chem, rdBase

from graphium.types import Form

Standardize = Literal["none", "datamol"]

# The store numbers a molecule's atoms, and the two directions of its bonds, in int16.
MAX_ATOMS = 32_767
MAX_BONDS = 16_383

_TITLE_LENGTH = 60
# White space, and characters of no width that files and spreadsheets leave at the ends of a cell.
_INVISIBLE = " \t\r\n\v\f\xa0\u200b\u200c\u200d\u2060\ufeff"
# Marks of stereochemistry, and the wedges of a depiction in the extension of a CXSMILES, which repeat them.
_MARKS = re.compile(r"[@/\\]")
_WEDGES = re.compile(r"(?<=[|,])w[UD]:\d+\.\d+(?:,\d+\.\d+)*,?")


class UnusableMolecule(ValueError):
    """A text that gives no molecule; the message completes the sentence "this text ..."."""


def read_molecule(text: Any, form: Form, standardize: Standardize = "none") -> Chem.Mol:
    """Parse one SMILES, CXSMILES or molblock, without its atom maps.

    ``heavy`` gives the atoms and bonds of RDKit's default parse, in that order: of a molblock those of
    the file, less ordinary hydrogens. ``explicit_h`` keeps the hydrogens of the text in their places and
    appends the others. Stereochemistry follows RDKit: given 3-D coordinates decide over written marks.
    What the canonical SMILES cannot say (enhanced stereochemistry, atropisomers, double bonds drawn as
    unknown) is left out. A caller that parses many texts silences RDKit's log around them.

    ``standardize="datamol"`` gives what ``datamol.standardize_mol`` makes of the molecule by its defaults,
    with atoms in an order of its own: groups such as nitro are written in one way (``normalize``), charges
    sit on the strongest acids (``reionize``); metals stay bonded, salts together, charges as they are.

    Raises:
        UnusableMolecule: the text gives no molecule; the message says why.
    """
    if not isinstance(text, str):
        raise UnusableMolecule(_describe(text))
    if standardize == "datamol":
        mol = _standardized(_parse(text, keeps_hydrogens=False))
    else:
        mol = _parse(text, keeps_hydrogens=form == "explicit_h")
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


def is_molblock(text: str) -> bool:
    """Whether a text is a molblock, as in an SDF, and not a SMILES: it has several lines.

    >>> is_molblock("CCO\\n"), is_molblock(Chem.MolToMolBlock(Chem.MolFromSmiles("CCO")))
    (False, True)
    """
    return "\n" in text and "\n" in text.strip()


def readable(text: str) -> str:
    """What to show for a text: the text itself; for a molblock its canonical SMILES, or else its title.

    >>> readable("OCC"), readable(Chem.MolToMolBlock(Chem.MolFromSmiles("OCC")))
    ('OCC', 'CCO')
    """
    if not is_molblock(text):
        return text
    with rdBase.BlockLogs():
        try:
            return Chem.MolToSmiles(read_molecule(text, "heavy"))
        except UnusableMolecule:
            title = text.partition("\n")[0].strip()
            return f"molblock {title[:_TITLE_LENGTH]!r}" if title else "molblock without a title"


def written_molecule(text: str) -> Chem.Mol:
    """A text's molecule with all written hydrogens, neither sanitised nor otherwise changed.

    The text is one that :func:`read_molecule` accepts.
    """
    if is_molblock(text):
        return Chem.MolFromMolBlock(text, sanitize=False, removeHs=False)
    return Chem.MolFromSmiles(text, _AS_WRITTEN)


_KEEP_HYDROGENS = Chem.SmilesParserParams()
_KEEP_HYDROGENS.removeHs = False  # type: ignore[assignment]
_AS_WRITTEN = Chem.SmilesParserParams()
_AS_WRITTEN.removeHs = False  # type: ignore[assignment]
_AS_WRITTEN.sanitize = False  # type: ignore[assignment]


def _parse(text: str, keeps_hydrogens: bool) -> Chem.Mol:
    # A molblock has several lines. One cheap look decides for nearly all texts.
    in_block = "\n" in text and is_molblock(text)
    # RDKit reads centres again from the wedges, where they are ambiguous, and forgets double bonds beside them.
    if "|" in text and not in_block and _MARKS.search(text):
        text = _WEDGES.sub("", text)
    try:
        if in_block:
            mol = Chem.MolFromMolBlock(text, removeHs=not keeps_hydrogens)
        else:
            mol = Chem.MolFromSmiles(text, _KEEP_HYDROGENS) if keeps_hydrogens else Chem.MolFromSmiles(text)
    except UnicodeError:
        raise UnusableMolecule("holds characters that are no text") from None
    except Exception as error:  # RDKit's C++ code raises many kinds.
        raise UnusableMolecule(f"is not readable by RDKit: {_sentence(str(error))}") from None
    if mol is None:
        raise UnusableMolecule(_why(text))
    if not (in_block or text.isascii()):
        _check_characters(text)
    if in_block or "|" in text:
        _only_what_smiles_say(mol, in_block)
    # Also an aromatic bond is written with a colon, but rarely.
    if in_block or ":" in text:
        _clear_atom_maps(mol)
    return mol


def _check_characters(text: str) -> None:
    """Refuse characters that RDKit cuts off the ends of a SMILES, like the minus of a charge: ``CC(=O)O\u207b``."""
    smiles = re.split(r"[ \t\r\n]", text.strip(_INVISIBLE), maxsplit=1)[0]
    if not smiles.isascii():
        strange = next(character for character in smiles if not character.isascii())
        raise UnusableMolecule(f"holds the character {strange!r}, which is no part of SMILES")


def _only_what_smiles_say(mol: Chem.Mol, in_block: bool) -> None:
    """Refuse the queries of a CXSMILES or molblock, and drop marks that no SMILES has.

    A list of elements, or a bond that is single or double, is no molecule. With marks that only some
    ways of writing have, equal ids would not mean equal graphs.
    """
    if any(atom.HasQuery() and atom.DescribeQuery().strip() != "AtomNull" for atom in mol.GetAtoms()):
        raise UnusableMolecule("has query atoms and is no single molecule")
    for bond in mol.GetBonds():
        # In a SMILES, the bond ~ is one too: it stands for all types that SMILES cannot write.
        if in_block and bond.HasQuery():
            raise UnusableMolecule("has query bonds and is no single molecule")
        if bond.GetStereo() in _NOT_IN_SMILES:
            bond.SetStereo(Chem.BondStereo.STEREONONE)


_NOT_IN_SMILES = (
    Chem.BondStereo.STEREOANY,
    Chem.BondStereo.STEREOATROPCW,
    Chem.BondStereo.STEREOATROPCCW,
)


def _clear_atom_maps(mol: Chem.Mol) -> None:
    mapped = [atom for atom in mol.GetAtoms() if atom.GetAtomMapNum()]
    for atom in mapped:
        atom.SetAtomMapNum(0)
    if mapped:
        # Two neighbours that differed by their map alone made a stereocentre that is none.
        Chem.AssignStereochemistry(mol, cleanIt=True, force=True)


def _standardized(mol: Chem.Mol) -> Chem.Mol:
    """The molecule as datamol standardises it; the same for every way of writing the molecule."""
    import datamol

    try:
        # Its steps go by the order of the atoms: they get the one of the canonical SMILES.
        mol = datamol.standardize_mol(Chem.MolFromSmiles(Chem.MolToSmiles(mol)))
        mol = Chem.MolFromSmiles(Chem.MolToSmiles(mol))
    except Exception as error:  # RDKit's C++ code raises many kinds.
        raise UnusableMolecule(f"cannot be standardised by datamol: {_sentence(str(error))}") from None
    if mol is None:
        raise UnusableMolecule("cannot be standardised by datamol")
    return mol


def _why(text: str) -> str:
    """Why RDKit gives no molecule for this text."""
    if not text.strip():
        return "is empty"
    kind = "a valid molblock" if is_molblock(text) else "valid SMILES"
    try:
        loose = Chem.MolFromMolBlock(text, False) if is_molblock(text) else Chem.MolFromSmiles(text, sanitize=False)
        problems = () if loose is None else Chem.DetectChemistryProblems(loose)
    except Exception:  # RDKit's C++ code raises many kinds.
        loose = None
    if loose is None:
        return f"is not {kind}"
    if not problems:
        return "is not a molecule that RDKit accepts"
    return f"is not a possible molecule: {_sentence(problems[0].Message())}"


def _sentence(message: str) -> str:
    """A message of RDKit as part of a sentence."""
    message = " ".join(message.split())
    return f"{message[:1].lower()}{message[1:]}"


def _describe(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ == "NAType":
        return "is an empty cell"
    return f"is of type {type(value).__name__} and not text"
