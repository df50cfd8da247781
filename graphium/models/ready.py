"""Saved models made ready for work: on a device, comparable, with a hash of all that they predict by."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from graphium.errors import GraphiumError
from graphium.models.saved import SavedModel, load_model
from graphium.types import Task

Source = str | Path | SavedModel


def ready_model(model: Source, trust_code: bool, device: torch.device) -> SavedModel:
    """A model that predicts on a device; one that is given as it is stays as it is, and is copied where it must."""
    if not isinstance(model, SavedModel):
        return load_model(model, trust_code=trust_code, device=device)
    network = model.network
    if network.training or next(network.parameters()).device != device:
        return replace(model, network=copy.deepcopy(network).to(device).eval())
    return model


def check_ensemble(models: Sequence[SavedModel]) -> None:
    """Refuse models whose predictions cannot be averaged."""
    first = models[0]
    for number, other in enumerate(models[1:], start=2):
        if other.featurizer.config() != first.featurizer.config():
            raise GraphiumError(
                f"model {number} of the ensemble reads other features than the first one; give models that were "
                "trained with the same `features`"
            )
        mine, its = ([_meaning(task) for head in m.heads for task in head.tasks] for m in (first, other))
        if mine != its:
            differing = [task for task in [*mine, *its] if (task in mine) != (task in its)]
            if not differing:
                raise GraphiumError(
                    f"model {number} of the ensemble has the tasks of the first one in another order; give models that "
                    "were trained on the same list of tasks"
                )
            raise GraphiumError(
                f"model {number} of the ensemble has other tasks than the first one (such as "
                f"{differing[0][0]}/{differing[0][1]}); give models that were trained on the same tasks"
            )


def add_model(total: Any, saved: SavedModel) -> None:
    """Add all that decides what a model predicts to a hash."""
    plain = [saved.featurizer.config(), saved.network.config(), [head.to_dict() for head in saved.heads]]
    total.update(json.dumps(plain, sort_keys=True, default=str).encode())
    total.update(saved.featurizer.structure_key().encode())
    for name, tensor in saved.network.state_dict().items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def _meaning(task: Task) -> tuple[Any, ...]:
    return task.dataset, task.name, task.level, task.kind, task.num_classes, task.classes, task.unit, task.outputs
