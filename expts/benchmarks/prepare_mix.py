"""The preparation of a whole mix, labels included, beside RDKit's bare parse of all its strings.

    python expts/benchmarks/moses_labels.py ../shared/data/pool/moses_train.csv.gz moses_train.parquet 2
    python expts/benchmarks/prepare_mix.py ../shared/data moses_train.parquet [stores]

The mix is moses_mix.yaml: 1.8 million rows of five tables, both encodings, two processes. The stores are kept
where a folder for them is given.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import yaml
from preparation import bare_parse, family, private_bytes, sizes
from timing import report

from graphium.chem.featurizer import Featurizer
from graphium.data.build import MixOptions, build_mix
from graphium.data.datasets.dataset import Dataset
from graphium.data.store.graph_store import GraphStore

JOBS = 2
# 0.85 of what one process reaches on ZINC12k; the most memory of all processes.
REQUIRED_RATIO = 0.85 * 0.321
REQUIRED_BYTES = 2.5e9


def datasets(moses: Path) -> list[Dataset]:
    raw = yaml.safe_load((Path(__file__).parent / "moses_mix.yaml").read_text())["datasets"]
    raw["moses"]["path"] = str(moses)
    return [Dataset.from_config(name, fields, where=name) for name, fields in raw.items()]


def prepare(data_dir: Path, moses: Path, stores: Path) -> None:
    """Prepare the mix in this process and print the seconds."""
    chosen = datasets(moses)
    start = time.perf_counter()
    mix = build_mix(chosen, Featurizer(), data_dir=data_dir, store_dir=stores, options=MixOptions(n_jobs=JOBS))
    seconds = time.perf_counter() - start
    for dataset in mix.datasets:
        rows, labels = dataset.store.num_rows, sum(block.num_labels for block in dataset.blocks.values())
        taken = sum(path.stat().st_size for path in (dataset.store.folder / "labels").rglob("*.bin"))
        tasks, heads = sum(head.num_tasks for head in dataset.heads), len(dataset.heads)
        print(
            f"{dataset.name:<14} {rows:>9,} rows, {dataset.store.num_failures} failed, {tasks:>3} tasks, "
            f"{labels:>9,} labels of {(taken - 8 * heads * rows) / labels:.2f} bytes, and 8 a row and head"
        )
    print(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("moses", type=Path)
    parser.add_argument("stores", type=Path, nargs="?")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        prepare(given.data_dir, given.moses.resolve(), given.stores)
        return
    with tempfile.TemporaryDirectory() as scratch:
        stores = given.stores or Path(scratch)
        with ProcessPoolExecutor(JOBS, get_context("spawn")) as pool:
            before = parse_all(pool, given.data_dir, given.moses)
            words = [sys.executable, __file__, str(given.data_dir), str(given.moses), str(stores), "--once"]
            # A cache of its own: nothing is known of the tables yet.
            environment = {**os.environ, "GRAPHIUM_CACHE": scratch}
            child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
            memory = 0
            while child.poll() is None:
                memory = max(memory, sum(private_bytes(pid) for pid in family(child.pid)))
                time.sleep(0.5)
            *lines, last = child.communicate()[0].splitlines()
            after = parse_all(pool, given.data_dir, given.moses)
        print("\n".join(lines))
        found = [GraphStore.open(path.parent) for path in sorted(stores.glob("*/manifest.json"))]
        molecules, size = sum(store.num_molecules for store in found), sum(sizes(stores))
        print(f"{molecules:,} molecules, {size / molecules:,.0f} bytes a molecule with labels, {float(last):,.0f} s")
        report("bare parse / preparation, 2 processes each", (before + after) / 2 / float(last), REQUIRED_RATIO)
        report("memory of all processes, GB", memory / 1e9, REQUIRED_BYTES / 1e9, at_least=False, unit="GB")


def parse_all(pool: ProcessPoolExecutor, data_dir: Path, moses: Path) -> float:
    """Seconds of the bare parse of all strings of the mix, on as many processes."""
    tables = [(data_dir / str(dataset.path), str(dataset.smiles)) for dataset in datasets(moses.resolve())]
    return sum(bare_parse(pool, JOBS, path, smiles, 0)[0] for path, smiles in tables)


if __name__ == "__main__":
    main()
