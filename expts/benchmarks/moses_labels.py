"""MOSES with labels: logP, TPSA and QED of every molecule, computed by RDKit, as a Parquet table.

python expts/benchmarks/moses_labels.py ../shared/data/pool/moses_train.csv.gz moses_train.parquet [processes]
"""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rdkit import Chem
from rdkit.Chem import QED, Crippen, rdMolDescriptors

CHUNK = 20_000
LABELS = ("logP", "TPSA", "QED")


def labels(texts: list[str]) -> np.ndarray:
    """float64 ``[molecules, 3]``."""
    mols = [Chem.MolFromSmiles(text) for text in texts]
    return np.array([(Crippen.MolLogP(m), rdMolDescriptors.CalcTPSA(m), QED.qed(m)) for m in mols])


def main(source: Path, target: Path, processes: int) -> None:
    chunks = [frame["SMILES"].tolist() for frame in pd.read_csv(source, usecols=["SMILES"], chunksize=CHUNK)]
    schema = pa.schema([("SMILES", pa.string()), *((name, pa.float64()) for name in LABELS)])
    draft = target.with_suffix(".part")
    with get_context("spawn").Pool(processes) as pool, pq.ParquetWriter(draft, schema) as writer:
        for texts, values in zip(chunks, pool.imap(labels, chunks), strict=True):
            writer.write_table(pa.table([texts, *values.T], schema=schema))
    os.replace(draft, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
