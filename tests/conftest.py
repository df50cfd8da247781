"""What every test shares: the real tables where they exist, and a cache of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker("shared_data")
