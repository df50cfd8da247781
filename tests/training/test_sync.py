"""The training step waits for the device only when it looks at the loss, every ``log_every`` steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from graphium.data.batch import GraphBatch
from graphium.training.callbacks import Averaging, History, InterruptGuard, LastCheckpoint
from graphium.training.display import TrainingBar, quiet_lightning
from graphium.training.module import Module
from graphium.training.options import TrainerOptions

STEPS, EVERY = 8, 4
aten = torch.ops.aten
# Operators that must know a value, or whose output's shape depends on one: on a GPU the host waits for it.
WAITING = {
    aten._local_scalar_dense, aten.is_nonzero, aten.equal, aten.nonzero, aten.masked_select, aten.unique_dim,
    aten._unique2, aten.unique_consecutive, aten.bincount,
}  # fmt: skip
# What reads a tensor of the CPU without any operator.
READING = {
    "tolist",
    "numpy",
    "item",
    "cpu",
    "__bool__",
    "__float__",
    "__int__",
    "__index__",
    "__array__",
    "__contains__",
}


class Waiting(TorchDispatchMode):
    """Notes the operators that wait, with the number of the step under way."""

    def __init__(self, step: Callable[[], int]) -> None:
        super().__init__()
        self.step = step
        self.found: list[tuple[int, str]] = []
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.count += 1
        if func.overloadpacket in WAITING or _picks_by_mask(func, args) or _moves(func, args, kwargs):
            self.found.append((self.step(), str(func)))
        return func(*args, **kwargs)


class Reading(TorchFunctionMode):
    """Notes the reads of values."""

    def __init__(self, step: Callable[[], int]) -> None:
        super().__init__()
        self.step = step
        self.found: list[tuple[int, str]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in READING:
            self.found.append((self.step(), func.__name__))
        return func(*args, **(kwargs or {}))


def _picks_by_mask(func: Any, args: Any) -> bool:
    if func.overloadpacket is aten.repeat_interleave:
        return True
    masks = func.overloadpacket in (aten.index, aten.index_put, aten.index_put_)
    return masks and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])


def _moves(func: Any, args: Any, kwargs: Any) -> bool:
    if func.overloadpacket is aten.copy_:
        return bool(args[0].device != args[1].device)
    device = kwargs.get("device")
    return func.overloadpacket is aten._to_copy and device is not None and device != args[0].device


class OneBatch:
    """A loader whose batches are there before the step begins."""

    def __init__(self, batch: GraphBatch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return STEPS

    def __iter__(self) -> Any:
        return iter([self.batch] * STEPS)


@pytest.mark.parametrize("averaging", [None, 0.9])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
@pytest.mark.parametrize("weighting", ["datasets", "uncertainty", "dwa"])
def test_nothing_waits_between_looks(
    make_batch: Callable, tiny_network: Callable, fake_heads: Sequence[Any], tmp_path: Path,
    weighting: str, precision: str, accumulate: int, averaging: float | None,
) -> None:  # fmt: skip
    rows = torch.stack([torch.zeros(16, dtype=torch.int64), torch.arange(16)], dim=1)
    options = TrainerOptions(
        max_epochs=1, accumulate=accumulate, log_every=EVERY // accumulate, precision=precision, weighting=weighting
    )
    module = Module(tiny_network(0, noise=False), fake_heads, weighting=weighting)
    module.log_every = options.log_every
    callbacks: list[pl.Callback] = [Averaging(averaging)] if averaging else []
    callbacks += [History(tmp_path / "metrics.csv"), LastCheckpoint(tmp_path, guard=InterruptGuard()), TrainingBar()]
    trainer = pl.Trainer(callbacks=callbacks, default_root_dir=tmp_path, **options.lightning_arguments())

    def batch_number() -> int:
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        return -1 if not progress.started or progress.completed == STEPS else progress.started

    batch = make_batch(rows)
    waiting, reading = Waiting(batch_number), Reading(batch_number)
    with quiet_lightning(), waiting, reading:
        trainer.fit(module, OneBatch(batch))
    assert trainer.global_step == STEPS // accumulate and waiting.count > 100 * STEPS
    looks = {number for number, _ in waiting.found + reading.found} - {-1}
    # The epoch's end, with its checkpoint and its row of metrics, belongs to no step.
    assert looks == {EVERY, STEPS}, waiting.found + reading.found


def test_the_recorder_sees_what_waits() -> None:
    waiting, reading = Waiting(lambda: 1), Reading(lambda: 1)
    x = torch.arange(4.0)
    cases: list[Callable[[], Any]] = [
        lambda: float(x[0]), lambda: x[x > 1], lambda: x.nonzero(), lambda: x.tolist(), lambda: bool(x[0] > 1),
        lambda: x.numpy(), lambda: x.repeat_interleave(torch.tensor([1, 2, 1, 1])), lambda: torch.equal(x, x),
        lambda: x.to("meta"), lambda: x.unique(),
    ]  # fmt: skip
    for case in cases:
        before = len(waiting.found) + len(reading.found)
        with waiting, reading:
            case()
        assert len(waiting.found) + len(reading.found) > before
