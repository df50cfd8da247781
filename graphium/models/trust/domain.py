"""How far a molecule lies from those that a model was trained on, in the model's own vectors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError
from graphium.models.fingerprints.fingerprinter import Fingerprinter, own_pooling, read_pooling
from graphium.models.ready import Source
from graphium.models.saved import SavedModel
from graphium.models.trust.stored import DOMAIN, judging, read_stored, stored_model
from graphium.nn.network import Network
from graphium.registry import lookup
from graphium.types import HeadSpec

# Training molecules that are kept at most, and neighbours that are looked at.
MOST = 10_000
NEIGHBOURS = 5
# Molecules whose distances to all kept ones are in memory at once.
_AT_ONCE = 512


class Domain:
    """Columns ``domain_distance`` and ``domain`` of every molecule: is it like those that the model was trained on?

    ``domain_distance`` is the mean distance to the 5 nearest of up to 10,000 training molecules, drawn by a hash of
    their identity: Euclidean, in units of the root mean square distance of these from their mean. The vectors are the
    model's own fingerprint, its graph readout or what the model names (Janet et al. 2019, who measure distance in the
    latent space of the network that predicts). Channels keep their sizes, which say what matters for the predictions:
    giving each the same deviation, or measuring angles, finds large errors less well. ``domain``,
    from 0 to 1, is the share of these training molecules that lie at least as far from their own 5 nearest others
    (Sahigara et al. 2013): 0.5 is as ordinary as can be, below 0.05 is stranger than 95 % of what the model knows.
    It says nothing of molecules that are alike for the network and not for nature.

    Args:
        model: The model whose folder holds ``domain.safetensors``, loaded or as :func:`~graphium.load_model` takes it.

    Raises:
        GraphiumError: the folder has no such file, or a damaged one.
    """

    def __init__(self, model: Source) -> None:
        saved = stored_model(model, "the domain")
        tensors, about = read_stored(saved, DOMAIN)
        self.key = f"domain {about['sha256']}"
        with judging(saved, DOMAIN):
            pooling = json.loads(about["pooling"])
            own = [one for _, one in read_pooling(own_pooling(saved))]
            for config in pooling:
                # The file of a stranger names no code; that of the network itself was judged when it was loaded.
                if config not in own:
                    lookup("pooling", config if isinstance(config, str) else config["name"], trust_code=False)
            self._fingerprinter = fingerprinter(saved, json.loads(about["layer"]), pooling)
            self.neighbours = int(about["neighbours"])
            self._mean, self._scale = tensors["mean"].float(), tensors["scale"].float()
            self._known = tensors["fingerprints"].float()
            distances = tensors["distances"].float()
            channels = self._fingerprinter.num_channels
            shapes = [tuple(one.shape) for one in (self._known, self._mean, self._scale)]
            if shapes != [(len(distances), channels), (channels,), ()]:
                raise ValueError(f"its fingerprints are not of {channels} numbers")
            if not 0 < self.neighbours < len(distances):
                raise ValueError(f"{self.neighbours} neighbours of {len(distances)} molecules")
            if not (distances.diff() >= 0).all() or not self._known.isfinite().all():
                raise ValueError("its distances are not in rising order")
            self._distances = distances.numpy()

    def columns(self, heads: Sequence[HeadSpec], names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, Any]]:
        return {"domain": ("graph", pa.float32()), "domain_distance": ("graph", pa.float32())}

    def values(
        self,
        batch: GraphBatch,
        predictions: Mapping[str, Tensor],
        passes: Sequence[Mapping[str, Tensor]],
        network: Network,
    ) -> dict[str, np.ndarray | list[Any] | pa.Array]:
        vectors = self._fingerprinter.of_batch(batch).cpu()
        found = neighbour_distances((vectors - self._mean) / self._scale, self._known, self.neighbours).numpy()
        share = 1 - np.searchsorted(self._distances, found, side="left") / len(self._distances)
        return {"domain": share.astype(np.float32), "domain_distance": found}


def fingerprinter(saved: SavedModel, layer: Any = None, pooling: Any = None) -> Fingerprinter:
    """What makes the vectors in which distances are measured, where the network is; by default the model's own."""
    return Fingerprinter(saved, layer, pooling, device=next(saved.network.parameters()).device)


def describe(vectors: Iterable[Tensor], made_by: Fingerprinter) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The content of ``domain.safetensors`` for the fingerprints of training molecules.

    Args:
        vectors: float32 ``[molecules, channels]``, some at a time, each molecule once.
        made_by: What made them.

    Raises:
        GraphiumError: there are fewer than two molecules.
    """
    every = torch.cat([piece.cpu().double() for piece in vectors])
    if len(every) < 2:
        raise GraphiumError(
            f"an applicability domain compares training molecules and there {'is one' if len(every) else 'are none'}; "
            "give more"
        )
    mean = every.mean(0)
    scale = (every - mean).square().sum(1).mean().sqrt()
    # Molecules that are all the same have no scale.
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    fingerprints = ((every - mean) / scale).half()
    neighbours = min(NEIGHBOURS, len(every) - 1)
    known = fingerprints.float()
    tensors = {
        "fingerprints": fingerprints,
        "mean": mean.float(),
        "scale": scale.float(),
        "distances": neighbour_distances(known, known, neighbours, own=True).sort().values,
    }
    about = {
        "layer": json.dumps([str(stage) for stage in made_by.stages]),
        "pooling": json.dumps([config for _, config in made_by.pooling]),
        "neighbours": str(neighbours),
    }
    return tensors, about


def neighbour_distances(query: Tensor, known: Tensor, neighbours: int, *, own: bool = False) -> Tensor:
    """Mean Euclidean distance to the nearest vectors, float32 ``[Q]``.

    Args:
        query: float32 ``[Q, channels]``.
        known: float32 ``[N, channels]``.
        neighbours: How many are looked at, at most ``N``, or ``N - 1`` with ``own``.
        own: Row ``q`` of ``query`` is row ``q`` of ``known``, and no neighbour of itself.
    """
    squares = known.square().sum(1)
    found = [query.new_empty(0)]
    for start in range(0, len(query), _AT_ONCE):
        piece = query[start : start + _AT_ONCE]
        # The square of a piece's own length is the same for all of its neighbours.
        order = torch.addmm(squares, piece, known.t(), alpha=-2)
        if own:
            order.diagonal(start).fill_(torch.inf)
        nearest = order.topk(neighbours, largest=False).indices
        # Differences of close vectors, which the products round away.
        found.append((known[nearest] - piece.unsqueeze(1)).square().sum(-1).sqrt().mean(-1))
    return torch.cat(found)
