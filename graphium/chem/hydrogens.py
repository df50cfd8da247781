"""Which atoms and bonds of a text are the hydrogens that the heavy graph leaves out."""

from __future__ import annotations

from array import array

import numpy as np
from rdkit import Chem, rdBase

from graphium.chem.parse import UnusableMolecule, is_molblock, read_molecule, written_molecule

_NUMBER = "_written"


def may_write_hydrogens(text: str) -> bool:
    """Whether a text may write hydrogens that are left out; never False where it does.

    >>> may_write_hydrogens("[H]C"), may_write_hydrogens("C[C@H](N)[nH]")
    (True, False)
    """
    # RDKit also leaves out mapped hydrogens, and reads the isotope 0 as none: [H:1], [0H].
    return "[H" in text or "[0" in text or ("\n" in text and is_molblock(text))


def count_with_hydrogens(text: object) -> tuple[int, int]:
    """Atoms and bonds of a text's molecule with all its hydrogens, those too that the text does not write.

    >>> count_with_hydrogens("C"), count_with_hydrogens("no molecule")
    ((5, 4), (-1, -1))
    """
    try:
        with rdBase.BlockLogs():
            mol = read_molecule(text, "explicit_h")
    except UnusableMolecule:
        return -1, -1
    return mol.GetNumAtoms(), mol.GetNumBonds()


def removed_hydrogens(text: str, heavy: Chem.Mol) -> tuple[array[int], array[int]] | None:
    """Where the written atoms and bonds of a text are in its heavy graph; None if all of them are there.

    Args:
        text: A text that may write hydrogens.
        heavy: Its molecule in the form ``heavy``.

    Returns:
        For every written atom its number in ``heavy``, or ``-1 - parent`` for a hydrogen that was left
        out, ``parent`` the atom in ``heavy`` that it is bonded to; for every written bond its number in
        ``heavy``, or -1 for the bond to such a hydrogen. Both int16.

    Raises:
        UnusableMolecule: a hydrogen that is left out is no ordinary one, or they cannot be told apart.
    """
    written = written_molecule(text)
    num_removed = written.GetNumAtoms() - heavy.GetNumAtoms()
    if num_removed == 0:
        return None
    removed = {atom.GetIdx() for atom in written.GetAtoms() if atom.GetAtomicNum() == 1 and not atom.GetIsotope()}
    if len(removed) != num_removed:
        removed -= _kept_by_rdkit(written)
    if len(removed) != num_removed:
        raise UnusableMolecule("writes hydrogens whose places cannot be followed")
    if not all(_is_ordinary(written.GetAtomWithIdx(index)) for index in removed):
        raise UnusableMolecule("writes a hydrogen with a charge or an unusual bond that RDKit leaves out")
    # RDKit keeps the relative order of the atoms and bonds that stay.
    number = 0
    atoms = array("h", bytes(2 * written.GetNumAtoms()))
    for index in range(written.GetNumAtoms()):
        if index not in removed:
            atoms[index] = number
            number += 1
    bonds = array("h")
    number = 0
    for bond in written.GetBonds():
        first, second = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if first in removed or second in removed:
            # RDKit takes out hydrogens with one bond only.
            hydrogen, parent = (first, second) if first in removed else (second, first)
            atoms[hydrogen] = -1 - atoms[parent]
            bonds.append(-1)
        else:
            bonds.append(number)
            number += 1
    if number != heavy.GetNumBonds():
        raise UnusableMolecule("writes hydrogens whose places cannot be followed")
    return atoms, bonds


class WrittenHydrogens:
    """Collects, for some texts, where their written atoms and bonds are in the heavy graph."""

    def __init__(self) -> None:
        self._counts: list[tuple[int, int, int]] = []
        self._atoms = array("h")
        self._bonds = array("h")

    def add(self, place: int, places: tuple[array[int], array[int]] | None) -> None:
        """Take the result of :func:`removed_hydrogens` for the molecule number ``place``."""
        if places is not None:
            self._counts.append((place, len(places[0]), len(places[1])))
            self._atoms += places[0]
            self._bonds += places[1]

    def arrays(self, num_molecules: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """``written_atoms``, ``written_atom``, ``written_bonds`` and ``written_bond`` of all molecules."""
        counts = np.zeros((num_molecules, 2), np.int32)
        for place, num_atoms, num_bonds in self._counts:
            counts[place] = num_atoms, num_bonds
        atoms, bonds = np.array(self._atoms, np.int16), np.array(self._bonds, np.int16)
        return counts[:, 0], atoms, counts[:, 1], bonds


def _is_ordinary(hydrogen: Chem.Atom) -> bool:
    """Whether a hydrogen is no more than one of the implied ones; RDKit leaves out some that are."""
    (bond,) = hydrogen.GetBonds()
    is_plain = hydrogen.GetFormalCharge() == 0 and hydrogen.GetNumRadicalElectrons() == 0
    return is_plain and bond.GetBondType() == Chem.BondType.SINGLE


def _kept_by_rdkit(written: Chem.Mol) -> set[int]:
    """Numbers of the written atoms that stay when RDKit takes ordinary hydrogens out."""
    for atom in written.GetAtoms():
        atom.SetIntProp(_NUMBER, atom.GetIdx())
    return {atom.GetIntProp(_NUMBER) for atom in Chem.RemoveHs(written).GetAtoms()}
