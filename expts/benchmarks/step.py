"""Where the time of a training step goes: a LargeMix-shaped model of 10 M parameters, batch 256, one thread.

    python expts/largemix/generate.py largemix --pool ../shared/data/pool/moses_train.csv.gz --molecules 4000
    python expts/benchmarks/step.py largemix

Real steps of a real trainer with the callbacks of a run, taken apart where they happen: the network's own forward,
backward and optimiser, and everything else.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytorch_lightning as pl
import torch
from timing import report
from torch import Tensor

from graphium.chem.featurizer import Featurizer
from graphium.config import compose
from graphium.data.batch import GraphBatch
from graphium.data.build import build_mix
from graphium.data.mix import Mix
from graphium.nn.network import build_network
from graphium.training.callbacks import History, InterruptGuard, LastCheckpoint
from graphium.training.datamodule import DataModule, EpochLoader
from graphium.training.display import TrainingBar, quiet_lightning
from graphium.training.module import Module
from graphium.training.options import TrainerOptions
from graphium.training.results import training_statistics

NETWORK = ("forward", "backward", "optimiser")
REST = "trainer, callbacks, logging"
# Rows of metrics and a checkpoint, once in an epoch; the tables here are small, and so are their epochs.
EPOCH = "end of an epoch"


class Stopwatch(pl.Callback):
    """Seconds of the pieces of all steps but the first few; a mark ends the piece since the mark before it."""

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self.seconds: dict[str, float] = defaultdict(float)
        self.steps = 0
        self._last = 0.0

    def mark(self, piece: str) -> None:
        """What has passed since the last mark was ``piece``."""
        now = time.perf_counter()
        if self.steps >= self.warmup:
            self.seconds[piece] += now - self._last
        self._last = now

    def watch(self, module: Module) -> None:
        """Set marks inside the step; must come before the trainer takes the module."""
        network, gather_loss, clip = module.network, module.step_loss, module.configure_gradient_clipping
        network.register_forward_pre_hook(lambda *_: self.mark(REST))
        network.register_forward_hook(self._after_forward)

        def step_loss(batch: Any) -> Tensor:
            loss = gather_loss(batch)
            self.mark("loss")
            return loss

        def clipping(*arguments: Any, **options: Any) -> None:
            self.mark(REST)
            clip(*arguments, **options)
            self.mark("clipping")

        module.step_loss = step_loss  # type: ignore[method-assign]
        module.configure_gradient_clipping = clipping  # type: ignore[method-assign]

    def _after_forward(self, network: Any, inputs: Any, predictions: Mapping[str, Tensor]) -> None:
        self.mark("forward")
        seen: list[str] = []

        def begin(gradient: Tensor) -> None:
            # All gradients of predictions are there before the network's own backward begins.
            if not seen:
                self.mark("gradient of the loss")
            seen.append("")

        if torch.is_grad_enabled():
            for prediction in predictions.values():
                prediction.register_hook(begin)

    def on_before_backward(self, *arguments: Any) -> None:
        self.mark(REST)

    def on_after_backward(self, *arguments: Any) -> None:
        self.mark("backward")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.optimizers[0].register_step_post_hook(lambda *_: self.mark("optimiser"))
        self._last = time.perf_counter()

    def on_train_epoch_start(self, *arguments: Any) -> None:
        self.mark(EPOCH)

    def on_train_batch_start(self, *arguments: Any) -> None:
        self.mark(REST)

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.mark(REST)
        self.steps += 1

    def on_train_epoch_end(self, *arguments: Any) -> None:
        self.mark(REST)


class TrainingPart(DataModule):
    """The training part alone, with marks around what makes a batch."""

    def __init__(self, mix: Mix, batch_size: int, mark: Callable[[str], None]) -> None:
        super().__init__(mix, batch_size=batch_size)
        self.mark = mark

    def train_dataloader(self) -> Any:
        return Marked(super().train_dataloader(), self.mark)

    def val_dataloader(self) -> list[Any]:
        return []


class Marked:
    def __init__(self, loader: EpochLoader, mark: Callable[[str], None]) -> None:
        self.loader, self.mark = loader, mark

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[GraphBatch]:
        self.mark(REST)
        for batch in self.loader:
            self.mark("data")
            yield batch
            self.mark(REST)
        self.mark("data")


def measure(mix: Mix, config: Mapping[str, Any], batch_size: int, steps: int, warmup: int) -> Stopwatch:
    network = build_network(mix.spec, mix.heads, **config["model"])
    print(f"{network.num_parameters():,} parameters, {sum(h.num_tasks for h in mix.heads):,} tasks, batch {batch_size}")
    options = TrainerOptions(max_epochs=-1, max_steps=steps + warmup, log_every=10)
    module = Module(network, mix.heads, optimizer="adam", statistics=training_statistics(mix))
    module.log_every = options.log_every
    watch = Stopwatch(warmup)
    watch.watch(module)
    with tempfile.TemporaryDirectory() as name, quiet_lightning():
        folder = Path(name)
        callbacks = [
            History(folder / "metrics.csv"),
            TrainingBar(),
            LastCheckpoint(folder, guard=InterruptGuard()),
            watch,
        ]
        trainer = pl.Trainer(callbacks=callbacks, default_root_dir=folder, **options.lightning_arguments())
        trainer.fit(module, TrainingPart(mix, batch_size, watch.mark))
    return watch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", help="folder of expts/largemix/generate.py")
    parser.add_argument("--store-dir", help="folder of the stores; a temporary one by default")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = compose(["experiment=largemix_gine"])
    with tempfile.TemporaryDirectory() as stores:
        mix = build_mix(
            config["data"],
            Featurizer(**config["features"]),
            data_dir=arguments.data_dir,
            store_dir=arguments.store_dir or stores,
            progress=False,
        )
        watch = measure(mix, config, arguments.batch_size, arguments.steps, warmup=5)
    total = sum(seconds for piece, seconds in watch.seconds.items() if piece != EPOCH)
    for piece in sorted(watch.seconds, key=watch.seconds.__getitem__, reverse=True):
        seconds = watch.seconds[piece]
        print(f"{piece:<32} {1e3 * seconds / arguments.steps:9.2f} ms a step {100 * seconds / total:8.2f} %")
    outside = 100 * sum(seconds for piece, seconds in watch.seconds.items() if piece not in (*NETWORK, EPOCH)) / total
    report("a step outside forward, backward and optimiser", outside, 5.0, at_least=False, unit="%")


if __name__ == "__main__":
    main()
