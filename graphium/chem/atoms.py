"""The properties of atoms.

To add one, register a :class:`ChemicalProperty`: a name, a function of an RDKit atom, and a
vocabulary if it is categorical. ``is_local=False`` if it depends on more than the atom's element,
charge, hydrogens, aromaticity, ring membership and number of bonds of each type.
"""

from __future__ import annotations

from collections.abc import Callable

from rdkit import Chem
from rdkit.Chem import Atom, BondType, HybridizationType

from graphium.chem import elements
from graphium.chem.properties import ChemicalProperty
from graphium.registry import register

_TABLE = Chem.GetPeriodicTable()
# The elements of drug-like and catalytic chemistry, in the published order.
_COMMON_ELEMENTS = """
    C N O S F Si P Cl Br Mg Na Ca Fe As Al I B V K Tl Yb Sb Sn Ag Pd Co Se Ti Zn H Li Ge Cu Au Ni Cd In Mn Zr Cr Pt Hg
    Pb
"""
_HYBRIDIZATIONS = ("S", "SP", "SP2", "SP3", "SP2D", "SP3D", "SP3D2")


def chirality(atom: Atom) -> str:
    """CIP label R or S of a stereocentre, empty for any other atom.

    The label and not RDKit's clockwise tag, which depends on the order in which neighbours stand.
    """
    return atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else ""


def by_element(table: tuple) -> Callable[[Atom], object]:
    """Function that looks an atom's element up in a table indexed by atomic number."""
    return lambda atom: table[atom.GetAtomicNum()]


def count_bonds(kind: BondType) -> Callable[[Atom], int]:
    """Function that counts an atom's bonds of one type, bonds to implicit hydrogens left out."""
    return lambda atom: sum(bond.GetBondType() == kind for bond in atom.GetBonds())


def metal(atom: Atom) -> int:
    """0 for a nonmetal, 1 for a metalloid, 2 for a metal."""
    category = elements.CATEGORY[atom.GetAtomicNum()]
    return 2 * (category in elements.METALS) + (category == "metalloid")


def ring_sizes(atom: Atom) -> tuple[int, ...]:
    """Sizes of the smallest rings (symmetrised SSSR) through this atom; (0,) outside rings."""
    return tuple(atom.GetOwningMol().GetRingInfo().AtomRingSizes(atom.GetIdx())) or (0,)


def number_of_rings(atom: Atom) -> int:
    """Number of smallest rings (symmetrised SSSR) through this atom."""
    return atom.GetOwningMol().GetRingInfo().NumAtomRings(atom.GetIdx())


def attached_hydrogens(atom: Atom) -> int:
    """Number of hydrogens that are not atoms of the graph.

    RDKit's own implicit valence depends on whether the text wrote ``C`` or ``[CH4]``; this does not.
    """
    return atom.GetTotalNumHs()


def _categorical(name: str, function: Callable, vocabulary: tuple, is_local: bool = True) -> None:
    register("atom_onehot", name)(ChemicalProperty(name, function, vocabulary, is_local=is_local))


def _integer(name: str, function: Callable, is_local: bool = True) -> None:
    register("atom_float", name)(ChemicalProperty(name, function, dtype="int8", is_local=is_local))


def _real(name: str, function: Callable) -> None:
    register("atom_float", name)(ChemicalProperty(name, function, dtype="float32"))


_categorical(
    "atomic-number", Atom.GetAtomicNum, tuple(_TABLE.GetAtomicNumber(symbol) for symbol in _COMMON_ELEMENTS.split())
)
_categorical("degree", Atom.GetDegree, tuple(range(7)))
_categorical("total-valence", Atom.GetTotalValence, tuple(range(8)))
_categorical("valence", Atom.GetTotalValence, tuple(range(8)))
_categorical("implicit-valence", attached_hydrogens, tuple(range(5)))
_categorical("formal-charge", Atom.GetFormalCharge, tuple(range(-3, 4)))
_categorical(
    "hybridization",
    Atom.GetHybridization,
    tuple(HybridizationType.names[name] for name in _HYBRIDIZATIONS),
    is_local=False,
)
_categorical("chirality", chirality, ("", "R", "S"), is_local=False)
_categorical("phase", by_element(elements.PHASE), elements.PHASES)
_categorical("type", by_element(elements.CATEGORY), elements.CATEGORIES)
_categorical("group", by_element(elements.GROUP), tuple(range(1, 19)))
_categorical("period", by_element(elements.PERIOD), tuple(range(1, 8)))

_integer("atomic-number", Atom.GetAtomicNum)
_integer("total-valence", Atom.GetTotalValence)
_integer("valence", Atom.GetTotalValence)
_integer("implicit-valence", attached_hydrogens)
# RDKit's order: 0 unspecified, 1 s, 2 sp, 3 sp2, 4 sp3, 5 sp2d, 6 sp3d, 7 sp3d2, 8 other.
_integer("hybridization", Atom.GetHybridization, is_local=False)
# 1 for R, -1 for S, 0 for no stereocentre.
_integer("chirality", lambda atom: {"R": 1, "S": -1}.get(chirality(atom), 0), is_local=False)
_integer("aromatic", Atom.GetIsAromatic)
_integer("in-ring", Atom.IsInRing)
_integer("min-ring", lambda atom: min(ring_sizes(atom)), is_local=False)
_integer("max-ring", lambda atom: max(ring_sizes(atom)), is_local=False)
_integer("num-ring", number_of_rings, is_local=False)
_integer("degree", Atom.GetDegree)
_integer("radical-electron", Atom.GetNumRadicalElectrons)
_integer("formal-charge", Atom.GetFormalCharge)
_integer("metal", metal)
_integer("group", by_element(elements.GROUP))
_integer("period", by_element(elements.PERIOD))
_integer("single-bond", count_bonds(BondType.SINGLE))
_integer("aromatic-bond", count_bonds(BondType.AROMATIC))
_integer("double-bond", count_bonds(BondType.DOUBLE))
_integer("triple-bond", count_bonds(BondType.TRIPLE))
_integer("is-carbon", lambda atom: atom.GetAtomicNum() == 6)

# In multiples of carbon's 12.011 Da, so that the network's input is of order one.
_real("mass", lambda atom: atom.GetMass() / 12.011)
# Angstrom.
_real("vdw-radius", lambda atom: _TABLE.GetRvdw(atom.GetAtomicNum()))
_real("covalent-radius", lambda atom: _TABLE.GetRcovalent(atom.GetAtomicNum()))
# Pauling scale.
_real("electronegativity", by_element(elements.ELECTRONEGATIVITY))
# In units of 10 eV.
_real("ionization", lambda atom: elements.IONIZATION[atom.GetAtomicNum()] / 10)
# In units of 1,000 K.
_real("melting-point", lambda atom: elements.MELTING_POINT[atom.GetAtomicNum()] / 1000)
