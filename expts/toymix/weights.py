"""A weighting of one's own: ``trainer.weighting={name: weights.TargetWeighting, target: lipo}``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graphium.training.weighting import Weighting, dataset_shares, nonzero
from graphium.types import HeadSpec


class TargetWeighting(Weighting):
    """One dataset has a fixed share of the loss; the others have the rest, every dataset with labels alike.

    Args:
        heads: The heads that are trained.
        target: The dataset.
        share: Its share of the loss where others have labels too.
    """

    own: Tensor

    def __init__(self, heads: Sequence[HeadSpec], target: str, share: float = 0.5) -> None:
        super().__init__(heads)
        self.share = share
        own = [float(head.dataset == target) for head in heads for _ in head.tasks]
        self.register_buffer("own", torch.tensor(own), persistent=False)

    def shares(self, total: Tensor) -> Tensor:
        """What each task's mean loss counts, ``[tasks]``."""
        own, others = (
            dataset_shares(total * chosen, self.dataset, len(self.datasets)) for chosen in (self.own, 1 - self.own)
        )
        both = self.share * own + (1 - self.share) * others
        return both / nonzero(both.sum())
