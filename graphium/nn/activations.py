"""Activation functions by name: a fixed table, so that a configuration cannot name code."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from graphium.errors import GraphiumError, suggest

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "leaky_relu": nn.LeakyReLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "mish": nn.Mish,
}


def build_activation(name: str) -> nn.Module:
    """Return the activation module of a name.

    Raises:
        GraphiumError: the name is not in the table.

    >>> build_activation("relu")
    ReLU()
    """
    make = ACTIVATIONS.get(name.strip().lower().replace("-", "_"))
    if make is None:
        raise GraphiumError(f"unknown activation {name!r}; {suggest(name, ACTIVATIONS)}")
    return make()
