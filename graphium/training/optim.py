"""Optimisers, and learning rates that follow the optimiser step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from graphium.errors import GraphiumError
from graphium.registry import PartConfig, register, validate

# What an optimiser takes: parameters, or torch's groups of them, ``{"params": [...], "lr": ...}``.
Parameters = Iterable[nn.Parameter] | Sequence[dict[str, Any]]


@register("optimizer", "adamw")
def adamw(
    parameters: Parameters,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019); weight decay acts on matrices only, not on biases and norms."""
    groups = _groups(parameters, weight_decay)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=_can_fuse(groups))


@register("optimizer", "adam")
def adam(
    parameters: Parameters,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Optimizer:
    """Adam (Kingma & Ba 2015)."""
    groups = _groups(parameters, 0.0)
    return torch.optim.Adam(groups, lr=lr, betas=betas, eps=eps, fused=_can_fuse(groups))


@register("optimizer", "sgd")
def sgd(parameters: Parameters, lr: float = 1e-2, momentum: float = 0.9, weight_decay: float = 0.0) -> Optimizer:
    """Stochastic gradient descent with momentum."""
    groups = _groups(parameters, weight_decay)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=_can_fuse(groups))


@register("schedule", "cosine")
def cosine(optimizer: Optimizer, num_steps: int, warmup: float = 0.1, final: float = 0.0) -> LambdaLR:
    """Linear warm-up, then half a cosine down to ``final`` times the learning rate.

    ``warmup`` below 1 is a fraction of all steps, from 1 on a number of steps.
    """
    return _schedule(optimizer, num_steps, warmup, lambda x: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * x)))


@register("schedule", "linear")
def linear(optimizer: Optimizer, num_steps: int, warmup: float = 0.1, final: float = 0.0) -> LambdaLR:
    """Linear warm-up, then a straight line down to ``final`` times the learning rate."""
    return _schedule(optimizer, num_steps, warmup, lambda x: final + (1 - final) * (1 - x))


@register("schedule", "constant")
def constant(optimizer: Optimizer, num_steps: int, warmup: float = 0.0) -> LambdaLR:
    """Linear warm-up, then the learning rate as it is."""
    return _schedule(optimizer, num_steps, warmup, lambda x: 1.0)


def check_optim(
    optim: Mapping[str, Any], *, where: str = "optim"
) -> tuple[dict[str, Any], dict[str, Any] | str | None]:
    """Judge an ``optim`` section; return the optimiser's and the schedule's configuration."""
    optimizer = {key: value for key, value in optim.items() if key != "schedule"}
    optimizer.setdefault("name", "adamw")
    schedule = optim.get("schedule", "cosine")
    _check_numbers(validate("optimizer", optimizer, where=where)[1], where)
    if schedule is not None:
        _check_numbers(validate("schedule", schedule, where=f"{where}.schedule")[1], f"{where}.schedule")
    return optimizer, schedule


def _check_numbers(arguments: Mapping[str, Any], where: str) -> None:
    """Refuse what torch would refuse much later, or take."""
    for name in ("lr", "weight_decay", "eps", "momentum", "warmup", "final"):
        value = arguments.get(name, 0.0)
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise GraphiumError(f"{where}.{name} is {value}; give a number of at least 0")
    betas = arguments.get("betas", ())
    if isinstance(betas, list | tuple) and not all(0 <= beta < 1 for beta in betas):
        raise GraphiumError(f"{where}.betas is {betas}; give two numbers from 0 to below 1")


def _schedule(optimizer: Optimizer, num_steps: int, warmup: float, decay: Callable[[float], float]) -> LambdaLR:
    """``decay`` maps the share of steps done after the warm-up, 0 to 1, to a factor."""
    rising = round(warmup * num_steps) if warmup < 1 else int(warmup)
    falling = max(1, num_steps - rising)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return decay(min(1.0, (step - rising) / falling))

    return LambdaLR(optimizer, factor)


def learning_rate(config: PartConfig) -> float:
    """The learning rate of a configured optimiser, its own default where nothing is said."""
    part, arguments = validate("optimizer", config, where="optim")
    return float(arguments.get("lr", inspect.signature(part).parameters["lr"].default))


def scaled_groups(parameters: Mapping[str, nn.Parameter], scales: Mapping[str, float], lr: float) -> Parameters:
    """Groups of equal learning rate, the highest one first.

    Args:
        parameters: Name -> parameter; those that need no gradient are left out.
        scales: Name -> factor on ``lr``, 1 where a name is missing.
        lr: The learning rate.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        if parameter.requires_grad:
            groups.setdefault(scales.get(name, 1.0), []).append(parameter)
    return [{"params": groups[scale], "lr": lr * scale} for scale in sorted(groups, reverse=True)]


def _groups(parameters: Parameters, weight_decay: float) -> list[dict[str, Any]]:
    """Groups with matrices and vectors apart, where weight decay acts on one of them."""
    given: list[Any] = list(parameters)
    groups: list[dict[str, Any]] = given if given and isinstance(given[0], dict) else [{"params": given}]
    found = []
    for group in groups:
        trained = [p for p in group["params"] if p.requires_grad]
        if weight_decay == 0:
            found.append({**group, "params": trained, "weight_decay": 0.0})
            continue
        apart = (([p for p in trained if p.ndim > 1], weight_decay), ([p for p in trained if p.ndim <= 1], 0.0))
        found += [{**group, "params": members, "weight_decay": decay} for members, decay in apart if members]
    return found


def _can_fuse(groups: list[dict[str, Any]]) -> bool:
    """The fused kernels update all parameters in one pass; they exist for floats on CPU and CUDA."""
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for g in groups for p in g["params"])
