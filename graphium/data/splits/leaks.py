"""Which held-out rows show a molecule that some training part of the mix shows too, and what to do with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from graphium.data.splits.context import AT_ONCE
from graphium.errors import GraphiumError
from graphium.types import PARTS

if TYPE_CHECKING:
    from graphium.data.store.graph_store import GraphStore

LeakPolicy = Literal["report", "drop", "test_seen"]

_TRAIN = PARTS.index("train")
_IDS = ("", "_flat")
# Ids that are sorted at once; above it they are taken in partitions by their leading bits.
_SORTED = 1 << 22


@dataclass(frozen=True)
class LeakSource:
    """One dataset of a mix: its store, and ``parts`` int8 ``[rows]``, index in ``types.PARTS`` or -1."""

    name: str
    store: GraphStore
    parts: np.ndarray


def find_leaks(sources: Sequence[LeakSource]) -> dict[str, dict[str, dict[str, Any]]]:
    """Count held-out rows whose molecule is in a training part of the mix.

    Returns:
        dataset -> part -> counts of rows, as plain numbers: ``own``, in the training part of their own
        dataset; ``mix``, in any training part, the own one included; ``datasets``, in that of each other
        dataset, where there are any; each also with ``_flat``, compared without stereochemistry.

    Raises:
        GraphiumError: ids that different versions of RDKit made.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for number, (source, seen) in enumerate(zip(sources, _seen_in(sources), strict=True)):
        counts = _count(source, seen, len(sources))
        found[source.name] = {}
        for code, part in enumerate(PARTS):
            if code != _TRAIN and (source.parts == code).any():
                found[source.name][part] = _named(counts[:, code], number, sources)
    return found


def leaking_rows(sources: Sequence[LeakSource], part: str = "test") -> dict[str, np.ndarray]:
    """Rows of a part whose molecule is, by either id, in a training part of the mix.

    Returns:
        dataset -> bool ``[rows]``.

    Raises:
        GraphiumError: ids that different versions of RDKit made.
    """
    code = PARTS.index(part)
    found = {}
    for source, seen in zip(sources, _seen_in(sources), strict=True):
        # Equal molecules are equal without stereochemistry too.
        leaks = seen[1].any(axis=0)
        mask = np.zeros(len(source.parts), bool)
        for rows, molecule, parts in _slices(source):
            inside = parts == code
            mask[rows][inside] = leaks[molecule[inside]]
        found[source.name] = mask
    return found


def apply_policy(parts: np.ndarray, rows: np.ndarray, policy: LeakPolicy) -> tuple[np.ndarray, str]:
    """Do with leaking test rows what the dataset's ``leak`` says.

    Args:
        parts: int8 ``[rows]``, index in ``types.PARTS`` or -1.
        rows: bool ``[rows]``, of :func:`leaking_rows`.
        policy: ``report`` leaves them, ``drop`` takes them out, ``test_seen`` moves them to that part.

    Returns:
        The parts, and a sentence about what was changed, empty if nothing was.
    """
    moved = (parts == PARTS.index("test")) & rows
    many = int(moved.sum())
    if policy == "report" or not many:
        return parts, ""
    target = {"drop": -1, "test_seen": PARTS.index("test_seen")}[policy]
    was = "was" if many == 1 else "were"
    what = f"{was} dropped" if policy == "drop" else f"{was} moved to the part test_seen"
    test_rows = "1 test row" if many == 1 else f"{many:,} test rows"
    whose = "whose molecule stands in a training part of the mix"
    return np.where(moved, np.int8(target), parts), f"{test_rows} {whose} {what}"


def _named(counts: np.ndarray, own: int, sources: Sequence[LeakSource]) -> dict[str, Any]:
    """Counts ``[ids, datasets + 1]`` of one part by their names; the last is that of the whole mix."""
    named: dict[str, Any] = {}
    for row, suffix in zip(counts.tolist(), _IDS, strict=True):
        named[f"own{suffix}"], named[f"mix{suffix}"] = row[own], row[-1]
        others = enumerate(zip(sources, row[:-1], strict=True))
        named[f"datasets{suffix}"] = {source.name: n for number, (source, n) in others if number != own and n}
    return named


def _count(source: LeakSource, seen: np.ndarray, num_datasets: int) -> np.ndarray:
    """Rows by ids, part and training dataset, the last one any: int64 ``[ids, parts, datasets + 1]``."""
    counts = np.zeros((len(_IDS), len(PARTS), num_datasets + 1), np.int64)
    for _, molecule, parts in _slices(source):
        for code in range(_TRAIN + 1, len(PARTS)):
            bits = seen[:, :, molecule[parts == code]]  # [ids, bytes, rows]
            for dataset in range(num_datasets):
                is_set = bits[:, dataset // 8] & np.uint8(1 << dataset % 8) > 0
                counts[:, code, dataset] += np.count_nonzero(is_set, axis=1)
            counts[:, code, -1] += np.count_nonzero(bits.any(axis=1), axis=1)
    return counts


def _seen_in(sources: Sequence[LeakSource]) -> list[np.ndarray]:
    """For every dataset, which training parts its held-out molecules stand in.

    Returns:
        Per dataset uint8 ``[ids, ceil(datasets / 8), molecules]``: bit ``d % 8`` of byte ``d // 8`` is set
        where the molecule stands in the training part of dataset ``d``, by the exact id and without
        stereochemistry.
    """
    _check_versions(sources)
    members = [_members(source) for source in sources]
    seen = [np.zeros((len(_IDS), -(-len(sources) // 8), s.store.num_molecules), np.uint8) for s in sources]
    total = sum(source.store.num_molecules for source in sources)
    bits = max(0, (max(total, 1) - 1).bit_length() - (_SORTED.bit_length() - 1))
    for kind in range(len(_IDS)):
        for partition in range(1 << bits):
            found = [
                _partition(source, member, kind, partition, bits)
                for source, member in zip(sources, members, strict=True)
            ]
            _join([s[kind] for s in seen], members, found)
    return seen


def _members(source: LeakSource) -> np.ndarray:
    """uint8 ``[molecules]``: 1 where a molecule has training rows, plus 2 where it has held-out rows."""
    member = np.zeros(source.store.num_molecules, np.uint8)
    for _, molecule, parts in _slices(source):
        for flag, chosen in ((1, parts == _TRAIN), (2, parts > _TRAIN)):
            # The same molecule may come several times, with the same flag.
            member[molecule[chosen]] |= flag
    return member


def _partition(
    source: LeakSource, member: np.ndarray, kind: int, partition: int, bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Used molecules, int64 ``[n]``, and ids, uint64 ``[n, 2]``, of one partition by leading bits."""
    molecules, ids = [np.empty(0, np.int64)], [np.empty((0, 2), np.uint64)]
    for start in range(0, len(member), AT_ONCE):
        stop = min(start + AT_ONCE, len(member))
        piece = np.asarray(source.store.id[start:stop]) if kind == 0 else source.store.flat_ids(start, stop)
        chosen = member[start:stop] > 0
        if bits:
            chosen = chosen & (piece[:, 0] >> np.uint64(64 - bits) == partition)
        inside = np.flatnonzero(chosen)
        molecules.append(start + inside)
        ids.append(piece[inside])
    return np.concatenate(molecules), np.concatenate(ids)


def _join(seen: list[np.ndarray], members: list[np.ndarray], found: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Set the bits of ``seen``, uint8 ``[bytes, molecules]`` per dataset, for the molecules of one partition."""
    ids = np.concatenate([both for _, both in found])
    if not len(ids):
        return
    order = np.lexsort((ids[:, 1], ids[:, 0]))
    ids = ids[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    # Number of the distinct id of every entry, in the order of the datasets again.
    number = np.empty(len(order), np.int32)
    number[order] = np.cumsum(is_new, dtype=np.int32) - 1
    numbers = np.split(number, np.cumsum([len(molecules) for molecules, _ in found])[:-1])
    trained = np.zeros(int(is_new.sum()), bool)
    for dataset, (own, (own_molecules, _)) in enumerate(zip(numbers, found, strict=True)):
        trained[:] = False
        trained[own[members[dataset][own_molecules] & 1 > 0]] = True
        for place, (molecules, _) in enumerate(found):
            hit = molecules[trained[numbers[place]]]
            seen[place][dataset // 8, hit] |= np.uint8(1 << dataset % 8)


def _slices(source: LeakSource) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Slices of rows: molecules, and parts with -1 for failed rows; a failed row points at molecule 0."""
    for start in range(0, len(source.parts), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        molecule = np.asarray(source.store.row_molecule[rows])
        failed = molecule < 0
        yield rows, np.where(failed, 0, molecule), np.where(failed, np.int8(-1), source.parts[rows])


def _check_versions(sources: Sequence[LeakSource]) -> None:
    for other in sources[1:]:
        one = sources[0]
        if one.store.rdkit != other.store.rdkit:
            raise GraphiumError(
                f"datasets {one.name!r} and {other.name!r} cannot be compared for leaks: the ids of the store "
                f"{one.store.folder} were made by RDKit {one.store.rdkit}, those of {other.store.folder} by "
                f"RDKit {other.store.rdkit}; delete the older folder and prepare its data again"
            )
