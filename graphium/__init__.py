"""Graphium: one graph network for all your tables of molecules.

The public names are imported at first use: ``import graphium`` alone imports no torch.

>>> import graphium as gf
>>> "Featurizer" in dir(gf)
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphium.chem.featurizer import Featurizer
    from graphium.config import compose
    from graphium.data.batch import GraphBatch, Labels
    from graphium.data.build import build_mix
    from graphium.data.datasets.dataset import Dataset, TaskGroup
    from graphium.data.mix import Mix
    from graphium.data.store.graph_store import GraphStore
    from graphium.errors import GraphiumError
    from graphium.models.saved import load_model, save_model
    from graphium.nn.network import Network, build_network
    from graphium.registry import register
    from graphium.training.datamodule import DataModule
    from graphium.training.module import Module
    from graphium.training.options import TrainerOptions
    from graphium.training.run import run
    from graphium.types import FeatureSpec, HeadSpec, Task

__version__ = "0.1.0"

_HOMES: dict[str, str] = {
    "DataModule": "graphium.training.datamodule",
    "Dataset": "graphium.data.datasets.dataset",
    "FeatureSpec": "graphium.types",
    "Featurizer": "graphium.chem.featurizer",
    "GraphBatch": "graphium.data.batch",
    "GraphStore": "graphium.data.store.graph_store",
    "GraphiumError": "graphium.errors",
    "HeadSpec": "graphium.types",
    "Labels": "graphium.data.batch",
    "Mix": "graphium.data.mix",
    "Module": "graphium.training.module",
    "Network": "graphium.nn.network",
    "Task": "graphium.types",
    "TaskGroup": "graphium.data.datasets.dataset",
    "TrainerOptions": "graphium.training.options",
    "build_mix": "graphium.data.build",
    "build_network": "graphium.nn.network",
    "compose": "graphium.config",
    "load_model": "graphium.models.saved",
    "register": "graphium.registry",
    "run": "graphium.training.run",
    "save_model": "graphium.models.saved",
}

__all__ = [
    "DataModule",
    "Dataset",
    "FeatureSpec",
    "Featurizer",
    "GraphBatch",
    "GraphStore",
    "GraphiumError",
    "HeadSpec",
    "Labels",
    "Mix",
    "Module",
    "Network",
    "Task",
    "TaskGroup",
    "TrainerOptions",
    "__version__",
    "build_mix",
    "build_network",
    "compose",
    "load_model",
    "register",
    "run",
    "save_model",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home at first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'graphium' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
