"""Does a data set gain or lose by being trained with others? ToyMix, alone and together, and every weighting.

python expts/toymix/fairness.py path/to/toymix [--out outputs/fairness] [--seeds 42 43 44] [--epochs 5] [--jobs 2]

One GINE network of 154,000 parameters, the same optimiser and the same number of epochs for all. A small data set
takes few steps in these epochs, so ZINC12k and Tox21 are also trained alone with as many optimiser steps as the mix.
A finished run is not repeated and a killed one goes on, so the command can be given again at any time; ``--table``
prints the tables of what is finished, and trains nothing.
"""

from __future__ import annotations

import argparse
from copy import deepcopy
from pathlib import Path
from typing import Any

from runs import Run, difference, shown, table, train_all, versions

import graphium as gf

DATASETS = ("qm9", "zinc12k", "tox21")
# One choice of explicit weights, made before any run: every task counts alike, but those of the data set with the
# fewest rows three times.
WEIGHTINGS: dict[str, Any] = {
    "labels": "labels",
    "tasks": "tasks",
    "datasets": "datasets",
    "uncertainty": "uncertainty",
    "dwa": "dwa",
    "fixed": {"name": "fixed", "datasets": {"tox21": 3.0}},
}
# Name of a run -> the data sets it trains on.
ALONE = {f"alone-{name}": (name,) for name in DATASETS}
SAME_STEPS = {f"alone-{name}-same-steps": (name,) for name in ("zinc12k", "tox21")}
TOGETHER = {f"together-{name}": DATASETS for name in WEIGHTINGS}
VARIANTS = {**ALONE, **SAME_STEPS, **TOGETHER}

NUMBERS = {
    ("qm9", "pooled_mae_norm"): "qm9 MAE, z-scored",
    ("zinc12k", "pooled_mae_norm"): "zinc12k MAE, z-scored",
    ("tox21", "auroc"): "tox21 AUROC",
    ("tox21", "ap"): "tox21 AP",
    ("tox21", "bce"): "tox21 BCE",
}


def config_of(variant: str, seed: int, epochs: int, options: argparse.Namespace) -> dict[str, Any]:
    """The configuration of a run; the number of steps of the mix is that of all rows of its training part."""
    config = deepcopy(
        gf.compose(
            [
                "experiment=toymix_gine",
                f"seed={seed}",
                f"trainer.max_epochs={epochs}",
                # An average over the last thousand steps would hold back those who take few.
                "trainer.averaging=null",
                "trainer.threads=1",
                "trainer.progress=false",
            ]
        )
    )
    config.update(data_dir=str(options.data_dir), store_dir=str(options.out / "stores"), name=variant)
    datasets = config["data"]["datasets"]
    config["data"]["datasets"] = {name: datasets[name] for name in VARIANTS[variant]}
    if options.limit is not None:
        config["data"]["limit"] = options.limit
    if variant in TOGETHER:
        config["trainer"]["weighting"] = WEIGHTINGS[variant.removeprefix("together-")]
    if variant in SAME_STEPS:
        config["trainer"].update(max_epochs=-1, max_steps=epochs * steps_of_mix(options))
    return config


def steps_of_mix(options: argparse.Namespace) -> int:
    """Optimiser steps in an epoch of all three data sets; prepares them where that is not done yet."""
    if not hasattr(options, "steps"):
        config = config_of("together-datasets", 0, 1, options)
        mix = gf.build_mix(
            config["data"],
            gf.Featurizer(**config["features"]),
            data_dir=config["data_dir"],
            store_dir=config["store_dir"],
        )
        options.steps = -(-mix.count("train") // config["data"]["batch_size"])
    steps: int = options.steps
    return steps


def runs_of(options: argparse.Namespace) -> dict[tuple[str, int], Run]:
    """All runs by (variant, seed), one seed after another, so that what is finished can be compared."""
    setting = f"{options.epochs}-epochs" + (f"-limit-{options.limit}" if options.limit is not None else "")
    return {
        (variant, seed): Run(
            options.out / setting / f"{variant}-{seed}",
            {} if options.table else config_of(variant, seed, options.epochs, options),
        )
        for seed in options.seeds
        for variant in options.variants
    }


def numbers(runs: dict[tuple[str, int], Run], variant: str, key: tuple[str, str]) -> list[float]:
    """One test number of all finished seeds of a variant; none where it was not trained on that data set."""
    done = [run for (name, _), run in runs.items() if name == variant and run.is_finished]
    return [run.metrics["test"][key[0]][key[1]] for run in done if key[0] in VARIANTS[variant]]


def print_means(runs: dict[tuple[str, int], Run]) -> None:
    """Mean and deviation over seeds of every variant."""
    rows = []
    for variant in VARIANTS:
        facts = [run.facts for (name, _), run in runs.items() if name == variant and run.is_finished]
        if facts:
            cells = [shown(numbers(runs, variant, key)) for key in NUMBERS]
            seconds = [fact["process_seconds"] for fact in facts if not fact["resumed"]]
            spent = [f"{facts[0]['steps']:,}", f"{facts[0]['parameters']:,}", shown(seconds, 0), str(len(facts))]
            rows.append([variant, *cells, *spent])
    print(table(["trained", *NUMBERS.values(), "steps", "parameters", "core seconds", "seeds"], rows))


def print_differences(runs: dict[tuple[str, int], Run]) -> None:
    """What the default weighting gains over being alone, and what the other weightings gain over it."""
    default = "together-datasets"
    # Label -> for every number, the two variants that are compared.
    compared = {
        f"{default}, less alone": [(default, f"alone-{name}") for name, _ in NUMBERS],
        f"{default}, less alone with as many steps": [(default, f"alone-{name}-same-steps") for name, _ in NUMBERS],
        **{f"{one}, less {default}": [(one, default)] * len(NUMBERS) for one in TOGETHER if one != default},
    }
    rows = []
    for label, pairs in compared.items():
        known = [(key, *pair) if pair[1] in VARIANTS else None for key, pair in zip(NUMBERS, pairs, strict=True)]
        cells = [difference(numbers(runs, k[1], k[0]), numbers(runs, k[2], k[0])) if k else "-" for k in known]
        rows.append([label, *cells])
    print("\n" + table(["difference of the means (Welch's t)", *NUMBERS.values()], rows))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--out", type=Path, default=Path("outputs/fairness"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME")
    parser.add_argument("--limit", type=int, help="use the first N molecules of every table: to try the script")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, a core each")
    parser.add_argument("--table", action="store_true", help="print what is finished and train nothing")
    return parser.parse_args()


def main() -> None:
    options = parse()
    runs = runs_of(options)
    if not options.table:
        steps_of_mix(options)
        train_all(list(runs.values()), options.jobs)
    finished = [run for run in runs.values() if run.is_finished]
    print(f"\n{len(finished)} of {len(runs)} runs are finished")
    if finished:
        print(f"{versions(finished[-1])}; {options.epochs} epochs\n")
        print_means(runs)
        print_differences(runs)


if __name__ == "__main__":
    main()
