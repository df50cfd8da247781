"""Fingerprints: the vectors that a network has of molecules, or of their atoms, bonds and pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch
from graphium.data.molecules import Molecules
from graphium.errors import GraphiumError
from graphium.models.device import find_device
from graphium.models.ready import ready_model
from graphium.models.saved import SavedModel
from graphium.nn.stages import Stage, owners, read_stage, states
from graphium.registry import PartConfig, build

# Texts that are parsed together; their features are in memory at once.
_AT_ONCE = 2048
# A molecule that has atoms, a bond and a pair.
_SMALL = "CC"


class Fingerprinter:
    """Texts of molecules -> vectors out of a saved model.

    Args:
        model: What :func:`~graphium.models.saved.load_model` takes, or what it gave.
        layer: A place in the network, ``encoders``, ``gnn:K``, ``readout[:LEVEL]`` or ``head:NAME`` (see
            :mod:`graphium.nn.stages`), or several, whose vectors are joined. None: what the model says of itself
            (``facts["fingerprint"]``), else ``readout``, or ``gnn`` where the network has no readout of molecules.
        pooling: How the vectors of atoms, bonds or pairs become one of the molecule: a registered pooling, or
            several side by side. None: the pooling of the network's own graph readout, or ``mean`` where it has
            none. Places that have a vector of the molecule need none.
        batch_size: Molecules that the network sees at once.
        device: Where the network runs.
        trust_code: Allow a model with parts outside graphium, that is its author's own code.

    Attributes:
        failures: (position, reason) of every text of the last call that could not be used.

    Raises:
        GraphiumError: a model that cannot be loaded, a place that the network does not have, an unknown pooling or
            one that has weights of its own.
    """

    def __init__(
        self,
        model: str | Path | SavedModel,
        layer: str | Sequence[str] | None = None,
        pooling: PartConfig | Sequence[PartConfig] | None = None,
        *,
        batch_size: int = 256,
        device: str | torch.device = "cpu",
        trust_code: bool = False,
    ) -> None:
        if not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise GraphiumError(f"batch_size is {batch_size!r}; give a number of molecules of at least 1")
        self.device = find_device(device)
        self.saved = saved = ready_model(model, trust_code, self.device)
        self.network = saved.network
        self.batch_size = batch_size
        said = layer if layer is not None else saved.facts.get("fingerprint", _own_layer(saved))
        places = _several("layer", said, example="readout")
        self.stages: tuple[Stage, ...] = tuple(read_stage(str(place), self.network) for place in places)
        _check_differ("layer", [str(stage) for stage in self.stages])
        self.pooling = read_pooling(pooling if pooling is not None else own_pooling(saved))
        self.failures: list[tuple[int, str]] = []
        self._pools = [self._build_pools(width) for width in self._widths]

    @property
    def levels(self) -> tuple[str, ...]:
        """Of every place: what has a vector there."""
        return tuple(stage.level for stage in self.stages)

    @property
    def num_channels(self) -> int:
        """Numbers of a molecule's fingerprint."""
        return len(self.names)

    @property
    def num_entity_channels(self) -> int:
        """Numbers of the vector of one atom, bond or pair."""
        return sum(self._widths)

    @cached_property
    def names(self) -> list[str]:
        """A name for every number of a molecule's fingerprint, such as ``readout_graph_7`` or ``gnn_3_max_0``."""
        found = []
        for stage, width in zip(self.stages, self._widths, strict=True):
            kinds = [""] if stage.level == "graph" else [f"_{name}" for name, _ in self.pooling]
            base = str(stage).replace(":", "_")
            found += [f"{base}{kind}_{channel}" for kind in kinds for channel in range(width)]
        return found

    @overload
    def fingerprint(self, texts: Iterable[Any], *, per_atom: Literal[False] = False) -> np.ndarray: ...

    @overload
    def fingerprint(self, texts: Iterable[Any], *, per_atom: Literal[True]) -> list[np.ndarray]: ...

    def fingerprint(self, texts: Iterable[Any], *, per_atom: bool = False) -> np.ndarray | list[np.ndarray]:
        """The vectors of molecules.

        Args:
            texts: SMILES, CXSMILES or molblocks.
            per_atom: Give the vectors of the atoms (bonds, pairs: whatever has a vector at these places) instead
                of one for the molecule.

        Returns:
            float32 ``[texts, num_channels]``, in the order of the texts; a row of NaN for every text that could not
            be used, see ``failures``. With ``per_atom`` a list with one array per text, ``[entities,
            num_entity_channels]`` in the order of the text's own atoms or bonds (of pairs i < j: sorted), without
            rows where the text could not be used.

        Raises:
            GraphiumError: ``per_atom``, and a place has vectors of molecules, or the places are of several levels.
        """
        if isinstance(texts, str):
            raise GraphiumError(f"{texts!r} is one text; give a list of them")
        if len(getattr(texts, "shape", (0,))) > 1:
            raise GraphiumError("the molecules are a table; give its column of SMILES alone")
        if per_atom:
            self.check_per_atom()
        every = list(texts)
        self.failures = []
        found: list[np.ndarray] = []
        for start in range(0, len(every), _AT_ONCE):
            molecules = Molecules(every[start : start + _AT_ONCE], self.saved.featurizer)
            self.failures += [(start + position, reason) for position, reason in molecules.failures]
            if per_atom:
                values, counts = self.entities(molecules)
                found += np.split(values, np.cumsum(counts)[:-1])
            else:
                found.append(self.pooled(molecules))
        if per_atom:
            return found
        return np.concatenate(found) if found else np.empty((0, self.num_channels), np.float32)

    def check_per_atom(self) -> None:
        """Refuse places that have no vectors of atoms, bonds or pairs, or of more than one of these."""
        if "graph" in self.levels:
            place = self.stages[self.levels.index("graph")]
            raise GraphiumError(
                f"{str(place)!r} has a vector per molecule and none per atom; choose a layer of atoms, for example gnn"
            )
        if len(set(self.levels)) > 1:
            places = " and ".join(f"{stage} ({stage.level})" for stage in self.stages)
            raise GraphiumError(f"the vectors at {places} are not of the same things; take them one after the other")

    def pooled(self, molecules: Molecules) -> np.ndarray:
        """One vector per text, float32 ``[texts, num_channels]``; NaN where a text could not be used."""
        found = np.full((molecules.store.num_rows, self.num_channels), np.nan, np.float32)
        for batch in self._batches(molecules):
            found[batch.row.numpy()] = self.of_batch(batch).cpu().numpy()
        return found

    def entities(self, molecules: Molecules) -> tuple[np.ndarray, np.ndarray]:
        """The vectors of atoms, bonds or pairs in the order of each text's own.

        Returns:
            float32 ``[entities, num_entity_channels]``, text after text, and int64 ``[texts]``: how many are a text's.
        """
        counts = np.zeros(molecules.store.num_rows, np.int64)
        found = [np.empty((0, self.num_entity_channels), np.float32)]
        for batch in self._batches(molecules):
            places = molecules.places(self.levels[0], batch)
            counts[batch.row.numpy()] = places.counts
            values = torch.cat(self._states(batch), dim=1).float().cpu().numpy()
            found.append(values[places.entity])
        return np.concatenate(found), counts

    def of_batch(self, batch: GraphBatch) -> Tensor:
        """One vector per molecule of a batch, float32 ``[graphs, num_channels]``, on the device of the network.

        Where a place is of pairs the batch carries all of them.
        """
        found = []
        with torch.inference_mode():
            batch = batch.to(self.device)
            for stage, x, pools in zip(self.stages, self._states(batch), self._pools, strict=True):
                if stage.level == "graph":
                    found.append(x)
                else:
                    segments = owners(batch, stage.level)
                    found += [pool(x, segments) for pool in pools]
            return torch.cat([one.float() for one in found], dim=1)

    def _states(self, batch: GraphBatch) -> list[Tensor]:
        with torch.inference_mode():
            return states(self.network, batch.to(self.device), self.stages)

    def _batches(self, molecules: Molecules) -> Iterator[GraphBatch]:
        return molecules.batches(self.batch_size, pairs="nodepair" in self.levels)

    @cached_property
    def _widths(self) -> list[int]:
        """Channels at every place."""
        batch = next(self._batches(Molecules([_SMALL], self.saved.featurizer)))
        return [x.shape[1] for x in self._states(batch)]

    def _build_pools(self, width: int) -> list[nn.Module]:
        pools = [build("pooling", config, where="pooling", channels=width) for _, config in self.pooling]
        for (name, _), pool in zip(self.pooling, pools, strict=True):
            if any(True for _ in pool.parameters()):
                raise GraphiumError(f"pooling {name!r} has weights that no training made; choose another, such as mean")
        return pools


def _several(name: str, value: Any, *, example: str) -> list[Any]:
    """One choice, or a list of them, as a list."""
    if isinstance(value, str | dict):
        return [value]
    if not isinstance(value, Sequence) or not value:
        raise GraphiumError(f"{name} is {value!r}; name at least one, for example {example}")
    return list(value)


def _check_differ(name: str, choices: Sequence[str]) -> None:
    for number, choice in enumerate(choices):
        if choice in choices[:number]:
            raise GraphiumError(f"{name} names {choice} twice; leave one of them out")


def read_pooling(pooling: PartConfig | Sequence[PartConfig]) -> list[tuple[str, PartConfig]]:
    """Name and configuration of every pooling."""
    configs = _several("pooling", pooling, example="mean")
    names = [config if isinstance(config, str) else str(config.get("name")) for config in configs]
    _check_differ("pooling", names)
    return list(zip(names, configs, strict=True))


def _own_layer(saved: SavedModel) -> str:
    return "readout" if "graph" in saved.network.readouts else "gnn"


def own_pooling(saved: SavedModel) -> PartConfig | Sequence[PartConfig]:
    """The pooling of the network's graph readout, ``mean`` where it has none."""
    if "graph" not in saved.network.readouts:
        return "mean"
    config = saved.network.config()
    own = (config["readouts"] or {}).get("graph", {}).get("pooling")
    found: PartConfig | Sequence[PartConfig] = own or config["pooling"]
    return found
