"""Folders of unfinished work: held by one process at a time, given their final name in one step.

The lock is ``flock`` on the folder itself, so POSIX systems only. It ends with the process: a kill
leaves a folder ``<key>.part`` and nothing that anybody would have to clean up.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graphium.data.store.columns import disk_errors


def content_key(*values: Any) -> str:
    """Short hash of plain values, for folder names."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def work_folder(root: Path, key: str) -> Path:
    """Where unfinished work on one store lies."""
    return root / f"{key}.part"


@contextmanager
def locked_work(root: Path, key: str, say: Callable[[str], None] = lambda sentence: None) -> Iterator[Path]:
    """The folder for unfinished work on one store, held by one process at a time; removed at the end.

    After an error or a kill the folder stays and the next call continues in it.

    Args:
        root: The folder that holds all stores.
        key: What is worked on.
        say: Shown a sentence where another process holds the folder and this one waits.
    """
    work = work_folder(root, key)
    while True:
        with disk_errors(work):
            work.mkdir(exist_ok=True)
            handle = os.open(work, os.O_RDONLY)
            try:
                if not _lock(handle, wait=False):
                    say(f"another process prepares the same ({work}); waiting for it")
                    _lock(handle, wait=True)
                # Another process may have finished and removed the folder while this one waited.
                is_held = work.is_dir() and os.fstat(handle).st_ino == work.stat().st_ino
            except BaseException:
                os.close(handle)
                raise
        if is_held:
            break
        os.close(handle)
    try:
        yield work
        shutil.rmtree(work)
    finally:
        os.close(handle)


def sweep(root: Path, key: str, pattern: str) -> None:
    """Remove what a killed process left in a folder of unfinished work, unless another one works there."""
    work = work_folder(root, key)
    try:
        handle = os.open(work, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        if _lock(handle, wait=False):
            for path in work.glob(pattern):
                shutil.rmtree(path)
            if not any(work.iterdir()):
                work.rmdir()
    finally:
        os.close(handle)


def publish(draft: Path, final: Path) -> None:
    """Give a completed folder its name in one step."""
    with disk_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        os.rename(draft, final)


def fresh(draft: Path) -> Path:
    """A path for an unfinished folder; what an interrupted call left there is removed."""
    if draft.exists():
        shutil.rmtree(draft)
    return draft


def _lock(handle: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
