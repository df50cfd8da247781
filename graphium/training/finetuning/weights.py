"""The network that goes on from a model: its options, and the weights that it takes over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from graphium.errors import GraphiumError
from graphium.nn.groups import Group
from graphium.nn.heads import HeadGroup
from graphium.nn.network import Network, check_heads
from graphium.nn.readouts import ReadoutOptions, read_readouts
from graphium.nn.stages import depth_of
from graphium.training.finetuning.tasks import Place, inherited_entries, owners
from graphium.types import HeadSpec

# Options of a network that its weights below the readouts do not depend on.
FREE = ("readouts", "heads", "head_width", "head_depth", "head_norm", "dropout", "input_dropout")
_FREE_WORDS = ", ".join(f"model.{key}" for key in FREE)


def network_options(
    model: Network,
    section: Mapping[str, Any],
    heads: Sequence[HeadSpec],
    places: Mapping[Place, Place],
    num_blocks: int,
) -> dict[str, Any]:
    """The options of a network like the model's, for the tasks of the data.

    Args:
        model: The network to go on from.
        section: The ``model`` section: what of :data:`FREE` should differ; the rest may repeat the model's.
        heads: Of the data.
        places: Tasks that go on from one of the model, with its place there.
        num_blocks: Blocks to keep.

    Raises:
        GraphiumError: the section contradicts the model, or changes what an inherited head reads.
    """
    config = model.config()
    for key, value in section.items():
        if key not in FREE and not (key in config and _same(value, config[key])):
            has = f"{config[key]} in the model" if key in config else "for networks from scratch"
            raise GraphiumError(
                f"model.{key} is {value!r} and {has}; leave it out, fine-tuning takes all but {_FREE_WORDS} from there"
            )
    options = {**config, **{key: section[key] for key in FREE if key in section}, "depth": num_blocks}
    if num_blocks < config["depth"]:
        # The width of the vectors that the last block made; the one that is now the last has its own.
        options["out_width"] = None
    saved, said = config["readouts"] or {}, section.get("readouts") or {}
    levels = {head.level for head in heads}
    options["readouts"] = {
        level: {**saved.get(level, {}), **(said.get(level) or {})}
        for level in dict.fromkeys([*saved, *said])
        if level in levels or level in said
    } or None
    entries = inherited_entries(heads, places, model_groups(model), config, section)
    options["heads"] = {**(section.get("heads") or {}), **entries} or None
    level_of = {head.name: head.level for head in heads}
    for level in {level_of[name] for name, _ in places}:
        if not same_readout(model, options, level):
            raise GraphiumError(
                f"model.readouts.{level} differs from the model's, and its heads read that; leave it out, or make all "
                "heads new with finetune.up_to=readout"
            )
    return options


def model_groups(model: Network) -> list[Group]:
    """The groups of tasks that share hidden layers in a network."""
    return check_heads(model.config(), model.head_specs)


def same_readout(model: Network, options: Mapping[str, Any], level: str) -> bool:
    """Whether the readout of a level computes the same in the model and in a network of these options."""
    return level in model.readouts and _readout(model.config(), level) == _readout(options, level)


def _readout(options: Mapping[str, Any], level: str) -> dict[str, Any]:
    said = vars(read_readouts(options["readouts"]).get(level, ReadoutOptions()))
    defaults = {key: options[key] for key in ("width", "activation", "pooling")}
    return {key: defaults.get(key) if value is None else value for key, value in said.items() if key != "dropout"}


def copy_weights(
    network: Network, model: Network, places: Mapping[Place, Place], last: int, options: Mapping[str, Any]
) -> list[str]:
    """Copy parameters and buffers up to a depth, and those of inherited heads.

    Args:
        network: Copied into; it has as many blocks as the model, or fewer.
        model: Copied from.
        places: Tasks that go on from one of the model, with its place there.
        last: The depth up to which to copy, in the model.
        options: Of ``network``.

    Returns:
        The names of what was copied.

    Raises:
        GraphiumError: a block changes its shape where the network is cut.
    """
    mine, theirs = network.state_dict(keep_vars=True), model.state_dict()
    blocks = len(network.blocks)
    kept = {level for level in network.readouts if same_readout(model, options, level)}
    copied: dict[str, Tensor] = {}
    for name, old in theirs.items():
        depth = depth_of(name, len(model.blocks))
        if name.startswith("heads.") or depth > last or name not in mine:
            continue
        if name.startswith("readouts.") and name.split(".")[1] not in kept:
            continue
        if name.startswith("residual."):
            # A row for every block.
            old = old[: len(mine[name])]
        if old.shape != mine[name].shape:
            raise GraphiumError(
                f"the model cannot end after gnn:{blocks - 1}: {name} is {tuple(old.shape)} in the model and would be "
                f"{tuple(mine[name].shape)}; choose another block in finetune.up_to, or leave finetune.rest=drop out"
            )
        copied[name] = old
    copied |= _head_weights(network, model, places)
    with torch.no_grad():
        for name, value in copied.items():
            mine[name].copy_(value)
    return list(copied)


def _head_weights(network: Network, model: Network, places: Mapping[Place, Place]) -> dict[str, Tensor]:
    """The weights of inherited heads, under their names in ``network``."""
    found: dict[str, Tensor] = {}
    old_owner = owners(model_groups(model))
    for group in model_groups(network):
        sources = [places.get((head, column)) for head, columns in group.columns.items() for column in columns]
        first = sources[0]
        if first is None:
            continue
        old_group = old_owner[first]
        old, new = _group(model, old_group), _group(network, group)
        flat = [(head, column) for head, columns in old_group.columns.items() for column in columns]
        order = torch.tensor([flat.index(place) for place in sources])  # type: ignore[arg-type]
        for name, value in old.hidden.state_dict().items():
            # Tasks with hidden layers of their own lie along the first axis.
            found[f"heads.groups.{group.name}.hidden.{name}"] = value[order] if old.split else value
        for head, columns in group.columns.items():
            shapes = {name: value.shape for name, value in new.outputs[head].state_dict().items()}
            for name, shape in shapes.items():
                rows = []
                for there, column in (places[head, column] for column in columns):
                    value, among = old.outputs[there].state_dict()[name], old_group.columns[there]
                    rows.append(value.reshape(len(among), max(new.widths[head], 1), -1)[among.index(column)])
                found[f"heads.groups.{group.name}.outputs.{head}.{name}"] = torch.stack(rows).reshape(shape)
    return found


def _group(network: Network, group: Group) -> HeadGroup:
    module = network.heads.groups[group.name]
    assert isinstance(module, HeadGroup)
    return module


def _same(said: Any, saved: Any) -> bool:
    """Whether two values of an option mean the same; a part may be named alone."""
    names = [
        value["name"] if isinstance(value, Mapping) and set(value) == {"name"} else value for value in (said, saved)
    ]
    first, second = (None if name == "none" else name for name in names)
    return bool(first == second)
