"""Where a batch holds the atoms, bonds and pairs of a row, in the order of the row's own text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphium.data.batch import GraphBatch
from graphium.data.store.columns import slices
from graphium.data.store.graph_store import GraphStore

# Rows that lie closer than this are read together.
_GAP = 64


@dataclass(frozen=True)
class Places:
    """Where the batch holds the entities of some rows, in the users' own order.

    ``entity`` int64 ``[E]``: rows of the predictions, those of one row of the table after the other.
    ``counts`` int64 ``[rows]``: how many are a row's. ``pairs`` int64 ``[E, 2]``: atom numbers, at level nodepair.
    """

    entity: np.ndarray
    counts: np.ndarray
    pairs: np.ndarray | None = None


def find_places(level: str, store: GraphStore, batch: GraphBatch, graphs: np.ndarray, rows: np.ndarray) -> Places:
    """Find the entities of some graphs of a batch.

    Args:
        level: Whose entities.
        store: The table of the rows.
        batch: On any device.
        graphs: int64 ``[rows]``, the graphs of the batch.
        rows: int64 ``[rows]``, the rows of the table that these show.
    """
    if level == "graph":
        return Places(graphs, np.ones(len(graphs), np.int64))
    order_ptr, order = _orders(store, "edge" if level == "edge" else "node", rows)
    first_node = batch.ptr.cpu().numpy()
    if level == "nodepair":
        return _pair_places(batch, graphs, first_node[graphs], order_ptr, order)
    first = first_node
    if level == "edge":
        # Bonds lie graph after graph, as nodes do; a bond belongs to the graph of its first edge's source.
        owner = batch.batch[batch.edge_index[0, batch.bond_edges[0]]].cpu().numpy()
        first = np.searchsorted(owner, np.arange(len(first_node)))
    count = np.diff(order_ptr)
    entity = np.empty_like(order)
    entity[np.repeat(order_ptr[:-1], count) + order] = slices(first[graphs], count)
    return Places(entity, count)


def _pair_places(
    batch: GraphBatch, graphs: np.ndarray, first_node: np.ndarray, order_ptr: np.ndarray, order: np.ndarray
) -> Places:
    assert batch.pair_index is not None
    owner = batch.batch[batch.pair_index[0]].cpu().numpy()
    number = np.full(batch.num_graphs, -1)
    number[graphs] = np.arange(len(graphs))
    mine = np.flatnonzero(number[owner] >= 0)
    graph = number[owner[mine]]
    nodes = batch.pair_index.cpu().numpy()[:, mine]
    ends = np.sort(order[nodes - first_node[graph] + order_ptr[graph]], axis=0)
    # Heads that share a pair name it once each.
    size = int(np.diff(order_ptr).max(initial=1))
    _, picked = np.unique((graph * size + ends[0]) * size + ends[1], return_index=True)
    return Places(mine[picked], np.bincount(graph[picked], minlength=len(graphs)), ends[:, picked].T)


def _orders(store: GraphStore, level: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets int64 ``[rows + 1]`` and the user's index of every canonical atom or bond of the rows."""
    ordered = np.unique(rows)
    starts, counts, orders, total = [], [], [], 0
    for run in np.split(ordered, np.flatnonzero(np.diff(ordered) > _GAP) + 1):
        ptr, order = store.orders(level, int(run[0]), int(run[-1]) + 1)
        starts.append(total + ptr[run - run[0]])
        counts.append(np.diff(ptr)[run - run[0]])
        orders.append(order)
        total += len(order)
    at = np.searchsorted(ordered, rows)
    count = np.concatenate(counts)[at]
    return np.concatenate([[0], np.cumsum(count)]), np.concatenate(orders)[slices(np.concatenate(starts)[at], count)]
