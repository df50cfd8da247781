"""``graphium fingerprint``."""

from __future__ import annotations

from graphium.errors import GraphiumError


def fingerprint() -> None:
    """Write the vectors that a saved model has of molecules."""
    raise GraphiumError("this command does not exist yet; wait for the next version")
