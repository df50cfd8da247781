"""Fetch published files: progress, checksums, and going on where a download broke off.

pooch does the fetching; what it does not do is here: a file that is being fetched lies beside its place
as ``<name>.part`` and is continued with an HTTP Range request, and the checksum of a file is written
beside it at first sight, as ``<name>.sha256``, and compared from then on.
"""

from __future__ import annotations

import bz2
import fcntl
import gzip
import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

from graphium.config import cache_dir
from graphium.data.store.columns import disk_errors
from graphium.data.tables.memo import Memo
from graphium.data.tables.sources import Source
from graphium.errors import GraphiumError
from graphium.messages import tell

# Seconds without a byte.
_TIMEOUT = 30.0
_BLOCK = 1 << 20
# What is lost at most when a connection breaks off.
_PIECE = 1 << 16
# How often a download that broke off goes on by itself.
_TRIES = 4


def fetch(url: str, folder: Path, *, sha256: str | None = None, progress: bool = True) -> Path:
    """Download a file into a cache, once, and return where it lies; see :func:`download`."""
    target = cached(url, folder)
    download(url, target, sha256=sha256, progress=progress)
    return target


def cached(url: str, folder: Path) -> Path:
    """Return where a file lies in a download folder; files of different addresses do not meet in it."""
    return Path(folder) / hashlib.sha256(url.encode()).hexdigest()[:12] / file_name(url)


def download(url: str, target: Path, *, sha256: str | None = None, progress: bool = True) -> bool:
    """Download a file to ``target`` unless it is there; return whether it was downloaded.

    The file appears under its name only when it is complete: the length that the server announced, the
    checksum where one is known, and a content that can be read to its end (gzip, bzip2, zip, Parquet).
    A download that breaks off goes on where it stopped, also in a later call or another process. The
    checksum is recorded in ``<target>.sha256`` and holds from then on, also where the file was removed.

    Args:
        url: http(s) or ftp address; what stands behind ``#`` is the file's name where the address has none.
        target: Where the file is to lie.
        sha256: The expected checksum; None is the recorded one, or any.
        progress: Show a progress bar, and say when another process is at work.

    Raises:
        GraphiumError: no connection, an address that does not exist, a truncated, damaged or changed file.
    """
    target = Path(target).absolute()
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        _verify(target, sha256)
        return False
    with _alone(target, progress) as part:
        if target.exists():
            # Another process was at it.
            os.unlink(part.name)
            _verify(target, sha256)
            return False
        loader = _Loader(urldefrag(url).url, target.name, part, progress)
        expected = sha256 or _recorded(target)
        _write_record(target, _retrieve(loader, target, expected, pinned=sha256 is not None))
    return True


def file_name(url: str) -> str:
    """Return the name of the file at an address.

    >>> file_name("https://example.org/a/my%20table.csv?download=1"), file_name("https://example.org/17#t.tab")
    ('my table.csv', 't.tab')
    """
    address, fragment = urldefrag(url)
    return unquote(fragment or Path(urlsplit(address).path).name) or "download"


def _retrieve(loader: _Loader, target: Path, expected: str | None, *, pinned: bool) -> str:
    """Let pooch fetch the file and put it in its place; return its checksum."""
    import pooch
    import requests

    url, mend = loader.url, _mend(target.name)
    pooch.get_logger().setLevel(logging.ERROR)
    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{expected}" if expected else None,
            fname=target.name,
            path=target.parent,
            downloader=loader if url.startswith("http") else None,
        )
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else "an error"
        raise GraphiumError(f"{url} answered {status}; {mend}") from None
    except ValueError as error:
        if "hash" not in str(error):
            raise GraphiumError(f"cannot download {url!r} ({error}); {mend}") from None
        raise GraphiumError(_other_content(loader, target, expected, pinned)) from None
    except (requests.RequestException, ConnectionError, TimeoutError):
        if loader.reached:
            raise GraphiumError(
                f"the download of {url} broke off after {loader.size / 1e6:,.1f} MB; "
                f"try again to go on from there, or {mend}"
            ) from None
        raise GraphiumError(f"cannot reach {url}; without a network, {mend}") from None
    except OSError as error:
        raise GraphiumError(
            f"cannot write the download of {url} to {str(target.parent)!r}: {error.strerror or error}"
        ) from None
    return loader.digest or _sha256(target)


def _other_content(loader: _Loader, target: Path, expected: str | None, pinned: bool) -> str:
    found = loader.digest or "another one"
    if pinned:
        return (
            f"{loader.url} is not the expected file, its SHA-256 is {found} and not {expected}; "
            f"try again, or {_mend(target.name)}"
        )
    return (
        f"{loader.url} has changed: its SHA-256 is {found}, and {expected} was recorded when it was first downloaded; "
        f"delete {str(_record(target))!r} to take the new file"
    )


class _Loader:
    """What pooch calls to fetch an address: it goes on with the bytes that ``part`` holds already."""

    def __init__(self, url: str, name: str, part: FileIO, progress: bool) -> None:
        self.url = url
        # Known once the file is whole.
        self.digest = ""
        self.reached = False
        self._name = name
        self._part = part
        self._progress = progress
        # What the server calls this version of the file: bytes of two versions must not meet.
        self._tag = Path(f"{part.name}.tag")

    @property
    def size(self) -> int:
        """Bytes fetched so far, here and in earlier calls."""
        return self._part.seek(0, os.SEEK_END)

    def __call__(self, url: str, output: str, pooch: Any) -> None:
        """Fetch ``url`` into the file ``output``, whole."""
        import requests

        with _bar(self._name, self._progress) as bar:
            for last in (False,) * (_TRIES - 1) + (True,):
                before = self.size
                try:
                    self._read(url, bar)
                    break
                except (requests.exceptions.ChunkedEncodingError, requests.ConnectionError, requests.Timeout):
                    if last or self.size <= before:
                        raise
        part = Path(self._part.name)
        if not _is_whole(part, self._name):
            self._forget()
            raise GraphiumError(f"{self.url} gave a truncated or damaged file; try again, or {_mend(self._name)}")
        self.digest = _sha256(part)
        os.replace(part, output)
        self._tag.unlink(missing_ok=True)

    def _read(self, url: str, bar: Any) -> None:
        """Ask for what is missing, and append it to the part."""
        import requests

        # A server that packs on the way would otherwise have its packing taken off, and .gz files with it.
        headers = {"Accept-Encoding": "identity"}
        start = self.size
        tag = self._tag.read_text(encoding="utf-8") if start and self._tag.exists() else ""
        if tag:
            headers |= {"Range": f"bytes={start}-", "If-Range": tag}
        with requests.get(url, stream=True, timeout=_TIMEOUT, headers=headers) as response:
            self.reached = True
            if start and response.status_code == requests.codes.requested_range_not_satisfiable:
                # Everything is here already, or the file has become shorter.
                if response.headers.get("Content-Range") != f"bytes */{start}":
                    self._forget()
                    self._read(url, bar)
                return
            response.raise_for_status()
            goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            if response.status_code != requests.codes.partial_content or not goes_on:
                start = 0
                self._part.truncate(0)
            self._tag.write_text(_version(response.headers), encoding="utf-8")
            length = response.headers.get("Content-Length")
            plain = response.headers.get("Content-Encoding", "identity") == "identity"
            total = start + int(length) if length and length.isdigit() and plain else None
            bar(start, total)
            for piece in response.iter_content(_PIECE):
                rest = memoryview(piece)
                # A write without a buffer may take less than it is given, e.g. what the disk has room for.
                while rest:
                    rest = rest[self._part.write(rest) :]
                bar(self._part.tell(), total)
        if total is not None and self.size != total:
            raise requests.exceptions.ChunkedEncodingError(f"{self.size} of {total} bytes")

    def _forget(self) -> None:
        self._part.truncate(0)
        self._tag.unlink(missing_ok=True)


def _version(headers: Any) -> str:
    """What identifies this version of a file for ``If-Range``: a strong ETag or a date, else nothing."""
    tag = headers.get("ETag", "")
    if headers.get("Content-Encoding", "identity") != "identity" or tag.startswith("W/"):
        return ""
    return tag or headers.get("Last-Modified", "")


@contextmanager
def _alone(target: Path, progress: bool) -> Iterator[FileIO]:
    """Open ``<target>.part`` for one process at a time; the others wait."""
    path = target.with_name(f"{target.name}.part")
    while True:
        with disk_errors(path):
            part = path.open("ab", buffering=0)
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress:
                tell([f"{target.name} is being downloaded by another process; waiting for it"])
            fcntl.flock(part, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(os.fstat(part.fileno()), path.stat()):
            break
        # The other process has put the file in its place meanwhile.
        part.close()
    try:
        yield part
    finally:
        empty = not part.closed and part.seek(0, os.SEEK_END) == 0
        if empty and path.exists() and os.path.samestat(os.fstat(part.fileno()), path.stat()):
            path.unlink()
            Path(f"{path}.tag").unlink(missing_ok=True)
        part.close()


def _verify(target: Path, sha256: str | None) -> None:
    """Compare a file that is there with its checksum; record one at first sight."""
    recorded = _recorded(target)
    expected = sha256 or recorded
    # Large files are read again only where they may have changed.
    found = Source(str(target)).digest(Memo(cache_dir() / "memo"))
    if expected is not None and found != expected:
        what = "is not the published file" if sha256 else "has changed since it was downloaded"
        raise GraphiumError(
            f"{str(target)!r} {what}: its SHA-256 is {found} and not {expected}; "
            "move or delete it, and it is downloaded again"
        )
    if recorded != found:
        _write_record(target, found)


def _record(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _recorded(target: Path) -> str | None:
    try:
        words = _record(target).read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    return words[0] if words else None


def _write_record(target: Path, digest: str) -> None:
    """Write a checksum as ``sha256sum -c`` reads it; whole or not at all."""
    record = _record(target)
    unfinished = record.with_name(f"{record.name}.{os.getpid()}.tmp")
    with disk_errors(record):
        unfinished.write_text(f"{digest}  {target.name}\n", encoding="utf-8")
        unfinished.replace(record)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_whole(path: Path, name: str) -> bool:
    """Whether a file of this name can be read to its end; one of an unknown kind is taken as it is."""
    suffix = Path(name).suffix.lower()
    try:
        with path.open("rb") as file:
            start = file.read(64)
        if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
            # A page that asks to log in, in the place of the file.
            return False
        if suffix in (".gz", ".bz2"):
            with gzip.open(path) if suffix == ".gz" else bz2.open(path) as packed:
                while packed.read(_BLOCK):
                    pass
        elif suffix == ".zip" or (suffix == ".pt" and start.startswith(b"PK")):
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        elif suffix in (".parquet", ".pq"):
            import pyarrow.parquet as pq

            pq.read_metadata(path)
    except (EOFError, OSError, ValueError, zlib.error, zipfile.BadZipFile):
        # pyarrow's error for a file that is no Parquet is a ValueError.
        return False
    return True


def _mend(name: str) -> str:
    return f"put {name!r} into a folder and give that with data_dir=FOLDER"


@contextmanager
def _bar(name: str, shown: bool) -> Iterator[Any]:
    """A progress bar: a function of bytes so far and bytes in all (None: unknown)."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    if shown and not console.is_terminal:
        tell([f"downloading {name}"])
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal), transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
