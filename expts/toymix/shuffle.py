"""Does reading by blocks hurt the training? The same network on ToyMix, shuffled fully and by blocks.

python expts/toymix/shuffle.py path/to/toymix [--epochs 3] [--seeds 42 43] [--width 64]

ToyMix is far too small to need blocks. So blocks and windows are made so small that a window is a small share of
the data, as it is at 83 million rows: once with as many blocks in a window as by default, once with few.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pytorch_lightning as pl
import torch

import graphium as gf
from graphium.config import compose
from graphium.data.build import build_mix
from graphium.data.mix import Mix
from graphium.data.sampling.draws import Sampling
from graphium.training.callbacks import History
from graphium.training.display import quiet_lightning

SAMPLINGS = {
    "full": Sampling(batch_size=256),
    "block, as by default": Sampling(batch_size=256, shuffle="block"),
    "block, 128 of 16 rows": Sampling(batch_size=256, shuffle="block", block_rows=16, window_blocks=128),
    "block, 16 of 64 rows": Sampling(batch_size=256, shuffle="block", block_rows=64, window_blocks=16),
}
NUMBERS = ("train/loss", "val/loss", "val/qm9/pooled_mae_norm", "val/zinc12k/pooled_mae_norm", "val/tox21/auroc")


def train(mix: Mix, sampling: Sampling, *, epochs: int, seed: int, width: int) -> list[dict[str, float]]:
    """Train a GINE network and return a row of numbers per epoch."""
    torch.manual_seed(seed)
    network = gf.build_network(mix.spec, mix.heads, layer="gine", width=width, depth=4)
    module = gf.Module(network, mix.heads, optimizer={"name": "adamw", "lr": 0.003})
    with tempfile.TemporaryDirectory() as folder, quiet_lightning():
        history = History(Path(folder) / "metrics.csv")
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=epochs, callbacks=[history], logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0, gradient_clip_val=1.0,
            default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(module, gf.DataModule(mix, sampling=sampling, seed=seed))
    return history.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--store-dir", type=Path, default=None)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43])
    parser.add_argument("--width", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)

    config = compose(["data=toymix", "features=toymix"])
    mix = build_mix(
        config["data"],
        gf.Featurizer(**config["features"]),
        data_dir=options.data_dir,
        store_dir=options.store_dir,
        progress=False,
    )
    print(f"{mix.count('train'):,} training rows, {torch.get_num_threads()} thread, torch {torch.__version__}\n")
    print(f"| seed | epoch | shuffle | {' | '.join(NUMBERS)} |")
    print(f"| {'--- | ' * (3 + len(NUMBERS))}".rstrip())
    for seed in options.seeds:
        arguments = {"epochs": options.epochs, "seed": seed, "width": options.width}
        runs = {name: train(mix, sampling, **arguments) for name, sampling in SAMPLINGS.items()}
        for epoch in range(options.epochs):
            for name, rows in runs.items():
                numbers = (f"{rows[epoch][key]:.4f}" for key in NUMBERS)
                print(f"| {seed} | {epoch + 1} | {name} | {' | '.join(numbers)} |", flush=True)


if __name__ == "__main__":
    main()
