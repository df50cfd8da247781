from __future__ import annotations

import hashlib
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from graphium.errors import GraphiumError
from graphium.models.folder.tensors import file_sha256, read_header, read_tensors, write_tensors

TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).view(2, 3).t(),
    "a": torch.tensor(2.5, dtype=torch.float64),
    "c": torch.zeros(0, 4),
    "d": torch.tensor([True, False]),
    "e": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
}
WORDS = {"zeta": "1", "kind": "ä", "alpha": "x y"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "numbers.safetensors", TENSORS, WORDS)
    return tmp_path / "numbers.safetensors"


def test_round_trip(path: Path) -> None:
    tensors, words = read_tensors(path)
    assert words == WORDS and tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype
    tensors["b"][0] = 7.0
    assert torch.equal(read_tensors(path)[0]["b"], TENSORS["b"])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_any_program_reads_the_file(path: Path) -> None:
    assert torch.equal(load_file(path)["b"], TENSORS["b"])


def test_equal_input_gives_equal_bytes(path: Path, tmp_path: Path) -> None:
    for number in range(5):
        write_tensors(tmp_path / f"{number}", dict(reversed(TENSORS.items())), dict(reversed(WORDS.items())))
        assert (tmp_path / f"{number}").read_bytes() == path.read_bytes()


def test_the_header_alone(path: Path) -> None:
    header = read_header(path)
    assert header.shapes == {"a": (), "b": (3, 2), "c": (0, 4), "d": (2,), "e": (2,)}
    assert header.dtypes == {"a": "F64", "b": "F32", "c": "F32", "d": "BOOL", "e": "BF16"}
    assert header.metadata.keys() == {*WORDS, "sha256"}


def test_the_header_needs_no_torch(path: Path) -> None:
    code = f"import sys; from graphium.models.folder.tensors import read_header; read_header({str(path)!r}); "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tensors_that_share_memory(tmp_path: Path) -> None:
    whole = torch.arange(10.0)
    write_tensors(tmp_path / "x", {"whole": whole, "part": whole[2:5], "same": whole}, {})
    tensors, _ = read_tensors(tmp_path / "x")
    assert torch.equal(tensors["part"], whole[2:5]) and torch.equal(tensors["same"], whole)


def test_every_changed_byte_is_refused(path: Path) -> None:
    whole = path.read_bytes()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(whole) - 1), st.integers(1, 255))
    def change(place: int, bits: int) -> None:
        changed = bytearray(whole)
        changed[place] ^= bits
        path.write_bytes(changed)
        try:
            tensors, words = read_tensors(path)
        except GraphiumError as error:
            assert "is damaged" in str(error) and "\n" not in str(error)
            return
        # White space in the header says nothing.
        assert words == WORDS and all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)

    change()


def test_every_truncation_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(GraphiumError, match="is damaged"):
            read_tensors(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(GraphiumError, match="is damaged"):
        read_tensors(path)


class _Touch:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("made-by-a-pickle",)


def _claims(length: int) -> bytes:
    return struct.pack("<Q", length) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + bytes(4)


def _of_header(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        b"not a file of tensors, and longer than a header",
        pickle.dumps(_Touch()),
        _claims(100 * 10**9),
        _claims(2**64 - 1),
        _claims(10**8 - 1),
        _of_header("[]"),
        _of_header("{}" + " " * 6),
        _of_header('{"a":3}'),
        _of_header('{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}'),
        _of_header('{"a":{"dtype":"F99","shape":[0],"data_offsets":[0,0]}}'),
        _of_header('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}'),
        _of_header('{"__metadata__":{"graphium":"{"},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'),
        _of_header('{"__metadata__":{"graphium":"[1]"},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'),
        _of_header('{"a":' * 50_000),
    ],
    ids=lambda content: f"{len(content)}-{content[:12].hex()}",
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(GraphiumError, match="is damaged"):
        read_tensors(path)
    assert not (tmp_path / "made-by-a-pickle").exists()


def test_what_torch_saves_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(GraphiumError, match="is damaged"):
        read_tensors(tmp_path / "x.safetensors")


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(GraphiumError, match="is missing"):
            read_tensors(path)


def test_a_file_of_another_program_has_no_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save_file({"a": torch.ones(2)}, path, {"format": "pt"})
    with pytest.raises(GraphiumError, match="has no checksum"):
        read_tensors(path)
    tensors, words = read_tensors(path, may_lack_checksum=True)
    assert torch.equal(tensors["a"], torch.ones(2)) and words == {}


def test_the_checksum_of_the_whole_file(path: Path) -> None:
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert file_sha256(path) == expected
    read_tensors(path, expected)
    with pytest.raises(GraphiumError, match="its checksum is another one"):
        read_tensors(path, "0" * 64)


def test_an_older_file_stays_until_the_new_one_is_complete(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(GraphiumError, match="the disk is full"):
        write_tensors(path, {"a": torch.from_numpy(np.ones(3))}, {})
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]
