"""Where a model lies: a folder, the folder of a run, a name in the cache, or a repository of the hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from graphium.config import cache_dir
from graphium.errors import GraphiumError, suggest
from graphium.models.folder.names import CONFIG, HUB
from graphium.models.folder.tensors import first_line

_NAME = re.compile(r"\w[\w.-]*")
# Models that `graphium models import` can make.
IMPORTABLE = ("minimol",)


def find_model(source: str | Path) -> Path:
    """The folder of a model; one of the hub is downloaded into the hub's own cache.

    Args:
        source: A model's folder, the folder of a run, ``hub:org/name[@revision]``, or the name of a model in the
            cache, such as ``minimol``.

    Raises:
        GraphiumError: there is no such model.
    """
    if not isinstance(source, str | os.PathLike):
        raise GraphiumError(
            f"a model is named by a text or a path, not by a {type(source).__name__}; give its folder, or hub:org/name"
        )
    text = str(source)
    if text.startswith(HUB):
        from graphium.models.hub import pull

        return pull(text)
    if not text.strip():
        raise GraphiumError("the name of the model is empty; give a model's folder, that of a run, or hub:org/name")
    try:
        return _find_folder(text, Path(text).expanduser())
    except (OSError, RuntimeError, ValueError) as error:
        # A name too long, a home that nobody has, a folder that is closed.
        raise GraphiumError(
            f"{text[:80]!r} cannot be opened ({first_line(error)}); "
            "give a model's folder, that of a run, or hub:org/name"
        ) from None


def _find_folder(text: str, folder: Path) -> Path:
    # A run has a config.yaml of its own beside its model.
    for place in (folder / "model", folder):
        if (place / CONFIG).is_file():
            return place
    if _NAME.fullmatch(text):
        place = models_dir() / text
        if (place / CONFIG).is_file():
            return place
        if not folder.exists():
            raise GraphiumError(f"there is no model {text!r}; {_known(text)}")
    if not folder.exists():
        raise GraphiumError(f"there is no folder {text!r}; give a model's folder, that of a run, or hub:org/name")
    raise GraphiumError(f"{text!r} holds no model (no {CONFIG}); give the model/ folder of a run")


def models_dir() -> Path:
    """The folder of the cache in which models have names."""
    return cache_dir() / "models"


def cached_models() -> list[str]:
    """Names of the models in the cache."""
    return sorted(path.parent.name for path in models_dir().glob(f"*/{CONFIG}"))


def _known(name: str) -> str:
    if name in IMPORTABLE:
        return f"graphium models import {name} brings it"
    names = cached_models()
    return f"{suggest(name, names)}, or a folder" if names else "give a model's folder, that of a run, or hub:org/name"
