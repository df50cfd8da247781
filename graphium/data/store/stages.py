"""What is computed for one chunk of a table: pure functions of texts or arrays and a featurizer.

They know no store and no folder, so any process on any machine can run them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphium.chem.featurizer import Featurizer, MoleculeArrays
from graphium.chem.parse import readable
from graphium.data.store.chunks import Chunk
from graphium.data.store.columns import Kept, slices
from graphium.errors import GraphiumError

# Why a row failed whose text ended the process that read it.
DEADLY = "ended the process that read it (crash or out of memory)"
# Molecules up to these sizes have their bonds and orders in uint8: numbers of atoms, places of edges.
_SMALL_ATOMS, _SMALL_BONDS = 256, 128
# A longer text of a failed row is cut in the list of failures.
_SHOWN = 10_000


def graph_chunk(
    featurizer: Featurizer, first: int, texts: Sequence[Any], deadly: Sequence[int] = (), *, flat: bool = True
) -> Chunk:
    """Everything that a store keeps of some rows: graphs, properties and encodings.

    Args:
        featurizer: What to compute.
        first: Number of the first row.
        texts: The rows' cells.
        deadly: Places among ``texts`` that are not read because they end the process.
        flat: Make identities without stereochemistry, for the report of leaks.

    Returns:
        Columns of the chunk's distinct molecules, in the order of the rows that show them first, and of
        its rows; ``about`` counts both and lists the failures as [row, text, reason].
    """
    safe = [None if place in deadly else text for place, text in enumerate(texts)] if deadly else texts
    found = featurizer.molecules(safe, flat=flat)
    reasons = dict(found.failures) | dict.fromkeys(deadly, DEADLY)
    encoded = [text.encode("utf-8", "replace") if isinstance(text, str) else b"" for text in texts]
    molecule, leader = _distinct(found.id)
    columns = {
        **_row_columns(found, len(texts), molecule),
        "text": np.frombuffer(b"".join(encoded), np.uint8),
        "text_size": np.fromiter(map(len, encoded), np.int32, len(encoded)),
        **_molecule_columns(featurizer, found, leader),
    }
    failures = [
        [first + place, _shown(encoded[place].decode(), place in deadly), reasons[place]] for place in sorted(reasons)
    ]
    return Chunk(columns, {"first": first, "rows": len(texts), "molecules": len(leader), "failures": failures})


def property_chunk(
    featurizer: Featurizer, blocks: Sequence[str], start: int, texts: Sequence[str], expected: np.ndarray
) -> Chunk:
    """Property columns of the molecules of a store from ``start`` on, parsed again from their first rows.

    ``expected`` uint64 ``[molecules, 2]``: their ids.
    """
    found = featurizer.molecules(texts)
    if not np.array_equal(found.id, expected):
        raise GraphiumError(
            f"the molecules of the store from {start:,} on differ from its texts; delete it and prepare again"
        )
    return Chunk({block: found.blocks[block] for block in blocks}, {})


def encoding_chunk(
    featurizer: Featurizer,
    blocks: Sequence[str],
    start: int,
    num_atoms: np.ndarray,
    num_components: np.ndarray,
    component_size: np.ndarray,
    num_bonds: np.ndarray,
    bond_index: np.ndarray,
) -> Chunk:
    """Encoding columns of the molecules of a store from ``start`` on, from their bonds alone."""
    columns = featurizer.encode(num_atoms, num_components, component_size, num_bonds, bond_index)
    return Chunk({block: columns[block] for block in blocks}, {})


def edge_places(num_atoms: np.ndarray, num_bonds: np.ndarray, bond_index: np.ndarray) -> np.ndarray:
    """Where the edges i -> j and j -> i of every bond stand among the molecule's directed edges.

    The edges are sorted by (destination, source). Returns int16 ``[bonds, 2]``.
    """
    atom_base = np.repeat(np.cumsum(num_atoms, dtype=np.int64) - num_atoms, num_bonds)
    low, high = bond_index[:, 0] + atom_base, bond_index[:, 1] + atom_base
    total = int(num_atoms.sum(dtype=np.int64))
    order = np.argsort(np.concatenate([high * total + low, low * total + high]))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    edge_base = np.repeat(2 * (np.cumsum(num_bonds, dtype=np.int64) - num_bonds), num_bonds)
    return (place.reshape(2, -1) - edge_base).T.astype(np.int16)


def _distinct(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of every entry's id in order of first appearance, and the place of each first one."""
    packed = np.ascontiguousarray(ids).view("V16").reshape(-1) if len(ids) else np.empty(0, "V16")
    _, leader, inverse = np.unique(packed, return_index=True, return_inverse=True)
    order = np.argsort(leader)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[inverse.reshape(-1)], leader[order]


def _row_columns(found: MoleculeArrays, num_rows: int, molecule: np.ndarray) -> dict[str, np.ndarray]:
    """What belongs to rows: their molecule within the chunk, orders, written hydrogens, coordinates."""
    row_molecule = np.full(num_rows, -1, np.int32)
    row_molecule[found.position] = molecule
    order, size = _joined_orders(found)
    order_size = np.zeros(num_rows, np.int32)
    order_size[found.position] = size
    columns = {"row_molecule": row_molecule, "order": order.astype(_number_type(found)), "order_size": order_size}
    sizes = np.stack([found.written_atoms, found.written_bonds], axis=1)
    has_written = sizes.any(axis=1)
    columns["written_row"] = found.position[has_written].astype(np.int32)
    columns["written_size"] = sizes[has_written].astype(np.int32)
    columns["written_atom"] = found.written_atom.astype(np.int16)
    columns["written_bond"] = found.written_bond.astype(np.int16)
    if found.positions is not None:
        columns["positions"] = found.positions.astype(np.float32)
        columns["position_size"] = np.zeros(num_rows, np.int32)
        columns["position_size"][found.position] = found.num_atoms
    return columns


def _molecule_columns(featurizer: Featurizer, found: MoleculeArrays, leader: np.ndarray) -> dict[str, np.ndarray]:
    """What belongs to molecules, for those at the places ``leader``."""
    atoms, bonds, components = (
        Kept(counts, leader) for counts in (found.num_atoms, found.num_bonds, found.num_components)
    )
    component_size, bond_index = components(found.component_size), bonds(found.bond_index)
    encodings: dict[str, np.ndarray] = {}
    if featurizer.spec.encodings:
        encodings = featurizer.encode(
            num_atoms=atoms.counts,
            num_components=components.counts,
            component_size=component_size,
            num_bonds=bonds.counts,
            bond_index=bond_index,
        )
    places = edge_places(atoms.counts, bonds.counts, bond_index)
    blocks = {name: (atoms if name.startswith("atom") else bonds)(values) for name, values in found.blocks.items()}
    return {
        "id": found.id[leader],
        "flat_id": found.flat_id[leader],
        "size": np.stack([part.counts for part in (atoms, bonds, components)], axis=1).astype(np.int32),
        "component_size": component_size,
        "bonds": np.concatenate([bond_index, places], axis=1).astype(_number_type(found)),
        **blocks,
        **encodings,
    }


def _joined_orders(found: MoleculeArrays) -> tuple[np.ndarray, np.ndarray]:
    """The order of atoms, then of bonds, of every row where one of them is not the identity; its lengths."""
    is_moved = np.zeros(found.num_molecules, bool)
    for order, counts in ((found.atom_order, found.num_atoms), (found.bond_order, found.num_bonds)):
        own = np.repeat(np.arange(len(counts)), counts)
        is_moved[own[order != slices(np.zeros(len(counts)), counts)]] = True
    atoms, bonds = found.num_atoms.astype(np.int64), found.num_bonds.astype(np.int64)
    size = np.where(is_moved, atoms + bonds, 0)
    start = (np.cumsum(size) - size)[is_moved]
    joined = np.empty(size.sum(), np.int32)
    joined[slices(start, atoms[is_moved])] = found.atom_order[np.repeat(is_moved, atoms)]
    joined[slices(start + atoms[is_moved], bonds[is_moved])] = found.bond_order[np.repeat(is_moved, bonds)]
    return joined, size


def _number_type(found: MoleculeArrays) -> type[np.generic]:
    """What holds the numbers of all atoms, bonds and directed edges of these molecules."""
    is_small = (found.num_atoms.max(initial=0) <= _SMALL_ATOMS) and (found.num_bonds.max(initial=0) <= _SMALL_BONDS)
    return np.uint8 if is_small else np.int16


def _shown(text: str, is_deadly: bool) -> str:
    """What the list of failures shows of a text."""
    text = text.strip().partition("\n")[0] if is_deadly else readable(text)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
