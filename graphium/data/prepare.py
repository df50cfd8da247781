"""From a table of SMILES to a finished GraphStore, in chunks, over all cores, safe to kill."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pandas as pd

from graphium.data.assemble import assemble_feature, assemble_store
from graphium.data.chunks import Chunk, run_chunks
from graphium.data.columns import disk_errors
from graphium.data.store import GraphStore, is_finished
from graphium.errors import GraphiumError

if TYPE_CHECKING:
    from graphium.chem.featurizer import Featurizer

# Fixed, whatever the number of processes: chunk borders must not show in the result.
CHUNK_ROWS = 4096
STORE_VERSION = 1

Advance = Callable[[int], None]
StartStage = Callable[[str, int], Advance]


class TableLike(Protocol):
    """What preparation needs of a table: its content key and its rows in chunks."""

    @property
    def key(self) -> str: ...

    @property
    def num_rows(self) -> int: ...

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[tuple[int, pd.DataFrame]]: ...


def prepare_store(
    table: TableLike,
    smiles: str,
    featurizer: Featurizer,
    root: Path,
    *,
    name: str,
    n_jobs: int = 1,
    on_bad_molecule: Literal["skip", "raise"] = "skip",
    progress: bool | StartStage = True,
) -> GraphStore:
    """Prepare a table, or complete what an earlier call prepared, and open its store.

    The store is found by content: the same table, SMILES column and graph form give the same folder,
    whatever the dataset is called. Feature columns that it holds already are not computed again. The
    files are the same bytes for any ``n_jobs`` and any number of interruptions.

    Args:
        table: The source table.
        smiles: Name of its SMILES column.
        featurizer: What to store for every molecule.
        root: The folder that holds all stores.
        name: Name of the dataset, for the folder, the progress bar and ``failures.csv``.
        n_jobs: Number of processes; -1 takes all cores.
        on_bad_molecule: ``skip`` lists unusable rows in ``failures.csv``, ``raise`` stops at one.
        progress: Show a progress bar, or add the stages to the one of :func:`progress_bar`.

    Raises:
        GraphiumError: no usable row, a bad one under ``raise``, or a disk that is full.
    """
    n_jobs = (os.cpu_count() or 1) if n_jobs == -1 else n_jobs
    if n_jobs < 1:
        raise GraphiumError(f"n_jobs is {n_jobs}; give a number of processes of at least 1, or -1 for all cores")
    root = Path(root)
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    key = content_key(STORE_VERSION, table.key, smiles, featurizer.structure_key())
    keys = featurizer.block_keys()
    folder = _existing(root, key) or root / f"{_file_name(name)}-{key}"
    if not (is_finished(folder) and not _missing(GraphStore.open(folder), keys)):
        with locked_work(root, key) as work, progress_bar(name, progress) as bar:
            folder = _existing(root, key) or folder
            if not is_finished(folder):
                _build(table, smiles, featurizer, folder, work, name, n_jobs, on_bad_molecule, bar)
            _complete(folder, featurizer, work, n_jobs, bar)
    store = GraphStore.open(folder, keys)
    if on_bad_molecule == "raise" and store.num_failures:
        first = store.failures()[0]
        raise _bad_molecule(name, first.row, first.text, first.reason)
    return store


def content_key(*values: Any) -> str:
    """Short hash of plain values, for folder names."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def progress_bar(name: str, progress: bool | StartStage) -> Iterator[StartStage]:
    """One progress bar for all stages of a preparation: yields ``start(stage, rows) -> advance(rows)``.

    Nothing is shown before the first stage starts. ``progress`` False shows nothing; the ``start`` of
    an outer bar is handed on.
    """
    if not isinstance(progress, bool):
        yield progress
        return
    if not progress:
        yield lambda stage, rows: lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True))

    def start(stage: str, rows: int) -> Advance:
        task = bar.task_ids[0] if bar.task_ids else bar.add_task("")
        bar.reset(task, total=rows, description=f"preparing {name}: {stage}")
        bar.start()
        return lambda done: bar.advance(task, done)

    try:
        yield start
        for task in bar.task_ids:
            bar.update(task, description=f"prepared {name}")
    finally:
        if bar.task_ids:
            bar.stop()


@contextmanager
def locked_work(root: Path, key: str) -> Iterator[Path]:
    """The folder for unfinished work on one store, held by one process at a time; removed at the end.

    After an error or a kill the folder stays and the next call continues in it. The lock is on the
    folder itself and ends with the process, so a kill leaves nothing to clean up.
    """
    work = root / f"{key}.part"
    while True:
        with disk_errors(work):
            work.mkdir(exist_ok=True)
        handle = os.open(work, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Another process may have finished and removed the folder while this one waited.
        if work.is_dir() and os.fstat(handle).st_ino == work.stat().st_ino:
            break
        os.close(handle)
    try:
        yield work
        shutil.rmtree(work)
    finally:
        os.close(handle)


def publish(draft: Path, final: Path) -> None:
    """Give a completed folder its name in one step."""
    with disk_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        os.rename(draft, final)


def fresh(draft: Path) -> Path:
    """A path for an unfinished folder; what an interrupted call left there is removed."""
    if draft.exists():
        shutil.rmtree(draft)
    return draft


def _build(
    table: TableLike,
    smiles: str,
    featurizer: Featurizer,
    folder: Path,
    work: Path,
    name: str,
    n_jobs: int,
    on_bad_molecule: str,
    bar: StartStage,
) -> None:
    """Parse all rows, then write molecules, rows and the properties of atoms and bonds."""
    keys = {block: key for block, key in featurizer.block_keys().items() if block not in _encoding_names(featurizer)}
    chunks = work / f"graphs-{content_key(keys)}"
    with disk_errors(chunks):
        chunks.mkdir(exist_ok=True)
    paths: list[Path] = []

    def jobs() -> Iterator[tuple[Path, int, tuple[Any, ...]]]:
        for first, frame in table.chunks([smiles], CHUNK_ROWS):
            paths.append(chunks / f"{first:012d}.chunk")
            yield paths[-1], len(frame), (first, frame[smiles].tolist())

    def stop_at_failure(about: Mapping[str, Any]) -> None:
        if on_bad_molecule == "raise" and about["failures"]:
            raise _bad_molecule(name, *about["failures"][0])

    advance = bar("molecules", table.num_rows)
    run_chunks(jobs(), graph_chunk, (Portable(featurizer),), n_jobs=n_jobs, advance=advance, finished=stop_at_failure)
    draft = fresh(work / "store")
    assemble_store(paths, draft, keys, dataset=name, smiles=smiles)
    publish(draft, folder)
    shutil.rmtree(chunks)


def _complete(folder: Path, featurizer: Featurizer, work: Path, n_jobs: int, bar: StartStage) -> None:
    """Compute the feature columns that the store lacks: newly asked properties and encodings."""
    store = GraphStore.open(folder)
    keys = featurizer.block_keys()
    missing = _missing(store, keys)
    encodings = [block for block in missing if block in _encoding_names(featurizer)]
    properties = [block for block in missing if block not in encodings]
    ranges = [
        (start, min(start + CHUNK_ROWS, store.num_molecules)) for start in range(0, store.num_molecules, CHUNK_ROWS)
    ]
    rows = store.first_rows() if properties else np.empty(0, np.int64)
    texts = ((start, stop, store.texts(rows[start:stop])) for start, stop in ranges)
    stages: list[tuple[str, list[str], Callable[..., Chunk], Featurizer, Iterable[tuple[Any, ...]]]] = [
        ("atoms and bonds", properties, property_chunk, featurizer, texts),
        ("encodings", encodings, encoding_chunk, _only_encodings(featurizer, encodings), ranges),
    ]
    for stage, blocks, compute, part, arguments in stages:
        if not blocks:
            continue
        chunks = work / f"features-{content_key({block: keys[block] for block in blocks})}"
        with disk_errors(chunks):
            chunks.mkdir(exist_ok=True)
        paths = [chunks / f"{start:012d}.chunk" for start, _ in ranges]
        jobs = ((path, given[1] - given[0], given) for path, given in zip(paths, arguments, strict=True))
        advance = bar(stage, store.num_molecules)
        run_chunks(jobs, compute, (Portable(part), folder, blocks), n_jobs=n_jobs, advance=advance)
        for block in blocks:
            draft = fresh(work / block)
            assemble_feature(paths, draft, block, keys[block])
            publish(draft, store.feature_folder(block, keys[block]))
        shutil.rmtree(chunks)


class Portable:
    """A featurizer on its way to another process, where it is built again from its options.

    It holds functions of RDKit, which cannot be pickled.
    """

    def __init__(self, featurizer: Featurizer) -> None:
        self.featurizer = featurizer

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self.featurizer), self.featurizer.config())


def _rebuild(kind: type[Featurizer], config: Mapping[str, Any]) -> Portable:
    return Portable(kind(**config))


def graph_chunk(portable: Portable, first: int, texts: list[Any]) -> Chunk:
    """Everything that is read from the text of some rows; ``first`` is the number of the first row."""
    found = portable.featurizer.molecules(texts)
    num_bonds = found.num_bonds.astype(np.int64)
    encoded = [text.encode("utf-8", "replace") if isinstance(text, str) else b"" for text in texts]
    columns = {
        "position": found.position,
        "id": found.id,
        "flat_id": found.flat_id,
        "num_atoms": found.num_atoms,
        "num_bonds": found.num_bonds,
        "num_components": found.num_components,
        "component_size": found.component_size,
        "bonds": np.concatenate([found.bond_index, edge_places(found.num_atoms, num_bonds, found.bond_index)], axis=1),
        "atom_order": found.atom_order,
        "bond_order": found.bond_order,
        "text": np.frombuffer(b"".join(encoded), np.uint8),
        "text_size": np.fromiter(map(len, encoded), np.int64, len(encoded)),
        **found.blocks,
    }
    failures = [[first + position, encoded[position].decode(), reason] for position, reason in sorted(found.failures)]
    return Chunk(columns, {"first": first, "rows": len(texts), "failures": failures})


def property_chunk(
    portable: Portable, folder: Path, blocks: list[str], start: int, stop: int, texts: list[str]
) -> Chunk:
    """Property columns of the molecules ``start:stop`` of a store, parsed again from their first rows."""
    found = portable.featurizer.molecules(texts)
    if not np.array_equal(found.id, GraphStore.open(folder).id[start:stop]):
        raise GraphiumError(f"the molecules of the store {folder} differ from its texts; delete it and prepare again")
    return Chunk({block: found.blocks[block] for block in blocks}, {})


def encoding_chunk(portable: Portable, folder: Path, blocks: list[str], start: int, stop: int) -> Chunk:
    """Encoding columns of some molecules of a store, from their bonds alone."""
    store = GraphStore.open(folder)
    atoms, bonds = store.atom_ptr[start : stop + 1], store.bond_ptr[start : stop + 1]
    components = store.component_ptr[start : stop + 1]
    columns = portable.featurizer.encode(
        num_atoms=np.diff(atoms),
        num_components=np.diff(components),
        component_size=np.asarray(store.component_size[components[0] : components[-1]]),
        num_bonds=np.diff(bonds),
        bond_index=np.asarray(store.bond_index[bonds[0] : bonds[-1]]),
    )
    return Chunk({block: columns[block] for block in blocks}, {})


def edge_places(num_atoms: np.ndarray, num_bonds: np.ndarray, bond_index: np.ndarray) -> np.ndarray:
    """Where the edges i -> j and j -> i of every bond stand among the molecule's directed edges.

    The edges are sorted by (destination, source). Returns int16 ``[bonds, 2]``.
    """
    if len(num_bonds) and num_bonds.max() > np.iinfo(np.int16).max // 2:
        raise GraphiumError(f"a molecule has {num_bonds.max():,} bonds; at most 16,383 can be stored, leave it out")
    atom_base = np.repeat(np.cumsum(num_atoms, dtype=np.int64) - num_atoms, num_bonds)
    low, high = bond_index[:, 0] + atom_base, bond_index[:, 1] + atom_base
    total = int(num_atoms.sum(dtype=np.int64))
    order = np.argsort(np.concatenate([high * total + low, low * total + high]))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    edge_base = np.repeat(2 * (np.cumsum(num_bonds) - num_bonds), num_bonds)
    return (place.reshape(2, -1) - edge_base).T.astype(np.int16)


def _encoding_names(featurizer: Featurizer) -> list[str]:
    return [column.name for column in featurizer.spec.encodings]


def _only_encodings(featurizer: Featurizer, columns: Sequence[str]) -> Featurizer:
    """The featurizer without the encodings that make none of ``columns``."""
    config, kind = featurizer.config(), type(featurizer)
    parts = [kind(**{**config, "encodings": [encoding]}) for encoding in config["encodings"]]
    wanted = [part for part in parts if set(_encoding_names(part)) & set(columns)]
    return kind(**{**config, "encodings": [part.config()["encodings"][0] for part in wanted]})


def _missing(store: GraphStore, keys: Mapping[str, str]) -> list[str]:
    return sorted(block for block, key in keys.items() if not is_finished(store.feature_folder(block, key)))


def _existing(root: Path, key: str) -> Path | None:
    found = sorted(path for path in root.glob(f"*-{key}") if is_finished(path))
    return found[0] if found else None


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in name)


def _bad_molecule(dataset: str, row: int, text: str, reason: str) -> GraphiumError:
    return GraphiumError(
        f"row {row} of {dataset} cannot be used: {text!r} {reason}; mend the row or set data.on_bad_molecule=skip"
    )
