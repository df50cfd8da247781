"""A local Ray of two workers writes the same bytes as the local engine, whatever happens to its workers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphium.chem.featurizer import Featurizer
from graphium.data.store import prepare
from graphium.data.store.chunks import Singly, read_chunk, run_chunks
from graphium.data.store.prepare import prepare_store
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError

# What the workers compute has to stand in a module that they can import.
MODULE = """
import os, signal
import numpy as np
from graphium.data.store.chunks import Chunk
from graphium.errors import GraphiumError

def lengths(first, texts, left_out=()):
    for place, text in enumerate(texts):
        if text == "die" and place not in left_out:
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "raise":
            raise GraphiumError("one sentence; and the mend")
    return Chunk({"length": np.array([len(text) for text in texts])}, {"first": first, "out": list(left_out)})
"""


def test_without_ray_one_sentence_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GraphiumError, match=r"pip install 'graphium\[ray\]'"):
        run_chunks([(tmp_path / "0.chunk", 1, ())], np.zeros, engine="ray")


@pytest.fixture(scope="module")
def lengths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """The function ``lengths`` of the module above, and a local Ray of two workers that can import it."""
    ray = pytest.importorskip("ray", reason="Ray (graphium[ray]) is not installed")
    folder = tmp_path_factory.mktemp("module")
    (folder / "ray_lengths.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", ":".join([str(folder), *sys.path]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        import ray_lengths

        yield ray_lengths.lengths
        ray.shutdown()


@pytest.mark.slow
def test_a_store_has_the_same_bytes(
    lengths: object,
    texts: list[str],
    table: Callable[..., Table],
    featurizer: Featurizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prepare, "CHUNK_ROWS", 6)
    source = table(smiles=texts)
    for engine in ("local", "ray"):
        prepare_store(
            source, "smiles", featurizer, tmp_path / engine, name="small", progress=False, engine=engine, n_jobs=2
        )
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.slow
def test_a_dead_worker_costs_one_row(lengths: Callable[..., Any], tmp_path: Path) -> None:
    chunks = [["a", "bb"], ["ccc", "die", "e"], ["ff"]]
    jobs = [(tmp_path / f"{place}.chunk", len(chunk), (place, chunk)) for place, chunk in enumerate(chunks)]
    done: list[int] = []
    singly = Singly(lambda given: [(given[0], [text]) for text in given[1]], lambda given, out: (*given, out))
    run_chunks(jobs, lengths, engine="ray", n_jobs=2, singly=singly, advance=done.append)
    assert sum(done) == 6
    assert [read_chunk(path).about["out"] for path, _, _ in jobs] == [[], [1], []]


@pytest.mark.slow
def test_an_error_of_a_worker_arrives_as_it_was(lengths: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match="^one sentence; and the mend$"):
        run_chunks([(tmp_path / "0.chunk", 1, (0, ["raise"]))], lengths, engine="ray")


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
