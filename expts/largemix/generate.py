"""Tables in the shape of LargeMix or UltraLarge, over MOSES molecules, with labels that a network can learn.

    python expts/largemix/generate.py FOLDER --pool ../shared/data/pool/moses_train.csv.gz --molecules 20000
    python expts/largemix/generate.py FOLDER --pool ... --molecules 20000 --brackets 5
    python expts/largemix/generate.py FOLDER --pool ... --molecules 20000 --ultralarge

FOLDER is a `data_dir` of `data=largemix` or `data=ultralarge`. Equal arguments give equal tables. Beyond the 1.58
million molecules of the pool, molecules repeat.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from math import gcd
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import torch
from labels import Functions
from molecules import Molecules, describe, read_pool

# Rows that are made at once; the noise of a row depends on it.
CHUNK = 4096
# Molecules of the pool that set scales and thresholds.
REFERENCE = 2000
# A held-out part of a small table has at least so many rows.
LEAST_ROWS = 4
SHARDS = 20
GENES, ASSAYS = 978, 1328
PARTS = ("train", "val", "test", "test_seen")
GOLDEN = (np.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Plan:
    """A table: its rows and whose molecules they show.

    Attributes:
        name: Of the table.
        num_rows: Of all its files.
        first: Number of its first own molecule; its own molecules follow each other.
        shared: Other table -> share of the rows that show one of *its* molecules.
        parts: Shares of val, test and test_seen among all rows.
    """

    name: str
    num_rows: int
    first: int
    parts: tuple[float, float, float]
    shared: Mapping[str, float] = field(default_factory=dict)

    @property
    def num_own(self) -> int:
        """About how many molecules no other table has brought in."""
        return round(self.num_rows * (1 - sum(self.shared.values())))


# Rows per distinct molecule of the mix, and at most (the published number). PCQM4M and PCBA alone would leave some
# sixty rows of L1000 among 20,000: the small tables are raised so that something can be learned from them.
ROWS = {"pcqm4m": (0.50, 3_810_323), "pcba": (0.40, 1_563_664), "vcap": (0.125, 15_220), "mcf7": (0.10, 11_622)}
# Shares of val, test and test_seen as published.
SPLITS = {
    "pcqm4m": (148_759 / 3_810_323, 148_759 / 3_810_323, 0.0),
    "pcba": (60_286 / 1_563_664, 60_286 / 1_563_664, 56_512 / 1_563_664),
    "vcap": (578 / 15_220, 578 / 15_220, 748 / 15_220),
    "mcf7": (422 / 11_622, 422 / 11_622, 1_065 / 11_622),
    "pm6": (0.04, 0.04, 0.0),
}
# Table -> whose molecules it shows too. How much of L1000 is in PCBA and in the other cell line is our guess; what is
# in PCQM4M follows from test_seen.
SHARED = {"pcba": {}, "vcap": {"pcba": 0.25}, "mcf7": {"pcba": 0.20, "vcap": 0.45}}


def plan_largemix(num_molecules: int) -> dict[str, Plan]:
    """The four tables of about ``num_molecules`` distinct molecules."""
    plans: dict[str, Plan] = {}
    first = 0
    for name, (per_molecule, most) in ROWS.items():
        num_rows = max(4 * LEAST_ROWS, min(most, round(per_molecule * num_molecules)))
        val, test, seen = (max(part, LEAST_ROWS / num_rows) if part else 0.0 for part in SPLITS[name])
        shared = {}
        if seen:
            # Rows with a molecule of the training part of PCQM4M are test_seen; a few show one of its other parts.
            shared = {"pcqm4m": seen / (1 - 2 * SPLITS["pcqm4m"][0]), **SHARED[name]}
        plans[name] = Plan(name, num_rows, first, (val, test, seen), shared)
        first += plans[name].num_own
    return plans


def chunks(plan: Plan, plans: Mapping[str, Plan]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(molecule, part) of the rows of a table, int64 and int8, in chunks of ``CHUNK``."""
    key = list(plans).index(plan.name)
    taken = dict.fromkeys([*plan.shared, ""], 0)
    for number, start in enumerate(range(0, plan.num_rows, CHUNK)):
        rows = np.arange(start, min(start + CHUNK, plan.num_rows))
        draw = np.random.default_rng([key, number]).random(len(rows))
        molecules, limit = np.empty(len(rows), dtype=np.int64), 0.0
        owner = np.full(len(rows), "", dtype=object)
        for other, share in plan.shared.items():
            owner[(draw >= limit) & (draw < limit + share)] = other
            limit += share
        for other in taken:
            mine = np.flatnonzero(owner == other)
            numbers = taken[other] + np.arange(len(mine))
            source = plans[other] if other else plan
            if other:
                # Each table begins elsewhere, so that not all of them show the same molecules of the other.
                numbers = _scattered(numbers + key * source.num_own // len(plans), source.num_own)
            molecules[mine] = source.first + numbers
            taken[other] += len(mine)
        yield molecules, _parts(plan, rows, molecules, owner == "pcqm4m", plans)


def _parts(
    plan: Plan, rows: np.ndarray, molecules: np.ndarray, in_pcqm4m: np.ndarray, plans: Mapping[str, Plan]
) -> np.ndarray:
    """A low-discrepancy sequence keeps the proportions of the parts in a table of any length."""
    val, test, seen = plan.parts
    # test_seen has rows of its own, so the others make up a smaller whole.
    val, test = val / (1 - seen), test / (1 - seen)
    place = (rows * GOLDEN) % 1.0
    parts = np.where(place < val, 1, np.where(place < val + test, 2, 0)).astype(np.int8)
    if in_pcqm4m.any():
        source = plans["pcqm4m"]
        theirs = _parts(source, molecules - source.first, molecules, np.zeros(len(rows), dtype=bool), plans)
        parts[in_pcqm4m & (theirs == 0)] = 3
    return parts


def _scattered(numbers: np.ndarray, size: int) -> np.ndarray:
    """``numbers`` -> numbers below ``size``, far from each other and all different as long as there are enough."""
    step = next(s for s in count(max(1, int(size * GOLDEN))) if gcd(s, size) == 1)
    return numbers * step % size


class Generator:
    """Writes the tables over the molecules of a pool."""

    def __init__(self, folder: Path, pool: pa.Array, seed: int) -> None:
        self.folder = folder
        self.pool = pool
        self.seed = seed
        self.functions = Functions(self._molecules(np.arange(REFERENCE)), seed)

    def largemix(self, num_molecules: int, brackets: int) -> None:
        plans = plan_largemix(num_molecules)
        self.quantum(plans, "pcqm4m", ["PCQM4M_G25_N4.parquet"], "pcqm4m_g25_n4", num_graph=25, num_node=4)
        self.assays(plans)
        for cell_line in ("vcap", "mcf7"):
            self.genes(plans, cell_line, brackets)

    def ultralarge(self, num_molecules: int) -> None:
        plans = {"pm6": Plan("pm6", num_molecules, 0, SPLITS["pm6"])}
        files = [f"pm6_processed_{shard}.parquet" for shard in range(1, SHARDS + 1)]
        self.quantum(plans, "pm6", files, "pm6", num_graph=62, num_node=7)

    def quantum(
        self, plans: Mapping[str, Plan], name: str, files: list[str], split: str, *, num_graph: int, num_node: int
    ) -> None:
        """One table, in one file or in shards, with numbers of molecules and lists of numbers of their atoms."""
        graph = [f"graph_{name}_{number:02d}" for number in range(num_graph)]
        node = [f"node_{name}_{number}" for number in range(num_node)]
        schema = pa.schema(
            [
                ("ordered_smiles", pa.string()),
                *((column, pa.float64()) for column in graph),
                *((column, pa.list_(pa.float64())) for column in node),
            ]
        )

        def table(molecules: Molecules, noise: np.random.Generator) -> pa.Table:
            of_graphs = self.functions.properties(molecules, num_graph, f"{name} graph", noise)
            of_atoms = self.functions.atom_properties(molecules, num_node, f"{name} node", noise)
            offsets = pa.array(molecules.ptr, pa.int32())
            lists = [pa.ListArray.from_arrays(offsets, values) for values in of_atoms.T]
            return pa.table([molecules.smiles, *of_graphs.T, *lists], schema=schema)

        bounds = np.linspace(0, plans[name].num_rows, len(files) + 1).round().astype(int)
        row, writers = 0, iter(zip(files, bounds[1:], strict=True))
        file, end = next(writers)
        writer = pq.ParquetWriter(self.folder / file, schema)
        for piece in self._tables(plans, name, split, table):
            while row + len(piece) > end:
                if end > row:
                    writer.write_table(piece.slice(0, end - row))
                piece, row = piece.slice(end - row), end
                writer.close()
                file, end = next(writers)
                writer = pq.ParquetWriter(self.folder / file, schema)
            writer.write_table(piece)
            row += len(piece)
        writer.close()

    def assays(self, plans: Mapping[str, Plan]) -> None:
        columns = [f"assayID-{1000 + 7 * number}" for number in range(ASSAYS)]
        schema = pa.schema([("SMILES", pa.string()), *((column, pa.float64()) for column in columns)])
        num_rows = plans["pcba"].num_rows

        def table(molecules: Molecules, noise: np.random.Generator) -> pa.Table:
            values = self.functions.assays(molecules, ASSAYS, num_rows, noise)
            # As pandas writes NaN into Parquet.
            arrays = [pa.array(column, from_pandas=True) for column in values.T]
            return pa.table([molecules.smiles, *arrays], schema=schema)

        with pq.ParquetWriter(self.folder / "PCBA_1328_1564k.parquet", schema) as writer:
            for piece in self._tables(plans, "pcba", "pcba_1328", table):
                writer.write_table(piece)

    def genes(self, plans: Mapping[str, Plan], cell_line: str, brackets: int) -> None:
        columns = [f"geneID-{10 + 23 * number}" for number in range(GENES)]
        schema = pa.schema([("SMILES", pa.string()), *((column, pa.int64()) for column in columns)])

        def table(molecules: Molecules, noise: np.random.Generator) -> pa.Table:
            values = self.functions.genes(molecules, GENES, cell_line, brackets, noise)
            return pa.table([molecules.smiles, *values.T], schema=schema)

        ending = "0-2_th2" if brackets == 3 else "0-4"
        path = self.folder / f"LINCS_L1000_{cell_line.upper()}_{ending}.csv.gz"
        with pa.CompressedOutputStream(str(path), "gzip") as stream, csv.CSVWriter(stream, schema) as writer:
            for piece in self._tables(plans, cell_line, f"l1000_{cell_line}", table):
                writer.write_table(piece)

    def _tables(
        self,
        plans: Mapping[str, Plan],
        name: str,
        split: str,
        table: Callable[[Molecules, np.random.Generator], pa.Table],
    ) -> Iterator[pa.Table]:
        """The rows of a table in chunks; at the end the split file is written."""
        parts = []
        for number, (molecules, part) in enumerate(chunks(plans[name], plans)):
            noise = np.random.default_rng([self.seed, *name.encode(), number])
            yield table(self._molecules(molecules), noise)
            parts.append(part)
        of_row = np.concatenate(parts)
        rows = {part: torch.from_numpy(np.flatnonzero(of_row == code)) for code, part in enumerate(PARTS)}
        torch.save({part: numbers for part, numbers in rows.items() if len(numbers)}, self.split_file(split))

    def split_file(self, name: str) -> Path:
        return self.folder / f"{name}_random_splits.pt"

    def _molecules(self, numbers: np.ndarray) -> Molecules:
        return describe(self.pool.take(pa.array(_scattered(numbers, len(self.pool)))).to_pylist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pool", type=Path, required=True, help="a table with a column SMILES")
    parser.add_argument("--molecules", type=int, default=20_000, help="distinct molecules of all tables together")
    parser.add_argument("--ultralarge", action="store_true", help="the tables of UltraLarge, not of LargeMix")
    parser.add_argument("--brackets", type=int, choices=(3, 5), default=3, help="of the L1000 labels")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    generator = Generator(given.folder, read_pool(given.pool), given.seed)
    if given.ultralarge:
        generator.ultralarge(given.molecules)
    else:
        generator.largemix(given.molecules, given.brackets)


if __name__ == "__main__":
    main()
