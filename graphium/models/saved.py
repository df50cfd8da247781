"""A network at rest: ``model.safetensors``, ``config.yaml`` and a card, and the way back.

Loading runs no code of the model's author: weights are safetensors, the configuration is read by YAML's safe
loader, and parts are registered names only, unless the caller trusts the author.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from graphium.chem.featurizer import Featurizer
from graphium.errors import GraphiumError
from graphium.models.card import write_card
from graphium.nn.network import Network, build_network
from graphium.registry import check_arguments
from graphium.types import FeatureSpec, HeadSpec, Task

FORMAT = 1
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@dataclass(frozen=True)
class SavedModel:
    """A network with everything that turns SMILES into its predictions.

    ``facts`` is what the card and the configuration say about the weights.
    """

    network: Network
    featurizer: Featurizer
    heads: tuple[HeadSpec, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

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
) -> None:
    """Write a network, its featurizer and its heads into ``folder``.

    Args:
        folder: Made if it does not exist; files of an earlier model in it are replaced.
        network: On any device.
        featurizer: The one that made the network's features.
        heads: With the fitted label transforms.
        facts: Plain values about the weights, e.g. ``{"weights": "best", "epoch": 12}``.
        metrics: ``metrics.json`` of the run, for the card.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "format": FORMAT,
        "facts": plain(facts or {}),
        "model": plain(network.config()),
        "features": plain(featurizer.config()),
        "spec": plain(featurizer.spec.to_dict()),
        "heads": [plain(head.to_dict()) for head in heads],
    }
    weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    write_card(folder / "README.md", heads, facts=config["facts"], metrics=metrics or {}, network=network)


def load_model(folder: str | Path, *, trust_code: bool = False, device: str | torch.device = "cpu") -> SavedModel:
    """Load what :func:`save_model` wrote, ready to predict.

    Args:
        folder: The ``model/`` of a run, or a downloaded one.
        trust_code: Allow parts that are named by a dotted path, that is the author's own code.
        device: Where the network goes.

    Raises:
        GraphiumError: a missing or damaged file, a newer format, weights that do not fit, untrusted code,
            or features that this installation makes differently.
    """
    folder = Path(folder)
    config = _read_config(folder / "config.yaml")
    if not trust_code:
        for section in ("model", "features"):
            _refuse_code(config[section], section)
    try:
        heads, featurizer, network = _build(config, folder)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise GraphiumError(
            f"{str(folder / 'config.yaml')!r} is damaged ({type(error).__name__}: {_first_line(error)}); "
            "copy the whole model/ folder again"
        ) from error
    _load_weights(network, folder / "model.safetensors")
    return SavedModel(network.to(device).eval(), featurizer, heads, config["facts"])


def _build(config: Mapping[str, Any], folder: Path) -> tuple[tuple[HeadSpec, ...], Featurizer, Network]:
    heads = tuple(head_from_dict(raw) for raw in config["heads"])
    spec = FeatureSpec.from_dict(config["spec"])
    featurizer = Featurizer(**check_arguments(Featurizer, config["features"], where="features"))
    if featurizer.spec != spec:
        raise GraphiumError(
            f"the model in {str(folder)!r} was trained on features that this graphium makes differently; "
            f"install the version it was saved with ({config['facts'].get('graphium', 'see its card')})"
        )
    return heads, featurizer, build_network(spec, heads, **config["model"])


def head_from_dict(raw: Mapping[str, Any]) -> HeadSpec:
    """The inverse of ``HeadSpec.to_dict``."""
    tasks = tuple(Task.from_dict(task) for task in raw["tasks"])
    first = tasks[0]
    return HeadSpec(raw["name"], first.dataset, first.level, first.kind, first.num_classes, tasks)


def plain(value: Any) -> Any:
    """Mappings, sequences, numbers and strings as YAML's and JSON's own types."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if hasattr(value, "item"):
        return value.item()
    return str(value)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise GraphiumError(f"{str(path.parent)!r} holds no model (no config.yaml); give the model/ folder of a run")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GraphiumError(f"{str(path)!r} cannot be read ({_first_line(error)}); copy the model again") from None
    if not isinstance(config, dict) or not {"model", "features", "spec", "heads"} <= config.keys():
        raise GraphiumError(f"{str(path)!r} is not the configuration of a saved model; give a model/ folder")
    if config.get("format", 0) > FORMAT:
        raise GraphiumError(
            f"{str(path)!r} has format {config['format']} and this graphium reads up to {FORMAT}; "
            "install a newer graphium"
        )
    return {"facts": {}, **config}


def _refuse_code(value: Any, where: str) -> None:
    """Refuse any word that could be imported, wherever it stands."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_code(item, f"{where}.{key}")
    elif isinstance(value, list):
        for position, item in enumerate(value):
            _refuse_code(item, f"{where}[{position}]")
    elif isinstance(value, str) and _DOTTED.fullmatch(value):
        raise GraphiumError(
            f"{where} of this model is {value!r}, code outside graphium; "
            "load it with trust_code=True only if you trust its author"
        )


def _load_weights(network: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise GraphiumError(f"{str(path)!r} is missing; copy the whole model/ folder")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise GraphiumError(f"{str(path)!r} is damaged ({_first_line(error)}); copy it again") from None
    saved = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    differing = sorted(name for name in saved.keys() | wanted.keys() if saved.get(name) != wanted.get(name))
    if differing:
        raise GraphiumError(
            f"{str(path)!r} does not fit its config.yaml: {len(differing)} tensors differ, the first is "
            f"{differing[0]} ({saved.get(differing[0])} in the file, {wanted.get(differing[0])} in the network); "
            "copy the whole model/ folder again"
        )
    network.load_state_dict(weights)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
