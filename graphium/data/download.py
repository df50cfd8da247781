"""Fetch published files: progress, checksum, and one plain sentence where there is no network."""

from __future__ import annotations

import gzip
import hashlib
import logging
import zlib
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

from graphium.errors import GraphiumError

_TIMEOUT = 30  # seconds without a byte
_BLOCK = 1 << 20


def fetch(url: str, folder: Path, *, sha256: str | None = None, progress: bool = True) -> Path:
    """Download a file once and return where it lies; a second call finds it there.

    A file appears under its name only when it is complete: the length that the server announced, the
    checksum where one is known, and a gzip stream that can be read to its end.

    Args:
        url: http(s) or ftp address.
        folder: the download folder; files of different addresses do not meet in it.
        sha256: the expected checksum, or None.
        progress: show a progress bar.

    Raises:
        GraphiumError: no connection, an address that does not exist, a truncated or wrong file.
    """
    import pooch
    import requests

    name = unquote(Path(urlsplit(url).path).name) or "download"
    target = folder / hashlib.sha256(url.encode()).hexdigest()[:12]
    is_new = not (target / name).exists()
    pooch.get_logger().setLevel(logging.ERROR)
    try:
        with _Bar(name, progress) as bar:
            # A server that packs on the way would otherwise have its packing taken off, and .gz files with it.
            plain = {"Accept-Encoding": "identity"}
            downloader = None
            if url.startswith("http"):
                downloader = pooch.HTTPDownloader(progressbar=bar, timeout=_TIMEOUT, headers=plain)
            path = Path(
                pooch.retrieve(
                    url,
                    known_hash=f"sha256:{sha256}" if sha256 else None,
                    fname=name,
                    path=target,
                    downloader=downloader,
                )
            )
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else "an error"
        raise GraphiumError(f"{url} answered {status}; {_mend(name)}") from None
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
        raise GraphiumError(f"the download of {url} broke off; try again, or {_mend(name)}") from None
    except ValueError as error:
        if "hash" not in str(error):
            raise GraphiumError(f"cannot download {url!r} ({error}); {_mend(name)}") from None
        raise GraphiumError(
            f"{url} is not the expected file, its SHA-256 is not {sha256}; try again, or {_mend(name)}"
        ) from None
    except (requests.RequestException, ConnectionError, TimeoutError):
        raise GraphiumError(f"cannot reach {url}; without a network, {_mend(name)}") from None
    except OSError as error:
        raise GraphiumError(
            f"cannot write the download of {url} to {str(target)!r}: {error.strerror or error}"
        ) from None
    if is_new and not _is_whole(path):
        path.unlink()
        raise GraphiumError(f"{url} gave a truncated file; try again, or {_mend(name)}")
    return path


def _mend(name: str) -> str:
    return f"put {name!r} into a folder and give that with data_dir=FOLDER"


def _is_whole(path: Path) -> bool:
    """Whether a gzip file can be read to its end; other files are taken as they are."""
    if path.suffix != ".gz":
        return True
    try:
        with gzip.open(path) as file:
            while file.read(_BLOCK):
                pass
    except (EOFError, OSError, zlib.error):
        return False
    return True


class _Bar:
    """A rich progress bar behind the four words that pooch uses of tqdm: total, update, reset, close."""

    def __init__(self, name: str, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True)
        self._name = name
        self._task: int | None = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    @property
    def total(self) -> int:
        return 0 if self._task is None else int(self._progress.tasks[0].total or 0)

    @total.setter
    def total(self, value: int) -> None:
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task(f"downloading {self._name}", total=value)
        else:
            self._progress.update(self._progress.tasks[0].id, total=value)

    def update(self, amount: int) -> None:
        if self._task is not None:
            self._progress.advance(self._progress.tasks[0].id, amount)

    def reset(self) -> None:
        if self._task is not None:
            self._progress.reset(self._progress.tasks[0].id)

    def close(self) -> None:
        self._progress.stop()
