"""``graphium predict``."""

from __future__ import annotations

from graphium.errors import GraphiumError


def predict() -> None:
    """Predict the molecules of a table with a saved model."""
    raise GraphiumError("this command does not exist yet; wait for the next version")
