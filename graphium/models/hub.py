"""Models of the Hugging Face hub: ``hub:org/name[@revision]``. Only files of ours are fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graphium.errors import GraphiumError
from graphium.models.folder.names import CONFIG, FILES, HUB
from graphium.models.folder.tensors import first_line

_WORD = r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?"
_REPOSITORY = re.compile(rf"{_WORD}/{_WORD}", re.ASCII)
# A branch, a tag or a commit.
_REVISION = re.compile(rf"{_WORD}(?:/{_WORD})*", re.ASCII)


def pull(source: str) -> Path:
    """Download a model into the hub's own cache, or find it there.

    Args:
        source: ``hub:org/name`` or ``hub:org/name@revision``; a revision is a branch, a tag or a commit.

    Returns:
        The folder that holds its files. Other files of the repository are not fetched.

    Raises:
        GraphiumError: a name that is none, no such repository or revision, no network, no model in it.
    """
    from huggingface_hub import snapshot_download

    name, _, revision = source.removeprefix(HUB).partition("@")
    check_names(source, name, revision or None)
    with telling(source):
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=list(FILES)))
    if not (folder / CONFIG).is_file():
        raise GraphiumError(f"{source!r} holds no model of graphium (no {CONFIG}); check the name")
    return folder


def check_names(said: str, name: str, revision: str | None) -> None:
    """Refuse what is no ``org/name`` or no revision."""
    if not _REPOSITORY.fullmatch(name) or ".." in name or "--" in name:
        raise GraphiumError(f"{said!r} is no name of a repository; write org/name, or hub:org/name@revision to load")
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise GraphiumError(f"{revision!r} is no revision of {name}; give a branch, a tag or a commit")


@contextmanager
def telling(source: str) -> Iterator[None]:
    """Say in one sentence what the hub, or the way to it, refuses."""
    from huggingface_hub import errors

    # What its own errors derive from: those of the system, and of the library that speaks HTTP.
    ways: Any = errors.HfHubHTTPError.__bases__
    try:
        yield
    except errors.RevisionNotFoundError:
        raise GraphiumError(f"{source!r} has no such revision; leave it out, or give a branch, tag or commit") from None
    except errors.GatedRepoError:
        raise GraphiumError(
            f"{source!r} asks who you are; accept its terms on the hub, then run hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        raise GraphiumError(
            f"{source!r} is not on the hub, or is private; check the name, or run hf auth login"
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        mend = "run hf auth login with a token that may do this" if status in (401, 403) else "try again"
        raise GraphiumError(f"the hub refuses {source!r} ({status}: {first_line(error)}); {mend}") from None
    except errors.HFValidationError as error:
        raise GraphiumError(f"{source!r} is no name of the hub ({first_line(error)}); check it") from None
    except ways as error:
        raise GraphiumError(f"{source!r} cannot be reached ({first_line(error)}); go online and try again") from None
