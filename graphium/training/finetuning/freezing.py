"""What is trained in which epoch, and at which learning rate."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import nn

from graphium.errors import GraphiumError
from graphium.training.finetuning.options import FinetuneOptions, stage_depth


@dataclass(frozen=True)
class Schedule:
    """How much of a network is frozen in which epoch: a function of the epoch alone, so that a run can be resumed.

    ``steps``: (epochs done, number of depths from the input that are frozen from then on), ascending.

    >>> schedule = Schedule(((0, 3), (2, 1)))
    >>> [schedule.frozen(epoch) for epoch in range(4)]
    [3, 3, 1, 1]
    """

    steps: tuple[tuple[int, int], ...] = ((0, 0),)

    def frozen(self, epoch: int) -> int:
        return next(count for since, count in reversed(self.steps) if since <= epoch)

    @property
    def always(self) -> int:
        """Depths that are never trained."""
        return self.steps[-1][1]


def make_schedule(options: FinetuneOptions, num_blocks: int) -> Schedule:
    """Read ``freeze``, ``unfreeze`` and ``gradual``.

    Raises:
        GraphiumError: a block that the network does not have, or a stage that would be frozen again.
    """
    if options.lora is not None:
        return Schedule(((0, num_blocks + 2),))
    if options.freeze is None and options.gradual is None:
        return Schedule()
    start = stage_depth(options.freeze or "readout", num_blocks, where="finetune.freeze") + 1
    if options.gradual is not None:
        return Schedule(tuple((options.gradual * done, start - done) for done in range(start + 1)))
    steps = [(0, start)]
    for epoch, stage in sorted((options.unfreeze or {}).items()):
        count = stage_depth(stage, num_blocks, where=f"finetune.unfreeze[{epoch}]")
        if count >= steps[-1][1]:
            raise GraphiumError(
                f"finetune.unfreeze[{epoch}] is {stage!r}, which is trained before; name stages from the top down"
            )
        steps.append((epoch, count))
    return Schedule(tuple(steps))


class Freezing(Callback):
    """Freezes what the schedule says, at the first batch of every epoch.

    What is frozen needs no gradients, and none are computed below the lowest trained parameter. Modules that are
    frozen as a whole are in evaluation mode: no dropout, no changing statistics of batch norms, and so the vectors
    that the saved model computes.

    Args:
        network: The network.
        depths: How deep each parameter lies that was taken from a model; others are always trained.
        schedule: How many depths are frozen when.
    """

    def __init__(self, network: nn.Module, depths: Mapping[str, int], schedule: Schedule) -> None:
        self.network, self.depths, self.schedule = network, dict(depths), schedule
        self._applied: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._applied = None

    def on_train_batch_start(self, trainer: pl.Trainer, *arguments: Any) -> None:
        # Not at the start of an epoch, which a resumed run does not come by.
        frozen = self.schedule.frozen(trainer.current_epoch)
        if frozen != self._applied:
            freeze(self.network, [name for name, depth in self.depths.items() if depth < frozen])
            self._applied = frozen


def freeze(network: nn.Module, names: Collection[str]) -> None:
    """Freeze these parameters, train all others; modules without a trained parameter go into evaluation mode."""
    frozen = set(names)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    network.train()
    _rest(network)
    children = dict(network.named_children())
    # It acts on what the encoders return.
    if "input_dropout" in children and not children["node_input"].training:
        children["input_dropout"].eval()


def _rest(module: nn.Module) -> None:
    for child in module.children():
        parameters = list(child.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            child.eval()
        else:
            _rest(child)


def learning_rates(options: FinetuneOptions, depths: Mapping[str, int]) -> dict[str, float]:
    """Factor on the learning rate of every parameter: ``lr_decay`` for each stage below the top, ``head_lr`` there."""
    top = max(depths.values())
    return {
        name: options.lr_decay ** (top - depth) * (options.head_lr if depth == top else 1.0)
        for name, depth in depths.items()
    }
