"""The Lightning module: a network, the losses of its heads, and what a checkpoint must hold beyond weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch
from graphium.data.labels.transforms import LabelTransform
from graphium.errors import GraphiumError
from graphium.registry import PartConfig, build
from graphium.training.checkpoint import RESUME_KEY, ResumeState, resumable_loops, snapshot_random_states
from graphium.training.evaluation import Evaluator
from graphium.training.losses.heads import Losses
from graphium.training.nonfinite import LossWatch, NonFiniteLoss
from graphium.training.optim import learning_rate, scaled_groups
from graphium.training.weighting import Weighting, sum_over_ranks
from graphium.types import HeadSpec


class Module(pl.LightningModule):
    """Trains a network on the labels of its heads.

    Args:
        network: Called with a :class:`GraphBatch`, returns head name -> ``[entities, tasks(, classes)]``.
        heads: Heads of the network; their tasks carry the fitted label transforms.
        optimizer: Name or configuration of an optimiser part, e.g. ``{"name": "adamw", "lr": 2e-3}``.
        schedule: Name or configuration of a schedule part, or None for a fixed learning rate.
        weighting: Name or configuration of a weighting part: what counts equally in the loss.
        statistics: Head name -> :func:`graphium.training.evaluation.label_statistics` of the training labels, for
            losses that ask for them.
        scales: Name of a parameter of the network -> factor on its learning rate; None for equal rates.

    The gradients of one optimiser step are those of the whole step as one batch, however it is spread
    over micro-batches and ranks: denominators are the ``total`` of the labels, summed over ranks.
    A loss or gradient that is not finite raises :class:`~graphium.training.nonfinite.NonFiniteLoss`, not at once but
    before a checkpoint is written or a validation begins, and within ``log_every`` steps.
    After each validation :attr:`validation` holds ``val/loss`` and ``val/<dataset>/<metric>``.
    """

    def __init__(
        self,
        network: nn.Module,
        heads: Sequence[HeadSpec],
        *,
        optimizer: PartConfig = "adamw",
        schedule: PartConfig | None = "cosine",
        weighting: PartConfig = "datasets",
        statistics: Mapping[str, Tensor] | None = None,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.heads = tuple(heads)
        self.optimizer_config, self.schedule_config, self.scales = optimizer, schedule, scales
        self.losses = Losses(self.heads, statistics)
        self.weighting: Weighting = build("weighting", weighting, where="trainer.weighting", heads=self.heads)
        self.watch = LossWatch(self.heads)
        self.validation: dict[str, float] = {}
        self.log_every = 50
        self.running_loss: float | None = None
        self.train_loss = RunningMean()
        self._gradient_norm = torch.tensor(0.0)
        self._evaluator: Evaluator | None = None
        self._sums: dict[str, list[Tensor]] = {}
        self._resume = ResumeState()

    def forward(self, batch: GraphBatch) -> dict[str, Tensor]:
        return self.network(batch)

    def configure_optimizers(self) -> Any:
        parameters: Any = [*self.network.parameters(), *self.weighting.parameters()]
        if self.scales is not None:
            named = {**dict(self.network.named_parameters()), **dict(self.weighting.named_parameters("weighting"))}
            parameters = scaled_groups(named, self.scales, learning_rate(self.optimizer_config))
        optimizer = build("optimizer", self.optimizer_config, where="optim", parameters=parameters)
        if self.schedule_config is None:
            return optimizer
        num_steps = int(self.trainer.estimated_stepping_batches)
        schedule = build(
            "schedule", self.schedule_config, where="optim.schedule", optimizer=optimizer, num_steps=num_steps
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def step_loss(self, batch: GraphBatch) -> Tensor:
        """The share of this micro-batch on this rank in the loss of the whole optimiser step."""
        numerators, denominators = self.losses(self.network(batch), batch.labels)
        mine = {name: numerator.detach() for name, numerator in numerators.items()}
        of_all, totals = sum_over_ranks(mine, {name: batch.labels[name].total for name in numerators})
        self.weighting.note(of_all, totals)
        self.watch.note(self.weighting.flat(of_all), batch)
        loss: Tensor = self.weighting(numerators, denominators, totals)
        return loss

    def training_step(self, batch: GraphBatch, batch_idx: int) -> Tensor:
        loss = self.step_loss(batch)
        self.train_loss.add(loss.detach())
        # The weighting has divided by the whole step, and Lightning and DDP divide by micro-batches and ranks again.
        repeats = self.trainer.accumulate_grad_batches * self.trainer.world_size
        return loss if repeats == 1 else loss * repeats

    def on_train_batch_start(self, batch: GraphBatch, batch_idx: int) -> None:
        if self._resume.open_epoch(self.trainer.current_epoch):
            self.weighting.close_epoch()
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self._resume.open_step(self.trainer.fit_loop.total_batch_idx)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self._resume.in_optimizer = True

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        # Lightning refuses fused optimisers under mixed precision, because they unscale the gradients of float16
        # themselves; those of bfloat16 have no scale.
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if gradient_clip_val is not None:
            self._gradient_norm = nn.utils.clip_grad_norm_(parameters, gradient_clip_val)
        else:
            self._gradient_norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    def on_train_batch_end(self, outputs: Any, batch: GraphBatch, batch_idx: int) -> None:
        self.close_step()

    def close_step(self) -> bool:
        """Take note that an optimiser step is complete; true for the first to ask after each step.

        Callbacks are asked before the module, and may save a checkpoint then.
        """
        if not self._resume.in_optimizer:
            return False
        self._resume.in_optimizer = False
        self.train_loss.close_step()
        self.weighting.close_step()
        self.watch.close_step(self.trainer.global_step, self._gradient_norm)
        if self.trainer.global_step % self.log_every == 0 or self.watch.is_full:
            self._look()
        return True

    @property
    def validated_at(self) -> int:
        """Number of the batch, over all epochs, after which the last validation ended; -1 before the first."""
        return self._resume.validated_at

    @property
    def can_save(self) -> bool:
        """False while the optimiser is changing the weights: nothing consistent can be saved then."""
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return not (self._resume.in_optimizer and progress.processed < progress.ready)

    def _look(self) -> None:
        """Read the losses of the last steps from the device; not in every step, because reading waits for it."""
        self.watch.look()
        if isinstance(self.train_loss.last, Tensor):
            # Lightning adds the shares of all ranks up in place.
            self.running_loss = float(self.trainer.strategy.reduce(self.train_loss.last.clone(), reduce_op="sum"))

    def on_validation_epoch_start(self) -> None:
        self._evaluator = Evaluator(self.heads, {head.name: LabelTransform(head.tasks) for head in self.heads})
        self._sums = {}

    def validation_step(self, batch: GraphBatch, batch_idx: int) -> None:
        predictions = self.network(batch)
        assert self._evaluator is not None
        self._evaluator.update(predictions, batch.labels)
        numerators, denominators = self.losses(predictions, batch.labels)
        for name, numerator in numerators.items():
            sums = self._sums.setdefault(name, [torch.zeros_like(numerator), torch.zeros_like(numerator)])
            sums[0] += numerator
            sums[1] += denominators[name]

    def on_validation_epoch_end(self) -> None:
        assert self._evaluator is not None
        numbers = flatten_metrics("val", self._evaluator.compute())
        if self._sums:
            numerators, totals = sum_over_ranks(
                *({name: sums[side] for name, sums in self._sums.items()} for side in (0, 1))
            )
            numbers = {"val/loss": float(self.weighting.validation_loss(numerators, totals)), **numbers}
        self.validation = numbers
        self._evaluator = None
        self._resume.validated_at = self.trainer.fit_loop.total_batch_idx
        self.log_dict(numbers, batch_size=1)

    def on_train_start(self) -> None:
        # What a checkpoint brought lies on the CPU, where several GPUs could not add it up.
        self.train_loss.sum = torch.as_tensor(self.train_loss.sum, device=self.device)
        self._resume.restore_random_states(self.trainer.global_rank)

    def on_validation_start(self) -> None:
        self._resume.open_validation()
        self._look()

    def on_train_end(self) -> None:
        self._look()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.can_save:
            self.close_step()
        # A checkpoint never holds the weights of after a bad step, nor those that a good one has thrown far away.
        self.watch.look()
        if not nn.utils.get_total_norm([parameter.detach() for parameter in self.parameters()]).isfinite():
            raise NonFiniteLoss(self.trainer.global_step, (), None)
        loops, random_states = resumable_loops(self.trainer, self._resume)
        checkpoint["loops"]["fit_loop"] = loops
        checkpoint[RESUME_KEY] = {
            "random_states": snapshot_random_states(random_states, self.trainer.world_size),
            "train_loss": self.train_loss.state_dict(self.trainer.strategy.reduce),
            "weighting": self.weighting.state(),
            "epoch": self._resume.epoch,
            "validated_at": self._resume.validated_at,
            "validation": dict(self.validation),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get(RESUME_KEY)
        if saved is None:
            return
        self._check_weighting(checkpoint["state_dict"], saved["weighting"])
        self._resume.pending_random_states = saved["random_states"]
        self.weighting.load_state(saved["weighting"])
        self._resume.epoch = saved["epoch"]
        self._resume.validated_at = saved["validated_at"]
        self.train_loss.load_state_dict(saved["train_loss"])
        self.validation = dict(saved["validation"])

    def _check_weighting(self, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        """Refuse a checkpoint of another weighting, whose state means something else."""
        own = {**self.weighting.state_dict(prefix="weighting."), **self.weighting.state()}
        saved = {**{key: value for key, value in weights.items() if key.startswith("weighting.")}, **state}
        if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in saved.items()}:
            raise GraphiumError(
                "the checkpoint belongs to a run with another trainer.weighting; "
                "resume with the trainer.weighting of its config.yaml"
            )


class RunningMean:
    """Mean loss of the optimiser steps since the last :meth:`take`, kept on the device.

    Micro-batches of a step that is not complete stand apart, so that a checkpoint can leave them out.
    """

    def __init__(self) -> None:
        self.sum: Tensor | float = 0.0
        self.last: Tensor | float = 0.0
        self.steps = 0
        self.recent: float | None = None
        self._open: Tensor | float = 0.0

    def add(self, loss: Tensor) -> None:
        """Add the share of one micro-batch."""
        self._open = self._open + loss

    def close_step(self) -> None:
        self.last, self._open = self._open, 0.0
        self.sum = self.sum + self.last
        self.steps += 1

    def take(self, reduce: Callable[..., Any] | None = None) -> float | None:
        """The mean so far, None without a step; starts anew. ``reduce`` adds up the shares of all ranks."""
        total = reduce(self.sum, reduce_op="sum") if reduce and isinstance(self.sum, Tensor) else self.sum
        self.recent = float(total) / self.steps if self.steps else None
        self.sum, self.steps = 0.0, 0
        return self.recent

    def state_dict(self, reduce: Callable[..., Any] | None = None) -> dict[str, Any]:
        """``reduce`` takes the mean of the shares of all ranks, each of which will load it as its own."""
        if not isinstance(self.sum, Tensor):
            return {"sum": torch.tensor(self.sum), "steps": self.steps}
        total = self.sum.detach().clone()
        return {"sum": (reduce(total, reduce_op="mean") if reduce else total).cpu(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sum, self.steps, self._open = state["sum"], state["steps"], 0.0


def flatten_metrics(part: str, metrics: Mapping[str, Any]) -> dict[str, float]:
    """``{dataset: {metric: number}}`` as ``part/dataset/metric`` -> number; undefined and per-task ones left out."""
    return {
        f"{part}/{dataset}/{name}": float(value)
        for dataset, numbers in metrics.items()
        for name, value in numbers.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
