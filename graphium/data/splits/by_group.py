"""Splits that keep alike molecules together: by scaffold, by similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from graphium.data.splits.context import AT_ONCE, SplitContext
from graphium.data.splits.drawing import check_shares, fill_groups, keyed, share_out
from graphium.errors import GraphiumError
from graphium.registry import register
from graphium.types import PARTS

if TYPE_CHECKING:
    from graphium.data.splits.groups import Groups


@register("split", "scaffold")
@dataclass(frozen=True)
class ScaffoldSplit:
    """Molecules of one Bemis-Murcko scaffold (1996) in the same part; the largest groups in train.

    Groups are placed one after another, the largest first, each into the first of train, val and test
    that has room for all of it, else into test (as DeepChem and TDC do). With ``balanced`` the groups
    come in an order drawn by ``seed``, those larger than half of val or test before the others (as
    chemprop does). ``acyclic``: molecules without a ring have no scaffold; they are one group
    (``together``) or a group each (``apart``).
    """

    train: float = 0.8
    val: float = 0.1
    test: float = 0.1
    balanced: bool = False
    seed: int = 0
    acyclic: Literal["together", "apart"] = "together"

    computed = True
    version = 1
    uses_chemistry = True

    def check(self, context: SplitContext) -> None:
        """Raise what is wrong with the options, before the table is prepared."""
        _check(context, "scaffold", (self.train, self.val, self.test), self.balanced, self.seed)

    def __call__(self, context: SplitContext) -> np.ndarray:
        from graphium.data.splits.groups import scaffold_groups

        self.check(context)
        assert context.store is not None
        groups = scaffold_groups(
            context.store, acyclic=self.acyclic, n_jobs=context.n_jobs, progress=context.progress or False
        )
        return _place(context, "scaffold", groups, (self.train, self.val, self.test), self.balanced, self.seed)


@register("split", "cluster")
@dataclass(frozen=True)
class ClusterSplit:
    """Molecules of one cluster of similar molecules in the same part; the largest clusters in train.

    Clusters are spheres in the space of ECFP fingerprints: molecules are looked at in the order of their
    ids, one whose Tanimoto distance (1 - similarity) to every leader so far is above ``threshold`` becomes
    a leader, all others go to the nearest leader. ``radius`` and ``size``: of the fingerprint, in bonds
    and bits. ``balanced`` and ``seed`` as in the scaffold split.
    """

    train: float = 0.8
    val: float = 0.1
    test: float = 0.1
    threshold: float = 0.6
    radius: int = 2
    size: int = 1024
    balanced: bool = False
    seed: int = 0

    computed = True
    version = 1
    uses_chemistry = True

    def check(self, context: SplitContext) -> None:
        """Raise what is wrong with the options, before the table is prepared."""
        _check(context, "cluster", (self.train, self.val, self.test), self.balanced, self.seed)
        if not 0 < self.threshold < 1:
            raise GraphiumError(
                f"dataset {context.dataset!r}: split.threshold is {self.threshold}; "
                "give a Tanimoto distance between 0 and 1, such as 0.6"
            )
        if self.radius < 0 or self.size < 64 or self.size % 64:
            raise GraphiumError(
                f"dataset {context.dataset!r}: split.radius is {self.radius} and split.size {self.size}; "
                "give a radius of at least 0 and a multiple of 64 bits"
            )

    def __call__(self, context: SplitContext) -> np.ndarray:
        from graphium.data.splits.groups import cluster_groups

        self.check(context)
        assert context.store is not None
        groups = cluster_groups(
            context.store,
            dataset=context.dataset,
            threshold=self.threshold,
            radius=self.radius,
            size=self.size,
            n_jobs=context.n_jobs,
            progress=context.progress or False,
        )
        return _place(context, "cluster", groups, (self.train, self.val, self.test), self.balanced, self.seed)


def _check(context: SplitContext, split: str, shares: tuple[float, float, float], balanced: bool, seed: int) -> None:
    check_shares(context.dataset, split, shares)
    if seed and not balanced:
        raise GraphiumError(
            f"dataset {context.dataset!r}: split {split} draws nothing, so split.seed={seed} changes nothing; "
            "leave it out, or add split.balanced=true for groups in random order"
        )


def _place(
    context: SplitContext, split: str, groups: Groups, shares: tuple[float, float, float], balanced: bool, seed: int
) -> np.ndarray:
    """Put whole groups into parts; int8 ``[rows]``."""
    counts = share_out(int(groups.size.sum()), shares)
    if balanced:
        number = np.arange(len(groups.size), dtype=np.uint64)
        order = np.argsort(keyed(np.stack([number, number], axis=1), seed), kind="stable")
        is_small = groups.size[order] <= counts[1:].min(where=counts[1:] > 0, initial=counts.sum()) / 2
        order = np.concatenate([order[~is_small], order[is_small]])
    else:
        # Groups are numbered by a hash, which decides among equal ones.
        order = np.argsort(-groups.size, kind="stable")
    part_of = fill_groups(groups.size, order, counts.tolist())
    for code, share in enumerate(shares):
        if share > 0 and not (part_of == code).any():
            many, largest = len(groups.size), int(groups.size.max(initial=0))
            raise GraphiumError(
                f"dataset {context.dataset!r}: split {split} leaves the {PARTS[code]} part empty (groups: {many:,}, "
                f"molecules in the largest: {largest:,} of {int(groups.size.sum()):,}); give other shares or "
                "use split=random"
            )
    part = np.empty(len(groups.group), np.int8)
    for start in range(0, len(part), AT_ONCE):
        part[start : start + AT_ONCE] = part_of[groups.group[start : start + AT_ONCE]]
    return context.to_rows(part)
