"""From the ``data`` section to a mix: judge it, resolve and prepare the tables, split, fit the transforms."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np

from graphium.chem.featurizer import Featurizer
from graphium.config import cache_dir
from graphium.data.datasets.dataset import Dataset
from graphium.data.datasets.inherit import ModelTasks
from graphium.data.datasets.resolve import ResolvedDataset, resolve
from graphium.data.labels.block import LabelBlock, label_key, prepare_labels
from graphium.data.labels.fitting import check_labels, check_scale, fit
from graphium.data.labels.merging import merge_labels, merge_weights
from graphium.data.labels.repeats import representatives
from graphium.data.labels.weights import prepare_weights, weights_key
from graphium.data.mix import Mix, MixDataset
from graphium.data.sampling.draws import Sampling
from graphium.data.splits.leaks import LeakSource, apply_policy, leaking_rows
from graphium.data.splits.parts import assign_parts
from graphium.data.store.graph_store import GraphStore
from graphium.data.store.prepare import describe_preparation, prepare_store
from graphium.data.store.progress import StartStage, progress_bar
from graphium.data.store.work import content_key
from graphium.errors import GraphiumError, suggest
from graphium.messages import alike, listed, tell
from graphium.registry import check_arguments
from graphium.types import PARTS, HeadSpec, group_tasks


@dataclass(frozen=True)
class MixOptions(Sampling):
    """What the ``data`` section says beyond the datasets themselves: how rows are drawn, and how tables are prepared.

    ``limit``: use the first N molecules of every table. ``n_jobs``: preparation processes, -1 for all
    cores. ``engine``: prepare on this machine (``local``) or on a Ray cluster (``ray``).
    """

    limit: int | None = None
    n_jobs: int = 1
    engine: Literal["local", "ray"] = "local"
    on_bad_molecule: Literal["skip", "raise"] = "skip"

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except GraphiumError as error:
            raise GraphiumError(f"data.{error}") from None
        if self.limit is not None and self.limit < 1:
            raise GraphiumError(f"data.limit is {self.limit}; give a whole number of at least 1")
        if self.n_jobs < 1 and self.n_jobs != -1:
            raise GraphiumError(f"data.n_jobs is {self.n_jobs}; give a number of processes, or -1 for all cores")


def check_data(data: Mapping[str, Any], *, where: str = "data") -> tuple[MixOptions, tuple[Dataset, ...]]:
    """Judge a ``data`` section without touching a file.

    The section holds the fields of :class:`MixOptions` and either ``datasets`` (name -> fields of
    :class:`Dataset`) or the fields of one dataset directly.
    """
    option_names = set(MixOptions.__dataclass_fields__)
    options = check_arguments(MixOptions, {k: v for k, v in data.items() if k in option_names}, where=where)
    rest = {key: value for key, value in data.items() if key not in option_names}
    if "datasets" not in rest:
        strange = next((key for key in rest if key not in Dataset.__dataclass_fields__), None)
        if strange is not None:
            known = [*Dataset.__dataclass_fields__, *option_names]
            raise GraphiumError(f"unknown key {where}.{strange}; {suggest(strange, known)}")
        name = rest.pop("name", None) or _name_from_path(rest.get("path"))
        return MixOptions(**options), (Dataset.from_config(name, rest, where=where),)
    named = rest.pop("datasets")
    if rest:
        key = next(iter(rest))
        if key in Dataset.__dataclass_fields__:
            only = next(iter(named)) if isinstance(named, Mapping) and len(named) == 1 and "path" not in rest else None
            too = "" if only else ", and the other fields of that table there too"
            raise GraphiumError(
                f"{where}.{key} describes one table, and {where} has `datasets`; write "
                f"{where}.datasets.{only or 'NAME'}.{key}{too}"
            )
        raise GraphiumError(
            f"unknown key {where}.{key}; {suggest(key, [*option_names, 'datasets'])}; "
            f"a dataset's own fields go to {where}.datasets.<name>"
        )
    if not isinstance(named, Mapping) or not named:
        raise GraphiumError(f"{where}.datasets is {named!r}; give at least one dataset as name: fields")
    for name, raw in named.items():
        misplaced = next((key for key in raw if key in option_names), None) if isinstance(raw, Mapping) else None
        if misplaced is not None:
            raise GraphiumError(
                f"{where}.datasets.{name}.{misplaced} is one setting for all datasets; write {where}.{misplaced}"
            )
        if isinstance(raw, Mapping) and "path" not in raw and len(named) > 1:
            others = [other for other in named if other != name]
            raise GraphiumError(f"{where}.datasets.{name} has no `path`; {suggest(name, others)}")
    datasets = tuple(
        Dataset.from_config(str(name), raw, where=f"{where}.datasets.{name}") for name, raw in named.items()
    )
    return MixOptions(**options), datasets


def build_mix(
    data: Mapping[str, Any] | Sequence[Dataset],
    featurizer: Featurizer,
    *,
    data_dir: str | Path | None = None,
    store_dir: str | Path | None = None,
    options: MixOptions | None = None,
    judge: Callable[[tuple[HeadSpec, ...]], None] | None = None,
    progress: bool = True,
    heads: Sequence[HeadSpec] | None = None,
    renamed: Mapping[str, str] | None = None,
    need_training: bool = True,
) -> Mix:
    """Resolve, prepare, split and fit the datasets of a ``data`` section (or a list of ``Dataset``).

    What a store already holds is reused. Computed splits have seeds of their own, so that runs with
    several seeds are tested on the same molecules.

    Args:
        data: A ``data`` section, or datasets made in Python.
        featurizer: What to compute for every molecule.
        data_dir: The folder of the source files.
        store_dir: The folder of the prepared stores; None is in the cache.
        options: Limit, processes and so on for a list of datasets; a section says them itself.
        judge: Called with the heads, their transforms not fitted, before anything is prepared; may refuse them.
        progress: Print what was found in the tables, and the progress, to stderr.
        heads: The heads of a saved model. Tasks of the data that are named alike (``dataset/task``, or ``task`` alone
            where the model has one of that name) and of the same level and kind have its transform, classes, unit and
            outputs, and nothing is fitted on them; see :attr:`Mix.sources`. Kind, level and classes that the data
            leaves open are those of the model.
        renamed: Column, or ``dataset/column``, -> task of the model, where the names differ.
        need_training: Whether there must be rows to fit on. Where not, tasks that the model does not have are left
            out, and so are datasets without any other.

    Raises:
        GraphiumError: a file, column, split or value that cannot be used; a class that the model does not know; no
            task of the model where others are left out.
    """
    if heads is None and (renamed or not need_training):
        raise ValueError("renamed and need_training=False are about the heads of a model")
    known = None if heads is None else ModelTasks(heads, renamed, only=not need_training)
    said, datasets = check_data(data) if isinstance(data, Mapping) else (MixOptions(), tuple(data))
    options = options or said
    names = [dataset.name for dataset in datasets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise GraphiumError(f"two datasets are named {twice!r}; give one of them another name")
    # Every table is resolved before the first one is prepared: a typo must not cost an hour.
    resolved = []
    for dataset in datasets:
        one = resolve(
            dataset,
            data_dir=Path(data_dir).expanduser() if data_dir is not None else None,
            cache_dir=cache_dir() / "downloads",
            limit=options.limit,
            progress=progress,
            known=known,
        )
        _check_levels(one, featurizer)
        resolved.append(one)
        if progress:
            tell(f"{dataset.name}: {message}" for message in one.messages)
    if known is not None:
        _check_renamed(known, resolved)
        if known.only:
            resolved = _with_tasks(known, resolved)
    if judge is not None:
        judge(tuple(head for one in resolved for head in group_tasks(one.tasks)))
    root = Path(store_dir) if store_dir is not None else cache_dir() / "stores"
    if progress:
        described = [(d, describe_preparation(d.table, d.smiles, featurizer, root)) for d in resolved]
        tell(alike(f"{d.dataset.name}: {sentence}" for d, found in described for sentence in found))
    prepared = [_prepare(one, featurizer, root, options, progress) for one in resolved]
    finished = [_finish(one, need_training) for one in _without_leaks(prepared)]
    if progress and known is not None:
        tell(f"{one.name}: {sentence}" for one in finished for sentence in _scale_sentences(one))
    return Mix(finished, featurizer.spec)


def _check_renamed(known: ModelTasks, resolved: Sequence[ResolvedDataset]) -> None:
    """Refuse a column that was named for a task of the model and that is nowhere among the labels."""
    columns = [(one.dataset.name, name) for one in resolved for name in one.table.columns]
    columns += [(one.dataset.name, task.name) for one in resolved for task in one.tasks]
    there = {spelled for dataset, name in columns for spelled in (name, f"{dataset}/{name}")}
    strange = next((name for name in known.renamed if name not in there), None)
    if strange is not None:
        raise GraphiumError(
            f"{strange!r} is said to be a task of the model and is no column of the data; "
            f"{suggest(strange, list(dict.fromkeys(name for _, name in columns)))}"
        )


def _with_tasks(known: ModelTasks, resolved: Sequence[ResolvedDataset]) -> list[ResolvedDataset]:
    """The datasets that have tasks of the model."""
    kept = [one for one in resolved if one.tasks]
    if not kept:
        columns = [name for one in resolved for name in one.table.columns if name != one.smiles]
        reasons = [sentence for one in resolved for sentence in one.messages if "left out" in sentence]
        raise GraphiumError(
            f"no column of the data is a task of the model ({listed(known.names)}); its columns are {listed(columns)}"
            f"{f', and {listed(reasons, 3)}' if reasons else ''}; name them alike, or say which is which"
        )
    return kept


def _scale_sentences(dataset: MixDataset) -> list[str]:
    """Whether labels lie where those lay that the transforms of a model were fitted on."""
    sources = dataset.resolved.sources
    found = []
    for head in dataset.heads:
        columns = [number for number, task in enumerate(head.tasks) if task.name in sources]
        if head.kind == "regression" and columns:
            found += check_scale(head, columns, partial(dataset.all_labels, head))
    return found


def _check_levels(resolved: ResolvedDataset, featurizer: Featurizer) -> None:
    task = next((task for task in resolved.tasks if task.level != "graph"), None)
    if task is not None and not featurizer.keeps_atoms:
        raise GraphiumError(
            f"dataset {resolved.dataset.name!r}, task {task.name!r}: features.standardize changes the atoms of "
            f"molecules, so that labels of level {task.level} lose their place; set features.standardize=none"
        )


def _prepare(
    resolved: ResolvedDataset,
    featurizer: Featurizer,
    root: Path,
    options: MixOptions,
    progress: bool,
) -> MixDataset:
    """Prepare the molecules, the parts and the labels of one dataset; transforms are not fitted yet."""
    dataset, table = resolved.dataset, resolved.table
    said: list[str] = []
    with progress_bar(dataset.name, progress) as bar:
        store = prepare_store(
            table,
            resolved.smiles,
            featurizer,
            root,
            name=dataset.name,
            n_jobs=options.n_jobs,
            engine=options.engine,
            on_bad_molecule=options.on_bad_molecule,
            progress=bar,
        )
        assigned = assign_parts(
            dataset.split,
            table,
            store,
            resolved.locate,
            dataset=dataset.name,
            n_jobs=options.n_jobs,
            progress=bar,
            tell=said.append,
        )
        try:
            parts, repeats = representatives(store.row_molecule, assigned, dataset.repeats)
        except GraphiumError as error:
            raise GraphiumError(f"dataset {dataset.name!r}: {error}") from None
        said += [repeats] if repeats else []
        is_merged = dataset.repeats == "mean" and bool(repeats)
        weight = None
        if dataset.sample_weight is not None:
            weight = prepare_weights(store, table, dataset.sample_weight, dataset=dataset.name, progress=bar)
        heads = group_tasks(resolved.tasks)
        blocks = {}
        for head in heads:
            block = prepare_labels(store, table, head, h_labels=dataset.h_labels, progress=bar)
            if is_merged:
                block, left_out = _merged(block, resolved, store, assigned, weight, head, bar)
                said += [f"{head.name}: {left_out:,} labels of repeats contradict each other"] if left_out else []
            blocks[head.name] = block
        if is_merged and weight is not None:
            folder = store.folder / "labels" / f"weights-{_mean_key(resolved, assigned)}"
            weight = merge_weights(weight, store, assigned, folder, say=bar.say)
    if weight is not None and (count := int(((parts >= 0) & (np.asarray(weight) == 0)).sum())):
        rows = "1 row has" if count == 1 else f"{count:,} rows have"
        said.append(f"{rows} the weight 0 in column {dataset.sample_weight!r}, and so no labels")
    unused = int(((assigned < 0) & (np.asarray(store.row_molecule) >= 0)).sum())
    if unused:
        said.append(f"{unused:,} row{'s are' if unused > 1 else ' is'} in no part and not used")
    split = assigned if dataset.repeats == "mean" else parts
    return MixDataset(dataset.name, resolved, store, heads, blocks, parts, split, tuple(said), weight)


def _merged(
    block: LabelBlock,
    resolved: ResolvedDataset,
    store: GraphStore,
    parts: np.ndarray,
    row_weight: np.ndarray | None,
    head: HeadSpec,
    bar: StartStage,
) -> tuple[LabelBlock, int]:
    """The labels with those of repeated molecules averaged in the same part."""
    key = _mean_key(resolved, parts, label_key(resolved.table, head, resolved.dataset.h_labels))
    folder = store.folder / "labels" / f"{head.level}-{head.kind}-{key}"
    advance = bar("mean of repeats", store.num_rows)
    return merge_labels(block, store, parts, folder, row_weight=row_weight, advance=advance, say=bar.say)


def _mean_key(resolved: ResolvedDataset, parts: np.ndarray, *made_from: str) -> str:
    """What labels or weights averaged by part are made from, as a short hash."""
    drawn = blake2b(np.ascontiguousarray(parts).data, digest_size=16).hexdigest()
    column = resolved.dataset.sample_weight
    weights = [] if column is None else [weights_key(resolved.table, column)]
    return content_key("mean", *made_from, drawn, *weights)


def _without_leaks(prepared: Sequence[MixDataset]) -> Iterator[MixDataset]:
    """Do with the test rows that show a training molecule of the mix what their dataset asks for."""
    if all(dataset.resolved.dataset.leak == "report" for dataset in prepared):
        yield from prepared
        return
    leaking = leaking_rows([LeakSource(d.name, d.store, d.parts) for d in prepared])
    for dataset in prepared:
        policy, rows = dataset.resolved.dataset.leak, leaking[dataset.name]
        assigned, sentence = apply_policy(dataset.assigned, rows, policy)
        said = (*dataset.messages, sentence) if sentence else dataset.messages
        # Rows that were merged share the molecule and the part of the one that stands for them.
        split, _ = apply_policy(dataset.split, _of_same_molecules(dataset.store, rows), policy)
        yield replace(dataset, assigned=assigned, split=split, messages=said)


def _of_same_molecules(store: GraphStore, rows: np.ndarray) -> np.ndarray:
    """The rows of the molecules that some rows show; bool ``[rows]``."""
    molecule = np.asarray(store.row_molecule)
    shown = np.zeros(store.num_molecules, bool)
    shown[molecule[rows]] = True
    return (molecule >= 0) & shown[molecule]


def _finish(dataset: MixDataset, need_training: bool) -> MixDataset:
    """Fit the label transforms on the training part, but for tasks of a saved model; say which parts are empty."""
    sources = dataset.resolved.sources
    if not need_training:
        for head in dataset.heads:
            check_labels(head, partial(dataset.all_labels, head))
        return dataset
    empty = [part for part in ("train", "val", "test") if not (dataset.parts == PARTS.index(part)).any()]
    if "train" in empty:
        raise GraphiumError(f"dataset {dataset.name!r} has no row in its training part; choose another split")
    if not any(len(rows) for rows in dataset.labelled_rows([PARTS.index("train")])):
        raise GraphiumError(
            f"dataset {dataset.name!r}: column {dataset.resolved.dataset.sample_weight!r} gives every row of the "
            "training part the weight 0; name another column with sample_weight, or leave it out"
        )
    heads = []
    for head in dataset.heads:
        own = [number for number, task in enumerate(head.tasks) if task.name not in sources]
        fitted = fit([head.tasks[number] for number in own], partial(_labels_of, dataset, head, own))
        tasks = list(head.tasks)
        for number, values in zip(own, fitted, strict=True):
            tasks[number] = replace(tasks[number], transform=values)
        heads.append(replace(head, tasks=tuple(tasks)))
        check_labels(heads[-1], partial(dataset.all_labels, heads[-1]))
    said = (*dataset.messages, *(f"the {part} part is empty" for part in empty))
    return replace(dataset, heads=tuple(heads), messages=said)


def _labels_of(dataset: MixDataset, head: HeadSpec, columns: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Training labels of some columns of a head, which are numbered from 0."""
    if len(columns) == head.num_tasks:
        yield from dataset.training_labels(head)
        return
    number = np.full(head.num_tasks, -1)
    number[list(columns)] = np.arange(len(columns))
    for task, value in dataset.training_labels(head):
        mine = number[task] >= 0
        yield number[task[mine]], value[mine]


def _name_from_path(path: Any) -> str:
    # Several files are named after what their names begin with: `shard_*.csv` is `shard`.
    names = [Path(str(one)).name.split(".")[0] for one in (path if isinstance(path, list) else [path or "table"])]
    stem = re.split(r"[*?\[]", os.path.commonprefix(names))[0]
    cleaned = "".join(c if c.isalnum() or c in "_-" else "_" for c in stem).strip("_-")
    return cleaned or "table"
