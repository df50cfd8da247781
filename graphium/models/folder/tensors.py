"""Files of named tensors: safetensors with a checksum, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from graphium.data.store.columns import disk_errors
from graphium.errors import GraphiumError

if TYPE_CHECKING:
    from torch import Tensor

# The library writes several keys of metadata in an order of its own at each call; one key has one order.
_KEY = "graphium"
# Stands for what is made before it takes the place of an older file.
UNFINISHED = ".new"
# What the library raises for a file that is none of its own.
_MISFITS = (SafetensorError, OSError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class TensorHeader:
    """What a file says of its tensors: name -> shape, name -> type in the format's own words."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    metadata: dict[str, str]


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and some words about them; an older file of this name stays until the new one is complete.

    A checksum over words, names, types, shapes and numbers goes with them. Equal input gives equal bytes.

    Raises:
        GraphiumError: the file cannot be written.
    """
    path = Path(path)
    with disk_errors(path):
        os.replace(write_unfinished(path, tensor_bytes(tensors, metadata)), path)


def write_unfinished(path: Path, data: bytes) -> Path:
    """Write the bytes to the disk, under a name from which they can take the place of ``path`` at once."""
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return unfinished


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The content of the file that :func:`write_tensors` writes."""
    from safetensors.torch import save

    kept = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    words = {**metadata, "sha256": _content_sum(kept, metadata)}
    return save(kept, {_KEY: json.dumps(words, sort_keys=True)})


def read_tensors(
    path: str | Path, sha256: str | None = None, *, may_lack_checksum: bool = False
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what :func:`write_tensors` wrote, into memory.

    Args:
        path: The file.
        sha256: The checksum that the whole file must have; otherwise its own is tested.
        may_lack_checksum: Accept a file that has none of its own, as other programs write it.

    Returns:
        Name -> tensor, and the words that were given with them.

    Raises:
        GraphiumError: no file, or one that is truncated, damaged or of another kind.
    """
    from safetensors.torch import load

    path = Path(path)
    words = dict(read_header(path).metadata)
    own = words.pop("sha256", None)
    try:
        data = path.read_bytes()
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise _damaged(path, "its checksum is another one")
        tensors: dict[str, Tensor] = load(data)
    except _MISFITS as error:
        raise _damaged(path, first_line(error)) from None
    if sha256 is None and own is None and not may_lack_checksum:
        raise _damaged(path, "it has no checksum")
    if sha256 is None and own is not None and own != _content_sum(tensors, words):
        raise _damaged(path, "its checksum is another one")
    return tensors, words


def read_header(path: str | Path) -> TensorHeader:
    """Names, shapes and types of a file, without reading its numbers; imports no torch.

    Raises:
        GraphiumError: no file, or one that is truncated, damaged or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise GraphiumError(f"{str(path)!r} is missing; copy the whole folder again")
    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            words = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            return TensorHeader(
                {name: tuple(part.get_shape()) for name, part in slices.items()},
                {name: part.get_dtype() for name, part in slices.items()},
                {key: str(value) for key, value in words.items()},
            )
    except _MISFITS as error:
        raise _damaged(path, first_line(error)) from None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """What an error says, as a part of a sentence."""
    text = " ".join(str(error).split("\n", 1)[0].split())[:200]
    return text or type(error).__name__


def _content_sum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over metadata, names, types, shapes and bytes, whatever their order."""
    import torch

    names = sorted(tensors)
    about: list[Any] = [dict(metadata), [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in names]]
    total = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in names:
        total.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _damaged(path: Path, why: str) -> GraphiumError:
    return GraphiumError(f"{str(path)!r} is damaged ({why}); copy it again")
