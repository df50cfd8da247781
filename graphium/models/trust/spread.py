"""How much several networks, or several passes with dropout, differ about a prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError
from graphium.nn.network import Network
from graphium.types import HeadSpec


class Spread:
    """A column ``task[spread]``: the standard deviation over the passes (n - 1 in the denominator).

    Of a number in label units; of a binary task that of the probability of 1; of classes that of the probability of
    the class which is most probable on average. Passes are the networks of an ensemble (Lakshminarayanan, Pritzel and
    Blundell 2017), or one network with its dropout at work (Gal and Ghahramani 2016). It ranks predictions by how
    sure the model is; it is no interval, see :mod:`graphium.models.trust.conformal`.
    """

    key = "spread"

    def columns(self, heads: Sequence[HeadSpec], names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, Any]]:
        self._heads = tuple(heads)
        self._names = {head.name: [name + self._suffix(head, k) for k, name in enumerate(names[head.name])]
                       for head in heads}  # fmt: skip
        return {name: (head.level, pa.float32()) for head in heads for name in self._names[head.name]}

    def values(
        self,
        batch: GraphBatch,
        predictions: Mapping[str, Tensor],
        passes: Sequence[Mapping[str, Tensor]],
        network: Network,
    ) -> dict[str, np.ndarray | list[Any] | pa.Array]:
        if len(passes) < 2:
            raise GraphiumError(
                "a spread compares several predictions and there is one; give several models, or passes with dropout"
            )
        found: dict[str, np.ndarray | list[Any] | pa.Array] = {}
        for head in self._heads:
            every = spread(head, torch.stack([one[head.name] for one in passes])).t().float().contiguous().numpy()
            found |= dict(zip(self._names[head.name], every, strict=True))
        return found

    @staticmethod
    def _suffix(head: HeadSpec, task: int) -> str:
        # A class may have the same name.
        return "[spread]" if "spread" not in head.tasks[task].classes else "[spread of passes]"


def spread(head: HeadSpec, numbers: Tensor) -> Tensor:
    """The standard deviation over passes.

    Args:
        head: Whose tasks they are of.
        numbers: ``[passes, entities, tasks, columns]`` of :func:`~graphium.models.tables.columns.label_numbers`.

    Returns:
        ``[entities, tasks]``.
    """
    if not head.num_classes:
        return numbers[..., 0].std(0)
    shares = numbers[..., 1 : 1 + head.num_classes]
    chosen = shares.mean(0).argmax(-1, keepdim=True)
    return shares.std(0).gather(-1, chosen).squeeze(-1)
