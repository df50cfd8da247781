"""Texts to arrays: the graph of every molecule in canonical order, its properties and encodings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
import rdkit
from rdkit import Chem, rdBase

from graphium.chem.adjacency import Adjacency
from graphium.chem.hydrogens import WrittenHydrogens, may_write_hydrogens, removed_hydrogens
from graphium.chem.identity import canonical_smiles, digests, flat_smiles, may_differ_flat
from graphium.chem.parse import Standardize, UnusableMolecule, read_molecule
from graphium.chem.positions import given_positions, in_canonical_order
from graphium.chem.properties import UNIQUE, PropertyColumns, find_properties
from graphium.chem.smiles import DOUBLE, RARE, SmilesReader, WrittenMolecules
from graphium.errors import GraphiumError
from graphium.registry import Part, PartConfig, build
from graphium.types import FeatureSpec, Form

# Raise when the same options give different arrays: stored columns are then computed again.
CODE_VERSION = 2
# Molecules that are held as RDKit objects at a time.
_BLOCK = 1024
# Bits of an atom's surroundings: the bonds of each of four types, ring membership, token.
_COUNT_BITS = 8


@dataclass(frozen=True)
class MoleculeArrays:
    """Many molecules as flat arrays, in canonical order of molecules' atoms and bonds.

    ``position`` int64 ``[M]``: which of the texts each molecule came from, ascending. ``id``,
    ``flat_id`` uint64 ``[M, 2]``: 128-bit identity with and without stereochemistry. ``num_atoms``,
    ``num_bonds``, ``num_components`` int32 ``[M]``. ``component_size`` int32 ``[components]``: the atoms
    of a component are consecutive. ``bond_index`` int16 ``[bonds, 2]``: atom numbers within the molecule,
    smaller first, sorted. ``blocks``: storage block -> property columns ``[atoms or bonds, columns]``,
    see :meth:`Featurizer.block_keys`. ``atom_order`` int32 ``[atoms]``, ``bond_order`` int32 ``[bonds]``:
    index of the atom or bond in RDKit's parse of the text. ``failures``: (index of the text, reason).

    Where a text writes ordinary hydrogens that the graph leaves out: ``written_atoms``,
    ``written_bonds`` int32 ``[M]``, how many atoms and bonds it writes (0 for all other texts);
    ``written_atom`` int16 ``[sum of written_atoms]``: the number of each written atom in RDKit's parse,
    or ``-1 - parent`` for such a hydrogen, ``parent`` being the number of the atom that it is bonded to;
    ``written_bond`` int16 ``[sum of written_bonds]``: the number of each written bond, or -1 for the bond
    of such a hydrogen. ``positions`` float32 ``[atoms, 3]``: coordinates in angstrom, or None.
    """

    position: np.ndarray
    id: np.ndarray
    flat_id: np.ndarray
    num_atoms: np.ndarray
    num_bonds: np.ndarray
    num_components: np.ndarray
    component_size: np.ndarray
    bond_index: np.ndarray
    blocks: dict[str, np.ndarray]
    atom_order: np.ndarray
    bond_order: np.ndarray
    written_atoms: np.ndarray
    written_atom: np.ndarray
    written_bonds: np.ndarray
    written_bond: np.ndarray
    positions: np.ndarray | None
    failures: list[tuple[int, str]]

    @property
    def num_molecules(self) -> int:
        return len(self.position)


class Featurizer:
    """Turns SMILES, CXSMILES and molblocks into the arrays that a store holds.

    Args:
        atom_onehot: Categorical properties of atoms, by name.
        atom_float: Numeric properties of atoms.
        bond_onehot: Categorical properties of bonds.
        bond_float: Numeric properties of bonds.
        encodings: Encodings computed from the bonds alone; each a name, or a mapping with ``name`` and
            its options.
        form: ``heavy`` leaves ordinary hydrogens out of the graph; ``explicit_h`` makes them atoms.
        positions: Keep the 3-D coordinates that each text gives; a text without them is a failure.
        standardize: ``datamol`` replaces every molecule by its standardised form, see
            :func:`read_molecule`; its atoms are then no longer those of the text.

    Raises:
        GraphiumError: an unknown name or option.

    >>> found = Featurizer(encodings=[]).molecules(["OCC", "ethanol"])
    >>> found.num_atoms.tolist(), found.bond_index.tolist(), found.atom_order.tolist()
    ([3], [[0, 1], [1, 2]], [2, 1, 0])
    >>> found.failures
    [(1, 'is not valid SMILES')]
    """

    def __init__(
        self,
        atom_onehot: Sequence[str] = ("atomic-number", "group", "period", "total-valence"),
        atom_float: Sequence[str] = ("degree", "formal-charge", "radical-electron", "aromatic", "in-ring"),
        bond_onehot: Sequence[str] = ("bond-type", "stereo"),
        bond_float: Sequence[str] = ("in-ring",),
        encodings: Sequence[Annotated[PartConfig, Part("encoding")]] = (
            {"name": "laplacian", "k": 8},
            {"name": "rw_return_probs", "steps": 16},
        ),
        form: Form = "heavy",
        positions: bool = False,
        standardize: Standardize = "none",
    ) -> None:
        if form not in ("heavy", "explicit_h"):
            raise GraphiumError(f"features.form is {form!r}; choose heavy or explicit_h")
        if standardize not in ("none", "datamol"):
            raise GraphiumError(f"features.standardize is {standardize!r}; choose none or datamol")
        if positions and standardize != "none":
            raise GraphiumError(
                f"features.positions is true with features.standardize={standardize}, which changes the atoms that "
                "the coordinates belong to; set one of the two only"
            )
        self._names = {
            "atom_onehot": list(atom_onehot),
            "atom_float": list(atom_float),
            "bond_onehot": list(bond_onehot),
            "bond_float": list(bond_float),
        }
        found = {kind: find_properties(kind, names) for kind, names in self._names.items()}
        self._atoms = PropertyColumns("atom", found["atom_onehot"] + found["atom_float"])
        self._bonds = PropertyColumns("bond", found["bond_onehot"] + found["bond_float"])
        self._encoding_configs = [{"name": e} if isinstance(e, str) else dict(e) for e in encodings]
        self._encodings = [
            build("encoding", config, where=f"features.encodings[{place}]")
            for place, config in enumerate(self._encoding_configs)
        ]
        columns = tuple(column for encoding in self._encodings for column in encoding.columns)
        if len({column.name for column in columns}) < len(columns):
            raise GraphiumError("two of features.encodings make a column of the same name; remove one of them")
        self._reader = SmilesReader()
        self._standardize = standardize
        self.spec = FeatureSpec(self._atoms.spec, self._bonds.spec, columns, form, positions)

    @property
    def keeps_atoms(self) -> bool:
        """Whether the atoms of the graph are atoms of the text, so that labels per atom or bond have a place."""
        return self._standardize == "none"

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain values."""
        return {
            **self._names,
            "encodings": [dict(config) for config in self._encoding_configs],
            "form": self.spec.form,
            "positions": self.spec.positions,
            "standardize": self._standardize,
        }

    def structure_key(self) -> str:
        """Key of what decides which texts are usable, which atoms and bonds they have, and their order."""
        content: list[Any] = [self.spec.form, Chem.GetUseLegacyStereoPerception(), self.spec.positions]
        if self._standardize == "datamol":
            content += ["datamol", version("datamol")]
        return _key(*content)

    def block_keys(self) -> dict[str, str]:
        """Storage block or encoding column -> key of its content: equal keys, equal arrays."""
        structure = self.structure_key()
        keys = {}
        for columns in (self._atoms, self._bonds):
            for block, members in columns.blocks.items():
                keys[block] = _key(structure, [[p.name, [str(v) for v in p.vocabulary], p.dtype] for p in members])
        for encoding in self._encodings:
            options = {name: value for name, value in vars(encoding).items() if name != "columns"}
            for column in encoding.columns:
                keys[column.name] = _key(structure, column.encoding, options, column.name)
        return keys

    def __reduce__(self) -> tuple[Any, ...]:
        # RDKit's functions, which properties consist of, cannot be pickled; worker processes build their own.
        return _rebuild, (self.config(),)

    def encode(
        self,
        num_atoms: np.ndarray,
        num_components: np.ndarray,
        component_size: np.ndarray,
        num_bonds: np.ndarray,
        bond_index: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """All encoding columns of many molecules: column name -> float16 ``[atoms or components, dim]``.

        The arguments are the arrays of the same names in :class:`MoleculeArrays`.
        """
        graphs = Adjacency(num_atoms, num_components, component_size, num_bonds, bond_index)
        parts = [
            {name: values for encoding in self._encodings for name, values in encoding(part).items()}
            for part in graphs.split()
        ]
        if not parts:
            parts = [{column.name: np.empty((0, column.dim), np.float16) for column in self.spec.encodings}]
        return {column.name: np.concatenate([part[column.name] for part in parts]) for column in self.spec.encodings}

    def molecules(self, texts: Sequence[Any], *, flat: bool = True) -> MoleculeArrays:
        """Parse texts and read their graphs and properties; a text that cannot be used is a failure.

        ``flat=False`` makes no identities without stereochemistry, which need a second SMILES: ``flat_id`` is ``id``.
        """
        texts = list(texts)
        with rdBase.BlockLogs():
            parts = [self._block(texts[start : start + _BLOCK], start, flat) for start in range(0, len(texts), _BLOCK)]
        if len(parts) == 1:
            return parts[0]
        return _concatenate(parts or [self._block([], 0, flat)])

    def _block(self, texts: Sequence[Any], start: int, with_flat: bool) -> MoleculeArrays:
        """Parse some texts and write their canonical SMILES; ``start`` is the index of the first."""
        form, standardize = self.spec.form, self._standardize
        keeps_all = not (self._atoms.is_local and self._bonds.is_local)
        keeps_atoms = self.keeps_atoms
        written: list[str] = []
        position: list[int] = []
        failures: list[tuple[int, str]] = []
        exact: list[str] = []
        flat: dict[int, str] = {}
        atom_orders: list[str] = []
        bond_orders: list[str] = []
        kept: dict[int, Chem.Mol] = {}
        hydrogens = WrittenHydrogens()
        points: list[np.ndarray] = []
        for place, text in enumerate(texts, start):
            try:
                mol = read_molecule(text, form, standardize)
                smiles = canonical_smiles(mol)
                # Any other SMILES that is written replaces them.
                atom_order, bond_order = mol.GetProp("_smilesAtomOutputOrder"), mol.GetProp("_smilesBondOutputOrder")
                heavy = mol if form == "heavy" else read_molecule(text, "heavy", standardize)
                isomeric = smiles if heavy is mol else canonical_smiles(heavy)
                if with_flat and may_differ_flat(isomeric):
                    flat[len(written)] = flat_smiles(heavy, isomeric)
                if self.spec.positions:
                    points.append(given_positions(text, mol))
                if keeps_atoms and may_write_hydrogens(text):
                    removed = removed_hydrogens(text, heavy)
                    if heavy is mol:
                        hydrogens.add(len(written), removed)
            except UnusableMolecule as error:
                failures.append((place, str(error)))
                flat.pop(len(written), None)
                del points[len(written) :]
                continue
            atom_orders.append(atom_order)
            bond_orders.append(bond_order)
            # Other molecules are dropped at once, while they are in the processor's cache.
            if keeps_all or "/" in smiles or "\\" in smiles:
                kept[len(written)] = mol
            written.append(smiles)
            exact.append(isomeric)
            position.append(place)
        graphs = self._reader.read(written)
        orders = _orders(atom_orders), _orders(bond_orders)
        if (len(orders[0]), len(orders[1])) != (len(graphs.token), len(graphs.bond_type)):
            strange = [
                smiles
                for smiles, order, count in zip(written, atom_orders, graphs.num_atoms, strict=True)
                if order.count(",") + 1 != count
            ]
            raise RuntimeError(f"RDKit's canonical SMILES cannot be read back: {strange[:3]}")
        molecule = _Molecules([texts[place - start] for place in position], form, standardize, kept)
        ids = digests(exact)
        flat_ids = ids.copy()
        flat_ids[list(flat)] = digests(flat.values())
        written_atoms, written_atom, written_bonds, written_bond = hydrogens.arrays(len(position))
        return MoleculeArrays(
            position=np.array(position, np.int64),
            id=ids,
            flat_id=flat_ids,
            num_atoms=graphs.num_atoms,
            num_bonds=graphs.num_bonds,
            num_components=graphs.num_components,
            component_size=graphs.component_size,
            **self._graphs(graphs, *orders, molecule),
            written_atoms=written_atoms,
            written_atom=written_atom,
            written_bonds=written_bonds,
            written_bond=written_bond,
            positions=in_canonical_order(points, orders[0], graphs.num_atoms) if self.spec.positions else None,
            failures=failures,
        )

    def _graphs(
        self, graphs: WrittenMolecules, atom_order: np.ndarray, bond_order: np.ndarray, molecule: _Molecules
    ) -> dict[str, Any]:
        """Sort the bonds and read the properties of atoms and bonds."""
        molecule_of_bond = np.repeat(np.arange(len(graphs.num_bonds)), graphs.num_bonds)
        atom_base = np.cumsum(graphs.num_atoms, dtype=np.int64) - graphs.num_atoms
        ends = graphs.bond_index + atom_base[molecule_of_bond][:, None]
        # As they are written the bonds are nearly sorted, which the stable sort makes use of.
        by_place = np.argsort(ends[:, 0] * len(graphs.token) + ends[:, 1], kind="stable")
        ends, bond_order, kind = ends[by_place], bond_order[by_place], graphs.bond_type[by_place]
        in_ring = graphs.bond_in_ring[by_place]

        def atom(row: int) -> Chem.Atom:
            owner = int(np.searchsorted(atom_base, row, "right")) - 1
            return molecule[owner].GetAtomWithIdx(int(atom_order[row]))

        def bond(row: int) -> Chem.Bond:
            return molecule[int(molecule_of_bond[row])].GetBondWithIdx(int(bond_order[row]))

        # RDKit does not count dative and zero-order bonds when it looks for rings.
        has_rare = np.zeros(len(graphs.num_bonds), bool)
        has_rare[molecule_of_bond[kind == RARE]] = True
        for row in np.flatnonzero(has_rare[molecule_of_bond]).tolist():
            in_ring[row] = bond(row).IsInRing()
        stereo = np.zeros(len(kind), np.int64)
        is_marked = np.zeros(len(graphs.num_bonds), bool)
        is_marked[list(molecule.kept)] = True
        for row in np.flatnonzero(is_marked[molecule_of_bond] & (kind == DOUBLE)).tolist():
            stereo[row] = bond(row).GetStereo()
        atom_key = _atom_keys(graphs.token, ends, kind, in_ring)
        bond_key = np.where(kind == RARE, UNIQUE, (stereo * 2 + in_ring) * RARE + kind)
        return {
            "bond_index": (ends - atom_base[molecule_of_bond][:, None]).astype(np.int16),
            "blocks": {**self._atoms.read(atom_key, atom), **self._bonds.read(bond_key, bond)},
            "atom_order": atom_order,
            "bond_order": bond_order,
        }


class _Molecules:
    """RDKit's molecules of a block of texts; one that was not kept is parsed again when it is asked for."""

    def __init__(self, texts: Sequence[str], form: Form, standardize: Standardize, kept: dict[int, Chem.Mol]) -> None:
        self.kept = kept
        self._texts = texts
        self._how = form, standardize
        self._last: tuple[int, Chem.Mol] | None = None

    def __getitem__(self, place: int) -> Chem.Mol:
        mol = self.kept.get(place)
        if mol is not None:
            return mol
        if self._last is None or self._last[0] != place:
            self._last = place, read_molecule(self._texts[place], *self._how)
        return self._last[1]


def _atom_keys(token: np.ndarray, ends: np.ndarray, kind: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """One integer per atom, equal where token, ring membership and bonds of each type are equal."""
    both = ends.ravel()
    kinds = np.repeat(kind, 2)
    total = len(token)
    counts = np.bincount(both * (RARE + 1) + kinds, minlength=total * (RARE + 1)).reshape(total, RARE + 1)
    in_ring = np.zeros(total, bool)
    in_ring[ends[ring]] = True
    key = token * 2 + in_ring
    for column in range(RARE):
        key = (key << _COUNT_BITS) + counts[:, column]
    is_plain = (counts[:, RARE] == 0) & (counts.max(axis=1, initial=0) < 1 << _COUNT_BITS)
    return np.where(is_plain, key, UNIQUE)


def _orders(written: list[str]) -> np.ndarray:
    """RDKit's output orders, written as ``[0,1,2]`` per molecule, as one int32 array."""
    text = ",".join(order.strip("[,]") for order in written if len(order) > 2)
    return np.fromstring(text, np.int32, sep=",") if text else np.empty(0, np.int32)


def _concatenate(parts: Sequence[MoleculeArrays]) -> MoleculeArrays:
    joined: dict[str, Any] = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(MoleculeArrays)
        if field.name not in ("blocks", "failures") and getattr(parts[0], field.name) is not None
    }
    joined.setdefault("positions", None)
    blocks = {name: np.concatenate([part.blocks[name] for part in parts]) for name in parts[0].blocks}
    return MoleculeArrays(**joined, blocks=blocks, failures=[failure for part in parts for failure in part.failures])


def _rebuild(config: dict[str, Any]) -> Featurizer:
    return Featurizer(**config)


def _key(*content: Any) -> str:
    """Short hash of plain values, the version of this code and that of RDKit."""
    text = json.dumps([CODE_VERSION, rdkit.__version__, *content], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
