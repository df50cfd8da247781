"""Several datasets trained together: prepared stores, split parts, fitted label transforms, batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from graphium.chem.featurizer import Featurizer
from graphium.config import cache_dir
from graphium.data.assemble import write_failures
from graphium.data.batch import GraphBatch
from graphium.data.dataset import Dataset
from graphium.data.gather import Gather, concat
from graphium.data.labels import LabelBlock, prepare_labels
from graphium.data.leaks import RowIds, count_leaks
from graphium.data.loader import BatchLoader
from graphium.data.prepare import content_key, prepare_store, progress_bar
from graphium.data.readers import read_cells
from graphium.data.resolve import ResolvedDataset, resolve
from graphium.data.splits import SplitContext, read_split, write_split
from graphium.data.store import Failure, GraphStore
from graphium.data.transforms import LabelTransform
from graphium.errors import GraphiumError, suggest
from graphium.registry import build, check_arguments
from graphium.types import PARTS, FeatureSpec, HeadSpec, group_tasks


@dataclass(frozen=True)
class MixOptions:
    """What the ``data`` section says beyond the datasets themselves.

    ``limit``: use the first N molecules of every table. ``n_jobs``: preparation processes, -1 for all
    cores.
    """

    batch_size: int = 256
    limit: int | None = None
    n_jobs: int = 1
    on_bad_molecule: Literal["skip", "raise"] = "skip"

    def __post_init__(self) -> None:
        for name, value in (("batch_size", self.batch_size), ("limit", self.limit)):
            if value is not None and value < 1:
                raise GraphiumError(f"data.{name} is {value}; give a whole number of at least 1")
        if self.n_jobs < 1 and self.n_jobs != -1:
            raise GraphiumError(f"data.n_jobs is {self.n_jobs}; give a number of processes, or -1 for all cores")


@dataclass(frozen=True)
class MixDataset:
    """One prepared dataset of a mix.

    ``assigned`` int8 ``[rows]``: part of every row as the split says, an index in ``types.PARTS``, -1 in
    none. ``messages``: what preparation found, beyond ``resolved.messages``.
    """

    name: str
    resolved: ResolvedDataset
    store: GraphStore
    heads: tuple[HeadSpec, ...]
    blocks: Mapping[str, LabelBlock]
    assigned: np.ndarray
    messages: tuple[str, ...] = ()

    @cached_property
    def parts(self) -> np.ndarray:
        """Part of every row that can be used, int8 ``[rows]``; -1 in none, and for rows that failed."""
        return np.where(np.asarray(self.store.row_molecule) < 0, np.int8(-1), self.assigned)

    def failed_rows(self, part: str) -> list[Failure]:
        """The rows that a split file or column puts into a part and that could not be used.

        A split that is drawn has molecules only, so its parts have no failed rows.
        """
        code = PARTS.index(part)
        found = (failure._replace(dataset=self.name) for failure in self.store.failures())
        return [failure for failure in found if self.assigned[failure.row] == code]


class Mix:
    """Prepared datasets that are trained together.

    ``heads`` carry the fitted label transforms; ``spec`` says what the features are.
    """

    def __init__(self, datasets: Sequence[MixDataset], spec: FeatureSpec) -> None:
        self.datasets = tuple(datasets)
        self.spec = spec
        self.heads = tuple(head for dataset in self.datasets for head in dataset.heads)
        self.transforms = {head.name: LabelTransform(head.tasks) for head in self.heads}
        self._gathers = [
            Gather(d.store, spec, d.blocks, table=number, transforms=self.transforms)
            for number, d in enumerate(self.datasets)
        ]

    def index(self, part: str) -> Tensor:
        """The rows of a part as (table, row), int64 ``[rows, 2]``, tables one after another."""
        code = PARTS.index(part)
        pieces = []
        for number, dataset in enumerate(self.datasets):
            rows = torch.from_numpy(np.flatnonzero(dataset.parts == code))
            pieces.append(torch.stack([torch.full_like(rows, number), rows], dim=1))
        return torch.cat(pieces)

    def gather(self, index: Tensor) -> GraphBatch:
        """Build the batch of some (table, row) pairs, int64 ``[n, 2]``; graphs are grouped by table."""
        batches = []
        for number, gather in enumerate(self._gathers):
            rows = index[index[:, 0] == number, 1]
            if rows.numel():
                batches.append(gather(rows))
        if not batches:
            batches = [self._gathers[0](index[:0, 1])]
        return concat(batches, heads=self.heads)

    def loader(
        self,
        part: str,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> BatchLoader:
        """Batches of one part; see :class:`BatchLoader`."""
        return BatchLoader(
            self.gather,
            self.index(part),
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            accumulate=accumulate,
            rank=rank,
            world_size=world_size,
        )

    @cached_property
    def leaks(self) -> dict[str, dict[str, dict[str, int]]]:
        """Held-out rows whose molecule stands in a training part; see :func:`count_leaks`."""
        return count_leaks({d.name: _row_ids(d) for d in self.datasets})

    def write_failures(self, path: Path) -> None:
        """Write the rows of all datasets that could not be used as CSV: dataset, row, text, reason."""
        write_failures(path, [f._replace(dataset=d.name) for d in self.datasets for f in d.store.failures()])

    def summary(self) -> dict[str, dict[str, Any]]:
        """Per dataset what the plan prints: counts, tasks by level and kind, split sizes, leaks."""
        return {
            d.name: {
                "rows": d.store.num_rows,
                "molecules": d.store.num_molecules,
                "failures": d.store.num_failures,
                "heads": [
                    {
                        "level": head.level,
                        "kind": head.kind,
                        "classes": head.num_classes,
                        "tasks": head.num_tasks,
                        "labels": d.blocks[head.name].num_labels,
                    }
                    for head in d.heads
                ],
                "parts": {name: int((d.parts == code).sum()) for code, name in enumerate(PARTS)},
                "leaks": self.leaks[d.name],
                "messages": list(d.messages),
                "store": str(d.store.folder),
                "key": d.resolved.table.key,
            }
            for d in self.datasets
        }


def check_data(data: Mapping[str, Any], *, where: str = "data") -> tuple[MixOptions, tuple[Dataset, ...]]:
    """Judge a ``data`` section without touching a file.

    The section holds the fields of :class:`MixOptions` and either ``datasets`` (name -> fields of
    :class:`Dataset`) or the fields of one dataset directly.
    """
    option_names = set(MixOptions.__dataclass_fields__)
    options = check_arguments(MixOptions, {k: v for k, v in data.items() if k in option_names}, where=where)
    rest = {key: value for key, value in data.items() if key not in option_names}
    if "datasets" not in rest:
        name = rest.pop("name", None) or _name_from_path(rest.get("path"))
        return MixOptions(**options), (Dataset.from_config(name, rest, where=where),)
    named = rest.pop("datasets")
    if rest:
        key = next(iter(rest))
        raise GraphiumError(
            f"unknown key {where}.{key}; {suggest(key, [*option_names, 'datasets'])}; "
            f"a dataset's own fields go to {where}.datasets.<name>"
        )
    if not isinstance(named, Mapping) or not named:
        raise GraphiumError(f"{where}.datasets is {named!r}; give at least one dataset as name: fields")
    for name, raw in named.items():
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
    progress: bool = True,
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
        progress: Print what was found in the tables, and the progress, to stderr.

    Raises:
        GraphiumError: a file, column, split or value that cannot be used.
    """
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
        )
        resolved.append(one)
        if progress:
            _tell(f"{dataset.name}: {message}" for message in one.messages)
    root = Path(store_dir) if store_dir is not None else cache_dir() / "stores"
    prepared = [_prepare(one, featurizer, root, options, progress) for one in resolved]
    return Mix(prepared, featurizer.spec)


def _prepare(
    resolved: ResolvedDataset,
    featurizer: Featurizer,
    root: Path,
    options: MixOptions,
    progress: bool,
) -> MixDataset:
    name, table = resolved.dataset.name, resolved.table
    with progress_bar(name, progress) as bar:
        store = prepare_store(
            table,
            resolved.smiles,
            featurizer,
            root,
            name=name,
            n_jobs=options.n_jobs,
            on_bad_molecule=options.on_bad_molecule,
            progress=bar,
        )
        assigned = _assign_parts(resolved, store)
        heads = group_tasks(resolved.tasks)
        blocks = {head.name: prepare_labels(store, table, head, read_cells, progress=bar) for head in heads}
    prepared = MixDataset(name, resolved, store, heads, blocks, assigned)
    empty = [part for part in ("train", "val", "test") if not (prepared.parts == PARTS.index(part)).any()]
    if "train" in empty:
        raise GraphiumError(f"dataset {name!r} has no row in its training part; choose another split")
    said = [f"the {part} part is empty" for part in empty]
    unused = int(((assigned < 0) & (np.asarray(store.row_molecule) >= 0)).sum())
    if unused:
        said.append(f"{unused:,} row{'s are' if unused > 1 else ' is'} in no part and not used")
    fitted = tuple(_fit(head, blocks[head.name], prepared.parts, resolved.dataset) for head in heads)
    return replace(prepared, heads=fitted, messages=tuple(said))


def _assign_parts(resolved: ResolvedDataset, store: GraphStore) -> np.ndarray:
    """Part of every row, int8 ``[rows]``, failed ones included; what is drawn is written once and read back."""
    dataset, row_molecule = resolved.dataset, np.asarray(store.row_molecule)
    split = build("split", dataset.split, where=f"{dataset.name}.split")
    path = store.folder / "splits" / f"{content_key(dataset.split)}.csv"
    if getattr(split, "computed", False) and path.exists():
        return read_split(path, store.num_rows)
    context = SplitContext(
        num_rows=store.num_rows,
        row_molecule=row_molecule,
        id=np.asarray(store.id),
        column=resolved.table.column,
        locate=resolved.locate,
        dataset=dataset.name,
        limited=resolved.table.limited,
    )
    parts = np.asarray(split(context), dtype=np.int8)
    if getattr(split, "computed", False):
        write_split(path, parts)
    return parts


def _fit(head: HeadSpec, block: LabelBlock, parts: np.ndarray, dataset: Dataset) -> HeadSpec:
    """Fit the label transform of every task on the labels of the training part only."""
    rows = np.flatnonzero(parts == PARTS.index("train"))
    _, task, value = block.select(rows)
    fitted = dataset.fit_transform(head, task, value)
    return replace(head, tasks=tuple(replace(t, transform=f) for t, f in zip(head.tasks, fitted, strict=True)))


def _row_ids(dataset: MixDataset) -> RowIds:
    molecule = np.asarray(dataset.store.row_molecule)
    safe = np.maximum(molecule, 0)
    return RowIds(dataset.parts, np.asarray(dataset.store.id)[safe], np.asarray(dataset.store.flat_id)[safe])


def _tell(messages: Iterable[str]) -> None:
    from rich.console import Console

    console = Console(stderr=True)
    for message in messages:
        console.print(message, markup=False, highlight=False, soft_wrap=True)


def _name_from_path(path: Any) -> str:
    stem = Path(str(path)).name.split(".")[0] if path else "table"
    cleaned = "".join(c if c.isalnum() or c in "_-" else "_" for c in stem)
    return cleaned or "table"
