"""``graphium explain``."""

from __future__ import annotations

from graphium.errors import GraphiumError


def explain() -> None:
    """Show which atoms a prediction rests on."""
    raise GraphiumError("this command does not exist yet; wait for the next version")
