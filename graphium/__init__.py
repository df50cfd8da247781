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
    from graphium.models.attribution.contributions import Explainer, explain
    from graphium.models.fingerprints.fingerprinter import Fingerprinter
    from graphium.models.fingerprints.transformer import FingerprintTransformer
    from graphium.models.predictor import Predictor
    from graphium.models.push import push_to_hub
    from graphium.models.saved import SavedModel, load_model, save_model
    from graphium.models.trust.conformal import Intervals
    from graphium.models.trust.domain import Domain
    from graphium.models.trust.spread import Spread
    from graphium.nn.network import Network, build_network
    from graphium.registry import register
    from graphium.training.datamodule import DataModule
    from graphium.training.finetuning.api import finetune
    from graphium.training.measuring import evaluate
    from graphium.training.module import Module
    from graphium.training.options import TrainerOptions
    from graphium.training.run import run
    from graphium.types import FeatureSpec, HeadSpec, Task

__version__ = "0.1.0"

_HOMES: dict[str, str] = {
    "DataModule": "graphium.training.datamodule",
    "Dataset": "graphium.data.datasets.dataset",
    "Domain": "graphium.models.trust.domain",
    "Explainer": "graphium.models.attribution.contributions",
    "FeatureSpec": "graphium.types",
    "Featurizer": "graphium.chem.featurizer",
    "FingerprintTransformer": "graphium.models.fingerprints.transformer",
    "Fingerprinter": "graphium.models.fingerprints.fingerprinter",
    "GraphBatch": "graphium.data.batch",
    "GraphStore": "graphium.data.store.graph_store",
    "GraphiumError": "graphium.errors",
    "HeadSpec": "graphium.types",
    "Intervals": "graphium.models.trust.conformal",
    "Labels": "graphium.data.batch",
    "Mix": "graphium.data.mix",
    "Module": "graphium.training.module",
    "Network": "graphium.nn.network",
    "Predictor": "graphium.models.predictor",
    "SavedModel": "graphium.models.saved",
    "Spread": "graphium.models.trust.spread",
    "Task": "graphium.types",
    "TaskGroup": "graphium.data.datasets.dataset",
    "TrainerOptions": "graphium.training.options",
    "build_mix": "graphium.data.build",
    "build_network": "graphium.nn.network",
    "compose": "graphium.config",
    "evaluate": "graphium.training.measuring",
    "explain": "graphium.models.attribution.contributions",
    "finetune": "graphium.training.finetuning.api",
    "load_model": "graphium.models.saved",
    "push_to_hub": "graphium.models.push",
    "register": "graphium.registry",
    "run": "graphium.training.run",
    "save_model": "graphium.models.saved",
}

__all__ = [
    "DataModule",
    "Dataset",
    "Domain",
    "Explainer",
    "FeatureSpec",
    "Featurizer",
    "FingerprintTransformer",
    "Fingerprinter",
    "GraphBatch",
    "GraphStore",
    "GraphiumError",
    "HeadSpec",
    "Intervals",
    "Labels",
    "Mix",
    "Module",
    "Network",
    "Predictor",
    "SavedModel",
    "Spread",
    "Task",
    "TaskGroup",
    "TrainerOptions",
    "__version__",
    "build_mix",
    "build_network",
    "compose",
    "evaluate",
    "explain",
    "finetune",
    "load_model",
    "push_to_hub",
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
