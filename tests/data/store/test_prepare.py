from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.chem.featurizer import Featurizer
from graphium.data.store import assemble, chunks, columns, prepare
from graphium.data.store.graph_store import GraphStore, check
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError

LAPLACIAN = {"name": "laplacian", "k": 4}
RANDOM_WALK = {"name": "rw_return_probs", "steps": 5}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "CHUNK_ROWS", 6)


@pytest.fixture
def source(texts: list[str], table: Callable[..., Table]) -> Table:
    return table(smiles=texts)


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def run(source: Table, featurizer: Featurizer, root: Path, **options: Any) -> GraphStore:
    return prepare_store(source, "smiles", featurizer, root, name="small", progress=False, **options)


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process and return its wait status; nothing of it reaches this process."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def every_step(monkeypatch: pytest.MonkeyPatch, before: Callable[[], None]) -> None:
    """Call ``before`` ahead of every write and rename of a preparation."""

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            before()
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, step)

    wrap(columns.ColumnWriter, "append")
    wrap(columns, "create_file")
    wrap(chunks, "create_file")
    wrap(os, "replace")
    wrap(os, "rename")


def count_steps(source: Table, featurizer: Featurizer, root: Path) -> int:
    seen = [0]

    def count() -> None:
        seen[0] += 1

    with pytest.MonkeyPatch.context() as patch:
        every_step(patch, count)
        run(source, featurizer, root)
    return seen[0]


def test_number_of_processes_does_not_show(source: Table, featurizer: Featurizer, tmp_path: Path) -> None:
    run(source, featurizer, tmp_path / "one", n_jobs=1)
    run(source, featurizer, tmp_path / "two", n_jobs=2)
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    assert not [name for name in one if "part" in name or "chunk" in name or "lock" in name]


def test_a_kill_at_any_step_is_mended_by_the_next_run(source: Table, featurizer: Featurizer, tmp_path: Path) -> None:
    steps = count_steps(source, featurizer, tmp_path / "clean")
    clean = contents(tmp_path / "clean")
    for last in range(1, steps, max(1, steps // 16)):
        root = tmp_path / f"killed{last}"
        left = [last]

        def die_at_last(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def work(root: Path = root, die: Callable[[], None] = die_at_last) -> None:
            with pytest.MonkeyPatch.context() as patch:
                every_step(patch, die)
                run(source, featurizer, root)

        assert os.WTERMSIG(in_child(work)) == signal.SIGKILL
        store = run(source, featurizer, root)
        assert check(store.folder) == []
        assert contents(root) == clean


class _FullDisk:
    """A file on a disk that has room for ``room`` more bytes, shared by all files."""

    def __init__(self, file: IO[bytes], room: list[int]) -> None:
        self._file, self._room = file, room

    def write(self, data: Any) -> int:
        self._room[0] -= len(data)
        if self._room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data)

    def __enter__(self) -> _FullDisk:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_full_disk_says_so_and_keeps_what_is_finished(
    source: Table, featurizer: Featurizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit_disk(patch: pytest.MonkeyPatch, left: list[int]) -> None:
        for owner in (columns, chunks, assemble):
            patch.setattr(owner, "create_file", lambda path: _FullDisk(path.open("wb"), left))

    plenty = [1 << 30]
    with monkeypatch.context() as patch:
        limit_disk(patch, plenty)
        run(source, featurizer, tmp_path / "clean")
    needed = (1 << 30) - plenty[0]
    clean = contents(tmp_path / "clean")
    parsed: list[int] = []
    molecules = Featurizer.molecules

    def counted(self: Featurizer, texts: Any, **options: Any) -> Any:
        parsed.append(len(texts))
        return molecules(self, texts, **options)

    monkeypatch.setattr(Featurizer, "molecules", counted)
    for room in [needed * tenth // 10 for tenth in range(10)]:
        root, left = tmp_path / f"full{room}", [room]
        parsed.clear()
        with monkeypatch.context() as patch:
            limit_disk(patch, left)
            with pytest.raises(GraphiumError, match=r"the disk is full: .*free some space"):
                run(source, featurizer, root)
        done = len(list(root.rglob("graphs-*/*.chunk")))
        run(source, featurizer, root)
        assert contents(root) == clean
        # Every row was parsed once, and once more only those of the chunk that hit the end of the disk.
        assert sum(parsed) <= 20 + 6, (room, done)


def test_a_folder_that_cannot_be_written_is_named(source: Table, featurizer: Featurizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GraphiumError, match="could not be written"):
        run(source, featurizer, tmp_path / "file" / "stores")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_chunk_is_redone(
    source: Table, featurizer: Featurizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    run(source, featurizer, tmp_path / "clean")

    def stop(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("stopped here")

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "assemble_store", stop)
        with pytest.raises(RuntimeError, match="stopped here"):
            run(source, featurizer, tmp_path / "stores")
    victim = sorted((tmp_path / "stores").rglob("*.chunk"))[1]
    content = bytearray(victim.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    victim.write_bytes(bytes({"truncated": content[:-5], "flipped": content, "empty": bytearray()}[damage]))
    assert not chunks.is_whole(victim)
    run(source, featurizer, tmp_path / "stores")
    assert contents(tmp_path / "stores") == contents(tmp_path / "clean")


def test_what_is_there_is_not_computed_again(
    source: Table, featurizer: Featurizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(source, featurizer, tmp_path)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(Featurizer, "molecules", refuse)
    again = prepare_store(source, "smiles", featurizer, tmp_path, name="another_name", progress=False)
    assert again.folder == first.folder
    # A further encoding needs no text.
    more = Featurizer(encodings=[LAPLACIAN, {"name": "rw_return_probs", "steps": 7}])
    wide = run(source, more, tmp_path)
    assert wide.folder == first.folder
    assert wide.feature("rw_return_probs").shape[1] == 7
    assert first.feature("rw_return_probs").shape[1] == 5


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_features_added_later_are_the_same_bytes(
    source: Table, featurizer: Featurizer, tmp_path: Path, n_jobs: int
) -> None:
    run(source, featurizer, tmp_path / "at_once")
    run(source, Featurizer(encodings=[RANDOM_WALK]), tmp_path / "later")
    run(source, featurizer, tmp_path / "later", n_jobs=n_jobs)
    assert contents(tmp_path / "at_once") == contents(tmp_path / "later")


def test_other_properties_are_added_from_the_texts(source: Table, featurizer: Featurizer, tmp_path: Path) -> None:
    other = Featurizer(atom_onehot=["atomic-number"], bond_onehot=["bond-type"], encodings=[])
    run(source, other, tmp_path / "later")
    late = run(source, featurizer, tmp_path / "later")
    clean = run(source, featurizer, tmp_path / "clean")
    for block in featurizer.block_keys():
        assert np.array_equal(late.feature(block), clean.feature(block))


def test_raise_stops_at_the_first_bad_row(source: Table, featurizer: Featurizer, tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match=r"row 5 of small .*'not_a_smiles'"):
        run(source, featurizer, tmp_path, on_bad_molecule="raise")
    run(source, featurizer, tmp_path)
    with pytest.raises(GraphiumError, match=r"row 5 of small .*on_bad_molecule=skip"):
        run(source, featurizer, tmp_path, on_bad_molecule="raise")


def test_a_table_without_any_molecule_is_refused(
    table: Callable[..., Table], featurizer: Featurizer, tmp_path: Path
) -> None:
    with pytest.raises(GraphiumError, match="no row of small can be used .*is 'smiles' the SMILES column"):
        run(table(smiles=["banana", "apple"]), featurizer, tmp_path)


def test_a_table_without_rows_is_refused(table: Callable[..., Table], featurizer: Featurizer, tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match="small"):
        run(table(smiles=[]), featurizer, tmp_path)


def test_preparing_imports_no_torch() -> None:
    modules = "graphium.data.store.prepare, graphium.data.labels.block, graphium.chem.featurizer"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize("n_jobs", [0, -2])
def test_a_wrong_number_of_processes_is_refused(
    source: Table, featurizer: Featurizer, tmp_path: Path, n_jobs: int
) -> None:
    with pytest.raises(GraphiumError, match="n_jobs"):
        run(source, featurizer, tmp_path, n_jobs=n_jobs)


def test_two_processes_prepare_one_store(source: Table, featurizer: Featurizer, tmp_path: Path) -> None:
    run(source, featurizer, tmp_path / "clean")
    root = tmp_path / "shared"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(source, featurizer, root)
            code = 0
        finally:
            os._exit(code)
    run(source, featurizer, root)
    assert os.waitpid(child, 0)[1] == 0
    assert contents(root) == contents(tmp_path / "clean")


@pytest.fixture(scope="module")
def id_chunks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[list[list[int]]], list[Path]]]:
    folder = tmp_path_factory.mktemp("ids")

    def write(pieces: list[list[int]]) -> list[Path]:
        paths = []
        for number, piece in enumerate(pieces):
            # Few distinct ids, spread over the whole range of the leading word.
            ids = np.array([[value * 0x2000000000000000, value % 3] for value in piece], np.uint64).reshape(-1, 2)
            paths.append(folder / f"{number}.chunk")
            chunks.write_chunk(paths[-1], chunks.Chunk({"id": ids}, {}))
        return paths

    yield write


@settings(max_examples=25, deadline=None)
@given(pieces=st.lists(st.lists(st.integers(0, 7), max_size=9), min_size=1, max_size=4), at_once=st.integers(1, 40))
def test_molecules_are_numbered_by_first_appearance(
    id_chunks: Callable[[list[list[int]]], list[Path]], pieces: list[list[int]], at_once: int
) -> None:
    flat = [value for piece in pieces for value in piece]
    if not flat:
        return
    paths = id_chunks(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "_AT_ONCE", 5)
        found = assemble.number_molecules(paths, paths[0].with_name("numbers"), len(flat), at_once=at_once)
    assert found.tolist() == [list(dict.fromkeys(flat)).index(value) for value in flat]


DEADLY = """
import os, signal
from graphium.chem.featurizer import Featurizer

class Deadly(Featurizer):
    def molecules(self, texts, **options):
        if "C1CC1" in texts:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().molecules(texts, **options)

    def __reduce__(self):
        return build, (self.config(),)

def build(config):
    return Deadly(**config)
"""


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Featurizer:
    """A featurizer that ends its process where it reads the text of row 17."""
    (tmp_path / "deadly_featurizer.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "deadly_featurizer", raising=False)
    return importlib.import_module("deadly_featurizer").Deadly(encodings=[LAPLACIAN])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_text_that_ends_its_process_is_a_failure(
    source: Table, deadly: Featurizer, tmp_path: Path, n_jobs: int
) -> None:
    root = tmp_path / "stores"
    if n_jobs == 1:
        assert os.WTERMSIG(in_child(lambda: run(source, deadly, root))) == signal.SIGKILL
    store = run(source, deadly, root, n_jobs=n_jobs)
    failures = list(store.failures())
    assert [failure.row for failure in failures] == [5, 12, 17]
    assert failures[2].text == store.text(17) == "C1CC1"
    assert failures[2].reason == "ended the process that read it (crash or out of memory)"
    assert np.flatnonzero(store.row_molecule < 0).tolist() == [5, 12, 17]
    assert check(store.folder) == []


def test_kills_among_several_processes_are_mended(
    source: Table, featurizer: Featurizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(source, featurizer, tmp_path / "clean")
    root = tmp_path / "killed"
    for after in (0.1, 0.25, 0.4, 0.6):
        child = os.fork()
        if child == 0:
            os.setsid()
            try:
                run(source, featurizer, root, n_jobs=2)
            finally:
                os._exit(0)
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    run(source, featurizer, root, n_jobs=2)
    assert contents(root) == contents(tmp_path / "clean")


def test_a_full_disk_while_columns_are_added(
    source: Table, featurizer: Featurizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(source, featurizer, tmp_path / "clean")
    few = Featurizer(atom_onehot=["atomic-number"], bond_onehot=["bond-type"], encodings=[])
    for root in (tmp_path / "clean", tmp_path / "full"):
        run(source, few, root)
    for room in (0, 300, 1_000, 2_000, 3_000):
        with monkeypatch.context() as patch:
            left = [room]
            for owner in (columns, chunks):
                patch.setattr(owner, "create_file", lambda path, left=left: _FullDisk(path.open("wb"), left))
            with pytest.raises(GraphiumError, match=r"the disk is full: .*free some space"):
                run(source, featurizer, tmp_path / "full")
    run(source, featurizer, tmp_path / "full")
    clean, full = (contents(tmp_path / name) for name in ("clean", "full"))
    assert {k: v for k, v in full.items() if "manifest" in k} == {k: v for k, v in clean.items() if "manifest" in k}
    assert full == clean


def test_what_a_preparation_will_do_is_said_before(
    source: Table, featurizer: Featurizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe(asked: Featurizer) -> list[str]:
        return prepare.describe_preparation(source, "smiles", asked, tmp_path)

    one = Featurizer(encodings=[RANDOM_WALK])
    assert describe(one) == ["will read 20 rows and compute their graphs and 5 feature columns"]
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "assemble_store", lambda *args, **more: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(source, one, tmp_path)
    assert describe(one)[1:] == ["4 of 4 chunks of an interrupted preparation are there"]
    run(source, one, tmp_path)
    assert describe(one) == ["graphs of 20 rows and 5 feature columns are there; nothing to compute"]
    assert describe(featurizer) == [
        "graphs of 20 rows and 5 feature columns are there; will compute laplacian_eigval, laplacian_eigvec"
    ]


def test_a_kill_just_before_the_end_leaves_nothing_behind(
    source: Table, featurizer: Featurizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(path: Path) -> None:
        raise RuntimeError("stopped here")

    with monkeypatch.context() as patch:
        patch.setattr(prepare.shutil, "rmtree", stop)
        with pytest.raises(RuntimeError, match="stopped here"):
            run(source, featurizer, tmp_path)
    assert list(tmp_path.glob("*.part/graphs-*/*.chunk"))
    run(source, featurizer, tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_an_unknown_engine_is_refused(source: Table, featurizer: Featurizer, tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match="engine is 'dask'; choose local or ray"):
        run(source, featurizer, tmp_path, engine="dask")
