"""What was found out about a table, kept for the next run: small JSON files in the cache folder."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


class Memo:
    """Answers under keys of plain values, one file each.

    A file is written whole or not at all. One that is damaged, or that cannot be written, costs time and
    nothing else.

    >>> from tempfile import mkdtemp
    >>> memo = Memo(Path(mkdtemp()))
    >>> memo.put(["rows", "my.csv"], 128)
    >>> memo.get(["rows", "my.csv"]), memo.get(["rows", "other.csv"])
    (128, None)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: Any) -> Any:
        """Return what is kept under a key, or None."""
        try:
            found = json.loads(self._path(key).read_bytes())
            return found["answer"] if found["checksum"] == _digest([key, found["answer"]]) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: Any, answer: Any) -> None:
        """Keep an answer, plain values without NaN."""
        path = self._path(key)
        draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps({"answer": answer, "checksum": _digest([key, answer])}))
            draft.replace(path)
        except OSError:
            with suppress(OSError):
                draft.unlink()

    def _path(self, key: Any) -> Path:
        return self.folder / f"{_digest(key)}.json"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
