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
from safetensors.torch import load_file, save
from torch import nn

from graphium.chem.featurizer import Featurizer
from graphium.errors import GraphiumError
from graphium.models.card import write_card
from graphium.nn.network import Network, build_network
from graphium.registry import check_arguments
from graphium.types import FeatureSpec, HeadSpec, Task

FORMAT = 1
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
# Names of data sets and tasks, which are no parts.
_NAMES = re.compile(r"model\.heads\.[^.]+\.of(\[\d+\])?")
# Lists of more numbers are kept beside the weights: a label transform may have a thousand knots for every task.
_LONG = 16
# No parameter has a slash in its name.
_BESIDE = "heads/"
# The C library reads thousands of tasks in a tenth of the time.
_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: type = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
# What a task is where nothing more is said of it.
_DEFAULTS = {
    key: value
    for key, value in Task("", "", "graph", "regression").to_dict().items()
    if key not in ("name", "dataset", "level", "kind")
}


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
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in network.state_dict().items()}
    config = {
        "format": FORMAT,
        "facts": plain(facts or {}),
        "model": plain(network.config()),
        "features": plain(featurizer.config()),
        "spec": plain(featurizer.spec.to_dict()),
        "heads": [_head_config(head, f"{_BESIDE}{number}", tensors) for number, head in enumerate(heads)],
    }
    # The library's own way of writing a file lets nobody else read it.
    (folder / "model.safetensors").write_bytes(save(tensors))
    text = yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
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
    path = folder / "model.safetensors"
    tensors = _read_tensors(path)
    beside = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_BESIDE)}
    try:
        heads = tuple(head_from_dict(_unpacked(raw, beside)) for raw in config["heads"])
        featurizer, network = _build(config, heads, folder)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise GraphiumError(
            f"{str(folder / 'config.yaml')!r} is damaged ({type(error).__name__}: {_first_line(error)}); "
            "copy the whole model/ folder again"
        ) from error
    _load_weights(network, tensors, path)
    return SavedModel(network.to(device).eval(), featurizer, heads, config["facts"])


def _build(config: Mapping[str, Any], heads: tuple[HeadSpec, ...], folder: Path) -> tuple[Featurizer, Network]:
    spec = FeatureSpec.from_dict(config["spec"])
    featurizer = Featurizer(**check_arguments(Featurizer, config["features"], where="features"))
    if featurizer.spec != spec:
        raise GraphiumError(
            f"the model in {str(folder)!r} was trained on features that this graphium makes differently; "
            f"install the version it was saved with ({config['facts'].get('graphium', 'see its card')})"
        )
    return featurizer, build_network(spec, heads, **config["model"])


def head_from_dict(raw: Mapping[str, Any]) -> HeadSpec:
    """The inverse of ``HeadSpec.to_dict``."""
    tasks = tuple(Task.from_dict(task) for task in raw["tasks"])
    first = tasks[0]
    return HeadSpec(raw["name"], first.dataset, first.level, first.kind, first.num_classes, tasks)


def _head_config(head: HeadSpec, name: str, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A head as plain values, as short as thousands of tasks need it.

    What is left at its default is left out, what tasks have in common is one object, which YAML writes once; long
    lists of numbers go to ``tensors``, under names that begin with ``name``.
    """
    raw = plain(head.to_dict())
    shared: dict[str, list[Any]] = {}
    tasks = []
    for number, task in enumerate(raw["tasks"]):
        kept = {
            key: _packed(value, f"{name}/{number}/{key}", tensors)
            for key, value in task.items()
            if value != _DEFAULTS.get(key)
        }
        for key, value in kept.items():
            seen = shared.setdefault(key, [])
            if isinstance(value, dict | list) and key != "transform":
                if value not in seen:
                    seen.append(value)
                kept[key] = seen[seen.index(value)]
        tasks.append(kept)
    return {**raw, "tasks": tasks}


def _packed(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        return {key: _packed(item, f"{name}/{key}", tensors) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) > _LONG and all(type(item) is float for item in value):
        tensors[name] = torch.tensor(value, dtype=torch.float64)
        return {"tensor": name}
    return [_packed(item, f"{name}/{number}", tensors) for number, item in enumerate(value)]


def _unpacked(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"tensor"}:
            return tensors[value["tensor"]].tolist()
        return {key: _unpacked(item, tensors) for key, item in value.items()}
    return [_unpacked(item, tensors) for item in value] if isinstance(value, list) else value


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
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
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
    elif isinstance(value, str) and _DOTTED.fullmatch(value) and not _NAMES.fullmatch(where):
        raise GraphiumError(
            f"{where} of this model is {value!r}, code outside graphium; "
            "load it with trust_code=True only if you trust its author"
        )


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise GraphiumError(f"{str(path)!r} is missing; copy the whole model/ folder")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise GraphiumError(f"{str(path)!r} is damaged ({_first_line(error)}); copy it again") from None


def _load_weights(network: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
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
