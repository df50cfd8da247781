"""What every test shares: the real tables where they exist, and a cache of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

# Set before torch is imported: several test processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real tables, ``../shared/data`` or ``$GRAPHIUM_SHARED_DATA``."""
    folder = Path(os.environ.get("GRAPHIUM_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"the real tables are not at {folder}; set GRAPHIUM_SHARED_DATA to their folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for this test process, so that no test reads or fills the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["GRAPHIUM_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def minimol_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of MiniMol: ``$GRAPHIUM_MINIMOL_WHEEL``, or fetched once for all processes of this session."""
    from graphium.errors import GraphiumError
    from graphium.models.minimol import fetch_wheel

    given = os.environ.get("GRAPHIUM_MINIMOL_WHEEL")
    if given:
        return Path(given)
    root = _of_all_processes(tmp_path_factory)
    failed = root / "minimol_failed"
    with FileLock(root / "minimol.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHIUM_CACHE", str(root / "minimol_cache"))
        if not failed.exists():
            try:
                return fetch_wheel()
            except GraphiumError as error:
                failed.write_text(str(error))
    pytest.skip(f"the wheel of MiniMol cannot be had: {failed.read_text()}")


@pytest.fixture(scope="session")
def minimol(minimol_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of MiniMol as a model of ours; read only, for all processes share it."""
    from graphium.models.minimol import import_minimol

    root = _of_all_processes(tmp_path_factory)
    with FileLock(root / "minimol.lock"):
        return import_minimol(root / "minimol", minimol_wheel)


def _of_all_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = tmp_path_factory.getbasetemp()
    return own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker("shared_data")
