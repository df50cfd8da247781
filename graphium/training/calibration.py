"""What is measured of a finished model for its users: scores for intervals, and where its training molecules lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.data.build import build_mix
from graphium.data.gather import Pairs
from graphium.data.labels.transforms import LabelTransform
from graphium.data.mix import Mix
from graphium.data.sampling.loader import BatchLoader
from graphium.data.splits.drawing import keyed
from graphium.errors import GraphiumError, suggest
from graphium.models.device import find_device
from graphium.models.saved import SavedModel, load_model
from graphium.models.tables.columns import label_numbers
from graphium.models.trust import domain
from graphium.models.trust.conformal import SHARES, Scores, make_keys, scores
from graphium.models.trust.stored import CALIBRATION, DOMAIN, write_stored
from graphium.training.results import predict
from graphium.types import PARTS

# Rows of a dataset whose labels are scored: more do not make intervals better.
MOST_ROWS = 50_000
# Draws the rows and the molecules; not the seed of any split.
_KEY = 0x7A11
ALL = "all"
# Head of the data -> for each of its tasks, the head of the model and the column there; None is no task of the model.
Columns = Mapping[str, Sequence[tuple[str, int] | None]]


def calibrate(
    saved: SavedModel,
    mix: Mix,
    *,
    part: str = "val",
    columns: Columns | None = None,
    batch_size: int = 256,
    with_domain: bool = True,
) -> list[str]:
    """Write ``calibration.safetensors`` and ``domain.safetensors`` beside a model, as far as there are rows for them.

    Costs a pass over the part, of every dataset at most 50,000 rows of it, and one over at most 10,000 molecules of
    the training part, in float32 as predictions are made.

    Args:
        saved: The model, with its folder, on any device.
        mix: Labelled data with the model's features.
        part: Whose labels are scored, or ``all`` rows whatever their part.
        columns: Where the tasks of the data are in the model; None: its heads are those of the model.
        batch_size: Molecules that the network reads together.
        with_domain: Whether the training part of ``mix`` is what the model was trained on.

    Returns:
        Sentences on what was not written, and why.

    Raises:
        GraphiumError: the model has no folder, or a file cannot be written.
    """
    if saved.folder is None:
        raise GraphiumError("the model lies in no folder that could keep its calibration; save it first")
    said = []
    index = _rows(mix, part)
    if len(index):
        tensors = _score(saved, mix, index, columns or _own_columns(mix), batch_size)
        write_stored(saved.folder, CALIBRATION, tensors, {"part": part})
    else:
        said.append(f"no intervals: the data have no rows in the part {part}")
    if with_domain:
        index = _training_molecules(mix, domain.MOST)
        if len(index) > 1:
            made_by = domain.fingerprinter(saved)
            pairs: Pairs = "all" if "nodepair" in made_by.levels else "labelled"
            loader = BatchLoader(partial(mix.gather, pairs=pairs), index, batch_size=batch_size)
            tensors, about = domain.describe(map(made_by.of_batch, loader), made_by)
            write_stored(saved.folder, DOMAIN, tensors, about)
        else:
            said.append("no applicability domain: the data have less than two training molecules")
    return said


def calibrate_saved(
    source: str | Path | SavedModel,
    config: Mapping[str, Any],
    *,
    part: str = "val",
    renamed: Mapping[str, str] | None = None,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    trust_code: bool = False,
    progress: bool = True,
) -> list[str]:
    """Calibrate a model that has none of these files, or not for molecules like these.

    Tasks of the data are those of the model that are named alike. The training part of the data stands for what the
    model was trained on; with ``part="all"`` the data were never seen by the model, and no domain is written.

    Args:
        source: What :func:`~graphium.models.saved.load_model` takes, or what it gave.
        config: A composed configuration, of which ``data``, ``data_dir`` and ``store_dir`` are read.
        part: Whose labels are scored: ``val``, ``test``, ``test_seen``, or ``all`` rows whatever their part.
        renamed: Column, or ``dataset/column``, -> task of the model, where the names differ.
        device: Where the network computes.
        batch_size: Molecules that the network reads together.
        trust_code: Allow a model that names code of its author.
        progress: Print what was found in the tables, and the progress, to stderr.

    Returns:
        Sentences on what was written where, and what was not.

    Raises:
        GraphiumError: a model, table or part that cannot be used, or no task in common.
    """
    choices = [*PARTS[1:], ALL]
    if part not in choices:
        raise GraphiumError(f"part is {part!r}; {suggest(part, choices)}; a model knows its training part by heart")
    place = find_device(device)
    saved = source if isinstance(source, SavedModel) else load_model(source, trust_code=trust_code, device=place)
    mix = build_mix(
        config.get("data") or {},
        saved.featurizer,
        data_dir=config.get("data_dir"),
        store_dir=config.get("store_dir"),
        progress=progress,
        heads=saved.heads,
        renamed=renamed,
        need_training=False,
    )
    columns: Columns = {
        name: [None if one is None else (one.head, one.column) for one in of_head]
        for name, of_head in mix.sources.items()
    }
    said = calibrate(saved, mix, part=part, columns=columns, batch_size=batch_size, with_domain=part != ALL)
    return [*said, f"the calibration is in {saved.folder}"]


def _score(saved: SavedModel, mix: Mix, index: Tensor, columns: Columns, batch_size: int) -> dict[str, Tensor]:
    """The content of ``calibration.safetensors``."""
    heads = {head.name: head for head in saved.heads}
    inverses = {name: LabelTransform(head.tasks).inverse for name, head in heads.items()}
    device = next(saved.network.parameters()).device
    places = {name: _places(of_head, device) for name, of_head in columns.items()}
    found: dict[str, list[np.ndarray]] = {name: [] for name in heads}
    loader = BatchLoader(partial(_gathered, mix), index, batch_size=batch_size)
    for batch, predictions in predict(saved.network, loader, device):
        numbers = {
            name: label_numbers(heads[name], predictions[name], inverses[name])
            for name in {name for of_head in places.values() for name in of_head}
        }
        for of_data, labels in batch.labels.items():
            counts = labels.weight > 0 if labels.bound is None else (labels.weight > 0) & (labels.bound == 0)
            for name, place in places[of_data].items():
                mine = counts & (place[labels.task] >= 0)
                task = labels.task[mine]
                raw = (
                    mix.transforms[of_data].inverse(labels.value[mine], task)
                    if labels.raw is None
                    else labels.raw[mine]
                )
                score = scores(heads[name], numbers[name][labels.entity[mine], place[task]], raw)
                found[name].append(make_keys(place[task].cpu().numpy(), score.cpu().numpy()))
    tensors = {"shares": torch.from_numpy(SHARES)}
    for name, pieces in found.items():
        kept = Scores.of_keys(np.concatenate([np.empty(0, np.uint64), *pieces]), heads[name].num_tasks)
        tensors[f"count/{name}"], tensors[f"scores/{name}"] = torch.from_numpy(kept.count), torch.from_numpy(kept.kept)
    return tensors


def _gathered(mix: Mix, index: Tensor) -> GraphBatch:
    batch = mix.gather(index)
    # A model of pairs, and data without.
    return replace(batch, pair_index=batch.edge_index.new_empty(2, 0)) if batch.pair_index is None else batch


def _own_columns(mix: Mix) -> Columns:
    return {head.name: [(head.name, column) for column in range(head.num_tasks)] for head in mix.heads}


def _places(of_head: Sequence[tuple[str, int] | None], device: torch.device) -> dict[str, Tensor]:
    """Head of the model -> int64 ``[tasks of the data]``: the column there, -1 where a task is not of that head."""
    names = dict.fromkeys(one[0] for one in of_head if one is not None)
    return {
        name: torch.tensor([-1 if one is None or one[0] != name else one[1] for one in of_head], device=device)
        for name in names
    }


def _rows(mix: Mix, part: str) -> Tensor:
    """Rows of a part, of every dataset those of the least hashes of its molecules; int64 ``[n, 2]``: table, row."""
    found = [np.empty((0, 2), np.int64)]
    for table, dataset in enumerate(mix.datasets):
        rows = np.flatnonzero(dataset.parts >= 0 if part == ALL else dataset.parts == PARTS.index(part))
        if len(rows) > MOST_ROWS:
            molecule = np.asarray(dataset.store.row_molecule)[rows]
            key = keyed(np.asarray(dataset.store.id[molecule]), _KEY)
            rows = np.sort(rows[np.argsort(key, kind="stable")[:MOST_ROWS]])
        found.append(np.stack([np.full(len(rows), table), rows], axis=1))
    return torch.from_numpy(np.concatenate(found))


def _training_molecules(mix: Mix, most: int) -> Tensor:
    """One row of each of some training molecules, those of the least hashes; int64 ``[n, 2]``: table, row."""
    keys, places = [np.empty(0, np.uint64)], [np.empty((0, 2), np.int64)]
    for table, dataset in enumerate(mix.datasets):
        rows = np.flatnonzero(dataset.parts == PARTS.index("train"))
        key = keyed(np.asarray(dataset.store.id[np.asarray(dataset.store.row_molecule)[rows]]), _KEY)
        key, first = np.unique(key, return_index=True)
        keys.append(key[:most])
        places.append(np.stack([np.full(len(key[:most]), table), rows[first[:most]]], axis=1))
    # A molecule of several tables has one hash.
    _, first = np.unique(np.concatenate(keys), return_index=True)
    chosen = np.concatenate(places)[first[:most]]
    return torch.from_numpy(chosen[np.lexsort(chosen.T[::-1])])
