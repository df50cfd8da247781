"""What a checkpoint must hold so that a resumed run continues bit for bit.

Lightning restores no random state, and its loop counters resume cleanly from a few of the places where a
checkpoint can be written only. So every checkpoint describes the last complete optimiser step: loop
counters are rewritten to say "this many batches of this epoch are done", with or without the validation
that follows, and the random states are those of that moment. The loader needs no state of its own,
because the plan of an epoch is a pure function of (seed, epoch).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from graphium.errors import GraphiumError

RESUME_KEY = "graphium"


@dataclass
class ResumeState:
    """Where the running step stands, and the random states at its beginning.

    ``in_optimizer``: the optimiser has begun to change weights and the step is not closed yet.
    ``epoch``: number of the epoch whose first step has begun last, -1 before any.
    ``validated_at``: number of the batch (over all epochs) after which the last validation ended.
    ``step_states``: random states before the first batch of the step, whose number is ``step_began_at``.
    """

    in_optimizer: bool = False
    epoch: int = -1
    validated_at: int = -1
    step_began_at: int = -1
    step_states: dict[str, Any] = field(default_factory=dict)
    validation_states: dict[str, Any] = field(default_factory=dict)
    pending_random_states: list[dict[str, Any]] | None = None

    def open_epoch(self, epoch: int) -> bool:
        """Take note of the epoch under way; true where another one has been trained before it."""
        before, self.epoch = self.epoch, epoch
        return before not in (-1, epoch)

    def open_step(self, batch: int) -> None:
        self.step_began_at, self.step_states = batch, random_states()

    def open_validation(self) -> None:
        self.validation_states = random_states()

    def restore_random_states(self, rank: int) -> None:
        """Set the states that a checkpoint brought, once; as late as possible before the first batch."""
        if self.pending_random_states is not None and rank < len(self.pending_random_states):
            set_random_states(self.pending_random_states[rank])
        self.pending_random_states = None


def random_states() -> dict[str, Any]:
    """The states of the global generators of torch (with the present GPU), numpy and python."""
    states = {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_states(states: Mapping[str, Any]) -> None:
    """Set the global generators to what :func:`random_states` or a checkpoint gave."""
    torch.set_rng_state(states["torch"].cpu())
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.asarray(keys, dtype=np.uint32), *rest))
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())


def resumable_loops(trainer: pl.Trainer, resume: ResumeState) -> tuple[dict[str, Any], dict[str, Any]]:
    """Loop counters of the last complete optimiser step, and the random states of that moment.

    Works wherever a checkpoint may be written: after a batch, around or inside a validation, after an
    epoch, or inside a step whose optimiser has not begun yet.
    """
    fit, batches = trainer.fit_loop, trainer.fit_loop.epoch_loop
    state = fit.state_dict()
    epochs: Any = fit.epoch_progress.current
    progress: Any = batches.batch_progress
    if epochs.processed == epochs.ready:
        _count(state, "epoch_progress", epochs.processed, epochs.processed)
        _count(state, "epoch_loop.batch_progress", 0, progress.total.processed)
        return _settle(state, trainer, pending=False, due=False), random_states()

    done, inside = progress.current.processed, progress.current.processed < progress.current.ready
    extra = 0 if done == trainer.num_training_batches and not inside else done % trainer.accumulate_grad_batches
    due = not inside and not extra and batches._should_check_val_fx(fit._data_fetcher)  # type: ignore[arg-type]
    pending = due and resume.validated_at != fit.total_batch_idx
    if (inside or extra) and resume.step_began_at == progress.total.processed - extra:
        states = resume.step_states
    elif pending and trainer.validating:
        states = resume.validation_states
    else:
        states = random_states()

    _count(state, "epoch_progress", epochs.processed + 1, epochs.processed)
    _count(state, "epoch_loop.batch_progress", done - extra, progress.total.processed - extra)
    state["epoch_loop.batch_progress"]["is_last_batch"] = done - extra == trainer.num_training_batches
    return _settle(state, trainer, pending=pending, due=due), states


def _count(state: dict[str, Any], loop: str, current: int, total: int) -> None:
    """Fill the counters of a loop: an epoch under way is ``ready`` once more than it is ``completed``."""
    tracker = state[loop]
    if loop == "epoch_progress":
        counts = {"ready": current, "started": current, "processed": total, "completed": total}
        tracker["current"], tracker["total"] = dict(counts), dict(counts)
        return
    for key, value in (("current", current), ("total", total)):
        tracker[key] = dict.fromkeys(("ready", "started", "processed", "completed"), value)
    tracker["is_last_batch"] = False


def _settle(state: dict[str, Any], trainer: pl.Trainer, *, pending: bool, due: bool) -> dict[str, Any]:
    """Bring the counters of optimiser, schedule and validation to the same complete step."""
    optimizer = state["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    for tracker in (optimizer["step"], optimizer["zero_grad"], state["epoch_loop.scheduler_progress"]):
        for key in ("current", "total"):
            tracker[key] = dict.fromkeys(tracker[key], tracker[key]["completed"])
    begun = 1 if pending else 0
    counts = {"ready": begun, "started": begun, "processed": 0, "completed": 0}
    state["epoch_loop.val_loop.batch_progress"] = {
        "current": dict(counts),
        "total": dict(counts),
        "is_last_batch": False,
    }
    # Lightning counts the last step once more on its way through a validation that is due.
    state["epoch_loop.state_dict"]["_batches_that_stepped"] = trainer.global_step - (1 if due else 0)
    return state


def snapshot_random_states(states: dict[str, Any], world_size: int) -> list[dict[str, Any]]:
    """The random states of every rank as plain values that load with ``weights_only=True``."""
    name, keys, *rest = states["numpy"]
    version, internal, gauss = states["python"]
    plain = {**states, "numpy": [str(name), keys.tolist(), *rest], "python": [version, list(internal), gauss]}
    if world_size == 1:
        return [plain]
    gathered: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(gathered, plain)
    return gathered


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint file to the CPU, without running code from it.

    Raises:
        GraphiumError: the file is missing, damaged, or not one of ours.
    """
    if not Path(path).is_file():
        raise GraphiumError(f"ckpt_path {str(path)!r} is not a file; give a checkpoints/last.ckpt of a run folder")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds for a damaged file, and its advice is to run the code in it
        raise GraphiumError(
            f"{str(path)!r} is damaged, not a checkpoint, or holds more than plain values; resume from another file"
        ) from None
    ours = isinstance(checkpoint, dict) and isinstance(checkpoint.get(RESUME_KEY), dict)
    if not ours or not isinstance(checkpoint.get("state_dict"), dict):
        raise GraphiumError(f"{str(path)!r} is not a checkpoint of graphium; give a checkpoints/last.ckpt")
    return checkpoint


def network_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of the network that were validated (the averaged ones where there are)."""
    prefix = "network."
    return {key[len(prefix) :]: value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)}


def check_fits(checkpoint: Mapping[str, Any], network: nn.Module, path: str | Path) -> None:
    """Refuse a checkpoint whose tensors are not those of the network, before anything is loaded."""
    saved = {key: tuple(value.shape) for key, value in network_weights(checkpoint).items()}
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    if saved == wanted:
        return
    differing = sorted(key for key in saved.keys() | wanted.keys() if saved.get(key) != wanted.get(key))
    raise GraphiumError(
        f"the checkpoint {str(path)!r} belongs to another network ({len(differing)} tensors differ, "
        f"the first is {differing[0]}: {saved.get(differing[0])} there, {wanted.get(differing[0])} here); "
        "resume with the `model`, `features` and `data` of its config.yaml"
    )
