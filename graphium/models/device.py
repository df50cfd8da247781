"""Where a network computes."""

from __future__ import annotations

import torch

from graphium.errors import GraphiumError
from graphium.models.folder.tensors import first_line


def find_device(device: str | torch.device) -> torch.device:
    """A device by its name.

    Raises:
        GraphiumError: no such device here.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise GraphiumError(
            f"device is {str(device)!r}, which cannot be used here ({first_line(error)}); give cpu "
            "or, with a card of NVIDIA, cuda"
        ) from None
    return found
