"""A run that is broken off anywhere and resumed equals the run that was not, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from graphium.data.sampling.loader import BatchLoader
from graphium.training.callbacks import Averaging, BestCheckpoint, History, Interrupted, InterruptGuard, LastCheckpoint
from graphium.training.datamodule import EpochLoader
from graphium.training.display import quiet_lightning
from graphium.training.module import Module
from graphium.training.options import TrainerOptions

ROWS, BATCH = 22, 4  # 6 batches an epoch, the last one smaller


class Losses(pl.Callback):
    """Notes the loss of every batch and the weights after it."""

    def __init__(self) -> None:
        self.values: dict[int, float] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *rest: Any) -> None:
        self.values[trainer.fit_loop.total_batch_idx] = float(outputs["loss"])


class Breaker(pl.Callback):
    """Raises, or asks the guard to stop, at one hook of one batch."""

    def __init__(self, hook: str, batch: int, action: Callable[[], None]) -> None:
        self.hook, self.batch, self.action = hook, batch, action

    def _maybe(self, hook: str, trainer: pl.Trainer) -> None:
        if hook == self.hook and trainer.fit_loop.total_batch_idx == self.batch:
            self.action()

    def on_train_batch_start(self, trainer: pl.Trainer, *rest: Any) -> None:
        self._maybe("batch_start", trainer)

    def on_before_backward(self, trainer: pl.Trainer, *rest: Any) -> None:
        self._maybe("before_backward", trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        self._maybe("batch_end", trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        self._maybe("validation", trainer)

    def on_validation_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        self._maybe("validation_end", trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        self._maybe("epoch_end", trainer)


class Killed(Exception):
    """Stands for a kill: nothing is saved on the way out."""


@pytest.fixture
def fit(make_batch: Callable, tiny_network: Callable, fake_heads: tuple, tmp_path: Path) -> Callable[..., dict]:
    def run(
        folder: str,
        *,
        resume: Path | None = None,
        breaker: Callable[[InterruptGuard], Breaker] | None = None,
        averaging: float | None = 0.9,
        **options: Any,
    ) -> dict[str, Any]:
        chosen = TrainerOptions(progress=False, max_epochs=3, averaging=averaging, save_every=None, **options)
        torch.manual_seed(5), np.random.seed(5), random.seed(5)
        network = tiny_network(1)
        optimizer = {"name": "adamw", "lr": 0.05}
        module = Module(network, fake_heads, optimizer=optimizer, schedule="cosine", weighting=chosen.weighting)
        guard = InterruptGuard()
        here = tmp_path / folder
        here.mkdir(exist_ok=True)
        losses, history = Losses(), History(here / "metrics.csv")
        best = BestCheckpoint(here, "val/loss", "min")
        last = LastCheckpoint(here, save_every=chosen.save_every, guard=guard)
        callbacks: list[pl.Callback] = [losses, history]
        if averaging is not None:
            callbacks.insert(0, Averaging(averaging))
        if breaker is not None:
            callbacks.append(breaker(guard))
        trainer = pl.Trainer(callbacks=[*callbacks, best, last], default_root_dir=here, **chosen.lightning_arguments())
        loader = BatchLoader(
            make_batch, _index(0, ROWS), batch_size=BATCH, shuffle=True, seed=3, accumulate=chosen.accumulate
        )
        held_out = BatchLoader(make_batch, _index(100, 9), batch_size=BATCH)
        broke = None
        try:
            with quiet_lightning(), guard:
                trainer.fit(module, EpochLoader(loader, trainer), held_out, ckpt_path=resume,
                            weights_only=True if resume else None)  # fmt: skip
        except (Killed, Interrupted, KeyboardInterrupt, SystemExit) as error:
            broke = error
        return {
            "broke": broke,
            "weights": {k: v.clone() for k, v in {**module.state_dict(), **module.weighting.state()}.items()},
            "losses": losses.values,
            "rows": [{k: v for k, v in row.items() if "second" not in k} for row in history.rows],
            "best": (best.value, best.epoch, best.step, best.misses),
            "steps": trainer.global_step,
            "last": last.path,
        }

    return run


def _index(first: int, count: int) -> torch.Tensor:
    rows = torch.arange(first, first + count)
    return torch.stack([torch.zeros_like(rows), rows], dim=1)


def _same(whole: dict[str, Any], resumed: dict[str, Any]) -> None:
    assert resumed["broke"] is None
    assert resumed["steps"] == whole["steps"]
    assert resumed["losses"].items() <= whole["losses"].items()
    assert max(resumed["losses"], default=17) == max(whole["losses"])
    assert resumed["rows"] == whole["rows"]
    assert resumed["best"] == whole["best"]
    for name, value in whole["weights"].items():
        assert torch.equal(value, resumed["weights"][name]), name


def _interrupt() -> None:
    raise KeyboardInterrupt


def _kill() -> None:
    raise Killed


# (hook, batch counted over epochs): middle of an epoch, first and last batch of one, around validations.
PLACES = [
    ("batch_start", 0), ("batch_start", 8), ("before_backward", 8), ("batch_end", 8), ("batch_end", 2),
    ("batch_start", 11), ("before_backward", 11), ("batch_end", 11), ("validation", 11), ("validation_end", 11),
    ("batch_end", 17), ("epoch_end", 11),
]  # fmt: skip


@pytest.mark.parametrize("hook,batch", PLACES)
@pytest.mark.parametrize("val_every", [1.0, 0.5])
def test_keyboard_interrupt_anywhere(fit: Callable, hook: str, batch: int, val_every: float) -> None:
    whole = fit("whole", val_every=val_every)
    broken = fit("broken", breaker=lambda guard: Breaker(hook, batch, _interrupt), val_every=val_every)
    assert broken["broke"] is not None
    _same(whole, fit("resumed", resume=broken["last"], val_every=val_every))


@pytest.mark.parametrize("hook,batch", [p for p in PLACES if p[0] not in ("validation_end", "epoch_end")])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_request_to_stop(fit: Callable, hook: str, batch: int, accumulate: int) -> None:
    """As Ctrl-C does it: the run stops after the step under way, also in the middle of a validation."""
    options = {"val_every": 0.5, "accumulate": accumulate}
    whole = fit("whole", **options)

    def breaker(guard: InterruptGuard) -> Breaker:
        return Breaker(hook, batch, lambda: setattr(guard, "requested", True))

    broken = fit("broken", breaker=breaker, **options)
    assert isinstance(broken["broke"], Interrupted)
    _same(whole, fit("resumed", resume=broken["last"], **options))


@pytest.mark.parametrize("hook,batch", [("before_backward", 8), ("before_backward", 10)])
def test_interrupt_inside_an_accumulation_window(fit: Callable, hook: str, batch: int) -> None:
    whole = fit("whole", accumulate=4)
    broken = fit("broken", breaker=lambda guard: Breaker(hook, batch, _interrupt), accumulate=4)
    _same(whole, fit("resumed", resume=broken["last"], accumulate=4))


@pytest.mark.parametrize("batch", [6, 8, 11, 17])
@pytest.mark.parametrize("val_every", [1.0, 0.5, 2.0])
def test_kill_continues_from_the_last_file(fit: Callable, batch: int, val_every: float) -> None:
    whole = fit("whole", val_every=val_every)
    killed = fit("killed", breaker=lambda guard: Breaker("before_backward", batch, _kill), val_every=val_every)
    assert isinstance(killed["broke"], Killed)
    _same(whole, fit("resumed", resume=killed["last"], val_every=val_every))


def test_a_validation_between_micro_batches_counts_once(fit: Callable) -> None:
    """Its checkpoint stands before the open step, so that a resumed run comes by the validation again."""
    options = {"accumulate": 4, "val_every": 0.5}
    whole = fit("whole", **options)
    broken = fit("broken", breaker=lambda guard: Breaker("batch_end", 5, _kill), **options)
    assert isinstance(broken["broke"], Killed)
    _same(whole, fit("resumed", resume=broken["last"], **options))


@pytest.mark.parametrize(
    "hook,batch", [("batch_start", 6), ("before_backward", 9), ("validation", 11), ("epoch_end", 11)]
)
@pytest.mark.parametrize("weighting,averaging", [("uncertainty", 0.9), ("dwa", None), ("dwa", 0.9)])
def test_a_weighting_that_changes_continues(
    fit: Callable, weighting: Any, hook: str, batch: int, averaging: float | None
) -> None:
    options = {"weighting": weighting, "averaging": averaging, "accumulate": 4, "val_every": 0.5}
    whole = fit("whole", **options)
    broken = fit("broken", breaker=lambda guard: Breaker(hook, batch, _interrupt), **options)
    assert broken["broke"] is not None
    _same(whole, fit("resumed", resume=broken["last"], **options))
    # Those of the third epoch are the first that dynamic weighting chooses.
    weights = [row["weight/alpha"] for row in whole["rows"]]
    assert len(set(weights)) > 1 and {"weight/alpha", "weight/beta"} == {k for k in whole["rows"][0] if "weight" in k}


def test_twice_broken(fit: Callable) -> None:
    whole = fit("whole", val_every=0.5)
    once = fit("once", breaker=lambda guard: Breaker("before_backward", 5, _interrupt), val_every=0.5)
    twice = fit(
        "twice", resume=once["last"], breaker=lambda guard: Breaker("validation", 11, _interrupt), val_every=0.5
    )
    _same(whole, fit("resumed", resume=twice["last"], val_every=0.5))


def test_a_limit_in_steps_resumes_too(fit: Callable) -> None:
    options = {"max_steps": 16, "val_every": 0.5}
    whole = fit("whole", **options)
    for batch in (5, 8, 11):
        broken = fit("broken", breaker=lambda guard, b=batch: Breaker("batch_end", b, _interrupt), **options)
        _same(whole, fit("resumed", resume=broken["last"], **options))


@pytest.mark.parametrize("max_steps", [9, 16])
def test_a_request_to_stop_in_the_very_last_step(fit: Callable, max_steps: int) -> None:
    """Only the last validation is left then: the run ends as if nothing had been."""
    options = {"max_steps": max_steps, "val_every": 2.0}
    whole = fit("whole", **options)
    assert whole["rows"][-1]["val/loss"] > 0

    def breaker(guard: InterruptGuard) -> Breaker:
        return Breaker("before_backward", max_steps - 1, lambda: setattr(guard, "requested", True))

    _same(whole, fit("asked", breaker=breaker, **options))


def test_a_finished_run_stays_as_it_is(fit: Callable) -> None:
    whole = fit("whole")
    again = fit("again", resume=whole["last"])
    assert again["losses"] == {} and again["steps"] == whole["steps"] and again["rows"] == whole["rows"]


def test_the_file_holds_plain_values(fit: Callable) -> None:
    last = fit("whole")["last"]
    checkpoint = torch.load(last, weights_only=True)
    assert {"torch", "numpy", "python"} <= checkpoint["graphium"]["random_states"][0].keys()
    assert not any("=" in path.name for path in last.parent.iterdir())
    assert sorted(path.name for path in last.parent.iterdir()) == ["best.ckpt", "last.ckpt", "metrics.csv"]
