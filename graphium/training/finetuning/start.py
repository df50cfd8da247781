"""A saved model to go on from, and the network that does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphium.chem.featurizer import Featurizer
from graphium.data.mix import Mix
from graphium.errors import GraphiumError
from graphium.messages import listed
from graphium.models.folder.names import WEIGHTS
from graphium.models.folder.tensors import file_sha256
from graphium.models.saved import SavedModel, load_model
from graphium.nn.lora import add_lora, linear_layers, merge_lora
from graphium.nn.network import Network
from graphium.nn.stages import depths
from graphium.patterns import match
from graphium.training.finetuning.freezing import Freezing, Schedule, freeze, learning_rates, make_schedule
from graphium.training.finetuning.options import FinetuneOptions, LoraOptions, stage_depth, stage_name
from graphium.training.finetuning.tasks import Place, inherited_places, offered_heads
from graphium.training.finetuning.weights import copy_weights, network_options
from graphium.types import HeadSpec

# Stages whose learning rate is named in the plan.
_NAMED = 4


@dataclass(frozen=True)
class Origin:
    """A model, and what of it is wanted for some data.

    ``offered``: its heads, without tasks that the data cannot go on from. ``last``: the depth up to which weights are
    taken over. ``num_blocks``: blocks that are kept. ``section``: the ``model`` section of the configuration.
    """

    options: FinetuneOptions
    saved: SavedModel
    section: Mapping[str, Any]
    offered: tuple[HeadSpec, ...]
    last: int
    num_blocks: int
    schedule: Schedule

    @property
    def featurizer(self) -> Featurizer:
        return self.saved.featurizer

    @property
    def inherits(self) -> bool:
        """Whether tasks may keep their heads, and with them what the model knows of their labels."""
        return bool(self.offered)

    def places(self, heads: Sequence[HeadSpec]) -> dict[Place, Place]:
        """Tasks of the data that go on from one of the model, with its place there."""
        if not self.inherits:
            return {}
        return inherited_places(heads, self.saved.heads, self.offered, self.options.renamed)

    def network_options(self, heads: Sequence[HeadSpec]) -> dict[str, Any]:
        """The arguments of a network for the tasks of the data.

        Raises:
            GraphiumError: settings that contradict the model, or no task that goes on where heads are wanted.
        """
        places = self.places(heads)
        if self.options.up_to == "head" and not places:
            names = [f"{head.dataset}/{task.name}" for head in self.saved.heads for task in head.tasks]
            raise GraphiumError(
                "finetune.up_to is head and no task of the data has the names of data set and task of one of the "
                f"model's, {listed(names)}; say which is which with finetune.heads={{MINE: THEIRS}}"
            )
        return network_options(self.saved.network, self.section, heads, places, self.num_blocks)

    def start(self, mix: Mix) -> Finetuning:
        """Build the network for prepared data; what is new is drawn from torch's generator."""
        options = self.network_options(mix.heads)
        network = Network(mix.spec, mix.heads, **options)
        places = self.places(mix.heads)
        copied = copy_weights(network, self.saved.network, places, self.last, options)
        lora = self._add_lora(network, copied) if self.options.lora is not None else ()
        deep = depths(network)
        taken = {name: deep[name] for name in copied if name in deep}
        always = [name for name, depth in taken.items() if depth < self.schedule.always]
        if len(always) == len(deep):
            raise GraphiumError(
                "nothing would be trained: every weight is taken from the model and frozen; freeze less, or make heads "
                "new with finetune.up_to=readout"
            )
        freeze(network, always)
        rates = learning_rates(self.options, deep)
        inherited = [
            f"{head.dataset}/{task.name}"
            for head in mix.heads
            for column, task in enumerate(head.tasks)
            if (head.name, column) in places
        ]
        return Finetuning(self, network, taken, rates, inherited, self._alike(mix.heads, places), lora)

    def _add_lora(self, network: Network, copied: Sequence[str]) -> tuple[str, ...]:
        options = self.options.lora
        assert options is not None
        choices = [name for name in linear_layers(network) if f"{name}.weight" in set(copied)]
        found: dict[str, None] = {}
        for pattern in options.layers:
            names = match(pattern, choices)
            # The default names virtual nodes, which not every network has.
            if not names and pattern not in LoraOptions().layers:
                raise GraphiumError(
                    f"finetune.lora.layers names {pattern!r}, which no linear layer of the model has; "
                    f"there are {listed(choices)}"
                )
            found |= dict.fromkeys(names)
        add_lora(network, found, options.rank, options.alpha, options.dropout)
        return tuple(found)

    def _alike(self, heads: Sequence[HeadSpec], places: Mapping[Place, Place]) -> list[str]:
        """New tasks with the name of a task of the model, in another data set."""
        known = {task.name for head in self.saved.heads for task in head.tasks}
        return [
            task.name
            for head in heads
            for column, task in enumerate(head.tasks)
            if task.name in known and (head.name, column) not in places
        ]


def load_origin(
    options: FinetuneOptions, *, section: Mapping[str, Any], features: Mapping[str, Any], datasets: Sequence[str]
) -> Origin:
    """Load the model to go on from, and judge everything that does not need the data.

    Args:
        options: The ``finetune`` section.
        section: The ``model`` section.
        features: The ``features`` section: empty, or what the model was trained on.
        datasets: Names of the data sets.

    Raises:
        GraphiumError: no such model, other features, a stage that it does not have.
    """
    saved = load_model(options.source, trust_code=options.trust_code)
    _check_features(features, saved.featurizer, options.source)
    blocks = len(saved.network.blocks)
    last = stage_depth(options.up_to or "head", blocks, where="finetune.up_to")
    num_blocks = last if options.rest == "drop" else blocks
    offered: list[HeadSpec] = []
    if last > blocks + 1:
        offered = offered_heads(saved.heads, datasets, options.renamed)
    elif options.heads:
        raise GraphiumError(
            f"finetune.heads names tasks that keep their heads, and finetune.up_to={options.up_to} makes all heads "
            "new; leave one of them out"
        )
    schedule = make_schedule(options, num_blocks)
    return Origin(options, saved, section, tuple(offered), last, num_blocks, schedule)


def _check_features(said: Mapping[str, Any], featurizer: Featurizer, source: str) -> None:
    """Refuse features that differ from the model's."""
    has = featurizer.config()
    wanted = Featurizer(**{**has, **said}).config()
    for key, value in wanted.items():
        if value != has[key]:
            raise GraphiumError(
                f"features.{key} is {said[key]!r} and the model {source!r} was trained with {has[key]!r}; "
                "leave it out, the model says what its features are"
            )


@dataclass
class Finetuning:
    """A network that goes on from a model.

    ``taken``: parameters whose values are the model's -> their depth. ``rates``: parameter -> factor on the learning
    rate. ``inherited``: tasks that keep their heads. ``alike``: tasks that do not, though the model has one of the
    name. ``lora``: the layers with small matrices beside them.
    """

    origin: Origin
    network: Network
    taken: Mapping[str, int]
    rates: Mapping[str, float]
    inherited: Sequence[str] = ()
    alike: Sequence[str] = ()
    lora: Sequence[str] = field(default=())

    @property
    def callback(self) -> Freezing:
        return Freezing(self.network, self.taken, self.origin.schedule)

    @property
    def scales(self) -> Mapping[str, float] | None:
        """``rates``, unless all are 1."""
        return self.rates if set(self.rates.values()) != {1.0} else None

    @property
    def changes(self) -> bool:
        """Whether some parameters are trained in some epochs only."""
        return len(self.origin.schedule.steps) > 1

    def finish(self) -> None:
        """Make the network a normal one, once its training is over."""
        merge_lora(self.network)
        self.network.requires_grad_(True)

    def facts(self) -> dict[str, Any]:
        """What the saved model and its card say of where it comes from."""
        return {"finetuned_from": describe(self.origin)}

    def plan(self, lr: float) -> dict[str, str]:
        """What is copied, new and frozen, in words; ``lr``: the learning rate of the heads without ``head_lr``."""
        blocks = self.origin.num_blocks
        sizes = {name: p.numel() for name, p in self.network.named_parameters()}
        small = [name for name in sizes if name.endswith((".down", ".up")) and name.rpartition(".")[0] in self.lora]
        new = [name for name in sizes if name not in self.taken and name not in small]
        said = {
            "goes on from": _where(self.origin),
            "copied": f"{_stages(self.taken, blocks)} ({_count(sizes, self.taken)})",
            "new": f"{_parts(new)} ({_count(sizes, new)})" if new else "",
            "heads kept": listed(self.inherited) if self.inherited else "",
            "heads new": f"{listed(self.alike)} of the model would go on with finetune.heads=[{self.alike[0]}]"
            if self.alike
            else "",
            "frozen": self._frozen(sizes),
            "learning rates": self._rates(lr),
        }
        if self.lora:
            options = self.origin.options.lora
            assert options is not None
            said["LoRA"] = f"rank {options.rank} beside {len(self.lora)} linear layers ({_count(sizes, small)})"
        return {key: words for key, words in said.items() if words}

    def _frozen(self, sizes: Mapping[str, int]) -> str:
        words = []
        for since, count in self.origin.schedule.steps:
            names = {name: depth for name, depth in self.taken.items() if depth < count}
            what = f"{_stages(names, self.origin.num_blocks)} ({_count(sizes, names)})" if names else "nothing"
            when = f"after {since} epoch{'s' * (since > 1)} " if since else ""
            words.append(when + what)
        if len(words) > _NAMED:
            words = [*words[:2], "...", words[-1]]
        return "" if words == ["nothing"] else "; ".join(words)

    def _rates(self, lr: float) -> str:
        if self.scales is None:
            return ""
        blocks = self.origin.num_blocks
        rates = {depth: self.rates[name] for name, depth in depths(self.network).items()}
        words = [f"{stage_name(depth, blocks)} {lr * rates[depth]:.2g}" for depth in sorted(rates, reverse=True)]
        return ", ".join([*words[:3], "...", words[-1]] if len(words) > _NAMED else words)


def describe(origin: Origin) -> dict[str, Any]:
    """Name and hash of a model."""
    return {"name": str(origin.saved.facts.get("name") or origin.options.source), "hash": model_hash(origin.saved)}


def model_hash(saved: SavedModel) -> str | None:
    """The hash of the weights of a model that lies in a folder."""
    return None if saved.folder is None else file_sha256(saved.folder / WEIGHTS)


def _where(origin: Origin) -> str:
    facts = describe(origin)
    name = facts["name"] if facts["name"] == origin.options.source else f"{facts['name']} ({origin.options.source})"
    return name + (f", weights {facts['hash'][:12]}" if facts["hash"] else "")


def _stages(depths: Mapping[str, int], num_blocks: int) -> str:
    """Depths of parameters as stages: ``encoders to gnn:3, readout``."""
    present = sorted(set(depths.values()))
    runs: list[list[int]] = []
    for depth in present:
        if runs and depth == runs[-1][-1] + 1:
            runs[-1].append(depth)
        else:
            runs.append([depth])
    words = []
    for run in runs:
        first, last = stage_name(run[0], num_blocks), stage_name(run[-1], num_blocks)
        words.append(first if first == last else f"{first} to {last}")
    return ", ".join(words)


def _parts(names: Sequence[str]) -> str:
    """Modules in which parameters lie, shortly."""
    found = dict.fromkeys(
        ".".join(words[: {"heads": 3, "node_input": 1, "edge_input": 1}.get(words[0], 2)])
        for words in (name.split(".") for name in names)
    )
    return listed([name.removeprefix("heads.groups.").removeprefix("groups.") for name in found])


def _count(sizes: Mapping[str, int], names: Any) -> str:
    return f"{sum(sizes[name] for name in names):,} parameters"
