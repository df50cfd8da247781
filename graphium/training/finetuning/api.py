"""``gf.finetune``: a model, a table, and a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

from graphium.config import SCALARS, compose, options
from graphium.data.build import MixOptions
from graphium.data.datasets.dataset import Dataset
from graphium.errors import GraphiumError, suggest
from graphium.training.finetuning.options import FinetuneOptions
from graphium.training.finetuning.weights import FREE
from graphium.training.options import TrainerOptions
from graphium.training.run import RunResult, run
from graphium.training.run_folder import choose_run_dir

_SECTIONS = ("optim", "trainer")
_TABLE = tuple(field.name for field in fields(Dataset) if field.name not in ("name", "path"))
_MIX = tuple(field.name for field in fields(MixOptions))
_FINETUNE = tuple(field.name for field in fields(FinetuneOptions) if field.name != "source")
_TRAINER = tuple(field.name for field in fields(TrainerOptions))
_MODEL = tuple(name for name in FREE if name != "heads")
# The table of a data frame, beside the run that was made of it.
_FILE = "table.parquet"


def finetune(
    model: str | Path,
    data: Any,
    *,
    mode: Literal["full", "head", "gradual", "lora"] = "full",
    **settings: Any,
) -> RunResult:
    """Go on from a saved model with a table of your own.

    Args:
        model: A model or run folder, ``hub:ORG/NAME``, or the name of an imported model such as ``minimol``.
        data: A data frame, the path of a table, a :class:`Dataset` or several, or a ``data`` section as a mapping.
        mode: All weights (``full``), heads alone (``head``), stage by stage from the top (``gradual``), or small
            matrices beside the layers (``lora``).
        **settings: What a command line would say, by the last word of each setting: of the table (``targets``,
            ``smiles``, ``kind``, ``split``, ``batch_size`` ...), of ``finetune`` (``freeze``, ``lr_decay``, ``heads``
            ...), of ``model`` (``readouts``, ``head_width``, ``dropout`` ...), of ``trainer`` (``max_epochs``,
            ``precision`` ...), ``lr``, ``seed``, ``run_dir`` ...; ``optim`` and ``trainer`` as mappings.

    Returns:
        The run: its folder, its metrics, and the new model as ``result.model``. A data frame is kept in the folder,
        so that the run can be repeated from its ``config.yaml``.

    Raises:
        GraphiumError: as ``graphium-train`` does.

    ``gf.finetune("minimol", frame, targets=["logP"], max_epochs=20, lr=3e-4)``
    """
    if mode not in options("finetune"):
        raise GraphiumError(f"unknown mode {mode!r}; {suggest(mode, options('finetune'))}")
    config = compose([f"finetune={mode}"])
    batch_size = config["data"].get("batch_size")
    config["finetune"]["from"] = str(model)
    config["name"] = f"finetune_{mode}"
    table: dict[str, Any] = {}
    for key, value in settings.items():
        _place(config, table, key, value)
    if hasattr(data, "to_parquet"):
        config["run_dir"] = str(choose_run_dir(config))
        path = Path(config["run_dir"]) / _FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        data.rename(columns=str).to_parquet(path, index=False)
        section: dict[str, Any] = {"name": "table", "path": str(path)}
    else:
        section = _section(data)
    alone = "datasets" not in section
    if not alone and (of_table := [key for key in table if key not in _MIX]):
        raise GraphiumError(f"{of_table[0]} says something of a table, and the data say it themselves; say it there")
    if alone and not {"targets", "tasks"} & {*section, *table}:
        section["targets"] = "*"
    config["data"] = {"batch_size": batch_size, **section, **table}
    return run(config)


def _place(config: dict[str, Any], table: dict[str, Any], key: str, value: Any) -> None:
    """Put a setting where it belongs; one that several sections have is the first of these."""
    if key in _SECTIONS and isinstance(value, Mapping):
        config[key] = {**config[key], **value}
    elif key in _TABLE or key in _MIX:
        table[key] = value
    elif key in _FINETUNE:
        config["finetune"][key] = value
    elif key in _MODEL:
        config["model"][key] = value
    elif key in _TRAINER:
        config["trainer"][key] = value
    elif key in SCALARS:
        config[key] = str(value) if isinstance(value, Path) else value
    elif key == "lr":
        config["optim"]["lr"] = value
    else:
        known = [*_SECTIONS, *_TABLE, *_MIX, *_FINETUNE, *_MODEL, *_TRAINER, *SCALARS, "lr"]
        raise GraphiumError(f"unknown setting {key!r}; {suggest(key, dict.fromkeys(known))}")


def _section(data: Any) -> dict[str, Any]:
    """A ``data`` section for what was given in another form."""
    if isinstance(data, str | Path):
        return {"path": str(data)}
    if isinstance(data, Mapping):
        return dict(data)
    several = [data] if isinstance(data, Dataset) else list(data)
    if not all(isinstance(one, Dataset) for one in several):
        raise GraphiumError(
            f"data is {type(data).__name__}; give a data frame, the path of a table, a Dataset or several, or a mapping"
        )
    return {"datasets": {one.name: _plain(one) for one in several}}


def _plain(dataset: Dataset) -> dict[str, Any]:
    """A dataset as the configuration would say it."""

    def said(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: said(item) for key, item in value.items() if item is not None and item != ""}
        return [said(item) for item in value] if isinstance(value, list | tuple) else value

    found = said(asdict(dataset))
    found.pop("name")
    return dict(found)
