"""``graphium explain``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from graphium.errors import GraphiumError
from graphium.messages import tell

if TYPE_CHECKING:
    from graphium.models.attribution.contributions import AtomContributions, Explainer

TABLE = "contributions.parquet"


def explain(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model/ folder, a run folder, hub:org/name, or an imported model.")
    ],
    source: Annotated[
        str | None,
        typer.Argument(metavar="[INPUT]", help="CSV, Parquet, SDF or SMI; a pattern for shards; - for stdin."),
    ] = None,
    molecule: Annotated[str | None, typer.Option(metavar="SMILES", help="One molecule, instead of INPUT.")] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="The task to explain; may be left out where there is one.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help=f"A folder for {TABLE} and a picture, ROW.svg, of every row; or CSV or Parquet by its suffix, "
            "without pictures; of one molecule the picture, by .svg.",
        ),
    ] = None,
    method: Annotated[
        Literal["gradient", "masking"],
        typer.Option(help="gradient: contributions add up to prediction - baseline; masking: what goes with an atom."),
    ] = "gradient",
    of_class: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="Of classes: which one; default: the most probable.")
    ] = None,
    entity: Annotated[
        int | None, typer.Option(metavar="N", help="Of tasks of atoms, bonds or pairs: which one, from 0.")
    ] = None,
    pictures: Annotated[int, typer.Option(metavar="N", help="Rows that are drawn at most.")] = 100,
    smiles: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of the molecules.")] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Molecules that are worked on together.")] = 64,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run code of the model's author, where it names any.")
    ] = False,
) -> None:
    """Show which atoms a prediction rests on.

    The table has the rows and columns of the input, the prediction, that with no atom (baseline), the contributions as
    a list in the order of the row's own atoms, and status. In pictures orange atoms raise the prediction, blue ones
    lower it. Stopped work goes on with the same command.
    """
    if (source is None) == (molecule is None):
        raise GraphiumError("give either INPUT, a table, or --molecule with one SMILES")
    if source is not None and output is None:
        raise GraphiumError("there is no output; give -o FOLDER, or a path that ends in .parquet or .csv")
    from graphium.models.attribution.contributions import Explainer

    explainer = Explainer(
        model,
        task,
        method=method,
        of_class=of_class,
        entity=entity,
        batch_size=batch_size,
        device=device,
        trust_code=trust_code,
    )
    if molecule is not None:
        _explain_one(explainer, molecule, output, overwrite)
    else:
        assert source is not None and output is not None
        _explain_table(explainer, source, output, smiles, pictures, overwrite)


def _explain_one(explainer: Explainer, molecule: str, output: Path | None, overwrite: bool) -> None:
    """Print the atoms of one molecule, and draw it."""
    from graphium.data.store.columns import disk_errors

    if output is not None and output.suffix.lower() != ".svg":
        raise GraphiumError(f"the output {str(output)!r} of one molecule is a picture; give a path that ends in .svg")
    if output is not None and output.exists() and not overwrite:
        raise GraphiumError(f"the output {str(output)!r} exists; give another path, or say --overwrite to replace it")
    (found,) = explainer.contributions([molecule])
    if found.status != "ok":
        raise GraphiumError(f"{molecule!r} {found.status}; give a valid SMILES")
    _print(found)
    if output is not None:
        with disk_errors(output):
            output.write_text(found.svg(), encoding="utf-8")
        tell([f"the picture is in {output}"])


def _print(found: AtomContributions) -> None:
    from rich.console import Console
    from rich.table import Table

    from graphium.models.attribution.contributions import symbols

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, justify in (("atom", "right"), ("element", "left"), ("contribution", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for atom, (symbol, value) in enumerate(zip(symbols(found), found.values, strict=True)):
        table.add_row(str(atom), symbol, f"{value:+.4g}")
    of_class = f" of {found.of_class}" if found.of_class is not None else ""
    Console().print(table)
    # Not broken into lines: it may be copied.
    Console(highlight=False, soft_wrap=True).print(
        f"{found.task}: {found.units}{of_class} {found.prediction:.4g}, with no atom {found.baseline:.4g}".replace(
            ":  ", ": "
        ),
        markup=False,
    )


def _explain_table(
    explainer: Explainer, source: str, output: Path, smiles: str | None, pictures: int, overwrite: bool
) -> None:
    from graphium.data.store.columns import disk_errors
    from graphium.models.attribution.table import ContributionColumns
    from graphium.models.tables.input_tables import InputTable, opened
    from graphium.models.tables.table_files import check_output, write_table

    # A name with another suffix is a mistake, unless there is such a folder.
    folder = output if output.is_dir() or not output.suffix else None
    path = output if folder is None else folder / TABLE
    if folder is not None:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    check_output(path, overwrite)
    columns = ContributionColumns(explainer, folder, pictures)
    with opened(source) as given:
        table = InputTable(given, smiles, new=columns.schema.names)
        tell(table.messages)
        total = write_table(
            table, path, columns, overwrite=overwrite, progress=sys.stderr.isatty(), verbs=("explaining", "explained")
        )
    rows, failures = total["rows"], total["failures"]
    said = f"explained {rows - failures:,} of {rows:,} rows in {path}"
    if failures:
        said += f"; {failures:,} could not be used, see the column status"
    tell([said])
    if folder is not None and rows > pictures:
        tell([f"the first {pictures:,} rows are drawn; --pictures N draws more"])
