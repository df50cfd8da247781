"""Table -> finished store: time beside RDKit's bare parse, memory, disk, bytes a molecule, and kills.

    python expts/benchmarks/preparation.py ../shared/data/pool/moses_train.csv.gz
    python expts/benchmarks/preparation.py ../shared/data/toymix/qm9.csv.gz --rows 30000 --labels homo lumo --kills 20

For every number of rows one line: both encodings, ``--jobs`` processes, and in the same run the bare
``Chem.MolFromSmiles`` over the same strings in as many processes, before and after. Memory is the
proportional set size of all processes without the page cache of mapped files (``smaps_rollup``, Linux);
disk is the most that the folder of stores held at any time. ``--kills N`` ends a preparation N times at
random moments by SIGKILL, continues it, and compares the store with one that was never interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rdkit import Chem, RDLogger
from timing import report

from graphium.chem.featurizer import Featurizer
from graphium.data.labels.block import prepare_labels
from graphium.data.store.graph_store import GraphStore, check
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.types import Task, group_tasks

# Of RDKit's bare parse on as many processes; the most memory of all processes; the most disk.
REQUIRED_RATIO = 0.30
REQUIRED_BYTES = 2.5e9
REQUIRED_DISK = 2.2


@dataclass(frozen=True)
class Prepared:
    """What one preparation took: seconds, seconds of all cores, peak bytes of memory and disk; and the store."""

    seconds: float
    work: float
    memory: int
    disk: int
    store: GraphStore


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--column", default="", help="column of SMILES; found by its name if not given")
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000, 0], help="0: all")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--labels", nargs="*", default=[], help="columns of numbers to prepare as labels")
    parser.add_argument("--scratch", type=Path, default=None, help="folder for temporary stores")
    parser.add_argument("--once", type=Path, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    column = given.column or next(c for c in Table(given.table).columns if c.lower() in ("smiles", "drug"))
    if given.once:
        prepare(given.table, column, given.rows[0], given.jobs, given.once, given.labels)
        return
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        for rows in given.rows:
            if given.kills:
                kill(given.table, column, rows, given.jobs, Path(scratch), given.kills, given.labels)
            else:
                measure(given.table, column, rows, given.jobs, Path(scratch))


def prepare(table: Path, column: str, rows: int, jobs: int, root: Path, labels: list[str]) -> None:
    """Prepare some rows of a table with both encodings, and some labels, and print the seconds."""
    source = Table(table, limit=rows or None)
    print("begin", flush=True)
    start, before = time.perf_counter(), os.times()
    store = prepare_store(source, column, Featurizer(), root, name="benchmark", n_jobs=jobs, progress=False)
    for head in group_tasks(Task(name, "benchmark", "graph", "regression") for name in labels):
        prepare_labels(store, source, head, progress=False)
    after = os.times()
    # The processes of the preparation have ended, so their times are among those of the children.
    print(time.perf_counter() - start, sum(after[:4]) - sum(before[:4]))


def measure(table: Path, column: str, rows: int, jobs: int, scratch: Path) -> None:
    """Print one line for one number of rows."""
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        before = np.array(bare_parse(pool, jobs, table, column, rows))
        found = watched(table, column, rows, jobs, scratch / f"rows{rows}")
        after = np.array(bare_parse(pool, jobs, table, column, rows))
    (parse, parse_work), store = (before + after) / 2, found.store
    size = sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file())
    scale = 1e6 / store.num_rows
    print(
        f"{store.num_rows:>9,} rows: {found.seconds:7.1f} s, {found.seconds * scale:6.1f} us a row, parse "
        f"{parse * scale:5.1f} us; {size / store.num_molecules:,.0f} bytes a molecule; memory {found.memory / 1e9:.2f} "
        f"GB; disk {found.disk / size:.2f} x the store"
    )
    report("  bare parse on the same cores / preparation", parse / found.seconds, REQUIRED_RATIO)
    # Says the same where other programs take the cores, but for the time in which a core has nothing to do.
    print(f"  the same in seconds of all cores{parse_work / found.work:35.3f} x")
    report("  memory of all processes, GB", found.memory / 1e9, REQUIRED_BYTES / 1e9, at_least=False, unit="GB")
    report("  most disk in use / the finished store", found.disk / size, REQUIRED_DISK, at_least=False)


def bare_parse(pool: Executor, jobs: int, table: Path, column: str, rows: int) -> tuple[float, float]:
    """Seconds of the bare parse of the same strings on the same number of processes, and of their cores."""
    chunks = (frame[column].tolist() for _, frame in Table(table, limit=rows or None).chunks([column], 20_000))
    seconds = work = 0.0
    while part := list(islice(chunks, 8)):
        texts = [text for chunk in part for text in chunk]
        pieces = [texts[place::jobs] for place in range(jobs)]
        # Every process times itself; the strings are there before the clock starts.
        took = list(pool.map(parse, pieces))
        seconds += max(wall for wall, _ in took)
        work += sum(core for _, core in took)
    return seconds, work


def parse(texts: list[str]) -> tuple[float, float]:
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    start, core = time.perf_counter(), time.process_time()
    for text in texts:
        Chem.MolFromSmiles(text)
    return time.perf_counter() - start, time.process_time() - core


def watched(table: Path, column: str, rows: int, jobs: int, root: Path) -> Prepared:
    """Prepare in a process of its own and watch its memory and its disk."""
    root.mkdir()
    child = start(table, column, rows, jobs, root)
    begun(child)
    memory = disk = 0
    while child.poll() is None:
        memory = max(memory, sum(private_bytes(pid) for pid in family(child.pid)))
        disk = max(disk, sum(sizes(root)))
        time.sleep(0.2)
    answer, _ = child.communicate()
    seconds, work = map(float, answer.split())
    return Prepared(seconds, work, memory, disk, GraphStore.open(next(root.glob("benchmark-*"))))


def start(
    table: Path, column: str, rows: int, jobs: int, root: Path, labels: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start this script anew, in a session of its own, to prepare once."""
    words = [str(table), "--column", column, "--rows", str(rows), "--jobs", str(jobs), "--once", str(root)]
    return subprocess.Popen(
        [sys.executable, __file__, *words, "--labels", *labels],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return [pid, *(member for child in children for member in family(int(child)))]


def private_bytes(pid: int) -> int:
    """Proportional set size of a process, without mapped files."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon", "Pss_Shmem")))


def sizes(root: Path) -> Iterator[int]:
    for path in root.rglob("*"):
        try:
            found = path.stat()
        except OSError:
            continue
        yield found.st_blocks * 512


def kill(table: Path, column: str, rows: int, jobs: int, scratch: Path, kills: int, labels: Sequence[str]) -> None:
    """End a preparation at random moments, continue it, and compare with one that was never interrupted."""
    clean, root = scratch / "clean", scratch / "killed"
    length = run_until(start(table, column, rows, jobs, clean, labels))
    draw = random.Random(0)
    stages: dict[str, int] = {}
    redone = done = 0
    known: dict[Path, tuple[int, int]] = {}
    while done < kills:
        child = start(table, column, rows, jobs, root, labels)
        # Long enough that the attempts after a kill come to the later stages.
        run_until(child, draw.uniform(0.0, 0.8 * length))
        redone += sum(stamp(path) not in (before, None) for path, before in known.items())
        known = {path: mark for path in root.rglob("*.chunk") if (mark := stamp(path)) is not None}
        if child.returncode == 0:
            compare(clean, root)
            shutil.rmtree(root)
            known = {}
            continue
        stages[stage(root)] = stages.get(stage(root), 0) + 1
        done += 1
    run_until(start(table, column, rows, jobs, root, labels))
    compare(clean, root)
    print(f"{kills} kills ({', '.join(f'{count} in {name}' for name, count in sorted(stages.items()))})")
    report("  finished chunks that were made again", redone, 0, at_least=False, unit="chunks")


def run_until(child: subprocess.Popen[str], seconds: float | None = None) -> float:
    """Let a preparation run for so long, then kill it; returns how long it ran."""
    begun(child)
    begin = time.perf_counter()
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    return time.perf_counter() - begin


def begun(child: subprocess.Popen[str]) -> None:
    """Wait until all is imported and the preparation begins."""
    assert child.stdout is not None
    child.stdout.readline()


def stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def stage(root: Path) -> str:
    """What a kill interrupted, by what it left."""
    if any(root.glob("benchmark-*.part")):
        return "labels"
    if any(root.glob("*.part/store")):
        return "writing"
    return "molecules" if any(root.glob("*.part/graphs-*")) else "between stages"


def compare(clean: Path, root: Path) -> None:
    """Stop unless both folders hold the same files with the same bytes."""
    ours, theirs = (
        {str(path.relative_to(folder)): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}
        for folder in (clean, root)
    )
    if ours != theirs:
        raise SystemExit(f"different after kills: {sorted(ours.items() ^ theirs.items())[:4]}")
    damaged = check(next(root.glob("benchmark-*")))
    if damaged:
        raise SystemExit(f"damaged after kills: {damaged}")


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
