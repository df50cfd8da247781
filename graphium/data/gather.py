"""Rows of a store to one GraphBatch, by index arithmetic: no loop over molecules."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from graphium.data.batch import GraphBatch, Labels
from graphium.data.labels.block import LabelBlock
from graphium.data.labels.transforms import LabelTransform
from graphium.data.store.graph_store import GraphStore
from graphium.errors import GraphiumError
from graphium.types import FeatureSpec

Pairs = Literal["labelled", "all"]

# The widest number of each size in bytes.
_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}


class Gather:
    """Build batches from the rows of one table.

    Columns stay in their mapped files and every call reads only what its rows need, in torch
    operations.

    Args:
        store: The prepared table.
        spec: The features that batches carry.
        labels: Head name -> its labels in this table.
        table: Number of the table in its mix, for ``GraphBatch.table``.
        transforms: Head name -> label transform; values stay in label units where there is none.
        row_weight: float32 ``[rows]``, the weight of each row's labels; None is 1.

    Raises:
        GraphiumError: the store does not hold a feature column, or no coordinates where ``spec`` has them.
    """

    def __init__(
        self,
        store: GraphStore,
        spec: FeatureSpec,
        labels: Mapping[str, LabelBlock],
        table: int = 0,
        transforms: Mapping[str, LabelTransform] | None = None,
        row_weight: np.ndarray | None = None,
    ) -> None:
        self._table = table
        self._row_molecule = _tensor(store.row_molecule)
        self._ptr = _Column(store.ptr)
        self._component_size = _tensor(store.component_size)
        self._bonds = _Column(store.bonds)
        self._atoms = _Properties(store, "atom", [p.dtype for p in spec.atoms])
        self._bond_properties = _Properties(store, "bond", [p.dtype for p in spec.bonds])
        self._encodings = {c.name: (c.entity, _Column(store.feature(c.name))) for c in spec.encodings}
        self._has_components = any(c.entity == "component" for c in spec.encodings)
        self._positions = _Positions(store) if spec.positions else None
        self._row_weight = None if row_weight is None else _tensor(row_weight)
        transforms = transforms or {}
        self._labels = {name: _HeadLabels(block, transforms.get(name)) for name, block in labels.items()}

    def __call__(self, rows: Tensor, pairs: Pairs = "labelled") -> GraphBatch:
        """Gather one batch.

        Args:
            rows: Row numbers of the table, int64 ``[n]``; each becomes one graph, in this order.
            pairs: The node pairs of the batch: those with labels, one head after another (none where no head
                is about pairs), or all pairs of every molecule, sorted.

        Raises:
            GraphiumError: one of the rows failed in the preparation and has no molecule.
        """
        molecule = self._row_molecule.index_select(0, rows).to(torch.int64)
        if bool((molecule < 0).any()):
            failed = int(rows[molecule < 0][0])
            raise GraphiumError(f"row {failed} has no molecule (see failures.csv); leave it out")
        start = self._ptr.select(molecule).t().contiguous()
        count = self._ptr.select(molecule + 1).t() - start
        nodes, bonds = _Segments(start[0], count[0]), _Segments(start[1], count[1])
        edge_index, bond_edges, edge_bond = self._edges(nodes, bonds)
        rowptr = torch.zeros(nodes.total + 1, dtype=torch.int64, device=rows.device)
        rowptr[1:].scatter_add_(0, edge_index[1], torch.ones_like(edge_index[1]))
        x, x_num = self._atoms.select(nodes.index, nodes.start)
        edge_attr, edge_num = self._bond_properties.select(edge_bond, bonds.start)
        labels, pair_index = self._gather_labels(rows, nodes, bonds, pairs)
        return GraphBatch(
            x=x,
            x_num=x_num,
            edge_index=edge_index,
            edge_attr=edge_attr,
            edge_num=edge_num,
            rowptr=rowptr.cumsum(0),
            batch=nodes.owner,
            ptr=nodes.ptr,
            bond_edges=bond_edges,
            table=torch.full_like(rows, self._table),
            row=rows,
            encodings=self._gather_encodings(nodes, start[2], count[2]),
            labels=labels,
            pair_index=pair_index,
            pos=None if self._positions is None else self._positions.select(rows, nodes),
        )

    def _edges(self, nodes: _Segments, bonds: _Segments) -> tuple[Tensor, Tensor, Tensor]:
        """``edge_index``, ``bond_edges`` and, for every edge, the row of its bond in the store."""
        # [4, bonds]: the two atoms of a bond, then the places of its two edges
        table = self._bonds.select(bonds.index, bonds.start).t().to(torch.int64, memory_format=torch.contiguous_format)
        ends, places = table[:2], table[2:]
        ends += nodes.ptr.index_select(0, bonds.owner)
        places += 2 * bonds.ptr.index_select(0, bonds.owner)
        flat = places.reshape(-1)
        edge_index = torch.empty(2, 2 * bonds.total, dtype=torch.int64, device=flat.device)
        edge_index[0].scatter_(0, flat, ends.reshape(-1))
        edge_index[1].scatter_(0, flat, ends.flip(0).reshape(-1))
        edge_bond = torch.empty_like(flat).scatter_(0, flat, bonds.index.repeat(2))
        return edge_index, places, edge_bond

    def _gather_encodings(self, nodes: _Segments, start: Tensor, count: Tensor) -> dict[str, Tensor]:
        index = {"node": (nodes.index, nodes.start)}
        if self._has_components:
            components = _Segments(start, count)
            sizes = self._component_size.index_select(0, components.index)
            of_node = torch.repeat_interleave(components.index, sizes, output_size=nodes.total)
            index["component"] = of_node, start
        return {name: column.select(*index[entity]) for name, (entity, column) in self._encodings.items()}

    def _gather_labels(
        self, rows: Tensor, nodes: _Segments, bonds: _Segments, pairs: Pairs
    ) -> tuple[dict[str, Labels], Tensor | None]:
        """The labels of all heads, and ``pair_index`` where a head needs it or all pairs are asked for."""
        first_entity = {"node": nodes.ptr, "edge": bonds.ptr}
        labels: dict[str, Labels] = {}
        # A pair is found by its first node and the distance to the second one.
        every = _Segments(*_later_nodes(nodes)) if pairs == "all" else None
        weight = None if self._row_weight is None else self._row_weight.index_select(0, rows)
        found, total = [], 0
        for name, head in self._labels.items():
            if head.pairs is None:
                labels[name] = head(rows, first_entity.get(head.level), weight)
                continue
            ptr, ends = head.pairs.select(rows, nodes)
            of_head = head(rows, ptr, weight)
            place = total + of_head.entity
            if every is not None:
                of_pair = every.ptr.index_select(0, ends[0]) + ends[1] - ends[0] - 1
                place = of_pair.index_select(0, of_head.entity)
            labels[name] = replace(of_head, entity=place)
            found.append(ends)
            total += ends.shape[1]
        if every is not None:
            return labels, torch.stack([every.owner, every.index])
        return labels, torch.cat(found, dim=1) if found else None


class _Segments:
    """Variable-length slices of a flat column, laid end to end in the batch.

    ``start``, ``count`` int64 ``[n]``: where each slice begins in the column, and its length.
    """

    def __init__(self, start: Tensor, count: Tensor) -> None:
        self.start = start
        self.ptr = torch.zeros(len(count) + 1, dtype=torch.int64, device=count.device)
        torch.cumsum(count, 0, out=self.ptr[1:])
        self.total = int(self.ptr[-1])
        # [total]: which slice an entry belongs to, and where it lies in the flat column
        self.owner = torch.repeat_interleave(count, output_size=self.total)
        self.index = self.within(start)

    def within(self, start: Tensor) -> Tensor:
        """int64 ``[total]``: consecutive numbers, counted from the ``start`` (``[n]``) of each slice."""
        shift = (start - self.ptr[:-1]).index_select(0, self.owner)
        return torch.arange(self.total, device=start.device).add_(shift)


class _Column:
    """Rows of a flat column, read as few wide words.

    ``index_select`` copies single numbers at full speed and longer rows one call at a time, so a row
    is seen as words of the widest type that divides it; nothing is computed with them.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._dtype, self._shape = _tensor(array[:0]).dtype, array.shape[1:]
        row_bytes = array.dtype.itemsize * math.prod(self._shape)
        size = math.gcd(row_bytes, 16)
        self._width = row_bytes // size
        self._words = _tensor(array).reshape(-1).view(_WORDS[size])

    def select(self, index: Tensor, start: Tensor | None = None) -> Tensor:
        """Some rows of the column, in its own dtype; ``start``: where each molecule among them begins."""
        if start is not None and index.is_cpu and len(index):
            # One word of every molecule first: these reads wait for the memory together, where those of whole
            # molecules would wait one after another (a quarter of the time of a batch of random molecules).
            self._words.index_select(0, (start * self._width).clamp_(max=len(self._words) - 1))
        if self._width > 1:
            index = (index.unsqueeze(1) * self._width + torch.arange(self._width, device=index.device)).reshape(-1)
        return self._words.index_select(0, index).view(self._dtype).reshape(-1, *self._shape)


class _Properties:
    """Codes and numbers of atoms or of bonds."""

    def __init__(self, store: GraphStore, entity: str, dtypes: Sequence[str]) -> None:
        suffixes = {"uint8": "codes", "int8": "ints", "float32": "floats"}
        held = {suffix: _Column(store.feature(f"{entity}_{suffix}")) for d, suffix in suffixes.items() if d in dtypes}
        self._codes = held.pop("codes", None)
        self._numbers = list(held.values())

    def select(self, index: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Codes uint8 ``[n, codes]`` and numbers float32 ``[n, numbers]`` of some atoms or bonds."""
        codes = index.new_empty(len(index), 0, dtype=torch.uint8)
        if self._codes is not None:
            codes = self._codes.select(index, start)
        numbers = [column.select(index, start).to(torch.float32) for column in self._numbers]
        if not numbers:
            return codes, index.new_empty(len(index), 0, dtype=torch.float32)
        return codes, numbers[0] if len(numbers) == 1 else torch.cat(numbers, dim=1)


class _Positions:
    """Coordinates, which belong to rows and not to molecules."""

    def __init__(self, store: GraphStore) -> None:
        if store.positions is None or store.position_ptr is None:
            raise GraphiumError(
                f"the store {store.folder} holds no 3-D coordinates; prepare the data again with positions=True"
            )
        self._ptr, self._column = _tensor(store.position_ptr), _Column(store.positions)

    def select(self, rows: Tensor, nodes: _Segments) -> Tensor:
        """float32 ``[nodes, 3]``, Angstrom, in the order of the nodes."""
        start = self._ptr.index_select(0, rows)
        return self._column.select(nodes.within(start), start)


class _Pairs:
    """The pairs of atoms that have labels."""

    def __init__(self, ptr: np.ndarray, pair: np.ndarray) -> None:
        self._ptr, self._column = _tensor(ptr), _Column(pair)

    def select(self, rows: Tensor, nodes: _Segments) -> tuple[Tensor, Tensor]:
        """First pair of each row int64 ``[n + 1]``, and the two nodes of every pair int64 ``[2, pairs]``."""
        start = self._ptr.index_select(0, rows)
        pairs = _Segments(start, self._ptr.index_select(0, rows + 1) - start)
        ends = self._column.select(pairs.index, start).t().to(torch.int64, memory_format=torch.contiguous_format)
        return pairs.ptr, ends.add_(nodes.ptr.index_select(0, pairs.owner))


class _HeadLabels:
    """The labels of one head, ready to be gathered; ``pairs`` where they are about node pairs."""

    def __init__(self, block: LabelBlock, transform: LabelTransform | None) -> None:
        self.level = block.level
        self._num_tasks = block.num_tasks
        self._ptr, self._value = _tensor(block.ptr), _Column(block.value)
        self._task = None if block.task is None else _Column(block.task)
        self._entity = None if block.entity is None else _Column(block.entity)
        self._bound = None if block.bound is None else _Column(block.bound.reshape(block.value.shape))
        self._transform = transform
        self.pairs = None
        if block.level == "nodepair":
            assert block.pair_ptr is not None and block.pair is not None
            self.pairs = _Pairs(block.pair_ptr, block.pair)

    def __call__(self, rows: Tensor, offset: Tensor | None, row_weight: Tensor | None) -> Labels:
        """Labels of some rows.

        ``offset`` int64 ``[n + 1]``: the first entity of each graph. ``row_weight`` float32 ``[n]``: the weight of
        each row's labels, None is 1.
        """
        start = self._ptr.index_select(0, rows)
        found = _Segments(start, self._ptr.index_select(0, rows + 1) - start)
        first = None if self.level == "graph" else start
        value = self._value.select(found.index, first).reshape(-1)
        weight = torch.ones(found.total, device=rows.device)
        if row_weight is not None:
            weight = row_weight.index_select(0, found.owner)
        if self._task is None:
            entity = found.owner if offset is None else found.within(offset[:-1])
            tasks = torch.arange(self._num_tasks, device=rows.device)
            total = weight.sum().expand(self._num_tasks).contiguous()
            entity, weight = (one.unsqueeze(1).expand(-1, self._num_tasks).reshape(-1) for one in (entity, weight))
            task = tasks.expand(found.total, -1).reshape(-1)
        else:
            entity = found.owner
            if self._entity is not None and offset is not None:
                entity = self._entity.select(found.index, first) + offset.index_select(0, found.owner)
            task = self._task.select(found.index, first).to(torch.int64)
            total = torch.zeros(self._num_tasks, device=rows.device).scatter_add_(0, task, weight)
        raw = None
        if self._transform is not None:
            raw = None if self._transform.keeps_all else value.to(torch.float64)
            value = self._transform.forward(value, task)
        bound = None if self._bound is None else self._bound.select(found.index, first).reshape(-1)
        return Labels(entity, task, value.to(torch.float32), weight, total, bound, raw)


def _tensor(array: np.ndarray) -> Tensor:
    """A tensor over the same memory; columns are read only, which torch cannot express."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(np.asarray(array))


def _later_nodes(nodes: _Segments) -> tuple[Tensor, Tensor]:
    """For every node the next one, and how many follow it in its graph; int64 ``[nodes]`` each."""
    following = torch.arange(1, nodes.total + 1, device=nodes.ptr.device)
    return following, nodes.ptr[1:].index_select(0, nodes.owner) - following
