"""Sending a model to the Hugging Face hub, its own files alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

from graphium.errors import GraphiumError
from graphium.models.card import PLACE
from graphium.models.folder.names import CARD, FILES, HUB
from graphium.models.hub import check_names, telling
from graphium.models.saved import SavedModel, load_model, save_model


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

    check_names(name, name, revision)
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
        with telling(source):
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
