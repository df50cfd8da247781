"""What the ``trainer`` section may say, and the Lightning arguments that follow from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from graphium.errors import GraphiumError
from graphium.registry import Part, PartConfig, check_arguments
from graphium.training.metrics.base import higher_is_better

Precision = Literal["32", "bf16-mixed"]


@dataclass(frozen=True)
class TrainerOptions:
    """How long, where and how to train.

    Args:
        max_epochs: Passes over the training part; -1 for no limit (then ``max_steps`` is needed).
        max_steps: Optimiser steps after which to stop, if ``max_epochs`` are not over before.
        accelerator: ``cpu``, ``gpu``, ``auto`` or another accelerator that Lightning knows.
        devices: Number of devices; with more than one, gradients equal those of one large batch.
        precision: ``32`` or ``bf16-mixed``.
        gradient_clip: Largest norm of the gradient of all parameters together.
        accumulate: Micro-batches per optimiser step.
        monitor: Validation number that chooses the best weights: ``val/loss`` or
            ``val/<dataset>/<metric>``, e.g. ``val/tox21/auroc``.
        mode: Whether ``monitor`` should fall (``min``) or rise (``max``); by default as its name says.
        patience: Stop after this many validations without a better ``monitor``.
        val_every: Epochs between validations; a fraction validates inside the epoch. The last step is always
            validated.
        averaging: Decay of an exponential moving average of the weights, e.g. 0.999; the averaged
            weights are validated, tested and saved.
        weighting: How the losses of tasks make one loss: every label, every task or every dataset counts equally
            (``labels``, ``tasks``, ``datasets``), as given (``fixed``), as learned (``uncertainty``) or more where
            learning is slow (``dwa``); see :mod:`graphium.training.weighting`.
        deterministic: Refuse operations that are not reproducible (on CPU all of ours are).
        log_every: Steps between looks at the running loss; a loss that is not finite is found then, or before
            the next checkpoint.
        save_every: Steps between writes of ``last.ckpt`` inside an epoch; it is written after every
            epoch and on interruption anyway.
        progress: Show the plan, a progress bar and the result table.
        compile: Compile the network with ``torch.compile``.
        threads: CPU threads; a CPU run repeats bit for bit at an equal number.
        strategy: Lightning strategy for several devices.
        num_nodes: Machines.
        calibrate: Keep beside the model what intervals and the applicability domain of its predictions need: a pass
            over the validation part and over at most 10,000 training molecules.
        logger: Where the rows of ``metrics.csv`` go besides: ``none``, ``wandb`` (``WANDB_MODE=offline``
            needs no network) or ``tensorboard``.
    """

    max_epochs: int = 20
    max_steps: int | None = None
    accelerator: str = "cpu"
    devices: int = 1
    precision: Precision = "32"
    gradient_clip: float | None = 1.0
    accumulate: int = 1
    monitor: str = "val/loss"
    mode: Literal["min", "max"] | None = None
    patience: int | None = None
    val_every: float = 1.0
    averaging: float | None = None
    weighting: Annotated[PartConfig, Part("weighting")] = "datasets"
    deterministic: bool = False
    log_every: int = 50
    save_every: int | None = None
    progress: bool = True
    compile: bool = False
    threads: int | None = None
    strategy: str = "auto"
    num_nodes: int = 1
    calibrate: bool = True
    logger: Literal["none", "wandb", "tensorboard"] = "none"

    def __post_init__(self) -> None:
        for name in ("devices", "accumulate", "log_every", "num_nodes"):
            _at_least_one(name, getattr(self, name))
        for name in ("max_steps", "patience", "save_every", "threads"):
            if getattr(self, name) is not None:
                _at_least_one(name, getattr(self, name))
        if self.max_epochs < -1 or (self.max_epochs == -1 and self.max_steps is None):
            raise GraphiumError(
                f"trainer.max_epochs is {self.max_epochs} without a trainer.max_steps; give one of them a limit"
            )
        if self.averaging is not None and not 0.0 < self.averaging < 1.0:
            raise GraphiumError(f"trainer.averaging is {self.averaging}; give a decay between 0 and 1, e.g. 0.999")
        if self.gradient_clip is not None and not 0 < self.gradient_clip < math.inf:
            raise GraphiumError(f"trainer.gradient_clip is {self.gradient_clip}; give a positive norm or null")
        if not 0 < self.val_every < math.inf or (self.val_every > 1 and self.val_every != int(self.val_every)):
            raise GraphiumError(
                f"trainer.val_every is {self.val_every}; give a whole number of epochs or a fraction of one, e.g. 0.5"
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, where: str = "trainer") -> TrainerOptions:
        """Judge a ``trainer`` section; an unknown key or a wrong value is a ``GraphiumError``."""
        # YAML reads `precision: 32` as a number, and Lightning's name of it is a word.
        plain = {key: str(value) if key == "precision" else value for key, value in config.items()}
        return cls(**check_arguments(cls, plain, where=where))

    @property
    def direction(self) -> Literal["min", "max"]:
        """``mode``, or what the name of ``monitor`` says."""
        if self.mode is not None:
            return self.mode
        name = self.monitor.rsplit("/", 1)[-1]
        return "max" if name != "loss" and higher_is_better(name) else "min"

    def lightning_arguments(self) -> dict[str, Any]:
        """Arguments of ``pytorch_lightning.Trainer`` for these options; nothing of it prints by itself."""
        inside = self.val_every < 1
        return {
            "max_epochs": self.max_epochs,
            "max_steps": -1 if self.max_steps is None else self.max_steps,
            "accelerator": self.accelerator,
            "devices": self.devices,
            "num_nodes": self.num_nodes,
            "strategy": self.strategy,
            "precision": "32-true" if self.precision == "32" else self.precision,
            "gradient_clip_val": self.gradient_clip,
            "accumulate_grad_batches": self.accumulate,
            "val_check_interval": self.val_every if inside else 1.0,
            "check_val_every_n_epoch": 1 if inside else int(self.val_every),
            "deterministic": True if self.deterministic else None,
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,
            "enable_model_summary": False,
            "enable_progress_bar": self.progress,
            "enable_checkpointing": True,
            "logger": False,
            "log_every_n_steps": self.log_every,
        }


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise GraphiumError(f"trainer.{name} is {value}; give a whole number of at least 1")
