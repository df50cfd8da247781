"""What do networks trained alone and together share? Linear CKA and linear probes of the models of ``fairness.py``.

python expts/toymix/shared.py path/to/data outputs/fairness [--epochs 5] [--seeds 42 43 44] [--parts cka probes]

``path/to/data`` holds the folders ``toymix`` and ``moleculenet``. Every molecule is described by the mean over its
atoms of the input of each block (layer 0 is the input encoding), of the output of the last block, and by what the
graph readout makes of it. Nothing is trained here but the probes; the numbers of a model are kept in
``<outputs>/shared`` and not computed again.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from runs import shown, table
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sources import known
from torch import Tensor

import graphium as gf
from graphium.data.mix import Mix

TRAINED_ON = ("qm9", "zinc12k", "tox21")
UNSEEN = ("lipo", "esol", "bbbp")
# Kind of model -> run of fairness.py. Those of the small data sets took as many steps as the mix.
RUNS = {
    "qm9 alone": "alone-qm9",
    "zinc12k alone": "alone-zinc12k-same-steps",
    "tox21 alone": "alone-tox21-same-steps",
    "together": "together-datasets",
}
# The architecture of "together" with its first weights: what the architecture does without any training.
UNTRAINED = "untrained"
ROWS = 2000
# Deviations at which the channels that a probe reads are cut off.
OUTLIER = 10.0


@dataclass(frozen=True)
class Model:
    """A network, what it was trained on and its seed."""

    kind: str
    seed: int
    network: gf.Network


def load(options: argparse.Namespace) -> list[Model]:
    """The models of all kinds and seeds."""
    models = []
    for seed in options.seeds:
        for kind, run in RUNS.items():
            folder = options.outputs / options.setting / f"{run}-{seed}" / "model"
            saved = gf.load_model(folder)
            models.append(Model(kind, seed, saved.network))
        # The last kind is "together".
        torch.manual_seed(seed)
        untrained = gf.Network(saved.spec, saved.heads, **saved.network.config())
        models.append(Model(UNTRAINED, seed, untrained.eval()))
    return models


def vectors(network: gf.Network, mix: Mix, index: Tensor) -> dict[str, np.ndarray]:
    """Layer -> one vector per row of ``index`` ``[rows, 2]``, rows of one table: float64 ``[rows, channels]``."""
    pieces: dict[str, list[Tensor]] = {}
    inputs: list[Tensor] = []
    hooks = [block.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for block in network.blocks]
    with torch.no_grad():
        for rows in index.split(500):
            batch = mix.gather(rows)
            inputs.clear()
            x, edges = network.encode(batch)
            sizes = (batch.ptr[1:] - batch.ptr[:-1])[:, None]
            for number, states in enumerate([*inputs, x]):
                sums = torch.zeros(batch.num_graphs, states.shape[1]).index_add(0, batch.batch, states)
                pieces.setdefault(f"layer {number}", []).append(sums / sizes)
            pieces.setdefault("readout", []).append(network.readouts["graph"](x, batch, edges))
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts).double().numpy() for name, parts in pieces.items()}


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centred kernel alignment of two representations ``[rows, channels]`` (Kornblith et al. 2019, eq. 5)."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return float(np.sum((x.T @ y) ** 2) / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def drawn(mix: Mix, number: int, part: str) -> Tensor:
    """At most ``ROWS`` rows of a part of one table, always the same."""
    index = mix.index(part)
    index = index[index[:, 0] == number]
    order = np.random.default_rng(0).permutation(len(index))[:ROWS]
    return index[torch.as_tensor(np.sort(order))]


def pairs(models: Sequence[Model], first: str, second: str) -> Iterator[tuple[int, int]]:
    """Positions of all pairs of models of two kinds with unlike seeds: equal seeds may share first weights."""
    numbers = {kind: [n for n, model in enumerate(models) if model.kind == kind] for kind in (first, second)}
    found = combinations(numbers[first], 2) if first == second else product(numbers[first], numbers[second])
    yield from ((a, b) for a, b in found if models[a].seed != models[b].seed)


def print_cka(models: Sequence[Model], mix: Mix) -> None:
    """CKA by layer between kinds of models, on the test molecules of each data set."""
    for dataset in TRAINED_ON:
        number = [d.name for d in mix.datasets].index(dataset)
        index = drawn(mix, number, "test")
        states = [vectors(model.network, mix, index) for model in models]
        own = f"{dataset} alone"
        others = [kind for kind in RUNS if kind not in (own, "together")]
        compared = [(own, own), ("together", "together"), (own, "together")]
        compared += [(other, "together") for other in others] + [(own, other) for other in others]
        compared += [(UNTRAINED, UNTRAINED), (UNTRAINED, own), (UNTRAINED, "together")]
        rows = []
        for first, second in compared:
            found = list(pairs(models, first, second))
            name = f"{first}, two seeds" if first == second else f"{first} - {second}"
            cells = [shown([linear_cka(states[a][k], states[b][k]) for a, b in found], 2) for k in states[0]]
            rows.append([name, *cells, str(len(found))])
        print(f"\nLinear CKA on {len(index):,} test molecules of {dataset}:\n")
        print(table(["models", *states[0], "pairs"], rows), flush=True)


def dense_labels(mix: Mix, index: Tensor, name: str) -> np.ndarray:
    """The labels of the one head of a data set, ``[rows, tasks]``; NaN is no label."""
    head = next(head for head in mix.heads if head.dataset == name)
    labels = mix.gather(index).labels[head.name]
    found = torch.full((len(index), head.num_tasks), float("nan"), dtype=torch.float64)
    found[labels.entity, labels.task] = labels.value.double()
    return found.numpy()


def probe(train: np.ndarray, train_y: np.ndarray, test: np.ndarray, test_y: np.ndarray, kind: str) -> float:
    """Fit a linear probe for every task: mean absolute error of z-scored labels, or AUROC, as a mean over tasks."""
    scaler = StandardScaler().fit(train)
    # A channel that hardly varies in training may be thousands of deviations away on a single test molecule.
    train, test = (np.clip(scaler.transform(states), -OUTLIER, OUTLIER) for states in (train, test))
    if kind == "regression":
        guess = RidgeCV(alphas=np.logspace(-2, 4, 13)).fit(train, train_y).predict(test)
        return float(np.abs(guess.reshape(test_y.shape) - test_y).mean())
    scores = []
    for task in range(train_y.shape[1]):
        known_train, known_test = ~np.isnan(train_y[:, task]), ~np.isnan(test_y[:, task])
        if min(len(set(train_y[known_train, task])), len(set(test_y[known_test, task]))) < 2:
            continue
        fitted = LogisticRegression(C=0.1, max_iter=1000).fit(train[known_train], train_y[known_train, task])
        scores.append(roc_auc_score(test_y[known_test, task], fitted.decision_function(test[known_test])))
    return float(np.mean(scores))


def probes_of(model: Model, mix: Mix, kept: Path) -> dict[str, dict[str, float]]:
    """Data set -> layer -> score of the probe; read from ``kept`` where it is there."""
    if kept.is_file():
        found: dict[str, dict[str, float]] = json.loads(kept.read_text())
        return found
    found = {}
    for number, dataset in enumerate(mix.datasets):
        index = {part: drawn(mix, number, part) for part in ("train", "test")}
        states = {part: vectors(model.network, mix, rows) for part, rows in index.items()}
        labels = {part: dense_labels(mix, rows, dataset.name) for part, rows in index.items()}
        kind = dataset.heads[0].kind
        found[dataset.name] = {
            layer: probe(states["train"][layer], labels["train"], states["test"][layer], labels["test"], kind)
            for layer in states["train"]
        }
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(".tmp")
    unfinished.write_text(json.dumps(found))
    os.replace(unfinished, kept)
    return found


def print_probes(models: Sequence[Model], mix: Mix, folder: Path) -> None:
    """Scores of the probes by layer, for each data set and kind of model."""
    found = {(m.kind, m.seed): probes_of(m, mix, folder / f"{m.kind.replace(' ', '-')}-{m.seed}.json") for m in models}
    for number, dataset in enumerate(mix.datasets):
        score = "MAE, z-scored, lower is better" if dataset.heads[0].kind == "regression" else "AUROC"
        counts = [len(drawn(mix, number, part)) for part in ("train", "test")]
        print(f"\nProbes of {dataset.name} ({score}), {counts[0]:,} training and {counts[1]:,} test molecules:\n")
        layers = list(next(iter(found.values()))[dataset.name])
        rows = []
        for kind in [*RUNS, UNTRAINED]:
            scores = [scores[dataset.name] for (name, _), scores in found.items() if name == kind]
            rows.append([kind, *(shown([score[layer] for score in scores], 3) for layer in layers)])
        print(table(["model", *layers], rows), flush=True)


def build(options: argparse.Namespace) -> Mix:
    """The data sets of ToyMix and three that no model was trained on, split as the models saw them."""
    config: dict[str, Any] = gf.compose(["experiment=toymix_gine"])
    names = [*TRAINED_ON, *UNSEEN]
    data: dict[str, Any] = {"datasets": {name: known(name, options.data_dir) for name in names}}
    if options.limit is not None:
        data["limit"] = options.limit
    features = gf.Featurizer(**config["features"])
    return gf.build_mix(data, features, store_dir=options.outputs / "stores", progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("outputs", type=Path, help="--out of fairness.py")
    parser.add_argument("--epochs", type=int, default=5, help="as given to fairness.py")
    parser.add_argument("--limit", type=int, help="as given to fairness.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--parts", nargs="+", default=["cka", "probes"], choices=["cka", "probes"])
    options = parser.parse_args()
    options.setting = f"{options.epochs}-epochs" + (f"-limit-{options.limit}" if options.limit is not None else "")
    torch.set_num_threads(1)
    models, mix = load(options), build(options)
    print(f"{len(models)} models, torch {torch.__version__}, graphium {gf.__version__}")
    if "cka" in options.parts:
        print_cka(models, mix)
    if "probes" in options.parts:
        print_probes(models, mix, options.outputs / "shared" / options.setting)


if __name__ == "__main__":
    main()
