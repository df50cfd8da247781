from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from graphium.errors import GraphiumError
from graphium.training.callbacks import Averaging, BestCheckpoint, InterruptGuard, save_atomically, write_rows
from graphium.training.module import Module


def test_the_first_signal_asks_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), InterruptGuard() as guard:
        os.kill(os.getpid(), signal.SIGINT)
        assert guard.requested
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_guard_does_nothing_outside_the_main_thread() -> None:
    seen: list[bool] = []

    def work() -> None:
        with InterruptGuard() as guard:
            seen.append(guard.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


class _Trainer(SimpleNamespace):
    is_global_zero = True
    global_step = 4

    def save_checkpoint(self, path: Path, weights_only: bool) -> None:
        Path(path).write_text("new")


def _best(tmp_path: Path, monkeypatch: Any, mode: Any, patience: int | None = None) -> tuple[BestCheckpoint, Callable]:
    monkeypatch.setattr("graphium.training.callbacks.epochs_done", lambda trainer: 1.0)
    best = BestCheckpoint(tmp_path, "val/x", mode, patience)
    trainer = _Trainer(should_stop=False)
    module = object.__new__(Module)
    module.__dict__["_resume"] = SimpleNamespace(validated_at=0)

    def validate(value: float) -> bool:
        module.__dict__["validation"] = {"val/x": value, "val/loss": 0.0}
        module.__dict__["_resume"].validated_at += 1
        best.on_validation_end(trainer, module)  # type: ignore[arg-type]
        return bool(trainer.should_stop)

    return best, validate


@pytest.mark.parametrize("mode,values,expected", [("min", [3, 2, 2.5, float("nan")], 2), ("max", [3, 2, 4, 1], 4)])
def test_the_best_value_is_kept(tmp_path: Path, monkeypatch: Any, mode: str, values: list, expected: float) -> None:
    best, validate = _best(tmp_path, monkeypatch, mode)
    assert not any(validate(value) for value in values)
    assert best.value == expected and best.path.read_text() == "new"
    restored = BestCheckpoint(tmp_path, "val/x", mode)  # type: ignore[arg-type]
    restored.load_state_dict(best.state_dict())
    assert restored.state_dict() == best.state_dict()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_an_infinite_number_is_never_the_best(tmp_path: Path, monkeypatch: Any, mode: str) -> None:
    best, validate = _best(tmp_path, monkeypatch, mode)
    for value in (math.inf, -math.inf, math.nan):
        validate(value)
    assert best.value is None and best.misses == 3 and not best.path.exists()
    validate(2.0)
    assert best.value == 2.0


def test_patience(tmp_path: Path, monkeypatch: Any) -> None:
    _, validate = _best(tmp_path, monkeypatch, "min", patience=2)
    assert [validate(value) for value in (3, 4, 2, 3, float("nan"))] == [False, False, False, False, True]


def test_a_number_that_is_undefined_this_time_is_no_better_one(tmp_path: Path, monkeypatch: Any) -> None:
    best, validate = _best(tmp_path, monkeypatch, "min", patience=2)
    best.monitor = "val/auroc"
    assert [validate(1.0), validate(1.0)] == [False, True]
    assert best.value is None and not best.path.exists()


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_text("old")

    class Broken(_Trainer):
        def save_checkpoint(self, path: Path, weights_only: bool) -> None:
            Path(path).write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(GraphiumError, match="cannot write .*last.ckpt.* No space left"):
        save_atomically(Broken(), path)  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"] and path.read_text() == "old"


def test_averaging_averages_weights_and_copies_integers(tiny_network: Callable, fake_heads: tuple) -> None:
    module = Module(tiny_network(0), fake_heads)
    averaging = Averaging(0.9)
    averaging.setup(SimpleNamespace(), module, "fit")  # type: ignore[arg-type]
    averaged = averaging._average_model
    assert averaged is not None
    expected = None
    for _ in range(5):
        with torch.no_grad():
            module.network.mix.weight.add_(torch.randn(8, 8))
        module.network.codes.add_(1)
        averaging.update(module)
        weight = module.network.mix.weight.detach()
        expected = weight.clone() if expected is None else 0.9 * expected + 0.1 * weight
    assert torch.allclose(averaged.module.network.mix.weight, expected, atol=1e-6)
    assert torch.equal(averaged.module.network.codes, module.network.codes)


def test_columns_of_all_rows_are_written(tmp_path: Path) -> None:
    write_rows(tmp_path / "metrics.csv", [{"step": 1}, {"step": 2, "val/loss": 0.5}])
    assert (tmp_path / "metrics.csv").read_text() == "step,val/loss\n1,\n2,0.5\n"
