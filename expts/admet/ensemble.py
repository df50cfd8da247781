"""Many small networks on the same fixed vectors, trained side by side: one matrix product serves all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from graphium.nn.mlp import TaskLinear


@dataclass(frozen=True)
class Training:
    """How the networks are made and trained; one choice for all tasks, made on validation parts."""

    hidden: Sequence[int] = (256, 256)
    dropout: float = 0.2
    epochs: int = 30
    batch_size: int = 64
    lr: float = 1.5e-3
    weight_decay: float = 1e-2


class Members(nn.Module):
    """MLPs of one output, ``[members, rows, channels]`` or ``[rows, channels]`` -> ``[members, rows]``."""

    def __init__(self, num_members: int, channels: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.linears = nn.ModuleList(
            TaskLinear(num_members, before, after) for before, after in zip(channels, [*channels[1:], 1], strict=True)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        for linear in self.linears[:-1]:
            x = self.dropout(torch.relu(linear(x)))
        return self.linears[-1](x).squeeze(2)


def fit_predict(
    x: np.ndarray,
    y: np.ndarray,
    part: np.ndarray,
    *,
    binary: bool,
    num_members: int,
    seed: int,
    training: Training,
) -> np.ndarray:
    """Train all members on the training rows and predict all rows.

    Every member keeps the weights of the epoch in which its own validation loss was lowest.

    Args:
        x: float ``[rows, channels]``; z-scored here with the mean and deviation of the training rows.
        y: ``[rows]``: classes 0 and 1, or numbers, which are z-scored here too.
        part: ``[rows]``: ``train``, ``val`` or something else.
        binary: Whether ``y`` are classes: cross-entropy then, else the absolute error.
        num_members: Networks; each has first weights and an order of the rows of its own.
        seed: Draws both.
        training: Sizes, learning rate and so on.

    Returns:
        float64 ``[num_members, rows]``: probabilities of class 1, or numbers in the unit of ``y``.
    """
    torch.manual_seed(seed)
    is_train = part == "train"
    mean, deviation = x[is_train].mean(axis=0), x[is_train].std(axis=0)
    centre, scale = (0.0, 1.0) if binary else (float(y[is_train].mean()), float(y[is_train].std()))
    every = torch.from_numpy(((x - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32))
    label = torch.from_numpy(((y - centre) / scale).astype(np.float32))
    train, held_out = (torch.from_numpy(np.flatnonzero(part == name)) for name in ("train", "val"))
    inputs, targets = every[train], label[train]

    members = Members(num_members, [x.shape[1], *training.hidden], training.dropout)
    optimizer = torch.optim.AdamW(members.parameters(), lr=training.lr, weight_decay=training.weight_decay)
    num_batches = max(1, round(len(inputs) / training.batch_size))
    lowest = torch.full((num_members,), torch.inf)
    best = [weight.detach().clone() for weight in members.parameters()]
    for _ in range(training.epochs):
        members.train()
        order = torch.rand(num_members, len(inputs)).argsort(dim=1)
        for rows in order.tensor_split(num_batches, dim=1):  # [members, rows of a batch]
            optimizer.zero_grad()
            # The sum of the members' own losses: they do not weigh on each other.
            _losses(members(inputs[rows]), targets[rows], binary).sum().backward()
            optimizer.step()
        members.eval()
        with torch.inference_mode():
            loss = _losses(members(every[held_out]), label[held_out].expand(num_members, -1), binary)
        improved = loss < lowest
        lowest = torch.where(improved, loss, lowest)
        for kept, weight in zip(best, members.parameters(), strict=True):
            kept[improved] = weight.detach()[improved]
    with torch.no_grad():
        for kept, weight in zip(best, members.parameters(), strict=True):
            weight.copy_(kept)
        output = torch.cat([members(rows) for rows in every.split(1024)], dim=1).double()
    return (output.sigmoid() if binary else output * scale + centre).numpy()


def _losses(output: Tensor, target: Tensor, binary: bool) -> Tensor:
    """The mean loss of every member, ``[members]``."""
    loss = nn.functional.binary_cross_entropy_with_logits if binary else nn.functional.l1_loss
    return loss(output, target, reduction="none").mean(dim=1)
