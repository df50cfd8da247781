"""Chunk files and the engine that fills them: deaths, markers, errors, Ctrl-C."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphium
from graphium.data.store.chunks import Chunk, Singly, is_whole, read_chunk, run_chunks, write_chunk
from graphium.errors import GraphiumError

# What other processes compute has to stand in a module that they can import.
MODULE = """
import os, signal, time
from pathlib import Path
import numpy as np
from graphium.data.store.chunks import Chunk
from graphium.errors import GraphiumError

def lengths(first, texts, left_out=()):
    for place, text in enumerate(texts):
        if place in left_out:
            continue
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if text.startswith("once:") and not Path(text[5:]).exists():
            Path(text[5:]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if text.startswith("thrice:"):
            with open(text[7:], "ab") as file:
                file.write(b".")
            if os.path.getsize(text[7:]) <= 3:
                os.kill(os.getpid(), signal.SIGKILL)
        if text == "crowd" and len(texts) > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "raise":
            raise GraphiumError("one sentence; and the mend")
        if text == "wait":
            time.sleep(60)
    return Chunk({"length": np.array([len(text) for text in texts])}, {"first": first, "out": list(left_out)})

def killed(connection):
    os.kill(os.getpid(), signal.SIGKILL)
"""
SINGLY = Singly(lambda given: [(given[0], [text]) for text in given[1]], lambda given, out: (*given, out))

Run = Callable[..., list[list[int]]]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("module")
    (folder / "chunk_lengths.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("chunk_lengths")


@pytest.fixture
def run(module: Any, tmp_path: Path) -> Run:
    """Compute chunks of texts; returns, per chunk, the places that were left out."""

    def call(*chunks: list[str], **options: Any) -> list[list[int]]:
        jobs = [(tmp_path / f"{place}.chunk", len(chunk), (place, chunk)) for place, chunk in enumerate(chunks)]
        rows: list[int] = []
        run_chunks(iter(jobs), module.lengths, advance=rows.append, **options)
        assert sum(rows) == sum(map(len, chunks))
        found = [read_chunk(path) for path, _, _ in jobs]
        assert [c.columns["length"].tolist() for c in found] == [[len(text) for text in chunk] for chunk in chunks]
        assert not list(tmp_path.glob("*.started"))
        return [chunk.about["out"] for chunk in found]

    return call


@settings(max_examples=20, deadline=None)
@given(
    arrays=st.dictionaries(
        st.text(min_size=1, max_size=3),
        st.tuples(st.sampled_from(["u1", "<i2", "<f2", "<u8", "<f4"]), st.integers(0, 5), st.integers(1, 3)),
        max_size=4,
    )
)
def test_a_chunk_reads_back(tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("chunk") / "0.chunk"
    columns = {name: np.arange(n * w).astype(dtype).reshape(n, w) for name, (dtype, n, w) in arrays.items()}
    write_chunk(path, Chunk(columns, {"rows": 3, "text": "ü"}))
    assert is_whole(path)
    found = read_chunk(path)
    assert found.about == {"rows": 3, "text": "ü"}
    for name, array in columns.items():
        assert found.columns[name].dtype == array.dtype and np.array_equal(found.columns[name], array)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_finished_chunks_are_not_computed_again(run: Run, module: Any, tmp_path: Path, n_jobs: int) -> None:
    run(["a", "bb"], ["ccc"])
    finished: list[Any] = []
    # Texts that cannot be computed: of the finished chunks nothing is read again.
    jobs = [(tmp_path / f"{k}.chunk", 1, (k, texts)) for k, texts in enumerate([["raise"], ["raise"], ["d"]])]
    run_chunks(jobs, module.lengths, n_jobs=n_jobs, finished=finished.append)
    assert sorted(about["first"] for about in finished) == [0, 1, 2]


def test_a_row_that_ends_its_process_is_left_out_and_the_rest_goes_on(run: Run) -> None:
    chunks = [["a"], ["b", "die", "cc", "die"], ["d"], ["e", "f"], ["die"]]
    assert run(*chunks, n_jobs=2, singly=SINGLY) == [[], [1, 3], [], [], [0]]


def test_a_process_that_died_by_chance_costs_nothing(run: Run, tmp_path: Path) -> None:
    assert run(["a"], ["b", f"once:{tmp_path / 'died'}"], ["c"], n_jobs=2, singly=SINGLY) == [[], [], []]


def test_no_row_is_given_up_for_a_death_by_chance(run: Run, tmp_path: Path) -> None:
    """As where another program takes the memory while the row is looked for that ends the process."""
    assert run(["a", f"thrice:{tmp_path / 'died'}", "b"], n_jobs=2, singly=SINGLY) == [[]]


def test_a_process_that_is_killed_at_its_start(run: Run, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphium.data.store.workers._serve", module.killed)
    with pytest.raises(GraphiumError, match="was killed while it started .*smaller n_jobs"):
        run(["a"], ["b"], n_jobs=2)


def test_a_chunk_that_dies_only_as_a_whole_is_an_error(run: Run) -> None:
    with pytest.raises(GraphiumError, match=r"died three times on the 2 rows of 0.chunk, though on no row alone"):
        run(["a", "crowd"], n_jobs=2, singly=SINGLY)


def test_too_many_deaths_are_taken_for_a_fault_of_the_machine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphium.data.store.chunks._MOST_DEATHS", 1)
    with pytest.raises(GraphiumError, match=r"more than 1 of the 3 rows of 0.chunk .*out of memory"):
        run(["die", "a", "die"], n_jobs=2, singly=SINGLY)


def test_without_a_way_to_find_the_row_the_chunk_is_named(run: Run) -> None:
    with pytest.raises(GraphiumError, match=r"died twice on the 1 rows of 1.chunk"):
        run(["a"], ["die"], n_jobs=2)


def test_alone_a_death_is_noticed_by_the_next_run(run: Run, tmp_path: Path) -> None:
    chunks = ["a"], ["b", "die"], ["c"]
    child = os.fork()
    if child == 0:
        run(*chunks, n_jobs=1, singly=SINGLY)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert [path.name for path in tmp_path.glob("*.started")] == ["1.started"]
    assert run(*chunks, n_jobs=1, singly=SINGLY) == [[], [1], []]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_arrives_as_it_was(run: Run, tmp_path: Path, n_jobs: int) -> None:
    with pytest.raises(GraphiumError, match="^one sentence; and the mend$"):
        run(["a"], ["raise"], n_jobs=n_jobs)
    assert not list(tmp_path.glob("*.started"))


def test_what_cannot_be_sent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        run_chunks([(tmp_path / "0.chunk", 1, ())], lambda: None, n_jobs=2)  # type: ignore[arg-type, return-value]


def paths(module: Any) -> list[str]:
    """What a script of another process needs to import the module above and Graphium."""
    return [str(Path(module.__file__).parent), str(Path(graphium.__file__).parents[1])]


def test_ctrl_c_ends_all_processes_and_keeps_finished_chunks(module: Any, tmp_path: Path) -> None:
    code = f"""
import signal, sys
# A test run in the background of a shell starts its children with this signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:0] = {paths(module)!r}
from pathlib import Path
import chunk_lengths
from graphium.data.store.chunks import run_chunks
if __name__ == "__main__":
    jobs = [(Path({str(tmp_path)!r}) / f"{{k}}.chunk", 1, (k, [t])) for k, t in enumerate(["a", "wait", "wait"])]
    try:
        run_chunks(jobs, chunk_lengths.lengths, n_jobs=2)
    except KeyboardInterrupt:
        print("interrupted")
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    # A session of its own: the signal goes to the whole group, as from a terminal.
    child = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 400
    while not (tmp_path / "0.chunk").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)
    assert child.communicate(timeout=400)[0] == "interrupted\n"
    assert is_whole(tmp_path / "0.chunk") and not is_whole(tmp_path / "1.chunk")
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(child.pid, 0)
            time.sleep(0.05)


def test_a_script_without_a_guard_is_told_so(module: Any, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path[:0] = {paths(module)!r}
from pathlib import Path
import chunk_lengths
from graphium.data.store.chunks import run_chunks
run_chunks([(Path({str(tmp_path)!r}) / "0.chunk", 1, (0, ["a"]))], chunk_lengths.lengths, n_jobs=2)
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=400)
    assert found.returncode != 0
    assert "put the call below `if __name__ ==" in found.stderr.splitlines()[-1]
