"""Small models trained further on small tables, four ways, beside training from scratch.

python expts/finetune/table.py MODEL --data caco2_wang --data-dir path/to/tdc_admet

MODEL is a run or model folder. A finished run is read and not repeated. Prints a line for each way: mean and deviation
of the test part over the seeds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import graphium as gf

WAYS = ("scratch", "head", "gradual", "lora", "full")


def run(way: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Train once; the test metrics of the data set, its baseline among them."""
    folder = options.work / options.data / Path(options.model).name / f"{way}-{seed}"
    if not (folder / "metrics.json").is_file():
        words = [
            f"data={options.data}",
            f"data_dir={options.data_dir}",
            f"run_dir={folder}",
            f"seed={seed}",
            f"trainer.max_epochs={options.epochs}",
            "trainer.progress=false",
            "trainer.calibrate=false",
        ]
        words += ["data.batch_size=64"] if way == "scratch" else [f"finetune={way}", f"finetune.from={options.model}"]
        config = gf.compose(words)
        if way == "scratch":
            # The network of the model, without what its own tasks asked for.
            saved = gf.load_model(options.model)
            config["model"] = {**saved.network.config(), "heads": None, "readouts": None}
            config["features"] = saved.featurizer.config()
        gf.run(config)
    metrics: dict[str, float] = json.loads((folder / "metrics.json").read_text())["test"][options.data]
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--metric", default="mae")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("outputs/finetune"))
    options = parser.parse_args()
    for way in WAYS:
        found = [run(way, seed, options) for seed in options.seeds]
        values = np.array([metrics[options.metric] for metrics in found])
        print(f"| {options.data} | {way} | {values.mean():.3f} ± {values.std(ddof=1):.3f} |", flush=True)
    print(f"| {options.data} | always the mean | {found[0]['baseline'][options.metric]:.3f} |")


if __name__ == "__main__":
    main()
