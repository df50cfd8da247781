"""``graphium predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphium.errors import GraphiumError
from graphium.messages import tell

if TYPE_CHECKING:
    from graphium.models.extras import Extra
    from graphium.models.saved import SavedModel


def predict(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model/ folder, a run folder, hub:org/name, or an imported model.")
    ],
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="CSV, Parquet, SDF or SMI; a pattern for shards; - for stdin.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help="CSV, CSV.GZ or Parquet by its suffix; - for stdout.")
    ],
    tasks: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Tasks to predict, with * and ?; may be repeated.")
    ] = None,
    smiles: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of the molecules.")] = None,
    ensemble: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="A further model to average with; may be repeated.")
    ] = None,
    dropout: Annotated[int, typer.Option(metavar="N", help="Passes with dropout at work, for --spread.")] = 0,
    spread: Annotated[bool, typer.Option("--spread", help="How far the models or passes differ.")] = False,
    interval: Annotated[
        float | None, typer.Option(metavar="LEVEL", help="Intervals and sets that hold the truth so often, as 0.9.")
    ] = None,
    domain: Annotated[bool, typer.Option("--domain", help="How far a molecule is from those of the training.")] = False,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Molecules that the network reads together.")] = 512,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    jobs: Annotated[int, typer.Option(metavar="N", help="Processes; -1 for all cores.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run code of the model's author, where it names any.")
    ] = False,
) -> None:
    """Predict the molecules of a table with a saved model.

    The output has the rows and columns of the input, a column for every task in label units, and status: ok, or why a
    row has no predictions. Stopped work goes on with the same command.
    """
    from graphium.models.tables.table_files import check_output

    check_output(output, overwrite)
    models = [model, *(ensemble or [])]
    if spread and len(models) == 1 and not dropout:
        raise GraphiumError(
            "--spread compares several predictions; give further models (--ensemble) or passes (--dropout)"
        )
    if dropout and not spread:
        raise GraphiumError(f"--dropout {dropout} has no use without --spread; add it, or leave both out")
    from graphium.models.device import find_device
    from graphium.models.predictor import Predictor
    from graphium.models.saved import load_model

    place = find_device(device)
    saved = [load_model(one, trust_code=trust_code, device=place) for one in models]
    extras = _extras(saved, spread, interval, domain)
    predictor = Predictor(saved, tasks=tasks, batch_size=batch_size, device=place, extras=extras, dropout=dropout)
    tell(sentence for extra in extras for sentence in getattr(extra, "remarks", ()))
    total = predictor.predict_file(
        source, output, smiles=smiles, n_jobs=jobs, overwrite=overwrite, progress=sys.stderr.isatty()
    )
    tell([summary(total, output)])


def _extras(saved: list[SavedModel], spread: bool, interval: float | None, domain: bool) -> list[Extra]:
    extras: list[Extra] = []
    if spread:
        from graphium.models.trust.spread import Spread

        extras.append(Spread())
    if interval is not None:
        from graphium.models.trust.conformal import Intervals

        extras.append(Intervals(saved, interval))
    if domain:
        from graphium.models.trust.domain import Domain

        extras.append(Domain(saved[0]))
    return extras


def summary(total: dict[str, int], output: str | Path) -> str:
    """The sentence at the end."""
    rows, failures = total["rows"], total["failures"]
    to = "" if str(output) == "-" else f" to {output}"
    if failures == rows:
        return f"none of {rows:,} rows could be used, see the column status{to and ' of' + to[3:]}"
    left = f"; {failures:,} could not be used, see the column status" if failures else ""
    return f"predicted {rows - failures:,} of {rows:,} rows{to}{left}"
