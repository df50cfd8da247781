"""Callbacks of a run: averaged weights, the best and the last checkpoint, the table of epochs."""

from __future__ import annotations

import csv
import math
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, Checkpoint, WeightAveraging
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from graphium.errors import GraphiumError
from graphium.training.module import Module


class Interrupted(Exception):
    """The run was asked to stop, and has stopped between two steps with ``last.ckpt`` written."""


class InterruptGuard:
    """Turns the first Ctrl-C (or SIGTERM) into a request to stop after the present step.

    A second one interrupts at once. Handlers are put back at the end; outside the main thread, where
    none can be set, the guard does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> InterruptGuard:
        self.listen()
        return self

    def listen(self) -> None:
        """Set the handlers, also over those that another library has set meanwhile."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                previous = signal.signal(number, self._note)
                self._previous.setdefault(number, previous)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


class Averaging(WeightAveraging):
    """Exponential moving average of the weights, validated and saved in place of the weights themselves.

    Buffers are copied and not averaged: some of them are integers.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self._average = get_ema_multi_avg_fn(decay)
        self._pairs: tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]] | None = None
        self._began = False
        self._swapped = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._pairs = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self._latest_update_step:
            self.update(pl_module)
            self._latest_update_step = trainer.global_step

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Here and not in the first step, because it reads a number from the device.
        self._pair(pl_module)

    def _pair(self, module: nn.Module) -> None:
        assert self._average_model is not None
        averaged = self._average_model.module
        self._began = int(self._average_model.n_averaged) > 0
        self._pairs = (
            [p.detach() for p in averaged.parameters()],
            [p.detach() for p in module.parameters()],
            list(zip(averaged.buffers(), module.buffers(), strict=True)),
        )

    def update(self, module: nn.Module) -> None:
        """What ``AveragedModel.update_parameters`` does, without walking through the modules every step."""
        if self._pairs is None:
            self._pair(module)
        assert self._average_model is not None and self._pairs is not None
        averages, weights, buffers = self._pairs
        if self._began:
            self._average(averages, weights, self._average_model.n_averaged)
        else:
            for average, weight in zip(averages, weights, strict=True):
                average.copy_(weight)
            self._began = True
        for average, buffer in buffers:
            average.copy_(buffer)
        self._average_model.n_averaged += 1

    def _swap_models(self, pl_module: pl.LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """A validation that breaks off leaves the averaged weights in the network: put them back."""
        if self._swapped:
            self._swap_models(pl_module)


class BestCheckpoint(Checkpoint):
    """Keeps ``best.ckpt``, the weights with the best monitored number, and stops when it stays away.

    The very last step is validated too, wherever in an epoch it falls.

    Args:
        folder: Where ``best.ckpt`` goes.
        monitor: A key of ``Module.validation``; a validation where it is undefined or infinite counts as no better one.
        mode: Whether it should fall or rise.
        patience: Validations without a better one before training stops; None never stops.
    """

    def __init__(self, folder: Path, monitor: str, mode: Literal["min", "max"], patience: int | None = None) -> None:
        self.path = Path(folder) / "best.ckpt"
        self.monitor, self.mode, self.patience = monitor, mode, patience
        self.value: float | None = None
        self.epoch: float = 0
        self.step = 0
        self.misses = 0
        self._seen = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Module)
        self._num_steps = trainer.estimated_stepping_batches
        if pl_module.validated_at != self._seen:
            # The run that is resumed was interrupted between the end of a validation and this callback.
            self._take_note(trainer, pl_module)
        self._stop_if_patience_is_over(trainer)
        self._validate_the_last_step(trainer, trainer.global_step)

    def on_before_optimizer_step(self, trainer: pl.Trainer, *arguments: Any) -> None:
        self._validate_the_last_step(trainer, trainer.global_step + 1)

    def _validate_the_last_step(self, trainer: pl.Trainer, step: int) -> None:
        if step >= self._num_steps:
            trainer.check_val_every_n_epoch = trainer.val_check_batch = 1

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Module)
        # A run that is resumed from inside a step walks through its micro-batches, and what fell between
        # them, a second time.
        if pl_module.validated_at != self._seen:
            self._take_note(trainer, pl_module)
        self._stop_if_patience_is_over(trainer)

    def _take_note(self, trainer: pl.Trainer, module: Module) -> None:
        self._seen = module.validated_at
        value = module.validation.get(self.monitor, math.nan)
        if self._is_better(value):
            self.value, self.misses = value, 0
            self.epoch, self.step = epochs_done(trainer), trainer.global_step
            save_atomically(trainer, self.path)
        else:
            self.misses += 1

    def _is_better(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.value is None:
            return True
        return value < self.value if self.mode == "min" else value > self.value

    def _stop_if_patience_is_over(self, trainer: pl.Trainer) -> None:
        if self.patience is not None and self.misses >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        known = {"value": self.value, "epoch": self.epoch, "step": self.step, "misses": self.misses}
        return {**known, "seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.value, self.misses = state_dict["value"], state_dict["misses"]
        self.epoch, self.step = state_dict["epoch"], state_dict["step"]
        self._seen = state_dict["seen"]


class LastCheckpoint(Checkpoint):
    """Keeps ``last.ckpt``: after every epoch and validation, every ``save_every`` steps, and on interruption."""

    def __init__(self, folder: Path, *, save_every: int | None = None, guard: InterruptGuard | None = None) -> None:
        self.path = Path(folder) / "last.ckpt"
        self.save_every, self.guard = save_every, guard

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.guard is not None:
            # Lightning's own answer to SIGTERM would not wait for a validation.
            self.guard.listen()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Module)
        if not pl_module.close_step():
            return
        self._stop_if_asked(trainer)
        if self.save_every and trainer.global_step % self.save_every == 0:
            save_atomically(trainer, self.path)

    def on_validation_batch_end(self, trainer: pl.Trainer, *arguments: Any, **more: Any) -> None:
        self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            save_atomically(trainer, self.path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        save_atomically(trainer, self.path)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, KeyboardInterrupt | SIGTERMException | Interrupted):
            return
        assert isinstance(pl_module, Module)
        # Saving is collective: a rank that was interrupted alone would wait for the others for ever.
        if pl_module.can_save and (trainer.world_size == 1 or isinstance(exception, Interrupted)):
            save_atomically(trainer, self.path)

    def _stop_if_asked(self, trainer: pl.Trainer) -> None:
        if self.guard is None:
            return
        if trainer.global_step == trainer.max_steps:
            # Lightning would not come back for the last validation.
            return
        asked = self.guard.requested
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked:
            raise Interrupted


class History(Callback):
    """Writes ``metrics.csv``: one row per validation, or per epoch where nothing was validated.

    Columns: epoch, step, lr, train/loss (mean over the steps since the row before), seconds and molecules
    per second of training (validations and checkpoints left out), weight/<dataset> (what the losses of its tasks
    are multiplied by on average, where that changes in training), and the numbers of the validation. The rows
    travel in the checkpoint, so that the file of a resumed run is whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, float]] = []
        self.clock = Clock()

    def on_train_batch_start(self, *arguments: Any) -> None:
        self.clock.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.clock.count(batch.num_graphs)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Module)
        self._add(trainer, pl_module, dict(pl_module.validation))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Module)
        if not self.rows or self.rows[-1]["step"] != trainer.global_step:
            self._add(trainer, pl_module, {})

    def _add(self, trainer: pl.Trainer, module: Module, numbers: dict[str, float]) -> None:
        row: dict[str, float] = {
            "epoch": epochs_done(trainer),
            "step": trainer.global_step,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        loss = module.train_loss.take(trainer.strategy.reduce if trainer.world_size > 1 else None)
        if loss is not None:
            row["train/loss"] = loss
        row["seconds"] = round(self.clock.seconds, 3)
        row["molecules_per_second"] = round(self.clock.speed * trainer.world_size, 1)
        self.clock.reset()
        weights = module.weighting.dataset_weights()
        if weights is not None:
            named = zip(module.weighting.datasets, weights.tolist(), strict=True)
            row.update({f"weight/{dataset}": weight for dataset, weight in named})
        if self.rows and (self.rows[-1]["epoch"], self.rows[-1]["step"]) == (row["epoch"], row["step"]):
            # A validation that a resumed run repeats: the row of the first one has the training before it.
            return
        self.rows.append({**row, **numbers})
        if trainer.is_global_zero:
            write_rows(self.path, self.rows)
            for logger in trainer.loggers:
                # The module logs the numbers of the validation itself.
                logger.log_metrics(row, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = [dict(row) for row in state_dict["rows"]]


class Clock:
    """Molecules trained on, and the seconds from the start of their first batch to the end of their last."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.molecules, self.seconds = 0, 0.0
        self._began: float | None = None

    def start(self) -> None:
        if self._began is None:
            self._began = time.perf_counter()

    def count(self, molecules: int) -> None:
        self.molecules += molecules
        self.seconds = time.perf_counter() - (self._began or 0.0)

    @property
    def speed(self) -> float:
        return self.molecules / max(self.seconds, 1e-9)


def epochs_done(trainer: pl.Trainer) -> float:
    """Epochs trained so far: a whole number as int, a fraction inside an epoch."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    whole, rest = divmod(progress.processed, trainer.num_training_batches)
    return int(whole) if rest == 0 else round(whole + rest / trainer.num_training_batches, 4)


def write_rows(path: Path, rows: list[dict[str, float]]) -> None:
    """Write rows as CSV, with the columns of all of them in order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def save_atomically(trainer: pl.Trainer, path: Path) -> None:
    """Save a checkpoint beside ``path`` and move it there, so that a kill leaves the old or the new one whole."""
    unfinished = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(unfinished, weights_only=False)
        if trainer.is_global_zero:
            os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise GraphiumError(f"cannot write {str(path)!r} ({error}); make room or choose another run_dir") from error
