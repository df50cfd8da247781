"""Groups of alike molecules, for splits: computed in chunks, kept in the store, found again by content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphium.data.splits.context import AT_ONCE
from graphium.data.splits.drawing import scratch
from graphium.data.store.assemble import column_writer
from graphium.data.store.chunks import Chunk, read_chunk, run_chunks
from graphium.data.store.columns import open_columns, read_manifest
from graphium.data.store.graph_store import GraphStore, is_finished
from graphium.data.store.prepare import CHUNK_ROWS
from graphium.data.store.progress import Advance, StartStage, progress_bar
from graphium.data.store.work import content_key, fresh, locked_work, publish
from graphium.errors import GraphiumError

# Raise when the same options give other groups.
SCAFFOLD_VERSION = 1
CLUSTER_VERSION = 1
# Comparisons grow with the square of the molecules.
MAX_CLUSTERED = 300_000
# Hashes that are sorted at once.
_SORTED = 1 << 22
# Leaders that a block of molecules is compared with at once, so that the counts stay in the cache.
_BLOCK, _LEADERS = 32, 4096


class Groups(NamedTuple):
    """``group`` int32 ``[molecules]``: number of the molecule's group; ``size`` int64 ``[groups]``.

    Groups are numbered by a hash of what they have in common, so that the order of rows does not matter.
    """

    group: np.ndarray
    size: np.ndarray


def scaffold_groups(
    store: GraphStore, *, acyclic: str = "together", n_jobs: int = 1, progress: bool | StartStage = False
) -> Groups:
    """Group the molecules of a store by Bemis-Murcko scaffold.

    Args:
        store: The prepared table.
        acyclic: Molecules without a ring are one group (``together``) or a group each (``apart``).
        n_jobs: Processes.
        progress: Starts a stage of a progress bar.
    """

    def compute(work: Path, draft: Path, bar: StartStage) -> None:
        jobs = _jobs(store, work, lambda texts, ids: (texts, ids, acyclic == "apart"))
        paths = _run(jobs, scaffold_chunk, bar("scaffolds", store.num_molecules), n_jobs)
        _number(paths, store.num_molecules, work, draft)

    return _stored(store, "scaffold", [SCAFFOLD_VERSION, acyclic], compute, progress)


def cluster_groups(
    store: GraphStore,
    *,
    dataset: str,
    threshold: float = 0.6,
    radius: int = 2,
    size: int = 1024,
    n_jobs: int = 1,
    progress: bool | StartStage = False,
) -> Groups:
    """Group the molecules of a store around leaders at a Tanimoto distance above ``threshold``.

    Leaders are chosen in the order of the ids (sphere exclusion, Taylor 1995, by RDKit's LeaderPicker);
    every molecule goes to the nearest leader, among equally near ones to that with the smallest id.

    Raises:
        GraphiumError: the table has more than ``MAX_CLUSTERED`` molecules.
    """
    if store.num_molecules > MAX_CLUSTERED:
        raise GraphiumError(
            f"dataset {dataset!r}: split cluster compares molecules in pairs and takes at most {MAX_CLUSTERED:,} of "
            f"them, the table has {store.num_molecules:,}; use split=scaffold, which takes any number"
        )

    def compute(work: Path, draft: Path, bar: StartStage) -> None:
        jobs = _jobs(store, work, lambda texts, ids: (texts, radius, size))
        paths = _run(jobs, print_chunk, bar("fingerprints", store.num_molecules), n_jobs)
        order = np.lexsort((store.id[:, 1], store.id[:, 0]))
        leaders = _leaders(paths, order, threshold, n_jobs, work, bar)
        near = (
            (work / f"near-{path.name}", len(read_chunk(path).columns["prints"]), (read_chunk(path).columns["prints"],))
            for path in paths
        )
        found = _run(near, nearest_chunk, bar("clusters", store.num_molecules), n_jobs, leaders)
        many = np.zeros(len(leaders), np.int64)
        with column_writer(draft) as writer:
            for path in found:
                group = np.asarray(read_chunk(path).columns["group"])
                many += np.bincount(group, minlength=len(many))
                writer.append("group", group)
            writer.append("size", many)
            writer.close()

    return _stored(store, "cluster", [CLUSTER_VERSION, threshold, radius, size], compute, progress)


def scaffold_chunk(texts: Sequence[str], ids: np.ndarray, apart: bool) -> Chunk:
    """Hash of every molecule's scaffold, uint64 ``[n, 2]``; with ``apart`` its own id where it has none."""
    from graphium.chem.identity import digest
    from graphium.chem.scaffold import murcko

    scaffolds = murcko(texts)
    found = np.frombuffer(b"".join(map(digest, scaffolds)), "<u8").reshape(-1, 2)
    if apart:
        has_none = np.array([not scaffold for scaffold in scaffolds], bool)
        found = np.where(has_none[:, None], ids, found)
    return Chunk({"hash": found}, {})


def print_chunk(texts: Sequence[str], radius: int, size: int) -> Chunk:
    """Fingerprints of some molecules, uint8 ``[n, size / 8]``."""
    from graphium.chem.fingerprint import ecfp

    return Chunk({"prints": ecfp(texts, radius=radius, size=size)}, {})


def nearest_chunk(leaders: np.ndarray, prints: np.ndarray) -> Chunk:
    """Number of the nearest leader of every fingerprint, int32 ``[n]``; both are packed bits."""
    # One word of all leaders after another: [words, leaders].
    words = np.ascontiguousarray(np.ascontiguousarray(leaders).view(np.uint64).T)
    own = np.ascontiguousarray(prints).view(np.uint64)
    leader_bits = np.bitwise_count(words).sum(axis=0, dtype=np.int32)
    own_bits = np.bitwise_count(own).sum(axis=1, dtype=np.int32)
    group = np.empty(len(own), np.int32)
    for start in range(0, len(own), _BLOCK):
        block, bits = own[start : start + _BLOCK], own_bits[start : start + _BLOCK, None]
        best, nearest = np.full(len(block), -1.0, np.float32), np.zeros(len(block), np.int32)
        for first in range(0, words.shape[1], _LEADERS):
            some = words[:, first : first + _LEADERS]
            common = np.zeros((len(block), some.shape[1]), np.uint16)
            for word, theirs in zip(block.T, some, strict=True):
                common += np.bitwise_count(word[:, None] & theirs)
            union = bits + leader_bits[first : first + _LEADERS] - common
            # Two empty fingerprints are equal. Fractions of such small numbers stay apart in float32.
            similarity = np.where(union == 0, np.float32(1), common / np.maximum(union, 1).astype(np.float32))
            place = similarity.argmax(axis=1)
            value = similarity[np.arange(len(block)), place]
            is_better = value > best
            best[is_better], nearest[is_better] = value[is_better], first + place[is_better]
        group[start : start + _BLOCK] = nearest
    return Chunk({"group": group}, {})


def _leaders(
    paths: Sequence[Path], order: np.ndarray, threshold: float, n_jobs: int, work: Path, bar: StartStage
) -> np.ndarray:
    """Fingerprints of the leaders in the order of their ids, packed uint8 ``[leaders, size / 8]``."""
    prints = np.concatenate([read_chunk(path).columns["prints"] for path in paths])[order]
    path = work / "leaders.chunk"
    _run(iter([(path, len(order), (prints, threshold, n_jobs))]), leader_chunk, bar("leaders", len(order)), 1)
    return np.asarray(read_chunk(path).columns["prints"])


def leader_chunk(prints: np.ndarray, threshold: float, n_jobs: int) -> Chunk:
    """The leaders among fingerprints, chosen in their order."""
    from rdkit.DataStructs import CreateFromBinaryText
    from rdkit.SimDivFilters.rdSimDivPickers import LeaderPicker

    vectors = [CreateFromBinaryText(row.tobytes()) for row in prints]
    picked = LeaderPicker().LazyBitVectorPick(vectors, len(vectors), threshold, numThreads=n_jobs)
    return Chunk({"prints": prints[np.sort(np.array(picked, np.int64))]}, {})


def _stored(
    store: GraphStore,
    name: str,
    options: list[Any],
    compute: Callable[[Path, Path, StartStage], None],
    progress: bool | StartStage,
) -> Groups:
    """Open groups of the store; ``compute(work, draft, bar)`` makes their folder if it is not there."""
    from rdkit.rdBase import rdkitVersion

    key = content_key(name, options, rdkitVersion)
    folder = store.folder / "groups" / f"{name}-{key}"
    if not is_finished(folder):
        with (
            progress_bar(store.folder.name, progress) as bar,
            locked_work(store.folder.parent, f"{store.folder.name}-{name}-{key}", bar.say) as work,
        ):
            if not is_finished(folder):
                draft = fresh(work / "groups")
                compute(work, draft, bar)
                publish(draft, folder)
    columns = open_columns(folder, read_manifest(folder))
    return Groups(columns["group"], columns["size"])


_Job = tuple[Path, int, tuple[Any, ...]]


def _jobs(
    store: GraphStore, work: Path, arguments: Callable[[list[str], np.ndarray], tuple[Any, ...]]
) -> Iterator[_Job]:
    """One job for every few thousand molecules, with the texts of their first rows."""
    start = 0
    for rows in store.first_rows(CHUNK_ROWS):
        stop = start + len(rows)
        given = arguments(store.texts(rows), np.asarray(store.id[start:stop]))
        yield work / f"{start:012d}.chunk", len(rows), given
        start = stop


def _run(
    jobs: Iterator[_Job], compute: Callable[..., Chunk], advance: Advance, n_jobs: int, *shared: Any
) -> list[Path]:
    """Compute the chunks that are not there yet; their files, in order."""
    paths: list[Path] = []

    def noted() -> Iterator[_Job]:
        for job in jobs:
            paths.append(job[0])
            yield job

    run_chunks(noted(), compute, shared, n_jobs=n_jobs, advance=advance)
    return paths


def _number(paths: Sequence[Path], total: int, work: Path, draft: Path) -> None:
    """Number the different hashes of chunks in sorted order and write the groups."""
    group = scratch(work, "group", total, np.int32)
    bits = max(0, (max(total, 1) - 1).bit_length() - (_SORTED.bit_length() - 1))
    next_number = 0
    with column_writer(draft) as writer:
        writer.append("size", np.empty(0, np.int64))
        for partition in range(1 << bits):
            places, hashes, start = [np.empty(0, np.int64)], [np.empty((0, 2), np.uint64)], 0
            for path in paths:
                found = np.asarray(read_chunk(path).columns["hash"])
                inside = np.flatnonzero(_leading(found, bits) == partition)
                places.append(start + inside)
                hashes.append(found[inside])
                start += len(found)
            place, both = np.concatenate(places), np.concatenate(hashes)
            order = np.lexsort((both[:, 1], both[:, 0]))
            ranked = both[order]
            is_new = np.ones(len(order), bool)
            is_new[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
            number = np.cumsum(is_new) - 1
            group[place[order]] = next_number + number
            writer.append("size", np.bincount(number, minlength=int(is_new.sum())))
            next_number += int(is_new.sum())
        for start in range(0, total, AT_ONCE):
            writer.append("group", group[start : start + AT_ONCE])
        writer.close()


def _leading(ids: np.ndarray, bits: int) -> np.ndarray:
    """The leading bits of 128-bit ids, int64 ``[n]``."""
    return (ids[:, 0] >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(ids), np.int64)
