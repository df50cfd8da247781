from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.data.sampling.loader import BatchLoader
from graphium.errors import GraphiumError
from graphium.registry import build
from graphium.training.datamodule import EpochLoader
from graphium.training.display import quiet_lightning
from graphium.training.losses.heads import Losses
from graphium.training.module import Module, RunningMean, flatten_metrics
from graphium.training.options import TrainerOptions

ROWS = 64


def _index(count: int, first: int = 0) -> Tensor:
    rows = torch.arange(first, first + count)
    return torch.stack([torch.zeros_like(rows), rows], dim=1)


@pytest.fixture
def one_step(make_batch: Callable, tiny_network: Callable, fake_heads: tuple, tmp_path: Path) -> Callable[..., dict]:
    """Weights after one plain gradient step over the same 64 rows, however they are spread."""

    def run(
        *, batch_size: int, accumulate: int = 1, devices: int = 1, weighting: Any = "datasets"
    ) -> dict[str, Tensor]:
        options = TrainerOptions(
            max_epochs=1, progress=False, gradient_clip=None, accumulate=accumulate, devices=devices,
            strategy="ddp_fork" if devices > 1 else "auto",
        )  # fmt: skip
        module = Module(
            tiny_network(2, noise=False),
            fake_heads,
            optimizer={"name": "sgd", "lr": 1.0, "momentum": 0.0},
            schedule=None,
            weighting=weighting,
        )
        arguments = {**options.lightning_arguments(), "enable_checkpointing": False}
        with quiet_lightning():
            trainer = pl.Trainer(default_root_dir=tmp_path, **arguments)
            trainer.fit(module, _Data(make_batch, batch_size))
        # Processes that Lightning forks hand their weights back, not their counters.
        assert devices > 1 or trainer.global_step == 1
        learned = {**dict(module.network.named_parameters()), **dict(module.weighting.named_parameters())}
        return {name: value.detach().clone() for name, value in learned.items()}

    return run


class _Data(pl.LightningDataModule):
    def __init__(self, gather: Callable[[Tensor], GraphBatch], batch_size: int) -> None:
        super().__init__()
        self.gather, self.batch_size = gather, batch_size

    def train_dataloader(self) -> EpochLoader:
        t = self.trainer
        assert t is not None
        loader = BatchLoader(
            self.gather, _index(ROWS), batch_size=self.batch_size, shuffle=True, accumulate=t.accumulate_grad_batches,
            rank=t.global_rank, world_size=t.world_size,
        )  # fmt: skip
        return EpochLoader(loader, t)

    def val_dataloader(self) -> list[Any]:
        return []


def _change(before: dict[str, Tensor], after: dict[str, Tensor]) -> Tensor:
    """Of all weights; those of the weighting begin at 0."""
    return torch.cat([(before.get(name, torch.zeros_like(value)) - value).flatten() for name, value in after.items()])


WEIGHTINGS = [
    "labels",
    "tasks",
    "datasets",
    {"name": "fixed", "datasets": {"beta": 2}, "tasks": {"alpha/b*": 0.5}},
    {"name": "uncertainty", "of": "datasets"},
    "dwa",
]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_accumulated_gradients_are_those_of_one_batch(
    one_step: Callable, tiny_network: Callable, weighting: Any
) -> None:
    start = dict(tiny_network(2, noise=False).named_parameters())
    whole = _change(start, one_step(batch_size=64, weighting=weighting))
    assert whole.norm() > 0.01
    for parts in (2, 3):
        size = -(-ROWS // parts)
        spread = _change(start, one_step(batch_size=size, accumulate=parts, weighting=weighting))
        assert torch.allclose(spread, whole, atol=1e-6, rtol=1e-5)


def test_a_short_last_window_counts_as_it_is(one_step: Callable, tiny_network: Callable) -> None:
    """Lightning divides by `accumulate` even where fewer micro-batches are left."""
    start = dict(tiny_network(2, noise=False).named_parameters())
    whole = _change(start, one_step(batch_size=64))
    assert torch.allclose(_change(start, one_step(batch_size=32, accumulate=5)), whole, atol=1e-6, rtol=1e-5)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "weighting,accumulate", [("datasets", 1), ("datasets", 2), ("uncertainty", 1), ("uncertainty", 2)]
)
def test_two_ranks_have_the_gradients_of_one_batch(
    one_step: Callable, tiny_network: Callable, weighting: str, accumulate: int
) -> None:
    start = dict(tiny_network(2, noise=False).named_parameters())
    whole = _change(start, one_step(batch_size=64, weighting=weighting))
    spread = one_step(batch_size=32 // accumulate, accumulate=accumulate, devices=2, weighting=weighting)
    ranks = _change(start, spread)
    assert torch.allclose(ranks, whole, atol=1e-6, rtol=1e-5)


def test_the_step_is_the_loss_of_its_labels(
    make_batch: Callable, tiny_network: Callable, fake_heads: Sequence[Any], tmp_path: Path
) -> None:
    batch = make_batch(_index(16))
    network = tiny_network(3, noise=False)
    module = Module(network, fake_heads, weighting="tasks")
    module.trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False,
                                default_root_dir=tmp_path)  # fmt: skip
    numerators, denominators = Losses(fake_heads)(network(batch), batch.labels)
    assert torch.equal(
        module.training_step(batch, 0),
        build("weighting", "tasks", heads=fake_heads)(numerators, denominators, denominators),
    )


def test_validation_counts_every_label_once(
    make_batch: Callable, tiny_network: Callable, fake_heads: Sequence[Any], tmp_path: Path
) -> None:
    """One number over the whole part, not a mean over batches."""
    numbers = []
    for size in (5, 37):
        module = Module(tiny_network(4), fake_heads)
        trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False,
                             enable_model_summary=False, default_root_dir=tmp_path)  # fmt: skip
        with quiet_lightning():
            trainer.validate(module, BatchLoader(make_batch, _index(37), batch_size=size), verbose=False)
        numbers.append(module.validation)
        assert {"val/loss", "val/alpha/mae", "val/alpha/auroc", "val/beta/accuracy"} <= module.validation.keys()
        assert set(trainer.callback_metrics) == set(module.validation)
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-5)


def test_an_unknown_optimiser_is_named(make_batch: Callable, tiny_network: Callable, fake_heads: Sequence[Any]) -> None:
    module = Module(tiny_network(0), fake_heads, optimizer="adamv")
    with pytest.raises(GraphiumError, match="did you mean 'adam"):
        module.configure_optimizers()


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_learned_weights_are_trained_and_never_decayed(name: str, tiny_network: Callable, fake_heads: tuple) -> None:
    decay = {} if name == "adam" else {"weight_decay": 0.1}
    module = Module(
        tiny_network(0), fake_heads, optimizer={"name": name, **decay}, schedule=None, weighting="uncertainty"
    )
    learned = module.weighting.log_variance
    groups = [
        group for group in module.configure_optimizers().param_groups if any(p is learned for p in group["params"])
    ]
    assert [group["weight_decay"] for group in groups] == [0.0]


def test_a_checkpoint_of_another_weighting_is_refused(tiny_network: Callable, fake_heads: tuple) -> None:
    written = Module(tiny_network(0), fake_heads, weighting="uncertainty")
    saved = {"state_dict": written.state_dict(), "graphium": {"weighting": written.weighting.state()}}
    for other in ("tasks", "dwa", {"name": "uncertainty", "of": "datasets"}):
        with pytest.raises(GraphiumError, match="belongs to a run with another trainer.weighting"):
            Module(tiny_network(0), fake_heads, weighting=other).on_load_checkpoint(saved)


def test_running_mean_leaves_an_open_step_out() -> None:
    mean = RunningMean()
    for share in (1.0, 2.0):
        mean.add(torch.tensor(share))
    mean.close_step()
    mean.add(torch.tensor(100.0))
    restored = RunningMean()
    restored.load_state_dict(mean.state_dict())
    assert mean.take() == restored.take() == 3.0
    assert restored.take() is None


def test_flatten_metrics_keeps_defined_numbers() -> None:
    report = {"alpha": {"mae": 1.5, "r2": None, "n_defined": {"mae": 1}, "per_task": {"y": {"mae": 1.5}}}}
    assert flatten_metrics("val", report) == {"val/alpha/mae": 1.5}


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
@pytest.mark.parametrize("optimizer", ["adamw", {"name": "sgd", "lr": 1.0, "momentum": 0.0}])
def test_gradients_are_clipped_in_every_precision(
    precision: str, optimizer: Any, make_batch: Callable, tiny_network: Callable, fake_heads: tuple, tmp_path: Path
) -> None:
    options = TrainerOptions(max_epochs=1, progress=False, gradient_clip=1e-3, precision=precision)
    module = Module(tiny_network(2, noise=False), fake_heads, optimizer=optimizer, schedule=None)
    before = {name: value.detach().clone() for name, value in module.network.named_parameters()}
    with quiet_lightning():
        trainer = pl.Trainer(
            default_root_dir=tmp_path, **{**options.lightning_arguments(), "enable_checkpointing": False}
        )
        trainer.fit(module, _Data(make_batch, ROWS))
    moved = torch.stack(
        [(value.detach() - before[name]).square().sum() for name, value in module.network.named_parameters()]
    )
    assert trainer.global_step == 1 and moved.sum() > 0
    if optimizer != "adamw":
        assert float(moved.sum().sqrt().detach()) == pytest.approx(1e-3, rel=1e-3)
