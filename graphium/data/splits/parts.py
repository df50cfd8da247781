"""The part of every row as the split of a dataset says; what is computed is written once and read back."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphium.data.splits.context import SplitContext
from graphium.data.store.assemble import column_writer
from graphium.data.store.columns import open_columns, read_manifest
from graphium.data.store.graph_store import GraphStore, is_finished
from graphium.data.store.progress import StartStage, progress_bar
from graphium.data.store.work import content_key, fresh, locked_work, publish
from graphium.registry import PartConfig, build

if TYPE_CHECKING:
    from graphium.data.tables.readers import Table


def check_split(config: PartConfig, table: Table, locate: Callable[..., Path], *, dataset: str) -> None:
    """Find what is wrong with a split before its table is prepared, which may take an hour.

    Args:
        config: The split, a part of kind ``split``.
        table: The source table.
        locate: Finds a split file, see :class:`SplitContext`.
        dataset: Name of the dataset, for the error sentence.

    Raises:
        GraphiumError: an option, file, column or cell that cannot be used.
    """
    split = build("split", config, where=f"{dataset}.split")
    if hasattr(split, "check"):
        context = SplitContext(
            num_rows=table.num_rows,
            # Nothing is known of the molecules yet, and a table may have very many rows.
            row_molecule=np.broadcast_to(np.int64(-1), table.num_rows),
            id=np.zeros((0, 2), dtype=np.uint64),
            chunks=table.chunks,
            locate=locate,
            dataset=dataset,
            limited=table.limited,
        )
        split.check(context)


def assign_parts(
    config: PartConfig,
    table: Table,
    store: GraphStore,
    locate: Callable[..., Path],
    *,
    dataset: str,
    n_jobs: int = 1,
    progress: bool | StartStage = False,
    tell: Callable[[str], None] = lambda sentence: None,
) -> np.ndarray:
    """Assign every row of a prepared table to a part.

    A split that computes something (``computed``) is found in the store by its options and the version
    of its code, or drawn, written there and read back.

    Args:
        config: The split, a part of kind ``split``.
        table: The source table.
        store: Its store.
        locate: Finds a split file, see :class:`SplitContext`.
        dataset: Name of the dataset, for error sentences.
        n_jobs: Processes for scaffolds and fingerprints; -1 takes all cores.
        progress: Show a progress bar, or add stages to the one of :func:`progress_bar`.
        tell: Takes what was found and should be read.

    Returns:
        int8 ``[rows]``: index in ``types.PARTS``, -1 in none; failed rows are in a part where a file or
        a column says so.

    Raises:
        GraphiumError: the split does not fit the table, or the disk is full.
    """
    split = build("split", config, where=f"{dataset}.split")

    def run(tell: Callable[[str], None], work: Path | None = None, bar: StartStage | None = None) -> np.ndarray:
        context = SplitContext(
            num_rows=store.num_rows,
            row_molecule=store.row_molecule,
            id=store.id,
            chunks=table.chunks,
            locate=locate,
            dataset=dataset,
            limited=table.limited,
            store=store,
            n_jobs=(os.cpu_count() or 1) if n_jobs == -1 else n_jobs,
            progress=bar,
            work=work,
            tell=tell,
        )
        return np.asarray(split(context), dtype=np.int8)

    if not getattr(split, "computed", False):
        return run(tell)
    key = _key(split, config)
    folder = store.folder / "splits" / key
    if not is_finished(folder):
        with (
            progress_bar(dataset, progress) as bar,
            locked_work(store.folder.parent, f"{store.folder.name}-split-{key}", bar.say) as work,
        ):
            if not is_finished(folder):
                said: list[str] = []
                draft = fresh(work / "split")
                with column_writer(draft) as writer:
                    writer.append("part", run(said.append, work, bar))
                    writer.close(said=said)
                publish(draft, folder)
    manifest = read_manifest(folder)
    for sentence in manifest["said"]:
        tell(sentence)
    return np.array(open_columns(folder, manifest)["part"])


def _key(split: Any, config: PartConfig) -> str:
    """Content key of a computed split: its options, its code's version, RDKit's version if it uses it."""
    options = asdict(split) if is_dataclass(split) and not isinstance(split, type) else config
    version = getattr(split, "version", 0)
    rdkit = ""
    if getattr(split, "uses_chemistry", False):
        from rdkit.rdBase import rdkitVersion

        rdkit = rdkitVersion
    return content_key("split", type(split).__name__, options, version, rdkit)
