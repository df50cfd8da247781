"""Which held-out rows show a molecule that some training part of the mix shows too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphium.types import PARTS


@dataclass(frozen=True)
class RowIds:
    """What the join needs of one dataset: ``parts`` int8 ``[rows]`` and the ids of each row's molecule.

    ``exact`` and ``flat`` are uint64 ``[rows, 2]``: with and without stereochemistry.
    """

    parts: np.ndarray
    exact: np.ndarray
    flat: np.ndarray


def count_leaks(datasets: Mapping[str, RowIds]) -> dict[str, dict[str, dict[str, int]]]:
    """Count held-out rows whose molecule is in the training part of the own or of another dataset.

    Returns:
        dataset -> part -> ``{"own": n, "mix": n, "own_flat": n, "mix_flat": n}``, where ``mix`` counts
        any training part of the mix and ``flat`` compares without stereochemistry.
    """
    train = PARTS.index("train")
    found: dict[str, dict[str, dict[str, int]]] = {name: {} for name in datasets}
    for suffix, field in (("", "exact"), ("_flat", "flat")):
        keys = {name: _pack(getattr(rows, field)) for name, rows in datasets.items()}
        own = {name: keys[name][rows.parts == train] for name, rows in datasets.items()}
        everyone = np.concatenate(list(own.values())) if own else np.empty(0)
        for name, rows in datasets.items():
            for part in _held_out(rows.parts):
                here = keys[name][rows.parts == PARTS.index(part)]
                counts = found[name].setdefault(part, {})
                counts[f"own{suffix}"] = int(np.isin(here, own[name]).sum())
                counts[f"mix{suffix}"] = int(np.isin(here, everyone).sum())
    return found


def _held_out(parts: np.ndarray) -> Sequence[str]:
    return [name for code, name in enumerate(PARTS) if name != "train" and (parts == code).any()]


def _pack(ids: np.ndarray) -> np.ndarray:
    """128-bit ids as one sortable 16-byte value each."""
    return np.ascontiguousarray(ids).view("V16").reshape(-1) if len(ids) else np.empty(0, dtype="V16")
