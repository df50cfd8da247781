"""Models of the Hugging Face hub: ``hub:org/name[@revision]``. Only files of ours are sent and fetched."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphium.errors import GraphiumError
from graphium.models.card import PLACE
from graphium.models.folder.tensors import first_line
from graphium.models.sources import CARD, CONFIG, FILES, HUB

if TYPE_CHECKING:
    from graphium.models.saved import SavedModel

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
    _check_names(source, name, revision or None)
    with _telling(source):
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=list(FILES)))
    if not (folder / CONFIG).is_file():
        raise GraphiumError(f"{source!r} holds no model of graphium (no {CONFIG}); check the name")
    return folder


def push_to_hub(
    model: str | Path | SavedModel, name: str, *, private: bool = False, revision: str | None = None
) -> str:
    """Send a model to the hub, in one commit; a repository that does not exist is made.

    Args:
        model: A model as :func:`graphium.load_model` takes it, or one that was loaded: its folder is sent, or, where
            it has none, what it holds.
        name: ``org/name`` of the repository.
        private: Whether a new repository is visible to its owners alone.
        revision: The branch, made if it does not exist; None is the main one.

    Returns:
        The word by which it is loaded: ``hub:org/name``, with ``@revision`` where one was given.

    Raises:
        GraphiumError: a model that cannot be loaded, a name that is none, no network, no permission.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    from graphium.models.saved import SavedModel, load_model, save_model

    _check_names(name, name, revision)
    source = f"{HUB}{name}" + (f"@{revision}" if revision else "")
    saved = model if isinstance(model, SavedModel) else load_model(model)
    with tempfile.TemporaryDirectory() as made:
        folder = saved.folder or Path(made)
        if saved.folder is None:
            save_model(
                folder, saved.network, saved.featurizer, saved.heads, facts=saved.facts, statistics=saved.statistics
            )
        files = _files(folder)
        card = files[CARD].read_text(encoding="utf-8").replace(PLACE, source) if CARD in files else None
        with _telling(source):
            api = HfApi()
            api.create_repo(name, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(name, branch=revision, exist_ok=True)
            # What lies beside earlier weights tells nothing of these.
            there = {*api.list_repo_files(name, revision=revision)}
            operations: list[CommitOperationAdd | CommitOperationDelete] = [
                CommitOperationDelete(file) for file in FILES if file in there and file not in files
            ]
            operations += [
                CommitOperationAdd(file, card.encode() if file == CARD and card is not None else path)
                for file, path in files.items()
            ]
            api.create_commit(name, operations, commit_message="A model of graphium", revision=revision)
    return source


def _files(folder: Path) -> dict[str, Path]:
    """Those of our files that are there.

    Raises:
        GraphiumError: one of them is a link, by which any other file would be sent.
    """
    files = {name: folder / name for name in FILES if (folder / name).exists()}
    for path in files.values():
        if path.is_symlink():
            raise GraphiumError(f"{str(path)!r} is a link to another file; copy the model's folder, then push the copy")
    return files


def _check_names(said: str, name: str, revision: str | None) -> None:
    if not _REPOSITORY.fullmatch(name) or ".." in name or "--" in name:
        raise GraphiumError(f"{said!r} is no name of a repository; write org/name, or hub:org/name@revision to load")
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise GraphiumError(f"{revision!r} is no revision of {name}; give a branch, a tag or a commit")


@contextmanager
def _telling(source: str) -> Iterator[None]:
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
