"""Flat columns on disk: raw little-endian arrays beside one manifest with shapes and checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from graphium.errors import GraphiumError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_BYTES = 1 << 22


def checksum() -> Any:
    """The running checksum of every file of a store: BLAKE2b with 16 bytes."""
    return hashlib.blake2b(digest_size=16)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a failed write into one sentence; what was finished before stays where it is."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise GraphiumError(
                f"the disk is full: {path} could not be written; free some space and run the same command again, "
                "finished parts are kept"
            ) from error
        raise GraphiumError(
            f"{path} could not be written ({error.strerror or error}); check that the folder exists and is writable, "
            "then run the same command again, finished parts are kept"
        ) from error


class ColumnWriter:
    """Write the columns of one folder piece by piece, then a manifest that describes them.

    ``append`` may be called for any column in any order; all pieces of a column share dtype and row
    shape. Nothing is complete before :meth:`close`, so the folder has a temporary name until then.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, IO[bytes]] = {}
        self._sums: dict[str, Any] = {}
        self._layout: dict[str, tuple[str, list[int]]] = {}
        with disk_errors(folder):
            folder.mkdir(parents=True)

    def append(self, name: str, array: np.ndarray) -> None:
        """Add rows to a column; an empty piece fixes dtype and row shape of a column without rows."""
        array = np.ascontiguousarray(array)
        dtype = array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype
        array = array.astype(dtype, copy=False)
        if name not in self._files:
            with disk_errors(self.folder / name):
                self._files[name] = create_file(self.folder / f"{name}.bin")
            self._sums[name] = checksum()
            self._layout[name] = (dtype.str, [0, *array.shape[1:]])
        known, shape = self._layout[name]
        if known != dtype.str or shape[1:] != list(array.shape[1:]):
            raise ValueError(f"column {name} is {known} {shape}, the piece is {dtype.str} {array.shape}")
        shape[0] += array.shape[0]
        data = array.reshape(-1).view(np.uint8).data
        with disk_errors(self.folder / name):
            self._files[name].write(data)
        self._sums[name].update(data)

    def flush(self) -> None:
        """Bring all columns to the disk."""
        with disk_errors(self.folder):
            for file in self._files.values():
                _flush(file)

    def close(self, **about: Any) -> None:
        """Flush all columns to the disk and write the manifest; ``about`` are its further entries."""
        self.flush()
        with disk_errors(self.folder):
            for file in self._files.values():
                file.close()
        columns = {
            name: {"file": f"{name}.bin", "dtype": dtype, "shape": shape, "checksum": self._sums[name].hexdigest()}
            for name, (dtype, shape) in sorted(self._layout.items())
        }
        write_manifest(self.folder, {**about, "columns": columns})

    def abandon(self) -> None:
        """Close the files of a writer that failed half-way."""
        for file in self._files.values():
            try:
                file.close()
            except OSError:
                continue


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``manifest.json``, which carries the checksum of its own content."""
    content = {"version": FORMAT_VERSION, **content}
    text = json.dumps({**content, "checksum": _content_sum(content)}, indent=1, sort_keys=True) + "\n"
    path = folder / MANIFEST
    with disk_errors(path):
        file = create_file(path)
        file.write(text.encode())
        _flush(file)
        file.close()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and verify a manifest.

    Raises:
        GraphiumError: it is missing, damaged, or written by a newer Graphium.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_bytes())
        stated = content.pop("checksum")
    except FileNotFoundError:
        raise GraphiumError(
            f"{folder} is not a finished store ({MANIFEST} is missing); prepare the data again"
        ) from None
    except (ValueError, KeyError, AttributeError, OSError):
        raise GraphiumError(f"{path} is damaged; delete {folder} and prepare the data again") from None
    if stated != _content_sum(content):
        raise GraphiumError(f"{path} is damaged; delete {folder} and prepare the data again")
    if content["version"] > FORMAT_VERSION:
        raise GraphiumError(
            f"{folder} was written by a newer Graphium (format {content['version']}, this one reads {FORMAT_VERSION}); "
            "install a newer graphium or delete the folder and prepare the data again"
        )
    return content


def open_columns(folder: Path, manifest: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Map the columns of a folder into memory, read only; sizes are compared, contents are not read.

    Raises:
        GraphiumError: a file is missing or has another size than the manifest says.
    """
    return {name: _map(folder / entry["file"], entry) for name, entry in manifest["columns"].items()}


def damaged_files(folder: Path) -> list[Path]:
    """Files of one folder that are missing or differ from their checksum (the manifest included)."""
    try:
        manifest = read_manifest(folder)
    except GraphiumError:
        return [folder / MANIFEST]
    entries = [*manifest["columns"].values(), *manifest.get("files", {}).values()]
    return [folder / entry["file"] for entry in entries if file_sum(folder / entry["file"]) != entry["checksum"]]


def file_sum(path: Path) -> str:
    """Checksum of a file, empty where it cannot be read."""
    total = checksum()
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                total.update(piece)
    except OSError:
        return ""
    return total.hexdigest()


def _map(path: Path, entry: Mapping[str, Any]) -> np.ndarray:
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    size = math.prod(shape) * dtype.itemsize
    found = path.stat().st_size if path.is_file() else None
    if found != size:
        state = "is missing" if found is None else f"has {found:,} bytes instead of {size:,}"
        raise GraphiumError(f"{path} {state}; delete {path.parent} and prepare the data again")
    # An empty file cannot be mapped; a plain view of the map is indexed faster than numpy's own class.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", shape=shape)) if size else np.empty(shape, dtype)


def slices(start: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The places of slices of a flat column, one slice after another.

    >>> slices(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    count = np.asarray(count, np.int64)
    end = np.cumsum(count)
    return np.arange(end[-1] if len(end) else 0) + np.repeat(np.asarray(start, np.int64) - (end - count), count)


class Kept:
    """Chooses the slices of some entries out of flat columns.

    Args:
        counts: Length of every entry's slice.
        entries: Numbers of the entries to keep, in their new order; ``counts`` then holds their lengths.
    """

    def __init__(self, counts: np.ndarray, entries: np.ndarray) -> None:
        self.counts = counts[entries]
        self._index = None
        if len(entries) < len(counts):
            self._index = slices((np.cumsum(counts, dtype=np.int64) - counts)[entries], self.counts)

    def __call__(self, flat: np.ndarray) -> np.ndarray:
        return flat if self._index is None else flat[self._index]


def _content_sum(content: Mapping[str, Any]) -> str:
    total = checksum()
    total.update(json.dumps(content, sort_keys=True).encode())
    return total.hexdigest()


def create_file(path: Path) -> IO[bytes]:
    """Every file of a preparation is opened here for writing."""
    return path.open("wb")


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
