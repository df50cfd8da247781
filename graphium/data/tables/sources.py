"""Where the files of a table lie: local paths, patterns, and addresses of every file system that fsspec knows."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from graphium.data.tables.memo import Memo
from graphium.errors import GraphiumError

# A file that changed this recently may change again without another time stamp.
_SETTLED = 2.0  # seconds
_READ_BYTES = 1 << 22
_HASH_VERSION = 1


@dataclass(frozen=True)
class Source:
    """One file: a local path, or an address such as ``s3://bucket/table.csv``."""

    address: str

    @property
    def local(self) -> Path | None:
        return None if is_address(self.address) else Path(self.address)

    @property
    def name(self) -> str:
        """The file's own name."""
        path = urlsplit(self.address).path if self.address.startswith("http") else self.address
        return unquote(path.rstrip("/").rsplit("/", 1)[-1]) if self.local is None else Path(self.address).name

    def open(self) -> IO[bytes]:
        """Open the file for reading, at any place."""
        if self.local is not None:
            return self.local.open("rb")
        file_system, path = _file_system(self.address)
        return file_system.open(path, "rb")

    def size(self) -> int | None:
        """Bytes; None where the server does not say.

        Raises:
            GraphiumError: there is no such file.
        """
        if self.local is not None:
            if not self.local.is_file():
                raise _no_file(self.address, is_folder=self.local.is_dir())
            return self.local.stat().st_size
        info = self._info()
        if info.get("type") == "directory":
            raise _no_file(self.address, is_folder=True)
        return info.get("size")

    def digest(self, memo: Memo) -> str:
        """SHA-256 of the content, read only where the file is not the one that the memo knows."""
        stamp = self._stamp()
        key = ["sha256", _HASH_VERSION, self.address if self.local is None else str(self.local.resolve()), stamp]
        found = memo.get(key) if stamp is not None else None
        if isinstance(found, str):
            return found
        digest = self._sha256()
        # The time stamps are those before the reading: a file that changes meanwhile gets other ones.
        if stamp is not None:
            memo.put(key, digest)
        return digest

    def _stamp(self) -> list[Any] | None:
        """What changes when the content changes; None where nothing is sure to."""
        if self.local is not None:
            stat = self.local.stat()
            if max(stat.st_mtime, stat.st_ctime) > time.time() - _SETTLED:
                return None
            return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        info = self._info()
        # The key of an http address knows the address alone.
        if self.address.startswith("http"):
            tags = [info.get("ETag"), info.get("Last-Modified")]
            return [info.get("size"), *tags] if any(tags) else None
        file_system, path = _file_system(self.address)
        return [info.get("size"), file_system.ukey(path)]

    def _info(self) -> dict[str, Any]:
        file_system, path = _file_system(self.address)
        try:
            # What was listed a while ago may have changed.
            file_system.invalidate_cache()
            return dict(file_system.info(path))
        except FileNotFoundError as error:
            # The file system of the web says so too where it reaches no server.
            cause = error.__cause__
            if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in (404, 410):
                raise _no_file(self.address, is_folder=False) from None
            raise unreachable(self.address, cause) from None
        except Exception as error:
            raise unreachable(self.address, error) from None

    def _sha256(self) -> str:
        import hashlib

        total = hashlib.sha256()
        with self.open() as file:
            while piece := file.read(_READ_BYTES):
                total.update(piece)
        return total.hexdigest()


def find_sources(given: str | Path | Iterable[str | Path]) -> list[Source]:
    """Return the files that paths, addresses and patterns mean, in the order given; a pattern's are sorted naturally.

    Raises:
        GraphiumError: a file that does not exist or is a folder, a pattern that matches none, a file named twice.
    """
    entries = [given] if isinstance(given, (str, Path)) else list(given)
    if not entries:
        raise GraphiumError("the list of files is empty; give the path of a table")
    sources = [source for entry in entries for source in _expand(str(entry))]
    seen: set[str] = set()
    for source in sources:
        if source.address in seen:
            raise GraphiumError(
                f"the file {source.address!r} is named twice, so its rows would count twice; name it once"
            )
        seen.add(source.address)
    return sources


def is_address(text: str) -> bool:
    """Whether a text is an address such as ``s3://...`` and not a local path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)", text) is not None


def is_pattern(text: str) -> bool:
    """Whether a text stands for all files whose names match; ``?`` belongs to many web addresses."""
    return "*" in text if text.startswith("http") else glob.has_magic(text)


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort names with their numbers by value.

    >>> natural_order(["shard_10", "shard_2"])
    ['shard_2', 'shard_10']
    """
    return sorted(names, key=lambda name: [int(p) if i % 2 else p for i, p in enumerate(re.split(r"(\d+)", name))])


def unreachable(address: str, error: BaseException) -> GraphiumError:
    """The sentence for an address that cannot be read, whatever its file system raises."""
    said = str(error).strip().splitlines()
    why = said[0] if said else type(error).__name__
    return GraphiumError(f"cannot read {address} ({why}); check the address, the network and your access to it")


def _expand(text: str) -> list[Source]:
    if text.startswith("file://"):
        path = text.removeprefix("file://")
        text = path if os.path.exists(path) else unquote(path)
    if not is_address(text):
        text = os.path.expanduser(text)
        if os.path.exists(text) or not is_pattern(text):
            names = [text]
        else:
            names = natural_order(name for name in glob.glob(text, recursive=True) if os.path.isfile(name))
    elif is_pattern(text):
        file_system, path = _file_system(text)
        try:
            found: Sequence[str] = [
                name for name, about in file_system.glob(path, detail=True).items() if about.get("type") != "directory"
            ]
        except Exception as error:
            raise unreachable(text, error) from None
        names = natural_order(file_system.unstrip_protocol(name) for name in found)
    else:
        names = [text]
    if not names:
        raise GraphiumError(f"no file matches {text!r}; give a pattern that matches the files of the table")
    sources = [Source(name) for name in names]
    for source in sources:
        if source.size() == 0:
            raise GraphiumError(f"the file {source.address!r} is empty; give a table with a header and rows")
    return sources


def _file_system(address: str) -> tuple[Any, str]:
    import logging

    import fsspec
    from fsspec.registry import known_implementations

    # It logs a traceback for every try without a network; the sentence comes from us.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)

    protocol = re.split(r"::|://", address)[0]
    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as error:
        said = f"{known_implementations.get(protocol, {}).get('err', '')} {error}"
        package = re.search(r"\b(s3fs|gcsfs|adlfs|aiohttp|\w+fs)\b", said)
        install = f"pip install {package[1]}" if package else f"install what fsspec needs for it ({error})"
        raise GraphiumError(f"{address} needs a package that is not installed: {install}") from None
    except ValueError as error:
        raise GraphiumError(
            f"{address} cannot be read ({error}); give a path, or an address such as s3://..."
        ) from None
    except Exception as error:
        raise unreachable(address, error) from None


def _no_file(address: str, *, is_folder: bool) -> GraphiumError:
    if is_folder:
        pattern = address.rstrip("/") + "/*.parquet"
        return GraphiumError(
            f"the file {address!r} is a folder, not a table; give the path of a file, or a pattern such as {pattern!r}"
        )
    return GraphiumError(f"the file {address!r} does not exist; give the path of a table, e.g. CSV, Parquet or SDF")
