"""Training on ToyMix beside a plain PyG model with the same inputs, encoders, heads and loss.

    python expts/benchmarks/training.py --data-dir ../shared/data/toymix

Prints, each in one process on one core: an epoch of ours (Lightning included) against an epoch of the PyG model,
the share of our step that goes into data, and what a step costs beyond data, forward, backward and optimiser.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytorch_lightning as pl
import torch
from timing import report
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GINEConv, global_add_pool

from graphium.chem.featurizer import Featurizer
from graphium.config import compose
from graphium.data.batch import GraphBatch
from graphium.data.build import build_mix
from graphium.data.mix import Mix
from graphium.nn.inputs import build_encoders
from graphium.nn.network import build_network
from graphium.nn.ops import Segments
from graphium.registry import build
from graphium.training.callbacks import Averaging, History, InterruptGuard, LastCheckpoint
from graphium.training.datamodule import DataModule
from graphium.training.display import TrainingBar, quiet_lightning
from graphium.training.module import Module
from graphium.training.options import TrainerOptions
from graphium.types import HeadSpec

BATCH, WIDTH, DEPTH = 200, 96, 4


class Stopwatch(pl.Callback):
    """Seconds from the first batch of an epoch to the last."""

    def on_train_epoch_start(self, *arguments: Any) -> None:
        self.start = time.perf_counter()

    def on_train_epoch_end(self, *arguments: Any) -> None:
        self.seconds = time.perf_counter() - self.start


class TrainingPart(DataModule):
    """No validation: an epoch here is the training part alone."""

    def val_dataloader(self) -> list[Any]:
        return []


class PlainPyG(nn.Module):
    """GINE with a virtual node out of PyG's parts, as one would write it by hand."""

    def __init__(self, mix: Mix) -> None:
        super().__init__()
        spec = mix.spec
        self.sizes = spec.atom_sizes
        self.bond_sizes = spec.bond_sizes
        edge_dim = sum(spec.bond_sizes) + spec.num_bond_numbers
        self.atoms = nn.ModuleList(nn.Embedding(size, WIDTH) for size in spec.atom_sizes)
        self.numbers = nn.Linear(spec.num_atom_numbers, WIDTH, bias=False)
        self.encoders = build_encoders(spec, WIDTH, {})
        self.columns = {n: [c.name for c in spec.encodings if c.encoding == n] for n in self.encoders}
        self.convs = nn.ModuleList(GINEConv(_mlp(WIDTH, WIDTH, WIDTH), edge_dim=edge_dim) for _ in range(DEPTH))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(DEPTH))
        self.virtual = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH - 1))
        self.virtual_norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(DEPTH - 1))
        self.readout = nn.Linear(WIDTH, WIDTH)
        self.heads = nn.ModuleDict({h.name: _mlp(WIDTH, WIDTH, h.num_tasks) for h in mix.heads})

    def forward(self, data: Any) -> dict[str, Tensor]:
        x = self.numbers(data.x_num)
        for column, table in enumerate(self.atoms):
            x = x + table(data.x[:, column])
        graphs = Segments(data.ptr, data.batch)
        for name, encoder in self.encoders.items():
            x = x + encoder({column: data[column] for column in self.columns[name]}, graphs)
        v = x.new_zeros(data.num_graphs, WIDTH)
        for step, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h = nn.functional.gelu(norm(conv(x, data.edge_index, data.edge_attr)))
            if step < DEPTH - 1:
                update = self.virtual[step](v + global_add_pool(h, data.batch))
                v = v + nn.functional.gelu(self.virtual_norms[step](update))
                h = h + v[data.batch]
            x = x + h
        pooled = nn.functional.gelu(self.readout(global_add_pool(x, data.batch)))
        return {name: head(pooled) for name, head in self.heads.items()}


def _mlp(*widths: int) -> nn.Module:
    return nn.Sequential(nn.Linear(widths[0], widths[1]), nn.GELU(), nn.Linear(widths[1], widths[2]))


def as_data_list(mix: Mix) -> list[Data]:
    """One ``Data`` per training row: the same features as floats and codes, labels dense with NaN."""
    data_list = []
    for row in mix.index("train"):
        batch = mix.gather(row[None])
        one_hots = [nn.functional.one_hot(batch.edge_attr[:, c].long(), s) for c, s in enumerate(mix.spec.bond_sizes)]
        fields: dict[str, Tensor] = {
            "x": batch.x.long(),
            "x_num": batch.x_num,
            "edge_index": batch.edge_index,
            "edge_attr": torch.cat([*one_hots, batch.edge_num], dim=1).float(),
            **{name: value.float() for name, value in batch.encodings.items()},
        }
        for head in mix.heads:
            dense = torch.full((1, head.num_tasks), float("nan"))
            labels = batch.labels[head.name]
            dense[labels.entity, labels.task] = labels.value
            fields[f"y_{head.name}"] = dense
        data_list.append(Data(**fields))
    return data_list


def pyg_loss(predictions: dict[str, Tensor], data: Any, heads: tuple[HeadSpec, ...]) -> Tensor:
    """Mean over tasks, then over datasets, as our default weighting."""
    losses = []
    for head in heads:
        target = data[f"y_{head.name}"]
        present = ~target.isnan()
        filled = torch.where(present, target, 0.0)
        if head.kind == "binary":
            element = nn.functional.binary_cross_entropy_with_logits(predictions[head.name], filled, reduction="none")
        else:
            element = (predictions[head.name] - filled).abs()
        count = present.sum(0)
        means = (element * present).sum(0) / count.clamp(min=1)
        losses.append(means.sum() / (count > 0).sum().clamp(min=1))
    return torch.stack(losses).mean()


def pyg_epoch(mix: Mix, data_list: list[Data]) -> Callable[[], float]:
    model = PlainPyG(mix)
    print(f"plain PyG model: {sum(p.numel() for p in model.parameters()):,} parameters")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = DataLoader(data_list, batch_size=BATCH, shuffle=True, num_workers=0)

    def run() -> float:
        start = time.perf_counter()
        for data in loader:
            loss = pyg_loss(model(data), data, mix.heads)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return time.perf_counter() - start

    return run


def our_epoch(mix: Mix, folder: Path) -> Callable[[], float]:
    network = build_network(mix.spec, mix.heads, width=WIDTH, depth=DEPTH, layer="gine")
    print(f"ours:            {network.num_parameters():,} parameters")

    def run() -> float:
        data = TrainingPart(mix, batch_size=BATCH)
        return timed_fit(Module(network, mix.heads), data, folder)

    return run


def timed_fit(module: Module, data: Any, folder: Path, *, averaging: float | None = None) -> float:
    """Seconds of one epoch with the callbacks of a real run, the progress bar included."""
    options = TrainerOptions(max_epochs=1, averaging=averaging)
    watch = Stopwatch()
    callbacks: list[pl.Callback] = [watch, History(folder / "metrics.csv"), TrainingBar()]
    if averaging is not None:
        callbacks.append(Averaging(averaging))
    callbacks.append(LastCheckpoint(folder, guard=InterruptGuard()))
    with quiet_lightning():
        trainer = pl.Trainer(callbacks=callbacks, default_root_dir=folder, **options.lightning_arguments())
        trainer.fit(module, data)
    return watch.seconds


class ConstantLoader:
    def __init__(self, batch: GraphBatch, length: int) -> None:
        self.batch, self.length = batch, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[GraphBatch]:
        for _ in range(self.length):
            yield self.batch


def overhead(mix: Mix, folder: Path, averaging: float | None, *, steps: int = 150, repeats: int = 7) -> float:
    """Milliseconds that a step costs beyond forward, loss, backward, clipping, optimiser and schedule."""
    batch = mix.gather(mix.index("train")[:2])
    options: dict[str, Any] = {"width": WIDTH, "depth": DEPTH, "layer": "gine"}

    def bare() -> float:
        module = Module(build_network(mix.spec, mix.heads, **options), mix.heads)
        optimizer = build("optimizer", "adamw", parameters=module.network.parameters())
        schedule = build("schedule", "cosine", optimizer=optimizer, num_steps=steps)
        start = time.perf_counter()
        for item in ConstantLoader(batch, steps):
            loss = module.step_loss(item)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(module.network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        return time.perf_counter() - start

    def full() -> float:
        module = Module(build_network(mix.spec, mix.heads, **options), mix.heads)
        return timed_fit(module, ConstantLoader(batch, steps), folder, averaging=averaging)

    pairs = [(full(), bare()) for _ in range(repeats)]
    # The least of each: other programs only ever add.
    return (min(p[0] for p in pairs) - min(p[1] for p in pairs)) / steps * 1e3


def data_seconds(mix: Mix) -> float:
    start = time.perf_counter()
    for _ in mix.loader("train", batch_size=BATCH, shuffle=True):
        pass
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True, help="folder of the ToyMix files")
    parser.add_argument("--limit", type=int, default=5000, help="molecules of each table")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = compose(["data=toymix", f"data.limit={arguments.limit}"])
    mix = build_mix(config["data"], Featurizer(**config["features"]), data_dir=arguments.data_dir)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sides = {"pyg": pyg_epoch(mix, as_data_list(mix)), "ours": our_epoch(mix, folder)}
        seconds: dict[str, list[float]] = {side: [] for side in (*sides, "data")}
        for repeat in range(arguments.repeats + 1):
            for side, run in sides.items():
                seconds[side].append(run())
            seconds["data"].append(data_seconds(mix))
            if repeat == 0:
                seconds = {side: [] for side in seconds}
        median = {side: statistics.median(values) for side, values in seconds.items()}
        rows = mix.count("train")
        print(f"molecules/s: ours {rows / median['ours']:,.0f}, plain PyG {rows / median['pyg']:,.0f}")
        report("training end to end / plain PyG", median["pyg"] / median["ours"], 1.15)
        report("share of data in a step", 100 * median["data"] / median["ours"], 5.0, at_least=False, unit="%")
        for label, averaging in (("", None), (" with averaged weights", 0.999)):
            beyond = overhead(mix, folder, averaging)
            report(f"a step beyond data, model and optimiser{label}", beyond, 1.0, at_least=False, unit="ms")


if __name__ == "__main__":
    main()
