"""The gather against PyG's collate: batches of 512 molecules with labels of three levels, one core.

Both sides make a batch with the same node, edge and encoding columns and the same labels; ours also
sorts the edges by destination, writes the CSR offsets and turns the labels into triples.

    python expts/benchmarks/gather.py [folder with toymix/ and qm9_node_edge/]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from timing import interleave, report
from torch_geometric.data import Batch, Data

from graphium.chem.featurizer import Featurizer
from graphium.data.batch import GraphBatch
from graphium.data.gather import Gather
from graphium.data.labels.block import prepare_labels
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.types import Task, group_tasks

ROWS, BATCH, REPEATS = 20_000, 512, 15
LISTS = {"node": ["mulliken_q"], "edge": ["bond_length"]}
REQUIRED = 12.0


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    featurizer = Featurizer()
    with tempfile.TemporaryDirectory() as root:
        table, columns = _join(folder, Path(root) / "qm9.parquet")
        store = prepare_store(table, "smiles", featurizer, Path(root), name="qm9")
        tasks = [
            Task(name, "qm9", level, "regression")  # type: ignore[arg-type]
            for level, names in columns.items()
            for name in names
        ]
        heads = group_tasks(tasks)
        blocks = {head.name: prepare_labels(store, table, head) for head in heads}
        gather = Gather(store, featurizer.spec, blocks)
        usable = np.flatnonzero(store.row_molecule >= 0)
        graphs = {int(row): _to_data(gather(torch.tensor([row]))) for row in usable}
        order = torch.from_numpy(np.random.default_rng(0).permutation(usable))
        batches = list(order.split(BATCH)[:-1])
        position = [0, 0]

        def next_rows(side: int) -> torch.Tensor:
            position[side] = (position[side] + 1) % len(batches)
            return batches[position[side]]

        def ours() -> None:
            for _ in range(10):
                gather(next_rows(0))

        def theirs() -> None:
            for _ in range(10):
                Batch.from_data_list([graphs[row] for row in next_rows(1).tolist()])

        seconds = interleave({"graphium": ours, "pyg": theirs}, repeats=REPEATS)
        for name, value in seconds.items():
            print(f"{name:<10} {10 * BATCH / value:12,.0f} molecules/s   {1e2 * value:8.3f} ms a batch of {BATCH}")
        report("gather over Batch.from_data_list", seconds["pyg"] / seconds["graphium"], REQUIRED)


def _join(folder: Path, path: Path) -> tuple[Table, dict[str, list[str]]]:
    """QM9's graph labels beside its atom and bond labels, in one table; also the columns by level."""
    graph = pd.read_csv(folder / "toymix" / "qm9.csv.gz", nrows=ROWS)
    names = [name for name in graph.columns if name not in ("mol_id", "smiles")]
    lists = pd.read_parquet(folder / "qm9_node_edge" / "qm9_node_edge.parquet")
    lists.merge(graph[["mol_id", *names]], on="mol_id").to_parquet(path)
    return Table(path), {"graph": names, **LISTS}


def _to_data(batch: GraphBatch) -> Data:
    labels = {f"y_{name}": values.value for name, values in batch.labels.items()}
    return Data(
        x=batch.x,
        x_num=batch.x_num,
        edge_index=batch.edge_index,
        edge_attr=batch.edge_attr,
        edge_num=batch.edge_num,
        **{name: column.clone() for name, column in batch.encodings.items()},
        **labels,
    )


if __name__ == "__main__":
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
