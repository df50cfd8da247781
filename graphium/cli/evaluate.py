"""``graphium evaluate``."""

from __future__ import annotations

from graphium.errors import GraphiumError


def evaluate() -> None:
    """Measure a saved model on a labelled table."""
    raise GraphiumError("this command does not exist yet; wait for the next version")
