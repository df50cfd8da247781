"""Texts as batches: what a prepared table gives, for molecules that lie in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rdkit
import torch

from graphium.chem.featurizer import Featurizer
from graphium.data.batch import GraphBatch
from graphium.data.gather import Gather
from graphium.data.places import Places, find_places
from graphium.data.store.chunks import Chunk
from graphium.data.store.graph_store import GraphStore
from graphium.data.store.stages import graph_chunk

# A batch ends early where its molecules are large.
_MOST_ATOMS = 1 << 15
_MOST_PAIRS = 1 << 19


class MemoryStore(GraphStore):
    """The store of some rows that has no folder: every column is an array in memory.

    It knows no identities without stereochemistry, which the report of leaks alone needs.

    Args:
        chunk: What :func:`~graphium.data.store.stages.graph_chunk` made of the rows.
    """

    def __init__(self, chunk: Chunk) -> None:
        columns = chunk.columns
        self.folder = Path("(memory)")
        self.manifest = {"failures": len(chunk.about["failures"]), "smiles": "", "rdkit": rdkit.__version__}
        self.row_molecule = columns["row_molecule"]
        self.id, self.ptr = columns["id"], _offsets(columns["size"])
        self.component_size, self.bonds = columns["component_size"], columns["bonds"]
        self._flat_molecule, self._flat_id = np.arange(len(self.id)), columns["flat_id"]
        self.positions = columns.get("positions")
        self.position_ptr = None if self.positions is None else _offsets(columns["position_size"])
        offsets = {f"{name}_ptr": _offsets(columns[f"{name}_size"]) for name in ("text", "order", "written")}
        self._rows = {**columns, **offsets}
        self._columns = columns
        self._chunk = chunk

    def feature(self, name: str) -> np.ndarray:
        """A feature column: one row per atom, bond or component."""
        return self._columns[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return MemoryStore, (self._chunk,)

    def __repr__(self) -> str:
        return f"MemoryStore(rows={self.num_rows:,}, molecules={self.num_molecules:,})"


class Molecules:
    """Texts parsed and featurized, and the batches of a network.

    Batches are bit for bit those of a prepared table with the same texts.

    Args:
        texts: SMILES, CXSMILES or molblocks; anything else is a failure.
        featurizer: The one that the network was trained with.

    Attributes:
        store: The rows as a table prepared for training has them; row k is text k.
        failures: (position, reason) of every text that cannot be used, in order; the reason completes the sentence
            "this text ...".
        position: int64 ``[M]``, the positions of the others, ascending.

    >>> found = Molecules(["OCC", "ethanol"], Featurizer(encodings=[]))
    >>> found.failures, [batch.num_nodes for batch in found.batches()]
    ([(1, 'is not valid SMILES')], [3])
    """

    def __init__(self, texts: Sequence[Any], featurizer: Featurizer) -> None:
        chunk = graph_chunk(featurizer, 0, list(texts), flat=False)
        self.store = MemoryStore(chunk)
        self.failures: list[tuple[int, str]] = [(position, reason) for position, _, reason in chunk.about["failures"]]
        self.position = np.flatnonzero(self.store.row_molecule >= 0)
        self._gather = Gather(self.store, featurizer.spec, {})

    @property
    def num_molecules(self) -> int:
        """Texts that can be used."""
        return len(self.position)

    def batches(self, batch_size: int = 256, pairs: bool = False) -> Iterator[GraphBatch]:
        """All molecules, in the order of the texts; ``batch.row`` is the position of each one's text.

        Args:
            batch_size: Molecules of a batch; fewer where they are large.
            pairs: Whether batches carry all pairs of atoms of every molecule.
        """
        atoms = self.store.num_atoms(self.store.row_molecule[self.position])
        ends = _cuts(atoms, batch_size, pairs)
        for start, stop in zip([0, *ends], ends, strict=False):
            rows = torch.from_numpy(self.position[start:stop])
            yield self._gather(rows, "all" if pairs else "labelled")

    def places(self, level: str, batch: GraphBatch) -> Places:
        """Where a batch holds the entities of its molecules, each one's in the order of its own text."""
        return find_places(level, self.store, batch, np.arange(batch.num_graphs), batch.row.cpu().numpy())

    def __repr__(self) -> str:
        return f"Molecules({self.num_molecules:,} of {self.store.num_rows:,} texts)"


def _offsets(size: np.ndarray) -> np.ndarray:
    """int64 ``[n + 1, ...]``, where the slices of so many entries begin and end."""
    ptr = np.zeros((len(size) + 1, *size.shape[1:]), np.int64)
    np.cumsum(size, axis=0, out=ptr[1:])
    return ptr


def _cuts(atoms: np.ndarray, batch_size: int, pairs: bool) -> list[int]:
    """Where batches of molecules with so many atoms end, the last one at the end of all."""
    cost = atoms * (atoms - 1) // 2 if pairs else atoms
    total, most = np.concatenate([[0], np.cumsum(cost)]), _MOST_PAIRS if pairs else _MOST_ATOMS
    ends: list[int] = []
    start = 0
    while start < len(atoms):
        fitting = int(np.searchsorted(total, total[start] + most, "right")) - 1
        start = min(start + batch_size, max(fitting, start + 1), len(atoms))
        ends.append(start)
    return ends
