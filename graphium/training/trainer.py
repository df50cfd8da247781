"""The Lightning trainer and logger that the ``trainer`` section asks for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from graphium.errors import GraphiumError
from graphium.models.saved import plain
from graphium.training.options import TrainerOptions


def make_logger(name: str, run_dir: Path, config: Mapping[str, Any]) -> Any:
    """A Lightning logger that writes into the run folder, or False; its package is imported here and not before."""
    if name == "none":
        return False
    from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

    try:
        if name == "tensorboard":
            return TensorBoardLogger(run_dir, name="tensorboard", version="")
        return WandbLogger(
            name=config.get("name"), project="graphium", save_dir=run_dir, config=plain(config), log_model=False
        )
    except ModuleNotFoundError as error:
        raise GraphiumError(f"trainer.logger is {name!r}, which is not installed; pip install {name}") from error


def make_trainer(
    options: TrainerOptions, callbacks: list[pl.Callback], *, default_root_dir: Path, logger: Any = False
) -> pl.Trainer:
    """A Lightning trainer for these options."""
    try:
        arguments = {**options.lightning_arguments(), "logger": logger}
        trainer = pl.Trainer(callbacks=callbacks, default_root_dir=default_root_dir, **arguments)
    except Exception as error:  # Lightning's kinds differ from version to version
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GraphiumError(
            f"trainer.accelerator {options.accelerator!r} with {options.devices} device(s) cannot be used here "
            f"({reason.rstrip('.')}); use trainer=cpu or other devices"
        ) from error
    if trainer.world_size > 1 and options.strategy == "auto" and not Path(sys.argv[0]).is_file():
        raise GraphiumError(
            f"trainer.devices is {options.devices}, and every device runs the program anew, which a notebook or "
            "python -c cannot; use graphium-train or a script, or 1 device"
        )
    return trainer
