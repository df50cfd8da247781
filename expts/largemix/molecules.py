"""SMILES -> the numbers that the labels are made from: descriptors of molecules, surroundings of atoms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors

ELEMENTS = (6, 7, 8, 9, 16, 17, 35)
# Pauling's electronegativities.
ELECTRONEGATIVITY = {1: 2.20, 5: 2.04, 6: 2.55, 7: 3.04, 8: 3.44, 9: 3.98, 14: 1.90, 15: 2.19, 16: 2.58, 17: 3.16}
ELECTRONEGATIVITY |= {35: 2.96, 53: 2.66}
FINGERPRINT_SIZE = 256
_MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=1, fpSize=FINGERPRINT_SIZE)


@dataclass(frozen=True)
class Molecules:
    """Some molecules as arrays.

    Attributes:
        smiles: One text per molecule; its atoms stand in an order that is not RDKit's canonical one.
        descriptors: float64 ``[molecules, descriptors]``.
        environments: float64 ``[molecules, FINGERPRINT_SIZE]``, log(1 + count) of each Morgan environment.
        atoms: float64 ``[atoms, features]``, all molecules end to end, in the order of the texts.
        edges: int64 ``[2, directed edges]``, numbers of atoms.
        orders: float64 ``[directed edges]``, bond orders (1.5 where aromatic).
        ptr: int64 ``[molecules + 1]``, the atoms of molecule i are ``ptr[i]:ptr[i + 1]``.
    """

    smiles: list[str]
    descriptors: np.ndarray
    environments: np.ndarray
    atoms: np.ndarray
    edges: np.ndarray
    orders: np.ndarray
    ptr: np.ndarray

    def __len__(self) -> int:
        return len(self.smiles)


def read_pool(path: Path) -> pa.Array:
    """The SMILES of a table with a column ``SMILES``; some 60 bytes a molecule stay in memory."""
    options = csv.ConvertOptions(include_columns=["SMILES"], column_types={"SMILES": pa.large_string()})
    return pc.drop_null(csv.read_csv(path, convert_options=options)["SMILES"]).combine_chunks()


def describe(texts: Sequence[str]) -> Molecules:
    """Parse some texts; every one must be readable."""
    smiles, descriptors, environments, atoms, edges, orders, sizes = [], [], [], [], [], [], []
    start = 0
    for text in texts:
        parsed = Chem.MolFromSmiles(text)
        # Labels of atoms that follow the canonical order by chance would hide a wrong order.
        written = Chem.MolToSmiles(parsed, rootedAtAtom=len(text) % parsed.GetNumAtoms(), canonical=False)
        mol = Chem.RenumberAtoms(parsed, json.loads(parsed.GetProp("_smilesAtomOutputOrder").replace(",]", "]")))
        smiles.append(written)
        descriptors.append(_descriptors(mol))
        environments.append(_MORGAN.GetCountFingerprintAsNumPy(mol))
        atoms.extend(_atom(atom) for atom in mol.GetAtoms())
        bonds = Chem.GetAdjacencyMatrix(mol, useBO=True)
        source, target = np.nonzero(bonds)
        edges.append(np.stack([source, target]) + start)
        orders.append(bonds[source, target])
        sizes.append(mol.GetNumAtoms())
        start += sizes[-1]
    return Molecules(
        smiles,
        np.array(descriptors, dtype=np.float64),
        np.log1p(np.array(environments, dtype=np.float64)),
        np.array(atoms, dtype=np.float64),
        np.concatenate(edges, axis=1).astype(np.int64),
        np.concatenate(orders),
        np.concatenate([[0], np.cumsum(sizes)]),
    )


def _descriptors(mol: Chem.Mol) -> list[float]:
    counts = dict.fromkeys(ELEMENTS, 0)
    for atom in mol.GetAtoms():
        counts[atom.GetAtomicNum()] = counts.get(atom.GetAtomicNum(), 0) + 1
    log_p, refraction = rdMolDescriptors.CalcCrippenDescriptors(mol)
    return [
        *(counts[element] for element in ELEMENTS),
        log_p,
        refraction,
        rdMolDescriptors.CalcTPSA(mol),
        rdMolDescriptors.CalcFractionCSP3(mol),
        rdMolDescriptors.CalcNumHBD(mol),
        rdMolDescriptors.CalcNumHBA(mol),
        rdMolDescriptors.CalcNumRotatableBonds(mol),
        rdMolDescriptors.CalcNumAromaticRings(mol),
        rdMolDescriptors.CalcNumAliphaticRings(mol),
        rdMolDescriptors.CalcNumAmideBonds(mol),
    ]


def _atom(atom: Chem.Atom) -> list[float]:
    element = atom.GetAtomicNum()
    return [
        ELECTRONEGATIVITY.get(element, 2.0),
        element,
        atom.GetDegree(),
        atom.GetTotalNumHs(),
        atom.GetFormalCharge(),
        atom.GetIsAromatic(),
        atom.IsInRing(),
    ]
