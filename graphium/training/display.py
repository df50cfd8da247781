"""What a run shows while it works: a progress bar with the loss and molecules per second."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from graphium.training.callbacks import Clock
from graphium.training.module import Module

_REFRESH_SECONDS = 0.2
_LIGHTNING_LOGGERS = ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric")


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's notices and hints; what a user must know, this program says itself."""
    loggers = [logging.getLogger(name) for name in _LIGHTNING_LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            for module in (r"pytorch_lightning(\..*)?", r"lightning_fabric(\..*)?"):
                warnings.filterwarnings("ignore", module=module)
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class TrainingBar(ProgressBar):
    """One bar per epoch with loss and molecules per second, and one line that stays per validated epoch.

    The screen is touched a few times a second whatever the step takes, and the loss is the one that the
    module reads from the device now and then.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self.console = console or Console(stderr=True)
        self._enabled = True
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._clock = Clock()
        self._next = 0.0

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def print(self, *arguments: Any, **options: Any) -> None:
        self.console.print(*arguments, **options)

    def on_train_batch_start(self, *arguments: Any) -> None:
        self._clock.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._enabled:
            return
        self._clock.count(batch.num_graphs)
        now = time.perf_counter()
        if now >= self._next:
            self._next = now + _REFRESH_SECONDS
            self._show(trainer, pl_module, batch_idx + 1)

    def _show(self, trainer: pl.Trainer, module: pl.LightningModule, done: int) -> None:
        if not self.console.is_terminal:
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
                auto_refresh=False,
            )
            self._progress.start()
            self._task = self._progress.add_task("", numbers="")
        loss = getattr(module, "running_loss", None)
        numbers = self._speed(trainer) + ("" if loss is None else f"  loss {loss:.4f}")
        assert self._task is not None
        self._progress.update(
            self._task,
            description=_epoch_name(trainer),
            completed=done,
            total=trainer.num_training_batches,
            numbers=numbers,
        )
        self._progress.refresh()

    def _speed(self, trainer: pl.Trainer) -> str:
        return f"{self._clock.speed * trainer.world_size:,.0f} molecules/s"

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._enabled and isinstance(pl_module, Module):
            self._stop()
            self._print_line(trainer, pl_module)
        self._clock.reset()

    def _print_line(self, trainer: pl.Trainer, module: Module) -> None:
        pieces = [_epoch_name(trainer), f"step {trainer.global_step}"]
        if module.train_loss.recent is not None:
            pieces.append(f"train loss {module.train_loss.recent:.4f}")
        if "val/loss" in module.validation:
            pieces.append(f"val loss {module.validation['val/loss']:.4f}")
        pieces.append(self._speed(trainer))
        self.print("  ".join(pieces), highlight=False, soft_wrap=True)

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._task = None, None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._stop()


def _epoch_name(trainer: pl.Trainer) -> str:
    limit = trainer.max_epochs
    return f"epoch {trainer.current_epoch + 1}" + (f"/{limit}" if limit and limit > 0 else "")
