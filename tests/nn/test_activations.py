"""The table of activations."""

from __future__ import annotations

import pytest
import torch

from graphium.errors import GraphiumError
from graphium.nn.activations import ACTIVATIONS, build_activation


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_builds_and_runs(name: str) -> None:
    assert build_activation(name)(torch.zeros(2)).shape == (2,)


def test_name_is_forgiving_but_not_code() -> None:
    assert isinstance(build_activation("Leaky-ReLU".replace("ReLU", "relu")), torch.nn.LeakyReLU)
    with pytest.raises(GraphiumError, match="did you mean 'gelu'"):
        build_activation("glu")
    with pytest.raises(GraphiumError, match="unknown activation 'os.system'"):
        build_activation("os.system")
