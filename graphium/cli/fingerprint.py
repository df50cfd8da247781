"""``graphium fingerprint``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from graphium.errors import GraphiumError
from graphium.messages import tell


def fingerprint(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model/ folder, a run folder, hub:org/name, or an imported model.")
    ],
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="CSV, Parquet, SDF or SMI; a pattern for shards; - for stdin.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Parquet or .npy by its suffix.")],
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE",
            help="encoders, gnn:K, readout[:LEVEL] or head:NAME; several are joined. Default: what the model says of "
            "itself, or readout.",
        ),
    ] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="How vectors of atoms, bonds or pairs become one of the molecule: sum, mean, max, min, std, logsum; "
            "several are joined. Default: as the model does, or mean.",
        ),
    ] = None,
    per_atom: Annotated[
        bool, typer.Option("--per-atom", help="The vectors of atoms (bonds, pairs) in the order of the text.")
    ] = False,
    smiles: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of the molecules.")] = None,
    dtype: Annotated[Literal["float32", "float16"], typer.Option(help="Of the numbers.")] = "float32",
    batch_size: Annotated[int, typer.Option(metavar="N", help="Molecules that the network reads together.")] = 256,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    jobs: Annotated[int, typer.Option(metavar="N", help="Processes; -1 for all cores.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run code of the model's author, where it names any.")
    ] = False,
) -> None:
    """Write the vectors that a saved model has of molecules.

    Parquet holds the columns of the input, fingerprint (a list of numbers in every row) and status: ok, or why a row
    has no fingerprint. An array (.npy) holds the numbers alone, one row for each of the input, NaN where there is no
    fingerprint. Stopped work goes on with the same command.
    """
    from graphium.models.fingerprints.table import FingerprintColumns, check_output, write_fingerprints

    check_output(output, per_atom=per_atom, overwrite=overwrite)
    from graphium.models.fingerprints.fingerprinter import Fingerprinter

    fingerprinter = Fingerprinter(model, layer, pool, batch_size=batch_size, device=device, trust_code=trust_code)
    if pool and (per_atom or set(fingerprinter.levels) == {"graph"}):
        reason = "vectors of atoms are not pooled" if per_atom else f"{fingerprinter.stages[0]} is of molecules already"
        raise GraphiumError(f"--pool is {pool[0]} and {reason}; leave it out")
    columns = FingerprintColumns(fingerprinter, per_atom=per_atom, dtype=dtype)
    total = write_fingerprints(
        columns, source, output, smiles=smiles, n_jobs=jobs, overwrite=overwrite, progress=sys.stderr.isatty()
    )
    entity = {"node": "atom", "edge": "bond", "nodepair": "pair"}[fingerprinter.levels[0]] if per_atom else "molecule"
    tell([_summary(total, f"{columns.num_channels:,} numbers per {entity}", output)])


def _summary(total: dict[str, int], what: str, output: Path) -> str:
    """The sentence at the end."""
    rows, failures = total["rows"], total["failures"]
    said = f"wrote {what} for {rows - failures:,} of {rows:,} rows to {output}"
    if not failures:
        return said
    is_array = output.suffix.lower() == ".npy"
    return f"{said}; {failures:,} could not be used, " + (
        "their rows are NaN, and a .parquet file tells why" if is_array else "see the column status"
    )
