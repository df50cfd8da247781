"""The properties of bonds.

To add one, register a :class:`ChemicalProperty`: a name, a function of an RDKit bond, and a
vocabulary if it is categorical. ``is_local=False`` if it depends on more than the bond's type, stereo
label and ring membership.
"""

from __future__ import annotations

from math import log10

from rdkit import Chem
from rdkit.Chem import Bond, BondStereo, BondType

from graphium.chem.properties import ChemicalProperty
from graphium.registry import register

_TABLE = Chem.GetPeriodicTable()
_TYPES = (BondType.SINGLE, BondType.DOUBLE, BondType.TRIPLE, BondType.AROMATIC)
_STEREO = (
    BondStereo.STEREONONE,
    BondStereo.STEREOANY,
    BondStereo.STEREOZ,
    BondStereo.STEREOE,
    BondStereo.STEREOCIS,
    BondStereo.STEREOTRANS,
)


def estimated_length(bond: Bond) -> float:
    """Bond length in angstrom: covalent radii less 0.71 log10(bond order) (Pauling 1947, eq. 1)."""
    atoms = bond.GetBeginAtom(), bond.GetEndAtom()
    single = sum(_TABLE.GetRcovalent(atom.GetAtomicNum()) for atom in atoms)
    return single - 0.71 * log10(max(1.0, bond.GetBondTypeAsDouble()))


for _name in ("bond-type", "bond-type-onehot"):
    register("bond_onehot", _name)(ChemicalProperty(_name, Bond.GetBondType, _TYPES))
register("bond_onehot", "stereo")(ChemicalProperty("stereo", Bond.GetStereo, _STEREO))
register("bond_onehot", "in-ring")(ChemicalProperty("in-ring", Bond.IsInRing, (False, True)))

# The bond order: 1, 1.5, 2, 3.
for _name in ("bond-type", "bond-type-float"):
    register("bond_float", _name)(ChemicalProperty(_name, Bond.GetBondTypeAsDouble, dtype="float32"))
register("bond_float", "in-ring")(ChemicalProperty("in-ring", Bond.IsInRing))
register("bond_float", "conjugated")(ChemicalProperty("conjugated", Bond.GetIsConjugated, is_local=False))
register("bond_float", "estimated-bond-length")(
    ChemicalProperty("estimated-bond-length", estimated_length, dtype="float32", is_local=False)
)
register("bond_float", "conformer-bond-length")(
    ChemicalProperty(
        "conformer-bond-length",
        estimated_length,
        dtype="float32",
        is_local=False,
        unavailable="needs 3-D positions, which a SMILES does not hold; use 'estimated-bond-length'",
    )
)
