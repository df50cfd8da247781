"""A network at rest: ``model.safetensors``, ``config.yaml`` and a card, and the way back.

Loading runs no code of the model's author: weights are safetensors, the configuration is plain values, and parts are
registered names only, unless the caller trusts the author.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import graphium
from graphium.chem.featurizer import Featurizer
from graphium.data.store.columns import disk_errors
from graphium.errors import GraphiumError
from graphium.messages import tell
from graphium.models.card import card_text
from graphium.models.device import find_device
from graphium.models.folder.config_file import ModelConfig, heads_from_plain, heads_to_plain, plain, read_config
from graphium.models.folder.foreign import foreign_code, oversized
from graphium.models.folder.names import BESIDE, CARD, CONFIG, WEIGHTS
from graphium.models.folder.tensors import (
    UNFINISHED,
    TensorHeader,
    file_sha256,
    first_line,
    read_header,
    read_tensors,
    tensor_bytes,
    write_unfinished,
)
from graphium.models.sources import find_model
from graphium.nn.network import Network, check_network
from graphium.registry import check_arguments
from graphium.types import FeatureSpec, HeadSpec

__all__ = ["SavedModel", "heads_from_plain", "load_model", "plain", "save_model"]

# Where statistics of the training labels lie among the tensors.
_STATISTICS = "statistics/"
# What a configuration that is not ours can make the building of a network raise.
_MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
# How parameters get their first values.
_ALLOCATING = {torch.empty, torch.zeros, torch.ones, torch.full}
# Numbers that a network computes for itself, and does not save.
_MOST_BUFFERS = 1 << 20
_RANDOM = {torch.Tensor.uniform_, torch.Tensor.normal_, nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_}


@dataclass(frozen=True)
class SavedModel:
    """A network with everything that turns SMILES into its predictions.

    ``facts`` is what the card and the configuration say about the weights. ``statistics``: head name -> what was
    known of its training labels, float64 ``[tasks]`` or ``[tasks, classes]`` in label units, see
    :func:`graphium.training.evaluation.label_statistics`; may be empty. ``folder``: where the model lies.
    """

    network: Network
    featurizer: Featurizer
    heads: tuple[HeadSpec, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    statistics: Mapping[str, torch.Tensor] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def spec(self) -> FeatureSpec:
        return self.featurizer.spec


def save_model(
    folder: str | Path,
    network: Network,
    featurizer: Featurizer,
    heads: Sequence[HeadSpec],
    *,
    facts: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    statistics: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a network, its featurizer and its heads into ``folder``.

    An earlier model in the folder stays until the new one is complete, whenever the program is stopped.

    Args:
        folder: Made if it does not exist.
        network: On any device.
        featurizer: The one that made the network's features.
        heads: With the fitted label transforms.
        facts: Plain values about the weights, e.g. ``{"weights": "best", "epoch": 12}``; the card understands some,
            see :mod:`graphium.models.card`.
        metrics: ``metrics.json`` of the run, for the card.
        statistics: Of the training labels, by head name, as :class:`SavedModel` has them.

    Raises:
        GraphiumError: the folder cannot be written.
    """
    folder = Path(folder)
    lists: dict[str, list[float]] = {}
    raw_heads = heads_to_plain(heads, lists)
    tensors = dict(network.state_dict())
    tensors |= {name: torch.tensor(values, dtype=torch.float64) for name, values in lists.items()}
    tensors |= {f"{_STATISTICS}{name}": values.double() for name, values in (statistics or {}).items()}
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        weights = write_unfinished(folder / WEIGHTS, tensor_bytes(tensors, {}))
        config = ModelConfig(
            model=plain(network.config()),
            features=plain(featurizer.config()),
            spec=plain(featurizer.spec.to_dict()),
            heads=raw_heads,
            facts=plain(facts or {}),
            versions={"graphium": graphium.__version__, **{name: version(name) for name in ("torch", "rdkit")}},
            weights_sha256=file_sha256(weights),
        )
        card = card_text(heads, facts=config.facts, metrics=metrics or {}, network=network)
        os.replace(write_unfinished(folder / CONFIG, config.text().encode()), folder / CONFIG)
        # From here on the new model is the one that is loaded, its weights by either name.
        os.replace(weights, folder / WEIGHTS)
        for name in BESIDE:
            # They tell of the earlier weights.
            (folder / name).unlink(missing_ok=True)
        (folder / CARD).write_text(card, encoding="utf-8")


def load_model(source: str | Path, *, trust_code: bool = False, device: str | torch.device = "cpu") -> SavedModel:
    """Load what :func:`save_model` wrote, ready to predict.

    Args:
        source: The ``model/`` of a run, a run's folder, ``hub:org/name[@revision]``, or the name of a model in the
            cache, such as ``minimol``.
        trust_code: Allow parts that are named by a dotted path, that is the author's own code.
        device: Where the network goes.

    Raises:
        GraphiumError: a missing or damaged file, a newer format, weights that do not fit, untrusted code,
            or features that this installation makes differently.
    """
    place = find_device(device)
    folder = find_model(source)
    config = read_config(folder / CONFIG)
    path = _weights_file(folder, config)
    header = read_header(path)
    with _judging(folder):
        foreign = foreign_code(config)
        _allow(foreign, folder, trust_code)
        lists: defaultdict[str, list[float]] = defaultdict(list)
        heads = heads_from_plain(config.heads, lists)
        bounds = None if foreign else _Bounded(config, header)
        featurizer = _featurizer(config, folder)
        network = _network(config, featurizer, heads, bounds)
        # A file that does not fit is not read.
        _check_shapes(network, heads, set(lists), header, path)
    tensors, _ = read_tensors(path, config.weights_sha256, may_lack_checksum=config.weights_sha256 is None)
    with _judging(folder):
        if lists:
            heads = heads_from_plain(config.heads, {name: tensors.pop(name).tolist() for name in lists})
            network = _network(config, featurizer, heads, bounds)
        statistics = {
            name: tensors.pop(_STATISTICS + name) for name in _statistics(heads) if _STATISTICS + name in tensors
        }
        _assign(network, tensors, path)
    return SavedModel(network.to(place).eval(), featurizer, heads, config.facts, statistics, folder)


def _weights_file(folder: Path, config: ModelConfig) -> Path:
    """The weights that belong to the configuration; they have another name where a saving was stopped at its end."""
    unfinished = folder / (WEIGHTS + UNFINISHED)
    if config.weights_sha256 and unfinished.is_file() and file_sha256(unfinished) == config.weights_sha256:
        return unfinished
    return folder / WEIGHTS


@contextmanager
def _judging(folder: Path) -> Iterator[None]:
    """Whatever goes wrong while a configuration is made use of is a damaged file."""
    try:
        yield
    except _MISFITS as error:
        raise GraphiumError(
            f"{str(folder / CONFIG)!r} is damaged ({type(error).__name__}: {first_line(error)}); "
            "copy the whole model/ folder again"
        ) from error


def _allow(foreign: Mapping[str, str], folder: Path, trust_code: bool) -> None:
    if foreign and not trust_code:
        where, name = next(iter(foreign.items()))
        raise GraphiumError(
            f"{where} of this model is {name!r}, code outside graphium; "
            "load it with trust_code=True only if you trust its author"
        )
    if foreign:
        said = ", ".join(f"{name} ({where})" for where, name in foreign.items())
        tell([f"{folder}: trust_code=True lets this model run code outside graphium: {said}"])


def _featurizer(config: ModelConfig, folder: Path) -> Featurizer:
    featurizer = Featurizer(**check_arguments(Featurizer, config.features, where="features"))
    if featurizer.spec != FeatureSpec.from_dict(config.spec):
        saved_with = config.versions.get("graphium") or config.facts.get("graphium", "see its card")
        raise GraphiumError(
            f"the model in {str(folder)!r} was trained on features that this graphium makes differently; "
            f"install the version it was saved with ({saved_with})"
        )
    return featurizer


def _network(
    config: ModelConfig, featurizer: Featurizer, heads: Sequence[HeadSpec], bounds: _Bounded | None
) -> Network:
    """The network, its weights not set; ``bounds`` is None where layers of others may need real ones."""
    check_network(**config.model)
    with bounds or nullcontext():
        return Network(featurizer.spec, heads, **config.model)


def _statistics(heads: Sequence[HeadSpec]) -> dict[str, tuple[int, ...]]:
    """Head name -> shape of the statistics of its labels."""
    return {head.name: (head.num_tasks, head.num_classes)[: 2 if head.num_classes else 1] for head in heads}


def _check_shapes(
    network: nn.Module, heads: Sequence[HeadSpec], lists: set[str], header: TensorHeader, path: Path
) -> None:
    """Refuse a file that lacks a tensor, has one too many, or one of another shape or kind."""
    wanted = {name: _form(tuple(t.shape), t.is_floating_point()) for name, t in network.state_dict().items()}
    saved = {name: _form(shape, header.dtypes[name].startswith(("F", "BF"))) for name, shape in header.shapes.items()}
    wanted |= {name: _form(header.shapes[name], True) for name in lists if len(header.shapes.get(name, ())) == 1}
    wanted |= dict.fromkeys(lists - wanted.keys(), "a list")
    known = {_STATISTICS + name: _form(shape, True) for name, shape in _statistics(heads).items()}
    wanted |= {name: form for name, form in known.items() if name in saved}
    differing = sorted(name for name in saved.keys() | wanted.keys() if saved.get(name) != wanted.get(name))
    if differing:
        first = differing[0]
        raise GraphiumError(
            f"{str(path)!r} does not fit its config.yaml: {len(differing)} tensors differ, the first is {first} "
            f"({saved.get(first, 'nothing')} in the file, {wanted.get(first, 'nothing')} in the network); "
            "copy the whole model/ folder again"
        )


def _form(shape: tuple[int, ...], is_floating: bool) -> str:
    return f"{shape}" if is_floating else f"{shape} of whole numbers"


class _Bounded(TorchFunctionMode):
    """Parameters that are about to be replaced: none is drawn, and no more are allocated than the file holds.

    Memory that is allocated and not written to costs nothing. (On torch's meta device nothing at all would be
    allocated, but its first use imports for a second.)

    Raises:
        ValueError: the configuration asks for a larger network.
    """

    def __init__(self, config: ModelConfig, header: TensorHeader) -> None:
        super().__init__()
        self.num_values = sum(map(math.prod, header.shapes.values()))
        if found := oversized(config, len(header.shapes), self.num_values):
            raise ValueError(f"{found}, for {self.num_values:,} weights")
        self.left = 0

    def __enter__(self) -> Any:
        self.left = self.num_values + _MOST_BUFFERS
        return super().__enter__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _RANDOM:
            return args[0] if args else kwargs["tensor"]
        if func in _ALLOCATING:
            size = args or (kwargs or {})["size"]
            self.left -= math.prod(size[0] if size and isinstance(size[0], Sequence) else size)
            if self.left < 0:
                raise ValueError(f"a network with more than its {self.num_values:,} weights")
        return func(*args, **(kwargs or {}))


def _assign(network: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Put the weights into the network, without a copy where that can be."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise GraphiumError(f"{str(path)!r} holds weights that are no numbers ({name}); train the model again")
    state = network.state_dict()
    several = sum(1 for _ in network.named_parameters(remove_duplicate=False))
    is_tied = sum(1 for _ in network.parameters()) < several
    network.load_state_dict(
        {name: tensor.to(state[name].dtype) for name, tensor in weights.items()}, assign=not is_tied
    )
