"""From a table of SMILES to a finished GraphStore, in chunks, over all cores, safe to kill."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from graphium.data.store.assemble import assemble_feature, assemble_store
from graphium.data.store.chunks import ENGINES, Chunk, Engine, Singly, run_chunks
from graphium.data.store.columns import disk_errors
from graphium.data.store.graph_store import STORE_VERSION, GraphStore, is_finished
from graphium.data.store.progress import StartStage, progress_bar
from graphium.data.store.work import content_key, fresh, locked_work, publish, sweep, work_folder
from graphium.errors import GraphiumError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from graphium.chem.featurizer import Featurizer

# Fixed, whatever the number of processes: chunk borders must not show in the result.
CHUNK_ROWS = 2048


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
    engine: Engine = "local",
) -> GraphStore:
    """Prepare a table, or complete what an earlier call prepared, and open its store.

    The store is found by content: the same table, SMILES column and graph form give the same folder,
    whatever the dataset is called. Feature columns that it holds already are not computed again. The
    files are the same bytes for any ``n_jobs``, either engine and any number of interruptions.

    Args:
        table: The source table.
        smiles: Name of its SMILES column.
        featurizer: What to store for every molecule.
        root: The folder that holds all stores.
        name: Name of the dataset, for the folder, the progress bar and ``failures.csv``.
        n_jobs: Number of processes; -1 takes all cores.
        on_bad_molecule: ``skip`` lists unusable rows in ``failures.csv``, ``raise`` stops at one.
        progress: Show a progress bar, or add the stages to the one of :func:`progress_bar`.
        engine: ``local`` works on this machine, ``ray`` on a Ray cluster.

    Raises:
        GraphiumError: no usable row, a bad one under ``raise``, or a disk that is full.
    """
    n_jobs = (os.cpu_count() or 1) if n_jobs == -1 else n_jobs
    if n_jobs < 1:
        raise GraphiumError(f"n_jobs is {n_jobs}; give a number of processes of at least 1, or -1 for all cores")
    if engine not in ENGINES:
        raise GraphiumError(f"engine is {engine!r}; choose {' or '.join(ENGINES)}")
    root = Path(root)
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    key = _store_key(table, smiles, featurizer)
    keys = featurizer.block_keys()
    folder = _existing(root, key) or root / f"{_file_name(name)}-{key}"
    if is_finished(folder) and not _missing(folder, keys):
        # A kill just before the end leaves the chunks of a store that is complete.
        sweep(root, key, "graphs-*")
    else:
        with progress_bar(name, progress) as bar, locked_work(root, key, bar.say) as work:
            run = _Run(featurizer, work, n_jobs, engine, bar)
            folder = _existing(root, key) or folder
            if not is_finished(folder):
                _build(run, table, smiles, folder, name, on_bad_molecule)
            _complete(run, folder)
    store = GraphStore.open(folder, keys)
    if on_bad_molecule == "raise" and store.num_failures:
        first = next(store.failures())
        raise _bad_molecule(name, first.row, first.text, first.reason)
    return store


def describe_preparation(table: TableLike, smiles: str, featurizer: Featurizer, root: Path) -> list[str]:
    """What :func:`prepare_store` with these arguments would find finished and what it would compute.

    Returns:
        Sentences without the name of the dataset, e.g. ``graphs of 12,000 rows and 4 feature columns are
        there; will compute laplacian_eigvec``.
    """
    key = _store_key(table, smiles, featurizer)
    keys = featurizer.block_keys()
    folder = _existing(Path(root), key)
    if folder is not None:
        missing = _missing(folder, keys)
        there = f"graphs of {GraphStore.open(folder).num_rows:,} rows and {_columns(len(keys) - len(missing))} there"
        return [f"{there}; {'will compute ' + ', '.join(missing) if missing else 'nothing to compute'}"]
    sentences = [f"will read {table.num_rows:,} rows and compute their graphs and {len(keys)} feature columns"]
    finished = len(list(_graph_chunks(work_folder(Path(root), key), keys).glob("*.chunk")))
    if finished:
        total = -(-table.num_rows // CHUNK_ROWS)
        sentences.append(f"{finished:,} of {total:,} chunks of an interrupted preparation are there")
    return sentences


class _Run:
    """What all stages of one preparation share."""

    def __init__(self, featurizer: Featurizer, work: Path, n_jobs: int, engine: Engine, bar: StartStage) -> None:
        self.featurizer = featurizer
        self.keys = featurizer.block_keys()
        self.work = work
        self.bar = bar
        self._options: dict[str, Any] = {"n_jobs": n_jobs, "engine": engine}

    def chunks(
        self,
        jobs: Iterator[tuple[Path, int, tuple[Any, ...]]],
        compute: Callable[..., Chunk],
        *shared: Any,
        **more: Any,
    ) -> None:
        run_chunks(jobs, compute, shared, **self._options, **more)


def _build(
    run: _Run, table: TableLike, smiles: str, folder: Path, name: str, on_bad_molecule: Literal["skip", "raise"]
) -> None:
    """Read all rows, compute all that a store holds of them, and write it."""
    from rdkit import __version__ as rdkit

    from graphium.data.store.stages import graph_chunk

    chunks = _graph_chunks(run.work, run.keys)
    with disk_errors(chunks):
        chunks.mkdir(exist_ok=True)
    paths: list[Path] = []

    def jobs() -> Iterator[tuple[Path, int, tuple[Any, ...]]]:
        for first, frame in table.chunks([smiles], CHUNK_ROWS):
            paths.append(chunks / f"{first:012d}.chunk")
            yield paths[-1], len(frame), (first, frame[smiles].tolist())

    advance = run.bar("molecules", table.num_rows)

    def count_failures(about: Mapping[str, Any]) -> None:
        if on_bad_molecule == "raise" and about["failures"]:
            raise _bad_molecule(name, *about["failures"][0])
        advance(0, len(about["failures"]))

    run.chunks(
        jobs(),
        graph_chunk,
        run.featurizer,
        advance=advance,
        finished=count_failures,
        singly=Singly(_each_row, _without_rows),
    )
    draft = fresh(run.work / "store")
    assemble_store(
        paths,
        draft,
        chunks / "numbers",
        run.keys,
        _entities(run.featurizer),
        dataset=name,
        smiles=smiles,
        rdkit=rdkit,
        advance=run.bar("writing", table.num_rows),
    )
    publish(draft, folder)
    shutil.rmtree(chunks)


def _each_row(arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    first, texts = arguments
    return [(first + place, [text]) for place, text in enumerate(texts)]


def _without_rows(arguments: tuple[Any, ...], places: Sequence[int]) -> tuple[Any, ...]:
    return *arguments, places


def _complete(run: _Run, folder: Path) -> None:
    """Compute the feature columns that a store lacks: newly asked properties and encodings."""
    missing = _missing(folder, run.keys)
    if not missing:
        return
    from graphium.data.store.stages import encoding_chunk, property_chunk

    store = GraphStore.open(folder)
    encodings = [column.name for column in run.featurizer.spec.encodings if column.name in missing]
    properties = [block for block in missing if block not in encodings]
    if properties:
        _add(run, store, "atoms and bonds", properties, property_chunk, run.featurizer, _texts(store))
    if encodings:
        part = _only_encodings(run.featurizer, encodings)
        _add(run, store, "encodings", encodings, encoding_chunk, part, _bonds(store))


def _add(
    run: _Run,
    store: GraphStore,
    stage: str,
    blocks: list[str],
    compute: Callable[..., Chunk],
    featurizer: Featurizer,
    arguments: Iterator[tuple[Any, ...]],
) -> None:
    """Compute some columns for all molecules of a store, ``CHUNK_ROWS`` at a time, and add them to it."""
    keys = {block: run.keys[block] for block in blocks}
    chunks = run.work / f"features-{content_key(keys)}"
    with disk_errors(chunks):
        chunks.mkdir(exist_ok=True)
    total = store.num_molecules
    paths = [chunks / f"{start:012d}.chunk" for start in range(0, total, CHUNK_ROWS)]
    sizes = (min(CHUNK_ROWS, total - start) for start in range(0, total, CHUNK_ROWS))
    jobs = zip(paths, sizes, arguments, strict=True)
    run.chunks(jobs, compute, featurizer, blocks, advance=run.bar(stage, total))
    for block in blocks:
        draft = fresh(run.work / block)
        assemble_feature(paths, draft, block, keys[block])
        publish(draft, store.feature_folder(block, keys[block]))
    shutil.rmtree(chunks)


def _texts(store: GraphStore) -> Iterator[tuple[int, list[str], np.ndarray]]:
    """What :func:`property_chunk` needs of the molecules of a store."""
    start = 0
    for rows in store.first_rows(CHUNK_ROWS):
        yield start, store.texts(rows), store.id[start : start + len(rows)]
        start += len(rows)


def _bonds(store: GraphStore) -> Iterator[tuple[Any, ...]]:
    """What :func:`encoding_chunk` needs of the molecules of a store."""
    for start in range(0, store.num_molecules, CHUNK_ROWS):
        ptr = store.ptr[start : start + CHUNK_ROWS + 1]
        atoms, bonds, components = (ptr[1:] - ptr[:-1]).T
        yield (
            start,
            atoms,
            components,
            store.component_size[ptr[0, 2] : ptr[-1, 2]],
            bonds,
            store.bond_index[ptr[0, 1] : ptr[-1, 1]].astype("int16"),
        )


def _entities(featurizer: Featurizer) -> dict[str, str]:
    """Feature column -> what its rows belong to: atom, bond or component."""
    owner = {"node": "atom", "component": "component"}
    encodings = {column.name: owner[column.entity] for column in featurizer.spec.encodings}
    return {block: encodings.get(block) or block.split("_")[0] for block in featurizer.block_keys()}


def _only_encodings(featurizer: Featurizer, columns: Sequence[str]) -> Featurizer:
    """The featurizer without the encodings that make none of ``columns``."""
    config, kind = featurizer.config(), type(featurizer)
    parts = [kind(**{**config, "encodings": [encoding]}) for encoding in config["encodings"]]
    wanted = [part for part in parts if {column.name for column in part.spec.encodings} & set(columns)]
    return kind(**{**config, "encodings": [part.config()["encodings"][0] for part in wanted]})


def _store_key(table: TableLike, smiles: str, featurizer: Featurizer) -> str:
    return content_key(STORE_VERSION, table.key, smiles, featurizer.structure_key())


def _graph_chunks(work: Path, keys: Mapping[str, str]) -> Path:
    """Where the chunks of graphs with these feature columns are collected."""
    return work / f"graphs-{content_key(keys)}"


def _missing(folder: Path, keys: Mapping[str, str]) -> list[str]:
    """Feature columns that a finished store lacks."""
    store = GraphStore.open(folder)
    return sorted(block for block, key in keys.items() if not is_finished(store.feature_folder(block, key)))


def _existing(root: Path, key: str) -> Path | None:
    found = sorted(path for path in root.glob(f"*-{key}") if is_finished(path))
    return found[0] if found else None


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in name)


def _columns(number: int) -> str:
    return "1 feature column is" if number == 1 else f"{number} feature columns are"


def _bad_molecule(dataset: str, row: int, text: str, reason: str) -> GraphiumError:
    return GraphiumError(
        f"row {row} of {dataset} cannot be used: {text!r} {reason}; mend the row or set data.on_bad_molecule=skip"
    )
