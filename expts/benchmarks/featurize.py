"""Preparing molecules against RDKit's bare parse of the same strings, one core.

Ours makes the canonical order, the identity hashes, the ToyMix properties and (where named) both
encodings; "stored" also reads the table and writes the finished store.

    python expts/benchmarks/featurize.py [folder with qm9.csv.gz and ZINC12k.csv.gz] [molecules]

Last comes the gain of a second process, on drug-like molecules (../pool/moses_test.csv.gz beside that folder).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from rdkit import Chem
from timing import interleave, report

from graphium.chem.featurizer import Featurizer
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table

REQUIRED, REQUIRED_WITHOUT_ENCODINGS = 0.28, 0.35


def main(folder: Path, count: int) -> None:
    for file in ("qm9.csv.gz", "ZINC12k.csv.gz"):
        frame = pd.read_csv(folder / file, usecols=["smiles"])
        measure(file.partition(".")[0], frame.sample(min(count, len(frame)), random_state=0))

    drugs = folder.parent / "pool" / "moses_test.csv.gz"
    if drugs.exists():
        measure_cores(pd.read_csv(drugs, nrows=5 * count).rename(columns={"SMILES": "smiles"}))


def measure(name: str, frame: pd.DataFrame) -> None:
    """Print the rates of all ways to prepare this table as multiples of the bare parse."""
    texts = frame["smiles"].tolist()
    full, bare = Featurizer(), Featurizer(encodings=[])
    with tempfile.TemporaryDirectory() as root:
        source = Path(root) / "table.csv"
        frame.to_csv(source, index=False)
        seconds = interleave(
            {
                "parse": lambda: parse(texts),
                "arrays": lambda: bare.molecules(texts),
                "arrays + encodings": lambda: encoded(full, texts),
                "stored": stored(bare, source, Path(root)),
                "stored + encodings": stored(full, source, Path(root)),
            }
        )
    scale = 1e6 / len(texts)
    print(
        f"{name}: {len(texts):,} molecules, RDKit's bare parse {seconds['parse'] * scale:.1f} microseconds a molecule"
    )
    for way, required in (
        ("arrays", REQUIRED_WITHOUT_ENCODINGS),
        ("arrays + encodings", REQUIRED),
        ("stored", REQUIRED_WITHOUT_ENCODINGS),
        ("stored + encodings", REQUIRED),
    ):
        report(f"{name} {way}, {seconds[way] * scale:.1f} us a molecule", seconds["parse"] / seconds[way], required)


def measure_cores(frame: pd.DataFrame) -> None:
    """Print what a second process gains, beside what it gains in the bare parse on this machine."""
    full, texts = Featurizer(), frame["smiles"].tolist()
    half = len(texts) // 2
    with tempfile.TemporaryDirectory() as root, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        source = Path(root) / "table.csv"
        frame.to_csv(source, index=False)
        seconds = interleave(
            {
                "parse 1": lambda: pool.submit(parse, texts).result(),
                "parse 2": lambda: list(pool.map(parse, (texts[:half], texts[half:]))),
                "stored 1": stored(full, source, Path(root), n_jobs=1),
                "stored 2": stored(full, source, Path(root), n_jobs=2),
            },
            repeats=3,
            warmup=0,
        )
    bare = seconds["parse 1"] / seconds["parse 2"]
    report(
        f"{len(texts):,} rows of MOSES, two processes over one", seconds["stored 1"] / seconds["stored 2"], 0.8 * bare
    )
    print(f"  the bare parse gains {bare:.3f} x from a second process here")


def parse(texts: list[str]) -> int:
    return sum(Chem.MolFromSmiles(text) is None for text in texts)


def encoded(featurizer: Featurizer, texts: list[str]) -> None:
    found = featurizer.molecules(texts)
    featurizer.encode(found.num_atoms, found.num_components, found.component_size, found.num_bonds, found.bond_index)


def stored(featurizer: Featurizer, source: Path, root: Path, n_jobs: int = 1) -> Callable[[], None]:
    def run() -> None:
        with tempfile.TemporaryDirectory(dir=root) as fresh:
            table = Table(source)
            prepare_store(table, "smiles", featurizer, Path(fresh), name="benchmark", n_jobs=n_jobs, progress=False)

    return run


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[2]
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else here.parent / "shared" / "data" / "toymix",
        int(sys.argv[2]) if len(sys.argv) > 2 else 20_000,
    )
