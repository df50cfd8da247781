"""Batches of 512 out of a large store: opening it, bytes per molecule, and what random access costs.

The rate of random batches, and of batches in a block shuffle, is set beside that of batches drawn again and
again from the same 2,048 molecules, which stay in the processor's cache. A first pass through the whole store
comes before, so that every page is mapped; its rate is printed too.

    python expts/benchmarks/store.py STORE_FOLDER
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from timing import interleave, report

from graphium.chem.featurizer import Featurizer
from graphium.data.gather import Gather
from graphium.data.labels.block import LabelBlock
from graphium.data.sampling.draws import Draws, Sampling
from graphium.data.store.graph_store import GraphStore

BATCH, PER_TURN, REPEATS = 512, 16, 25
IN_CACHE = 2048


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    spec = Featurizer().spec
    before, start = resident_mb(), time.perf_counter()
    store = GraphStore.open(folder)
    blocks = {path.name: LabelBlock.open(path) for path in sorted((folder / "labels").glob("*"))}
    gather = Gather(store, spec, blocks)
    seconds, added = time.perf_counter() - start, resident_mb() - before
    print(f"{store.num_molecules:,} molecules, {store.num_rows:,} rows, {len(blocks)} blocks of labels")
    report("opening the store", seconds, 0.5, at_least=False, unit="s")
    report("added resident memory", added, 60, at_least=False, unit="MB")
    print_sizes(folder, store.num_molecules)

    usable = torch.from_numpy(np.flatnonzero(np.asarray(store.row_molecule) >= 0))
    orders = {
        "random": draw(len(usable), Sampling(batch_size=BATCH, shuffle="full")),
        "block shuffle": draw(len(usable), Sampling(batch_size=BATCH, shuffle="block")),
        "in cache": draw(len(usable), Sampling(batch_size=BATCH, shuffle="full"))[:IN_CACHE].repeat(16),
    }
    sides = {name: turns(gather, usable[order]) for name, order in orders.items()}
    start = time.perf_counter()
    for rows in usable[orders["random"]].split(BATCH):
        gather(rows)
    print(f"{'first pass':<14} {len(usable) / (time.perf_counter() - start):12,.0f} molecules/s")
    seconds_of = interleave(sides, repeats=REPEATS)
    for name, value in seconds_of.items():
        print(f"{name:<14} {PER_TURN * BATCH / value:12,.0f} molecules/s   {1e3 * value / PER_TURN:8.3f} ms a batch")
    report("random over in cache", seconds_of["in cache"] / seconds_of["random"], 0.6)
    report("block shuffle over in cache", seconds_of["in cache"] / seconds_of["block shuffle"], 0.9)


def draw(count: int, sampling: Sampling) -> torch.Tensor:
    """The order of one epoch over ``count`` rows, int64."""
    return torch.from_numpy(Draws([count], sampling).places(np.arange(count)))


def turns(gather: Gather, rows: torch.Tensor) -> Callable[[], None]:
    """A function that gathers the next batches of ``rows``, beginning anew at the end."""
    batches = list(rows.split(BATCH))
    batches = [batch for batch in batches if len(batch) == BATCH] or batches
    position = 0

    def run() -> None:
        nonlocal position
        for _ in range(PER_TURN):
            gather(batches[position % len(batches)])
            position += 1

    return run


def print_sizes(folder: Path, num_molecules: int) -> None:
    """Bytes per molecule, all of the store but its labels, and the labels."""
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    groups = {"store": 0, "labels": 0}
    for path, size in sizes.items():
        groups["labels" if path.relative_to(folder).parts[0] == "labels" else "store"] += size
    for name, total in groups.items():
        print(f"{name:<14} {total / max(num_molecules, 1):12,.1f} bytes a molecule")


def resident_mb() -> float:
    """Resident memory of this process with the pages of mapped files, MB."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) / 1000 for line in file if line.startswith("VmRSS"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
