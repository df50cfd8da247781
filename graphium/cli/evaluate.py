"""``graphium evaluate``: a saved model on labelled tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from graphium.errors import GraphiumError

_FOLDERS = ("data_dir", "store_dir")


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model/ folder, a run folder, hub:org/name, or an imported model.")
    ],
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA",
            help="Tables with labels, or words as for graphium-train, e.g. data=qm9; default: the run's own data.",
        ),
    ] = None,
    part: Annotated[
        str | None, typer.Option(metavar="PART", help="train, val, test, test_seen or all; default: test, else all.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the numbers as JSON.")
    ] = None,
    predictions: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the predictions as Parquet.")] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", metavar="COLUMN=TASK", help="A column that the model knows by another name; may be repeated."
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Tasks to measure, with * and ?; may be repeated.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Molecules that the network reads together.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run code of the model's author, where it names any.")
    ] = False,
    config_dir: Annotated[Path | None, typer.Option(help="A folder with your own groups of files.")] = None,
) -> None:
    """Measure a saved model on labelled data, in the keys of metrics.json.

    Columns are the tasks of the model that have the same name. Without DATA, the data of the run are measured again.
    """
    renamed = _renamed(task or [])
    if output is not None and output.is_dir():
        raise GraphiumError(f"{str(output)!r} is a folder; name a file, e.g. {str(output / 'metrics.json')!r}")
    if output is not None and output.suffix != ".json":
        raise GraphiumError(f"the numbers are written as JSON and {str(output)!r} ends otherwise; name it .json")
    section, folders = _data(data or [], config_dir)

    from rich.console import Console

    from graphium.data.store.columns import disk_errors
    from graphium.training.measuring import measure
    from graphium.training.result_table import print_results
    from graphium.training.run_folder import write_json

    measured = measure(
        model,
        section,
        part,
        tasks=tasks,
        renamed=renamed,
        predictions=predictions,
        batch_size=batch_size,
        device=device,
        trust_code=trust_code,
        **folders,
    )
    print_results(measured.metrics, measured.heads, Console())
    if output is not None:
        with disk_errors(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            write_json(output, measured.metrics)
    console = Console(stderr=True)
    for sentence in (*measured.remarks, *(f"written: {path}" for path in (output, predictions) if path is not None)):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _data(words: list[str], config_dir: Path | None) -> tuple[Any, dict[str, Any]]:
    """The data that tables and words mean, None for those of the run; and the folders that are named."""
    from graphium.config import compose_run
    from graphium.messages import tell

    files = [word for word in words if _is_file(word)]
    settings = [word for word in words if word not in files]
    folders: dict[str, Any] = dict(word.split("=", 1) for word in settings if word.split("=", 1)[0] in _FOLDERS)
    settings = [word for word in settings if word.split("=", 1)[0] not in _FOLDERS]
    strange = next((word for word in settings if not word.lstrip("+~'\"").startswith(("data", "experiment"))), None)
    if strange is not None:
        raise GraphiumError(
            f"{strange!r} is not a setting of the data; give a table, e.g. my.csv, or words such as data=qm9"
        )
    if not files and not settings:
        return None, folders
    if not settings:
        return (files[0] if len(files) == 1 else files), folders
    if len(files) > 1:
        raise GraphiumError("settings are about one table and there are several; describe them in a file, data=my.yaml")
    composition = compose_run(["data=table", *settings] if files else settings, config_dir)
    tell(composition.messages)
    section = composition.config["data"]
    if files:
        section["path"] = files[0]
    return section, {**{key: composition.config[key] for key in _FOLDERS if composition.config.get(key)}, **folders}


def _is_file(word: str) -> bool:
    return Path(word).expanduser().exists() or "=" not in word or "://" in word.split("=", 1)[0]


def _renamed(words: list[str]) -> dict[str, str]:
    renamed = {}
    for word in words:
        # The names of columns hold an equals sign more often than those of tasks.
        column, sign, name = word.rpartition("=")
        if not (sign and column and name):
            raise GraphiumError(f"--task {word!r} is not COLUMN=TASK; name the column and the task of the model")
        renamed[column] = name
    return renamed
